"""What comes from outside is data: in pages, notebooks, tables and paths it stays text."""

import csv
import io
import json
import re

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import make_faces
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import freqlab as fl
from freqlab.errors import FaceSetError
from freqlab.reports import rendering
from freqlab.reports.index import build_index
from freqlab.text.csv import as_written, csv_of, without_formulas

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "'; alert(1); '",
    "</code></td><iframe src=//example.org>",
    "[x](javascript:alert(1))",
    "{{ 7 * 7 }}",
    '"""\nimport os; os.abort()\n"""',
    "\\'; raise SystemExit",
]


def alive(page):
    """Whatever in a page could run, load or post something."""
    from html.parser import HTMLParser

    found = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag in ("script", "iframe", "object", "embed", "form", "base", "svg"):
                found.append(tag)
            for name, value in attrs:
                if name.startswith("on") or (value or "").strip().startswith("javascript:"):
                    found.append((tag, name, value))
                if name == "src" and not (value or "").startswith("data:"):
                    found.append((tag, name, value))

    Parser().feed(page)
    return found


def executed(tmp_path, *, texts, parameters):
    """A notebook as a report leaves it, whose outputs hold texts in every way there is."""
    outputs = []
    for text in texts:
        table = pd.DataFrame({text: [text]}, index=[text])
        for data in (
            {"text/markdown": f"**{text}** {text}"},
            {"text/html": table.to_html()},
            {"text/plain": text},
        ):
            outputs.append(nbformat.v4.new_output("display_data", data=data))
        outputs.append(nbformat.v4.new_output("stream", text=text))
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# A title\n\nA lead."),
            nbformat.v4.new_code_cell("1", outputs=outputs),
        ],
        metadata={"papermill": {"parameters": parameters, "end_time": "2026-01-01T00:00:00"}},
    )
    path = tmp_path / "explore.ipynb"
    nbformat.write(notebook, path)
    return path


@pytest.mark.parametrize("text", HOSTILE)
def test_pages(tmp_path, text):
    path = executed(tmp_path, texts=[text], parameters={"faces": text})
    page = rendering.page_of(rendering.executed(path), name="explore", others={})
    assert alive(page) == []
    assert "default-src 'none'" in page
    (tmp_path / "explore.html").write_text(page)
    index = build_index(tmp_path).read_text()
    assert alive(index) == []


def test_pages_keep_what_is_harmless(tmp_path):
    path = executed(tmp_path, texts=["Anna & Bo < Cy"], parameters={})
    page = rendering.page_of(rendering.executed(path), name="explore", others={})
    assert "<strong>Anna &amp; Bo &lt; Cy</strong>" in page
    assert "<table" in page
    assert "Anna &amp; Bo &lt; Cy</th>" in page


@pytest.mark.parametrize(
    ("markup", "left"),
    [
        ('<a href="#there">a</a>', '<a href="#there">a</a>'),
        ('<a href="explore.html">a</a>', '<a href="explore.html">a</a>'),
        ('<a href="mailto:a@b">a</a>', '<a href="mailto:a@b">a</a>'),
        ('<a href="javascript:alert(1)">a</a>', "<a>a</a>"),
        ('<a href="data:text/html,x">a</a>', "<a>a</a>"),
        ('<p style="background:url(//example.org)" class="c">a</p>', '<p class="c">a</p>'),
        ("<STYLE>p { background: url(//example.org) }</STYLE>a", "a"),
        ("a<style>p { background: url(//example.org) }", "a"),
        ("a<!-- b -->c", "ac"),
        ('<td colspan="2">a</td>', "a"),
        ('<th scope="row" onclick="x">a</th>', "a"),
    ],
)
def test_links_and_styles_of_outputs(markup, left):
    assert rendering._clean(markup) == left


@given(st.one_of(st.text(), st.sampled_from(HOSTILE)))
def test_parameters_of_notebooks_stay_values(text):
    from papermill.translators import PythonTranslator

    found = {}
    exec(PythonTranslator.codify({"faces": text, "more": [text, None, 1.5]}), found)
    assert found["faces"] == text
    assert found["more"] == [text, None, 1.5]


@pytest.mark.parametrize("text", HOSTILE)
def test_the_notebook_of_the_inspector(tmp_path, text):
    from freqlab.inspector.serving import write_notebook

    write_notebook(
        tmp_path / "n.ipynb",
        folder=tmp_path,
        store=text,
        name=text,
        models=[text],
        faces=(text, text, text, False),
        fmr=None,
    )
    notebook = json.loads((tmp_path / "n.ipynb").read_text())
    code = "".join("".join(cell["source"]) for cell in notebook["cells"])
    import ast

    constants = [n.value for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Constant)]
    assert constants.count(text) >= 4
    calls = [ast.unparse(n.func) for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Call)]
    assert not {"alert", "os.abort"} & set(calls)


@given(st.lists(st.text(min_size=0, max_size=8), min_size=1, max_size=5))
def test_tables_hold_no_formulas(texts):
    table = pd.DataFrame(
        {"subject": texts, "n": range(len(texts))}, index=pd.Index(texts, name="face")
    )
    safe = without_formulas(table)
    for value in [*safe["subject"], *safe.index]:
        assert not value.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert [as_written(value) for value in safe["subject"]] == texts
    assert list(safe["n"]) == list(range(len(texts)))
    # as a spreadsheet would read them
    rows = list(csv.reader(io.StringIO(csv_of(table), newline="")))
    assert len(rows) == len(texts) + 1
    assert [as_written(row[0]) for row in rows[1:]] == texts


def test_landmarks_of_a_face_that_is_a_formula(tmp_path):
    for i in range(2):
        folder = tmp_path / "photos" / "=1+1"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), i, np.uint8)).save(folder / f"{i}.png")
    faces = fl.load_faces(tmp_path / "photos")
    assert faces.names == ["=1+1/0.png", "=1+1/1.png"]
    from freqlab.faces.table import landmark_table

    points = np.arange(20, dtype=float).reshape(2, 5, 2)
    (tmp_path / "points.csv").write_text(csv_of(landmark_table(faces.names, points)))
    assert (tmp_path / "points.csv").read_text().splitlines()[1].startswith("'=1+1")
    again = fl.load_faces(tmp_path / "photos", landmarks=tmp_path / "points.csv")
    np.testing.assert_array_equal(again.landmarks, points)


@pytest.mark.parametrize(
    "path", ["../secret.png", "/etc/hostname", "a/../../secret.png", "a/b/../../.."]
)
def test_paths_of_tables_stay_inside(tmp_path, path):
    file = tmp_path / "set" / "faces.csv"
    file.parent.mkdir()
    file.write_text(f"path,subject\ninside.png,a\n{path},b\n")
    with pytest.raises(FaceSetError, match=r"line 3 leads out of .*outside=True"):
        fl.load_faces(file)
    assert len(fl.load_faces(file, outside=True)) == 2
    assert len(fl.load_faces("csv", root=file, outside=True)) == 2
    assert len(fl.load_faces(file, root="/")) == 2


def test_paths_that_stay_inside(tmp_path):
    file = tmp_path / "faces.csv"
    names = ["a/b.png", "./c.png", "a/../d.png", "..e.png", f"{tmp_path}/f.png"]
    file.write_text("path,subject\n" + "".join(f"{name},s\n" for name in names))
    faces = fl.load_faces(file)
    assert [re.sub(r".*/", "", path) for path in faces.table["path"]] == [
        "b.png", "c.png", "d.png", "..e.png", "f.png",
    ]  # fmt: skip


def test_names_that_figures_would_read_as_formulas(tmp_path):
    import matplotlib.pyplot as plt

    from freqlab.plots.common import shortened

    faces = make_faces(n_subjects=1, per_subject=1)
    for name in (r"$\frac{$", "a$b$c", "two\nlines", r"$\undefined$"):
        figure, ax = plt.subplots()
        ax.imshow(faces.images[0])
        ax.set_title(shortened(name, 16))
        figure.savefig(tmp_path / "figure.png")
        assert ax.get_title().replace(r"\$", "$") == " ".join(name.split())

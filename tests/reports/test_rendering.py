"""Pages: numbered sections, figures with captions, tables, what is folded."""

import base64
import io

import matplotlib.pyplot as plt
import nbformat
import pytest
from bs4 import BeautifulSoup

from freqlab.reports import rendering
from freqlab.reports.figures import as_picture, smallest_text
from freqlab.reports.index import build_index

METADATA = {"papermill": {"parameters": {"faces": "orl"}, "end_time": "2026-01-01T00:00:00"}}


def figure(text="a figure", size=10):
    drawn, ax = plt.subplots(figsize=(4, 2))
    ax.set_title(text, fontsize=size)
    data, about = as_picture(drawn)
    plt.close(drawn)
    return nbformat.v4.new_output(
        "display_data", data={"image/png": data}, metadata={"image/png": about}
    )


def html(markup):
    return nbformat.v4.new_output("display_data", data={"text/html": markup})


@pytest.fixture(scope="module")
def notebook():
    new, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
    found = nbformat.v4.new_output(
        "display_data",
        data={"text/markdown": "- **One** in ten."},
        metadata={"findings": ["**One** in ten."]},
    )
    lead = code("plot", outputs=[figure()], metadata={"tags": ["lead"], "alt": "The lead"})
    two = code("plots", outputs=[figure(), figure()], metadata={"alt": "Two <figures>"})
    table = html("<table><caption>Numbers</caption><tr><td>FMR 1e-3, 2</td></tr></table>")
    warned = nbformat.v4.new_output("stream", name="stderr", text="Warning")
    return nbformat.v4.new_notebook(
        cells=[
            new("# A title\n\nA lead of *one* sentence."),
            new("## What was found"), code("findings", outputs=[found]), lead,
            new("## Evidence & more\n\nText."), code("", outputs=[warned]), two,
            code("table", outputs=[table]),
            new("## How this was made", metadata={"tags": ["folded"]}),
            code("", outputs=[html("<p>so</p>")]),
        ],
        metadata=METADATA,
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(notebook):
    text = rendering.page_of(notebook, name="explore", others={"bias.html": "Bias"})
    return BeautifulSoup(text, "html.parser")


def test_sections_are_numbered_and_listed(page):
    assert page.select_one("h1").get_text() == "A title"
    headings = [heading.get_text() for heading in page.select("section > h2")]
    assert headings == ["1What was found", "2Evidence & more"]
    links = [link["href"] for link in page.select("nav ol a[href^='#']")]
    assert links == ["#what-was-found", "#evidence-more", "#how-this-was-made"]
    for link in links:
        assert page.select_one(link) is not None
    assert page.select_one("nav a[href='bias.html']").get_text() == "Bias"


def test_what_is_folded_is_unfolded_by_the_reader(page):
    folded = page.select_one("details#how-this-was-made")
    assert "so" in folded.get_text()
    assert not folded.has_attr("open")


def test_figures_have_numbered_captions(page):
    captions = [caption.get_text() for caption in page.select("figure figcaption")]
    assert captions == [
        "Figure 1. The lead.",
        "Figure 2, 1 of 2. Two <figures>.",
        "Figure 2, 2 of 2. Two <figures>.",
    ]
    assert "lead" in page.select("figure")[0]["class"]
    for picture in page.select("figure img"):
        assert picture["alt"]
        assert float(picture["data-smallest-text"]) == pytest.approx(10 * 100 / 72, abs=0.1)
        assert f"--width: {picture['width']}px" in picture.find_parent("figure")["style"]


def test_tables_have_numbered_captions(page):
    table = page.select_one("section table")
    assert table.caption.get_text() == "Table 1. Numbers"
    assert "table" in table.parent["class"]
    assert table.td.get_text() == "FMR 1e-3, 2"
    assert table.select_one("td .whole").get_text() == "1e-3"  # no line ends within it


def test_warnings_are_not_on_the_page(page):
    assert "Warning" not in page.get_text()


def test_smallest_text_of_a_figure():
    drawn, ax = plt.subplots()
    ax.set_title("small", fontsize=3)
    ax.text(0.5, 0.5, "hidden", fontsize=1, visible=False)
    assert smallest_text(drawn) == 3
    plt.close(drawn)


def test_the_index_says_what_is_still_made(notebook, page, tmp_path):
    nbformat.write(notebook, tmp_path / "explore.ipynb")
    (tmp_path / "explore.html").write_text(str(page))
    making = {"bias": "On bias", "morphing": "On morphs"}
    order = ["explore", "morphing", "bias"]
    index = BeautifulSoup(
        build_index(tmp_path, making=making, order=order).read_text(), "html.parser"
    )
    entries = index.select("ul.reports > li")
    assert [entry.select_one(".title").get_text() for entry in entries] == [
        "A title", "On morphs", "On bias",
    ]  # fmt: skip
    assert [entry.select_one(".pending") is None for entry in entries] == [True, False, False]
    assert entries[1].select_one(".pending").get_text() == "waiting"
    assert entries[2].select_one(".pending").get_text() == "being made"
    assert "One in ten." in entries[0].get_text()
    picture = entries[0].select_one("img")["src"].partition("base64,")[2]
    assert plt.imread(io.BytesIO(base64.b64decode(picture))).shape[1] <= 560

"""The pages of the documentation: their code runs, and prints what they say it prints."""

import contextlib
import io
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import typer.main
from matplotlib.testing.compare import compare_images

import freqlab as fl
from freqlab.cli import app
from freqlab.reports.calls import report_names, report_parameters, text_parameters

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
GENERATED = {"command_line.md", "report_parameters.md", "known_models.md", "known_face_sets.md"}
ELSEWHERE = {"gallery.md", "figures.md", "bad_inputs.md"}  # tested by their own tests
BLOCK = re.compile(
    r"^%not-run: (?P<reason>[^\n]+)\n|^%py (?P<hidden>[^\n]*)\n"
    r"|^```(?P<kind>\w+)\n(?P<body>.*?)^```$",
    re.M | re.S,
)
DECIMAL = re.compile(r"(?<![\w.])[-+]?\d+\.\d+(?:e[-+]?\d+)?(?!\w)")
GRAMMAR = typer.main.get_command(app)


@dataclass(frozen=True)
class Block:
    """A block of a page: its kind, its text, where it begins, and why it is not run."""

    kind: str
    text: str
    line: int
    not_run: str = ""


def blocks(page):
    """The blocks of a page in order; hidden lines that follow each other are one block."""
    source, found, reason = page.read_text(), [], ""
    for match in BLOCK.finditer(source):
        line = source[: match.start()].count("\n") + 1
        if match["reason"]:
            reason = match["reason"]
        elif match["kind"] is None:
            if found and found[-1].kind == "hidden":
                last = found.pop()
                found.append(Block("hidden", f"{last.text}{match['hidden']}\n", last.line))
            else:
                found.append(Block("hidden", f"{match['hidden']}\n", line - 1))
        else:
            found.append(Block(match["kind"], match["body"], line, reason))
            reason = ""
    return found


PAGES = sorted(
    path
    for path in DOCS.rglob("*.md")
    if "_build" not in path.parts
    and "api" not in path.parts
    and path.name not in GENERATED | ELSEWHERE
)
PROGRAMS = [page for page in PAGES if any(block.kind == "python" for block in blocks(page))]
FRONT = [ROOT / "README.md", *PAGES]


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def same(printed, expected):
    """Whether two texts have the same words and whole numbers, and nearly the same decimals."""
    numbers = [[float(x) for x in DECIMAL.findall(text)] for text in (printed, expected)]
    words = [DECIMAL.sub("#", text).split() for text in (printed, expected)]
    return words[0] == words[1] and np.allclose(*numbers, rtol=0.05, atol=0.005)


def test_pages_are_there():
    assert len(PAGES) > 40
    assert len(PROGRAMS) > 25


@pytest.mark.parametrize("page", FRONT, ids=name_of)
def test_programs_are_python_and_outputs_follow_them(page):
    for block in blocks(page):
        if block.kind in ("python", "hidden"):
            compile(block.text, name_of(page), "exec")


def commands(page):
    for block in blocks(page):
        if block.kind == "console":
            for line in block.text.replace("\\\n", "").splitlines():
                words = shlex.split(line, comments=True)
                if words[:1] == ["freqlab"]:
                    yield words[1:]


@pytest.mark.parametrize("page", [p for p in FRONT if any(commands(p))], ids=name_of)
def test_commands_are_what_the_command_line_takes(page):
    for words in commands(page):
        if words[0].startswith("--"):
            assert words[0] in {word for option in GRAMMAR.params for word in option.opts}
            continue
        command = GRAMMAR.commands[words[0]]
        with command.make_context(words[0], list(words[1:])) as context:
            given = context.params
        if words[0] == "report":
            names = report_names() if given["names"] == ["all"] else given["names"]
            assert set(names) <= set(report_names())
            texts = dict(text.split("=", 1) for text in given["parameter"] or ())
            declared = set().union(*(report_parameters(name) for name in names))
            assert set(texts) <= declared
            text_parameters(names, texts)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """One folder for all pages, whose stores they share as a reader's do."""
    return tmp_path_factory.mktemp("documentation")


@pytest.mark.slow
@pytest.mark.parametrize("page", [ROOT / "README.md", *PROGRAMS], ids=name_of)
def test_programs_run_and_print_what_the_page_says(page, workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    monkeypatch.setitem(sys.modules, "__main__", sys.modules[__name__])
    names, printed, n_run = {"__name__": "page"}, None, 0
    for block in blocks(page):
        if block.kind in ("python", "hidden"):
            printed = None
            if block.not_run:
                continue
            told = io.StringIO()
            padded = "\n" * block.line + block.text  # so that a traceback names the line
            with contextlib.redirect_stdout(told):
                exec(compile(padded, str(page), "exec"), names)
            printed, n_run = told.getvalue(), n_run + 1
        elif block.kind == "text" and printed is not None:
            assert same(printed, block.text), f"{page.name}:{block.line} prints\n{printed}"
            printed = None
    assert n_run or page.name in ("s3.md", "cluster.md")
    shown = [page.parent / link for link in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text())]
    saved = [picture for picture in shown if (workplace / picture.name).exists()]
    for picture in saved:  # a figure that the program saves is the one on the page
        assert compare_images(str(picture), str(workplace / picture.name), tol=5) is None
    assert saved or page.name != "first_picture.md"


def test_numbers_are_compared_up_to_rounding_and_words_exactly():
    assert same("{'a': 0.412}", "{'a': 0.413}")
    assert not same("{'a': 0.41}", "{'a': 0.46}")
    assert not same("True 99", "True 100")
    assert not same("true", "True")


def test_every_page_is_reached():
    listed = set()
    for page in [*PAGES, DOCS / "index.md"]:
        for toctree in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(), re.S):
            for entry in toctree.splitlines():
                if entry and not entry.startswith(":"):
                    listed.add((page.parent / f"{entry}.md").resolve())
    assert set(PAGES) - listed == {DOCS / "index.md"}


def test_the_readme_is_a_front_page():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert link.startswith("https://") or (ROOT / link).exists(), link


def test_every_report_is_listed():
    page = (DOCS / "how_to" / "reports.md").read_text()
    assert re.findall(r"^\| `([a-z-]+)` \|", page, re.M) == report_names()


def test_public_names_are_mentioned_as_they_are():
    """``fl.a.b`` in a page is there."""
    for page in FRONT:
        for dotted in set(re.findall(r"\bfl((?:\.[a-z_]+)+)\b(?=[(`])", page.read_text())):
            value = fl
            for part in dotted.split(".")[1:]:
                assert hasattr(value, part), f"{page.name}: fl{dotted}"
                value = getattr(value, part)

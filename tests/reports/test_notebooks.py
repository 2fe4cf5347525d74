"""Notebooks of reports are thin: parameters, one call, findings, figures and tables."""

import ast
import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
MOST_LINES = {"explore": 50}  # of code beyond the parameters; 80 elsewhere


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return request.param.stem, json.loads(request.param.read_text())


def code_of(notebook):
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [
        "".join(c["source"]) for c in cells if "parameters" not in c["metadata"].get("tags", [])
    ]


def plain(code):
    return "\n".join(line for line in code.split("\n") if not line.startswith("%"))


def test_there_is_one_for_each_report():
    names = {path.stem for path in NOTEBOOKS}
    subjects = {"explore", "verification", "bias", "cross_resolution", "morphing"}
    assert names == subjects | {"faithfulness", "improve", "neighbours"}


def test_a_notebook_is_short(notebook):
    name, content = notebook
    lines = [line for code in code_of(content) for line in code.split("\n") if line.strip()]
    assert len(lines) <= MOST_LINES.get(name, 80)
    for cell in content["cells"]:
        assert all(len(line.rstrip("\n")) <= 120 for line in cell["source"])


def test_nothing_is_computed_in_it(notebook):
    _, content = notebook
    for code in code_of(content):
        for node in ast.walk(ast.parse(plain(code))):
            assert not isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef | ast.While)
            if isinstance(node, ast.Import):
                assert {alias.name for alias in node.names} <= {"freqlab", "matplotlib.pyplot"}
            if isinstance(node, ast.ImportFrom):
                assert node.module == "freqlab.reports"


def test_it_is_as_notebooks_are_committed(notebook):
    _, content = notebook
    assert content["metadata"]["kernelspec"]["name"] == "python3"
    assert [cell.get("outputs", []) for cell in content["cells"] if cell.get("outputs")] == []
    tagged = [c for c in content["cells"] if "parameters" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1
    ids = [cell["id"] for cell in content["cells"]]
    assert len(set(ids)) == len(ids)
    assert content["cells"][0]["source"][0].startswith("# ")

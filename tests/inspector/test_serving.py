"""The notebook behind the page, and what the command line refuses before it serves."""

import subprocess
import sys

import nbformat
import pytest
from typer.testing import CliRunner

import freqlab as fl
from freqlab.cli import app
from freqlab.errors import FreqlabError, ParameterError
from freqlab.inspector.serving import serve, write_notebook


def test_the_notebook_opens_the_inspector(demo, tmp_path, monkeypatch):
    path = tmp_path / "page.ipynb"
    store, name = (str(demo.attrs[key]) for key in ("store", "name"))  # others may be newer
    write_notebook(path, folder=tmp_path, store=store, name=name, pair=3, fmr=1e-2)
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    (cell,) = notebook.cells
    *lines, last = cell.source.splitlines()
    monkeypatch.chdir(tmp_path)
    scope = {}
    exec("\n".join([*lines, f"shown = {last}"]), scope)
    assert isinstance(scope["shown"], fl.Inspector)
    assert scope["shown"].fmr == pytest.approx(1e-2)
    assert scope["shown"].pair == 3


def test_everything_given_stands_in_the_notebook(tmp_path):
    path = tmp_path / "page.ipynb"
    write_notebook(
        path,
        folder=tmp_path,
        store="it's.zarr",
        name="one",
        models=["net.pt,name=own"],
        pair=0,
        faces=("photos", None, "arcface", False),
    )
    source = nbformat.read(path, as_version=4).cells[0].source
    compile(source, "cell", "exec")
    assert "load_faces('photos', root=None, aligned='arcface', outside=False)" in source
    given = "\"it's.zarr\", faces=faces, name='one', pair=0, models=['net.pt,name=own']"
    assert f"fl.inspect({given})" in source


def test_the_command_refuses_what_it_cannot_show(demo):
    runner = CliRunner()
    store = str(demo.attrs["store"])
    for arguments, said in (
        (["nowhere.zarr"], "no such folder"),
        ([store, "--name", "x"], "unknown result 'x'"),
        ([store, "--fmr", "0.5"], "fmr=0.5 has no threshold"),
        ([store, "--model", "dlib"], "unknown model 'dlib'"),
        ([store, "--pair", "999"], "pair=999 is not in the result"),
    ):
        outcome = runner.invoke(app, ["inspect", *arguments])
        assert isinstance(outcome.exception, FreqlabError)
        assert said in str(outcome.exception)


def test_a_port_that_is_none_is_refused(tmp_path):
    with pytest.raises(ParameterError, match="port=0 must be a whole number of 1 or more"):
        serve(tmp_path / "page.ipynb", port=0)


def test_without_the_extra_it_says_what_to_install():
    code = "import sys; sys.modules['ipywidgets'] = None; import freqlab; freqlab.inspect"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "the inspector needs ipywidgets, which is not installed" in ended.stderr
    assert "pip install 'freqlab[lab]'" in ended.stderr

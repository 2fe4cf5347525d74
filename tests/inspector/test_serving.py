"""The notebook behind the page, and what the command line refuses before it serves."""

import socket
import subprocess
import sys
from types import SimpleNamespace

import nbformat
import pytest
from typer.testing import CliRunner

import freqlab as fl
from freqlab.cli import app
from freqlab.errors import FreqlabError, ParameterError
from freqlab.inspector.serving import (
    _base_url,
    _serve_also_without,
    serve,
    write_notebook,
)


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


@pytest.mark.slow
def test_without_the_extra_it_says_what_to_install():
    code = "import sys; sys.modules['ipywidgets'] = None; import freqlab; freqlab.inspect"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "the inspector needs ipywidgets, which is not installed" in ended.stderr
    assert "pip install 'freqlab[lab]'" in ended.stderr


@pytest.mark.parametrize(
    ("given", "hub", "expected"),
    [
        (None, None, "/"),
        ("/prefix", None, "/prefix/"),
        ("/a/b/", "/user/ann/", "/a/b/"),
        ("/", "/user/ann/", "/"),
    ],
)
def test_the_path_of_the_page(monkeypatch, given, hub, expected):
    monkeypatch.delenv("JUPYTERHUB_SERVICE_PREFIX", raising=False)
    if hub:
        monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", hub)
    assert _base_url(given, 8866) == (expected, 8866)


def test_on_a_hub_the_path_is_that_of_the_proxy_and_a_free_port(monkeypatch):
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/ann@x.org/")
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        used.listen()
        base, port = _base_url(None, used.getsockname()[1])
        assert port > used.getsockname()[1]
    assert base == f"/user/ann@x.org/proxy/{port}/"


@pytest.mark.parametrize("given", ["prefix/", "http://x/", "/a b/", "/a?b", ""])
def test_a_path_that_is_none_is_refused(tmp_path, given):
    with pytest.raises(ParameterError, match=r"base_url=.* must be a path, such as '/prefix/'"):
        serve(tmp_path / "page.ipynb", base_url=given)


def test_paths_are_answered_with_and_without_the_prefix():
    """A proxy may pass the prefix on or remove it."""
    seen = []
    application = SimpleNamespace(find_handler=lambda request: seen.append(request.path))
    _serve_also_without(application, "/a/")
    for path in ("/a/", "/a", "/a/voila/x", "/", "/voila/x", "/ab/x"):
        application.find_handler(SimpleNamespace(path=path, uri=f"{path}?q=1"))
    assert seen == ["/a/", "/a", "/a/voila/x", "/a/", "/a/voila/x", "/a/ab/x"]


def test_the_help_says_how_to_reach_another_machine():
    outcome = CliRunner().invoke(app, ["inspect", "--help"], env={"COLUMNS": "200"})
    assert "ssh -L 8866:127.0.0.1:8866" in outcome.output
    assert "--base-url" in outcome.output

"""A page is made again only if its notebook, parameters, inputs or freqlab have changed."""

import os
import shutil
import threading

import nbformat
import pytest

import freqlab as fl
from freqlab.errors import StoreError
from freqlab.reports import calls
from freqlab.reports.unchanged import inputs_of, is_unchanged, recorded
from freqlab.store.locking import locked


@pytest.fixture
def folder(tmp_path, orl, monkeypatch):
    """Photographs of two people."""
    monkeypatch.chdir(tmp_path)
    for subject in ("a", "b"):
        for image in range(2):
            target = tmp_path / "few" / subject / f"{image}.pgm"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(orl.content(image))
    return tmp_path


def digest(**parameters):
    return inputs_of(calls._notebook("explore"), {"faces": "few", **parameters})


def test_inputs_change_with_files_and_models(folder):
    before = digest(model="mobilefacenet")
    assert before == digest(model="mobilefacenet")
    assert before != digest(model="dlib")
    assert before != inputs_of(calls._notebook("bias"), {"faces": "few", "model": "mobilefacenet"})
    photograph = folder / "few/a/0.pgm"
    state = photograph.stat()
    os.utime(photograph, ns=(state.st_atime_ns, state.st_mtime_ns + 10**9))
    changed = digest(model="mobilefacenet")
    assert changed != before
    photograph.unlink()
    assert digest(model="mobilefacenet") not in (before, changed)


def test_inputs_that_are_not_there(folder):
    shutil.rmtree(folder / "few")
    assert digest() == ""


def made(folder, parameters, inputs, node="influence/r", created_at="now"):
    about = {"made": {"node": node, "created_at": created_at}}
    output = nbformat.v4.new_output("display_data", data={"text/plain": ""}, metadata=about)
    metadata = {
        "papermill": {"parameters": parameters, "end_time": "2026-01-01T00:00:00"},
        "freqlab": recorded(inputs, parameters),
    }
    cells = [
        nbformat.v4.new_markdown_cell("# A title"),
        nbformat.v4.new_code_cell("", outputs=[output]),
    ]
    nbformat.write(
        nbformat.v4.new_notebook(cells=cells, metadata=metadata), folder / "explore.ipynb"
    )
    (folder / "explore.html").write_text("")


def test_a_report_is_unchanged_while_its_result_is_in_the_store(tmp_path):
    store = str(tmp_path / "run.zarr")
    fl.testing.influence(store=store)
    result = fl.open_influence(store)
    parameters = {"store": store}
    node, created = f"influence/{result.attrs['name']}", result.attrs["created_at"]
    made(tmp_path, parameters, "inputs", node, created)
    assert is_unchanged(tmp_path, "explore", "inputs", parameters)
    assert not is_unchanged(tmp_path, "explore", "others", parameters)
    assert not is_unchanged(tmp_path, "explore", "", parameters)
    assert not is_unchanged(tmp_path, "explore", "inputs", parameters | {"seed": 1})
    assert not is_unchanged(tmp_path, "bias", "inputs", parameters)
    made(tmp_path, parameters, "inputs", node, "earlier")
    assert not is_unchanged(tmp_path, "explore", "inputs", parameters)
    made(tmp_path, parameters, "inputs", "influence/other", created)
    assert not is_unchanged(tmp_path, "explore", "inputs", parameters)
    made(tmp_path, parameters, "inputs", node, created)
    shutil.rmtree(store)
    assert not is_unchanged(tmp_path, "explore", "inputs", parameters)


def test_two_reports_on_one_store(tmp_path):
    store = str(tmp_path / "run.zarr")
    with calls._alone(store, 0):
        for wait in (0, 0.2):
            with pytest.raises(StoreError, match=r"used by another report; wait=SECONDS"):
                calls._alone(store, wait).__enter__()
        with calls._alone(str(tmp_path / "other.zarr"), 0):
            pass
    with calls._alone(store, 0):
        pass


def test_a_report_on_a_store_that_is_written(tmp_path):
    store = str(tmp_path / "run.zarr")
    fl.testing.influence(store=store)
    with locked(store), pytest.raises(StoreError, match="used by a run that writes to it"):
        calls._alone(store, 0).__enter__()
    with calls._alone(store, 0):
        pass


def test_a_report_waits_for_another(tmp_path, capsys, monkeypatch):
    store = str(tmp_path / "run.zarr")
    monkeypatch.setattr(calls, "_POLL", 0.05)
    other = calls._alone(store, 0)
    other.__enter__()
    ends = threading.Timer(0.3, other.__exit__, (None, None, None))
    ends.start()
    with calls._alone(store, 30):
        assert not ends.is_alive() or ends.finished.is_set()
    assert capsys.readouterr().err.count("waiting at most 30 s") == 1

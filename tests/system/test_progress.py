"""Progress: bars and messages in a terminal, in a watched notebook, in a kernel alone."""

import re

import nbformat
import pandas as pd
import pytest
from jupyter_client.manager import start_new_kernel

import freqlab as fl
from freqlab import testing
from freqlab.errors import UnknownNameError
from freqlab.run import context
from freqlab.system.progress import one_output, progress_bar, say, stage

WORK = """
import time
from freqlab.system.progress import one_output, progress_bar, say, stage

@one_output()
def work(fail=False):
    with stage("loading models", shown=True):
        pass
    with progress_bar("aligning <b>", 40, "face", shown=True) as faces:
        with progress_bar("m: forward passes", 80, "img", shown=True) as passes:
            for _ in range(4):
                time.sleep(0.12)
                faces.update(10)
                passes.update(20)
                if fail:
                    raise RuntimeError("no memory")
    say("m: 80 forward passes")
    inner()

@one_output()
def inner():
    say("note: <i>")
"""


class Watched:
    """A kernel as a front end drives it: somebody may answer its questions."""

    def __init__(self, manager, client):
        self._manager, self._client = manager, client

    def run(self, source):
        """Execute a cell; return the messages of its outputs, in order."""
        told = []
        self._client.execute_interactive(
            source, allow_stdin=True, output_hook=told.append, timeout=120
        )
        shown = ("stream", "display_data", "update_display_data", "error", "execute_result")
        return [(m["msg_type"], m["content"]) for m in told if m["msg_type"] in shown]


def outputs_left(messages):
    """The outputs that a notebook holds after these messages, as a front end keeps them."""
    left, places = [], {}
    for kind, content in messages:
        if kind == "stream" and left and left[-1]["name"] == content["name"]:
            left[-1]["text"] += content["text"]
        elif kind == "update_display_data":
            places[content["transient"]["display_id"]]["data"] = content["data"]
        else:
            left.append({"kind": kind, "name": None, **content})
            if kind == "display_data":
                places[content["transient"]["display_id"]] = left[-1]
    return left


@pytest.fixture(scope="module")
def watched():
    manager, client = start_new_kernel(
        kernel_name="python3", extra_arguments=["--IPKernelApp.log_level=50"]
    )
    yield Watched(manager, client)
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_bars_of_a_call_share_an_output_and_its_messages_stay(watched):
    messages = watched.run(f"{WORK}\nwork()")
    assert {kind for kind, _ in messages} == {"display_data", "update_display_data"}
    texts = [content["data"]["text/plain"] for _, content in messages]
    assert texts[0] == "loading models"
    for text in texts:
        of_faces = [line for line in text.splitlines() if line.startswith("aligning <b>")]
        assert len(of_faces) <= 1
        assert all("/40 [" in line for line in of_faces)
        assert text.count("m: forward passes") <= 1
    both = next(text for text in texts if "20/40" in text)
    assert re.search(r"20/40 \[00:00<00:00, [\d.]+face/s\]\nm: forward passes: .*\d+/80 ", both)
    (left,) = outputs_left(messages)
    assert left["data"] == {"text/plain": "m: 80 forward passes\nnote: <i>"}


def test_names_are_text_in_the_markup_of_bars(watched):
    messages = watched.run(f"{WORK}\nwork()")
    markup = "".join(content["data"].get("text/html", "") for _, content in messages)
    assert "aligning &lt;b&gt;" in markup
    assert "note: &lt;i&gt;" in markup
    assert "<b>" not in markup
    assert re.search('<progress style="[^"]+" value="40" max="40">', markup)


def test_an_error_leaves_no_bar(watched):
    messages = watched.run(f"{WORK}\nwork(fail=True)")
    left, error = outputs_left(messages)
    assert left["data"] == {"text/plain": ""}
    assert error["evalue"] == "no memory"
    (after,) = outputs_left(watched.run("say('a message by itself')"))
    assert (after["name"], after["text"]) == ("stdout", "a message by itself\n")


@pytest.mark.parametrize(("delay", "left"), [(0, [{"text/plain": ""}]), (60, [])])
def test_a_bar_by_itself_leaves_nothing_to_see(watched, delay, left):
    source = (
        f"{WORK}\nwith progress_bar('m: maps', 3, 'pair', shown=True, delay={delay}) as b:\n"
        "    b.update(3)"
    )
    messages = watched.run(source)
    assert any("/3<" in content["data"].get("text/html", "") for _, content in messages) == (
        delay == 0
    )
    assert [output["data"] for output in outputs_left(messages)] == left


def test_a_bar_that_is_not_shown_leaves_nothing(watched):
    source = (
        f"{WORK}\nwith progress_bar('m', 3, 'pair', shown=False, delay=0) as b:\n    b.update(3)"
    )
    assert watched.run(source) == []


def executed(folder, *cells):
    """Outputs of a notebook that nbclient executes, as papermill and nbconvert do."""
    from nbclient import NotebookClient

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = NotebookClient(
        notebook, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.extra_arguments = ["--IPKernelApp.log_level=50"]
    client.execute()
    return [output for cell in notebook.cells for output in cell.outputs]


def test_a_kernel_that_nobody_watches_prints_the_messages_only(tmp_path):
    (output,) = executed(tmp_path, f"{WORK}\nwork()")
    assert (output["output_type"], output["name"]) == ("stream", "stdout")
    assert output["text"] == "m: 80 forward passes\nnote: <i>\n"


def test_reports_show_progress_on_standard_error(tmp_path, monkeypatch):
    monkeypatch.setenv("FREQLAB_PROGRESS", "stderr")
    at_once = "with progress_bar('m', 3, 'pair', shown=True, delay=0) as b:\n    b.update(3)"
    outputs = executed(tmp_path, f"{WORK}\n{at_once}\nwork()")
    assert {output["name"] for output in outputs} == {"stderr"}
    text = "".join(output["text"] for output in outputs)
    assert "3/3 [00:00<00:00" in text
    assert text.endswith("m: 80 forward passes\nnote: <i>\n")


def test_the_kernel_of_reports_shows_progress_on_standard_error():
    from freqlab.reports.kernels import OwnKernelSpecs

    assert OwnKernelSpecs().get_kernel_spec("python3").env["FREQLAB_PROGRESS"] == "stderr"


def test_another_setting_is_refused(monkeypatch):
    monkeypatch.setenv("FREQLAB_PROGRESS", "stdout")
    with pytest.raises(UnknownNameError, match="FREQLAB_PROGRESS 'stdout'; allowed: stderr"):
        say("text")


def test_in_a_terminal_bars_and_messages_are_on_standard_error(capsys):
    with one_output(), stage("loading models", shown=True):
        with progress_bar("aligning", 40, "face", shown=True, delay=0) as bar:
            bar.update(40)
        say("done\x1b")
    out, err = capsys.readouterr()
    assert out == ""
    assert "loading" not in err
    assert "aligning: 100%|" in err
    assert "40/40 [" in err
    assert err.endswith("done\\x1b\n")


class Counted:
    """Bars that a call makes: their text, total, unit, and how far they came."""

    def __init__(self, monkeypatch):
        self.bars = []
        monkeypatch.setattr(context, "progress_bar", self._make)

    def _make(self, text, total, unit, *, shown):
        bar = progress_bar(text, total, unit, shown=shown, delay=60)
        self.bars.append((text, total, unit, bar))
        return bar

    def found(self):
        return {text: (total, unit, bar.total, bar.n) for text, total, unit, bar in self.bars}


def test_totals_are_those_of_the_whole_call(monkeypatch, tmp_path):
    faces = testing.faces(n_subjects=20, per_subject=2)
    pairs = fl.make_pairs(faces, seed=0)
    counted = Counted(monkeypatch)
    given = {"models": [testing.model()], "bands": "rings:28", "compile": False}
    result = fl.influence(faces, pairs, store=tmp_path / "run.zarr", progress=True, **given)
    found = counted.found()
    masked = pd.unique(pairs[["probe", "reference"]].to_numpy().ravel())
    n_passes = len(faces) + len(masked) * result.sizes["band"]
    assert len(faces) == 40
    assert found == {
        "aligning faces": (40, "face", 40, 40),
        "linear: forward passes": (n_passes, "img", n_passes, n_passes),
        "linear: comparing pairs": (len(pairs), "pair", len(pairs), len(pairs)),
    }

"""The code of a view, run in a new process and another folder, against the view itself."""

import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from conftest import Linear, make_faces

import freqlab as fl
from freqlab.edits.code import code_of, file_stem

VIEW = {"pair": 3, "bands": [1, 2], "side": "both", "operation": "keep"}


def blocks(images):
    """A function of arrays: means of squares of 16 x 16 pixels."""
    return images.reshape(len(images), 3, 7, 16, 7, 16).mean((3, 5)).reshape(len(images), -1)


def trace(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(Linear(seed=2), torch.zeros(2, 3, 112, 112)).save(str(path))


def make_run(models, store, **options):
    faces = make_faces(n_subjects=3)
    pairs = fl.make_pairs(faces, seed=0)
    return fl.influence(faces, pairs, models=models, store=store, progress=False, **options)


def run_file(code, folder):
    """Run downloaded code: printed similarities by model, and the figures it leaves."""
    folder.mkdir()
    (folder / "view.py").write_text(code)
    ended = subprocess.run(
        [sys.executable, "view.py"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    lines = [line.rsplit(maxsplit=2) for line in ended.stdout.splitlines()]
    figures = {path.name for path in folder.glob("*.png")}
    return {model: (float(before), float(after)) for model, before, after in lines}, figures


def check(inspection, models, printed):
    assert list(printed) == models
    for model, (before, after) in printed.items():
        edited = inspection.edit(model=model, **VIEW)
        assert before == pytest.approx(edited.similarity, abs=1e-6)
        assert after == pytest.approx(edited.edited_similarity, abs=1e-6)
        assert abs(before - after) > 1e-5


@pytest.mark.slow
def test_a_model_by_name(demo, tmp_path):
    inspection = fl.edits.Inspection(demo)
    code = code_of(inspection, models=["mobilefacenet"], **VIEW)
    assert "fl.edits.Inspection(result)\n" in code
    printed, figures = run_file(code, tmp_path / "downloads")
    check(inspection, ["mobilefacenet"], printed)
    assert figures == {"pair3-mobilefacenet-both-only-4-12.png"}


@pytest.mark.slow
def test_models_by_path_and_by_definition(tmp_path, monkeypatch):
    """A file given by a relative path, a function, and a module with its normalisation."""
    monkeypatch.chdir(tmp_path)
    trace("net.pt")
    wrapped = fl.wrap_model(Linear(seed=1), name="my net", mean=127.5, std=(128, 128, 128))
    given = ["net.pt,trust=true,mean=0,std=255", blocks, wrapped]
    result = make_run(given, "run.zarr")
    inspection = fl.edits.Inspection(result, models=given)
    models = ["net", "blocks", "my net"]
    code = code_of(inspection, models=models, **VIEW)
    assert f"fl.load_model('{tmp_path}/net.pt', trust=True, mean=0, std=255)" in code
    asked = re.findall(r"^# Define (\w+), the network of model '([\w ]+)'", code, re.MULTILINE)
    assert asked == [("blocks", "blocks"), ("my_net", "my net")]
    definitions = (
        "from freqlab.testing import LinearNetwork\n"
        "my_net = LinearNetwork(seed=1)\n"
        "def blocks(images):\n"
        "    return images.reshape(len(images), 3, 7, 16, 7, 16).mean((3, 5))"
        ".reshape(len(images), -1)\n"
    )
    before, comment, after = code.partition("# Define")
    printed, _ = run_file(before + definitions + comment + after, tmp_path / "downloads")
    check(inspection, models, printed)


def test_what_cannot_be_known_is_asked_for(tmp_path):
    network = fl.wrap_model(lambda x: x.mean((2, 3)), name="class")
    result = make_run([network], tmp_path / "run.zarr", keep_crops=False)
    code = code_of(fl.edits.Inspection(result), models=["class"], **VIEW)
    compile(code, "view.py", "exec")
    assert "# The run keeps no crops: load its faces here.\nfaces = " in code
    assert "# Model 'class' is not known by name: give it in models=." in code
    code = code_of(fl.edits.Inspection(result, models=[network]), models=["class"], **VIEW)
    compile(code, "view.py", "exec")
    assert "# Define class_, the network of model 'class': a callable" in code
    assert "models = [fl.wrap_model(class_, name='class')]" in code
    in_memory = result.copy()
    in_memory.attrs = {**result.attrs, "store": "memory://x"}
    code = code_of(fl.edits.Inspection(in_memory), models=["class"], **VIEW)
    assert "# The run of this result is in memory only" in code
    compile(code, "view.py", "exec")


def test_a_model_says_how_it_was_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trace("net.pt")
    loaded = fl.load_model("net.pt", trust=True, mean=0.0, std=(1.0, 2.0, 3.0), name="other")
    again = eval(loaded.source.call, {"fl": fl})
    assert again.fingerprint() == loaded.fingerprint()
    plain = fl.load_model("mobilefacenet")
    assert plain.source == ("fl.load_model('mobilefacenet')", "")
    wrapped = fl.wrap_model(np.copy, name="2 nets", features=3, version="a", output=0)
    assert wrapped.source.call == (
        "fl.wrap_model(copy, name='2 nets', features=3, version='a', output=0)"
    )
    module = fl.wrap_model(Linear(), name="2 nets")
    assert module.source.call == "fl.wrap_model(_2_nets, name='2 nets')"


def test_a_model_registered_in_this_process_is_asked_for(monkeypatch):
    from freqlab.models import registry

    monkeypatch.setattr(registry, "_RECIPES", dict(registry._RECIPES))
    fl.models.register(fl.models.ModelSpec("of-this-process"), Linear)
    assert fl.load_model("of-this-process").source.before == (
        "register the model 'of-this-process' with fl.models.register"
    )


def test_names_of_files(demo):
    view = {"pair": 3, "models": ["timm:hf_hub:a/b"], "side": "probe", "operation": "remove"}
    stem = "pair3-timm_hf_hub_a_b-probe"
    assert file_stem(demo, bands=[], **view) == stem
    assert file_stem(demo, bands=[0, 1, 4], **view) == f"{stem}-without-0-8_16-20"
    assert file_stem(demo, bands=[14], **view) == f"{stem}-without-56-end"
    keep = {**view, "operation": "keep"}
    assert file_stem(demo, bands=[], **keep) == f"{stem}-only-no-band"
    assert len(file_stem(demo, bands=range(0, 15, 2), **{**view, "models": ["m" * 300]})) == 120

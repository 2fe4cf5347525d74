import argparse
import os
import sys
import types

import pytest
import safetensors.torch
import torch
from torch import nn

from freqlab.errors import (
    UnsafePickleError,
    UntrustedModelError,
    WeightsError,
    WeightsMismatchError,
)
from freqlab.models.checkpoints import find_prefix, load_weights, read_checkpoint


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("file", ["m.pt", "old.pt", "m.safetensors"])
def test_state_dictionaries_of_every_format(tmp_path, file):
    state = network().state_dict()
    if file == "m.safetensors":
        safetensors.torch.save_file(state, tmp_path / file)
    else:
        torch.save(state, tmp_path / file, _use_new_zipfile_serialization=file != "old.pt")
    assert equal(read_checkpoint(tmp_path / file), state)


@pytest.mark.parametrize("container", ["state_dict", "model", "backbone", "model_state_dict"])
def test_weights_inside_a_training_checkpoint(tmp_path, container):
    state = network().state_dict()
    torch.save({"epoch": 3, "optimizer": {"lr": 0.1}, container: state}, tmp_path / "c.pt")
    assert equal(read_checkpoint(tmp_path / "c.pt"), state)


def test_objects_of_a_training_framework_are_passed_over(tmp_path, monkeypatch):
    """As Lightning pickles them: callbacks by class, hyper-parameters in its own dictionary."""
    name = "pytorch_lightning.made_up"
    module = types.ModuleType(name)

    class ModelCheckpoint:
        pass

    class AttributeDict(dict):
        pass

    for kind in (ModelCheckpoint, AttributeDict):
        kind.__module__, kind.__qualname__ = name, kind.__name__
        setattr(module, kind.__name__, kind)
    state = network().state_dict()
    content = {
        "state_dict": state,
        "callbacks": {ModelCheckpoint: {"best": 1}},
        "hyper_parameters": AttributeDict(width=4),
        "arguments": argparse.Namespace(epochs=3),
    }
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pytorch_lightning", types.ModuleType("pytorch_lightning"))
        patch.setitem(sys.modules, name, module)
        torch.save(content, tmp_path / "c.ckpt")
    assert equal(read_checkpoint(tmp_path / "c.ckpt"), state)
    assert "pytorch_lightning" not in sys.modules


class Hostile:
    def __reduce__(self):
        return os.system, ("touch HOSTILE",)


class HostileInFramework:
    """A callable of a package whose classes are admitted stays inert too."""

    def __reduce__(self):
        import numpy as np

        return np.savetxt, ("HOSTILE", [1.0])


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_pickle_does_not_run(tmp_path, monkeypatch, zipped):
    monkeypatch.chdir(tmp_path)
    content = {"state_dict": network().state_dict(), "more": Hostile()}
    torch.save(content, "h.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsafePickleError, match="system"):
        read_checkpoint("h.pt")
    assert os.listdir() == ["h.pt"]


def test_a_function_of_an_admitted_package_stays_inert(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": network().state_dict(), "more": HostileInFramework()}, "h.pt")
    assert equal(read_checkpoint("h.pt"), network().state_dict())
    assert os.listdir() == ["h.pt"]


def test_a_whole_module_is_refused(tmp_path):
    torch.save(network(), tmp_path / "m.pt")
    with pytest.raises(UnsafePickleError, match=r"state_dict\(\)"):
        read_checkpoint(tmp_path / "m.pt")


def test_a_program_is_no_weight_file(tmp_path):
    exported = torch.export.export(network().eval(), (torch.zeros(1, 3, 4, 4),))
    torch.export.save(exported, tmp_path / "m.pt2")
    with pytest.raises(UntrustedModelError, match=r"torch\.export program"):
        read_checkpoint(tmp_path / "m.pt2")


@pytest.mark.parametrize("file", ["m.pt", "old.pt", "m.safetensors"])
def test_truncated_files(tmp_path, file):
    state, path = network().state_dict(), tmp_path / file
    if file == "m.safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=file != "old.pt")
    whole = path.read_bytes()
    for end in (0, 7, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:end])
        with pytest.raises(WeightsError, match=f"{file} is (truncated|damaged)"):
            read_checkpoint(path)


def test_files_without_weights(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="no state dictionary: it has the entries epoch"):
        read_checkpoint(tmp_path / "a.pt")
    torch.save(torch.zeros(3), tmp_path / "b.pt")
    with pytest.raises(WeightsError, match="holds a Tensor"):
        read_checkpoint(tmp_path / "b.pt")


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "features.module.", "a.b.c."])
def test_prefixes_are_stripped_and_heads_left_out(prefix):
    source, target = network(1), network(2)
    state = {prefix + name: tensor for name, tensor in source.state_dict().items()}
    if prefix:
        state["head.kernel"] = torch.zeros(2, 100)
    load_weights(target, state, source="f.pt")
    assert equal(target.state_dict(), source.state_dict())


def test_two_networks_in_one_file_are_ambiguous():
    state = network().state_dict()
    both = {f"{who}.{name}": t for who in ("teacher", "student") for name, t in state.items()}
    with pytest.raises(WeightsError, match="several networks.*'teacher.', 'student.'"):
        find_prefix(both, state, source="f.pt")


def test_differences_are_listed():
    state = network().state_dict()
    del state["0.bias"]
    state["4.weight"] = torch.zeros(3)
    state["3.weight"] = torch.zeros(2, 17)
    with pytest.raises(WeightsMismatchError) as caught:
        load_weights(network(), state, source="f.pt")
    text = str(caught.value)
    assert "1 missing: 0.bias" in text
    assert "1 unexpected: 4.weight" in text
    assert "3.weight (2, 17) instead of (2, 16)" in text


def test_counters_of_batches_may_be_missing():
    state = {n: t for n, t in network(1).state_dict().items() if "num_batches" not in n}
    load_weights(network(), state, source="f.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_must_be_finite(value):
    state = network().state_dict()
    state["1.running_var"][2] = value
    with pytest.raises(WeightsError, match="not finite: 1 in: 1.running_var"):
        load_weights(network(), state, source="f.pt")


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool])
def test_weights_of_another_kind_of_number(dtype):
    state = network().state_dict()
    state["3.weight"] = state["3.weight"].to(dtype)
    with pytest.raises(WeightsMismatchError, match="of another kind of number: 3.weight"):
        load_weights(network(), state, source="f.pt")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision(dtype):
    state = {
        n: t.to(dtype) if t.is_floating_point() else t for n, t in network(1).state_dict().items()
    }
    target = network()
    load_weights(target, state, source="f.pt")
    assert target[3].weight.dtype == torch.float32
    torch.testing.assert_close(target[3].weight, network(1)[3].weight, atol=1e-2, rtol=1e-2)


def test_sparse_weights():
    state = network().state_dict()
    state["3.weight"] = state["3.weight"].to_sparse()
    with pytest.raises(WeightsError, match="3.weight is a sparse"):
        load_weights(network(), state, source="f.pt")


def test_a_figure_beside_the_container(tmp_path):
    state = network().state_dict()
    torch.save({"best": torch.tensor(0.9), "state_dict": state}, tmp_path / "c.pt")
    assert equal(read_checkpoint(tmp_path / "c.pt"), state)

import os
import pickle
from collections import OrderedDict

import pytest
import torch
from torch import nn

from freqlab.errors import UnsafePickleError, WeightsError
from freqlab.models.pickles import read_pickled_module

STUBS = ("torch.nn.", "torch.device")


def save_whole(module, path):
    """As PyTorch did before 1.6."""
    torch.save(module, path, _use_new_zipfile_serialization=False)


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        OrderedDict(conv=nn.Conv2d(3, 4, 3), bn=nn.BatchNorm2d(4), tied=nn.Linear(5, 2))
    )


@pytest.mark.parametrize("wrapped", [False, True])
def test_tensors_are_read_from_a_pickled_module(tmp_path, wrapped):
    module = network()
    save_whole(nn.DataParallel(module) if wrapped else module, tmp_path / "m.pkl")
    found = read_pickled_module(tmp_path / "m.pkl", stubs=STUBS)
    expected = module.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)


class Hostile:
    def __reduce__(self):
        return os.system, ("touch HOSTILE",)


@pytest.mark.parametrize("place", ["object", "attribute", "system information"])
def test_a_hostile_pickle_does_not_run(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    module = network()
    if place == "attribute":
        module.evil = Hostile()
    save_whole(Hostile() if place == "object" else module, "m.pkl")
    if place == "system information":
        content = (tmp_path / "m.pkl").read_bytes()
        start = len(pickle.dumps(0x1950A86A20F9469CFC6C, 2)) + len(pickle.dumps(1001, 2))
        (tmp_path / "m.pkl").write_bytes(content[:start] + pickle.dumps(Hostile(), 2))
    with pytest.raises(UnsafePickleError, match="system"):
        read_pickled_module("m.pkl", stubs=STUBS)
    assert not (tmp_path / "HOSTILE").exists()


def test_a_function_of_an_admitted_package_stays_inert(tmp_path):
    """Whatever lies under an admitted prefix is a stand-in too, never the real thing."""

    class Call:
        def __reduce__(self):
            return torch.nn.init.zeros_, (torch.ones(3),)

    module = network()
    module.extra = Call()
    save_whole(module, tmp_path / "m.pkl")
    assert "conv.weight" in read_pickled_module(tmp_path / "m.pkl", stubs=STUBS)


def test_damaged_files(tmp_path):
    path = tmp_path / "m.pkl"
    save_whole(network(), path)
    content = path.read_bytes()
    for end in (5, 200, len(content) - 10):
        path.write_bytes(content[:end])
        with pytest.raises(WeightsError):
            read_pickled_module(path, stubs=STUBS)
    path.write_bytes(pickle.dumps("something else"))
    with pytest.raises(WeightsError, match="does not begin"):
        read_pickled_module(path, stubs=STUBS)

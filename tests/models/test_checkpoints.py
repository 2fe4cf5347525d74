import argparse
import collections
import datetime
import decimal
import fractions
import functools
import os
import pathlib
import pickle
import sys
import types
import uuid
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import freqlab as fl
from freqlab.errors import (
    UnsafePickleError,
    UntrustedModelError,
    WeightsError,
    WeightsMismatchError,
)
from freqlab.models.checkpoints import find_prefix, load_weights, read_checkpoint
from freqlab.models.mobilefacenet import MobileFaceNet
from freqlab.models.notes import collected_notes


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


ARGUMENTS = argparse.Namespace(
    data=pathlib.PurePosixPath("/data/ms1m"), out=pathlib.Path("runs"), lr=np.float32(0.1),
    seed=np.int64(2**40), when=datetime.datetime(2024, 1, 2), step=datetime.timedelta(1),
    widths=np.arange(3), loss=functools.partial(dict, a=1), many=collections.defaultdict(list),
    order=collections.OrderedDict(a=1), last=collections.deque([1]), run=uuid.UUID(int=5),
    price=decimal.Decimal("1.5"), share=fractions.Fraction(1, 3), big=2**70,
)  # fmt: skip


@pytest.mark.parametrize("zipped", [True, False])
def test_saved_arguments_are_passed_over(tmp_path, zipped):
    """Objects of Python and NumPy that hold data and do nothing."""
    state = network().state_dict()
    content = {"state_dict": state, "args": ARGUMENTS, "config": vars(ARGUMENTS), "best": 0.9}
    torch.save(content, tmp_path / "c.pt", _use_new_zipfile_serialization=zipped)
    assert equal(read_checkpoint(tmp_path / "c.pt"), state)


def test_classes_of_the_training_program_are_passed_over(tmp_path):
    """Its code is not there, or must not run; and objects of PyTorch itself."""
    module = types.ModuleType("their_training_code")

    class Config:
        def __init__(self):
            self.width = 4

        def __setstate__(self, state):
            raise AssertionError("this ran")

    Config.__module__, Config.__qualname__ = "their_training_code", "Config"
    module.Config = Config
    state = network().state_dict()
    sys.modules["their_training_code"] = module
    optimizer = torch.optim.SGD(network().parameters(), lr=0.1)
    content = {
        "state_dict": state,
        "cfg": Config(),
        "criterion": nn.CrossEntropyLoss(),
        "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1),
    }
    try:
        torch.save(content, tmp_path / "c.pt")
        assert equal(read_checkpoint(tmp_path / "c.pt"), state)
    finally:
        del sys.modules["their_training_code"]
    assert equal(read_checkpoint(tmp_path / "c.pt"), state)


def beside():
    """What training programs save beside the network: tensors too."""
    parameters = list(network().parameters())
    optimizer = torch.optim.Adam(parameters)
    sum((p**2).sum() for p in parameters).backward()
    optimizer.step()
    return {
        "epoch": 3,
        "optimizer": optimizer.state_dict(),
        "state_optimizer": optimizer.state_dict(),
        "state_dict_softmax_fc": {"weight": torch.zeros(9, 2)},
        "head": {"kernel": torch.zeros(2, 9)},
        "criterion_state_dict": {"centers": torch.zeros(9, 2)},
    }


@pytest.mark.parametrize(
    "container",
    ["state_dict", "model_state_dict", "state_dict_backbone", "net", "backbone", "model", "ema",
     "state_dict_ema", "net_state_dict", "encoder", "their_own_name"],
)  # fmt: skip
def test_entries_in_which_networks_are_saved(tmp_path, container):
    state = network(1).state_dict()
    torch.save({**beside(), container: state}, tmp_path / "c.pt")
    found = read_checkpoint(tmp_path / "c.pt")
    assert equal(found, state)
    target = network(2)
    load_weights(target, found, source="c.pt")
    assert equal(target.state_dict(), state)


@pytest.mark.parametrize("inner", ["", "module.", "backbone.", "model.", "net.module.backbone."])
def test_entries_in_entries(tmp_path, inner):
    state = network(1).state_dict()
    named = {inner + name: tensor for name, tensor in state.items()}
    torch.save({"state": {"model": {"state_dict": named}}, **beside()}, tmp_path / "c.pt")
    target = network(2)
    load_weights(target, read_checkpoint(tmp_path / "c.pt"), source="c.pt")
    assert equal(target.state_dict(), state)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module._orig_mod.{name}",
        lambda name: name.replace("1.", "1._fsdp_wrapped_module.", 1),
        lambda name: name.replace("0.", "0._checkpoint_wrapped_module.", 1),
    ],
)
def test_names_that_wrappers_change(tmp_path, wrap):
    state = network(1).state_dict()
    torch.save({wrap(name): tensor for name, tensor in state.items()}, tmp_path / "c.pt")
    target = network(2)
    load_weights(target, read_checkpoint(tmp_path / "c.pt"), source="c.pt")
    assert equal(target.state_dict(), state)


@pytest.mark.parametrize(
    ("plain", "averaged"),
    [("state_dict", "state_dict_ema"), ("model", "ema"), ("model", "model_ema"),
     ("state_dict_backbone", "ema_state_dict")],
)  # fmt: skip
def test_averaged_copies(tmp_path, plain, averaged):
    """The weights themselves are taken, which is told, and the averages on demand."""
    now, mean = network(1).state_dict(), network(2).state_dict()
    torch.save({averaged: mean, plain: now, **beside()}, tmp_path / "c.pt")
    with collected_notes() as notes:
        assert equal(read_checkpoint(tmp_path / "c.pt"), now)
    assert notes == [
        f"c.pt also holds averaged weights, under {averaged}; select them with part={averaged}"
    ]
    assert equal(read_checkpoint(tmp_path / "c.pt", part=averaged), mean)
    with pytest.raises(WeightsError, match=f"has no part 'best'; it has .*{averaged}"):
        read_checkpoint(tmp_path / "c.pt", part="best")


def test_averaged_copies_among_the_names(tmp_path):
    """As Lightning saves a module that keeps both."""
    now, mean = network(1).state_dict(), network(2).state_dict()
    both = {f"model.{n}": t for n, t in now.items()} | {
        f"ema_model.{n}": t for n, t in mean.items()
    }
    torch.save({"state_dict": both}, tmp_path / "c.ckpt")
    target = network(3)
    with collected_notes() as notes:
        load_weights(target, read_checkpoint(tmp_path / "c.ckpt"), source="c.ckpt")
    assert equal(target.state_dict(), now)
    assert "part=ema_model" in notes[0]
    load_weights(target, read_checkpoint(tmp_path / "c.ckpt", part="ema_model"), source="c.ckpt")
    assert equal(target.state_dict(), mean)


def test_one_of_several_networks(tmp_path):
    teacher, student = network(1).state_dict(), network(2).state_dict()
    both = {f"teacher.{n}": t for n, t in teacher.items()} | {
        f"student.{n}": t for n, t in student.items()
    }
    torch.save(both, tmp_path / "c.pt")
    target = network(3)
    load_weights(target, read_checkpoint(tmp_path / "c.pt", part="student"), source="c.pt")
    assert equal(target.state_dict(), student)
    torch.save({"first": teacher, "second": student}, tmp_path / "d.pt")
    with pytest.raises(WeightsError, match="under first, second: select .* part="):
        read_checkpoint(tmp_path / "d.pt")


def test_a_model_of_a_part_is_another(tmp_path):
    now, mean = MobileFaceNet(64).state_dict(), MobileFaceNet(64).state_dict()
    torch.save({"state_dict": now, "state_dict_ema": mean}, tmp_path / "c.pt")
    text = f"mobilefacenet,checkpoint={tmp_path / 'c.pt'}"
    plain = fl.load_model(text, device="cpu")
    averaged = fl.load_model(f"{text},part=state_dict_ema", device="cpu")
    assert equal(averaged.network.state_dict(), mean)
    assert plain.checkpoint != averaged.checkpoint
    assert "also holds averaged weights" in plain.notes[0]
    assert fl.load_model(text, device="cpu").notes == plain.notes  # from memory the same
    assert averaged.notes == []


def packed_archive(path, content):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, length in content.items():
            with archive.open(name, "w") as entry:
                for _ in range(length >> 20):
                    entry.write(bytes(1 << 20))


@pytest.mark.parametrize("record", ["a/data.pkl", "a/data/0"])
def test_an_archive_that_unpacks_to_gigabytes(tmp_path, record):
    path = tmp_path / "bomb.pt"
    packed_archive(path, {"a/data.pkl": 0, record: 600 << 20, "a/version": 0})
    with pytest.raises(WeightsError, match=r"has [\d,]+ bytes and would unpack to 629,145,600"):
        read_checkpoint(path)


def pickled(*operations):
    return b"\x80\x02" + b"".join(operations) + b"."


BOMBS = {
    "zeros by number": (b"cbuiltins\nbytearray\n", b"\x8a\x05\0\0\0\0\x10", b"\x85R"),
    "a tensor by number": (b"ctorch\nTensor\n", b"\x8a\x05\0\0\0\0\x10", b"\x85R"),
    "a storage by number": (
        b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu",
        b"\x8a\x05\0\0\0\0\x10",
        b"NtQ",
    ),
    "tuples in tuples": (b")" + b"2\x86" * 64, b"}q\x01h\x01"),
    "a dictionary by them": (b"}", b")" + b"q\x00h\x00\x86" * 64, b"Ns"),
    "a number of an object": (b"]r\xff\xff\xff\x7f",),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_fill_memory_or_time(tmp_path, bomb, zipped):
    path, content = tmp_path / "b.pt", pickled(*BOMBS[bomb])
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/data.pkl", content)
            archive.writestr("a/version", "3\n")
            archive.writestr("a/byteorder", "little")
    else:
        start = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
        path.write_bytes(start + pickle.dumps({"little_endian": True}, 2) + content)
    with pytest.raises(
        UnsafePickleError, match=r"b\.pt was not read: the pickle (makes|nests|numb)"
    ):
        read_checkpoint(path)


def test_few_numbers_repeated(tmp_path):
    """A file of a kilobyte whose tensors are of gigabytes, once something counts on them."""
    torch.save({"w": torch.zeros(1, 1).expand(9000, 9000)}, tmp_path / "c.pt")
    with pytest.raises(WeightsError, match=r"w repeats few numbers as \(9000, 9000\)"):
        read_checkpoint(tmp_path / "c.pt")
    torch.save({"fc.weight": torch.zeros(1, 1).expand(10**7, 512 * 49)}, tmp_path / "d.pt")
    with pytest.raises(UnsafePickleError, match=r"the number 1e\+07, more than the file has bytes"):
        fl.load_model("arcface", checkpoint=tmp_path / "d.pt")


def test_a_dictionary_that_holds_itself(tmp_path):
    content = {"a": {}}
    for _ in range(60):
        content = {"a": content, "b": content}
    content["a"]["self"] = content
    torch.save(content, tmp_path / "c.pt")
    with pytest.raises(WeightsError, match="no state dictionary: it has the entries a, b"):
        read_checkpoint(tmp_path / "c.pt")

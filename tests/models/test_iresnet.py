import json

import numpy as np
import pytest
import torch

import freqlab as fl
from freqlab.errors import ParameterError, WeightsError, WeightsMismatchError
from freqlab.models.iresnet import IResNet, IRNet

GOLDEN = [
    ("elasticface", "elasticface_iresnet18", 18),
    ("arcface", "elasticface_iresnet50", 50),
    ("elasticface", "elasticface_iresnet100", 100),
    ("magface", "magface_iresnet100", 100),
    ("curricularface", "curricularface_ir101", 101),
    ("adaface", "adaface_ir18", 18),
    ("adaface", "adaface_ir50", 50),
    ("adaface", "adaface_ir101", 101),
]
PREFIXES = {"magface": "features.module.", "adaface": "model.", "curricularface": "module."}


def drawn(tensors):
    """Weights drawn by the recipe that the golden embeddings were made with."""
    rng = np.random.default_rng(0)
    state = {}
    for name, shape in tensors.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(0)
            continue
        if name.endswith("running_var"):
            values = 1 + 0.1 * rng.random(shape)
        elif len(shape) == 1 and name.endswith("weight"):
            values = 0.5 + 0.5 * rng.random(shape)
        elif len(shape) >= 2:
            values = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        else:
            values = 0.1 * rng.standard_normal(shape)
        state[name] = torch.from_numpy(np.asarray(values, np.float32))
    return state


def golden_input():
    y, x = np.mgrid[0:112, 0:112]
    channels = [np.sin(x / 7) * np.cos(y / 11), np.sin(x / 5 + y / 9), np.cos(x * y / 900)]
    return torch.from_numpy(np.stack(channels)[None].astype(np.float32))


@pytest.mark.parametrize(
    ("name", "file", "depth"),
    [pytest.param(*one, marks=pytest.mark.slow if one[-1] >= 100 else ()) for one in GOLDEN],
)
def test_golden_embeddings(assets, tmp_path, name, file, depth):
    """A published layout, filled by recipe, gives the embedding that its own code gave."""
    facts = json.loads((assets / "checkpoints" / f"{file}.json").read_text())
    prefix = PREFIXES.get(name, "")
    state = {prefix + key: tensor for key, tensor in drawn(facts["tensors"]).items()}
    state["head.kernel" if prefix else "unused"] = torch.zeros(1)
    if not prefix:
        del state["unused"]
    torch.save({"state_dict": state}, tmp_path / "c.pt")
    model = fl.load_model(name, checkpoint=tmp_path / "c.pt", depth=depth, device="cpu")
    # what the network sees after the model's own preprocessing is the golden input
    pixels = golden_input() * model.spec.std + model.spec.mean
    if model.spec.channels == "BGR":
        pixels = pixels.flip(1)
    found = torch.nn.functional.normalize(model(pixels))[0]
    np.testing.assert_allclose(found, facts["golden_unit_embedding"], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "channels", "mean", "std"),
    [
        ("elasticface", "RGB", 127.5, 127.5),
        ("curricularface", "RGB", 127.5, 127.5),
        ("arcface", "RGB", 127.5, 127.5),
        ("magface", "BGR", 0, 255),
        ("adaface", "BGR", 127.5, 127.5),
    ],
)
def test_preprocessing_is_that_of_the_authors(tmp_path, name, channels, mean, std):
    network = IResNet(18) if name in ("elasticface", "arcface", "magface") else None
    network = network or IRNet(18, middle_norm=name == "adaface")
    torch.save(network.state_dict(), tmp_path / "c.pt")
    spec = fl.load_model(name, checkpoint=tmp_path / "c.pt", device="cpu").spec
    assert (spec.channels, spec.mean, spec.std) == (channels, mean, std)
    assert spec.template == "arcface"


@pytest.mark.parametrize(("depth", "millions"), [(18, 24.0), (34, 34.1), (50, 43.6), (100, 65.2)])
def test_sizes_are_the_published_ones(depth, millions):
    with torch.device("meta"):
        count = sum(p.numel() for p in IResNet(depth).parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.1)


@pytest.fixture
def small(tmp_path):
    torch.save(IResNet(18, n_features=128).state_dict(), tmp_path / "c.pt")
    return tmp_path / "c.pt"


def test_depth_and_features_are_read_from_the_file(small):
    model = fl.load_model("arcface", checkpoint=small, device="cpu")
    assert model(torch.zeros(2, 3, 112, 112)).shape == (2, 128)


def test_wrong_depth(small):
    with pytest.raises(WeightsError, match="depth 18, not 50"):
        fl.load_model("arcface", checkpoint=small, depth=50, device="cpu")
    with pytest.raises(ParameterError, match="depth=51 must be one of 18, 34, 50, 100"):
        fl.load_model("arcface", checkpoint=small, depth=51, device="cpu")


def test_unknown_number_of_blocks(tmp_path):
    state = IResNet(18).state_dict()
    state["layer3.2.bn1.weight"] = torch.zeros(256)
    torch.save(state, tmp_path / "c.pt")
    with pytest.raises(WeightsError, match=r"has 2 \+ 2 \+ 3 \+ 2 residual blocks"):
        fl.load_model("arcface", checkpoint=tmp_path / "c.pt", device="cpu")


def test_the_right_family_is_named(small, tmp_path):
    with pytest.raises(WeightsMismatchError, match="belong to elasticface, arcface or magface"):
        fl.load_model("adaface", checkpoint=small, device="cpu")
    torch.save(IRNet(18, middle_norm=False).state_dict(), tmp_path / "d.pt")
    with pytest.raises(WeightsMismatchError, match="could belong to curricularface"):
        fl.load_model("adaface", checkpoint=tmp_path / "d.pt", device="cpu")


def test_no_weights_no_model():
    with pytest.raises(WeightsError, match="fdbtrs/ElasticFace.*checkpoint=FILE"):
        fl.load_model("elasticface", device="cpu")


def check_excitation(network, name):
    """Squeeze and excitation of the first block against the same written out in NumPy."""
    block = network.body[0].res_layer
    x = torch.randn(2, 64, 56, 56)
    with torch.no_grad():
        found = block.get_submodule(name)(x)
    fc1 = block.get_submodule(name).fc1.weight.detach().numpy()[:, :, 0, 0]
    fc2 = block.get_submodule(name).fc2.weight.detach().numpy()[:, :, 0, 0]
    means = x.numpy().mean((2, 3))
    gates = 1 / (1 + np.exp(-np.maximum(means @ fc1.T, 0) @ fc2.T))
    np.testing.assert_allclose(found, x.numpy() * gates[:, :, None, None], atol=1e-5)


@pytest.mark.parametrize("name", ["ir_se50", "curricularface"])
def test_squeeze_and_excitation_as_insightface_pytorch_names_it(tmp_path, name):
    """Names and shapes as in model_ir_se50.pth: fc1, fc2 under res_layer.5, affine at the end."""
    torch.manual_seed(0)
    network = IRNet(50, middle_norm=False, excitation="5", affine=True).eval()
    state = network.state_dict()
    assert state["body.0.res_layer.5.fc1.weight"].shape == (4, 64, 1, 1)
    assert state["body.23.res_layer.5.fc2.weight"].shape == (512, 32, 1, 1)
    assert state["output_layer.4.bias"].shape == (512,)
    # two normalisations of five tensors, two convolutions, PReLU, and two of squeeze, per block
    assert sum(".res_layer." in n for n in state) == 24 * (2 * 5 + 2 + 1 + 2)
    check_excitation(network, "5")
    torch.save(state, tmp_path / "model_ir_se50.pth")
    model = fl.load_model(name, checkpoint=tmp_path / "model_ir_se50.pth", device="cpu")
    images = torch.rand(2, 3, 112, 112) * 255
    with torch.no_grad():
        truth = network((images - 127.5) / 127.5)
    torch.testing.assert_close(model(images), truth, atol=1e-4, rtol=1e-4)
    assert (model.spec.channels, model.spec.mean, model.spec.std) == ("RGB", 127.5, 127.5)


def test_squeeze_and_excitation_as_adaface_names_it(tmp_path):
    network = IRNet(18, middle_norm=True, excitation="se_block").eval()
    assert "body.0.res_layer.se_block.fc1.weight" in network.state_dict()
    check_excitation(network, "se_block")
    state = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "c.ckpt")
    model = fl.load_model("adaface", checkpoint=tmp_path / "c.ckpt", device="cpu")
    images = torch.rand(1, 3, 112, 112) * 255
    with torch.no_grad():
        truth = network((images.flip(1) - 127.5) / 127.5)
    torch.testing.assert_close(model(images), truth, atol=1e-4, rtol=1e-4)


def test_variants_are_named_as_what_they_are(tmp_path):
    plain, excited = tmp_path / "plain.pt", tmp_path / "excited.pt"
    torch.save(IRNet(50, middle_norm=False).state_dict(), plain)
    torch.save(IRNet(50, middle_norm=False, excitation="5").state_dict(), excited)
    with pytest.raises(WeightsMismatchError, match="without squeeze and exc.*to curricularface"):
        fl.load_model("ir_se50", checkpoint=plain, device="cpu")
    with pytest.raises(WeightsError, match="depth 50, not 100"):
        fl.load_model("ir_se101", checkpoint=excited, device="cpu")
    with pytest.raises(WeightsMismatchError, match="belong to ir_se50, ir_se101 or curricularface"):
        fl.load_model("adaface", checkpoint=excited, device="cpu")
    with pytest.raises(WeightsError, match="could belong to ir_se50"):
        fl.load_model(excited)
    state = IRNet(18, middle_norm=True).state_dict()
    state["body.0.res_layer.7.weight"] = torch.zeros(64, 16, 1, 1)
    torch.save(state, plain)
    with pytest.raises(WeightsMismatchError, match="blocks of three convolutions.*not supported"):
        fl.load_model("adaface", checkpoint=plain, device="cpu")


def test_a_last_normalisation_with_numbers_of_its_own(tmp_path):
    """As in face.evoLVe's ir_50."""
    network = IRNet(18, middle_norm=False, affine=True).eval()
    with torch.no_grad():
        network.output_layer[4].weight.fill_(2)
    torch.save(network.state_dict(), tmp_path / "c.pt")
    model = fl.load_model("curricularface", checkpoint=tmp_path / "c.pt", device="cpu")
    images = torch.rand(1, 3, 112, 112) * 255
    with torch.no_grad():
        truth = network((images - 127.5) / 127.5)
    torch.testing.assert_close(model(images), truth, atol=1e-4, rtol=1e-4)

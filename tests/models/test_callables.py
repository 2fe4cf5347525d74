import re
from collections import OrderedDict, namedtuple

import numpy as np
import pytest
import torch
from torch import nn

import freqlab as fl
from freqlab.errors import ModelError, ParameterError, UnknownNameError


def network():
    torch.manual_seed(0)
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 3), pool=nn.Flatten()))


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
        fl.models.ModelSpec("m", std=0)
    for mean in ([1, 2], "127.5", np.zeros(3), [1, 2, "3"]):
        with pytest.raises(ParameterError, match="mean="):
            fl.wrap_model(first, name="a", mean=mean)
    with pytest.raises(ParameterError, match="device"):
        fl.wrap_model(first, name="a", device="gpu")
    with pytest.raises(ParameterError, match="name=3"):
        fl.wrap_model(first, name=3)
    with pytest.raises(UnknownNameError, match="RGB"):
        fl.models.ModelSpec("m", channels="RBG")


def blocks(images):
    """Works on tensors and arrays alike: means over the four quarters of each channel."""
    n = len(images)
    return images.reshape(n, 3, 2, 56, 2, 56).mean((3, 5)).reshape(n, 12)


def numpy_only(images):
    assert isinstance(images, np.ndarray)
    return blocks(images)


def numpy_by_method(images):
    """Stumbles over a tensor, which has no astype."""
    return blocks(images.astype(np.float64))


def torch_to_numpy(images):
    return blocks(images).numpy()


@pytest.mark.parametrize(
    ("function", "arrays"),
    [
        (blocks, "auto"),
        (blocks, "torch"),
        (blocks, "numpy"),
        (numpy_only, "numpy"),
        (numpy_by_method, "auto"),
        (torch_to_numpy, "auto"),
        (torch_to_numpy, "torch"),
    ],
)
def test_functions_of_tensors_and_of_arrays(function, arrays):
    model = fl.wrap_model(function, name="f", arrays=arrays)
    images = torch.rand(3, 3, 112, 112) * 255
    for _ in range(2):
        found = model(images)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, blocks(images))


def test_a_function_that_fails_on_both_tells_its_first_fault():
    def wrong(images):
        raise TypeError(f"cannot take {type(images).__name__}")

    with pytest.raises(ModelError, match="cannot take Tensor"):
        fl.wrap_model(wrong, name="f")(torch.zeros(1, 3, 112, 112))
    with pytest.raises(ModelError, match="cannot take ndarray"):
        fl.wrap_model(wrong, name="f", arrays="numpy")(torch.zeros(1, 3, 112, 112))
    with pytest.raises(UnknownNameError, match="Did you mean 'numpy'"):
        fl.wrap_model(wrong, name="f", arrays="nump")


def test_functions_are_usable_everywhere(synthetic):
    def halves(images):
        return images.reshape(len(images), 6, -1).mean(axis=2)

    pairs = fl.make_pairs(synthetic)
    result = fl.influence(synthetic, pairs, models=[halves, numpy_by_method], progress=False)
    assert result["model"].to_numpy().tolist() == ["halves", "numpy_by_method"]
    assert np.isfinite(result["influence"]).all()


def test_versions_of_a_module():
    model = fl.wrap_model(network(), name="m", version="2")
    assert model.checkpoint.endswith("; version 2")


def test_a_function_that_returns_the_same_memory_each_time(synthetic):
    """As a runtime with a fixed output buffer does."""
    buffer = np.empty((8, 12), np.float32)

    def reusing(images):
        buffer[: len(images)] = blocks(images)
        return buffer[: len(images)]

    model = fl.wrap_model(reusing, name="reusing", arrays="numpy")
    crops, none = np.stack(synthetic.images), np.zeros((1, 15), bool)
    labels = fl.rings().label_map(112, 112)
    found = fl.engine.embed_block(model, crops, none, labels, batch_size=2)[0][:, 0]
    expected = blocks(torch.from_numpy(crops).permute(0, 3, 1, 2).float())
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_function_that_changes_its_input_before_it_fails():
    def in_place(images):
        images -= 100
        return blocks(images.astype(np.float32))

    images = torch.rand(2, 3, 112, 112)
    model = fl.wrap_model(in_place, name="f")
    for _ in range(2):
        torch.testing.assert_close(model(images), blocks(images) - 100)


def test_a_module_that_flattens_by_view():
    """The commonest end of a network needs its images contiguous."""

    class Viewing(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, images):
            features = self.conv(images)
            return features.view(len(features), -1)[:, :16]

    assert fl.wrap_model(Viewing(), name="v")(torch.rand(2, 3, 112, 112)).shape == (2, 16)


def test_a_network_in_training_mode_is_noticed(synthetic):
    module = nn.Sequential(nn.Conv2d(3, 4, 9), nn.BatchNorm2d(4), nn.AvgPool2d(26), nn.Flatten())

    def hidden(images):  # a function hides its module, which then cannot be put into evaluation
        return module(images)

    with pytest.raises(ModelError, match=r"'hidden' gives different embeddings.*call eval\(\)"):
        fl.influence(synthetic, fl.make_pairs(synthetic), models=[hidden], progress=False)
    module.eval()
    fl.influence(synthetic, fl.make_pairs(synthetic), models=[hidden], progress=False)


class Two(nn.Module):
    """An embedding and its length, in several forms."""

    def __init__(self, form):
        super().__init__()
        self.linear = nn.Linear(3, 16)
        self.form = form

    def forward(self, images):
        features = self.linear(images.mean((2, 3)))
        return self.form(features, features.norm(dim=1, keepdim=True))


Named = namedtuple("Named", ["embedding", "norm"])


@pytest.mark.parametrize("form", [lambda e, n: (e, n), lambda e, n: [e, n], Named])
def test_the_first_of_several_outputs_is_taken_and_told(synthetic, tmp_path, capsys, form):
    model = fl.wrap_model(Two(form).eval(), name="two")
    images = torch.rand(4, 3, 112, 112) * 255
    torch.testing.assert_close(model(images), model.network(images)[0])
    store = tmp_path / "r.zarr"
    fl.embed(synthetic, models=[model], store=store)
    told = r"note: two: the network returned a (tuple|list) of 2 outputs \(\(n, 16\), \(n, 1\)\)"
    assert len(re.findall(told, capsys.readouterr().err)) == 1


def test_another_output_is_asked_for():
    images = torch.rand(4, 3, 112, 112) * 255
    module = Two(Named).eval()
    for output in (1, "norm", "1", -1):
        model = fl.wrap_model(module, name="two", output=output)
        torch.testing.assert_close(model(images), module(images).norm)
        assert model.checkpoint != fl.wrap_model(module, name="two").checkpoint
    with pytest.raises(ModelError, match=r"returned 2 outputs \(.*\), none of them 5"):
        fl.wrap_model(module, name="two", output=5)(images)
    with pytest.raises(ParameterError, match="output=1.5"):
        fl.wrap_model(module, name="two", output=1.5)
    with pytest.raises(ModelError, match="returned one output.*output=1 does not apply"):
        fl.wrap_model(blocks, name="b", output=1)(images)


@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_the_entries_of_a_dictionary_are_named(kind):
    module = Two(lambda e, n: kind(embedding=e, norm=n)).eval()
    images = torch.rand(4, 3, 112, 112) * 255
    told = r"'m' returned a dictionary with the entries 'embedding' \(n, 16\), 'norm' \(n, 1\); say"
    with pytest.raises(ModelError, match=told):
        fl.wrap_model(module, name="m")(images)
    with pytest.raises(ModelError, match="'norm'.*not 'features'"):
        fl.wrap_model(module, name="m", output="features")(images)
    model = fl.wrap_model(module, name="m", output="embedding")
    torch.testing.assert_close(model(images), module(images)["embedding"])


def test_outputs_of_functions_of_arrays():
    def pair(images):
        return blocks(images.astype(np.float32)), np.ones(len(images))

    images = torch.rand(2, 3, 112, 112)
    torch.testing.assert_close(fl.wrap_model(pair, name="p")(images), blocks(images))
    as_dict = fl.wrap_model(lambda x: {"e": pair(x)[0]}, name="d", output="e")
    torch.testing.assert_close(as_dict(images), blocks(images))


def trained(kind):
    """Networks that do something else in training."""
    torch.manual_seed(0)
    layers = {
        "BatchNorm2d": nn.BatchNorm2d(16),
        "Dropout": nn.Dropout(0.2),
    }
    module = nn.Sequential(
        nn.Conv2d(3, 16, 9, stride=4),
        layers[kind],
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(6),
        nn.Flatten(),
    )
    with torch.no_grad():
        module[0].bias.uniform_(-1, 1)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 4, 16, 33])
@pytest.mark.parametrize("kind", ["BatchNorm2d", "Dropout"])
def test_training_mode_is_found_at_any_batch_size(synthetic, batch_size, kind):
    """Hidden in a function, where it cannot be put into evaluation."""
    module = trained(kind)
    functions = {
        "closure": lambda images: module(images),
        "array": lambda images: module(torch.as_tensor(images)).detach().numpy(),
    }
    for name, function in functions.items():
        module.train()
        model = fl.wrap_model(function, name=name, mean=127.5, std=127.5)
        with pytest.raises(
            ModelError, match=r"different embeddings of a crop alone.*call eval\(\)"
        ):
            fl.embed(synthetic, models=[model], batch_size=batch_size, progress=False)
        module.eval()
        fl.embed(synthetic, models=[model], batch_size=batch_size, progress=False)


def test_a_part_in_training_mode_is_put_into_evaluation_and_left_as_it_was(synthetic):
    module = trained("BatchNorm2d").eval()
    images = torch.rand(4, 3, 112, 112) * 255
    with torch.no_grad():
        truth = module(images)
    module[1].train()
    model = fl.wrap_model(module, name="m")
    torch.testing.assert_close(model(images), truth)
    assert module[1].training
    assert not module.training


def test_a_normalisation_that_needs_a_batch_in_training():
    module = nn.Sequential(nn.AvgPool2d(56), nn.Flatten(), nn.BatchNorm1d(12)).train()
    model = fl.wrap_model(lambda images: module(images), name="m")
    with pytest.raises(ModelError, match=r"more than 1 value.*call eval\(\) on it"):
        model(torch.zeros(1, 3, 112, 112))


def test_every_number_of_a_module_is_in_its_checksum():
    """Also those that its state dictionary leaves out."""

    class Scaled(nn.Module):
        def __init__(self, where, value):
            super().__init__()
            self.register_buffer("table", torch.full((2,), value if where == "b" else 0.0),
                                 persistent=False)  # fmt: skip
            self.plain = torch.full((2,), value if where == "t" else 0.0)
            self.array = np.full(2, value if where == "a" else 0.0)

        def forward(self, images):
            return images

    digests = [fl.wrap_model(Scaled(w, v), name="m").checkpoint for w in "bta" for v in (1.0, 2.0)]
    assert len(set(digests)) == 6
    assert digests[0] == fl.wrap_model(Scaled("b", 1.0), name="m").checkpoint
    # and a module without such keeps the checksum it has in stores
    assert fl.wrap_model(nn.Linear(2, 1), name="m").checkpoint != ""


def test_a_classifier_given_as_a_module_is_told(synthetic, capsys):
    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 37)

        def forward(self, images):
            return self.fc(images.mean((2, 3)))

    torch.manual_seed(0)
    model = fl.wrap_model(Classifier(), name="c", mean=127.5, std=127.5)
    fl.embed(synthetic, models=[model])
    assert "note: c: its 37 outputs come from 'fc', by its name the head of a classifier" in (
        capsys.readouterr().err
    )

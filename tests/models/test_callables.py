from collections import OrderedDict

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
        fl.ModelSpec("m", std=0)
    for mean in ([1, 2], "127.5", np.zeros(3), [1, 2, "3"]):
        with pytest.raises(ParameterError, match="mean="):
            fl.wrap_model(first, name="a", mean=mean)
    with pytest.raises(ParameterError, match="device"):
        fl.wrap_model(first, name="a", device="gpu")
    with pytest.raises(ParameterError, match="name=3"):
        fl.wrap_model(first, name=3)
    with pytest.raises(UnknownNameError, match="RGB"):
        fl.ModelSpec("m", channels="RBG")


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
    found = fl.embed_block(model, crops, none, labels, batch_size=2)[0][:, 0]
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

    with pytest.raises(ModelError, match=r"'hidden' embeds a crop otherwise.*call eval\(\)"):
        fl.influence(synthetic, fl.make_pairs(synthetic), models=[hidden], progress=False)
    module.eval()
    fl.influence(synthetic, fl.make_pairs(synthetic), models=[hidden], progress=False)

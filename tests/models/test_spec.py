import hashlib
import json

import numpy as np
import pytest
import torch
from torch import nn

import freqlab as fl
from freqlab.errors import ModelError, ParameterError


def test_preprocessing_is_the_declared_one():
    seen = []
    spec = fl.models.ModelSpec("m", channels="BGR", mean=127.5, std=128.0)
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
        (lambda x: x.flatten(1)[:, :4].double() + 1e300, "too large"),
        (lambda x: x.flatten(1)[:, :4].double() + 1e-300, "zeros"),
        (lambda x: x.flatten(1)[:, :4] + 1j, "complex"),
        (lambda x: x.flatten(1).numpy(), "returned a ndarray"),
    ],
)
def test_a_network_that_misbehaves(answer, fault):
    model = fl.Model(fl.models.ModelSpec("m"), answer, "1")
    with pytest.raises(ModelError, match=fault):
        model(torch.zeros(2, 3, 112, 112))


def test_training_mode_is_left_as_it_was():
    """Batch normalisation runs on its running statistics, and the caller's module stays his."""
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Flatten())
    module[1].eval()
    model = fl.wrap_model(module, name="m")
    images = torch.rand(4, 3, 112, 112)
    together = model(images)
    torch.testing.assert_close(model(images[:1]), together[:1])
    assert [module.training, module[0].training, module[1].training] == [True, True, False]


def test_fingerprint_names_what_matters():
    fingerprint = fl.load_model("mobilefacenet", device="cpu").fingerprint()
    assert fingerprint["input_size"] == [112, 112]
    assert len(fingerprint["checkpoint"]) == len(hashlib.sha256().hexdigest())


def test_a_mean_and_a_deviation_for_each_channel():
    seen = []
    spec = fl.models.ModelSpec("m", channels="BGR", mean=[1, 2, 3], std=(1, 2, 4))
    model = fl.Model(spec, lambda x: seen.append(x) or x.flatten(1)[:, :2], "1")
    model(torch.full((1, 3, 112, 112), 11.0))
    assert seen[0][0, :, 0, 0].tolist() == [10, 4.5, 2]  # in the network's own order
    assert model.fingerprint()["mean"] == [1, 2, 3]
    assert hash(spec) == hash(
        fl.models.ModelSpec("m", channels="BGR", mean=(1, 2, 3), std=[1, 2, 4])
    )


def test_embeddings_are_as_long_as_declared():
    model = fl.Model(fl.models.ModelSpec("m", features=5), lambda x: x.flatten(1)[:, :4] + 1, "1")
    with pytest.raises(ModelError, match="returned 4 features; its declaration says 5"):
        model(torch.zeros(2, 3, 112, 112))


def test_a_nominal_eye_distance_only_where_eyes_are_not_fixed():
    spec = fl.models.ModelSpec("m", template="facenet", eye_distance=60)
    assert fl.Model(spec, lambda x: x, "1").eye_distance == 60
    assert (
        fl.Model(fl.models.ModelSpec("m", template="facenet"), lambda x: x, "1").eye_distance
        is None
    )
    with pytest.raises(ParameterError, match=r"'arcface' fixes the eyes, 35\.24 pixels apart"):
        fl.models.ModelSpec("m", eye_distance=40)
    for wrong in (0, -3, "60", float("nan")):
        with pytest.raises(ParameterError, match="eye_distance="):
            fl.models.ModelSpec("m", template="facenet", eye_distance=wrong)


def test_numbers_of_numpy_are_plain_numbers():
    numbers = {"mean": np.float32(127.5), "std": (np.int64(1), 2, 3)}
    spec = fl.models.ModelSpec("m", **numbers, template="facenet", eye_distance=np.float32(68))
    assert [type(v) for v in (spec.mean, *spec.std, spec.eye_distance)] == [float] * 5
    json.dumps(fl.Model(spec, lambda x: x, "1").fingerprint())

import json

import numpy as np
import pytest
import torch
from conftest import Linear, make_faces

import freqlab as fl
from freqlab.errors import ParameterError, StoreConflictError, UnknownNameError
from freqlab.models import precision
from freqlab.models.precision import in_precision


def test_a_module_is_cast_and_the_original_left_alone():
    model = fl.load_model("mobilefacenet", device="cpu")
    lower = in_precision(model, "bfloat16")
    assert lower.precision == "bfloat16"
    assert lower.original is model
    assert next(model.network.parameters()).dtype == torch.float32
    assert next(lower.network.parameters()).dtype == torch.bfloat16
    assert in_precision(model, "bfloat16").network is lower.network
    crops = torch.rand(4, 3, 112, 112, generator=torch.Generator().manual_seed(0)) * 255
    exact, rough = model(crops), lower(crops)
    assert rough.dtype == torch.float32
    cosine = torch.nn.functional.cosine_similarity(exact, rough)
    assert 0.99 < float(cosine.min()) < 0.999999


def test_only_modules_can_be_cast():
    model = fl.wrap_model(lambda images: images.flatten(1)[:, :8], name="function")
    with pytest.raises(ParameterError, match="'function' computes in float32"):
        in_precision(model, "bfloat16")
    assert in_precision(model, "auto") is model
    with pytest.raises(UnknownNameError, match="float16"):
        in_precision(model, "float16")


@pytest.mark.parametrize("fast", [True, False])
def test_auto_asks_the_processor(monkeypatch, fast):
    monkeypatch.setattr(precision, "_has_fast_bfloat16", lambda device: fast)
    model = in_precision(fl.wrap_model(Linear(), name="linear"), "auto")
    assert model.precision == ("bfloat16" if fast else "float32")


def test_a_run_says_what_its_precision_did(tmp_path, capsys):
    """The stored figure is that of the pairs of the sample, which here are all pairs."""
    synthetic = make_faces(n_subjects=3, per_subject=2)
    pairs = fl.make_pairs(synthetic, impostors_per_genuine=float("inf"))
    given = {
        "models": [fl.wrap_model(Linear(), name="linear")],
        "sides": ["probe", "reference"],
    }
    exact = fl.influence(synthetic, pairs, **given, progress=False)
    store = tmp_path / "run.zarr"
    rough = fl.influence(synthetic, pairs, **given, store=store, precision="bfloat16")
    assert "linear: bfloat16 moves influence by up to" in capsys.readouterr().err
    assert rough.attrs["precision"] == "bfloat16"
    error = json.loads(rough.attrs["precision_error"])["linear"]
    largest = float(np.abs(rough["influence"] - exact["influence"]).max())
    # either image of each pair was masked, in the run as in the sample
    assert error["largest_difference"] == pytest.approx(largest, abs=1e-5)
    assert error["faces"] == 6
    assert error["pairs"] == 30
    assert 0.5 < error["rank_correlation"] <= 1
    with pytest.raises(StoreConflictError, match="precision: stored 'bfloat16', given 'float32'"):
        fl.influence(synthetic, pairs, **given, store=store, progress=False)

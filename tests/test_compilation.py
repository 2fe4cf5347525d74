import numpy as np
import pytest
import torch
from conftest import Linear

import freqlab as fl
from freqlab import compilation
from freqlab.compilation import compiled, is_compiled, why_not_compilable
from freqlab.errors import ModelError, ParameterError
from freqlab.stages import embeddings


def test_only_modules_are_compiled():
    function = fl.wrap_model(lambda images: images.flatten(1)[:, :8], name="function")
    assert "not a PyTorch module" in why_not_compilable(function)
    with pytest.raises(ModelError, match="'function' cannot be compiled: it is not"):
        compiled(function, batch_size=8, threads=1)
    assert why_not_compilable(fl.wrap_model(Linear(), name="linear")) == ""


def test_what_embeds_otherwise_is_refused(monkeypatch, linear):
    other = compilation._Compiled(Linear(seed=1))
    monkeypatch.setattr(compilation, "_compile", lambda *_: other)
    with pytest.raises(ModelError, match="embeds otherwise once it is compiled"):
        compiled(linear, batch_size=4, threads=1)


def test_what_cannot_be_compiled_goes_on_as_it_is(monkeypatch, synthetic, linear, capsys):
    def no_compiler(*_):
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(compilation, "_compile", no_compiler)
    pairs = fl.make_pairs(synthetic)
    expected = fl.influence(synthetic, pairs, models=[linear], compile=False, progress=False)
    found = fl.influence(synthetic, pairs, models=[linear], compile=True)
    message = "note: model 'linear' cannot be compiled: no C++ compiler; it goes on uncompiled"
    assert capsys.readouterr().err.count(message) == 1
    np.testing.assert_array_equal(found["influence"], expected["influence"])


@pytest.mark.parametrize("worth", [0.0, 1e9])
def test_compiled_beside_the_work_if_that_pays(monkeypatch, synthetic, linear, worth, tmp_path):
    """The compiled network takes over; here one that can be told by what it counts."""
    calls = []

    def count(images):
        calls.append(len(images))
        return linear.network(images)

    monkeypatch.setattr(compilation, "_compile", lambda *_: compilation._Compiled(count))
    monkeypatch.setattr(embeddings, "WORTH_SECONDS", worth)
    monkeypatch.setattr(embeddings, "_CLEAR_AFTER", 0.0)
    store = tmp_path / "run.zarr"
    found = fl.influence(synthetic, fl.make_pairs(synthetic), models=[linear], store=store)
    expected = fl.influence(
        synthetic, fl.make_pairs(synthetic), models=[linear], compile=False, progress=False
    )
    np.testing.assert_allclose(found["influence"], expected["influence"], atol=1e-6)
    assert bool(calls) == (worth == 0)


def test_compile_must_be_one_of_three(synthetic, linear):
    with pytest.raises(ParameterError, match="compile='yes' must be True, False or 'auto'"):
        fl.influence(synthetic, fl.make_pairs(synthetic), models=[linear], compile="yes")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_compiled_agrees_with_eager(orl, precision):
    faces = orl.select(range(0, 40, 4))
    pairs = fl.make_pairs(faces, impostors_per_genuine=float("inf"))
    given = {"models": ["mobilefacenet"], "precision": precision, "progress": False}
    plain = fl.influence(faces, pairs, compile=False, **given)
    fast = fl.influence(faces, pairs, compile=True, **given)
    tolerance = 1e-5 if precision == "float32" else 0.03
    np.testing.assert_allclose(fast["influence"], plain["influence"], atol=tolerance)
    np.testing.assert_allclose(fast["similarity"], plain["similarity"], atol=tolerance)


@pytest.mark.slow
def test_a_network_is_compiled_once(orl):
    model = fl.load_model("mobilefacenet", device="cpu")
    first = compiled(model, batch_size=8, threads=1)
    assert is_compiled(first)
    assert compiled(model, batch_size=8, threads=1).network is first.network
    assert not is_compiled(model)
    with torch.inference_mode():
        found = first(torch.full((3, 3, 112, 112), 100.0))
    torch.testing.assert_close(found, model(torch.full((3, 3, 112, 112), 100.0)))

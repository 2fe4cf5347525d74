"""A plan against closed forms, and against what the run then does and stores."""

from pathlib import Path

import numpy as np
import pytest
from conftest import Linear, make_faces
from PIL import Image
from typer.testing import CliRunner

import freqlab as fl
from freqlab.cli import app
from freqlab.errors import BandError, PairError, ParameterError, StoreError
from freqlab.run.planning import _duration, _size


def size_of(store):
    return sum(path.stat().st_size for path in Path(store).rglob("*") if path.is_file())


@pytest.mark.slow
def test_forward_passes_are_those_of_the_run(tmp_path, linear):
    faces = make_faces(n_subjects=10, per_subject=4)
    pairs = fl.make_pairs(faces.select(range(20)), seed=0)  # of half of the faces
    n_masked = len(set(pairs["probe"]))
    store = tmp_path / "run"

    def planned(**kwargs):
        return fl.plan(faces, pairs, models=[linear], sides=["probe"], store=store, **kwargs)

    expected = 40 + 15 * n_masked
    assert planned(calibrate=0).forward_passes == {"linear": expected}
    assert not store.exists()
    fl.embed(faces.select(range(8)), models=[linear], store=store, progress=False)
    before = planned(calibrate=0)
    assert before.forward_passes == {"linear": expected - 8}
    assert before.models[0].in_store == 8
    result = fl.influence(
        faces, pairs, models=[linear], sides=["probe"], store=store, progress=False
    )
    assert result.attrs["forward_passes"] == expected - 8
    after = planned(calibrate=0)
    assert after.forward_passes == {"linear": 0}
    assert after.models[0].in_store == expected
    assert after.stored_bytes["faces"] == after.stored_bytes["crops"] == 0
    assert after.stored_bytes["embeddings"] == 0


def test_bands_without_coefficients_are_not_counted(linear):
    faces = make_faces()
    pairs, bands = fl.make_pairs(faces, seed=0), fl.rings(width=4)
    small = fl.wrap_model(Linear(size=56), name="small", template="arcface-56")
    labels = bands.label_map(56, 56)
    n_bands = len(np.unique(labels[labels >= 0]))
    assert n_bands < len(bands)
    plan = fl.plan(faces, pairs, models=[linear, small], bands=bands, calibrate=0)
    assert plan.forward_passes == {"linear": 12 * 16, "small": 12 * (1 + n_bands)}
    result = fl.influence(faces, pairs, models=[linear, small], bands=bands, progress=False)
    assert result.attrs["forward_passes"] == sum(plan.forward_passes.values())


class Counting(Linear):
    """Counts the images that it embeds."""

    seen = 0

    def forward(self, images):
        self.seen += len(images)
        return super().forward(images)


@pytest.mark.slow
def test_a_plan_bounds_the_passes_from_above(tmp_path):
    """Chroma bands of grey faces need no pass, which only the faces can tell."""
    coloured = make_faces(n_subjects=4, per_subject=2)
    grey = [np.repeat(image[:, :, :1], 3, axis=2) for image in coloured.images]
    bands, network = fl.channels(fl.rings(width=14)), Counting()
    n_chroma = len(bands) // 2
    models = [fl.wrap_model(network, name="counting")]
    for images, n_saved in ((coloured.images, 0), (grey, n_chroma - 1)):
        faces = fl.Faces(coloured.table, images=images, aligned="arcface", name="faces")
        pairs, store = fl.make_pairs(faces, seed=0), tmp_path / str(n_saved)
        of_run = {"models": models, "store": store, "batch_size": 1}
        fl.embed(faces, progress=False, **of_run)
        plan = fl.plan(faces, pairs, bands=bands, calibrate=0, **of_run)
        assert plan.forward_passes == {"counting": 8 * len(bands)}
        assert f"at most {8 * len(bands)} forward passes; 8 are in the store" in str(plan)
        network.seen = 0
        result = fl.influence(faces, pairs, bands=bands, progress=False, **of_run)
        # one more, by which the store recognises the model
        assert result.attrs["forward_passes"] == network.seen - 1 == 8 * (len(bands) - n_saved)
        assert "at most" not in str(fl.plan(faces, pairs, bands=bands, calibrate=0, **of_run))
        assert "at most" not in str(fl.plan(faces, calibrate=0, models=models))


def test_faces_that_could_not_be_read_are_not_counted(tmp_path, linear):
    crops, store = make_faces(), tmp_path / "run"
    paths = [tmp_path / f"{i}.png" for i in range(12)]
    for path, image in zip(paths, crops.images, strict=True):
        Image.fromarray(image).save(path)
    paths[5].write_bytes(b"no image")
    table = crops.table.assign(path=[str(path) for path in paths])
    faces = fl.Faces(table, aligned="arcface", name="on disk")
    fl.embed(faces, models=[linear], store=store, progress=False)
    plan = fl.plan(faces, fl.make_pairs(faces, seed=0), models=[linear], store=store, calibrate=0)
    assert plan.forward_passes == {"linear": 11 * 15}


@pytest.mark.slow
@pytest.mark.parametrize("keep_crops", [True, False])
def test_bytes_are_those_that_are_stored(tmp_path, keep_crops):
    """Embeddings to the byte; in all at most 2 % more, for metadata, and at most 20 % less.

    What a band's removal took from a face is repeated in each of its pairs, and compresses.
    """
    faces = make_faces(n_subjects=16, per_subject=4)
    pairs = fl.make_pairs(faces, impostors_per_genuine=9, seed=0)
    model = fl.wrap_model(Linear(n_features=256), name="linear")
    arguments = {"models": [model], "store": tmp_path / "run", "keep_crops": keep_crops}
    plan = fl.plan(faces, pairs, calibrate=0.01, **arguments)
    assert plan.stored_bytes["embeddings"] == 4 * 64 * (256 + 15 * 257)
    fl.influence(faces, pairs, progress=False, **arguments)
    files = (tmp_path / "run" / "embeddings").rglob("embedding/c/**/*")
    sizes = [p.stat().st_size for p in files if p.is_file()]
    checksums = 4 * len(sizes)  # a CRC-32C behind every chunk
    assert sum(sizes) == 4 * 64 * 256 * 16 + checksums
    assert 0.8 < size_of(tmp_path / "run") / sum(plan.stored_bytes.values()) < 1.02
    assert (plan.stored_bytes["crops"] > 0) == keep_crops


def test_a_large_run_is_proportional(linear):
    faces = make_faces()
    one = fl.plan(faces, models=[linear], workers=1, calibrate=0.05)
    (model,) = one.models
    assert model.pass_seconds > 0
    assert model.align_seconds > 0
    assert one.seconds == pytest.approx(12 * (model.pass_seconds + model.align_seconds))
    scale = one.at_scale(10_000_000)
    assert scale["forward_passes"] == 160_000_000
    assert scale["seconds"] == pytest.approx(1e7 * (16 * model.pass_seconds + model.align_seconds))
    crop = scale["bytes"] / 1e7 - 200 - 4 * (16 + 15 * 17)
    assert 0.9 < crop / (112 * 112 * 3) <= 1  # noise of 45 grey levels holds 7.5 bits of 8
    assert one.worker_memory > 100e6
    two = fl.plan(faces, models=[linear], workers=7, calibrate=0)
    assert two.at_scale()["bytes"] > 0
    assert np.isnan(two.seconds)
    text = str(one)
    assert "12 forward passes; 0 are in the store already" in text
    assert "160,000,000 forward passes" in text
    assert "on 1 worker" in text
    assert "expected time" not in str(two)


def test_two_models_of_one_template_align_once(linear):
    faces = make_faces()
    other = fl.wrap_model(Linear(seed=1), name="other")
    plan = fl.plan(faces, models=[linear, other], calibrate=0)
    assert [model.n_to_align for model in plan.models] == [12, 0]
    assert plan.stored_bytes["crops"] == 12 * 112 * 112 * 3


def test_time_is_of_the_right_order(linear):
    """A network that sleeps: its pass takes what it sleeps, whatever the machine."""
    import time

    class Slow(Linear):
        def forward(self, images):
            time.sleep(0.02 * len(images))
            return super().forward(images)

    plan = fl.plan(make_faces(), models=[fl.wrap_model(Slow(), name="slow")], calibrate=0.5)
    assert 0.02 <= plan.models[0].pass_seconds < 0.1


def test_what_does_not_fit_is_refused(tmp_path, synthetic, linear):
    with pytest.raises(ParameterError, match="workers=0"):
        fl.plan(synthetic, models=[linear], workers=0)
    with pytest.raises(ParameterError, match="calibrate=-1"):
        fl.plan(synthetic, models=[linear], calibrate=-1)
    with pytest.raises(ParameterError, match="bands=3"):
        fl.plan(synthetic, models=[linear], bands=3)
    with pytest.raises(PairError, match="is empty"):
        fl.plan(synthetic, fl.make_pairs(synthetic)[:0], models=[linear])
    with pytest.raises(BandError):
        fl.plan(synthetic, fl.make_pairs(synthetic), models=[linear], bands="rings:x")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="is a file"):
        fl.plan(synthetic, models=[linear], store=tmp_path / "file")


def test_sizes_and_times_in_words():
    assert [_size(n) for n in (12, 1200, 4.6e11)] == ["12 bytes", "1.2 kB", "460.0 GB"]
    assert [_duration(s) for s in (1.5, 600, 7200, 864000)] == [
        "1.5 seconds",
        "10.0 minutes",
        "2.0 hours",
        "10.0 days",
    ]


def test_the_command(tmp_path):
    store = tmp_path / "run"
    command = ["plan", "--faces", "orl", "--model", "mobilefacenet", "--store", str(store)]
    done = CliRunner().invoke(
        app, [*command, "--n-pairs", "20", "--workers", "100", "--calibrate", "0"]
    )
    assert done.exit_code == 0, done.output
    assert "400 faces, 20 pairs, 15 bands" in done.output
    assert "ten million faces" in done.output
    assert not store.exists()

import dataclasses
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from conftest import TESTS, Linear, make_faces

import freqlab as fl
from freqlab.errors import (
    BandError,
    FaceSetError,
    ModelError,
    PairError,
    ParameterError,
    StoreConflictError,
    StoreError,
    UnknownNameError,
)
from freqlab.store.layout import DONE, NO_FACE
from freqlab.store.locking import locked
from freqlab.store.run_store import RunStore


def compute(faces, pairs, model, **kwargs):
    return fl.influence(faces, pairs, models=[model], progress=False, **kwargs)


def test_linear_embedder_in_closed_form(synthetic, linear):
    """cos(W x_b, W y) with x_b from NumPy's two-sided transform and signed frequencies."""
    pairs = fl.make_pairs(synthetic)
    result = compute(synthetic, pairs, linear)
    matrix = linear.network.matrix.numpy().astype(float)
    crops = np.stack(synthetic.images).transpose(0, 3, 1, 2).astype(float)
    frequency = np.fft.fftfreq(112) * 112
    squared = np.rint(frequency[:, None] ** 2 + frequency[None] ** 2)

    def without(image, band):
        lower, upper = (4 * band) ** 2, (4 * (band + 1)) ** 2 if band < 14 else np.inf
        gone = (squared >= lower) & (squared < upper) & (squared > 0)
        return np.fft.ifft2(np.fft.fft2(image) * ~gone).real

    def cosine(x, y):
        a, b = matrix @ x.ravel(), matrix @ y.ravel()
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    position = {name: i for i, name in enumerate(synthetic.names)}
    for pair in (0, 7, 20):
        data = result.sel(pair=pair, model="linear")
        probe, reference = (crops[position[data[s].item()]] for s in ("probe", "reference"))
        similarity = cosine(probe, reference)
        assert float(data["similarity"]) == pytest.approx(similarity, abs=1e-5)
        for band in (0, 1, 7, 13, 14):
            expected = {
                "probe": similarity - cosine(without(probe, band), reference),
                "reference": similarity - cosine(probe, without(reference, band)),
                "both": similarity - cosine(without(probe, band), without(reference, band)),
            }
            for side, value in expected.items():
                found = float(data["influence"].sel(side=side).isel(band=band))
                assert found == pytest.approx(value, abs=2e-5)
            taken = np.sqrt(np.mean((probe - without(probe, band)) ** 2))
            found = float(data["removed_rms"].sel(side="probe").isel(band=band))
            assert found == pytest.approx(taken, rel=1e-4)
    probe, reference, both = (result["removed_rms"].sel(side=s).to_numpy() for s in result["side"])
    np.testing.assert_allclose(both**2, probe**2 + reference**2, rtol=1e-5)


def test_result_says_how_to_make_it_again(demo):
    assert demo["influence"].dims == ("model", "pair", "side", "band")
    assert demo["influence"].attrs["long_name"]
    assert demo["frequency"].attrs["units"] == "cycles/image"
    identity = json.loads(demo.attrs["identity"])
    model = identity["models"]["mobilefacenet"]
    assert model["checkpoint"].startswith("543394742684")
    assert model["channels"] == "BGR"
    assert identity["bands"] == fl.rings(width=4).declaration()
    for key in ("freqlab_version", "torch_version", "created_at", "method", "device"):
        assert demo.attrs[key]
    assert demo["probe"].to_numpy()[0].startswith("s")
    assert demo["probe_subject"].to_numpy()[0] == demo["reference_subject"].to_numpy()[0]


def test_result_survives_netcdf(demo, tmp_path):
    demo.to_netcdf(tmp_path / "result.nc")
    with xr.open_dataset(tmp_path / "result.nc") as again:
        xr.testing.assert_equal(again.load(), demo.load())


def test_second_call_runs_no_network(synthetic, tmp_path, capsys):
    network = Linear()
    model = fl.wrap_model(network, name="linear")
    pairs = fl.make_pairs(synthetic, n_pairs=6)
    store = tmp_path / "run.zarr"
    first = compute(synthetic, pairs, model, store=store).load()
    used = pd.unique(pairs[["probe", "reference"]].to_numpy().ravel())
    assert first.attrs["forward_passes"] == 12 + 15 * len(used)

    seen = []

    def watched(images):
        seen.append(len(images))
        return network(images)

    idle = fl.Model(model.spec, watched, model.checkpoint)
    second = fl.influence(synthetic, pairs, models=[idle], store=store)
    assert seen == [1]  # the reference crop: is it still the same model?
    assert "no forward pass" in capsys.readouterr().err
    assert second.attrs["forward_passes"] == 0
    xr.testing.assert_identical(second.drop_attrs(), first.drop_attrs())


@pytest.mark.slow
def test_a_store_grows_by_what_is_new(tmp_path, linear):
    store = tmp_path / "run.zarr"
    everyone = make_faces(n_subjects=5)
    some = everyone.select(range(6))
    compute(some, fl.make_pairs(some), linear, store=store)
    more = compute(everyone, fl.make_pairs(everyone), linear, store=store)
    assert more.attrs["forward_passes"] == 9 * 16
    other_bands = compute(
        everyone, fl.make_pairs(everyone), linear, bands=fl.rings(width=28), store=store
    )
    assert other_bands.attrs["forward_passes"] == 15 * 3
    second = fl.wrap_model(Linear(seed=1), name="second")
    both = fl.influence(
        everyone, fl.make_pairs(everyone), models=[linear, second], store=store, progress=False
    )
    assert both.attrs["forward_passes"] == 15 * 16
    fresh = compute(everyone, fl.make_pairs(everyone), linear)
    np.testing.assert_array_equal(both["influence"].sel(model="linear"), fresh["influence"][0])
    tree = fl.open_run(store)
    assert tree["faces"].sizes["face"] == 15
    assert sorted(tree["embeddings"]) == ["linear", "second"]
    assert len(tree["influence"]) == 4


def test_only_the_masked_side_is_embedded_by_band(synthetic, linear):
    pairs = fl.make_pairs(synthetic).iloc[[0, 1]]
    probes, references = pairs["probe"].nunique(), pairs["reference"].nunique()
    assert probes != references
    for side, masked in (("probe", probes), ("reference", references)):
        result = compute(synthetic, pairs, linear, sides=[side])
        assert result.attrs["forward_passes"] == 12 + 15 * masked
        assert np.isfinite(result["influence"]).all()


def test_thresholds_come_from_all_faces(synthetic, linear):
    many = make_faces(n_subjects=12, per_subject=2)
    few_pairs = fl.make_pairs(many).iloc[:4]
    result = compute(many, few_pairs, linear)
    n_impostors = 24 * 23 // 2 - 12
    assert int(result["impostor_comparisons"][0]) == n_impostors
    thresholds = result["threshold"].sel(model="linear").to_series()
    assert np.isfinite(thresholds[0.1])
    assert np.isnan(thresholds[1e-2])  # 1,000 comparisons are needed, 264 are there
    images = torch.stack([torch.from_numpy(i).permute(2, 0, 1).float() for i in many.images])
    vectors = torch.nn.functional.normalize(linear(images))
    scores = (vectors @ vectors.T).numpy()
    upper = np.triu_indices(24, 1)
    impostor = scores[upper][upper[0] // 2 != upper[1] // 2]
    assert (impostor >= thresholds[0.1] - 1e-6).mean() == pytest.approx(0.1, abs=1 / 200)


def test_thresholds_at_any_false_match_rate(synthetic, linear, tmp_path):
    faces = make_faces(n_subjects=12, per_subject=2)
    pairs = fl.make_pairs(faces)
    options = {"models": [linear], "bands": "rings:28", "progress": False}
    usual = fl.influence(faces, pairs, store=tmp_path / "r.zarr", **options)
    other = fl.influence(faces, pairs, store=tmp_path / "r.zarr", fmrs=[0.07, 0.2], **options)
    assert other.attrs["name"] != usual.attrs["name"]
    assert other["fmr"].to_numpy().tolist() == [0.2, 0.07]
    assert other.attrs["forward_passes"] == 0
    vectors = fl.open_embeddings(tmp_path / "r.zarr", model=linear.name).sel(face=faces.names)
    _, impostor = fl.statistics.all_comparisons(vectors.to_numpy(), faces.subjects, faces.sources)
    for rate in (0.2, 0.07):
        threshold = float(other["threshold"].sel(fmr=rate).isel(model=0))
        assert threshold == fl.results.threshold_of(other, model=linear.name, fmr=rate)
        shares = [(impostor >= edge).mean() for edge in (threshold, np.nextafter(threshold, -1))]
        assert shares[0] <= rate
        below = impostor[impostor < threshold].max()  # one comparison more would be too many
        assert (impostor >= below).mean() > rate
    again = fl.influence(faces, pairs, store=tmp_path / "r.zarr", fmrs=[0.2, 0.07], **options)
    xr.testing.assert_identical(again.drop_attrs(), other.drop_attrs())
    assert len(fl.store.check(tmp_path / "r.zarr")) == 0
    with pytest.raises(ParameterError, match="fmr=1 must be below 1"):
        fl.influence(faces, pairs, fmrs=[1], **options)


def test_bands_that_no_model_has_are_refused(synthetic, linear):
    """The corner of a 112-pixel crop lies at 56 * sqrt(2) = 79.196 cycles/image."""
    pairs = fl.make_pairs(synthetic)
    with pytest.raises(BandError, match="79.2-80"):
        compute(synthetic, pairs, linear, bands=fl.rings(edges=[0, 79.2, 80]))
    corner = compute(synthetic, pairs, linear, bands=fl.rings(edges=[0, 79.19, 80]))
    assert np.isfinite(corner["influence"]).all()


def of_size(name, template, size, **options):
    return fl.wrap_model(Linear(size=size), name=name, template=template, **options)


@pytest.fixture
def photographs(orl):
    return orl.select([0, 3, 90, 93])


def test_models_of_several_sizes_share_the_band_axis(photographs):
    small = of_size("small", "arcface-56", 56)
    large = of_size("large", "arcface", 112)
    pairs = fl.make_pairs(photographs)
    result = fl.influence(photographs, pairs, models=[small, large], progress=False)
    missing = result["influence"].isnull().all(["pair", "side"])
    first_missing = 10  # the corner of a 56-pixel crop lies at 28 * sqrt(2) = 39.6 cycles/image
    assert missing.sel(model="small").to_numpy().tolist() == [False] * first_missing + [True] * 5
    assert not missing.sel(model="large").any()


@pytest.fixture
def facenet_file(tmp_path):
    from facenet_pytorch import InceptionResnetV1

    torch.manual_seed(0)
    torch.save(InceptionResnetV1().state_dict(), tmp_path / "facenet.pt")
    return tmp_path / "facenet.pt"


@pytest.mark.slow
def test_one_dataset_over_four_models_of_three_sizes(photographs, facenet_file, tmp_path):
    """Real networks of 112, 150 and 160 pixels, and a user's own, in one call."""
    pairs = fl.make_pairs(photographs)
    models = [
        "mobilefacenet",
        "dlib",
        f"facenet-vggface2,checkpoint={facenet_file}",
        of_size("own", "arcface", 112),
    ]
    store = tmp_path / "run.zarr"
    bands = fl.rings(edges=[0, 8, 16, 32, 56])
    result = fl.influence(
        photographs, pairs, models=models, bands=bands, store=store, progress=False
    )
    names = ["mobilefacenet", "dlib", "facenet-vggface2", "own"]
    assert result["model"].to_numpy().tolist() == names
    assert dict(result["influence"].sizes) == {"model": 4, "pair": len(pairs), "side": 3, "band": 4}
    assert np.isfinite(result["influence"]).all()
    sizes = [fl.open_run(store)[f"crops/{t}"]["crop"].sizes["x"] for t in
             ("arcface", "dlib", "facenet")]  # fmt: skip
    assert sizes == [112, 150, 160]
    genuine = result["genuine"].to_numpy()
    trained = result["similarity"].sel(model=["mobilefacenet", "dlib"]).to_numpy()
    assert (trained[:, genuine].min(axis=1) > trained[:, ~genuine].max(axis=1)).all()
    again = fl.influence(
        photographs, pairs, models=models, bands=bands, store=store, progress=False
    )
    assert again.attrs["forward_passes"] == 0
    axes = fl.plots.heat_plot(again, pair=int(again["pair"][0]), model="facenet-vggface2")
    assert "strip" in axes
    strips = [fl.plots.strip_plot(again, pair=0, model=name) for name in names]
    assert [strip.get_xlim()[1] for strip in strips] == [56] * 4  # these bands have an end


@pytest.mark.slow
def test_templates_that_differ_are_spoken_of(photographs, capsys):
    pairs = fl.make_pairs(photographs).iloc[:2]
    models = ["mobilefacenet", "dlib"]
    result = fl.influence(photographs, pairs, models=models, bands="rings:28")
    said = capsys.readouterr().err
    assert "mobilefacenet (template arcface, 112 x 112, BGR, (pixel - 127.5) / 128): " in said
    assert "not the same detail" in said
    axes = [fl.plots.strip_plot(result, pair=0, model=name) for name in models]
    for ax in axes:  # everything beyond the last ring stands behind a break, at any crop size
        assert ax.get_xlim()[1] == axes[0].get_xlim()[1] > 56
    fl.influence(photographs, pairs, models=models, bands="rings:4:cycles/eyes")
    assert "not the same detail" not in capsys.readouterr().err


@pytest.mark.slow
def test_cycles_between_the_eyes_need_the_eyes(photographs, facenet_file):
    pairs = fl.make_pairs(photographs).iloc[:2]
    bands = fl.rings(width=4, unit="cycles/eyes")
    facenet = f"facenet-vggface2,checkpoint={facenet_file}"
    with pytest.raises(ParameterError, match=r"'facenet-vggface2'.*eye_distance="):
        fl.influence(photographs, pairs, models=[facenet], bands=bands, progress=False)
    models = ["mobilefacenet", f"{facenet},eye_distance=62"]
    result = fl.influence(photographs, pairs, models=models, bands=bands, progress=False)
    about = json.loads(result.attrs["identity"])["models"]
    assert about["facenet-vggface2"]["eye_distance"] == 62
    assert about["mobilefacenet"]["eye_distance"] == 35.24
    assert np.isfinite(result["influence"]).all()


def test_another_nominal_eye_distance_is_another_set_of_bands(photographs, tmp_path):
    pairs = fl.make_pairs(photographs).iloc[:2]
    options = {"bands": "rings:4:cycles/eyes", "store": tmp_path / "r.zarr", "progress": False}
    first = of_size("m", "facenet", 160, eye_distance=62)
    fl.influence(photographs, pairs, models=[first], **options)
    other = of_size("m", "facenet", 160, eye_distance=70)
    with pytest.raises(StoreConflictError, match="eye_distance: stored 62.0, given 70.0"):
        fl.influence(photographs, pairs, models=[other], **options)


def test_the_same_grating_lies_in_the_same_band_of_every_template(monkeypatch):
    """A grating of 3.5 cycles between the eyes, in the photograph, is what each model loses."""
    points = 300 + 4 * (np.array(fl.images.template("arcface").points) - 56)
    x = np.arange(600)
    wave = 127 + 60 * np.cos(2 * np.pi * 3.5 * x / (4 * 35.24))
    image = np.repeat(np.repeat(np.rint(wave).astype(np.uint8)[None, :, None], 600, 0), 3, 2)
    table = pd.DataFrame({"subject": ["a", "a"]}, index=["a/1", "a/2"])
    faces = fl.Faces(table, images=[image, image], landmarks=np.stack([points, points]))
    models = [of_size("arc", "arcface", 112), of_size("wide", "arcface-224", 224),
              of_size("narrow", "arcface-80", 80)]  # fmt: skip
    bands = fl.rings(edges=[0, 2, 3, 4, 10], unit="cycles/eyes")
    result = fl.influence(faces, fl.make_pairs(faces), models=models, bands=bands, progress=False)
    share = result["removed_rms"].sel(side="probe").isel(pair=0)
    assert (share.argmax("band") == 2).all()
    np.testing.assert_allclose(share.isel(band=2), 60 / np.sqrt(2), rtol=0.06)


def test_aligned_faces_are_not_enlarged_unasked(synthetic):
    pairs = fl.make_pairs(synthetic).iloc[:3]
    large = of_size("large", "arcface-224", 224)
    with pytest.raises(ParameterError, match=r"enlarge them 2\.00 times; give upscale=True"):
        compute(synthetic, pairs, large)
    with pytest.raises(ParameterError, match=r"enlarge them 1\.\d\d times"):
        compute(synthetic, pairs, "dlib")
    result = compute(synthetic, pairs, large, upscale=True)
    assert np.isfinite(result["influence"]).all()
    small = compute(
        synthetic, pairs, of_size("small", "arcface-56", 56), bands=fl.rings(edges=[0, 28])
    )
    assert np.isfinite(small["similarity"]).all()


def test_the_narrow_crop_of_aligned_faces_is_their_middle(synthetic, tmp_path):
    class Narrow(torch.nn.Module):
        def forward(self, images):
            return images.flatten(1)[:, :50]

    narrow = fl.wrap_model(Narrow(), name="narrow", template="112x96")
    store = tmp_path / "r.zarr"
    compute(synthetic, fl.make_pairs(synthetic), narrow, store=store)
    crops = fl.open_run(store)["crops/112x96"]["crop"].to_numpy()
    expected = np.stack([image[:, 8:104] for image in synthetic.images])
    np.testing.assert_array_equal(crops, expected)


def test_a_face_that_one_template_cannot_be_cut_from_fails_there_only(orl, tmp_path):
    """Landmarks are given, so that ArcFace needs no detector; FaceNet's box is not found."""
    rng = np.random.default_rng(0)
    noise = rng.integers(100, 150, (112, 92, 3), dtype=np.uint8)
    images = [orl.image(0), orl.image(1), noise]
    table = pd.DataFrame({"subject": ["a", "a", "a"]}, index=["a/1", "a/2", "a/3"])
    landmarks = orl.landmarks[[0, 1, 0]]
    faces = fl.Faces(table, images=images, landmarks=landmarks)
    models = [of_size("arc", "arcface", 112), of_size("face", "facenet", 160)]
    pairs = fl.make_pairs(faces)
    store = tmp_path / "r.zarr"
    for _ in range(2):
        result = fl.influence(faces, pairs, models=models, store=store, progress=False)
        lost = np.isnan(result["similarity"]).to_numpy()
        has_noise = ((result["probe"] == "a/3") | (result["reference"] == "a/3")).to_numpy()
        assert not lost[0].any()
        np.testing.assert_array_equal(lost[1], has_noise)
        assert result.attrs["failures_to_acquire"] == 1
    run = fl.open_run(store)
    assert run["crops/facenet"]["status"].to_numpy().tolist() == [DONE, DONE, NO_FACE]
    assert (run["faces"]["status"] == "ok").all()


def test_an_embedder_that_changes_its_length(synthetic):
    class Growing(torch.nn.Module):
        calls = 0

        def forward(self, images):
            self.calls += 1
            return images.flatten(1)[:, : 4 + self.calls // 3]

    pairs = fl.make_pairs(synthetic)
    model = fl.wrap_model(Growing(), name="growing")
    with pytest.raises(ModelError, match=r"'growing' returned \d+ features (for one batch|after)"):
        compute(synthetic, pairs, model)


def test_bad_faces_do_not_stop_a_run(orl, tmp_path, capsys):
    for name in ("good1", "good2", "noise", "text", "gone"):
        (tmp_path / "p").mkdir(exist_ok=True)
        (tmp_path / "p" / f"{name}.pgm").write_bytes(orl.content(0 if name == "good1" else 1))
    rng = np.random.default_rng(0)
    from PIL import Image

    noise = Image.fromarray(rng.integers(120, 130, (112, 92), dtype=np.uint8))
    noise.save(tmp_path / "p" / "noise.pgm")
    (tmp_path / "p" / "text.pgm").write_text("not an image")
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "other.pgm").write_bytes(orl.content(10))
    faces = fl.load_faces(tmp_path)
    (tmp_path / "p" / "gone.pgm").unlink()
    pairs = fl.make_pairs(faces, seed=1)
    model = fl.wrap_model(Linear(), name="linear")
    store = tmp_path / "run.zarr"
    result = fl.influence(faces, pairs, models=[model], store=store)
    assert "failures to acquire: 3 faces" in capsys.readouterr().err
    assert result.attrs["failures_to_acquire"] == 3
    status = fl.open_run(store)["faces"]["status"].to_series()
    assert status.to_dict() == {
        "p/gone.pgm": "no such file",
        "p/good1.pgm": "ok",
        "p/good2.pgm": "ok",
        "p/noise.pgm": "no face found",
        "p/text.pgm": "unreadable image",
        "q/other.pgm": "ok",
    }
    bad = ["p/gone.pgm", "p/noise.pgm", "p/text.pgm"]
    lost = result["probe"].isin(bad) | result["reference"].isin(bad)
    missing = result["similarity"].sel(model="linear").isnull()
    np.testing.assert_array_equal(missing, lost)
    assert 0 < int(lost.sum()) < len(pairs)

    # the file comes back: the next call takes it in
    (tmp_path / "p" / "gone.pgm").write_bytes(orl.content(2))
    again = fl.influence(faces, pairs, models=[model], store=store, progress=False)
    assert again.attrs["failures_to_acquire"] == 2
    assert again.attrs["forward_passes"] == 16
    assert int(again["similarity"].isnull().sum()) < int(missing.sum())


def test_refusals_before_anything_is_computed(synthetic, linear, tmp_path):
    pairs = fl.make_pairs(synthetic)
    store = tmp_path / "run.zarr"
    with pytest.raises(UnknownNameError, match="Did you mean 'mobilefacenet'"):
        fl.influence(synthetic, pairs, models=["mobilefacent"], store=store)
    with pytest.raises(UnknownNameError, match="Did you mean 'reference'"):
        compute(synthetic, pairs, linear, sides=["referance"], store=store)
    with pytest.raises(ParameterError, match="list"):
        fl.influence(synthetic, pairs, models="mobilefacenet", store=store)
    for size in (0, 2.5, "8", True):
        with pytest.raises(ParameterError, match="batch_size="):
            compute(synthetic, pairs, linear, batch_size=size, store=store)
    with pytest.raises(ParameterError, match="load_faces"):
        compute("orl", pairs, linear, store=store)
    with pytest.raises(ParameterError, match="fl.rings"):
        compute(synthetic, pairs, linear, bands=[0, 4, 8], store=store)
    with pytest.raises(PairError, match="DataFrame"):
        compute(synthetic, [("a", "b")], linear, store=store)
    with pytest.raises(ParameterError, match="list"):
        fl.influence(synthetic, pairs, models=linear, store=store)
    with pytest.raises(ParameterError, match="repeats"):
        fl.influence(synthetic, pairs, models=[linear, linear], store=store)
    with pytest.raises(ParameterError, match="repeats"):
        compute(synthetic, pairs, linear, sides=["probe", "probe"], store=store)
    with pytest.raises(ParameterError, match="lambda"):
        fl.influence(synthetic, pairs, models=[lambda x: x], store=store)
    with pytest.raises(ParameterError, match="device"):
        compute(synthetic, pairs, linear, device="warp-drive", store=store)
    with pytest.raises(PairError, match="not in the set"):
        compute(synthetic.select([0, 1, 2]), pairs, linear, store=store)
    assert not store.exists()


def test_other_content_under_a_name_is_refused(synthetic, linear, tmp_path):
    store = tmp_path / "run.zarr"
    pairs = fl.make_pairs(synthetic)
    before = compute(synthetic, pairs, linear, store=store, name="audit").load()
    other_weights = fl.wrap_model(Linear(seed=9), name="linear")
    with pytest.raises(StoreConflictError, match="named 'linear' .the weights differ.*name=") as at:
        compute(synthetic, pairs, other_weights, store=store)
    assert other_weights.checkpoint not in str(at.value)
    with pytest.raises(StoreConflictError, match="pairs: stored"):
        compute(synthetic, pairs.iloc[:3], linear, store=store, name="audit")
    with pytest.raises(StoreConflictError, match="keep_crops"):
        compute(synthetic, pairs, linear, store=store, keep_crops=False)
    xr.testing.assert_identical(fl.open_influence(store, "audit").load(), _as_opened(before))


def _as_opened(result):
    extra = ("forward_passes", "failures_to_acquire")
    return (
        result.assign_attrs({})
        .copy()
        .pipe(
            lambda r: r.drop_attrs(deep=False).assign_attrs(
                {k: v for k, v in result.attrs.items() if k not in extra}
            )
        )
    )


@pytest.mark.slow
def test_without_crops_the_numbers_are_the_same(orl, tmp_path, linear):
    faces = orl.select([0, 1, 10, 11])
    pairs = fl.make_pairs(faces)
    kept = compute(faces, pairs, linear)
    store = tmp_path / "run.zarr"
    lean = compute(faces, pairs, linear, store=store, keep_crops=False)
    np.testing.assert_array_equal(kept["influence"], lean["influence"])
    assert "crop" not in fl.open_run(store)["crops/arcface"]
    again = compute(faces, pairs, linear, store=store)  # goes on as the store was begun
    assert again.attrs["forward_passes"] == 0
    axes = fl.plots.heat_plot(lean, pair=0, model="linear")
    assert "no crop" in axes["probe"].texts[0].get_text()


def test_pair_metadata_travels(synthetic, linear):
    pairs = fl.make_pairs(synthetic).assign(fold=1.5, note="as seen")
    pairs["count"] = pd.array([1, None] * (len(pairs) // 2), dtype="Int64")
    pairs["remark"] = [None, "x"] * (len(pairs) // 2)
    result = compute(synthetic, pairs, linear)
    assert np.isnan(result["count"].to_numpy()[1])
    assert result["count"].to_numpy()[0] == 1
    assert result["remark"].to_numpy()[:2].tolist() == ["", "x"]
    assert (result["note"] == "as seen").all()
    assert (result["fold"] == 1.5).all()
    assert result["note"].dims == ("pair",)


INTERRUPTED = """
import sys, time
sys.path[:0] = [{tests!r}]
import freqlab as fl
from conftest import Linear, make_faces

network = Linear()
def slow(images):
    time.sleep(0.02)
    print("x", flush=True)
    return network(images)

model = fl.wrap_model(slow, name="slow", version="1")
faces = make_faces(n_subjects=40, per_subject=2)
pairs = fl.make_pairs(faces)
options = {{"models": [model], "store": sys.argv[1], "batch_size": 32, "progress": False}}
result = fl.influence(faces, pairs, **options)
print("done", result.attrs["forward_passes"])
"""


@pytest.mark.slow
@pytest.mark.parametrize("batches", [pytest.param(3, marks=pytest.mark.exhaustive), 30])
def test_a_killed_run_goes_on(tmp_path, batches):
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED.format(tests=TESTS))
    store = tmp_path / "run.zarr"
    command = [sys.executable, str(script), str(store)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for _ in range(batches):
        assert process.stdout.readline() == "x\n"
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    process.wait()

    again = subprocess.run(command, capture_output=True, text=True, check=True)
    computed = int(again.stdout.split()[-1])
    whole = 80 * 16
    block = 32 * 16
    assert whole - batches * 32 <= computed <= min(whole, whole - (batches - 1) * 32 + block)
    if batches == 30:
        assert computed < whole

    faces = make_faces(n_subjects=40, per_subject=2)
    network = Linear()
    model = fl.wrap_model(lambda images: network(images), name="slow", version="1")
    undisturbed = compute(faces, fl.make_pairs(faces), model, batch_size=32)
    resumed = fl.open_influence(store)
    np.testing.assert_array_equal(resumed["influence"], undisturbed["influence"])
    np.testing.assert_array_equal(resumed["threshold"], undisturbed["threshold"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_cpu(synthetic):
    pairs = fl.make_pairs(synthetic)
    results = [
        fl.influence(synthetic, pairs, models=["mobilefacenet"], device=device, progress=False)
        for device in ("cpu", "cuda")
    ]
    np.testing.assert_allclose(results[0]["influence"], results[1]["influence"], atol=1e-3)


def test_time_is_not_part_of_a_name(synthetic, linear, tmp_path):
    pairs = fl.make_pairs(synthetic)
    first = compute(synthetic, pairs, linear, store=tmp_path / "a.zarr")
    time.sleep(0.01)
    second = compute(synthetic, pairs, linear, store=tmp_path / "b.zarr")
    assert first.attrs["name"] == second.attrs["name"]


def test_names_that_would_not_fit_into_a_store(synthetic, linear, tmp_path):
    store = tmp_path / "run.zarr"
    pairs = fl.make_pairs(synthetic)
    for name in ("", "..", "a/b", "__x", "a b"):
        with pytest.raises(ParameterError, match="name="):
            compute(synthetic, pairs, linear, store=store, name=name)
    for name in ("", "..", "__x", "a\n"):
        with pytest.raises(ParameterError, match="name="):
            fl.wrap_model(Linear(), name=name)
    for column in ("band", "influence", "probe_subject", "a/b", 7):
        with pytest.raises(PairError, match="cannot be named"):
            compute(synthetic, pairs.assign(**{str(column): 1}).rename(columns={"7": 7}), linear)
    slashed = fl.wrap_model(Linear(), name="hub/owner/net")
    result = compute(synthetic, pairs, slashed, store=store)
    assert result["model"].to_numpy().tolist() == ["hub/owner/net"]
    assert list(fl.open_run(store)["embeddings"]) == ["hub_owner_net"]


def test_pairs_keep_their_numbers(synthetic, linear):
    pairs = fl.make_pairs(synthetic)
    shuffled = pairs.sample(frac=1, random_state=0).iloc[:7]
    result = compute(synthetic, shuffled, linear)
    assert result["pair"].to_numpy().tolist() == shuffled.index.tolist()
    for pair in shuffled.index:
        assert result["probe"].sel(pair=pair).item() == shuffled.loc[pair, "probe"]
    unnumbered = shuffled.set_index(pd.Index(list("abcdefg")))
    assert compute(synthetic, unnumbered, linear)["pair"].to_numpy().tolist() == list(range(7))


def test_results_differ_by_the_names_of_metadata(synthetic, linear, tmp_path):
    pairs = fl.make_pairs(synthetic)
    store = tmp_path / "run.zarr"
    compute(synthetic, pairs.assign(fold=1.0, group=2.0), linear, store=store)
    swapped = compute(synthetic, pairs.assign(group=1.0, fold=2.0), linear, store=store)
    assert (swapped["group"] == 1).all()


def test_thresholds_follow_the_sources(linear, tmp_path):
    faces = make_faces(n_subjects=12, per_subject=2)
    pairs = fl.make_pairs(faces).iloc[:4]
    store = tmp_path / "run.zarr"
    before = compute(faces, pairs, linear, store=store)
    sources = ["", "", "p0/0", *[""] * 21]
    derived = fl.Faces(faces.table.assign(source=sources), faces.images, aligned="arcface")
    after = compute(derived, pairs, linear, store=store)
    assert int(before["impostor_comparisons"][0]) - int(after["impostor_comparisons"][0]) == 1
    backwards = derived.select(range(23, -1, -1))
    same = compute(backwards, pairs, linear, store=store)
    assert same.attrs["name"] == after.attrs["name"]


def test_no_explained_impostor_passes_by_rounding(linear):
    """The threshold lies between two scores, so that the pairs agree with it to a pair."""
    faces = make_faces(n_subjects=40, per_subject=2)
    pairs = fl.make_pairs(faces, impostors_per_genuine=10**6)
    result = compute(faces, pairs, linear, sides=["probe"], bands="rings:56")
    impostor = result["similarity"][0].to_numpy()[~pairs["genuine"].to_numpy()]
    threshold = fl.results.threshold_of(result, model="linear", fmr=1e-2)
    assert (impostor >= threshold).sum() == int(0.01 * len(impostor))


def test_functions_that_changed_are_noticed(synthetic, tmp_path):
    """Neither a closure's insides nor a module's own preprocessing show in a checksum."""

    def embedder(shift):
        network = Linear()

        def embed(images):
            return network(images - shift)

        return embed

    pairs = fl.make_pairs(synthetic)
    store = tmp_path / "run.zarr"
    compute(synthetic, pairs, embedder(0), store=store)
    assert compute(synthetic, pairs, embedder(0), store=store).attrs["forward_passes"] == 0
    with pytest.raises(StoreConflictError, match="no longer gives the same embedding"):
        compute(synthetic, pairs, embedder(127.5), store=store)
    shifted = fl.wrap_model(Linear(), name="own", mean=127.5)
    compute(synthetic, pairs, fl.wrap_model(Linear(), name="own"), store=store)
    with pytest.raises(StoreConflictError, match="mean: stored 0.0, given 127.5"):
        compute(synthetic, pairs, shifted, store=store)


def test_a_store_has_one_writer(synthetic, linear, tmp_path):
    store = tmp_path / "run.zarr"
    pairs = fl.make_pairs(synthetic)
    compute(synthetic, pairs, linear, store=store)
    with locked(store):
        with pytest.raises(StoreError, match="another run"):
            compute(synthetic, pairs, linear, store=store)
        assert fl.open_influence(store).sizes["pair"] == len(pairs)  # reading goes on
    compute(synthetic, pairs, linear, store=store)


def write_photographs(folder, orl, positions):
    for position in positions:
        subject, image = orl.names[position].split("/")
        (folder / subject).mkdir(parents=True, exist_ok=True)
        (folder / subject / f"{image}.pgm").write_bytes(orl.content(position))
    return fl.load_faces(folder)


def test_without_crops_a_photograph_that_went_is_not_a_black_one(orl, tmp_path, linear):
    faces = write_photographs(tmp_path / "faces", orl, (0, 1, 10, 11))
    pairs = fl.make_pairs(faces)
    store = tmp_path / "run.zarr"
    compute(faces, pairs, linear, bands="rings:56", store=store, keep_crops=False)
    (tmp_path / "faces" / "s1" / "1.pgm").unlink()
    result = compute(faces, pairs, linear, bands="rings:28", store=store)
    assert result.attrs["failures_to_acquire"] == 1
    gone = ((result["probe"] == "s1/1.pgm") | (result["reference"] == "s1/1.pgm")).to_numpy()
    missing = np.isnan(result["influence"].sel(side="both", model="linear")).all("band").to_numpy()
    np.testing.assert_array_equal(missing, gone)
    pair = int(result["pair"][int(np.flatnonzero(gone)[0])])
    text = fl.results.describe_pair(result, pair=pair, model="linear", side="reference")
    assert "no band could be removed from the reference" in text
    # missed once more: the store still knows which photograph it was
    compute(faces, pairs, linear, bands="rings:28", store=store)
    assert fl.open_run(store)["faces"]["status"].sel(face="s1/1.pgm").item() == "no such file"
    (tmp_path / "faces" / "s1" / "1.pgm").write_bytes(orl.content(5))
    with pytest.raises(StoreConflictError, match="s1/1.pgm"):
        compute(faces, pairs, linear, bands="rings:28", store=store)


def test_landmarks_given_later_rescue_a_face(tmp_path, linear):
    rng = np.random.default_rng(0)
    blank = rng.integers(120, 130, (150, 150, 3), dtype=np.uint8)
    table = pd.DataFrame({"subject": ["a", "a"]}, index=["a/1", "a/2"])
    faces = fl.Faces(table, images=[blank, blank[::-1]])
    pairs = fl.make_pairs(faces)
    store = tmp_path / "run.zarr"
    with pytest.raises(FaceSetError, match="none of the 2 faces.*2 no face found"):
        compute(faces, pairs, linear, store=store)
    points = np.array(fl.images.TEMPLATES["arcface"].points) + 10
    given = fl.Faces(table, images=faces.images, landmarks=np.stack([points, points * 0]))
    result = compute(given, pairs, linear, store=store)
    assert result.attrs["failures_to_acquire"] == 1
    status = fl.open_run(store)["faces"]["status"].to_numpy()
    assert status.tolist() == ["ok", "implausible landmarks"]
    better = fl.Faces(table, images=faces.images, landmarks=np.stack([points, points]))
    assert compute(better, pairs, linear, store=store).attrs["failures_to_acquire"] == 0
    with pytest.raises(StoreConflictError, match="landmarks"):
        compute(
            fl.Faces(table, images=faces.images, landmarks=np.stack([points, points + 5])),
            pairs,
            linear,
            store=store,
        )


@pytest.mark.slow
def test_landmarks_once_used_are_asked_for_again(orl, tmp_path, linear):
    """Otherwise a second call would quietly get results of the first one's crops."""
    faces = orl.select([0, 1])
    pairs = fl.make_pairs(faces)
    shifted = dataclasses.replace(faces, landmarks=faces.landmarks + 3)
    without = dataclasses.replace(faces, landmarks=None)
    store = tmp_path / "run.zarr"
    moved = compute(shifted, pairs, linear, store=store)
    with pytest.raises(StoreConflictError, match="2 of its faces.*none are given now"):
        compute(without, pairs, linear, store=store)
    assert compute(shifted, pairs, linear, store=store).attrs["forward_passes"] == 0
    detected = compute(without, pairs, linear, store=tmp_path / "other.zarr")
    assert detected.attrs["name"] != moved.attrs["name"]


def test_landmarks_of_a_run_that_never_used_them_do_not_bind(orl, tmp_path, linear):
    faces = orl.select([0, 1])
    store = tmp_path / "run.zarr"
    RunStore(store).add_faces(dataclasses.replace(faces, landmarks=faces.landmarks + 3))
    without = dataclasses.replace(faces, landmarks=None)
    compute(without, fl.make_pairs(without), linear, store=store)
    found = fl.open_run(store)["faces"]
    np.testing.assert_allclose(found["landmarks"], faces.landmarks, atol=0.5)
    assert not found["landmarks_given"].any()


def test_landmarks_far_outside_are_implausible(orl, tmp_path, linear):
    landmarks = orl.landmarks[[0, 1, 2]].copy()
    landmarks[0, 0, 0] = 9999
    faces = dataclasses.replace(orl.select([0, 1, 2]), landmarks=landmarks)
    result = compute(faces, fl.make_pairs(faces), linear, store=tmp_path / "run.zarr")
    assert result.attrs["failures_to_acquire"] == 1
    status = fl.open_run(tmp_path / "run.zarr")["faces"]["status"].to_numpy()
    assert status.tolist() == ["implausible landmarks", "ok", "ok"]


def test_a_refused_call_leaves_nothing_that_conflicts(orl, tmp_path):
    """Try with a mistake, follow the advice, go on in the same store."""
    store = tmp_path / "run.zarr"
    wrong = dataclasses.replace(orl.select([0, 1]), aligned="arcface", landmarks=None)
    pairs = fl.make_pairs(wrong)
    model = fl.wrap_model(Linear(), name="mine")
    with pytest.raises(ParameterError, match="load the faces without aligned="):
        compute(wrong, pairs, model, store=store)
    right = orl.select([0, 1])
    too_large = fl.wrap_model(Linear(size=224), name="mine")
    with pytest.raises(ModelError, match="'mine' failed.*1, 3, 112, 112"):
        compute(right, pairs, too_large, store=store)
    assert compute(right, pairs, model, store=store).attrs["forward_passes"] == 32

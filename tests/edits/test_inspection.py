"""Editing a pair: against the influence of the run, closed forms of a linear network, Parseval."""

import numpy as np
import pytest
import torch
from conftest import Linear, make_faces

import freqlab as fl
from freqlab.edits.inspection import chosen_text, side_by_side, stretched
from freqlab.errors import FreqlabError, ParameterError, StoreError, UnknownNameError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of synthetic faces and a linear network: result, faces, network."""
    faces, network = make_faces(), fl.wrap_model(Linear(), name="linear")
    store = tmp_path_factory.mktemp("inspected") / "run.zarr"
    result = fl.influence(
        faces, fl.make_pairs(faces, seed=0), models=[network], store=store, progress=False
    )
    return result, faces, network


@pytest.fixture(scope="module")
def inspection(run):
    return fl.edits.Inspection(run[0], models=[run[2]])


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("side", ["probe", "reference", "both"])
def test_one_band_removed_gives_the_influence_of_the_run(demo, side):
    inspection = fl.edits.Inspection(demo)
    for band in (0, 1, 5, 14):
        edited = inspection.edit(pair=3, model="mobilefacenet", bands=[band], side=side)
        stored = demo.sel(pair=3, model="mobilefacenet", side=side)
        assert edited.similarity == pytest.approx(float(stored["similarity"]), abs=2e-6)
        influence = float(stored["influence"][band])
        assert edited.similarity - edited.edited_similarity == pytest.approx(influence, abs=4e-6)


@pytest.mark.parametrize("operation", ["remove", "keep"])
def test_sets_of_bands_against_a_linear_network(run, inspection, operation):
    """A linear network of the edited image: the Fourier transform is done by NumPy here."""
    result, faces, _ = run
    bands, pair = [1, 2, 7], 5
    edited = inspection.edit(pair=pair, model="linear", bands=bands, operation=operation)
    names = {role: str(result[role].sel(pair=pair).item()) for role in ("probe", "reference")}
    images = {r: faces.image(list(faces.names).index(n)).astype(float) for r, n in names.items()}
    radius = np.hypot(*np.meshgrid(*(np.fft.fftfreq(112, 1 / 112),) * 2, indexing="ij"))
    band_of = np.minimum(radius // 4, 14).astype(int)
    chosen = np.isin(band_of, bands) & (radius > 0)
    gone = chosen if operation == "remove" else ~chosen & (radius > 0)
    spectrum = np.fft.fft2(images["probe"], axes=(0, 1)) * ~gone[..., None]
    image = np.fft.ifft2(spectrum, axes=(0, 1)).real
    assert edited.pictures["probe"].edited == pytest.approx(image, abs=0.01)

    matrix = Linear().matrix.double().numpy()
    scale = fl.wrap_model(Linear(), name="linear").spec
    mean, std = np.broadcast_to(scale.mean, 3), np.broadcast_to(scale.std, 3)

    def embedded(pixels):
        return matrix @ ((pixels - mean) / std).transpose(2, 0, 1).ravel()

    expected = cosine(embedded(image), embedded(images["reference"]))
    assert edited.edited_similarity == pytest.approx(expected, abs=1e-5)


def test_what_is_taken_and_what_is_left_make_the_face(inspection):
    removed = inspection.faces(pair=0, model="linear", bands=[0, 3])["probe"]
    kept = inspection.faces(pair=0, model="linear", bands=[0, 3], operation="keep")["probe"]
    assert removed.edited + removed.alone == pytest.approx(removed.intact, abs=0.01)
    mean = removed.intact.mean(axis=(0, 1))
    assert kept.alone + mean == pytest.approx(kept.edited, abs=0.01)
    assert kept.alone == pytest.approx(removed.alone, abs=1e-3)
    assert np.sqrt(np.square(removed.alone).mean()) == pytest.approx(
        np.sqrt(np.square(removed.difference).mean()), rel=1e-4
    )


def test_no_band_chosen_changes_nothing(inspection):
    edited = inspection.edit(pair=1, model="linear", bands=[])
    assert edited.edited_similarity == edited.similarity
    assert (edited.pictures["probe"].difference == 0).all()


def test_both_sides_are_edited_and_stand_side_by_side(inspection):
    edited = inspection.edit(pair=1, model="linear", bands=[2], side="both")
    assert list(edited.pictures) == ["probe", "reference"]
    assert side_by_side(edited.pictures, "edited").shape == (112, 224, 3)
    assert side_by_side(edited.pictures, "difference").shape == (112, 224)


def test_stretching_reaches_the_ends_and_says_its_factor():
    component = np.zeros((4, 4, 3), np.float32)
    component[0, 0], component[1, 1] = 10, -5
    image, factor = stretched(component)
    assert factor == pytest.approx(12.7)
    assert image[0, 0, 0] == 254
    assert image[3, 3, 0] in (127, 128)
    assert image[1, 1, 0] == 64
    flat, factor = stretched(np.zeros((4, 4, 3), np.float32))
    assert factor == 1
    assert np.ptp(flat) == 0


def test_chosen_bands_in_words(demo):
    assert chosen_text(demo, []) == "no band"
    assert chosen_text(demo, [1]) == "4-8 cycles/image"
    assert chosen_text(demo, [4, 1, 0]) == "0-8, 16-20 cycles/image"
    assert chosen_text(demo, [13, 14]) == "from 52 on cycles/image"


def test_opened_by_path(run):
    path, model = run[0].attrs["store"], run[2]
    inspection = fl.edits.Inspection(path, models=[model])
    assert inspection.edit(pair=0, model="linear", bands=[3]).edited_similarity < 1
    with pytest.raises(ParameterError, match="name='x' is allowed only with the path"):
        fl.edits.Inspection(run[0], name="x")
    with pytest.raises(UnknownNameError, match="result 'x'"):
        fl.edits.Inspection(path, name="x")
    with pytest.raises(StoreError, match="no such folder"):
        fl.edits.Inspection("nowhere.zarr")


def test_a_run_without_crops_takes_the_faces(tmp_path):
    faces, network = make_faces(), fl.wrap_model(Linear(), name="linear")
    result = fl.influence(
        faces,
        fl.make_pairs(faces, seed=0),
        models=[network],
        store=tmp_path / "run.zarr",
        keep_crops=False,
        progress=False,
    )
    with pytest.raises(StoreError, match="keeps no crops; give faces="):
        fl.edits.Inspection(result, models=[network]).edit(pair=0, model="linear", bands=[1])
    inspection = fl.edits.Inspection(result, models=[network], faces=faces)
    edited = inspection.edit(pair=0, model="linear", bands=[1])
    influence = float(result["influence"].sel(pair=0, model="linear", side="probe")[1])
    assert edited.similarity - edited.edited_similarity == pytest.approx(influence, abs=4e-6)
    with pytest.raises(ParameterError, match="faces='orl' must be Faces"):
        fl.edits.Inspection(result, faces="orl")


def test_a_network_that_is_not_known_or_another_is_refused(run):
    result = run[0]
    inspection = fl.edits.Inspection(result)
    with pytest.raises(ParameterError, match=r"'linear' is not known by name.*models=\[...\]"):
        inspection.edit(pair=0, model="linear", bands=[1])
    assert inspection.faces(pair=0, model="linear", bands=[1])  # needs no network
    other = fl.wrap_model(Linear(seed=1), name="linear")
    said = "'linear' differs from that of the result: checkpoint"
    with pytest.raises(ParameterError, match=said):
        fl.edits.Inspection(result, models=[other])
    with pytest.raises(UnknownNameError, match="model 'mobilefacenet'; allowed: linear"):
        fl.edits.Inspection(result, models=["mobilefacenet"])


def test_bad_views_are_named(inspection):
    with pytest.raises(ParameterError, match="pair=999 is not in the result"):
        inspection.edit(pair=999, model="linear", bands=[1])
    with pytest.raises(ParameterError, match=r"bands=\[15\] must be numbers from 0 to 14"):
        inspection.edit(pair=0, model="linear", bands=[15])
    with pytest.raises(UnknownNameError, match="operation 'drop'; allowed: remove, keep"):
        inspection.edit(pair=0, model="linear", bands=[1], operation="drop")
    with pytest.raises(UnknownNameError, match="side 'left'"):
        inspection.edit(pair=0, model="linear", bands=[1], side="left")


def test_a_photograph_that_failed_is_named(run, inspection):
    with pytest.raises(StoreError, match="no crop of face 'nobody'"):
        inspection.crop("nobody", model="linear")


def test_a_result_that_does_not_say_its_models_is_refused(run):
    result = run[0].copy()
    result.attrs = {**result.attrs, "identity": "{}"}
    with pytest.raises(FreqlabError, match="does not say how model 'linear' was run"):
        fl.edits.Inspection(result).faces(pair=0, model="linear", bands=[])


def test_threads_are_given_back(inspection):
    before = torch.get_num_threads()
    inspection.edit(pair=2, model="linear", bands=[1])
    assert torch.get_num_threads() == before

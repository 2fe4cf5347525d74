"""Synthetic data: what is said to be known of it is, and the same seed gives the same."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

import freqlab as fl
from freqlab.errors import ParameterError
from freqlab.results.selection import bands_of


def cosine(a, b):
    return a @ b / np.sqrt((a @ a) * (b @ b))


def without_ring(pixels, lower, upper):
    """Pixels less the coefficients at these radii, by NumPy's whole transform."""
    size = pixels.shape[0]
    frequency = np.fft.fftfreq(size, 1 / size)
    squared = frequency[:, None] ** 2 + frequency[None] ** 2
    kept = (squared < lower**2) | (squared >= upper**2) | (squared == 0)
    return np.fft.ifft2(np.fft.fft2(pixels, axes=(0, 1)) * kept[..., None], axes=(0, 1)).real


def test_the_influence_of_the_linear_network_is_that_of_its_closed_form():
    people = fl.testing.faces(2, 2)
    found = fl.testing.influence(people)
    matrix = fl.testing.LinearNetwork().matrix.double().numpy()

    def embedded(pixels):
        return matrix @ np.moveaxis(pixels, -1, 0).ravel()

    pixels = dict(zip(people.names, (np.asarray(i, float) for i in people.images), strict=True))
    for pair in range(found.sizes["pair"]):
        one = found.isel(model=0, pair=pair)
        probe, reference = pixels[one["probe"].item()], pixels[one["reference"].item()]
        whole = cosine(embedded(probe), embedded(reference))
        assert float(one["similarity"]) == pytest.approx(whole, abs=1e-6)
        for band, (lower, upper) in enumerate(one["band_bounds"].to_numpy()):
            less = cosine(embedded(without_ring(probe, lower, upper)), embedded(reference))
            found_here = float(one["influence"].sel(side="probe").isel(band=band))
            assert found_here == pytest.approx(whole - less, abs=1e-5)


def test_faces_have_the_columns_that_were_asked_for():
    people = fl.testing.faces(5, 3, groups={"glasses": ("yes", "no")}, ages=True)
    by_subject = people.table.groupby("subject")
    assert by_subject["glasses"].first().tolist() == ["yes", "no", "yes", "no", "yes"]
    assert (by_subject["glasses"].nunique() == 1).all()
    assert by_subject["age"].diff().dropna().between(1, 5).all()
    plain = fl.testing.faces(5, 3)
    assert plain.table.columns.tolist() == ["subject"]
    np.testing.assert_array_equal(plain.images, people.images)
    assert not np.array_equal(plain.images, fl.testing.faces(5, 3, seed=1).images)


def test_faces_are_alike_within_a_subject_and_have_detail_everywhere():
    people = fl.testing.faces(3, 2)
    flat = np.stack(people.images).reshape(6, -1).astype(float)
    alike = np.corrcoef(flat)
    same = people.subjects[:, None] == people.subjects[None]
    assert alike[same].min() > 0.7
    assert np.abs(alike[~same]).max() < 0.1
    rms = fl.testing.influence(people, bands="rings:4")["removed_rms"]
    assert float(rms.sel(side="probe").min()) > 1


def test_morphs_are_the_mean_of_two_people():
    mixed = fl.testing.morphed_faces(3, 2)
    image = dict(zip(mixed.names, mixed.images, strict=True))
    mean = (image["p0/0"].astype(float) + image["p1/0"]) / 2
    np.testing.assert_allclose(image["p0+p1"], mean, atol=0.5)
    assert set(fl.morphing.make_pairs(mixed)["attack"]) == {"bona fide", "mean"}


def test_a_result_of_given_influence_has_the_shape_of_a_computed_one():
    computed = fl.testing.influence(fl.testing.faces(2, 2))
    made = fl.testing.result(
        computed["influence"].to_numpy(),
        bands=fl.rings(28),
        probe_subject=computed["probe_subject"].to_numpy(),
        reference_subject=computed["reference_subject"].to_numpy(),
        thresholds=dict.fromkeys(computed["fmr"].to_numpy(), 0.5),
    )
    assert set(made.variables) == set(computed.variables)
    for name in made.variables:
        assert made[name].dims == computed[name].dims, name
        assert made[name].dtype.kind == computed[name].dtype.kind, name
        for attr in ("units", "long_name"):
            if made[name].attrs:
                assert made[name].attrs[attr] == computed[name].attrs.get(attr), (name, attr)
    for name in ("influence", "genuine", "frequency", "band_bounds"):
        np.testing.assert_array_equal(made[name], computed[name])
    means = fl.results.mean_profile(computed, n_draws=5)
    again = fl.results.mean_profile(made, n_draws=5)
    np.testing.assert_array_equal(again["directed"], means["directed"])


KINDS = {
    "rings": fl.rings(28),
    "mirrored rings": fl.rings(28, extension="mirror"),
    "octaves": fl.octaves(low=8),
    "sectors": fl.sectors(4),
    "polar": fl.polar(fl.rings(28), 2),
    "custom": fl.custom(lambda fy, fx: 1 * (np.abs(fx) > np.abs(fy)), names=["across", "upright"]),
    "wavelets": fl.wavelets("haar", 1),
    "channels": fl.channels(),
    "crossed": fl.channels(fl.sectors(2)),
    "merged": fl.sectors(4).broad(2),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_of_given_influence_declares_its_bands(kind):
    """Sentences and figures know the kind, as they do of a computed result."""
    bands = KINDS[kind]
    values = np.random.default_rng(0).normal(size=(1, 6, 1, len(bands))) / 10
    made = fl.testing.result(values, bands=bands, similarity=0.5, thresholds={1e-3: 0.4})
    assert bands_of(made) == bands
    text = fl.results.describe_pair(made, pair=0, model="m")
    strongest = int(np.abs(values[0, 0, 0]).argmax())
    assert bands.text(strongest) in text
    profile = fl.results.mean_profile(made, n_draws=5)
    assert bands_of(profile) == bands
    fl.plots.profile_plot(profile)
    fl.plots.contrast_plot(made)
    fl.plots.spectrum_plot(made, pair=0)
    fl.plots.strip_plot(made, pair=0)
    fl.plots.pair_profile_plot(made, pair=0)
    fl.plots.heat_plot(made, pair=0)
    if bands.kind == "sectors":
        fl.plots.rose_plot(profile)
    if kind in ("polar", "wavelets", "crossed"):
        fl.plots.orientation_plot(profile)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["octaves", "sectors", "wavelets", "channels"])
def test_a_result_of_given_influence_has_the_bands_of_a_computed_one(kind):
    computed = fl.testing.influence(fl.testing.faces(2, 2), bands=KINDS[kind], sides=["probe"])
    made = fl.testing.result(computed["influence"].to_numpy(), bands=KINDS[kind])
    along = [name for name, one in computed.coords.items() if one.dims[:1] == ("band",)]
    for name in along:
        np.testing.assert_array_equal(made[name], computed[name])
        assert made[name].attrs == computed[name].attrs, name


@pytest.mark.slow
def test_the_same_seed_gives_the_same():
    one, other = fl.testing.influence(), fl.testing.influence()
    xr.testing.assert_equal(one, other)
    assert not one.equals(fl.testing.influence(fl.testing.faces(seed=1)))


DRAWN = {
    "verification": lambda data: fl.plots.det_plot(data),
    "joint_maps": lambda data: fl.plots.joint_plot(data, pair=0),
    "group_profiles": lambda data: fl.plots.group_profile_plot(data, model="linear"),
    "resolution_profiles": lambda data: fl.plots.resolution_heat_plot(
        data, model="linear", side="probe"
    ),
    "morph_profiles": lambda data: fl.plots.attack_profile_plot(data, model="linear"),
    "corrrise_maps": lambda data: fl.plots.saliency_plot(data, pair=0),
    "freqrise_maps": lambda data: fl.plots.plane_plot(data, pair=0),
    "gradient_maps": lambda data: fl.plots.plane_plot(data, pair=0, argument="supporting"),
    "deletion_curves": lambda data: fl.plots.deletion_plot(
        fl.faithfulness.deletion_errors(data, n_draws=5), model="linear"
    ),
}
FEW = ("verification",)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FEW else pytest.mark.slow) for name in DRAWN]
)
def test_each_study_is_drawn_and_is_the_same_again(name):
    make = getattr(fl.testing, name)
    data = make()
    xr.testing.assert_equal(make(), data)
    DRAWN[name](data)
    plt.gcf().canvas.draw()


def test_what_cannot_be_made_is_told():
    with pytest.raises(ParameterError, match="n_subjects"):
        fl.testing.faces(0)
    with pytest.raises(ParameterError, match="'glasses' has no values"):
        fl.testing.faces(groups={"glasses": ()})
    with pytest.raises(ParameterError, match="must be .model, pair, side, band."):
        fl.testing.result(np.zeros((2, 3)))
    with pytest.raises(ParameterError, match="4 bands, but bands are 3"):
        fl.testing.result(np.zeros((1, 2, 1, 4)), bands=fl.rings(28))


@pytest.mark.slow
@pytest.mark.parametrize("subject", ["verification", "bias", "resolution", "morphing", "improve"])
def test_a_study_is_that_of_its_store_and_a_copy(subject):
    study = fl.testing.study(subject)
    stored = fl.store.open_study(study.attrs["store"], subject)
    for node in stored.subtree:
        xr.testing.assert_equal(study[node.path].to_dataset(), node.to_dataset())
    study.attrs["store"] = "changed"
    assert fl.testing.study(subject).attrs["store"] != "changed"


def test_an_unknown_subject_is_refused():
    with pytest.raises(ParameterError, match="unknown subject 'biases'.*Did you mean 'bias'"):
        fl.testing.study("biases")

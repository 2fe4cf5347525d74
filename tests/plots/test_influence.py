import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgba

import freqlab as fl
from freqlab import plots
from freqlab.bands.band_shapes import full_plane
from freqlab.errors import ParameterError, StoreError, UnknownNameError
from freqlab.plots import common

MODEL = "mobilefacenet"


def influence_of(result, pair, side="probe"):
    return result["influence"].sel(pair=pair, model=MODEL, side=side).to_numpy()


def test_heat_plot_shows_both_faces_and_all_views(demo):
    axes = plots.heat_plot(demo, pair=0, model=MODEL)
    assert list(axes) == [
        "probe",
        "reference",
        "absolute",
        "directed",
        "strip",
        "per_contrast",
    ]
    crops = fl.open_run(demo.attrs["store"])["crops/arcface"]["crop"]
    for role in ("probe", "reference"):
        shown = axes[role].images[0].get_array()
        np.testing.assert_array_equal(shown, crops.sel(face=demo[role].to_numpy()[0]))
    assert "masked" in axes["probe"].get_title()
    assert "masked" not in axes["reference"].get_title()
    assert "cycles/image" in axes["strip"].get_xlabel()
    assert "cosine similarity" in axes["strip"].get_ylabel()


@pytest.mark.parametrize("kind", ["directed", "absolute"])
def test_rings_carry_the_values(demo, kind):
    """Read the picture back: at radius r from the centre stands the value of the band of r."""
    ax = plots.spectrum_plot(demo, pair=3, model=MODEL, kind=kind)
    plane = np.ma.filled(ax.images[0].get_array(), np.nan)
    assert plane.shape == (112, 112)
    influence = influence_of(demo, 3)
    scaled = influence / np.abs(influence).max()
    scaled = np.abs(scaled) if kind == "absolute" else scaled
    y, x = np.mgrid[-56:56, -56:56]
    squared = x**2 + y**2
    band = np.minimum((np.sqrt(squared) + 1e-9) // 4, 14).astype(int)
    expected = np.where(squared == 0, np.nan, scaled[band])
    np.testing.assert_allclose(plane, expected, rtol=1e-6)
    norm = ax.images[0].norm
    assert (norm.vmin, norm.vmax) == ((-1, 1) if kind == "directed" else (0, 1))
    left, right, bottom, top = ax.images[0].get_extent()
    assert (left, right, bottom, top) == (-56.5, 55.5, 55.5, -56.5)


def test_zero_is_the_middle_of_the_diverging_map(demo):
    flat = demo.load().copy(deep=True)
    flat["influence"].loc[{"pair": 0}] = 0
    ax = plots.strip_plot(flat, pair=0, model=MODEL)
    middle = plt.get_cmap(plots.DIVERGING)(0.5)
    assert all(bar.get_facecolor() == pytest.approx(middle) for bar in ax.patches[:15])


@pytest.mark.parametrize("side", ["probe", "reference", "both"])
def test_strip_has_the_values_at_their_frequencies(demo, side):
    ax = plots.strip_plot(demo, pair=1, model=MODEL, side=side)
    bars = ax.patches[:15]
    np.testing.assert_allclose([b.get_height() for b in bars], influence_of(demo, 1, side))
    np.testing.assert_allclose([b.get_x() for b in bars[:-1]], 4 * np.arange(14))
    np.testing.assert_allclose(
        [bars[-1].get_x(), bars[-1].get_x() + bars[-1].get_width()], common.drawn_bounds(demo)[-1]
    )
    heights = np.array([b.get_height() for b in bars])
    for bar in (bars[int(heights.argmax())],):
        red, _, blue, _ = bar.get_facecolor()
        assert blue > red  # blue speaks for a match


def test_the_rest_has_a_narrow_place_behind_a_break(demo):
    ax = plots.strip_plot(demo, pair=1, model=MODEL)
    (left, right), (first, end) = common.drawn_bounds(demo)[-1], ax.get_xlim()
    assert 56 < left < right == end
    assert right - left < 0.1 * (end - first)
    assert all(tick <= 56 for tick in ax.get_xticks())
    assert [text.get_text() for text in ax.get_xticklabels(minor=True)] == ["rest"]
    assert left < ax.get_xticks(minor=True)[0] < right
    gap = next(p for p in ax.patches if p.get_x() == 56 and p.get_width() == left - 56)
    assert gap.get_facecolor() == ax.get_facecolor()
    assert gap.get_zorder() > max(line.get_zorder() for line in ax.lines)


def test_an_axis_without_the_rest_has_no_break(demo):
    some = demo.isel(band=slice(5))
    ax = plots.contrast_plot(some, model=MODEL)
    assert ax.get_xlim() == (0, 20)
    assert not ax.patches
    assert not ax.get_xticklabels(minor=True)
    np.testing.assert_array_equal(common.drawn_frequencies([1, 60], some, corner=79), [1, 60])


def test_frequencies_in_the_rest_keep_their_order(demo):
    left, right = common.drawn_bounds(demo)[-1]
    places = common.drawn_frequencies([0, 30, 56, 60, 70, 79], demo, corner=79)
    np.testing.assert_array_equal(places[:3], [0, 30, 56])
    assert left < places[3] < places[4] < places[5] == right


def test_the_title_names_the_threshold_that_was_asked_for(demo):
    result = demo.load().copy(deep=True)
    result["threshold"][:] = [[0.11, 0.22, 0.33, np.nan, np.nan, np.nan]]
    for fmr, text in ((1e-1, "threshold 0.11 at FMR 1e-1"), (1e-3, "threshold 0.33 at FMR 1e-3")):
        axes = plots.heat_plot(result, pair=0, model=MODEL, fmr=fmr)
        titles = [ax.get_title() for ax in axes["probe"].figure.axes]
        assert any(text in title for title in titles)
    axes = plots.heat_plot(result, pair=0, model=MODEL, fmr=1e-4)
    assert not any("threshold" in ax.get_title() for ax in axes["probe"].figure.axes)


def test_a_selection_of_a_result_is_enough(demo):
    part = demo.sel(model=MODEL, side="probe")
    assert fl.results.describe_pair(part, pair=0, model=MODEL) == fl.results.describe_pair(
        demo, pair=0, model=MODEL
    )
    profile = fl.results.mean_profile(part, n_draws=10)
    whole = fl.results.mean_profile(demo, n_draws=10).sel(side=["probe"])
    np.testing.assert_allclose(profile["directed"], whole["directed"])
    plots.profile_plot(profile.sel(model=MODEL), model=MODEL)
    plots.heat_plot(part, pair=0, model=MODEL)
    with pytest.raises(ParameterError, match="fl.influence"):
        fl.results.mean_profile(demo["influence"])
    with pytest.raises(ParameterError, match="fl.results.mean_profile"):
        plots.profile_plot(demo, model=MODEL)


def test_planes_are_in_the_unit_of_the_bands(demo, orl):
    faces = orl.select([0, 1])
    result = fl.influence(
        faces,
        fl.make_pairs(faces),
        models=[MODEL],
        bands=fl.rings(width=4, unit="cycles/eyes"),
        progress=False,
    )
    ax = plots.spectrum_plot(result, pair=0, model=MODEL)
    assert ax.get_xlabel() == "spatial frequency\n(cycles/eyes)"
    assert ax.get_xticks()[-1] == pytest.approx(56 * 35.24 / 112, abs=0.05)


def test_missing_bands_are_grey(demo):
    result = demo.load().copy(deep=True)
    result["influence"][0, 0, 0, 12:] = np.nan
    ax = plots.strip_plot(result, pair=0, model=MODEL)
    grey = [p for p in ax.patches if p.get_facecolor() == to_rgba(plots.NO_DATA)]
    assert len(grey) == 3
    plane = plots.spectrum_plot(result, pair=0, model=MODEL).images[0].get_array()
    assert np.isnan(np.ma.filled(plane, np.nan))[0, 0]


def test_a_pair_without_numbers_can_be_drawn(demo):
    result = demo.load().copy(deep=True)
    for name in ("influence", "removed_rms", "similarity"):
        result[name][:, 0] = np.nan
    axes = plots.heat_plot(result, pair=0, model=MODEL)
    axes["probe"].figure.canvas.draw()


def test_profile_plot_has_means_and_intervals(demo):
    profile = fl.results.mean_profile(demo, n_draws=50)
    ax = plots.profile_plot(profile, model=MODEL)
    lines = {line.get_label().split(" ")[0]: line for line in ax.lines}
    for comparison in ("genuine", "impostor"):
        expected = profile["directed"].sel(
            comparison=comparison, model=MODEL, side="probe", estimate="value"
        )
        np.testing.assert_allclose(lines[comparison].get_ydata(), expected)
    assert len(ax.collections) == 2
    assert "12 pairs, 4 subjects" in ax.get_legend().get_texts()[0].get_text()


def test_an_overview_shows_a_typical_pair_and_the_means(demo):
    profile = fl.results.mean_profile(demo, n_draws=20)
    axes = plots.overview_plot(demo, profile, model=MODEL)
    pair = fl.results.pairs_to_show(demo, model=MODEL)["A typical genuine pair"]
    crops = fl.open_run(demo.attrs["store"])["crops/arcface"]["crop"]
    for role in ("probe", "reference"):
        face = demo[role].sel(pair=pair).item()
        np.testing.assert_array_equal(axes[role].images[0].get_array(), crops.sel(face=face))
    means = profile["directed"].sel(
        comparison="genuine", model=MODEL, side="probe", estimate="value"
    )
    plane = np.ma.filled(axes["plane"].images[0].get_array(), np.nan)
    relative = means.to_numpy() / np.abs(means).max().item()
    np.testing.assert_allclose(plane[56, 57:84], relative[np.arange(1, 28) // 4])
    np.testing.assert_allclose(axes["profile"].lines[0].get_ydata(), means)
    assert len(axes["strip"].patches) == demo.sizes["band"]


def test_an_overview_without_genuine_pairs(demo):
    impostors = demo.isel(pair=np.flatnonzero(~demo["genuine"]))
    profile = fl.results.mean_profile(impostors, n_draws=10)
    axes = plots.overview_plot(impostors, profile, model=MODEL)
    assert list(axes) == ["plane", "profile", "strip"]
    axes["plane"].figure.canvas.draw()


def test_every_plot_takes_and_returns_axes(demo):
    profile = fl.results.mean_profile(demo, n_draws=10)
    scores = np.linspace(-0.2, 0.9, 50)
    figure, axes = plt.subplots(7)
    calls = [
        lambda ax: plots.spectrum_plot(demo, pair=0, model=MODEL, ax=ax),
        lambda ax: plots.strip_plot(demo, pair=0, model=MODEL, ax=ax),
        lambda ax: plots.profile_plot(profile, model=MODEL, ax=ax),
        lambda ax: plots.contrast_plot(demo, model=MODEL, ax=ax),
        lambda ax: plots.score_plot(scores, scores, thresholds={"x": 0.3, "y": np.nan}, ax=ax),
        lambda ax: plots.face_plot(demo, face=demo["probe"].to_numpy()[0], ax=ax),
    ]
    for call, ax in zip(calls, axes, strict=False):
        assert call(ax) is ax
    inside = plots.heat_plot(demo, pair=0, model=MODEL, ax=axes[-1])
    assert all(ax.figure is figure for ax in inside.values())
    figure.canvas.draw()
    assert len(plt.get_fignums()) == 1


def test_unknown_names(demo):
    with pytest.raises(UnknownNameError, match="Did you mean 'directed'"):
        plots.spectrum_plot(demo, pair=0, model=MODEL, kind="direct")
    with pytest.raises(UnknownNameError, match="Did you mean 'mobilefacenet'"):
        plots.heat_plot(demo, pair=0, model="mobilefacenet2")
    with pytest.raises(UnknownNameError, match="allowed: probe, reference, both"):
        plots.strip_plot(demo, pair=0, model=MODEL, side="x")


def test_long_names_are_cut_in_the_middle():
    name = "Fernando_Henrique_Cardoso/Fernando_Henrique_Cardoso_0007.jpg"
    short = common.shortened(name, 24)
    assert len(short) == 24
    assert short.startswith("Fernand…")
    assert short.endswith("0007.jpg")
    assert common.shortened("s1/1", 24) == "s1/1"


def test_odd_and_oblong_planes_are_whole():
    from freqlab.bands.radial import rings

    for height, width in ((9, 9), (8, 10), (10, 7), (9, 8)):
        labels = full_plane(rings(width=1).label_map(height, width), width)
        fy = np.fft.fftshift(np.fft.fftfreq(height))[:, None] * width
        fx = np.fft.fftshift(np.fft.fftfreq(width))[None] * width
        expected = np.floor(np.hypot(fy, fx) + 1e-9).astype(int)
        expected[height // 2, width // 2] = -1
        np.testing.assert_array_equal(labels, expected)


@pytest.fixture(scope="module")
def verified(orl, tmp_path_factory):
    faces = orl.select([10 * s + i for s in range(8) for i in (0, 3, 5)])
    store = tmp_path_factory.mktemp("verified") / "r.zarr"
    return fl.verify(
        faces, models=[MODEL], store=store, group="glasses", progress=False, n_draws=20
    )


def test_curves_of_errors(verified):
    ax = plots.det_plot(verified, groups=["all", "no"])
    curve = verified["curve"].sel(model=MODEL, group="all")
    shown = curve.where(curve > 0, drop=True)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), shown)
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), shown["curve_fmr"])
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[0].startswith(f"{MODEL}: EER ")
    assert labels[1].startswith(f"{MODEL} · no: EER ")
    with pytest.raises(UnknownNameError, match="Did you mean 'no'"):
        plots.det_plot(verified, groups=["noo"])


def test_distributions_from_figures(verified):
    ax = plots.density_plot(verified, model=MODEL, fmr=0.1)
    area = sum(bar.get_height() * bar.get_width() for bar in ax.patches)
    assert area == pytest.approx(2)
    marked = [line.get_xdata()[0] for line in ax.lines]
    assert marked == [float(verified["threshold"].sel(model=MODEL, fmr=0.1))]


def test_the_worst_comparisons_show_their_faces(verified):
    axes = plots.extremes_plot(verified, model=MODEL, comparison="impostor", n=3)
    assert len(axes) == 6
    best = verified["extreme_probe"].sel(model=MODEL, comparison="impostor").isel(rank=0).item()
    assert axes["probe0"].get_title().endswith(best)
    assert all(ax.images for ax in axes.values())


def test_contact_sheets(verified, orl, tmp_path):
    store = verified.attrs["store"]
    sheet = plots.contact_sheet(store, n=10, columns=4)
    assert len([ax for ax in sheet.axes if ax.images]) == 10
    assert sheet.get_suptitle() == "10 of 24 faces, crops of template arcface"
    one = plots.contact_sheet(store, faces=["s1/1"])
    assert [ax.get_title() for ax in one.axes] == ["s1/1"]
    with pytest.raises(ParameterError, match="'nobody'.* not in the run"):
        plots.contact_sheet(store, faces=["nobody"])
    with pytest.raises(StoreError, match="no crops of template 'dlib'"):
        plots.contact_sheet(store, template="dlib")


def test_a_contact_sheet_of_what_failed(orl, tmp_path):
    for name, content in (("a/1", orl.content(0)), ("a/2", orl.content(1)), ("b/1", b"no image")):
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / f"{name}.pgm").write_bytes(content)
    faces = fl.load_faces(tmp_path / "f")
    store = tmp_path / "r.zarr"
    fl.embed(faces, models=[MODEL], store=store, progress=False)
    sheet = plots.contact_sheet(store, show="failed", columns=5)
    assert [ax.get_title() for ax in sheet.axes] == ["b/1.pgm\nunreadable image"]
    assert not sheet.axes[0].images


def test_profiles_of_several_runs_on_one_axis(demo):
    other = demo.isel(pair=slice(4))
    compared = fl.compare([demo, other], names=["all", "some"], n_draws=20, paired=False)
    assert compared["run"].to_numpy().tolist() == [f"all · {MODEL}", f"some · {MODEL}"]
    whole = fl.results.mean_profile(demo, n_draws=20).sel(model=MODEL, side="probe")
    np.testing.assert_allclose(compared["directed"].isel(run=0), whole["directed"])
    assert compared["face_set"].to_numpy().tolist() == ["all", "some"]
    ax = plots.comparison_plot(compared)
    expected = whole["directed"].sel(comparison="genuine", estimate="value")
    np.testing.assert_allclose(ax.lines[0].get_ydata(), expected)
    with pytest.raises(ParameterError, match="need different names"):
        fl.compare([demo, other], names=["a", "a"])
    with pytest.raises(ParameterError, match="the bands of result .* differ from those of"):
        fl.compare([demo, demo.isel(band=slice(5))], names=["a", "b"])
    with pytest.raises(ParameterError, match="1 names for 2 results"):
        fl.compare([demo, other], names=["a"])

"""Bands that are not intervals of frequency in figures and in the data of the inspector."""

import base64
import io
import itertools
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Rectangle, Wedge
from PIL import Image

import freqlab as fl
from freqlab.errors import ParameterError, UnknownNameError
from freqlab.inspector.drawing import drawing_of, plane_of
from freqlab.plots.orientation import wavelet_labels
from freqlab.results.profiles import influence_spread

KINDS = {"sectors": fl.sectors(3), "wavelets": fl.wavelets("haar", 1)}


def quarters(fy, fx):
    return np.where(np.hypot(fy, fx) < 0.1, -1, np.abs(fx) > np.abs(fy))


ALL = {
    "octaves": fl.octaves(low=8),
    "sectors": fl.sectors(8),
    "mirrored": fl.sectors(4, extension="mirror"),
    "polar": fl.polar(fl.rings(28), 4),
    "custom": fl.custom(quarters, names=["stripes across", "stripes upright"], extension="mirror"),
    "wavelets": fl.wavelets("db2", 2),
    "channels": fl.channels(),
    "crossed": fl.channels(fl.polar(fl.rings(28), 2)),
}


@pytest.fixture(scope="module", params=KINDS)
def result(request):
    people = fl.testing.faces(3, 2)
    return fl.testing.influence(people, bands=KINDS[request.param])


@pytest.fixture(scope="module", params=ALL)
def of_kind(request):
    """Kind of bands, a result, and what figures of many pairs are drawn from."""
    people = fl.testing.faces(4, 2, groups={"colour": ("red", "green")})
    result = fl.testing.influence(people, bands=ALL[request.param], sides=["probe"])
    labels = fl.faces.group_labels(people, "colour")
    return {
        "kind": request.param,
        "result": result,
        "profile": fl.results.mean_profile(result, n_draws=10),
        "compared": fl.compare([result, result], names=["one", "other"], n_draws=10),
        "groups": fl.bias.profiles(result, labels, baseline="red", n_draws=10, n_permutations=10),
    }


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_the_axis_names_the_bands(result):
    names = result["band"].to_numpy().tolist()
    profile = fl.results.mean_profile(result, n_draws=5)
    for ax in (
        fl.plots.profile_plot(profile, model="linear"),
        fl.plots.strip_plot(result, pair=0, model="linear"),
    ):
        assert [label.get_text() for label in ax.get_xticklabels()] == names
        assert ax.get_xlabel() == "band"
        assert ax.get_xlim() == (0, 3)


def test_the_plane_shows_bands_of_the_plane(result):
    ax = fl.plots.spectrum_plot(result, pair=0, model="linear")
    (image,) = ax.images
    plane = np.ma.filled(image.get_array(), np.nan)
    labels = np.frombuffer(plane_of(result, model="linear")["labels"], "<i2").reshape(112, 112)
    if "scale" in result.coords:
        np.testing.assert_array_equal(labels, wavelet_labels(KINDS["wavelets"], 112, 112))
    assert set(np.unique(labels)) == {-1, 0, 1, 2}
    influence = result["influence"].sel(pair=0, model="linear", side="probe").to_numpy()
    np.testing.assert_allclose(
        plane[labels >= 0], (influence / np.abs(influence).max())[labels[labels >= 0]]
    )
    # horizontal structure has a vertical frequency: above and below the middle
    assert labels[56 - 35, 56] == labels[56 + 35, 56] == 0


@pytest.mark.parametrize("level", [1, 2, 3])
def test_subbands_are_drawn_where_their_energy_is(level):
    """Gratings within a nominal place have most of their energy in its subband."""
    bands = fl.wavelets("sym8", level)
    labels = wavelet_labels(bands, 128, 128)
    y, x = np.mgrid[:128, :128]
    decomposition = bands.decompose(128, 128)
    seen = set()
    for ky, kx in ((48, 3), (3, 48), (48, 48), (24, 2), (2, 24), (24, 24), (12, 1), (12, 12)):
        grating = np.cos(2 * np.pi * (ky * y + kx * x) / 128)
        images = torch.tensor(grating)[None, None].expand(1, 3, -1, -1)
        energy = decomposition.energy(images.float())[0].numpy()
        expected = labels[64 + ky, 64 + kx]
        if expected >= 0:
            assert energy.argmax() == expected
            seen.add(expected)
    assert len(seen) >= 3


def test_the_map_of_a_mirrored_crop_is_every_second_frequency():
    """A map that depends on the frequency alone is the same with and without mirroring."""
    for size in ((112, 112), (96, 80), (31, 33)):
        periodic = fl.custom(quarters, size=size)
        mirrored = fl.custom(quarters, size=size, extension="mirror")
        np.testing.assert_array_equal(periodic.label_map(*size), mirrored.label_map(*size))
        with pytest.raises(fl.errors.BandError, match="the mirrored crop"):
            mirrored.label_map(2 * size[0], 2 * size[1])


@pytest.mark.slow
def test_every_figure_over_bands_draws_every_kind(of_kind):
    result, plots = of_kind["result"], fl.plots
    edited = fl.edits.Inspection(result, models=[fl.testing.model()]).edit(
        pair=0, model="linear", bands=[0]
    )
    drawn = {
        "spectrum_plot": plots.spectrum_plot(result, pair=0),
        "strip_plot": plots.strip_plot(result, pair=0),
        "contrast_plot": plots.contrast_plot(result),
        "heat_plot": plots.heat_plot(result, pair=0),
        "pair_profile_plot": plots.pair_profile_plot(result, pair=0),
        "inspection_plot": plots.inspection_plot(result, edited),
        "overview_plot": plots.overview_plot(result, of_kind["profile"]),
        "profile_plot": plots.profile_plot(of_kind["profile"]),
        "comparison_plot": plots.comparison_plot(of_kind["compared"]),
        "difference_plot": plots.difference_plot(of_kind["compared"]),
        "group_profile_plot": plots.group_profile_plot(of_kind["groups"]),
        "group_difference_plot": plots.group_difference_plot(of_kind["groups"]),
        "group_heat_plot": plots.group_heat_plot(of_kind["groups"]),
    }
    radial = of_kind["kind"] == "octaves"
    for name, axes in drawn.items():
        figure = (next(iter(axes.values())) if isinstance(axes, dict) else axes).figure
        FigureCanvasAgg(figure).draw()
        size = figure.bbox
        lowest, highest = size.y0 - 1, size.y1 + 1
        parts = axes.items() if isinstance(axes, dict) else [(name, axes)]
        for part, ax in parts:
            if part in ("probe", "reference", "edited", "alone", "difference"):
                continue
            texts = [text for text in ax.get_xticklabels() if text.get_text().strip()]
            for text in [*texts, ax.xaxis.label]:
                box = text.get_window_extent()
                assert lowest <= box.y0 <= box.y1 <= highest, (name, part, text.get_text())
                assert text.get_fontsize() >= 8, (name, part)
            if part in ("profile", "strip_plot", "contrast_plot", "profile_plot"):
                assert ("spatial frequency" in ax.get_xlabel()) == radial
                assert texts
            if not radial and name not in ("spectrum_plot",) and part != "plane":
                boxes = [text.get_window_extent().padded(-1) for text in texts]
                assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))


@pytest.mark.slow
def test_figures_of_orientation_take_their_kinds(of_kind):
    takes = {
        "rose_plot": ("sectors", "mirrored"),
        "orientation_plot": ("polar", "wavelets", "crossed"),
    }
    other = dict.fromkeys(takes["rose_plot"], "rose_plot")
    other |= dict.fromkeys(takes["orientation_plot"], "orientation_plot")
    for name, kinds in takes.items():
        plot = getattr(fl.plots, name)
        for data, options in ((of_kind["profile"], {}), (of_kind["result"], {"pair": 0})):
            if of_kind["kind"] in kinds:
                plot(data, kind="directed", **options)
                continue
            instead = other.get(of_kind["kind"], "profile_plot")
            with pytest.raises(ParameterError, match=rf"^{name} shows .*; use {instead}$"):
                plot(data, **options)


def test_a_rose_has_the_mean_as_radius_and_its_interval():
    people = fl.testing.faces(4, 2)
    result = fl.testing.influence(people, bands=fl.sectors(6), sides=["probe"])
    profile = fl.results.mean_profile(result, n_draws=20)
    part = profile["absolute"].sel(comparison="genuine", model="linear", side="probe")
    ax = fl.plots.rose_plot(profile)
    wedges = [patch for patch in ax.patches if isinstance(patch, Wedge)]
    assert [wedge.r for wedge in wedges] == pytest.approx(
        np.repeat(part.sel(estimate="value").to_numpy(), 2)
    )
    centres = [(wedge.theta1 + wedge.theta2) / 2 for wedge in wedges]
    assert centres == pytest.approx([a for k in range(6) for a in (30 * k, 30 * k + 180)])
    ends = np.array([np.hypot(*line.get_data()) for line in ax.lines])
    expected = [part.sel(estimate=name).to_numpy() for name in ("lower", "upper")]
    np.testing.assert_allclose(ends[::2], np.transpose(expected))
    # negative values lie inside the circle of zero
    pair = result["influence"].sel(pair=0, model="linear", side="probe").to_numpy()
    ax = fl.plots.rose_plot(result, pair=0, kind="directed")
    wedges = [patch for patch in ax.patches if isinstance(patch, Wedge)][::2]
    assert [wedge.width for wedge in wedges] == pytest.approx(np.abs(pair))
    zero = [w.r if v < 0 else w.r - w.width for w, v in zip(wedges, pair, strict=True)]
    assert zero == pytest.approx([zero[0]] * 6)


def test_a_table_has_the_band_of_each_ring_and_orientation():
    people = fl.testing.faces(3, 2)
    bands = fl.polar(fl.rings(28), 4)
    result = fl.testing.influence(people, bands=bands, sides=["probe"])
    ax = fl.plots.orientation_plot(result, pair=0, kind="directed")
    values = result["influence"].sel(pair=0, model="linear", side="probe")
    cells = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    assert len(cells) == 9
    assert [(cell.get_x(), cell.get_y()) for cell in cells[:8]] == [
        (column, row) for row in range(2) for column in range(4)
    ]
    assert (cells[8].get_x(), cells[8].get_y(), cells[8].get_width()) == (0, 2, 4)
    written = [float(text.get_text().replace("\N{MINUS SIGN}", "-")) for text in ax.texts]
    np.testing.assert_allclose(written, values, atol=float(np.abs(values).max()) / 10)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["0-28", "28-56", "rest"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0°", "45°", "90°", "135°"]


def test_figures_of_orientation_refuse_what_does_not_fit():
    people = fl.testing.faces(3, 2)
    result = fl.testing.influence(people, bands=fl.sectors(3), sides=["probe"])
    profile = fl.results.mean_profile(result, n_draws=5)
    with pytest.raises(ParameterError, match="pair=None: a result needs the label of a pair"):
        fl.plots.rose_plot(result)
    with pytest.raises(ParameterError, match="pair=0: a mean profile has no pairs"):
        fl.plots.rose_plot(profile, pair=0)
    with pytest.raises(UnknownNameError, match="unknown kind 'absolut'"):
        fl.plots.rose_plot(profile, kind="absolut")
    with pytest.raises(UnknownNameError, match="unknown comparison 'all'"):
        fl.plots.rose_plot(profile, comparison="all")


@pytest.mark.parametrize("kind", [*ALL, "merged", "per_eyes"])
def test_bands_show_themselves_in_a_notebook(kind):
    bands = {
        **ALL,
        "merged": fl.polar(fl.rings(28), 4).broad(3),
        "per_eyes": fl.sectors(4, unit="cycles/eyes", high=5),
    }[kind]
    html = bands._repr_html_()
    assert all(name in html for name in bands.names)
    found = re.search(r'src="data:image/png;base64,([^"]+)"', html)
    if kind == "octaves":
        assert "<svg" in html
        return
    assert (found is not None) == bands.planar
    if bands.planar:
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(found[1]))))
        assert picture.shape == (112, 112, 4)
        colours = np.unique(picture[picture[..., 3] > 0], axis=0)
        assert len(colours) == len(bands)
        # symmetric under a change of sign of the frequency, which the first row and column lack
        np.testing.assert_array_equal(picture[1:, 1:], picture[1:, 1:][::-1, ::-1])


def test_names_of_bands_are_escaped_in_a_notebook():
    html = fl.custom(quarters, names=["<b>", "&"])._repr_html_()
    assert "<b>" not in html.replace("<b>Bands</b>", "")
    assert "&lt;b&gt;" in html


def test_the_inspector_draws_bands_side_by_side(result):
    spread = influence_spread(result, model="linear")
    drawn = drawing_of(
        result, spread, pair=0, model="linear", side="probe", kind="directed", operation="remove"
    )
    names = result["band"].to_numpy().tolist()
    assert [band["name"] for band in drawn["bands"]] == names
    assert [(band["lower"], band["upper"]) for band in drawn["bands"]] == [(0, 1), (1, 2), (2, 3)]
    assert [tick["text"] for tick in drawn["x"]["ticks"]] == names
    assert drawn["x"]["label"] == "band"
    assert drawn["x"]["break"] is None
    assert drawn["bands"][0]["text"].startswith(f"{names[0]}: ")


def test_only_intervals_of_frequency_are_joined_by_lines(of_kind):
    """Sectors are cyclic and subbands have no order: points with bars, side by side in a band."""
    plots, ordered = fl.plots, of_kind["kind"] == "octaves"
    profile = of_kind["profile"]
    for ax, n_profiles in (
        (plots.profile_plot(profile), 2),
        (plots.comparison_plot(of_kind["compared"]), 2),
        (plots.group_profile_plot(of_kind["groups"]), 2),
        (plots.contrast_plot(of_kind["result"]), 1),
        (plots.pair_profile_plot(of_kind["result"], pair=0), 1),
    ):
        n_bands = profile.sizes["band"]
        marked = [line for line in ax.lines if len(line.get_xdata()) == n_bands and n_bands > 2]
        marked = [line for line in marked if line.get_marker() not in ("None", None, "")]
        if n_bands > 2:
            assert len(marked) == n_profiles
        assert all((line.get_linestyle() != "None") == ordered for line in marked)
        places = np.array([line.get_xdata() for line in marked])
        if not ordered and len(marked):
            assert (np.floor(places) == np.arange(n_bands)).all()
            assert (np.diff(places, axis=0) > 0.05).all()


def test_bars_are_the_intervals_of_the_profile():
    people = fl.testing.faces(4, 2)
    result = fl.testing.influence(people, bands=fl.sectors(4), sides=["probe"])
    profile = fl.results.mean_profile(result, n_draws=10)
    ax = fl.plots.profile_plot(profile, kind="absolute")
    drawn = [line for line in ax.lines if len(line.get_xdata()) == 12]
    for bars, comparison in zip(drawn, ("genuine", "impostor"), strict=True):
        part = profile["absolute"].sel(comparison=comparison, model="linear", side="probe")
        ends = bars.get_ydata().reshape(4, 3)
        np.testing.assert_allclose(ends[:, :2], part.sel(estimate=["lower", "upper"]))
        assert np.isnan(ends[:, 2]).all()
    assert "bars: 95 % intervals over people" in ax.get_legend().get_title().get_text()

"""Every figure, by the code of the gallery on few faces: what it says, and that it can be read."""

import importlib.util
import inspect
import io
import itertools
import re
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

import freqlab as fl
from freqlab import plots
from freqlab.errors import ParameterError
from freqlab.plots.common import MAX_WIDTH, axis_label

DOCS = Path(__file__).parents[2] / "docs"
PUBLIC = [name for name in plots.__all__ if callable(getattr(plots, name))]
FEWER = {
    "n_pairs=200": "n_pairs=60",
    "n_pairs=60": "n_pairs=12",
    '"dlib"': '"mobilefacenet-mask"',
    "width=4": "width=14",
    '"A genuine pair whose decision depends on one band"': '"A typical genuine pair"',
    "fmr=1e-2": "fmr=1e-1",
    "n=24": "n=12",
    "n_masks=800": "n_masks=40",
    "grid=5": "grid=2",
    "range(50)": "range(15)",
    "sample_pairs(result, 40)": "sample_pairs(result, 12)",
    '("FGSM", 4), ("PGD", 1)': '("FGSM", 4)',
}


def gallery_module():
    spec = importlib.util.spec_from_file_location("gallery_maker", DOCS / "gallery.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["gallery_maker"] = module
    spec.loader.exec_module(module)
    return module


gallery = gallery_module()
CELLS = gallery.read_cells(gallery.CODE.read_text())
DRAWN = [cell.title for cell in CELLS if not cell.opens]
SAMPLE = ("heat_plot", "pair_profile_plot", "overview_plot", "det_plot")  # in their order

# what stands at the axes: dataset, variable, and the unit it is drawn in where that is another
FROM_DATA = {
    "heat_plot": [("result", "frequency"), ("result", "influence")],
    "spectrum_plot": [("result", "frequency")],
    "strip_plot": [("result", "frequency"), ("result", "influence")],
    "pair_profile_plot": [("result", "frequency")],
    "inspection_plot": [("result", "frequency")],
    "overview_plot": [("profile", "frequency"), ("profile", "directed")],
    "profile_plot": [("profile", "frequency"), ("profile", "directed")],
    "comparison_plot": [("compared", "frequency"), ("compared", "absolute")],
    "difference_plot": [("compared", "frequency"), ("compared", "directed_difference")],
    "contrast_plot": [("result", "frequency"), ("result", "removed_rms")],
    "density_plot": [("verified", "score"), ("verified", "density")],
    "det_plot": [("verified", "curve_fmr"), ("verified", "curve")],
    "group_profile_plot": [("groups", "frequency"), ("groups", "absolute")],
    "group_difference_plot": [("groups", "frequency"), ("groups", "directed_difference")],
    "group_heat_plot": [("groups", "frequency"), ("groups", "directed_difference")],
    "group_error_plot": [
        ("errors", "eer", "%"),
        ("errors", "false_match_rate", "%"),
        ("errors", "false_non_match_rate", "%"),
    ],
    "rose_plot": [("by_orientation", "absolute")],
    "orientation_plot": [
        ("by_octave", "orientation"),
        ("by_octave", "frequency"),
        ("by_octave", "absolute"),
    ],
    "resolution_heat_plot": [
        ("by_resolution", "frequency"),
        ("by_resolution", "resolution"),
        ("by_resolution", "absolute"),
    ],
    "resolution_profile_plot": [("by_resolution", "frequency"), ("by_resolution", "directed")],
    "resolution_strip_plot": [("degraded", "frequency")],
    "resolution_summary_plot": [("by_resolution", "resolution"), ("by_resolution", "low_gain")],
    "morph_plot": [("attacked", "frequency")],
    "vulnerability_plot": [("risk", "mmpmr", "%")],
    "saliency_plot": [("space", "map")],
    "plane_plot": [("plane", "map"), ("plane", "kx"), ("plane", "ky")],
    "joint_plot": [("joint", "influence")],
    "reliability_plot": [("plane", "reliability")],
    "detector_plot": [("detected", "auc")],
    "discard_plot": [("discarded", "discarded", "%"), ("discarded", "false_non_match_rate", "%")],
    "cmc_plot": [("searched", "rank"), ("searched", "identification_rate", "%")],
    "fnir_plot": [("searched", "curve_fpir"), ("searched", "curve")],
    "calibration_plot": [("calibrated", "predicted", "%"), ("calibrated", "observed", "%")],
}
# and where it is of data that the plot is not given, or of several: as text
SAID = {
    "heat_plot": ["influence per contrast removed (cosine similarity per grey level)"],
    "spectrum_plot": ["relative to the maximum"],
    "pair_profile_plot": ["directed influence (cosine similarity)"],
    "inspection_plot": ["directed influence (cosine similarity)"],
    "score_plot": ["cosine similarity", "probability density"],
    "gaps_plot": [
        "distance between directed profiles (cosine similarity)",
        "EER gap to the baseline (percentage points)",
    ],
    "resolution_error_plot": ["resolution of the probe (pixels)", "error rate (%)"],
    "resolution_leak_plot": ["resolution of the probe (pixels)", "share beyond √2 N/2"],
    "attack_profile_plot": [
        "spatial frequency (cycles/image)",
        "mean directed influence (cosine similarity)",
    ],
    "manipulation_plot": [
        "spatial frequency (cycles/image)",
        "change in log energy (SD of pristine pairs)",
    ],
    "d_eer_plot": ["D-EER (%)"],
    "detection_plot": ["APCER (%)", "BPCER (%)"],
    "score_histogram_plot": ["mahalanobis", "probability density"],
    "deletion_plot": ["share of bands removed", "false non-match rate"],
    "accuracy_plot": ["share of bands removed", "accuracy"],
    "advantage_plot": ["advantage of the influence order (area under the "],
    "view_plot": ["rank correlation with influence"],
    "interaction_plot": ["band (cycles/image)", "interaction (cosine similarity)"],
    "randomisation_plot": ["share of layers randomised", "rank correlation"],
    "stability_plot": ["rank correlation"],
    "gain_plot": ["change of FNMR at FMR 1e-"],
    "search_gain_plot": ["change of the error rate at rank 1 by the score (percentage points)"],
    "planted_plot": ["planted band (cycles/image)"],
}
PRINTED = 7.32  # inches: width of the text of a printed page
BY_COUNT = {"contact_sheet", "extremes_plot", "group_heat_plot", "planted_plot"}
BY_COUNT |= {"group_error_plot", "joint_plot", "resolution_strip_plot"}  # as tall as their data
FACES_ONLY = {"face_plot", "contact_sheet", "extremes_plot"}  # each under its name


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The figures and the data of the gallery, on three photographs each of twelve people."""
    return drawn_by(CELLS, tmp_path_factory.mktemp("gallery"), n_people=12)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """Some of the figures, of one model and few bands, on three photographs each of four people."""
    last = next(n for n, cell in enumerate(CELLS) if cell.title == SAMPLE[-1])
    cells = [cell for cell in CELLS[: last + 1] if cell.opens or cell.title in SAMPLE]
    folder = tmp_path_factory.mktemp("sample")
    return drawn_by(cells, folder, n_people=4, models=["mobilefacenet"], bands=fl.rings(28))


def drawn_by(cells, folder, *, n_people, **given):
    """Names and figures that the code of cells leaves, on few of the faces."""
    names, figures = {}, {}
    for number, cell in enumerate(cells):
        exec(fewer(cell.code), names)
        if number == 0:
            names["store"], names["folder"] = folder / "run.zarr", folder / "morphs"
            rows = [10 * person + image for person in range(n_people) for image in range(3)]
            names["faces"] = names["faces"].select(rows)
            names.update(given)
        if not cell.opens:
            figures[cell.title] = plt.gcf()
            plt.close("all")
    return names, figures


def fewer(code):
    """The code of a cell, with less to compute."""
    whole = "|".join(map(re.escape, FEWER))
    return re.sub(whole, lambda found: FEWER[found[0]], code)


def texts_of(figure, monkeypatch):
    """Every text that is really drawn: the text, its size in points, its box in pixels."""
    found, draw = [], Text.draw

    def record(self, renderer, *args, **kwargs):
        if self.get_visible() and self.get_text().strip():
            box = self.get_window_extent(renderer)
            found.append((self.get_text(), self.get_fontsize(), box))
        return draw(self, renderer, *args, **kwargs)

    canvas = FigureCanvasAgg(figure)  # a closed figure has none that draws
    canvas.draw()  # layout first
    monkeypatch.setattr(Text, "draw", record)
    canvas.draw()
    return found


def picture_at(title):
    """Where the picture of a cell is."""
    (cell,) = (cell for cell in CELLS if cell.title == title)
    return cell.picture


def labels_of(figure):
    """All labels of axes and colour bars, each in one line."""
    axes = [*figure.axes, *(child for ax in figure.axes for child in ax.child_axes)]
    axes += [child for ax in axes for child in ax.child_axes]
    labels = [label for ax in axes for label in (ax.get_xlabel(), ax.get_ylabel())]
    return [label.replace("\n", " ").replace(" / ", " per ") for label in labels if label]


def overlapping(found):
    """Pairs of texts whose boxes, a pixel smaller all round, share something."""
    boxes = [(text, box.padded(-1)) for text, _, box in found]
    return [
        (one, other) for (one, a), (other, b) in itertools.combinations(boxes, 2) if a.overlaps(b)
    ]


def check_readable(figure, monkeypatch):
    """No text is clipped, too small, or on another."""
    found = texts_of(figure, monkeypatch)
    assert found
    width, height = figure.canvas.get_width_height()
    assert figure.get_figwidth() <= MAX_WIDTH
    shown = min(1, PRINTED / figure.get_figwidth())
    for text, size, box in found:
        assert size * shown >= 8, text
        assert -1 <= box.x0 <= box.x1 <= width + 1, text
        assert -1 <= box.y0 <= box.y1 <= height + 1, text
    assert overlapping(found) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWN)
def test_no_text_is_clipped_too_small_or_on_another(drawn, name, monkeypatch):
    check_readable(drawn[1][name], monkeypatch)


@pytest.mark.parametrize("name", SAMPLE)
def test_a_sample_of_the_figures_can_be_read(sample, name, monkeypatch):
    check_readable(sample[1][name], monkeypatch)


def test_texts_that_lie_on_another_are_seen(monkeypatch):
    figure = plt.figure()
    figure.text(0.5, 0.5, "one")
    figure.text(0.51, 0.5, "other")
    figure.text(0.5, 0.6, "third")
    assert overlapping(texts_of(figure, monkeypatch)) == [("one", "other")]


def test_every_plot_is_in_the_tables():
    assert set(PUBLIC) == set(FROM_DATA) | set(SAID) | FACES_ONLY
    assert {title.partition(" of ")[0] for title in DRAWN} == {*PUBLIC, "palette"}
    assert len(set(DRAWN)) == len(DRAWN)
    assert all(whole in gallery.CODE.read_text() for whole in FEWER)


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLIC)
def test_axes_say_what_they_show_with_its_unit(drawn, name):
    names, figures = drawn
    labels = labels_of(figures[name])
    for dataset, variable, *units in FROM_DATA.get(name, []):
        attrs = names[dataset][variable].attrs
        unit = units[0] if units else attrs["units"]
        fit = [label for label in labels if attrs["long_name"] in label]
        assert fit, (variable, labels)
        assert unit == "1" or any(label.endswith(f"({unit})") for label in fit), (unit, fit)
    for text in SAID.get(name, []):
        assert any(text in label for label in labels), (text, labels)
    for ax in figures[name].axes:
        if ax.axison and ax.has_data() and (len(ax.get_xticks()) or len(ax.get_yticks())):
            said = ax.get_xlabel() or not any(t.get_text() for t in ax.get_xticklabels())
            assert said, f"an axes of {name} has numbers without a name"


@pytest.mark.slow
def test_all_numbers_have_a_name_and_a_unit(drawn):
    """All that the studies compute, drawn or not; columns of the user's own table may lack both."""
    names = drawn[0]
    datasets = {name: data for name, data in names.items() if isinstance(data, xr.Dataset)}
    assert len(datasets) >= 10
    datasets["attack_profiles"] = fl.morphing.profiles(names["attacked"], n_draws=10)
    datasets["detection_errors"] = fl.morphing.detection_errors(names["scores"])
    datasets["resolution_leaks"] = fl.resolution.leaks(names["degraded"], n_draws=10)
    for name, data in datasets.items():
        for variable in (v for v in data.variables if data[v].dtype.kind == "f"):
            if data[variable].dims != ("pair",):
                assert {"long_name", "units"} <= set(data[variable].attrs), (name, variable)


@pytest.mark.slow
@pytest.mark.parametrize("name", FROM_DATA)
def test_names_are_those_of_the_data(drawn, name):
    """Rename the data, draw again: the axes follow."""
    names = dict(drawn[0])
    for dataset in {entry[0] for entry in FROM_DATA[name]}:
        names[dataset] = names[dataset].load().copy(deep=True)
        for variable in names[dataset].variables:
            names[dataset][variable].attrs["long_name"] = f"new {variable}"
    cell = next(cell for cell in CELLS if cell.title == name)
    exec(fewer(cell.code), names)
    labels = labels_of(plt.gcf())
    for _, variable, *_ in FROM_DATA[name]:
        assert any(f"new {variable}" in label for label in labels), (variable, labels)


def call_of(name, names, monkeypatch):
    """The plot, and the arguments that the gallery gives it."""
    plot, given = getattr(plots, name), []
    monkeypatch.setattr(plots, name, lambda *args, **kwargs: given.append((args, kwargs)))
    cell = next(cell for cell in CELLS if cell.title == name)
    exec(fewer(cell.code), dict(names))
    monkeypatch.undo()
    plt.close("all")
    (arguments,) = given
    return plot, *arguments


def figure_of(drawn):
    """The figure of what a plot returns: axes, axes by name, or a figure."""
    if isinstance(drawn, dict):
        (figure,) = {ax.figure for ax in drawn.values()}
        return figure
    return getattr(drawn, "figure", drawn)


def refused(plot, args, kwargs, text):
    """The call raises an error with this text, and leaves no figure."""
    with pytest.raises(ParameterError, match=text):
        plot(*args, **kwargs)
    assert plt.get_fignums() == []


def check_axes_and_sizes(name, names, monkeypatch):
    """Single axes take ``ax``, several axes ``height`` and ``aspect``; bad values are refused."""
    plot, args, kwargs = call_of(name, names, monkeypatch)
    takes = inspect.signature(plot).parameters
    default = figure_of(plot(*args, **kwargs))
    width, height = default.get_size_inches()
    plt.close("all")
    if "ax" in takes:
        figure, axes = plt.subplots(1, 2, figsize=(12, 5))
        result = plot(*args, **kwargs, ax=axes[1])
        assert figure_of(result) is figure
        assert name in SEVERAL_AXES or result is axes[1]
        assert plt.get_fignums() == [figure.number]
        assert not axes[0].has_data()
        plt.close("all")
        refused(plot, args, {**kwargs, "ax": axes}, r"ax=.* must be matplotlib axes")
    if name not in SEVERAL_AXES:
        return
    for given, size in (
        ({"height": 2 * height}, (2 * width, 2 * height)),
        ({"aspect": 2.5}, (2.5 * height, height)),
        ({"height": 6, "aspect": 1.5}, (9, 6)),
    ):
        figure = figure_of(plot(*args, **kwargs, **given))
        assert figure.get_size_inches() == pytest.approx(size)
        assert saved(figure).size == pytest.approx([100 * one for one in size], abs=1)
        plt.close("all")
    for argument in ("height", "aspect"):
        for bad in (0, -1, np.nan, "tall", True):
            text = f"{argument}={bad!r} must be a number above 0"
            refused(plot, args, {**kwargs, argument: bad}, re.escape(text))
    refused(plot, args, {**kwargs, "height": 80, "aspect": 2}, "make a figure of 160 x 80 inches")
    if "ax" in takes:
        ax = plt.figure().add_subplot()
        plt.close("all")
        text = "height=3 is the size of a new figure"
        refused(plot, args, {**kwargs, "ax": ax, "height": 3}, text)


def check_model(name, names, monkeypatch):
    """The model may be left out where there is one, and only there."""
    plot, args, kwargs = call_of(name, names, monkeypatch)
    model = kwargs.get("model") or str(np.atleast_1d(args[0]["model"])[0])
    rest = {key: value for key, value in kwargs.items() if key != "model"}
    expected = saved(figure_of(plot(*args, **{**rest, "model": model})))
    plt.close("all")
    for wanted in ([model], model):
        one = [arg.sel(model=wanted) if "model" in arg.dims else arg for arg in args]
        assert np.array_equal(expected, saved(figure_of(plot(*one, **rest))))
        plt.close("all")
    names_twice = {"model": ["a", "b"]}
    doubled = [args[0].isel(model=[0, 0]).assign_coords(names_twice), *args[1:]]
    text = "model=None is allowed only for data of one model; these have 2: a, b"
    refused(plot, doubled, rest, text)
    refused(plot, args, {**rest, "model": "nobody"}, "unknown model 'nobody'; allowed: ")


def saved(figure):
    """The picture that a plain ``savefig`` writes."""
    file = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(file)
    return Image.open(file).convert("RGB")


SEVERAL_AXES = {
    *("contact_sheet", "extremes_plot", "group_error_plot", "heat_plot", "joint_plot"),
    *("inspection_plot", "morph_plot", "overview_plot", "resolution_strip_plot"),
}
BY_MODEL = [
    name
    for name in PUBLIC
    if name != "face_plot" and "model" in inspect.signature(getattr(plots, name)).parameters
]
SIZED = PUBLIC


@pytest.mark.parametrize("name", SIZED)
def test_arguments_have_one_name_and_are_described(name):
    plot = getattr(plots, name)
    takes = inspect.signature(plot).parameters
    several = "dict[" in str(plot.__annotations__["return"]) or name == "contact_sheet"
    assert several == (name in SEVERAL_AXES)
    assert several == ("height" in takes) == ("aspect" in takes)
    assert several or "ax" in takes
    for argument in ("ax", "model", "height", "aspect"):
        if argument in takes:
            assert takes[argument].default is None
            assert takes[argument].kind is takes[argument].KEYWORD_ONLY
    described = inspect.getdoc(plot).split("Parameters\n")[1].split("\nReturns\n")[0]
    for argument in takes:
        assert re.search(rf"^(\w+, )*{argument}(, \w+)*$", described, re.M), argument


@pytest.mark.parametrize("name", [name for name in SAMPLE if name in SIZED])
def test_a_sample_of_the_figures_takes_axes_and_sizes(sample, name, monkeypatch):
    check_axes_and_sizes(name, sample[0], monkeypatch)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("name", SIZED)
def test_figures_take_axes_and_sizes(drawn, name, monkeypatch):
    check_axes_and_sizes(name, drawn[0], monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_MODEL)
def test_the_only_model_may_be_left_out(drawn, name, monkeypatch):
    check_model(name, drawn[0], monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*DRAWN} - BY_COUNT))
def test_a_saved_figure_is_as_large_as_the_picture_of_the_gallery(drawn, name):
    with Image.open(picture_at(name)) as picture:
        assert saved(drawn[1][name]).size == picture.size
    with Image.open(io.BytesIO(gallery.picture_of(drawn[1][name]))) as picture:
        assert saved(drawn[1][name]).size == picture.size


def test_labels_are_the_name_and_the_unit():
    values = xr.DataArray(np.zeros(2), attrs={"long_name": "rate of change", "units": "m per s"})
    assert axis_label(values) == "rate of change (m / s)"
    assert axis_label(values, width=12) == "rate of\nchange\n(m / s)"
    assert axis_label(values, units="%") == "rate of change (%)"
    assert axis_label(values, name="pace") == "pace (m / s)"
    assert axis_label(xr.DataArray(0.0, name="d", attrs={"units": "1"})) == "d"


def test_the_page_is_what_the_script_writes():
    assert gallery.PAGE.read_text() == gallery.page_text(CELLS)


def test_some_figures_are_drawn_by_the_cells_they_need():
    titles = [cell.title for cell in gallery.cells_for(CELLS, ["pair_profile_plot"])]
    assert titles == ["The faces and the models", "One pair", "pair_profile_plot"]
    titles = [cell.title for cell in gallery.cells_for(CELLS, ["view_plot", "det_plot"])]
    assert titles == [
        *("The faces and the models", "One pair", "Verification", "det_plot"),
        *("Faithfulness", "view_plot"),
    ]
    source = "# %% [title] A\na = 1\n# %% [title] B\nb = [c for c in range(a)]\nc = 3\n# %% d\nb\n"
    cells = gallery.read_cells(source)
    assert [cell.needs - {"range"} for cell in cells] == [set(), {"a"}, {"b"}]
    assert [cell.assigns for cell in cells] == [{"a"}, {"b", "c"}, set()]
    assert gallery.cells_for(cells, ["d"]) == cells
    with pytest.raises(SystemExit, match="no figure 'cmcplot'; there are: heat_plot, "):
        gallery.cells_for(CELLS, ["cmcplot"])


@pytest.mark.parametrize("name", DRAWN)
def test_pictures_are_there_and_small(name):
    picture = picture_at(name)
    assert picture.stat().st_size <= 120_000
    with Image.open(picture) as image:
        assert image.format == "PNG"
        assert image.width <= 1200


def test_there_are_no_other_pictures():
    pictures = list(gallery.PICTURES.iterdir())
    assert set(pictures) == {picture_at(name) for name in DRAWN}
    assert sum(picture.stat().st_size for picture in pictures) < 3_000_000


def test_the_page_shows_the_code_that_runs():
    shown = re.findall(r"```python\n(.*?)\n```", gallery.PAGE.read_text(), re.S)
    source = gallery.CODE.read_text()
    assert shown == [cell.code for cell in CELLS if cell.code]
    assert all(code in source for code in shown)
    for name in PUBLIC:
        assert any(f"fl.plots.{name}(" in code for code in shown)


def test_the_page_is_found_from_the_readme_and_names_whose_faces_it_shows():
    assert "(docs/gallery.md)" in (DOCS.parent / "README.md").read_text()
    assert "ORL Database of Faces, AT&T Laboratories Cambridge" in gallery.PAGE.read_text()


@pytest.mark.slow
def test_a_notebook_saves_a_figure_as_large_as_the_gallery_shows_it(tmp_path):
    """The inline backend of notebooks has settings of its own, also for what it shows."""
    from jupyter_client.manager import start_new_kernel

    path = tmp_path / "strip.png"
    source = (
        "import freqlab as fl\nax = fl.plots.strip_plot(fl.testing.influence(), pair=0)\nax.figure"
    )
    told = []
    manager, client = start_new_kernel(extra_arguments=["--IPKernelApp.log_level=50"])
    try:
        for cell in ("%matplotlib inline", source, f"ax.figure.savefig({str(path)!r})"):
            client.execute_interactive(cell, output_hook=told.append, timeout=120)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert [m["content"] for m in told if m["msg_type"] == "error"] == []
    with Image.open(path) as own, Image.open(gallery.PICTURES / "strip_plot.png") as shown:
        assert own.size == shown.size

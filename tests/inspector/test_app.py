"""The inspector without a browser: its traits, its controls, and how it tells of errors."""

import base64
import io
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import Linear, make_faces
from ipywidgets import Widget
from PIL import Image

import freqlab as fl
from freqlab.errors import ParameterError, StoreError, UnknownNameError


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """Two linear networks on synthetic faces; pairs carry a column ``light``."""
    faces = make_faces(n_subjects=5)
    pairs = fl.make_pairs(faces, seed=0)
    pairs["light"] = np.where(np.arange(len(pairs)) % 3 == 0, "lamp", "day")
    store = tmp_path_factory.mktemp("inspector") / "run.zarr"
    return fl.influence(faces, pairs, models=models(), store=store, progress=False)


def models():
    return [fl.wrap_model(Linear(seed=k), name=name) for k, name in enumerate(("first", "second"))]


@pytest.fixture
def app(result):
    return fl.inspect(result, models=models())


def click(button):
    """Click as the browser does; an exception would be swallowed here."""
    button._click_handlers(button)


def test_it_begins_with_the_first_pair_and_no_band(app, result):
    assert (app.pair, app.model, app.side, app.selected) == (0, "first", "probe", ())
    assert app.error == ""
    assert app.similarity["first"] == pytest.approx(
        float(result["similarity"].sel(pair=0, model="first")), abs=1e-6
    )
    panel = app._panels[0]
    assert len(panel.pictures.originals) == 2
    assert (len(panel.pictures.edited), len(panel.pictures.details)) == (1, 2)
    assert panel.sentence.value.startswith("<p")


def test_the_slider_takes_bands_out_and_the_network_answers(app, result):
    before = app._panels[0].pictures.edited[0]["png"]
    app._controls.slider.index = (1, 2)
    assert app.selected == (1,)
    influence = float(result["influence"].sel(pair=0, model="first", side="probe")[1])
    intact = float(result["similarity"].sel(pair=0, model="first"))
    assert app.similarity["first"] == pytest.approx(intact - influence, abs=1e-5)
    assert f"{app.similarity['first']:.3f}" in app._panels[0].verdict.value
    assert app._panels[0].pictures.edited[0]["png"] != before
    assert app._panels[0].picker.selected == [1]


def test_bands_clicked_move_the_slider_around_them(app):
    app._panels[0].picker.selected = [2, 5]
    assert app.selected == (2, 5)
    assert app._controls.slider.index == (2, 6)
    app._controls.slider.index = (2, 4)
    assert app.selected == (2, 3)
    click(app._controls.clear)
    assert app.selected == ()
    assert app._panels[0].picker.selected == []


def test_keep_is_the_complement_of_remove(app):
    app.selected = (0, 1)
    app._controls.operation.value = "keep"
    kept = app.similarity["first"]
    app.operation, app.selected = "remove", tuple(range(2, 15))
    assert app.similarity["first"] == pytest.approx(kept, abs=1e-6)


def test_previous_and_next_walk_in_the_order_and_round(app, result):
    click(app._controls.next)
    assert app.pair == 1
    click(app._controls.previous)
    click(app._controls.previous)
    assert app.pair == int(result["pair"].to_numpy()[-1])
    app._controls.order.value = "influence"
    strongest = np.abs(result["influence"].sel(model="first", side="probe")).max("band")
    assert app.pair == int(strongest.idxmax("pair"))
    assert app._controls.position.value == f"1 of {result.sizes['pair']}"


def test_the_choice_goes_with_the_pair_unless_it_is_kept(app):
    app.selected = (1, 2)
    click(app._controls.next)
    assert app.selected == ()
    assert app._controls.slider.index[0] == app._controls.slider.index[1]
    app.selected = (1, 2)
    app._controls.locked.value = True
    click(app._controls.next)
    assert app.selected == (1, 2)
    assert app._panels[0].picker.selected == [1, 2]


def test_pairs_are_chosen_by_a_column_and_its_value(app, result):
    app._controls.column.value = "light"
    assert app._controls.value.options == ("day", "lamp")
    app._controls.value.value = "lamp"
    lamp = result["pair"].to_numpy()[(result["light"] == "lamp").to_numpy()]
    assert app.pair == lamp[0]
    assert app._controls.position.value == f"1 of {len(lamp)}"
    click(app._controls.next)
    assert app.pair == lamp[1]
    app._controls.column.value = ""
    assert app.where == {}


def test_two_models_stand_side_by_side(app, result):
    assert len(app._panel_row.children) == 1
    app._controls.other.value = "second"
    assert len(app._panel_row.children) == 2
    app._panels[1].picker.selected = [0]
    assert app.selected == (0,)
    for panel, model in zip(app._panels, ("first", "second"), strict=True):
        assert model in panel.verdict.value
        one = result.sel(pair=0, model=model, side="probe")
        expected = float(one["similarity"] - one["influence"][0])
        assert app.similarity[model] == pytest.approx(expected, abs=1e-5)
    app._controls.other.value = ""
    assert len(app._panel_row.children) == 1


def test_sides_kinds_and_rates_can_be_chosen(app):
    app._controls.side.value = "both"
    app.selected = (1,)
    assert app.inspection.edit(
        pair=0, model="first", bands=[1], side="both"
    ).edited_similarity == pytest.approx(app.similarity["first"])
    app._controls.kind.value = "absolute"
    assert min(band["value"] for band in app._panels[0].picker.drawing["bands"]) >= 0
    rates = dict(app._controls.fmr.options)
    assert "1e-3 (not resolved)" in rates
    app._controls.fmr.value = rates["1e-2 (not resolved)"]
    assert app.fmr == pytest.approx(1e-2)


def test_an_unknown_pair_is_said_in_the_inspector_and_the_number_goes_back(app):
    app._controls.pair.value = 4711
    assert "pair=4711 is not in the result" in app.error
    assert 'role="alert"' in app._alert.value
    assert "4711" in app._alert.value
    assert (app.pair, app._controls.pair.value) == (0, 0)
    app._controls.pair.value = 2
    assert (app.pair, app.error, app._alert.value) == (2, "", "")


def test_an_error_in_a_button_is_shown_with_its_trace(app, monkeypatch):
    def broken(n):
        raise RuntimeError("the <disk> is gone")

    monkeypatch.setattr(app, "step", broken)
    click(app._controls.next)
    assert app.error == "RuntimeError: the <disk> is gone"
    assert "&lt;disk&gt;" in app._alert.value
    assert "Traceback" in app._alert.value


def test_no_pair_that_fits_is_said(app):
    app._controls.order.value = "flipped"
    assert app.error.startswith(
        "no pair of the result matches 'decision flipped by one band' at FMR"
    )
    assert app._controls.next.disabled
    app._controls.order.value = "index"
    assert app.error == ""
    assert not app._controls.next.disabled


def test_without_the_network_all_else_is_shown(result):
    app = fl.inspect(result)
    assert "'first' is not known by name" in app.error
    assert len(app._panels[0].pictures.originals) == 2
    app._controls.slider.index = (0, 2)
    assert app.selected == (0, 1)
    assert len(app._panels[0].pictures.edited) == 1
    assert len(app._panels[0].pictures.details) == 2
    assert app._panels[0].verdict.value == ""
    assert "'first' is not known by name" in app.error


def test_traits_refuse_what_the_result_has_not(app):
    with pytest.raises(UnknownNameError, match="model 'third'; allowed: first, second"):
        app.model = "third"
    with pytest.raises(UnknownNameError, match="side 'left'"):
        app.side = "left"
    with pytest.raises(ParameterError, match="pair=-1"):
        app.pair = -1
    with pytest.raises(ParameterError, match=r"selected=\(15,\)"):
        app.selected = (15,)
    with pytest.raises(UnknownNameError, match="column 'shoes'"):
        app.where = {"shoes": 1}
    with pytest.raises(ParameterError, match=r"fmr=0\.5"):
        app.fmr = 0.5
    assert (app.model, app.side, app.pair, app.selected) == ("first", "probe", 0, ())


def test_inspect_refuses_what_does_not_fit(result):
    with pytest.raises(UnknownNameError, match="model 'third'"):
        fl.inspect(result, models=models(), model="third")
    with pytest.raises(ParameterError, match="pair=99"):
        fl.inspect(result, models=models(), pair=99)
    with pytest.raises(StoreError, match="no such folder"):
        fl.inspect("nowhere.zarr")
    with pytest.raises(ParameterError, match="a dataset of fl.influence is needed"):
        fl.inspect(42)


def test_files_hold_what_is_shown(app):
    app.other, app.selected = "second", (1, 2)
    png, mime = app.file("png")
    assert mime == "image/png"
    width, height = Image.open(io.BytesIO(png)).size
    assert height > width  # one under the other
    svg, mime = app.file("svg")
    assert mime == "image/svg+xml"
    assert b"<svg" in svg[:1000]
    rows = pd.read_csv(io.BytesIO(app.file("csv")[0]))
    assert rows["model"].tolist() == ["first"] * 15 + ["second"] * 15
    edited = rows.groupby("model")["edited_similarity"].first()
    assert edited.tolist() == pytest.approx(list(app.similarity.values()))
    assert app.file("py")[0].decode() == app.code() == app._code.value
    with pytest.raises(UnknownNameError, match="file 'pdf'; allowed: png, svg, csv, py"):
        app.file("pdf")


def test_a_download_is_sent_under_a_plain_name(app, monkeypatch):
    sent = []
    monkeypatch.setattr(app._downloads, "send", lambda *a: sent.append(a))
    app._downloads._handle_custom_msg({"file": "csv"}, [])
    ((message, buffers),) = sent
    assert message == {"filename": "pair0-first-probe.csv", "type": "text/csv"}
    assert buffers[0].startswith(b"pair,")
    app._downloads._handle_custom_msg({"file": "exe"}, [])
    assert "unknown file 'exe'" in app.error


def test_every_picture_has_an_alternative_text_and_every_control_a_name(app):
    shown = app._panels[0].pictures
    for picture in shown.originals + shown.edited + shown.details:
        assert picture["alt"]
    for control in app._controls.by_trait.values():
        named = control.description or getattr(control, "tooltips", None)
        assert named
    for band in app._panels[0].picker.drawing["bands"]:
        assert band["name"] in band["text"]


def test_the_tables_hold_the_numbers_of_the_pair(app, result):
    similarity = float(result["similarity"].sel(pair=0, model="second"))
    assert f"{similarity:.4f}" in app._table.value
    influence = float(result["influence"].sel(pair=0, model="first", side="probe")[0])
    assert f"{influence:.4f}" in app._bands_table.value


def test_a_column_begins_with_the_value_of_the_shown_pair(app, result):
    app.pair = 4
    probe = str(result["probe_subject"].sel(pair=4).item())
    app._controls.column.value = "subject"
    assert (app.pair, app.where) == (4, {"subject": probe})
    assert app._controls.value.value == probe
    app._controls.column.value = "comparison"
    assert app.pair == 4
    assert app.where == {"comparison": "genuine" if result["genuine"].sel(pair=4) else "impostor"}


def test_the_edited_face_is_sent_before_all_else(app, monkeypatch):
    """It is the first message; it is flushed before the network runs, and nothing is echoed."""
    happened = []

    def send(widget, message, buffers=None):
        happened.append((type(widget).__name__, *message.get("state", {})))

    monkeypatch.setattr(Widget, "_send", send)
    monkeypatch.setattr(sys.stdout, "flush", lambda: happened.append("flush"))
    edit = app.inspection.edit

    def compared(**view):
        happened.append("network")
        return edit(**view)

    monkeypatch.setattr(app.inspection, "edit", compared)
    app._controls.slider.set_state({"index": [1, 3]})  # as a message of the browser does
    assert app.selected == (1, 2)
    assert happened[:2] == [("Pictures", "edited"), "flush"]
    assert ("Pictures", "details") in happened[: happened.index("network")]
    assert ("BandSlider", "index") not in happened
    assert happened.count(("BandPicker", "selected")) == 1  # no message to the hidden panel


def test_another_result_of_the_run_can_be_chosen(tmp_path):
    faces, store = make_faces(n_subjects=3), tmp_path / "run.zarr"
    pairs = fl.make_pairs(faces, seed=0)
    given = {"store": store, "progress": False}
    fl.influence(faces, pairs, models=models(), name="fine", **given)
    fl.influence(
        faces,
        pairs[:4],
        models=models()[:1],
        name="rough",
        sides=["probe"],
        bands=fl.rings(8),
        **given,
    )
    app = fl.inspect(store)
    assert app.name == "rough"
    assert [name for _, name in app._controls.name.options] == ["rough", "fine"]
    assert "&#x27;rough&#x27; of" in app._about.value
    assert "(the newest of 2): 4 pairs, 8 bands" in app._about.value
    app = fl.inspect(store, name="fine", models=models())
    app._controls.name.value = "rough"
    app.pair, app.selected = 2, (1,)
    app._controls.name.value = "fine"
    assert (app.name, app.pair, app.selected, app.error) == ("fine", 2, (), "")
    assert len(app._panels[0].picker.drawing["bands"]) == 15
    assert "&#x27;rough&#x27; is the newest of 2): " in app._about.value
    app.side, app.other, app.pair = "both", "second", len(pairs) - 1
    app._controls.slider.index = (0, 2)
    fine = fl.edits.Inspection(store, name="fine", models=models())
    edited = fine.edit(pair=app.pair, model="second", bands=[0, 1], side="both")
    assert app.similarity["second"] == pytest.approx(edited.edited_similarity)
    app.name = "rough"
    assert (app.side, app.other, app.pair, app.selected) == ("probe", "", 0, ())
    with pytest.raises(UnknownNameError, match="result 'none'; allowed"):
        app.name = "none"
    assert app.name == "rough"


def test_a_display_leaves_the_view_as_picture_and_text(app):
    app.selected = (1,)
    shown = app._repr_mimebundle_()
    figure = Image.open(io.BytesIO(base64.b64decode(shown["image/png"])))
    assert figure.width == 912
    text = shown["text/html"]
    assert f"data:image/png;base64,{shown['image/png']}" in text
    assert "run this cell again in JupyterLab" in text
    assert "<script" not in text
    assert f".{app._still_name}" in app._about.value  # the widget hides it


def test_a_still_without_the_network_has_the_text(result):
    shown = fl.inspect(result)._repr_mimebundle_()
    assert "image/png" not in shown
    assert "first, pair 0: Similarity" in shown["text/html"]


def test_without_a_front_end_for_widgets_it_says_what_to_do(app, result):
    """In plain Python, IPython in a terminal, or a notebook server that lacks the extension."""
    shown = app._repr_mimebundle_()
    for text in (repr(app), shown["text/plain"]):
        assert text.startswith("Inspector of pair 0, model 'first', side 'probe'.")
        assert f"`freqlab inspect {result.attrs['store']}` opens it as a web page" in text
        assert "JupyterLab" in text
        assert "children" not in text
    assert "application/vnd.jupyter.widget-view+json" in shown  # and where there is one, it is used
    app.pair = 3
    assert "pair 3" in repr(app)
    del app.inspection.result.attrs["store"]
    assert "`freqlab inspect STORE` opens" in repr(app)


@pytest.mark.slow
def test_pairs_are_chosen_by_columns_of_the_faces_of_the_run(tmp_path):
    """The columns that differ among the faces, with the value of the probe first."""
    faces, model = make_faces(n_subjects=4), fl.wrap_model(Linear(), name="linear")
    faces.table["site"] = [f"site {k % 2}" for k in range(len(faces))]
    faces.table["age"] = np.arange(len(faces)) % 5 + 20.0
    faces.table["camera"] = "the same"
    pairs = fl.make_pairs(faces, seed=0)
    store = tmp_path / "run.zarr"
    result = fl.influence(faces, pairs, models=[model], store=store, progress=False)
    site = dict(zip(faces.names, faces.table["site"], strict=True))
    probes, references = (result[end].to_numpy() for end in ("probe", "reference"))
    without_store = result.copy()
    del without_store.attrs["store"]
    for opened, given in ((store, None), (result, None), (without_store, faces)):
        app = fl.inspect(opened, models=[model], faces=given)
        columns = [column for _, column in app._controls.column.options]
        assert {"subject", "site", "age"} <= set(columns)
        assert not {"camera", "status", "aligned", "sha256"} & set(columns)
        app._controls.column.value = "site"
        assert app._controls.value.value == site[probes[0]]
        app._controls.value.value = "site 1"
        ends = zip(probes, references, strict=True)
        expected = [k for k, names in enumerate(ends) if "site 1" in [site[n] for n in names]]
        assert app._pairs.tolist() == expected
    assert "probe_site" not in fl.inspect(without_store, models=[model]).inspection.result.coords


KINDS_OF_BANDS = {
    "sectors": lambda: fl.sectors(8),
    "polar": lambda: fl.polar(),
    "octaves": lambda: fl.octaves(),
    "wavelets": lambda: fl.wavelets(),
    "channels": lambda: fl.channels(),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[pytest.mark.exhaustive] if kind in ("polar", "octaves") else [])
        for kind in KINDS_OF_BANDS
    ],
)
def test_bands_of_any_kind(kind):
    """The plane shows all bands, texts name them, and the network answers as in the run."""
    bands = KINDS_OF_BANDS[kind]()
    faces, model = make_faces(n_subjects=4), fl.wrap_model(Linear(), name="linear")
    pairs = fl.make_pairs(faces, n_pairs=6, seed=0)
    result = fl.influence(faces, pairs, models=[model], bands=bands, progress=False)
    app = fl.inspect(result, models=[model], faces=faces)
    assert app.error == ""
    picker = app._panels[0].picker
    names = [band["name"] for band in picker.drawing["bands"]]
    assert names == bands.names
    assert all(band["text"].startswith(band["name"]) for band in picker.drawing["bands"])
    labels = np.frombuffer(picker.plane["labels"], "<i2")
    part = result["influence"].sel(model="linear", side="probe", pair=0)
    with_value = np.flatnonzero(np.isfinite(part.to_numpy()))
    assert set(with_value) <= set(labels.tolist())  # each can be clicked
    picker.selected = [1]
    influence = float(result["influence"].sel(model="linear", side="probe", pair=0)[1])
    intact = float(result["similarity"].sel(model="linear", pair=0))
    assert app.similarity["linear"] == pytest.approx(intact - influence, abs=1e-5)
    caption = app._panels[0].pictures.edited[0]["caption"]
    assert caption.startswith(f"probe without\n{names[1]}")
    assert app._controls.chosen.value.startswith(names[1])
    for file in ("png", "svg", "csv", "py"):
        assert app.file(file)[0]
    assert app.error == ""

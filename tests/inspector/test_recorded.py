"""The static page: recorded values, pictures as the engine removes bands, names that stay text."""

import base64
import hashlib
import io
import json
import os
import re
import stat
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_faces
from PIL import Image

import freqlab as fl
from freqlab.bands import spectrum
from freqlab.errors import FreqlabError, ParameterError, StoreError, UnknownNameError
from freqlab.inspector import recorded
from freqlab.results.selection import decision_text, flips_decision, threshold_of

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<!-- <script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "'; alert(1); '",
    "$model ${title} {{ 7 * 7 }}",
    "\\'; raise SystemExit",
    "two\nlines\u2028 \u202egnp",
]


@pytest.fixture(scope="module")
def faces():
    return make_faces(n_subjects=16)


@pytest.fixture(scope="module")
def result(faces, tmp_path_factory):
    """A linear network on synthetic faces; FMR 1e-1 and 1e-2 are resolved, 1e-3 is not."""
    pairs = fl.make_pairs(faces, n_pairs=30, seed=0)
    store = tmp_path_factory.mktemp("recorded") / "run.zarr"
    models = [fl.testing.model(name, seed=k) for k, name in enumerate(("first", "second"))]
    return fl.influence(
        faces, pairs, models=models, bands="rings:8", store=store, progress=False
    ).load()


class Parts(HTMLParser):
    """Elements of a page, and the text of its scripts."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.scripts, self.metas = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        if tag == "meta":
            self.metas.append(dict(attrs))

    def handle_endtag(self, tag):
        self.tags.append((f"/{tag}", {}))

    def handle_data(self, data):
        if self.scripts and self.tags[-1][0] == "script":
            attrs, text = self.scripts[-1]
            self.scripts[-1] = (attrs, text + data)


def data_of(path):
    (data,) = [text for attrs, text in Parts(path.read_text()).scripts if attrs]
    return json.loads(data)


def pixels(uri):
    assert uri.startswith("data:image/png;base64,")
    content = base64.b64decode(uri.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["first", "second"])
@pytest.mark.parametrize("side", ["probe", "reference", "both"])
def test_values_and_decisions_are_those_of_the_result(result, tmp_path, model, side):
    page = fl.inspector.save(
        result, tmp_path / "page.html", model=model, side=side, fmr=1e-1, pairs=range(12)
    )
    data, threshold = data_of(page), threshold_of(result, model=model, fmr=1e-1)
    assert (data["model"], data["side"], data["fmr"]) == (model, side, "1e-1")
    assert data["threshold"] == threshold
    assert [pair["pair"] for pair in data["pairs"]] == list(range(12))
    part = result.sel(model=model, side=side)
    for pair in data["pairs"]:
        one = part.sel(pair=pair["pair"])
        similarity = float(one["similarity"])
        influence = one["influence"].to_numpy().astype(float)
        assert pair["similarity"] == similarity
        assert pair["truth"] == ("genuine" if one["genuine"] else "impostor")
        assert [band["similarity"] for band in pair["without"]] == list(similarity - influence)
        assert [band["changes"] for band in pair["without"]] == list(
            flips_decision(similarity, influence, threshold)
        )
        for band in [pair, *pair["without"]]:
            assert float(band["text"]) == pytest.approx(band["similarity"], abs=6e-4)
            assert band["decision"] == decision_text(band["similarity"], threshold)
        assert pair["strongest"] == np.abs(influence).argmax()
        assert [band["value"] for band in pair["drawing"]["bands"]] == list(influence)


@pytest.mark.parametrize("side", ["probe", "reference", "both"])
def test_pictures_are_crops_and_crops_without_each_band(result, faces, tmp_path, side):
    data = data_of(fl.inspector.save(result, tmp_path / "page.html", side=side, pairs=[4, 5]))
    bands = fl.rings(8)
    labels = torch.from_numpy(bands.label_map(112, 112))
    assert len(data["bands"]) == len(bands)
    assert data["names"][1] == "8-16 cycles/image"
    assert data["names"][-1] == "rest (beyond 56 cycles/image)"
    for pair in data["pairs"]:
        for role in ("probe", "reference"):
            name = str(result[role].sel(pair=pair["pair"]).item())
            face = data["faces"][pair["faces"][role]]
            crop = faces.images[faces.names.index(name)]
            assert face["name"] == name
            np.testing.assert_array_equal(pixels(face["intact"]), crop)
            if role not in data["masked"]:
                continue
            image = torch.from_numpy(crop.astype(np.float32)).permute(2, 0, 1)[None]
            for band, uri in enumerate(face["without"]):
                removed = spectrum.remove(image, labels, [band])[0].permute(1, 2, 0).numpy()
                shown = crop if uri is None else pixels(uri)
                assert np.abs(shown - removed.clip(0, 255)).max() < 0.51
    assert data["masked"] == (["probe", "reference"] if side == "both" else [side])


def test_a_face_of_several_pairs_is_stored_once(result, tmp_path):
    data = data_of(fl.inspector.save(result, tmp_path / "page.html", side="both", pairs=range(12)))
    names = [face["name"] for face in data["faces"]]
    assert len(set(names)) == len(names) < 24


def test_grey_faces_are_stored_in_one_channel():
    grey = np.random.default_rng(0).integers(0, 256, (9, 7, 1), np.uint8).repeat(3, axis=2)
    uri = recorded._data_uri(grey)
    assert Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).mode == "L"
    np.testing.assert_array_equal(pixels(uri), grey)


def test_the_pairs_shown_by_default_and_with_headings(result, tmp_path):
    path = tmp_path / "page.html"
    assert fl.inspector.save(result, path, fmr=1e-1) == path
    expected = fl.results.pairs_to_show(result, model="first", side="probe", fmr=1e-1)
    headings = [pair["heading"] for pair in data_of(path)["pairs"]]
    assert headings == [f"{heading} (pair {pair})" for heading, pair in expected.items()]
    fl.inspector.save(result, path, pairs={"a": 3, "b": 1, "c": 3})
    assert [pair["heading"] for pair in data_of(path)["pairs"]] == ["a (pair 3)", "b (pair 1)"]
    fl.inspector.save(result, path, pairs=[2, 2])
    assert [pair["heading"] for pair in data_of(path)["pairs"]] == ["Pair 2, genuine"]


def test_a_path_of_a_run_and_a_default_rate(result, tmp_path):
    page = fl.inspector.save(result.attrs["store"], str(tmp_path / "page.htm"))
    assert data_of(page)["fmr"] == "1e-2"
    commands = data_of(page)["commands"]
    name = result.attrs["name"]
    assert commands["shell"] == f"freqlab inspect {result.attrs['store']} --name {name}"
    assert commands["python"] == f"fl.inspect({result.attrs['store']!r}, name={name!r}, pair="


def test_a_rate_that_is_not_resolved(result, tmp_path):
    data = data_of(fl.inspector.save(result, tmp_path / "page.html", fmr=1e-4))
    assert data["threshold"] is None
    for pair in data["pairs"]:
        assert pair["threshold"] is None
        assert pair["decision"] == "not decided"
        assert not any(band["changes"] for band in pair["without"])


def test_a_band_without_a_value(result, tmp_path):
    changed = result.copy(deep=True)
    changed["influence"].loc[{"band": result["band"].to_numpy()[2]}] = np.nan
    data = data_of(fl.inspector.save(changed, tmp_path / "page.html"))
    for pair in data["pairs"]:
        assert pair["without"][2] == {
            "similarity": None,
            "text": None,
            "decision": "not decided",
            "influence": None,
            "changes": False,
        }


def test_decimals_show_on_which_side_of_the_threshold_a_similarity_lies():
    assert recorded._digits(np.array([0.1, np.nan, 0.5]), 0.3) == 3
    assert recorded._digits(np.array([0.29996]), 0.3) == 5
    assert recorded._digits(np.array([0.3 - 1e-9]), 0.3) == 6
    assert recorded._digits(np.array([0.3, 0.30001]), 0.3) == 3
    assert recorded._digits(np.array([0.3]), np.nan) == 3


def test_the_page_loads_nothing_and_runs_its_own_script_only(result, tmp_path):
    text = fl.inspector.save(result, tmp_path / "page.html").read_text()
    parts = Parts(text)
    ((_, script),) = [one for one in parts.scripts if not one[0]]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [m["content"] for m in parts.metas if "http-equiv" in m]
    assert policy.split("; ") == [
        "default-src 'none'",
        f"script-src 'sha256-{digest}'",
        "style-src 'unsafe-inline'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    for tag, attributes in parts.tags:
        assert tag not in ("link", "iframe", "object", "embed", "form", "base", "img")
        assert not {"src", "href", "srcset"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
    addresses = set(re.findall(r"https?://[^\s\"')]+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(", script)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A run whose faces, model and folder have names that are markup or code."""
    plain = make_faces(n_subjects=3, per_subject=3)
    table = pd.DataFrame({"subject": np.repeat(HOSTILE[:3], 3)}, index=pd.Index(HOSTILE))
    faces = fl.Faces(table, images=plain.images, aligned="arcface", name="hostile")
    store = tmp_path_factory.mktemp("hostile") / "<img src=x onerror=alert(1)>'$(x).zarr"
    model = fl.testing.model("<b onclick=alert(1)>")
    pairs = fl.make_pairs(faces, seed=0)
    result = fl.influence(
        faces, pairs, models=[model], bands="rings:28", store=store, progress=False
    )
    return result


def test_names_from_data_stay_text(hostile, tmp_path):
    headings = dict(zip(HOSTILE, range(9), strict=True))
    clean = fl.inspector.save(hostile, tmp_path / "page.html", pairs=headings)
    parts = Parts(clean.read_text())
    tags = [tag for tag, _ in parts.tags]
    assert tags.count("script") == 2
    assert not {"img", "svg", "iframe"} & set(tags)
    assert not [a for _, attributes in parts.tags for a in attributes if a.startswith("on")]
    data = data_of(clean)
    assert {face["name"] for face in data["faces"]} <= {
        fl.text.shown.one_line(name) for name in HOSTILE
    }
    assert data["model"] == "<b onclick=alert(1)>"
    assert "<b>&lt;b onclick=alert(1)&gt;</b>" in clean.read_text()
    (embedded,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', clean.read_text(), re.DOTALL
    )
    assert "<" not in embedded
    assert embedded.isascii()


def test_what_does_not_fit_is_refused(result, tmp_path):
    path = tmp_path / "page.html"
    with pytest.raises(UnknownNameError, match="unknown model 'third'; allowed: first, second"):
        fl.inspector.save(result, path, model="third")
    with pytest.raises(UnknownNameError, match="unknown side 'left'"):
        fl.inspector.save(result, path, side="left")
    with pytest.raises(ParameterError, match=r"fmr=0\.5 has no threshold in the result"):
        fl.inspector.save(result, path, fmr=0.5)
    with pytest.raises(ParameterError, match="pair=99 is not in the result"):
        fl.inspector.save(result, path, pairs=[0, 99])
    with pytest.raises(ParameterError, match="pair='a' must be a whole number"):
        fl.inspector.save(result, path, pairs=["a"])
    with pytest.raises(ParameterError, match="pairs=3 must be labels of pairs"):
        fl.inspector.save(result, path, pairs=3)
    for pairs in ([], range(13)):
        with pytest.raises(ParameterError, match=f"{len(pairs)} labels; a page shows 1 to 12"):
            fl.inspector.save(result, path, pairs=pairs)
    with pytest.raises(StoreError, match="no such folder"):
        fl.inspector.save("nowhere.zarr", path)
    with pytest.raises(ParameterError, match="a dataset of fl.influence is needed"):
        fl.inspector.save(42, path)
    nothing = result.copy(deep=True)
    nothing["similarity"][:], nothing["influence"][:] = np.nan, np.nan
    with pytest.raises(ParameterError, match="no pair of the result has a similarity"):
        fl.inspector.save(nothing, path)
    assert list(tmp_path.iterdir()) == []


def test_paths_that_are_refused(result, tmp_path):
    for path in (3, None, "a\0.html"):
        with pytest.raises(ParameterError, match=r"must be the path of a file"):
            fl.inspector.save(result, path)
    for name in ("page", "page.txt", ""):
        with pytest.raises(ParameterError, match="must end in '.html'"):
            fl.inspector.save(result, tmp_path / name)
    with pytest.raises(ParameterError, match=r"path='.*page\.html': there is no folder '.*none'"):
        fl.inspector.save(result, tmp_path / "none" / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_only_its_own_pages_are_replaced(result, tmp_path):
    page = fl.inspector.save(result, tmp_path / "page.html", pairs=[1])
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    fl.inspector.save(result, page, pairs=[2])
    assert [pair["pair"] for pair in data_of(page)["pairs"]] == [2]
    mine = tmp_path / "mine.html"
    mine.write_text("<footer>freqlab 0.1.0</footer>")
    (tmp_path / "folder.html").mkdir()
    os.symlink(tmp_path / "gone.html", tmp_path / "link.html")
    for name in ("mine", "folder", "link"):
        with pytest.raises(ParameterError, match=r"was not written by fl\.inspector\.save"):
            fl.inspector.save(result, tmp_path / f"{name}.html")
    assert mine.read_text() == "<footer>freqlab 0.1.0</footer>"


def test_a_failed_write_leaves_the_earlier_page(result, tmp_path, monkeypatch):
    page = fl.inspector.save(result, tmp_path / "page.html", pairs=[1])
    before = page.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("freqlab.system.private.os.replace", full)
    with pytest.raises(FreqlabError, match="cannot be written: No space left on device"):
        fl.inspector.save(result, page, pairs=[2])
    assert page.read_bytes() == before
    assert list(tmp_path.iterdir()) == [page]


@pytest.mark.slow
def test_a_run_without_crops_needs_its_faces(faces, tmp_path):
    pairs, models = fl.make_pairs(faces, n_pairs=4, seed=0), [fl.testing.model()]
    result = fl.influence(
        faces,
        pairs,
        models=models,
        bands="rings:28",
        store=tmp_path / "run.zarr",
        keep_crops=False,
        progress=False,
    )
    with pytest.raises(StoreError, match=r"keeps no crops; give faces="):
        fl.inspector.save(result, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
    data = data_of(fl.inspector.save(result, tmp_path / "page.html", faces=faces, models=models))
    face = data["faces"][0]
    crop = faces.images[faces.names.index(face["name"])]
    np.testing.assert_array_equal(pixels(face["intact"]), crop)


@pytest.mark.slow
def test_it_needs_no_widgets():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['ipywidgets', 'anywidget', 'voila']))\n"
        "import freqlab; print(freqlab.inspector.save.__name__)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "save\n"), ended.stderr


@pytest.mark.slow
def test_the_command_without_widgets_says_what_to_install(result):
    code = (
        "import sys; sys.modules['ipywidgets'] = None\n"
        "from freqlab.cli import app\n"
        f"app(['inspect', {result.attrs['store']!r}], standalone_mode=False)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "the inspector needs ipywidgets, which is not installed" in ended.stderr

import ast
import base64
import html
import io
import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import papermill
import pytest
from PIL import Image

import freqlab as fl
from freqlab.errors import ParameterError, UnknownNameError
from freqlab.faces.table import LANDMARK_COLUMNS
from freqlab.reports import calls as reports


@pytest.fixture(scope="module")
def explore(tmp_path_factory, orl):
    """The explore report on 24 ORL photographs: its folder, its store, and its page."""
    folder = tmp_path_factory.mktemp("report")
    for position in range(0, 120, 10):
        subject, _ = orl.names[position].split("/")
        for image in (position, position + 4):
            target = folder / "few" / subject / f"{image}.pgm"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(orl.content(image))
    store = folder / "runs" / "few.zarr"
    return folder, store, explored(folder)


def explored(folder, **options):
    """Make the report, and read its page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        page = fl.report(
            "explore", faces="few", bands="rings:14", n_pairs=12, fmr=0.1, progress=False, **options
        )
        return page.read_text()


def images_in(page):
    found = re.findall(r'<img[^>]*src="data:image/png;base64,([^"]*)"', page)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


@pytest.mark.slow
def test_page_has_its_figures(explore):
    _, _, page = explore
    images = images_in(page)
    assert len(images) >= 6
    for image in images:
        assert min(image.size) > 300
        assert np.asarray(image.convert("L")).std() > 5  # something is drawn
    assert len(re.findall(r"<img[^>]*alt=\"[^\"]{20,}", page)) == len(images)


@pytest.mark.slow
def test_page_stands_by_itself(explore):
    _, _, page = explore
    assert "<script" not in page
    assert not re.findall(
        r"(?:src|href)=\"(?!data:|#|[a-z-]+\.html[#\"]|explore\.ipynb)[^\"]*", page
    )
    assert "@import" not in page
    assert "Traceback" not in page


@pytest.mark.slow
def test_page_says_what_was_computed(explore):
    _, store, page = explore
    faces = 24
    passes = re.search(r"This took ([\d,]+) forward passes", page)
    of_sectors = 6 * 8  # the probes of the genuine pairs, each without every sector
    assert faces < int(passes.group(1).replace(",", "")) <= faces * 6 + of_sectors
    assert store.is_dir()
    assert "A match at FMR 1e-1" in page or "No match" in page
    purposes = fl.store.results_table(store)["purpose"].to_dict()
    assert purposes["report-explore"] == "report explore"
    assert "--name report-explore --pair" in page


@pytest.mark.slow
def test_the_section_on_orientation_says_what_was_found(explore):
    _, store, page = explore
    text = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))
    oriented = fl.open_influence(store, "report-explore-2")
    assert oriented.sizes["band"] == 8
    assert oriented["genuine"].all()
    assert oriented["side"].to_numpy().tolist() == ["probe"]
    shares = fl.results.orientation_shares(oriented)
    told = fl.results.describe_orientation(shares, model="mobilefacenet")
    assert told.replace("\u00a0", " ") in text
    assert f"On {oriented.sizes['pair']} genuine pairs of " in told
    absolute = np.abs(oriented["influence"].to_numpy()).mean(axis=(0, 1, 2))
    share = 100 * absolute[[0, 1, 7]].sum() / absolute.sum()
    assert f"horizontal structure carry {share:.0f}" in told
    # twelve people are too few for a finding: it is in its section alone
    assert text.count("bands of horizontal structure carry") == 1


KINDS = [
    "wavelets:haar:1",
    "octaves",
    "sectors:4",
    "polar:28x4",
    "custom:halves.npy",
    "channels",
    "channels:rings:28",
]


@pytest.mark.exhaustive
@pytest.mark.parametrize("bands", KINDS)
def test_the_report_takes_every_kind_of_bands(explore, bands, monkeypatch):
    folder, _, _ = explore
    monkeypatch.chdir(folder)
    fy, fx = np.meshgrid(np.fft.fftfreq(112), np.fft.fftfreq(112), indexing="ij")
    np.save("halves.npy", np.where(np.abs(fx) > np.abs(fy), 1, 0))
    options = {"faces": "few", "n_pairs": 12, "fmr": 0.1, "n_sectors": None, "progress": False}
    page = fl.report("explore", bands=bands, out=folder / bands.replace(":", "-"), **options)
    text = html.unescape(page.read_text())
    assert len(images_in(text)) >= 6
    assert all(name in text for name in fl.parse_bands(bands).names)
    assert "Orientation</h2>" not in text
    assert "Orientation</h2>" in (folder / "reports" / "explore.html").read_text()


@pytest.mark.slow
def test_a_report_made_again_computes_nothing(explore):
    folder, store, _ = explore
    page = folder / "reports" / "explore.html"
    before, results = page.stat().st_mtime_ns, fl.store.results_table(store)
    explored(folder)
    assert page.stat().st_mtime_ns == before
    assert "no forward pass: everything was in the store" in explored(folder, again=True)
    pd.testing.assert_frame_equal(fl.store.results_table(store), results)


@pytest.mark.slow
def test_index_lists_the_report(explore):
    folder, _, _ = explore
    index = (folder / "reports" / "index.html").read_text()
    assert 'href="explore.html"' in index
    assert "Which frequencies decide?" in index
    assert not list((folder / "reports").glob("*.running.ipynb"))
    assert not list((folder / "reports").glob("*.partial"))


@pytest.mark.slow
def test_executed_notebook_is_kept(explore):
    folder, _, _ = explore
    notebook = nbformat.read(folder / "reports" / "explore.ipynb", as_version=4)
    parameters = notebook.metadata.papermill.parameters
    assert parameters["store"] == "runs/few.zarr"
    assert any(cell.get("outputs") for cell in notebook.cells)
    assert not any("fl.inspect(" in cell.source for cell in notebook.cells)  # for JupyterLab only
    assert "widgets" not in notebook.metadata


@pytest.mark.slow
def test_a_report_that_fails_loses_nothing(explore, monkeypatch):
    folder, _, _ = explore
    monkeypatch.chdir(folder)
    before = Path("reports/explore.html").read_text()
    with pytest.raises(
        reports.ReportError,
        match=r"nowhere.csv(.|\n)*running",
    ):
        fl.report("explore", faces="few", landmarks="nowhere.csv", progress=False)
    assert Path("reports/explore.html").read_text() == before
    running = Path("reports/explore.running.ipynb")
    assert running.is_file()
    running.unlink()


def test_unknown_reports_and_parameters(tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'explore'"):
        fl.report("exploer", out=tmp_path)
    with pytest.raises(UnknownNameError, match="Did you mean 'n_pairs'"):
        fl.report("explore", out=tmp_path, npairs=3)
    with pytest.raises(ParameterError, match="seed="):
        fl.report("explore", out=tmp_path, seed={"a": 1})
    assert not list(tmp_path.iterdir())


def test_parameters_of_a_report():
    assert "explore" in reports.report_names()
    assert reports.report_parameters("explore")["n_pairs"].default == 200


@pytest.mark.parametrize("name", reports.report_names())
def test_every_parameter_of_a_notebook_can_be_set(name):
    """The reader of parameters stumbles over some comments, and then leaves a name out."""
    notebook = nbformat.read(reports._notebook(name), as_version=4)
    cells = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    assigned = [
        statement.target.id
        for statement in ast.parse(cells[0].source).body
        if isinstance(statement, ast.AnnAssign)
    ]
    assert len(cells) == 1
    assert assigned == list(reports.report_parameters(name))
    assert assigned == list(papermill.inspect_notebook(str(reports._notebook(name))))


@pytest.mark.slow
def test_a_page_of_recorded_decisions(explore):
    folder, _, _ = explore
    page = explored(folder, interactive=True, again=True)
    assert 'href="explore-interactive.html"' in page
    recorded = (folder / "reports" / "explore-interactive.html").read_text()
    assert "<script" in recorded
    assert "<script" not in page


@pytest.mark.exhaustive
def test_a_model_with_options_in_a_report(explore):
    folder, _, _ = explore
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        page = fl.report(
            "explore", faces="few", model="mobilefacenet,name=again", bands="rings:56",
            n_pairs=4, fmr=0.1, out="other", progress=False,
        )  # fmt: skip
        assert fl.open_influence("runs/few.zarr")["model"].to_numpy().tolist() == ["again"]
        assert "Traceback" not in page.read_text()


@pytest.mark.slow
def test_the_verification_report(explore):
    folder, store, _ = explore
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        page = fl.report("verification", faces="few", fmr=0.1, n_draws=50, progress=False)
        text = page.read_text()
        index = (page.parent / "index.html").read_text()
        other = (page.parent / "explore.html").read_text()
    assert len(images_in(text)) >= 4
    assert "Traceback" not in text
    assert "<script" not in text
    assert 'href="verification.html"' in index
    assert 'href="explore.html"' in index
    assert 'href="verification.html"' in other
    faces = fl.load_faces(folder / "few")
    found = fl.verify(faces, models=["mobilefacenet"], store=store, n_draws=50, progress=False)
    eer = 100 * float(found["eer"].sel(group="all", estimate="value").isel(model=0))
    assert f"The equal error rate is {eer:.2f}\u00a0%" in text.replace("&nbsp;", "\u00a0")
    assert "400 of" not in text


@pytest.mark.exhaustive
def test_the_verification_report_with_a_list_of_pairs(explore, tmp_path):
    folder, _, _ = explore
    faces = fl.load_faces(folder / "few")
    pairs = fl.make_pairs(faces, n_pairs=16, folds=2)
    pairs.to_csv(tmp_path / "pairs.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        page = fl.report(
            "verification", faces="few", pairs=str(tmp_path / "pairs.csv"), fmr=0.1, n_draws=20,
            out="listed", progress=False,
        )  # fmt: skip
        assert "mean accuracy over 2 folds" in page.read_text()


@pytest.mark.exhaustive
def test_the_cross_resolution_report(explore):
    folder, store, _ = explore
    parameters = {
        "resolutions": [28, 14], "bands": "rings:14", "n_pairs": 8, "n_control": 2, "n_draws": 20,
        "fmr": 0.1, "low": 14, "progress": False,
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        text = fl.report("cross-resolution", faces="few", **parameters).read_text()
        again = fl.report("cross-resolution", faces="few", again=True, **parameters).read_text()
    assert len(images_in(text)) >= 9
    assert len(re.findall(r"<img[^>]*alt=\"[^\"]{20,}", text)) == len(images_in(text))
    assert "Traceback" not in text
    assert "Warning" not in text
    assert "no forward pass: everything was in the store" in again
    result = fl.open_influence(store)
    assert set(result["degradation"].to_numpy()) == {
        "none",
        "area",
        "bicubic",
        "lanczos",
        "fourier",
    }
    profiles = fl.resolution.profiles(result, low=14, n_draws=20)
    said = fl.resolution.describe_low_bands(profiles, model="mobilefacenet", side="reference")
    assert said in text.replace("&nbsp;", "\u00a0")


@pytest.mark.exhaustive
@pytest.mark.parametrize("how", ["natural", "far", "listed"])
def test_the_cross_resolution_report_in_its_other_ways(explore, tmp_path, how):
    folder, _, _ = explore
    options = {
        "natural": {"natural": True, "resolutions": [100, 90]},
        "far": {"measure": "face", "resolutions": [40, 20], "noise": 2.0, "jpeg": 50},
        "listed": {"pairs": str(tmp_path / "pairs.csv"), "resolutions": [28]},
    }[how]
    fl.make_pairs(fl.load_faces(folder / "few"), n_pairs=16).to_csv(
        tmp_path / "pairs.csv", index=False
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        page = fl.report(
            "cross-resolution", faces="few", bands="rings:14", n_pairs=8, n_draws=20, fmr=0.1,
            out=how, store=str(tmp_path / "run.zarr"), progress=False, **options,
        )  # fmt: skip
        text = page.read_text()
    assert len(images_in(text)) >= 7
    assert "Traceback" not in text
    assert "Warning" not in text


@pytest.mark.slow
def test_the_bias_report(explore, orl):
    folder, store, _ = explore
    faces = fl.load_faces(folder / "few")
    subject = faces.table["subject"]
    glasses = [
        orl.table.loc[f"{s}/{int(n.split('/')[-1].split('.')[0]) % 10 + 1}", "glasses"]
        for s, n in zip(subject, faces.names, strict=True)
    ]
    table = faces.table.assign(glasses=glasses).reset_index(names="face")
    table.to_csv(folder / "few.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        text = fl.report(
            "bias", faces="few.csv", bands="rings:14", n_pairs=None, fmr=0.1, n_draws=20,
            n_permutations=50, impostors_per_genuine=5, store=str(store), progress=False,
        ).read_text()  # fmt: skip
    assert len(images_in(text)) >= 4
    assert len(re.findall(r"<img[^>]*alt=\"[^\"]{20,}", text)) == len(images_in(text))
    assert "Traceback" not in text
    assert "Warning" not in text
    assert "An association is not a cause" in text
    assert fl.store.results_table(store).loc["report-bias", "purpose"] == "report bias"


@pytest.mark.exhaustive
def test_the_faithfulness_report(explore):
    folder, store, _ = explore
    parameters = {
        "bands": "rings:14", "n_pairs": 8, "n_sample": 4, "n_random": 2, "n_draws": 20, "fmr": 0.1,
        "most_permutations": 8, "most_bands": 3, "depths": [0.0, 1.0], "contrasts": [16.0],
        "progress": False,
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        text = fl.report("faithfulness", faces="few", **parameters).read_text()
        again = fl.report("faithfulness", faces="few", again=True, **parameters).read_text()
        other = fl.report("verification", faces="few", fmr=0.1, n_draws=20, progress=False)
        shown = other.read_text()
    assert len(images_in(text)) >= 10
    assert len(re.findall(r"<img[^>]*alt=\"[^\"]{20,}", text)) == len(images_in(text))
    assert "Traceback" not in text
    assert "Warning" not in text
    assert "no forward pass: everything was in the store" in again
    assert list(fl.store.results_table(store).index).count("report-faithfulness") == 1
    assert "report-faithfulness-2" not in fl.store.result_names(store)
    card = fl.faithfulness.trust_table(store, models=["mobilefacenet"])
    assert ("mobilefacenet", "stability: JPEG 75") in card.index
    assert "stability: JPEG 75" in text
    assert 'href="faithfulness.html#trust-card"' in shown
    assert 'id="trust-card"' in text


@pytest.mark.exhaustive
def test_the_neighbours_report(explore):
    folder, _, _ = explore
    parameters = {
        "bands": "rings:14", "n_pairs": 12, "n_explained": 3, "n_joint": 2, "n_shown": 1,
        "n_masks_space": 30, "n_masks_plane": 30, "steps": 2, "grid": 2, "deletion_steps": 3,
        "attacks": ["FGSM:4"], "folds": 2, "fmr": 0.1, "n_draws": 20, "progress": False,
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        text = fl.report("neighbours", faces="few", **parameters).read_text()
        again = fl.report("neighbours", faces="few", again=True, **parameters).read_text()
    assert len(images_in(text)) >= 5
    assert len(re.findall(r"<img[^>]*alt=\"[^\"]{20,}", text)) == len(images_in(text))
    assert "Traceback" not in text
    assert "Warning" not in text
    assert "no forward pass: everything was in the store" in again


def with_one_band_changed(image, low, high, gain):
    """A grey photograph, frequencies from low to below high (cycles/image) multiplied."""
    pixels = image[:, :, 0].astype(float)
    height, width = pixels.shape
    rows, columns = np.fft.fftfreq(height, 1 / height), np.fft.fftfreq(width, 1 / width)
    radius = np.hypot(rows[:, None] * 112 / height, columns * 112 / width)
    spectrum = np.fft.fft2(pixels) * np.where((radius >= low) & (radius < high), gain, 1)
    return np.fft.ifft2(spectrum).real.clip(0, 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory, orl):
    """Two ORL photographs of 12 people, the second also with one of two bands changed."""
    folder = tmp_path_factory.mktemp("labelled")
    rows = []
    for subject in range(12):
        for image in (0, 1, 2):
            position = 10 * subject + image
            name = orl.names[position]
            made = [("real", "", 0, 0, 1)]
            if image:
                made += [("fake", "lost", 14, 28, 0.3), ("fake", "boosted", 28, 42, 4)]
            points = dict(zip(LANDMARK_COLUMNS, orl.landmarks[position].ravel(), strict=True))
            for label, method, low, high, gain in made:
                file = f"{name.replace('/', '-')}{method}.png"
                pixels = with_one_band_changed(orl.image(position), low, high, gain)
                Image.fromarray(pixels).save(folder / file)
                row = {"image": file, "subject": f"s{subject}", "label": label, "method": method}
                rows.append(row | points)
    pd.DataFrame(rows).to_csv(folder / "labelled.csv", index=False)
    return folder / "labelled.csv"


@pytest.mark.exhaustive
def test_the_morphing_report(orl, labelled, tmp_path, monkeypatch):
    """Morphs made on the fly, and a labelled set whose altered band is known."""
    table = orl.table.iloc[[10 * s + i for s in range(12) for i in range(3)]]
    points = orl.landmarks[[10 * s + i for s in range(12) for i in range(3)]].reshape(36, 10)
    listed = pd.DataFrame(points, columns=LANDMARK_COLUMNS, index=table.index)
    table.join(listed).reset_index(names="face").to_csv(tmp_path / "faces.csv", index=False)
    monkeypatch.chdir(tmp_path)
    options = {
        "faces": "faces.csv", "bands": "rings:14", "fmr": 0.1, "n_draws": 30, "progress": False,
        "store": "runs/few.zarr", "root": "/",
    }  # fmt: skip
    page = fl.report("morphing", morphs=["0.5"], labelled=str(labelled), **options)
    text = page.read_text()
    assert len(re.findall(r"<img[^>]*alt=\"[^\"]{20,}", text)) == len(images_in(text)) >= 6
    assert "Traceback" not in text
    assert "Warning" not in text
    assert "set at FMR 1e-1 on 594 impostor comparisons" in text
    in_first_place = r"<th[^>]*>(\w+) \(24 pairs\)</th>\s*<th[^>]*>1</th>\s*<td[^>]*>([\d-]+) \("
    first = dict(re.findall(in_first_place, text))
    assert first == {"lost": "14-28", "boosted": "28-42"}

    morphs = sorted((tmp_path / "runs/morphs/faces").glob("*@alpha0.5.png"))
    rows, extra = [], []
    for k, file in enumerate(morphs):
        a, b = (name.replace("_", "/") for name in file.stem.partition("@")[0].split("+"))
        people = [table.loc[name, "subject"] for name in (a, b)]
        name = f"morph{k}"
        extra.append({"face": name, "path": str(file), "subject": "+".join(people)})
        rows += [(name, f"{person}/2", "mine", "+".join(people)) for person in people]
    rows += [(f"{s}/1", f"{s}/2", "", "") for s in table["subject"].unique()]
    everyone = pd.concat([pd.read_csv("faces.csv"), pd.DataFrame(extra)])
    everyone.to_csv("more.csv", index=False)
    header = ["document", "live", "attack", "contributors"]
    pd.DataFrame(rows, columns=header).to_csv("pairs.csv", index=False)
    options |= {"faces": "more.csv", "out": "listed", "store": "runs/more.zarr"}
    text = fl.report("morphing", pairs="pairs.csv", **options).read_text()
    assert "Morphs and controls are those of the table" in text
    assert "on 594 impostor comparisons" in text  # the documents of attacks are not among them
    assert "Traceback" not in text
    assert "Warning" not in text
    assert re.search(rf"<th[^>]*>mine</th>\s*<td[^>]*>{len(morphs)}</td>", text)

import ast
import base64
import io
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

import freqlab as fl
from freqlab import reports
from freqlab.errors import ParameterError, UnknownNameError


@pytest.fixture(scope="module")
def explore(tmp_path_factory, orl):
    """The explore report on 20 ORL photographs, made twice in one folder."""
    folder = tmp_path_factory.mktemp("report")
    for position in range(0, 200, 10):
        subject, _ = orl.names[position].split("/")
        for image in (position, position + 4):
            target = folder / "few" / subject / f"{image}.pgm"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(orl.content(image))
    store = folder / "runs" / "few.zarr"
    pages = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for _ in range(2):
            page = fl.report(
                "explore", faces="few", bands="rings:14", n_pairs=12, fmr=0.1, progress=False
            )
            pages.append(page.read_text())
    return folder, store, pages


def images_in(page):
    found = re.findall(r'<img[^>]*src="data:image/png;base64,([^"]*)"', page)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


def test_page_has_its_figures(explore):
    _, _, (page, _) = explore
    images = images_in(page)
    assert len(images) >= 6
    for image in images:
        assert min(image.size) > 300
        assert np.asarray(image.convert("L")).std() > 5  # something is drawn
    assert len(re.findall(r"<img[^>]*alt=\"[^\"]{20,}", page)) == len(images)


def test_page_stands_by_itself(explore):
    _, _, (page, _) = explore
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=\"(?!data:|#|index\.html|explore\.ipynb)[^\"]*", page)
    assert "@import" not in page
    assert "Traceback" not in page


def test_page_says_what_was_computed(explore):
    _, store, (first, second) = explore
    faces = 40
    passes = re.search(r"This took ([\d,]+) forward passes", first)
    assert faces < int(passes.group(1).replace(",", "")) <= faces * 6
    assert "no forward pass: everything was in the store" in second
    assert store.is_dir()
    assert "A match at FMR 1e-1" in first or "No match" in first


def test_index_lists_the_report(explore):
    folder, _, _ = explore
    index = (folder / "reports" / "index.html").read_text()
    assert 'href="explore.html"' in index
    assert "Which frequencies decide?" in index
    assert not list((folder / "reports").glob("*.running.ipynb"))
    assert not list((folder / "reports").glob("*.partial"))


def test_executed_notebook_is_kept(explore):
    folder, _, _ = explore
    notebook = nbformat.read(folder / "reports" / "explore.ipynb", as_version=4)
    parameters = notebook.metadata.papermill.parameters
    assert parameters["store"] == "runs/few.zarr"
    assert any(cell.get("outputs") for cell in notebook.cells)


def test_a_report_that_fails_loses_nothing(explore, monkeypatch):
    folder, _, _ = explore
    monkeypatch.chdir(folder)
    before = Path("reports/explore.html").read_text()
    with pytest.raises(
        reports.ReportError,
        match=r"fmr=0.5 has no threshold in results; allowed: 0.1(.|\n)*running",
    ):
        fl.report("explore", faces="few", bands="rings:14", n_pairs=12, fmr=0.5, progress=False)
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
    assert reports.report_parameters("explore")["n_pairs"] == "200"


@pytest.mark.parametrize("name", reports.report_names())
def test_every_parameter_of_a_notebook_can_be_set(name):
    """The reader of parameters stumbles over some comments, and then leaves a name out."""
    notebook = nbformat.read(reports._notebook(name), as_version=4)
    cells = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    assigned = [
        target.id
        for statement in ast.parse(cells[0].source).body
        for target in getattr(statement, "targets", [])
    ]
    assert len(cells) == 1
    assert assigned == list(reports.report_parameters(name))


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


def test_the_verification_report(explore):
    folder, store, _ = explore
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        page = fl.report("verification", faces="few", fmr=0.1, n_draws=50, progress=False)
        text = page.read_text()
        index = (page.parent / "index.html").read_text()
    assert len(images_in(text)) >= 5
    assert "Traceback" not in text
    assert "<script" not in text
    assert 'href="verification.html"' in index
    assert 'href="explore.html"' in index
    faces = fl.load_faces(folder / "few")
    found = fl.verify(faces, models=["mobilefacenet"], store=store, n_draws=50, progress=False)
    eer = 100 * float(found["eer"].sel(group="all", estimate="value").isel(model=0))
    assert f"Equal error rate {eer:.2f} %" in text
    assert "400 of" not in text


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
        assert "mean over 2 folds" in page.read_text()


@pytest.mark.slow
def test_the_cross_resolution_report(explore):
    folder, store, _ = explore
    parameters = {
        "resolutions": [28, 14], "bands": "rings:14", "n_pairs": 8, "n_control": 2, "n_draws": 20,
        "fmr": 0.1, "low": 14, "progress": False,
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        text = fl.report("cross-resolution", faces="few", **parameters).read_text()
        again = fl.report("cross-resolution", faces="few", **parameters).read_text()
    assert len(images_in(text)) >= 10
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
    profiles = fl.resolution_profiles(result, low=14, n_draws=20)
    said = fl.describe_low_bands(profiles, model="mobilefacenet", side="reference")
    assert said in text.replace("&nbsp;", "\u00a0")


@pytest.mark.slow
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
    assert len(images_in(text)) >= 8
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
    assert len(images_in(text)) >= 5
    assert len(re.findall(r"<img[^>]*alt=\"[^\"]{20,}", text)) == len(images_in(text))
    assert "Traceback" not in text
    assert "Warning" not in text
    assert "An association is not a cause" in text


@pytest.mark.slow
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
        again = fl.report("faithfulness", faces="few", **parameters).read_text()
        other = fl.report("verification", faces="few", fmr=0.1, n_draws=20, progress=False)
        shown = other.read_text()
    assert len(images_in(text)) >= 11
    assert len(re.findall(r"<img[^>]*alt=\"[^\"]{20,}", text)) == len(images_in(text))
    assert "Traceback" not in text
    assert "Warning" not in text
    assert "no forward pass: everything was in the store" in again
    card = fl.trust_table(store, models=["mobilefacenet"])
    assert ("mobilefacenet", "stability: JPEG 75") in card.index
    assert "stability: JPEG 75" in shown

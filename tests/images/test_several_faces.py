"""Several faces in a photograph: which one is taken is asked, kept, counted and shown."""

import dataclasses
import shutil

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import zarr
from PIL import Image
from typer.testing import CliRunner

import freqlab as fl
from freqlab.cli import app
from freqlab.errors import StoreConflictError, UnknownNameError
from freqlab.images.alignment import detect_faces
from freqlab.images.cascade import Found, cascade


@pytest.fixture(scope="module")
def photographs(orl, tmp_path_factory):
    """Three people; one photograph each has a larger bystander at its side."""
    folder = tmp_path_factory.mktemp("several")
    for person in range(3):
        place = folder / f"p{person}"
        place.mkdir()
        for i in range(2):
            canvas = np.full((300, 640, 3), 128, np.uint8)
            canvas[94:206, 274:366] = orl.image(10 * person + i)
            if i == 1:
                bystander = Image.fromarray(orl.image(200 + person)).resize((148, 180))
                canvas[60:240, 20:168] = np.asarray(bystander)
            Image.fromarray(canvas).save(place / f"{i}.png")
    return fl.load_faces(folder)


def model():
    return fl.wrap_model(lambda x: x.flatten(1)[:, ::999], name="m", version="1")


def run(faces, store, which_face=None, **options):
    given = {} if which_face is None else {"which_face": which_face}
    pairs = fl.make_pairs(faces, seed=0)
    return fl.influence(faces, pairs, models=[model()], store=store, **given, **options)


def nodes(store):
    return fl.open_run(store)["faces"].to_dataset()


def centres(store):
    return nodes(store)["landmarks"].to_numpy().mean(axis=1)[:, 0]


def test_the_detector_is_told_which(photographs):
    images = [photographs.image(i) for i in (0, 1)]
    middle = {
        which: detect_faces(images, which_face=which).landmarks.mean(axis=1)[:, 0]
        for which in ("largest", "central", "only")
    }
    np.testing.assert_allclose(middle["largest"], [320, 94], atol=15)
    np.testing.assert_allclose(middle["central"], [320, 320], atol=15)
    np.testing.assert_allclose(middle["only"], [320, np.nan], atol=15)
    with pytest.raises(UnknownNameError, match="which_face 'centre'.*Did you mean 'central'"):
        detect_faces(images, which_face="centre")


def test_counted_said_and_kept(photographs, tmp_path, capsys):
    store = tmp_path / "run.zarr"
    result = run(photographs, store)
    said = capsys.readouterr().err
    counted = "3 photographs show several faces; the largest was taken in each"
    assert counted in said
    assert "contact_sheet shows those with several faces" in said
    assert result.attrs["which_face"] == "largest"
    assert counted in CliRunner().invoke(app, ["info", str(store)]).output
    assert counted in fl.store.describe_photographs(store)
    assert "several" not in fl.store.describe_photographs(store, faces=["p0/0.png", "p1/0.png"])
    assert nodes(store)["faces_found"].to_numpy().tolist() == [1, 2] * 3
    np.testing.assert_allclose(centres(store), [320, 94] * 3, atol=15)
    with pytest.raises(StoreConflictError, match=r"3 of its faces.*'largest'.*'central' is given"):
        run(photographs, store, "central")
    assert fl.open_influence(store).equals(run(photographs, store))


def test_the_central_one(photographs, tmp_path):
    store = tmp_path / "run.zarr"
    fl.embed(photographs, models=[model()], store=store, which_face="central", progress=False)
    np.testing.assert_allclose(centres(store), [320] * 6, atol=15)
    assert nodes(store)["which_face"].to_numpy().tolist() == ["central"] * 6
    with pytest.raises(StoreConflictError, match="'central'.*'largest' is given"):
        run(photographs, store)


def test_only_one_may_be_there(photographs, tmp_path, capsys):
    store = tmp_path / "run.zarr"
    result = run(photographs, store, "only")
    status = nodes(store)["status"].to_numpy().tolist()
    assert status == ["ok", "several faces in the photograph"] * 3
    assert result.attrs["failures_to_acquire"] == 3
    second = [str(name).endswith("1.png") for name in result["probe"].to_numpy()]
    second |= np.array([str(name).endswith("1.png") for name in result["reference"].to_numpy()])
    lost = result["similarity"].isnull().to_numpy()[0]
    assert lost.tolist() == second.tolist()
    assert lost.any()
    assert "3 failed, several faces in the photograph" in capsys.readouterr().err
    planned = fl.plan(photographs, models=[model()], store=store, which_face="only", calibrate=0)
    assert planned.forward_passes == {"m": 0}
    planned = fl.plan(photographs, models=[model()], store=store, calibrate=0)
    assert planned.forward_passes == {"m": 3}
    # nothing was computed of them: they may be taken now
    later = run(photographs, store, "largest")
    assert later.attrs["failures_to_acquire"] == 0
    assert not later["similarity"].isnull().any()


def test_where_only_one_face_is_there_the_choice_is_none(photographs, tmp_path):
    single = photographs.select([0, 2, 4])
    store = tmp_path / "run.zarr"
    fl.embed(single, models=[model()], store=store, progress=False)
    tree = fl.embed(single, models=[model()], store=store, which_face="only", progress=False)
    assert set(tree["faces"]["status"].to_numpy()) == {"ok"}


def test_given_landmarks_say_which(photographs, tmp_path):
    found = detect_faces([photographs.image(i) for i in range(6)], which_face="central")
    faces = dataclasses.replace(photographs, landmarks=found.landmarks)
    for which in ("largest", "only"):
        tree = fl.embed(
            faces,
            models=[model()],
            store=tmp_path / "run.zarr",
            which_face=which,
            progress=False,
        )
        assert set(tree["faces"]["status"].to_numpy()) == {"ok"}


def test_a_store_of_before_goes_on(photographs, tmp_path):
    """Without the newer columns; its faces were the largest."""
    store = tmp_path / "run.zarr"
    result = run(photographs, store, progress=False)
    root = zarr.open_group(store)
    for name in ("which_face", "image_note"):
        del root[f"faces/{name}"]
    shutil.rmtree(store / "digests")  # which such a store has not
    del root.attrs["store_id"]
    root["faces"].attrs["whole"] = []
    root["faces/status"].attrs["flag_meanings"] = "not_computed ok"
    assert "several faces; the largest" in fl.store.describe_photographs(store)
    assert fl.open_run(store)["faces"].sizes["face"] == 6
    again = run(photographs, store, progress=False)
    assert again.attrs["forward_passes"] == 0
    np.testing.assert_array_equal(again["similarity"], result["similarity"])
    meanings = str(zarr.open_group(store)["faces/status"].attrs["flag_meanings"]).split()
    assert meanings[8] == "several_faces_in_the_photograph"
    with pytest.raises(StoreConflictError, match="which_face"):
        run(photographs, store, "only")


def test_the_sheet_shows_them(photographs, tmp_path):
    store = tmp_path / "run.zarr"
    fl.embed(photographs, models=[model()], store=store, progress=False)
    figure = fl.plots.contact_sheet(store, show="several")
    titles = [ax.get_title() for ax in figure.axes]
    assert len(titles) == 6
    assert titles[1::2] == ["selected"] * 3
    shapes = [ax.images[0].get_array().shape for ax in figure.axes[:2]]
    assert shapes[0][1:] == (240, 3)
    assert shapes[1] == (112, 112, 3)
    assert "3 of 3 faces" in figure.get_suptitle()
    plt.close(figure)
    only = tmp_path / "only.zarr"
    fl.embed(photographs, models=[model()], store=only, which_face="only", progress=False)
    titles = [ax.get_title() for ax in fl.plots.contact_sheet(only, show="several").axes]
    assert titles[1::2] == ["none selected"] * 3


def test_from_the_shell(photographs, tmp_path):
    root = str(photographs.table["path"].iloc[0]).rsplit("/", 2)[0]
    out = tmp_path / "points.csv"
    arguments = ["landmarks", "--faces", root, "--out", str(out), "--which-face"]
    shown = CliRunner().invoke(app, [*arguments, "only"])
    assert "3 without a detected face" in shown.output, shown.output
    assert pd.read_csv(out, index_col="face")["nose_x"].isna().sum() == 3
    for command in ("run", "plan"):
        assert "which-face" in CliRunner().invoke(app, [command, "--help"]).output


def test_the_detector_runs_where_it_can(monkeypatch, orl):
    """Apple's GPU lacks some of its operations: it runs on the CPU there."""
    asked = []

    class Detector:
        def __init__(self, networks, device):
            asked.append(device)

        def detect(self, photograph, *, border, smallest=20):
            return Found(*(np.zeros((0, *size), np.float32) for size in ((4,), (), (5, 2))))

    monkeypatch.setattr("freqlab.images.cascade.Cascade", Detector)
    monkeypatch.setattr("facenet_pytorch.MTCNN", lambda **options: None)
    cascade.cache_clear()
    try:
        for device in ("mps", "mps:0", "cpu", "cuda:1", "xpu"):
            detect_faces([orl.image(0)], device=device)
    finally:
        cascade.cache_clear()
    assert asked == ["cpu", "cuda:1"]  # those of one device share one

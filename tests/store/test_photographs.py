"""Photographs on their way to a crop: what is odd about their files, and what is said of it."""

import io
import os

import numpy as np
import pandas as pd
import pytest
import zarr
from bad_inputs import deep_png
from PIL import Image

import freqlab as fl
from freqlab.errors import ParameterError, StoreConflictError


def model():
    return fl.wrap_model(lambda x: x.flatten(1)[:, ::999], name="m", version="1")


def faces_of(paths, **options):
    table = pd.DataFrame({"subject": "a", "path": list(map(str, paths))})
    table.index = [f"f{i}" for i in range(len(table))]
    return fl.Faces(table, **options)


def embed(faces, store, **options):
    tree = fl.embed(faces, models=[model()], store=store, progress=False, **options)
    return tree["faces"].to_dataset()


@pytest.mark.slow
@pytest.mark.parametrize("year", [1902, 1960, 2262, 2400])
def test_odd_dates(orl, tmp_path, year):
    file, store = tmp_path / "a.png", tmp_path / "run.zarr"
    seconds = (
        int((np.datetime64(f"{year}-06-01") - np.datetime64("1970-01-01")).astype(int)) * 86400
    )
    faces = faces_of([file], landmarks=orl.landmarks[:1])
    Image.fromarray(orl.image(0)).save(file)
    os.utime(file, (seconds, seconds))
    assert embed(faces, store)["status"].item() == "ok"
    assert embed(faces, store)["status"].item() == "ok"
    Image.fromarray(orl.image(1)).save(file)
    os.utime(file, (seconds + 1, seconds + 1))
    with pytest.raises(StoreConflictError, match="another image of face 'f0'"):
        embed(faces, store)


def test_a_name_with_nul(orl, tmp_path):
    (tmp_path / "faces.csv").write_bytes(b"path,subject\na\0b.png,x\nc.png,x\n")
    Image.fromarray(orl.image(0)).save(tmp_path / "c.png")
    faces = fl.load_faces(tmp_path / "faces.csv")
    for _ in range(2):
        found = embed(faces, tmp_path / "run.zarr")
        assert found["status"].to_numpy().tolist() == ["no such file", "ok"]
    assert "NUL" in found["image_note"].to_numpy()[0]
    with pytest.raises(ParameterError, match="NUL"):
        embed(faces, tmp_path / "a\0b.zarr")


def test_what_is_said_of_them(orl, tmp_path, capsys):
    rgba = np.dstack([orl.image(0), np.full((112, 92), 255, np.uint8)])
    rgba[:10, :, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "clear.png")
    infrared = (orl.image(1)[..., 0].astype(int) * 1023) // 255
    (tmp_path / "infrared.png").write_bytes(deep_png(infrared))
    (tmp_path / "none.png").write_bytes(b"nothing")
    Image.fromarray(orl.image(2)).save(tmp_path / "plain.png")
    names = ("clear.png", "infrared.png", "none.png", "plain.png")
    store = tmp_path / "run.zarr"
    fl.embed(faces_of(tmp_path / name for name in names), models=[model()], store=store)
    said = capsys.readouterr().err
    for text in (
        "1 photograph partly transparent, put on white (255, 255, 255)",
        "1 photograph of more than 8 bits, brought to 8",
        "1 failed, unreadable image (the first, f2: not an image in a supported format)",
    ):
        assert text in said
        if "first" not in text:
            assert text in fl.store.describe_photographs(store)
            assert text in fl.store.describe_run(store)
    assert fl.store.describe_photographs(store, faces=["f3"]).startswith("All photographs")
    found = fl.open_run(store)["faces"]
    assert found["status"].to_numpy().tolist() == ["ok", "ok", "unreadable image", "ok"]
    np.testing.assert_allclose(found["landmarks"][1], orl.landmarks[1], atol=1.5)
    with pytest.raises(ParameterError, match="nobody"):
        fl.store.describe_photographs(store, faces=["nobody"])


def test_above_the_limit_and_with_a_higher_one(orl, tmp_path, monkeypatch):
    Image.fromarray(orl.image(0)).save(tmp_path / "a.png")
    Image.fromarray(orl.image(1)).resize((60, 73)).save(tmp_path / "b.png")
    faces = faces_of([tmp_path / "a.png", tmp_path / "b.png"])
    monkeypatch.setenv("FREQLAB_MOST_PIXELS", "10000")
    found = embed(faces, tmp_path / "run.zarr")
    reason = "more pixels than FREQLAB_MOST_PIXELS allows"
    assert found["status"].to_numpy().tolist() == [reason, "ok"]
    assert "FREQLAB_MOST_PIXELS=10304" in found["image_note"].to_numpy()[0]
    monkeypatch.setenv("FREQLAB_MOST_PIXELS", "10304")
    found = embed(faces, tmp_path / "run.zarr")
    assert set(found["status"].to_numpy()) == {"ok"}
    monkeypatch.setenv("FREQLAB_MOST_PIXELS", "much")
    with pytest.raises(ParameterError, match="FREQLAB_MOST_PIXELS='much'"):
        embed(faces, tmp_path / "other.zarr")


def large_photographs(orl, folder):
    """Smooth photographs of 400 x 480 with the face of 10 people."""
    for i in range(10):
        image = Image.fromarray(orl.image(10 * i)).resize((400, 480), Image.Resampling.BICUBIC)
        image.save(folder / f"{i}.png")
    return faces_of(folder / f"{i}.png" for i in range(10))


@pytest.mark.slow
def test_crops_do_not_depend_on_how_photographs_are_grouped(orl, tmp_path, monkeypatch):
    faces = large_photographs(orl, tmp_path)
    embed(faces, tmp_path / "one.zarr")
    monkeypatch.setattr("freqlab.run.crops._PIXELS_TOGETHER", 400_000)  # two at a time
    embed(faces, tmp_path / "two.zarr")
    monkeypatch.setattr("freqlab.run.crops._PIXELS_TOGETHER", 1000)  # each by itself
    embed(faces, tmp_path / "alone.zarr")
    crops = [
        zarr.open_group(tmp_path / f"{name}.zarr")["crops/arcface/crop"][:].astype(int)
        for name in ("one", "two", "alone")
    ]
    for other in crops[1:]:
        assert np.abs(crops[0] - other).max() <= 1
        assert (crops[0] != other).mean() < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("given", [False, True])
def test_places_are_those_of_the_whole_photograph(orl, tmp_path, monkeypatch, given):
    """Where a photograph is reduced when it is decoded, landmarks and boxes are not."""
    faces = large_photographs(orl, tmp_path)
    if given:
        found = embed(faces, tmp_path / "points.zarr")
        faces = fl.Faces(faces.table, landmarks=found["landmarks"].to_numpy())
    whole = embed(faces, tmp_path / "whole.zarr")
    monkeypatch.setattr("freqlab.images.decoding.REDUCED_ABOVE", 100_000)
    reduced = embed(faces, tmp_path / "reduced.zarr")
    assert reduced["image_note"].to_numpy().tolist() == ["size: reduced 2 times"] * 10
    np.testing.assert_allclose(reduced["landmarks"], whole["landmarks"], atol=4)
    if not given:
        np.testing.assert_allclose(reduced["box"], whole["box"], atol=15)
    crops = [
        zarr.open_group(tmp_path / f"{name}.zarr")["crops/arcface/crop"][:].astype(float)
        for name in ("whole", "reduced")
    ]
    assert np.abs(crops[0] - crops[1]).mean() < (2 if given else 4)


def test_without_crops_another_decoding_is_refused(orl, tmp_path):
    rgba = np.dstack([orl.image(0), np.full((112, 92), 255, np.uint8)])
    rgba[:10, :, 3] = 0
    stream = io.BytesIO()
    Image.fromarray(rgba).save(stream, "PNG")
    (tmp_path / "a.png").write_bytes(stream.getvalue())
    (tmp_path / "b.png").write_bytes(stream.getvalue())
    faces, store = faces_of([tmp_path / "a.png", tmp_path / "b.png"]), tmp_path / "run.zarr"
    embed(faces, store, keep_crops=False)
    root = zarr.open_group(store)
    root["faces/image_note"][:] = np.array(["", ""], object)  # as a freqlab without it left it
    other = fl.wrap_model(lambda x: x.flatten(1)[:, ::777], name="other", version="1")
    with pytest.raises(StoreConflictError, match="another decoding of f0.*transparency"):
        fl.embed(faces, models=[other], store=store, progress=False)

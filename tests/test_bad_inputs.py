"""The page on bad inputs says what the trials give."""

import bad_inputs
import numpy as np
import pytest
from PIL import Image

import freqlab as fl


@pytest.mark.slow
def test_the_page_is_what_the_trials_give(tmp_path):
    found = bad_inputs.rows(tmp_path)
    assert len(found) >= 40
    assert all(text != "accepted" for _, _, text in found)
    committed = bad_inputs.PAGE.read_text(encoding="utf-8").splitlines()
    assert bad_inputs.page(found).splitlines() == committed
    assert not list(tmp_path.glob("*.was-run"))


def test_what_is_read_of_odd_images(tmp_path):
    decode = fl.faces.table.decode_image
    assert (decode(bad_inputs.animated()) < 60).all()  # the first picture
    upright = np.asarray(Image.open(__import__("io").BytesIO(bad_inputs.jpeg_of())).convert("RGB"))
    np.testing.assert_array_equal(decode(bad_inputs.rotated()), np.rot90(upright, -1))
    assert decode(bad_inputs.sixteen_bit()).shape == (112, 112, 3)


def test_detection_in_images_of_almost_nothing(orl, tmp_path):
    table = orl.table.iloc[:4].copy()
    for i, size in enumerate([(1, 1), (1, 300), (300, 1)]):
        file = tmp_path / f"{i}.png"
        file.write_bytes(bad_inputs.png_of(size))
        table.iloc[i, table.columns.get_loc("path")] = str(file)
    model = fl.wrap_model(bad_inputs.Linear(), name="m")
    tree = fl.embed(fl.Faces(table), models=[model], store=tmp_path / "run.zarr", progress=False)
    assert list(tree["faces"]["status"].to_numpy()) == [*["no face found"] * 3, "ok"]

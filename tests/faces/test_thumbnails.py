"""How faces, models, bands and inspections show themselves in a notebook."""

import base64
import html.parser
import io
import re
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import freqlab as fl
from freqlab.images.decoding import decode_image, decode_small

HOSTILE = "<script>alert(1)</script>\"'&$x^2$\\(y\\)\x1b[31m"


class Page(html.parser.HTMLParser):
    """Texts, tags and images of a page, as a browser reads them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.texts, self.sources = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag != "img" and tag != "circle":
            self.open.append(tag)
        self.sources += [value for name, value in attrs if name == "src"]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_endtag(self, tag):
        if tag != "circle":
            assert self.open.pop() == tag
        if tag in ("td", "th", "div"):
            self.texts.append(" ")

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def images(self):
        start = "data:image/jpeg;base64,"
        assert all(source.startswith(start) for source in self.sources)
        return [
            np.asarray(Image.open(io.BytesIO(base64.b64decode(source[len(start) :]))))
            for source in self.sources
        ]


def page_of(thing):
    text = thing._repr_html_()
    page = Page(text)
    assert not page.open
    assert "script" not in page.tags
    assert len(text) < 200_000
    return page, " ".join("".join(page.texts).split())


def files_of(paths, **columns):
    table = pd.DataFrame(
        {"subject": "p", "path": [str(p) for p in paths], **columns},
        index=[f"f{i}" for i in range(len(paths))],
    )
    return fl.Faces(table, name="set")


def test_faces_with_thumbnails(orl):
    page, text = page_of(orl)
    assert "orl: 400 faces of 40 subjects" in text
    assert "400 present" in text
    assert "missing" not in text
    assert len(page.images) == 8
    for position, shown in zip((0, 1, 2, 3, 396, 397, 398, 399), page.images, strict=True):
        whole = Image.fromarray(orl.image(position))
        whole = whole.resize(shown.shape[1::-1], Image.Resampling.LANCZOS)
        assert np.abs(np.asarray(whole, float) - shown).mean() < 8
        assert orl.names[position] in text
    for column in ("subject", "glasses", "pose"):
        assert column in page.texts


def test_photographs_that_are_missing_or_damaged(tmp_path):
    Image.fromarray(np.full((20, 30, 3), 200, np.uint8)).save(tmp_path / "fine.png")
    (tmp_path / "damaged.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (tmp_path / "folder.png").mkdir()
    names = ("fine.png", "damaged.jpg", "folder.png", "absent.png", "nul\0.png")
    page, text = page_of(files_of([tmp_path / name for name in names]))
    assert "2 present, 3 missing" in text
    assert text.count("no such file") == 2
    assert text.count("unreadable image") == 2
    (shown,) = page.images
    assert shown.shape == (20, 30, 3)
    assert np.abs(shown.astype(int) - 200).max() <= 2


def test_everything_is_escaped(tmp_path):
    table = pd.DataFrame(
        {"subject": [HOSTILE] * 3, HOSTILE[:30].replace("/", ""): [HOSTILE, None, pd.NA]},
        index=[f"{HOSTILE}{i}" for i in range(3)],
    )
    images = [np.full((8, 8), 9, np.uint8)] * 3
    faces = fl.Faces(table, images, name=HOSTILE, credit=HOSTILE, notes=(HOSTILE,))
    model = fl.wrap_model(lambda x: x, name=HOSTILE.replace("\x1b", "").replace("/", ""))
    for thing in (faces, model):
        raw = thing._repr_html_()
        assert "\x1b" not in raw
        assert not re.search(r"[$\\]", raw)  # no formula for MathJax
        _, text = page_of(thing)
        assert "<script>alert(1)" in text


def test_counts_of_what_is_known_about_the_faces(synthetic):
    lower = fl.faces.degrade(synthetic, resolutions=[28])
    _, text = page_of(lower)
    assert "degraded 12" in text
    assert "aligned to arcface" in text
    landmarks = np.full((12, 5, 2), np.nan)
    landmarks[:4] = 1
    faces = fl.Faces(synthetic.table, synthetic.images, landmarks=landmarks, left_out=1_234)
    _, text = page_of(faces)
    assert "landmarks 4 given, 8 to be detected" in text
    assert "left out 1,234" in text
    assert "12 in memory" in text


def test_many_faces_and_columns_are_shown_quickly(tmp_path):
    n = 50_000
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.png")
    paths = [tmp_path / "a.png"] * n
    faces = files_of(paths, **{f"column{i}": 0 for i in range(30)})
    began = time.monotonic()
    page, text = page_of(faces)
    assert time.monotonic() - began < 2
    assert "50,000 faces" in text
    assert "and 24 more" in text
    assert "column6" not in text
    assert page.tags.count("tr") < 20


def test_files_on_a_slow_disk_are_not_all_looked_for(tmp_path, monkeypatch):
    faces = files_of([tmp_path / "a.png"] * 1000)
    clock = iter(np.arange(0, 1e6, 0.4))
    monkeypatch.setattr("freqlab.faces.thumbnails.time.monotonic", lambda: float(next(clock)))
    _, text = page_of(faces)
    assert "1,000; of the first 128, 128 are missing" in text


def test_one_face():
    _, text = page_of(fl.testing.faces(1, 1))
    assert "synthetic: 1 faces of 1 subjects" not in text
    assert "synthetic: 1 face of 1 subject" in text


@pytest.mark.parametrize("size", [(4000, 3000), (3000, 4000), (50, 60), (191, 192)])
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_images_decoded_small(size, format):
    gradient = np.linspace(0, 255, size[0])[None].repeat(size[1], 0)
    file = io.BytesIO()
    Image.fromarray(gradient.astype(np.uint8)).save(file, format)
    small = decode_small(file.getvalue(), 96)
    longest = max(small.shape)
    assert longest == max(size) if max(size) < 192 else 96 <= longest < 192
    whole = decode_image(file.getvalue())
    by = round(max(whole.shape) / longest)
    columns = whole[0, : whole.shape[1] // by * by, 0].reshape(-1, by).mean(axis=1)
    assert np.abs(small[0, : len(columns), 0] - columns).max() <= 3


def test_model(linear):
    _, text = page_of(fl.load_model("mobilefacenet"))
    for part in ("Model mobilefacenet", "BGR", "512 features", "MIT", "cpu, float32", "35.24"):
        assert part in text
    _, text = page_of(linear)
    assert "Model linear" in text
    assert "licence" not in text
    assert linear.checkpoint in text


def test_bands():
    page, text = page_of(fl.rings())
    assert "Bands: 15 bands in cycles/image" in text
    assert "rest" in page.texts
    assert "no upper edge" in text
    assert page.tags.count("circle") == 15
    page, text = page_of(fl.rings(0.01))
    assert "5,601 bands" in text
    assert page.tags.count("tr") == 21
    assert page.tags.count("circle") <= 60
    _, text = page_of(fl.rings(edges=[8, 16], unit="cycles/eyes"))
    assert "1 band in cycles/eyes" in text


def test_rings_of_the_picture():
    """Each circle covers its ring: its radius and width give the edges back."""
    bands = fl.rings(edges=[0, 8, 16, 40])
    circles = re.findall(r'r="([\d.]+)".*?stroke-width="([\d.]+)"', bands._repr_html_())
    edges = [(float(r) - float(w) / 2, float(r) + float(w) / 2) for r, w in circles]
    np.testing.assert_allclose(edges, bands.bounds * 60 / 40, atol=0.02)


def test_inspection(tmp_path):
    model = fl.testing.model("<i>linear</i>")
    store = tmp_path / "run.zarr"
    fl.testing.influence(models=[model], store=store, name="mine", sides=["probe"])
    inspection = fl.edits.Inspection(store, models=[model])
    _, text = page_of(inspection)
    for part in (f"mine in {store}", "24", "3 in cycles/image", "<i>linear</i>", "probe"):
        assert part in text
    assert repr(inspection).startswith(f"<Inspection: result mine in {store}; pairs 24; bands 3")
    whole = fl.testing.result(np.zeros((1, 2, 1, 3)))
    assert "without a name in memory" in page_of(fl.edits.Inspection(whole))[1]

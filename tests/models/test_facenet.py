import urllib.error

import numpy as np
import pytest
import torch
from facenet_pytorch import MTCNN, InceptionResnetV1
from PIL import Image

import freqlab as fl
from freqlab.errors import WeightsMismatchError, WeightsNotFoundError
from freqlab.images.alignment import cut, detect_faces

FILE = "20180402-114759-vggface2.pt"


@pytest.fixture(scope="module")
def network():
    """The network with a classifier of a few people, as the published files have of thousands."""
    torch.manual_seed(0)
    return InceptionResnetV1(classify=True, num_classes=7).eval()


@pytest.fixture
def checkpoint(network, tmp_path):
    torch.save(network.state_dict(), tmp_path / "facenet.pt")
    return tmp_path / "facenet.pt"


@pytest.mark.parametrize("name", ["facenet-vggface2", "facenet-casia"])
def test_a_local_file_is_the_network_of_facenet_pytorch(network, checkpoint, name):
    model = fl.load_model(name, checkpoint=checkpoint, device="cpu")
    images = torch.randint(0, 256, (2, 3, 160, 160)).float()
    truth = InceptionResnetV1().eval()
    state = {k: v for k, v in network.state_dict().items() if not k.startswith("logits")}
    truth.load_state_dict(state)
    with torch.no_grad():
        expected = truth((images - 127.5) / 128)
    torch.testing.assert_close(model(images), expected, atol=1e-5, rtol=1e-4)


def test_a_file_where_pytorch_keeps_them_is_found(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    for folder in ("hub/checkpoints", "checkpoints"):  # PyTorch's place, facenet-pytorch's own
        place = tmp_path / "home" / folder / FILE
        place.parent.mkdir(parents=True)
        place.write_bytes(checkpoint.read_bytes())
        assert fl.load_model("facenet-vggface2", device="cpu").spec.features == 512
        assert fl.models.known().loc["facenet-vggface2", "weights"] == "here"
        place.unlink()


def test_without_file_and_network_the_error_says_what_to_put_where(tmp_path, monkeypatch, capsys):
    def closed(url, *args, **kwargs):
        raise urllib.error.URLError("no route")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", closed)
    with pytest.raises(WeightsNotFoundError) as caught:
        fl.load_model("facenet-vggface2", device="cpu")
    for part in (FILE, str(tmp_path / "hub" / "checkpoints"), "checkpoint="):
        assert part in str(caught.value)
    assert "downloading" in capsys.readouterr().err


def test_a_download_is_loaded(checkpoint, tmp_path, monkeypatch):
    def download(url, path, progress):
        assert url.endswith(FILE)
        with open(path, "wb") as file:
            file.write(checkpoint.read_bytes())

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("torch.hub.download_url_to_file", download)
    assert fl.load_model("facenet-vggface2", device="cpu").checkpoint


def test_another_network_is_refused(tmp_path):
    torch.save({"a": torch.zeros(3)}, tmp_path / "a.pt")
    with pytest.raises(WeightsMismatchError, match="does not fit InceptionResnetV1"):
        fl.load_model("facenet-casia", checkpoint=tmp_path / "a.pt", device="cpu")


def test_crops_are_those_of_facenet_pytorch(orl):
    """The same box is cut out to the same pixels, and our boxes lie where its detector's do."""
    photograph = Image.fromarray(orl.image(0)).resize((460, 560), Image.Resampling.BICUBIC)
    canvas = Image.new("RGB", (700, 700), (128, 128, 128))
    canvas.paste(photograph, (120, 70))
    truth = MTCNN(image_size=160, margin=14, post_process=False)
    box = truth.detect(canvas)[0][0].astype(float)
    crop = cut(np.asarray(canvas), np.zeros((5, 2)), box, fl.images.template("facenet"))
    expected = truth.extract(canvas, box[None], None).permute(1, 2, 0)
    np.testing.assert_array_equal(crop, expected.numpy().astype(np.uint8))
    found = detect_faces([np.asarray(canvas)]).boxes[0]
    np.testing.assert_allclose(found, box, atol=0.03 * (box[2] - box[0]))


def test_boxes_that_cut_out_nothing():
    photograph = np.zeros((50, 60, 3), np.uint8)
    template = fl.images.template("facenet")
    for box in ([70, 10, 90, 30], [10, 10, 10, 40], [20, 30, 10, 10]):
        assert cut(photograph, np.zeros((5, 2)), np.array(box, float), template) is None

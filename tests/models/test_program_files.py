import warnings

import pytest
import torch
from torch import nn

import freqlab as fl
from freqlab.errors import (
    ParameterError,
    StoreConflictError,
    UnknownNameError,
    UntrustedModelError,
    WeightsError,
)


class TwoOutputs(nn.Module):
    """An embedding and its norm, as AdaFace returns them."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 5)

    def forward(self, images):
        features = self.linear(images.mean((2, 3)))
        return features, features.norm(dim=1, keepdim=True)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return TwoOutputs().eval()


@pytest.fixture(params=["m.pt", "m.pt2"])
def path(request, tmp_path, network):
    example = torch.zeros(2, 3, 112, 112)
    if request.param == "m.pt":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.trace(network, example).save(str(tmp_path / "m.pt"))
    else:
        batch = {0: torch.export.Dim("n", min=1)}
        exported = torch.export.export(network, (example,), dynamic_shapes=(batch,))
        torch.export.save(exported, tmp_path / "m.pt2")
    return tmp_path / request.param


def test_a_program_is_not_run_unasked(path):
    with pytest.raises(UntrustedModelError, match="is a program.*trust=True"):
        fl.load_model(path)
    with pytest.raises(UntrustedModelError):
        fl.load_model(path, trust=False)


def test_a_trusted_program_is_loaded(path, network):
    with pytest.raises(ParameterError, match="give both mean= and std="):
        fl.load_model(path, trust=True)
    model = fl.load_model(path, trust=True, mean=127.5, std=127.5, device="cpu")
    images = torch.rand(4, 3, 112, 112) * 255
    with torch.no_grad():
        expected = network((images - 127.5) / 127.5)[0]
    torch.testing.assert_close(model(images), expected)
    assert fl.load_model(f"{path},trust=true,mean=0,std=255").spec.std == 255


def test_a_damaged_program(path):
    content = bytearray(path.read_bytes())
    for start in range(200, len(content) - 2000, 100):
        content[start] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(WeightsError):
        fl.load_model(path, trust=True, mean=0, std=1)


def test_an_export_for_one_batch_size_takes_any(tmp_path, network):
    exported = torch.export.export(network, (torch.zeros(2, 3, 112, 112),))
    torch.export.save(exported, tmp_path / "m.pt2")
    model = fl.load_model(tmp_path / "m.pt2", trust=True, mean=0, std=1, device="cpu")
    images = torch.rand(5, 3, 112, 112)
    with torch.no_grad():
        torch.testing.assert_close(model(images), network(images)[0])


def test_files_of_one_name_are_told_apart_by_name(network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    faces = fl.testing.faces(3, 2)
    example = torch.zeros(2, 3, 112, 112)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(network, example).save("mine.pt")
    declared = "mine.pt,trust=true,mean=0,std=255,template=arcface"
    torch.manual_seed(1)
    own = fl.wrap_model(TwoOutputs(), name="mine")
    with pytest.raises(ParameterError, match=r"'mine'\] repeats a name.*FILE,name=mine-2 on"):
        fl.embed(faces, models=[declared, own], progress=False)
    store = tmp_path / "run.zarr"
    fl.embed(faces, models=[declared], store=store, progress=False)
    with pytest.raises(StoreConflictError, match=r"another model named 'mine' \(the weights") as at:
        fl.embed(faces, models=[own], store=store, progress=False)
    assert "wrap_model(..., name='mine-2')" in str(at.value)
    assert own.checkpoint not in str(at.value)
    fl.embed(faces, models=[f"{declared},name=mine-2"], store=store, progress=False)
    with pytest.raises(UnknownNameError, match=r"'mine' is not known; files .* suffix: mine.pt$"):
        fl.load_model("mine")

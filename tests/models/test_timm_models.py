import json

import pytest
import safetensors.torch
import timm
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from torch import nn

import freqlab as fl
from freqlab.errors import (
    ParameterError,
    UnknownNameError,
    WeightsError,
    WeightsMismatchError,
    WeightsNotFoundError,
)
from freqlab.models.edgeface import low_rank, split_linear_layers


@pytest.fixture
def images():
    torch.manual_seed(0)
    return torch.rand(2, 3, 112, 112) * 255


def saved(network, path):
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(network.state_dict(), path)
    else:
        torch.save(network.state_dict(), path)
    return path


def expected(network, images):
    with torch.no_grad():
        return network.eval()((images - 127.5) / 127.5)


@pytest.mark.parametrize("file", ["c.pt", "c.safetensors"])
def test_an_architecture_with_a_checkpoint(tmp_path, images, file):
    network = timm.create_model("resnet10t", num_classes=64)
    checkpoint = saved(network, tmp_path / file)
    model = fl.load_model("timm:resnet10t", checkpoint=checkpoint, device="cpu")
    assert model.name == "timm:resnet10t"
    torch.testing.assert_close(model(images), expected(network, images), atol=1e-5, rtol=1e-4)


def test_the_declaration_is_that_of_faces_not_of_imagenet(tmp_path):
    network = timm.create_model("resnet10t", num_classes=8)
    model = fl.load_model("timm:resnet10t", checkpoint=saved(network, tmp_path / "c.pt"))
    assert network.default_cfg["mean"][0] == pytest.approx(0.485)
    assert (model.spec.mean, model.spec.std, model.spec.channels) == (127.5, 127.5, "RGB")
    assert model.template.name == "arcface"


def test_a_transformer_takes_the_size_of_the_template(tmp_path, images):
    arguments = {"patch_size": 16, "depth": 1, "embed_dim": 48, "num_heads": 2}
    network = timm.create_model("vit_tiny_patch16_224", num_classes=8, img_size=112, **arguments)
    options = {"checkpoint": saved(network, tmp_path / "c.pt"), "model_args": arguments}
    model = fl.load_model("timm:vit_tiny_patch16_224", **options)
    torch.testing.assert_close(model(images), expected(network, images), atol=1e-5, rtol=1e-4)
    pooled = fl.load_model(
        "timm:vit_tiny_patch16_224",
        **{**options, "model_args": {**arguments, "global_pool": "avg", "fc_norm": False}},
    )
    assert pooled.checkpoint != model.checkpoint  # the same weights, another embedding
    with pytest.raises(WeightsMismatchError, match="pos_embed"):
        fl.load_model("timm:vit_tiny_patch16_224", template="arcface-224", **options)
    options["model_args"] = {"no_such": 1}
    with pytest.raises(ParameterError, match="model_args=.*no_such"):
        fl.load_model("timm:vit_tiny_patch16_224", **options)


def test_a_network_without_classifier(tmp_path, images):
    network = timm.create_model("resnet10t", num_classes=0)
    model = fl.load_model("timm:resnet10t", checkpoint=saved(network, tmp_path / "c.pt"))
    assert model(images).shape == (2, 512)


def hub_folder(folder, file="model.safetensors"):
    folder.mkdir()
    arguments = {"embed_dim": 48, "depth": 1, "num_heads": 2, "patch_size": 8, "img_size": 112}
    torch.manual_seed(1)
    network = timm.create_model("vit_tiny_patch16_224", num_classes=16, **arguments)
    config = {"architecture": "vit_tiny_patch16_224", "num_classes": 16, "model_args": arguments}
    (folder / "config.json").write_text(json.dumps(config))
    saved(network, folder / file)
    return network


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_folder_as_on_the_hub(tmp_path, images, file):
    network = hub_folder(tmp_path / "hub", file)
    model = fl.load_model("timm:hf_hub:owner/name", checkpoint=tmp_path / "hub", device="cpu")
    assert model.name == "timm:hf_hub:owner/name"
    torch.testing.assert_close(model(images), expected(network, images), atol=1e-5, rtol=1e-4)


def test_a_hub_name_is_fetched(tmp_path, images, monkeypatch):
    network = hub_folder(tmp_path / "hub", "pytorch_model.bin")
    asked = []

    def download(repository, name, revision):
        asked.append((repository, name, revision))
        path = tmp_path / "hub" / name
        if not path.is_file():
            raise EntryNotFoundError(name)
        return str(path)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    model = fl.load_model("timm:hf-hub:owner/name@v2", device="cpu")
    torch.testing.assert_close(model(images), expected(network, images), atol=1e-5, rtol=1e-4)
    assert asked[0] == ("owner/name", "config.json", "v2")


def test_a_closed_network_says_what_to_fetch(monkeypatch):
    def closed(*args, **kwargs):
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", closed)
    name = "gaunernst/vit_tiny_patch8_112.arcface_ms1mv3"
    with pytest.raises(WeightsNotFoundError) as caught:
        fl.load_model(f"timm:hf_hub:{name}")
    for part in (name, "config.json", "model.safetensors", "checkpoint="):
        assert part in str(caught.value)


def test_a_hub_name_that_cannot_be():
    with pytest.raises(ParameterError, match="timm:hf_hub:no name"):
        fl.load_model("timm:hf_hub:no name")


def test_folders_that_lack_something(tmp_path):
    hub_folder(tmp_path / "hub")
    (tmp_path / "hub" / "model.safetensors").unlink()
    with pytest.raises(WeightsNotFoundError, match="neither model.safetensors nor"):
        fl.load_model("timm:hf_hub:a/b", checkpoint=tmp_path / "hub")
    (tmp_path / "w").mkdir()
    saved(nn.Linear(2, 2), tmp_path / "w" / "model.safetensors")
    with pytest.raises(WeightsNotFoundError, match=r"lacks config\.json"):
        fl.load_model("timm:hf_hub:a/b", checkpoint=tmp_path / "w")
    (tmp_path / "hub" / "config.json").rename(tmp_path / "w" / "config.json")
    with pytest.raises(WeightsError, match="architecture 'vit_tiny_patch16_224', not 'resnet18'"):
        fl.load_model("timm:resnet18", checkpoint=tmp_path / "w")
    (tmp_path / "w" / "config.json").write_text('{"no": "architecture"}')
    with pytest.raises(WeightsError, match="does not name an architecture"):
        fl.load_model("timm:hf_hub:a/b", checkpoint=tmp_path / "w")


def test_unknown_architectures_and_missing_checkpoints():
    with pytest.raises(UnknownNameError, match="near it: edgenext_x_small"):
        fl.load_model("timm:edgenext_x_smal")
    with pytest.raises(WeightsNotFoundError, match="trained on faces"):
        fl.load_model("timm:edgenext_x_small")


def test_timm_is_named_where_it_is_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(WeightsNotFoundError, match=r"freqlab\[timm\]"):
        fl.load_model("timm:resnet18", checkpoint=tmp_path)


def edgenext(gamma=None):
    torch.manual_seed(2)
    network = timm.create_model("edgenext_xx_small", num_classes=512)
    if gamma is not None:
        split_linear_layers(network, gamma)
    return network


@pytest.mark.parametrize("gamma", [None, 0.5, 0.6])
@pytest.mark.parametrize("said", [True, False])
def test_edgeface(tmp_path, images, gamma, said):
    """As published: the tensors under ``model.``; the ratio is read off the ranks."""
    network = edgenext(gamma)
    state = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save(state, tmp_path / "c.pt")
    options = {"gamma": gamma} if said and gamma else {}
    model = fl.load_model("edgeface-xxs", checkpoint=tmp_path / "c.pt", **options)
    torch.testing.assert_close(model(images), expected(network, images), atol=1e-5, rtol=1e-4)


def test_ranks_of_the_low_rank_layers():
    """Rank = ratio x min(in, out), at least 2; every linear layer is split."""
    assert [low_rank(48, 144, 0.5), low_rank(100, 64, 0.6), low_rank(3, 3, 0.1)] == [24, 38, 2]
    whole = {n: m for n, m in edgenext().named_modules() if isinstance(m, nn.Linear)}
    split = edgenext(0.6)
    assert len(whole) > 20
    for name, layer in whole.items():
        halves = split.get_submodule(name)
        rank = max(2, int(0.6 * min(layer.in_features, layer.out_features)))
        assert halves.linear1.weight.shape == (rank, layer.in_features)
        assert halves.linear2.weight.shape == (layer.out_features, rank)
        assert halves.linear1.bias is None
        assert (halves.linear2.bias is None) == (layer.bias is None)


def test_edgeface_that_does_not_fit(tmp_path):
    torch.save(edgenext(0.5).state_dict(), tmp_path / "half.pt")
    torch.save(edgenext().state_dict(), tmp_path / "whole.pt")
    with pytest.raises(WeightsMismatchError, match="of another shape"):
        fl.load_model("edgeface-xxs", checkpoint=tmp_path / "half.pt", gamma=0.6)
    with pytest.raises(WeightsError, match="load it without gamma="):
        fl.load_model("edgeface-xxs", checkpoint=tmp_path / "whole.pt", gamma=0.6)
    for wrong in (0, 1.5, "half"):
        with pytest.raises(ParameterError, match="gamma="):
            fl.load_model("edgeface-xxs", checkpoint=tmp_path / "half.pt", gamma=wrong)
    with pytest.raises(WeightsMismatchError, match="could belong to edgeface-xxs or timm"):
        fl.load_model("edgeface-s", checkpoint=tmp_path / "whole.pt")
    with pytest.raises(
        WeightsNotFoundError, match=r"edgeface_xxs\.pt.*otroshi|otroshi.*edgeface_xxs\.pt"
    ):
        fl.load_model("edgeface-xxs")


def test_the_configuration_belongs_to_the_weights(tmp_path, images):
    hub_folder(tmp_path / "hub")
    first = fl.load_model("timm:hf_hub:a/b", checkpoint=tmp_path / "hub", device="cpu")
    config = json.loads((tmp_path / "hub" / "config.json").read_text())
    config["model_args"]["act_layer"] = "relu"
    (tmp_path / "hub" / "config.json").write_text(json.dumps(config))
    second = fl.load_model("timm:hf_hub:a/b", checkpoint=tmp_path / "hub", device="cpu")
    assert first.checkpoint != second.checkpoint
    assert (first(images) - second(images)).abs().max() > 1e-4


def test_a_transformer_for_crops_that_are_not_square(tmp_path):
    arguments = {"patch_size": 16, "depth": 1, "embed_dim": 48, "num_heads": 2}
    network = timm.create_model(
        "vit_tiny_patch16_224", num_classes=8, img_size=(112, 96), **arguments
    )
    options = {"checkpoint": saved(network, tmp_path / "c.pt"), "model_args": arguments}
    model = fl.load_model("timm:vit_tiny_patch16_224", template="112x96", **options)
    assert model(torch.zeros(1, 3, 112, 96)).shape == (1, 8)


@pytest.mark.parametrize("n_classes", [37, 1000, 10_572])
def test_a_classifier_is_told(tmp_path, images, n_classes):
    network = timm.create_model("resnet10t", num_classes=n_classes)
    checkpoint = saved(network, tmp_path / "c.pt")
    told = f"the {n_classes} outputs of resnet10t come from its head 'fc'.*num_classes=0"
    with pytest.warns(UserWarning, match=told):
        model = fl.load_model("timm:resnet10t", checkpoint=checkpoint, device="cpu")
    assert "the scores of a classifier" in model.notes[0]
    torch.testing.assert_close(model(images), expected(network, images), atol=1e-4, rtol=1e-4)
    # said, it is what was said
    asked = fl.load_model("timm:resnet10t", checkpoint=checkpoint, num_classes=n_classes)
    assert asked.notes == []


@pytest.mark.parametrize(
    "way",
    [{"num_classes": 0}, {"model_args": {"num_classes": 0}}, ",num_classes=0",
     ',model_args={"num_classes": 0}'],
)  # fmt: skip
@pytest.mark.parametrize("architecture", ["resnet10t", "vit_tiny_patch16_224", "convnext_atto"])
def test_features_before_the_classifier(tmp_path, images, architecture, way):
    """As timm's own users get them."""
    arguments = {"img_size": 112, "depth": 1} if architecture.startswith("vit") else {}
    whole = timm.create_model(architecture, num_classes=37, **arguments)
    checkpoint = saved(whole, tmp_path / "c.pt")
    bare = timm.create_model(architecture, num_classes=0, **arguments)
    bare.load_state_dict(whole.state_dict(), strict=False)
    options, text = (way, f"timm:{architecture}") if isinstance(way, dict) else ({}, way)
    if arguments:
        inner = options.get("model_args", {"num_classes": 0})
        options, text = {"model_args": {**arguments, **inner}}, f"timm:{architecture}"
    text = text if text.startswith("timm:") else f"timm:{architecture}{text}"
    model = fl.load_model(text, checkpoint=checkpoint, device="cpu", **options)
    found = model(images)
    assert found.shape == (2, bare.num_features)
    torch.testing.assert_close(found, expected(bare, images), atol=1e-4, rtol=1e-4)
    assert "the head of c.pt was left out" in model.notes[0]


def test_a_width_that_the_weights_do_not_have(tmp_path):
    checkpoint = saved(timm.create_model("resnet10t", num_classes=37), tmp_path / "c.pt")
    with pytest.raises(
        WeightsMismatchError, match=r"fc\.weight \(37, 512\) instead of \(64, 512\)"
    ):
        fl.load_model("timm:resnet10t", checkpoint=checkpoint, num_classes=64)
    with pytest.raises(ParameterError, match="num_classes=-1"):
        fl.load_model("timm:resnet10t", checkpoint=checkpoint, num_classes=-1)
    with pytest.raises(ParameterError, match="takes no num_classes"):
        fl.load_model("mobilefacenet", num_classes=0)


@pytest.mark.parametrize("size", [160, 224])
def test_square_images_of_another_size(tmp_path, size):
    """Read off the table of positions, or said as timm's users say it."""
    arguments = {"patch_size": 16, "depth": 1, "embed_dim": 48, "num_heads": 2}
    network = timm.create_model("vit_tiny_patch16_224", num_classes=8, img_size=size, **arguments)
    checkpoint = saved(network, tmp_path / "c.pt")
    images = torch.rand(2, 3, size, size) * 255
    for more in ({}, {"img_size": size}, {"img_size": (size, size)}):
        model = fl.load_model(
            "timm:vit_tiny_patch16_224", checkpoint=checkpoint, model_args={**arguments, **more}
        )
        assert model.template.name == f"arcface-{size}"
        torch.testing.assert_close(model(images), expected(network, images), atol=1e-4, rtol=1e-4)


def test_square_images_of_another_size_by_a_folder(tmp_path):
    folder = tmp_path / "hub"
    folder.mkdir()
    arguments = {"embed_dim": 48, "depth": 1, "num_heads": 2, "patch_size": 8, "img_size": 128}
    network = timm.create_model("vit_tiny_patch16_224", num_classes=16, **arguments)
    config = {"architecture": "vit_tiny_patch16_224", "num_classes": 16, "model_args": arguments}
    (folder / "config.json").write_text(json.dumps(config))
    saved(network, folder / "model.safetensors")
    model = fl.load_model("timm:hf_hub:owner/name", checkpoint=folder, device="cpu")
    assert model.template.name == "arcface-128"
    images = torch.rand(2, 3, 128, 128) * 255
    torch.testing.assert_close(model(images), expected(network, images), atol=1e-4, rtol=1e-4)

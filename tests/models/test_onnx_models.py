import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import freqlab as fl
from freqlab.errors import ParameterError, UnknownNameError, WeightsError, WeightsNotFoundError


@pytest.fixture(scope="module")
def network():
    """Convolution, global average, linear map: small, and sensitive to every channel."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 16),
    ).eval()  # fmt: skip


def write(path, network, *, size=(112, 112), batch="n", layout="NCHW", centre=None, outputs=1,
          channels=3):  # fmt: skip
    """The same network as an ONNX file."""
    convolution, linear = network[0], network[4]
    constants = {
        "cw": convolution.weight, "cb": convolution.bias, "lw": linear.weight, "lb": linear.bias
    }  # fmt: skip
    tensors = [numpy_helper.from_array(t.detach().numpy(), name) for name, t in constants.items()]
    nodes, last = [], "data"
    if layout == "NHWC":
        nodes.append(helper.make_node("Transpose", [last], ["nchw"], perm=[0, 3, 1, 2]))
        last = "nchw"
    if centre is not None:
        for name, value in (("mean", centre[0]), ("scale", 1 / centre[1])):
            tensors.append(numpy_helper.from_array(np.float32(value), name))
        nodes.append(helper.make_node("Sub", [last, "mean"], ["centred"]))
        nodes.append(helper.make_node("Mul", ["centred", "scale"], ["scaled"]))
        last = "scaled"
    nodes += [
        helper.make_node("Conv", [last, "cw", "cb"], ["c"], strides=[4, 4]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "lw", "lb"], ["e0"], transB=1),
    ]
    nodes += [helper.make_node("Neg", [f"e{i}"], [f"e{i + 1}"]) for i in range(outputs - 1)]
    shape = [batch, channels, *size] if layout == "NCHW" else [batch, *size, channels]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(f"e{i}", TensorProto.FLOAT, [batch, 16])
            for i in range(outputs)
        ],
        tensors,
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path


def expected(network, images, mean=127.5, std=127.5):
    with torch.no_grad():
        return network((images - mean) / std)


@pytest.fixture
def images():
    torch.manual_seed(1)
    return torch.rand(5, 3, 112, 112) * 255


def same(found, truth):
    torch.testing.assert_close(found, truth, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("batch", ["n", 1, 3])
def test_layouts_and_fixed_batches(tmp_path, network, images, layout, batch):
    path = write(tmp_path / "m.onnx", network, layout=layout, batch=batch)
    model = fl.load_model(path, preset="insightface", device="cpu")
    assert model.name == "m"
    same(model(images), expected(network, images))


def test_normalisation_is_given(tmp_path, network, images):
    path = write(tmp_path / "m.onnx", network)
    with pytest.raises(ParameterError, match=r"give both mean= and std=.*preset=insightface"):
        fl.load_model(path)
    model = fl.load_model(path, mean=100, std=60, channels="BGR", device="cpu")
    same(model(images), expected(network, images.flip(1), 100, 60))
    with pytest.raises(UnknownNameError, match="insightface"):
        fl.load_model(path, preset="insigtface")


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_graph_that_normalises_itself(tmp_path, network, images, layout):
    path = write(tmp_path / "m.onnx", network, centre=(127.5, 128.0), layout=layout)
    model = fl.load_model(path, device="cpu")
    assert (model.spec.mean, model.spec.std) == (0, 1)
    same(model(images), expected(network, images, 127.5, 128))


@pytest.mark.parametrize("file", ["w600k_r50.onnx", "w600k_mbf.onnx", "glintr100.onnx"])
def test_files_of_insightface_are_known_by_their_names(tmp_path, network, images, file):
    model = fl.load_model(write(tmp_path / file, network), device="cpu")
    assert (model.spec.channels, model.spec.mean, model.spec.std) == ("RGB", 127.5, 127.5)
    same(model(images), expected(network, images))


def test_packs_of_insightface_are_found_where_it_unpacks_them(tmp_path, network, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(WeightsNotFoundError, match="insightface/models/buffalo_l"):
        fl.load_model("buffalo_l")
    (tmp_path / ".insightface/models/buffalo_l").mkdir(parents=True)
    write(tmp_path / ".insightface/models/buffalo_l/w600k_r50.onnx", network)
    assert fl.models.known().loc["buffalo_l", "weights"] == "here"
    model = fl.load_model("buffalo_l", features=16, device="cpu")
    assert model(torch.zeros(1, 3, 112, 112)).shape == (1, 16)


@pytest.mark.parametrize(
    ("size", "template"),
    [((112, 96), "112x96"), ((160, 160), "arcface-160"), (("h", "w"), "arcface")],
)
def test_the_size_is_read_from_the_file(tmp_path, network, size, template):
    path = write(tmp_path / "m.onnx", network, size=size)
    model = fl.load_model(path, preset="insightface")
    assert model.spec.template == template
    assert model(torch.zeros(1, 3, *model.template.size)).shape == (1, 16)


def test_sizes_of_no_template(tmp_path, network):
    path = write(tmp_path / "m.onnx", network, size=(120, 90))
    with pytest.raises(ParameterError, match=r"\(120, 90\); give template="):
        fl.load_model(path, preset="insightface")


def test_a_layout_that_the_file_does_not_tell(tmp_path, network, images):
    path = write(tmp_path / "m.onnx", network, channels="c", size=("h", "w"))
    with pytest.raises(ParameterError, match="layout='NCHW' or 'NHWC'"):
        fl.load_model(path, preset="insightface")
    model = fl.load_model(path, preset="insightface", layout="NCHW", device="cpu")
    same(model(images), expected(network, images))


def test_several_outputs(tmp_path, network, images):
    path = write(tmp_path / "m.onnx", network, outputs=2)
    with pytest.raises(WeightsError, match="several outputs.*name one with output="):
        fl.load_model(path, preset="insightface")
    model = fl.load_model(path, preset="insightface", output="e1", device="cpu")
    same(model(images), -expected(network, images))
    assert model.checkpoint.endswith('; output "e1"')
    with pytest.raises(UnknownNameError, match="e0, e1"):
        fl.load_model(path, preset="insightface", output="e2")


def test_options_that_a_file_does_not_take(tmp_path, network):
    path = write(tmp_path / "m.onnx", network)
    with pytest.raises(ParameterError, match="takes no trust; allowed: .*layout, output, preset"):
        fl.load_model(path, preset="insightface", trust=True)
    with pytest.raises(ParameterError, match=r"file m\.onnx is its own weights"):
        fl.load_model(path, preset="insightface", checkpoint=path)
    with pytest.raises(WeightsError, match="give its path as the model"):
        fl.load_model("arcface", checkpoint=path)


def test_files_that_are_no_embedder(tmp_path, network):
    path = write(tmp_path / "m.onnx", network)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(WeightsError, match="damaged, or no ONNX file"):
        fl.load_model(path, preset="insightface")
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    with pytest.raises(WeightsError, match=r"its inputs are x \['n', 4\]"):
        fl.load_model(path, preset="insightface")


def test_a_cuda_device_without_its_runtime(tmp_path, network, monkeypatch):
    """Asked for, it is an error; chosen, it is the CPU."""
    monkeypatch.setattr("freqlab.models.loading.resolve_device", lambda device: "cuda")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    path = write(tmp_path / "m.onnx", network)
    assert fl.load_model(path, preset="insightface").device == "cpu"
    with pytest.raises(ParameterError, match="runs on the CPU only"):
        fl.load_model(path, preset="insightface", device="cuda")


def test_the_runtime_is_named_where_it_is_missing(tmp_path, network, monkeypatch):
    path = write(tmp_path / "m.onnx", network)
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(WeightsNotFoundError, match=r"freqlab\[onnx\]"):
        fl.load_model(path, preset="insightface")


def test_influence_of_a_file(tmp_path, network, synthetic):
    """The same network as ONNX file and as module gives the same influence."""
    path = write(tmp_path / "file.onnx", network)
    module = fl.wrap_model(network, name="module", mean=127.5, std=127.5)
    pairs = fl.make_pairs(synthetic)
    result = fl.influence(
        synthetic, pairs, models=[f"{path},preset=insightface", module], bands="rings:14",
        device="cpu", progress=False,
    )  # fmt: skip
    np.testing.assert_allclose(result["influence"][0], result["influence"][1], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "mean", "std"),
    [
        ({"preset": "insightface"}, 127.5, 127.5),
        ({"mean": 0, "std": 255}, 0, 255),
        ({"mean": 5}, 5, 1),
        ({"std": 127.5}, 0, 127.5),
    ],
)
def test_what_the_caller_says_is_obeyed_and_told(
    tmp_path, network, images, synthetic, capsys, options, mean, std
):
    """Also where the graph begins with arithmetic, which may be another than it looks."""
    path = write(tmp_path / "m.onnx", network, centre=(127.5, 128.0))
    model = fl.load_model(path, device="cpu", **options)
    assert (model.spec.mean, model.spec.std) == (mean, std)
    same(model(images), expected(network, (images - mean) / std, 127.5, 128))
    assert f"it nevertheless gets (pixel - {mean}) / {std}" in model.notes[0]
    fl.embed(synthetic, models=[model], store=tmp_path / "r.zarr")
    assert "note: m: m.onnx begins with arithmetic on its input" in capsys.readouterr().err


def test_a_graph_that_normalises_itself_gets_pixels_unless_told_otherwise(tmp_path, network):
    path = write(tmp_path / "m.onnx", network, centre=(127.5, 128.0))
    assert fl.load_model(path, mean=0, std=1).notes == []
    with pytest.raises(WeightsError, match="unlike insightface's files"):
        fl.load_model("buffalo_l", checkpoint=path)


def test_a_file_is_read_once_and_again_when_it_changes(tmp_path, network):
    path = write(tmp_path / "m.onnx", network)
    first = fl.load_model(path, preset="insightface", device="cpu")
    assert fl.load_model(path, preset="insightface", device="cpu").network is first.network
    write(tmp_path / "m.onnx", network, outputs=1, batch=2)
    assert fl.load_model(path, preset="insightface", device="cpu").network is not first.network


def test_tensors_beside_the_file_belong_to_it(tmp_path, network):
    path = write(tmp_path / "m.onnx", network)
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="m.data", size_threshold=0)
    first = fl.load_model(path, preset="insightface", device="cpu").checkpoint
    content = bytearray((tmp_path / "m.data").read_bytes())
    content[0] ^= 1
    (tmp_path / "m.data").write_bytes(content)
    assert fl.load_model(path, preset="insightface", device="cpu").checkpoint != first


def test_a_template_of_another_size(tmp_path, network):
    path = write(tmp_path / "m.onnx", network)
    given = r"\(112, 112\), but crops of the template are \(112, 96\)"
    with pytest.raises(WeightsError, match=given):
        fl.load_model(path, preset="insightface", template="112x96")

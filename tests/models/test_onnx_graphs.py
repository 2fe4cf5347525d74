"""What an ONNX file depends on beside itself, and what it could do to the machine."""

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import freqlab as fl
from freqlab.errors import ModelError, WeightsError, WeightsNotFoundError

OPSET = [helper.make_opsetid("", 17)]
X = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 112, 112])
Y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
POOL = [
    helper.make_node("GlobalAveragePool", ["x"], ["g"]),
    helper.make_node("Flatten", ["g"], ["f"]),
]
OPTIONS = {"mean": 0, "std": 1, "device": "cpu"}


def save(path, nodes, initialisers=(), functions=(), opset=OPSET, sparse=()):
    graph = helper.make_graph(
        [*POOL, *nodes], "g", [X], [Y], list(initialisers), sparse_initializer=list(sparse)
    )
    model = helper.make_model(graph, opset_imports=opset, ir_version=9, functions=list(functions))
    path.write_bytes(model.SerializeToString())
    return path


def outside(name, values, location, offset=0):
    """A tensor whose numbers lie in a file."""
    tensor = numpy_helper.from_array(np.asarray(values), name)
    length = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def branch(tensor):
    """Both ways of a condition add a tensor."""
    out = [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)]
    nodes = [
        helper.make_node("Constant", [], ["k"], value=tensor),
        helper.make_node("Add", ["f", "k"], ["b"]),
    ]
    return helper.make_graph(nodes, "branch", [], out)


def initialiser(path, tensor):
    return save(path, [helper.make_node("Add", ["f", "k"], ["y"])], [tensor])


def constant(path, tensor):
    return save(
        path,
        [
            helper.make_node("Constant", [], ["k"], value=tensor),
            helper.make_node("Add", ["f", "k"], ["y"]),
        ],
    )


def subgraph(path, tensor):
    yes = numpy_helper.from_array(np.array(True), "yes")
    body = branch(tensor)
    node = helper.make_node("If", ["yes"], ["y"], then_branch=body, else_branch=body)
    return save(path, [node], [yes])


def function(path, tensor):
    opset = [*OPSET, helper.make_opsetid("own", 1)]
    nodes = [
        helper.make_node("Constant", [], ["k"], value=tensor),
        helper.make_node("Add", ["a", "k"], ["b"]),
    ]
    made = helper.make_function("own", "Shift", ["a"], ["b"], nodes, OPSET)
    return save(path, [helper.make_node("Shift", ["f"], ["y"], domain="own")], (), [made], opset)


PLACES = [initialiser, constant, subgraph, function]


@pytest.mark.parametrize("place", PLACES)
def test_numbers_beside_the_file_are_part_of_its_checksum(tmp_path, place):
    """Wherever in the file they are referred to; what is computed and its name change together."""
    path = place(tmp_path / "m.onnx", outside("k", np.float32([1, 2, 3]), "m.data"))
    seen = set()
    for values in ([1, 2, 3], [4, 5, 6]):
        (tmp_path / "m.data").write_bytes(np.float32(values).tobytes())
        model = fl.load_model(path, **OPTIONS)
        seen.add(model.checkpoint)
        assert model(torch.zeros(1, 3, 112, 112))[0].tolist() == values
        (tmp_path / "m.data").write_bytes(bytes(12))  # too late for the network that is loaded
        assert model(torch.zeros(1, 3, 112, 112))[0].tolist() == values
    assert len(seen) == 2


def test_sparse_tensors_are_looked_at_too(tmp_path):
    sparse = helper.make_sparse_tensor(
        outside("s", np.float32([1, 2]), "absent.data"),
        numpy_helper.from_array(np.int64([0, 1]), "i"),
        [3],
    )
    path = save(tmp_path / "m.onnx", [helper.make_node("Add", ["f", "s"], ["y"])], sparse=[sparse])
    with pytest.raises(WeightsNotFoundError, match=r"in the file 'absent\.data', which is missing"):
        fl.load_model(path, **OPTIONS)


@pytest.mark.parametrize("place", PLACES)
def test_a_missing_file_is_named(tmp_path, place):
    path = place(tmp_path / "m.onnx", outside("k", np.float32([1, 2, 3]), "weights/m.data"))
    told = r"m\.onnx keeps tensors in the file 'weights/m\.data', which is missing: put it"
    with pytest.raises(WeightsNotFoundError, match=told):
        fl.load_model(path, **OPTIONS)


def test_a_file_that_ends_too_soon(tmp_path):
    path = constant(tmp_path / "m.onnx", outside("k", np.float32([1, 2, 3]), "m.data", offset=4))
    (tmp_path / "m.data").write_bytes(bytes(12))
    with pytest.raises(WeightsError, match=r"m\.data beside it is truncated: .* byte 16 of 12"):
        fl.load_model(path, **OPTIONS)


@pytest.mark.parametrize("used", [True, False])
@pytest.mark.parametrize("way", ["absolute", "above", "backslash", "link", "folder", "dangling"])
def test_data_elsewhere_are_not_opened(tmp_path, monkeypatch, way, used):
    """Neither by name nor through a link, needed or not."""
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(12))
    folder = tmp_path / "model"
    folder.mkdir()
    location = {
        "absolute": str(secret), "above": "../secret", "backslash": "..\\secret", "link": "link",
        "folder": "inner/secret", "dangling": "dangling",
    }[way]  # fmt: skip
    (folder / "link").symlink_to(secret)
    (folder / "inner").symlink_to(tmp_path)
    (folder / "dangling").symlink_to("nowhere")
    tensor = outside("k", np.float32([1, 2, 3]), location)
    added = "k" if used else "own"
    own = numpy_helper.from_array(np.float32([1, 2, 3]), "own")
    path = save(folder / "m.onnx", [helper.make_node("Add", ["f", added], ["y"])], [tensor, own])
    begun = []
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *_, **__: begun.append(1))
    with pytest.raises(WeightsError, match="outside its folder|a broken link"):
        fl.load_model(path, **OPTIONS)
    assert not begun  # before anything could open it


@pytest.mark.parametrize("what", ["pipe", "device", "folder"])
def test_data_that_are_no_file(tmp_path, what):
    path = constant(tmp_path / "m.onnx", outside("k", np.float32([1, 2, 3]), "m.data"))
    if what == "pipe":
        os.mkfifo(tmp_path / "m.data")
    elif what == "folder":
        (tmp_path / "m.data").mkdir()
    else:
        (tmp_path / "m.data").symlink_to("/dev/zero")
    with pytest.raises(WeightsError, match="not a plain file|outside its folder"):
        fl.load_model(path, **OPTIONS)


def test_a_cache_of_links_into_one_folder(tmp_path):
    """As the hub's cache lays them out: both are links to where the contents are."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    constant(blobs / "1a", outside("k", np.float32([1, 2, 3]), "m.data"))
    (blobs / "2b").write_bytes(np.float32([1, 2, 3]).tobytes())
    (snapshot / "m.onnx").symlink_to("../blobs/1a")
    (snapshot / "m.data").symlink_to("../blobs/2b")
    model = fl.load_model(snapshot / "m.onnx", **OPTIONS)
    assert model(torch.zeros(1, 3, 112, 112))[0].tolist() == [1, 2, 3]


def loop(body_nodes):
    numbers = [("i", TensorProto.INT64, []), ("more", TensorProto.BOOL, []),
               ("v", TensorProto.FLOAT, None)]  # fmt: skip
    inputs = [helper.make_tensor_value_info(*about) for about in numbers]
    names = ("go_on", "w") if body_nodes else ("more", "v")
    outputs = [
        helper.make_tensor_value_info(names[0], TensorProto.BOOL, []),
        helper.make_tensor_value_info(names[1], TensorProto.FLOAT, None),
    ]
    body = helper.make_graph(body_nodes, "body", inputs, outputs)
    return helper.make_node("Loop", ["", "yes", "f"], ["y"], body=body)


YES = numpy_helper.from_array(np.array(True), "yes")
ENDLESS = [
    helper.make_node("Identity", ["more"], ["go_on"]),
    helper.make_node("Identity", ["v"], ["w"]),
]


@pytest.mark.parametrize("call", [pytest.param("model", marks=pytest.mark.slow), "run"])
def test_a_loop_without_end_is_ended_by_ctrl_c(tmp_path, call):
    """In a child, which is interrupted as a terminal does it."""
    path = save(tmp_path / "m.onnx", [loop(ENDLESS)], [YES])
    use = {
        "model": "model(torch.zeros(1, 3, 112, 112))",
        # in a worker: the first crops of the run pass, and then the loop begins
        "run": "from freqlab.engine.workers import working\n"
        "with working() as workers:\n"
        "    workers.submit_for(model, model, torch.zeros(1, 3, 112, 112)).result()",
    }[call]
    program = (
        textwrap.dedent(
            f"""
            import torch
            import freqlab as fl
            model = fl.load_model({str(path)!r}, mean=0, std=1, device="cpu")
            print("ready", flush=True)
            """
        )
        + use
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout.readline() == "ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(2)
        child.send_signal(signal.SIGINT)
        _, told = child.communicate(timeout=20)
    finally:
        child.kill()
    assert "KeyboardInterrupt" in told
    assert child.returncode != 0


def test_a_loop_that_nothing_could_end(tmp_path):
    path = save(tmp_path / "m.onnx", [loop([])], [YES])
    with pytest.raises(WeightsError, match="a loop that does nothing, and may never end"):
        fl.load_model(path, **OPTIONS)


def test_functions_that_call_each_other(tmp_path):
    """Twice each, 30 deep: a billion nodes in a file of four kilobytes; or themselves."""
    opset = [*OPSET, helper.make_opsetid("own", 1)]
    calls = [helper.make_function("own", "F0", ["a"], ["b"], [helper.make_node("Sin", ["a"], ["b"])], OPSET)]  # fmt: skip  # noqa: E501
    for i in range(1, 31):
        nodes = [
            helper.make_node(f"F{i - 1}", ["a"], ["m"], domain="own"),
            helper.make_node(f"F{i - 1}", ["m"], ["b"], domain="own"),
        ]
        calls.append(helper.make_function("own", f"F{i}", ["a"], ["b"], nodes, opset))
    last = helper.make_node("F30", ["f"], ["y"], domain="own")
    path = save(tmp_path / "m.onnx", [last], functions=calls, opset=opset)
    with pytest.raises(WeightsError, match="expands to .*e.09 nodes by nested"):
        fl.load_model(path, **OPTIONS)
    again = helper.make_node("F", ["a"], ["b"], domain="own")
    itself = helper.make_function("own", "F", ["a"], ["b"], [again], opset)
    call = helper.make_node("F", ["f"], ["y"], domain="own")
    path = save(tmp_path / "n.onnx", [call], functions=[itself], opset=opset)
    with pytest.raises(WeightsError, match="its function 'F' calls itself"):
        fl.load_model(path, **OPTIONS)


def test_a_graph_that_asks_for_more_memory_than_there_is(tmp_path):
    """64 TB of zeros in a file of a few hundred bytes."""
    shape = numpy_helper.from_array(np.int64([1 << 22, 1 << 22]), "shape")
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["z"]),
        helper.make_node("ReduceSum", ["z"], ["q"], keepdims=0),
        helper.make_node("Add", ["f", "q"], ["y"]),
    ]
    model = fl.load_model(save(tmp_path / "m.onnx", nodes, [shape]), **OPTIONS)
    with pytest.raises(ModelError, match="asks for more memory than the .* GiB it may have"):
        model(torch.zeros(1, 3, 112, 112))


@pytest.mark.parametrize(("operation", "name"), [("Softmax", "y"), ("Identity", "logits")])
def test_scores_of_a_classifier(tmp_path, operation, name):
    graph = helper.make_graph(
        [*POOL, helper.make_node(operation, ["f"], [name])], "g", [X],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3])],
    )  # fmt: skip
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=OPSET, ir_version=9), path)
    with pytest.warns(UserWarning, match=f"output '{name}' of m.onnx holds a classifier's scores"):
        model = fl.load_model(path, **OPTIONS)
    assert "not an embedding" in model.notes[0]

"""ONNX files as face models, run by onnxruntime.

Layout and size are read from the file's input. Whether the graph normalises its input itself is
read from its first operations; where it does not, the numbers are given, or come from the preset
``insightface`` (RGB, (pixel - 127.5) / 127.5), which the names of that project's files imply.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from freqlab.errors import (
    ModelError,
    ParameterError,
    WeightsError,
    WeightsNotFoundError,
    check_name,
)
from freqlab.models.recipes import Recipe, unknown_normalisation
from freqlab.models.spec import ModelSpec

__all__ = ["PRESETS", "RECIPES", "onnx_recipe"]

PRESETS: dict[str, dict[str, Any]] = {
    "insightface": {"template": "arcface", "channels": "RGB", "mean": 127.5, "std": 127.5}
}
"""Preprocessing by name."""

# Recognition networks that insightface publishes, by the name of the file.
_INSIGHTFACE_FILES = ("w600k_r50", "w600k_mbf", "glintr100", "r100", "ms1mv3_r50", "webface_r50")
_INSIGHTFACE_PACKS = {
    "buffalo_l": "w600k_r50.onnx",
    "buffalo_m": "w600k_r50.onnx",
    "buffalo_s": "w600k_mbf.onnx",
    "buffalo_sc": "w600k_mbf.onnx",
    "antelopev2": "glintr100.onnx",
}
# Operations that leave the values of an input as they are.
_NEUTRAL = ("Cast", "Identity", "Transpose", "Reshape", "Unsqueeze", "Squeeze")
_CENTRING = ("Sub", "Add", "Mul", "Div", "BatchNormalization", "InstanceNormalization")


class _Input(NamedTuple):
    name: str
    layout: str
    size: tuple[int, int] | None
    batch: int | None


class _OnnxNetwork:
    """Runs a session on tensors; in its own batches where the file fixes how many."""

    def __init__(self, session: Any, source: _Input, output: str) -> None:
        self._session = session
        self._input = source
        self._output = output

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        array = images.detach().cpu().numpy().astype(np.float32, copy=False)
        if self._input.layout == "NHWC":
            array = array.transpose(0, 2, 3, 1)
        array = np.ascontiguousarray(array)
        n_images, batch = len(array), self._input.batch or len(array)
        found = []
        for start in range(0, n_images, batch):
            part = array[start : start + batch]
            missing = batch - len(part)
            if missing:
                part = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)])
            outputs = self._session.run([self._output], {self._input.name: part})
            features = np.asarray(outputs[0], np.float32)
            if len(features) != batch:
                raise ModelError(f"the file returned {len(features)} embeddings for {batch} crops")
            found.append(features[: batch - missing])
        return torch.from_numpy(np.concatenate(found)).to(images.device)


def onnx_recipe(
    path: Path,
    *,
    name: str,
    preset: str | None = None,
    layout: str | None = None,
    size_given: bool = False,
    mean: object = None,
    std: object = None,
) -> Recipe:
    """How to load an ONNX file: what the file says, completed by a preset.

    Parameters
    ----------
    path
        The file.
    name
        The model's name.
    preset
        One of :data:`PRESETS`; by default implied by the names of insightface's files.
    layout
        ``"NCHW"`` or ``"NHWC"``, where the file does not tell.
    size_given
        Whether the caller says the template.
    mean, std
        What the caller says of the normalisation.

    Raises
    ------
    WeightsError
        If the file is damaged or no embedder of images.
    ParameterError
        If what the file does not say is not given.
    """
    session = _session(path, "cpu")
    source = _read_input(session, path, layout)
    itself = _normalises_itself(path)
    if preset is not None:
        check_name("preset", preset, PRESETS)
    if itself and (preset is not None or mean not in (None, 0) or std not in (None, 1)):
        raise ParameterError(
            f"{path} normalises its input itself, so it must get pixels 0..255; leave preset=, "
            f"mean= and std= out"
        )
    if path.stem in _INSIGHTFACE_FILES:
        preset = preset or "insightface"
    about: dict[str, Any] = dict(PRESETS[preset]) if preset else {}
    if itself:
        about |= {"mean": 0.0, "std": 1.0}
    elif not preset and (mean is None or std is None):
        raise ParameterError(
            f"{unknown_normalisation(path)}, or preset=insightface for 127.5 and 127.5"
        )
    if not size_given:
        about["template"] = _template_of(source.size, path)
    spec = ModelSpec(name=name, weights=f"file {path.name}", **about)
    return Recipe(
        spec,
        _build,
        find=lambda: path,
        options=("layout", "output", "preset"),
        auto_device=_auto_device,
        is_file=True,
        files_of=_files_of,
        takes_size=True,
    )


def _build(
    weights: Path,
    *,
    device: str,
    size: tuple[int, int],
    layout: str | None = None,
    output: str | None = None,
) -> _OnnxNetwork:
    session = _session(weights, device)
    source = _read_input(session, weights, layout)
    if source.size not in (None, size):
        raise WeightsError(
            f"{weights} takes images of {source.size}, the template gives {size}; give another "
            f"template="
        )
    return _OnnxNetwork(session, source, _choose_output(session, weights, output))


def _build_pack(weights: Path, *, device: str, size: tuple[int, int]) -> _OnnxNetwork:
    """Build a recognition network of insightface, whose input is normalised outside of it."""
    if _normalises_itself(weights):
        raise WeightsError(
            f"{weights} normalises its input itself, unlike insightface's files; give its path as "
            f"the model"
        )
    return _build(weights, device=device, size=size)


def _files_of(path: Path) -> list[Path]:
    """The file, and those beside it that hold its larger tensors."""
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    names = {
        entry.value
        for tensor in graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return [path, *(path.parent / name for name in sorted(names))]


def _auto_device() -> str:
    """CUDA where there is a device and a runtime that uses it; else the CPU."""
    return "cuda" if torch.cuda.is_available() and _runs_on_cuda() else "cpu"


def _runs_on_cuda() -> bool:
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def _session(path: Path, device: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise WeightsNotFoundError(
            f"{path} is run by onnxruntime, which is not installed: pip install 'freqlab[onnx]'"
        ) from error
    providers = ["CPUExecutionProvider"]
    if device.startswith("cuda"):
        if not _runs_on_cuda():
            raise ParameterError(
                f"device {device!r}: this onnxruntime runs on the CPU only; use device='cpu', or "
                f"install onnxruntime-gpu in its place"
            )
        index = int(device.partition(":")[2] or 0)
        # without rounding to TF32, as everywhere else
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": index, "use_tf32": 0}))  # type: ignore[arg-type]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: warnings of the optimiser are not for users
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # its faults have no public class
        reason = str(error).splitlines()[0]
        raise WeightsError(f"{path} is damaged, or no ONNX file: {reason}") from error


def _read_input(session: Any, path: Path, layout: str | None) -> _Input:
    if layout is not None:
        check_name("layout", layout, ["NCHW", "NHWC"])
    images = [given for given in session.get_inputs() if len(given.shape) == 4]
    if len(images) != 1 or len(session.get_inputs()) != 1:
        shapes = ", ".join(f"{given.name} {given.shape}" for given in session.get_inputs())
        raise WeightsError(f"{path} is no embedder of images: its inputs are {shapes}")
    shape = images[0].shape
    fixed = [length if isinstance(length, int) and length > 0 else None for length in shape]
    if layout is None:
        if (fixed[1] == 3) == (fixed[3] == 3):
            raise ParameterError(
                f"{path} takes images {shape}, which does not say where the channels are; give "
                f"layout='NCHW' or 'NHWC'"
            )
        layout = "NCHW" if fixed[1] == 3 else "NHWC"
    if images[0].type not in ("tensor(float)",):
        raise WeightsError(f"{path} takes {images[0].type}; only tensor(float) is supported")
    height, width = fixed[2:] if layout == "NCHW" else fixed[1:3]
    size = (height, width) if height and width else None
    return _Input(images[0].name, layout, size, fixed[0])


def _choose_output(session: Any, path: Path, output: str | None) -> str:
    outputs = session.get_outputs()
    if output is not None:
        return check_name("output", output, [given.name for given in outputs])
    embeddings = [given.name for given in outputs if len(given.shape) == 2]
    if len(embeddings) != 1:
        shapes = ", ".join(f"{given.name} {given.shape}" for given in outputs)
        what = "no output (n, feature)" if not embeddings else "several outputs (n, feature)"
        raise WeightsError(f"{path} has {what}: {shapes}; name one with output=")
    return str(embeddings[0])


def _template_of(size: tuple[int, int] | None, path: Path) -> str:
    if size in (None, (112, 112)):
        return "arcface"
    if size == (112, 96):
        return "112x96"
    if size is not None and size[0] == size[1]:
        return f"arcface-{size[0]}"
    raise ParameterError(f"{path} takes images of {size}; give template=, of that size")


def _normalises_itself(path: Path) -> bool:
    """Whether the graph begins with arithmetic on its input, as exports of MXNet do."""
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    stored = {tensor.name for tensor in graph.initializer}
    names = {given.name for given in graph.input if given.name not in stored}
    for node in graph.node[:8]:
        if not names & set(node.input):
            continue
        if node.op_type in _CENTRING:
            return True
        if node.op_type not in _NEUTRAL:
            return False
        names |= set(node.output)
    return False


def _find_pack(pack: str, file: str) -> Path | None:
    home = os.path.expanduser("~")  # also where there is none: Path.home() would raise then
    path = Path(home, ".insightface", "models", pack, file)
    return path if path.is_file() else None


RECIPES = tuple(
    Recipe(
        ModelSpec(
            name=pack,
            weights=f"insightface, {pack}/{file}",
            features=512,
            licence="non-commercial research",
            citation="Deng et al. 2019, arXiv 1801.07698; insightface",
            **PRESETS["insightface"],
        ),
        _build_pack,
        find=functools.partial(_find_pack, pack, file),
        takes_size=True,
        auto_device=_auto_device,
        how_to_get=f"checkpoint={file}, or put it into ~/.insightface/models/{pack}",
    )
    for pack, file in _INSIGHTFACE_PACKS.items()
)

"""ONNX files as face models, run by onnxruntime.

Layout and size are read from the file's input. Whether the graph normalises its input itself is
determined from its first operations. If it does not, mean and standard deviation are given by the
caller or by the preset ``insightface`` (RGB, (pixel - 127.5) / 127.5), which the file names of
that project imply.
"""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from freqlab.errors import (
    ModelError,
    ParameterError,
    WeightsError,
    WeightsNotFoundError,
    check_name,
)
from freqlab.models.notes import note, note_head
from freqlab.models.onnx_graphs import (
    check_graph,
    external_files,
    has_loop,
    normalises_itself,
    read_graph,
    take_in,
)
from freqlab.models.recipes import Recipe, template_of_size, unknown_normalisation
from freqlab.models.spec import ModelSpec
from freqlab.models.stopping import stoppable

__all__ = ["PRESETS", "RECIPES", "onnx_recipe"]

PRESETS: dict[str, dict[str, Any]] = {
    "insightface": {"template": "arcface", "channels": "RGB", "mean": 127.5, "std": 127.5}
}
"""Preprocessing by name."""

# Recognition networks that insightface publishes, by file name.
_INSIGHTFACE_FILES = ("w600k_r50", "w600k_mbf", "glintr100", "r100", "ms1mv3_r50", "webface_r50")
_INSIGHTFACE_PACKS = {
    "buffalo_l": "w600k_r50.onnx",
    "buffalo_m": "w600k_r50.onnx",
    "buffalo_s": "w600k_mbf.onnx",
    "buffalo_sc": "w600k_mbf.onnx",
    "antelopev2": "glintr100.onnx",
}
_DEFAULT_MEMORY = 16 << 30  # bytes, where the machine's memory is unknown
_TOO_LARGE = "Available memory of"  # from the runtime's message
# Names of the outputs of classifiers.
_SCORES = re.compile(r"logits?|prob(s|abilit(y|ies))?|softmax|scores?|class(es)?", re.IGNORECASE)


class _Input(NamedTuple):
    name: str
    layout: str
    size: tuple[int, int] | None
    batch: int | None


class _OnnxNetwork:
    """Runs a session on tensors, in batches of the size that the file fixes, if any."""

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
        parts = []
        for start in range(0, n_images, batch):
            part = array[start : start + batch]
            missing = batch - len(part)
            if missing:
                part = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)])
            features = np.asarray(self._run(part), np.float32)
            if len(features) != batch:
                raise ModelError(f"the file returned {len(features)} embeddings for {batch} crops")
            parts.append(features[: batch - missing])
        return torch.from_numpy(np.concatenate(parts)).to(images.device)

    def _run(self, part: npt.NDArray[np.float32]) -> Any:
        """Run the session once, stoppable by Ctrl-C: a graph may hold an endless loop."""
        import onnxruntime

        options = onnxruntime.RunOptions()
        options.log_severity_level = 4  # failures are raised

        def end() -> None:
            options.terminate = True

        try:
            return stoppable(
                lambda: self._session.run([self._output], {self._input.name: part}, options), end
            )[0]
        except Exception as error:  # the runtime's errors have no public class
            if _TOO_LARGE not in str(error):
                raise
            raise MemoryError(
                f"the network asks for more memory than the {_memory_limit() / 2**30:.0f} GiB it "
                f"may have"
            ) from error


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
    """Make the recipe of an ONNX file: what the file declares, completed by a preset.

    Parameters
    ----------
    path
        The file.
    name
        The model's name.
    preset
        One of :data:`PRESETS`; by default implied by the names of insightface's files.
    layout
        ``"NCHW"`` or ``"NHWC"``, where the file does not declare it.
    size_given
        Whether the caller gives the template.
    mean, std
        The caller's values for the normalisation.

    Raises
    ------
    WeightsError
        If the file is damaged or not an embedder of images.
    ParameterError
        If neither the file nor the caller gives a necessary value.
    """
    graph = read_graph(path)
    session = _session(path, "cpu", graph)
    source = _read_input(session, path, layout)
    itself = normalises_itself(graph)
    if preset is not None:
        check_name("preset", preset, PRESETS)
    is_given = preset is not None or mean is not None or std is not None
    if path.stem in _INSIGHTFACE_FILES and not itself:
        preset = preset or "insightface"
    about: dict[str, Any] = dict(PRESETS[preset]) if preset else {}
    if itself and not preset:
        about |= {"mean": 0.0, "std": 1.0}
    if itself and is_given:
        applied = {"mean": mean, "std": std}
        applied = {key: about[key] if value is None else value for key, value in applied.items()}
        shown = [f"{v:g}" if isinstance(v, (int, float)) else f"{v}" for v in applied.values()]
        if shown != ["0", "1"]:
            note(
                f"{path.name} begins with arithmetic on its input and so may normalise pixels "
                f"0..255 itself; it nevertheless gets (pixel - {shown[0]}) / {shown[1]}, as "
                f"specified"
            )
    elif not itself and not preset and (mean is None or std is None):
        raise ParameterError(
            f"{unknown_normalisation(path)}, or preset=insightface for 127.5 and 127.5"
        )
    if not size_given:
        about["template"] = template_of_size(source.size, path)
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
    graph = read_graph(weights)
    session = _session(weights, device, graph)
    source = _read_input(session, weights, layout)
    if source.size not in (None, size):
        raise WeightsError(
            f"{weights} takes images of {source.size}, but crops of the template are {size}; give "
            f"another template="
        )
    chosen = _choose_output(session, weights, output)
    makers = {name: node.op_type for node in graph.graph.node for name in node.output}
    last = makers.get(chosen, "")
    if last in ("Softmax", "LogSoftmax") or _SCORES.fullmatch(chosen):
        why = f"the output of a {last}" if "Softmax" in last else "by its name"
        note_head(f"output {chosen!r} of {weights.name} holds a classifier's scores ({why})")
    return _OnnxNetwork(session, source, chosen)


def _build_pack(weights: Path, *, device: str, size: tuple[int, int]) -> _OnnxNetwork:
    """Build a recognition network of insightface, whose input is normalised outside it."""
    if normalises_itself(read_graph(weights)):
        raise WeightsError(
            f"{weights} normalises its input itself, unlike insightface's files; give its path as "
            f"the model"
        )
    return _build(weights, device=device, size=size)


def _files_of(path: Path) -> list[Path]:
    """The file, and the external files with its tensors."""
    return [path, *external_files(read_graph(path), path)]


def _auto_device() -> str:
    """CUDA if there is a device and a runtime that uses it; else the CPU."""
    return "cuda" if torch.cuda.is_available() and _runs_on_cuda() else "cpu"


def _runs_on_cuda() -> bool:
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


@functools.cache
def _memory_limit() -> int:
    """Bytes that networks from files may use on the CPU: half of the machine's memory."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return _DEFAULT_MEMORY


@functools.cache
def _has_bounded_memory() -> bool:
    """Give the runtime bounded memory, shared by all sessions of this process."""
    import onnxruntime

    try:
        kind = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
        where = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, onnxruntime.OrtMemType.DEFAULT)
        arena = onnxruntime.OrtArenaCfg(_memory_limit(), -1, -1, -1)
        onnxruntime.create_and_register_allocator(where, arena)
    except Exception:  # other code in this process has already done so
        return False
    return True


def _session(path: Path, device: str, graph: Any) -> Any:
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
    if _has_bounded_memory():
        options.add_session_config_entry("session.use_env_allocators", "1")
    if has_loop(graph):  # optimisation may leave a loop without any node that could be stopped
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    check_graph(graph, path)
    source: str | bytes = str(path)
    if external_files(graph, path) and take_in(graph, path):
        source = graph.SerializeToString()
    try:
        return onnxruntime.InferenceSession(source, options, providers=providers)
    except Exception as error:  # the runtime's errors have no public class
        reason = str(error).splitlines()[0]
        raise WeightsError(f"{path} is damaged, or no ONNX file: {reason}") from error


def _read_input(session: Any, path: Path, layout: str | None) -> _Input:
    if layout is not None:
        check_name("layout", layout, ["NCHW", "NHWC"])
    images = [given for given in session.get_inputs() if len(given.shape) == 4]
    if len(images) != 1 or len(session.get_inputs()) != 1:
        shapes = ", ".join(f"{given.name} {given.shape}" for given in session.get_inputs())
        raise WeightsError(f"{path} does not embed images: its inputs are {shapes}")
    shape = images[0].shape
    fixed = [length if isinstance(length, int) and length > 0 else None for length in shape]
    if layout is None:
        if (fixed[1] == 3) == (fixed[3] == 3):
            raise ParameterError(
                f"{path} takes images {shape}, in which the axis of the channels is ambiguous; "
                f"give layout='NCHW' or 'NHWC'"
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


def _find_pack(pack: str, file: str) -> Path | None:
    home = os.path.expanduser("~")  # also without a home, where Path.home() would raise
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

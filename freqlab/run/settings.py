"""Options of a computation, passed unchanged from a call to every block."""

from __future__ import annotations

from dataclasses import dataclass

from freqlab.errors import ParameterError, check_name, check_number
from freqlab.images.alignment import WHICH_FACE
from freqlab.literals import Compile, Precision, WhichFace
from freqlab.models.devices import resolve_device
from freqlab.models.precision import PRECISIONS

__all__ = ["Settings"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Options of :func:`freqlab.influence` that determine how to compute, not what.

    Parameters
    ----------
    device
        Where models and the face detector run, as given to the call; with ``"auto"`` each process
        uses the device that it finds.
    batch_size
        Images per forward pass; None for the default of a model's device.
    keep_crops
        Whether crops are stored; None for as in the existing store, and True in a new one.
    upscale
        Whether aligned faces may be enlarged for a model with a larger template.
    which_face
        Which of several faces in a photograph is used, one of
        :data:`freqlab.images.alignment.WHICH_FACE`.
    precision
        Precision of the networks, one of :data:`freqlab.models.precision.PRECISIONS`.
    compile
        Whether networks are compiled: ``True``, ``False``, ``"auto"`` if the expected work is
        long enough, or ``"once"``, like ``"auto"`` but not kept for later runs.
    progress
        Whether progress bars and messages are shown.

    Raises
    ------
    ParameterError
        If an option has a value that is not allowed.
    """

    device: str = "auto"
    batch_size: int | None = None
    keep_crops: bool | None = None
    upscale: bool = False
    which_face: WhichFace = "largest"
    precision: Precision = "float32"
    compile: Compile = "auto"
    progress: bool = True

    def __post_init__(self) -> None:
        check_name("precision", self.precision, PRECISIONS)
        if self.batch_size is not None:
            check_number("batch_size", self.batch_size, at_least=1, whole=True)
        if not isinstance(self.compile, bool) and self.compile not in ("auto", "once"):
            raise ParameterError(f"compile={self.compile!r} must be True, False, 'auto' or 'once'")
        check_name("which_face", self.which_face, WHICH_FACE)
        resolve_device(self.device)

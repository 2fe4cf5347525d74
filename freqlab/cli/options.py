"""Options of the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from freqlab.literals import Precision, WhichFace

__all__ = [
    "AlignedOption",
    "BandsOption",
    "BatchOption",
    "CalibrateOption",
    "ClusterOption",
    "ColumnsOption",
    "CompileOption",
    "CropsOption",
    "DeviceOption",
    "DryRunOption",
    "FacesOption",
    "FmrsOption",
    "FoldOption",
    "FormatOption",
    "ImpostorsOption",
    "LandmarksOption",
    "MissingOption",
    "ModelsOption",
    "NameOption",
    "OutsideOption",
    "PairsOption",
    "PrecisionOption",
    "RefineOption",
    "RepairOption",
    "RepeatedOption",
    "RootOption",
    "SampleOption",
    "SeedOption",
    "SidesOption",
    "StrictOption",
    "UpscaleOption",
    "WhichFaceOption",
    "WorkersOption",
]

FacesOption = Annotated[
    str,
    typer.Option(
        "--faces",
        help="Face set: a known name, a folder of subject/image (FOLDER,layout=group/subject/image "
        "for others), or a CSV table (FILE,subject=COLUMN for other columns).",
    ),
]
RootOption = Annotated[
    str | None, typer.Option("--root", help="Folder of a face set known by name.")
]
AlignedOption = Annotated[
    str | None, typer.Option("--aligned", help="Template to which the images are already aligned.")
]
OutsideOption = Annotated[
    bool,
    typer.Option(
        "--outside", help="Allow a CSV file to refer to images outside its folder (or --root)."
    ),
]
ModelsOption = Annotated[
    list[str],
    typer.Option(
        "--model",
        help="Model name or path, with options: elasticface,checkpoint=FILE. Repeatable.",
    ),
]
BandsOption = Annotated[
    str,
    typer.Option(
        help="Bands: rings:WIDTH[:UNIT], octaves[:LOW:HIGH[:PER_OCTAVE]], sectors:N, "
        "polar:WIDTHxN, custom:FILE.npy, wavelets[:NAME[:LEVEL]] or channels[:BANDS]; with "
        ":mirror at the end, Fourier bands of the mirrored crop."
    ),
]
SidesOption = Annotated[
    list[str] | None,
    typer.Option(help="Masked image: probe, reference or both; all by default. Repeatable."),
]
ImpostorsOption = Annotated[float, typer.Option(help="Impostor pairs per genuine pair.")]
SampleOption = Annotated[
    int | None, typer.Option(help="Number of pairs to sample; all by default.")
]
SeedOption = Annotated[int, typer.Option(help="Seed of the random draws.")]
DeviceOption = Annotated[str, typer.Option(help="Device: auto, cpu or cuda.")]
BatchOption = Annotated[int | None, typer.Option(help="Number of images per forward pass.")]
CropsOption = Annotated[bool | None, typer.Option(help="Whether to store the aligned crops.")]
UpscaleOption = Annotated[
    bool,
    typer.Option("--upscale", help="Allow aligned faces to be enlarged for larger templates."),
]
WhichFaceOption = Annotated[
    WhichFace,
    typer.Option(
        "--which-face",
        help="Face to use if a photograph has several: largest, central, or only (none).",
    ),
]
PrecisionOption = Annotated[
    Precision, typer.Option(help="Floating-point precision of the networks.")
]
CompileOption = Annotated[
    Literal["auto", "yes", "no", "once"],
    typer.Option(
        help="Compile networks: auto (if faster), yes, no, or once (as auto, not cached)."
    ),
]
LandmarksOption = Annotated[
    Path | None, typer.Option(help="CSV table of landmarks to use instead of detection.")
]
PairsOption = Annotated[
    Path | None,
    typer.Option("--pairs", help="File that lists the pairs, such as pairs.txt of LFW."),
]
FmrsOption = Annotated[
    list[float] | None,
    typer.Option("--fmr", help="Further false match rate of a threshold. Repeatable."),
]
FormatOption = Annotated[
    str, typer.Option("--format", help="Format of --pairs, if it is not detected.")
]
ColumnsOption = Annotated[
    str | None,
    typer.Option("--columns", help="Columns of --pairs: probe=NAME,reference=NAME,genuine=NAME."),
]
FoldOption = Annotated[
    list[int] | None, typer.Option("--fold", help="Fold of --pairs to use. Repeatable.")
]
MissingOption = Annotated[
    str,
    typer.Option("--missing", help="Action for listed pairs with missing faces: raise or drop."),
]
RepeatedOption = Annotated[
    str, typer.Option("--repeated", help="Action for pairs listed twice: raise or drop.")
]
StrictOption = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Reject a list with pairs of a face with itself or labels that contradict the "
        "subjects; by default such pairs are dropped.",
    ),
]
NameOption = Annotated[str | None, typer.Option(help="Name of the result in the store.")]
RefineOption = Annotated[
    float | None,
    typer.Option(
        help="Tolerance of refinement: split a group of four bands only if its influence on a pair "
        "exceeds the tolerance."
    ),
]
ClusterOption = Annotated[
    str | None,
    typer.Option(help="Dask cluster: scheduler address or file, local, or local:WORKERS."),
]
RepairOption = Annotated[
    bool, typer.Option("--repair", help="Restore or recompute damaged parts of the store.")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="With --repair: list the repairs without doing them.")
]
WorkersOption = Annotated[
    int | None, typer.Option(help="Number of workers; by default those of one process.")
]
CalibrateOption = Annotated[
    float, typer.Option(help="Seconds to time the forward passes of each model; 0 for no timing.")
]

"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from freqlab.literals import Precision, WhichFace

__all__ = [
    "AlignedOption",
    "BandsOption",
    "BatchOption",
    "ColumnsOption",
    "CompileOption",
    "CropsOption",
    "DeviceOption",
    "FacesOption",
    "FoldOption",
    "FormatOption",
    "ImpostorsOption",
    "LandmarksOption",
    "MissingOption",
    "ModelsOption",
    "OutsideOption",
    "PairsOption",
    "PrecisionOption",
    "RepeatedOption",
    "RootOption",
    "SampleOption",
    "SeedOption",
    "SidesOption",
    "StrictOption",
    "UpscaleOption",
    "WhichFaceOption",
]
FacesOption = Annotated[
    str,
    typer.Option(
        "--faces", help="Face set: a known name, a folder of subject/image, or a CSV table."
    ),
]
RootOption = Annotated[
    str | None, typer.Option("--root", help="Folder of a face set that is known by name.")
]
AlignedOption = Annotated[
    str | None, typer.Option("--aligned", help="Template that the images are already aligned to.")
]
OutsideOption = Annotated[
    bool,
    typer.Option("--outside", help="Let a CSV file name images outside its folder (or --root)."),
]
ModelsOption = Annotated[
    list[str],
    typer.Option(
        "--model",
        help="Model name or path, options after a comma: elasticface,checkpoint=FILE. Repeatable.",
    ),
]
BandsOption = Annotated[str, typer.Option(help="Frequency bands: rings:WIDTH or rings:WIDTH:UNIT.")]
SidesOption = Annotated[
    list[str] | None, typer.Option(help="Image of the pair to mask; all by default. Repeatable.")
]
ImpostorsOption = Annotated[float, typer.Option(help="Impostor pairs per genuine pair.")]
SampleOption = Annotated[int | None, typer.Option(help="Number of pairs to sample.")]
SeedOption = Annotated[int, typer.Option(help="Seed of the random draws.")]
DeviceOption = Annotated[str, typer.Option(help="Device: auto, cpu or cuda.")]
BatchOption = Annotated[int | None, typer.Option(help="Images per forward pass.")]
CropsOption = Annotated[bool | None, typer.Option(help="Store the aligned crops.")]
UpscaleOption = Annotated[
    bool,
    typer.Option("--upscale", help="Let aligned faces be enlarged for larger templates."),
]
WhichFaceOption = Annotated[
    WhichFace,
    typer.Option("--which-face", help="Of several in a photograph: largest, central or only."),
]
PrecisionOption = Annotated[Precision, typer.Option(help="In which networks compute.")]
CompileOption = Annotated[
    Literal["auto", "yes", "no", "once"],
    typer.Option(help="Compile networks: auto (if it pays off), yes, no, once (auto, not cached)."),
]
LandmarksOption = Annotated[
    Path | None, typer.Option(help="CSV table of landmarks, used instead of detection.")
]
PairsOption = Annotated[
    Path | None, typer.Option("--pairs", help="List of pairs, such as pairs.txt of LFW.")
]
FormatOption = Annotated[
    str, typer.Option("--format", help="Format of --pairs, if it is not recognised.")
]
ColumnsOption = Annotated[
    str | None,
    typer.Option("--columns", help="Columns of --pairs: probe=NAME,reference=NAME,genuine=NAME."),
]
FoldOption = Annotated[
    list[int] | None, typer.Option("--fold", help="Fold of --pairs to read. Repeatable.")
]
MissingOption = Annotated[
    str, typer.Option("--missing", help="Listed pairs whose faces are missing: raise or drop.")
]
RepeatedOption = Annotated[
    str, typer.Option("--repeated", help="Pairs that are listed twice: raise or drop.")
]
StrictOption = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Reject a list that pairs a face with itself or contradicts the subjects, instead of "
        "leaving such pairs out.",
    ),
]

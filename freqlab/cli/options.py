"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

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
    str, typer.Option("--faces", help="Face set: a name, a folder of subject/image, or a table.")
]
RootOption = Annotated[
    str | None, typer.Option("--root", help="Where the set lies, if its name does not say.")
]
AlignedOption = Annotated[
    str | None, typer.Option("--aligned", help="Template the images are aligned to already.")
]
OutsideOption = Annotated[
    bool, typer.Option("--outside", help="A CSV may name images outside its folder (or --root).")
]
ModelsOption = Annotated[
    list[str],
    typer.Option(
        "--model",
        help="Name or path, options behind it: elasticface,checkpoint=FILE. May be repeated.",
    ),
]
BandsOption = Annotated[str, typer.Option(help="rings:WIDTH or rings:WIDTH:UNIT.")]
SidesOption = Annotated[list[str] | None, typer.Option(help="Side to mask; all by default.")]
ImpostorsOption = Annotated[float, typer.Option(help="Impostor pairs per genuine.")]
SampleOption = Annotated[int | None, typer.Option(help="A sample of so many pairs.")]
SeedOption = Annotated[int, typer.Option(help="Of the random draws.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
BatchOption = Annotated[int | None, typer.Option(help="Images per forward pass.")]
CropsOption = Annotated[bool | None, typer.Option(help="Store the aligned crops.")]
UpscaleOption = Annotated[
    bool, typer.Option("--upscale", help="Enlarge aligned faces where a model needs it.")
]
WhichFaceOption = Annotated[
    str, typer.Option("--which-face", help="Of several in a photograph: largest, central or only.")
]
PrecisionOption = Annotated[str, typer.Option(help="float32, bfloat16 or auto.")]
CompileOption = Annotated[
    Literal["auto", "yes", "no", "once"],
    typer.Option(help="Compile networks: if it pays; at once; never; like auto, kept nowhere."),
]
LandmarksOption = Annotated[
    Path | None, typer.Option(help="Table of landmarks to use instead of detecting.")
]
PairsOption = Annotated[
    Path | None, typer.Option("--pairs", help="List of pairs, such as pairs.txt of LFW.")
]
FormatOption = Annotated[
    str, typer.Option("--format", help="Format of --pairs, if it cannot be told by its look.")
]
ColumnsOption = Annotated[
    str | None,
    typer.Option("--columns", help="Columns of --pairs: probe=NAME,reference=NAME,genuine=NAME."),
]
FoldOption = Annotated[
    list[int] | None, typer.Option("--fold", help="Fold of --pairs to read; may be repeated.")
]
MissingOption = Annotated[
    str, typer.Option("--missing", help="Pairs of --pairs without their faces: raise or drop.")
]
RepeatedOption = Annotated[
    str, typer.Option("--repeated", help="Pairs of --pairs that are listed again: raise or drop.")
]
StrictOption = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Refuse --pairs with a face paired with itself or a label against its subjects, "
        "instead of leaving these out.",
    ),
]

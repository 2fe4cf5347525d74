"""Commands that compute: run, plan, landmarks."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from freqlab.cli.application import app
from freqlab.cli.options import (
    AlignedOption,
    BandsOption,
    BatchOption,
    ColumnsOption,
    CompileOption,
    CropsOption,
    DeviceOption,
    FacesOption,
    FoldOption,
    FormatOption,
    ImpostorsOption,
    LandmarksOption,
    MissingOption,
    ModelsOption,
    OutsideOption,
    PairsOption,
    PrecisionOption,
    RepeatedOption,
    RootOption,
    SampleOption,
    SeedOption,
    SidesOption,
    StrictOption,
    UpscaleOption,
    WhichFaceOption,
)
from freqlab.cli.output import say, stoppable
from freqlab.errors import LeftOutWarning, ParameterError
from freqlab.literals import Compile, Side

_COMPILE: dict[str, Compile] = {"yes": True, "no": False, "auto": "auto", "once": "once"}


@app.command()
def run(
    faces: FacesOption,
    model: ModelsOption,
    store: Annotated[str, typer.Option("--store", help="Zarr group of the run.")],
    root: RootOption = None,
    aligned: AlignedOption = None,
    bands: BandsOption = "rings:4",
    side: SidesOption = None,
    impostors_per_genuine: ImpostorsOption = 1,
    n_pairs: SampleOption = None,
    seed: SeedOption = 0,
    name: Annotated[str | None, typer.Option(help="Name of the result in the store.")] = None,
    device: DeviceOption = "auto",
    batch_size: BatchOption = None,
    keep_crops: CropsOption = None,
    upscale: UpscaleOption = False,
    which_face: WhichFaceOption = "largest",
    precision: PrecisionOption = "float32",
    compile: CompileOption = "auto",
    refine: Annotated[
        float | None,
        typer.Option(help="Tolerance: split a broad band only where it moves a pair by more."),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(help="Dask cluster: address or file of a scheduler, local, or local:WORKERS."),
    ] = None,
    landmarks: LandmarksOption = None,
    pairs: PairsOption = None,
    format: FormatOption = "auto",
    columns: ColumnsOption = None,
    fold: FoldOption = None,
    missing: MissingOption = "raise",
    repeated: RepeatedOption = "raise",
    strict: StrictOption = False,
    outside: OutsideOption = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Recompute what is damaged in the store.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --repair: only list what would be done.")
    ] = False,
) -> None:
    """Compute the influence of bands on pairs of faces, into a store."""
    import freqlab as fl

    face_set = load(faces, root=root, aligned=aligned, landmarks=landmarks, outside=outside)
    if dry_run:
        _say_repair(store, face_set, repair)
        return
    how = _how_listed(format, columns, fold, missing, repeated, strict)
    table = _pairs(face_set, pairs, how, n_pairs, impostors_per_genuine, seed)
    with stoppable():
        fl.influence(
            face_set,
            table,
            models=model,
            bands=bands,
            sides=cast(list[Side], side) if side else fl.engine.SIDES,
            store=store,
            name=name,
            device=device,
            batch_size=batch_size,
            keep_crops=keep_crops,
            upscale=upscale,
            which_face=which_face,
            precision=precision,
            compile=_COMPILE[compile],
            refine=refine,
            repair=repair,
            cluster=cluster,
        )


@app.command()
def plan(
    faces: FacesOption,
    model: ModelsOption,
    store: Annotated[
        str | None, typer.Option("--store", help="Existing run, whose contents count as done.")
    ] = None,
    root: RootOption = None,
    aligned: AlignedOption = None,
    bands: BandsOption = "rings:4",
    side: SidesOption = None,
    impostors_per_genuine: ImpostorsOption = 1,
    n_pairs: SampleOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    batch_size: BatchOption = None,
    keep_crops: CropsOption = None,
    upscale: UpscaleOption = False,
    which_face: WhichFaceOption = "largest",
    precision: PrecisionOption = "float32",
    workers: Annotated[
        int | None,
        typer.Option(help="Number of workers; by default those of one process."),
    ] = None,
    calibrate: Annotated[
        float, typer.Option(help="Seconds to time forward passes, per model; 0 for none.")
    ] = 1,
    landmarks: LandmarksOption = None,
    pairs: PairsOption = None,
    format: FormatOption = "auto",
    columns: ColumnsOption = None,
    fold: FoldOption = None,
    missing: MissingOption = "raise",
    repeated: RepeatedOption = "raise",
    strict: StrictOption = False,
    outside: OutsideOption = False,
) -> None:
    """Estimate what `run` with these options would compute, store and take; write nothing."""
    import freqlab as fl

    face_set = load(faces, root=root, aligned=aligned, landmarks=landmarks, outside=outside)
    how = _how_listed(format, columns, fold, missing, repeated, strict)
    planned = fl.plan(
        face_set,
        _pairs(face_set, pairs, how, n_pairs, impostors_per_genuine, seed),
        models=model,
        bands=bands,
        sides=cast(list[Side], side) if side else fl.engine.SIDES,
        store=store,
        device=device,
        batch_size=batch_size,
        keep_crops=keep_crops,
        upscale=upscale,
        which_face=which_face,
        precision=precision,
        workers=workers,
        calibrate=calibrate,
    )
    say(str(planned))


@app.command()
def landmarks(
    out: Annotated[Path, typer.Option("--out", help="CSV file to write.")],
    faces: FacesOption,
    root: RootOption = None,
    outside: OutsideOption = False,
    which_face: WhichFaceOption = "largest",
    device: DeviceOption = "auto",
) -> None:
    """Detect the five points of every face and write them as a table."""
    from freqlab.faces.table import find_landmarks, landmark_table
    from freqlab.models.devices import resolve_device
    from freqlab.system.private import written_whole
    from freqlab.text.csv import csv_of

    if not out.absolute().parent.is_dir():
        raise ParameterError(f"--out {str(out)!r}: there is no folder {str(out.parent)!r}")
    face_set = load(faces, root=root, outside=outside)
    found = find_landmarks(face_set, which_face=which_face, device=resolve_device(device))
    table = landmark_table(face_set.names, found)
    with written_whole(out) as file:
        file.write(csv_of(table, float_format="%.2f").encode())
    missing = int(table.isna().any(axis=1).sum())
    say(f"{out}: {len(table)} faces, {missing} without a face found")


def load(source: str, **options: Any) -> Any:
    """Load a face set, and say what was left out of it."""
    import freqlab as fl

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeftOutWarning)  # its notes say the same
        faces = fl.load_faces(source, **options)
    for note in faces.notes:
        say(f"{faces.name}: {note}", err=True)
    return faces


def _how_listed(
    format: str,
    columns: str | None,
    fold: list[int] | None,
    missing: str,
    repeated: str,
    strict: bool,
) -> dict[str, Any]:
    """Options of ``fl.read_pairs`` that differ from its defaults."""
    given: dict[str, tuple[Any, Any]] = {
        "format": (format, "auto"),
        "columns": (columns, None),
        "fold": (fold or None, None),
        "missing": (missing, "raise"),
        "repeated": (repeated, "raise"),
        "strict": (strict, False),
    }
    return {key: value for key, (value, default) in given.items() if value != default}


def _say_repair(store: str, faces: Any, repair: bool) -> None:
    """Say what --repair would do."""
    from freqlab.store.integrity import survey
    from freqlab.store.repair import plan_repair

    if not repair:
        raise ParameterError(
            "--dry-run needs --repair; `freqlab plan` estimates what a run computes"
        )
    steps = plan_repair(store, survey(store), faces)
    for step in steps:
        say(str(step))
    say(f"{store}: {len(steps):,} damages; nothing was written")


def _pairs(
    faces: Any,
    listed: Path | None,
    how: dict[str, Any],
    n_pairs: int | None,
    impostors_per_genuine: float,
    seed: int,
) -> Any:
    """The pairs of a list, or made of the faces."""
    import freqlab as fl

    if listed is not None and (n_pairs is not None or impostors_per_genuine != 1):
        raise ParameterError(
            "--pairs already lists the pairs; leave out --n-pairs and --impostors-per-genuine"
        )
    if listed is not None:
        return fl.read_pairs(listed, faces, **how)
    if how:
        raise ParameterError(f"--{next(iter(how))} says how --pairs is read; there is no --pairs")
    return fl.make_pairs(
        faces, impostors_per_genuine=impostors_per_genuine, n_pairs=n_pairs, seed=seed
    )

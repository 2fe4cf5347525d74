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
    CalibrateOption,
    ClusterOption,
    ColumnsOption,
    CompileOption,
    CropsOption,
    DeviceOption,
    DryRunOption,
    FacesOption,
    FmrsOption,
    FoldOption,
    FormatOption,
    ImpostorsOption,
    LandmarksOption,
    MissingOption,
    ModelsOption,
    NameOption,
    OutsideOption,
    PairsOption,
    PrecisionOption,
    RefineOption,
    RepairOption,
    RepeatedOption,
    RootOption,
    SampleOption,
    SeedOption,
    SidesOption,
    StrictOption,
    UpscaleOption,
    WhichFaceOption,
    WorkersOption,
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
    name: NameOption = None,
    fmr: FmrsOption = None,
    device: DeviceOption = "auto",
    batch_size: BatchOption = None,
    keep_crops: CropsOption = None,
    upscale: UpscaleOption = False,
    which_face: WhichFaceOption = "largest",
    precision: PrecisionOption = "float32",
    compile: CompileOption = "auto",
    refine: RefineOption = None,
    cluster: ClusterOption = None,
    landmarks: LandmarksOption = None,
    pairs: PairsOption = None,
    format: FormatOption = "auto",
    columns: ColumnsOption = None,
    fold: FoldOption = None,
    missing: MissingOption = "raise",
    repeated: RepeatedOption = "raise",
    strict: StrictOption = False,
    outside: OutsideOption = False,
    repair: RepairOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Compute the influence of frequency bands on pairs of faces, and store it."""
    import freqlab as fl

    face_set = load(faces, root=root, aligned=aligned, landmarks=landmarks, outside=outside)
    if dry_run:
        return _report_repair(store, face_set, repair)
    list_options = _list_options(format, columns, fold, missing, repeated, strict)
    table = _pairs(face_set, pairs, list_options, n_pairs, impostors_per_genuine, seed)
    with stoppable():
        fl.influence(
            *(face_set, table),
            models=model,
            bands=bands,
            sides=cast(list[Side], side) if side else fl.engine.SIDES,
            store=store,
            name=name,
            fmrs=_rates(fmr),
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
        str | None, typer.Option("--store", help="Existing run, whose contents are not recomputed.")
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
    workers: WorkersOption = None,
    calibrate: CalibrateOption = 1,
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
    """Estimate forward passes, storage and time of `run` with these options; write nothing."""
    import freqlab as fl

    face_set = load(faces, root=root, aligned=aligned, landmarks=landmarks, outside=outside)
    list_options = _list_options(format, columns, fold, missing, repeated, strict)
    planned = fl.plan(
        face_set,
        _pairs(face_set, pairs, list_options, n_pairs, impostors_per_genuine, seed),
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
    """Detect the five landmarks of every face and write them to a CSV table."""
    from freqlab.faces.table import find_landmarks, landmark_table
    from freqlab.models.devices import resolve_device
    from freqlab.system.private import written_whole
    from freqlab.text.csv import csv_of

    if not out.absolute().parent.is_dir():
        raise ParameterError(f"--out {str(out)!r}: there is no folder {str(out.parent)!r}")
    face_set = load(faces, root=root, outside=outside)
    detected = find_landmarks(face_set, which_face=which_face, device=resolve_device(device))
    table = landmark_table(face_set.names, detected)
    with written_whole(out) as file:
        file.write(csv_of(table, float_format="%.2f").encode())
    missing = int(table.isna().any(axis=1).sum())
    say(f"{out}: {len(table)} images, {missing} without a detected face")


def load(source: str, **options: Any) -> Any:
    """Load a face set, and report what was skipped."""
    import freqlab as fl

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeftOutWarning)  # the notes have the same text
        faces = fl.load_faces(source, **options)
    for note in faces.notes:
        say(f"{faces.name}: {note}", err=True)
    return faces


def _rates(further: list[float] | None) -> list[float]:
    """False match rates of results, with those of --fmr."""
    from freqlab.statistics.error_rates import FMRS

    return [*FMRS, *(further or [])]


def _list_options(
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


def _report_repair(store: str, faces: Any, repair: bool) -> None:
    """Report what --repair would do."""
    from freqlab.store.integrity import survey
    from freqlab.store.repair import plan_repair

    if not repair:
        raise ParameterError(
            "--dry-run requires --repair; `freqlab plan` estimates what a run would compute"
        )
    steps = plan_repair(store, survey(store), faces)
    for step in steps:
        say(str(step))
    say(f"{store}: {len(steps):,} damaged parts; nothing was written")


def _pairs(
    faces: Any,
    listed: Path | None,
    list_options: dict[str, Any],
    n_pairs: int | None,
    impostors_per_genuine: float,
    seed: int,
) -> Any:
    """Read the pairs from a list, or make them from the faces."""
    import freqlab as fl

    if listed is not None and (n_pairs is not None or impostors_per_genuine != 1):
        raise ParameterError(
            "--pairs lists the pairs; --n-pairs and --impostors-per-genuine are not allowed with it"
        )
    if listed is not None:
        return fl.read_pairs(listed, faces, **list_options)
    if list_options:
        raise ParameterError(f"--{next(iter(list_options))} applies only together with --pairs")
    return fl.make_pairs(
        faces, impostors_per_genuine=impostors_per_genuine, n_pairs=n_pairs, seed=seed
    )

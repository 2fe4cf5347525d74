"""The command line of freqlab: one function per command."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from freqlab.errors import FreqlabError, LeftOutWarning, ParameterError
from freqlab.text.shown import visible

__all__ = ["app", "main"]

_PIPE_CLOSED = 128 + 13  # as a shell reports SIGPIPE

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Which spatial frequencies decide what a face-recognition model says.",
)

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

# Arguments that errors advise, which are options of the same name here.
_ADVISED = (
    *("root", "aligned", "outside", "landmarks", "upscale", "keep_crops", "faces", "repair"),
    *("pairs", "format", "columns", "fold", "missing", "repeated", "strict", "cluster"),
)


_COMPILE: dict[str, bool | str] = {"yes": True, "no": False}


def _version(wanted: bool) -> None:
    if wanted:
        from freqlab import __version__

        _say(f"freqlab {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def main() -> None:
    """Run the command line; errors of freqlab end it with status 2 and one message.

    Where nobody reads what it writes any more (``freqlab datasets | head -1``) it ends without a
    word, with the status 141 of a program that is ended by such a pipe.
    """
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    shown = warnings.showwarning

    def show(
        message: Warning | str, category: type[Warning], filename: str, *where: Any, **file: Any
    ) -> None:
        if category is UserWarning and Path(filename).is_relative_to(Path(__file__).parent):
            with contextlib.suppress(OSError):
                typer.echo(f"freqlab: {visible(_for_shell(str(message), command))}", err=True)
        else:
            shown(message, category, filename, *where, **file)

    try:
        warnings.showwarning = show
        app()
        status: str | int | None = 0
    except SystemExit as ended:
        status = ended.code
    except FreqlabError as error:
        status = 2
        with contextlib.suppress(OSError):
            _say(f"freqlab: {_for_shell(str(error), command)}", err=True)
    except OSError as error:  # of the output itself; what concerns a file or a store is named so
        if error.errno not in (errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT):
            raise
        status = _unwritten(error)
    finally:
        warnings.showwarning = shown
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _mute()
        status = _PIPE_CLOSED
    except OSError as error:
        status = _unwritten(error)
    sys.exit(status)


def _for_shell(text: str, command: str) -> str:
    """A message whose advice names options of the shell in the place of arguments."""

    def option(match: re.Match[str]) -> str:
        name, value = match["name"], (match["text"] or match["value"] or "")
        if command == "report":
            return f"-p {name}={value.lower() if value in ('True', 'False') else value}"
        flag = "--" + name.replace("_", "-")
        return flag if value in ("", "True") else f"{flag} {value}"

    # not within a call such as fl.influence(..., repair=True)
    name = rf"(?<![\w.(])(?<!\.\.\., )(?P<name>{'|'.join(_ADVISED)})="
    return re.sub(name + r"(?:'(?P<text>[\w=,-]+)'|(?P<value>True|False))?", option, text)


def _unwritten(error: OSError) -> int:
    """Say that the output cannot be written; return the status."""
    _mute()
    with contextlib.suppress(OSError):
        typer.echo(f"freqlab: the output cannot be written: {error.strerror}", err=True)
    return 2


def _say(text: str, *, err: bool = False) -> None:
    """Write a text, in which names from data cannot steer the terminal."""
    try:
        typer.echo(visible(text), err=err)
    except BrokenPipeError:
        _mute()
        raise typer.Exit(_PIPE_CLOSED) from None


def _mute() -> None:
    """Throw away what is still to be written to standard output."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


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
    name: Annotated[str | None, typer.Option(help="Of the result in the store.")] = None,
    device: DeviceOption = "auto",
    batch_size: BatchOption = None,
    keep_crops: CropsOption = None,
    upscale: UpscaleOption = False,
    which_face: WhichFaceOption = "largest",
    precision: PrecisionOption = "float32",
    compile: CompileOption = "auto",
    refine: Annotated[
        float | None,
        typer.Option(help="Compute fine bands only where broad ones move a pair by more."),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(help="Address or file of a dask scheduler, local, or local:WORKERS."),
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
        bool, typer.Option("--repair", help="Compute again what is damaged in the store.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --repair: only say what it would do.")
    ] = False,
) -> None:
    """Compute the influence of bands on pairs of faces, into a store."""
    import freqlab as fl

    face_set = _load(faces, root=root, aligned=aligned, landmarks=landmarks, outside=outside)
    if dry_run:
        _say_repair(store, face_set, repair)
        return
    how = _how_listed(format, columns, fold, missing, repeated, strict)
    table = _pairs(face_set, pairs, how, n_pairs, impostors_per_genuine, seed)
    with _stoppable():
        fl.influence(
            face_set,
            table,
            models=model,
            bands=bands,
            sides=side or fl.engine.SIDES,
            store=store,
            name=name,
            device=device,
            batch_size=batch_size,
            keep_crops=keep_crops,
            upscale=upscale,
            which_face=which_face,
            precision=precision,
            compile=_COMPILE.get(compile, compile),
            refine=refine,
            repair=repair,
            cluster=cluster,
        )


@app.command()
def plan(
    faces: FacesOption,
    model: ModelsOption,
    store: Annotated[
        str | None, typer.Option("--store", help="What is in this run counts as done.")
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
        int | None, typer.Option(help="Workers to plan for; by default those of one process.")
    ] = None,
    calibrate: Annotated[
        float, typer.Option(help="Seconds of forward passes to measure by, per model; 0: none.")
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
    """Say what `run` with these options would compute, store and take; write nothing."""
    import freqlab as fl

    face_set = _load(faces, root=root, aligned=aligned, landmarks=landmarks, outside=outside)
    how = _how_listed(format, columns, fold, missing, repeated, strict)
    planned = fl.plan(
        face_set,
        _pairs(face_set, pairs, how, n_pairs, impostors_per_genuine, seed),
        models=model,
        bands=bands,
        sides=side or fl.engine.SIDES,
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
    _say(str(planned))


@app.command()
def report(
    name: Annotated[str, typer.Argument(help="Report, such as explore.")],
    faces: Annotated[str | None, typer.Option("--faces", help="Face set.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Name or path, options behind it.")
    ] = None,
    store: Annotated[str | None, typer.Option("--store", help="Zarr group of the run.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the reports.")] = Path("reports"),
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", help="Any parameter of the notebook, key=value, as in bands=rings:8."),
    ] = None,
) -> None:
    """Compute what is missing, execute a notebook, and write a page that stands by itself."""
    import freqlab as fl

    given = {"faces": faces, "model": model, "store": store}
    parameters: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    for text in parameter or []:
        key, equals, value = text.partition("=")
        if not equals:
            raise ParameterError(f"-p {text!r}: write key=value")
        parameters[key] = _parse(value)
    with _stoppable():
        page = fl.report(name, out=out, **parameters)
    _say(f"{page}\n{page.parent / 'index.html'}")


@app.command()
def inspect(
    store: Annotated[str, typer.Argument(help="Zarr group of a run.")],
    name: Annotated[str | None, typer.Option(help="Result in it; the newest by default.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="Name or path of a network that is not known by name."),
    ] = None,
    faces: Annotated[
        str | None, typer.Option("--faces", help="Face set, if the run keeps no crops.")
    ] = None,
    root: RootOption = None,
    aligned: AlignedOption = None,
    outside: OutsideOption = False,
    fmr: Annotated[float | None, typer.Option(help="False match rate of the threshold.")] = None,
    port: Annotated[int, typer.Option(help="Where to listen; the next one if it is taken.")] = 8866,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")
    ] = True,
) -> None:
    """Look into single decisions, in a page on this machine that only its address opens."""
    import tempfile

    from freqlab.edits.inspection import Inspection
    from freqlab.results.selection import threshold_of
    from freqlab.system.homes import with_a_home

    with with_a_home():
        from freqlab.inspector.serving import serve, write_notebook

    inspection = Inspection(store, name=name, models=model or ())  # says now what does not fit
    if fmr is not None:
        threshold_of(inspection.result, model=inspection.models[0], fmr=fmr)
    with tempfile.TemporaryDirectory() as folder:
        notebook = Path(folder) / "inspector.ipynb"
        write_notebook(
            notebook,
            folder=Path.cwd(),
            store=store,
            name=name,
            models=model or (),
            faces=None if faces is None else (faces, root, aligned, outside),
            fmr=fmr,
        )
        serve(
            notebook,
            port=port,
            open_browser=browser,
            say=lambda address: _say(f"The inspector is at {address}\nCtrl-C ends it."),
        )


@app.command()
def info(
    store: Annotated[str, typer.Argument(help="Zarr group of a run.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Read all of it and hold it against its checksums.")
    ] = False,
) -> None:
    """Say what a run holds; with --verify whether it is whole, and end with status 1 if not."""
    if not verify:
        from freqlab.store.reading import describe_run

        _say(describe_run(store))
        return
    from freqlab.store.integrity import Damage, check

    found = check(store)
    for row in found.itertuples(index=False):
        _say(str(Damage(*row)))
    unknown = found.attrs["unknown"]
    if unknown:
        named = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        _say(f"no run wrote {len(unknown):,} files, which are left alone: {named}")
    checked = (
        f"{store}: {found.attrs['chunks']:,} chunks read, {len(found):,} damages; thresholds of "
        f"{found.attrs['thresholds']:,} results and a sample of the influence of "
        f"{found.attrs['influence']:,} computed again"
    )
    if found.attrs["not_covered"]:
        checked += (
            f"; {found.attrs['not_covered']:,} arrays are not covered by digests: of them, "
            f"exchanged chunks cannot be told"
        )
        if found.attrs["without_checksums"]:
            checked += f", and in {found.attrs['without_checksums']:,} no changed value can"
    _say(checked)
    if len(found):
        _say("The command that made the run, with --repair, computes them again.")
        raise typer.Exit(1)


@app.command()
def forget(
    store: Annotated[str, typer.Argument(help="Zarr group of a run.")],
    subject: Annotated[str, typer.Option("--subject", help="The person, as the run names them.")],
    people: Annotated[
        list[str] | None,
        typer.Option("--people", help="A column of the faces that names whom they were made of."),
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="What still names the person may stay.")
    ] = False,
) -> None:
    """Remove one person from a run: faces, crops, embeddings, and the pairs in every result.

    Ends with status 1 as long as something in the run still names the person, and says where.
    """
    import freqlab as fl

    with _stoppable():
        removed = fl.store.forget(store, subject=subject, people=people or (), accept=accept)
    _say(
        f"{store}: removed {removed['faces']:,} faces, {removed['pairs']:,} pairs and "
        f"{removed['images']:,} images"
    )
    photographs, mentions = removed["photographs"], removed["mentions"]
    if photographs:
        _say(f"Photographs of the person, which are yours and stay ({len(photographs):,}):")
        for path in photographs:
            _say(f"  {path}")
    if mentions:
        _say("The person is still named, by a whole word, in")
        for where, count in mentions.items():
            _say(f"  {where}: {count:,}")
    if mentions and not accept:
        _say("Edit it and call this again, or say --accept if it may stay.")
        raise typer.Exit(1)


@app.command()
def unlock(
    store: Annotated[str, typer.Argument(help="Zarr group of a run.")],
    force: Annotated[
        bool, typer.Option("--force", help="Also if the run that holds the lock is alive.")
    ] = False,
) -> None:
    """Take away the lock of a run whose machine died, and say whose it was."""
    import freqlab as fl

    with _stoppable():
        holder = fl.store.unlock(store, force=force)
    if holder is None:
        _say(f"{store}: there is no lock")
    else:
        _say(f"{store}: the lock was removed; {holder}")


@app.command()
def datasets() -> None:
    """List the face sets known by name: what must lie where, terms, what to cite."""
    import freqlab as fl

    _print_table(fl.datasets.known(), lines=True)
    _say("Nothing is ever downloaded. Load one by --faces NAME --root FOLDER.")


@app.command()
def models() -> None:
    """List the models known by name, and where their weights are or how to get them."""
    import freqlab as fl

    _print_table(fl.models.known())
    _say(
        "Also: timm:<architecture>,checkpoint=FILE   timm:hf_hub:<owner>/<model>   FILE.onnx\n"
        "      FILE.pt,trust=true (TorchScript, torch.export: programs, run only if trusted)\n"
        "      any of these with ,name=... ,mean=... ,std=... ,template=... behind it"
    )


@app.command(name="compile")
def compile_networks(
    model: ModelsOption,
    device: DeviceOption = "auto",
    batch_size: BatchOption = None,
    precision: PrecisionOption = "float32",
) -> None:
    """Compile networks ahead of runs, about half a minute each, and keep them in the cache."""
    from freqlab.engine.compilation import compile_ahead
    from freqlab.models.loading import load_model
    from freqlab.models.precision import in_precision

    for name in model:
        loaded = in_precision(load_model(name, device=device), precision)
        _say(f"{loaded.name}: {compile_ahead(loaded, batch_size=batch_size)}")


@app.command()
def cache(
    clear: Annotated[
        bool, typer.Option("--clear", help="Remove all compiled networks from it.")
    ] = False,
) -> None:
    """Say where compiled networks are kept, and which; each holds a copy of its weights."""
    from freqlab.engine.compiled_packages import (
        CACHE_VARIABLE,
        cache_folder,
        clear_packages,
        packages,
    )

    folder = cache_folder()
    if folder is None:
        _say(f"No compiled networks are kept ({CACHE_VARIABLE}=off, or there is no home).")
        return
    if clear:
        _say(f"{folder}: removed {clear_packages():,} compiled network(s)")
        return
    found = packages()
    for package in found:
        batch, precision = package.facts["input"][0], package.facts["precision"]
        _say(
            f"{package.path.name}: {package.model}, {precision}, batches of {batch}, "
            f"{package.facts['device']}, {package.n_bytes / 1e6:.1f} MB"
        )
    _say(f"{folder}: {len(found):,} compiled network(s)")


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
    face_set = _load(faces, root=root, outside=outside)
    found = find_landmarks(face_set, which_face=which_face, device=resolve_device(device))
    table = landmark_table(face_set.names, found)
    with written_whole(out) as file:
        file.write(csv_of(table, float_format="%.2f").encode())
    missing = int(table.isna().any(axis=1).sum())
    _say(f"{out}: {len(table)} faces, {missing} without a face found")


def _load(source: str, **options: Any) -> Any:
    """Load a face set, and say what was left out of it."""
    import freqlab as fl

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeftOutWarning)  # its notes say the same
        faces = fl.load_faces(source, **options)
    for note in faces.notes:
        _say(f"{faces.name}: {note}", err=True)
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
            "--dry-run goes with --repair; `freqlab plan` says what a run computes"
        )
    steps = plan_repair(store, survey(store), faces)
    for step in steps:
        _say(str(step))
    _say(f"{store}: {len(steps):,} damages; nothing was written")


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
        raise ParameterError("--pairs lists the pairs; leave --n-pairs and the like out")
    if listed is not None:
        return fl.read_pairs(listed, faces, **how)
    if how:
        raise ParameterError(f"--{next(iter(how))} says how --pairs is read; there is no --pairs")
    return fl.make_pairs(
        faces, impostors_per_genuine=impostors_per_genuine, n_pairs=n_pairs, seed=seed
    )


def _print_table(known: Any, *, lines: bool = False) -> None:
    """Print a table of known things, as wide as the terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    if sys.stdout is None:
        return
    known = known.reset_index()
    table = Table(*known.columns, box=box.SIMPLE_HEAD, pad_edge=False, show_lines=lines)
    for row in known.itertuples(index=False):
        table.add_row(*(visible(str(value)) for value in row))
    width = None if sys.stdout.isatty() else 160
    console = Console(highlight=False, markup=False, width=width, file=io.StringIO())
    console.print(table)
    _say(console.file.getvalue().rstrip("\n"))  # type: ignore[attr-defined]


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """End with one line where Ctrl-C or a job queue's SIGTERM asks for it."""
    stopped_by = signal.SIGINT

    def stop(number: int, frame: object) -> None:
        nonlocal stopped_by
        stopped_by = signal.Signals(number)
        raise KeyboardInterrupt

    of_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop) if of_main_thread else None
    try:
        yield
    except KeyboardInterrupt:
        _say("freqlab: stopped; the same command goes on from here", err=True)
        raise typer.Exit(128 + stopped_by) from None
    finally:
        if of_main_thread:
            signal.signal(signal.SIGTERM, before)


def _parse(value: str) -> Any:
    """A number, truth value, list or null as JSON writes it; any other text as it is."""
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value

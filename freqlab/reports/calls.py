"""Reports: a notebook executed by papermill with parameters, as one self-contained page."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from freqlab.errors import FreqlabError, ParameterError, StoreError, check_name, check_number
from freqlab.reports.index import build_index, pages_in
from freqlab.reports.parameters import Parameter, check, convert, read_parameters
from freqlab.reports.rendering import executed, page_of, title_of
from freqlab.reports.unchanged import inputs_of, is_unchanged, recorded
from freqlab.resources import resource, resource_names
from freqlab.store.chunks import is_remote, place_of
from freqlab.store.lock_files import is_held, lock_file_of
from freqlab.system.homes import with_a_home
from freqlab.system.private import make_folder, make_private, written_whole

__all__ = ["ReportError", "report", "report_names", "report_parameters", "reports"]

_ORDER = (
    *("explore", "verification", "faithfulness", "bias", "cross-resolution", "morphing"),
    "improve",
    "neighbours",
)
_INTERACTIVE, _PARAMETERS = "interactive", "parameters"
_POLL = 1.0  # seconds


class ReportError(FreqlabError, RuntimeError):
    """A report's notebook failed, or its page cannot be written."""


def report_names() -> list[str]:
    """Names of the available reports, in the order in which one reads them."""
    names = [name.replace("_", "-") for name in resource_names("notebooks", ".ipynb")]
    known = [name for name in _ORDER if name in names]
    return known + [name for name in names if name not in known]


@with_a_home()
def report_parameters(name: str) -> dict[str, Parameter]:
    """Parameters of a report: their types, defaults and meanings, as its notebook declares them.

    Raises
    ------
    UnknownNameError
        If there is no such report.
    """
    _papermill()
    notebook = _for_report(name)
    tagged = (c for c in notebook.cells if _PARAMETERS in c.metadata.get("tags", []))
    cell = next(tagged, None)
    return {} if cell is None else read_parameters(cell.source)


@with_a_home()
def report(
    name: str,
    *,
    out: str | os.PathLike[str] = "reports",
    progress: bool = True,
    again: bool = False,
    quick: bool = False,
    wait: float = 0,
    **parameters: Any,
) -> Path:
    """Execute the notebook of a report and write a self-contained page.

    Writes ``<out>/<name>.html``, the executed notebook ``<out>/<name>.ipynb``, and
    ``<out>/index.html``, a list of all reports in the folder. An earlier report of the same name is
    replaced only when the new one is complete.

    Parameters
    ----------
    name
        One of :func:`report_names`.
    out
        Folder of the reports.
    progress
        Whether to show the standard error of the notebook, such as progress bars.
    again
        Whether to make the page again if its parameters, its inputs and freqlab are unchanged.
    quick
        Whether parameters that are not given have the values of a first look, with fewer pairs
        and draws, instead of the defaults.
    wait
        Seconds to wait while another process is making a report on the same store.
    **parameters
        Parameters of the notebook; ``store`` is ``runs/<faces>.zarr`` by default.

    Returns
    -------
    pathlib.Path
        The page.

    Raises
    ------
    UnknownNameError
        If the report or a parameter is unknown.
    ParameterError
        If a parameter has a value that is not allowed; nothing is computed.
    StoreError
        If another process is making a report on the store, or writing to it.
    ReportError
        If the notebook fails; its partial output is then kept beside the reports. If the folder is
        not usable or cannot be written. If a notebook or page of that name is not a report; it is
        not overwritten.

    Examples
    --------
    >>> import freqlab as fl
    >>> page = fl.report("explore", quick=True, n_pairs=10, progress=False)
    >>> page.as_posix()
    'reports/explore.html'
    """
    options = {"progress": progress, "again": again, "quick": quick, "wait": wait}
    return reports([name], out=out, **options, **parameters)[0]  # type: ignore[arg-type]


@with_a_home()
def reports(
    names: Sequence[str],
    *,
    out: str | os.PathLike[str] = "reports",
    progress: bool = True,
    again: bool = False,
    quick: bool = False,
    wait: float = 0,
    **parameters: Any,
) -> list[Path]:
    """Make several reports, one after the other; the index shows which are still to come.

    Parameters
    ----------
    names
        Some of :func:`report_names`.
    out, progress, again, quick, wait
        As for :func:`report`.
    **parameters
        Parameters of the notebooks; each report takes those that it has.

    Returns
    -------
    list of pathlib.Path
        The pages.

    Raises
    ------
    UnknownNameError, ParameterError, StoreError, ReportError
        As for :func:`report`; an unknown parameter is one that no report has. All parameters are
        checked before the first report is made.
    """
    papermill = _papermill()
    from freqlab.reports.kernels import kernels_in_advance

    check_number("wait", wait, at_least=0)
    given = {name: _settled(name, parameters, quick, names, out) for name in names}
    with _writing(out):
        folder = Path(os.fspath(out))
        make_folder(folder)
        _check_own(folder, names)
        pages, n_made = [], 0

        def files_of(name: str) -> str:
            return inputs_of(_notebook(name), given[name])

        def is_kept(name: str) -> bool:
            return not again and is_unchanged(folder, name, files_of(name), given[name])

        with kernels_in_advance() as next_kernel:
            for position, name in enumerate(names):
                later = names[position + 1 :]
                if is_kept(name):
                    pages.append(folder / f"{name}.html")
                    continue
                files = files_of(name)  # as they are before the page is made
                count = f" ({position + 1} of {len(names)})" if len(names) > 1 else ""
                with _alone(given[name].get("store"), wait), _shown_as_made(folder, [name, *later]):
                    kernel = next_kernel(not all(is_kept(other) for other in later))
                    _execute(
                        papermill, name, folder, given[name], f"{name}{count}", kernel, progress
                    )
                    pages.append(_finish(name, folder, recorded(files, given[name])))
                    n_made += 1
        if n_made:
            _link_pages(folder)
        build_index(folder, order=report_names())
    return pages


def text_parameters(names: Sequence[str], texts: Mapping[str, str]) -> dict[str, Any]:
    """Read texts, such as those of the command line, as parameters of reports.

    Raises
    ------
    UnknownNameError
        If none of the reports has such a parameter.
    ParameterError
        If a text is no value of the parameter's type.
    """
    declared: dict[str, Parameter] = {}
    for name in reversed(names):
        declared |= report_parameters(name)
    found = {}
    for key, text in texts.items():
        check_name(_parameter_of(names), key, declared)
        found[key] = convert(declared[key], text)
    return found


def _parameter_of(names: Sequence[str]) -> str:
    return f"parameter of report {names[0]!r}" if len(names) == 1 else "parameter of the reports"


def _settled(
    name: str,
    parameters: Mapping[str, Any],
    quick: bool,
    names: Sequence[str],
    out: str | os.PathLike[str],
) -> dict[str, Any]:
    """Return the parameters of one report, checked, with those of a first look and its places.

    Raises
    ------
    UnknownNameError, ParameterError
        If a parameter is unknown to all reports, or has a value that is not allowed.
    """
    declared = report_parameters(name)
    everywhere = set().union(*(report_parameters(other) for other in names))
    for key in parameters:
        check_name(_parameter_of(names), key, sorted(everywhere))
    own = {key: value for key, value in parameters.items() if key in declared}
    first_look = dict(_for_report(name).metadata.get("freqlab", {}).get("quick", {}))
    settled = {**(first_look if quick else {}), **own}
    check(settled, declared)
    if "store" in declared and not settled.get("store"):
        faces = str(settled.get("faces", declared["faces"].default))
        settled["store"] = f"runs/{Path(faces).stem}.zarr"
    if settled.get("interactive"):
        settled["pages"] = os.fspath(out)
    return {key: list(v) if isinstance(v, tuple) else v for key, v in settled.items()}


def _execute(
    papermill: Any,
    name: str,
    folder: Path,
    parameters: Mapping[str, Any],
    shown: str,
    kernel: type[Any],
    progress: bool,
) -> None:
    """Execute the notebook of a report, in a file beside the reports.

    Raises
    ------
    ReportError
        If a cell fails, or the process of the notebook ends.
    """
    from nbclient.exceptions import DeadKernelError

    from freqlab.reports.kernels import ARGUMENTS

    running = _running(folder, name)
    running.touch(mode=0o600)
    make_private(running)  # before files are in it
    try:
        papermill.execute_notebook(
            _for_report(name),
            str(running),
            parameters=dict(parameters),
            kernel_name="python3",
            kernel_manager_class=kernel,
            progress_bar={"desc": f"report {shown}"} if progress else False,
            extra_arguments=ARGUMENTS,
            stderr_file=sys.stderr if progress else None,
        )
    except DeadKernelError as error:
        raise ReportError(
            f"report {name!r}: its process ended ({error}), for example because memory ran out; it "
            f"is {sys.executable} -m ipykernel_launcher\nWhat it had done is in {running}."
        ) from error
    except papermill.PapermillExecutionError as error:
        raise ReportError(
            f"report {name!r} failed in cell {error.exec_count}: {error.ename}: {error.evalue}\n"
            f"What it had done is in {running}."
        ) from error


def _finish(name: str, folder: Path, record: Mapping[str, Any]) -> Path:
    """Write the page of an executed notebook, which then becomes the report; return the page."""
    running = _running(folder, name)
    page = _write_page(name, folder, executed(running))
    content = json.loads(running.read_text(encoding="utf-8"))
    content["metadata"]["freqlab"] = record
    with written_whole(running) as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False).encode())
    os.replace(running, folder / f"{name}.ipynb")
    return page


def _write_page(name: str, folder: Path, notebook: Any) -> Path:
    """Write the page of an executed notebook, with links to the other reports; return it."""
    page = folder / f"{name}.html"
    others = pages_in(folder, order=report_names())
    others.pop(page.name, None)
    text = page_of(notebook, name=name, others=others)
    if not page.is_file() or page.read_text(encoding="utf-8") != text:
        with written_whole(page) as file:
            file.write(text.encode())
    return page


def _link_pages(folder: Path) -> None:
    """Write the pages of earlier reports again, with links to those made since."""
    for name in report_names():
        notebook = executed(folder / f"{name}.ipynb")
        if notebook is not None and (folder / f"{name}.html").is_file():
            _write_page(name, folder, notebook)


def _running(folder: Path, name: str) -> Path:
    return folder / f"{name}.running.ipynb"


@contextlib.contextmanager
def _shown_as_made(folder: Path, names: Sequence[str]) -> Iterator[None]:
    """Show in the index that the first of the reports is being made, and that the others wait."""
    making = {name: title_of(_for_report(name)) for name in names}
    build_index(folder, making=making, order=report_names())
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            build_index(folder, order=report_names())
        raise


@contextlib.contextmanager
def _alone(store: str | None, wait: float) -> Iterator[None]:
    """Make no report on a store that another report or run uses.

    Raises
    ------
    StoreError
        If the other is not ready within the time to wait.
    """
    import filelock

    path = place_of(store) if store else ""
    if not path or is_remote(path) or path.startswith("memory://"):
        yield
        return
    make_folder(Path(path).absolute().parent)
    lock = filelock.FileLock(f"{os.path.realpath(path)}.report.lock", timeout=0)
    until = time.monotonic() + wait
    said = False
    while used_by := _user_of(lock, path):
        text = f"store {path!r} is used by {used_by}"
        if time.monotonic() >= until:
            raise StoreError(f"{text}; wait=SECONDS (--wait) waits for it")
        if not said:
            sys.stderr.write(f"{text}; waiting at most {wait:g} s\n")
            said = True
        time.sleep(min(_POLL, wait))
    try:
        yield
    finally:
        lock.release()


def _user_of(lock: Any, path: str) -> str:
    """Take the lock of reports on a store; what uses the store instead, or empty."""
    import filelock

    try:
        lock.acquire()
    except filelock.Timeout:
        return "another report"
    with contextlib.suppress(OSError):  # no lock file: no run
        if is_held(lock_file_of(path)):
            lock.release()
            return "a run that writes to it"
    return ""


def _papermill() -> Any:
    try:
        import bs4  # noqa: F401
        import ipykernel  # noqa: F401
        import nbconvert  # noqa: F401
        import papermill
    except ImportError as error:
        raise FreqlabError(
            f"reports need {error.name}, which is not installed: pip install 'freqlab[report]'"
        ) from error
    return papermill


def _notebook(name: str) -> Path:
    check_name("report", name, report_names())
    return resource(f"notebooks/{name.replace('-', '_')}.ipynb")


def _for_report(name: str) -> Any:
    """Notebook of a report without the cells tagged ``interactive``, which are for JupyterLab."""
    import nbformat

    notebook = nbformat.read(_notebook(name), as_version=4)  # type: ignore[no-untyped-call]
    notebook.cells = [
        cell for cell in notebook.cells if _INTERACTIVE not in cell.metadata.get("tags", [])
    ]
    return notebook


def _check_own(folder: Path, names: Sequence[str]) -> None:
    """Refuse to overwrite a file that is not a report."""
    pages = [folder / f"{name}.html" for name in names] + [folder / "index.html"]
    notebooks = [folder / f"{name}.ipynb" for name in names]
    foreign = [path for path in pages if path.exists() and not _is_page(path)]
    foreign += [path for path in notebooks if path.exists() and executed(path) is None]
    if foreign:
        raise ReportError(
            f"out={str(folder)!r} holds {' and '.join(repr(path.name) for path in foreign)}, which "
            f"freqlab did not make; nothing was overwritten. Give the reports a folder of their own"
        )


def _is_page(path: Path) -> bool:
    """Whether a page is a report, by its footer."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return re.search(r"<footer>.*freqlab \d", text, re.DOTALL) is not None


@contextlib.contextmanager
def _writing(out: object) -> Iterator[None]:
    """Report why a folder of reports cannot be written.

    Raises
    ------
    ReportError
        Instead of an OSError.
    """
    if not isinstance(out, (str, os.PathLike)) or not os.fspath(out) or "\0" in str(out):
        raise ParameterError(f"out={out!r} must be the path of a folder, such as 'reports'")
    try:
        yield
    except FreqlabError:
        raise
    except OSError as error:
        place = error.filename or os.fspath(out)
        raise ReportError(
            f"out={os.fspath(out)!r}: the report cannot be written: {error.strerror or error} "
            f"({place}). What its run computed is in the store; when the cause is removed, the "
            f"same call continues from there"
        ) from error

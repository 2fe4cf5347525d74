"""Reports: a notebook executed by papermill with parameters, as one self-contained page."""

from __future__ import annotations

import ast
import contextlib
import html
import importlib.resources
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from freqlab import __version__
from freqlab.errors import FreqlabError, ParameterError, check_name
from freqlab.resources import resource, resource_names
from freqlab.system.homes import with_a_home
from freqlab.system.private import make_folder, make_private, written_whole

__all__ = ["ReportError", "build_index", "report", "report_names", "report_parameters"]

_TAGS = {
    *("a", "b", "blockquote", "br", "caption", "code", "dd", "div", "dl", "dt", "em", "hr", "i"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "li", "ol", "p", "pre", "small", "span", "strong"),
    *("sub", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul"),
}
_ATTRIBUTES = {
    "*": {"class", "id", "title"},
    "a": {"href"},
    "table": {"border"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
}
_URL_SCHEMES = {"http", "https", "mailto"}


class ReportError(FreqlabError, RuntimeError):
    """A report's notebook failed, or its page cannot be written."""


def report_names() -> list[str]:
    """Names of the available reports."""
    return [name.replace("_", "-") for name in resource_names("notebooks", ".ipynb")]


@with_a_home()
def report_parameters(name: str) -> dict[str, str]:
    """Parameters of a report and their defaults, as written in its notebook.

    Raises
    ------
    UnknownNameError
        If there is no such report.
    """
    papermill = _papermill()
    inspected = papermill.inspect_notebook(str(_notebook(name)))
    return {key: str(value["default"]) for key, value in inspected.items()}


@with_a_home()
def report(
    name: str,
    *,
    out: str | os.PathLike[str] = "reports",
    progress: bool = True,
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
    ReportError
        If the notebook fails; its partial output is then kept beside the reports. If the folder is
        not usable or cannot be written. If a notebook or page of that name is not a report; it is
        not overwritten.
    """
    papermill = _papermill()
    defaults = report_parameters(name)
    for key, value in parameters.items():
        check_name(f"parameter of report {name!r}", key, defaults)
        if not _is_plain(value):
            raise ParameterError(
                f"parameter {key}={value!r} must be text, a number, a truth value, None, "
                f"or a list of these"
            )
    if "store" in defaults and not parameters.get("store"):
        faces = str(parameters.get("faces", ast.literal_eval(defaults["faces"])))
        parameters["store"] = f"runs/{Path(faces).stem}.zarr"

    with _writing(out):
        return _report(papermill, name, Path(os.fspath(out)), parameters, progress)


def _report(
    papermill: Any, name: str, folder: Path, parameters: Mapping[str, Any], progress: bool
) -> Path:
    """Execute a report and write it to a folder; return its page."""
    from nbclient.exceptions import DeadKernelError

    from freqlab.reports.kernels import OwnKernelManager

    make_folder(folder)
    running, notebook, page = (
        folder / f"{name}{suffix}" for suffix in (".running.ipynb", ".ipynb", ".html")
    )
    _check_own(folder, notebook, page)
    running.touch(mode=0o600)
    make_private(running)  # before files are in it
    try:
        papermill.execute_notebook(
            _for_report(name),
            str(running),
            parameters=parameters,
            kernel_name="python3",
            kernel_manager_class=OwnKernelManager,
            progress_bar={"desc": f"report {name}"} if progress else False,
            extra_arguments=["--IPKernelApp.log_level=50"],  # no log about local transport
            stderr_file=sys.stderr if progress else None,
        )
    except DeadKernelError as error:
        raise ReportError(
            f"report {name!r}: its process ended ({error}), say because memory ran out; it is "
            f"{sys.executable} -m ipykernel_launcher\nWhat it had done is in {running}."
        ) from error
    except papermill.PapermillExecutionError as error:
        raise ReportError(
            f"report {name!r} failed in cell {error.exec_count}: {error.ename}: {error.evalue}\n"
            f"What it had done is in {running}."
        ) from error
    _write_whole(page, _to_html(name, running))
    os.replace(running, notebook)
    build_index(folder)
    return page


@with_a_home()
def build_index(folder: str | os.PathLike[str]) -> Path:
    """Write ``index.html`` for the reports in a folder; return its path.

    Other notebooks in the folder are left out, and listed at the end of the page.
    """
    entries, others = [], []
    for path in sorted(Path(folder).glob("*.ipynb")):
        if path.name.endswith(".running.ipynb"):
            continue
        notebook = _executed(path)
        if notebook is None or not path.with_suffix(".html").is_file():
            others.append(path.name)
            continue
        entries.append(
            {
                "href": f"{path.stem}.html",
                "title": _title(notebook),
                "lead": _lead(notebook),
                "parameters": _parameters_of(notebook),
                "finished": _finished(notebook),
            }
        )
    index = Path(folder) / "index.html"
    _write_whole(
        index, _render("index.html.j2", entries=entries, others=others, version=__version__)
    )
    return index


def _papermill() -> Any:
    try:
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
        cell for cell in notebook.cells if "interactive" not in cell.metadata.get("tags", [])
    ]
    return notebook


def _to_html(name: str, path: Path) -> str:
    """Render the executed notebook as one page, without code and remote resources."""
    import nbformat
    from nbconvert import HTMLExporter

    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                text = cell.metadata.get("alt") or output.data.get("text/plain", "figure")
                output.metadata.setdefault("image/png", {})["alt"] = text
    exporter = HTMLExporter(  # type: ignore[no-untyped-call]
        template_name="basic", exclude_input=True, exclude_output_prompt=True, sanitize_html=True
    )
    exporter.register_filter("clean_html", _clean)  # type: ignore[no-untyped-call]
    body, _ = exporter.from_notebook_node(notebook)
    return _render(
        "report.html.j2",
        title=_title(notebook),
        body=re.sub(r"<script\b.*?</script>", "", body, flags=re.DOTALL),
        parameters=_parameters_of(notebook),
        finished=_finished(notebook),
        version=__version__,
        notebook=f"{name}.ipynb",
    )


def _clean(markup: str) -> str:
    """Remove active and remote content from cell output: names of faces may be markup."""
    import nh3

    return nh3.clean(
        str(markup),
        tags=_TAGS,
        clean_content_tags={"style"},  # CSS is removed with its tag; other tags leave their text
        attributes=_ATTRIBUTES,
        url_schemes=_URL_SCHEMES,
        link_rel=None,
    )


def _render(template: str, **values: Any) -> str:
    import jinja2

    folder = importlib.resources.files("freqlab.reports") / "pages"
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.loader = jinja2.FileSystemLoader(str(folder))
    return environment.get_template(template).render(**values)


def _title(notebook: Any) -> str:
    first = notebook.cells[0].source.splitlines()[0]
    return str(first.lstrip("# ").strip())


def _lead(notebook: Any) -> str:
    """First paragraph under the title, as plain text."""
    paragraphs = notebook.cells[0].source.split("\n\n")
    text = paragraphs[1] if len(paragraphs) > 1 else ""
    return html.unescape(re.sub(r"[*_`]|\[([^]]*)\]\([^)]*\)", r"\1", text)).replace("\n", " ")


def _parameters_of(notebook: Any) -> dict[str, str]:
    """Parameters of the executed notebook, including the defaults of those not given."""
    given: Mapping[str, Any] = notebook.metadata.papermill.parameters
    return {str(key): json.dumps(value, ensure_ascii=False) for key, value in given.items()}


def _finished(notebook: Any) -> str:
    return str(notebook.metadata.papermill.end_time)[:16].replace("T", " ") + " UTC"


def _is_plain(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, (str, int, float, bool))


def _executed(path: Path) -> Any:
    """Read the executed notebook of a report; None if it is not one."""
    import nbformat

    try:
        notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
        _title(notebook), _lead(notebook), _parameters_of(notebook), _finished(notebook)
        return notebook
    except Exception:  # other files may raise any error in the reader
        return None


def _check_own(folder: Path, notebook: Path, page: Path) -> None:
    """Refuse to overwrite a file that is not a report."""
    index = folder / "index.html"
    foreign = [path for path in (page, index) if path.exists() and not _is_page(path)]
    if notebook.exists() and _executed(notebook) is None:
        foreign.append(notebook)
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
            f"({place}). What its run computed is in the store; once that is settled, the same "
            f"call is quick"
        ) from error


def _write_whole(path: Path, text: str) -> None:
    """Write a file atomically."""
    with written_whole(path) as file:
        file.write(text.encode())

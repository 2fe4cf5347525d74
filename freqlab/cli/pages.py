"""Commands that show: report, inspect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from freqlab.cli.application import app
from freqlab.cli.options import AlignedOption, OutsideOption, RootOption
from freqlab.cli.output import say, stoppable
from freqlab.errors import ParameterError


@app.command()
def report(
    name: Annotated[str, typer.Argument(help="Name of the report, such as explore.")],
    faces: Annotated[str | None, typer.Option("--faces", help="Face set.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Model name or path, options after a comma.")
    ] = None,
    store: Annotated[str | None, typer.Option("--store", help="Zarr group of the run.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the reports.")] = Path("reports"),
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", help="Parameter of the notebook: key=value, as in bands=rings:8."),
    ] = None,
) -> None:
    """Compute what is missing, execute a report's notebook, and write a self-contained page."""
    import freqlab as fl

    given = {"faces": faces, "model": model, "store": store}
    parameters: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    for text in parameter or []:
        key, equals, value = text.partition("=")
        if not equals:
            raise ParameterError(f"-p {text!r}: expected key=value")
        parameters[key] = _parse(value)
    with stoppable():
        page = fl.report(name, out=out, **parameters)
    say(f"{page}\n{page.parent / 'index.html'}")


@app.command()
def inspect(
    store: Annotated[str, typer.Argument(help="Zarr group of a run.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the result; the newest by default.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="Model name or path, for models not known by name."),
    ] = None,
    faces: Annotated[
        str | None, typer.Option("--faces", help="Face set, if the run keeps no crops.")
    ] = None,
    root: RootOption = None,
    aligned: AlignedOption = None,
    outside: OutsideOption = False,
    fmr: Annotated[float | None, typer.Option(help="False match rate of the threshold.")] = None,
    port: Annotated[int, typer.Option(help="Port to listen on, or the next free one.")] = 8866,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")
    ] = True,
) -> None:
    """Inspect single decisions in a local web page; its address holds the access token."""
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
            say=lambda address: say(f"The inspector is at {address}\nCtrl-C ends it."),
        )


def _parse(value: str) -> Any:
    """A number, truth value, list or null as JSON writes it; any other text as it is."""
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value

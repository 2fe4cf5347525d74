"""Commands that show: report, inspect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from freqlab.cli.application import app
from freqlab.cli.options import (
    AlignedOption,
    ClusterOption,
    OutsideOption,
    RootOption,
    UpscaleOption,
)
from freqlab.cli.output import print_table, say, stoppable
from freqlab.errors import ParameterError
from freqlab.literals import Precision, WhichFace
from freqlab.resources import resource_names


def _names_that_begin_with(text: str) -> list[str]:
    """Names of reports for completion in a shell; reads no module that takes long to import."""
    names = [name.replace("_", "-") for name in resource_names("notebooks", ".ipynb")]
    return [name for name in (*names, "all") if name.startswith(text)]


_NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME...",
        autocompletion=_names_that_begin_with,
        help="Reports to make: explore, verification, faithfulness, bias, cross-resolution, "
        "morphing, improve, neighbours, or all. Without a name, they are listed.",
    ),
]
_ParametersOption = Annotated[
    list[str] | None,
    typer.Option("-p", help="Parameter of the notebook: key=value, as in bands=rings:8."),
]


@app.command(epilog="`freqlab report NAME --parameters` lists the parameters of a report.")
def report(
    names: _NamesArgument = None,
    faces: Annotated[str | None, typer.Option("--faces", help="Face set.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Model name or path, options after a comma.")
    ] = None,
    store: Annotated[str | None, typer.Option("--store", help="Zarr group of the run.")] = None,
    outside: OutsideOption = False,
    upscale: UpscaleOption = False,
    which_face: Annotated[
        WhichFace | None,
        typer.Option("--which-face", help="Of several in a photograph: largest, central or only."),
    ] = None,
    precision: Annotated[Precision | None, typer.Option(help="In which networks compute.")] = None,
    device: Annotated[str | None, typer.Option(help="Device: auto, cpu or cuda.")] = None,
    cluster: ClusterOption = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the reports.")] = Path("reports"),
    parameter: _ParametersOption = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A first look: fewer pairs and draws by default.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Make pages again whose inputs are unchanged.")
    ] = False,
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for another report on the same store.")
    ] = 0,
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Print the pages as PDF too, by an installed Chromium.")
    ] = False,
    parameters: Annotated[
        bool, typer.Option("--parameters", help="List the parameters of the reports, and exit.")
    ] = False,
) -> None:
    """Compute what is missing, execute the notebooks of reports, and write self-contained pages."""
    from freqlab.reports.calls import report_names, reports, text_parameters
    from freqlab.reports.printing import print_pages

    if not names:
        say("\n".join(report_names()))
        return
    chosen = report_names() if names == ["all"] else names
    if parameters:
        _list_parameters(chosen)
        return
    texts = _texts(
        parameter or [],
        faces=faces,
        model=model,
        store=store,
        outside=outside,
        upscale=upscale,
        which_face=which_face,
        precision=precision,
        device=device,
        cluster=cluster,
    )
    with stoppable():
        pages = reports(
            chosen, out=out, quick=quick, again=again, wait=wait, **text_parameters(chosen, texts)
        )
        printed = print_pages(pages) if pdf else []
    say("\n".join(str(path) for path in (*pages, *printed, out / "index.html")))


def _texts(parameters: list[str], **options: str | bool | None) -> dict[str, str]:
    """Parameters of a report as text, from the options that are given and from -p."""
    texts = {key: str(value) for key, value in options.items() if value}
    for text in parameters:
        key, equals, value = text.partition("=")
        if not equals:
            raise ParameterError(f"-p {text!r}: expected key=value")
        texts[key] = value
    return texts


def _list_parameters(names: list[str]) -> None:
    import pandas as pd

    from freqlab.reports.calls import report_parameters

    for name in names:
        rows = [
            (parameter.name, parameter.type_name, repr(parameter.default), parameter.about)
            for parameter in report_parameters(name).values()
        ]
        columns = ["parameter", "type", "default", "meaning"]
        say(name)
        print_table(pd.DataFrame(rows, columns=columns).set_index("parameter"))


@app.command(
    epilog="If STORE is on another machine: run the command there with --no-browser, run "
    "`ssh -L 8866:127.0.0.1:8866 MACHINE` here, and open the address that the command prints."
)
def inspect(
    store: Annotated[str, typer.Argument(help="Zarr group of a run.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the result; the newest by default.")
    ] = None,
    pair: Annotated[
        int | None, typer.Option(help="Number of the pair shown first; the first by default.")
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
    base_url: Annotated[
        str | None,
        typer.Option(
            help="Path under which a proxy serves the page, as in /prefix/; by default / or, on a "
            "JupyterHub, the path of jupyter-server-proxy."
        ),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")
    ] = True,
) -> None:
    """Inspect single decisions in a local web page; its address contains the access token."""
    import os
    import tempfile

    from freqlab.edits.inspection import Inspection
    from freqlab.results.selection import select_pair, threshold_of
    from freqlab.system.homes import with_a_home

    with with_a_home():
        from freqlab.inspector import Inspector  # noqa: F401  # an error names the missing extra
        from freqlab.inspector.serving import serve, write_notebook
        from freqlab.inspector.stills import about_text

    inspection = Inspection(store, name=name, models=model or ())  # errors before the page opens
    result, first = inspection.result, inspection.models[0]
    if fmr is not None:
        threshold_of(result, model=first, fmr=fmr)
    if pair is not None:
        select_pair(result, pair=pair, model=first, side=inspection.sides[0])
    with tempfile.TemporaryDirectory() as folder:
        notebook = Path(folder) / "inspector.ipynb"
        write_notebook(
            notebook,
            folder=Path.cwd(),
            store=store,
            name=name,
            models=model or (),
            pair=pair,
            faces=None if faces is None else (faces, root, aligned, outside),
            fmr=fmr,
        )

        def say_where(address: str) -> None:
            choice = "; the page offers the others" if len(inspection.names) > 1 else ""
            say(f"The inspector is at {address}\n{about_text(inspection)}{choice}")
            if os.environ.get("JUPYTERHUB_SERVICE_PREFIX"):
                path = address.split("/", 3)[-1]
                say(f"On the JupyterHub, it is at the path /{path}")
            say("Ctrl-C ends it.")

        serve(
            notebook,
            port=port,
            base_url=base_url,
            open_browser=browser,
            say=say_where,
        )

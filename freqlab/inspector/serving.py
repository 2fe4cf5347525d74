"""Serve the inspector as a page of its own, with Voilà: on this machine only, with a token."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nbformat
from traitlets import default
from voila.app import Voila

from freqlab.errors import FreqlabError, check_number
from freqlab.homes import with_a_home

__all__ = ["serve", "write_notebook"]

_TEMPLATES = Path(__file__).parent / "frontend"


def write_notebook(
    path: Path,
    *,
    folder: Path,
    store: str,
    name: str | None = None,
    models: Sequence[str] = (),
    faces: tuple[str, str | None, str | None, bool] | None = None,
    fmr: float | None = None,
) -> None:
    """Write the notebook that the page shows: one cell that calls :func:`freqlab.inspect`.

    Parameters
    ----------
    path
        Of the notebook.
    folder
        In which it works: relative paths begin there.
    store, name, models, fmr
        As for :func:`freqlab.inspect`.
    faces
        Name, root, template and ``outside``, as :func:`freqlab.load_faces` takes them.
    """
    given = [repr(store)]
    lines = ["import os", "import freqlab as fl", "", f"os.chdir({str(folder)!r})"]
    if faces is not None:
        what, root, aligned, outside = faces
        where = f"root={root!r}, aligned={aligned!r}, outside={outside!r}"
        lines.append(f"faces = fl.load_faces({what!r}, {where})")
        given.append("faces=faces")
    given += [f"{key}={value!r}" for key, value in (("name", name), ("fmr", fmr)) if value]
    if models:
        given.append(f"models={list(models)!r}")
    lines.append(f"fl.inspect({', '.join(given)})")
    notebook = nbformat.v4.new_notebook(  # type: ignore[no-untyped-call]
        cells=[nbformat.v4.new_code_cell("\n".join(lines))],  # type: ignore[no-untyped-call]
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "title": f"freqlab: {Path(store).name}",
        },
    )
    nbformat.write(notebook, path)  # type: ignore[no-untyped-call]


def serve(
    notebook: Path,
    *,
    port: int = 8866,
    open_browser: bool = True,
    say: Callable[[str], object] = print,
) -> None:
    """Serve a notebook as a page until interrupted.

    Only this machine can reach it, and only who has the token in the address.

    Parameters
    ----------
    notebook
        As :func:`write_notebook` writes it.
    port
        Where to listen; the next free one if it is taken.
    open_browser
        Whether a browser is opened.
    say
        Is given the address when the page can be reached.

    Raises
    ------
    ParameterError
        If the port is none.
    FreqlabError
        If no port is free.
    """
    check_number("port", port, at_least=1, whole=True)

    class Page(Voila):  # type: ignore[misc]
        @default("tornado_settings")
        def _quiet_settings(self) -> dict[str, Any]:
            return {"ws_ping_timeout": 30_000}  # tornado warns of Jupyter's own, 90 seconds

        def launch_browser(self) -> None:
            address = f"{self.connection_url}?token={self.identity_provider.token}"
            say(address)
            if open_browser:
                webbrowser.open(address)

    with with_a_home(), _templates_found(), tempfile.TemporaryDirectory() as config:
        # what a user has configured for other servers does not open this one
        os.environ["JUPYTER_CONFIG_DIR"] = config
        try:
            Page.launch_instance(
                [
                    str(notebook),
                    "--Voila.ip=127.0.0.1",
                    f"--Voila.port={port}",
                    "--Voila.auto_token=True",
                    "--Voila.open_browser=True",
                    f"--Voila.log_level={logging.ERROR}",
                    "--VoilaConfiguration.template=freqlab",
                    "--VoilaConfiguration.show_tracebacks=True",
                    "--VoilaConfiguration.kernel_spec_manager_class=freqlab.kernels.OwnKernelSpecs",
                    # the kernel talks to the server through files that only this user can open
                    *(["--KernelManager.transport=ipc"] if os.name == "posix" else []),
                ]
            )
        except SystemExit as stopped:
            if stopped.code:
                raise FreqlabError(f"the page could not be served at port {port}") from stopped


@contextlib.contextmanager
def _templates_found() -> Any:
    """Let Voilà find our template beside its own."""
    before = {name: os.environ.get(name) for name in ("JUPYTER_PATH", "JUPYTER_CONFIG_DIR")}
    others = before["JUPYTER_PATH"]
    os.environ["JUPYTER_PATH"] = os.pathsep.join([str(_TEMPLATES), *([others] if others else [])])
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

"""Serve the inspector as a page of its own, with Voilà: on this machine only, with a token."""

from __future__ import annotations

import contextlib
import html
import logging
import os
import tempfile
import traceback
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nbformat
from jupyter_core.paths import jupyter_runtime_dir
from traitlets import default
from voila.app import Voila

from freqlab.errors import FreqlabError, check_number
from freqlab.system.homes import with_a_home
from freqlab.system.private import make_folder

__all__ = ["serve", "write_notebook"]

_LOGGERS = ("tornado.access", "tornado.application", "tornado.general", "asyncio", "traitlets")
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

    Only this machine can reach it, and only who has the token in the address. The token is on no
    command line, where other users would see it: a browser is given a file that leads there and
    that only this user can read. In what the server logs it is replaced.

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
    leading = contextlib.ExitStack()

    class Page(Voila):  # type: ignore[misc]
        @default("tornado_settings")
        def _quiet_settings(self) -> dict[str, Any]:
            return {"ws_ping_timeout": 30_000}  # tornado warns of Jupyter's own, 90 seconds

        def launch_browser(self) -> None:
            token = self.identity_provider.token
            address = f"{self.connection_url}?token={token}"
            for logger in (self.log, *map(logging.getLogger, _LOGGERS)):
                logger.addFilter(_Without(token))
            say(address)
            if open_browser:
                webbrowser.open(leading.enter_context(_leading_to(address)))

    with with_a_home(), leading, _templates_found(), tempfile.TemporaryDirectory() as config:
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
                    "--VoilaConfiguration.kernel_spec_manager_class=freqlab.reports.kernels.OwnKernelSpecs",
                    # the kernel talks to the server through files that only this user can open
                    *(["--KernelManager.transport=ipc"] if os.name == "posix" else []),
                ]
            )
        except SystemExit as stopped:
            if stopped.code:
                raise FreqlabError(f"the page could not be served at port {port}") from stopped


class _Without(logging.Filter):
    """Replaces a secret in what is logged."""

    def __init__(self, secret: str) -> None:
        super().__init__()
        self._secret = secret

    def filter(self, record: logging.LogRecord) -> bool:
        """Pass every record, without the secret."""
        record.msg, record.args = record.getMessage().replace(self._secret, "[secret]"), ()
        if record.exc_info:
            told = "".join(traceback.format_exception(*record.exc_info)).rstrip()
            record.exc_text = told.replace(self._secret, "[secret]")
        return True


@contextlib.contextmanager
def _leading_to(address: str) -> Any:
    """The address of a page that leads on to another, in a file that only this user can read."""
    folder = jupyter_runtime_dir()
    make_folder(folder)
    number, name = tempfile.mkstemp(dir=folder, prefix="freqlab-", suffix=".html")
    place = html.escape(address)
    try:
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(
                f'<!DOCTYPE html><meta charset="utf-8"><title>freqlab</title>'
                f'<meta http-equiv="refresh" content="0; url={place}">'
                f'<a href="{place}">The inspector</a>'
            )
        yield Path(name).as_uri()
    finally:
        Path(name).unlink(missing_ok=True)


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

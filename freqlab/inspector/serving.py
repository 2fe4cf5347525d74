"""Serve the inspector as a web page with Voilà, on the local interface and with a token."""

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
    pair: int | None = None,
    faces: tuple[str, str | None, str | None, bool] | None = None,
    fmr: float | None = None,
) -> None:
    """Write the notebook behind the page: one cell that calls :func:`freqlab.inspect`.

    Parameters
    ----------
    path
        Path of the notebook.
    folder
        Working directory of the notebook, to which relative paths refer.
    store, name, models, pair, fmr
        As for :func:`freqlab.inspect`.
    faces
        Name, root, template and ``outside``, as for :func:`freqlab.load_faces`.
    """
    given = [repr(store)]
    lines = ["import os", "import freqlab as fl", "", f"os.chdir({str(folder)!r})"]
    if faces is not None:
        what, root, aligned, outside = faces
        where = f"root={root!r}, aligned={aligned!r}, outside={outside!r}"
        lines.append(f"faces = fl.load_faces({what!r}, {where})")
        given.append("faces=faces")
    options = {"name": name, "pair": pair, "fmr": fmr}
    given += [f"{key}={value!r}" for key, value in options.items() if value is not None]
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

    The page is reachable only from this machine, with the token in its address. The token is not
    on any command line, where other users could read it: the browser opens a file that redirects
    to the page and is readable by this user only. In logs of the server the token is replaced.

    Parameters
    ----------
    notebook
        From :func:`write_notebook`.
    port
        Port to listen on; the next free port if it is in use.
    open_browser
        Whether to open the page in a browser.
    say
        Function that is called with the address once the page is available.

    Raises
    ------
    ParameterError
        If `port` is not a positive integer.
    FreqlabError
        If no port is free.
    """
    check_number("port", port, at_least=1, whole=True)
    redirects = contextlib.ExitStack()

    class Page(Voila):  # type: ignore[misc]
        @default("tornado_settings")
        def _quiet_settings(self) -> dict[str, Any]:
            return {"ws_ping_timeout": 30_000}  # Jupyter's default of 90 s makes tornado warn

        def launch_browser(self) -> None:
            token = self.identity_provider.token
            address = f"{self.connection_url}?token={token}"
            for logger in (self.log, *map(logging.getLogger, _LOGGERS)):
                logger.addFilter(_SecretFilter(token))
            say(address)
            if open_browser:
                webbrowser.open(redirects.enter_context(_redirect_to(address)))

    with with_a_home(), redirects, _template_path(), tempfile.TemporaryDirectory() as config:
        # ignore the user's configuration of other servers, which could expose this one
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
                    # kernel and server communicate through sockets that only this user can open
                    *(["--KernelManager.transport=ipc"] if os.name == "posix" else []),
                ]
            )
        except SystemExit as stopped:
            if stopped.code:
                raise FreqlabError(f"the page could not be served on port {port}") from stopped


class _SecretFilter(logging.Filter):
    """Logging filter that replaces a secret."""

    def __init__(self, secret: str) -> None:
        super().__init__()
        self._secret = secret

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace the secret in a record; every record passes."""
        record.msg, record.args = record.getMessage().replace(self._secret, "[secret]"), ()
        if record.exc_info:
            text = "".join(traceback.format_exception(*record.exc_info)).rstrip()
            record.exc_text = text.replace(self._secret, "[secret]")
        return True


@contextlib.contextmanager
def _redirect_to(address: str) -> Any:
    """URI of a file, readable by this user only, that redirects to an address."""
    folder = jupyter_runtime_dir()
    make_folder(folder)
    descriptor, name = tempfile.mkstemp(dir=folder, prefix="freqlab-", suffix=".html")
    target = html.escape(address)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(
                f'<!DOCTYPE html><meta charset="utf-8"><title>freqlab</title>'
                f'<meta http-equiv="refresh" content="0; url={target}">'
                f'<a href="{target}">The inspector</a>'
            )
        yield Path(name).as_uri()
    finally:
        Path(name).unlink(missing_ok=True)


@contextlib.contextmanager
def _template_path() -> Any:
    """Add the template of freqlab to those that Voilà finds."""
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

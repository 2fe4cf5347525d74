"""Serve the inspector as a web page with Voilà, on the local interface and with a token."""

from __future__ import annotations

import contextlib
import html
import logging
import os
import re
import socket
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

from freqlab.errors import FreqlabError, ParameterError, check_number
from freqlab.inspector.stills import WITHOUT_STILL
from freqlab.system.homes import with_a_home
from freqlab.system.private import make_folder

__all__ = ["serve", "write_notebook"]

_LOGGERS = ("tornado.access", "tornado.application", "tornado.general", "asyncio", "traitlets")
_PORTS_TRIED = 50
_PING_EVERY = 30_000  # ms
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
    lines.append(f"os.environ[{WITHOUT_STILL!r}] = '1'")
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
    base_url: str | None = None,
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
    base_url
        Path under which a proxy serves the page, such as ``"/prefix/"``; the proxy may pass it on
        or remove it. By default ``"/"``; on a JupyterHub, which sets the environment variable
        ``JUPYTERHUB_SERVICE_PREFIX``, the path of jupyter-server-proxy, ``<prefix>proxy/<port>/``.
    open_browser
        Whether to open the page in a browser.
    say
        Function that is called with the address once the page is available.

    Raises
    ------
    ParameterError
        If `port` is not a positive integer, or `base_url` not a path.
    FreqlabError
        If no port is free.
    """
    check_number("port", port, at_least=1, whole=True)
    base, port = _base_url(base_url, port)
    logging.getLogger("tornado.general").addFilter(_is_not_of_pings)
    redirects = contextlib.ExitStack()

    class Page(Voila):  # type: ignore[misc]
        @default("tornado_settings")
        def _settings_of_pings(self) -> dict[str, Any]:
            return _pings()

        def listen(self) -> None:
            _serve_also_without(self.app, base)
            super().listen()

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
                    f"--Voila.base_url={base}",
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


def _pings() -> dict[str, int]:
    """Settings of the pings that keep a connection open, in ms.

    Jupyter closes a connection whose last pong is older than the timeout. The first ping is sent
    after one interval, so a timeout of one interval would close every connection at its first ping.
    """
    return {"ws_ping_interval": _PING_EVERY, "ws_ping_timeout": 3 * _PING_EVERY}


def _is_not_of_pings(record: logging.LogRecord) -> bool:
    """Whether a record is not tornado's warning of pings, which Jupyter sends instead of it."""
    return not record.getMessage().startswith("The websocket_ping_timeout")


def _base_url(given: str | None, port: int) -> tuple[str, int]:
    """Path under which the page is served, and the port if the path contains it."""
    hub = os.environ.get("JUPYTERHUB_SERVICE_PREFIX")
    if given is None and hub:
        port = _free_port(port)
        given = f"{hub.rstrip('/')}/proxy/{port}/"
    text = "/" if given is None else given
    if not re.fullmatch(r"/([\w.~@%+-]+/)*[\w.~@%+-]*", text):
        raise ParameterError(f"base_url={text!r} must be a path, such as '/prefix/'")
    return f"{text.rstrip('/')}/", port


def _free_port(port: int) -> int:
    """The first free port from `port` on; `port` itself if there is none nearby."""
    for candidate in range(port, port + _PORTS_TRIED):
        with contextlib.suppress(OSError, OverflowError), socket.socket() as tried:
            tried.bind(("127.0.0.1", candidate))
            return candidate
    return port


def _serve_also_without(app: Any, base: str) -> None:
    """Let a server of paths below `base` answer the same paths where a proxy removed `base`."""
    find_handler = app.find_handler

    def with_base(request: Any, **kwargs: Any) -> Any:
        if not f"{request.path}/".startswith(base):
            request.path = base + request.path.lstrip("/")
            request.uri = base + request.uri.lstrip("/")
        return find_handler(request, **kwargs)

    app.find_handler = with_base


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

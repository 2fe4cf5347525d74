"""The entry point: runs the application and reports an error in one message."""

from __future__ import annotations

import contextlib
import errno
import re
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from freqlab.cli.application import app
from freqlab.cli.output import PIPE_CLOSED, mute, say, unwritten
from freqlab.errors import FreqlabError
from freqlab.text.shown import visible

__all__ = ["ADVISED", "for_shell", "main"]

# Arguments named in messages that are options of the same name on the command line.
ADVISED = (
    *("root", "aligned", "outside", "landmarks", "upscale", "keep_crops", "faces", "repair"),
    *("pairs", "format", "columns", "fold", "missing", "repeated", "strict", "cluster"),
)


def _version(requested: bool) -> None:
    if requested:
        from freqlab import __version__

        say(f"freqlab {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Handle the options given before a command."""


def main() -> None:
    """Run the command line; an error of freqlab exits with status 2 and one message.

    If standard output is a closed pipe (``freqlab datasets | head -1``), exit silently with status
    141, which shells report for SIGPIPE.
    """
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    show_by_default = warnings.showwarning

    def show(
        message: Warning | str, category: type[Warning], filename: str, *line: Any, **file: Any
    ) -> None:
        if category is UserWarning and Path(filename).is_relative_to(Path(__file__).parents[1]):
            with contextlib.suppress(OSError):
                typer.echo(f"freqlab: {visible(for_shell(str(message), command))}", err=True)
        else:
            show_by_default(message, category, filename, *line, **file)

    try:
        warnings.showwarning = show
        app(prog_name="freqlab")  # by this name shells complete, also after python -m freqlab
        status: str | int | None = 0
    except SystemExit as ended:
        status = ended.code
    except FreqlabError as error:
        status = 2
        with contextlib.suppress(OSError):
            say(f"freqlab: {for_shell(str(error), command)}", err=True)
    except OSError as error:  # of standard output; errors of files are raised as FreqlabError
        if "--install-completion" in sys.argv[1:]:
            say(f"freqlab: completion was not installed: {error}", err=True)
            sys.exit(2)
        if error.errno not in (errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT):
            raise
        status = unwritten(error)
    finally:
        warnings.showwarning = show_by_default
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        mute()
        status = PIPE_CLOSED
    except OSError as error:
        status = unwritten(error)
    sys.exit(status)


def for_shell(text: str, command: str) -> str:
    """Replace the names of arguments in a message by the options of a command."""

    def option(match: re.Match[str]) -> str:
        name, value = match["name"], (match["text"] or match["value"] or "")
        if command == "report":
            return f"-p {name}={value.lower() if value in ('True', 'False') else value}"
        flag = "--" + name.replace("_", "-")
        return flag if value in ("", "True") else f"{flag} {value}"

    # not in a call such as fl.influence(..., repair=True)
    name = rf"(?<![\w.(])(?<!\.\.\., )(?P<name>{'|'.join(ADVISED)})="
    return re.sub(name + r"(?:'(?P<text>[\w=,-]+)'|(?P<value>True|False))?", option, text)

"""Output of the commands; exit when standard output is closed or a signal arrives."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import typer

from freqlab.text.shown import visible

__all__ = ["PIPE_CLOSED", "mute", "print_table", "say", "stoppable", "unwritten"]

PIPE_CLOSED = 128 + 13  # as a shell reports SIGPIPE


def say(text: str, *, err: bool = False) -> None:
    """Write a text; control characters, as in names from data, are escaped."""
    try:
        typer.echo(visible(text), err=err)
    except BrokenPipeError:
        mute()
        raise typer.Exit(PIPE_CLOSED) from None


def print_table(table: Any, *, lines: bool = False) -> None:
    """Print a table as wide as the terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    if sys.stdout is None:
        return
    table = table.reset_index()
    printed = Table(*table.columns, box=box.SIMPLE_HEAD, pad_edge=False, show_lines=lines)
    for row in table.itertuples(index=False):
        printed.add_row(*(visible(str(value)) for value in row))
    width = None if sys.stdout.isatty() else 160
    console = Console(highlight=False, markup=False, width=width, file=io.StringIO())
    console.print(printed)
    say(console.file.getvalue().rstrip("\n"))  # type: ignore[attr-defined]


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """On Ctrl-C or SIGTERM, as job queues send it, exit with a message of one line."""
    stopped_by = signal.SIGINT

    def stop(number: int, frame: object) -> None:
        nonlocal stopped_by
        stopped_by = signal.Signals(number)
        raise KeyboardInterrupt

    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop) if in_main_thread else None
    try:
        yield
    except KeyboardInterrupt:
        say("freqlab: stopped; repeat the command to resume", err=True)
        raise typer.Exit(128 + stopped_by) from None
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, before)


def unwritten(error: OSError) -> int:
    """Report that the output cannot be written, and return the exit status."""
    mute()
    with contextlib.suppress(OSError):
        typer.echo(f"freqlab: the output cannot be written: {error.strerror}", err=True)
    return 2


def mute() -> None:
    """Discard the remaining output."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)

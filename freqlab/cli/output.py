"""What the commands write, and how they end when nobody reads it or a signal stops them."""

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
    """Write a text, in which names from data cannot steer the terminal."""
    try:
        typer.echo(visible(text), err=err)
    except BrokenPipeError:
        mute()
        raise typer.Exit(PIPE_CLOSED) from None


def print_table(known: Any, *, lines: bool = False) -> None:
    """Print a table of known things, as wide as the terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    if sys.stdout is None:
        return
    known = known.reset_index()
    table = Table(*known.columns, box=box.SIMPLE_HEAD, pad_edge=False, show_lines=lines)
    for row in known.itertuples(index=False):
        table.add_row(*(visible(str(value)) for value in row))
    width = None if sys.stdout.isatty() else 160
    console = Console(highlight=False, markup=False, width=width, file=io.StringIO())
    console.print(table)
    say(console.file.getvalue().rstrip("\n"))  # type: ignore[attr-defined]


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """End with one line where Ctrl-C or a job queue's SIGTERM asks for it."""
    stopped_by = signal.SIGINT

    def stop(number: int, frame: object) -> None:
        nonlocal stopped_by
        stopped_by = signal.Signals(number)
        raise KeyboardInterrupt

    of_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop) if of_main_thread else None
    try:
        yield
    except KeyboardInterrupt:
        say("freqlab: stopped; repeat the command to resume", err=True)
        raise typer.Exit(128 + stopped_by) from None
    finally:
        if of_main_thread:
            signal.signal(signal.SIGTERM, before)


def unwritten(error: OSError) -> int:
    """Say that the output cannot be written; return the status."""
    mute()
    with contextlib.suppress(OSError):
        typer.echo(f"freqlab: the output cannot be written: {error.strerror}", err=True)
    return 2


def mute() -> None:
    """Throw away what is still to be written to standard output."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)

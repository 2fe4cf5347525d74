"""The Typer application to which the other modules add their commands."""

from __future__ import annotations

import typer

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Explain which spatial frequencies drive the decisions of face-recognition models.",
)

"""The command line of freqlab: one function per command, one module per group of commands."""

from freqlab.cli import runs, pages, stores, catalogue  # noqa: F401, I001  # in the order of the help
from freqlab.cli.application import app
from freqlab.cli.entry import main

__all__ = ["app", "main"]

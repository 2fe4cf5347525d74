"""Progress of long work: bars and messages, in a terminal and in notebooks.

In a terminal both are written to standard error. In a notebook that somebody watches, the bars and
messages of one call share one output below the cell, a line each; at the end of the call the bars
are removed and the messages stay, as plain text. A kernel without a front end, as nbclient and
papermill start it, shows no bars and prints the messages. The reports of freqlab set the
environment variable ``FREQLAB_PROGRESS=stderr``, with which a kernel behaves like a terminal.
"""

from __future__ import annotations

import contextlib
import html
import io
import os
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Literal

from tqdm import tqdm

from freqlab.errors import check_name
from freqlab.text.shown import one_line, visible

__all__ = ["one_output", "progress_bar", "say", "stage"]

_SETTING = "FREQLAB_PROGRESS"
_DELAY = 0.5  # seconds after which a bar appears
_WIDTH = 100  # characters of a bar as text
_STYLE = (
    "display:flex;align-items:center;gap:0.8em;white-space:nowrap;overflow:hidden;"
    "font-variant-numeric:tabular-nums"
)
_NAME_STYLE = "flex:0 1 20em;min-width:5em;overflow:hidden;text-overflow:ellipsis"
_BAR_STYLE = "flex:0 9 14em;min-width:2em"  # in a narrow output the bar is shortened first


def progress_bar(
    text: str, total: int, unit: str, *, shown: bool, delay: float = _DELAY
) -> tqdm[Any]:
    """Make a progress bar, to be used as a context manager.

    Parameters
    ----------
    text
        What is counted.
    total, unit
        Number of items, and what one of them is called.
    shown
        Whether the bar is shown at all.
    delay
        Seconds after which it appears. Within :func:`one_output` of a notebook it appears at once.
    """
    given: dict[str, Any] = {"total": total, "desc": one_line(text), "unit": unit}
    where = _where()
    if where == "terminal" or not shown:
        return tqdm(**given, delay=delay, disable=not shown)
    if where == "unwatched":
        return tqdm(**given, disable=True)
    output = _OUTPUT.get()
    if output is None:
        return _Line(_Output(), delay=delay, **given)
    return _Line(output, delay=0.0, **given)


def say(text: str) -> None:
    """Show a message of one or more lines; control characters are escaped."""
    output, where = _OUTPUT.get(), _where()
    if where == "terminal":
        tqdm.write(visible(text), file=sys.stderr)
    elif where == "notebook" and output is not None:
        output.say(visible(text))
    else:
        tqdm.write(visible(text), file=sys.stdout)


@contextlib.contextmanager
def stage(text: str, *, shown: bool) -> Iterator[None]:
    """In a notebook, show what is being done, without a count; in a terminal show nothing."""
    output = _OUTPUT.get() if shown and _where() == "notebook" else None
    if output is not None:
        output.doing(text)
    yield
    if output is not None:
        output.doing("")


@contextlib.contextmanager
def one_output() -> Iterator[None]:
    """Within a notebook, show all bars and messages in a single output; also a decorator.

    Calls may be nested: the outermost one determines the output.
    """
    if _OUTPUT.get() is not None or _where() != "notebook":
        yield
        return
    output = _Output()
    before = _OUTPUT.set(output)
    try:
        yield
    finally:
        _OUTPUT.reset(before)
        output.end()


def _where() -> Literal["terminal", "notebook", "unwatched"]:
    """Where this process shows something: see the description of this module.

    Raises
    ------
    UnknownNameError
        If the environment variable has a value that is not allowed.
    """
    setting = os.environ.get(_SETTING)
    if setting:
        check_name(_SETTING, setting, ["stderr"])
        return "terminal"
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return "terminal"
    # a client that cannot answer input() has no person in front of it
    request = kernel.get_parent("shell") or {}
    answers = request.get("content", {}).get("allow_stdin", True)
    return "notebook" if answers else "unwatched"


class _Output:
    """One output below a cell, which is replaced whenever a bar or message changes."""

    def __init__(self) -> None:
        self._messages: list[str] = []
        self._bars: list[_Line] = []
        self._doing = ""
        self._handle: Any = None

    def say(self, text: str) -> None:
        """Add a message."""
        self._messages.append(text)
        self.refresh()

    def doing(self, text: str) -> None:
        """Show a line that is not counted; an empty text removes it with the next change."""
        self._doing = text
        if text:
            self.refresh()

    def add(self, line: _Line) -> None:
        """Show a bar until it is removed."""
        if line not in self._bars:
            self._bars.append(line)

    def remove(self, line: _Line) -> None:
        """Show a bar no longer, from the next change on."""
        self._bars = [other for other in self._bars if other is not line]

    def refresh(self) -> None:
        """Show the present state."""
        lines = [*self._messages, *map(str, self._bars), *([self._doing] if self._doing else [])]
        markup = [f"<div>{html.escape(text)}</div>" for text in self._messages]
        markup += [line.markup() for line in self._bars]
        markup += [f"<div>{html.escape(self._doing)} …</div>"] if self._doing else []
        self._show(
            {
                "text/plain": "\n".join(lines),
                "text/html": f'<div style="white-space:pre-wrap">{"".join(markup)}</div>',
            }
        )

    def end(self) -> None:
        """Leave the messages, as plain text; without messages, an empty text."""
        if self._handle is not None:
            self._show({"text/plain": "\n".join(self._messages)})

    def _show(self, content: dict[str, str]) -> None:
        if self._handle is None:
            from IPython.display import display

            self._handle = display(content, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(content, raw=True)


_OUTPUT: ContextVar[_Output | None] = ContextVar("freqlab_output", default=None)


class _Line(tqdm):  # type: ignore[type-arg]
    """A progress bar as one line of an output.

    Parameters
    ----------
    output
        Where it is shown.
    **given
        Options of :class:`tqdm.tqdm`.
    """

    monitor_interval = 0  # no thread that would publish outputs of its own

    def __init__(self, output: _Output, **given: Any) -> None:
        self._output = output
        super().__init__(
            file=io.StringIO(), ncols=_WIDTH, ascii=False, leave=False, miniters=1, **given
        )

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Show the line in its output."""
        if not self.disable:
            self._output.add(self)
            self._output.refresh()

    def close(self) -> None:
        """Remove the line."""
        if self.disable:
            return
        super().close()
        self._output.remove(self)
        if self._output is not _OUTPUT.get():  # nothing else is shown there
            self._output.end()

    def markup(self) -> str:
        """The line as HTML: name, bar, count, rate and remaining time."""
        told = self.format_dict
        counted = [f"{told['n']:,}/{told['total']:,}"]
        rate = told["rate"] or (told["n"] / told["elapsed"] if told["elapsed"] else 0)
        if rate:
            unit, left = told["unit"], tqdm.format_interval((told["total"] - told["n"]) / rate)
            shown = f"{rate:.3g} {unit}/s" if rate >= 1 else f"{1 / rate:.3g} s/{unit}"
            counted += [shown, f"{left} left"]
        value = f'value="{told["n"]}" max="{max(told["total"], 1)}"'
        return (
            f'<div style="{_STYLE}"><span style="{_NAME_STYLE}">{html.escape(self.desc)}</span>'
            f'<progress style="{_BAR_STYLE}" {value}></progress>'
            f'<span style="flex:none">{html.escape(" · ".join(counted))}</span></div>'
        )

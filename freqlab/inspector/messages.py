"""Messages of errors, as the inspector shows them."""

from __future__ import annotations

import html

from freqlab.errors import FreqlabError

__all__ = ["error_html", "explain"]


def explain(error: Exception) -> str:
    """Message of an error; errors that are not from freqlab are preceded by their type."""
    return str(error) if isinstance(error, FreqlabError) else f"{type(error).__name__}: {error}"


def error_html(text: str, trace: str = "") -> str:
    """Message of an error, with its traceback if it has one, as an alert."""
    details = f"<pre>{html.escape(trace)}</pre>" if trace else ""
    return (
        f'<div class="freqlab-error" role="alert" tabindex="0"><b>Error:</b> {html.escape(text)}'
        f"{details}</div>"
    )

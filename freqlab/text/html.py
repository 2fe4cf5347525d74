"""Small pieces of HTML by which objects show themselves in a notebook; all texts are escaped.

Colours are those of the page, so that the pieces fit light and dark themes, and styles are inline,
because notebooks that are not trusted drop style sheets.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence

from freqlab.text.shown import as_html, one_line

__all__ = ["box", "facts", "image", "rows", "side_by_side"]

_CELL = "padding:2px 12px 2px 0;text-align:left;vertical-align:middle"
_QUIET = "opacity:.7"


def box(title: str, *pieces: str, about: str = "") -> str:
    """Put pieces of HTML below a title.

    Parameters
    ----------
    title
        Text in bold.
    pieces
        HTML.
    about
        Text after the title.
    """
    head = f"<b>{as_html(one_line(title))}</b>{as_html(about)}"
    return f'<div style="max-width:60em">{"".join([f"<div>{head}</div>", *pieces])}</div>'


def facts(values: Mapping[str, object]) -> str:
    """List names and values in two columns; empty values are left out."""
    texts = {name: one_line(value, 400) for name, value in values.items()}
    cells = "".join(
        f'<tr><td style="{_CELL};{_QUIET}">{as_html(name)}</td>'
        f'<td style="{_CELL}">{as_html(value)}</td></tr>'
        for name, value in texts.items()
        if value
    )
    return f'<table style="margin:4px 0;border:0"><tbody>{cells}</tbody></table>'


def rows(
    header: Sequence[str],
    cells: Iterable[Sequence[object] | None],
    pictures: Sequence[str] | None = None,
    *,
    longest: int = 60,
) -> str:
    """Show a table.

    Parameters
    ----------
    header
        Titles of the columns.
    cells
        Values by row; None for rows that are left out, shown as an ellipsis.
    pictures
        First column, without a title: HTML by row, such as from :func:`image`.
    longest
        Maximum number of characters of a cell.
    """
    first = [] if pictures is None else [""]
    titles = "".join(
        f'<th style="{_CELL}">{as_html(one_line(title, longest))}</th>'
        for title in [*first, *header]
    )
    lines = []
    for i, row in enumerate(cells):
        texts = ["…"] * len(header) if row is None else [one_line(v, longest) for v in row]
        line = [as_html(text) for text in texts]
        if pictures is not None:
            line.insert(0, pictures[i])
        lines.append("".join(f'<td style="{_CELL}">{cell}</td>' for cell in line))
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return (
        f'<table style="margin:4px 0"><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>'
    )


def side_by_side(*pieces: str) -> str:
    """Put pieces of HTML beside each other."""
    style = "display:flex;flex-wrap:wrap;gap:24px;align-items:flex-start"
    return f'<div style="{style}">{"".join(pieces)}</div>'


def image(content: bytes, format: str, *, height: int, alt: str) -> str:
    """Show an encoded image within the page.

    Parameters
    ----------
    content
        The encoded image.
    format
        Its format, such as ``"jpeg"``.
    height
        Height on the page in pixels.
    alt
        Text where images are not shown.
    """
    data = base64.b64encode(content).decode()
    return (
        f'<img alt="{as_html(one_line(alt))}" style="height:{height}px;max-width:none;margin:0" '
        f'src="data:image/{format};base64,{data}">'
    )

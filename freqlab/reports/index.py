"""The index of a folder of reports: lead figures, first findings, what is still to come."""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from freqlab.reports.parts import FINDINGS
from freqlab.reports.rendering import (
    executed,
    finished_at,
    lead_of,
    metadata_of,
    parameters_of,
    picture_of,
    render,
    title_of,
)
from freqlab.system.homes import with_a_home
from freqlab.system.private import written_whole

__all__ = ["build_index", "pages_in"]

_THUMBNAIL = 560  # pixels


@with_a_home()
def build_index(
    folder: str | os.PathLike[str],
    *,
    making: Mapping[str, str] | None = None,
    order: Sequence[str] = (),
) -> Path:
    """Write ``index.html`` for the reports in a folder; return its path.

    Other notebooks in the folder are left out, and listed at the end of the page.

    Parameters
    ----------
    folder
        Folder of the reports.
    making
        Titles of reports by name: the one that is being made, then those that wait.
    order
        Names of reports in the order in which one reads them; others follow by name.
    """
    found, others = _reports_in(Path(folder))
    states = dict.fromkeys(making or {}, "waiting")
    for name in list(states)[:1]:
        states[name] = "being made"
    entries = [
        _entry(name, found.get(name), (making or {}).get(name, ""), states.get(name, ""))
        for name in sorted({*found, *states}, key=lambda name: _place(name, order))
    ]
    index = Path(folder) / "index.html"
    with written_whole(index) as file:
        file.write(render("index.html.j2", entries=entries, others=others).encode())
    return index


def pages_in(folder: Path, *, order: Sequence[str] = ()) -> dict[str, str]:
    """Titles of the reports in a folder, by the names of their pages, in an order of names."""
    found, _ = _reports_in(folder)
    names = sorted(found, key=lambda name: _place(name, order))
    return {f"{name}.html": title_of(found[name]) for name in names}


def _reports_in(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Executed notebooks of reports by name, and the names of all other notebooks."""
    found, others = {}, []
    for path in sorted(folder.glob("*.ipynb")):
        if path.name.endswith(".running.ipynb"):
            continue
        notebook = executed(path)
        if notebook is None or not path.with_suffix(".html").is_file():
            others.append(path.name)
        else:
            found[path.stem] = notebook
    return found, others


def _place(name: str, order: Sequence[str]) -> tuple[int, str]:
    return (order.index(name) if name in order else len(order)), name


def _entry(name: str, notebook: Any, title: str, state: str) -> dict[str, Any]:
    if notebook is None:
        empty = dict.fromkeys(("href", "lead", "finding", "picture", "finished"), "")
        return {"title": title, **empty, "parameters": {}, "pending": state}
    findings = metadata_of(notebook, FINDINGS) or [""]
    return {
        "href": f"{name}.html",
        "title": title_of(notebook),
        "lead": lead_of(notebook),
        "finding": _as_text(findings[0]),
        "picture": _thumbnail(picture_of(notebook)),
        "parameters": parameters_of(notebook),
        "finished": finished_at(notebook),
        "pending": state,
    }


def _as_text(markdown: str) -> str:
    """Text of a Markdown sentence, without markup."""
    from bs4 import BeautifulSoup
    from nbconvert.filters.markdown_mistune import markdown2html_mistune

    return BeautifulSoup(markdown2html_mistune(markdown), "html.parser").get_text().strip()


def _thumbnail(picture: str) -> str:
    """A smaller copy of a PNG, both in base64; empty if there is none."""
    from PIL import Image

    if not picture:
        return ""
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    image.thumbnail((_THUMBNAIL, 4 * _THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return re.sub(r"\s", "", base64.b64encode(buffer.getvalue()).decode())

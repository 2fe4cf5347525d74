"""What the inspector says of its result, and the still picture it leaves in a saved notebook."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

import xarray as xr

from freqlab.edits.inspection import Inspection
from freqlab.text.shown import one_line

__all__ = ["WITHOUT_STILL", "about_html", "about_text", "command_text", "still_of"]

WITHOUT_STILL = "FREQLAB_WITHOUT_STILL"
"""Environment variable that leaves out the still picture, for a page that nobody saves."""


def command_text(result: xr.Dataset) -> str:
    """How to open the inspector on a result as a web page."""
    store = result.attrs.get("store")
    in_memory = not store or str(store).startswith("memory://")
    command = f"`freqlab inspect {'STORE' if in_memory else store}`"
    return f"{command} opens it as a web page{' for a run saved in STORE' if in_memory else ''}."


def about_text(inspection: Inspection) -> str:
    """Which result is shown: its name, its place among those of the run, and its size."""
    result, names = inspection.result, inspection.names
    store = one_line(result.attrs.get("store", ""), 200)
    place = "in memory" if not store or store.startswith("memory:") else f"of {store}"
    rank = ""
    if len(names) > 1:
        newest = f"{names[-1]!r} is the newest"
        rank = f" ({'the newest' if inspection.name == names[-1] else newest} of {len(names)})"
    return (
        f"Result {inspection.name!r} {place}{rank}: {result.sizes['pair']:,} pairs, "
        f"{len(inspection.bands)} bands, models {', '.join(inspection.models)}, "
        f"sides {', '.join(inspection.sides)}"
    )


def about_html(inspection: Inspection, *, still: str) -> str:
    """:func:`about_text` as HTML, and the rule that hides a still picture.

    Parameters
    ----------
    inspection
        The result that is shown.
    still
        Class of the still picture; it is hidden as long as this element is displayed.
    """
    text = html.escape(about_text(inspection))
    return (
        f'<div class="freqlab-about" title="{text}">{text}</div>'
        f"<style>.{still}, .jp-OutputArea-child:has(.{still}) {{ display: none; }}</style>"
    )


def still_of(
    png: bytes | None, descriptions: Sequence[str], result: xr.Dataset, *, name: str
) -> dict[str, str]:
    """A view by media type, without scripts, for a notebook that is saved.

    Parameters
    ----------
    png
        Figure of the view; None if it could not be drawn.
    descriptions
        Description of the pair, one for each model.
    result
        The result that is shown.
    name
        Class of the element, by which a style sheet can select it.
    """
    picture, bundle = "", {}
    if png is not None:
        bundle["image/png"] = base64.b64encode(png).decode()
        picture = (
            f'<img alt="{html.escape(descriptions[0])}" width="760" style="max-width:100%" '
            f'src="data:image/png;base64,{bundle["image/png"]}">'
        )
    paragraphs = "".join(f"<p>{html.escape(text)}</p>" for text in descriptions)
    how = (
        f"This is a still picture of the inspector. To use the inspector, run this cell again in "
        f"JupyterLab; {command_text(result)}"
    )
    # a front end that does not find the widget says so above the picture: hide this message
    gone = (
        f"<style>.jp-OutputArea-child:has(+ .jp-OutputArea-child .{name})"
        f":not(:has(.freqlab-inspector)) {{ display: none; }}</style>"
    )
    bundle["text/html"] = (
        f'{gone}<div class="freqlab-still {name}">{picture}{paragraphs}'
        f"<p><em>{html.escape(how)}</em></p></div>"
    )
    return bundle

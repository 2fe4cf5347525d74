"""From an executed notebook to a page: sections, numbered figures and tables, contents."""

from __future__ import annotations

import dataclasses
import html
import importlib.resources
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freqlab import __version__
from freqlab.reports.figures import SMALLEST_TEXT

__all__ = [
    "executed",
    "finished_at",
    "lead_of",
    "metadata_of",
    "page_of",
    "parameters_of",
    "picture_of",
    "render",
    "title_of",
]

_TAGS = {
    *("a", "b", "blockquote", "br", "caption", "code", "dd", "div", "dl", "dt", "em", "hr", "i"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "li", "ol", "p", "pre", "small", "span", "strong"),
    *("sub", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul"),
}
_ATTRIBUTES = {
    "*": {"class", "id", "title"},
    "a": {"href"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
}
_URL_SCHEMES = {"http", "https", "mailto"}
_LEAD, _FOLDED = "celltag_lead", "celltag_folded"
_POWER = re.compile(r"(\d*\.?\d+e[-+]\d+)")


@dataclass
class Section:
    """A section of a page.

    Parameters
    ----------
    heading
        Its heading, as plain text; empty for what comes before the first one.
    key
        Its name in links.
    folded
        Whether the reader unfolds it.
    body
        Its content, as HTML.
    """

    heading: str
    key: str
    folded: bool
    body: str = ""


def page_of(notebook: Any, *, name: str, others: Mapping[str, str]) -> str:
    """Render an executed notebook as one page, without code, scripts and remote resources.

    Parameters
    ----------
    notebook
        The executed notebook.
    name
        Name of the report.
    others
        Titles of the other reports in the folder, by the names of their pages.
    """
    sections = _sections(_body(notebook))
    return render(
        "report.html.j2",
        name=name,
        title=title_of(notebook),
        lead=lead_of(notebook),
        sections=[dataclasses.asdict(section) for section in sections],
        parameters=parameters_of(notebook),
        finished=finished_at(notebook),
        notebook=f"{name}.ipynb",
        others=others,
    )


def render(template: str, **values: Any) -> str:
    """Render a template of this package."""
    import jinja2

    folder = importlib.resources.files("freqlab.reports") / "pages"
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.loader = jinja2.FileSystemLoader(str(folder))
    return environment.get_template(template).render(version=__version__, **values)


def executed(path: Path) -> Any:
    """Read the executed notebook of a report; None if it is not one."""
    import nbformat

    try:
        notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
        title_of(notebook), lead_of(notebook), parameters_of(notebook), finished_at(notebook)
        return notebook
    except Exception:  # other files may raise any error in the reader
        return None


def title_of(notebook: Any) -> str:
    """Title of a report: the first line of its first cell."""
    first = notebook.cells[0].source.splitlines()[0]
    return str(first.lstrip("# ").strip())


def lead_of(notebook: Any) -> str:
    """First paragraph under the title, as plain text."""
    paragraphs = notebook.cells[0].source.split("\n\n")
    text = paragraphs[1] if len(paragraphs) > 1 else ""
    return html.unescape(re.sub(r"[*_`]|\[([^]]*)\]\([^)]*\)", r"\1", text)).replace("\n", " ")


def parameters_of(notebook: Any) -> dict[str, str]:
    """Parameters of the executed notebook that were given, as JSON."""
    given: Mapping[str, Any] = notebook.metadata.papermill.parameters
    return {str(key): json.dumps(value, ensure_ascii=False) for key, value in given.items()}


def finished_at(notebook: Any) -> str:
    """When the report was made, in UTC."""
    return str(notebook.metadata.papermill.end_time)[:16].replace("T", " ") + " UTC"


def metadata_of(notebook: Any, key: str) -> Any:
    """Value of a key in the metadata of the outputs; None if no output has it."""
    for output in _outputs(notebook):
        if key in output.get("metadata", {}):
            return output["metadata"][key]
    return None


def picture_of(notebook: Any) -> str:
    """The lead figure of a report, a PNG in base64; empty if there is none."""
    for cell in notebook.cells:
        if "lead" in cell.metadata.get("tags", []):
            for output in cell.get("outputs", []):
                if "image/png" in output.get("data", {}):
                    return str(output.data["image/png"])
    return ""


def _outputs(notebook: Any) -> Iterator[Any]:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            yield from cell.outputs


def _body(notebook: Any) -> str:
    """Render the cells as HTML, sanitised; figures carry their size and smallest text."""
    from nbconvert import HTMLExporter

    smallest = []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                about = output.metadata.setdefault("image/png", {})
                about["alt"] = cell.metadata.get("alt") or output.data.get("text/plain", "figure")
                smallest.append(about.get(SMALLEST_TEXT, ""))
    exporter = HTMLExporter(  # type: ignore[no-untyped-call]
        template_name="basic", exclude_input=True, exclude_output_prompt=True, sanitize_html=True
    )
    exporter.register_filter("clean_html", _clean)  # type: ignore[no-untyped-call]
    body, _ = exporter.from_notebook_node(notebook)
    sizes = iter(smallest)
    return re.sub(
        r'<img(?= [^>]*src="data:image/png)',
        lambda _: f'<img data-smallest-text="{next(sizes)}"',
        re.sub(r"<script\b.*?</script>", "", body, flags=re.DOTALL),
    )


def _clean(markup: str) -> str:
    """Remove active and remote content from cell output: names of faces may be markup."""
    import nh3

    return nh3.clean(
        str(markup),
        tags=_TAGS,
        clean_content_tags={"style"},  # CSS is removed with its tag; other tags leave their text
        attributes=_ATTRIBUTES,
        url_schemes=_URL_SCHEMES,
        link_rel=None,
    )


def _sections(body: str) -> list[Section]:
    """Cut the page into sections at its headings, number figures and tables."""
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(body, "html.parser")
    for anchor in soup.select("a.anchor-link"):
        anchor.decompose()
    _number_figures(soup)
    _number_tables(soup)
    sections = [Section("", "top", False)]
    for cell in soup.select("div.cell"):
        folded = _FOLDED in cell.get_attribute_list("class")
        for part in cell.select(".text_cell_render, .output_subarea, figure"):
            if part.name != "figure" and part.find_parent("figure"):
                continue
            for element in [part] if part.name == "figure" else list(part.children):
                if getattr(element, "name", None) == "h1":
                    continue
                if getattr(element, "name", None) == "h2":
                    heading = element.get_text().strip()
                    sections.append(Section(heading, _key(heading), folded))
                elif not (isinstance(element, str) and not element.strip()):
                    sections[-1].body += f"{element}\n"
    return sections[1:] if len(sections) > 1 else sections


def _key(heading: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-") or "section"


def _number_figures(soup: Any) -> None:
    """Put each picture in a figure with a numbered caption, its alternative text."""
    number = 0
    for cell in soup.select("div.cell"):
        pictures = cell.select("img[src^='data:image/png']")
        number += bool(pictures)
        for position, picture in enumerate(pictures, start=1):
            figure = soup.new_tag("figure", attrs={"class": ["figure"]})
            if _LEAD in cell.get_attribute_list("class"):
                figure["class"] = ["figure", "lead"]
            width = int(picture.get("width", 900))
            figure["style"] = f"--width: {width}px"
            area = picture.find_parent(class_="output_subarea") or picture
            area.replace_with(figure)
            frame = soup.new_tag("div", attrs={"class": "picture"})
            frame.append(picture.extract() if picture.parent else picture)
            figure.append(frame)
            caption = soup.new_tag("figcaption")
            label = soup.new_tag("b")
            which = f", {position} of {len(pictures)}" if len(pictures) > 1 else ""
            label.string = f"Figure {number}{which}. "
            caption.append(label)
            caption.append(f"{picture['alt'].rstrip('.')}.")
            figure.append(caption)


def _number_tables(soup: Any) -> None:
    """Number the captions of tables, and let wide ones scroll on a narrow screen."""
    for number, table in enumerate(soup.select("table"), start=1):
        caption = table.find("caption")
        if caption is None:
            caption = soup.new_tag("caption")
            table.insert(0, caption)
        label = soup.new_tag("b")
        label.string = f"Table {number}. "
        caption.insert(0, label)
        for text in table.find_all(string=_POWER):
            text.replace_with(*_with_whole_powers(soup, str(text)))
        frame = soup.new_tag("div", attrs={"class": "table"})
        table.wrap(frame)


def _with_whole_powers(soup: Any, text: str) -> Iterator[Any]:
    """Text in which no line ends within a number such as 1e-3."""
    for position, part in enumerate(_POWER.split(text)):
        if position % 2:
            whole = soup.new_tag("span", attrs={"class": "whole"})
            whole.string = part
            yield whole
        elif part:
            yield part

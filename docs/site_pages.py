"""Pages that are generated from the package: reference, commands, reports, models, face sets.

They are written into ``docs/reference`` and ``docs/figures.md`` when the site is built, and are not
committed. What a package exports is documented without being listed here: a new public name shows
up by itself, and a new package is an error until it has a group.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gallery
import site_references
import typer.main
from sphinx.pycode import ModuleAnalyzer

import freqlab
from freqlab.cli import app
from freqlab.reports.calls import report_names, report_parameters

# Subject, package and its title, in the order of the reference.
GROUPS = {
    "First steps": {"": "Top level"},
    "Subjects": {
        "verification": "Verification",
        "bias": "Bias between groups",
        "resolution": "Cross-resolution",
        "morphing": "Morphing and manipulation",
        "faithfulness": "Faithfulness of explanations",
        "saliency": "Other explanations",
        "adversarial": "Adversarial faces",
        "improve": "Improving decisions",
    },
    "Data": {
        "faces": "Faces and pairs",
        "datasets": "Face sets",
        "models": "Models",
        "bands": "Bands",
        "images": "Images and templates",
    },
    "Results": {
        "results": "Profiles and sentences",
        "plots": "Plots",
        "edits": "Editing pairs",
        "inspector": "Inspector",
        "store": "The store",
    },
    "Foundations": {
        "statistics": "Statistics",
        "engine": "Engine",
        "testing": "Test data",
        "errors": "Errors",
    },
}

# Kinds of names of a package by how they are named, in the order of a page.
_KINDS: dict[str, Callable[[str, object], bool]] = {
    "Classes": lambda name, value: isinstance(value, type) and not issubclass(value, Exception),
    "Errors and warnings": lambda name, value: isinstance(value, type),
    "The study": lambda name, value: name in ("study", "summary"),
    "Plots": lambda name, value: name.endswith("_plot") or name == "contact_sheet",
    "Tables": lambda name, value: name.endswith(("_table", "_tables")),
    "Sentences": lambda name, value: name.startswith("describe_"),
    "Functions": lambda name, value: callable(value),
    "Constants": lambda name, value: True,
}


def _page(file: Path, text: str) -> None:
    """Write a page unless it is there with this text, so that a build reads only what changed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = text.rstrip() + "\n"
    if not file.exists() or file.read_text() != text:
        file.write_text(text)


def _summary(value: object) -> str:
    lines = (value.__doc__ or "").strip().splitlines()
    return lines[0] if lines else ""


def _constant(module: types.ModuleType, name: str) -> str:
    """Return the entry of a value that is no function, with the text below its definition."""
    value = getattr(module, name)
    head = f".. py:data:: {module.__name__}.{name}\n"
    if len(repr(value)) < 60:
        head += f"   :value: {value!r}\n"
    for place in list(sys.modules.values()):
        if not getattr(place, "__name__", "").startswith(f"{module.__name__}."):
            continue
        if getattr(place, name, None) is not value:
            continue
        described = ModuleAnalyzer.for_module(place.__name__).find_attr_docs()
        if ("", name) in described:
            text = "\n   ".join(described["", name])
            return f"{head}\n   {text}\n"
    return head


def _package(module: types.ModuleType, title: str, names: list[str]) -> str:
    about = (module.__doc__ or "").strip() if module is not freqlab else ""
    parts = [title, "=" * len(title), "", f"``{module.__name__}``", "", about, ""]
    left = list(names)
    for kind, belongs in _KINDS.items():
        chosen = [name for name in left if belongs(name, getattr(module, name))]
        left = [name for name in left if name not in chosen]
        if not chosen:
            continue
        parts += [kind, "-" * len(kind), ""]
        if kind == "Constants":
            parts += [_constant(module, name) for name in chosen]
            continue
        parts += [".. autosummary::", "   :nosignatures:", "   :toctree: names", ""]
        parts += [f"   {module.__name__}.{name}" for name in chosen] + [""]
    shared = [
        name
        for name in module.__all__
        if name not in names and not isinstance(getattr(module, name), types.ModuleType)
    ]
    if shared:
        known = site_references.aliases()
        links = ", ".join(f":py:obj:`{known[f'{module.__name__}.{name}']}`" for name in shared)
        parts += ["See also", "--------", "", f"Documented elsewhere: {links}.", ""]
    return "\n".join(parts)


def _reference(folder: Path) -> None:
    documented = site_references.documented()
    listed = [package for packages in GROUPS.values() for package in packages]
    if sorted(listed) != sorted(documented):
        raise ValueError(f"packages without a group: {set(documented) ^ set(listed)}")
    packages = {
        name for name in freqlab.__all__ if isinstance(getattr(freqlab, name), types.ModuleType)
    }
    if packages != set(listed) - {""}:
        raise ValueError(f"packages that are not documented: {packages ^ (set(listed) - {''})}")
    lines = [
        "# Python interface",
        "",
        "Every public name, grouped by subject. `import freqlab as fl` gives access to all of",
        "them: `fl.influence`, `fl.bias.study`. The names of functions follow one rule: a noun",
        "returns a dataset, `*_table` returns a `pandas.DataFrame`, `describe_*` returns a",
        "sentence, and `*_plot` draws a figure and returns its axes.",
        "",
    ]
    pages = []
    for group, members in GROUPS.items():
        lines += [f"## {group}", "", "| package | names | |", "|---|---|---|"]
        for package, title in members.items():
            module = getattr(freqlab, package) if package else freqlab
            page = package or "top_level"
            pages.append(page)
            _page(folder / f"{page}.rst", _package(module, title, documented[package]))
            about = _summary(module) if package else "What is used in the first hour."
            n_names = len(documented[package])
            lines.append(f"| [{title}]({page}.rst) `{module.__name__}` | {n_names} | {about} |")
        lines.append("")
    lines += ["```{toctree}", ":hidden:", "", *pages, "```"]
    _page(folder / "index.md", "\n".join(lines))


def _cell(text: object) -> str:
    """Return text for a cell of a table; what lies between backticks stays code."""
    parts = " ".join(str(text).split()).replace("|", "\\|").split("`")
    for at in range(0, len(parts), 2):
        parts[at] = re.sub(r"([_*\[\]])", r"\\\1", parts[at]).replace("<", "&lt;")
    return "`".join(parts)


def _commands(file: Path) -> None:
    group: Any = typer.main.get_command(app)
    lines = [
        "# Command line",
        "",
        "`freqlab COMMAND --help` prints the same in a terminal; `python -m freqlab` is the same",
        "program. A repeatable option is given once for each value. Messages go to standard",
        "error, and a bad argument ends a command with status 2.",
        "",
        "| command | |",
        "|---|---|",
    ]
    for name, command in group.commands.items():
        lines.append(f"| [`freqlab {name}`](#freqlab-{name}) | {_cell(_paragraph(command.help))} |")
    for name, command in group.commands.items():
        lines += ["", f"## freqlab {name}", "", _shown(command.help), ""]
        if command.epilog:
            lines += [_shown(command.epilog), ""]
        for parameter in command.params:
            lines.append(_option(parameter))
    _page(file, "\n".join(lines))


def _paragraph(text: str | None) -> str:
    return (text or "").strip().split("\n\n")[0]


def _shown(text: str | None) -> str:
    return (text or "").strip().replace("<", "&lt;")


def _option(parameter: Any) -> str:
    names = [*parameter.opts, *parameter.secondary_opts]
    if parameter.param_type_name == "argument":
        names = [parameter.name.upper()]
    shown = ", ".join(f"`{name}`" for name in names) + (" (required)" if parameter.required else "")
    annotation = parameter.type_descriptor.annotation
    if not getattr(parameter, "is_flag", False):
        shown += f" {_value(annotation)}"
    about = _cell(parameter.help or "").rstrip(".") + "."
    default = parameter.default
    if default is not None and default is not False and not callable(default):
        about += f" Default: `{default}`."
    return f"{shown}\n: {about}\n"


def _value(annotation: Any) -> str:
    """Return what a value of an option is, in a word."""
    if "Literal" in str(annotation):
        return " or ".join(f"`{value}`" for value in annotation.__args__)
    of_list = getattr(annotation, "__args__", ())
    kind = getattr(of_list[0] if of_list else annotation, "__name__", str(annotation))
    return {"str": "text", "int": "whole number", "float": "number", "Path": "path"}.get(kind, kind)


def _reports(file: Path) -> None:
    lines = [
        "# Parameters of the reports",
        "",
        "`freqlab report NAME -p name=value` sets a parameter; `fl.report(NAME, name=value)` does",
        "the same in Python. `freqlab report NAME --parameters` prints these tables.",
    ]
    for name in report_names():
        lines += ["", f"## {name}", ""]
        for parameter in report_parameters(name).values():
            kind, default = f"`{parameter.type_name}`", f"`{parameter.default!r}`"
            about = _cell(parameter.about).rstrip(".") + "."
            lines += [f"`{parameter.name}` {kind}", f": {about} Default: {default}.", ""]
    _page(file, "\n".join(lines))


def _catalogue(file: Path, title: str, text: str, table: Any, *, wide: bool = False) -> None:
    """Write a table, or a section for each row of a table that is too wide."""
    table = table.reset_index()
    lines = [f"# {title}", "", text, ""]
    if wide:
        for row in table.astype(str).to_dict("records"):
            name, about, *rest = row
            lines += [f"## {row[name]}", "", _cell(row[about]) + ".", ""]
            for column in filter(row.get, rest):
                lines += [f"{column}", f": {_cell(row[column])}", ""]
    else:
        lines += ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
        for row in table.astype(str).to_numpy():
            lines.append("| " + " | ".join([f"`{row[0]}`", *map(_cell, row[1:])]) + " |")
    _page(file, "\n".join(lines))


def _models() -> Any:
    """The models known by name; on any machine the same, whatever weights it has."""
    table = freqlab.models.known()
    table["size"] = table["size"].str.replace(" x ", "×")
    table["weights"] = table["weights"].replace("here", "installed")
    return table


def _figures(file: Path) -> None:
    """Write thumbnails of all figures by subject, from the cells of the gallery."""
    cells = gallery.read_cells(gallery.CODE.read_text())
    lines = [
        "# Gallery",
        "",
        "Every figure of [freqlab.plots](reference/api/plots.rst) by subject. A picture leads to",
        "the figure in full size, with the code that draws it. All figures are drawn from the ORL",
        "Database of Faces, AT&T Laboratories Cambridge.",
    ]
    is_open = False
    for cell in cells:
        if cell.opens:
            lines += ["::::", ""] if is_open else [""]
            lines += [f"## {cell.title}", "", "::::{grid} 2 3 4 4", ":gutter: 3", ""]
            is_open = True
            continue
        lines += [
            f":::{{grid-item-card}} {cell.title.replace('_', ' ')}",
            f":img-top: gallery/{cell.picture.name}",
            f":img-alt: {cell.text.split('. ')[0].replace('`', '')}",
            f":link: gallery.html#{cell.title.replace(' ', '-')}",
            ":text-align: center",
            ":::",
            "",
        ]
    text = "\n".join([*lines, "::::", "", "```{toctree}", ":hidden:", "", "gallery", "```"])
    empty = "::::{grid} 2 3 4 4\n:gutter: 3\n\n::::\n"
    while empty in text:
        before, after = text.split(empty, 1)
        text = before[: before.rindex("## ")] + after.lstrip("\n")
    _page(file, text)


def write(docs: Path) -> None:
    """Write all generated pages.

    Parameters
    ----------
    docs
        The folder of the documentation.
    """
    _reference(docs / "reference" / "api")
    _commands(docs / "reference" / "command_line.md")
    _reports(docs / "reference" / "report_parameters.md")
    _catalogue(
        docs / "reference" / "known_models.md",
        "Models known by name",
        "`freqlab models` prints this table, `fl.models.known()` returns it. The weights column"
        " is of an installation with the extras `demo` and `dlib`, whose packages carry weights."
        " [How to bring your own model](../how_to/models.md) explains the other kinds.",
        _models(),
    )
    _catalogue(
        docs / "reference" / "known_face_sets.md",
        "Face sets known by name",
        "`freqlab datasets` prints this table, `fl.datasets.known()` returns it. freqlab downloads"
        " none of these sets: obtain them from their owners, under their terms.",
        freqlab.datasets.known(),
        wide=True,
    )
    _figures(docs / "figures.md")

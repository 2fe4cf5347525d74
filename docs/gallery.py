"""Draw the pictures of the gallery, and write its page from the code that drew them.

``docs/gallery_code.py`` holds the code, in cells: one that begins with ``# %% [title] Words`` opens
a chapter and prepares its data, one that begins with ``# %% name`` draws the figure of that name.
Comments at the head of a cell are its text. What the page shows is what runs.

    python docs/gallery.py           # pictures and page; a few minutes the first time
    python docs/gallery.py --page    # the page only, without running a model
    python docs/gallery.py --only cmc_plot fnir_plot  # these pictures, by the cells they need

A figure that is drawn twice has what it shows in its name: ``# %% discard_plot of searches``.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOCS = Path(__file__).parent
PAGE = DOCS / "gallery.md"
CODE = DOCS / "gallery_code.py"
PICTURES = DOCS / "gallery"
NUMBERS_OF_COLOURS = (220, 110, 55, 25)
GREYS = range(0, 256, 15)  # besides, for faces, black and white
LARGEST = 120_000  # bytes of a picture

HEAD = """# Every figure

One picture for each plot of `fl.plots`, with the code that drew it; `make gallery` draws them
again. A plot takes data and returns the axes it drew on. A plot of one panel takes `ax=`, so that
it fits into a figure of your own; one of several panels takes `height=`, in inches, and `aspect=`,
the width over the height. `model=` may be left out where the data are of one model.
`ax.figure.savefig("name.png")` writes a picture of the size that is shown here. What stands at the
axes is the data's own `long_name` and `units`.

Faces: ORL Database of Faces, AT&T Laboratories Cambridge.
"""


@dataclass(frozen=True)
class Cell:
    """A piece of the code: what it is called, what is said of it, what it runs."""

    title: str
    text: str
    code: str
    line: int
    opens: bool

    @property
    def picture(self) -> Path:
        """Where its picture is kept."""
        return PICTURES / f"{self.title.replace(' ', '_')}.png"

    @property
    def anchor(self) -> str:
        """Its heading as the target of a link."""
        return self.title.replace(" ", "-")

    @property
    def needs(self) -> set[str]:
        """Names that the code reads before it assigns them."""
        return self._names()[0]

    @property
    def assigns(self) -> set[str]:
        """Names that the code assigns."""
        return self._names()[1]

    def _names(self) -> tuple[set[str], set[str]]:
        """Names read before they are assigned, and names assigned."""
        needs: set[str] = set()
        assigned: set[str] = set()
        for statement in ast.parse(self.code).body:
            nodes = list(ast.walk(statement))
            local = {
                name.id
                for node in nodes
                if isinstance(node, ast.comprehension)
                for name in ast.walk(node.target)
                if isinstance(name, ast.Name)
            }
            used = [node for node in nodes if isinstance(node, ast.Name) and node.id not in local]
            needs |= {n.id for n in used if isinstance(n.ctx, ast.Load)} - assigned
            assigned |= {n.id for n in used if isinstance(n.ctx, ast.Store)}
            assigned |= {
                alias.asname or alias.name
                for node in nodes
                if isinstance(node, ast.Import)
                for alias in node.names
            }
        return needs, assigned


def read_cells(source: str) -> list[Cell]:
    """The cells of a script."""
    cells = []
    for match in re.finditer(r"^# %% (\[title\] )?(.+)\n((?:(?!# %%).*\n?)*)", source, re.M):
        lines = match[3].splitlines()
        n_text = next((i for i, one in enumerate(lines) if not one.startswith("#")), len(lines))
        text = " ".join(one.removeprefix("#").strip() for one in lines[:n_text])
        code = "\n".join(lines[n_text:]).strip()
        line = source[: match.start(3)].count("\n") + n_text
        cells.append(Cell(match[2].strip(), text, code, line, bool(match[1])))
    return cells


def page_text(cells: list[Cell]) -> str:
    """The page, as Markdown."""
    parts, chapters = [HEAD], []
    for cell in cells:
        if cell.opens:
            chapters.append((cell.title, []))
        else:
            chapters[-1][1].append(f"[`{cell.title}`](#{cell.anchor})")
    parts.append(
        "\n".join(f"- {title}: {', '.join(names)}" for title, names in chapters if names) + "\n"
    )
    for cell in cells:
        heading = f"## {cell.title}" if cell.opens else f"### {cell.title}"
        parts.append(f"{heading}\n\n{cell.text}\n")
        if cell.code:
            parts.append(f"```python\n{cell.code}\n```\n")
        if not cell.opens:
            parts.append(f"![{cell.title}: {cell.text}](gallery/{cell.picture.name})\n")
    return "\n".join(parts)


def cells_for(cells: list[Cell], titles: list[str]) -> list[Cell]:
    """The cells that draw these figures, and those before them that assign what they need.

    Raises
    ------
    SystemExit
        If there is no such figure.
    """
    figures = {cell.title: number for number, cell in enumerate(cells) if not cell.opens}
    unknown = [title for title in titles if title not in figures]
    if unknown:
        raise SystemExit(f"no figure {unknown[0]!r}; there are: {', '.join(figures)}")
    waiting, chosen = [figures[title] for title in titles], set()
    while waiting:
        number = waiting.pop()
        chosen.add(number)
        for name in cells[number].needs:
            before = [k for k in range(number) if name in cells[k].assigns]
            if before and before[-1] not in chosen:
                waiting.append(before[-1])
    return [cells[number] for number in sorted(chosen)]


def draw(cells: list[Cell]) -> None:
    """Run the cells in order, and keep the picture of each that draws one."""
    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcdefaults()
    import matplotlib.pyplot as plt

    PICTURES.mkdir(exist_ok=True)
    names: dict[str, object] = {}
    for cell in cells:
        began = time.perf_counter()
        # so that a traceback names the line in the file
        padded = "\n" * cell.line + cell.code
        exec(compile(padded, str(CODE), "exec"), names)  # noqa: S102 -- the repository's own
        told = f"{cell.title}: {time.perf_counter() - began:.1f} s"
        if not cell.opens:
            cell.picture.write_bytes(picture_of(plt.gcf()))
            told += f", {cell.picture.stat().st_size / 1000:.0f} kB"
            plt.close("all")
        print(told, flush=True)


def picture_of(figure: Figure) -> bytes:
    """A figure as a PNG file of few colours, fewer the larger it is."""
    import numpy as np
    from PIL import Image
    from scipy.spatial import cKDTree

    raw, small = io.BytesIO(), io.BytesIO()
    figure.savefig(raw)  # as a reader saves it
    pixels = np.asarray(Image.open(raw).convert("RGB"))
    colours, at = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    for n_colours in NUMBERS_OF_COLOURS:
        # each colour counts once, or those of the faces would take the place of the rest
        few = Image.fromarray(colours[None]).quantize(n_colours).getpalette()
        entries = [*few[: 3 * n_colours], *np.repeat(GREYS, 3)]
        _, nearest = cKDTree(np.reshape(entries, (-1, 3))).query(colours)
        image = Image.fromarray(nearest.astype(np.uint8)[at].reshape(pixels.shape[:2]))
        image.putpalette(entries)
        small = io.BytesIO()
        image.save(small, "PNG", optimize=True)
        if small.tell() <= LARGEST:
            break
    return small.getvalue()


def main() -> None:
    """Draw what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", action="store_true", help="write the page only")
    parser.add_argument("--only", nargs="+", metavar="FIGURE", help="draw these figures only")
    chosen = parser.parse_args()
    cells = read_cells(CODE.read_text())
    if not chosen.page:
        print("Drawing the gallery on the built-in faces; the run is kept in runs/gallery.zarr.")
        draw(cells_for(cells, chosen.only) if chosen.only else cells)
    PAGE.write_text(page_text(cells))
    print(f"Wrote {PAGE}.")


if __name__ == "__main__":
    main()

"""Draw the pictures of the gallery, and write its page from the code that drew them.

``docs/gallery_code.py`` holds the code, in cells: one that begins with ``# %% [title] Words`` opens
a chapter and prepares its data, one that begins with ``# %% name`` draws the figure of that name.
Comments at the head of a cell are its text. What the page shows is what runs.

    python docs/gallery.py           # pictures and page; a few minutes the first time
    python docs/gallery.py --page    # the page only, without running a model
"""

from __future__ import annotations

import argparse
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
        return PICTURES / f"{self.title}.png"


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
            chapters[-1][1].append(f"[`{cell.title}`](#{cell.title})")
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
    cells = read_cells(CODE.read_text())
    if not parser.parse_args().page:
        print("Drawing the gallery on the built-in faces; the run is kept in runs/gallery.zarr.")
        draw(cells)
    PAGE.write_text(page_text(cells))
    print(f"Wrote {PAGE}.")


if __name__ == "__main__":
    main()

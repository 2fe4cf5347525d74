"""Check that every link within the built site leads to a page and to a place on it.

python docs/site_links.py docs/_build/html
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """The links of a page, and the places to which a link can lead."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note links and places."""
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name == "id" and value:
                self.places.add(value)


def broken_links(folder: Path) -> list[str]:
    """Return the links of a built site that lead nowhere, as ``page: link``.

    Parameters
    ----------
    folder
        The built site.
    """
    pages = {}
    for file in folder.rglob("*.html"):
        if "_static" in file.parts:
            continue
        page = _Page()
        page.feed(file.read_text(encoding="utf-8"))
        pages[file.resolve()] = page
    broken = []
    for file, page in pages.items():
        for link in page.links:
            address = urlsplit(link)
            if address.scheme or address.netloc:
                continue
            target = (file.parent / unquote(address.path)).resolve() if address.path else file
            place = unquote(address.fragment)
            found = target.exists() and (
                not place or target not in pages or place in pages[target].places
            )
            if not found:
                broken.append(f"{file.relative_to(folder.resolve())}: {link}")
    return sorted(set(broken))


def main() -> None:
    """Print the broken links of the site in the folder given, and exit with status 1."""
    folder = Path(sys.argv[1])
    broken = broken_links(folder)
    print("\n".join(broken) or f"links: all of {len(list(folder.rglob('*.html')))} pages lead on")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()

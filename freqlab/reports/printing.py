"""Pages as PDF, printed by an installed Chromium."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from freqlab.errors import FreqlabError

__all__ = ["print_pages"]

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "msedge")
_SECONDS = 120


def print_pages(pages: Iterable[Path]) -> list[Path]:
    """Print pages as PDF beside them; return the files.

    Raises
    ------
    FreqlabError
        If no Chromium is installed, or it fails.
    """
    browser = next((path for name in _BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        raise FreqlabError(
            f"printing needs Chromium or a browser that is based on it ({', '.join(_BROWSERS)}); "
            f"none is installed. Any browser prints the pages by hand"
        )
    return [_printed(browser, page) for page in pages]


def _printed(browser: str, page: Path) -> Path:
    target = page.with_suffix(".pdf").absolute()
    with tempfile.TemporaryDirectory() as profile:
        command = [
            browser,
            "--headless",
            "--no-sandbox",  # it shows a page of ours, without scripts; root has no sandbox
            "--disable-gpu",
            "--no-pdf-header-footer",
            f"--user-data-dir={profile}",
            f"--print-to-pdf={target}",
            page.absolute().as_uri(),
        ]
        try:
            ended = subprocess.run(
                command, capture_output=True, text=True, timeout=_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise FreqlabError(f"{browser} did not print {page} within {_SECONDS} s") from None
    if ended.returncode or not target.is_file():
        said = ended.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise FreqlabError(f"{browser} could not print {page}: {said[0]}")
    return page.with_suffix(".pdf")

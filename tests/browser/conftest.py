"""One Chromium for all tests of pages."""

import os
import shutil

import pytest


@pytest.fixture(scope="session")
def chromium():
    """Path of the browser of this machine."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        missing = "there is no Chromium here (apt install chromium)"
        if os.environ.get("FREQLAB_BROWSER") == "required":
            pytest.fail(f"{missing}, and FREQLAB_BROWSER=required")
        pytest.skip(missing)
    return found


@pytest.fixture(scope="session")
def browser(chromium):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()

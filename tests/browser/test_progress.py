"""Progress as seen in JupyterLab: bars of a line each while a call runs, then its summary.

A real JupyterLab is driven in the Chromium of the system; without one the test is skipped, unless
FREQLAB_BROWSER=required. Screenshots are left in test-results/.
"""

import re
import time
from pathlib import Path

import nbformat
import pytest
from servers import jupyterlab, write_cells

SCREENSHOTS = Path(__file__).parents[2] / "test-results"
RUN = """
import time
import freqlab as fl

class Slow(fl.testing.LinearNetwork):
    def forward(self, images):
        time.sleep(0.02)
        return super().forward(images)

print("before")
faces = fl.testing.faces(20, 2)
result = fl.influence(
    faces,
    fl.make_pairs(faces, seed=0),
    models=[fl.wrap_model(Slow(), name="slow")],
    bands="rings:14",
    batch_size=2,
    compile=False,
    store="run.zarr",
)
"""
LINES = """() => [...document.querySelectorAll('.jp-OutputArea progress')].map(bar => {
    const line = bar.parentElement;
    const box = line.getBoundingClientRect();
    const seen = line.lastChild.getBoundingClientRect().right <= box.right;
    return [line.textContent, box.height, parseFloat(getComputedStyle(line).fontSize), seen];
})"""


@pytest.fixture(scope="module")
def lab(chromium, tmp_path_factory):
    root, config = tmp_path_factory.mktemp("lab"), tmp_path_factory.mktemp("config")
    theme = config / "settings/@jupyterlab/apputils-extension/themes.jupyterlab-settings"
    with jupyterlab(root, config) as address:
        yield root, address, theme


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "scheme"), [(1400, "light"), pytest.param(750, "dark", marks=pytest.mark.exhaustive)]
)
def test_bars_are_a_line_each_and_only_the_summary_stays(lab, browser, width, scheme):
    root, address, theme = lab
    theme.write_text(f'{{"theme": "JupyterLab {scheme.title()}"}}')
    path = root / f"progress-{width}.ipynb"
    write_cells(path, RUN.replace("run.zarr", f"run-{width}.zarr"))
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.goto(address.format(path.name))
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.get_by_text("| Idle").wait_for()
    page.locator(".jp-Notebook .jp-Cell .cm-content").first.click()
    page.keyboard.press("Shift+Enter")

    page.get_by_text("img/s").wait_for()
    lines = page.evaluate(LINES)
    page.screenshot(path=SCREENSHOTS / f"progress-{width}-running.png")
    assert [text.split("/")[1].split()[0] for text, *_ in lines] == ["40", "240"]
    assert lines[0][0].startswith("aligning faces")
    assert lines[1][0].startswith("slow: forward passes")
    assert all(re.search(r" · [\d.]+ (img|face)/s · \d\d:\d\d left$", text) for text, *_ in lines)
    assert all(height < 2 * size and seen for _, height, size, seen in lines)

    page.get_by_text("40 faces, ").wait_for()
    assert page.locator("progress").count() == 0
    red = "[data-mime-type='application/vnd.jupyter.stderr']"
    assert page.locator(f".jp-OutputArea {red}").count() == 0
    page.screenshot(path=SCREENSHOTS / f"progress-{width}.png")
    page.keyboard.press("Control+s")
    outputs = saved(path)
    context.close()
    assert [output["output_type"] for output in outputs] == ["stream", "display_data"]
    assert outputs[0]["text"] == "before\n"
    assert set(outputs[1]["data"]) == {"text/plain"}
    first, second = outputs[1]["data"]["text/plain"].splitlines()
    assert first.startswith("slow (template ")
    assert first.endswith(": 240 forward passes")
    assert second.startswith("40 faces, ")


def saved(path):
    """The outputs in a notebook's file, once there are some."""
    end = time.monotonic() + 60
    while True:
        outputs = nbformat.read(path, as_version=4).cells[0].outputs
        if outputs:
            return outputs
        assert time.monotonic() < end, "the notebook was not saved"
        time.sleep(0.2)

"""The static page of recorded similarities as a reader meets it: opened from a file.

The page is driven in the Chromium of the system; without one the test is skipped, unless
FREQLAB_BROWSER=required. Screenshots are left in test-results/.
"""

from pathlib import Path

import numpy as np
import pytest

import freqlab as fl

SCREENSHOTS = Path(__file__).parents[2] / "test-results"
SMALLEST = 8 * 96 / 72  # CSS pixels: 8 points
SIZES = """() => [...document.querySelectorAll('main *')]
  .filter(e => e.checkVisibility())
  .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
  .map(e => parseFloat(getComputedStyle(e).fontSize))"""


@pytest.fixture
def opened(browser):
    """Open a page from its file; an error of the console or a request for another file fails."""
    contexts, wrong = [], []

    def open_page(path, *, width=1280, scheme="light"):
        viewport = {"width": width, "height": 900}
        contexts.append(browser.new_context(viewport=viewport, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.set_default_timeout(60_000)
        address = path.absolute().as_uri()
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request",
            lambda asked: (
                None
                if asked.url == address or asked.url.startswith("data:")
                else wrong.append(f"asked for {asked.url}")
            ),
        )
        page.goto(address)
        page.locator("#faces img").first.wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose pairs have decisions; removing one band changes some of them."""
    faces = fl.testing.faces(16)
    store = tmp_path_factory.mktemp("recorded") / "run.zarr"
    pairs = fl.make_pairs(faces, n_pairs=40, seed=0)
    return fl.testing.influence(faces, pairs, bands="rings:8", store=store).load()


def expect(page, result, *, pair, band, side="probe"):
    """The page shows the recorded values of a pair without a band."""
    one = result.sel(pair=pair, side=side).isel(model=0)
    similarity = float(one["similarity"])
    without = similarity - float(one["influence"][band])
    assert float(page.locator("#similarity").inner_text()) == pytest.approx(similarity, abs=6e-4)
    shown = float(page.locator("#similarity-without").inner_text())
    assert shown == pytest.approx(without, abs=6e-4)
    checked = page.locator("#chart [role=radio][aria-checked=true]")
    assert checked.count() == 1
    assert checked.get_attribute("data-band") == str(band)
    assert page.get_by_label("Band removed").input_value() == str(band + 1)
    threshold = float(result["threshold"].sel(fmr=1e-1).item())
    words = {True: "match", False: "no match"}
    before, after = words[similarity >= threshold], words[without >= threshold]
    said = f"stays: {before}" if before == after else f"changes: {before} → {after}"
    assert page.locator("#verdict").inner_text() == f"The decision {said}."


@pytest.mark.slow
def test_a_saved_page(opened, run, tmp_path):
    """A reader's way: click a bar, use slider and keys, walk through the pairs."""
    path = fl.inspector.save(run, tmp_path / "page.html", fmr=1e-1)
    pairs = list(fl.results.pairs_to_show(run, model="linear", fmr=1e-1).values())
    page = opened(path)
    bars = page.locator("#chart [role=radio]")
    assert bars.count() == run.sizes["band"]
    picture = page.locator("#faces .edited img")
    influence = run["influence"].sel(pair=pairs[0], side="probe", model="linear").to_numpy()
    strongest = int(np.abs(influence).argmax())
    expect(page, run, pair=pairs[0], band=strongest)
    before = picture.get_attribute("src")
    bars.nth(5).click()
    expect(page, run, pair=pairs[0], band=5)
    assert picture.get_attribute("src") != before
    assert picture.evaluate("image => image.naturalWidth") == 112
    page.keyboard.press("ArrowLeft")
    expect(page, run, pair=pairs[0], band=4)
    slider = page.get_by_label("Band removed")
    slider.press("ArrowRight")
    slider.press("ArrowRight")
    expect(page, run, pair=pairs[0], band=6)
    assert slider.get_attribute("aria-valuetext") == "48-56 cycles/image"
    for pair in [*pairs[1:], pairs[0]]:
        page.get_by_role("button", name="Next").click()
        expect(page, run, pair=pair, band=6)
    page.get_by_label("Pair", exact=True).select_option(index=1)
    expect(page, run, pair=pairs[1], band=6)
    assert page.locator("#python").inner_text().endswith(f"pair={pairs[1]})")
    bars.nth(6).click()  # once more: no band is removed
    assert page.locator("#verdict").inner_text() == "No band is removed."
    assert page.locator("#faces .edited img").get_attribute("alt").startswith("The probe, p")
    page.get_by_text("All bands of this pair").click()
    cells = page.locator("#all-bands tbody tr").nth(0).locator("td").all_inner_texts()
    influence = float(run["influence"].sel(pair=pairs[1], side="probe")[0, 0])
    assert float(cells[0]) == pytest.approx(influence, abs=6e-4)


def test_a_band_that_changes_a_decision_is_marked(opened, run, tmp_path):
    kinds = fl.results.pairs_to_show(run, model="linear", fmr=1e-1)
    (pair, *_) = (label for kind, label in kinds.items() if "depends on" in kind)
    page = opened(fl.inspector.save(run, tmp_path / "page.html", fmr=1e-1, pairs=[pair]))
    assert page.locator("#chart .sign").count() > 0
    band = int(page.locator("#chart .band:has(.sign)").first.get_attribute("data-band"))
    page.locator("#chart .band").nth(band).click()
    page.locator("#chart .band").nth(band).press("Escape")
    page.keyboard.press("Home")
    for _ in range(band):
        page.keyboard.press("ArrowRight")
    expect(page, run, pair=pair, band=band)
    assert page.locator("#verdict").inner_text().startswith("The decision changes")
    assert page.get_by_role("button", name="Next").is_disabled()


@pytest.mark.slow
@pytest.mark.parametrize("side", ["probe", "both"])
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (400, "light")])
def test_it_fits_the_screen(opened, run, tmp_path, side, width, scheme):
    path = fl.inspector.save(run, tmp_path / "page.html", side=side, fmr=1e-1)
    page = opened(path, width=width, scheme=scheme)
    page.get_by_text("All bands of this pair").click()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert min(page.evaluate(SIZES)) >= SMALLEST
    SCREENSHOTS.mkdir(exist_ok=True)
    name = f"recorded-{side}-{width}-{scheme}.png"
    page.screenshot(path=SCREENSHOTS / name, full_page=True)


@pytest.mark.slow
def test_hostile_names_run_nothing(opened, tmp_path):
    plain = fl.testing.faces(3, 2)
    names = [
        f"{k}</script><script>console.log(1)</script><img src=x onerror=alert(1)>" for k in "abcdef"
    ]
    table = plain.table.set_axis(names, axis=0)
    faces = fl.Faces(table, images=plain.images, aligned="arcface")
    model = fl.testing.model("<img src=x onerror=alert(2)>")
    result = fl.testing.influence(faces, models=[model], store=tmp_path / "'<b>x.zarr")
    page = opened(fl.inspector.save(result, tmp_path / "page.html", pairs={names[0]: 0}))
    assert page.locator("main b", has_text="onerror=alert(2)").count() == 1
    assert page.locator("#faces img").count() == 3
    assert page.locator("script").count() == 2
    assert "onerror=alert(1)" in page.locator("#faces figcaption").first.inner_text()
    assert "'<b>x.zarr" in page.locator("#python").inner_text()

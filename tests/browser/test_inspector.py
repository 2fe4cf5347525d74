"""The inspector as a user meets it: in JupyterLab and as a page, with mouse and keyboard.

A real JupyterLab and the page of the command line are driven in the Chromium of the system.
Without one these tests are skipped, saying so; FREQLAB_BROWSER=required makes that an error.
Screenshots are left in test-results/.
"""

import contextlib
import io
import json
import math
import os
import re
import shutil
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbconvert import HTMLExporter
from PIL import Image
from servers import jupyterlab, started, write_cells

import freqlab as fl

SCREENSHOTS = Path(__file__).parents[2] / "test-results"
PATIENCE = 120_000  # ms; machines that run tests are slow at times
BANDS = ".freqlab-picker svg.profile [data-band]"


@contextlib.contextmanager
def watched(browser):
    """A page; it fails if its console told of an error, or it asked another machine."""
    size = {"width": 1500, "height": 1250}
    context = browser.new_context(viewport=size, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    wrong = []
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda r: None if is_local(r.url) else wrong.append(f"asked {r.url}"))
    yield page
    page.goto("about:blank")  # before its server goes
    context.close()
    assert wrong == []


@pytest.fixture(autouse=True)
def _screenshot(request):
    """What each test leaves on its page, to look at."""
    names = {"notebook", "served", "page"} & set(request.fixturenames)
    page = request.getfixturevalue(names.pop()) if names else None
    yield
    if page is not None:
        SCREENSHOTS.mkdir(exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"{request.node.name}.png")


@pytest.fixture
def page(browser):
    with watched(browser) as page:
        yield page


def is_local(url):
    return url.startswith(("data:", "blob:", "http://127.0.0.1", "ws://127.0.0.1"))


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """Twelve faces of the demo and two networks; a second column of the pairs to choose by."""
    faces = fl.load_faces("orl").select([10 * s + i for s in (0, 9, 19, 31) for i in (0, 3, 5)])
    pairs = fl.make_pairs(faces, seed=0)
    pairs["half"] = ["first" if k < len(pairs) // 2 else "second" for k in range(len(pairs))]
    store = tmp_path_factory.mktemp("browser") / "orl.zarr"
    return fl.influence(faces, pairs, models=["mobilefacenet", "dlib"], store=store, progress=False)


@pytest.fixture(scope="session")
def lab(chromium, tmp_path_factory):
    """A JupyterLab: its folder, and the address of a notebook in it."""
    root = tmp_path_factory.mktemp("lab")
    with jupyterlab(root, tmp_path_factory.mktemp("config")) as address:
        yield root, address


@pytest.fixture(scope="module")
def opened(browser, lab, run):
    """A notebook in JupyterLab that shows the inspector; its kernel is there."""
    root, address = lab
    source = f"import freqlab as fl\ninspector = fl.inspect({run.attrs['store']!r})\ninspector"
    write_cells(root / "inspect.ipynb", source)
    with watched(browser) as page:
        page.goto(address.format("inspect.ipynb"))
        page.get_by_text("| Idle").wait_for()
        yield page


@pytest.fixture
def notebook(opened):
    """The same, run anew."""
    opened.evaluate("document.querySelector('.freqlab-inspector')?.setAttribute('data-old', '')")
    run_all(opened)
    opened.wait_for_selector(".freqlab-inspector:not([data-old]) .freqlab-pictures img")
    settled(opened)
    return opened


@contextlib.contextmanager
def serving(demo, log, before=""):
    """Address of the page that the command line serves, after some Python code."""
    command = [
        *(sys.executable, "-c", f"{before}\nfrom freqlab.cli import main; main()", "inspect"),
        *(demo.attrs["store"], "--no-browser", "--port", "8971"),
    ]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with started(command, environment, log):
        end = time.monotonic() + 90
        while not (found := re.search(r"http://127\.0\.0\.1:\d+/\?token=\w+", log.read_text())):
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        yield found.group()


@pytest.fixture
def served(browser, demo, tmp_path):
    """The page that the command line serves."""
    with serving(demo, tmp_path / "log") as address, watched(browser) as page:
        page.goto(address)
        page.wait_for_selector(".freqlab-pictures img")
        settled(page)
        yield page


def run_all(page):
    """Run all cells, once the kernel is there."""
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.get_by_text("| Idle").wait_for()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


def save(page):
    """Save the notebook, with the button of the toolbar."""
    page.locator("[data-command='docmanager:save'], [title*='Save and create']").first.click()
    page.wait_for_timeout(3000)


def settled(page, quiet=0.8):
    """Wait until the similarity and the pictures have stopped changing."""
    before, since = None, time.monotonic()
    end = since + 60
    while time.monotonic() < end:
        now = page.evaluate(
            "() => [...document.querySelectorAll('.freqlab-verdict, .freqlab-pictures img')]"
            ".map(e => e.src || e.textContent).join()"
        )
        if now != before:
            before, since = now, time.monotonic()
        elif time.monotonic() - since > quiet:
            return
        page.wait_for_timeout(100)
    raise AssertionError("the inspector does not come to rest")


def chosen(page, panel=0):
    """Bands that the browser marks as chosen."""
    return page.evaluate(
        "k => [...document.querySelectorAll('.freqlab-picker svg.profile')][k]"
        ".querySelectorAll('[aria-checked=true]').length && "
        "[...[...document.querySelectorAll('.freqlab-picker svg.profile')][k]"
        ".querySelectorAll('[aria-checked=true]')].map(g => Number(g.dataset.band)) || []",
        panel,
    )


def shown_similarity(page, panel=0):
    return float(page.locator(".freqlab-verdict .after").nth(panel).inner_text())


def picture(page, number):
    """What the browser has drawn for a picture, as its bytes in PNG."""
    return page.locator(".freqlab-pictures img").nth(number).screenshot()


def expect(page, run, *, panel=0, model="mobilefacenet", **view):
    """The browser says what the network says to this view; on a busy machine, after a while."""
    view = {"pair": 0, **view}
    edited = fl.edits.Inspection(run).edit(model=model, **view)
    similarity = pytest.approx(edited.edited_similarity, abs=6e-4)
    for _ in range(20):
        settled(page)
        if (
            chosen(page, panel) == list(edited.bands)
            and shown_similarity(page, panel) == similarity
        ):
            return
    assert chosen(page, panel) == list(edited.bands)
    assert shown_similarity(page, panel) == similarity


def drag(page, handle, by):
    """Drag a handle of the slider, as a hand does."""
    box = page.locator(".noUi-handle").nth(handle).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    for step in range(1, 9):
        page.mouse.move(x + by * step / 8, y)
    page.mouse.up()


def click_ring(page, frequency):
    """Click into the plane, at this many cycles per image to the right of its middle."""
    box = page.locator(".freqlab-picker canvas").first.bounding_box()
    place = box["width"] * (56.5 + frequency) / 112
    page.mouse.click(box["x"] + place, box["y"] + box["height"] * 56.5 / 112)


@pytest.mark.slow
def test_drag_a_band_off_a_face_in_jupyterlab(notebook, run):
    page = notebook
    edited, similarity = picture(page, 2), shown_similarity(page)
    drag(page, 1, 60)
    settled(page)
    bands = chosen(page)
    assert bands
    assert bands == list(range(len(bands)))
    assert picture(page, 2) != edited
    assert shown_similarity(page) != similarity
    expect(page, run, bands=bands)


@pytest.mark.slow
def test_click_rings_and_bars(notebook, run):
    page = notebook
    click_ring(page, 10)
    expect(page, run, bands=[2])
    page.locator(BANDS).nth(5).click()
    expect(page, run, bands=[2, 5])
    page.screenshot(path=SCREENSHOTS / "ring_and_bar.png")
    click_ring(page, -10)
    expect(page, run, bands=[5])
    page.locator(BANDS).nth(8).click(modifiers=["Shift"])
    settled(page)
    assert chosen(page) == [2, 3, 4, 5, 6, 7, 8]


@pytest.fixture(scope="session")
def kinds(tmp_path_factory):
    """Results with bands that are not parts of one plane: wavelets, luminance and chroma."""
    faces = fl.load_faces("orl").select([0, 3, 90, 93])
    pairs, folder = fl.make_pairs(faces, seed=0), tmp_path_factory.mktemp("kinds")
    given = {"models": ["mobilefacenet"], "sides": ["probe"], "progress": False}
    return [
        fl.influence(faces, pairs, bands=bands, store=folder / f"{bands.kind}.zarr", **given)
        for bands in (fl.wavelets(), fl.channels(fl.rings(16)))
    ]


def click_plane(page, number, column, row, *, size):
    """Click a coefficient of a plane of so many columns and rows, from its upper left corner."""
    canvas = page.locator(".freqlab-picker canvas").nth(number)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x = box["x"] + box["width"] * (column + 0.5) / size[0]
    page.mouse.click(x, box["y"] + box["height"] * (row + 0.5) / size[1])


@pytest.mark.slow
@pytest.mark.exhaustive
def test_click_areas_of_wavelets_and_of_luminance_and_chroma(lab, page, kinds):
    root, address = lab
    sources = [f"fl.inspect({result.attrs['store']!r})" for result in kinds]
    write_cells(root / "kinds.ipynb", f"import freqlab as fl\n{sources[0]}", sources[1])
    page.goto(address.format("kinds.ipynb"))
    run_all(page)
    page.locator(".freqlab-verdict").nth(1).wait_for(state="attached")
    settled(page)
    wavelets, channels = kinds
    under = page.locator(".freqlab-picker .under")
    assert "nominal areas of subbands, which overlap" in under.nth(0).inner_text()
    click_plane(page, 0, 56 + 21, 56 + 1, size=(112, 112))  # high across, low down: vertical
    expect(page, wavelets, bands=[4])
    assert wavelets["band"].to_numpy()[4] == "scale 2, vertical"
    click_plane(page, 0, 56, 56 - 42, size=(112, 112))
    expect(page, wavelets, bands=[4, 6])
    click_plane(page, 0, 56 + 4, 56 + 4, size=(112, 112))  # the approximation, which is kept
    expect(page, wavelets, bands=[4, 6])
    page.screenshot(path=SCREENSHOTS / "wavelets.png")
    assert "luminance left, chroma right" in under.nth(1).inner_text()
    size = (112 + 7 + 112, 112)
    click_plane(page, 1, 56 + 20, 56, size=size)
    click_plane(page, 1, 119 + 56 + 10, 56, size=size)
    expect(page, channels, panel=1, bands=[1, 5])
    click_plane(page, 1, 112 + 3, 56, size=size)  # between the planes
    expect(page, channels, panel=1, bands=[1, 5])
    page.screenshot(path=SCREENSHOTS / "channels.png")


@pytest.mark.slow
def test_all_of_it_by_keyboard(notebook, run):
    page = notebook
    page.locator(f"{BANDS}[tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(page, run, bands=[1])
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    expect(page, run, bands=[1, 2, 3])
    page.keyboard.press("Escape")
    expect(page, run, bands=[])
    slider = page.locator(".noUi-handle").nth(1)
    slider.focus()
    slider.press("ArrowRight")
    slider.press("ArrowRight")
    expect(page, run, bands=[0, 1])
    page.get_by_role("button", name="Next").focus()
    page.keyboard.press("Enter")
    expect(page, run, pair=1, bands=[])


@pytest.mark.slow
def test_walk_with_a_locked_choice_and_compare_models(notebook, run):
    page = notebook
    page.get_by_label("keep the selection").check()
    page.get_by_label("Compare with").select_option(label="dlib")
    page.get_by_role("button", name="keep only").click()
    page.locator(BANDS).nth(1).click()
    settled(page)
    page.get_by_role("button", name="Next").click()
    for panel, model in enumerate(("mobilefacenet", "dlib")):
        expect(page, run, panel=panel, model=model, pair=1, bands=[1], operation="keep")
    left, right = (page.locator(".freqlab-picker").nth(k).bounding_box() for k in (0, 1))
    assert right["x"] >= left["x"] + left["width"]
    page.screenshot(path=SCREENSHOTS / "two_models.png")


@pytest.mark.slow
def test_choose_pairs_by_metadata_and_by_what_is_surprising(notebook, run):
    page = notebook
    page.get_by_label("Pairs with").select_option(label="half")
    page.get_by_label("=", exact=True).select_option(label="second")
    first = int(run["pair"].to_numpy()[(run["half"] == "second").to_numpy()][0])
    expect(page, run, pair=first, bands=[])
    page.get_by_label("Pairs with").select_option(label="all pairs")
    page.get_by_label("Order").select_option(label="largest influence")
    strongest = abs(run["influence"].sel(model="mobilefacenet", side="probe")).max("band")
    expect(page, run, pair=int(strongest.idxmax("pair")), bands=[])


@pytest.mark.slow
def test_files_to_keep(notebook, run):
    page = notebook
    page.locator(BANDS).nth(1).click()
    settled(page)

    def download(label):
        with page.expect_download() as found:
            page.get_by_role("button", name=label).click()
        return found.value.suggested_filename, Path(found.value.path()).read_bytes()

    name, content = download("Figure (PNG)")
    assert name == "pair0-mobilefacenet-probe-without-4-8.png"
    assert Image.open(io.BytesIO(content)).size == (1520, 960)
    (SCREENSHOTS / name).write_bytes(content)
    name, content = download("Figure (SVG)")
    assert b"<svg" in content[:1000]
    name, content = download("Numbers (CSV)")
    rows = pd.read_csv(io.BytesIO(content))
    assert rows.loc[rows["selected"], "band"].tolist() == ["4-8"]
    row = rows.iloc[0]
    assert row["edited_similarity"] == pytest.approx(shown_similarity(page), abs=6e-4)
    name, content = download("Code (Python)")
    assert name.endswith(".py")
    assert b"inspection.edit(model='mobilefacenet', pair=0, bands=[1]" in content


@pytest.mark.slow
def test_an_error_is_shown_where_one_looks(notebook):
    page = notebook
    number = page.get_by_label("Pair", exact=True)
    number.fill("4711")
    number.press("Enter")
    page.get_by_role("alert").wait_for()
    assert "pair=4711 is not in the result" in page.get_by_role("alert").inner_text()
    assert number.input_value() == "0"
    page.get_by_role("button", name="Next").click()
    page.get_by_role("alert").wait_for(state="detached")


@pytest.mark.slow
def test_an_error_moves_nothing_and_covers_no_control(notebook):
    page = notebook
    places = [page.locator(place).first for place in (".freqlab-controls", ".freqlab-result")]
    before = [place.bounding_box() for place in places]
    number = page.get_by_label("Pair", exact=True)
    number.fill("4711")
    number.press("Enter")
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert [place.bounding_box() for place in places] == before
    box = alert.bounding_box()
    assert box["y"] + box["height"] <= before[0]["y"] + 1
    page.get_by_role("button", name="Next").click()
    alert.wait_for(state="detached")


@pytest.mark.slow
@pytest.mark.parametrize("width", [1500, 950])  # 250 of it belong to the side bar
def test_controls_stand_beside_the_result_without_scrollbars(notebook, width):
    page = notebook
    page.set_viewport_size({"width": width, "height": 1000})
    page.wait_for_timeout(800)
    controls, result = (
        page.locator(place).first.bounding_box()
        for place in (".freqlab-controls", ".freqlab-result")
    )
    assert result["x"] >= controls["x"] + controls["width"]
    assert abs(result["y"] - controls["y"]) < 10
    scrolled = page.evaluate(
        "() => [...document.querySelectorAll('.freqlab-inspector, .freqlab-inspector *')]"
        ".filter(e => { const s = getComputedStyle(e); return"
        " (e.scrollWidth > e.clientWidth + 1 && /auto|scroll/.test(s.overflowX)) ||"
        " (e.scrollHeight > e.clientHeight + 1 && /auto|scroll/.test(s.overflowY)) })"
        ".map(e => e.className)"
    )
    assert scrolled == []
    page.set_viewport_size({"width": 1500, "height": 1250})


@pytest.mark.slow
def test_a_window_of_700_pixels(notebook):
    """Controls beside the result; with the side bar, which leaves 330 pixels, above in columns."""
    page = notebook
    page.set_viewport_size({"width": 700, "height": 1000})
    page.wait_for_timeout(800)
    controls, result = (page.locator(f".freqlab-{place}").first for place in ("controls", "result"))
    assert result.bounding_box()["y"] >= bottom(controls)
    assert controls.bounding_box()["height"] < 330
    assert is_whole(page.locator(".freqlab-about").first)
    page.screenshot(path=SCREENSHOTS / "narrow.png")
    page.keyboard.press("Control+b")  # closes the side bar
    page.wait_for_timeout(800)
    assert is_whole(page.locator(".freqlab-about").first)
    right = controls.bounding_box()["x"] + controls.bounding_box()["width"]
    assert result.bounding_box()["x"] >= right
    page.keyboard.press("Control+b")
    page.set_viewport_size({"width": 1500, "height": 1250})


def is_whole(place):
    """Whether nothing of a text is cut, by its own box or by that of the head."""
    return place.evaluate(
        "e => e.scrollHeight <= e.clientHeight + 1 && e.scrollWidth <= e.clientWidth + 1 && "
        "e.getBoundingClientRect().bottom <= "
        "e.closest('.freqlab-head').getBoundingClientRect().bottom + 1"
    )


def bottom(place):
    box = place.bounding_box()
    return box["y"] + box["height"]


@pytest.mark.slow
def test_compared_models_share_the_extent_of_the_plane(notebook):
    """112 and 150 pixels across: 56 and 75 cycles/image, both drawn to 75."""
    page = notebook
    page.get_by_label("Compare with").select_option(label="dlib")
    page.locator(".freqlab-picker").nth(1).wait_for()
    settled(page)
    under = page.locator(".freqlab-picker .under").all_inner_texts()
    assert under == ["to ±75 cycles/image; crops to ±56", "to ±75 cycles/image"]
    sizes = page.locator(".freqlab-picker canvas").evaluate_all("a => a.map(c => c.width)")
    assert sizes[0] == sizes[1]


@pytest.mark.slow
def test_the_strongest_bar_is_seen_in_the_dark_theme(notebook):
    """The ground behind bars is light in any theme."""
    page = notebook
    page.evaluate("document.documentElement.style.setProperty('--jp-layout-color0', '#111')")
    fills = page.locator(".freqlab-picker svg.profile .ground").evaluate_all(
        "a => a.map(r => getComputedStyle(r).fill)"
    )
    assert set(fills) == {"rgb(255, 255, 255)"}
    page.evaluate("document.documentElement.style.removeProperty('--jp-layout-color0')")


@pytest.mark.slow
@pytest.mark.parametrize("trusted", [True, pytest.param(False, marks=pytest.mark.exhaustive)])
def test_a_saved_notebook_shows_the_view(browser, lab, run, trusted):
    """Opened again without a kernel, by who ran it or by someone else, and exported."""
    root, address = lab
    source = f"import freqlab as fl\ninspector = fl.inspect({run.attrs['store']!r})\ninspector"
    write_cells(root / "saved.ipynb", source)
    with watched(browser) as first:
        first.goto(address.format("saved.ipynb"))
        run_all(first)
        first.wait_for_selector(".freqlab-pictures img")
        first.wait_for_timeout(3000)
        assert not first.locator(".freqlab-still").is_visible()  # the widget hides it
        save(first)
    notebook = nbformat.read(root / "saved.ipynb", as_version=4)
    if not trusted:
        notebook.cells[0].source += "\n# from elsewhere"
        nbformat.write(notebook, root / "again.ipynb")
    sessions = json.loads(ask(address, "api/sessions"))
    for session in sessions:
        if session["path"] == "saved.ipynb":
            ask(address, f"api/sessions/{session['id']}", method="DELETE")
    context = browser.new_context()  # the console reports the missing widget
    again = context.new_page()
    again.goto(address.format("saved.ipynb" if trusted else "again.ipynb"))
    again.locator(".freqlab-still img").wait_for(timeout=PATIENCE)
    assert "run this cell again" in again.locator(".freqlab-still").inner_text()
    assert not again.get_by_text("model not found").is_visible()
    body, _ = HTMLExporter().from_notebook_node(notebook)
    assert "children=" not in body
    exported = context.new_page()
    exported.route("http**", lambda route: route.abort())  # nbconvert links to scripts elsewhere
    exported.set_content(body)
    assert exported.locator(".freqlab-still img").is_visible()
    context.close()


def ask(address, path, method="GET"):
    base = address.partition("/lab")[0]
    request = urllib.request.Request(f"{base}/{path}?token=secret", method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read()


@pytest.mark.slow
def test_pictures_have_alternative_texts(notebook):
    texts = notebook.locator(".freqlab-pictures img").evaluate_all("a => a.map(i => i.alt)")
    assert len(texts) == 5
    assert texts[0].startswith("The probe, s")
    assert all(texts[:3])
    assert notebook.get_by_text("no band is selected").count() == 2
    for band in notebook.locator(BANDS).all():
        assert re.match(
            r".+ cycles/image: (directed influence|no data)", band.get_attribute("aria-label")
        )


@pytest.mark.slow
def test_the_page_of_the_command_line(served, demo):
    page = served
    assert page.title() == "freqlab: orl.zarr"
    drag(page, 1, 60)
    settled(page)
    expect(page, demo, bands=chosen(page))
    assert chosen(page)
    click_ring(page, 4 * len(chosen(page)) + 2)
    expect(page, demo, bands=[*chosen(page)])
    with page.expect_download() as found:
        page.get_by_role("button", name="Figure (PNG)").click()
    assert found.value.suggested_filename.endswith(".png")
    page.screenshot(path=SCREENSHOTS / "page.png")


@pytest.mark.slow
@pytest.mark.exhaustive
def test_the_connection_of_the_page_stays_open(page, demo, tmp_path):
    """Over several pings; a change that is made while a connection is renewed would be lost."""
    often = "from freqlab.inspector import serving; serving._PING_EVERY = 1000"
    opened = []
    page.on("websocket", lambda connection: opened.append(connection))
    with serving(demo, tmp_path / "log", often) as address:
        page.goto(address)
        page.wait_for_selector(".freqlab-pictures img")
        page.wait_for_timeout(3500)
        (connection,) = opened
        assert not connection.is_closed()
        assert "ping" not in (tmp_path / "log").read_text()
        page.goto("about:blank")


@pytest.mark.slow
def test_the_page_is_closed_to_who_has_no_token(served):
    address = served.url.partition("?")[0]
    with urllib.request.urlopen(address, timeout=20) as answer:
        assert "/login" in answer.url  # sent there, and nothing is run


@pytest.mark.slow
def test_the_first_notebook_ends_in_the_inspector(lab, page):
    """A newcomer's way: open explore.ipynb, run it, drag a band off a face."""
    root, address = lab
    shutil.copy(Path(__file__).parents[2] / "notebooks" / "explore.ipynb", root / "explore.ipynb")
    notebook = nbformat.read(root / "explore.ipynb", as_version=4)
    (cell,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    cell.source += '\nn_pairs = 12\nstore = "explore.zarr"\n'
    nbformat.write(notebook, root / "explore.ipynb")
    page.set_default_timeout(420_000)
    page.goto(address.format("explore.ipynb"))
    run_all(page)
    page.locator(".freqlab-pictures img").first.wait_for(state="attached")
    page.locator(".freqlab-inspector").scroll_into_view_if_needed()
    settled(page)
    before = shown_similarity(page)
    drag(page, 1, 60)
    settled(page)
    assert chosen(page)
    assert not math.isclose(shown_similarity(page), before)

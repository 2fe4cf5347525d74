"""Latency of the inspector in a browser: from a slider's event to the picture and the similarity.

Serves the inspector's page on the demo, moves the slider twenty times in Chromium, and prints the
median time until the edited face has loaded and until the similarity has changed.
"""

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import freqlab as fl

STEP = """async (k) => {
  const image = document.querySelector('.freqlab-pictures .edited img');
  const verdict = document.querySelector('.freqlab-verdict').parentElement;
  const handle = document.querySelectorAll('.noUi-handle')[1];
  handle.focus();
  const since = performance.now();
  const loaded = new Promise(done => image.addEventListener(
    'load', () => done(performance.now() - since), {once: true}));
  const said = new Promise(done => {
    const observer = new MutationObserver(() => {
      observer.disconnect();
      done(performance.now() - since);
    });
    observer.observe(verdict, {childList: true, subtree: true, characterData: true});
  });
  const key = k < 10 ? 'ArrowRight' : 'ArrowLeft';
  handle.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
  return [await loaded, await said];
}"""


def main() -> None:
    """Measure, print a table, and write it to reports/."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mobilefacenet")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--json", type=Path, default=Path("reports/inspector.json"))
    arguments = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("there is no Chromium here (apt install chromium)")
    faces = fl.load_faces("orl").select([0, 3, 90, 93])
    store = Path("runs") / f"inspector-{arguments.model}.zarr"
    fl.influence(faces, fl.make_pairs(faces, seed=0), models=[arguments.model], store=store)
    command = [sys.executable, "-c", "from freqlab.cli import main; main()", "inspect"]
    served = subprocess.Popen(
        [*command, str(store), "--no-browser"], stdout=subprocess.PIPE, text=True
    )
    try:
        address = re.search(r"http\S+", served.stdout.readline()).group()
        times = measure(chromium, address, arguments.steps)
    finally:
        served.terminate()
    table = {
        "model": arguments.model,
        "steps": len(times),
        "face_ms": statistics.median(face for face, _ in times),
        "similarity_ms": statistics.median(said for _, said in times),
    }
    print(f"median of {table['steps']} steps with {table['model']}, from the slider's event to:")
    print(f"  the edited face, loaded   {table['face_ms']:6.0f} ms")
    print(f"  the similarity, recomputed{table['similarity_ms']:6.0f} ms")
    arguments.json.parent.mkdir(exist_ok=True)
    arguments.json.write_text(json.dumps(table, indent=1))


def measure(chromium: str, address: str, n_steps: int) -> list[tuple[float, float]]:
    """Times in ms until the picture and until the similarity, per step."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1300, "height": 1000})
        page.set_default_timeout(120_000)
        page.goto(address)
        page.wait_for_selector(".freqlab-verdict")
        page.wait_for_timeout(3000)
        times = []
        for k in range(n_steps):
            times.append(tuple(page.evaluate(STEP, k % 20)))
            page.wait_for_timeout(300)
        browser.close()
    return times


if __name__ == "__main__":
    main()

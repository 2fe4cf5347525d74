"""Memory is bounded by what a block's photographs are read into, whatever their size and number."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from freqlab.system.room import Room

CHILD = """
import resource, sys
import numpy as np, pandas as pd, torch
import freqlab as fl
torch.set_num_threads(2)
name, rows = sys.argv[1], int(sys.argv[2])
model = fl.wrap_model(lambda x: x.flatten(1)[:, ::999], name="m", version="1")
def embed(path, n):
    names = [f"f{i}" for i in range(n)]
    table = pd.DataFrame({"subject": ["a"] * n, "path": [path] * n}, index=names)
    tree = fl.embed(fl.Faces(table), models=[model], progress=False)
    return tree["faces"].to_dataset()
embed(sys.argv[3], 2)  # the detector and all libraries are there
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
faces = embed(name, rows)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(set(faces["status"].to_numpy()), faces["landmarks"].to_numpy()[0].mean(axis=0).tolist())
print((after - before) // 1024, after // 1024)
"""


def photograph(path, face, side, **options):
    """A square photograph of a face that takes a third of it."""
    image = Image.new("RGB", (side, side), (90, 110, 130))
    third = Image.fromarray(face).resize((side // 3, side * 112 // 92 // 3))
    image.paste(third, (side // 3, side // 4))
    image.save(path, **options)
    return str(path)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("side", "kind", "rows", "most"),
    [(12_000, "jpg", 32, 1000), (12_000, "png", 8, 1800), (4_900, "jpg", 64, 1400)],
)
def test_large_photographs_in_one_block(orl, tmp_path, side, kind, rows, most):
    """Megabytes beyond what small photographs take."""
    options = {"quality": 85} if kind == "jpg" else {"compress_level": 1}
    large = photograph(tmp_path / f"large.{kind}", orl.image(0), side, **options)
    small = photograph(tmp_path / "small.jpg", orl.image(0), 400)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, large, str(rows), small],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("{'ok'}")
    centre = [float(number) for number in first.split("[")[1].rstrip("]").split(",")]
    there = orl.landmarks[0].mean(axis=0) / 92 / 3 + [1 / 3, 1 / 4]
    np.testing.assert_allclose(np.array(centre) / side, there, atol=0.02)
    print(f"{rows} rows of {side} x {side} {kind}: {second} MB more, in all")
    assert int(second.split()[0]) < most


def test_who_asks_for_all_goes_alone():
    room, inside, most = Room(100), [0], [0]
    lock = threading.Lock()

    def work(n_bytes):
        with room.of(n_bytes):
            with lock:
                inside[0] += min(n_bytes, 100)
                most[0] = max(most[0], inside[0])
            time.sleep(0.002)
            with lock:
                inside[0] -= min(n_bytes, 100)

    threads = [threading.Thread(target=work, args=(n,)) for n in [30, 60, 1000, 100, 50] * 8]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert inside == [0]
    assert 50 <= most[0] <= 100


def test_room_is_given_back_where_something_fails():
    room = Room(100)
    with pytest.raises(ValueError, match="x"), room.of(100):
        raise ValueError("x")
    with room.of(100):
        pass


VARIED = """
import resource, sys
import numpy as np, pandas as pd, torch
from PIL import Image
import freqlab as fl
torch.set_num_threads(2)
folder, face = sys.argv[1], np.load(sys.argv[2])
model = fl.wrap_model(lambda x: x.flatten(1)[:, ::999], name="m", version="1")
chance = np.random.default_rng(0)
def embed(first, n):
    paths = [f"{folder}/{first + i}.jpg" for i in range(n)]
    for path in paths:
        width, height = chance.integers(150, 420, 2)
        canvas = Image.fromarray(chance.integers(0, 256, (height, width, 3)).astype(np.uint8))
        canvas.paste(Image.fromarray(face), (10, 10))
        canvas.save(path)
    table = pd.DataFrame({"subject": ["a"] * n, "path": paths}, index=paths)
    fl.embed(fl.Faces(table), models=[model], progress=False)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print([embed(0, 200), embed(200, 300)])
"""


@pytest.mark.exhaustive
def test_photographs_of_many_sizes_take_no_more_memory(orl, tmp_path):
    """After the first 200 photographs, all sizes of batches and levels have occurred."""
    np.save(tmp_path / "face.npy", orl.image(0))
    done = subprocess.run(
        [sys.executable, "-c", VARIED, str(tmp_path), str(tmp_path / "face.npy")],
        capture_output=True,
        text=True,
        check=True,
        timeout=900,
    )
    few, many = (float(number) for number in done.stdout.strip("[]\n").split(","))
    assert many < 1.1 * few

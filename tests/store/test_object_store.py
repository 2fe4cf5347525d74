"""Runs in a bucket of a server that speaks S3, over the network of this machine."""

import gc
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import TESTS, Linear, make_faces

import freqlab as fl
from freqlab.errors import StoreError
from freqlab.store import locking
from freqlab.store.locking import locked

s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
pytest.importorskip("moto", reason="moto, the server, is not installed")

# s3fs leaves its connections to the garbage collector, which complains of them
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*ClientSession:pytest.PytestUnraisableExceptionWarning"
)

SERVER = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
server.stop()
"""


class Server:
    """A process that keeps buckets in memory as long as it lives."""

    def __init__(self):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen([sys.executable, "-c", SERVER], **pipes)
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def stop(self):
        self._process.kill()
        self._process.communicate()


def reach(monkeypatch, server):
    """Point everything of this process and those it starts to a server."""
    for name, value in {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def server():
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def bucket(server, monkeypatch, request):
    """A bucket of its own for each test."""
    reach(monkeypatch, server)
    name = request.node.name.replace("_", "-").replace("[", "-").strip("]").lower()[:60]
    files = s3fs.S3FileSystem(use_listings_cache=False)
    files.mkdir(name)
    yield files, f"s3://{name}"
    s3fs.S3FileSystem.clear_instance_cache()
    gc.collect()


@pytest.fixture
def hurried(monkeypatch):
    """Signs of life every third of a second."""
    monkeypatch.setattr(locking, "BEAT", 0.3)
    monkeypatch.setattr(locking, "SILENCE", 2.0)


FACES = {"n_subjects": 20, "per_subject": 2}


def compute(store, faces=None, network=None, **options):
    faces = make_faces(**FACES) if faces is None else faces
    model = fl.wrap_model(network or Linear(), name="linear")
    pairs = fl.make_pairs(faces, seed=0)
    return fl.influence(faces, pairs, models=[model], store=store, progress=False, **options)


def chunks_on_disk(folder):
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name != "zarr.json"
    }


def chunks_in(files, url):
    keys = [key for key in files.find(url) if not key.endswith("zarr.json")]
    return {key.partition(".zarr/")[2]: files.cat_file(key) for key in keys}


@pytest.mark.slow
def test_a_bucket_holds_what_a_folder_does(bucket, tmp_path):
    files, url = bucket
    there = compute(f"{url}/run.zarr")
    here = compute(tmp_path / "run.zarr")
    assert there.attrs["forward_passes"] == here.attrs["forward_passes"] == 640
    np.testing.assert_array_equal(there["influence"], here["influence"])
    np.testing.assert_array_equal(there["threshold"], here["threshold"])
    assert chunks_in(files, f"{url}/run.zarr") == chunks_on_disk(tmp_path / "run.zarr")
    again = compute(f"{url}/run.zarr")
    assert again.attrs["forward_passes"] == 0
    np.testing.assert_array_equal(fl.open_influence(f"{url}/run.zarr")["influence"], here.influence)
    assert len(fl.open_run(f"{url}/run.zarr")["faces"]["face"]) == 40


@pytest.mark.exhaustive
def test_a_run_in_a_bucket_grows(bucket, tmp_path):
    _, url = bucket
    compute(f"{url}/run.zarr", make_faces(n_subjects=10, per_subject=2))
    grown = compute(f"{url}/run.zarr")
    assert grown.attrs["forward_passes"] == 320
    np.testing.assert_array_equal(grown["influence"], compute(tmp_path / "run.zarr")["influence"])


@pytest.mark.exhaustive
def test_workers_write_into_a_bucket(bucket, tmp_path):
    """What they write is seen at once by who waits for it."""
    distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")
    _, url = bucket
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            memory_limit=0,
            dashboard_address="127.0.0.1:0",
            local_directory=tmp_path / "dask",
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        there = compute(f"{url}/run.zarr", cluster=client)
        more = compute(f"{url}/run.zarr", make_faces(n_subjects=30, per_subject=2), cluster=client)
    here = compute(tmp_path / "run.zarr")
    np.testing.assert_allclose(there["influence"], here["influence"], atol=1e-6)
    assert more.attrs["forward_passes"] == 20 * 16
    assert len(fl.store.check(f"{url}/run.zarr")) == 0


@pytest.mark.slow
@pytest.mark.exhaustive
def test_damage_in_a_bucket_is_found_and_mended(bucket):
    files, url = bucket
    whole = compute(f"{url}/run.zarr")
    bands = fl.rings().key
    flipped, lost = (
        f"{url}/run.zarr/embeddings/linear/{node}/embedding/c/{chunk}"
        for node, chunk in ((bands, "0/0/0"), ("intact", "1/0"))
    )
    content = bytearray(files.cat_file(flipped))
    content[100] ^= 1
    files.pipe_file(flipped, bytes(content))
    files.rm_file(lost)
    damages = fl.store.check(f"{url}/run.zarr")
    assert set(damages["node"]) == {f"embeddings/linear/{bands}", "embeddings/linear/intact"}
    mended = compute(f"{url}/run.zarr", repair=True)
    assert mended.attrs["forward_passes"] == 32 * 15 + 8
    assert len(fl.store.check(f"{url}/run.zarr")) == 0
    np.testing.assert_array_equal(mended["influence"], whole["influence"])


@pytest.mark.exhaustive
def test_a_person_is_removed_from_a_bucket(bucket):
    files, url = bucket
    compute(f"{url}/run.zarr")
    assert fl.store.forget(f"{url}/run.zarr", subject="p3")["faces"] == 2
    left = fl.open_influence(f"{url}/run.zarr")
    assert not (left["probe_subject"] == "p3").any()
    assert not any(b"p3/" in content for content in chunks_in(files, f"{url}/run.zarr").values())


KILLED = """
import sys, time
sys.path[:0] = [{tests!r}, {tests!r} + "/store"]
from conftest import Linear
import test_object_store

network = Linear()

def slowly(images):
    print("x", flush=True)
    time.sleep(0.02)
    return network(images)

test_object_store.compute(sys.argv[1], network=slowly, batch_size=32)
"""


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_killed_run_goes_on_in_a_bucket(bucket, hurried, tmp_path):
    files, url = bucket
    script = tmp_path / "script.py"
    script.write_text(KILLED.format(tests=TESTS))
    process = subprocess.Popen(
        [sys.executable, str(script), f"{url}/run.zarr"], stdout=subprocess.PIPE, text=True
    )
    while not any("/embeddings/linear/" in key and "/status/c/" in key for key in files.find(url)):
        assert process.stdout.readline() == "x\n"  # until some block is done
    process.send_signal(signal.SIGKILL)
    process.communicate()
    resumed = compute(f"{url}/run.zarr", network=lambda images: Linear()(images), batch_size=32)
    assert resumed.attrs["forward_passes"] < 640
    undisturbed = compute(tmp_path / "run.zarr", batch_size=32)
    np.testing.assert_array_equal(resumed["influence"], undisturbed["influence"])


def test_where_there_is_no_bucket(bucket):
    with pytest.raises(StoreError, match=r"'s3://no-such-bucket/run.zarr' cannot be"):
        fl.open_influence("s3://no-such-bucket/run.zarr")
    with pytest.raises(StoreError, match=r"'s3://no-such-bucket/run.zarr' cannot be"):
        compute("s3://no-such-bucket/run.zarr")


@pytest.mark.exhaustive
def test_a_server_that_goes_away_under_a_run(monkeypatch):
    """The error says so; with the server went its buckets, or the run would go on."""
    server = Server()
    reach(monkeypatch, server)
    s3fs.S3FileSystem().mkdir("short-lived")
    network, calls = Linear(), []

    def stop(images):
        calls.append(len(images))
        if len(calls) == 10:
            server.stop()
        return network(images)

    with pytest.raises(StoreError, match=r"'s3://short-lived/run.zarr' cannot be reached"):
        compute("s3://short-lived/run.zarr", network=stop, batch_size=8)
    s3fs.S3FileSystem.clear_instance_cache()
    gc.collect()


def test_without_the_package_that_reaches_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(StoreError, match=r"pip install 'freqlab\[s3\]'"):
        fl.open_influence("s3://bucket/run.zarr")


def test_a_second_writer_is_refused(bucket, hurried):
    files, url = bucket
    with locked(f"{url}/run.zarr"):
        with pytest.raises(StoreError, match=rf"another run \(process {os.getpid()} on"):
            compute(f"{url}/run.zarr")
        assert files.exists(f"{url}/run.zarr.lock")
    assert not files.exists(f"{url}/run.zarr.lock")
    with locked(f"{url}/run.zarr"):
        pass


@pytest.mark.slow
@pytest.mark.parametrize(
    "content", [b'{"writer": "dead", "beats": 3}', b"\x00 torn"], ids=["dead", "torn"]
)
def test_the_lock_of_a_dead_writer_does_not_block(bucket, hurried, content):
    files, url = bucket
    files.pipe_file(f"{url}/run.zarr.lock", content)
    began = time.monotonic()
    with locked(f"{url}/run.zarr") as lock:
        lock.check()
        assert time.monotonic() - began > 2
        assert files.cat_file(f"{url}/run.zarr.lock") != content
    assert not files.exists(f"{url}/run.zarr.lock")


@pytest.mark.exhaustive
def test_who_was_taken_for_dead_writes_no_more(bucket, hurried):
    """Say a laptop that slept, while another run took over."""
    files, url = bucket
    calls = []

    def sleep(images):
        calls.append(len(images))
        if len(calls) == 5:
            lock = f"{url}/run.zarr.lock"
            taken = b'{"writer": "another"}'
            files.pipe_file(lock, taken)
            time.sleep(1.5)
            while files.cat_file(lock) != taken:  # a sign of life was on its way at that moment
                files.pipe_file(lock, taken)
                time.sleep(1.5)
        return Linear()(images)

    with pytest.raises(StoreError, match="taken over by another run"):
        compute(f"{url}/run.zarr", network=sleep, batch_size=16)
    assert json.loads(files.cat_file(f"{url}/run.zarr.lock"))["writer"] == "another"


@pytest.mark.exhaustive
def test_two_processes_on_one_store(bucket, tmp_path):
    _, url = bucket
    script = tmp_path / "script.py"
    script.write_text(KILLED.format(tests=TESTS).replace("0.02", "0.3") + "\nprint('done')\n")
    command = [sys.executable, str(script), f"{url}/run.zarr"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, **pipes) for _ in range(2)]
    said = [process.communicate(timeout=300) for process in both]
    outcomes = ["done" if out.endswith("done\n") else error.splitlines()[-1] for out, error in said]
    assert "done" in outcomes
    assert all(o == "done" or "is being written by another run" in o for o in outcomes), outcomes
    assert len(fl.store.check(f"{url}/run.zarr")) == 0

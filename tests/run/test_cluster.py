"""Blocks on a cluster: the same numbers as in process, written by the workers."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from conftest import Linear, make_faces
from PIL import Image

import freqlab as fl
from freqlab.errors import FreqlabError, ModelError, ParameterError, StoreError
from freqlab.run import blocks
from freqlab.run.blocks import Block, Job, embed_block_of_faces, embed_on_cluster
from freqlab.run.cluster import connected
from freqlab.run.settings import Settings

distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """Two workers of one thread each."""
    cluster = distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        memory_limit=0,
        dashboard_address="127.0.0.1:0",
        local_directory=tmp_path_factory.mktemp("dask"),
    )
    with cluster, distributed.Client(cluster) as client:
        yield client


def arrays(url):
    """All arrays of a run, by path."""
    return {
        path: np.asarray(node[...])
        for path, node in zarr.open_group(url, mode="r").members(max_depth=None)
        if isinstance(node, zarr.Array)
    }


def assert_same(one, other):
    one, other = arrays(one), arrays(other)
    assert one.keys() == other.keys()
    assert any(path.endswith("/embedding") for path in one)
    for path, values in one.items():
        assert values.dtype == other[path].dtype, path
        np.testing.assert_array_equal(values, other[path], err_msg=path)


@pytest.mark.slow
def test_two_workers_write_what_one_thread_does(tmp_path, client, one_thread):
    faces = make_faces(n_subjects=25, per_subject=4)  # 100 faces, of which the blocks hold 32
    images = [np.repeat(image[:, :, :1], 3, axis=2) for image in faces.images[:50]]
    images += faces.images[50:]  # half of them are grey: their chroma bands need one pass in all
    faces = fl.Faces(faces.table, images=images, aligned="arcface", name="half grey")
    pairs = fl.make_pairs(faces, seed=0)
    model, bands = fl.wrap_model(Linear(), name="linear"), fl.channels(fl.rings(28))
    results = [
        fl.influence(
            faces,
            pairs,
            models=[model],
            bands=bands,
            store=tmp_path / name,
            cluster=cluster,
            progress=False,
        )
        for name, cluster in (("alone", None), ("spread", client))
    ]
    assert_same(tmp_path / "alone", tmp_path / "spread")
    alone, spread = (result.attrs["forward_passes"] for result in results)
    assert alone == spread == 100 * (1 + len(bands)) - 50 * (len(bands) // 2 - 1)
    xr.testing.assert_equal(*results)


@pytest.mark.slow
def test_what_is_in_the_store_is_not_computed_again(tmp_path, client):
    store = tmp_path / "run"
    faces = make_faces(n_subjects=20, per_subject=4)
    model = fl.wrap_model(Linear(), name="linear")
    first = faces.select(range(40))
    fl.embed(first, models=[model], store=store, cluster=client, progress=False)
    tree = fl.embed(faces, models=[model], store=store, cluster=client, progress=False)
    embeddings = tree["embeddings/linear/intact/embedding"].to_numpy()
    crops = torch.from_numpy(np.stack(faces.images)).permute(0, 3, 1, 2).float()
    np.testing.assert_allclose(embeddings, Linear()(crops).numpy(), rtol=1e-4, atol=1e-3)
    pairs = fl.make_pairs(faces, seed=0)
    counts = [
        fl.influence(
            faces, pairs, models=[model], bands="rings:14", store=store, cluster=client,
            progress=False,
        ).attrs["forward_passes"]
        for _ in range(2)
    ]  # fmt: skip
    assert counts == [80 * 5, 0]


@pytest.mark.slow
def test_a_study_uses_the_cluster(tmp_path, client, monkeypatch):
    spread = []
    monkeypatch.setattr(
        "freqlab.run.passes.embed_on_cluster",
        lambda *given: (spread.append(len(given[-1])), embed_on_cluster(*given)),
    )
    faces = make_faces(n_subjects=20, per_subject=4)
    model = fl.wrap_model(Linear(), name="linear")
    options = {"models": [model], "n_draws": 10, "progress": False}
    alone = fl.verification.study(faces, store=tmp_path / "alone", **options)
    assert spread == []
    study = fl.verification.study(faces, store=tmp_path / "spread", cluster=client, **options)
    assert spread == [80]
    xr.testing.assert_equal(study["figures"].dataset, alone["figures"].dataset)


def test_a_local_cluster_is_not_started_for_nothing(tmp_path, synthetic, linear, monkeypatch):
    fl.embed(synthetic, models=[linear], store=tmp_path / "run", progress=False)
    monkeypatch.setattr(distributed, "LocalCluster", None)
    fl.embed(synthetic, models=[linear], store=tmp_path / "run", cluster="local", progress=False)


class Deadly(Linear):
    """Kills its process the first time that it runs on a worker, as the kernel might."""

    def __init__(self, once):
        super().__init__()
        self.once = str(once)

    def forward(self, images):
        if len(images) > 1 and distributed_worker() and not os.path.exists(self.once):
            Path(self.once).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(images)


def distributed_worker():
    from distributed.worker import thread_state

    return hasattr(thread_state, "key")


def test_a_worker_that_is_killed_costs_its_block_only(tmp_path, client, synthetic):
    once = tmp_path / "killed"
    model = fl.wrap_model(Deadly(once), name="linear")
    spread = tmp_path / "spread"
    fl.embed(synthetic, models=[model], store=spread, cluster=client, progress=False)
    assert once.exists()
    alone = tmp_path / "alone"
    model = fl.wrap_model(Linear(), name="linear")
    fl.embed(synthetic, models=[model], store=alone, progress=False)
    assert_same(alone, spread)


class Faulty(Linear):
    """Returns numbers that are not finite, but on the machine of the call."""

    def forward(self, images):
        found = super().forward(images)
        return found * float("nan") if distributed_worker() and len(images) > 1 else found


class Fragile(Linear):
    """Fails by something that no error of freqlab names."""

    def __getstate__(self):
        raise OSError("not for sale")


def test_faults_are_told_by_their_name(tmp_path, client, synthetic):
    store = tmp_path / "run"
    model = fl.wrap_model(Faulty(), name="faulty")
    with pytest.raises(ModelError, match="'faulty' returned embeddings that are not finite"):
        fl.embed(synthetic, models=[model], store=store, cluster=client, progress=False)
    status = zarr.open_group(store, mode="r")["embeddings/faulty/intact/status"][:]
    assert not status.any()
    model = fl.wrap_model(Fragile(), name="fragile")
    with pytest.raises(ParameterError, match="'fragile' cannot be sent.*by a name or path"):
        fl.embed(synthetic, models=[model], store=store, cluster=client, progress=False)


def test_places_that_workers_do_not_reach_are_refused(tmp_path, client, synthetic, linear):
    with pytest.raises(ParameterError, match="memory of this process"):
        fl.embed(synthetic, models=[linear], cluster=client, progress=False)
    store = tmp_path / "run"
    run = fl.embed(synthetic, models=[linear], store=store, progress=False)
    job = Job(
        key="one",
        url=str(tmp_path / "elsewhere"),
        n_faces=12,
        attrs={},
        model="mobilefacenet",
        settings=Settings(device="cpu", compile=False),
        bands=fl.rings(),
        computed=np.ones(15, bool),
        nodes=(),
        removals=(),
    )
    block = Block(np.arange(1), (), np.arange(1), synthetic, np.arange(12), ())
    error = embed_block_of_faces(job, block)
    assert isinstance(error, StoreError)
    assert "does not see store" in str(error)
    assert not (tmp_path / "elsewhere").exists()
    other = dataclasses.replace(job, key="two", url=str(store), attrs={**run.attrs, "created": 1})
    assert "sees another store" in str(embed_block_of_faces(other, block))


def test_photographs_that_a_worker_does_not_see_are_no_failures(tmp_path, linear, monkeypatch):
    crops = make_faces()
    paths = [tmp_path / f"{i}.png" for i in range(12)]
    for path, image in zip(paths, crops.images, strict=True):
        Image.fromarray(image).save(path)
    table = crops.table.assign(path=[str(path) for path in paths])
    faces = fl.Faces(table, aligned="arcface", name="on disk")
    real = blocks._block

    def elsewhere(*arguments):
        block = real(*arguments)
        assert set(block.seen) == set(faces.table["path"])
        return dataclasses.replace(block, seen=(str(tmp_path / "not mounted.png"),))

    monkeypatch.setattr(blocks, "_block", elsewhere)
    with (
        distributed.Client(processes=False, dashboard_address="127.0.0.1:0") as client,
        pytest.raises(StoreError, match="does not see .*not mounted.png"),
    ):
        fl.embed(faces, models=[linear], store=tmp_path / "run", cluster=client, progress=False)


class Crowded(Linear):
    """Counts how many threads of this process are in it at once."""

    now, most, lock = 0, 0, threading.Lock()

    def forward(self, images):
        with Crowded.lock:
            Crowded.now += 1
            Crowded.most = max(Crowded.most, Crowded.now)
        time.sleep(0.1)
        with Crowded.lock:
            Crowded.now -= 1
        return super().forward(images)


@pytest.mark.slow
@pytest.mark.parametrize(("resources", "at_once"), [({}, 4), ({"GPU": 1}, 1)])
def test_a_gpu_takes_one_block_at_a_time(tmp_path, resources, at_once):
    """The resource is but a name to the scheduler: that it is asked for needs no GPU."""
    monitored = dataclasses.replace(fl.wrap_model(Crowded(), name="crowded"), reentrant=True)
    Crowded.most = 0
    faces = make_faces(n_subjects=64, per_subject=4)
    with (
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=4,
            processes=False,
            dashboard_address="127.0.0.1:0",
            resources=resources,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        run = fl.embed(faces, models=[monitored], cluster=client, progress=False)
    assert not np.isnan(run["embeddings/crowded/intact/embedding"]).any()
    assert Crowded.most == at_once


def test_what_is_no_cluster_is_refused(synthetic, linear):
    for wrong in (3, "locale", "local:0", ["tcp://127.0.0.1:1"]):
        with pytest.raises(ParameterError, match="must be a distributed.Client, the address"):
            fl.embed(synthetic, models=[linear], cluster=wrong, progress=False)
    with pytest.raises(FreqlabError, match="no scheduler answers there"):
        fl.embed(synthetic, models=[linear], cluster="nowhere/scheduler.json", progress=False)


def test_without_distributed_it_says_what_to_install(synthetic, linear, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(FreqlabError, match=r"pip install 'freqlab\[cluster\]'"):
        fl.embed(synthetic, models=[linear], cluster="local", progress=False)


@pytest.mark.exhaustive
def test_orl_on_two_workers(tmp_path, orl, one_thread):
    """The demo's faces, detected and aligned by the workers, and its network."""
    faces = orl.select(range(0, 400, 4))
    pairs = fl.make_pairs(faces, seed=0)
    stores = [tmp_path / "alone", tmp_path / "spread"]
    for store, cluster in zip(stores, (None, "local:2"), strict=True):
        result = fl.influence(
            faces, pairs, models=["mobilefacenet"], store=store, cluster=cluster, progress=False
        )
        assert result.attrs["forward_passes"] == 100 * 16
    assert_same(*stores)


@pytest.mark.slow
def test_the_command_line_starts_a_cluster(tmp_path):
    command = [sys.executable, "-c", "from freqlab.cli import main; main()", "run"]
    command += ["--faces", "orl", "--model", "mobilefacenet", "--bands", "rings:16"]
    command += ["--store", str(tmp_path / "run"), "--n-pairs", "20", "--cluster", "local:2"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "forward passes" in done.stderr
    status = zarr.open_group(tmp_path / "run", mode="r")["embeddings/mobilefacenet/intact/status"]
    assert (status[:] == 1).all()


ANOTHER = """
import os, sys, urllib.request
from distributed import Client
from distributed.security import Security
address, ports = sys.argv[1], sys.argv[2:]
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
os.chdir("/")
bare = address.partition("://")[2]
for place, security in (
    (f"tcp://{bare}", None), (f"tls://{bare}", None), (f"tls://{bare}", Security.temporary()),
):
    try:
        with Client(place, security=security, timeout=4) as client:
            print("in:", client.submit(os.getuid).result(timeout=4))
    except (OSError, ValueError, TypeError) as error:
        print("kept out", type(error).__name__)
for port in ports:
    for page in ("", "health", "info/main/workers.html", "json/counts.json", "metrics", "status"):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=4) as answer:
                print("page:", port, page, answer.status)
        except OSError:
            pass
print("tried", len(ports))
"""


def listening(psutil):
    """Addresses and ports on which this process and its children listen."""
    here = psutil.Process()
    return {
        (one.laddr.ip, one.laddr.port)
        for process in (here, *here.children(recursive=True))
        for one in process.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN
    }


def test_another_user_of_the_machine_is_kept_out():
    """Who reaches a scheduler has it run what they like, so it asks for the key of the run."""
    psutil = pytest.importorskip("psutil")
    options = {"device": "cpu", "given": [], "names": []}
    before = listening(psutil)  # of other clusters of these tests
    with connected("local:1", **options) as cluster:
        client = cluster.client
        assert client.submit(os.getpid).result() != os.getpid()
        places = listening(psutil) - before
        assert {address for address, _ in places} == {"127.0.0.1"}
        ports = {str(port) for _, port in places}
        address = client.scheduler.address
        assert len(ports) >= 3
        folder = Path(client.run(lambda dask_worker: dask_worker.local_directory).popitem()[1])
        assert any(above.stat().st_mode & 0o77 == 0 for above in folder.parents)
        done = subprocess.run(
            [sys.executable, "-c", ANOTHER, address, *sorted(ports)],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        lines = done.stdout.splitlines()
        assert [line.split()[0] for line in lines] == ["kept"] * 3 + ["tried"], done.stdout
        assert client.submit(lambda x: x + 1, 1).result() == 2


def test_without_cryptography_a_local_cluster_says_what_it_needs(monkeypatch):
    from distributed.security import Security

    def missing():
        raise ImportError("No module named 'cryptography'")

    monkeypatch.setattr(Security, "temporary", missing)
    options = {"device": "cpu", "given": [], "names": []}
    with (
        connected("local:1", **options) as cluster,
        pytest.raises(FreqlabError, match=r"needs the package cryptography.*freqlab\[cluster\]"),
    ):
        _ = cluster.client

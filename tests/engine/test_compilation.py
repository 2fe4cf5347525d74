"""Networks compiled by a process of their own: who takes over, and what costs nothing but speed."""

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
from conftest import Linear

import freqlab as fl
from freqlab.engine import compilation, removals
from freqlab.engine.compilation import (
    Compilation,
    compile_ahead,
    compiled,
    from_cache,
    is_compiled,
    why_not_compilable,
)
from freqlab.engine.compiled_packages import keep_package, package_key, packages
from freqlab.engine.compiler_process import why_different
from freqlab.errors import ModelError, ParameterError
from freqlab.images.alignment import detect_faces
from freqlab.run import context, embeddings

GIVEN = {"batch_size": 8, "threads": 1}


class Tiny(torch.nn.Module):
    """A network of two layers, quick to compile."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 7, stride=8), torch.nn.ReLU(), torch.nn.Flatten()
        )

    def forward(self, images):
        return self.layers(images)


@pytest.fixture
def tiny():
    return fl.wrap_model(Tiny().eval(), name="tiny")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the test's own; failures of other tests are forgotten."""
    monkeypatch.setenv("FREQLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(compilation, "_FAILED", {})
    monkeypatch.setattr(context, "_NOTED", set())
    return tmp_path / "cache" / "compiled"


@pytest.fixture
def counted(monkeypatch):
    """Packages run the linear network, and count what they are given."""
    calls = []
    network = Linear()

    def load_package(path, device, streams):
        def run(images):
            calls.append(len(images))
            return network(images)

        return run

    monkeypatch.setattr(compilation, "load_package", load_package)
    return calls


@pytest.fixture
def program(monkeypatch):
    """Set what the compiling process does, as a program of Python that is given its folder."""

    def put(text):
        def start(folder, shared):
            return subprocess.Popen([sys.executable, "-c", text, str(folder)])

        monkeypatch.setattr(compilation, "_start", start)

    return put


@pytest.fixture
def at_once(monkeypatch):
    """Every run is long enough to compile for."""
    monkeypatch.setattr(embeddings, "WORTH_SECONDS", 0.0)
    monkeypatch.setattr(embeddings, "_CLEAR_AFTER", 0.0)


def keep(model, content=b"a library", **given):
    """Put a package for a model into the cache."""
    key, facts = package_key(model, **(GIVEN | given))
    place = Path(os.environ["FREQLAB_CACHE"])
    place.mkdir(exist_ok=True)
    made = place / "made.pt2"
    made.write_bytes(content)
    return keep_package(made, key, facts, model.name)


def test_only_modules_are_compiled():
    function = fl.wrap_model(lambda images: images.flatten(1)[:, :8], name="function")
    assert "not a PyTorch module" in why_not_compilable(function)
    with pytest.raises(ModelError, match="'function' cannot be compiled: it is not"):
        compiled(function, **GIVEN)
    assert why_not_compilable(fl.wrap_model(Linear(), name="linear")) == ""


def test_without_a_compiler_nothing_is_started_and_it_is_said_once(
    monkeypatch, synthetic, linear, cache, capsys, at_once
):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(compilation, "_start", lambda *_: pytest.fail("a process was started"))
    pairs = fl.make_pairs(synthetic)
    for _ in range(2):
        fl.influence(synthetic, pairs, models=[linear])
    text = "note: model 'linear' cannot be compiled: there is no C++ compiler here (no-such"
    assert capsys.readouterr().err.count(text) == 1


def test_what_embeds_otherwise_is_refused(linear, cache, counted, program):
    program("import sys, pathlib; (pathlib.Path(sys.argv[1]) / 'package.pt2').touch()")
    other = fl.wrap_model(Linear(seed=1), name="other")
    with pytest.raises(ModelError, match=r"embeddings differ when compiled \(unit emb"):
        compiled(other, **GIVEN, keep=False)
    assert is_compiled(compiled(linear, **GIVEN, keep=False))
    keep(other)
    assert from_cache(other, **GIVEN, streams=1) is None
    assert packages() == []  # what does not fit any more is not tried again


def test_how_much_may_differ():
    one = torch.nn.functional.normalize(torch.rand(4, 16, dtype=torch.float64), dim=1)
    near = one + torch.eye(4, 16) * 2e-5
    assert why_different(one * 7, one, "float32") == ""
    assert "unit embeddings differ by" in why_different(near, one, "float32")
    assert why_different(near, one, "bfloat16") == ""
    assert "cosine" in why_different(one.roll(1, 0), one, "bfloat16")
    assert "shape (4, 15)" in why_different(one[:, :15], one, "float32")
    assert why_different(one * float("nan"), one, "float32")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended with signal 9"),
        ("raise SystemExit(7)", "ended with status 7"),
        (
            "import sys, pathlib; (pathlib.Path(sys.argv[1]) / 'error.txt').write_text('no room')\n"
            "raise SystemExit(3)",
            "no room",
        ),
    ],
)
@pytest.mark.parametrize(
    "compile", [True, *(pytest.param(how, marks=pytest.mark.slow) for how in ("auto", "once"))]
)
def test_a_compiler_that_fails_costs_nothing_but_speed(
    synthetic, linear, cache, capsys, program, at_once, text, why, compile
):
    program(text)
    pairs = fl.make_pairs(synthetic)
    expected = fl.influence(synthetic, pairs, models=[linear], compile=False, progress=False)
    found = fl.influence(synthetic, pairs, models=[linear], compile=compile, batch_size=1)
    np.testing.assert_allclose(found["influence"], expected["influence"], atol=1e-6)
    if compile is True:  # beside so short a run it may be at work to the end
        message = f"note: model 'linear' cannot be compiled: .*{why}; it runs uncompiled"
        assert capsys.readouterr().err.count(message.replace(".*", "")) or why in message
    deadline = time.monotonic() + 20
    while any(not c.done() for c in compilation._RUNNING) and time.monotonic() < deadline:
        time.sleep(0.05)
    for left in list(compilation._RUNNING):
        with pytest.raises(ModelError, match=why):
            left.result()
    assert not list(cache.glob(".*")) if cache.exists() else True


@pytest.mark.slow
@pytest.mark.parametrize("worth", [0.0, 1e9])
def test_the_package_takes_over_when_it_is_there(
    monkeypatch, synthetic, linear, cache, counted, program, at_once, worth
):
    """Made beside the work, in a run that waits for it; and only if that pays."""
    program("import sys, pathlib; (pathlib.Path(sys.argv[1]) / 'package.pt2').touch()")
    monkeypatch.setattr(embeddings, "WORTH_SECONDS", worth)
    monkeypatch.setattr(Compilation, "done", lambda self: self._process.wait() is not None)
    pairs = fl.make_pairs(synthetic)
    expected = fl.influence(synthetic, pairs, models=[linear], compile=False, progress=False)
    monkeypatch.setattr(removals, "_LARGEST_PART", 16)
    found = fl.influence(
        synthetic, pairs, models=[linear], compile="once", batch_size=4, progress=False
    )
    np.testing.assert_allclose(found["influence"], expected["influence"], atol=1e-6)
    assert bool(counted) == (worth == 0)


@pytest.mark.slow
def test_a_later_run_is_compiled_from_its_first_pass(synthetic, linear, cache, counted):
    pairs = fl.make_pairs(synthetic)
    given = {"models": [linear], "batch_size": 8, "progress": False}
    plain = fl.influence(synthetic, pairs, **given)
    assert not counted
    keep(linear, threads=torch.get_num_threads())
    fast = fl.influence(synthetic, pairs, **given)
    passes = fast.attrs["forward_passes"]
    assert passes <= sum(counted) <= passes + 8 * 20  # each part fills its last batch
    np.testing.assert_allclose(fast["influence"], plain["influence"], atol=1e-6)
    n_calls = len(counted)
    for how in (False, "once"):
        fl.influence(synthetic, pairs, **given, compile=how)
    assert len(counted) == n_calls


def test_batches_of_another_size_go_through_the_network(linear, cache, counted):
    keep(linear)
    fast = from_cache(linear, **GIVEN, streams=1)
    counted.clear()
    images = torch.rand(3, 3, 112, 112) * 255
    torch.testing.assert_close(fast(images), linear(images))
    assert not counted


@pytest.mark.parametrize("given", ["yes", None, 2])
def test_compile_must_be_one_of_four(synthetic, linear, given):
    with pytest.raises(ParameterError, match="must be True, False, 'auto' or 'once'"):
        fl.influence(synthetic, fl.make_pairs(synthetic), models=[linear], compile=given)


def test_a_folder_that_others_write_to_is_not_used(linear, cache, counted, program):
    program("import sys, pathlib; (pathlib.Path(sys.argv[1]) / 'package.pt2').touch()")
    keep(linear)
    cache.chmod(0o777)
    assert from_cache(linear, **GIVEN, streams=1) is None
    with pytest.raises(ParameterError, match=r"not used: others may write to it \(mode 777\)"):
        compile_ahead(linear)
    job = Compilation(linear, **GIVEN, streams=1, keep=True)
    assert job.kept_in is None  # compiled for this run alone
    assert is_compiled(job.result())


def test_a_network_that_cannot_be_sent_goes_on_as_it_is(cache):
    class Unsent(Tiny):
        def __reduce__(self):
            raise TypeError("a handle of mine cannot be sent")

    model = fl.wrap_model(Unsent().eval(), name="unsent")
    with pytest.raises(ModelError, match="cannot be compiled: a handle of mine cannot be sent"):
        compiled(model, **GIVEN)
    assert not list(cache.glob(".*"))


@pytest.mark.parametrize(
    "times", [pytest.param(times, marks=pytest.mark.exhaustive) for times in (2, 20)]
)
def test_compiling_beside_detection_and_forward_passes(monkeypatch, orl, cache, times):
    """Compilations, while other threads detect faces and run networks all the time.

    Tracing replaces ``torch.nn.Module.__call__`` for the process that traces. Wherever that would
    happen here, the moment is held open, so that any thread meets it.
    """
    import torch.fx._symbolic_trace

    patcher = torch.fx._symbolic_trace._Patcher
    leave = patcher.revert_all_patches
    traced, stop, errors, counts = [], threading.Event(), [], {"detect": 0, "forward": 0}

    def hold(self, *details):
        traced.append(threading.current_thread().name)
        time.sleep(1)
        return leave(self, *details)

    monkeypatch.setattr(patcher, "revert_all_patches", hold)
    call = torch.nn.Module.__call__
    images = [orl.image(i) for i in (0, 10)]
    other = fl.load_model("mobilefacenet", device="cpu")

    def work(name, function):
        try:
            while not stop.is_set():
                function()
                counts[name] += 1
                assert torch.nn.Module.__call__ is call
                time.sleep(0.1)  # leaves the cores to the compilers
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=work, args=("detect", lambda: detect_faces(images))),
        threading.Thread(
            target=work, args=("forward", lambda: other(torch.full((2, 3, 112, 112), 90.0)))
        ),
    ]
    for thread in threads:
        thread.start()
    try:
        done, batch = [], torch.rand(8, 3, 112, 112) * 255
        for start in range(0, times, 2):  # two at a time, as two models of a run
            models = [
                fl.wrap_model(Tiny(seed).eval(), name=f"tiny-{seed}")
                for seed in range(start, start + 2)
            ]
            jobs = [Compilation(model, **GIVEN, streams=2, keep=True) for model in models]
            before = dict(counts)
            for model, job in zip(models, jobs, strict=True):
                fast = job.result()
                torch.testing.assert_close(fast(batch), model(batch), rtol=1e-4, atol=1e-4)
                done.append(is_compiled(fast))
            assert all(counts[name] > before[name] for name in counts)
            assert not errors, errors
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not errors, errors
    assert done == [True] * times
    assert not traced
    assert len(packages()) == times


@pytest.mark.exhaustive
def test_a_compiler_that_is_killed_at_work(tiny, cache):
    job = Compilation(tiny, **GIVEN, streams=1, keep=True)
    time.sleep(2)
    os.kill(job._process.pid, signal.SIGKILL)
    with pytest.raises(ModelError, match="the compiling process ended with signal 9"):
        job.result()
    left = {path.name for path in cache.iterdir()} - {"inductor"}
    assert left <= {f"{job._key}.lock"}
    with pytest.raises(ModelError, match="signal 9"):  # not tried again by this process
        compiled(tiny, **GIVEN)
    compilation._FAILED.clear()
    assert is_compiled(compiled(tiny, **GIVEN))


@pytest.mark.exhaustive
def test_two_processes_compile_one_network_at_once(tiny, cache):
    jobs = [Compilation(tiny, **GIVEN, streams=1, keep=True) for _ in range(2)]
    fast = [job.result() for job in jobs]
    images = torch.rand(8, 3, 112, 112) * 255
    for model in fast:
        assert is_compiled(model)
        torch.testing.assert_close(model(images), tiny(images), rtol=1e-4, atol=1e-4)
    assert len(packages()) == 1
    assert [path.name for path in cache.iterdir() if path.is_dir()] == ["inductor"]


@pytest.mark.exhaustive
def test_a_damaged_package_is_made_again(tiny, cache):
    first = compile_ahead(tiny, batch_size=8)
    made, content = first.stat().st_mtime_ns, first.read_bytes()
    first.write_bytes(content[: len(content) // 2])
    assert is_compiled(compiled(tiny, batch_size=8, threads=torch.get_num_threads()))
    assert len(first.read_bytes()) > len(content) // 2
    assert first.stat().st_mtime_ns != made
    # sound by its checksum, and of no use here: as from another machine
    keep(tiny, b"PK\x05\x06" + bytes(18), threads=torch.get_num_threads())
    assert is_compiled(compiled(tiny, batch_size=8, threads=torch.get_num_threads()))
    assert first.stat().st_mode & 0o777 == 0o600
    assert cache.stat().st_mode & 0o777 == 0o700


@pytest.mark.exhaustive
def test_a_cache_that_is_full(tiny, cache):
    cache.parent.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(cache.parent)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        with pytest.raises(ModelError, match="cannot be compiled: .*No space left"):
            compiled(tiny, **GIVEN)
        assert packages() == []
        compilation._FAILED.clear()
        assert is_compiled(compiled(tiny, **GIVEN, keep=False))
    finally:
        subprocess.run(["umount", str(cache.parent)], check=True)


@pytest.mark.exhaustive
def test_a_cache_that_is_read_only_serves_and_takes_nothing(tiny, cache):
    cache.parent.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(cache.parent)]).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        compiled(tiny, **GIVEN)
        subprocess.run(["mount", "-o", "remount,ro", str(cache.parent)], check=True)
        assert is_compiled(from_cache(tiny, **GIVEN, streams=1))
        other = fl.wrap_model(Tiny(1).eval(), name="other")
        job = Compilation(other, **GIVEN, streams=1, keep=True)
        assert job.kept_in is None
        assert is_compiled(job.result())
    finally:
        subprocess.run(["umount", str(cache.parent)], check=True)


@pytest.mark.exhaustive
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_compiled_agrees_with_eager(orl, precision, cache):
    faces = orl.select(range(0, 40, 4))
    pairs = fl.make_pairs(faces, impostors_per_genuine=float("inf"))
    given = {"models": ["mobilefacenet"], "precision": precision, "progress": False}
    plain = fl.influence(faces, pairs, compile=False, **given)
    fast = fl.influence(faces, pairs, compile=True, **given)
    assert len(packages()) == 1
    tolerance = 1e-5 if precision == "float32" else 0.03
    np.testing.assert_allclose(fast["influence"], plain["influence"], atol=tolerance)
    np.testing.assert_allclose(fast["similarity"], plain["similarity"], atol=tolerance)

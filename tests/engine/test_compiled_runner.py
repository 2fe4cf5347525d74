"""Packages run as the network they were made from, several at once."""

import ctypes
import os
import threading
import time
import zipfile

import pytest
import torch

from freqlab.engine import compiled_runner
from freqlab.engine.compiled_runner import load_package

pytestmark = pytest.mark.skipif(os.name != "posix", reason="PyTorch's loader runs packages here")


class Deep(torch.nn.Module):
    """Takes a tenth of a second or more on one core."""

    def __init__(self):
        super().__init__()
        chance = torch.Generator().manual_seed(0)
        self.weight = torch.nn.Parameter(torch.randn(512, 512, generator=chance) / 23)

    def forward(self, x):
        for _ in range(60):
            x = torch.tanh(x @ self.weight)
        return x


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A network, what it is given, and its package."""
    network, images = Deep().eval(), torch.ones(1500, 512)
    path = tmp_path_factory.mktemp("package") / "package.pt2"
    with torch.no_grad():
        program = torch.export.export(network, (images,))
        settings = {"freezing": True, "compile_threads": 1, "cpp.threads": 1}
        torch._inductor.aoti_compile_and_package(
            program, package_path=str(path), inductor_configs=settings
        )
    return network, images, path


@pytest.mark.slow
def test_it_returns_what_the_network_and_pytorchs_own_loader_return(made, one_thread):
    network, images, path = made
    with torch.inference_mode():
        run = load_package(path, "cpu", 2)
        given = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
        found, kept = run(given), given.clone()
        own = torch._C._aoti.AOTIModelPackageLoader(str(path), "model", False, 2, -1)
        assert torch.equal(found, own.run([given])[0])
        torch.testing.assert_close(found, network(given), atol=1e-5, rtol=1e-4)
        assert torch.equal(given, kept)


@pytest.mark.slow
def test_python_goes_on_while_it_runs(made, one_thread):
    """No thread holds the lock from the first to the third quarter of a call."""
    _, images, path = made
    run = load_package(path, "cpu", 1)
    lasted, done = [], threading.Event()

    def call():
        with torch.inference_mode():
            for _ in range(3):
                start = time.perf_counter()
                run(images)
                lasted.append((start, time.perf_counter()))
        done.set()

    ticks, thread = [], threading.Thread(target=call)
    thread.start()
    while not done.is_set():
        ticks.append(time.perf_counter())
    thread.join()
    for start, end in lasted:
        quarter = (end - start) / 4
        assert any(start + quarter < tick < end - quarter for tick in ticks)


@pytest.mark.slow
def test_calls_from_many_threads_return_each_its_own(made, one_thread):
    network, images, path = made
    run, found = load_package(path, "cpu", 2), {}

    def call(value):
        with torch.inference_mode():
            found[value] = [run(images * value) for _ in range(2)]

    threads = [threading.Thread(target=call, args=(value,)) for value in (0.1, 0.2, 0.3, 0.4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with torch.inference_mode():
        for value, outputs in found.items():
            expected = network((images * value)[:1])
            for output in outputs:
                torch.testing.assert_close(output[:1], expected, atol=1e-5, rtol=1e-4)
    assert len(found) == 4


@pytest.mark.slow
def test_nothing_is_left_in_memory_or_on_the_disk(made, one_thread, tmp_path, monkeypatch):
    """Nobody but Python refers to what was given and what was returned."""
    _, images, path = made
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with torch.inference_mode():
        run, given = load_package(path, "cpu", 1), images.clone()
        outputs = [run(given) for _ in range(2)]
        assert given._use_count() == images.clone()._use_count()
        assert [output._use_count() for output in outputs] == [images.clone()._use_count()] * 2
        assert outputs[0].data_ptr() != outputs[1].data_ptr()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_failure_inside_is_an_error_with_its_reason(made):
    run = load_package(made[2], "cpu", 1)
    library = run._library
    two = ctypes.c_size_t(2)
    status = library.AOTInductorModelContainerRun(run._container, None, two, None, two, None, None)
    assert status != 0
    with pytest.raises(RuntimeError, match="it failed: .*input"):
        compiled_runner._check(library, status, "it failed")


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["package/data/aotinductor/model/a.so", "package/data/aotinductor/model/b.so"],
        ["package/data/aotinductor/model/a.so", "package/data/aotinductor/model/a.json"],
        ["package/data/aotinductor/other/a.so"],
    ],
)
def test_other_packages_are_left_to_pytorch(tmp_path, monkeypatch, names):
    path, asked = tmp_path / "package.pt2", []
    with zipfile.ZipFile(path, "w") as package:
        for name in names:
            package.writestr(name, b"")

    class Loader:
        def __init__(self, *given):
            asked.append(given)

        def run(self, inputs):
            return [inputs[0] + 1]

    monkeypatch.setattr(torch._C._aoti, "AOTIModelPackageLoader", Loader)
    assert load_package(path, "cpu", 3)(torch.zeros(1)) == 1
    assert asked == [(str(path), "model", False, 3, -1)]


def test_what_is_no_library_is_an_error(tmp_path):
    path = tmp_path / "package.pt2"
    with zipfile.ZipFile(path, "w") as package:
        package.writestr("package/data/aotinductor/model/a.so", b"text")
    with pytest.raises(OSError, match=r"a\.so"):
        load_package(path, "cpu", 1)

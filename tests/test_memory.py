"""Where memory runs out, a block is done again in smaller batches."""

import numpy as np
import pytest
import torch
import zarr
from conftest import Linear, make_faces

import freqlab as fl
from freqlab.errors import ModelError


class Greedy(torch.nn.Module):
    """Fails above a number of images, as a network does that has no more memory."""

    def __init__(self, most, error, times=10**6):
        super().__init__()
        self.most, self.error, self.times = most, error, times
        self.sizes = []
        self.linear = Linear()

    def forward(self, images):
        self.sizes.append(len(images))
        if len(images) > self.most and self.times:
            self.times -= 1
            raise self.error
        return self.linear(images)


ERRORS = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: not enough memory"),
]


def compute(network, store, batch_size=16, n_subjects=40):
    faces = make_faces(n_subjects=n_subjects, per_subject=2)
    model = fl.wrap_model(network, name="greedy", version="1")
    return fl.influence(
        faces,
        fl.make_pairs(faces, seed=0),
        models=[model],
        store=store,
        batch_size=batch_size,
        progress=False,
    )


def batch_sizes(store, node="intact"):
    return zarr.open_group(store, mode="r")[f"embeddings/greedy/{node}/batch_size"][:]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run of a network that has memory enough."""
    return compute(Linear(), tmp_path_factory.mktemp("whole") / "whole.zarr")


@pytest.mark.slow
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_block_is_retried_at_half_its_batch(tmp_path, error, whole):
    expected = whole
    network = Greedy(5, error)
    found = compute(network, tmp_path / "run.zarr")
    for name in ("influence", "similarity", "threshold"):
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-5)
    assert found.attrs["forward_passes"] == expected.attrs["forward_passes"]
    assert set(network.sizes) <= {16, 8, 4, 1}
    # once it is known, it is not tried again and again: only in work dealt out before
    assert network.sizes.count(16) < len(network.sizes) / 4
    assert (batch_sizes(tmp_path / "run.zarr", fl.rings().key) == 4).all()
    assert (batch_sizes(whole.attrs["store"]) == 16).all()


@pytest.mark.slow
def test_only_the_block_that_failed_is_smaller(tmp_path):
    network = Greedy(8, MemoryError(), times=0)
    compute(network, tmp_path / "run.zarr", n_subjects=16)
    assert (batch_sizes(tmp_path / "run.zarr") == 16).all()
    network = Greedy(8, MemoryError())
    compute(network, tmp_path / "run.zarr", n_subjects=40)
    sizes = batch_sizes(tmp_path / "run.zarr")
    assert (sizes[:32] == 16).all()
    assert (sizes[32:] == 8).all()


def test_not_even_one_image(tmp_path):
    with pytest.raises(ModelError, match=r"failed on \(1, 3, 112, 112\).*MemoryError"):
        compute(Greedy(0, MemoryError()), tmp_path / "run.zarr")


def test_another_fault_is_not_retried(tmp_path):
    network = Greedy(1, RuntimeError("a size does not fit"))
    with pytest.raises(ModelError, match="a size does not fit"):
        compute(network, tmp_path / "run.zarr")
    assert network.sizes == [1, 16]


def test_said_once_per_size(tmp_path, capsys):
    faces = make_faces(n_subjects=6, per_subject=2)
    model = fl.wrap_model(Greedy(5, MemoryError()), name="greedy", version="1")
    fl.influence(faces, fl.make_pairs(faces), models=[model], batch_size=16)
    text = capsys.readouterr().err
    assert text.count("memory ran out; now 4 images per forward pass") >= 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_memory_of_a_cuda_device(tmp_path):
    """A network that asks for more than the device has, at any batch above four."""

    class Large(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = Linear()

        def forward(self, images):
            total = torch.cuda.get_device_properties(images.device).total_memory
            torch.empty(total // 5 * len(images), dtype=torch.uint8, device=images.device)
            return self.linear(images)

    faces = make_faces(n_subjects=8, per_subject=2)
    pairs = fl.make_pairs(faces, seed=0)
    results = [
        fl.influence(
            faces,
            pairs,
            models=[fl.wrap_model(network, name="greedy", version="1", device=device)],
            store=tmp_path / f"{device}.zarr",
            batch_size=16,
            progress=False,
        )
        for device, network in (("cuda", Large()), ("cpu", Linear()))
    ]
    np.testing.assert_allclose(results[0]["influence"], results[1]["influence"], atol=1e-4)
    assert set(batch_sizes(tmp_path / "cuda.zarr", fl.rings().key)) <= {1, 2, 4}

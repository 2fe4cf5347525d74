import pytest
import torch
from conftest import Linear

import freqlab as fl
from freqlab.engine.workers import working


def test_threads_of_pytorch_are_restored():
    before = torch.get_num_threads()
    with working() as workers:
        assert torch.get_num_threads() == workers.threads
        assert workers.share(torch.get_num_threads).result() == workers.threads
        assert workers.n * workers.threads <= before
    assert torch.get_num_threads() == before
    with pytest.raises(RuntimeError, match="stopped"), working():
        raise RuntimeError("stopped")
    assert torch.get_num_threads() == before


def test_what_may_not_be_shared_has_a_thread_of_its_own():
    known, own = fl.load_model("mobilefacenet", device="cpu"), fl.wrap_model(Linear(), name="own")
    with working() as workers:
        assert workers.streams_of(known) == workers.n
        assert workers.threads_of(known) == workers.threads
        assert workers.streams_of(own) == 1
        assert workers.threads_of(own) == workers.cores
        assert workers.submit_for(own, torch.get_num_threads).result() == workers.cores

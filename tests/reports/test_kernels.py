"""Kernels that are started while the notebook before is being executed."""

import pytest
from jupyter_core.utils import run_sync

from freqlab.reports import kernels
from freqlab.reports.kernels import OwnKernelManager, kernels_in_advance


def is_alive(manager):
    return run_sync(manager.is_alive)()


def test_a_single_notebook_starts_no_other_kernel(monkeypatch):
    monkeypatch.setattr(kernels, "_started", lambda: pytest.fail("started"))
    with kernels_in_advance() as next_manager:
        assert next_manager(False) is OwnKernelManager


@pytest.mark.slow
def test_the_second_notebook_gets_the_kernel_that_was_started():
    with kernels_in_advance() as next_manager:
        assert next_manager(True) is OwnKernelManager
        ready = next_manager(False)(kernel_name="python3")
        assert isinstance(ready, OwnKernelManager)
        assert is_alive(ready)
        client = ready.client()
        client.start_channels()
        try:
            run_sync(client.wait_for_ready)(timeout=120)
            reply = run_sync(client.execute_interactive)(
                "import sys; assert 'torch' in sys.modules; assert 'freqlab' not in dir()",
                timeout=60,
            )
            assert reply["content"]["status"] == "ok"
        finally:
            client.stop_channels()
            run_sync(ready.shutdown_kernel)(now=True)


@pytest.fixture
def started(monkeypatch):
    """The managers of kernels that were started in advance."""
    managers = []
    start = kernels._started
    monkeypatch.setattr(kernels, "_started", lambda: managers.append(start()) or managers[-1])
    return managers


@pytest.mark.slow
def test_a_kernel_that_is_not_used_ends_with_an_interruption(started):
    def interrupted():
        with kernels_in_advance() as next_manager:
            next_manager(True)
            assert is_alive(started[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not is_alive(started[0])


@pytest.mark.slow
def test_a_kernel_that_died_while_it_waited_is_replaced(started):
    with kernels_in_advance() as next_manager:
        next_manager(True)
        run_sync(started[0].shutdown_kernel)(now=True)
        assert next_manager(False) is OwnKernelManager

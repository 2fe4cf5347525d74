"""The timers of the benchmarks, on clocks that are set by hand."""

import importlib.util
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="module")
def stages():
    """The module of the benchmarks, which is no part of the package."""
    path = Path(__file__).parents[1] / "benchmarks" / "stages.py"
    if not path.exists():
        pytest.skip("the benchmarks are not here")
    spec = importlib.util.spec_from_file_location("benchmark_stages", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_second_counts_for_the_innermost_stage(stages):
    clocks = threading.local()

    def clock():
        return clocks.__dict__.setdefault("now", 0.0)

    def passes(seconds):
        clocks.now = clock() + seconds

    work = SimpleNamespace(inner=lambda: passes(2), fails=lambda: 1 / 0)

    def outer():
        passes(1)
        work.inner()
        work.inner()
        passes(4)

    work.outer = outer
    places = {
        "inside": [(work, "inner")],
        "around": [(work, "outer")],
        "failed": [(work, "fails")],
    }
    before = dict(vars(work))
    with stages.Watch(places, clock) as watch:
        work.outer()
        threads = [threading.Thread(target=work.outer) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with pytest.raises(ZeroDivisionError):
            work.fails()
        work.inner()  # after an error, nothing is taken off another stage
    assert watch.seconds == {"inside": 3 * 4 + 2, "around": 3 * 5, "failed": 0}
    assert vars(work) == before
    assert watch.shares(40) == {"around": 37.5, "inside": 35.0, "rest": 27.5}


@pytest.mark.parametrize("kind", ["PHASES", "PARTS", "DETECTION"])
def test_what_is_timed_exists(stages, kind):
    for functions in getattr(stages, kind).values():
        for owner, name in functions:
            assert callable(getattr(owner, name)), (owner, name)

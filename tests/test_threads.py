"""The thread count and the block-wise passes on the one small pool."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import deconv
from deconv import threads
from deconv.threads import get_threads, map_blocks, set_threads


@pytest.fixture(autouse=True)
def restore_threads():
    before = get_threads()
    yield
    set_threads(before)


@pytest.mark.parametrize("bad", [0, -1, 1.5, "2", None, True])
def test_set_threads_refuses(bad):
    before = get_threads()
    with pytest.raises(ValueError, match="expected a whole number of threads, at least 1"):
        set_threads(bad)
    assert get_threads() == before


def test_fft_offers_the_same_count():
    deconv.fft.set_threads(3)
    assert get_threads() == deconv.fft.get_threads() == 3


def started_with(**variables):
    run = [sys.executable, "-c", "from deconv.threads import get_threads; print(get_threads())"]
    environment = {**os.environ, **variables}
    return subprocess.run(run, capture_output=True, text=True, env=environment)


def test_environment_sets_the_count():
    assert started_with(DECONV_THREADS="3").stdout.strip() == "3"


@pytest.mark.parametrize("bad", ["0", "-2", "two", "1.5"])
def test_environment_is_validated(monkeypatch, bad):
    monkeypatch.setenv("DECONV_THREADS", bad)
    with pytest.raises(ValueError, match=f"DECONV_THREADS='{bad}'; expected a whole number"):
        threads._default_threads()


def test_default_is_the_cores_at_hand(monkeypatch):
    monkeypatch.setenv("DECONV_THREADS", "5")
    assert threads._default_threads() == 5
    monkeypatch.setenv("DECONV_THREADS", "")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert threads._default_threads() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert threads._default_threads() == 1


@pytest.mark.parametrize("n", [1, 2, 3, 7])
@pytest.mark.parametrize(
    "shape", [(5,), (700_001,), (1, 300_000), (3, 500, 301), (2, 1, 600, 300), (40, 20, 700)]
)
def test_blocks_cover_everything_once(n, shape):
    set_threads(n)
    rng = np.random.default_rng(0)
    a, row = rng.random(shape), rng.random(shape[-1])
    out = np.full(shape, np.nan)
    assert map_blocks(lambda u, v: u + 2 * v, (a, row), out) is out
    np.testing.assert_array_equal(out, a + 2 * row)
    # In place: `out` is one of the inputs.
    map_blocks(lambda u, v: u - v, (a, row), a)
    np.testing.assert_allclose(a + 3 * row, out, rtol=1e-14)


def test_several_threads_work_on_large_arrays():
    set_threads(3)
    seen = set()

    def fn(block):
        seen.add(threading.current_thread().name)
        return block

    a = np.ones((64, 1 << 16))
    map_blocks(fn, (a,), np.empty_like(a))
    assert any(name.startswith("deconv") for name in seen)
    assert threading.current_thread().name in seen


def test_an_error_in_a_worker_comes_home():
    set_threads(2)
    caller = threading.current_thread()

    def fn(block):
        if threading.current_thread() is not caller:
            raise ArithmeticError("in the pool")
        return block

    a = np.ones((64, 1 << 16))
    with pytest.raises(ArithmeticError, match="in the pool"):
        map_blocks(fn, (a,), np.empty_like(a))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_gets_a_pool_of_its_own():
    # In a process of its own: forking one that runs other threads is a warning.
    code = """
import os, numpy as np
from deconv.threads import map_blocks, set_threads
set_threads(2)
a = np.ones((64, 1 << 16))
map_blocks(lambda u: u + 1, (a,), a)
import warnings
warnings.simplefilter("ignore")
child = os.fork()
if child == 0:
    map_blocks(lambda u: u + 1, (a,), a)
    os._exit(0 if (a == 3).all() else 1)
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

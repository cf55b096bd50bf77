"""Memory that is used again: never while an array refers to it, never without bound."""

import gc
import threading

import numpy as np
import pytest

from deconv import fft, memory


@pytest.fixture(autouse=True)
def nothing_kept():
    fft.release_memory()
    yield
    fft.release_memory()


@pytest.mark.parametrize("shape", [(3,), (0,), (5, 7), (512, 300), (2, 400, 401)])
@pytest.mark.parametrize("dtype", [np.float32, np.complex128, np.bool_])
def test_shape_dtype_and_boundary(shape, dtype):
    x = memory.empty(shape, dtype)
    assert x.shape == shape and x.dtype == dtype
    assert x.flags.c_contiguous and x.flags.writeable
    assert x.size == 0 or x.ctypes.data % memory.ALIGNMENT == 0


def test_freed_memory_serves_the_next_array_of_its_size():
    x = memory.empty((1000, 1000), np.float32)
    place = x.ctypes.data
    del x
    assert memory.empty((500, 1000), np.float64).ctypes.data == place


def test_memory_in_use_is_left_alone():
    x = memory.empty((1000, 1000), np.float32)
    x[...] = 7
    view = x[10:20, ::2]
    del x
    gc.collect()
    others = [memory.empty((1000, 1000), np.float32) for _ in range(3)]
    for other in others:
        other[...] = 0
    assert np.all(view == 7)


def test_a_result_outlives_the_next_calls():
    import deconv

    image = np.random.default_rng(0).random((600, 500), np.float32)
    psf = deconv.psf.gaussian(1.5)
    first = deconv.wiener(image, psf, boundary="periodic")
    kept = first.copy()
    for scale in (2, 3):
        deconv.wiener(scale * image, psf, boundary="periodic")
    np.testing.assert_array_equal(first, kept)


def test_no_more_is_kept_than_the_limit(monkeypatch):
    monkeypatch.setattr(memory, "MOST", 10 * 2**20)
    arrays = [memory.empty((1024, 1024), np.float32) for _ in range(8)]
    del arrays
    gc.collect()
    kept = sum(size * len(blocks) for size, blocks in memory._store.items())
    assert 0 < kept <= 10 * 2**20
    fft.release_memory()
    assert not memory._store


def test_threads_never_share_memory():
    clashes = []

    def work(number):
        for _ in range(200):
            x = memory.empty((300, 300), np.float32)
            x[...] = number
            if not np.all(x == number):
                clashes.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not clashes

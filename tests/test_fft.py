"""Every FFT library against NumPy's, the plans and their cache, and the fast shapes."""

import json
import os
import threading
from importlib.util import find_spec

import numpy as np
import pytest
from helpers import LIBRARIES, get, put
from hypothesis import given
from hypothesis import strategies as st

from deconv import fft
from deconv.fft import libraries, plans

MAKERS = {"scipy": libraries.Scipy, "ducc0": libraries.Ducc, "fftw": libraries.Fftw}
INSTALLED = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            find_spec({"fftw": "pyfftw"}.get(name, name)) is None, reason=f"no {name}"
        ),
    )
    for name in MAKERS
]
SHAPES = [(16,), (17,), (1,), (6, 8), (5, 9), (8, 7), (1, 5), (4, 6, 8), (5, 3, 7), (3, 4, 5)]
TOLERANCE = {"float32": 2e-6, "float64": 1e-14}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    """A cache folder for each test, and nothing remembered from before or after."""
    monkeypatch.setenv("DECONV_CACHE", str(tmp_path / "cache"))
    before = fft.get_threads()
    forget()
    yield tmp_path / "cache"
    fft.set_threads(before)
    forget()


def forget():
    """What a new process knows: nothing."""
    for cached in (plans._measured, plans._planned, libraries.unplanned):
        if hasattr(cached, "cache_clear"):
            cached.cache_clear()


@pytest.fixture
def use(monkeypatch):
    """Force one library for every transform; returns the function that does."""

    def choose(name):
        if name == "fftw":
            # FFTW is used where it won a measurement: let it win.
            pace = {"Fftw": 0.0}
            monkeypatch.setattr(
                plans, "_seconds", lambda lib, *_: pace.get(type(lib).__name__, 1.0)
            )
            monkeypatch.setattr(fft, "library", tuned)
        else:
            monkeypatch.setattr(plans, "unplanned", lambda: MAKERS[name])
            monkeypatch.setattr(fft, "unplanned", lambda: MAKERS[name])

    def tuned(shape, dtype, ndim):
        assert fft.tune(shape, dtype, ndim) == "fftw"
        library = plans._planned(tuple(shape), dtype, ndim, fft.get_threads())
        assert isinstance(library, libraries.Fftw)
        return library

    return choose


def close(found, expected, dtype):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("library", INSTALLED)
def test_library_agrees_with_numpy(use, library, threads, dtype):
    use(library)
    fft.set_threads(threads)
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        ndim = len(shape)
        for lead in ((), (3,)):
            x = put(rng.normal(size=(*lead, *shape)).astype(dtype), "numpy")
            axes = tuple(range(-ndim, 0))
            expected = np.fft.rfftn(x.astype(float), axes=axes)
            spectrum = fft.rfftn(x, ndim)
            assert spectrum.dtype == ("complex64" if dtype == "float32" else "complex128")
            close(spectrum, expected, dtype)
            out = np.empty_like(spectrum)
            assert fft.rfftn(x, ndim, out=out) is out
            close(out, expected, dtype)

            spectrum.setflags(write=False)
            image = fft.irfftn(spectrum, shape)
            assert image.dtype == dtype
            close(image, x, dtype)
            # A read-only spectrum is never destroyed, whatever `overwrite` allows.
            close(fft.irfftn(spectrum, shape, overwrite=True), x, dtype)
            close(spectrum, expected, dtype)
            out = np.empty_like(image)
            assert fft.irfftn(spectrum.copy(), shape, out=out, overwrite=True) is out
            close(out, x, dtype)


@pytest.mark.parametrize("library", INSTALLED)
def test_any_memory_layout_is_served(use, library):
    use(library)
    rng = np.random.default_rng(1)
    whole = rng.normal(size=(12, 14, 20))
    views = [
        whole[::2, :, 3],
        whole[:, 1:12, 4],
        whole[1, ::-1, ::-1],
        whole[0].T,
        whole[5, 1:, 1:],
    ]
    for x in views:
        expected = np.fft.rfftn(x)
        close(fft.rfftn(x, 2), expected, "float64")
        target = np.zeros((2 * expected.shape[0], 3 * expected.shape[1]), complex)[::2, 1::3]
        target = target[: expected.shape[0], : expected.shape[1]]
        close(fft.rfftn(x, 2, out=target), expected, "float64")
        wide = np.zeros((2, *expected.shape), complex, order="F")
        wide[1] = expected
        close(fft.irfftn(wide[1], x.shape), x, "float64")
        close(wide[1], expected, "float64")
        out = np.zeros(x.shape[::-1]).T
        close(fft.irfftn(wide[1], x.shape, out=out, overwrite=True), x, "float64")


WINDOWS = [
    ((12,), ()),
    ((9, 10), (slice(2, 7),)),
    ((9, 10), (slice(0, 9),)),
    ((8, 9), (slice(7, 8),)),
    ((6, 7, 8), (slice(1, 4), slice(3, 7))),
    ((5, 6, 7), (slice(0, 2), slice(0, 6))),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
@pytest.mark.parametrize(("shape", "within"), WINDOWS)
@pytest.mark.parametrize("library", INSTALLED)
def test_a_window_saves_work_and_changes_nothing(use, library, shape, within, lead, dtype):
    use(library)
    axes = tuple(range(-len(shape), 0))
    inside = (..., *within, slice(None))
    x = np.zeros((*lead, *shape), dtype)
    x[inside] = np.random.default_rng(0).normal(size=x[inside].shape)
    expected = np.fft.rfftn(x.astype(float), axes=axes)
    x.setflags(write=False)
    close(fft.rfftn(x, len(shape), within=within), expected, dtype)
    out = np.empty(expected.shape, "complex64" if dtype == "float32" else "complex128")
    assert fft.rfftn(x, len(shape), out=out, within=within) is out
    close(out, expected, dtype)

    full = np.random.default_rng(1).normal(size=(*lead, *shape)).astype(dtype)
    spectrum = np.fft.rfftn(full, axes=axes).astype(out.dtype)
    kept = spectrum.copy()
    close(fft.irfftn(spectrum, shape, within=within)[inside], full[inside], dtype)
    np.testing.assert_array_equal(spectrum, kept)
    back = np.empty_like(full)
    assert fft.irfftn(spectrum, shape, out=back, overwrite=True, within=within) is back
    close(back[inside], full[inside], dtype)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_every_array_library(library, ndim):
    shape = (5, 6, 7)[:ndim]
    x = np.random.default_rng(0).normal(size=(2, *shape))
    spectrum = fft.rfftn(put(x, library), ndim)
    close(get(spectrum), np.fft.rfftn(x, axes=range(-ndim, 0)), "float64")
    back = fft.irfftn(spectrum, shape)
    assert isinstance(back, type(put(x, library)))
    close(get(back), x, "float64")


@pytest.mark.parametrize("unplanned", ["scipy", "ducc0"])
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_centred_spectrum_is_that_of_the_rolled_padded_psf(use, unplanned, library, dtype):
    if find_spec(unplanned) is None:
        pytest.skip(f"no {unplanned}")
    use(unplanned)
    rng = np.random.default_rng(0)
    cases = [((k,), (n,)) for k in (1, 2, 3, 8, 9) for n in (9, 10)]
    cases += [((k, m), (8, 9)) for k in (1, 3, 4, 8) for m in (1, 4, 5, 9)]
    cases += [((2, 3, 4), (5, 6, 7)), ((3, 2, 5), (4, 7, 6))]
    for size, shape in cases:
        small = rng.random((2, *size)).astype(dtype)
        axes = tuple(range(-len(size), 0))
        padded = np.zeros((2, *shape))
        padded[(..., *[slice(k) for k in size])] = small
        rolled = np.roll(padded, [-(k // 2) for k in size], axes)
        found = fft.centred_rfftn(put(small, library), shape)
        close(get(found), np.fft.rfftn(rolled, axes=axes), dtype)


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=3))
def test_fast_shape_holds_the_shape_and_is_smooth(shape):
    def largest_prime(n):
        factor = 1
        for p in (2, 3, 5, 7, 11):
            while n % p == 0:
                n, factor = n // p, p
        return max(n, factor)

    fast = fft.fast_shape(tuple(shape))
    assert len(fast) == len(shape)
    for n, m in zip(shape, fast, strict=True):
        assert n <= m <= 1.1 * n + 3
    assert all(largest_prime(m) <= 11 for m in fast[:-1])
    assert largest_prime(fast[-1]) <= 7
    assert fast[-1] % 2 == 0
    assert fast[-1] % 1024
    assert fft.fast_shape(fast) == fast


@given(st.integers(1, 3000))
def test_fast_length_grows_with_the_length(n):
    assert fft.fast_shape((n,)) <= fft.fast_shape((n + 1,))
    assert fft.fast_shape((n, 2)) <= fft.fast_shape((n + 1, 2))


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("shape", [(7,), (6, 8), (4, 5, 6)])
def test_frequencies_belong_to_the_half_spectrum(library, shape):
    like = put(np.zeros(1, np.float32), library)
    found = fft.frequencies(shape, like)
    assert all(isinstance(f, type(like)) and f.dtype == like.dtype for f in found)
    half = np.broadcast_shapes(*(f.shape for f in found))
    assert half == (*shape[:-1], shape[-1] // 2 + 1)
    # The phase of a one-pixel shift along each axis proves order and sign.
    x = np.random.default_rng(0).normal(size=shape)
    for axis, f in enumerate(found):
        shifted = np.fft.rfftn(x) * np.exp(-2j * np.pi * get(f))
        np.testing.assert_allclose(
            np.fft.irfftn(shifted, shape, range(len(shape))), np.roll(x, 1, axis), atol=1e-6
        )


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("n", [1, 2, 3, 8, 9])
def test_parseval(library, n):
    x = np.random.default_rng(0).normal(size=(4, n))
    weights = fft.parseval_weights(n, put(x, library))
    power = np.abs(np.fft.rfftn(x)) ** 2
    assert np.isclose((get(weights) * power).sum() / x.size, (x**2).sum())


def test_empty_is_aligned():
    for dtype in ("float32", "complex128"):
        x = fft.empty((3, 5), dtype)
        assert x.shape == (3, 5) and x.dtype == dtype
        assert x.ctypes.data % 64 == 0


# --- measuring and the cache ----------------------------------------------------------------------


def test_tuned_transforms_are_right_and_measured_once(monkeypatch, own_cache):
    x = np.random.default_rng(0).normal(size=(20, 18)).astype("f4")
    winner = fft.tune(x.shape)
    assert winner in MAKERS
    close(fft.rfftn(x, 2), np.fft.rfftn(x), "float32")
    assert isinstance(plans.library(x.shape, "float32", 2), MAKERS[winner])

    def measured_again(*_):
        raise AssertionError("measured twice")

    monkeypatch.setattr(plans, "_seconds", measured_again)
    assert fft.tune(x.shape) == winner
    forget()
    assert fft.tune(x.shape) == winner
    assert [p.name for p in own_cache.iterdir()] == ["fft.json"]


@pytest.mark.parametrize("library", INSTALLED)
def test_wisdom_survives_the_process(monkeypatch, own_cache, library):
    pace = {MAKERS[library].__name__: 0.0}
    with monkeypatch.context() as m:
        m.setattr(plans, "_seconds", lambda lib, *_: pace.get(type(lib).__name__, 1.0))
        assert fft.tune((12, 10), "float64", 1) == library
    known = json.loads((own_cache / "fft.json").read_text())
    assert list(known["winners"].values()) == [library]
    assert bool(known["wisdom"]) == (library == "fftw")
    forget()
    assert isinstance(plans.library((12, 10), "float64", 1), MAKERS[library])
    x = np.random.default_rng(0).normal(size=(12, 10))
    close(fft.rfftn(x, 1), np.fft.rfft(x), "float64")
    # Another shape, dtype, number of axes or threads has not been measured.
    for shape, dtype, ndim in [((12, 12), "float64", 1), ((12, 10), "float32", 1)]:
        assert plans._key(shape, dtype, ndim, 1) not in known["winners"]
    assert plans._key((12, 10), "float64", 2, 1) not in known["winners"]
    assert plans._key((12, 10), "float64", 1, 5) not in known["winners"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        "{}",
        '{"winners": 3}',
        '{"winners": {"a": "fftw"}}',
        '{"winners": {"a": "fftw"}, "wisdom": 3}',
        b"\xff\xfe\x00",
    ],
)
def test_a_broken_cache_is_ignored(own_cache, content):
    own_cache.mkdir()
    raw = content if isinstance(content, bytes) else content.encode()
    (own_cache / "fft.json").write_bytes(raw)
    x = np.random.default_rng(0).normal(size=(9, 10))
    close(fft.rfftn(x, 2), np.fft.rfftn(x), "float64")
    assert plans._measured() == {}
    fft.tune((4, 6))
    assert json.loads((own_cache / "fft.json").read_text())["winners"]


def test_a_cache_that_cannot_be_written_costs_nothing(monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("DECONV_CACHE", str(blocked / "below"))
    assert fft.tune((8, 6)) in MAKERS


def test_a_read_only_folder_leaves_no_litter(monkeypatch, own_cache):
    def refuse(*_):
        raise PermissionError("read-only")

    monkeypatch.setattr(os, "replace", refuse)
    assert fft.tune((8, 6)) in MAKERS
    assert list(own_cache.iterdir()) == []


def test_where_the_cache_lies(monkeypatch, tmp_path):
    assert plans._cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("DECONV_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert plans._cache_folder() == tmp_path / "xdg" / "deconv"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(plans.Path, "home", lambda: tmp_path)
    assert plans._cache_folder() == tmp_path / ".cache" / "deconv"


def test_the_processor_has_a_name_everywhere(monkeypatch):
    plans._processor.cache_clear()
    named = plans._processor()
    assert named

    def missing(self):
        raise OSError("no /proc here")

    monkeypatch.setattr(plans.Path, "read_text", missing)
    plans._processor.cache_clear()
    assert plans._processor()
    plans._processor.cache_clear()


def test_without_ducc_scipy_serves(monkeypatch):
    monkeypatch.setattr(libraries.importlib.util, "find_spec", lambda name: None)
    assert libraries.unplanned() is libraries.Scipy
    assert fft.tune((6, 8)) == "scipy"


def test_prepare_measures_what_repays_it(monkeypatch):
    tuned = []
    monkeypatch.setattr(plans, "tune", lambda *a: tuned.append(a))
    fft.prepare((64, 64), "float32", 2, 100)
    assert tuned == []
    fft.prepare((2048, 2048), "float32", 2, 4000)
    assert tuned == [((2048, 2048), "float32", 2)]


# --- several threads ------------------------------------------------------------------------------


@pytest.mark.parametrize("library", INSTALLED)
def test_concurrent_use_gives_right_results(use, library):
    use(library)
    shape = (48, 60)
    fft.rfftn(np.zeros(shape), 2)
    barrier, wrong = threading.Barrier(4), []

    def work(seed):
        rng = np.random.default_rng(seed)
        barrier.wait()
        for _ in range(30):
            x = rng.normal(size=shape)
            spectrum = fft.rfftn(x, 2)
            if not np.allclose(spectrum, np.fft.rfftn(x), atol=1e-10):
                wrong.append("forward")
            if not np.allclose(fft.irfftn(spectrum, shape, overwrite=True), x, atol=1e-12):
                wrong.append("inverse")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_busy_plan_is_not_waited_for(use):
    if find_spec("pyfftw") is None:
        pytest.skip("no pyfftw")
    use("fftw")
    x = np.random.default_rng(0).normal(size=(10, 12))
    with fft.library(x.shape, "float64", 2).lock:
        spectrum = fft.rfftn(x, 2)
        close(spectrum, np.fft.rfftn(x), "float64")
        close(fft.irfftn(spectrum, x.shape), x, "float64")


@pytest.mark.parametrize("shape", [(40, 1024), (2, 33, 1024), (70, 512)])
@pytest.mark.parametrize("overwrite", [False, True])
def test_rows_a_page_apart(shape, overwrite):
    dtype = "float64" if shape[-1] == 512 else "float32"
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    spectrum = fft.rfftn(x, 2)
    kept = spectrum.copy()
    close(fft.irfftn(spectrum, shape[-2:], overwrite=overwrite), x, dtype)
    assert overwrite or np.array_equal(spectrum, kept)

"""The registry: its entries match their functions, and every way to ask it wrongly."""

import inspect
from functools import cache
from importlib.metadata import EntryPoint

import numpy as np
import pytest

from deconv import methods, psf
from deconv.methods import Method, Parameter

ALL = methods.all()


@pytest.fixture
def registry(monkeypatch):
    """A registry of its own, so that what a test adds stays there."""
    monkeypatch.setattr(methods, "_registry", dict(methods._registry))
    loader = cache(methods._load_extensions.__wrapped__)
    monkeypatch.setattr(methods, "_load_extensions", loader)
    return methods._registry


def test_the_classics_are_registered():
    assert {"wiener", "richardson_lucy"} <= {method.name for method in ALL}
    assert methods.get("wiener").needs_psf
    assert methods.get("wiener").noise == "noise"


@pytest.mark.parametrize("method", ALL, ids=lambda method: method.name)
def test_entries_state_the_defaults_of_their_functions(method):
    accepted = inspect.signature(method.function).parameters
    for common in ("boundary", "channel_axis", "callback"):
        assert common in accepted
    for parameter in method.parameters:
        assert accepted[parameter.name].default == parameter.default
        assert parameter.doc.endswith(".")
        assert parameter.range
        if parameter.default is not None:
            assert parameter.read(str(parameter.default)) == parameter.default


@pytest.mark.parametrize("method", ALL, ids=lambda method: method.name)
def test_every_method_restores(method):
    rng = np.random.default_rng(0)
    image = np.kron(rng.random((6, 7)), np.ones((5, 5))).astype(np.float32)
    seen = []
    options = {"n_iter": "2"} if "n_iter" in [p.name for p in method.parameters] else {}
    kernel = psf.gaussian(1.0) if method.needs_psf else None
    sigma = 0.01 if method.noise else None
    restored = method.restore(image, kernel, sigma=sigma, callback=seen.append, **options)
    assert restored.shape == image.shape
    assert restored.dtype == np.float32
    assert seen


def test_parameters_read_text():
    n_iter = Parameter("n_iter", "Iterations.", "int", low=1, high=9)
    assert n_iter.read("3") == 3
    assert n_iter.read("auto") is None
    assert n_iter.read(None) is None
    assert n_iter.range == "int 1..9"
    lam = Parameter("lam", "Weight.", default=0.5, low=0)
    assert lam.read("1e-3") == 1e-3
    assert lam.range == "float 0.."
    assert Parameter("offset", "Dark.").range == "float"
    switch = Parameter("fast", "Fast.", "bool", default=True)
    assert switch.read("no") is False
    assert switch.read(True) is True
    assert switch.range == "true, false"
    choice = Parameter("stop", "Rule.", "choice", choices=("a", "b"), default="a")
    assert choice.read("b") == "b"
    either = Parameter("weight", "Weight.", low=0, choices=("gcv",))
    assert (either.read("gcv"), either.read("2"), either.read("auto")) == ("gcv", 2.0, None)
    assert either.range == "float 0.., gcv"
    for parameter, value, message in (
        (either, "gvc", "expected a number"),
        (n_iter, "three", "whole number"),
        (n_iter, "0", "at least 1"),
        (n_iter, "10", "at most 9"),
        (n_iter, 2.5, "whole number"),
        (lam, "none", "expected a number"),
        (lam, "-1", "at least 0"),
        (lam, "nan", "finite"),
        (switch, "perhaps", "true or false"),
        (choice, "c", "not known"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            parameter.read(value)


def test_bad_requests_name_the_argument():
    with pytest.raises(ValueError, match=r"'wienr' is not known; did you mean 'wiener'"):
        methods.get("wienr")
    with pytest.raises(ValueError, match="did you mean 'spectrum'"):
        methods.get("wiener").options({"spectum": "constant"})
    with pytest.raises(ValueError, match=r"sigma=0\.1"):
        methods.get("richardson_lucy").options({}, sigma=0.1)
    with pytest.raises(ValueError, match="sigma"):
        methods.get("wiener").options({}, sigma=-1)
    with pytest.raises(ValueError, match="psf=None"):
        methods.get("wiener").restore(np.zeros((8, 8)))


def test_registering_checks_the_function(registry):
    def blind(image, *, strength=1.0, boundary, channel_axis, callback):
        return image * strength

    with pytest.raises(ValueError, match="registered already"):
        methods.register(methods.get("wiener"))
    with pytest.raises(ValueError, match="does not take"):
        methods.register(Method("odd", blind, "Odd.", parameters=(Parameter("lam", "Weight."),)))
    entry = Method(
        "blind", blind, "Blind.", needs_psf=False, parameters=(Parameter("strength", "S."),)
    )
    entry = methods.register(entry)
    assert entry.parameters[0].default == 1.0
    image = np.ones((3, 3))
    options = {"boundary": "zero", "channel_axis": None, "callback": None}
    np.testing.assert_array_equal(entry.restore(image, strength="2", **options), 2 * image)


def test_extensions_load_once_when_needed_and_do_no_harm(registry, monkeypatch):
    calls = []

    class Loaded(EntryPoint):
        def load(self):
            calls.append(self.name)
            if self.name == "broken":
                raise ImportError("no torch here")
            return Method("extra", lambda image, psf, **rest: image, "Extra.")

    found = [Loaded("extra", "a:b", methods.GROUP), Loaded("broken", "c:d", methods.GROUP)]
    monkeypatch.setattr(methods, "entry_points", lambda group: found)
    assert methods.get("wiener").name == "wiener"
    assert not calls
    with pytest.warns(UserWarning, match="c:d was not loaded: no torch here"):
        assert methods.get("extra").name == "extra"
    assert [method.name for method in methods.all()][-1] == "extra"
    assert calls == ["extra", "broken"]

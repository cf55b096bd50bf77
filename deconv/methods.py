"""The registry of restoration methods that the command line, the tests and the docs iterate over.

A new method is one line here, or an entry point of the group ``deconv.methods`` whose object is a
`Method`.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from deconv.arrays import Array, choose, number, whole
from deconv.denoisers import DENOISERS
from deconv.filter_bank import filter_bank
from deconv.plug_and_play import plug_and_play
from deconv.problem import RULES as LAM_RULES
from deconv.progress import Callback
from deconv.pseudo_inverse import SPECTRA as BANK_SPECTRA
from deconv.ratio import RULES, SPECTRA
from deconv.richardson_lucy import richardson_lucy
from deconv.stopping import STOPS
from deconv.variational import hyper_laplacian, l0_gradient, tv
from deconv.wiener import wiener

__all__ = ["Method", "Parameter", "all", "get", "register"]

GROUP = "deconv.methods"


@dataclass(frozen=True)
class Parameter:
    """One keyword of a method, with what a form or a command line needs to offer it.

    Attributes
    ----------
    name, doc : str
        The keyword, and what it does in one line.
    kind : {"float", "int", "bool", "choice", "text"}
        What it is; a choice is one of `choices`, a text may be any other too.
    low, high : float or None
        The range that it makes sense in, ends included.
    choices : tuple of str
        What a choice is made of; a "float" may take these words too.
    default : object
        The function's own, filled in by `register`; None means found from the data.

    Examples
    --------
    >>> from deconv.methods import Parameter
    >>> Parameter("n_iter", "Iterations.", "int", low=1, high=500).range
    'int 1..500'
    """

    name: str
    doc: str
    kind: str = "float"
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    default: Any = None

    @property
    def range(self) -> str:
        """The values it takes, in words."""
        if self.kind == "choice":
            return ", ".join(self.choices)
        if self.kind == "bool":
            return "true, false"
        low = "" if self.low is None else f"{self.low:g}"
        high = "" if self.high is None else f"{self.high:g}"
        numbers = f"{self.kind} {low}..{high}" if low or high else self.kind
        return ", ".join([numbers, *self.choices])

    def read(self, value: Any) -> Any:
        """`value`, which may be text from a command line, as this parameter's type.

        Raises
        ------
        ValueError, TypeError
            If it is of another type or out of range.

        >>> Parameter("n_iter", "Iterations.", "int", low=1).read("30")
        30
        """
        if value in self.choices:
            return value
        if isinstance(value, str) and value.lower() in ("none", "auto") and self.default is None:
            return None
        if value is None and self.default is None:
            return None
        if self.kind == "choice":
            return choose(value, self.choices, self.name)
        if self.kind == "text":
            return str(value)
        if self.kind == "bool":
            known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
            if str(value).lower() not in known:
                raise ValueError(f"{self.name}={value!r}; expected true or false")
            return known[str(value).lower()]
        if isinstance(value, str):
            try:
                value = int(value) if self.kind == "int" else float(value)
            except ValueError:
                what = "a whole number" if self.kind == "int" else "a number"
                raise ValueError(f"{self.name}={value!r}; expected {what}") from None
        if self.kind == "int":
            value = whole(value, self.name, low=int(self.low or 0))
            number(value, self.name, high=self.high)
            return value
        return number(value, self.name, low=self.low, high=self.high)


@dataclass(frozen=True)
class Method:
    """A restoration method: a function of the common signature and what there is to know of it.

    Attributes
    ----------
    name : str
        How users call it.
    function : callable
        ``function(image, psf, *, boundary, channel_axis, weights, callback, ...)``, without `psf`
        where `needs_psf` is false.
    summary : str
        One line.
    needs_psf : bool
        Whether the psf must be given.
    noise : str or None
        The keyword that takes the noise's standard deviation; None where there is no such thing.
    parameters : tuple of Parameter
        The keywords of its own.
    display : bool
        Whether it is made for pictures as they are shown, not for their light: the command line
        then leaves photographs as they are stored.

    Examples
    --------
    >>> from deconv import methods
    >>> wiener = methods.get("wiener")
    >>> wiener.needs_psf, [parameter.name for parameter in wiener.parameters][:1]
    (True, ['spectrum'])
    """

    name: str
    function: Callable[..., Any]
    summary: str
    needs_psf: bool = True
    noise: str | None = None
    parameters: tuple[Parameter, ...] = ()
    display: bool = False

    def options(self, parameters: dict[str, Any], sigma: float | None = None) -> dict[str, Any]:
        """Checked keywords for `function`, from named values (text or not) and the noise.

        Raises
        ------
        ValueError, TypeError
            For a name that the method does not have, or a value out of its range.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        options = {
            name: known[choose(name, known, f"parameter of {self.name}")].read(value)
            for name, value in parameters.items()
        }
        if sigma is not None:
            if self.noise is None:
                raise ValueError(f"sigma={sigma!r}; {self.name} takes no noise level")
            options[self.noise] = number(sigma, "sigma", low=0)
        return options

    def restore(
        self, image: Array, psf: Array = None, *, sigma: float | None = None, **keywords: Any
    ) -> Array:
        """The restored image; `keywords` are the parameters and those common to all methods."""
        if self.needs_psf and psf is None:
            raise ValueError(f"psf=None; {self.name} needs the psf")
        own = {parameter.name for parameter in self.parameters}
        options = self.options({k: v for k, v in keywords.items() if k in own}, sigma)
        options |= {k: v for k, v in keywords.items() if k not in own}
        return (
            self.function(image, psf, **options)
            if self.needs_psf
            else self.function(image, **options)
        )


_registry: dict[str, Method] = {}


def register(method: Method) -> Method:
    """Add a method, with the defaults of its function.

    Parameters
    ----------
    method : Method
        What to add.

    Returns
    -------
    Method
        As it was registered: the defaults of its parameters are those of its function.

    Raises
    ------
    ValueError
        If its name is taken, or its function lacks one of the parameters it lists.

    Examples
    --------
    >>> from scipy.ndimage import median_filter
    >>> from deconv import methods
    >>> def median(image, *, size=3, **frame):
    ...     return median_filter(image, size)
    >>> size = methods.Parameter("size", "Side of the window, in pixels.", "int", low=1)
    >>> added = methods.register(methods.Method("median", median, "", False, parameters=(size,)))
    >>> added.parameters[0].default
    3
    """
    if method.name in _registry:
        raise ValueError(f"a method {method.name!r} is registered already")
    accepted = inspect.signature(method.function).parameters
    named = [parameter.name for parameter in method.parameters]
    missing = [name for name in [*named, method.noise] if name and name not in accepted]
    if missing:
        raise ValueError(f"{method.name} lists {missing}, which its function does not take")
    parameters = tuple(replace(p, default=accepted[p.name].default) for p in method.parameters)
    method = _registry[method.name] = replace(method, parameters=parameters)
    return method


def get(name: str) -> Method:
    """The method of this name; an unknown one is a ValueError that offers the nearest.

    Installed extensions are only looked at when the name is not one of ours.

    Parameters
    ----------
    name : str
        As users call it.

    Returns
    -------
    Method

    Raises
    ------
    ValueError
        For an unknown name.

    Examples
    --------
    >>> from deconv import methods
    >>> methods.get("tv").function.__name__
    'tv'
    >>> methods.get("weiner")
    Traceback (most recent call last):
    ValueError: method='weiner' is not known; did you mean 'wiener'? Options: ...
    """
    if name not in _registry:
        _load_extensions()
    return _registry[choose(name, _registry, "method")]


def all() -> tuple[Method, ...]:
    """Every method, our own first, then those of installed extensions.

    Returns
    -------
    tuple of Method

    Examples
    --------
    >>> from deconv import methods
    >>> [method.name for method in methods.all() if method.needs_psf][:2]
    ['wiener', 'richardson_lucy']
    """
    _load_extensions()
    return tuple(_registry.values())


@cache
def _load_extensions() -> None:
    for entry in entry_points(group=GROUP):
        try:
            register(entry.load())
        # Whatever an extension does wrong, it must not take the other methods with it.
        except Exception as error:
            warnings.warn(f"the extension {entry.value} was not loaded: {error}", stacklevel=3)


_SATURATION = Parameter("saturation", "Level at which the sensor clips.", choices=("auto",))
_DERINGING = Parameter(
    "deringing", "How much of the ringing beside edges to take away.", low=0, high=1
)
_N_ITER = Parameter("n_iter", "Iterations; found from the data when none.", "int", 1, 1000)

register(
    Method(
        "wiener",
        wiener,
        "One regularised division; quick, all weights found from the image.",
        noise="noise",
        parameters=(
            Parameter("spectrum", "Shape of the image's spectrum.", "choice", choices=SPECTRA),
            Parameter(
                "weight", "Noise-to-signal ratio, or how to find it.", "float", 1e-8, 1e4, RULES
            ),
            _DERINGING,
            _N_ITER,
        ),
    )
)
register(
    Method(
        "richardson_lucy",
        richardson_lucy,
        "Iterations for photon counts; the result is not negative.",
        parameters=(
            _N_ITER,
            Parameter("accelerate", "Heavy-ball acceleration.", "bool"),
            Parameter("background", "Light beside the scene's, in image units.", low=0),
            Parameter("gain", "Image units per photon; needed for read_noise.", low=0),
            Parameter("offset", "What the camera reads in the dark, in image units."),
            Parameter("read_noise", "Standard deviation of the camera's own noise.", low=0),
            Parameter("lam", "Weight of total variation.", low=0, high=0.1),
            Parameter("stop", "How the number of iterations is found.", "choice", choices=STOPS),
            _SATURATION,
            _DERINGING,
        ),
    )
)

_LAM = Parameter(
    "lam", "Weight of the prior; found from the image when none.", low=0, choices=LAM_RULES
)
_DATA = (
    Parameter(
        "gain", "Image units per photon, for noise that grows with light.", choices=("auto",)
    ),
    _SATURATION,
    Parameter("outliers", "Doubt pixels that the blur cannot explain.", "bool"),
    _DERINGING,
)
_VECTORIAL = Parameter("vectorial", "One gradient for all channels.", "bool")
_STAGES = Parameter("n_iter", "Stages of a growing penalty.", "int", 1, 1000)
_STEPS = Parameter("steps", "Conjugate-gradient steps of a stage.", "int", 1, 1000)

register(
    Method(
        "tv",
        tv,
        "Total variation: sharp edges, smooth areas; convex, good for everything.",
        noise="sigma",
        parameters=(
            _LAM,
            _VECTORIAL,
            *_DATA,
            Parameter("n_iter", "Iterations at most.", "int", 1, 10000),
            Parameter("tol", "Relative change of the image that ends the iteration.", low=0),
        ),
    )
)
register(
    Method(
        "hyper_laplacian",
        hyper_laplacian,
        "Sparse gradients of natural pictures; quick, best at low noise.",
        noise="sigma",
        parameters=(
            _LAM,
            Parameter("p", "Power of the gradients.", low=0.01, high=1),
            *_DATA,
            _STAGES,
            _STEPS,
        ),
    )
)
register(
    Method(
        "l0_gradient",
        l0_gradient,
        "Few edges between flat areas; for text, drawings and phantoms.",
        noise="sigma",
        parameters=(_LAM, _VECTORIAL, *_DATA[:-1], _STAGES, _STEPS),
    )
)
register(
    Method(
        "plug_and_play",
        plug_and_play,
        "A denoiser as the prior; the best picture, some seconds per megapixel.",
        noise="sigma",
        parameters=(
            Parameter("denoise", "The denoiser.", "choice", choices=DENOISERS),
            *_DATA,
            _STAGES,
            _STEPS,
        ),
    )
)
register(
    Method(
        "filter_bank",
        filter_bank,
        "Convolution with a pseudo-inverse made once: for streams of frames, and a first look.",
        parameters=(
            Parameter("snr", "Signal over noise power; found from the image when none.", low=1e-3),
            Parameter(
                "spectrum", "Shape of the signal's spectrum.", "choice", choices=BANK_SPECTRA
            ),
            Parameter("rank", "Filter pairs; found when none.", "int", 1, 10000),
            Parameter("size", "Side of the filters in pixels; found when none.", "int", 1, 10000),
            _DERINGING,
        ),
    )
)


def _polyblur(
    image: Array,
    *,
    strength: float = 1.0,
    n_iter: int = 1,
    boundary: str = "unknown",
    weights: Array = None,
    channel_axis: int | None = None,
    callback: Callback | None = None,
) -> Array:
    """`deconv.blind.polyblur`, loaded when it is first used: the blind package takes long to."""
    from deconv.blind import polyblur

    return polyblur(
        image,
        strength=strength,
        n_iter=n_iter,
        boundary=boundary,
        weights=weights,
        channel_axis=channel_axis,
        callback=callback,
    )


register(
    Method(
        "polyblur",
        _polyblur,
        "Slight Gaussian blur found and taken off at once; needs no psf.",
        needs_psf=False,
        parameters=(
            Parameter("strength", "How much of the change to make.", low=0, high=1),
            Parameter("n_iter", "Rounds, each of which finds what blur is left.", "int", 1, 10),
        ),
    )
)

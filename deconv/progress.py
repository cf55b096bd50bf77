"""The one hook of every solver: a callback that sees each iteration and may end the solve."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from deconv.arrays import Array, to_numpy

__all__ = ["Callback", "History", "State", "report"]

# A history measures the change of the image on about this many of its pixels.
SAMPLE = 1 << 14


@dataclass(frozen=True)
class State:
    """One iteration, as a callback sees it.

    Attributes
    ----------
    iteration : int
        Iterations done, from 1.
    n_iter : int or None
        Iterations asked for; None where the solver finds their number.
    objective : float or None
        The solver's objective, where it has one; of MAP solvers computed when first asked for, at
        the price of half an iteration.
    stopped : str or None
        In the last iteration, why it is the last, as a sentence.
    image : array
        The restored image so far, computed when first asked for, which must be inside the callback:
        the solver then goes on in the same memory. A later first access is a RuntimeError.
    psf : array or None
        The psf so far, where it is being estimated (`deconv.blind`), else None: a copy, not
        negative, of sum 1, at the scale of `image`. Computed when first asked for, as `image` is.
    make_image, make_objective, make_psf : callable
        What `image`, `objective` and `psf` call; without the last, there is no psf.

    Examples
    --------
    A callback looks at what it wants, and may end the solver:

    >>> import numpy as np, deconv
    >>> def at_most_three(state):
    ...     if state.iteration == 3:
    ...         raise StopIteration
    >>> history = deconv.progress.History()
    >>> both = lambda state: (history(state), at_most_three(state))
    >>> _ = deconv.tv(np.eye(16), deconv.psf.gaussian(1.0), callback=both)
    >>> history.iterations
    [1, 2, 3]
    """

    iteration: int
    n_iter: int | None
    make_image: Callable[[], Array]
    make_objective: Callable[[], float | None]
    stopped: str | None = None
    make_psf: Callable[[], Array] | None = None

    @cached_property
    def image(self) -> Array:
        """The restored image so far, in the layout of the solver's result."""
        return self.make_image()

    @cached_property
    def objective(self) -> float | None:
        """The solver's objective, where it has one."""
        return self.make_objective()

    @cached_property
    def psf(self) -> Array | None:
        """The psf so far, where it is being estimated."""
        return None if self.make_psf is None else self.make_psf()


Callback: TypeAlias = Callable[[State], Any]


def report(
    callback: Callback | None, n_iter: int | None, finish: Callable[[Array], Array]
) -> Callable[..., bool] | None:
    """A solver's side of the hook: ``tell(iteration, x)`` is true when the callback says stop.

    `finish` turns the solver's own x into the user's image, and runs only if that is asked for. The
    objective may be a number, or a function that is called only if it is asked for; so is the one
    that gives the psf.

    Parameters
    ----------
    callback : callable or None
        The user's, ``callback(state)``; it may raise StopIteration.
    n_iter : int or None
        Iterations asked for, if that is known.
    finish : callable
        Turns the solver's x into the user's image.

    Returns
    -------
    callable or None
        ``tell(iteration, x, objective=None, stopped=None, psf=None)``; None without a callback.

    Examples
    --------
    >>> from deconv.progress import report
    >>> tell = report(lambda state: print(state.iteration, state.image), 2, finish=abs)
    >>> tell(1, -3.0)
    1 3.0
    False
    """
    if callback is None:
        return None

    def tell(
        iteration: int,
        x: Array,
        objective: float | Callable[[], float | None] | None = None,
        stopped: str | None = None,
        psf: Callable[[], Array] | None = None,
    ) -> bool:
        here = [x]

        def fresh(name: str) -> Array:
            if not here:
                raise RuntimeError(f"state.{name} was first asked for after its callback returned")
            return here[0]

        def value() -> float | None:
            if not callable(objective):
                return objective
            fresh("objective")
            return objective()

        def kernel() -> Array:
            fresh("psf")
            assert psf is not None
            return psf()

        made = None if psf is None else kernel
        try:
            callback(State(iteration, n_iter, lambda: finish(fresh("image")), value, stopped, made))
        except StopIteration:
            return True
        finally:
            here.clear()
        return False

    return tell


@dataclass
class History:
    """A callback that records how a solver converges, for `deconv.figures.convergence`.

    Attributes
    ----------
    iterations : list of int
    seconds : list of float
        Since the history was made.
    objectives : list of float or None
        None where the solver has none.
    changes : list of float
        Root-mean-square change of the image since the last iteration, relative to its standard
        deviation; the first is NaN.
    stopped : str or None
        Why the solver ended.

    Examples
    --------
    >>> import numpy as np, deconv
    >>> from deconv.progress import History
    >>> history = History()
    >>> step = np.repeat([0.0, 1.0], 32)
    >>> _ = deconv.tv(step, deconv.psf.gaussian(2, ndim=1), lam=1e-3, callback=history)
    >>> history.objectives[-1] < history.objectives[0], history.changes[-1] < 0.01
    (True, True)
    """

    iterations: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    objectives: list[float | None] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)
    stopped: str | None = None
    _begin: float = field(default_factory=time.perf_counter, repr=False)
    _last: np.ndarray | None = field(default=None, repr=False)

    def __call__(self, state: State) -> None:
        """Record one iteration."""
        pixels = to_numpy(state.image).reshape(-1)
        sample = pixels[:: max(1, pixels.size // SAMPLE)].astype(float)
        change = float("nan")
        if self._last is not None:
            spread = float(sample.std()) or 1.0
            change = float(np.sqrt(np.mean((sample - self._last) ** 2))) / spread
        self._last = sample
        self.iterations.append(state.iteration)
        self.seconds.append(time.perf_counter() - self._begin)
        self.objectives.append(state.objective)
        self.changes.append(change)
        self.stopped = state.stopped

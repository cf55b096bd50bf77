"""The one hook of every solver: a callback that sees each iteration and may end the solve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from deconv.arrays import Array

__all__ = ["Callback", "State", "report"]


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
    """

    iteration: int
    n_iter: int | None
    make_image: Callable[[], Array]
    make_objective: Callable[[], float | None]
    stopped: str | None = None

    @cached_property
    def image(self) -> Array:
        """The restored image so far, in the layout of the solver's result."""
        return self.make_image()

    @cached_property
    def objective(self) -> float | None:
        """The solver's objective, where it has one."""
        return self.make_objective()


Callback: TypeAlias = Callable[[State], Any]


def report(
    callback: Callback | None, n_iter: int | None, finish: Callable[[Array], Array]
) -> Callable[..., bool] | None:
    """A solver's side of the hook: ``tell(iteration, x)`` is true when the callback says stop.

    `finish` turns the solver's own x into the user's image, and runs only if that is asked for. The
    objective may be a number, or a function that is called only if it is asked for.
    """
    if callback is None:
        return None

    def tell(
        iteration: int,
        x: Array,
        objective: float | Callable[[], float | None] | None = None,
        stopped: str | None = None,
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

        try:
            callback(State(iteration, n_iter, lambda: finish(fresh("image")), value, stopped))
        except StopIteration:
            return True
        finally:
            here.clear()
        return False

    return tell

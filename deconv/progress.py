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
        The solver's objective, in the iterations where it comes for free.
    image : array
        The restored image so far, computed when first asked for, which must be inside the callback:
        the solver then goes on in the same memory. A later first access is a RuntimeError.
    """

    iteration: int
    n_iter: int | None
    make_image: Callable[[], Array]
    objective: float | None = None

    @cached_property
    def image(self) -> Array:
        """The restored image so far, in the layout of the solver's result."""
        return self.make_image()


Callback: TypeAlias = Callable[[State], Any]


def report(
    callback: Callback | None, n_iter: int | None, finish: Callable[[Array], Array]
) -> Callable[..., bool] | None:
    """A solver's side of the hook: ``tell(iteration, x)`` is true when the callback says stop.

    `finish` turns the solver's own x into the user's image, and runs only if that is asked for.
    """
    if callback is None:
        return None

    def tell(iteration: int, x: Array, objective: float | None = None) -> bool:
        here = [x]

        def image() -> Array:
            if not here:
                raise RuntimeError("state.image was first asked for after its callback returned")
            return finish(here[0])

        try:
            callback(State(iteration, n_iter, image, objective))
        except StopIteration:
            return True
        finally:
            here.clear()
        return False

    return tell

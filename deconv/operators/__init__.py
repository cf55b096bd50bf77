"""Operators: one contract, one file each."""

from deconv.operators.blur import BOUNDARIES, Blur
from deconv.operators.filled import filled_solve, nesterov
from deconv.operators.observation import Observation, observe
from deconv.operators.strided import StridedBlur

__all__ = [
    "BOUNDARIES",
    "Blur",
    "Observation",
    "StridedBlur",
    "filled_solve",
    "nesterov",
    "observe",
]

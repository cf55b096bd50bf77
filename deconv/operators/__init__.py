"""Operators: one contract, one file each."""

from deconv.operators.blur import BOUNDARIES, Blur
from deconv.operators.filled import filled_solve, nesterov
from deconv.operators.observation import Observation, observe
from deconv.operators.strided import StridedBlur
from deconv.operators.varying import SpatiallyVaryingBlur
from deconv.operators.windows import grid_windows

__all__ = [
    "BOUNDARIES",
    "Blur",
    "Observation",
    "SpatiallyVaryingBlur",
    "StridedBlur",
    "filled_solve",
    "grid_windows",
    "nesterov",
    "observe",
]

"""Operators: one contract, one file each."""

from deconv.operators.blur import BOUNDARIES, Blur
from deconv.operators.observation import Observation, observe

__all__ = ["BOUNDARIES", "Blur", "Observation", "observe"]

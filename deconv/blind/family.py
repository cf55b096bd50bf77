"""A psf of a known family, for pictures whose edges are too few to find one freely.

One object on an even ground, moved during the exposure, has edges that any psf explains; the zeros
that a straight motion or defocus leaves in the spectrum are still plain.
"""

from __future__ import annotations

import numpy as np

from deconv.blind.search import WIDE, width
from deconv.identify import Fit, fit_psf

__all__ = ["family"]

# Gaussian blur has no zeros: a soft subject looks the same.
TRIED = ("motion", "defocus")
# The family must explain this part of the spectrum's departure from a sharp picture's. The moving
# clock of scikit-image has 0.59, its sharp pictures at most 0.38.
EXPLAINED = 0.45


def family(image: np.ndarray, weights: np.ndarray | None) -> Fit | None:
    """The fit that explains the spectrum best, or None if none does.

    Parameters
    ----------
    image : array (Y, X)
        In linear light, in any unit.
    weights : array (Y, X) or None
        0 where a pixel was not observed.
    """
    if min(image.shape) < 32:
        return None
    fits = [fit_psf(image, name, weights=weights) for name in TRIED]
    best = max(fits, key=lambda fit: fit.score)
    return best if best.score > EXPLAINED and width(best.psf) > WIDE else None

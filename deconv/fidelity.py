r"""What the data say: the squared residual, weighted by how far each pixel is to be believed.

``½‖W^½ (A x − y)‖²``, where the weights W may depend on the prediction ``A x`` itself: a clipped
pixel says no more than "at least this bright", and a pixel far off its prediction may be a dead
one. The weighted square has the slope of the true term there, so solvers only ask for `weights`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from deconv.arrays import Array, device, elementwise, is_numpy, namespace, to_numpy
from deconv.operators import Blur

__all__ = ["Fidelity", "impulses"]

# Share of outliers that Cho, Wang and Lee (2011) expect before they have seen the residual.
OUTLIERS = 0.1


@dataclass(frozen=True)
class Fidelity:
    """Data term of `y`, shape ``(..., *A.shape)``, under the weights of the operator A.

    Attributes
    ----------
    A : operator
    y : array
    clipped : array of bool, optional
        Pixels whose value is the sensor's limit: only a prediction below it contradicts them.
    noise : float, optional
        Standard deviation of what is no outlier; with it, every pixel's weight is the probability
        that it is none (Cho, Wang and Lee 2011).
    spread : float
        Range of values over which outliers are spread evenly.

    References
    ----------
    Cho, Wang and Lee (2011), "Handling outliers in non-blind image deconvolution", ICCV.

    Examples
    --------
    >>> import numpy as np, deconv
    >>> from deconv.fidelity import Fidelity
    >>> A = deconv.Blur([0.25, 0.5, 0.25], (4,), boundary="periodic")
    >>> y = np.array([0.0, 0.0, 1.0, 0.0])
    >>> Fidelity(A, y, noise=0.1).weights(np.zeros(4)).round(2)
    array([0.97, 0.97, 0.  , 0.97])
    """

    A: Blur
    y: Array
    clipped: Array | None = None
    noise: float | None = None
    spread: float = 1.0

    @property
    def adaptive(self) -> bool:
        """Whether the weights depend on the prediction."""
        return self.clipped is not None or self.noise is not None

    def weights(self, seen: Array) -> Array | None:
        """Weights in [0, 1] for the prediction `seen` on the frame; None where all are 1."""
        weights = self.A.weights
        if self.clipped is not None:
            xp = namespace(seen)
            told = elementwise(
                lambda q, y, c: xp.astype(~(c & (q >= y)), q.dtype),
                seen,
                self.y,
                self.clipped,
                dtype=self.y.dtype,
            )
            weights = told if weights is None else told * weights
        if self.noise is not None:
            xp, variance = namespace(seen), 2 * self.noise**2
            odds = self._odds
            sure = elementwise(
                lambda q, y: 1 / (1 + odds * xp.exp(xp.clip((q - y) ** 2 / variance, None, 80.0))),
                seen,
                self.y,
            )
            weights = sure if weights is None else sure * weights
        return weights

    def value(self, seen: Array) -> float:
        """The data term at the prediction `seen`."""
        xp = namespace(seen)
        half = 0.5 * (seen - self.y) ** 2
        if self.noise is not None:
            # The negative log-likelihood of the mixture, in units where an inlier's is the square.
            scale = self.noise**2
            ratio = xp.exp(xp.clip(-half / scale, -80.0, None))
            half = -scale * (xp.log(ratio + self._odds) - math.log1p(self._odds))
        if self.clipped is not None:
            half = xp.where(self.clipped & (seen >= self.y), xp.zeros_like(half), half)
        if self.A.weights is not None:
            half = self.A.weights * half
        return float(xp.sum(half))

    @property
    def _odds(self) -> float:
        """Outlier against inlier at a residual of 0."""
        assert self.noise is not None
        density = 1 / (math.sqrt(2 * np.pi) * self.noise)
        return OUTLIERS / self.spread / ((1 - OUTLIERS) * density)


def impulses(y: Array, ndim: int) -> Array:
    """Weight 0 for pixels far off the median of their neighbours, 1 for the others.

    A first guess at outliers that needs no picture: "far" is six times the usual difference, here
    and in the whole image.

    Parameters
    ----------
    y : array, ``(..., *spatial)``
        Observed image in any unit.
    ndim : int
        Number of spatial axes, the last ones.

    Returns
    -------
    array
        Of the shape and dtype of `y`: 0 or 1.

    Examples
    --------
    >>> import numpy as np
    >>> from deconv.fidelity import impulses
    >>> image = np.random.default_rng(0).random((16, 16))
    >>> image[8, 8] = 50
    >>> float(impulses(image, 2)[8, 8]), float(impulses(image, 2).mean()) > 0.9
    (0.0, True)
    """
    from scipy.ndimage import median_filter

    values = to_numpy(y)
    # Without the pixel itself, which on a slope is its own median; two neighbours are too few.
    width = 5 if ndim == 1 else 3
    around = np.ones((1,) * (values.ndim - ndim) + (width,) * ndim, bool)
    around[(0,) * (values.ndim - ndim) + (width // 2,) * ndim] = False
    away = np.abs(values - median_filter(values, footprint=around))
    usual = np.median(away) / 0.6745
    nearby = median_filter(away, footprint=around)
    weights = (away <= 6 * np.maximum(usual, nearby)).astype(values.dtype)
    return weights if is_numpy(y) else namespace(y).asarray(weights, device=device(y))

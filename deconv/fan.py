r"""One picture restored at several weights of the prior, in little more time than at one.

Half-quadratic splitting goes from smooth to sharp as its penalty grows. Its early stages differ
little between weights, so they are made once, at the middle one; then the branches go on together,
as one batch on the spectra of the one psf and the one observation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deconv.arrays import Array, like, namespace
from deconv.fidelity import Fidelity
from deconv.priors import HyperLaplacian
from deconv.splitting import Term, hqs
from deconv.variational import FIRST_BETA, LAST_BETA

__all__ = ["fan"]

# Stages that all weights share, those of each by itself, and their conjugate-gradient steps where
# pixels are unobserved.
SHARED, OWN = 4, 2
SHARED_STEPS, OWN_STEPS = 6, 3


def fan(
    fidelity: Fidelity,
    lam: Array,
    factors: Sequence[float],
    *,
    p: float = 2 / 3,
    shared: int = SHARED,
    own: int = OWN,
    steps: tuple[int, int] = (SHARED_STEPS, OWN_STEPS),
) -> Array:
    """Hyper-Laplacian restorations at the weights ``lam * factors``.

    Parameters
    ----------
    fidelity : Fidelity
        Operator and data, a picture like those on [0, 1], shape (..., *A.shape).
    lam : array
        Middle weight, one for each leading index, shaped to broadcast to images.
    factors : sequence of float
        What it is multiplied with, above 0; K of them.
    p : float
        Power of the gradients.
    shared, own : int
        Stages at the weight `lam`, and further ones of each weight.
    steps : (int, int)
        Conjugate-gradient steps of the two kinds of stages.

    Returns
    -------
    array, shape (K, ..., *A.domain)

    References
    ----------
    Krishnan and Fergus (2009) (the solver); Vasu, Maligireddy and Rajagopalan (2018), "Non-blind
    deblurring: handling kernel uncertainty with CNNs" (why several weights).
    """
    prior, xp = HyperLaplacian(p), namespace(fidelity.y)
    betas = [float(beta) for beta in np.geomspace(FIRST_BETA, LAST_BETA, shared + own)]
    trunk = Term(prior, lam, [beta * lam for beta in betas[:shared]])
    x = hqs(fidelity, [trunk], steps=steps[0]).image
    column = like(np.reshape(factors, (-1, *[1] * x.ndim)), lam)
    lams = column * lam
    branches = Term(prior, lams, [beta * lams for beta in betas[shared:]])
    start = xp.broadcast_to(x, (len(factors), *x.shape))
    return hqs(fidelity, [branches], steps=steps[1], start=start).image

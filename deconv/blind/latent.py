r"""The sharp picture of one scale with few edges: the image step that most blind priors share.

.. math:: \min_x \|k * x - y\|^2 + \mu \#\{\nabla x \ne 0\} + \alpha \|x - u\|^2

By half-quadratic splitting: gradients below the threshold that the penalty implies become 0, and
the picture that fits what is left has a closed form (Xu, Lu, Xu and Jia 2011). One forward and one
inverse FFT per step.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from deconv.blind.pyramid import Level
from deconv.fft import centred_rfftn, empty, frequencies, irfftn, rfftn
from deconv.operators.frame import Frame

__all__ = ["Latent", "Pull"]

# The penalty grows by this factor up to this value.
FACTOR, LAST_BETA = 2.0, 1e5

# A quadratic pull towards a picture on the domain: its weight and the picture's spectrum.
Pull = tuple[float, np.ndarray]


class Latent:
    """The observation of one level on a periodic domain, with what no psf changes."""

    def __init__(self, level: Level) -> None:
        self.frame = Frame.place(level.image.shape, level.shape, "unknown")
        self.domain = self.frame.domain
        self.seen = np.ascontiguousarray(self.frame.extend(level.image), np.float32)
        self.spectrum = rfftn(self.seen, 2)
        power = sum(2 - 2 * np.cos(2 * np.pi * f) for f in frequencies(self.domain, self.seen))
        self.power = np.asarray(power, np.float32)

    def data(self, psf: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Spectrum of the correlation with the observation, and the psf's power."""
        otf = centred_rfftn(psf.astype(np.float32, copy=False), self.domain)
        return np.conj(otf) * self.spectrum, otf.real**2 + otf.imag**2

    def flat(
        self,
        data: tuple[np.ndarray, np.ndarray],
        mu: float,
        *,
        start: np.ndarray | None = None,
        pull: Pull | None = None,
        first: float | None = None,
        last: float = LAST_BETA,
        factor: float = FACTOR,
        touch: Callable[[np.ndarray], None] | None = None,
        sweeps: int = 1,
    ) -> np.ndarray:
        """The picture on the domain.

        Parameters
        ----------
        data : tuple
            What `data` gives.
        mu : float
            Weight of the number of gradients.
        start : array, optional
            A picture on the domain; the observation when None.
        pull : (float, array), optional
            Weight of a quadratic pull, and the spectrum of the picture that it pulls to.
        first, last, factor : float
            The penalties; the first is ``2 mu`` when None.
        touch : callable, optional
            Changes the picture in place before each step, as a prior's prox.
        sweeps : int
            Steps per penalty.
        """
        cross, base = data
        if pull is not None:
            weight, target = pull
            cross, base = cross + np.float32(weight) * target, base + np.float32(weight)
        x = (self.seen if start is None else start).copy()
        work = _Work(x.shape)
        beta = 2 * mu if first is None else first
        while beta < last:
            for _ in range(sweeps):
                if touch is not None:
                    touch(x)
                x = self._step(x, work, cross, base, mu, beta)
            beta *= factor
        return x

    def _step(
        self,
        x: np.ndarray,
        work: _Work,
        cross: np.ndarray,
        base: np.ndarray,
        mu: float,
        beta: float,
    ) -> np.ndarray:
        edges = work.edges(x, mu / beta)
        spectrum = rfftn(edges, 2, out=work.spectrum)
        spectrum *= np.float32(beta)
        spectrum += cross
        division = np.multiply(self.power, np.float32(beta), out=work.division)
        division += base
        np.reciprocal(division, out=division)
        spectrum *= division
        return irfftn(spectrum, self.domain, out=x, overwrite=True)


class _Work:
    """Memory of the steps, and their pass over the picture."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.dy, self.dx, self.square, self.other = (empty(shape, np.float32) for _ in range(4))
        half = (shape[0], shape[1] // 2 + 1)
        self.spectrum, self.division = empty(half, np.complex64), empty(half, np.float32)

    def edges(self, x: np.ndarray, least: float) -> np.ndarray:
        """The transpose of the gradient of `x`, applied to those of its gradients above `least`."""
        dy, dx, square, other = self.dy, self.dx, self.square, self.other
        np.subtract(x[1:], x[:-1], out=dy[:-1])
        np.subtract(x[0], x[-1], out=dy[-1])
        np.subtract(x[:, 1:], x[:, :-1], out=dx[:, :-1])
        np.subtract(x[:, 0], x[:, -1], out=dx[:, -1])
        np.multiply(dy, dy, out=square)
        np.multiply(dx, dx, out=other)
        square += other
        keep = square >= np.float32(least)
        dy *= keep
        dx *= keep
        out = square
        np.subtract(dy[:-1], dy[1:], out=out[1:])
        np.subtract(dy[-1], dy[0], out=out[0])
        out -= dx
        out[:, 1:] += dx[:, :-1]
        out[:, 0] += dx[:, -1]
        return out

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
from deconv.priors import HyperLaplacian

__all__ = ["Latent", "Pull"]

# The penalty grows by this factor up to this value.
FACTOR, LAST_BETA = 2.0, 1e3
# The pull of a prior on values grows by this factor to this penalty; inside it, the gradients'
# penalty may grow faster, since each of its runs starts from the one before.
PULL_FACTOR, LAST_PULL, INNER_FACTOR = 2.0, 8.0, 4.0
# Steps of `sparse`.
SPARSE_STEPS = 11

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
                x = self._step(x, work, cross, base, beta, work.strong(mu / beta))
            beta *= factor
        return x

    def pulled(
        self,
        data: tuple[np.ndarray, np.ndarray],
        mu: float,
        lam: float,
        first: float,
        target: Callable[[np.ndarray, float], np.ndarray],
        *,
        start: np.ndarray | None = None,
        last: float = LAST_PULL,
        growth: float = PULL_FACTOR,
        inner: float = INNER_FACTOR,
    ) -> np.ndarray:
        """The picture with few gradients and few values that `target` changes.

        ``target(x, lam / beta)`` is the picture that the prior would make of x where it costs less
        than this; the penalty beta grows from `first` to below `last` by `growth`, and the
        gradients' own starts anew for each and grows by `inner`. The first x is `start`, a picture
        on the domain; the observation when None.
        """
        x = self.seen if start is None else start
        beta = first
        while beta < last:
            aim = self.seen.copy()
            aim[self.frame.index] = target(self.frame.crop(x), lam / beta)
            x = self.flat(data, mu, start=x, pull=(beta, rfftn(aim, 2)), factor=inner)
            beta *= growth
        return x

    def sparse(self, psf: np.ndarray, lam: float, p: float) -> np.ndarray:
        """The picture on the domain whose gradients have a small sum of p-th powers.

        For ``|k * x - y|^2 + lam sum |d x|^p``; quicker and less careful at the frame's edge than
        `deconv.hyper_laplacian`.
        """
        cross, base = self.data(psf)
        prior = HyperLaplacian(p)
        x, work = self.seen.copy(), _Work(self.domain)
        for i in range(SPARSE_STEPS):
            beta = 10 * lam * 2.0**i

            def shrink(dy: np.ndarray, dx: np.ndarray, step: float = lam / (2 * beta)) -> None:
                for d in (dy, dx):
                    d *= prior.factor(d, step)

            x = self._step(x, work, cross, base, beta, shrink)
        return x

    def _step(
        self,
        x: np.ndarray,
        work: _Work,
        cross: np.ndarray,
        base: np.ndarray,
        beta: float,
        shrink: Callable[[np.ndarray, np.ndarray], None],
    ) -> np.ndarray:
        edges = work.edges(x, shrink)
        spectrum = rfftn(edges, 2, out=work.spectrum)
        spectrum *= np.float32(beta)
        spectrum += cross
        division = np.multiply(self.power, np.float32(beta), out=work.division)
        division += base
        np.reciprocal(division, out=division)
        spectrum *= division
        result: np.ndarray = irfftn(spectrum, self.domain, out=x, overwrite=True)
        return result


class _Work:
    """Memory of the steps, and their pass over the picture."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.dy, self.dx, self.square, self.other = (empty(shape, np.float32) for _ in range(4))
        half = (shape[0], shape[1] // 2 + 1)
        self.spectrum, self.division = empty(half, np.complex64), empty(half, np.float32)

    def strong(self, least: float) -> Callable[[np.ndarray, np.ndarray], None]:
        """What clears the gradients whose square is below `least`."""

        def clear(dy: np.ndarray, dx: np.ndarray) -> None:
            np.multiply(dy, dy, out=self.square)
            np.multiply(dx, dx, out=self.other)
            self.square += self.other
            keep = self.square >= np.float32(least)
            dy *= keep
            dx *= keep

        return clear

    def edges(self, x: np.ndarray, shrink: Callable[[np.ndarray, np.ndarray], None]) -> np.ndarray:
        """The transpose of the gradient of `x`, applied to its gradients after `shrink`."""
        dy, dx = self.dy, self.dx
        np.subtract(x[1:], x[:-1], out=dy[:-1])
        np.subtract(x[0], x[-1], out=dy[-1])
        np.subtract(x[:, 1:], x[:, :-1], out=dx[:, :-1])
        np.subtract(x[:, 0], x[:, -1], out=dx[:, -1])
        shrink(dy, dx)
        out = self.square
        np.subtract(dy[:-1], dy[1:], out=out[1:])
        np.subtract(dy[-1], dy[0], out=out[0])
        out -= dx
        out[:, 1:] += dx[:, :-1]
        out[:, 0] += dx[:, -1]
        return out

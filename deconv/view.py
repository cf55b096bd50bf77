"""The pictures that spectra are estimated from: validated arguments, handed out by channel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deconv.arrays import floating, to_numpy, whole
from deconv.periodogram import Layout, Look, layout, look, radius, response

__all__ = ["View", "noise_of", "view_of"]

UNLIT = 1e-3  # |K|^2 of frequencies that show noise, and what does not fit the model
LIT = 0.1  # and of those that show the scene
# Dark power above this much noise, as a window shows it, and scene that the psf lets pass is a
# seam's (measured on 12 pictures, 5 psfs, 4 noise levels: names no period, and every harmful seam).
NOISE, PASSED = 1.2, 2.0


@dataclass(frozen=True)
class View:
    """Validated arguments: everything has the leading axes `lead`."""

    image: np.ndarray
    observed: np.ndarray | None
    psf: np.ndarray
    lead: tuple[int, ...]
    frame: tuple[int, ...]
    plan: Layout

    def channels(self, *, flat: bool = False) -> Iterator[tuple[tuple[int, ...], Look, np.ndarray]]:
        """Each channel's index, periodograms and |K|^2; `flat` as in `look`."""
        previous, bright = None, np.empty(0)
        for index in np.ndindex(self.lead):
            psf = self.psf[index]
            where = psf.__array_interface__["data"][0]
            if where != previous:  # colours share one psf: transform it once
                previous, bright = where, response(psf, self.plan.grid)
            observed = None if self.observed is None else self.observed[index]
            yield index, look(self.image[index], observed, self.plan, flat=flat), bright


def view_of(
    image: Any, psf: Any, weights: Any, ndim: int | None, periodic: bool, max_pixels: int
) -> View:
    """Validate the arguments of `deconv.evidence.estimate` and give them common leading axes."""
    image = to_numpy(floating(image, "image"))
    psf = to_numpy(floating(psf, "psf"))
    ndim = psf.ndim if ndim is None else whole(ndim, "ndim", low=1)
    whole(max_pixels, "max_pixels", low=1)
    if not 1 <= ndim <= min(psf.ndim, image.ndim):
        raise ValueError(
            f"image has shape {image.shape} and psf {psf.shape}; expected {ndim} or more axes"
        )
    frame, support = image.shape[-ndim:], psf.shape[-ndim:]
    if any(k > n for k, n in zip(support, frame, strict=True)):
        raise ValueError(f"psf of shape {support} is larger than the image's {frame}")
    if np.isnan(psf).any() or not psf.any():
        raise ValueError("psf has NaN values or is zero everywhere; expected a sum of 1")
    if weights is not None:
        weights = to_numpy(floating(weights, "weights"))
        if not (weights.min() >= 0 and weights.max() <= 1):
            raise ValueError(
                f"weights lie in [{weights.min():g}, {weights.max():g}]; expected [0, 1]"
            )
    try:
        lead = np.broadcast_shapes(image.shape[:-ndim], psf.shape[:-ndim])
        if weights is not None:
            weights = np.broadcast_to(weights, image.shape)
    except ValueError:
        raise ValueError(
            f"image {image.shape}, psf {psf.shape} and weights "
            f"{None if weights is None else weights.shape} do not broadcast to the image"
        ) from None
    observed = None
    if weights is not None and not (weights == 1).all():
        observed = (weights > 0) & (weights >= 0.5 * weights.max())
    known = ~np.isnan(image)
    if not known.all():
        observed = known if observed is None else observed & known
    view = View(
        np.broadcast_to(image, lead + frame),
        None if observed is None else np.broadcast_to(observed, lead + frame),
        np.broadcast_to(psf, lead + support),
        lead,
        frame,
        layout(frame, support, max_pixels, periodic),
    )
    if view.plan.tapered:
        return view
    windowed = replace(view, plan=layout(frame, support, max_pixels))
    return view if _is_period(view, windowed) else windowed


def _is_period(view: View, windowed: View) -> bool:
    """Whether the picture is blurred across its seam too, as one period of a scene would be.

    If not, the seam's power stands where the psf lets none through, and only a window hides it.
    """
    squared, _ = radius(view.plan.tile, view.plan.grid)
    for (_, seen, bright), (_, inside, bright_inside) in zip(
        view.channels(), windowed.channels(), strict=True
    ):
        dark, dark_inside, lit = bright < UNLIT, bright_inside < UNLIT, bright > LIT
        if not (dark.any() and dark_inside.any() and lit.any()):
            continue
        # Means, not medians: a seam's power lies in a narrow cross.
        power, scale = seen.periodograms[0], (inside.scale / max(seen.scale, 1e-300)) ** 2
        noise = scale * inside.periodograms[0][dark_inside].mean(dtype=float)
        scene = (power * squared / np.maximum(bright, UNLIT))[lit].mean(dtype=float)
        passed = scene * (bright[dark] / squared[dark]).mean(dtype=float)
        if power[dark].mean(dtype=float) > NOISE * noise + PASSED * passed + 1e-12:
            return False
    return True


def noise_of(sigma: Any, lead: tuple[int, ...]) -> np.ndarray | None:
    """Broadcast a given sigma over the leading axes; None stays None."""
    if sigma is None:
        return None
    noise = to_numpy(floating(sigma, "sigma")).astype(float)
    if not (noise >= 0).all():
        raise ValueError(f"sigma={sigma!r}; expected numbers of at least 0")
    try:
        return np.broadcast_to(noise, lead)
    except ValueError:
        raise ValueError(
            f"sigma has shape {noise.shape}; expected one number, or the leading axes {lead}"
        ) from None

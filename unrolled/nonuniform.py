"""Training pairs blurred as photographs are: from place to place, in layers, by a rolling camera.

A sample depends on the seed and its own index alone, never on the batch, worker or process it falls
into. No blur moves a picture: every psf has its centroid at its centre, so sharp and blurred lie on
each other, though a path that rests at one end draws the eye there.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deconv.arrays import number, whole
from deconv.fft import fast_shape
from deconv.operators import Blur, SpatiallyVaryingBlur
from unrolled.capture import jpeg, softened
from unrolled.crops import Crops
from unrolled.kernel_fields import MARGIN, Field, KernelFields
from unrolled.layers import composite, random_mask
from unrolled.pairs import Known, Pair
from unrolled.rotation import farthest, rolled

__all__ = ["KINDS", "NonUniform", "NonUniformRecipe"]

KINDS = ("uniform", "field", "layers", "rotation", "sharp")
# Mean light that a foreground should differ by, and how many are drawn for it.
CONTRAST, TRIES = 0.1, 4
# Streams of random numbers of an index; `Crops` has the ones before.
PSFS = 3
# Of soft pictures, the Gaussian's standard deviation in pixels; of JPEG, the quality.
SOFT, QUALITY = (0.5, 1.6), (60, 95)


@dataclass(frozen=True)
class NonUniformRecipe:
    """How a sharp crop becomes a pair.

    Parameters
    ----------
    side : int
        Of the pictures in pixels.
    size : int
        Side of the psfs' box, odd.
    channels : int
        1 (grey) or 3.
    uniform : float
        How often one psf blurs the frame (shake, a disc, a Gaussian). The shares of the kinds, this
        one and the next four, are parts of their sum.
    field : float
        How often the psf changes over the frame: with the camera's roll and zoom while it shakes,
        with a plane slanted to the lens, or from path to path nearby.
    layers : float
        How often a foreground and a background have each a psf, one of which may be sharp.
    rotation : float
        How often the camera rolls about a centre in the frame or beside it.
    sharp : float
        How often nothing is blurred.
    reach : (float, float)
        Range of a blur's length where it is longest, in pixels, log-uniform.
    sigma : (float, float)
        Range of the white noise's standard deviation, log-uniform, for pictures on [0, 1] as they
        are stored.
    linear, gamma : float
        Share of samples whose light ``x**gamma`` is blurred; the others are blurred as stored.
    rounded : float
        Share of samples clipped to [0, 1] and rounded to 8 bits.
    shrunk : float
        Share of crops that were larger and made smaller.
    soft : float
        Share of crops that are a little soft before anything moves, as lenses and enlarged
        pictures are: what is soft in the sharp picture as well is to be left alone.
    compressed : float
        Share of samples that are stored as JPEG, at a quality of 60 to 95.

    Raises
    ------
    TypeError, ValueError
        If a value is no number or out of range, with its name.

    Examples
    --------
    >>> from unrolled.nonuniform import NonUniformRecipe
    >>> recipe = NonUniformRecipe(side=96, layers=0.0, reach=(2.0, 12.0))
    >>> NonUniformRecipe(size=32)
    Traceback (most recent call last):
    ValueError: size=32; expected an odd number
    """

    side: int = 128
    size: int = 33
    channels: int = 3
    uniform: float = 0.15
    field: float = 0.35
    layers: float = 0.3
    rotation: float = 0.15
    sharp: float = 0.05
    reach: tuple[float, float] = (3.0, 25.0)
    sigma: tuple[float, float] = (0.001, 0.02)
    linear: float = 0.5
    gamma: float = 2.2
    rounded: float = 0.5
    shrunk: float = 0.4
    soft: float = 0.0
    compressed: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what would fail, or be ignored, in the middle of a run."""
        least = 2 * MARGIN + 3
        whole(self.side, "side", low=least)
        if whole(self.size, "size", low=least) % 2 == 0:
            raise ValueError(f"size={self.size}; expected an odd number")
        if self.size > self.side:
            raise ValueError(f"size={self.size}; expected at most the side={self.side}")
        if self.channels not in (1, 3):
            raise ValueError(f"channels={self.channels}; expected 1 or 3")
        for name in KINDS:
            number(getattr(self, name), name, low=0)
        if not sum(self.shares):
            raise ValueError(f"the shares of {', '.join(KINDS)} are all 0; expected one above it")
        for name in ("linear", "rounded", "shrunk", "soft", "compressed"):
            number(getattr(self, name), name, low=0, high=1)
        number(self.gamma, "gamma", low=0, strict=True)
        _range(self.sigma, "sigma")
        if _range(self.reach, "reach")[1] > self.size - 2 * MARGIN:
            raise ValueError(
                f"reach={self.reach}; expected at most {self.size - 2 * MARGIN} for "
                f"size={self.size}: {MARGIN} pixels on either side are the optics' own"
            )

    @property
    def domain(self) -> tuple[int, int]:
        """Spatial shape of the latent crops: the frame, what it depends on, and what the FFT likes.

        Pictures must have sides of at least the larger of the two.
        """
        reached = self.side + self.size - 1
        rows, columns = fast_shape((reached, reached))
        return rows, columns

    @property
    def shares(self) -> tuple[float, ...]:
        """How often each of `KINDS` is drawn, in parts of their sum."""
        return tuple(getattr(self, name) for name in KINDS)

    def only(self, kind: str) -> NonUniformRecipe:
        """The same recipe for one of `KINDS` alone."""
        return replace(self, **{name: float(name == kind) for name in KINDS})

    def kind(self, u: float) -> str:
        """One of `KINDS` for a uniform number."""
        ends = list(itertools.accumulate(self.shares))
        return KINDS[bisect.bisect_right(ends, u * ends[-1])]


def _range(values: Any, name: str) -> tuple[float, float]:
    """`values` as (low, high) with 0 < low <= high, or an error."""
    pair = len(values) == 2 if hasattr(values, "__len__") else False
    if not pair or not 0 < values[0] <= values[1] < math.inf:
        raise ValueError(f"{name}={values}; expected (low, high) with 0 < low <= high")
    return float(values[0]), float(values[1])


class NonUniform:
    """Pairs by the indices of their samples.

    Parameters
    ----------
    pictures : sequence of tensor
        Sharp pictures, uint8 (3, H, W), with sides of at least ``max(recipe.domain)``; see
        `unrolled.crops.load_pictures`.
    recipe : NonUniformRecipe
        What becomes of them.
    seed : int
        Of everything random.
    device : str or torch.device
        Where pictures are kept, blurred and noised; psfs are drawn on the CPU.

    Raises
    ------
    ValueError
        If there are no pictures, or one is too small.

    Notes
    -----
    Light that reaches a frame from beyond it is that of the picture itself. Sources: Whyte et al.
    (2010), "Non-uniform deblurring for shaken images", for paths that change with the camera's
    roll; Nagy and O'Leary (1998) and Hirsch et al. (2010) for psfs between the nodes of a grid.

    Examples
    --------
    >>> import torch
    >>> from skimage import data
    >>> from unrolled.nonuniform import NonUniform, NonUniformRecipe
    >>> picture = torch.tensor(data.astronaut()[:160, :160]).permute(2, 0, 1)
    >>> samples = NonUniform([picture], NonUniformRecipe(side=64, reach=(3.0, 12.0)))
    >>> samples.batch(0, range(2)).blurred.shape
    torch.Size([2, 3, 64, 64])
    """

    def __init__(
        self,
        pictures: Sequence[Tensor],
        recipe: NonUniformRecipe | None = None,
        *,
        seed: int = 0,
        device: Any = "cpu",
    ) -> None:
        self.recipe = recipe = recipe or NonUniformRecipe()
        self.frame = (recipe.side, recipe.side)
        self.domain = recipe.domain
        self.crops = Crops(
            pictures,
            max(self.domain),
            channels=recipe.channels,
            shrunk=recipe.shrunk,
            seed=seed,
            device=device,
        )
        self.kernels = KernelFields(recipe.size, recipe.reach[1])
        # A cache, and nothing else: windows follow from the grid.
        self._windows: dict[tuple[Any, ...], Tensor] = {}

    def batch(self, step: int, indices: Iterable[int]) -> Pair:
        """The samples `indices`; the step settles nothing."""
        blurred, sharp, known = zip(*(self.sample(index) for index in indices), strict=True)
        return Pair(torch.stack(blurred), torch.stack(sharp), known)

    def sample(self, index: int, kind: str | None = None) -> tuple[Tensor, Tensor, Known | None]:
        """Blurred and sharp (C, side, side) of one sample, and its operator where there is one.

        `kind` is one of `KINDS`; drawn if not given.
        """
        recipe = self.recipe
        crop, u, draw, noise = self.crops.draw(index)
        latent = self._latent(crop, u)
        rng = np.random.default_rng([self.crops.seed, PSFS, index])
        kind = recipe.kind(u[8]) if kind is None else kind
        if kind not in KINDS:
            raise ValueError(f"kind={kind!r}; expected one of {', '.join(KINDS)}")
        gamma = recipe.gamma if u[9] < recipe.linear else 1.0
        length = _log_uniform(recipe.reach, u[10])
        light, operator = latent**gamma, None
        sharp = self._framed(latent)
        if kind == "layers":
            front = self._latent(self._foreground(crop, draw), u) ** gamma
            seen, composed = self._layered(light, front, length, rng)
            sharp = _root(composed, gamma)
        elif kind == "rotation":
            seen = self._rolled(light, length, rng)
        else:
            operator = self._operator(kind, length, rng)
            seen = operator(light)
        blurred = self._noisy(_root(seen, gamma), u, noise)
        return blurred, sharp, None if operator is None else Known(operator, gamma)

    def _latent(self, crop: Tensor, u: Sequence[float]) -> Tensor:
        rows, columns = self.domain
        latent = crop[:, :rows, :columns]
        return softened(latent, _log_uniform(SOFT, u[14])) if u[13] < self.recipe.soft else latent

    def _framed(self, x: Tensor) -> Tensor:
        """What of a picture on the domain lies in the frame."""
        first = self.recipe.size // 2
        return x[:, first : first + self.recipe.side, first : first + self.recipe.side].contiguous()

    def _noisy(self, blurred: Tensor, u: Sequence[float], noise: torch.Generator) -> Tensor:
        white = torch.randn(blurred.shape, generator=noise, device=blurred.device)
        blurred = blurred + _log_uniform(self.recipe.sigma, u[11]) * white
        if u[12] < self.recipe.rounded:
            blurred = (blurred.clamp(0, 1) * 255).round() / 255
        if u[15] < self.recipe.compressed:
            low, high = QUALITY
            blurred = jpeg(blurred, low + int(u[16] * (high - low + 1)))
        return blurred

    # -- the kinds -------------------------------------------------------------------------------

    def _operator(self, kind: str, length: float, rng: np.random.Generator) -> Any:
        """The blur of one psf, of a field of them, or of a single pixel."""
        if kind == "field":
            return self._varying(self.kernels.field(length, self.recipe.side, rng))
        return self._blur(self.kernels.uniform(length, rng) if kind == "uniform" else None)

    def _blur(self, psf: np.ndarray | None) -> Blur:
        """The blur by a psf, or by none."""
        psf = self.kernels.single() if psf is None else psf
        return Blur(torch.from_numpy(psf).to(self.crops.device), self.frame)

    def _varying(self, field: Field) -> SpatiallyVaryingBlur:
        """The blur by a field of psfs."""
        psfs = torch.from_numpy(field.psfs).to(self.crops.device)
        key = (*psfs.shape[:2], field.profile)
        if key not in self._windows:
            options = {"order": field.order, "profile": field.profile}
            A = SpatiallyVaryingBlur.from_grid(psfs, self.frame, **options)
            self._windows[key] = A.windows
            return A
        windows = self._windows[key]
        return SpatiallyVaryingBlur(psfs.flatten(0, 1), windows, self.frame, order=field.order)

    def _foreground(self, behind: Tensor, draw: torch.Generator) -> Tensor:
        """A crop of any picture, the first of a few that is brighter or darker than `behind`."""
        best, most = behind, -1.0
        for _ in range(TRIES):
            crop = self.crops.crop(torch.rand(8, generator=draw, dtype=torch.float64).tolist())
            contrast = float((crop.mean() - behind.mean()).abs())
            if contrast > most:
                best, most = crop, contrast
            if contrast > CONTRAST:
                break
        return best

    def _layered(
        self, light: Tensor, front: Tensor, length: float, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Light of a foreground before a background, blurred and sharp."""
        moves = rng.uniform()
        lengths = [length, _log_uniform((min(self.recipe.reach[0], length), length), rng.uniform())]
        if rng.uniform() < 0.5:
            lengths.reverse()
        behind, before = (
            self._blur(None if still else self.kernels.uniform(n, rng))
            for n, still in zip(lengths, (moves < 0.35, moves > 0.75), strict=True)
        )
        mask = random_mask(max(self.domain), rng, light)[: self.domain[0], : self.domain[1]]
        return composite(light, front, mask, behind, before)

    def _rolled(self, light: Tensor, length: float, rng: np.random.Generator) -> Tensor:
        """Light of a scene seen by a camera that rolls."""
        side, reached = self.recipe.side, self.recipe.side + self.recipe.size - 1
        # Beside the frame as often as within: far away a roll is a shift.
        wide = 0.5 if rng.uniform() < 0.5 else 1.5
        centre = [float(c) for c in (0.5 + rng.uniform(-wide, wide, 2)) * (side - 1)]
        angle = float(rng.choice((-1, 1))) * length / farthest(centre, side)
        return rolled(light[:, :reached, :reached], centre, angle, side)


def _log_uniform(limits: tuple[float, float], u: float) -> float:
    low, high = (math.log(v) for v in limits)
    return math.exp(low + (high - low) * u)


def _root(light: Tensor, gamma: float) -> Tensor:
    """Light as it is stored; what an FFT leaves below black becomes black."""
    return light.clamp(min=0) ** (1 / gamma)

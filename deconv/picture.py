"""A picture as a file holds it: pixels, what their axes mean, and what belongs to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["DISPLAY_GAMMA", "Picture", "from_linear", "to_linear"]

# Exponent from display values to linear light, near enough for sRGB.
DISPLAY_GAMMA = 2.2


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels on the file's own scale and depth, with the data that travels with them.

    Attributes
    ----------
    pixels : ndarray
        Without transparency, upright (an EXIF orientation has been applied).
    axes : str
        One letter per axis of `pixels`: Y and X, Z for depth, S for the samples of a colour
        (always last), any other letter for pictures side by side (T time, C wavelength).
    alpha : ndarray or None
        Transparency, as `pixels` without S and of the same dtype.
    premultiplied : bool
        Whether the colours were multiplied by `alpha`, as TIFF permits.
    icc, exif : bytes or None
        Colour profile, and the EXIF block (a TIFF structure) with its orientation set to upright.
    resolution : tuple of (float, float, str) or None
        Pixels per unit along x and y; the unit is "inch", "centimeter" or "none".
    description : str or None
        A TIFF file's image description (ImageJ and OME keep their metadata there).
    kind : str or None
        "PNG", "JPEG" or "TIFF" for a picture that was read from a file.

    Raises
    ------
    ValueError
        If `axes` does not describe the pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from deconv.io import Picture
    >>> picture = Picture(np.zeros((4, 6, 3), np.uint16), "YXS")
    >>> picture.white, picture.colour
    (65535.0, True)
    """

    pixels: np.ndarray
    axes: str
    alpha: np.ndarray | None = None
    premultiplied: bool = False
    icc: bytes | None = None
    exif: bytes | None = None
    resolution: tuple[float, float, str] | None = None
    description: str | None = None
    kind: str | None = None

    def __post_init__(self) -> None:
        """Refuse axes that do not describe the pixels."""
        if len(self.axes) != self.pixels.ndim or self.axes.replace("S", "")[-2:] != "YX":
            raise ValueError(
                f"axes={self.axes!r} for pixels of shape {self.pixels.shape}; expected one letter "
                f"per axis that ends in YX, or YXS in colour"
            )
        if "S" in self.axes[:-1]:
            raise ValueError(f"axes={self.axes!r}; expected the colour samples S last")

    @property
    def white(self) -> float:
        """The value of white: the largest integer of the depth, 1 for floats."""
        dtype = self.pixels.dtype
        return float(np.iinfo(dtype).max) if dtype.kind in "iu" else 1.0

    @property
    def colour(self) -> bool:
        """Whether the last axis holds red, green and blue."""
        return self.axes.endswith("S") and self.pixels.shape[-1] == 3

    @property
    def samples(self) -> np.ndarray:
        """Grey or colour and then alpha, along one last axis."""
        pixels = self.pixels if self.axes.endswith("S") else self.pixels[..., None]
        if self.alpha is None:
            return pixels
        return np.concatenate([pixels, self.alpha[..., None]], axis=-1)


def to_linear(encoded: np.ndarray) -> np.ndarray:
    """Light in proportion to energy from sRGB values; both have white at 1 (IEC 61966-2-1).

    Negative values follow the curve's odd continuation, so that nothing is clipped.

    Parameters
    ----------
    encoded : ndarray
        Of any shape, white at 1.

    Returns
    -------
    ndarray
        Of the same shape.

    Examples
    --------
    >>> import numpy as np
    >>> from deconv.io import to_linear
    >>> to_linear(np.array([0.0, 0.5, 1.0])).round(3).tolist()
    [0.0, 0.214, 1.0]
    """
    size = np.abs(encoded)
    light = np.where(size <= 0.04045, size / 12.92, ((size + 0.055) / 1.055) ** 2.4)
    signed: np.ndarray = np.copysign(light, encoded).astype(encoded.dtype, copy=False)
    return signed


def from_linear(light: np.ndarray) -> np.ndarray:
    """The sRGB values that `to_linear` takes to `light`.

    Parameters
    ----------
    light : ndarray
        Of any shape, white at 1.

    Returns
    -------
    ndarray
        Of the same shape.

    Examples
    --------
    >>> import numpy as np
    >>> from deconv.io import from_linear, to_linear
    >>> from_linear(to_linear(np.array([-0.1, 0.02, 0.7]))).round(12).tolist()
    [-0.1, 0.02, 0.7]
    """
    size = np.abs(light)
    encoded = np.where(size <= 0.0031308, size * 12.92, 1.055 * size ** (1 / 2.4) - 0.055)
    signed: np.ndarray = np.copysign(encoded, light).astype(light.dtype, copy=False)
    return signed

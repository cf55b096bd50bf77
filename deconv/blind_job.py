"""One job for many photographs whose psf nobody knows: find it in each, then restore it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deconv import blind, io, psf
from deconv.arrays import choose
from deconv.batch import Job, in_linear_light, linear_sigma, working_image
from deconv.blind.estimators import ready
from deconv.operators import BOUNDARIES
from deconv.picture import DISPLAY_GAMMA, Picture

__all__ = ["BlindJob"]


@dataclass(frozen=True)
class BlindJob(Job):
    """A job that finds the psf of each picture in the picture itself.

    Attributes
    ----------
    prior, size, region
        As `deconv.blind.deblur` takes them.
    save_psf : Path or None
        Where the psf found goes, also where that is no blur: a file, or a folder that exists and
        holds none of the pictures, in which each psf has the name of its picture, as .png.
    overwrite : bool
        Whether a psf's file may be replaced.
    """

    estimated: bool = True

    prior: str = "auto"
    size: int | None = None
    region: tuple[slice, slice] | None = None
    save_psf: Path | None = None
    overwrite: bool = False

    def check(self) -> None:
        """Refuse what no picture could make right, before any file is opened."""
        choose(self.boundary, BOUNDARIES, "boundary")
        self.method.options(self.parameters, self.sigma)
        if not self.method.needs_psf:
            raise ValueError(
                f"--method {self.method.name} finds its own psf; expected one that takes it"
            )
        choose(self.prior, ("auto", *blind.PRIORS), "prior")
        ready(self.prior)
        if self.save_psf is not None and not self.save_psf.is_dir():
            if not self.save_psf.suffix:
                raise FileNotFoundError(f"the folder {self.save_psf} for psfs does not exist")
            psf.check_file(self.save_psf, self.overwrite)

    def find(
        self, picture: Picture, callback: Callable[[Any], Any] | None = None
    ) -> blind.Estimate:
        """The psf of a picture, and what there is to say of it."""
        linear = in_linear_light(picture) if self.linear is None else self.linear
        image = working_image(picture, linear)
        sigma = self.sigma
        if linear and sigma is not None:
            sigma = linear_sigma(image, sigma / picture.white)
        return blind.estimate(
            image,
            self.size,
            prior=self.prior,
            sigma=sigma,
            region=self.region,
            gamma=DISPLAY_GAMMA if linear else 1.0,
            channel_axis=None if image.ndim == 2 else 0,
            callback=callback,
        )

    def process(
        self, source: Path, target: Path, callback: Callable[[Any], Any] | None = None
    ) -> None:
        """Find the psf, restore the picture if it is blurred, and write both, if asked to."""
        place = self._psf_place(source, target)
        picture = io.read(source)
        found = self.find(picture, callback)
        if self.say is not None:
            size = " x ".join(map(str, found.psf.shape))
            what = f"{found.prior} found a psf of {size} px; " if found.blurred else ""
            self.say(f"{source.name}: {what}{found.message}")
        pixels = picture.pixels
        if found.blurred:
            pixels = self.restore(picture, callback, found.psf)
        if place is not None:
            psf.to_file(found.psf, place)
        io.write(target, pixels, like=picture, depth=self.depth)

    def _psf_place(self, source: Path, target: Path) -> Path | None:
        """The psf's file, which takes the place of no picture, nor of what is there already."""
        place = self.save_psf
        if place is None:
            return None
        pictures = [source.resolve(), target.resolve()]
        if place.is_dir():
            if place.resolve() in [picture.parent for picture in pictures]:
                raise ValueError(
                    f"{place} holds pictures, whose names the psfs would take; pass another folder"
                )
            place = place / f"{source.stem}.png"
        if place.resolve() in pictures:
            raise ValueError(f"{place} is a picture; pass another file for the psf")
        psf.check_file(place, self.overwrite)
        return place

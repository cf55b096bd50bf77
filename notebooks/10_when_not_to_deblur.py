# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 10 When not to deblur
#
# **Every method of this library always returns a picture. When is the blurred one the better one
# to keep?**
#
# Five cases: nothing is blurred; there is nothing but noise; the blur left no trace of the detail;
# the picture is a measurement; and the result is sharper than the data can know.

# %%
import matplotlib.pyplot as plt
import numpy as np
from scipy.signal import fftconvolve
from skimage import data, transform

import deconv
from deconv import blind
from deconv.metrics import psnr
from unrolled import HQSNet
from unrolled.sharpness import rank

plt.rcParams.update({"figure.dpi": 110, "font.size": 9, "image.cmap": "gray"})
net = HQSNet.from_pretrained("hqs-gray")


def show(pictures, width=2.4, low=0.0, high=1.0):
    """Pictures under their titles, in a row."""
    size = (len(pictures) * width, width + 0.3)
    _, axes = plt.subplots(1, len(pictures), figsize=size, layout="constrained")
    for axis, (title, picture) in zip(axes, pictures.items(), strict=True):
        axis.imshow(picture, vmin=low, vmax=high, interpolation="nearest")
        axis.set_title(title)
        axis.set_axis_off()
    plt.show()


# %% [markdown]
# ## 1. Nothing is blurred
#
# Ask first. `deconv sharpness FOLDER` on the command line, or `unrolled.sharpness.rank` in Python,
# gives each picture a score by a small trained classifier (after Li et al. 2018): well below 0 is
# sharp, above 0 blurred.

# %%
sharp = transform.downscale_local_mean(data.camera() / 255, (2, 2))
soft = {f"blurred, sigma {s:g}": deconv.psf.gaussian(s) for s in (0.5, 1, 2)}
candidates = {"sharp": sharp} | {
    name: fftconvolve(np.pad(sharp, 8, "reflect"), k, mode="same")[8:-8, 8:-8]
    for name, k in soft.items()
}
for found in rank(candidates):
    print(f"{found.score:+.2f}  probability of blur {found.probability:.2f}  {found.name}")

# %% [markdown]
# The order is right. The score is a mean over three sizes of the picture, so a blur of a pixel,
# which shows at the full size only, is still below 0; the probability is of the full size alone.
# Both are a classifier's opinion. `deconv.blind` has an opinion of its own: it compares the best
# psf that it finds with a single pixel, and leaves the picture as it is where that explains it
# about as well (notebook 06).

# %%
answer = blind.deblur(sharp)
print(answer.message)
print("returned unchanged:", np.array_equal(answer.image, sharp))

# %% [markdown]
# And what does it cost to deblur "to be on the safe side", with a psf for a blur that is not
# there?

# %%
for name, k in soft.items():
    row = {
        "wiener": deconv.wiener(sharp, k),
        "tv": deconv.tv(sharp, k),
        "hqs": net.restore(sharp, k),
    }
    print(f"{name:18s}", {m: f"{psnr(sharp, x, data_range=1):.1f} dB" for m, x in row.items()})
show(
    {
        "sharp": sharp[40:140, 90:190],
        "tv, psf of sigma 1": deconv.tv(sharp, soft["blurred, sigma 1"])[40:140, 90:190],
        "tv, psf of sigma 2": deconv.tv(sharp, soft["blurred, sigma 2"])[40:140, 90:190],
    }
)

# %% [markdown]
# **What to see.** Black and white halos beside every edge, worse the wider the psf. A psf of half
# a pixel does the least harm; one of one pixel or two turns a good picture into a bad one, with
# every method. The PSNR above is against the picture that was given, which nothing was wrong with.
#
# ## 2. Nothing but noise
#
# A deconvolution divides by the otf. Noise has energy at all frequencies, so where the otf is
# small the result is amplified noise, filtered into a texture that looks like something.

# %%
rng = np.random.default_rng(0)
nothing = 0.5 + rng.normal(0, 0.05, (128, 128))
shake = deconv.psf.trajectory(21, shakiness=0.2, rng=2)
pictures = {
    "noise": nothing,
    "wiener, noise found": deconv.wiener(nothing, shake),
    "wiener, told a tenth": deconv.wiener(nothing, shake, noise=0.005),
    "hqs, noise found": net.restore(nothing, shake),
    "hqs, told a tenth": net.restore(nothing, shake, sigma=0.005),
}
show(pictures, width=2.0, low=0.2, high=0.8)
for name, picture in pictures.items():
    print(f"{name:20s} standard deviation {picture.std():.3f}")
try:
    print(blind.deblur(nothing).message)
except ValueError as error:
    print("refused:", error)

# %% [markdown]
# **What to see.** Where the noise is found from the data, the answer is right or nearly so: a grey
# area, in which the network leaves a few faint strokes that nothing calls for. Told that only a
# tenth of it is noise, both methods must explain the rest as a scene, and they make one up whose
# contrast is five times that of what was given, or more. A blind search finds no psf either, as it
# should.
#
# ## 3. The detail left no trace
#
# A camera that moves evenly by 9 pixels averages 9 neighbours. The otf of that is
#
# $$K(f) = \frac{\sin 9 \pi f}{9 \sin \pi f},$$
#
# which is exactly 0 at $f = 1/9$ (notebook 01). So a pattern with a period of 9 pixels vanishes
# without trace.

# %%
box = np.full((1, 9), 1 / 9)
scene = data.camera()[60:204, 150:294] / 255
grating = 0.1 * np.cos(2 * np.pi * np.arange(scene.shape[1]) / 9)
first, second = (fftconvolve(x, box, mode="valid") for x in (scene, scene + grating))
print(f"largest difference of the two blurred pictures: {np.abs(first - second).max():.1e}")
seen = deconv.noise.simulate(first, sigma=0.005, rng=0)
frame = np.s_[:, 4:-4]
show(
    {
        "scene one": scene[frame],
        "scene two": (scene + grating)[frame],
        "both, blurred": seen,
        "hqs of that": net.restore(seen, box),
    }
)

# %% [markdown]
# **What to see.** Two scenes, one photograph. Any method gives the same answer for both, so for
# one of them it must be wrong, by the full grating. The network's answer has no stripes because
# photographs seldom do. If the question is whether a fabric was striped, this picture cannot
# answer it, however sharp it is made.
#
# ## 4. The picture is a measurement
#
# Stars through a Gaussian psf, photons counted over a bright sky. How bright is each? Fitting the
# known psf to the raw counts is a linear estimate, unbiased whatever the brightness, with the
# least variance that a linear one can have where the sky outshines the star:
#
# $$\hat F = \frac{\sum k\,(y - b)}{\sum k^2}.$$
#
# Against it: restore, then add up the light around each star.

# %%
psf = deconv.psf.gaussian(2.0)
radius = psf.shape[0] // 2
sky, pitch, number = 100.0, 24, 8
centres = pitch // 2 + pitch * np.arange(number)


def aperture(picture, reach):
    """Sum within a square around each star, the sky taken off."""
    at = np.arange(-reach, reach + 1)
    parts = picture[np.add.outer(centres, at)][:, :, np.add.outer(centres, at)]
    return (parts - sky).sum(axis=(1, 3)).ravel()


def fitted(counts):
    """Brightness of each star by the psf fitted to the counts."""
    at = np.arange(-radius, radius + 1)
    parts = counts[np.add.outer(centres, at)][:, :, np.add.outer(centres, at)]
    return ((parts - sky) * psf[:, None]).sum(axis=(1, 3)).ravel() / (psf**2).sum()


fluxes = np.array([100, 200, 500, 1000, 3000, 10000])
names = ["fit to the counts", "richardson_lucy", "tv"]
ratio = np.zeros((len(fluxes), len(names), number**2))
for i, flux in enumerate(fluxes):
    field = np.zeros((pitch * number, pitch * number))
    field[np.ix_(centres, centres)] = flux
    light = fftconvolve(field, psf, mode="same") + sky
    counts = np.random.default_rng(i).poisson(np.maximum(light, 0)).astype(float)
    lucy = deconv.richardson_lucy(counts, psf, gain=1.0, background=sky, n_iter=40)
    flat = deconv.tv(counts, psf, gain=1.0, sigma=0.0)
    estimates = fitted(counts), aperture(lucy + sky, 4), aperture(flat, 4)
    ratio[i] = np.stack(estimates) / flux

figure, axes = plt.subplots(1, 2, figsize=(8.4, 3), layout="constrained")
for j, name in enumerate(names):
    error = ratio[:, j].std(axis=1) / number
    axes[0].errorbar(fluxes, ratio[:, j].mean(axis=1), error, fmt="o-", capsize=3, label=name)
    axes[1].loglog(fluxes, ratio[:, j].std(axis=1), "o-", label=name)
axes[0].axhline(1, color="0.7", linewidth=1, zorder=0)
axes[0].set(xlabel="true photons", xscale="log", ylabel="measured / true, mean of 64", title="bias")
axes[1].set(xlabel="true photons", ylabel="standard deviation / true", title="scatter")
axes[1].legend()
plt.show()
for title, table in {"mean": ratio.mean(axis=2), "scatter": ratio.std(axis=2)}.items():
    print(f"{title:18s}", " ".join(f"{flux:6d}" for flux in fluxes))
    for j, name in enumerate(names):
        print(f"  {name:16s}", " ".join(f"{value:6.2f}" for value in table[:, j]))

# %% [markdown]
# **What to see.** The bars are the standard error of each mean. The fit is right at every
# brightness, as far as 64 stars can tell. The restorations are not. Richardson-Lucy keeps its
# picture positive, so noise of the sky can add light to a star's surroundings and hardly take any
# away; stars of some hundred photons come out too bright by up to a fifth. `tv` errs in both
# directions. Both errors depend on the brightness, so they do not even cancel in the ratio of two
# stars. And there is nothing to show for it: the scatter is about that of the fit, or larger.
#
# Restoration finds the stars, shows which are double, and makes the picture for the press. The
# numbers come from the counts, with the blur in the model.
#
# ## 5. Sharper than the data
#
# The frequencies that a blur leaves above the noise are known; those below it are the prior's
# opinion. Compare restorations with the truth frequency by frequency: how much energy is there,
# and how much of it is *right*, as the correlation of the spectra in rings (the Fourier ring
# correlation of Saxton and Baumeister 1982).

# %%
page = data.page()[:180, 60:300] / 255
heavy = deconv.psf.gaussian(2.5)
margin = heavy.shape[0] // 2
truth = page[margin:-margin, margin:-margin]
noises = [
    deconv.noise.simulate(fftconvolve(page, heavy, mode="valid"), sigma=0.01, rng=seed)
    for seed in (0, 1)
]
results = {
    "observed": noises[0],
    "wiener": deconv.wiener(noises[0], heavy),
    "hqs": net.restore(noises[0], heavy),
    "hqs, other noise": net.restore(noises[1], heavy),
    "truth": truth,
}
show({name: x[20:110, 20:130] for name, x in results.items()}, width=2.1, low=0.2, high=0.9)

# %%


def rings(x, count=24):
    """Ring of each frequency of the spectrum, faded out at the frame, and the spectrum."""
    window = np.outer(*(np.hanning(n) for n in x.shape))
    away = np.hypot(np.fft.fftfreq(x.shape[0])[:, None], np.fft.rfftfreq(x.shape[1]))
    return (away * 2 * count).astype(int), np.fft.rfft2((x - x.mean()) * window)


def per_ring(values, ring, count=24):
    """Sum over each ring."""
    return np.bincount(ring.ravel(), values.ravel(), minlength=count)[:count]


ring, true = rings(truth)
f = (np.arange(24) + 0.5) / 48
figure, axes = plt.subplots(1, 2, figsize=(8.4, 3), layout="constrained")
for name in ("observed", "wiener", "hqs"):
    _, mine = rings(results[name])
    power, known = per_ring(np.abs(mine) ** 2, ring), per_ring(np.abs(true) ** 2, ring)
    right = per_ring(np.real(mine * np.conj(true)), ring) / np.sqrt(power * known)
    axes[0].semilogy(f, power / known, label=name)
    axes[1].plot(f, right, label=name)
axes[0].axhline(1, color="0.7", linewidth=1, zorder=0)
axes[0].set(xlabel="cycles per pixel", title="energy / true energy", ylim=(1e-4, 10))
axes[1].set(xlabel="cycles per pixel", title="correlation with the truth", ylim=(-0.3, 1.05))
axes[1].legend()
plt.show()

again = fftconvolve(results["hqs"], heavy, mode="valid")
inner = np.s_[margin:-margin, margin:-margin]
print(
    f"noise 0.0100; what the hqs result leaves unexplained: {(again - noises[0][inner]).std():.4f}"
)

# %% [markdown]
# **What to see.** Up to about 0.1 cycles per pixel everything is right, and both restorations
# bring the energy back that the blur took. Above 0.2 the correlation with the truth is gone, up to
# chance. There `wiener` leaves nothing and looks soft, which is honest. The network fills in some
# energy: its strokes have edges as crisp as print, and they are the edges of letters that were
# never printed.
#
# Nothing in the data objects. Blurred again, the result differs from the observation by just the
# noise. And the second exposure, with other noise, gives almost the same false letters: they come
# from the blurred shapes and the prior, and not from the noise.
#
# ## A list to go through
#
# 1. Is it blurred? Ask the score, and the spectrum.
# 2. Is there a signal? A method must be able to answer "grey".
# 3. Does the otf reach the frequency that the question is about?
# 4. Is the picture a measurement? Then fit the model to the raw data, blur included.
# 5. Would another exposure give another detail? What differs between two is noise. What agrees may
#    still be the prior's own.
#
# ## Exercises
#
# **1. Two exposures.** One motion of 9 pixels has zeros. Take two photographs, with motions of 9
# and of 7 pixels along the same direction, and restore scene two of section 3 from both: minimise
# $\lVert k_1 * x - y_1 \rVert^2 + \lVert k_2 * x - y_2 \rVert^2 + \varepsilon \lVert x \rVert^2$
# in Fourier space, with periodic blur. Does the grating come back?
#
# <details><summary>Solution</summary>
#
# ```python
# target = scene + grating
# over, under = 0, 1e-3
# for n in (9, 7):
#     A = deconv.Blur(np.full((1, n), 1 / n), target.shape, boundary="periodic")
#     seen_n = A(target) + np.random.default_rng(n).normal(0, 0.005, target.shape)
#     otf = np.fft.rfft2(np.fft.ifftshift(deconv.psf.pad(np.full((1, n), 1 / n), target.shape)))
#     over, under = over + np.conj(otf) * np.fft.rfft2(seen_n), under + np.abs(otf) ** 2
# both = np.fft.irfft2(over / under, s=target.shape)
# show({"from both": both, "scene two": target})
# print(round(psnr(target, both, data_range=1), 1), "dB")
# ```
#
# The zeros of the two lie at different frequencies, so no frequency is lost to both. This is the
# idea of the coded shutter (Raskar, Agrawal and Tumblin 2006).
# </details>
#
# **2. Fit after all.** In section 4, use the *restored* picture of Richardson-Lucy only to find
# where the stars are (its 64 strongest peaks, at 1,000 photons), and measure on the counts. What
# is restoration good for here?
#
# <details><summary>Solution</summary>
#
# ```python
# from skimage.feature import peak_local_max
#
# field = np.zeros((pitch * number, pitch * number))
# field[np.ix_(centres, centres)] = 1000
# light = fftconvolve(field, psf, mode="same") + sky
# counts = np.random.default_rng(9).poisson(np.maximum(light, 0)).astype(float)
# lucy = deconv.richardson_lucy(counts, psf, gain=1.0, background=sky, n_iter=40)
# peaks = peak_local_max(lucy, min_distance=4, num_peaks=64)
# away = np.abs(peaks % pitch - pitch // 2).max(axis=1)
# print((away <= 1).sum(), "of 64 peaks within a pixel of a star")
# print("mean of the fit", round(fitted(counts).mean()))
# ```
#
# For finding, not for measuring.
# </details>
#
# **3. Agreement.** Restore `noises[0]` and `noises[1]` of section 5 with `hqs`, and map where the
# two differ. Is the difference a good map of where the result is wrong?
#
# <details><summary>Solution</summary>
#
# ```python
# one, two = results["hqs"], results["hqs, other noise"]
# apart, off = np.abs(one - two), np.abs(one - truth)
# show({"between the two": apart, "from the truth": off}, high=0.3)
# print("correlation", round(np.corrcoef(apart.ravel(), off.ravel())[0, 1], 2))
# print("rms", round(apart.std(), 3), "against", round(off.std(), 3))
# ```
#
# Only in part. Two runs differ where noise decides. Where the prior decides, they agree, and may
# be wrong together.
# </details>
#
# ## Sources
#
# - Li et al. (2018), "Learning a discriminative prior for blind image deblurring", CVPR: a
#   classifier of blurred and sharp pictures.
# - Stetson (1987), "DAOPHOT: a computer program for crowded-field stellar photometry", PASP 99:
#   brightness by fitting the psf to the counts.
# - Saxton and Baumeister (1982), J. Microscopy 127; van Heel and Schatz (2005), J. Struct. Biol.
#   151: Fourier ring correlation.
# - Raskar, Agrawal and Tumblin (2006), "Coded exposure photography", ACM Trans. Graph. 25: zeros
#   of the otf, and how to avoid them.

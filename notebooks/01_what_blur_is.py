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
# # 01 What blur is
#
# **A photograph is out of focus. Is its detail gone, or only hidden?**
#
# The answer differs from one spatial frequency to the next. Some detail is gone, most of it is only
# faint, and which is which can be read from the blur before any picture is restored. This notebook
# builds the three notions that all the others rest on: the *psf*, the *otf*, and *conditioning*.
#
# You need Fourier transforms, Python and NumPy. The pictures ship with scikit-image.

# %%
import matplotlib.pyplot as plt
import numpy as np
import scipy.ndimage
from scipy.special import j1
from skimage import data

import deconv

plt.rcParams.update(
    {"figure.dpi": 110, "image.cmap": "gray", "figure.constrained_layout.use": True}
)


def show(pictures, width=2.7, white=1.0, black=0.0):
    """Draw pictures in one row, each under its title, on one scale of grey."""
    _, axes = plt.subplots(1, len(pictures), figsize=(width * len(pictures), width + 0.3))
    for ax, (title, picture) in zip(np.atleast_1d(axes), pictures.items(), strict=True):
        ax.imshow(picture, vmin=black, vmax=white, interpolation="nearest")
        ax.set_title(title, fontsize=10)
        ax.set_axis_off()
    plt.show()


scene = data.camera()[80:336, 120:376] / 255
print(f"the scene: {scene.shape} pixels on a scale from {scene.min():.2f} to {scene.max():.2f}")

# %% [markdown]
# ## 1. The psf: what becomes of a point
#
# A blur that is the same everywhere is a convolution. Each point of the scene $x$ is spread over
# its neighbours by the same pattern $k$, the **point spread function** (psf), and the sensor adds
# up:
#
# $$ y(n) = \sum_m k(m)\, x(n - m) + \text{noise}. $$
#
# The psf of a passive blur is nowhere negative and sums to 1: light is moved about, and none is
# made or lost. Here are four causes of blur. The library's convention is that the centre of a psf
# is its pixel `size // 2` along each axis.

# %%
psfs = {
    "Gaussian": deconv.psf.gaussian(2.0),
    "defocus": deconv.psf.defocus(5.0),
    "motion": deconv.psf.motion(15, angle=30),
    "camera shake": deconv.psf.trajectory(21, rng=12),
}
for name, k in psfs.items():
    print(f"{name:13} {k.shape[0]:2} x {k.shape[1]:2} pixels, sum {k.sum():.3f}")

shown = {name: deconv.psf.pad(k, 25) / k.max() for name, k in psfs.items()}
show(shown, white=1)

# %% [markdown]
# The four psfs, each with its brightest pixel white, in a window of 25 by 25 pixels. The Gaussian
# is what many small disturbances add up to. A lens out of focus spreads a point over a disk, an
# even motion over a line, and a shaking hand over a curve.
#
# `deconv.Blur` is the convolution as an operator. In this notebook the scene is continued
# periodically beyond its frame, so that nothing but the blur itself is at work; notebook 05 is
# about real borders.

# %%
blurs = {name: deconv.Blur(k, scene.shape, boundary="periodic") for name, k in psfs.items()}
blurred = {name: A(scene) for name, A in blurs.items()}
show({"scene": scene, **blurred}, width=2.1)

# %% [markdown]
# The same scene under the four blurs. Motion leaves the edges along its direction sharp. The
# Gaussian and the defocus look much alike at this size; what they kept is not alike at all, as will
# be seen. Near the frame's border the opposite side of the scene comes in, which is the price of
# periodicity.
#
# Two checks. A single point comes out as the psf, and the operator agrees with a direct sum.

# %%
point = np.zeros(scene.shape)
point[128, 128] = 1
k, A = psfs["camera shake"], blurs["camera shake"]
spread = A(point)[128 - 10 : 128 + 11, 128 - 10 : 128 + 11]
direct = scipy.ndimage.convolve(scene, k, mode="wrap")
print(f"a point against the psf:     largest difference {np.abs(spread - k).max():.0e}")
print(f"the FFT against a plain sum: largest difference {np.abs(A(scene) - direct).max():.0e}")

# %% [markdown]
# ## 2. The otf: a blur does not mix frequencies
#
# The Fourier transform turns the convolution into a product,
#
# $$ \hat y(f) = \hat k(f)\, \hat x(f). $$
#
# The factor $\hat k$ is the **optical transfer function** (otf): by how much each frequency $f$, in
# cycles per pixel, is damped and shifted. At $f = 0$ it is 1, since the psf sums to 1. The three
# simple blurs have textbook formulas (Goodman, *Introduction to Fourier Optics*, chapter 6, for the
# ideal lens out of focus; the others are exercises in integration). Below, $\operatorname{sinc}(t)
# = \sin(\pi t)/(\pi t)$, and its factor in $f$ is the width of a pixel.
#
# | blur | otf along the horizontal frequency axis |
# |---|---|
# | Gaussian, standard deviation $\sigma$ | $\exp(-2\pi^2\sigma^2 f^2)\,\operatorname{sinc}(f)$ |
# | defocus, radius $r$ | $\dfrac{2 J_1(2\pi r f)}{2\pi r f}\,\operatorname{sinc}(f)$ |
# | motion of length $L$ along the axis | $\operatorname{sinc}(L f)$ |

# %%
f = np.linspace(1e-6, 0.5, 500)
formulas = {
    "Gaussian": np.exp(-2 * np.pi**2 * 2.0**2 * f**2) * np.sinc(f),
    "defocus": j1(2 * np.pi * 5 * f) / (np.pi * 5 * f) * np.sinc(f),
    "motion": np.sinc(15 * f),
}
along = {**psfs, "motion": deconv.psf.motion(15)}
fig, axes = plt.subplots(1, 3, figsize=(10, 2.9), sharey=True)
for ax, (name, curve) in zip(axes, formulas.items(), strict=True):
    A = deconv.Blur(along[name], scene.shape, boundary="periodic")
    row = A.otf[0].real
    ax.plot(np.arange(row.size) / scene.shape[1], row, ".", color="C0", ms=5, label="of the array")
    ax.plot(f, curve, color="black", lw=1, label="formula")
    ax.axhline(0, color="0.7", lw=0.8, zorder=0)
    ax.set(title=name, xlabel="frequency (cycles per pixel)")
axes[0].set_ylabel("otf")
axes[0].legend()
plt.show()

# %% [markdown]
# Dots: the otf of the array that the library makes. Line: the formula. They agree, up to aliasing
# near 0.5 cycles per pixel, where the sampled psf can no longer follow. Look at the sign. The
# Gaussian falls towards 0 and stays there. Defocus and motion cross 0 again and again: between the
# first and the second zero the otf is negative, so light and dark are swapped. That is the false
# resolution one sees when a grating goes out of focus.

# %%
fig, axes = plt.subplots(1, 4, figsize=(10, 3.0), sharex=True, sharey=True)
for ax, (name, k) in zip(axes, psfs.items(), strict=True):
    whole = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(deconv.psf.pad(k, scene.shape))))
    drawn = ax.imshow(
        np.log10(np.abs(whole)), vmin=-4, vmax=0, cmap="magma", extent=(-0.5, 0.5, 0.5, -0.5)
    )
    ax.set(
        title=name, xlabel="horizontal frequency", xticks=(-0.25, 0, 0.25), yticks=(-0.25, 0, 0.25)
    )
axes[0].set_ylabel("vertical frequency")
fig.colorbar(drawn, ax=axes, label="log10 |otf|", shrink=0.8)
plt.show()

# %% [markdown]
# The modulus of the four otfs over both frequency axes, on a logarithmic scale that ends at one
# part in ten thousand. Dark rings and dark stripes are zeros: what the scene had there is gone,
# whatever one does. The Gaussian has no zeros, yet beyond a circle it is below the end of the
# scale. Everywhere else the detail is only damped.

# %% [markdown]
# ## 3. Conditioning: what undoing the blur does to noise
#
# Undoing the blur divides by $\hat k$. Whatever was added after the blur is divided too:
#
# $$ \frac{\hat y}{\hat k} = \hat x + \frac{\hat n}{\hat k}. $$
#
# A sum of sines is an orthogonal basis, so $|\hat k|$ sorted by size are the **singular values** of
# the blur. Their largest is 1. The smallest says how much the worst direction of the noise is
# amplified, and the ratio of the two is the condition number (Hansen, *Rank-Deficient and Discrete
# Ill-Posed Problems*, chapter 1).

# %%
values = {name: np.sort(np.abs(np.fft.fft2(A(point))).ravel())[::-1] for name, A in blurs.items()}
print("share of frequencies that keep at least   10 %    1 %  0.1 %   condition number")
for name, v in values.items():
    kept = [100 * np.mean(v >= level) for level in (0.1, 0.01, 0.001)]
    print(f"{name:38}" + "".join(f"{share:5.0f} %" for share in kept) + f"{1 / v[-1]:15.0e}")

fig, ax = plt.subplots(figsize=(7, 3.2))
for name, v in values.items():
    ax.semilogy(np.arange(v.size) / v.size, v, label=name)
ax.axhline(0.01, color="0.5", lw=0.8, ls="--")
ax.set(xlim=(0, 1), ylim=(1e-8, 2), xlabel="share of all frequencies", ylabel="singular value")
ax.legend()
plt.show()

# %% [markdown]
# The singular values of the four blurs, from the largest to the smallest. The dashed line is a
# hundredth. To the right of where a curve crosses it, detail is damped more than a hundredfold. The
# Gaussian falls without end, and most of its frequencies are damped more than that. Defocus keeps
# about two thirds above the line, motion and shake nearly all; these three dip only at the very
# end, where the few frequencies near the zeros are. The condition number sees nothing but that last
# point, which is why it is a poor guide: it calls blurs hopeless of which all but a few frequencies
# can be had back.
#
# ### Which frequencies stand above the noise
#
# What counts is the size of the blurred scene's spectrum against the noise's. A natural scene has
# little power at high frequencies to begin with. White noise has the same power at all of them.


# %%
def radial(power, bins=60):
    """Mean of a 2-D power spectrum over rings of frequency."""
    fy, fx = np.meshgrid(*map(np.fft.fftfreq, power.shape), indexing="ij")
    ring = np.minimum((np.hypot(fy, fx) * 2 * bins).astype(int), bins)
    mean = np.bincount(ring.ravel(), power.ravel()) / np.bincount(ring.ravel())
    return (np.arange(bins) + 0.5) / (2 * bins), mean[:bins]


sigma = 0.01
window = np.outer(*[np.hanning(n) for n in scene.shape])


def spectrum(picture):
    """Power per pixel; the window keeps the jump at the frame's border out of it."""
    return np.abs(np.fft.fft2((picture - picture.mean()) * window)) ** 2 / np.sum(window**2)


fig, ax = plt.subplots(figsize=(7, 3.4))
for name, picture in {"scene": scene, **blurred}.items():
    ring, power = radial(spectrum(picture))
    ax.semilogy(ring, power, color="black" if name == "scene" else None, label=name)
ax.axhline(sigma**2, color="0.5", ls="--", lw=1, label="noise of 1 %")
ax.set(xlim=(0, 0.5), ylim=(1e-8, 30), xlabel="frequency (cycles per pixel)", ylabel="power")
ax.legend(ncols=2)
plt.show()
for name, picture in blurred.items():
    ring, power = radial(spectrum(picture))
    print(
        f"{name:13} above the noise up to {ring[np.argmax(power < sigma**2)]:.2f} cycles per pixel"
    )

# %% [markdown]
# Power over frequency, the mean over all directions. To the left of where a blurred spectrum meets
# the dashed line the detail is *hidden* and can be brought back. To the right it is *gone*: at that
# noise the picture does not hold it. The crossing moves to the right with less noise, but slowly
# for the Gaussian, since its curve is so steep. Defocus first meets the line at its first zero and
# comes back above it beyond: between its zeros some detail is still to be had.
#
# ## 4. The plain inverse
#
# Division by the otf, on three versions of the picture out of focus: as computed, rounded to the
# 256 levels of a file, and with noise of 1 %.


# %%
def inverse_filter(y, A):
    """Division by the otf."""
    return A.image(A.transform(y) / A.otf)


A, y = blurs["defocus"], blurred["defocus"]
versions = {
    "as computed": y,
    "rounded to 8 bits": np.round(y * 255) / 255,
    "noise of 1 %": deconv.noise.simulate(y, sigma=sigma, rng=0),
}
inverses = {title: inverse_filter(version, A) for title, version in versions.items()}
for title in versions:
    before = deconv.metrics.psnr(scene, versions[title], data_range=1)
    after = deconv.metrics.psnr(scene, inverses[title], data_range=1)
    print(f"{title:18} blurred {before:5.1f} dB, inverse filter {after:6.1f} dB")
show(inverses, width=2.5)

# %% [markdown]
# The inverse filter's pictures. From the blurred picture as computed, the scene comes back to
# rounding: at these frequencies the otf has no exact zeros, so nothing was lost. Rounding to 8
# bits, which no eye can see, is enough to bury it. With noise of 1 % the result is worse again, and
# in both cases far worse than the blurred picture. Yet section 3 says up to which frequency the
# scene stands above that noise, and a good picture could be made of what lies below. The inverse
# filter fails because it believes all frequencies alike. Notebook 02 weighs them.

# %% [markdown]
# ## Exercises
#
# **1. A poor guide.** Compute the condition numbers of defocus with radius 4.8, 5.0, 5.2, 5.4, and
# the share of frequencies that keep at least 5 %. Which of the two numbers tells you how well a
# picture can be restored?
#
# <details><summary>Solution</summary>
#
# ```python
# for radius in (4.8, 5.0, 5.2, 5.4):
#     A = deconv.Blur(deconv.psf.defocus(radius), scene.shape, boundary="periodic")
#     v = np.abs(np.fft.fft2(A(point)))
#     print(radius, f"condition {v.max() / v.min():.1e}, kept {100 * np.mean(v >= 0.05):.0f} %")
# ```
#
# The condition number jumps about by large factors, since it depends on how near a zero ring of the
# otf happens to pass to a point of the frequency grid. The share falls smoothly with the radius, as
# the difficulty does.
# </details>
#
# **2. Two exposures.** A camera takes the scene twice, moved along 0 degrees and along 90 degrees
# (length 15 both times). The best linear combination of the two is limited by $|\hat k_1|^2 + |\hat
# k_2|^2$. How many frequencies keep at least 1 % in each exposure, and in both together?
#
# <details><summary>Solution</summary>
#
# ```python
# squares = []
# for angle in (0, 90):
#     A = deconv.Blur(deconv.psf.motion(15, angle), scene.shape, boundary="periodic")
#     squares.append(np.abs(np.fft.fft2(A(point))) ** 2)
# for power in (*squares, sum(squares)):
#     print(f"{100 * np.mean(np.sqrt(power) >= 0.01):.1f} % of the frequencies, "
#           f"smallest singular value {np.sqrt(power.min()):.1e}")
# ```
#
# The zeros of one are stripes along one axis, those of the other along the other axis. Together
# only their crossings are left. This is why a burst of differently blurred pictures is worth more
# than its number of photons.
# </details>
#
# **3. A shutter that flutters.** Raskar, Agrawal and Tumblin (*Coded exposure photography*, ACM
# Trans. Graph. 25, 2006) open and close the shutter in a pseudo-random pattern while the object
# moves. Compare the smallest singular value of a line of 13 pixels with that of the best of 2000
# random binary codes of length 26 that have 13 ones.
#
# <details><summary>Solution</summary>
#
# ```python
# rng = np.random.default_rng(0)
# n = 256
#
# def worst(code):
#     return np.abs(np.fft.rfft(code / code.sum(), n)).min()
#
# codes = [rng.permutation(np.repeat((0.0, 1.0), 13)) for _ in range(2000)]
# best = max(codes, key=worst)
# print(f"open all the time: {worst(np.ones(13)):.4f}")
# print(f"best code:         {worst(best):.4f}  {''.join(str(int(c)) for c in best)}")
# ```
#
# Both let in the same light. The code smears it over twice the length, which looks worse, and keeps
# every frequency, which is better: blur that can be undone need not be small.
# </details>
#
# ## Sources
#
# - J. W. Goodman, *Introduction to Fourier Optics*, chapter 6: the otf, and that of a lens out of
#   focus.
# - P. C. Hansen, *Rank-Deficient and Discrete Ill-Posed Problems*, SIAM 1998: singular values, and
#   the comparison of a spectrum with its noise (the Picard plot).
# - G. Boracchi and A. Foi, *Modeling the performance of image restoration from motion blur*, IEEE
#   Trans. Image Process. 21, 2012: the random camera shake.
# - R. Raskar, A. Agrawal and J. Tumblin, *Coded exposure photography*, ACM Trans. Graph. 25, 2006.

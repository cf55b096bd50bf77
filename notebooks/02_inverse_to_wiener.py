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
# # 02 From the inverse filter to Wiener
#
# **How far should each frequency be trusted, and can the picture itself say so?**
#
# Notebook 01 ended with a failure: division by the otf buries the scene in noise. Here the division
# is tempered, first by hand, then by the filter that has the least mean squared error, and at last
# with its one weight found from the blurred picture alone.

# %%
import matplotlib.pyplot as plt
import numpy as np
from skimage import data

import deconv

plt.rcParams.update(
    {"figure.dpi": 110, "image.cmap": "gray", "figure.constrained_layout.use": True}
)


def show(pictures, width=2.5, white=1.0, black=0.0):
    """Draw pictures in one row, each under its title, on one scale of grey."""
    _, axes = plt.subplots(1, len(pictures), figsize=(width * len(pictures), width + 0.3))
    for ax, (title, picture) in zip(np.atleast_1d(axes), pictures.items(), strict=True):
        ax.imshow(picture, vmin=black, vmax=white, interpolation="nearest")
        ax.set_title(title, fontsize=10)
        ax.set_axis_off()
    plt.show()


def psnr(picture):
    """Peak signal-to-noise ratio in dB, on a scale where white is 1."""
    return deconv.metrics.psnr(scene, picture, data_range=1)


scene = data.camera()[80:336, 120:376] / 255
psf = deconv.psf.defocus(4.0)
A = deconv.Blur(psf, scene.shape, boundary="periodic")
sigma = 0.01
y = deconv.noise.simulate(A(scene), sigma=sigma, rng=0)
print(f"blurred by a disk of radius 4, noise of {sigma:.0%}: {psnr(y):.2f} dB")

# %% [markdown]
# The border is periodic here, so that all formulas are exact (`boundary="periodic"`); notebook 05
# is about real frames. `A.otf` is the otf $\hat k$ on the half of the frequencies that a real
# picture needs, `A.transform` and `A.image` lead there and back.
#
# ## 1. A cut
#
# The crudest remedy keeps the frequencies with $|\hat k| > t$ and sets the others to zero
# (truncated singular values: Hansen 1998, chapter 3).


# %%
def cut(y, t):
    """The inverse filter where the otf is above `t`, zero elsewhere."""
    kept = np.abs(A.otf) > t
    return A.image(np.where(kept, A.transform(y) / np.where(kept, A.otf, 1), 0))


thresholds = np.geomspace(0.003, 0.5, 24)
scores = [psnr(cut(y, t)) for t in thresholds]
best = thresholds[np.argmax(scores)]
print(f"best threshold {best:.3f}: {max(scores):.2f} dB")
show({"blurred": y, "cut at 0.02": cut(y, 0.02), f"cut at {best:.3f}": cut(y, best)})

# %% [markdown]
# With a low threshold, noise fills the picture. With the best one there is less noise, and every
# edge has ripples beside it: the spectrum ends abruptly, and what is sharp in frequency is spread
# out in space. A frequency should not be believed or thrown away. It should be believed in part.
#
# ## 2. A weight
#
# Ask for the picture $x$ that explains the data and is not too large,
#
# $$ \min_x\; \lVert k * x - y \rVert^2 + R\, \lVert x \rVert^2
#    \quad\Longrightarrow\quad \hat x = \frac{\overline{\hat k}\,\hat y}{|\hat k|^2 + R}, $$
#
# where the solution follows by setting the derivative to zero, frequency by frequency (Tikhonov
# 1963). Where $|\hat k|^2 \gg R$ this is the inverse filter. Where $|\hat k|^2 \ll R$ the frequency
# is left out, and in between it is damped. The operator has this formula as a member:
# `A.solve(A.correlate(y), R)`.


# %%
def tempered(y, R):
    """The regularised division; R is a number or one value per frequency."""
    return A.solve(A.correlate(y), R)


weights = np.geomspace(1e-5, 1, 26)
constant = [psnr(tempered(y, R)) for R in weights]
R = weights[np.argmax(constant)]
print(f"best constant R {R:.1e}: {max(constant):.2f} dB")

fig, ax = plt.subplots(figsize=(6.5, 3))
ax.semilogx(weights, constant, "-", label="restored")
ax.axhline(psnr(y), color="0.5", ls="--", lw=1, label="blurred")
ax.set(xlabel="weight R", ylabel="PSNR (dB)", ylim=(10, None))
ax.legend()
plt.show()

# %% [markdown]
# PSNR over the weight. To the left the noise rules, to the right the blur is left as it was and the
# picture is darkened too: the penalty also damps the mean, which nobody doubts. There is a best
# value between the two, and this figure needed the scene to find it.
#
# ## 3. The best linear filter
#
# Let noise and scene be random, uncorrelated, with power spectra $N(f)$ and $S(f)$. Any linear
# filter $\hat x = g\,\hat y$ then has the expected squared error
#
# $$ E(f) = |1 - g\,\hat k|^2\, S + |g|^2\, N $$
#
# at frequency $f$: blur that was left, and noise that was let through. Setting its derivative by
# $\overline{g}$ to zero gives the **Wiener filter** (Wiener 1949; for pictures, Helstrom 1967):
#
# $$ g = \frac{\overline{\hat k}}{|\hat k|^2 + R(f)}, \qquad R(f) = \frac{N(f)}{S(f)}. $$
#
# It is the formula of section 2, with a weight that differs from frequency to frequency: the ratio
# of noise to signal. White noise has $N = \sigma^2$. The spectra of photographs fall about as
# $c/|f|^2$ (Field 1987), so $R$ grows with frequency.

# %%
power = deconv.evidence.power_law(scene.shape, 0.5 / scene.shape[0])  # f0^2 + |f|^2
exact = np.abs(A.transform(scene)) ** 2 / scene.size
found = deconv.evidence.estimate(y, psf, periodic=True)

fy = np.fft.fftfreq(scene.shape[0])[:, None]
radius = np.hypot(fy, np.fft.rfftfreq(scene.shape[1]))
rings = np.minimum((radius * 120).astype(int), 60).ravel()
counts = np.maximum(np.bincount(rings), 1)
centres = (np.arange(60) + 0.5) / 120


def radial(values):
    """Mean over rings of frequency."""
    return (np.bincount(rings, values.ravel()) / counts)[:60]


fig, ax = plt.subplots(figsize=(6.5, 3.3))
ax.semilogy(centres, radial(exact), color="black", label="the scene's own spectrum")
ax.semilogy(
    centres, radial(found.power / power), color="C1", label="law fitted to the blurred picture"
)
ax.semilogy(centres, radial(exact * A.power), color="C0", label="the scene's after the blur")
ax.axhline(float(found.sigma) ** 2, color="C2", ls="--", lw=1, label="noise found")
ax.set(xlabel="frequency (cycles per pixel)", ylabel="power", ylim=(1e-7, 30), xlim=(0, 0.5))
ax.legend(fontsize=9)
plt.show()
ratio = radial(found.power / power)[2:] / radial(exact)[2:]
print(f"noise: true {sigma}, found {float(found.sigma):.4f}")
print(
    f"law over truth, from {centres[2]:.2f} cycles per pixel on: "
    f"{ratio.min():.2f} to {ratio.max():.2f}"
)

# %% [markdown]
# The spectrum of the scene (black), and the law $c/(f_0^2 + |f|^2)$ with $c$ found from the
# *blurred* picture (orange). Over four decades of power the law keeps within the factor printed
# above, from data in which nearly everything to the right is below the noise (blue under the dashed
# line). How this is done is the subject of section 4. First the gain, with three spectra in the
# Wiener filter:

# %%
R_law = sigma**2 * power / float(found.power)
R_exact = sigma**2 / np.maximum(exact, 1e-12)
restored = {
    "constant R, best": tempered(y, R),
    "power law": tempered(y, R_law),
    "the scene's own": tempered(y, R_exact),
}
for title, x in restored.items():
    print(f"{title:18} {psnr(x):.2f} dB")
show({**restored, "scene": scene}, width=2.4)

# %% [markdown]
# The constant weight was tuned with the scene in hand, the law was not told anything but the noise,
# and it wins. The scene's own spectrum gains more again, and it is unfair: the *squared modulus* of
# the scene's spectrum is half of what there is to know about the scene. No one has it. It marks how
# much a better prior could still gain, which notebook 04 is about.
#
# ## 4. The weight found by the data
#
# Write $R = m\,B(f)$ with the form $B = f_0^2 + |f|^2$ given and one number $m$ to be found. Let $r
# = R/(|\hat k|^2 + R)$, the share of $\hat y$ that the filter leaves unexplained, and $P = |\hat
# y|^2$ per pixel. Three rules find $m$ with no scene:
#
# - **Cross-validation** (GCV; Golub, Heath and Wahba 1979) predicts each pixel from the others, and
#   needs no $\sigma$. It minimises $\operatorname{mean}(P r^2) / \operatorname{mean}(r)^2$.
# - **Unbiased risk** (SURE; Stein 1981) is the expected error of the prediction $k * x$, and needs
#   $\sigma$. It minimises $\operatorname{mean}(P r^2) - 2\sigma^2 \operatorname{mean}(r)$.
# - **Marginal likelihood** (Wahba 1985) asks under which spectrum these data are most probable. It
#   minimises $\operatorname{mean}(P/V + \log V)$ with $V = |\hat k|^2 S + \sigma^2$, the power that
#   the spectrum $S = \sigma^2/R$ predicts.
#
# All three are sums over frequencies, so a curve of fifty values costs one FFT. Here they are, with
# the true error for comparison. The half spectrum counts most frequencies twice.

# %%
P = np.abs(A.transform(y)) ** 2 / y.size
twice = np.full(A.otf.shape[1], 2.0)
twice[[0, -1]] = 1
seen = (
    radius > 2.5 / scene.shape[0]
)  # the lowest frequencies are the scene's layout, not its texture


def mean(values):
    """Mean over all frequencies of interest."""
    share = (twice * seen) / np.sum(twice * seen)
    return float(np.sum(values * share))


ms = np.geomspace(1e-6, 1e0, 49) * sigma**2 / float(found.power) * 1e3
curves = {"true error": [], "GCV": [], "SURE": [], "likelihood": []}
for m in ms:
    R = m * power
    r = R / (A.power + R)
    V = A.power * sigma**2 / R + sigma**2
    curves["true error"].append(np.sqrt(np.mean((tempered(y, R) - scene) ** 2)))
    curves["GCV"].append(mean(P * r**2) / mean(r) ** 2)
    curves["SURE"].append(mean(P * r**2) - 2 * sigma**2 * mean(r))
    curves["likelihood"].append(mean(P / V + np.log(V)))

fig, axes = plt.subplots(1, 4, figsize=(10, 2.6), sharex=True)
for ax, (title, curve) in zip(axes, curves.items(), strict=True):
    ax.semilogx(ms, curve, color="black" if title == "true error" else "C0")
    ax.axvline(ms[np.argmin(curve)], color="C3", lw=1)
    middle = np.argmin(curve)
    near = np.array(curve)[max(middle - 12, 0) : middle + 13]
    ax.set(title=title, xlabel="multiplier m", yticks=[])
    ax.set_ylim(near.min() - 0.08 * np.ptp(near), near.max())
plt.show()
for title, curve in curves.items():
    m = ms[np.argmin(curve)]
    print(f"{title:11} least at m = {m:.1e}: {psnr(tempered(y, m * power)):.2f} dB")

# %% [markdown]
# Four curves over the multiplier, each with its own vertical axis (without ticks: only the place of
# the minimum matters), with the minimum in red. The black one needs the scene, the blue ones do
# not. They do not agree on $m$ to the last digit, and need not: the true error is flat around its
# minimum, so all the weights found give almost the same picture.
#
# Does this hold for other noise? `deconv.wiener` takes the rule by name.

# %%
print("noise    best     GCV   SURE  likelihood  no options")
for level in (0.001, 0.003, 0.01, 0.03, 0.1):
    noisy = deconv.noise.simulate(A(scene), sigma=level, rng=1)
    best = max(psnr(tempered(noisy, m * power)) for m in np.geomspace(1e-6, 1e4, 121))
    rules = [
        psnr(deconv.wiener(noisy, A, spectrum="power-law", weight=rule))
        for rule in ("gcv", "sure", "likelihood")
    ]
    scores = [best, *rules, psnr(deconv.wiener(noisy, A))]
    print(f"{level:5.1%}  {'{:6.2f}  {:6.2f} {:6.2f} {:11.2f} {:11.2f}'.format(*scores)}")

# %% [markdown]
# PSNR in dB. "Best" tries many multipliers and looks at the scene. The three rules see the blurred
# picture only, not even the noise level. The likelihood takes the law at its word, and loses a
# little where the law is flatter than the scene's spectrum, as here. The last column is
# `deconv.wiener(image, psf)` as it is called without options: there the slope of the spectrum and
# its preferred directions are found by likelihood as well, not only its height, and that is worth
# more than the best weight for a law that is not quite right.
#
# ## 5. What a Wiener filter cannot do
#
# It is linear: one and the same filter acts on flat sky and on the edge of the tripod.

# %%
x = deconv.wiener(y, A)
error = np.abs(x - scene)
part = (slice(60, 160), slice(130, 230))
show(
    {"blurred": y[part], "wiener": x[part], "scene": scene[part], "error x 4": 4 * error[part]},
    width=2.4,
)
gy, gx = np.gradient(scene)
edge = np.hypot(gy, gx) > 0.1
print(
    f"rms error at edges ({edge.mean():.0%} of the pixels): "
    f"{np.sqrt(np.mean(error[edge] ** 2)):.3f}"
)
print(f"rms error elsewhere:                  {np.sqrt(np.mean(error[~edge] ** 2)):.3f}")

# %% [markdown]
# A detail, enlarged. The error is small where the scene is flat and more than twice as large at
# edges, where a little blur and a ripple remain. The filter spends its one compromise on the
# average of both. To do better, a method has to treat edges and flat areas differently, and so must
# be nonlinear. Notebook 04 does that.

# %% [markdown]
# ## Exercises
#
# **1. A wrong noise level.** Use the law of section 3 with a noise that is 4 times too small and 4
# times too large. Which error is worse? Then let `deconv.wiener` find the spectrum under the same
# wrong noise. Why does one of the two cost it nothing?
#
# <details><summary>Solution</summary>
#
# ```python
# for c in (0.25, 1, 4):
#     law = tempered(y, c**2 * R_law)
#     refitted = deconv.wiener(y, A, noise=c * sigma)
#     print(f"noise x {c:<4g}: law kept {psnr(law):5.2f} dB, fitted again {psnr(refitted):5.2f} dB")
# ```
#
# Too small a level lets noise through and costs more than too large a level, which leaves blur.
# To fit a spectrum beside too small a noise would be a disaster: what is not accounted for has to
# be scene, and at frequencies that the blur damps a hundredfold a scene of ten thousandfold power.
# `deconv.wiener` therefore looks at the dark frequencies first, and does not believe a noise that
# is plainly less than what is there. That it is more, the picture cannot disprove. Where the noise
# is doubtful, leave it to be estimated.
# </details>
#
# **2. The residual as a judge.** Morozov's discrepancy principle (1966) chooses the $m$ at which
# the residual $y - k * x$ has the size of the noise. Find it by bisection and compare with the best
# $m$.
#
# <details><summary>Solution</summary>
#
# ```python
# low, high = -8.0, 2.0  # log10 of m; the residual grows with m
# for _ in range(40):
#     middle = (low + high) / 2
#     residual = y - A(tempered(y, 10**middle * power))
#     low, high = (middle, high) if residual.std() < sigma else (low, middle)
# print(f"m = {10**low:.1e}: {psnr(tempered(y, 10**low * power)):.2f} dB")
# ```
#
# It chooses too large an $m$. The restored picture fits a part of the noise, so even the best
# restoration has a residual *below* the noise: of $n$ pixels, it uses up $\sum |\hat k|^2/(|\hat
# k|^2 + R)$ degrees of freedom.
# </details>
#
# **3. The expected error.** Put the Wiener filter back into $E(f)$ of section 3 and show that what
# remains is $E = S N/(|\hat k|^2 S + N)$. Compare the mean of that over all frequencies, for the
# exact spectrum, with the squared error that was measured there.
#
# <details><summary>Solution</summary>
#
# With $g = \overline{\hat k}/(|\hat k|^2 + N/S)$: $1 - g\hat k = N/(|\hat k|^2 S + N)$ and $|g|^2 N
# = |\hat k|^2 S^2 N/(|\hat k|^2 S + N)^2$, and the sum is $SN(N + |\hat k|^2 S)/(|\hat k|^2 S +
# N)^2$.
#
# ```python
# share = np.broadcast_to(twice, exact.shape) / scene.size
# expected = np.sum(share * exact * sigma**2 / (A.power * exact + sigma**2))
# measured = np.mean((tempered(y, R_exact) - scene) ** 2)
# print(f"expected {expected:.2e}, measured {measured:.2e}")
# ```
# </details>
#
# ## Sources
#
# - N. Wiener, *Extrapolation, Interpolation, and Smoothing of Stationary Time Series*, 1949; C. W.
#   Helstrom, *Image restoration by the method of least squares*, J. Opt. Soc. Am. 57, 1967.
# - B. R. Hunt, *The application of constrained least squares estimation to image restoration by
#   digital computer*, IEEE Trans. Computers 22, 1973.
# - D. J. Field, *Relations between the statistics of natural images and the response properties of
#   cortical cells*, J. Opt. Soc. Am. A 4, 1987: spectra of photographs.
# - G. H. Golub, M. Heath and G. Wahba, *Generalized cross-validation*, Technometrics 21, 1979; C.
#   M. Stein, *Estimation of the mean of a multivariate normal distribution*, Ann. Statist. 9, 1981;
#   G. Wahba, *A comparison of GCV and GML*, Ann. Statist. 13, 1985.
# - P. C. Hansen, *Rank-Deficient and Discrete Ill-Posed Problems*, SIAM 1998.

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
# # 03 Richardson-Lucy and photons
#
# **When a pixel holds five photons, what is the most that can honestly be said about the scene?**
#
# In a microscope or a telescope light comes as a few countable photons. Their noise is not the same
# in all pixels, and light is never negative. A method that knows both is fifty years old, four
# lines long, and still in daily use in both fields. This notebook derives it, shows when to stop
# it, and uses it on stars and on a volume.

# %%
import matplotlib.pyplot as plt
import numpy as np

import deconv

plt.rcParams.update(
    {"figure.dpi": 110, "image.cmap": "gray", "figure.constrained_layout.use": True}
)


def show(pictures, width=2.5, white=1.0, black=0.0, gamma=1.0):
    """Draw pictures in one row, each under its title, on one scale of grey."""
    height, breadth = next(iter(pictures.values())).shape
    size = (width * len(pictures), width * height / breadth + 0.3)
    _, axes = plt.subplots(1, len(pictures), figsize=size)
    for ax, (title, picture) in zip(np.atleast_1d(axes), pictures.items(), strict=True):
        shown = np.clip((picture - black) / (white - black), 0, 1) ** gamma
        ax.imshow(shown, vmin=0, vmax=1, interpolation="nearest")
        ax.set_title(title, fontsize=10)
        ax.set_axis_off()
    plt.show()


rng = np.random.default_rng(4)
stars = np.zeros((96, 96))
for row, column, light in zip(*rng.integers(8, 88, (2, 40)), rng.pareto(1.2, 40), strict=True):
    if np.hypot(row - 66, column - 30) > 20:
        stars[row, column] = 60 + 30 * light  # many faint ones, a few bright ones
stars[40, 60], stars[40, 64] = 2000, 1200  # a double star, 4 pixels apart
y_grid, x_grid = np.mgrid[:96, :96]
stars += 12 * np.exp(-((y_grid - 66) ** 2 + (x_grid - 30) ** 2) / 60)  # a small galaxy

psf = deconv.psf.gaussian(2.2)
A = deconv.Blur(psf, stars.shape, boundary="zero")


def predict(x):
    """Expected counts of a scene; rounding in the FFT can leave them a hair below zero."""
    return np.maximum(A(A.embed(x)), 0)


expected = predict(stars)
counts = deconv.noise.simulate(expected, gain=1, rng=0)
print(f"photons in all: {counts.sum():.0f}; in the median pixel {np.median(counts):.0f}")
show(
    {"scene": stars, "expected counts": expected, "counted": counts}, width=3.1, white=60, gamma=0.6
)

# %% [markdown]
# Stars, two of which are close together, and a small galaxy (lower left). In the middle, what would
# be counted on average through a blur of standard deviation 2.2 pixels, on the right one exposure,
# in photons. The display brightens the dark end. The sky is black beyond the frame:
# `boundary="zero"`.
#
# ## 1. Why the least squares of notebook 02 are wrong here
#
# A pixel that expects $\mu$ photons counts $y$ of them with the Poisson probability $e^{-\mu} \mu^y
# / y!$. Mean and variance are the same number. To check, expose many times.

# %%
exposures = np.stack([deconv.noise.simulate(expected, gain=1, rng=i) for i in range(200)])
fig, ax = plt.subplots(figsize=(4.2, 3.4))
ax.loglog(exposures.mean(0).ravel(), exposures.var(0).ravel(), ".", ms=1.5, alpha=0.4)
ax.plot([0.05, 200], [0.05, 200], color="black", lw=1)
ax.set(
    xlabel="mean count of a pixel",
    ylabel="variance of the count",
    xlim=(0.05, 200),
    ylim=(0.05, 200),
)
plt.show()

# %% [markdown]
# Each dot is a pixel, over 200 exposures; the line is variance = mean. Least squares would trust
# all pixels alike. But a count of 1 is off by 1, one of 100 by 10. The likelihood of all counts
# together knows that. Its negative logarithm is, up to a constant, the **I-divergence** (Csiszár
# 1991)
#
# $$ D(y, Ax) = \sum_n\; y_n \log\frac{y_n}{(Ax)_n} - y_n + (Ax)_n. $$
#
# ## 2. The iteration
#
# Minimise $D$ over $x \ge 0$. The derivative is $A^T 1 - A^T(y / Ax)$. At a minimum $x$ times the
# derivative is zero (either the pixel is dark, or the derivative vanishes there), which reads
#
# $$ x \; A^T 1 = x \; A^T\frac{y}{A x}. $$
#
# Take this as a recipe: multiply $x$ by the ratio of the two sides, over and over,
#
# $$ x \leftarrow \frac{x}{A^T 1}\; A^T \frac{y}{A x}. $$
#
# This is Richardson-Lucy (Richardson 1972, Lucy 1974). That each step lowers $D$ was shown by Shepp
# and Vardi (1982), as a case of expectation maximisation: the photon in pixel $n$ came from one of
# the points that may have lit it, and is shared out among them according to the current $x$.


# %%
def richardson_lucy(y, psf, n_iter):
    """The iteration as it is written above, on a periodic frame, where A^T 1 is 1."""
    A = deconv.Blur(psf, y.shape, boundary="periodic")
    x = np.full(y.shape, y.mean())
    for _ in range(n_iter):
        x = x * A.adjoint(y / A(x))
    return x


ours = richardson_lucy(counts + 1.0, psf, 20)
theirs = deconv.richardson_lucy(counts + 1.0, psf, n_iter=20, accelerate=False, boundary="periodic")
print(f"our four lines against the library: largest difference {np.abs(ours - theirs).max():.0e}")

# %% [markdown]
# What the recipe keeps can be read from it. It multiplies non-negative numbers, so $x$ stays
# non-negative. And on a black sky each iterate predicts as many photons as were counted:

# %%
x = deconv.richardson_lucy(counts, psf, n_iter=30, boundary="zero")
linear = deconv.wiener(counts, psf, boundary="zero")
print(f"counted {counts.sum():.0f} photons")
print(f"Richardson-Lucy: sum {x.sum():.0f}, smallest value {x.min():.1f}")
print(f"Wiener:          sum {linear.sum():.0f}, smallest value {linear.min():.1f}")
show({"counted": counts, "Wiener": linear, "Richardson-Lucy": x}, width=3.1, white=150, gamma=0.6)

# %% [markdown]
# On the left the counts, in the middle the Wiener filter, on the right 30 iterations of
# Richardson-Lucy. The linear filter surrounds each star with rings, and between the bright rings is
# negative light, shown as black. Richardson-Lucy has no rings, because below zero there is nowhere
# to go. But it has made clumps of the noise in the smooth galaxy, which the next section is about.
#
# ## 3. When to stop
#
# The divergence falls for ever. The error does not.

# %%
picture_error, divergence = [], []


def watch(state):
    """Note how far the iterate is from the scene and from the data."""
    picture_error.append(np.sqrt(np.mean((state.image - stars) ** 2)))
    divergence.append(deconv.metrics.i_divergence(counts, predict(state.image)))


truth = deconv.metrics.i_divergence(counts, expected)
deconv.richardson_lucy(counts, psf, n_iter=400, accelerate=False, boundary="zero", callback=watch)

galaxy = (slice(50, 84), slice(14, 48))
halo = []
deconv.richardson_lucy(
    counts,
    psf,
    n_iter=400,
    accelerate=False,
    boundary="zero",
    callback=lambda state: halo.append(np.sqrt(np.mean((state.image - stars)[galaxy] ** 2))),
)
k = np.arange(1, 401)
fig, axes = plt.subplots(1, 2, figsize=(9, 3.1))
axes[0].semilogx(k, divergence)
axes[0].axhline(truth, color="black", ls="--", lw=1, label="of the scene itself")
axes[0].set(xlabel="iteration", ylabel="I-divergence", title="distance to the data")
axes[0].legend()
axes[1].semilogx(k, np.array(picture_error) / picture_error[0], label="whole frame")
axes[1].semilogx(k, np.array(halo) / halo[0], label="galaxy")
axes[1].set(xlabel="iteration", ylabel="rms error / its first", ylim=(0, None))
axes[1].set_title("distance to the scene")
axes[1].legend()
plt.show()
print(f"whole frame: least error at iteration {np.argmin(picture_error) + 1}")
print(f"galaxy:      least error at iteration {np.argmin(halo) + 1}")

# %% [markdown]
# Left: the data are fitted ever better, and soon better than the scene itself fits them (dashed):
# from there on, noise is fitted. Right: the error of the galaxy, which is smooth, falls and then
# rises as noise gathers into specks. This is **semi-convergence**, and stopping is what keeps the
# noise out. The whole frame, whose error is all in the stars, gains for much longer: points are
# exactly what the iteration likes to make. No one number of iterations suits both, so the choice
# should be told by the data: `n_iter=None`, the default, holds back a random tenth of the photons,
# stops where the others predict it best, and then fits all of them with that number.

# %%
print("rms error / that of the first iteration   galaxy   whole frame")
for gain, how in {1: "a tenth of the photons", None: "a twentieth of the pixels"}.items():
    found = deconv.richardson_lucy(counts, psf, gain=gain, boundary="zero")
    smooth = np.sqrt(np.mean((found - stars)[galaxy] ** 2)) / halo[0]
    whole = np.sqrt(np.mean((found - stars) ** 2)) / picture_error[0]
    print(f"held back {how:30} {smooth:8.2f} {whole:13.2f}")
print(f"least of each over 400 iterations        {min(halo) / halo[0]:8.2f}", end="")
print(f"{min(picture_error) / picture_error[0]:14.2f}")

# %% [markdown]
# With `gain`, the image units per photon, photons can be counted and split. Without it a part of
# the pixels is held back instead, and here, where most pixels are dark and all is decided by a few
# stars, that runs on for longer: the stars are sharper for it and the galaxy is noisier.
#
# ## 4. Faster
#
# The plain iteration is slow. The library extrapolates each step (a scaled heavy ball, with the
# plain step wherever the divergence would rise), which fits the data to the same point in far fewer
# steps.

# %%
fast = []
deconv.richardson_lucy(
    counts,
    psf,
    n_iter=100,
    boundary="zero",
    callback=lambda state: fast.append(deconv.metrics.i_divergence(counts, predict(state.image))),
)
fig, ax = plt.subplots(figsize=(5.5, 3.1))
ax.semilogx(k, divergence, label="plain")
ax.semilogx(k[:100], fast, label="accelerated")
ax.set(xlabel="iteration", ylabel="I-divergence")
ax.legend()
plt.show()
for goal in (100, 400):
    needed = int(np.argmax(np.array(fast) <= divergence[goal - 1])) + 1
    print(f"the fit of {goal} plain iterations after {needed} accelerated ones")

# %% [markdown]
# The same divergence on the vertical axis, earlier on the horizontal one; the further the fit goes,
# the more is gained.
#
# ## 5. The double star

# %%
pair = (slice(34, 47), slice(50, 75))
many = deconv.richardson_lucy(counts, psf, n_iter=300, boundary="zero")
show(
    {"scene": stars[pair], "counted": counts[pair], "30 iterations": x[pair], "300": many[pair]},
    width=2.6,
    white=600,
    gamma=0.6,
)
print("star    true   photons found within 1 pixel after 30 and 300 iterations")
for row, column in ((40, 60), (40, 64)):
    near = (slice(row - 1, row + 2), slice(column - 1, column + 2))
    print(f"{stars[row, column]:10.0f} {x[near].sum():18.0f} {many[near].sum():8.0f}")

# %% [markdown]
# Two stars that are one blob in the counts (4 pixels apart, with a psf 5.2 pixels wide at half its
# height) come apart, and each gathers about its own light. The separation is real information:
# their sum has another shape than one star has. How near two stars may be depends on how many
# photons there are, and on how exactly the psf is known.
#
# ## 6. A volume
#
# A fluorescence microscope takes a stack of slices, and its psf is longer along the depth axis than
# across. Nothing changes but the number of axes. The sample is made here: filaments and beads in a
# volume of 28 slices.

# %%
rng = np.random.default_rng(7)
volume = np.zeros((28, 64, 64))
for _ in range(9):  # filaments: smooth random walks
    walk = np.cumsum(rng.normal(0, 0.25, (3, 300)), axis=1)
    walk = np.cumsum(0.06 * walk, axis=1) * np.array([[0.3], [1], [1]])
    path = walk - walk.mean(1, keepdims=True) + rng.uniform((8, 12, 12), (20, 52, 52))[:, None]
    z, r, c = np.round(path).astype(int)
    inside = (z >= 0) & (z < 28) & (r >= 0) & (r < 64) & (c >= 0) & (c < 64)
    volume[z[inside], r[inside], c[inside]] = 40
for z, r, c in rng.integers((6, 6, 6), (22, 58, 58), (12, 3)):  # beads
    volume[z - 1 : z + 2, r - 1 : r + 2, c - 1 : c + 2] += 25
background = 0.5

psf3 = deconv.psf.gaussian((2.6, 1.3, 1.3))
A3 = deconv.Blur(psf3, volume.shape, boundary="zero")
light = np.maximum(A3(A3.embed(volume)), 0) + background
stack = deconv.noise.simulate(light, gain=1, rng=0)
restored = deconv.richardson_lucy(stack, psf3, gain=1, background=background, boundary="zero")

fig, axes = plt.subplots(2, 3, figsize=(8, 4.2), height_ratios=(64, 28))
for column, (title, v) in enumerate(
    {"sample": volume, "stack": stack, "restored": restored}.items()
):
    for row, axis in enumerate((0, 1)):
        flat = v.max(axis)
        axes[row, column].imshow(flat, vmin=0, vmax=0.7 * np.percentile(flat, 99.7))
        axes[row, column].set_axis_off()
    axes[0, column].set_title(title, fontsize=10)
plt.show()
for title, v in {"stack": stack - background, "restored": restored}.items():
    print(
        f"{title:8} correlation with the sample {np.corrcoef(v.ravel(), volume.ravel())[0, 1]:.2f}"
    )

# %% [markdown]
# Largest value along the depth (above) and along the vertical (below, with depth running
# downwards); each picture has its own white. In the stack the filaments are smeared over several
# slices. In the restored volume they are thinner along all three axes, and the dark between them is
# back. What remains of the smear is what the otf does not pass: the psf is so long there that few
# frequencies along the depth get through.

# %% [markdown]
# ## Exercises
#
# **1. Light that is not the scene's.** Restore the stack with `background=0`. What happens to the
# sum, and where does the light go?
#
# <details><summary>Solution</summary>
#
# ```python
# without = deconv.richardson_lucy(stack, psf3, gain=1, background=0, boundary="zero")
# dark = volume < 1
# print(f"sum of the sample {volume.sum():.0f}, with background {restored.sum():.0f}, "
#       f"without {without.sum():.0f}")
# print(f"mean of the dark voxels: {restored[dark].mean():.3f} and {without[dark].mean():.3f}")
# ```
#
# The background has to come from somewhere, so it is put into the sample, as a haze that holds more
# than half of all the light. With the right background most dark voxels can go to zero.
# Non-negativity then works as a strong prior; above a haze it never touches anything.
# </details>
#
# **2. A camera that adds noise.** Add read noise of 3 photons rms to `counts` (with
# `deconv.noise.simulate(expected, gain=1, sigma=3, rng=1)`). Compare restorations with and without
# `read_noise=3`. The option follows Snyder et al. (1995): the variance $\sigma^2$ is added to the
# data and to the prediction, since a Poisson variable of mean $\mu + \sigma^2$ has the variance of
# the sum.
#
# <details><summary>Solution</summary>
#
# ```python
# noisy = deconv.noise.simulate(expected, gain=1, sigma=3, rng=1)
# plain = deconv.richardson_lucy(noisy, psf, n_iter=30, boundary="zero")
# told = deconv.richardson_lucy(noisy, psf, n_iter=30, gain=1, read_noise=3, boundary="zero")
# for title, v in {"without": plain, "with": told}.items():
#     error = np.sqrt(np.mean((v - stars)[galaxy] ** 2))
#     print(f"{title:8} sum {v.sum():.0f} of {stars.sum():.0f}, error of the galaxy {error:.2f}")
# show({"noisy": noisy, "without": plain, "with": told}, white=150, gamma=0.6)
# ```
#
# Without it every negative pixel counts as no light and every positive one as light, which adds up
# to light that was never there.
# </details>
#
# **3. A prior.** `lam` adds total variation to the divergence (Dey et al. 2006): the update is
# divided by $1 - \lambda \operatorname{div}(\nabla x/|\nabla x|)$. Try `lam` of 0, 0.01 and 0.05 at
# 200 iterations, on the galaxy.
#
# <details><summary>Solution</summary>
#
# ```python
# tried = {}
# for lam in (0, 0.01, 0.05):
#     v = deconv.richardson_lucy(counts, psf, n_iter=200, lam=lam, boundary="zero")
#     print(f"lam {lam:<5g} error of the galaxy {np.sqrt(np.mean((v - stars)[galaxy] ** 2)):.2f}")
#     tried[f"lam {lam:g}"] = v[galaxy]
# show(tried, white=40)
# ```
#
# The prior replaces a part of the early stop: the iteration may run on, and specks do not grow.
# </details>
#
# ## Sources
#
# - W. H. Richardson, *Bayesian-based iterative method of image restoration*, J. Opt. Soc. Am. 62,
#   1972; L. B. Lucy, *An iterative technique for the rectification of observed distributions*,
#   Astron. J. 79, 1974.
# - L. A. Shepp and Y. Vardi, *Maximum likelihood reconstruction for emission tomography*, IEEE
#   Trans. Med. Imaging 1, 1982; I. Csiszár, *Why least squares and maximum entropy?*, Ann. Statist.
#   19, 1991.
# - M. Bertero and P. Boccacci, *A simple method for the reduction of boundary effects in the
#   Richardson-Lucy approach*, Astron. Astrophys. 437, 2005: the denominator $A^T 1$.
# - D. L. Snyder et al., *Compensation for readout noise in CCD images*, J. Opt. Soc. Am. A 12,
#   1995; N. Dey et al., *Richardson-Lucy algorithm with total variation regularization for 3D
#   confocal microscope deconvolution*, Microsc. Res. Tech. 69, 2006.

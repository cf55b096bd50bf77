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
# # 05 Borders, saturation and missing pixels
#
# **A pixel at the border was lit partly from outside the photograph. What may one assume about what
# nobody saw?**
#
# Nothing, is the answer of this notebook, and one idea makes it practical: pixels beyond the frame,
# dead pixels and clipped pixels are all the same thing, *unobserved*. They have weight 0, and each
# iteration fills them with what the current estimate predicts.

# %%
import matplotlib.pyplot as plt
import numpy as np
import scipy.ndimage
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


def psnr(true, picture, where=...):
    """Peak signal-to-noise ratio in dB, on a scale where white is 1, of some of the pixels."""
    return deconv.metrics.psnr(true[where], picture[where], data_range=1)


psf = deconv.psf.motion(15, angle=20)
n, pad = 192, 32
world = data.camera()[60 : 60 + n + 2 * pad, 130 : 130 + n + 2 * pad] / 255
frame = (slice(pad, pad + n),) * 2
scene = world[frame]

# The camera sees the blurred world through its frame: the light of the outside comes in.
blurred_world = scipy.ndimage.convolve(world, psf, mode="reflect")
y = deconv.noise.simulate(blurred_world[frame], sigma=0.01, rng=0)
show({"world": world, "scene in the frame": scene, "photograph": y}, width=2.8)

# %% [markdown]
# The world, the part of it that is in the frame, and the photograph: blurred by a motion of 15
# pixels, with noise of 1 %. The blur was done on the world and the frame cut out afterwards, as in
# a camera. (The world ends as well, but so far from the frame that its end is not seen in it.)
# Simulations that blur the cut-out periodically instead make a problem that no camera poses.
#
# ## 1. Four assumptions
#
# With a psf of $m$ by $m$ pixels, the $n^2$ pixels of the photograph depend on $(n + m - 1)^2$
# pixels of the world: there are more unknowns than equations, before any noise. What methods do
# about it:
#
# - **periodic**: the scene goes on at its opposite side, so that one division of spectra does it
#   all;
# - **zero**: the outside is black;
# - **reflected**: pad the photograph by its mirror image, restore that periodically, cut out;
# - **unknown**: the outside is estimated with the rest (Reeves 2005; Almeida and Figueiredo 2013).


# %%
def reflected(y, solve):
    """Mirror the photograph on all sides, restore, cut out."""
    wide = np.pad(y, n // 2, mode="symmetric")
    return solve(wide, psf, boundary="periodic")[n // 2 : -n // 2, n // 2 : -n // 2]


tries = {
    "periodic": deconv.wiener(y, psf, boundary="periodic"),
    "zero": deconv.wiener(y, psf, boundary="zero"),
    "reflected": reflected(y, deconv.wiener),
    "unknown": deconv.wiener(y, psf),
}
rim = np.ones((n, n), bool)
rim[16:-16, 16:-16] = False
print("PSNR in dB    all   middle   rim of 16 pixels")
for title, x in tries.items():
    print(
        f"{title:10} {psnr(scene, x):6.2f} {psnr(scene, x, ~rim):8.2f} {psnr(scene, x, rim):8.2f}"
    )
show(tries, width=2.6)

# %% [markdown]
# The same Wiener filter under four assumptions. Where the assumption is wrong, the solver sees an
# edge at the border that is too sharp to be blurred, and explains it by waves, which run far into
# the picture: a motion is nearly blind to waves of its own length, so they may be high. Mirroring
# is better, and still wrong: a mirrored photograph is not a blurred mirrored scene. Estimating the
# outside needs no assumption, and it is the default (`boundary= "unknown"`).
#
# ## 2. Fill
#
# How can the outside be unknown when the fast division needs a periodic picture? Let $K$ be the
# circular blur on a domain somewhat larger than the frame, and let $W$ be 1 on pixels that were
# observed and 0 on the others. The problem is
#
# $$ \min_x\; \tfrac12 \lVert W^{1/2}(K x - y) \rVert^2 + \tfrac\rho2 \lVert x - z \rVert^2, $$
#
# where $z$ is what the prior of an outer loop wants. $K$ is diagonal in the Fourier domain and $W$
# is diagonal in the pixels; the two do not go together. But if $x_0$ is the present estimate, then
#
# $$ \lVert W^{1/2}(Kx - y) \rVert^2 \;\le\; \lVert K x - y_0 \rVert^2,
#    \qquad y_0 = W y + (1 - W)\, K x_0, $$
#
# since for $W$ of zeros and ones the right side only adds $\lVert Kx - Kx_0 \rVert^2$ on the
# unobserved pixels, which is zero at $x = x_0$. The right side touches the left side at $x_0$ and
# is never below it: it *majorises* it. So a step that lowers the right side lowers the left one as
# well (majorisation-minimisation: Hunter and Lange 2004). And the right side has no $W$ in it: it
# is one division. In words: **fill in the unobserved pixels by what the estimate predicts, then
# solve as if all had been observed.** It is the EM algorithm of Dempster, Laird and Rubin (1977),
# with the unseen pixels as the missing data.


# %%
def fill_and_solve(y, A, rho, n_iter, z=0.0):
    """The problem above by `fill`, with the objective after each step."""
    x, objective = A.embed(y), []
    for _ in range(n_iter):
        filled = A.fill(y, x)
        x = A.solve(A.correlate(filled) + rho * z, rho)
        weights = 1.0 if A.weights is None else A.weights
        misfit = np.sum(weights * (A(x) - y) ** 2) / 2
        objective.append(misfit + rho / 2 * np.sum((x - z) ** 2))
    return x, objective


A = deconv.Blur(psf, y.shape)
rho, mean = 3e-3, y.mean()
print(f"frame {A.shape}, domain {A.domain}")
x, objective = fill_and_solve(y, A, rho, 60, mean)
exact = A.prox(np.full(A.domain, mean), y, rho)
least = np.sum((A(exact) - y) ** 2) / 2 + rho / 2 * np.sum((exact - mean) ** 2)

fig, ax = plt.subplots(figsize=(5.5, 2.8))
ax.semilogy(np.arange(1, 61), np.array(objective) / least - 1)
ax.set(xlabel="iteration", ylabel="objective / least - 1")
plt.show()
print(f"does it ever rise? {bool(np.any(np.diff(objective) > 0))}")
print(f"by fill: {psnr(scene, A.crop(x)):.2f} dB, exact: {psnr(scene, A.crop(exact)):.2f} dB")

# %% [markdown]
# The objective falls at every step, as the argument says, towards the exact minimum, which `A.prox`
# finds by conjugate gradients. A solver with a prior does one such step in each of its iterations,
# with another $z$ each time, so the fill costs it one more blur and no inner loop. (The PSNR is low
# because $z$ is an even grey here: this is about borders, not about priors.)
#
# What does the estimate say about the outside?

# %%
wide = deconv.wiener(np.pad(y, 16, constant_values=np.nan), psf)
around = world[pad - 16 : pad + n + 16, pad - 16 : pad + n + 16]
near, far = np.ones_like(around, bool), np.ones_like(around, bool)
near[16:-16, 16:-16] = far[8:-8, 8:-8] = False
near &= ~far
for title, where in {"1 to 8 pixels outside": near, "9 to 16 pixels outside": far}.items():
    error = np.sqrt(np.mean((wide[where] - around[where]) ** 2))
    guess = np.sqrt(np.mean((around[where] - scene.mean()) ** 2))
    print(f"{title:22}: rms error {error:.3f}, that of an even grey {guess:.3f}")
boxed = {}
for title, picture in {"estimate": wide, "world": around}.items():
    boxed[title] = picture.copy()
    boxed[title][15, 15 : n + 17] = boxed[title][n + 16, 15 : n + 17] = 1
    boxed[title][15 : n + 17, 15] = boxed[title][15 : n + 17, n + 16] = 1
show(boxed, width=3)

# %% [markdown]
# The white line is the border of the photograph. Half a psf beyond it the scene is still seen,
# since its light came in, along the motion at least (left and right, rather than above and below).
# Farther out the estimate is worth no more than an even grey, and it does no harm there.
#
# ## 3. Missing pixels
#
# A dead pixel differs from a pixel beyond the frame by its place only. Give it NaN, or weight 0.

# %%
rng = np.random.default_rng(1)
dead = rng.random(y.shape) < 0.05
dead[:, 100:102] = True  # two dead columns
dead |= np.abs(np.add.outer(np.arange(n), np.arange(n)) - 230) < 2  # a scratch
broken = np.where(dead, 0.0, y)
inpainted = y.copy()
inpainted[dead] = scipy.ndimage.generic_filter(np.where(dead, np.nan, y), np.nanmedian, 5)[dead]
ways = {
    "as they are": deconv.tv(broken, psf),
    "median first": deconv.tv(inpainted, psf),
    "weight 0": deconv.tv(broken, psf, weights=~dead * 1.0),
    "nothing missing": deconv.tv(y, psf),
}
print(f"{dead.mean():.1%} of the pixels are dead")
for title, x in ways.items():
    print(f"{title:16} {psnr(scene, x):.2f} dB")
part = (slice(60, 160), slice(50, 150))
cut = {title: x[part] for title, x in list(ways.items())[:3]}
show({"photograph": broken[part], **cut}, width=2.4)

# %% [markdown]
# A part of the photograph, enlarged. Taken at their word, the dead pixels pass for strong noise, so
# that much of the texture is given up, and the dead columns become bands. Repairing the *blurred*
# photograph first helps a lot, but what is filled in does not fit the blur, as can be seen along
# the scratch. With weight 0 the pixels have no say, and almost nothing is lost: a point of the
# scene is spread over many pixels, so their neighbours still tell of it.
#
# ## 4. Clipped pixels
#
# A saturated pixel says more than a dead one: "at least this much". A night scene, with lamps far
# brighter than white:

# %%
night_world = 0.25 * world
lamps = np.random.default_rng(3).integers(pad + 10, pad + n - 10, (8, 2))
for row, column in lamps:
    night_world[row - 1 : row + 2, column - 1 : column + 2] = 8
night = np.minimum(night_world[frame], 1)
light = scipy.ndimage.convolve(night_world, psf, mode="reflect")[frame]
exposed = np.minimum(deconv.noise.simulate(light, sigma=0.005, rng=2), 1)
clipped = exposed >= 1
ways = {
    "at their word": deconv.tv(exposed, psf),
    "weight 0": deconv.tv(exposed, psf, weights=~clipped * 1.0),
    'saturation="auto"': deconv.tv(exposed, psf, saturation="auto"),
}
print(f"{clipped.mean():.2%} of the pixels are clipped")
for title, x in ways.items():
    shown = np.clip(x, 0, 1)
    print(f"{title:18} {psnr(night, shown):.2f} dB, brightest lamp {x.max():.1f} (it was 8)")
show({"photograph": exposed, **ways, "scene": night}, width=2.1, white=0.5)

# %% [markdown]
# Shown twice as bright; PSNR is that of what a screen can show. Taken at their word, the clipped
# streaks are too weak for lamps as bright as their unclipped ends say, and copies of each lamp
# along the motion have to make up for it. Without the clipped pixels most copies are gone. With
# `saturation="auto"` the level is found and each clipped pixel is completed: it counts as long as
# the prediction is below it, and agrees with anything above.

# %% [markdown]
# ## Exercises
#
# **1. How much can be missing?** Take away a random share of the pixels, from 10 % to 90 %, and
# restore with weights. Where does it break down?
#
# <details><summary>Solution</summary>
#
# ```python
# for share in (0.1, 0.3, 0.5, 0.7, 0.9):
#     kept = np.random.default_rng(5).random(y.shape) >= share
#     x = deconv.tv(y, psf, weights=kept * 1.0, n_iter=200, tol=1e-3)
#     print(f"{share:.0%} missing: {psnr(scene, x):.2f} dB")
# ```
#
# It degrades slowly and does not break down at a threshold: the blur has spread each point over
# about fifteen pixels, and the prior joins what is left. The more is missing, the more iterations
# it takes, as each step tells an unobserved pixel only what its neighbours predict.
# </details>
#
# **2. How far in?** Plot the rms error of the periodic and of the unknown boundary over the
# distance to the nearest border. How much would have to be cut off to be rid of the wrong
# assumption? Repeat it with a Gaussian psf of standard deviation 2.
#
# <details><summary>Solution</summary>
#
# ```python
# i = np.minimum(np.arange(n), n - 1 - np.arange(n))
# distance = np.minimum.outer(i, i)
# fig, axes = plt.subplots(1, 2, figsize=(8, 2.8), sharey=True)
# for ax, (title, k) in zip(axes, {"motion": psf, "Gaussian": deconv.psf.gaussian(2)}.items()):
#     seen = scipy.ndimage.convolve(world, k, mode="reflect")[frame]
#     seen = deconv.noise.simulate(seen, sigma=0.01, rng=0)
#     for boundary in ("periodic", "unknown"):
#         squares = (deconv.wiener(seen, k, boundary=boundary) - scene) ** 2
#         ax.semilogy([np.sqrt(squares[distance == d].mean()) for d in range(90)], label=boundary)
#     ax.set(title=title, xlabel="distance to the border")
# axes[0].set_ylabel("rms error")
# axes[1].legend()
# plt.show()
# ```
#
# The Gaussian's error stays near the border, since its inverse, tempered as it has to be, is short.
# The motion's otf has zeros, its inverse rings, and no cut is wide enough.
# </details>
#
# **3. Soft weights.** `fill` with $0 < w < 1$ returns the mix $w\,y + (1 - w) K x_0$. Show that $w
# (a - y)^2 \le (a - [w y + (1 - w) a_0])^2 + c$ with a constant $c$, with equality at $a = a_0$, so
# that the argument of section 2 holds for every weight in $[0, 1]$. Check it in numbers.
#
# <details><summary>Solution</summary>
#
# Take the difference of the two sides, $d(a) = (a - wy - (1 - w)a_0)^2 - w(a - y)^2$. Its second
# derivative is $2(1 - w) \ge 0$. Its first derivative at $a_0$ is $2w(a_0 - y) - 2w(a_0 - y) = 0$.
# So $d$ has its least value at $a_0$, and $c = -d(a_0)$.
#
# ```python
# soft = deconv.Blur(psf, y.shape, weights=np.random.default_rng(0).random(y.shape))
# _, objective = fill_and_solve(y, soft, rho, 30, mean)
# print("rises:", bool(np.any(np.diff(objective) > 0)))
# ```
# </details>
#
# ## Sources
#
# - S. J. Reeves, *Fast image restoration without boundary artifacts*, IEEE Trans. Image Process.
#   14, 2005; M. S. C. Almeida and M. A. T. Figueiredo, *Deconvolving images with unknown boundaries
#   using the alternating direction method of multipliers*, IEEE Trans. Image Process. 22, 2013.
# - A. P. Dempster, N. M. Laird and D. B. Rubin, *Maximum likelihood from incomplete data via the EM
#   algorithm*, J. R. Statist. Soc. B 39, 1977; D. R. Hunter and K. Lange, *A tutorial on MM
#   algorithms*, Am. Statist. 58, 2004.
# - O. Whyte, J. Sivic and A. Zisserman, *Deblurring shaken and partially saturated images*, Int. J.
#   Comput. Vis. 110, 2014: clipped lights.

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
# # 06 Blind: how a kernel emerges
#
# **One blurred photograph and nothing else. The model $y = k * x + n$ has two unknowns, the
# picture $x$ and the kernel $k$ (the psf), and one equation. How can both be found?**
#
# A product of two unknowns has many solutions: $y = \delta * y$ is one of them, perfect and
# useless. What rules it out is knowledge about pictures, used in the right order. This notebook
# goes through the three ideas that made blind deblurring work: sparse gradients, a least-squares
# step for the kernel, and coarse to fine.

# %%
import matplotlib.pyplot as plt
import numpy as np
from scipy.signal import fftconvolve
from skimage import data, transform

import deconv
from deconv import blind
from deconv.metrics import aligned_psnr, error_ratio, psf_similarity

plt.rcParams.update({"figure.dpi": 110, "font.size": 9, "image.cmap": "gray"})


def show(pictures, columns=None, width=2.6, white=1.0):
    """Pictures under their titles, in rows."""
    columns = columns or len(pictures)
    rows = -(-len(pictures) // columns)
    size = (columns * width, rows * (width + 0.25))
    _, axes = plt.subplots(rows, columns, figsize=size, layout="constrained")
    for axis in np.ravel(axes):
        axis.set_axis_off()
    for axis, (title, picture) in zip(np.ravel(axes), pictures.items(), strict=False):
        axis.imshow(picture, vmin=0, vmax=white or picture.max(), interpolation="nearest")
        axis.set_title(title)
    plt.show()


# %% [markdown]
# ## A photograph and its shake
#
# The kernel is a random camera path (Boracchi and Foi 2012). The blur is *valid*: pixels near the
# frame have received light from beyond it, as in a real camera.

# %%
scene = transform.downscale_local_mean(data.camera() / 255, (2, 2))
psf = deconv.psf.trajectory(25, shakiness=0.2, rng=22)
radius = psf.shape[0] // 2
sharp = scene[radius:-radius, radius:-radius]
noise = np.random.default_rng(0).normal(0, 0.002, sharp.shape)
blurred = fftconvolve(scene, psf, mode="valid") + noise

shown = {"sharp": sharp, "kernel, enlarged": psf, "blurred, noise 0.2 %": blurred}
figure, axes = plt.subplots(1, 3, figsize=(8.4, 3), layout="constrained")
for axis, (title, picture) in zip(axes, shown.items(), strict=True):
    axis.imshow(picture, vmin=0, vmax=psf.max() if picture is psf else 1)
    axis.set(title=title, xticks=[], yticks=[])

# %% [markdown]
# ## Why the obvious objective fails
#
# Pictures have few strong gradients. So let us ask for the pair that explains $y$ and has the
# smallest $\sum |\nabla x|^{\alpha}$ with $\alpha < 1$. Levin et al. (2009, "Understanding and
# evaluating blind deconvolution algorithms", section 2) showed that this prefers *no blur*. The
# true pair and the pair $(y, \delta)$ explain the data equally well, so the smaller sum wins.


# %%
def sparsity(x, alpha=0.8):
    """Sum of |gradient|^alpha along both axes."""
    return (np.abs(np.diff(x, axis=0)) ** alpha).sum() + (np.abs(np.diff(x, axis=1)) ** alpha).sum()


edge = np.zeros((64, 64))
edge[:, 32:] = 1
box = np.full((1, 9), 1 / 9)
soft_edge = fftconvolve(edge, box, mode="valid")
clean = blurred - noise
pairs = {
    "a lone edge": (edge[:, 4:-4], np.round(soft_edge, 12)),
    "the photograph": (sharp, clean),
}
for name, (true, soft) in pairs.items():
    print(f"{name}: sparsity {sparsity(true):.0f} sharp, {sparsity(soft):.0f} blurred")

# %% [markdown]
# For a lone step edge the sharp version is sparser, as hoped. Over a whole photograph the blurred
# version is: blur takes fine texture away altogether, and texture is most of a photograph. A joint
# minimum over $x$ and $k$ therefore sits at the trivial solution.
#
# The way out is to leave texture out. Keep only the edges that are strong and longer than the
# blur, and let *those* say what the kernel is.

# %% [markdown]
# ## The kernel step
#
# If the sharp gradients are known, the kernel is a linear least-squares problem (Cho and Lee 2009,
# their kernel step in our notation; on gradients, because their spectrum is nearly white):
#
# $$\hat k = \arg\min_k \sum_{d \in \{x, y\}} \lVert k * \partial_d x - \partial_d y\rVert^2
#   + \gamma \lVert k\rVert^2
# \quad\Longrightarrow\quad
# \hat K = \frac{\sum_d \overline{X_d}\, Y_d}{\sum_d |X_d|^2 + \gamma}$$
#
# with $X_d$ and $Y_d$ the spectra of the gradients. Afterwards negative values are cut and the sum
# made 1, since light only adds.


# %%
def gradients(x):
    """Differences along both axes, faded out at the frame, where the blur is not circular."""
    window = np.outer(*(np.hanning(n - 1) ** 0.25 for n in x.shape))
    return np.diff(x, axis=0)[:, :-1] * window, np.diff(x, axis=1)[:-1] * window


def kernel_step(sharp_gradients, y, size, gamma=2.0):
    """The kernel (size, size) that turns sharp gradients into those of y."""
    pairs = zip(sharp_gradients, gradients(y), strict=True)
    spectra = [(np.fft.rfft2(a), np.fft.rfft2(b)) for a, b in pairs]
    over = sum(np.conj(a) * b for a, b in spectra)
    under = sum(np.abs(a) ** 2 for a, _ in spectra) + gamma
    k = np.fft.fftshift(np.fft.irfft2(over / under, s=[n - 1 for n in y.shape]))
    top, left = ((n - 1) // 2 - size // 2 for n in y.shape)
    k = np.maximum(k[top : top + size, left : left + size], 0)
    k[k < 0.05 * k.max()] = 0
    return k / k.sum()


true = gradients(sharp)
strength = np.hypot(*true)
limit = np.quantile(strength, 0.95)
strong = [np.where(strength > limit, d, 0) for d in true]
kernels = {
    "true kernel": deconv.psf.pad(psf, 31),
    "all true gradients": kernel_step(true, blurred, 31),
    "the strongest 5 %": kernel_step(strong, blurred, 31),
    "the blurred picture's own": kernel_step(gradients(blurred), blurred, 31),
}
show(kernels, width=2.2, white=None)
for name, k in kernels.items():
    print(f"{name}: similarity to the true kernel {psf_similarity(k, psf):.2f}")

# %% [markdown]
# A twentieth of the gradients, if they are the right ones, gives nearly the kernel that all of
# them give. The blurred picture's own gradients give a single bright pixel: that is the trivial
# solution again. So everything hangs on having a few *sharp* edges. They come from the kernel,
# which comes from them: an alternation. And an alternation needs a start.

# %% [markdown]
# ## Coarse to fine
#
# In a picture reduced to a quarter, a blur of 16 pixels is one of 4. Only few kernels are possible
# there, and the edges that survive are the long, strong ones. The kernel found at that scale is
# enlarged by $\sqrt 2$ and starts the next. Between two kernel steps the picture is restored with
# *few* gradients, counted and not summed:
#
# $$\min_x \lVert k * x - y\rVert^2 + \mu\, \#\{\nabla x \ne 0\}$$
#
# (Xu, Zheng and Jia 2013; Pan et al. 2014). `deconv.blind` is made of exactly these parts. Its
# `callback` sees the picture and the kernel of every iteration of all its runs (`state.image`,
# `state.psf`); here is one such run, one storey down.

# %%
from deconv.blind.estimators import estimator  # noqa: E402
from deconv.blind.pyramid import coarse_to_fine  # noqa: E402

strip = {}


def watch(level, picture, kernel):
    """Keep the last iteration of every scale."""
    strip[level.index] = (picture.copy(), kernel.copy())


raw = coarse_to_fine(blurred.astype(np.float32), (31, 31), estimator("l0", tell=watch))

stages = {
    f"1/{2 ** (index / 2):.1f}: {kernel.shape[0]} px": (picture, kernel)
    for index, (picture, kernel) in strip.items()
}
stages["truth"] = (sharp, deconv.psf.pad(psf, 31))
figure, axes = plt.subplots(2, len(stages), figsize=(9.6, 3.1), layout="constrained")
for column, (title, (picture, kernel)) in zip(axes.T, stages.items(), strict=True):
    column[0].imshow(kernel, interpolation="nearest")
    column[0].set_title(title)
    column[1].imshow(picture, vmin=0, vmax=1, interpolation="nearest")
    for axis in column:
        axis.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("kernel")
axes[1, 0].set_ylabel("picture of few edges")
plt.show()
print(f"similarity after one run: {psf_similarity(raw, psf):.2f}")

# %% [markdown]
# **What to see.** Above each column is how far the picture was reduced, and the side of the
# kernel's box there. The first kernel is hardly more than a direction. Each finer scale adds bends
# that the scale before could not resolve, and faint parts come last. The pictures below are not
# restorations: at every scale texture is gone and flat areas with sharp borders remain, a cartoon
# made for one purpose, to tell the next kernel step where the edges are.

# %% [markdown]
# ## Several runs, one judge, some doubt
#
# A single run fails on about one picture in ten, and on another one whenever its settings change.
# `blind.deblur` therefore makes several runs with different boxes, exponents and priors, and ranks
# their kernels by a score that needs no truth. That search and its score are the library's own
# (the documentation's page on blind deblurring, `docs/blind.md`, has its figures).

# %%
iterations = []
found = blind.deblur(blurred, callback=lambda state: iterations.append(state.iteration))
print(f"{len(iterations)} iterations; {found.message}")
print(f"no blur at all would score worse by {found.gain:.2f} (above 0.12 a blur is clear)")
for name, score in sorted(found.scores.items(), key=lambda item: item[1]):
    print(f"  {score:.4f}  {name}")
print(f"similarity of the kernel: {psf_similarity(found.psf, psf):.3f}")

# %%
known = deconv.tv(blurred, psf, sigma=found.sigma, deringing=blind.DERINGING)
shown = {
    "blurred": blurred,
    "blind": found.image,
    "with the true kernel": known,
    "sharp": sharp,
}
show({title: picture[30:170, 60:200] for title, picture in shown.items()})
for name, picture in {"blurred": blurred, "blind": found.image, "true kernel": known}.items():
    print(f"{name:12s} {aligned_psnr(sharp, picture, data_range=1):.2f} dB")
print(f"error ratio {error_ratio(sharp, found.image, known):.2f}")

# %% [markdown]
# **What to see.** The blind result shows what the blurred picture hid, and is not far from the one
# with the true kernel. The search ended with a kernel that is a little less similar than that of
# the single run above. It could not know: it has only its score, and it is an insurance against
# runs that fail, not a gain for those that do not. How much worse the picture is for it says the
# *error ratio* (Levin et al. 2009): squared error with the found kernel over that with the true
# one. 1 is perfect, and up to 2 counts as a success.
#
# The PSNR is taken at the best shift, because blind deblurring has an ambiguity that no data
# resolve: move the kernel one pixel to the left and the picture one to the right, and $y$ is the
# same.

# %% [markdown]
# ## Exercises
#
# **1. Without the pyramid.** Run the alternation on the full size only, with as many iterations as
# you like. Try the kernel of this notebook and the one of `rng=2`. What is the pyramid good for?
#
# <details><summary>Solution</summary>
#
# ```python
# from deconv.blind.pyramid import levels, segment
#
# for seed in (22, 2):
#     other = deconv.psf.trajectory(25, shakiness=0.2, rng=seed)
#     seen = (fftconvolve(scene, other, mode="valid") + noise).astype(np.float32)
#     pyramid = coarse_to_fine(seen, (31, 31), estimator("l0"))
#     single = estimator("l0", n_full=30)(levels(seen, (31, 31))[-1], segment((31, 31)))
#     for name, k in {"coarse to fine": pyramid, "full size only": single}.items():
#         print(seed, name, round(psf_similarity(k, other), 2))
# ```
#
# With the first kernel the full size alone does well, and 30 iterations at the full size even beat
# the few that end the pyramid. With the second it fails: from a start far from the truth the
# alternation ends in the wrong place. The pyramid buys a good start, and it is cheap.
# </details>
#
# **2. A wrong size.** Tell `blind.estimate(blurred, psf_shape=..., prior="l0")` a psf of 9 pixels
# and of 45 pixels. Which of the two errors is worse?
#
# <details><summary>Solution</summary>
#
# ```python
# for size in (9, 21, 45):
#     k = blind.estimate_psf(blurred, size, prior="l0")
#     print(size, k.shape, round(psf_similarity(k, psf), 3))
# ```
#
# The box is a quarter larger than what is told, and the last polish lets a psf grow beyond it. So
# an error of this size costs less than one would fear: told too small, the psf comes out a little
# mutilated, told too large it has room for specks. Both end up below the right size.
# </details>
#
# **3. A sharp picture.** Give `blind.deblur` the sharp picture. What does it say, and why is it
# good that a method may refuse?
#
# <details><summary>Solution</summary>
#
# ```python
# answer = blind.deblur(sharp)
# print(answer.blurred, answer.psf.shape, answer.message)
# print(np.array_equal(answer.image, sharp))
# ```
#
# A single pixel explains the picture about as well as any kernel, so the picture comes back
# untouched. Notebook 10 is about this.
# </details>
#
# **4. Repair a kernel.** Damage the true kernel (cut what is below half of its maximum) and let
# `blind.refine_psf` mend it. How much of the damage is undone?
#
# <details><summary>Solution</summary>
#
# ```python
# damaged = deconv.psf.normalise(np.where(psf > 0.5 * psf.max(), psf, 0))
# mended = blind.refine_psf(blurred, damaged)
# for k in (damaged, mended):
#     print(round(psf_similarity(k, psf), 3))
# ```
#
# About a third. The kernel is drawn to the one given, so it is mended and not sought anew.
# </details>

# %% [markdown]
# ## Sources
#
# - Fergus et al. (2006), "Removing camera shake from a single photograph", ACM Trans. Graph. 25.
# - Cho and Lee (2009), "Fast motion deblurring", ACM Trans. Graph. 28: alternation on predicted
#   edges, kernel step on gradients.
# - Levin, Weiss, Durand and Freeman (2009), "Understanding and evaluating blind deconvolution
#   algorithms", CVPR: the trivial solution, the error ratio.
# - Xu, Zheng and Jia (2013), "Unnatural L0 sparse representation for natural image deblurring",
#   CVPR; Pan, Hu, Su and Yang (2014), "Deblurring text images via L0-regularized intensity and
#   gradient prior", CVPR: the picture of few edges.
# - Boracchi and Foi (2012), "Modeling the performance of image restoration from motion blur", IEEE
#   Trans. Image Process. 21: random camera paths.

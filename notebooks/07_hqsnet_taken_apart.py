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
# # 07 HQSNet taken apart
#
# **A solver with a hand-made prior goes round its loop fifty times. An unrolled network goes round
# five times. What is in the box, and which part of it is learned?**
#
# Notebook 04 explained half-quadratic splitting: a data step that knows the psf, and a prior step
# that knows pictures, in turn. USRNet (Zhang, Van Gool and Timofte 2020) writes a fixed number of
# these turns as a network and trains it as a whole. `unrolled.HQSNet` does so with the operators
# of `deconv`. Here we load the weights that ship with the library and run the loop by hand.

# %%
import copy

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.signal import fftconvolve
from skimage import data

import deconv
from deconv.denoisers import denoiser
from deconv.metrics import psnr
from deconv.operators import filled_solve
from unrolled import HQSNet, HyperParameterNet

plt.rcParams.update({"figure.dpi": 110, "font.size": 9, "image.cmap": "gray"})

net = HQSNet.from_pretrained("hqs-gray").eval().requires_grad_(False)
for name, part in net.named_children():
    print(f"{name:8s} {type(part).__name__:18s} {sum(p.numel() for p in part.parameters()):7d}")
print(f"momentum {tuple(net.momentum.shape)}, unseen {tuple(net.unseen.shape)}")
print(f"iterations {net.config.iterations}, fill-and-solve steps in each {net.config.steps}")

# %% [markdown]
# Nearly all parameters are in the **prior**, one residual U-Net that serves all five iterations.
# The **hyper-parameter net** is tiny. `momentum` belongs to the data step, `unseen` to the border;
# we come to both. The psf is in none of them: it enters through the operator.
#
# Our test picture is not one the network was trained on (those were BSDS500, the pictures of Yang
# et al. and some of ImageNet). The kernel is a shake, with 1 % of noise.

# %%
scene = data.camera()[50:290, 140:380] / 255
psf = deconv.psf.trajectory(25, shakiness=0.2, rng=22)
sigma = 0.01
radius = psf.shape[0] // 2
sharp = scene[radius:-radius, radius:-radius]
blurred = fftconvolve(scene, psf, mode="valid")
blurred = deconv.noise.simulate(blurred, sigma=sigma, rng=0)

y = torch.as_tensor(blurred, dtype=torch.float32)[None, None]
A = deconv.Blur(torch.as_tensor(psf, dtype=torch.float32)[None, None], blurred.shape)
level = torch.tensor([sigma])
print(f"observed {A.shape}, latent picture {A.domain}: what lies beyond the frame is unknown")


def score(x):
    """PSNR in dB of a latent picture, within the frame."""
    return psnr(sharp, A.crop(x)[0, 0].numpy(), data_range=1)


# %% [markdown]
# ## The loop
#
# Zhang et al. (2020), equations 6 to 8, in our notation:
#
# $$z_k = \arg\min_z \lVert A z - y \rVert^2 + \alpha_k \lVert z - x_{k-1} \rVert^2, \qquad
#   x_k = P(z_k, \beta_k)$$
#
# The first is a Tikhonov problem whose solution in Fourier space is one division. The second takes
# $z_k$ for a noisy picture with white noise of standard deviation $\beta_k$ and denoises it.
# Written out with the network's own modules:

# %%
alpha, beta = net.hyper(level)
x = A.embed(y)
hidden = 1 - A.coverage
steps = []
for k in range(net.config.iterations):
    z = filled_solve(A, y, alpha[:, k], x, momentum=net.momentum[k])
    below = (-z.min() - 2 * beta[:, k]).clamp(min=0)
    x = net.prior(z + below, beta[:, k, None, None, None] + net.unseen[k] * hidden) - below
    steps.append((z, x))

whole = net(y, A, level)
print(f"largest difference from net(y, A, sigma): {float((x - whole).abs().max()):.1e}")

# %% [markdown]
# These lines are the whole network. What is published assumes a periodic picture; here
# `filled_solve` replaces what was not observed by what the current estimate predicts, so that the
# closed form holds for a real frame (notebook 05). And the prior sees nothing `below` black but
# noise: blur takes contrast away, so the sharp picture is darker in places than anything that was
# observed, and photographs, which the prior learned from, end at black. Without biases it bears any
# brightness.
#
# ## Iteration by iteration

# %%
cut = np.s_[40:150, 60:170]
figure, axes = plt.subplots(2, len(steps), figsize=(9.6, 4.3), layout="constrained")
for k, (column, pair) in enumerate(zip(axes.T, steps, strict=True)):
    for axis, latent in zip(column, pair, strict=True):
        axis.imshow(A.crop(latent)[0, 0].numpy()[cut], vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(f"{'zx'[latent is pair[1]]}$_{k + 1}$: {score(latent):.1f} dB")
        axis.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("data step")
axes[1, 0].set_ylabel("prior")
plt.show()
print(f"blurred: {psnr(sharp, blurred, data_range=1):.2f} dB")

# %% [markdown]
# **What to see.** The last two columns are what the equations promise: the data step brings back
# detail and with it noise and ringing, and the prior takes them out. The first three are not.
# $x_1$ carries a fine chequered pattern and is *worse* than what it was made from, and $x_3$ is
# left noisy. Training only ever asked for a good *last* picture, so the pictures in the middle are
# scratch paper between the two modules, in whatever code suits them. "Each iteration restores a
# little more" is a story that the trained network does not tell:

# %%
figure, axis = plt.subplots(figsize=(5, 2.6), layout="constrained")
path = [score(latent) for pair in steps for latent in pair]
axis.plot(np.arange(len(path)) / 2 + 0.5, path, color="0.6", zorder=1)
for offset, label, colour in ((0, "after the data step", "C0"), (1, "after the prior", "C1")):
    place = np.arange(len(steps)) + 0.5 + offset / 2
    axis.scatter(place, path[offset::2], label=label, color=colour, zorder=2)
axis.axhline(score(A.embed(y)), color="0.8", linestyle="--", label="blurred")
axis.set(xlabel="iteration", ylabel="PSNR, dB", xticks=range(1, 6))
axis.legend()
plt.show()

# %% [markdown]
# ## The hyper-parameters
#
# $\alpha_k$ says how much the data step is held by the last picture, $\beta_k$ how much noise the
# prior takes out. Both come from the noise level by three 1 x 1 convolutions, as factors on the
# schedule of DPIR (Zhang et al. 2021): $\beta$ falls geometrically from 49/255 to $\sigma$, and
# $\alpha_k = 0.23\,\sigma^2 / \beta_k^2$. An untrained `HyperParameterNet` gives that schedule.

# %%
untrained = HyperParameterNet(net.config.iterations, net.config.hidden).requires_grad_(False)
levels = (0.003, 0.01, 0.03, 0.06)
figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
number = np.arange(1, net.config.iterations + 1)
for i, noise in enumerate(levels):
    learned = net.hyper(torch.tensor([noise]))
    planned = untrained(torch.tensor([noise]))
    for axis, mine, plan in zip(axes, learned, planned, strict=True):
        axis.semilogy(number, mine[0], "o-", color=f"C{i}", label=f"$\\sigma$ = {noise:.1%}")
        axis.semilogy(number, plan[0], "--", color=f"C{i}", alpha=0.6)
axes[0].set(xlabel="iteration", title="alpha, data step", xticks=number)
axes[1].set(xlabel="iteration", title="beta, prior", xticks=number)
axes[1].legend(title="learned; dashed: schedule", fontsize=8, loc="lower left")
plt.show()
for noise in (levels[0], levels[-1]):
    pair = [values[0].tolist() for values in net.hyper(torch.tensor([noise]))]
    for name, values in zip(("alpha", "beta"), pair, strict=True):
        print(f"sigma {noise:.1%}: {name:5s}", " ".join(f"{v:.2g}" for v in values))

# %% [markdown]
# **What to see.** Training began at the dashed lines. $\beta$ kept their order: strong denoising
# first, weak last, more of it for noisier pictures. $\alpha$ did not. Where the schedule trusts
# the data at first and the prior at last, the learned one holds the data step by far more than the
# schedule in the first iterations, less in the third, and ends, as the schedule does, at one value
# for all noise levels. Nothing asks $\beta_k$ to *be* a noise level or $\alpha_k$ to be a weight
# that a theory would name: the prior learned along with both.
#
# ## What each part is worth
#
# Take parts out one at a time and keep everything else as trained.


# %%
def without(change):
    """PSNR of the network after `change` has been done to a copy of it."""
    other = copy.deepcopy(net)
    change(other)
    return score(other(y, A, level))


def same_start(other):
    """The schedule in place of the learned hyper-parameters."""
    other.hyper = untrained


rows = {
    "as trained": score(whole),
    "schedule in place of alpha and beta": without(same_start),
    "no momentum in the data step": without(lambda other: other.momentum.zero_()),
    "prior not told what is unobserved": without(lambda other: other.unseen.zero_()),
    "no prior at all (the last z of alpha alone)": score(
        filled_solve(A, y, alpha[:, -1], A.embed(y), momentum=net.momentum[-1])
    ),
}
for name, value in rows.items():
    print(f"{value:6.2f} dB  {name}")

# %% [markdown]
# The prior is nearly everything, and the learned hyper-parameters are worth a good part of a
# decibel to it. Momentum and the map of what is unobserved hardly matter for this picture. An
# ablation of a trained network measures how much its parts rely on each other. A network trained
# without one of them would have adjusted, so this is not what they would be worth from the start.
#
# ## The prior alone is a denoiser
#
# The U-Net has no biases. So it is homogeneous, $P(c\,x, c\,\beta) = c\,P(x, \beta)$ (Mohan et al.
# 2020): a noise level that it never saw is no new problem. It began its training as a denoiser of
# white noise, and can serve where any denoiser can, for example in `deconv.plug_and_play`, the
# same loop with a hand-made schedule. Beside it the library's own denoiser, `"dct"` (thresholds on
# cosine transforms of small patches).

# %%
truth = torch.as_tensor(sharp, dtype=torch.float32)[None, None]
white = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
for noise in (0.01, 0.03, 0.1):
    noisy = truth + noise * white
    trio = {
        "noisy": noisy[0, 0].numpy(),
        "prior": net.prior(noisy, noise)[0, 0].numpy(),
        "dct": denoiser("dct", ndim=2)(noisy[0, 0].numpy(), noise),
    }
    scores = (f"{name} {psnr(sharp, x, data_range=1):.2f} dB" for name, x in trio.items())
    print(f"white noise of {noise:3.0%}:", ", ".join(scores))

off = (net.prior(0.3 * noisy, 0.3 * noise) - 0.3 * net.prior(noisy, noise)).abs().max()
print(f"P(0.3 x, 0.3 beta) against 0.3 P(x, beta): largest difference {float(off):.0e}")

# %%
loops = {
    "tv": deconv.tv(blurred, psf),
    "plug_and_play, dct": deconv.plug_and_play(blurred, psf),
    "plug_and_play, prior of HQSNet": deconv.plug_and_play(blurred, psf, net.prior.denoise),
    "HQSNet": net.restore(blurred, psf),
}
for name, picture in loops.items():
    print(f"{psnr(sharp, picture, data_range=1):6.2f} dB  {name}")

# %% [markdown]
# The last two rows hold the same U-Net, in a hand-made loop and in its own. Trained through its
# loop it has become a specialist: told the true level, it leaves white noise in, since in the loop
# its $\beta$ means something else. What it gained instead is a prior for the errors that *this*
# data step makes.
#
# ## Exercises
#
# **1. Fewer iterations.** `net.restore(..., callback=...)` calls back after each iteration, and
# `StopIteration` ends the work. Stop after 1, 2, ... 5. Can one save time that way, as with a
# solver?
#
# <details><summary>Solution</summary>
#
# ```python
# def stop_after(n):
#     def callback(state):
#         if state.iteration == n:
#             raise StopIteration
#     return callback
#
# for n in range(1, 6):
#     early = net.restore(blurred, psf, callback=stop_after(n))
#     print(n, round(psnr(sharp, early, data_range=1), 2))
# ```
#
# No. A solver may be stopped when it is good enough, since each of its iterations decreases the
# same objective. Here only the last picture was trained to be good, and the fourth is near it.
# </details>
#
# **2. A wrong noise level.** Tell the network `sigma` from a quarter to four times the true one.
# Is too low or too high worse? Explain it with $\alpha$ and $\beta$.
#
# <details><summary>Solution</summary>
#
# ```python
# for factor in (0.25, 0.5, 1, 2, 4):
#     told = net.restore(blurred, psf, sigma=factor * sigma)
#     print(factor, round(psnr(sharp, told, data_range=1), 2))
# ```
#
# Half the level costs less than half a decibel and twice the level one; four times the level costs
# about three, a quarter more than five. Too low: small $\alpha$ and $\beta$, the data step
# amplifies noise and the prior lets it pass. Too high: both are large and the result is smooth.
# </details>
#
# **3. The exact data step.** `A.prox(x, y, alpha)` solves the data step to a tolerance, where
# `filled_solve` makes six steps. How different are they, and does an exact data step give a better
# picture?
#
# <details><summary>Solution</summary>
#
# ```python
# x = A.embed(y)
# for k in range(5):
#     near = filled_solve(A, y, alpha[:, k], x, momentum=net.momentum[k])
#     z = A.prox(x, y, alpha[:, k], tol=1e-5)
#     print(k + 1, f"rms difference {float((near - z).square().mean().sqrt()):.1e}")
#     below = (-z.min() - 2 * beta[:, k]).clamp(min=0)
#     x = net.prior(z + below, beta[:, k, None, None, None] + net.unseen[k] * hidden) - below
# print(round(score(x), 2), "against", round(score(whole), 2))
# ```
#
# They differ by less than a hundredth of white, and the picture is no better for it: six steps
# with a trained momentum are exact enough.
# </details>
#
# ## Sources
#
# - Zhang, Van Gool and Timofte (2020), "Deep unfolding network for image super-resolution", CVPR:
#   the network (USRNet) and its hyper-parameter module.
# - Zhang et al. (2021), "Plug-and-play image restoration with deep denoiser prior", IEEE Trans.
#   Pattern Anal. Mach. Intell. 44: the schedule (DPIR).
# - Mohan et al. (2020), "Robust and interpretable blind image denoising via bias-free
#   convolutional neural networks", ICLR.
# - What differs here, and what it is worth on public test sets: the documentation's page on
#   trained networks, `docs/learned.md`.

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
# # 04 Priors
#
# **Very many pictures explain a blurred one equally well. Which of them is meant?**
#
# The data do not say: what the otf removed can be anything. A *prior* says which pictures are
# likely before any is seen. The Wiener filter of notebook 02 has one, too (all pictures with the
# right spectrum are alike to it), and pays for it with ripples and noise. This notebook compares
# four others: total variation, the hyper-Laplacian, the L0 gradient, and any denoiser at all.

# %%
import matplotlib.pyplot as plt
import numpy as np
from skimage import data, transform
from skimage.restoration import denoise_bilateral

import deconv
from deconv.priors import HyperLaplacian, L0Gradient, TotalVariation

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


def psnr(true, picture):
    """Peak signal-to-noise ratio in dB, on a scale where white is 1."""
    return deconv.metrics.psnr(true, picture, data_range=1)


photograph = data.camera()[80:272, 160:352] / 255
phantom = transform.resize(data.shepp_logan_phantom(), (192, 192), order=0, anti_aliasing=False)
psf = deconv.psf.defocus(3.0)
A = deconv.Blur(psf, photograph.shape, boundary="periodic")
sigma = 0.01
y = deconv.noise.simulate(A(photograph), sigma=sigma, rng=0)
y_phantom = deconv.noise.simulate(A(phantom), sigma=sigma, rng=1)
show({"photograph": photograph, "blurred": y, "phantom": phantom, "blurred ": y_phantom}, width=2.3)

# %% [markdown]
# Two scenes that differ in kind: a photograph, and the Shepp-Logan phantom, which consists of flat
# areas. Both are blurred by a disk of radius 3, with noise of 1 %. (The border is periodic, as in
# notebooks 01 and 02.)
#
# ## 1. What sharp pictures have in common
#
# Take the difference of neighbouring pixels, and count how often each size occurs.

# %%
differences = np.diff(data.camera() / 255, axis=1).ravel()
sigma_d = differences.std()
v = np.linspace(-0.6, 0.6, 241)
counted, edges = np.histogram(differences, bins=121, range=(-0.6, 0.6), density=True)


def density(p):
    """exp(-|v/s|^p), normalised, of the standard deviation of the differences."""
    u = np.linspace(-60, 60, 2_000_001)
    w = np.exp(-(np.abs(u) ** p))
    s = sigma_d / np.sqrt(np.sum(u**2 * w) / np.sum(w))
    return np.exp(-(np.abs(v / s) ** p)) / (np.sum(w) * (u[1] - u[0]) * s)


fig, ax = plt.subplots(figsize=(6.5, 3.3))
ax.semilogy((edges[1:] + edges[:-1]) / 2, counted, "k.", ms=4, label="photograph")
for p, name in {
    2: "Gaussian, p = 2",
    1: "Laplacian, p = 1",
    0.5: "hyper-Laplacian, p = 0.5",
}.items():
    ax.semilogy(v, density(p), lw=1.2, label=name)
ax.set(ylim=(1e-3, 200), xlim=(-0.6, 0.6), xlabel="difference of neighbours", ylabel="density")
ax.legend(fontsize=9)
plt.show()

# %% [markdown]
# The differences of a whole photograph (dots) beside three densities $\propto \exp(-|v/s|^p)$ of
# the same standard deviation. Most differences are close to zero, and a few are very large: a sharp
# peak and heavy tails. The Gaussian, which stands behind all linear filters, has neither. To it an
# edge of 0.4 is all but impossible, so it smooths the edge. With $p$ well below 1 the density
# follows the dots (Simoncelli 1997; Levin et al. 2007).
#
# Maximising the probability of the picture given the data is minimising
#
# $$ \tfrac12 \lVert A x - y \rVert^2 + \lambda \sum \varphi(\nabla x), $$
#
# the misfit plus a penalty, the negative logarithm of the prior:
#
# | penalty | $\varphi$ | function |
# |---|---|---|
# | total variation (Rudin, Osher and Fatemi 1992) | $\lvert v\rvert$ | `deconv.tv` |
# | hyper-Laplacian (Krishnan and Fergus 2009) | $\lvert v\rvert^{2/3}$ | `deconv.hyper_laplacian` |
# | L0 gradient (Xu, Lu, Xu and Jia 2011) | 1 where $v \ne 0$ | `deconv.l0_gradient` |
#
# ## 2. Splitting: the prior as a shrinkage
#
# The misfit is easy in the Fourier domain, the penalty is easy pixel by pixel, the sum is neither.
# So give each its own variable and tie the two: $g$ stands for $\nabla x$,
#
# $$ \min_{x, g}\; \tfrac12\lVert A x - y\rVert^2 + \tfrac\rho2 \lVert \nabla x - g \rVert^2
#    + \lambda \sum \varphi(g), $$
#
# and minimise in turn, with a growing $\rho$. This is half-quadratic splitting (Geman and Yang
# 1995; Wang, Yang, Yin and Zhang 2008). The step in $x$ is a Wiener-like division. The step in $g$
# is the *proximal map* of $\varphi$: for each pixel, the value that balances the penalty and the
# distance to what is there.

# %%
v = np.linspace(-3, 3, 601)
maps = {
    "TV: soft": TotalVariation().prox(v[None], 1.0)[0],
    "hyper-Laplacian": HyperLaplacian(2 / 3).prox(v[None], 1.0)[0],
    "L0: hard": L0Gradient().prox(v[None], 1.0)[0],
}
fig, axes = plt.subplots(1, 3, figsize=(9, 2.8), sharex=True, sharey=True)
for ax, (name, out) in zip(axes, maps.items(), strict=True):
    ax.plot(v, v, color="0.7", lw=0.8)
    ax.plot(v, out)
    ax.set(title=name, xlabel="gradient in")
axes[0].set_ylabel("gradient out")
plt.show()

# %% [markdown]
# The three proximal maps, of step 1; the grey line would leave everything as it is. All three set
# small gradients, which are mostly noise, to zero. They differ in what happens to large ones. TV
# takes the same amount from each, so contrast is lost. The hyper-Laplacian takes less the larger
# the gradient is. L0 keeps or deletes, and takes nothing from what it keeps.
#
# The whole solver, written out for TV:


# %%
def split_tv(y, A, lam, n_iter=40):
    """Half-quadratic splitting on a periodic frame, as in Wang et al. (2008)."""
    prior, x = TotalVariation(), y.copy()
    fy, fx = np.fft.fftfreq(y.shape[0])[:, None], np.fft.rfftfreq(y.shape[1])
    laplacian = 4 * np.sin(np.pi * fy) ** 2 + 4 * np.sin(np.pi * fx) ** 2
    for rho in np.geomspace(lam, 3000 * lam, n_iter):
        gradient = np.stack([np.roll(x, -1, axis) - x for axis in (0, 1)])
        g = prior.prox(gradient, lam / rho)
        back = sum(np.roll(g[axis], 1, axis) - g[axis] for axis in (0, 1))
        x = A.solve(A.correlate(y) + rho * back, rho * laplacian)
    return x


lam = 6e-4
ours, theirs = split_tv(y, A, lam), deconv.tv(y, A, lam=lam, tol=0, n_iter=200)
print(f"blurred           {psnr(photograph, y):.2f} dB")
print(f"ours              {psnr(photograph, ours):.2f} dB")
print(f"deconv.tv         {psnr(photograph, theirs):.2f} dB")
print(f"the two differ by {np.sqrt(np.mean((ours - theirs) ** 2)):.4f} rms")


def objective(x):
    """Misfit and total variation, as they are minimised."""
    gradient = np.stack([np.roll(x, -1, axis) - x for axis in (0, 1)])
    return np.sum((A(x) - y) ** 2) / 2 + lam * TotalVariation().value(gradient)


print(f"objective: ours {objective(ours):.4f}, deconv.tv {objective(theirs):.4f}")

# %% [markdown]
# A dozen lines. The library's solver is ADMM, which goes to the minimum itself and has no schedule
# to choose. A lower objective need not mean a higher PSNR, as the lines above show: the minimum is
# the best picture by the prior, and TV is not the whole truth about photographs. Beyond that the
# library knows frames, missing pixels, colours and bounds.
#
# ## 3. Four priors on two scenes
#
# All with no options: each function finds the noise and the weight from the blurred picture.

# %%
solvers = {
    "wiener": deconv.wiener,
    "tv": deconv.tv,
    "hyper_laplacian": deconv.hyper_laplacian,
    "l0_gradient": deconv.l0_gradient,
    "plug_and_play": deconv.plug_and_play,
}
on_photograph = {name: solve(y, A) for name, solve in solvers.items()}
on_phantom = {name: solve(y_phantom, A) for name, solve in solvers.items()}
print("PSNR in dB        photograph   phantom")
print(f"{'blurred':17}{psnr(photograph, y):9.2f}{psnr(phantom, y_phantom):12.2f}")
for name in solvers:
    scores = psnr(photograph, on_photograph[name]), psnr(phantom, on_phantom[name])
    print(f"{name:17}{scores[0]:9.2f}{scores[1]:12.2f}")

part = (slice(50, 130), slice(70, 150))
show({name: x[part] for name, x in {**on_photograph, "scene": photograph}.items()}, width=1.75)
part = (slice(60, 140), slice(56, 136))
show({name: x[part] for name, x in {**on_phantom, "scene": phantom}.items()}, width=1.75, white=0.5)

# %% [markdown]
# A part of each scene, enlarged; the phantom is shown with its contrast doubled. On the phantom the
# order is that of how well the prior describes it: it *is* few edges between flat areas. On the
# photograph the L0 prior makes a drawing, which is wrong, and the priors in between, or the
# denoiser, which knows textures, do best. There is no best prior, only one that fits what is in the
# picture. (Single bright pixels in the middle columns are noise that was taken for edges.)
#
# ## 4. The weight
#
# How much to trust the prior is a question of its own. The default is a closed rule: a power law in
# the noise level, the gradient of the scene and the degrees of freedom, fitted once on photographs
# (`deconv.prior_weight`).

# %%
lams = np.geomspace(1e-5, 1e-2, 13)
noises = {0.003: "C0", 0.01: "C1", 0.03: "C2"}
fig, ax = plt.subplots(figsize=(6.5, 3.2))
for level, colour in noises.items():
    noisy = deconv.noise.simulate(A(photograph), sigma=level, rng=2)
    curve = [psnr(photograph, deconv.tv(noisy, A, lam=lam)) for lam in lams]
    found = psnr(photograph, deconv.tv(noisy, A))
    ax.semilogx(lams, curve, color=colour, label=f"noise {level:.1%}")
    ax.axhline(found, color=colour, ls="--", lw=1)
    print(
        f"noise {level:.1%}: best {max(curve):.2f} dB, near weight {lams[np.argmax(curve)]:.1e}; "
        f"by the rule {found:.2f} dB"
    )
ax.set(xlabel="weight of TV", ylabel="PSNR (dB)", ylim=(18, None))
ax.legend(fontsize=9)
plt.show()

# %% [markdown]
# PSNR over the weight for three noise levels (curves), and what the rule reaches without the scene
# (dashed). The best weight grows faster than the noise, and the rule follows it.
#
# ## 5. Plug and play: a denoiser is a prior
#
# In splitting, the prior appears only as its proximal map, and the proximal map of a penalty *is* a
# denoiser: the most likely picture near a noisy one. So put any denoiser there, whether it comes
# from a penalty or not (Venkatakrishnan, Bouman and Wohlberg 2013). `plug_and_play` takes the name
# of one of the library's denoisers, or any function of a picture and a noise level.


# %%
dct, nl_means = (deconv.denoisers.denoiser(name) for name in ("dct", "nl_means"))


def mixed(v, sigma):
    """Half of each."""
    return (dct(v, sigma) + nl_means(v, sigma)) / 2


def bilateral(v, sigma):
    """Scikit-image's bilateral filter, with its range set by the noise."""
    low, high = v.min(), v.max()
    scaled = (v - low) / (high - low)
    smooth = denoise_bilateral(scaled, sigma_color=2 * sigma / (high - low), sigma_spatial=1.5)
    return smooth * (high - low) + low


plugs = {"tv": "tv", "nl_means": "nl_means", "dct": "dct", "mixed": mixed, "bilateral": bilateral}
for name, denoise in plugs.items():
    print(f"denoiser {name:10} {psnr(photograph, deconv.plug_and_play(y, A, denoise)):.2f} dB")
print(f"blurred             {psnr(photograph, y):.2f} dB")

# %% [markdown]
# A TV denoiser, non-local means, a cosine transform of overlapping blocks, the mean of the last
# two, which is the minimum of nothing in particular, and scikit-image's bilateral filter. The last
# fails: it keeps a pixel that differs much from all of its neighbours as it is, so the strongest
# noise survives it. What may be plugged in is what returns a likely picture for noise of the level
# it is told. Notebook 07 puts a trained network in this place.

# %% [markdown]
# ## Exercises
#
# **1. The power.** Restore both scenes by `hyper_laplacian` with `p` of 0.4, 0.6, 0.8 and 1. Which
# scene wants which power?
#
# <details><summary>Solution</summary>
#
# ```python
# for p in (0.4, 0.6, 0.8, 1.0):
#     a = psnr(photograph, deconv.hyper_laplacian(y, A, p=p))
#     b = psnr(phantom, deconv.hyper_laplacian(y_phantom, A, p=p))
#     print(f"p = {p}: photograph {a:.2f} dB, phantom {b:.2f} dB")
# ```
#
# The sparser the gradients of the scene, the smaller the power that suits it. The weight is found
# for each power, so only the form of the penalty changes here.
# </details>
#
# **2. Stairs.** Make a scene that is a smooth wave along one axis, `0.5 + 0.3 * np.sin(t)` over
# three periods, blur it, and add 5 % of noise. Restore it by TV with `lam=0.05`, and with the
# *square* of the gradient as penalty, which is `A.solve(A.correlate(noisy), laplacian)` with the
# `laplacian` of `split_tv`. Plot a row of each. What does TV make of the wave, and why?
#
# <details><summary>Solution</summary>
#
# ```python
# t = 6 * np.pi * np.arange(192) / 192
# wave = np.tile(0.5 + 0.3 * np.sin(t), (192, 1))
# noisy = deconv.noise.simulate(A(wave), sigma=0.05, rng=3)
# fy, fx = np.fft.fftfreq(192)[:, None], np.fft.rfftfreq(192)
# laplacian = 4 * np.sin(np.pi * fy) ** 2 + 4 * np.sin(np.pi * fx) ** 2
# restored = {
#     "TV": deconv.tv(noisy, A, lam=0.05, n_iter=300, tol=1e-4),
#     "squared gradient": A.solve(A.correlate(noisy), laplacian),
# }
# fig, axes = plt.subplots(1, 2, figsize=(8, 2.8), sharey=True)
# for ax, (title, x) in zip(axes, restored.items()):
#     ax.plot(wave[96], color="0.6")
#     ax.plot(x[96])
#     ax.set(title=title, xlabel="pixel")
# plt.show()
# ```
#
# Stairs: flat treads with small jumps, and flat tops. TV charges a slope and a jump of the same
# height alike, so it has nothing against jumps, and flat treads fit the noise at no cost. Where
# scenes are smooth, TV is the wrong prior.
# </details>
#
# **3. Contrast.** Predict from the soft shrinkage of section 2 what TV does to the height of a thin
# bright line. Check it on a line of width 3 and height 0.5 on black, with `lam` of 0.001, 0.01,
# 0.03.
#
# <details><summary>Solution</summary>
#
# ```python
# line = np.zeros((64, 64))
# line[:, 30:33] = 0.5
# B = deconv.Blur(psf, line.shape, boundary="periodic")
# for lam in (0.001, 0.01, 0.03):
#     x = deconv.tv(B(line), B, lam=lam, tol=0, n_iter=300)
#     print(f"lam {lam}: height {x[:, 31].mean():.3f}")
# ```
#
# It loses height, and more the larger the weight: to lower the line by $h$ saves $2 \lambda h$ per
# row and costs a misfit that grows only as $h^2$.
# </details>
#
# ## Sources
#
# - E. P. Simoncelli, *Statistical models for images*, Asilomar 1997; A. Levin, R. Fergus, F. Durand
#   and W. T. Freeman, *Image and depth from a conventional camera with a coded aperture*, ACM
#   Trans. Graph. 26, 2007: the gradients of photographs.
# - L. I. Rudin, S. Osher and E. Fatemi, *Nonlinear total variation based noise removal algorithms*,
#   Physica D 60, 1992.
# - D. Geman and C. Yang, *Nonlinear image recovery with half-quadratic regularization*, IEEE Trans.
#   Image Process. 4, 1995; Y. Wang, J. Yang, W. Yin and Y. Zhang, *A new alternating minimization
#   algorithm for total variation image reconstruction*, SIAM J. Imaging Sci. 1, 2008: the solver of
#   section 2.
# - D. Krishnan and R. Fergus, *Fast image deconvolution using hyper-Laplacian priors*, NIPS 2009;
#   L. Xu, C. Lu, Y. Xu and J. Jia, *Image smoothing via L0 gradient minimization*, ACM Trans.
#   Graph. 30, 2011.
# - S. V. Venkatakrishnan, C. A. Bouman and B. Wohlberg, *Plug-and-play priors for model based
#   reconstruction*, GlobalSIP 2013.

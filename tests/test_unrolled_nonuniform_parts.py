"""What non-uniform blur is made of: fields of psfs, layers, rotation."""

import numpy as np
import pytest
import scipy.signal
from scipy.ndimage import gaussian_filter, map_coordinates

torch = pytest.importorskip("torch")

from deconv import psf as psfs  # noqa: E402
from deconv.operators import Blur  # noqa: E402
from unrolled import kernel_fields, rotation  # noqa: E402
from unrolled.kernel_fields import MARGIN, Field, KernelFields, shake, splat  # noqa: E402
from unrolled.layers import composite, random_mask  # noqa: E402
from unrolled.rotation import farthest, rolled  # noqa: E402


def spread(x):
    return float(x.square().mean().sqrt())


def noise(shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


# -- psfs ------------------------------------------------------------------------------------------


def grids(fields):
    rng = np.random.default_rng(3)
    for length in (3.0, 8.0, 25.0):
        for draw in (
            lambda n: fields.rolling(n, 128, rng),
            lambda n: fields.slanted(n, rng),
            lambda n: fields.nearby(n, rng),
            lambda n: Field(fields.uniform(n, rng)[None, None]),
        ):
            for _ in range(5):
                yield length, draw(length)


def test_every_psf_is_centred_and_sums_to_1():
    fields = KernelFields(33, 25)
    for _, field in grids(fields):
        assert field.psfs.dtype == np.float32 and field.psfs.min() >= 0
        for psf in field.psfs.reshape(-1, 33, 33):
            assert abs(psf.sum() - 1) < 1e-5
            assert np.allclose(psfs.centroid(psf), 16, atol=1e-3)


def test_lengths_are_as_asked_for():
    fields, rng = KernelFields(33, 25), np.random.default_rng(0)
    for length in (4.0, 10.0, 20.0):
        for _ in range(20):
            for psf in fields.rolling(length, 128, rng).psfs.reshape(-1, 33, 33):
                lit = np.argwhere(psf > 0.02 * psf.max())
                # Splat and optics add some pixels to either end.
                assert np.hypot(*np.ptp(lit, axis=0)) < length + 8
    assert np.allclose(fields._round(np.array(10.0), fields.tables[0]), psfs.defocus(5.0, size=33))


def test_neighbours_in_a_field_differ_a_little_and_ends_more():
    fields, rng = KernelFields(33, 25), np.random.default_rng(0)
    steps, ends = [], []
    for _ in range(30):
        grid = fields.rolling(20, 128, rng).psfs
        wide = grid.reshape(*grid.shape[:2], -1)
        steps += [np.abs(wide[1:] - wide[:-1]).sum(-1).mean()]
        ends += [np.abs(wide[-1] - wide[0]).sum(-1).mean()]
    assert 0.05 < np.mean(steps) < np.mean(ends) < 2
    assert {2, 3} <= {fields.rolling(20, 128, rng).psfs.shape[0] for _ in range(30)} <= {2, 3, 4}


def test_a_slanted_plane_grows_along_one_direction():
    fields, rng = KernelFields(33, 25), np.random.default_rng(0)
    widths, corners = [], set()
    for _ in range(40):
        field = fields.slanted(20, rng)
        assert 2 <= min(field.psfs.shape[:2]) <= max(field.psfs.shape[:2]) <= 4
        widths.append(1 / (field.psfs.astype(float) ** 2).sum((-2, -1)))
        ends = widths[-1][:: len(widths[-1]) - 1, :: widths[-1].shape[1] - 1]
        corners.add(int(ends.argmax()))
    assert corners == {0, 1, 2, 3}
    assert np.median([w.max() / w.min() for w in widths]) > 1.5
    assert {f.order for f in (fields.slanted(20, rng) for _ in range(20))} == {"gather", "scatter"}


def test_a_path_becomes_its_psf():
    t = (np.arange(4000) + 0.5) / 4000 - 0.5
    line = splat((t[:, None] * [0, 8.0])[None], 17)[0]
    assert line[8, 8] == pytest.approx(1 / 8, rel=1e-3)
    assert line.sum() == pytest.approx(1) and line[7].sum() == line[9].sum() == 0
    path = shake(np.random.default_rng(0))
    assert np.allclose(path.mean(0), 0, atol=1e-12)
    assert np.hypot(*np.ptp(path, axis=0)) == pytest.approx(1)
    with pytest.raises(ValueError, match=r"paths go 10 .*at most 8 for size=17"):
        splat(np.full((1, 5, 2), 10.0), 17)


def test_optics_lose_no_light():
    psf = np.zeros((1, 17, 17))
    psf[0, MARGIN, -MARGIN - 1] = 1
    assert kernel_fields._softened(psf, 0.9).sum() == pytest.approx(1)


# -- layers ----------------------------------------------------------------------------------------


def blurs(*kernels):
    return [Blur(torch.from_numpy(np.asarray(k, np.float32)), (40, 40)) for k in kernels]


def asymmetric(seed):
    psf = np.random.default_rng(seed).random((9, 9))
    return psf / psf.sum()


def test_layers_that_stand_still_are_the_sharp_picture():
    single = np.zeros((9, 9))
    single[4, 4] = 1
    A, B = blurs(single, single)
    back, front, mask = noise((3, *A.domain)), noise((3, *A.domain), 1), noise(A.domain, 2)
    blurred, sharp = composite(back, front, mask, A, B)
    assert torch.allclose(blurred, sharp, atol=1e-5)
    assert torch.allclose(sharp, A.crop((1 - mask) * back + mask * front), atol=1e-6)


def test_equal_layers_under_a_flat_mask_are_a_uniform_blur():
    A, B = blurs(asymmetric(0), asymmetric(0))
    scene = noise((3, *A.domain))
    for level in (0.0, 0.4, 1.0):
        blurred, _ = composite(scene, scene, torch.full(A.domain, level), A, B)
        assert torch.allclose(blurred, A(scene), atol=1e-5)
    half = torch.zeros(A.domain)
    half[:, half.shape[1] // 2 :] = 1
    away = torch.ones(40, dtype=torch.bool)
    middle = half.shape[1] // 2 - A.frame.origin[1]
    away[middle - 5 : middle + 5] = False
    blurred, _ = composite(scene, scene, half, A, B)
    assert torch.allclose(blurred[..., away], A(scene)[..., away], atol=1e-5)
    assert not torch.allclose(blurred, A(scene), atol=1e-3)


def test_layers_follow_the_formula():
    behind, before = asymmetric(1), asymmetric(2)
    A, B = blurs(behind, before)
    back, front, mask = noise((1, *A.domain)), noise((1, *A.domain), 1), noise(A.domain, 2)

    def valid(x, k):
        return scipy.signal.convolve2d(x.numpy()[:48, :48], k, mode="valid")

    expected = (1 - valid(mask, before)) * valid(back[0], behind) + valid(mask * front[0], before)
    assert np.allclose(composite(back, front, mask, A, B)[0][0].numpy(), expected, atol=1e-5)


def test_masks_are_objects_with_soft_edges():
    sizes, edges = [], []
    for seed in range(20):
        mask = random_mask(120, np.random.default_rng(seed), torch.zeros(()))
        assert mask.shape == (120, 120) and mask.min() == 0 and mask.max() == 1
        sizes.append(float(mask.mean()))
        edges.append(float(mask.diff(dim=-1).abs().max()))
    assert 0.01 < min(sizes) and max(sizes) < 0.6 and 0.05 < np.mean(sizes) < 0.35
    assert min(edges) < 0.6 and max(edges) <= 1


# -- rotation --------------------------------------------------------------------------------------


def test_no_rotation_is_no_change():
    light = noise((3, 60, 60))
    assert torch.allclose(rolled(light, (5.0, 31.0), 0.0, 40), light[:, 10:50, 10:50], atol=1e-4)


def rings(side, centre):
    y, x = np.mgrid[:side, :side]
    far = np.hypot(y - centre[0], x - centre[1])
    return torch.tensor(np.cos(far / 4)[None], dtype=torch.float32)


@pytest.mark.parametrize("centre", [(19.5, 19.5), (8.0, 30.5), (-12.0, 20.0)])
def test_rotation_keeps_what_is_symmetric_about_its_centre(centre):
    light = rings(60, (centre[0] + 10, centre[1] + 10))
    seen = rolled(light, centre, 0.3, 40)
    assert abs(seen - light[:, 10:50, 10:50]).max() < 0.01
    off = rolled(light, (centre[0] + 25, centre[1]), 0.3, 40)
    assert abs(off - light[:, 10:50, 10:50]).max() > 0.05


def test_rotation_draws_even_arcs_about_its_middle():
    y, x = np.mgrid[:120, :120]
    dot = torch.tensor(np.exp(-((y - 60) ** 2) - (x - 100) ** 2)[None], dtype=torch.float32)
    seen = rolled(dot, (50.0, 50.0), 0.4, 100)[0]
    turns = np.linspace(-0.15, 0.15, 60)
    arc = map_coordinates(seen.numpy(), [50 + 40 * np.sin(turns), 50 + 40 * np.cos(turns)], order=3)
    assert arc.min() > 0.7 * arc.max() > 0
    assert np.abs(np.diff(arc)).max() < 0.03 * arc.max()
    assert torch.allclose(seen, seen.flip(0).roll(1, 0), atol=1e-4)  # row 50 is the middle


def test_finer_steps_change_nothing(monkeypatch):
    light = torch.from_numpy(
        gaussian_filter(np.random.default_rng(0).random((3, 60, 60)), (0, 1, 1))
    )
    light = light.to(torch.float32)
    coarse = rolled(light, (3.0, 12.0), 0.25, 40)
    monkeypatch.setattr(rotation, "STEP", 0.1)
    assert spread(coarse - rolled(light, (3.0, 12.0), 0.25, 40)) < 0.05 * spread(
        light - light.mean()
    )


def test_the_farthest_corner():
    assert farthest((0.0, 0.0), 31) == pytest.approx(30 * 2**0.5)
    assert farthest((15.0, -10.0), 31) == pytest.approx(np.hypot(15, 40))

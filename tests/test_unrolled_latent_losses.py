"""What training makes small, on tiny examples by hand."""

import math

import pytest

torch = pytest.importorskip("torch")

from deconv.operators import Blur, StridedBlur  # noqa: E402
from unrolled.hqs import HQSNet  # noqa: E402
from unrolled.latent_losses import denoised_l1, latent_l1, latent_psnr  # noqa: E402
from unrolled.losses import GOOD, TYPICAL  # noqa: E402
from unrolled.synthesis import Batch  # noqa: E402


def giving(x):
    """A network whose answer is `x`."""
    return lambda *_: x


def test_denoised_l1_by_hand():
    sharp = torch.zeros(2, 1, 4, 4)
    x = sharp.clone()
    x[1, 0, 2, 3] = -0.8
    assert float(denoised_l1(giving(x), (sharp, sharp + 1, torch.ones(2)))) == pytest.approx(0.025)


def test_latent_l1_by_hand():
    A = Blur(torch.full((1, 1, 3, 3), 1 / 9), (6, 6))
    assert A.domain == (8, 8)
    sharp = torch.zeros(2, 1, 8, 8)
    batch = Batch(sharp, A, torch.zeros(2, 1, 6, 6), torch.ones(2))
    # Of 28 pixels around the frame, 4 send a ninth of their light into it, 8 two and 16 three.
    total = 36 + (4 * 1 + 8 * 2 + 16 * 3) / 9
    assert float(latent_l1(giving(sharp + 0.5), batch)) == pytest.approx(0.5)
    for at, weight in (((3, 4), 1), ((1, 1), 1), ((0, 4), 3 / 9), ((1, 0), 2 / 9), ((0, 0), 1 / 9)):
        x = sharp.clone()
        x[1, 0, *at] = -0.3
        assert float(latent_l1(giving(x), batch)) == pytest.approx(weight * 0.3 / total / 2)


def test_latent_l1_asks_for_no_more_than_white():
    A = Blur(torch.full((1, 1, 3, 3), 1 / 9), (6, 6))
    sharp = torch.full((1, 3, 8, 8), 2.0)
    clipped = torch.ones(1, 3, 6, 6, dtype=torch.bool)
    batch = Batch(sharp, A, sharp[..., :6, :6], torch.ones(1), clipped)
    assert float(latent_l1(giving(torch.full_like(sharp, 5.0)), batch)) == 0
    assert float(latent_l1(giving(torch.full_like(sharp, 0.75)), batch)) == pytest.approx(0.25)
    plain = Batch(sharp, A, batch.observed, batch.sigma)
    assert float(latent_l1(giving(torch.full_like(sharp, 5.0)), plain)) == pytest.approx(3)


@pytest.mark.parametrize("channels", [1, 3])
def test_latent_l1_of_a_strided_blur(channels):
    psf = torch.full((2, 1, 5, 5), 1 / 25)
    A = StridedBlur(psf, (16, 16), 2, weights=torch.ones(2, 1, 16, 16))
    sharp = torch.rand(2, channels, *A.domain)
    observed = A(sharp)
    batch = Batch(sharp, A, observed, torch.full((2,), 0.01), observed > 0.9)
    torch.manual_seed(0)
    net = HQSNet.preset("tiny", channels=channels, widths=(4, 8), blocks=1, iterations=2)
    value = latent_l1(net, batch)
    value.backward()
    assert value.shape == ()
    assert 0 < value.item() < 1
    assert float(latent_l1(giving(sharp + 0.0), batch)) == 0


def test_latent_psnr_by_hand():
    A = Blur(torch.full((1, 1, 3, 3), 1 / 9), (6, 6))
    sharp = torch.zeros(2, 1, 8, 8)
    batch = Batch(sharp, A, torch.zeros(2, 1, 6, 6), torch.ones(2))
    x = sharp.clone()
    x[0], x[1] = 0.1, -0.2
    expected = sum(math.log((e**2 + GOOD**2) / TYPICAL**2) for e in (0.1, 0.2)) / 2
    assert float(latent_psnr(giving(x), batch)) == pytest.approx(TYPICAL / 2 * expected, rel=1e-5)
    # Near a typical error it changes as fast as the absolute error does.
    errors = (TYPICAL, 1.02 * TYPICAL)
    slope = [
        float(loss(giving(sharp + errors[1]), batch) - loss(giving(sharp + errors[0]), batch))
        for loss in (latent_l1, latent_psnr)
    ]
    assert slope[1] == pytest.approx(slope[0], rel=0.2)

"""The mean over flips and turns: it turns with the picture, and turns back what it turned."""

import numpy as np
import pytest
from helpers import scene_and_blurred

from deconv import psf

torch = pytest.importorskip("torch")

from unrolled import HQSNet, ResUNet  # noqa: E402
from unrolled.crops import TURNS, turned, turned_back  # noqa: E402


def network(cls, *args, **options):
    """Random weights, also where training starts from zeros."""
    torch.manual_seed(0)
    net = cls(*args, **options)
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d) and not module.weight.any():
            torch.nn.init.normal_(module.weight, std=0.05)
    return net.eval()


@pytest.mark.parametrize("way", range(TURNS))
def test_back_again(way):
    x = torch.arange(2 * 3 * 5.0).reshape(2, 1, 3, 5)
    assert torch.equal(turned_back(turned(x, way), way), x)


def test_all_ways_differ():
    x = torch.arange(9.0).reshape(3, 3)
    assert len({tuple(turned(x, way).reshape(-1).tolist()) for way in range(TURNS)}) == TURNS


@pytest.mark.parametrize("tile", [None, 8])
def test_the_mean_turns_with_the_picture(tile):
    net = network(ResUNet, 1, (4, 8), blocks=1)
    x = torch.rand(2, 1, 16, 24, generator=torch.Generator().manual_seed(0))
    noise = 0.1 + 0.05 * x
    with torch.no_grad():
        whole = net.ensembled(x, noise, tile)
        assert not torch.allclose(whole, net(x, noise), atol=1e-4)
        for way in (1, 3, 6):
            other = net.ensembled(turned(x, way), turned(noise, way), tile)
            torch.testing.assert_close(turned_back(other, way), whole, rtol=0, atol=1e-5)


def test_restored_pictures_turn_too():
    net = network(HQSNet.preset, "tiny", widths=(4, 8), blocks=1, iterations=2)
    kernel = psf.motion(7, 30)
    _, blurred = scene_and_blurred(kernel, "camera", 64, 0.01)
    options = {"sigma": 0.01, "boundary": "periodic", "ensemble": True}
    found = net.restore(blurred, kernel, **options)
    other = net.restore(np.fliplr(blurred).copy(), np.fliplr(kernel).copy(), **options)
    np.testing.assert_allclose(np.fliplr(other), found, rtol=0, atol=1e-4)
    plain = net.restore(blurred, kernel, **options | {"ensemble": False})
    assert np.abs(plain - found).max() > 1e-4


def test_it_is_the_better_picture():
    pytest.importorskip("safetensors")
    net = HQSNet.from_pretrained("hqs-gray")
    kernel = psf.trajectory(15, rng=3)
    sharp, blurred = scene_and_blurred(kernel, "camera", 128, 0.02)

    def error(**options):
        return np.mean((net.restore(blurred, kernel, sigma=0.02, **options) - sharp) ** 2)

    assert error(ensemble=True) < error()

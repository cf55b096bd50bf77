"""Muon beside torch's own, which takes matrices one by one, and beside torch's Adam."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from unrolled.muon import Muon, orthogonal  # noqa: E402

SHAPES = [(16, 16), (16, 40), (40, 16)]


def gradients(parameters, number):
    generator = torch.Generator().manual_seed(number)
    for p in parameters:
        p.grad = torch.randn(p.shape, generator=generator)


def trained(parameters, optimizer, steps=5, first=0):
    for number in range(first, first + steps):
        gradients(parameters, number)
        optimizer.step()
    return [p.detach().clone() for p in parameters]


def fresh(shapes):
    generator = torch.Generator().manual_seed(9)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


@pytest.mark.parametrize("rows, columns", [(16, 16), (16, 64), (31, 40)])
def test_singular_values_become_one(rows, columns):
    matrices = torch.randn(3, rows, columns, generator=torch.Generator().manual_seed(0))
    before = torch.linalg.svdvals(matrices)
    after = torch.linalg.svdvals(orthogonal(matrices).float())
    assert (before.max() / before.min()) > 2
    # What is below a thousandth of the norm has not arrived yet.
    far = before > 0.02 * torch.linalg.matrix_norm(matrices)[:, None]
    assert after[far].min() > 0.6 and after.max() < 1.3


def test_matrices_move_as_by_torch():
    own, others = fresh(SHAPES), fresh(SHAPES)
    options = {"weight_decay": 0.0, "momentum": 0.95, "adjust_lr_fn": "match_rms_adamw"}
    found = trained(own, Muon(own, lr=0.01))
    expected = trained(others, torch.optim.Muon(others, lr=0.01, **options))
    for a, b, start in zip(found, expected, fresh(SHAPES), strict=True):
        moved = (b - start).norm()
        # bfloat16 has three digits, and products of batches are summed in another order.
        assert (a - b).norm() < 0.02 * moved


@pytest.mark.parametrize("size", [1, 2])
def test_convolutions_are_matrices(size):
    flat = fresh([(16, 32 * size**2)])
    filters = [nn.Parameter(flat[0].detach().reshape(16, 32, size, size).clone())]
    expected = trained(flat, Muon(flat, lr=0.01))[0]
    # The memory's layout is not the matrix's.
    filters[0].data = filters[0].data.contiguous(memory_format=torch.channels_last)
    optimizer = Muon(filters, lr=0.01)
    for number in range(5):
        gradients(flat, number)
        grad = flat[0].grad.reshape(filters[0].shape)
        filters[0].grad = grad.contiguous(memory_format=torch.channels_last)
        optimizer.step()
    assert torch.equal(filters[0].flatten(1), expected)


def test_the_rest_moves_as_by_adam():
    shapes = [(16,), (8, 1, 3, 3), (16, 16, 3, 3), (15, 40), (3, 16, 1, 1), (40, 8, 1, 1)]
    own, others = fresh(shapes), fresh(shapes)
    optimizer = Muon(own, lr=0.01, betas=(0.8, 0.97))
    assert [group["matrices"] for group in optimizer.param_groups] == [False]
    found = trained(own, optimizer)
    expected = trained(others, torch.optim.Adam(others, lr=0.01, betas=(0.8, 0.97)))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_state_goes_on_as_if_not_interrupted():
    shapes = [*SHAPES, (16,), (8, 1, 3, 3)]
    whole, halves = fresh(shapes), fresh(shapes)
    expected = trained(whole, Muon(whole, lr=0.01), steps=6)
    first = Muon(halves, lr=0.01)
    trained(halves, first, steps=3)
    second = Muon(halves, lr=0.01)
    second.load_state_dict(first.state_dict())
    found = trained(halves, second, steps=3, first=3)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_steps_have_the_size_of_adams():
    p = fresh([(32, 64)])
    start = p[0].detach().clone()
    moved = trained(p, Muon(p, lr=0.01), steps=1)[0] - start
    assert 0.5 < float(moved.square().mean().sqrt()) / (0.01 * 0.2) < 1.5


def test_what_has_no_gradient_stays():
    p = fresh([(16, 16), (16,)])
    start = [q.detach().clone() for q in p]
    optimizer = Muon(p, lr=0.01)
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(p, start, strict=True))


def test_a_closure_is_called():
    p = fresh([(16, 16)])
    optimizer = Muon(p, lr=0.01)

    def closure():
        optimizer.zero_grad()
        value = p[0].square().mean()
        value.backward()
        return value

    values = [optimizer.step(closure).item() for _ in range(20)]
    assert values[-1] < values[0]

"""End-to-end networks: their published sizes, what they take and give, and their parts."""

import warnings

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from unrolled import weights  # noqa: E402
from unrolled.models.blocks import pyramid  # noqa: E402
from unrolled.models.deepdeblur import DeepDeblur, DeepDeblurConfig  # noqa: E402
from unrolled.models.mimo_unet import MIMOUNet, MIMOUNetConfig, MultiScaleResidual  # noqa: E402
from unrolled.models.nafnet import LayerNorm, NAFNet, NAFNetConfig, local_mean  # noqa: E402
from unrolled.models.scale_fusion import DynamicFusion, OwnScale  # noqa: E402

TINY = {
    "deepdeblur": DeepDeblurConfig(width=4, blocks=1, size=3),
    "deepdeblur residual": DeepDeblurConfig(width=4, blocks=1, size=3, residual=True),
    "mimo_unet": MIMOUNetConfig(width=4, blocks=1),
    "mimo_unet msrm": MIMOUNetConfig(width=16, blocks=1, block="msrm", fusion="dffm"),
    "mimo_unet skip": MIMOUNetConfig(width=4, blocks=1, fusion="skip"),
    "nafnet": NAFNetConfig(width=4, encoder=(1, 1), decoder=(1, 1)),
    "nafnet local": NAFNetConfig(width=4, encoder=(1, 1), decoder=(1, 1), window=6),
    "nafnet grey": NAFNetConfig(channels=1, width=4, encoder=(1,), decoder=(1,)),
}
MULTISCALE = [name for name in TINY if not name.startswith("nafnet")]
IDENTITIES = [name for name in TINY if name != "deepdeblur"]
KINDS = {DeepDeblurConfig: DeepDeblur, MIMOUNetConfig: MIMOUNet, NAFNetConfig: NAFNet}


def network(name, *, stirred=True, **changes):
    """A tiny network; `stirred` moves what starts as 0 away from there."""
    config = TINY[name]
    torch.manual_seed(0)
    model = KINDS[type(config)](type(config)(**vars(config) | changes))
    if stirred:
        with torch.no_grad():
            for parameter in model.parameters():
                # Less where more is added up, or features would swell and digits be lost.
                fan = parameter[0].numel() if parameter.ndim > 1 else 9
                parameter.add_(0.3 / fan**0.5 * torch.randn_like(parameter))
    return model.eval()


def picture(model, height=13, width=10, **options):
    rng = torch.Generator().manual_seed(1)
    return torch.rand(2, model.config.channels, height, width, generator=rng, **options)


def outputs(model, x):
    """All that a loss may be of."""
    return model.scales(x) if hasattr(model, "scales") else [model(x)]


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


# Sizes.


@pytest.mark.parametrize(
    ("kind", "name", "unit", "expected"),
    [
        (DeepDeblur, "paper", 1e4, 1172),
        (MIMOUNet, "paper", 1e3, 6807),
        (MIMOUNet, "plus", 1e3, 16108),
        (NAFNet, "paper", 1e3, 17112),
        (NAFNet, "large", 1e3, 67889),
    ],
)
def test_published_sizes(kind, name, unit, expected):
    with torch.device("meta"):
        model = kind.preset(name)
    assert round(count(model) / unit) == expected


@pytest.mark.parametrize(
    ("kind", "parameters"), [(DeepDeblur, 535_569), (MIMOUNet, 736_003), (NAFNet, 1_389_683)]
)
def test_small_presets_are_small(kind, parameters):
    with torch.device("meta"):
        model = kind.preset("small")
    assert count(model) == parameters


def test_msrm_needs_a_third_of_the_parameters():
    with torch.device("meta"):
        residual, msrm = (MIMOUNet.preset("paper", block=b) for b in ("residual", "msrm"))
    assert 0.3 < count(msrm) / count(residual) < 0.4


# What they take and give.


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("shape", [(1, 1), (5, 2), (16, 12), (13, 30)])
def test_any_size(name, shape):
    model = network(name)
    x = picture(model, *shape)
    with torch.no_grad():
        y = model(x)
    assert y.shape == x.shape
    assert y.isfinite().all()
    assert not torch.equal(x, y) or shape == (1, 1)


@pytest.mark.parametrize("name", TINY)
def test_padding_repeats_the_edge(name):
    model = network(name)
    x = picture(model, 12, 8)
    x[..., -1:, :] = x[..., -2:-1, :]
    x[..., -1:] = x[..., -2:-1]
    with torch.no_grad():
        torch.testing.assert_close(model(x[..., :11, :7]), model(x)[..., :11, :7])


@pytest.mark.parametrize("name", TINY)
def test_float64_is_float64(name):
    model = network(name)
    x = picture(model, dtype=torch.float64)
    with torch.no_grad():
        single, double = model(x.float()), model.double()(x)
    assert double.dtype == torch.float64
    torch.testing.assert_close(single, double.float(), rtol=1e-4, atol=1e-5)
    assert not torch.equal(double, double.float().double())


@pytest.mark.parametrize("name", TINY)
def test_autocast_keeps_what_it_adds_to(name):
    model = network(name)
    x = picture(model)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        y = model(x)
    assert y.dtype == torch.float32
    assert y.isfinite().all()


@pytest.mark.parametrize("name", IDENTITIES)
def test_starts_as_the_identity(name):
    model = network(name, stirred=False)
    x = picture(model)
    with torch.no_grad():
        torch.testing.assert_close(model(x), x)


@pytest.mark.parametrize("name", [name for name in MULTISCALE if name in IDENTITIES])
def test_all_scales_start_as_they_are_seen(name):
    model = network(name, stirred=False)
    x = picture(model, 16, 12)
    if name.startswith("mimo"):
        seen = [x[..., ::4, ::4], x[..., ::2, ::2], x]
    else:
        seen = model.targets(x)
    with torch.no_grad():
        for ours, expected in zip(model.scales(x), seen, strict=True):
            torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("name", TINY)
def test_gradients_reach_all_parameters(name):
    model = network(name).train()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith("squeeze.bias"):
                parameter.add_(1.0)  # the few units of an attention may all be off by chance
    x = picture(model, 16, 12)
    sum((y * torch.rand_like(y)).sum() for y in outputs(model, x)).backward()
    silent = [
        key for key, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0
    ]
    assert silent == []


@pytest.mark.parametrize("name", TINY)
def test_a_picture_of_one_colour_stays(name):
    model = network(name)
    x = picture(model)
    colour = torch.linspace(0.1, 0.9, x.shape[1])[:, None, None]
    flat = torch.stack([colour.expand(x.shape[1:]), x[0]])
    with torch.no_grad():
        y = model(flat)
    assert torch.equal(y[0], flat[0])
    torch.testing.assert_close(y[1], model(x)[0])
    assert not torch.equal(y[1], x[0])


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_training_on_a_picture_of_one_value(name, value):
    model = network(name).train()
    x = torch.full((1, model.config.channels, 8, 8), value, requires_grad=True)
    results = outputs(model, x)
    sum(y.square().sum() for y in results).backward()
    assert all(y.isfinite().all() for y in results)
    assert all(p.grad.isfinite().all() for p in [x, *model.parameters()])


@pytest.mark.parametrize("name", ["deepdeblur", "mimo_unet msrm", "nafnet local"])
def test_samples_do_not_mix(name):
    model = network(name)
    x = picture(model)
    with torch.no_grad():
        torch.testing.assert_close(model(x)[1:], model(x[1:]), rtol=1e-4, atol=1e-6)


# Scales.


@pytest.mark.parametrize("name", MULTISCALE)
def test_scales_and_targets_fit(name):
    model = network(name)
    x = picture(model, 13, 10)
    with torch.no_grad():
        scales, targets = model.scales(x), model.targets(x)
    assert [y.shape for y in scales] == [y.shape for y in targets]
    assert [tuple(y.shape[-2:]) for y in scales] == [(4, 3), (7, 5), (13, 10)]
    assert torch.equal(targets[-1], x)
    assert torch.equal(scales[-1], model(x))


def test_pyramid_halves_about_the_centre():
    ramp = torch.arange(16.0).expand(1, 1, 16, 16)
    half = pyramid(ramp, 2)[0]
    # Pixel i of the half lies between pixels 2 i and 2 i + 1.
    torch.testing.assert_close(half[0, 0, 4, 1:-1], torch.arange(2.5, 14, 2))
    dot = torch.zeros(1, 1, 8, 8)
    dot[..., 3, 4] = 1
    torch.testing.assert_close(pyramid(dot, 2)[0][0, 0, 1, 1:3], torch.tensor([3.0, 9.0]) / 64)


def test_coarser_pictures_reach_finer_ones():
    model = network("deepdeblur")
    x = picture(model, 16, 16)
    with torch.no_grad():
        before = model(x)
        model.bodies[0][-1].bias.add_(1.0)
        assert not torch.allclose(model(x), before, atol=1e-3)


# Parts of MIMO-UNet.


def test_switches_choose_the_parts():
    model = network("mimo_unet msrm")
    assert isinstance(model.encoders[2][0], MultiScaleResidual)
    assert isinstance(model.fusion[1], DynamicFusion)
    assert isinstance(network("mimo_unet skip").fusion[0], OwnScale)


@pytest.mark.parametrize("fusion", ["aff", "dffm", "skip"])
def test_fusions_see_all_scales_or_one(fusion):
    model = network("mimo_unet", fusion=fusion)
    features = [torch.rand(1, 4 * 2**k, 16 >> k, 16 >> k, requires_grad=True) for k in range(3)]
    fused = model.fusion[1](features)
    assert fused.shape == features[1].shape
    fused.square().sum().backward()
    seen = [x.grad is not None and bool(x.grad.any()) for x in features]
    assert seen == ([False, True, False] if fusion == "skip" else [True, True, True])


def test_dynamic_fusion_weighs_scales_to_one():
    fusion = DynamicFusion((4, 8, 16), 0)
    with torch.no_grad():
        for layer in fusion.bring:
            layer.weight.zero_()
            layer.bias.fill_(1.0)
        fusion.excite.weight.normal_()
        # Each channel of the result is the sum of that channel over the scales.
        fusion.merge.weight.copy_(torch.eye(4).repeat(1, 3)[..., None, None])
        fusion.merge.bias.zero_()
        y = fusion([torch.rand(2, 4 * 2**k, 8 >> k, 8 >> k) for k in range(3)])
    torch.testing.assert_close(y, torch.ones_like(y))


def test_later_groups_see_further():
    block = MultiScaleResidual(16)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.abs_()  # so that nothing cancels and no activation is off
    x = torch.zeros(1, 16, 15, 15)
    wide = []
    steps = [step.register_forward_hook(lambda m, i, y: wide.append(y)) for step in block.steps]
    with torch.no_grad():
        block(x)
        quiet, wide[:] = list(wide), []
        x[..., 7, 7] = 1.0
        block(x)
    for hook in steps:
        hook.remove()
    reach = [
        int((a - b).abs().sum((0, 1, 2)).gt(1e-6).sum()) for a, b in zip(quiet, wide, strict=True)
    ]
    assert reach == [5, 7, 9, 11]


@pytest.mark.parametrize("parts", [{}, {"block": "msrm", "fusion": "dffm"}])
def test_features_keep_their_contrast(parts):
    torch.manual_seed(0)
    model = MIMOUNet.preset("small", **parts).eval()
    seen = []
    model.tails[0].register_forward_hook(lambda module, given, result: seen.append(given[0]))
    with torch.no_grad():
        model(picture(model, 32, 32))
    assert 0.2 < float(seen[0].var((-2, -1)).mean().sqrt()) < 5


def test_dropout_is_for_training():
    model = network("mimo_unet", dropout=0.5)
    x = picture(model)
    with torch.no_grad():
        assert torch.equal(model(x), model(x))
        model.train()
        assert not torch.equal(model(x), model(x))


# Parts of NAFNet.


def test_layer_norm_by_hand():
    norm = LayerNorm(5).double()
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
    x = torch.rand(2, 5, 3, 4, dtype=torch.float64)
    mean, variance = x.mean(1, keepdim=True), x.var(1, unbiased=False, keepdim=True)
    expected = (x - mean) / (variance + 1e-6).sqrt()
    expected = expected * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize("window", [1, 2, 3, 4, 7, 8, 9])
def test_local_mean_by_hand(window):
    x = torch.rand(2, 3, 8, 5, dtype=torch.float64)
    k, m = min(window, 8), min(window, 5)
    inside = torch.nn.functional.avg_pool2d(x, (k, m), stride=1)
    before = (k - 1) // 2, (m - 1) // 2
    after = 8 - inside.shape[-2] - before[0], 5 - inside.shape[-1] - before[1]
    expected = torch.nn.functional.pad(
        inside, (before[1], after[1], before[0], after[0]), mode="replicate"
    )
    torch.testing.assert_close(local_mean(x, window).expand_as(x), expected)


def test_local_mean_keeps_its_digits():
    x = 1000 + torch.rand(1, 1, 40, 2000)
    exact = local_mean(x.double(), 16)
    torch.testing.assert_close(local_mean(x, 16).double(), exact, rtol=0, atol=3e-4)
    flat = torch.full((1, 1, 40, 50), 0.1)
    torch.testing.assert_close(local_mean(flat, 16), flat, rtol=5e-7, atol=0)


def test_local_is_global_where_windows_cover():
    model = network("nafnet")
    local = model.local(crop=8)
    assert local.config.window == 12
    small, large = picture(model, 12, 12), picture(model, 24, 12)
    with torch.no_grad():
        torch.testing.assert_close(local(small), model(small))
        assert not torch.allclose(local(large), model(large), atol=1e-6)


def test_local_makes_parts_independent():
    """What is far away changes the result of global means only."""
    model = network("nafnet", encoder=(1,), decoder=(1,), middle=0)
    local = model.local(crop=4)
    x = picture(model, 8, 64)
    other = x.clone()
    other[..., 48:] = 1 - other[..., 48:] / 2
    with torch.no_grad():
        torch.testing.assert_close(local(x)[..., :24], local(other)[..., :24])
        assert not torch.allclose(model(x)[..., :24], model(other)[..., :24], atol=1e-6)


def test_local_shares_its_weights():
    model = network("nafnet").train()
    model.head.weight.requires_grad_(False)
    local = model.local()
    assert local.training
    assert not model.head.weight.requires_grad
    for ours, theirs in zip(model.parameters(), local.parameters(), strict=True):
        assert ours is theirs


# Files, and other programs.


@pytest.mark.parametrize("name", TINY)
def test_save_and_load(name, tmp_path):
    model = network(name)
    path = weights.save(model, tmp_path / "net")
    again = type(model).from_pretrained(path)
    assert again.config == model.config
    x = picture(model)
    with torch.no_grad():
        assert torch.equal(again(x), model(x))


@pytest.mark.parametrize("name", ["deepdeblur", "mimo_unet msrm", "nafnet"])
def test_export_takes_other_sizes(name):
    model = network(name)
    rows, columns = (model.stride * torch.export.Dim(n, min=2) for n in ("rows", "columns"))
    shapes = {"x": {0: torch.export.Dim("pictures"), 2: rows, 3: columns}}
    with warnings.catch_warnings():
        # torch's own, about its pytrees.
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
        program = torch.export.export(model, (picture(model, 16, 24),), dynamic_shapes=shapes)
    x = picture(model, 8, 12)[:1]
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), model(x), rtol=1e-4, atol=1e-5)


# Bad input.


@pytest.mark.parametrize(
    ("config", "values", "message"),
    [
        (DeepDeblurConfig, {"size": 4}, "size=4; expected an odd"),
        (DeepDeblurConfig, {"scales": 0}, "scales=0; expected"),
        (DeepDeblurConfig, {"blocks": -1}, "blocks=-1; expected"),
        (MIMOUNetConfig, {"block": "residul"}, "block='residul' .* 'residual'"),
        (MIMOUNetConfig, {"fusion": "add"}, "fusion='add' is not known"),
        (MIMOUNetConfig, {"width": 6}, "width=6; expected a multiple of 4"),
        (MIMOUNetConfig, {"channels": 8, "width": 4}, "width=4; .* 8 channels"),
        (MIMOUNetConfig, {"dropout": 1.0}, "dropout=1.0; expected less"),
        (NAFNetConfig, {"encoder": (1, 2)}, r"decoder=\(1, 1, 1, 1\); expected 2 numbers"),
        (NAFNetConfig, {"window": 0}, "window=0; expected"),
        (NAFNetConfig, {"width": 0}, "width=0; expected"),
        (NAFNetConfig, {"encoder": (1, -1, 1, 1)}, "encoder=-1; expected"),
    ],
)
def test_bad_configurations_are_named(config, values, message):
    with pytest.raises(ValueError, match=message):
        config(**values)


@pytest.mark.parametrize("kind", [DeepDeblur, MIMOUNet, NAFNet])
def test_bad_presets_are_named(kind):
    with pytest.raises(ValueError, match="name='smal' is not known; did you mean 'small'"):
        kind.preset("smal")
    with pytest.raises(ValueError, match=f"option of {kind.__name__}Config='widht'.*'width'"):
        kind.preset("small", widht=8)


@pytest.mark.parametrize(
    ("name", "method"),
    [(name, method) for name in MULTISCALE for method in ("forward", "scales", "targets")]
    + [("nafnet", "forward")],
)
def test_bad_pictures_are_named(name, method):
    call = getattr(network(name), method)
    with pytest.raises(TypeError, match="x is of ndarray; expected a tensor"):
        call(torch.zeros(1, 3, 8, 8).numpy())
    with pytest.raises(TypeError, match=r"x is of torch\.uint8; expected a tensor of floating"):
        call(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    for shape in ((3, 8, 8), (1, 1, 8, 8), (1, 3, 0, 8)):
        with pytest.raises(ValueError, match=r"x has shape .*; expected \(N, 3, H, W\)"):
            call(torch.zeros(shape))


def test_another_network_is_refused(tmp_path):
    path = weights.save(network("nafnet"), tmp_path / "net")
    with pytest.raises(ValueError, match="is of a 'NAFNet'; expected 'MIMOUNet'"):
        MIMOUNet.from_pretrained(path)
    with pytest.raises(FileNotFoundError, match="none"):
        NAFNet.from_pretrained(tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match="crop=0"):
        network("nafnet").local(crop=0)

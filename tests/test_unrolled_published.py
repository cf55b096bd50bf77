"""Weights under the published names of MIMO-UNet and NAFNet: what the published forward pass gives.

The passes are written out here, on the tensors alone.
"""

import pytest

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")

import torch.nn.functional as F  # noqa: E402

from unrolled.models.published import from_mimo_unet, from_nafnet  # noqa: E402

WIDTH, BLOCKS = 8, 2
ENCODER, MIDDLE, DECODER = (1, 3), 2, (2, 1)
PARTS = ("weight", "bias")


def drawn(shapes):
    """Random tensors of these shapes, small enough that the values stay near 1."""
    rng = torch.Generator().manual_seed(0)
    state = {}
    for key, shape in shapes.items():
        fan = max(1, torch.Size(shape[1:]).numel())
        state[key] = torch.randn(shape, generator=rng, dtype=torch.float64) / fan**0.5
    return state


def convolution(state, key, x, **options):
    """A layer of the published MIMO-UNet, which calls each of them main.0."""
    weight, bias = (state[f"{key}.main.0.{part}"] for part in PARTS)
    if options.pop("transposed", False):
        return F.conv_transpose2d(x, weight, bias, stride=2, padding=1)
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, **options)


def mimo_unet_shapes(w):
    sizes = {}

    def add(key, inputs, outputs, size, transposed=False):
        lead = (inputs, outputs) if transposed else (outputs, inputs)
        sizes[f"{key}.main.0.weight"] = (*lead, size, size)
        sizes[f"{key}.main.0.bias"] = (outputs,)

    for k, width in enumerate((w, 2 * w, 4 * w)):
        for block in range(BLOCKS):
            for step in range(2):
                add(f"Encoder.{k}.layers.{block}.main.{step}", width, width, 3)
                add(f"Decoder.{2 - k}.layers.{block}.main.{step}", width, width, 3)
    for k, (inputs, outputs) in enumerate(((3, w), (w, 2 * w), (2 * w, 4 * w))):
        add(f"feat_extract.{k}", inputs, outputs, 3)
    add("feat_extract.3", 4 * w, 2 * w, 4, transposed=True)
    add("feat_extract.4", 2 * w, w, 4, transposed=True)
    add("feat_extract.5", w, 3, 3)
    for k, (inputs, outputs) in enumerate(((4 * w, 2 * w), (2 * w, w))):
        add(f"Convs.{k}", inputs, outputs, 1)
        add(f"ConvsOut.{k}", inputs, 3, 3)
    for k, width in enumerate((w, 2 * w)):
        add(f"AFFs.{k}.conv.0", 7 * w, width, 1)
        add(f"AFFs.{k}.conv.1", width, width, 3)
    for k, width in ((1, 4 * w), (2, 2 * w)):
        add(f"FAM{k}.merge", width, width, 3)
        steps = (3, width // 4, width // 2, width // 2, width - 3)
        for step, size in enumerate((3, 1, 3, 1)):
            add(f"SCM{k}.main.{step}", steps[step], steps[step + 1], size)
        add(f"SCM{k}.conv", width, width, 1)
    return sizes


def mimo_unet(state, x):
    """The published pass, coarse to fine; sizes are multiples of 4."""

    def layer(key, x, **options):
        return convolution(state, key, x, **options)

    def blocks(key, x):
        for block in range(BLOCKS):
            first = layer(f"{key}.layers.{block}.main.0", x).relu()
            x = x + layer(f"{key}.layers.{block}.main.1", first)
        return x

    def shallow(key, x):
        y = x
        for step in range(4):
            y = layer(f"{key}.main.{step}", y).relu()
        return layer(f"{key}.conv", torch.cat([x, y], 1))

    def fused(key, *features):
        return layer(f"{key}.conv.1", layer(f"{key}.conv.0", torch.cat(features, 1)).relu())

    def resized(x, factor):
        return F.interpolate(x, scale_factor=factor)

    half = resized(x, 0.5)
    quarter = resized(half, 0.5)
    fine = blocks("Encoder.0", layer("feat_extract.0", x).relu())
    middle = layer("feat_extract.1", fine, stride=2).relu()
    middle = middle + layer("FAM2.merge", middle * shallow("SCM2", half))
    middle = blocks("Encoder.1", middle)
    deep = layer("feat_extract.2", middle, stride=2).relu()
    deep = deep + layer("FAM1.merge", deep * shallow("SCM1", quarter))
    deep = blocks("Encoder.2", deep)
    skips = (
        fused("AFFs.0", fine, resized(middle, 2.0), resized(deep, 4.0)),
        fused("AFFs.1", resized(fine, 0.5), middle, resized(deep, 2.0)),
    )
    y = blocks("Decoder.0", deep)
    results = [quarter + layer("ConvsOut.0", y)]
    y = layer("feat_extract.3", y, transposed=True).relu()
    y = blocks("Decoder.1", layer("Convs.0", torch.cat([y, skips[1]], 1)).relu())
    results.append(half + layer("ConvsOut.1", y))
    y = layer("feat_extract.4", y, transposed=True).relu()
    y = blocks("Decoder.2", layer("Convs.1", torch.cat([y, skips[0]], 1)).relu())
    return [*results, x + layer("feat_extract.5", y)]


def nafnet_shapes(w):
    sizes = {}

    def add(key, *shape, bias=True):
        sizes[f"{key}.weight"] = shape
        if bias:
            sizes[f"{key}.bias"] = shape[:1]

    def blocks(key, width, count):
        for k in range(count):
            at = f"{key}.{k}"
            for norm in ("norm1", "norm2"):
                add(f"{at}.{norm}", width)
            add(f"{at}.conv1", 2 * width, width, 1, 1)
            add(f"{at}.conv2", 2 * width, 1, 3, 3)
            add(f"{at}.conv3", width, width, 1, 1)
            add(f"{at}.sca.1", width, width, 1, 1)
            add(f"{at}.conv4", 2 * width, width, 1, 1)
            add(f"{at}.conv5", width, width, 1, 1)
            sizes[f"{at}.beta"] = sizes[f"{at}.gamma"] = (1, width, 1, 1)

    add("intro", w, 3, 3, 3)
    add("ending", 3, w, 3, 3)
    for k, count in enumerate(ENCODER):
        blocks(f"encoders.{k}", w, count)
        add(f"downs.{k}", 2 * w, w, 2, 2)
        w *= 2
    blocks("middle_blks", w, MIDDLE)
    for k, count in enumerate(DECODER):
        add(f"ups.{k}.0", 2 * w, w, 1, 1, bias=False)
        w //= 2
        blocks(f"decoders.{k}", w, count)
    return sizes


def nafnet(state, x):
    """The published pass; sizes are multiples of 4."""

    def layer(key, x, **options):
        return F.conv2d(x, state[f"{key}.weight"], state.get(f"{key}.bias"), **options)

    def normed(key, x):
        mean, variance = x.mean(1, keepdim=True), x.var(1, unbiased=False, keepdim=True)
        y = (x - mean) / (variance + 1e-6).sqrt()
        return y * state[f"{key}.weight"][:, None, None] + state[f"{key}.bias"][:, None, None]

    def gate(x):
        n = x.shape[1] // 2
        return x[:, :n] * x[:, n:]

    def blocks(key, x, count):
        for at in (f"{key}.{k}" for k in range(count)):
            y = layer(f"{at}.conv1", normed(f"{at}.norm1", x))
            y = gate(layer(f"{at}.conv2", y, padding=1, groups=y.shape[1]))
            y = y * layer(f"{at}.sca.1", F.adaptive_avg_pool2d(y, 1))
            x = x + layer(f"{at}.conv3", y) * state[f"{at}.beta"]
            y = gate(layer(f"{at}.conv4", normed(f"{at}.norm2", x)))
            x = x + layer(f"{at}.conv5", y) * state[f"{at}.gamma"]
        return x

    y, skips = layer("intro", x, padding=1), []
    for k, count in enumerate(ENCODER):
        skips.append(blocks(f"encoders.{k}", y, count))
        y = layer(f"downs.{k}", skips[-1], stride=2)
    y = blocks("middle_blks", y, MIDDLE)
    for k, count in enumerate(DECODER):
        y = F.pixel_shuffle(layer(f"ups.{k}.0", y), 2) + skips.pop()
        y = blocks(f"decoders.{k}", y, count)
    return x + layer("ending", y, padding=1)


def picture(height=24, width=20):
    rng = torch.Generator().manual_seed(1)
    return torch.rand(2, 3, height, width, generator=rng, dtype=torch.float64)


CASES = {
    "mimo_unet": (from_mimo_unet, mimo_unet_shapes),
    "nafnet": (from_nafnet, nafnet_shapes),
}


def test_mimo_unet():
    state, x = drawn(mimo_unet_shapes(WIDTH)), picture()
    model = from_mimo_unet(state)
    assert not model.training
    for ours, theirs in zip(model.double().scales(x), mimo_unet(state, x), strict=True):
        # Weights are kept in float32.
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_nafnet():
    state, x = drawn(nafnet_shapes(WIDTH)), picture()
    model = from_nafnet(state)
    assert model.config.encoder == ENCODER
    assert model.config.decoder == DECODER
    torch.testing.assert_close(model.double()(x), nafnet(state, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_file_and_tensors_are_the_same(name, tmp_path):
    load, shapes = CASES[name]
    state = drawn(shapes(WIDTH))
    path = tmp_path / "theirs.safetensors"
    safetensors_torch.save_file(state, path)
    models = load(path), load(state)
    for ours, theirs in zip(*(model.state_dict().values() for model in models), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", CASES)
def test_the_random_state_stays(name):
    load, shapes = CASES[name]
    state = drawn(shapes(WIDTH))
    before = torch.random.get_rng_state()
    load(state)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("name", CASES)
def test_other_tensors_are_refused(name, tmp_path):
    load, shapes = CASES[name]
    state = drawn(shapes(WIDTH))
    with pytest.raises(ValueError, match="state is not of a"):
        load({"other": torch.zeros(3)})
    missing = dict(list(state.items())[:-1])
    with pytest.raises(ValueError, match=f"{list(state)[-1]} is missing"):
        load(missing)
    with pytest.raises(ValueError, match=r"further\.weight is unexpected"):
        load(state | {"further.weight": torch.zeros(1)})
    broken = state | {key: state[key] * float("nan") for key in list(state)[:1]}
    with pytest.raises(ValueError, match="NaN"):
        load(broken)
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        load(tmp_path / "none.safetensors")

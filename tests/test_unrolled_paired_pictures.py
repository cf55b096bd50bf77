"""Crops of picture files in pairs: aligned, repeatable, and what is wrong with a file is named."""

import re

import numpy as np
import pytest
import tifffile
from PIL import Image

torch = pytest.importorskip("torch")

from deconv import io  # noqa: E402
from unrolled.crops import LUMA, turned  # noqa: E402
from unrolled.paired_folders import find_pairs  # noqa: E402
from unrolled.paired_pictures import PairedPictures, UnpairedPictures  # noqa: E402


def pixels(seed, shape, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype)


@pytest.fixture
def folder(tmp_path):
    """Five pairs of colour pictures; the sharp one is 255 less the blurred one."""
    for name in ("blur", "sharp"):
        (tmp_path / name).mkdir()
    for i in range(5):
        x = pixels(i, (20 + i, 30 - i, 3))
        io.write(tmp_path / f"blur/{i}.png", x)
        io.write(tmp_path / f"sharp/{i}.png", 255 - x)
    return tmp_path


def sources(folder, crop, side):
    """The picture, place and turn that a crop can only be of."""
    found = []
    for i in range(5):
        x = torch.from_numpy(pixels(i, (20 + i, 30 - i, 3))).permute(2, 0, 1).float() / 255
        for way in range(8):
            whole = turned(x, way)
            # A corner of noise tells.
            rows, columns = (n - side + 4 for n in whole.shape[1:])
            corners = whole[:, :rows, :columns].unfold(1, 4, 1).unfold(2, 4, 1)
            same = corners == crop[:, None, None, :4, :4]
            for y, x0 in same.movedim(0, 2).flatten(2).all(-1).nonzero().tolist():
                found.append((i, way, y, x0))
    return found


def test_crops_are_aligned_and_of_all_pictures(folder):
    batch = PairedPictures(find_pairs(folder), 12).batch(0, range(20))
    assert batch.blurred.shape == batch.sharp.shape == (20, 3, 12, 12)
    assert batch.blurred.dtype == batch.sharp.dtype == torch.float32
    assert batch.known == (None,) * 20
    torch.testing.assert_close(batch.blurred + batch.sharp, torch.ones_like(batch.sharp))
    found = [sources(folder, x, 12)[0] for x in batch.blurred]
    pictures, ways, *places = zip(*found, strict=True)
    # Each picture once in each pass, and in another order.
    passes = [pictures[i : i + 5] for i in range(0, 20, 5)]
    assert all(sorted(p) == [0, 1, 2, 3, 4] for p in passes)
    assert len(set(passes)) > 1
    assert len(set(ways)) > 3
    assert all(len(set(place)) > 5 for place in places)


def test_a_sample_is_settled_by_seed_and_index(folder):
    def batch(indices, step=0, **options):
        return PairedPictures(find_pairs(folder), 12, **options).batch(step, indices)

    together = batch(range(8))
    alone = batch([6], step=3, memory=0)
    assert torch.equal(alone.blurred[0], together.blurred[6])
    assert torch.equal(alone.sharp[0], together.sharp[6])
    assert not torch.equal(batch(range(8), seed=1).blurred, together.blurred)
    upright = batch(range(8), flips=False)
    assert {sources(folder, x, 12)[0][1] for x in upright.blurred} == {0}
    several = batch(range(8), crops=4)
    pictures = [sources(folder, x, 12)[0][0] for x in several.blurred]
    assert len(set(pictures[:4])) == len(set(pictures[4:])) == 1
    assert pictures[0] != pictures[4]
    assert len({float(x.sum()) for x in several.blurred}) == 8


def test_memory_is_bounded(folder):
    samples = PairedPictures(find_pairs(folder), 12, memory=5000)
    samples.batch(0, range(10))
    files = samples.files
    assert 0 < files.held == sum(x.nbytes for x in files.kept.values()) <= 5000
    everything = PairedPictures(find_pairs(folder), 12)
    everything.batch(0, range(10))
    kept = dict(everything.files.kept)
    assert len(kept) == 10
    everything.batch(0, range(10))
    assert all(everything.files.kept[path] is x for path, x in kept.items())


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(16, 16), (16, 16, 3)])
def test_depths_and_colours(tmp_path, suffix, dtype, shape):
    x, y = pixels(1, shape, dtype), pixels(2, shape)
    pair = tmp_path / f"x{suffix}", tmp_path / "y.png"
    io.write(pair[0], x)
    io.write(pair[1], y)
    for channels in (1, 3):
        samples = PairedPictures([pair], 16, flips=False, channels=channels)
        batch = samples.batch(0, [0])
        for picture, found in ((x, batch.blurred), (y, batch.sharp)):
            unit = picture / np.iinfo(picture.dtype).max
            if len(shape) == 2:
                unit = np.stack([unit] * channels, -1)
            elif channels == 1:
                unit = (unit @ np.array(LUMA))[..., None]
            np.testing.assert_allclose(found[0].permute(1, 2, 0), unit, atol=1e-6)


def test_floats_and_transparency(tmp_path):
    x = np.random.default_rng(0).random((16, 16), np.float32)
    io.write(tmp_path / "x.tif", x)
    grey = pixels(1, (16, 16))
    Image.fromarray(np.stack([grey, pixels(2, (16, 16))], -1), "LA").save(tmp_path / "y.png")
    pair = tmp_path / "x.tif", tmp_path / "y.png"
    batch = PairedPictures([pair], 16, flips=False).batch(0, [0])
    np.testing.assert_allclose(batch.blurred[0, 1], x)
    np.testing.assert_allclose(batch.sharp[0, 2], grey / np.float32(255))


def test_pictures_that_cannot_be_used(tmp_path):
    colour, grey = pixels(0, (20, 24, 3)), pixels(0, (20, 24))
    io.write(tmp_path / "colour.png", colour)
    io.write(tmp_path / "grey.png", grey)
    io.write(tmp_path / "other.png", colour[:, :23])
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((5, 20, 24), np.uint8))
    (tmp_path / "broken.png").write_bytes((tmp_path / "colour.png").read_bytes()[:200])
    (tmp_path / "empty.png").touch()
    good = tmp_path / "colour.png"
    for name, side, message in (
        (
            "other.png",
            16,
            r"colour\.png is 24 x 20, but .*other\.png is 23 x 20; expected the same",
        ),
        ("grey.png", 16, r"grey\.png is grey, but .*colour\.png in colour"),
        ("colour.png", 21, r"colour\.png is 24 x 20; expected at least side=21"),
        ("broken.png", 16, r"broken\.png cannot be read as PNG"),
        ("empty.png", 16, r"empty\.png cannot be read: it is empty"),
        ("stack.tif", 16, r"stack\.tif has axes .YX of shape \(5, 20, 24\); expected one grey"),
    ):
        samples = PairedPictures([(good, tmp_path / name)], side)
        with pytest.raises(ValueError, match=message):
            samples.batch(0, [0])
        with pytest.raises(ValueError, match=message):
            samples.check()
    with pytest.raises(ValueError, match=r"grey\.png is grey, but .*colour\.png in colour"):
        PairedPictures([(tmp_path / "grey.png", good)], 16).check()
    absent = [(good, tmp_path / f"{i}.png") for i in range(5)]
    message = r"pairs: 5 of 10 files do not exist: .*0\.png, .*1\.png, .*2\.png, \.\.\.$"
    with pytest.raises(FileNotFoundError, match=message):
        PairedPictures(absent, 16)
    with pytest.raises(FileNotFoundError, match=r"pairs: there are none"):
        PairedPictures([], 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side": 0}, "side=0; "),
        ({"channels": 2}, "channels=2; expected 1 or 3"),
        ({"crops": 0}, "crops=0; "),
        ({"memory": -1}, "memory=-1; "),
        ({"seed": -1}, "seed=-1; "),
    ],
)
def test_bad_arguments(folder, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        PairedPictures(find_pairs(folder), **{"side": 12} | options)


def test_unpaired_pictures(folder):
    samples = UnpairedPictures(folder / "blur", str(folder / "sharp"), 12)
    samples.check()
    batch = samples.batch(0, range(10))
    assert batch.blurred.shape == batch.sharp.shape == (10, 3, 12, 12)
    blurred = [sources(folder, x, 12)[0] for x in batch.blurred]
    # The sharp ones are negatives here.
    sharp = [sources(folder, torch.round(255 - 255 * x) / 255, 12)[0] for x in batch.sharp]
    assert sorted(s[0] for s in sharp[:5]) == [0, 1, 2, 3, 4]
    assert [b[0] for b in blurred] != [s[0] for s in sharp]
    alone = UnpairedPictures([*sorted((folder / "blur").iterdir())], folder / "sharp", 12)
    assert torch.equal(alone.batch(1, [7]).sharp[0], batch.sharp[7])
    assert torch.equal(alone.batch(1, [7]).blurred[0], batch.blurred[7])


def test_unpaired_pictures_that_are_not_there(folder):
    (folder / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty holds no picture; expected PNG, JPEG or"):
        UnpairedPictures(folder / "blur", folder / "empty", 12)
    with pytest.raises(FileNotFoundError, match=r"gone does not exist; expected a folder"):
        UnpairedPictures(folder / "gone", folder / "sharp", 12)
    with pytest.raises(FileNotFoundError, match=r"sharp: there are none"):
        UnpairedPictures(folder / "blur", [], 12)
    with pytest.raises(ValueError, match=r"4\.png is 26 x 24; expected at least side=25"):
        UnpairedPictures([folder / "blur/4.png"], folder / "sharp", 25).batch(0, [0])


def test_real_pairs(shared_data):
    patches = shared_data / "pairs" / "gopro_patches"
    if not patches.is_dir():
        pytest.skip(f"no data at {patches}")
    blurred = sorted(patches.glob("input_*.png"))
    pairs = [(p, p.with_name(p.name.replace("input", "label"))) for p in blurred]
    samples = PairedPictures(pairs, 96)
    samples.check()
    batch = samples.batch(0, range(len(pairs)))
    error = (batch.blurred - batch.sharp).square().mean((1, 2, 3))
    assert 0 < float(error.min()) < float(error.max()) < 0.05

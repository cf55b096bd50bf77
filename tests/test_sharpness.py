"""Ranking pictures by blur: what counts, what does not, and what the command line makes of it."""

import csv
import io as text
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage import data

from deconv import cli, io
from deconv.heat_map import heat_map

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from torch.nn import functional as F  # noqa: E402

from unrolled import sharpness as judge  # noqa: E402
from unrolled import weights  # noqa: E402
from unrolled.sharpness import Sharpness, rank, sharpest_first, sharpness  # noqa: E402

SHIPPED = "blur-classifier" in weights.names()
PICTURES = ("camera", "astronaut", "coffee", "page")


class ByHand(torch.nn.Module):
    """How much of the gradients is left between means of four pixels: more, the more blurred."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def map(self, x):
        self.seen.append(tuple(x.shape))
        fine, coarse = energy(x, 8), energy(F.avg_pool2d(x, 4), 2)
        return 3 * (torch.log((coarse + 1e-5) / (fine + 1e-6)) - 1.5)


def energy(x, cell):
    down, right = x.diff(dim=-2)[..., :-1], x.diff(dim=-1)[..., :-1, :]
    return F.avg_pool2d(F.pad(down.square() + right.square(), (0, 1, 0, 1)), cell)


NO_WEIGHTS = pytest.mark.skipif(not SHIPPED, reason="no weights")
NETWORKS = [
    pytest.param(ByHand(), id="by hand"),
    pytest.param(None, marks=NO_WEIGHTS, id="shipped"),
]
NEEDED = pytest.param("safetensors", marks=NO_WEIGHTS)


def blurred(image, sigma):
    """An 8-bit picture, blurred."""
    if sigma == 0:
        return image
    result = gaussian_filter(image.astype(float), (sigma, sigma, 0)[: image.ndim])
    return np.rint(result).astype(np.uint8)


def axis(image):
    return None if image.ndim == 2 else -1


def judged(image, **options):
    options = {"network": ByHand(), "channel_axis": axis(image)} | options
    return sharpness(image, **options)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", PICTURES)
def test_more_blur_is_a_higher_score(name, network):
    image = getattr(data, name)()[:256, :256]
    scores = [judged(blurred(image, s), network=network).score for s in (0, 1, 2, 4)]
    assert scores == sorted(scores)
    assert scores[0] < scores[2] - 1
    sharp, soft = judged(image, network=network), judged(blurred(image, 3), network=network)
    assert 0 < sharp.probability < soft.probability < 1


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", PICTURES)
def test_the_map_is_higher_where_it_is_blurred(name, network):
    image = getattr(data, name)()[:256, :384]
    half = image.shape[1] // 2 // 32 * 32
    image = np.concatenate([image[:, :half], blurred(image, 3)[:, half:]], axis=1)
    tiles = judged(image, network=network, tile=32).map
    left, right = tiles[:, : half // 32 - 1], tiles[:, half // 32 + 1 :]
    assert np.nanmedian(right) > np.nanmedian(left) + 1


def test_no_unit_matters():
    image = data.camera()[:256, :256]
    expected = judged(image)
    for other in (
        image.astype(np.uint16) * 257,
        image.astype(np.uint16) * 16,
        image / 255,
        image.astype(np.float32) * 1e-6 - 3e-5,
        image.astype(np.float64) + 1e7,
        torch.tensor(image),
        torch.tensor(image, dtype=torch.float32),
        image.astype(np.int64) - 40,
    ):
        found = judged(other)
        assert found.score == pytest.approx(expected.score, abs=2e-3)
        np.testing.assert_allclose(found.map, expected.map, atol=2e-2)


def test_colours_are_judged_by_their_luma():
    image = data.astronaut()[:200, :200]
    grey = image @ np.array([0.299, 0.587, 0.114])
    found = judged(image, channel_axis=-1)
    assert found.score == pytest.approx(judged(grey).score, abs=1e-3)
    assert judged(np.moveaxis(image, -1, 0), channel_axis=0).score == found.score
    assert np.isfinite(judged(image[..., :2], channel_axis=-1).score)


def test_the_sky_does_not_count():
    scene = data.coffee()[:192, :256] @ np.array([0.3, 0.6, 0.1])
    slope = np.linspace(200, 230, 192)[:, None] * np.ones(256)
    noise = np.random.default_rng(0).normal(0, 2, slope.shape)
    both = np.concatenate([slope + noise, scene + noise], axis=0)
    found = judged(both)
    assert np.isnan(found.map[:5]).all()
    assert np.isfinite(found.map[6:]).mean() > 0.8
    assert found.judged == pytest.approx(np.isfinite(found.map).mean())
    assert found.score == pytest.approx(judged(scene + noise).score, abs=0.4)


@pytest.mark.parametrize("sigma", [0.0, 0.05])
def test_a_picture_without_edges_is_not_judged(sigma):
    image = 0.5 + sigma * np.random.default_rng(0).normal(size=(80, 100))
    network = ByHand()
    found = judged(image, network=network)
    assert math.isnan(found.score) and math.isnan(found.probability)
    assert found.judged == 0
    if sigma == 0:
        assert network.seen == []


def test_unobserved_pixels_leave_no_edges():
    image = data.camera()[100:356, 100:356] / 255.0
    holes = image.copy()
    holes[64:128, 64:128] = np.nan
    found, expected = judged(holes), judged(image)
    assert np.isnan(found.map[2:4, 2:4]).all()
    assert found.score == pytest.approx(expected.score, abs=0.5)
    np.testing.assert_allclose(found.map[6:], expected.map[6:], atol=0.02)
    assert math.isnan(judged(np.full((40, 40), np.nan)).score)


def test_large_pictures_are_seen_in_windows_that_leave_no_seams():
    image = np.tile(data.camera()[:256, :256], (4, 5))
    network = ByHand()
    found = judged(image, network=network)
    assert len(network.seen) > 4
    assert max(max(shape) for shape in network.seen) < 600
    # The same scene in every repetition; the borders are not, and windows begin in other cells.
    left, right = found.map[8:16, 8:16], found.map[16:24, 24:32]
    known = np.isfinite(left) & np.isfinite(right)
    assert known.mean() > 0.6
    assert np.abs(left - right)[known].mean() < 0.25
    assert found.map.shape == (32, 40)


def test_tiles_and_scales():
    image = np.tile(data.camera(), (1, 2))[:500]
    found = judged(image, tile=50)
    assert found.map.shape == (10, 21) and found.side == 50
    small = judged(image, tile=50, scale=0.25)
    assert small.map.shape == (3, 6) and small.side == 200
    # What blurs at full scale is gone at a quarter.
    soft = blurred(image, 1.5)
    near = judged(soft, scale=0.25).score - small.score
    assert near < 0.5 * (judged(soft).score - found.score)
    # Blocks are averaged before the rest is resampled; that must be no other picture.
    whole = judged(np.asarray(Image.fromarray(image).reduce(4)), tile=50)
    assert small.score == pytest.approx(whole.score, abs=0.5)


def test_rank_of_arrays_and_of_files(tmp_path):
    image = data.coffee()[:200, :300]
    several = {f"blur {s}": blurred(image, s) for s in (2, 0, 4, 1)}
    found = rank(several, channel_axis=-1, network=ByHand())
    assert [each.name for each in found] == ["blur 0", "blur 1", "blur 2", "blur 4"]
    paths = []
    for name, picture in several.items():
        paths.append(tmp_path / f"{name}.png")
        io.write(paths[-1], picture)
    again = rank(iter(paths), network=ByHand())
    assert [each.name for each in again] == [str(tmp_path / f"{e.name}.png") for e in found]
    assert [each.score for each in again] == [each.score for each in found]
    empty = Sharpness("sky", math.nan, math.nan, np.full((1, 1), np.nan), 32)
    assert sharpest_first([empty, *found[::-1]])[-1] is empty
    with pytest.raises(ValueError, match="blur 1: image has shape"):
        rank({"blur 1": image}, network=ByHand())


@pytest.mark.parametrize(
    ("image", "options", "error", "message"),
    [
        (np.ones((31, 99)), {}, ValueError, "31 x 99 pixels at scale=1; expected at least 32"),
        (np.ones((99, 99)), {"scale": 0.3}, ValueError, "30 x 30 pixels at scale=0.3"),
        (np.ones((9, 40, 40)), {}, ValueError, r"shape \(9, 40, 40\); expected \(Y, X\)"),
        (np.ones(40), {}, ValueError, r"shape \(40,\)"),
        (np.ones((40, 40)), {"channel_axis": 0}, ValueError, "channel axis"),
        (np.ones((3, 40, 40)), {"channel_axis": 5}, ValueError, "channel_axis=5"),
        (np.ones((40, 40), complex), {}, TypeError, "image has dtype complex128"),
        (np.full((40, 40), np.inf), {}, ValueError, "image has 1600 infinite"),
        (np.ones((0, 40), np.uint8), {}, ValueError, "image is empty"),
        (np.ones((40, 40)), {"tile": 8}, ValueError, "tile=8; expected .* at least 16"),
        (np.ones((40, 40)), {"tile": 32.0}, TypeError, "tile=32.0"),
        (np.ones((40, 40)), {"scale": 0}, ValueError, "scale=0"),
        (np.ones((40, 40)), {"scale": 2}, ValueError, "scale=2"),
    ],
)
def test_bad_input_is_refused(image, options, error, message):
    with pytest.raises(error, match=message):
        sharpness(image, network=ByHand(), **options)


# The command line.


def run(*arguments):
    return cli.main(["sharpness", *map(str, arguments)])


@pytest.fixture
def by_hand(monkeypatch):
    network = ByHand()
    monkeypatch.setattr(judge, "classifier", lambda: network)


@pytest.fixture
def burst(tmp_path, by_hand):
    """A folder of three pictures, "b" the sharpest."""
    folder = tmp_path / "burst"
    folder.mkdir()
    image = data.coffee()[:160, :240]
    for name, sigma in (("a.png", 2), ("b.jpg", 0), ("c.tif", 4)):
        io.write(folder / name, blurred(image, sigma))
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_the_table_is_sharpest_first(burst, capsys):
    assert run(burst) == 0
    captured = capsys.readouterr()
    header, *lines = captured.out.splitlines()
    assert header.split() == ["blur", "judged", "picture"]
    assert [line.split()[-1] for line in lines] == [
        str(burst / name) for name in ("b.jpg", "a.png", "c.tif")
    ]
    assert "3 judged, 0 failed" in captured.err
    assert run(burst, "--best", 1) == 0
    (line,) = capsys.readouterr().out.splitlines()[1:]
    assert line.endswith("b.jpg")
    # A pattern, where no shell has expanded it; each file once.
    assert run(burst / "*.[pt]*", burst / "a.png") == 1
    captured = capsys.readouterr()
    assert [line[-5:] for line in captured.out.splitlines()[1:]] == ["a.png", "c.tif"]
    assert "notes.txt cannot be read" in captured.err
    assert "2 judged, 1 failed" in captured.err


def test_csv_and_json(burst, capsys):
    assert run(burst, "--csv", burst.parent / "list.csv", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    with (burst.parent / "list.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["picture"] for row in rows] == [row["picture"] for row in printed]
    assert [float(row["blur"]) for row in rows] == [row["blur"] for row in printed]
    assert list(printed[0]) == ["picture", "blur", "probability", "judged"]
    assert printed[0]["blur"] < printed[1]["blur"] < printed[2]["blur"]
    assert all(0 <= row["probability"] <= 1 and 0 < row["judged"] <= 1 for row in printed)
    assert run(burst, "--csv", "-", "--best", 2) == 0
    assert len(list(csv.DictReader(text.StringIO(capsys.readouterr().out)))) == 2


def test_what_cannot_be_judged_is_last_and_no_number(burst, capsys):
    io.write(burst / "a-sky.png", np.full((64, 64), 200, np.uint8))
    assert run(burst) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == [
        "–",
        "0",
        "%",
        str(burst / "a-sky.png"),
    ]
    assert run(burst, "--json") == 0
    last = json.loads(capsys.readouterr().out)[-1]
    assert last["blur"] is None and last["probability"] is None


def test_heat_maps_are_written(burst, tmp_path, capsys):
    maps = tmp_path / "maps"
    maps.mkdir()
    assert run(burst / "a.png", burst / "c.tif", "--heatmap", maps) == 0
    assert sorted(p.name for p in maps.iterdir()) == ["a.png.sharpness.png", "c.tif.sharpness.png"]
    assert run(burst / "b.jpg", "--heatmap", tmp_path / "one.png") == 0
    with Image.open(tmp_path / "one.png") as image:
        assert min(image.size) > 500
        # Blue for sharp on the picture's half.
        red, _, blue = (np.asarray(c, float).mean() for c in image.convert("RGB").split())
    assert run(burst / "c.tif", "--heatmap", tmp_path / "one.png") == 2
    assert "pass --overwrite" in capsys.readouterr().err
    with Image.open(maps / "c.tif.sharpness.png") as image:
        redder, _, paler = (np.asarray(c, float).mean() for c in image.convert("RGB").split())
    assert redder - paler > red - blue + 5


@pytest.mark.parametrize("kind", ["stack", "small", "deep", "floating"])
def test_other_files(tmp_path, by_hand, capsys, kind):
    image = data.camera()[:96, :128]
    picture = {
        "stack": np.stack([image] * 5),
        "small": image[:20],
        "deep": image.astype(np.uint16) * 10,
        "floating": image.astype(np.float32) * 1e-4 + 2,
    }[kind]
    io.write(tmp_path / "a.tif", picture)
    good = kind in ("deep", "floating")
    assert run(tmp_path / "a.tif", "--heatmap", tmp_path / "map.png") == (0 if good else 2)
    assert (tmp_path / "map.png").exists() == good
    if not good:
        message = capsys.readouterr().err
        assert message.count("\n") == 1
        assert ("this is a stack (ZYX)" if kind == "stack" else "20 x 128 pixels") in message
        assert "a.tif" in message


BAD = {
    "missing": (["{folder}/none.png"], "none.png does not exist"),
    "pattern": (["{folder}/*.gif"], "does not exist"),
    "empty": (["{empty}"], "no picture"),
    "one bad file": (["{folder}/notes.txt"], "notes.txt cannot be read"),
    "tile": (["{folder}", "--tile", "3"], "tile"),
    "scale": (["{folder}", "--scale", "1.5"], "--scale 1.5"),
    "best": (["{folder}", "--best", "0"], "best"),
    "both printed": (["{folder}", "--json", "--csv", "-"], "--json and --csv -"),
    "csv folder": (["{folder}", "--csv", "{empty}/x/y.csv"], "of --csv does not exist"),
    "csv exists": (["{folder}/a.png", "--csv", "{other}/a.png"], "pass --overwrite"),
    "csv is the picture": (
        ["{folder}", "--csv", "{folder}/a.png", "--overwrite"],
        "is a picture to judge",
    ),
    "map exists": (["{folder}/a.png", "--heatmap", "{other}/a.png"], "pass --overwrite"),
    "several in one": (["{folder}", "--heatmap", "{empty}/x.png"], "expected a folder"),
    "map suffix": (["{folder}/a.png", "--heatmap", "{empty}/x"], "ends in one of"),
    "map folder": (["{folder}/a.png", "--heatmap", "{empty}/x/y.png"], "of --heatmap"),
    "map is the picture": (["{folder}/a.png", "--heatmap", "{folder}/a.png"], "is a picture"),
    "maps among pictures": (["{folder}", "--heatmap", "{folder}"], "holds the pictures"),
    "same name": (["{folder}/a.png", "{other}/a.png", "--heatmap", "{empty}"], "called a.png"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_one_line_code_2_and_no_file(burst, tmp_path, capsys, case):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.png").write_bytes((burst / "a.png").read_bytes())
    before = sorted(tmp_path.rglob("*"))
    arguments, message = BAD[case]
    places = {"folder": burst, "empty": tmp_path / "empty", "other": tmp_path / "other"}
    assert run(*(each.format(**places) for each in arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_bug_keeps_its_traceback(burst, monkeypatch):
    def fail(*arguments, **keywords):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(judge, "of_picture", fail)
    with pytest.raises(ZeroDivisionError):
        run(burst / "a.png")


@pytest.mark.parametrize("absent", ["torch", "unrolled", NEEDED])
def test_what_to_install_is_said_before_a_file_is_read(tmp_path, absent):
    (tmp_path / "a.png").write_text("not read")
    code = (
        f"import sys\nsys.modules[{absent!r}] = None\n"
        "from deconv import cli\n"
        f"sys.exit(cli.main(['sharpness', {str(tmp_path / 'a.png')!r}]))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1
    assert 'pip install "deconv[unrolled]"' in found.stderr
    assert absent in found.stderr


# The figure.


def test_the_heat_map_shows_picture_and_tiles():
    picture = np.tile(np.arange(200, dtype=np.uint8), (100, 1))
    tiles = np.zeros((4, 7))
    tiles[0, 0] = np.nan
    figure = heat_map(picture, tiles, 32, title="a title", label="logit", ends=("low", "high"))
    plain, coloured, bar = figure.axes
    assert figure.get_suptitle() == "a title"
    assert [each.get_text() for each in bar.texts] == ["low", "high"]
    drawn = coloured.images[-1]
    assert drawn.get_array().mask.sum() == 1
    assert drawn.get_extent() == [0, 224, 128, 0]
    assert coloured.get_xlim() == (0, 200) and coloured.get_ylim() == (100, 0)
    np.testing.assert_allclose(plain.images[0].get_array(), picture / 255, atol=1e-6)
    # Wide pictures stand one above the other, others side by side.
    assert plain.get_position().y0 > coloured.get_position().y0
    plain, coloured, _ = heat_map(np.zeros((64, 64, 3)), np.zeros((2, 2)), 32).axes
    assert plain.get_position().x0 < coloured.get_position().x0
    with pytest.raises(ValueError, match=r"picture has shape \(2, 3, 4\)"):
        heat_map(np.zeros((2, 3, 4)), tiles, 32)
    with pytest.raises(ValueError, match=r"values has shape \(4, 7\); expected \(2, 2\)"):
        heat_map(np.zeros((64, 64)), tiles, 32)

"""Round trips through files: every depth and every tag, and every way a file can be bad."""

import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps

from deconv import exif, io
from deconv.io import Picture, from_linear, read, to_linear, write

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
DEPTHS = {"uint8": np.uint8, "uint16": np.uint16}


def noise(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=shape).astype(dtype)
    # Every bit is in use, so that any loss of depth shows.
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def exif_block(orientation=None):
    block = Image.Exif()
    block[0x010F] = "Maker"
    block[0x0132] = "2024:01:02 03:04:05"
    if orientation:
        block[0x0112] = orientation
    block.get_ifd(0x8769).update({0x829A: 1 / 64, 0x927C: b"maker note", 0x9003: "2024:01:02"})
    block.get_ifd(0x8825).update({1: "N", 2: (48.0, 30.0, 0.0)})
    return block.tobytes().removeprefix(exif.PREFIX)


def described(shape, dtype, axes, alpha=False, **extra):
    return Picture(
        noise(shape, dtype),
        axes,
        alpha=noise([n for n, a in zip(shape, axes, strict=True) if a != "S"], dtype, 1)
        if alpha
        else None,
        icc=ICC,
        exif=exif_block(1),
        resolution=(300.0, 150.0, "inch"),
        **extra,
    )


def assert_same(found, expected):
    assert found.axes == expected.axes
    assert found.pixels.dtype == expected.pixels.dtype
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    assert (found.alpha is None) == (expected.alpha is None)
    if expected.alpha is not None:
        assert found.alpha.dtype == expected.alpha.dtype
        np.testing.assert_array_equal(found.alpha, expected.alpha)
    assert found.icc == expected.icc
    assert found.resolution[2] == expected.resolution[2]
    np.testing.assert_allclose(found.resolution[:2], expected.resolution[:2], rtol=1e-3)


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("axes", ["YX", "YXS"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_keeps_everything(tmp_path, dtype, axes, alpha):
    picture = described((71, 53) + (3,) * (axes == "YXS"), dtype, axes, alpha)
    write(tmp_path / "a.png", picture)
    found = read(tmp_path / "a.png")
    assert_same(found, picture)
    assert found.exif == picture.exif
    with Image.open(tmp_path / "a.png") as image:
        # Another decoder reads what our encoder wrote.
        assert image.size == (53, 71)
        assert image.info["icc_profile"] == ICC
        if dtype == np.uint8:
            colours = np.asarray(image)
            colours = colours.reshape(71, 53, -1)[..., : 3 if axes == "YXS" else 1]
            np.testing.assert_array_equal(colours.squeeze(), picture.pixels)


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize(
    ("axes", "shape"),
    [("YX", (31, 45)), ("YXS", (31, 45, 3)), ("ZYX", (5, 31, 45)), ("ZYXS", (5, 31, 45, 3))],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64, np.int16])
def test_tiff_keeps_everything(tmp_path, dtype, axes, shape, alpha):
    picture = described(shape, dtype, axes, alpha)
    write(tmp_path / "a.tif", picture)
    found = read(tmp_path / "a.tif")
    assert_same(found, picture)
    block = exif._parse(found.exif)
    assert block[0x010F] == "Maker"
    assert block.get_ifd(0x8769)[0x927C] == b"maker note"
    assert block.get_ifd(0x8825)[2] == (48.0, 30.0, 0.0)


def test_jpeg_keeps_profile_exif_and_resolution(tmp_path):
    y, x = np.mgrid[:48, :64]
    smooth = np.stack([x * 4, y * 5, x + y], axis=-1).astype(np.uint8)
    for name, pixels, axes in (("grey", smooth[..., 0], "YX"), ("colour", smooth, "YXS")):
        path = tmp_path / f"{name}.jpg"
        picture = Picture(
            pixels, axes, icc=ICC, exif=exif_block(1), resolution=(300.0, 300.0, "inch")
        )
        write(path, picture)
        found = read(path)
        assert found.axes == axes
        assert found.icc == ICC
        assert found.exif == picture.exif
        assert found.resolution == picture.resolution
        assert np.abs(found.pixels.astype(int) - pixels).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_orientation_is_applied_once(tmp_path, suffix, orientation):
    path, again = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    stored = np.kron(noise((3, 5, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    if suffix == ".tif":
        tags = [(274, "H", 1, orientation, True)]
        tifffile.imwrite(path, stored, photometric="rgb", resolution=(2, 1), extratags=tags)
        upright = exif.turn(stored, "YXS", orientation)
    else:
        block = Image.Exif()
        block[0x0112] = orientation
        Image.fromarray(stored).save(path, exif=block.tobytes(), quality=95, subsampling=0)
        with Image.open(path) as image:
            upright = np.asarray(ImageOps.exif_transpose(image))
    picture = read(path)
    np.testing.assert_array_equal(picture.pixels, upright)
    assert exif.orientation(picture.exif) == 1
    if suffix == ".tif":
        assert picture.resolution[:2] == ((1, 2) if orientation >= 5 else (2, 1))
    write(again, picture)
    assert read(again).pixels.shape == upright.shape
    if suffix != ".jpg":
        np.testing.assert_array_equal(read(again).pixels, upright)


def test_orientation_turns_alpha_and_patches_one_value(tmp_path):
    for order in ("<", ">"):
        start = b"II*\0" if order == "<" else b"MM\0*"
        entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, 6, 0)
        block = start + struct.pack(order + "IH", 8, 1) + entry + b"\0\0\0\0rest"
        assert exif.orientation(block) == 6
        fixed = exif.upright(block)
        assert exif.orientation(fixed) == 1
        assert [i for i in range(len(block)) if block[i] != fixed[i]] == [18 + (order == ">")]
    colours, alpha = noise((4, 6, 3), np.uint8), noise((4, 6), np.uint8)
    write(tmp_path / "a.png", Picture(colours, "YXS", alpha=alpha, exif=block))
    found = read(tmp_path / "a.png")
    np.testing.assert_array_equal(found.alpha, np.rot90(alpha, -1))
    for harmless in (None, b"", b"II", b"XX*\0aaaaaaaa", b"II*\0\xff\xff\0\0\0\0"):
        assert exif.orientation(harmless) == 1
        assert exif.upright(harmless) == harmless


def test_exif_travels_between_formats(tmp_path):
    picture = Picture(noise((16, 24, 3), np.uint8), "YXS", exif=exif_block(1))
    write(tmp_path / "a.jpg", picture)
    write(tmp_path / "b.tif", read(tmp_path / "a.jpg"))
    write(tmp_path / "c.png", read(tmp_path / "b.tif"))
    with Image.open(tmp_path / "b.tif") as image:
        assert (
            image.getexif().get_ifd(0x8769)[0x829A]
            == exif._parse(picture.exif).get_ifd(0x8769)[0x829A]
        )
    block = exif._parse(read(tmp_path / "c.png").exif)
    assert block[0x0132] == "2024:01:02 03:04:05"
    assert block.get_ifd(0x8769)[0x9003] == "2024:01:02"


@pytest.mark.parametrize(("mode", "keyed"), [("P", False), ("P", True), ("1", False), ("L", True)])
def test_png_palette_key_and_bits(tmp_path, mode, keyed):
    base = Image.fromarray(noise((9, 11), np.uint8) // 64)
    base = base.convert(mode)
    if mode == "P":
        base.putpalette(list(range(30, 30 + 12)))
    options = {"transparency": 1} if keyed else {}
    base.save(tmp_path / "a.png", **options)
    found = read(tmp_path / "a.png")
    assert (found.alpha is not None) == keyed
    with Image.open(tmp_path / "a.png") as image:
        expected = np.asarray(image.convert("RGBA"))
    colours = found.pixels if found.axes == "YXS" else found.pixels[..., None]
    np.testing.assert_array_equal(np.broadcast_to(colours, (9, 11, 3)), expected[..., :3])
    if keyed:
        np.testing.assert_array_equal(found.alpha, expected[..., 3])


def test_png_16_bit_with_every_filter_and_no_filter(tmp_path):
    """Decoding is checked against an encoder of another kind: each row has another filter."""
    samples = noise((10, 7, 3), np.uint16)
    rows = samples.astype(">u2").view(np.uint8).reshape(10, -1).astype(int)
    lines = []
    for y, row in enumerate(rows):
        a = np.concatenate([np.zeros(6, int), row[:-6]])
        b = rows[y - 1] if y else np.zeros_like(row)
        guess = [0 * row, a, b, (a + b) // 2][y % 4]
        lines.append(bytes([y % 4]) + ((row - guess) % 256).astype(np.uint8).tobytes())
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 7, 10, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"".join(lines))),
        (b"IEND", b""),
    ]
    data = b"\x89PNG\r\n\x1a\n"
    for name, content in chunks:
        data += struct.pack(">I", len(content)) + name + content
        data += struct.pack(">I", zlib.crc32(name + content))
    (tmp_path / "a.png").write_bytes(data)
    np.testing.assert_array_equal(read(tmp_path / "a.png").pixels, samples)


@pytest.mark.parametrize("description", ["ImageJ=1.54f\nimages=4\nslices=4\nspacing=0.3\n", "µm"])
def test_tiff_description_is_kept(tmp_path, description):
    stack = noise((4, 9, 8), np.uint16)
    write(tmp_path / "a.tif", Picture(stack, "ZYX", description=description))
    found = read(tmp_path / "a.tif")
    assert found.axes == "ZYX"
    assert found.description == description.strip()
    np.testing.assert_array_equal(found.pixels, stack)


@pytest.mark.parametrize(
    ("options", "axes"),
    [
        ({"metadata": None, "photometric": "minisblack"}, "ZYX"),
        ({"imagej": True, "metadata": {"axes": "ZYX"}}, "ZYX"),
        ({"imagej": True, "metadata": {"axes": "CYX"}}, "CYX"),
        ({"ome": True, "metadata": {"axes": "TYX"}, "photometric": "minisblack"}, "TYX"),
        ({"byteorder": ">", "metadata": {"axes": "ZYX"}, "photometric": "minisblack"}, "ZYX"),
        ({"planarconfig": "separate", "photometric": "rgb"}, "YXS"),
    ],
)
def test_tiff_flavours(tmp_path, options, axes):
    stack = noise((3, 12, 10), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stack, **options)
    found = read(tmp_path / "a.tif")
    assert found.axes == axes
    expected = np.moveaxis(stack, 0, -1) if axes == "YXS" else stack
    np.testing.assert_array_equal(found.pixels, expected)
    assert found.pixels.dtype.isnative
    write(tmp_path / "b.tif", found.pixels, like=found)
    again = read(tmp_path / "b.tif")
    assert again.axes == axes
    np.testing.assert_array_equal(again.pixels, expected)


def test_tiff_white_is_zero_palette_and_premultiplied(tmp_path):
    grey = noise((8, 9), np.uint8)
    tifffile.imwrite(tmp_path / "w.tif", grey, photometric="miniswhite")
    np.testing.assert_array_equal(read(tmp_path / "w.tif").pixels, 255 - grey)
    colours = noise((3, 256), np.uint16)
    tifffile.imwrite(tmp_path / "p.tif", grey, photometric="palette", colormap=colours)
    np.testing.assert_array_equal(
        read(tmp_path / "p.tif").pixels, np.moveaxis(colours[:, grey], 0, -1)
    )
    bits = grey > 100
    tifffile.imwrite(tmp_path / "b.tif", bits, photometric="minisblack")
    np.testing.assert_array_equal(read(tmp_path / "b.tif").pixels, bits * np.uint8(255))
    picture = described((8, 9, 3), np.uint8, "YXS", alpha=True, premultiplied=True)
    write(tmp_path / "m.tif", picture)
    assert read(tmp_path / "m.tif").premultiplied
    with pytest.raises(ValueError, match="multiplied by their transparency"):
        write(tmp_path / "m.png", picture)


def test_arrays_take_depth_and_tags_from_like(tmp_path):
    like = described((20, 30, 3), np.uint16, "YXS", alpha=True)
    restored = like.pixels.astype(np.float32) + 0.3
    restored[0, 0] = -5, 70000, 12.5
    before = restored.copy()
    write(tmp_path / "a.png", restored, like=like)
    found = read(tmp_path / "a.png")
    assert_same(
        found,
        Picture(
            np.clip(np.rint(restored), 0, 65535).astype(np.uint16),
            "YXS",
            like.alpha,
            icc=ICC,
            resolution=like.resolution,
        ),
    )
    assert found.pixels[0, 0].tolist() == [0, 65535, 12]
    np.testing.assert_array_equal(restored, before)


def test_plain_arrays(tmp_path):
    for name, shape, axes in (
        ("a.png", (6, 7), "YX"),
        ("b.png", (6, 7, 3), "YXS"),
        ("c.tif", (5, 6, 7), "ZYX"),
    ):
        write(tmp_path / name, noise(shape, np.uint8))
        assert read(tmp_path / name).axes == axes
    write(tmp_path / "d.png", noise((6, 7, 4), np.uint8))
    assert read(tmp_path / "d.png").alpha is not None
    with pytest.raises(ValueError, match="axes"):
        write(tmp_path / "e.tif", noise((2, 5, 6, 7), np.uint8))
    with pytest.raises(ValueError, match="same"):
        write(tmp_path / "e.tif", noise((6, 7), np.uint8), like=read(tmp_path / "b.png"))


def test_depth_changes_only_when_asked(tmp_path):
    deep = Picture(np.array([[0, 257, 65535]], np.uint16), "YX", alpha=np.full((1, 3), 65535, "u2"))
    write(tmp_path / "a.png", deep, depth=8)
    assert read(tmp_path / "a.png").pixels.tolist() == [[0, 1, 255]]
    write(tmp_path / "b.tif", deep, depth=32)
    np.testing.assert_allclose(read(tmp_path / "b.tif").pixels, [[0, 257 / 65535, 1]], rtol=1e-6)
    write(tmp_path / "c.png", np.array([[0.0, 0.5, 2.0]]), depth=16)
    assert read(tmp_path / "c.png").pixels.tolist() == [[0, 32768, 65535]]
    write(tmp_path / "d.tif", deep, depth=16)
    assert read(tmp_path / "d.tif").pixels.tolist() == deep.pixels.tolist()
    with pytest.raises(ValueError, match="depth=12"):
        write(tmp_path / "e.png", deep, depth=12)
    for name, picture, remedy in (
        ("f.png", np.zeros((3, 3)), "depth=8 or 16"),
        ("f.jpg", deep.pixels, "depth=8"),
        ("g.jpg", Picture(np.zeros((3, 3), np.uint8), "YX", alpha=np.zeros((3, 3), "u1")), ".png"),
        ("h.png", np.zeros((3, 4, 5), np.uint8), ".tif"),
        ("i.tif", np.zeros((3, 4), complex), "real|integers"),
        ("j.bmp", deep, ".png"),
        ("k", deep, ".png"),
    ):
        with pytest.raises(ValueError, match=remedy):
            write(tmp_path / name, picture)
        assert not (tmp_path / name).exists()
    with pytest.raises(ValueError, match="not finite"):
        write(tmp_path / "f.png", np.array([[np.nan, 1.0]]), depth=8)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_truncated_files_are_refused_with_their_name(tmp_path, suffix):
    path = tmp_path / f"whole{suffix}"
    write(path, noise((64, 64, 3), np.uint8))
    data = path.read_bytes()
    for share in (0.0, 0.02, 0.3, 0.7, 0.95):
        cut = tmp_path / f"cut{suffix}"
        cut.write_bytes(data[: int(share * len(data))])
        with pytest.raises(ValueError, match=r"cut.* cannot be read"):
            read(cut)


def test_unreadable_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.png does not exist"):
        read(tmp_path / "none.png")
    with pytest.raises(FileNotFoundError, match="is a folder"):
        read(tmp_path)
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(ValueError, match="none of PNG, JPEG and TIFF"):
        read(tmp_path / "text.png")
    with tifffile.TiffWriter(tmp_path / "two.tif") as file:
        file.write(np.zeros((8, 8), np.uint8))
        file.write(np.zeros((9, 9), np.float32))
    with pytest.raises(ValueError, match="2 pictures"):
        read(tmp_path / "two.tif")
    Image.new("CMYK", (8, 8)).save(tmp_path / "cmyk.jpg")
    Image.new("CMYK", (8, 8)).save(tmp_path / "cmyk.tif")
    Image.fromarray(noise((8, 8), np.uint8)).save(tmp_path / "lzw.tif", compression="tiff_lzw")
    frames = [Image.new("L", (8, 8), value) for value in (0, 9)]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    tifffile.imwrite(tmp_path / "complex.tif", np.zeros((8, 8), np.complex64))
    for name, reason in (
        ("cmyk.jpg", "CMYK"),
        ("cmyk.tif", "SEPARATED"),
        ("lzw.tif", "imagecodecs"),
        ("moving.png", "animated"),
        ("complex.tif", "complex64"),
    ):
        with pytest.raises(ValueError, match=reason):
            read(tmp_path / name)


def test_writing_is_whole_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    write(path, np.zeros((4, 4), np.uint8))
    before = path.read_bytes()

    def fail(path, picture):
        path.write_bytes(b"half")
        raise OSError("disk full")

    from deconv import formats

    monkeypatch.setitem(formats.WRITERS, "PNG", fail)
    with pytest.raises(OSError, match="disk full"):
        write(path, np.ones((4, 4), np.uint8))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(FileNotFoundError, match="output folder"):
        write(tmp_path / "none" / "a.tif", np.zeros((4, 4)))


def test_picture_refuses_axes_that_do_not_fit():
    for axes, shape in (("YX", (3, 3, 3)), ("XY", (3, 3)), ("SYX", (3, 3, 3))):
        with pytest.raises(ValueError, match="axes="):
            Picture(np.zeros(shape), axes)
    assert Picture(np.zeros((2, 2), np.uint16), "YX").white == 65535
    assert Picture(np.zeros((2, 2), np.float32), "YX").white == 1


def test_linear_light_is_the_srgb_curve():
    encoded = np.linspace(-0.2, 1.3, 301)
    np.testing.assert_allclose(from_linear(to_linear(encoded)), encoded, atol=1e-12)
    assert to_linear(np.float32([0.5])).dtype == np.float32
    # IEC 61966-2-1: middle grey, and the two pieces of the curve meet.
    assert to_linear(np.array(0.5)) == pytest.approx(0.21404, abs=1e-5)
    assert np.abs(np.diff(to_linear(np.array([0.04045, 0.0404501])))) < 1e-6
    assert (np.diff(to_linear(encoded)) > 0).all()
    assert set(io.SUFFIXES.values()) == {"PNG", "JPEG", "TIFF"}


def test_odd_ends(tmp_path):
    """Files that need a further look: keyed 16-bit PNG, several-channel TIFF, BigTIFF."""
    write(tmp_path / "a.png", noise((4, 5), np.uint16))
    for pixels in (noise((4, 5), np.uint16), noise((4, 5, 3), np.uint16)):
        write(tmp_path / "a.png", pixels)
        data = (tmp_path / "a.png").read_bytes()
        key = b"tRNS" + b"\0\1" * (1 if pixels.ndim == 2 else 3)
        chunk = struct.pack(">I", len(key) - 4) + key + struct.pack(">I", zlib.crc32(key))
        (tmp_path / "b.png").write_bytes(data[:33] + chunk + data[33:])
        with pytest.raises(ValueError, match="not supported"):
            read(tmp_path / "b.png")
    for alpha in (False, True):
        picture = described((9, 8, 5), np.uint16, "YXS", alpha=alpha)
        write(tmp_path / "c.tif", picture)
        assert_same(read(tmp_path / "c.tif"), picture)
    tifffile.imwrite(tmp_path / "d.tif", noise((9, 8), np.uint16), bigtiff=True)
    big = read(tmp_path / "d.tif")
    assert big.exif is None
    exif.add_to_tiff(tmp_path / "d.tif", exif_block(1))
    np.testing.assert_array_equal(read(tmp_path / "d.tif").pixels, big.pixels)
    with pytest.raises(ValueError, match="like has"):
        write(tmp_path / "e.tif", np.zeros((3, 3)), like=big)

"""Psfs from files, the synthetic ones made here and those that others wrote."""

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import Image

from deconv import psf

KERNEL = np.array([[0, 1, 2, 0], [3, 9, 4, 1], [0, 5, 0, 0]])


def write_v73(path, **variables):
    """A file as MATLAB 7.3 writes it: a 512-byte header, then HDF5 with every array transposed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            if isinstance(value, list):
                cells = file.create_group("#refs#")
                references = np.empty((len(value), 1), h5py.ref_dtype)
                for i, cell in enumerate(value):
                    references[i, 0] = cells.create_dataset(f"c{i}", data=np.asarray(cell).T).ref
                made = file.create_dataset(name, data=references, dtype=h5py.ref_dtype)
                made.attrs["MATLAB_class"] = np.bytes_("cell")
            elif isinstance(value, dict):
                file.create_group(name)
            else:
                file.create_dataset(name, data=np.asarray(value).T)
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(512))


def cell(*arrays):
    made = np.empty((1, len(arrays)), object)
    made[0, :] = arrays
    return made


def matches(kernel, values=KERNEL):
    np.testing.assert_allclose(kernel, values / np.sum(values), rtol=1e-6)
    return True


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_png(tmp_path, depth):
    Image.fromarray(KERNEL.astype(depth) * 20).save(tmp_path / "k.png")
    assert matches(psf.from_file(tmp_path / "k.png"))
    assert matches(psf.from_file(str(tmp_path / "k.png"), index=0))


def test_png_in_equal_colours_and_in_colour(tmp_path):
    grey = np.repeat(KERNEL[..., None], 3, axis=2).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert matches(psf.from_file(tmp_path / "grey.png"))
    grey[0, 0, 1] = 3
    Image.fromarray(grey).save(tmp_path / "colour.png")
    with pytest.raises(ValueError, match=r"colour\.png is in colour"):
        psf.from_file(tmp_path / "colour.png")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_tiff(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "k.tif", KERNEL.astype(dtype))
    kernel = psf.from_file(tmp_path / "k.tif")
    assert matches(kernel)
    assert kernel.dtype == (np.float32 if dtype == np.float32 else np.float64)


def test_tiff_volume_and_series(tmp_path):
    volume = np.stack([KERNEL, 2 * KERNEL]).astype(np.float32)
    tifffile.imwrite(tmp_path / "v.tif", volume, imagej=True, metadata={"axes": "ZYX"})
    assert matches(psf.from_file(tmp_path / "v.tif"), volume)
    assert matches(psf.from_file(tmp_path / "v.tif", index=1))
    tifffile.imwrite(tmp_path / "t.tif", volume, imagej=True, metadata={"axes": "TYX"})
    with pytest.raises(ValueError, match="holds 2 psfs; pass index, from 0 to 1"):
        psf.from_file(tmp_path / "t.tif")
    assert matches(psf.from_file(tmp_path / "t.tif", index=1))


def test_npy(tmp_path):
    np.save(tmp_path / "k.npy", KERNEL)
    assert matches(psf.from_file(tmp_path / "k.npy"))
    stack = np.stack([KERNEL, KERNEL[::-1], KERNEL[:, ::-1]])
    np.save(tmp_path / "s.npy", stack)
    assert psf.from_file(tmp_path / "s.npy").shape == (3, 3, 4)
    assert matches(psf.from_file(tmp_path / "s.npy", index=2), KERNEL[:, ::-1])
    np.save(tmp_path / "several.npy", stack[:, None])
    with pytest.raises(ValueError, match="holds 3 psfs; pass index, from 0 to 2"):
        psf.from_file(tmp_path / "several.npy")


def test_mat(tmp_path):
    scipy.io.savemat(tmp_path / "one.mat", {"k": KERNEL, "gamma": 2.2, "name": "shake"})
    assert matches(psf.from_file(tmp_path / "one.mat"))
    scipy.io.savemat(tmp_path / "cell.mat", {"kernels": cell(KERNEL, KERNEL.T)})
    with pytest.raises(ValueError, match=r"cell\.mat holds 2 psfs; pass index"):
        psf.from_file(tmp_path / "cell.mat")
    assert matches(psf.from_file(tmp_path / "cell.mat", index=1), KERNEL.T)
    with pytest.raises(ValueError, match=r"index=2, but .* holds 2 psfs"):
        psf.from_file(tmp_path / "cell.mat", index=2)
    scipy.io.savemat(tmp_path / "single.mat", {"kernels": cell(KERNEL)})
    assert matches(psf.from_file(tmp_path / "single.mat"))


def test_mat_with_several_variables(tmp_path):
    path = tmp_path / "pair.mat"
    scipy.io.savemat(path, {"f": KERNEL, "x": np.ones((9, 9)), "mixed": cell(KERNEL, "text")})
    with pytest.raises(ValueError, match="several variables; pass variable, one of f, x"):
        psf.from_file(path)
    assert matches(psf.from_file(path, variable="f"))
    with pytest.raises(ValueError, match=r"variable='g' is not in .*; it holds f, x"):
        psf.from_file(path, variable="g")


def test_mat_volume_has_its_slices_first(tmp_path):
    volume = np.stack([KERNEL, 2 * KERNEL, KERNEL**2])
    scipy.io.savemat(tmp_path / "v.mat", {"v": volume.transpose(1, 2, 0)})
    write_v73(tmp_path / "w.mat", v=volume.transpose(1, 2, 0))
    for name in "vw":
        assert matches(psf.from_file(tmp_path / f"{name}.mat"), volume)
        assert matches(psf.from_file(tmp_path / f"{name}.mat", index=2), volume[2])


def test_mat_v73(tmp_path):
    write_v73(tmp_path / "one.mat", k=KERNEL, scale=2.0, info={})
    assert matches(psf.from_file(tmp_path / "one.mat"))
    write_v73(tmp_path / "cell.mat", kernels=[KERNEL, KERNEL.T, KERNEL**2])
    with pytest.raises(ValueError, match=r"cell\.mat holds 3 psfs; pass index, from 0 to 2"):
        psf.from_file(tmp_path / "cell.mat")
    for index, values in enumerate((KERNEL, KERNEL.T, KERNEL**2)):
        assert matches(psf.from_file(tmp_path / "cell.mat", index=index), values)


def test_mat_without_an_array(tmp_path):
    scipy.io.savemat(tmp_path / "text.mat", {"name": "shake", "none": np.zeros((0, 0))})
    write_v73(tmp_path / "scalar.mat", sigma=2.0)
    for name in ("text", "scalar"):
        with pytest.raises(ValueError, match=f"{name}.mat holds no numeric array"):
            psf.from_file(tmp_path / f"{name}.mat")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (KERNEL - 1.0, "negative"),
        (np.full((3, 3), np.nan), "NaN"),
        (np.zeros((3, 3)), "zero everywhere"),
        (np.ones((3, 3), complex), "complex"),
        (np.array([["a", "b"]]), "dtype"),
    ],
)
def test_files_without_a_usable_psf(tmp_path, values, words):
    np.save(tmp_path / "k.npy", values)
    with pytest.raises(ValueError, match=rf"k\.npy holds no usable psf: .*{words}"):
        psf.from_file(tmp_path / "k.npy")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy", ".mat"])
def test_missing_empty_and_damaged_files(tmp_path, suffix):
    missing = tmp_path / f"missing{suffix}"
    with pytest.raises(FileNotFoundError, match=r"missing.* does not exist"):
        psf.from_file(missing)
    folder = tmp_path / f"folder{suffix}"
    folder.mkdir()
    with pytest.raises(FileNotFoundError, match="is a folder"):
        psf.from_file(folder)
    for content in (b"", b"not a psf at all", b"\x89PNG\r\n\x1a\n", b"\x93NUMPY"):
        damaged = tmp_path / f"damaged{suffix}"
        damaged.write_bytes(content)
        with pytest.raises(ValueError, match=r"damaged.* cannot be read"):
            psf.from_file(damaged)


@pytest.mark.parametrize("kind", ["v5", "v73", "npy", "png"])
def test_truncated_files(tmp_path, kind):
    path = tmp_path / {"npy": "k.npy", "png": "k.png"}.get(kind, "k.mat")
    values = np.random.default_rng(0).integers(1, 255, (40, 40)).astype(np.uint8)
    if kind == "v5":
        scipy.io.savemat(path, {"k": values}, do_compression=True)
    elif kind == "v73":
        write_v73(path, k=values)
    elif kind == "npy":
        np.save(path, values)
    else:
        Image.fromarray(values).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="cannot be read"):
        psf.from_file(path)


def test_pickles_and_archives_are_refused(tmp_path):
    np.save(tmp_path / "objects.npy", cell(KERNEL, KERNEL), allow_pickle=True)
    with pytest.raises(ValueError, match="cannot be read as npy"):
        psf.from_file(tmp_path / "objects.npy")
    np.savez(tmp_path / "archive.npz", k=KERNEL)
    (tmp_path / "archive.npz").rename(tmp_path / "archive.npy")
    with pytest.raises(ValueError, match="npz archive"):
        psf.from_file(tmp_path / "archive.npy")


def test_bad_index_and_variable(tmp_path):
    np.save(tmp_path / "k.npy", KERNEL)
    with pytest.raises(ValueError, match=r"index=1, but .* holds 1 psf"):
        psf.from_file(tmp_path / "k.npy", index=1)
    with pytest.raises(ValueError, match="index=-1"):
        psf.from_file(tmp_path / "k.npy", index=-1)
    with pytest.raises(TypeError, match="index"):
        psf.from_file(tmp_path / "k.npy", index=0.0)
    with pytest.raises(ValueError, match=r"only \.mat"):
        psf.from_file(tmp_path / "k.npy", variable="k")


def test_levin_kernels(shared_data):
    path = shared_data / "kernels" / "dpir" / "Levin09.mat"
    kernels = [psf.from_file(path, index=i) for i in range(8)]
    assert [len(k) for k in kernels] == [19, 17, 15, 27, 13, 21, 23, 23]
    for kernel in kernels:
        assert abs(kernel.sum() - 1) < 1e-12
    with pytest.raises(ValueError, match="holds 8 psfs"):
        psf.from_file(path)
    with h5py.File(path) as file:
        first = file[file["kernels"][0, 0]][()]
    np.testing.assert_allclose(kernels[0], first.T / first.sum())


def test_twelve_kernels(shared_data):
    path = shared_data / "kernels" / "dpir" / "kernels_12.mat"
    for index in range(12):
        kernel = psf.from_file(path, index=index)
        assert kernel.shape == (25, 25)
        assert kernel.dtype == np.float32
        assert abs(kernel.sum(dtype=np.float64) - 1) < 1e-6
    with pytest.raises(ValueError, match=r"holds no usable psf: .*negative"):
        psf.from_file(path.with_name("kernels_bicubicx234.mat"), index=0)


def test_estimated_kernels(shared_data):
    paths = sorted((shared_data / "kernels" / "estimated_levin").glob("*.png"))
    assert paths
    for path in paths:
        kernel = psf.from_file(path)
        assert abs(kernel.sum() - 1) < 1e-12
        centred = psf.centre(kernel)
        at = np.subtract(psf.centroid(centred), np.array(centred.shape) // 2)
        assert np.abs(at).max() < 1e-9


def test_levin_pair_names_its_variables(shared_data):
    path = shared_data / "pairs" / "levin2009" / "im01_ker01.mat"
    with pytest.raises(ValueError, match="several variables"):
        psf.from_file(path)
    assert psf.from_file(path, variable="f").shape == (19, 19)

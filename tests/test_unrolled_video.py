"""Averages of video frames: the right frames, no cuts, nothing that moves too fast."""

import sys

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import fourier_shift, gaussian_filter

torch = pytest.importorskip("torch")
av = pytest.importorskip("av")

from unrolled import clips  # noqa: E402
from unrolled.clips import Clip, cuts, displacements, read_clip  # noqa: E402
from unrolled.crops import turned  # noqa: E402
from unrolled.video import FrameAverage, averaged, frame_pairs  # noqa: E402


def texture(seed=0, shape=(80, 112), width=1.2):
    """A periodic colour texture, float on 8-bit values."""
    noise = np.random.default_rng(seed).standard_normal((*shape, 3))
    smooth = gaussian_filter(noise, (width, width, 0), mode="wrap")
    return np.clip(128 + 45 * smooth / smooth.std(), 0, 255)


def moving(velocity, count=16, seed=0, shape=(80, 112)):
    """Frames (count, *shape, 3), uint8, of a texture that moves by `velocity` = (y, x) a frame."""
    spectrum = np.fft.fftn(texture(seed, shape), axes=(0, 1))
    shifts = [(t * velocity[0], t * velocity[1], 0) for t in range(count)]
    frames = [np.fft.ifftn(fourier_shift(spectrum, s), axes=(0, 1)).real for s in shifts]
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)


def written(path, frames):
    """A video file of these frames; .mkv is without loss."""
    if path.suffix == ".gif":
        first, *others = (Image.fromarray(frame) for frame in frames)
        first.save(path, save_all=True, append_images=others, duration=40)
        return path
    codec, layout = ("ffv1", "bgr0") if path.suffix == ".mkv" else ("libx264", "yuv420p")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = layout
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A lossless clip, and the frames in it."""
    frames = moving((0.6, 1.1))
    return written(tmp_path_factory.mktemp("clips") / "pan.mkv", frames), frames


def planes(frame):
    return torch.from_numpy(frame.transpose(2, 0, 1).copy()).float() / 255


def test_light_is_averaged():
    black, white = np.zeros((1, 2, 2, 3), np.uint8), np.full((1, 2, 2, 3), 255, np.uint8)
    mean = averaged(np.concatenate([black, white, white]), 2.2)
    assert mean.dtype == np.float32
    np.testing.assert_allclose(mean, (2 / 3) ** (1 / 2.2), rtol=1e-6)
    np.testing.assert_allclose(averaged(np.concatenate([black, white]), 1.0), 0.5, rtol=1e-6)


def test_frames_of_one_picture_stay_as_they_are():
    frame = moving((0, 0), count=1)
    mean = averaged(frame.repeat(5, axis=0))
    np.testing.assert_allclose(mean, frame[0] / np.float32(255), atol=1e-6)


def test_a_sample_is_an_average_and_its_middle_frame(clip):
    path, frames = clip
    side = 76
    batch = FrameAverage([path], side, frames=(3, 7), flips=False).batch(0, range(6))
    assert batch.blurred.shape == batch.sharp.shape == (6, 3, side, side)
    assert batch.blurred.dtype == batch.sharp.dtype == torch.float32
    assert batch.known == (None,) * 6
    lengths = set()
    for blurred, sharp in zip(batch.blurred, batch.sharp, strict=True):
        found = [
            (t, i, j)
            for t in range(len(frames))
            for i in range(80 - side + 1)
            for j in range(112 - side + 1)
            if torch.equal(planes(frames[t, i : i + side, j : j + side]), sharp)
        ]
        ((t, i, j),) = found
        errors = {}
        for half in (1, 2, 3):
            if t - half >= 0 and t + half < len(frames):
                window = frames[t - half : t + half + 1, i : i + side, j : j + side] / 255
                mean = torch.from_numpy((window**2.2).mean(0) ** (1 / 2.2)).permute(2, 0, 1)
                errors[2 * half + 1] = float((mean - blurred).abs().max())
        assert min(errors.values()) < 1e-5
        lengths.add(min(errors, key=errors.get))
    assert len(lengths) > 1


def test_a_sample_is_settled_by_seed_and_index(clip):
    def batch(indices, seed=0, step=0):
        return FrameAverage([clip[0]], 32, seed=seed).batch(step, indices)

    all_of = batch(range(6))
    alone = batch([4], step=9)
    assert torch.equal(alone.blurred[0], all_of.blurred[4])
    assert torch.equal(alone.sharp[0], all_of.sharp[4])
    assert not torch.equal(batch(range(6), seed=1).sharp, all_of.sharp)
    assert len({float(sharp.sum()) for sharp in all_of.sharp}) == 6


def test_blurred_and_sharp_are_turned_alike(clip):
    plain = FrameAverage([clip[0]], 32, flips=False).batch(0, range(12))
    mixed = FrameAverage([clip[0]], 32).batch(0, range(12))
    ways = []
    for i in range(12):
        (way,) = (k for k in range(8) if torch.equal(turned(plain.sharp[i], k), mixed.sharp[i]))
        assert torch.equal(turned(plain.blurred[i], way), mixed.blurred[i])
        ways.append(way)
    assert len(set(ways)) > 3


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".gif"])
@pytest.mark.parametrize("velocity", [(0.3, -0.4), (-1.2, 1.6), (3.0, 6.3)])
def test_motion_is_measured(tmp_path, suffix, velocity):
    path = written(tmp_path / f"clip{suffix}", moving(velocity, count=4))
    steps = Clip(path).steps
    assert steps.shape == (3, 2, 2)
    np.testing.assert_allclose(steps, np.hypot(*velocity), atol=0.3)


def test_motion_of_a_large_frame_is_in_its_own_pixels():
    frames = moving((0, 5), count=2, shape=(720, 360))
    frames = frames.repeat(2, axis=2)
    steps, tops, lefts, block = displacements(frames)
    np.testing.assert_allclose(steps, 10, atol=0.3)
    assert block == 128
    assert tops[-1] + block == lefts[-1] + block == 720


def test_noise_is_no_motion():
    flat = np.random.default_rng(0).integers(128, 130, (3, 80, 112, 3), np.uint8)
    assert not displacements(flat)[0].any()
    assert displacements(20 * (flat - 127))[0].max() > 2


def test_what_moves_too_fast_is_refused(tmp_path):
    path = written(tmp_path / "fast.mkv", moving((0, 4), count=8))
    with pytest.raises(ValueError, match=r"none of the 1 clips has 5 frames.*motion=2 pixels"):
        FrameAverage([path], 32)
    assert FrameAverage([path], 32, motion=4.5, frames=(5, 7)).batch(0, [0]).sharp.shape[0] == 1


def test_only_the_place_that_moves_too_fast_is_refused(tmp_path):
    frames = moving((0.5, 0), count=8, shape=(96, 320))
    frames[:, :, :128] = moving((0, 5), count=8, seed=1, shape=(96, 128))
    samples = FrameAverage([written(tmp_path / "half.mkv", frames)], 64, frames=(5, 5))
    ((_, windows),) = samples.windows.items()
    assert 128 <= windows[:, 3].min() < windows[:, 3].max() <= 256


def test_a_cut_is_found_and_nothing_else(tmp_path):
    frames = np.concatenate([moving((1, 1), 9), moving((0, 1), 10, seed=5) // 3])
    assert np.flatnonzero(cuts(frames)).tolist() == [8]
    assert not cuts(moving((5, 9), 12)).any()
    brighter = np.linspace(0.4, 1, 12)[:, None, None, None] * moving((0, 0), 12)
    assert not cuts(brighter.astype(np.uint8)).any()
    assert cuts(frames[:1]).shape == (0,)
    path = written(tmp_path / "cut.mkv", frames)
    samples = FrameAverage([path], 32, frames=(3, 9), motion=1000.0)
    for length, windows in samples.windows.items():
        begin = windows[:, 1]
        assert ((begin + length <= 9) | (begin >= 9)).all()
        assert len(set(begin.tolist())) == (9 - length + 1) + (10 - length + 1)


def test_repeated_frames_do_not_blur(tmp_path):
    path = written(tmp_path / "still.mkv", moving((0, 0), 1).repeat(7, axis=0))
    batch = FrameAverage([path], 32).batch(0, range(2))
    torch.testing.assert_close(batch.blurred, batch.sharp, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match=r"by least=1 in all"):
        FrameAverage([path], 32, least=1.0)


def test_least_leaves_out_what_hardly_moves(tmp_path):
    frames = np.concatenate([moving((0, 0), 9), moving((0, 1), 9)])
    path = written(tmp_path / "starts.mkv", frames)
    windows = FrameAverage([path], 32, frames=(5, 5), least=3.5).windows[5]
    assert set(windows[:, 1].tolist()) == {9, 10, 11, 12, 13}


def test_clips_are_read_up_to_their_share_of_the_memory(clip):
    path, frames = clip
    size = frames[0].nbytes
    np.testing.assert_array_equal(read_clip(path, memory=7 * size), frames[:7])
    np.testing.assert_array_equal(read_clip(path, memory=100 * size), frames)
    samples = FrameAverage([path, path], 32, frames=(3, 5), memory=13 * size)
    assert [len(c.frames) for c in samples.clips] == [6, 6]
    assert set(samples.windows[3][:, 0].tolist()) == {0, 1}
    with pytest.raises(ValueError, match=rf"memory=9 bytes .*expected at least {size}, one frame"):
        read_clip(path, memory=9)


def test_frames_shrink_by_means(clip):
    path, frames = clip
    small = read_clip(path, shrink=3)
    assert small.shape == (16, 26, 37, 3)
    mean = frames[2, 3:6, 6:9].mean((0, 1))
    np.testing.assert_allclose(small[2, 1, 2], mean, atol=0.51)
    with pytest.raises(ValueError, match=r"shrink=90 for frames of 112 x 80"):
        read_clip(path, shrink=90)


def test_whole_pairs_for_evaluation(clip):
    path, frames = clip
    pairs = list(frame_pairs(path, 5, every=4))
    assert len(pairs) == 3
    for k, (blurred, sharp) in enumerate(pairs):
        assert blurred.shape == (3, 80, 112)
        assert blurred.dtype == sharp.dtype == np.float32
        np.testing.assert_array_equal(sharp, planes(frames[4 * k + 2]).numpy())
        mean = averaged(frames[4 * k : 4 * k + 5])
        np.testing.assert_array_equal(blurred, mean.transpose(2, 0, 1))
    assert len(list(frame_pairs(path, 5))) == 3
    assert not list(frame_pairs(path, 5, motion=1.0))


def test_whole_pairs_skip_cuts(tmp_path):
    frames = np.concatenate([moving((1, 1), 7), moving((0, 1), 7, seed=5) // 3])
    pairs = frame_pairs(written(tmp_path / "cut.mkv", frames), 3, every=1)
    middles = [
        np.abs(frames / 255 - s.transpose(1, 2, 0)).sum((1, 2, 3)).argmin() for _, s in pairs
    ]
    assert middles == [1, 2, 3, 4, 5, 8, 9, 10, 11, 12]


def test_files_that_cannot_be_used(tmp_path, clip, monkeypatch):
    text = tmp_path / "notes.mp4"
    text.write_text("no video at all")
    for path, error, message in (
        (tmp_path / "gone.mp4", FileNotFoundError, r"gone\.mp4 does not exist; expected a video"),
        (tmp_path, FileNotFoundError, r"is a folder, not a file"),
        (text, ValueError, r"notes\.mp4 cannot be read as a video after 0 frames"),
        (tmp_path / "cut.gif", ValueError, r"cut\.gif cannot be read as a video"),
    ):
        if path.name == "cut.gif":
            path.write_bytes(b"GIF89a\0\0")
        with pytest.raises(error, match=message):
            FrameAverage([path], 32)
    with pytest.raises(ValueError, match=r"pan\.mkv: its frames are 112 x 80; expected at least"):
        FrameAverage([clip[0]], 96)
    with pytest.raises(ValueError, match=r"16 frames were read; expected frames=21"):
        frame_pairs(clip[0], 21)
    frames = iter([np.zeros((4, 6, 3), np.uint8), np.zeros((4, 8, 3), np.uint8)])
    monkeypatch.setattr(clips, "_decoded", lambda path: (frame for frame in frames))
    with pytest.raises(ValueError, match=r"frame 1 is 8 x 4; expected 6 x 4 as the first"):
        read_clip(clip[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": (4, 4)}, r"frames=\(4, 4\); expected an odd number"),
        ({"frames": (9, 5)}, r"frames=\(9, 5\); expected an odd number"),
        ({"frames": 5}, r"frames=5; expected two numbers"),
        ({"gamma": 0}, r"gamma=0; expected a number that is finite, above 0"),
        ({"motion": -1}, r"motion=-1; "),
        ({"least": -1}, r"least=-1; "),
        ({"side": 0}, r"side=0; "),
        ({"memory": 0}, r"memory=0; "),
    ],
)
def test_bad_arguments(clip, options, message):
    with pytest.raises(ValueError, match=message):
        FrameAverage([clip[0]], **{"side": 32} | options)


def test_paths_are_a_list_of_videos(clip):
    with pytest.raises(TypeError, match=r"paths='.*pan\.mkv'; expected a sequence"):
        FrameAverage(str(clip[0]), 32)
    with pytest.raises(FileNotFoundError, match=r"paths: there are none"):
        FrameAverage([], 32)


def test_without_pyav(tmp_path, clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(
        ImportError, match=r"pan\.mkv is read by PyAV: pip install 'deconv\[video]'"
    ):
        read_clip(clip[0])
    assert len(read_clip(written(tmp_path / "a.gif", moving((0, 1), 3)))) == 3


def test_real_clips(shared_data):
    folder = shared_data / "video"
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}")
    path = folder / "bikes.mp4"
    share = 40 * 640 * 272 * 3
    samples = FrameAverage(
        [path, folder / "newtonscradle.gif"], 128, least=4.0, memory=2 * share, motion=3.0
    )
    assert np.flatnonzero(samples.clips[0].cuts).tolist() == [29]
    assert not samples.clips[1].cuts.any()
    batch = samples.batch(0, range(8))
    error = (batch.blurred - batch.sharp).square().mean((1, 2, 3))
    # Blurred, and still the same scene.
    assert 1e-4 < float(error.max()) < 0.02

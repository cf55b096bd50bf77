"""Training from the command line: the whole path, a process that is killed, and two at once."""

import csv
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from skimage import data, io

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")
pytest.importorskip("tyro")
safetensors_torch = pytest.importorskip("safetensors.torch")

from unrolled import hqs, weights  # noqa: E402
from unrolled.fusion import FusionConfig, MultiLambdaFusion  # noqa: E402
from unrolled.hqs import HQSNet  # noqa: E402
from unrolled.synthesis import Recipe  # noqa: E402
from unrolled.train import Prior, main, train_prior  # noqa: E402
from unrolled.unet import ResUNet  # noqa: E402

SETTINGS = [
    *("--recipe.domain", "32", "--recipe.sizes", "5", "9", "--recipe.shares", "0.5", "0.5"),
    *("--batch", "2", "--no-mixed", "--threads", "1", "--accelerator", "cpu"),
]
STEPS = 16
PYTHON = sys.executable
# Seconds that a process may take at worst.
LIMIT = 240


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six small pictures in files."""
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("astronaut", "chelsea", "coffee"):
        for i in range(2):
            crop = getattr(data, name)()[64 * i + 50 :][:64, 150:214]
            io.imsave(folder / f"{name}{i}.png", crop, check_contrast=False)
    return folder


@pytest.fixture
def tiny(monkeypatch):
    """The preset "tiny" as a network that tests have time for."""
    changes = {"widths": (4, 8), "blocks": 1, "iterations": 2, "steps": 2, "hidden": 8}
    small = replace(hqs.PRESETS["tiny"], **changes)
    monkeypatch.setitem(hqs.PRESETS, "tiny", small)
    return small


def arguments(folder, run):
    run = ["--data", str(folder), "--run", str(run), "--steps", str(STEPS), "--save", "4"]
    return ["unrolled.train", "hqs", *run, *SETTINGS]


def started(command, output):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
    )


def completed(command, tmp_path):
    """Run a command to its end; its output is shown if it fails or takes too long."""
    with open(tmp_path / "output.txt", "w+") as output:
        process = started(command, output)
        try:
            code = process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            process.terminate()  # torchrun ends its workers, which are in groups of their own
            code = f"still running after {LIMIT} s"
            time.sleep(5)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        output.seek(0)
        assert code == 0, f"{code}: {output.read()}"


def column(run, name="loss"):
    with open(run / "loss.csv", newline="") as file:
        return [row[name] for row in csv.DictReader(file)]


def result(run):
    return safetensors_torch.load_file(run / "hqs.safetensors")


@pytest.fixture(scope="module")
def uninterrupted(folder, tmp_path_factory):
    """The folder of a run by one process, from the beginning to the end."""
    run = tmp_path_factory.mktemp("uninterrupted")
    completed([PYTHON, "-m", *arguments(folder, run)], run)
    assert len(column(run)) == STEPS
    return run


@pytest.mark.slow
def test_a_killed_process_goes_on_to_the_same_curve(folder, tmp_path, uninterrupted):
    command = [PYTHON, "-m", *arguments(folder, tmp_path)]
    rows = int(np.random.default_rng(0).integers(5, 8))
    deadline = time.monotonic() + LIMIT
    with open(tmp_path / "output.txt", "w") as output:
        process = started(command, output)
        while time.monotonic() < deadline and process.poll() is None:
            if (tmp_path / "state.pt").exists() and len(column(tmp_path)) >= rows:
                break
            time.sleep(0.01)
        process.kill()
        assert process.wait() == -signal.SIGKILL, (tmp_path / "output.txt").read_text()
    assert rows <= len(column(tmp_path)) < STEPS
    completed(command, tmp_path)
    assert column(tmp_path, "step") == column(uninterrupted, "step")
    assert column(tmp_path) == column(uninterrupted)
    a, b = result(tmp_path), result(uninterrupted)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "--devices"])
def test_two_processes_are_one(folder, tmp_path, uninterrupted, launcher):
    if launcher == "torchrun":
        run = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        command = [PYTHON, *run, "-m", "--", *arguments(folder, tmp_path)]
    else:
        command = [PYTHON, "-m", *arguments(folder, tmp_path), "--devices", "2"]
    completed(command, tmp_path)
    assert column(tmp_path, "step") == column(uninterrupted, "step")
    one, two = ([float(loss) for loss in column(run)] for run in (uninterrupted, tmp_path))
    assert two == pytest.approx(one, rel=1e-4)
    a, b = result(tmp_path), result(uninterrupted)
    assert all(torch.allclose(a[name], b[name], atol=1e-4) for name in a)


def test_from_pictures_to_weights(folder, tmp_path, tiny):
    base = ["--data", str(folder), *SETTINGS, "--validate", "2"]
    main(["prior", "--run", str(tmp_path / "prior"), "--steps", "4", *base])
    prior = safetensors_torch.load_file(tmp_path / "prior" / "prior.safetensors")
    assert (tmp_path / "prior" / "scores.csv").exists()
    path = str(tmp_path / "prior" / "prior.safetensors")
    # No step is as good as none at this rate: what the network began from is still there.
    rate = ["--lr", "1e-9", "--steps", "2"]
    main(["hqs", "--run", str(tmp_path / "hqs"), "--prior", path, *rate, *base])
    assert sorted(p.name for p in (tmp_path / "hqs" / "pictures").iterdir()) == ["000002.png"]
    net = HQSNet.from_pretrained(tmp_path / "hqs" / "hqs.safetensors")
    assert net.config == tiny
    assert all(
        torch.allclose(value, prior[name], atol=1e-6)
        for name, value in net.prior.state_dict().items()
    )
    picture = torch.rand(24, 20)
    restored = net.restore(picture, torch.full((5, 5), 1 / 25), sigma=0.01)
    assert restored.shape == picture.shape


def test_a_prior_of_another_network(folder, tmp_path, tiny):
    safetensors_torch.save_file({"head.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    arguments = ["hqs", "--data", str(folder), "--run", str(tmp_path / "run"), *SETTINGS]
    with pytest.raises(ValueError, match=r"other\.safetensors does not match ResUNet"):
        main([*arguments, "--prior", str(tmp_path / "other.safetensors")])
    with pytest.raises(FileNotFoundError, match=r"missing\.safetensors does not exist"):
        main([*arguments, "--prior", str(tmp_path / "missing.safetensors")])


def test_a_single_picture_is_enough(folder, tmp_path, tiny):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "one.png").write_bytes((folder / "coffee0.png").read_bytes())
    config = Prior(
        run=tmp_path / "run", data=tmp_path / "data", steps=2, accelerator="cpu",
        recipe=Recipe(domain=32, sizes=(5,), shares=(1.0,)),
    )  # fmt: skip
    assert len(list(train_prior(config).parameters())) > 0


# --- weights to begin from, and fusion ------------------------------------------------------------

FUSION = ["--net.widths", "4", "8", "--net.blocks", "1", "--net.factors", "0.2", "1", "5"]
# No step is as good as none at this rate.
HARDLY = ["--lr", "1e-9", "--steps", "2"]


def same(a, b):
    """Whether two files of weights are the same but for a step that is none."""
    a, b = (safetensors_torch.load_file(path) for path in (a, b))
    return a.keys() == b.keys() and all(torch.allclose(a[k], b[k], atol=1e-6) for k in a)


@pytest.fixture
def begun(folder, tmp_path, tiny):
    """Weights of a network of other sizes than the preset, at random."""
    changes = {"widths": (6, 6), "blocks": 1, "iterations": 1, "steps": 2, "hidden": 4}
    torch.manual_seed(3)
    net = HQSNet.preset("tiny", **changes)
    torch.nn.init.normal_(net.prior.tail.weight, std=0.1)
    return weights.save(net, tmp_path / "begun.safetensors")


def test_from_weights_to_weights(folder, tmp_path, begun, tiny):
    base = ["hqs", "--data", str(folder), "--start", str(begun), *SETTINGS]
    main([*base, "--run", str(tmp_path / "same"), *HARDLY])
    assert same(begun, tmp_path / "same" / "hqs.safetensors")
    net = HQSNet.from_pretrained(tmp_path / "same" / "hqs.safetensors")
    assert net.config == HQSNet.from_pretrained(begun).config != tiny


def test_no_weights_to_begin_from(folder, tmp_path, tiny):
    base = ["--data", str(folder), "--run", str(tmp_path / "run"), *SETTINGS]
    with pytest.raises(FileNotFoundError, match=r"no weights at .*missing\.safetensors"):
        main(["hqs", "--start", str(tmp_path / "missing.safetensors"), *base])
    fusion = weights.save(MultiLambdaFusion(), tmp_path / "fusion.safetensors")
    with pytest.raises(ValueError, match="expected 'HQSNet'"):
        main(["hqs", "--start", str(fusion), *base])


def test_fusion_from_pictures_to_weights(folder, tmp_path):
    base = ["--data", str(folder), *SETTINGS, *FUSION, "--recipe.error", "1"]
    run = tmp_path / "run"
    main(["fusion", "--run", str(run), "--steps", "3", "--validate", "3", *base])
    assert [p.name for p in (run / "pictures").iterdir()] == ["000003.png"]
    assert len(column(run)) == 3
    assert all(np.isfinite(float(loss)) for loss in column(run))
    assert sorted(p.name for p in run.glob("fusion.*")) == ["fusion.json", "fusion.safetensors"]
    net = MultiLambdaFusion.from_pretrained(run)
    assert net.config.widths == (4, 8) and net.config.factors == (0.2, 1.0, 5.0)
    assert net.unet.tail.weight.any()
    restored = net.restore(torch.rand(24, 20), torch.full((5, 5), 1 / 25), sigma=0.01)
    assert restored.shape == (24, 20)


def test_fusion_begins_from_a_denoiser(folder, tmp_path):
    torch.manual_seed(0)
    prior = ResUNet(1, (4, 8), blocks=1)
    torch.nn.init.normal_(prior.tail.weight, std=0.1)
    path = tmp_path / "prior.safetensors"
    safetensors_torch.save_file(prior.state_dict(), path)
    base = ["fusion", "--data", str(folder), "--prior", str(path), *SETTINGS, *HARDLY]
    main([*base, "--run", str(tmp_path / "run"), *FUSION])
    expected = MultiLambdaFusion(FusionConfig((0.2, 1.0, 5.0), widths=(4, 8), blocks=1))
    expected.begin_from(prior)
    weights.save(expected, tmp_path / "expected.safetensors")
    assert same(tmp_path / "expected.safetensors", tmp_path / "run" / "fusion.safetensors")
    # From trained weights, whatever the command says of the network.
    main([*base, "--run", str(tmp_path / "on"), "--start", str(tmp_path / "expected.safetensors")])
    assert same(tmp_path / "expected.safetensors", tmp_path / "on" / "fusion.safetensors")
    with pytest.raises(ValueError, match=r"prior\.safetensors does not match ResUNet"):
        main([*base, "--run", str(tmp_path / "wide"), "--net.widths", "4", "6"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--recipe.strided", "0.5"], r"recipe\.strided=0\.5; expected 0"),
        (["--recipe.channels", "3"], r"recipe\.channels=3; expected 1"),
        (["--net.factors", "0", "1"], r"factors=\(0\.0, 1\.0\); expected .* above 0"),
    ],
)
def test_what_fusion_cannot_do(folder, tmp_path, change, message):
    run = tmp_path / "run"
    with pytest.raises(ValueError, match=message):
        main(["fusion", "--data", str(folder), "--run", str(run), *SETTINGS, *change])
    assert not list(run.glob("*.csv"))


def test_the_start_knows_the_channels(folder, tmp_path, begun):
    base = ["hqs", "--data", str(folder), "--run", str(tmp_path / "run"), *SETTINGS]
    with pytest.raises(ValueError, match=r"recipe\.channels=3; .* restores 1"):
        main([*base, "--start", str(begun), "--recipe.channels", "3"])


@pytest.mark.parametrize("name", ["prior", "hqs"])
def test_help_lists_the_settings(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for flag in ("--run", "--recipe.domain", "--recipe.sigma", "--preset", "--mixed", "--devices"):
        assert flag in shown
    assert ("--prior" in shown) == (name == "hqs")
    assert ("--start" in shown) == (name == "hqs")


def test_help_lists_the_settings_of_fusion(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["fusion", "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for flag in ("--run", "--recipe.error", "--net.factors", "--net.widths", "--loss", "--prior"):
        assert flag in shown
    assert "--preset" not in shown and "--start" in shown

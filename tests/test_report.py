"""The comparison report: what is compared, what a row says, and that its commands make it again."""

import json
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import colour_picture, scene_and_blurred

from deconv import cli, io, methods, metrics, psf
from deconv.methods import Method
from deconv.report import compare, page, run
from deconv.report.cases import cases, chosen
from deconv.report.scores import SCORES

pytest.importorskip("jinja2", reason="Jinja2 is not installed: pip install 'deconv[report]'")

KERNEL = psf.motion(7, 30)
QUICK = "wiener,filter_bank"


def write_pair(folder, name="a", picture="camera"):
    """Blurred and sharp files of one scene, and the latter's folder."""
    (folder / "sharp").mkdir(exist_ok=True)
    (folder / "in").mkdir(exist_ok=True)
    true, blurred = scene_and_blurred(KERNEL, picture, size=96, sigma=0.01)
    for place, pixels in (("sharp", true), ("in", blurred)):
        bytes_ = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
        io.write(folder / place / f"{name}.png", bytes_)
    return folder / "in" / f"{name}.png", folder / "sharp" / f"{name}.png"


@pytest.fixture
def pair(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_pair(tmp_path)


def estimate(blurred=True):
    """What a blind search would return, without the search."""
    found = KERNEL if blurred else np.ones((1, 1), np.float32)
    return SimpleNamespace(psf=found, blurred=blurred, prior="l0", message="Found.", sigma=0.01)


@pytest.fixture
def found(monkeypatch):
    monkeypatch.setattr("deconv.blind.estimate", lambda *a, **k: estimate())


def rows(result):
    return {row.name: row for row in result.rows}


def psnr_of(truth, path):
    x_true, x = io.read(truth), io.read(path)
    return metrics.psnr(x_true.pixels, x.pixels, data_range=255)


def test_every_row_is_made_again_by_its_commands(pair, tmp_path):
    source, truth = pair
    # The blur was made on stored values.
    (result,) = compare(
        source, "r.html", truth=truth, psf="motion:7,30", methods=QUICK, linear=False
    )
    assert list(rows(result)) == ["as it is", "wiener", "filter_bank"]
    assert rows(result)["as it is"].scores["PSNR"] == psnr_of(truth, source)
    for row in result.rows[1:]:
        assert row.scores["PSNR"] > rows(result)["as it is"].scores["PSNR"]
        words = shlex.split(row.recipe.shell)
        assert cli.main(words[1:]) == 0
        assert psnr_of(truth, row.recipe.target) == pytest.approx(row.scores["PSNR"], abs=1e-9)
        (tmp_path / row.recipe.target).unlink()
        printed = []
        exec(row.recipe.python, {"print": printed.append})
        assert printed == [pytest.approx(row.scores["PSNR"], abs=1e-9)]


def test_the_page_carries_everything_and_asks_for_nothing(pair):
    source, truth = pair
    compare(source, "r.html", truth=truth, psf="motion:7,30", methods=QUICK)
    text = Path("r.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)
    assert "default-src 'none'" in text
    for row in ("wiener", "filter_bank"):
        assert f"--method {row}" in text
    assert text.count("<dt>") >= 9
    data = json.loads(re.search(r'class="data" id="data-0">(.*?)</script>', text, re.S).group(1))
    # The picture, two restorations and the truth.
    assert [uri[:16] for uri in data["pictures"]] == ["data:image/webp;"] * 4
    assert {"residual-1", "spectrum-2"} <= set(data["panels"])


def test_a_blind_psf_is_found_once_and_shared(pair, monkeypatch):
    source, truth = pair
    calls = []
    monkeypatch.setattr("deconv.blind.estimate", lambda *a, **k: calls.append(1) or estimate())
    (result,) = compare(source, "r.html", truth=truth, methods=QUICK)
    assert len(calls) == 1
    assert "found blind, once" in " ".join(result.notes)
    row = rows(result)["wiener"]
    assert row.recipe.parameters == {"deringing": "0.5"}
    words = shlex.split(row.recipe.shell)
    assert words[1:] == ["blind", str(source), "-o", "a-wiener.png", "--method", "wiener"]
    assert cli.main(words[1:]) == 0
    assert psnr_of(truth, "a-wiener.png") == pytest.approx(row.scores["PSNR"], abs=1e-9)
    printed = []
    exec(row.recipe.python, {"print": printed.append})
    assert printed == [pytest.approx(row.scores["PSNR"], abs=1e-9)]


@pytest.mark.usefixtures("found")
def test_given_and_found_psfs_are_compared(pair):
    source, truth = pair
    (result,) = compare(
        source, "r.html", truth=truth, psf="motion:7,30", methods="wiener,polyblur", blind=True
    )
    assert list(rows(result)) == ["as it is", "wiener", "wiener, psf found", "polyblur"]
    both = rows(result)["wiener, psf found"].scores
    assert both["psf similarity"] == pytest.approx(1)
    assert both["error ratio"] == pytest.approx(1, abs=0.3)
    assert "error ratio" not in rows(result)["wiener"].scores


def test_where_no_blur_is_found_the_picture_stays(pair, monkeypatch):
    source, truth = pair
    monkeypatch.setattr("deconv.blind.estimate", lambda *a, **k: estimate(blurred=False))
    (result,) = compare(source, "r.html", truth=truth, methods="wiener")
    assert rows(result)["wiener"].scores["PSNR"] == rows(result)["as it is"].scores["PSNR"]


def test_a_search_that_fails_leaves_rows_with_the_reason(pair, monkeypatch):
    def fail(*arguments, **keywords):
        raise ValueError("too small to search")

    monkeypatch.setattr("deconv.blind.estimate", fail)
    (result,) = compare(pair[0], "r.html", methods="wiener,polyblur")
    assert "too small to search" in " ".join(result.notes)
    assert rows(result)["wiener"].error == "no psf was found; expected --psf"
    assert rows(result)["polyblur"].error is None


def test_a_method_that_fails_is_a_row(pair, monkeypatch):
    def bad(image, psf, **keywords):
        warnings.warn("look out", stacklevel=1)
        raise RuntimeError("bad\n  luck <b>")

    method = Method("bad", bad, "Fails.")
    monkeypatch.setattr("deconv.report.cases.methods.all", lambda: (method, methods.get("wiener")))
    (result,) = compare(pair[0], "r.html", psf="gaussian:1")
    assert rows(result)["bad"].error == "bad luck <b>"
    assert rows(result)["wiener"].error is None
    text = Path("r.html").read_text(encoding="utf-8")
    assert "bad luck &lt;b&gt;" in text
    assert "<b>" not in text


def test_a_folder_has_a_summary_and_outlives_a_broken_file(tmp_path, capsys):
    write_pair(tmp_path, "a")
    write_pair(tmp_path, "b", "moon")
    (tmp_path / "in" / "c.png").write_bytes(b"no picture")
    (tmp_path / "psfs").mkdir()
    for name in "abc":
        np.save(tmp_path / "psfs" / f"{name}.npy", KERNEL)
    code = cli.main(
        [
            *["compare", f"{tmp_path}/in", "--truth", f"{tmp_path}/sharp"],
            *["--psf", f"{tmp_path}/psfs", "--methods", "wiener", "--progress"],
            *["-o", f"{tmp_path}/r.html"],
        ]
    )
    assert code == 1
    said = capsys.readouterr().err
    assert "c.png cannot be read" in said
    assert "2 pictures, 2 rows, 0 of them failed" in said
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "All 3 pictures" in text
    assert text.count('class="page picture"') == 3


def test_the_summary_is_the_mean_of_what_is_finite():
    def result(**psnr):
        found = [run.Row(name, scores={"PSNR": value}) for name, value in psnr.items()]
        return run.Comparison(SimpleNamespace(), found)

    scores = [score for score in SCORES if score.name == "PSNR"]
    table = page.summary([result(a=20.0, b=30.0), result(a=22.0, b=np.inf)], scores)
    assert [row["cells"][0]["text"] for row in table] == ["21.00", "30.00"]
    assert [row["count"] for row in table] == [2, 2]


def test_colours_in_linear_light_and_a_crop(tmp_path):
    path = tmp_path / "c.png"
    io.write(path, np.rint(colour_picture() * 255).astype(np.uint8))
    crop = (slice(8, 40), slice(16, 80))
    (result,) = compare(
        path, tmp_path / "r.html", psf="gaussian:1", methods="wiener", crop=crop, linear=True
    )
    assert result.rows[1].error is None
    assert "--linear" in result.rows[1].recipe.shell
    assert "aspect-ratio: 64 / 32" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_floats_are_written_as_floats(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, blurred = scene_and_blurred(KERNEL, size=96)
    io.write("f.tif", blurred.astype(np.float32))
    (result,) = compare("f.tif", "r.html", psf="motion:7,30", methods="wiener")
    assert result.rows[1].recipe.target == "f-wiener.tif"
    assert result.rows[1].error is None


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"out": "r.pdf"}, "ends in .html"),
        ({"out": "none/r.html"}, "folder none of out"),
        ({"out": "there.html"}, "exists; pass overwrite"),
        ({"source": "missing.png"}, "missing.png of source"),
        ({"truth": "missing.png"}, "missing.png of truth"),
        ({"methods": "winer"}, "wiener"),
        ({"methods": ","}, "expected names"),
        ({"psf": "gausian:2"}, "gaussian"),
        ({"source": "empty"}, "no picture"),
        ({"truth": "empty"}, "no picture named"),
        ({"psf": "empty"}, "has no file"),
    ],
)
def test_bad_input_is_refused_before_any_work(pair, monkeypatch, keywords, message, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "there.html").touch()
    monkeypatch.setattr("deconv.report.run.compared", lambda *a: pytest.fail("it went to work"))
    arguments = {"source": pair[0], "out": "r.html", "psf": "gaussian:1"} | keywords
    with pytest.raises((ValueError, OSError), match=message):
        compare(**arguments)


def test_a_truth_or_a_crop_that_does_not_fit_is_told(pair, tmp_path):
    io.write(tmp_path / "t.png", np.zeros((8, 9), np.uint8))
    (result,) = compare(pair[0], "r.html", truth="t.png", psf="gaussian:1", methods="wiener")
    assert "(8, 9); expected that of the picture, (96, 96)" in result.error
    crop = (slice(500, 600), slice(0, 9))
    (result,) = compare(pair[0], "p.html", psf="gaussian:1", methods="wiener", crop=crop)
    assert result.error == "the crop lies outside this picture of 96 x 96 pixels"
    for text in ("1,2,3", "0,0,0,5", "-1,0,5,5"):
        assert cli.main(["compare", str(pair[0]), "-o", "q.html", "--crop", text]) == 2


def test_a_folder_of_all_kinds_of_files(tmp_path):
    (tmp_path / "in").mkdir()
    x = colour_picture(64)
    deep = np.rint(x * 65535).astype(np.uint16)
    holes = x[..., 0].astype(np.float32)
    holes[10:12, 10:12] = np.nan
    io.write(tmp_path / "in" / "deep.png", io.Picture(deep, "YXS", alpha=deep[..., 0]))
    io.write(tmp_path / "in" / "holes.tif", holes)
    io.write(tmp_path / "in" / "lossy.jpg", np.rint(x * 255).astype(np.uint8))
    io.write(tmp_path / "in" / "stack.tif", np.zeros((4, 16, 16), np.uint8))
    found = compare(tmp_path / "in", tmp_path / "r.html", psf="gaussian:1", methods="wiener")
    by_name = {result.case.source.name: result for result in found}
    assert "this is a stack" in by_name.pop("stack.tif").error
    for result in by_name.values():
        assert result.error is None
        assert rows(result)["wiener"].error is None
    assert by_name["lossy.jpg"].rows[1].recipe.target == "lossy-wiener.png"


def test_one_truth_serves_many_pictures(pair, tmp_path):
    write_pair(tmp_path, "b")
    found = cases(tmp_path / "in", pair[1], "fit:motion")
    assert [case.truth for case in found] == [pair[1], pair[1]]
    assert [method.name for method in chosen(["tv", "tv", "wiener"])] == ["tv", "wiener"]
    assert chosen(None) == list(methods.all())


def test_without_a_truth_no_row_is_called_best(pair):
    quiet = {"source": pair[0], "psf": "motion:7,30", "methods": QUICK}
    compare(**quiet, out="a.html")
    compare(**quiet, out="b.html", truth=pair[1])
    card = r"</span>wiener <small>PSNR [0-9.]+</small>"
    assert not re.search(card, Path("a.html").read_text(encoding="utf-8"))
    assert re.search(card, Path("b.html").read_text(encoding="utf-8"))


def test_psfs_that_do_not_fit_leave_no_residual(tmp_path):
    io.write(tmp_path / "a.png", np.rint(colour_picture(32) * 255).astype(np.uint8))
    np.save(tmp_path / "deep.npy", np.ones((3, 3, 3)) / 27)
    (result,) = compare(
        tmp_path / "a.png",
        tmp_path / "r.html",
        psf=str(tmp_path / "deep.npy"),
        methods="wiener,polyblur",
    )
    assert "3 axes" in rows(result)["wiener"].error
    assert "whiteness" not in rows(result)["polyblur"].scores
    wide = {"psf": "gaussian:4", "methods": "polyblur", "overwrite": True}
    (result,) = compare(tmp_path / "a.png", tmp_path / "r.html", **wide)
    assert "whiteness" not in rows(result)["polyblur"].scores


def test_without_jinja_the_extra_is_named(pair, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r"deconv\[report\]"):
        compare(pair[0], "r.html", psf="gaussian:1")


def test_importing_the_report_loads_nothing_heavy():
    code = (
        "import sys, deconv.report; "
        "heavy = {'jinja2', 'sewar', 'torch', 'PIL', 'matplotlib', 'skimage'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

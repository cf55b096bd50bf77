"""The history of the benchmarks: a run becomes one JSON file, and two files can be compared."""

import json
import sys
import types

import pytest

from benchmarks import __main__ as bench
from benchmarks import history, record

TABLE = "text\n| what | ours, ms | |\n|---|---|---|\n| a | 1.50 | **2.00** |\n| a | 3e-06 | |\n"


@pytest.fixture
def tiny(monkeypatch):
    """A benchmark that prints what it is given on its command line."""
    module = types.ModuleType("benchmarks.tiny")
    module.main = lambda: print(TABLE.replace("1.50", sys.argv[1] if sys.argv[1:] else "1.50"))
    monkeypatch.setitem(sys.modules, "benchmarks.tiny", module)
    monkeypatch.setattr(bench, "NAMES", ("tiny",))
    monkeypatch.setattr(bench, "STANDARD", ("tiny",))
    monkeypatch.setattr(sys, "argv", ["benchmarks"])


def test_tables_are_kept_as_printed():
    (table,) = record.tables(TABLE + "\n| no | rule |\n")
    assert table["columns"] == ["what", "ours, ms", ""]
    assert table["rows"] == [["a", "1.50", "**2.00**"], ["a", "3e-06", ""]]
    assert [len(t["rows"]) for t in record.tables(TABLE + TABLE)] == [2, 2]
    assert record.tables("nothing\n|---|---|\n") == []


def test_a_run_is_one_file(tiny, tmp_path, capsys):
    bench.main(["tiny", "--json", str(tmp_path), "--", "1.25"])
    (path,) = tmp_path.glob("*.json")
    found = record.load(path)
    assert found["benchmarks"]["tiny"][0]["rows"][0][1] == "1.25"
    assert found["command"] == "python -m benchmarks tiny -- 1.25"
    assert found["machine"] and found["date"].startswith("20")
    assert set(found) >= {"commit", "changed", "data"}
    shown = capsys.readouterr().out
    assert "| a | 1.25 |" in shown
    assert str(path) in shown


def test_what_was_measured_before_a_failure_is_kept(tiny, tmp_path, monkeypatch):
    broken = types.ModuleType("benchmarks.broken")
    broken.main = lambda: 1 / 0
    monkeypatch.setitem(sys.modules, "benchmarks.broken", broken)
    monkeypatch.setattr(bench, "NAMES", ("tiny", "broken"))
    with pytest.raises(ZeroDivisionError):
        bench.main(["tiny", "broken", "--json", str(tmp_path)])
    (path,) = tmp_path.glob("*.json")
    assert list(record.load(path)["benchmarks"]) == ["tiny"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tinny"], "'tinny' is no benchmark"),
        (["--json", "nowhere/at/all"], "not a folder that exists"),
        (["tiny", "tiny", "--", "x"], "go to one benchmark; 2"),
    ],
)
def test_bad_requests_are_refused_first(tiny, arguments, message, capsys):
    with pytest.raises(SystemExit):
        bench.main(arguments)
    assert message in capsys.readouterr().err


def test_compare_finds_what_changed_and_what_is_gone(tiny, tmp_path):
    before = record.describe(["x"], {"tiny": record.tables(TABLE)})
    after = record.describe(["x"], {"tiny": record.tables(TABLE.replace("1.50", "1.20"))})
    (change,), lost, added = history.compare(before, after)
    assert (change.key.row, change.key.column, change.before, change.after) == (
        "a",
        "ours, ms",
        1.5,
        1.2,
    )
    assert change.percent == pytest.approx(-20)
    assert (lost, added) == ([], [])
    fewer = record.describe(["x"], {"tiny": record.tables(TABLE.replace("| a | 3e-06 | |\n", ""))})
    _, lost, _ = history.compare(before, fewer)
    assert [key.turn for key in lost] == [1]
    assert history.compare(fewer, before)[2] == lost


def test_numbers_of_a_cell():
    assert history.numbers("**28.81** (−0.32)") == [28.81, -0.32]
    assert history.numbers("+4.3, 1/2") == [4.3, 1, 2]
    assert history.numbers("3e-06") == [3e-6]
    assert history.numbers("128x128, hqs-gray, –") == []


def test_what_cannot_be_compared_is_said(tmp_path, capsys, monkeypatch):
    before = record.describe(["x"], {"tiny": record.tables(TABLE)})
    other = {"machine": "another", "changed": True, "command": "y", "date": "2030-01-01T00:00:00"}
    after = before | other | {"benchmarks": {"tiny": record.tables(TABLE.replace("1.50", "9"))}}
    first, second = record.save(before, tmp_path), record.save(after, tmp_path)
    monkeypatch.setattr(sys, "argv", ["history", str(first), str(second), "--least", "5"])
    history.main()
    shown = capsys.readouterr().out
    assert "the machines differ" in shown
    assert "second has uncommitted changes" in shown
    assert "the commands differ" in shown
    assert "| tiny | a | ours, ms | 1.5 | 9 | +7.5 | +500.0 |" in shown


def test_other_files_are_no_records(tmp_path, monkeypatch, capsys):
    (tmp_path / "a.json").write_text(json.dumps({"format": 7}))
    (tmp_path / "b.json").write_text("{")
    for name, message in (("a.json", "no record of format 1"), ("b.json", "is not JSON")):
        with pytest.raises(ValueError, match=message):
            record.load(tmp_path / name)
    monkeypatch.setattr(sys, "argv", ["history", str(tmp_path / "a.json"), "missing.json"])
    with pytest.raises(SystemExit):
        history.main()
    assert "no record" in capsys.readouterr().err


def test_every_benchmark_is_described():
    """benchmarks/README.md names each benchmark, and those only."""
    readme = (record.ROOT / "benchmarks" / "README.md").read_text()
    listed = [line.split("`")[1] for line in readme.splitlines() if line.startswith("| `")]
    assert sorted(listed) == sorted(bench.NAMES)
    starred = [line.split("`")[1] for line in readme.splitlines() if line.startswith("| `")]
    starred = [n for n in starred if f"| `{n}` * |" in readme]
    assert sorted(starred) == sorted(bench.STANDARD)

"""The speed record and how it is made: the rule for noise, the blocks, every row on a tiny size."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import bench
import growth
import numpy as np
import pytest
from speed import instructions, timing
from speed.timing import Here, Sides, There, compared, fails, in_turn, missing, row

ROOT = Path(__file__).resolve().parents[1]
RECORDED = json.loads((ROOT / "results" / "bench.json").read_text(encoding="utf-8"))
GROWN = json.loads((ROOT / "results" / "growth.json").read_text(encoding="utf-8"))


def side(seconds):
    """A side whose times are given."""

    class Given(Here):
        def seconds(self):
            return next(left)

    left = iter(seconds)
    return Given(lambda: None)


def test_a_ratio_is_of_rounds_and_its_spread_is_the_middle_half():
    one = row("x", 1.0, [1.0] * 8, [2, 1, 3, 4, 5, 6, 7, 8])
    assert one["ratio"] == 4.5 and one["spread"] == [3, 6] and one["rounds"] == 8
    assert one["below"] == 0 and (one["ours_seconds"], one["theirs_seconds"]) == (1, 4.5)
    assert row("x", 3.5, [1.0] * 3, [2, 3, 4])["below"] == 2


@pytest.mark.parametrize(
    ("rounds", "below", "bad"),
    [(7, 7, True), (7, 6, False), (9, 8, True), (9, 7, False), (11, 9, True), (11, 8, False),
     (4, 4, False), (7, 0, False)],
)  # fmt: skip
def test_a_row_fails_by_the_sign_test(rounds, below, bad):
    """Counted once by hand: 1/128, 8/128, 10/512, 46/512, 67/2048, 232/2048, 1/16."""
    ratios = [0.9] * below + [1.1] * (rounds - below)
    assert fails(row("x", 1.0, [1.0] * rounds, ratios)) is bad


def test_what_is_not_measured_does_not_fail():
    one = missing("x", 2.0, "not installed")
    assert not fails(one) and "not installed" in bench.say(one)


def test_the_first_call_warms_up_and_the_first_place_goes_round():
    order = []
    sides = Sides({name: Here(lambda name=name: order.append(name)) for name in "ab"})
    times = in_turn(sides, 3)
    assert order == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert {name: len(some) for name, some in times.items()} == {"a": 3, "b": 3}


def test_seconds_are_those_of_one_where_the_work_says_how_many(monkeypatch):
    clock = iter([0.0, 6.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    assert Here(lambda: 3).seconds() == 2.0


def test_a_bad_row_says_where_the_time_goes_and_is_shown():
    size = timing.Size(rounds=7)
    ours = Here(lambda: np.linalg.svd(np.ones((120, 120))) and None)
    theirs = Here(lambda: None)
    (one,) = compared(size, Sides(ours=ours, theirs=theirs), {"theirs": ("slow", 1.0)})
    assert fails(one) and "FAILS, floor 1.0" in bench.say(one)
    assert any("svd" in name for name in one["where"]) and max(one["where"].values()) > 0.3


@pytest.mark.parametrize(("lost", "failed"), [(-0.4, False), (0.5, False), (0.6, True)])
def test_what_loses_more_than_half_a_point_of_retrieval_fails(lost, failed):
    one = row("int8", 1.1, [1.0] * 7, [2.0] * 7, retrieval_lost=lost)
    assert fails(one) == failed
    assert f"{lost} points of retrieval lost" in bench.say(one)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux counts the parent in ru_maxrss")
def test_the_peak_of_memory_leaves_out_the_parents():
    ballast = np.ones(100_000_000)  # 800 MB
    code = "from speed.footprint import peak; print(peak())"
    said = subprocess.check_output(
        [sys.executable, "-c", code], cwd=ROOT / "experiments",
        env=os.environ | {"PYTHONPATH": str(ROOT)}, encoding="utf-8",
    )  # fmt: skip
    assert 50 < float(said) < ballast.nbytes / 1e6


def test_a_side_in_a_process_of_its_own(monkeypatch, tmp_path):
    (tmp_path / "away.py").write_text(
        "import sys\nimport numpy as np\nfrom speed.timing import Here\n"
        "def side(size):\n"
        "    print('noise')\n"
        "    return Here(lambda: print('more'), lambda: np.arange(size)), {'x': '1.0'}\n"
        "def broken():\n    raise OSError('no such model')\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Sides(ours=There("away:side", size=3)) as sides:
        assert sides["ours"].versions == {"x": "1.0"}
        assert 0 <= sides["ours"].seconds() < 1
        assert sides["ours"].check().tolist() == [0, 1, 2]
    assert sides["ours"].process.returncode == 0
    with pytest.raises(RuntimeError, match="no such model"):
        There("away:broken")


def test_a_run_replaces_its_own_block_alone(monkeypatch, tmp_path):
    file = tmp_path / "bench.json"
    good = row("forward", 1.0, [1.0] * 7, [2.0] * 7)
    monkeypatch.setattr(bench, "block_key", lambda: "A, AVX2, 1 thread")
    bench.write([good, good | {"name": "other"}], True, True, file)
    monkeypatch.setattr(bench, "block_key", lambda: "B, AVX512, 2 threads")
    bench.write([good | {"name": "gone"}], False, True, file)
    bench.write([good], False, True, file)
    bench.write([good | {"name": "other"}], False, False, file)
    bench.write([good | {"ratio": 3.0}], False, False, file)
    blocks = json.loads(file.read_text(encoding="utf-8"))["blocks"]
    for one in blocks.values():
        assert [row["name"] for row in one["rows"]] == ["forward", "other"]
    assert "busy" in blocks["A, AVX2, 1 thread"] and "busy" not in blocks["B, AVX512, 2 threads"]
    assert blocks["B, AVX512, 2 threads"]["rows"][0]["ratio"] == 3.0


@pytest.mark.parametrize(("theirs", "status"), [(0.9, 1), (1.1, 0)])
def test_a_bad_row_makes_the_command_fail(theirs, status, monkeypatch, tmp_path):
    one = row("forward", 1.0, [1.0] * 7, [theirs] * 7)
    family = SimpleNamespace(rows=lambda size: [one, missing("other", 1.0, "not installed")])
    monkeypatch.setitem(sys.modules, "speed.forward", family)
    monkeypatch.setattr(bench, "set_threads", lambda count: None)
    file = tmp_path / "bench.json"
    monkeypatch.setattr(sys, "argv", ["bench.py", "forward", "--record", str(file)])
    assert bench.main() == status
    (block,) = json.loads(file.read_text(encoding="utf-8"))["blocks"].values()
    assert len(block["rows"]) == 2


def test_all_families_and_parts_are_measured_where_none_is_named(monkeypatch, tmp_path):
    seen = []
    for name in bench.FAMILIES:
        family = SimpleNamespace(rows=lambda size, name=name: seen.append(name) or [])
        monkeypatch.setitem(sys.modules, f"speed.{name}", family)
    for module in (bench, growth):
        monkeypatch.setattr(module, "set_threads", lambda count: None)
        monkeypatch.setattr(sys, "argv", ["it", "--record", str(tmp_path / module.__name__)])
    assert bench.main() == 0
    assert seen == [*bench.FAMILIES]
    parts = dict.fromkeys(growth.PARTS, lambda rounds: [rounds])
    monkeypatch.setattr(growth, "PARTS", parts)
    assert growth.main() == 0
    (block,) = json.loads((tmp_path / "growth").read_text(encoding="utf-8"))["blocks"].values()
    assert parts.keys() < block.keys()


@pytest.mark.parametrize("key", RECORDED["blocks"])
def test_the_record_keeps_its_floors(key):
    block = RECORDED["blocks"][key]
    assert {"date", "processor", "versions", "rows"} <= set(block)
    assert len(key.split(", ")) == 3 and key.endswith(("thread", "threads"))
    names = [one["name"] for one in block["rows"]]
    assert names and len(set(names)) == len(names)
    for one in block["rows"]:
        if "missing" in one:
            assert one["missing"] and one["floor"] > 0
            continue
        low, high = one["spread"]
        assert low <= one["ratio"] <= high and one["rounds"] >= 3
        if "below" not in one:  # counted since 27 November 2026
            assert block["date"] < "2026-11-27" and one["ratio"] >= one["floor"]
            continue
        assert 0 <= one["below"] <= one["rounds"]
        # one that misses its floor says where the time goes
        assert "busy" in block or not fails(one) or one.get("where"), one


@pytest.mark.parametrize("key", GROWN["blocks"])
def test_the_record_of_growth(key):
    block = GROWN["blocks"][key]
    assert {"date", "processor", "versions"} <= set(block)
    for name, values in growth.VARIED.items():
        curve = block.get("curves", {}).get(name)
        if curve:
            assert tuple(one["value"] for one in curve["points"]) == values
            assert curve["by_formula"] == growth.slope(
                values, [one["operations"] for one in curve["points"]]
            )
    for one in block.get("data", {}).get("points", []):
        assert one["megabytes_at_last"] < 1.2 * one["megabytes_at_first"] + 20
    for one in block.get("scaling", {}).get("points", []):
        assert one["efficiency"] > 0 and one["by_model"] <= 1


def test_the_model_of_the_ring():
    """Of one, nothing; of many, twice the gradients, however many there are."""
    assert growth.ring(1, 1e9, 1e-3, 1e9) == 0
    assert growth.ring(2, 1e9, 0.0, 1e9) == 1.0
    assert growth.ring(1000, 1e9, 0.0, 1e9) == pytest.approx(2, rel=0.01)
    assert growth.ring(3, 0.0, 0.5, 1e9) == 2.0


def test_a_slope_is_the_exponent():
    assert growth.slope([1, 2, 4], [3, 12, 48]) == 2.0


def test_a_corpus_so_many_times_over(tmp_path):
    from minibert.corpus import open_corpus
    from minibert.nsp import build_corpus
    from minibert.tokens import Tokenizer

    tokenizer = Tokenizer.from_pretrained("leads-4096")
    documents = [["One river.", "It is long."], ["A dog bit him.", "He ran.", "It rained."]]
    corpus = build_corpus(documents, tokenizer, growth.LONGEST)
    growth.write_copies(corpus, tokenizer, tmp_path / "three", 3)
    found = open_corpus(tmp_path / "three", tokenizer, growth.LONGEST)
    whole = build_corpus(
        [[*some[:-1], some[-1] + "!" * n] for n in range(3) for some in documents],
        tokenizer, growth.LONGEST,
    )  # fmt: skip
    assert len(found.tokens) == 3 * len(corpus.tokens)
    assert np.array_equal(found.chunks, whole.chunks)
    assert len(found.sentences) == len(whole.sentences)


@pytest.mark.parametrize(
    ("flags", "capability", "held"),
    [("avx2 avx512f", "AVX2", True), ("avx2 avx512f", "AVX512", False), ("avx2", "AVX2", False)],
)
def test_a_run_is_held_to_avx2_where_the_processor_has_more(flags, capability, held, monkeypatch):
    monkeypatch.setattr(instructions, "flags", lambda: flags)
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    assert instructions.held_to_avx2() == held
    assert instructions.instruction_set() == ("avx2" if capability == "AVX2" else "avx512")


def test_the_quick_form_runs_on_a_tiny_size():
    """The command, with what needs no environment of its own; times so short say nothing."""
    families = ("forward", "tokenising", "pretraining")
    done = subprocess.run(
        [sys.executable, "experiments/bench.py", "tiny", *families], cwd=ROOT,
        capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
    assert done.stdout.count("against") >= 6 and "share of torch.matmul" in done.stdout

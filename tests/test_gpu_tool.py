"""experiments/gpu.py on the CPU: each kind of piece, what its row holds, and faults made for it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import gpu_measures
import gpu_piece
import nbformat
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
MEASURED = {"step-base", "attention", "losses", "scaler"}


@pytest.fixture
def copy(tmp_path) -> Path:
    """The tool and the package, with tests and chapters that take no time."""
    for name in ("book", "tests", "minibert", "experiments"):
        (tmp_path / name).mkdir()
    for path in [*(ROOT / "minibert").glob("*.py"), *(ROOT / "experiments").glob("gpu*.py")]:
        shutil.copy(path, tmp_path / path.parent.name)
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path / "tests")
    (tmp_path / "tests" / "test_device.py").write_text(
        "def test_it(device, dtype):\n    assert (device.type, str(dtype)[6:]) == "
        "('cpu', 'bfloat16')\n\ndef test_lacking():\n    import no_such_package\n",
        encoding="utf-8",
    )
    for number, code in [("01", "print(6 * 7)"), ("02", "import no_such"), ("03", "1 / 0")]:
        cell = nbformat.v4.new_code_cell(code)
        nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("%pip x"), cell])
        nbformat.write(nb, tmp_path / "book" / f"{number}-x.ipynb")
    return tmp_path


def run(folder: Path, *arguments: str) -> tuple[int, dict[str, dict]]:
    """The exit status and the rows of a run on the CPU."""
    out = folder / "out.json"
    command = [sys.executable, "experiments/gpu.py", "--device", "cpu", "--out", out, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", timeout=300)
    assert out.exists(), done.stderr
    return done.returncode, {
        row["name"]: row for row in json.loads(out.read_text(encoding="utf-8"))["rows"]
    }


def test_all_pieces_are_listed():
    command = [sys.executable, "experiments/gpu.py", "--list"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8").stdout.split()
    chapters = {f"chapter-{p.stem}" for p in (ROOT / "book").glob("*.ipynb")}
    assert set(listed) == chapters | MEASURED | {"units-float32", "units-bfloat16"}
    assert set(gpu_measures.MEASURES) == MEASURED


def test_the_pieces_run_here(copy):
    status, rows = run(copy)
    assert status == 1
    assert {name: row["status"] for name, row in rows.items()} == {
        "units-float32": "failed", "units-bfloat16": "passed",
        "chapter-01-x": "passed", "chapter-02-x": "skipped", "chapter-03-x": "failed",
    } | dict.fromkeys(MEASURED, "passed")  # fmt: skip
    assert rows["chapter-01-x"]["said"] == ["42"]
    assert "1 passed, 1 skipped" in rows["units-bfloat16"]["said"][-1]
    for row in rows.values():
        assert {"seconds", "date", "processor", "device", "dtype"} <= set(row)
        assert row["peak_bytes"] is row["card_used"] is None  # there is no card

    step = rows["step-base"]
    assert step["product_flops"] > 0 and step["dtype"] in ("float32", "bfloat16")
    for shape in step["shapes"]:
        assert 0 < shape["mfu"] < shape["mfu_with_head"] < 1
        assert shape["tokens_per_second"] > 0 and shape["formula_bytes"] > 0

    backends = rows["attention"]["backends"]
    assert len(backends) == 3 * 4 * 2
    assert backends["float16, padding, dropout 0.0"] == ["flash"]
    assert backends["float32, no mask, dropout 0.1"] == ["math"]

    losses = rows["losses"]
    assert losses["apart"]["float32"] == 0 and set(losses["apart"]) == set(losses["within"])
    assert {"float32 on the CPU", "float32", losses["dtype"]} == set(losses["losses"])
    for curve in [*losses["losses"].values(), rows["scaler"]["losses"]]:
        assert len(curve) == 20 and curve[-1] < curve[0]
    assert rows["scaler"]["dtype"] == "float16" and rows["scaler"]["scale"] >= 1


MATH = "with nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH): "


FAULTS = [
    ("losses", "experiments/gpu_measures.py",
     'WITHIN = {"float32": 1e-4', 'WITHIN = {"float32": 0'),
    ("attention", "minibert/attention.py", "    mixed = F.", f"    {MATH}mixed = F."),
    ("scaler", "minibert/steps.py", "enabled=half", "enabled=False"),
]


def test_faults_fail_the_pieces(copy):
    for _, file, old, new in FAULTS:
        text = (copy / file).read_text(encoding="utf-8")
        assert text.count(old) == 1
        (copy / file).write_text(text.replace(old, new), encoding="utf-8")
    status, rows = run(copy, *(f"--piece={piece}" for piece, *_ in FAULTS))
    assert status == 1
    for row in rows.values():
        assert row["status"] == "failed" and row["faults"][-1] == row["said"][-1]
    assert rows["losses"]["faults"] == ["float32: a loss is 0.0 from the CPU's, not within 0"]
    assert rows["scaler"]["faults"] == ["the loss was not scaled"]
    assert len(rows["attention"]["faults"]) == 3 * 4 * 2  # of each type, mask and size, one


def test_too_much_memory_and_too_much_speed_are_faults(monkeypatch):
    monkeypatch.setattr(gpu_measures, "product_speed", lambda device, dtype: 1e6)
    monkeypatch.setattr(gpu_measures, "step", lambda *given: (1e-3, 10**12))
    faults = gpu_measures.step_base(torch.device("cpu"))["faults"]
    assert sum("MFU" in fault for fault in faults) == 2
    assert sum("peak over formula" in fault for fault in faults) == 2


def test_what_the_card_was_used_for(monkeypatch, tmp_path):
    """With a card that is made up: one never touched, one only looked at, one used."""
    cuda, file = torch.cuda, tmp_path / "row.json"
    monkeypatch.setattr(cuda, "is_initialized", lambda: False)
    assert gpu_piece.card("cuda") == {"peak_bytes": 0, "card_used": False}
    monkeypatch.setitem(gpu_measures.MEASURES, "losses", lambda device: {"faults": []})
    monkeypatch.setattr(sys, "argv", ["gpu_piece.py", "losses", str(file)])
    monkeypatch.setitem(os.environ, "MINIBERT_DEVICE", "cuda")
    assert (
        gpu_piece.main() == 1
        and "never" in json.loads(file.read_text(encoding="utf-8"))["faults"][0]
    )
    monkeypatch.setattr(cuda, "is_initialized", lambda: True)
    for peak, used in [(512, False), (513, True)]:
        monkeypatch.setattr(cuda, "max_memory_allocated", lambda device, peak=peak: peak)
        assert gpu_piece.card("cuda") == {"peak_bytes": peak, "card_used": used}
    assert gpu_piece.main() == 0

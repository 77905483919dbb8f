"""BERT in a day: runs that are stopped and go on, on several processes, on a stream."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_training import CONFIG, Line, batches, weights

from minibert.__main__ import main
from minibert.stopping import Stop, Stopped
from minibert.training import TrainingConfig, train

LIMIT = 120  # seconds after which a process is hung; it takes a few


def log_of(folder: Path) -> list[dict[str, float]]:
    text = (folder / "log.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.skipif(sys.platform == "win32", reason="there, a signal from outside kills")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_signal_ends_a_run_that_goes_on_exactly(name, tmp_path):
    before = signal.getsignal(getattr(signal, name))

    def told(step, rank, world):
        if step == 7:
            os.kill(os.getpid(), getattr(signal, name))
        return batches(step)

    with pytest.raises(Stopped, match=f"stopped by {name} after step 8"):
        train(Line(), told, CONFIG, tmp_path, progress=False)
    assert signal.getsignal(getattr(signal, name)) == before
    assert (tmp_path / "step-00000008").is_dir()
    again, whole = Line(), Line()
    log = train(again, lambda s, r, w: batches(s), CONFIG, tmp_path, progress=False)
    train(whole, lambda s, r, w: batches(s), CONFIG, progress=False)
    assert weights(again).equal(weights(whole))
    assert [line["step"] for line in log] == [line["step"] for line in log_of(tmp_path)]


def test_the_time_limit_ends_a_run_and_may_change(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("minibert.stopping.time.monotonic", lambda: now[0])

    def slow(step, rank, world):
        now[0] += 10
        return batches(step)

    numbers = {"steps": 20, "batch_size": 12, "save_every": 100}
    config = TrainingConfig(**numbers, time_limit=95)
    with pytest.raises(Stopped, match="the time limit after step 10"):
        train(Line(), slow, config, tmp_path, progress=False)
    whole, again = Line(), Line()
    longer = TrainingConfig(**numbers, time_limit=1000)
    train(again, slow, longer, tmp_path, progress=False)
    train(whole, slow, TrainingConfig(**numbers), progress=False)
    assert weights(again).equal(weights(whole))


def test_the_last_step_needs_no_stop(tmp_path, monkeypatch):
    monkeypatch.setattr(Stop, "told", lambda self, world: True)
    config = TrainingConfig(steps=1, batch_size=12)
    log = train(Line(), lambda s, r, w: batches(s), config, tmp_path, progress=False)
    assert log[-1]["step"] == 1


def test_without_a_folder_signals_are_left_alone():
    seen = []

    def look(step, rank, world):
        seen.append(signal.getsignal(signal.SIGTERM))
        return batches(step)

    train(Line(), look, TrainingConfig(steps=1, batch_size=12), progress=False)
    assert seen == [signal.getsignal(signal.SIGTERM)]
    with pytest.raises(ValueError, match="time limit needs a folder"):
        train(Line(), look, TrainingConfig(steps=1, time_limit=5), progress=False)
    with pytest.raises(ValueError, match="time_limit must be positive, not 0"):
        TrainingConfig(steps=1, time_limit=0)


SMALL = [
    "--hidden-size", "16", "--layers", "2", "--steps", "120", "--batch-size", "8", "--dropout",
    "0", "--max-length", "32", "--log-every", "1", "--save-every", "1000", "--bfloat16", "no",
]  # fmt: skip


@pytest.fixture
def text(tmp_path) -> Path:
    folder = tmp_path / "text"
    folder.mkdir()
    for number in range(40):
        line = f"The dog ran to {number} men. It bit {number} of them. The others fell.\n"
        (folder / f"{number}.txt").write_text(line * 2, encoding="utf-8")
    return folder


def start(count: int, *words: object) -> list[subprocess.Popen[str]]:
    """Start a command as so many processes, as torchrun does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    shared |= {"OMP_NUM_THREADS": "1", "MINIBERT_DEVICE": "cpu"}
    return [
        subprocess.Popen(
            [sys.executable, "-m", "minibert", *map(str, words)],
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, encoding="utf-8",
        )
        for rank in range(count)
    ]  # fmt: skip


def end(running: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Wait for processes; kill what hangs."""
    try:
        said = [one.communicate(timeout=LIMIT)[1] for one in running]
    finally:
        for one in running:
            one.kill()
    return [(one.returncode, text) for one, text in zip(running, said, strict=True)]


def wait_for_step(folder: Path, running: list[subprocess.Popen[str]]) -> None:
    """Wait until a run has done a step."""
    last = time.monotonic() + LIMIT
    while not (folder / "log.jsonl").exists() or not log_of(folder):
        assert time.monotonic() < last and all(one.poll() is None for one in running), end(running)
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform == "win32", reason="gloo there lacks what FSDP needs")
@pytest.mark.parametrize("how", ["copies", "shares"])
def test_two_processes_are_stopped_and_end_as_one_that_was_not(how, text, tmp_path):
    """The whole command: one process is told to stop, both do, and both go on."""
    words = ["pretrain", text, tmp_path / "two", *SMALL]
    if how == "shares":
        words += ["--shard", "yes"]
    running = start(2, *words)
    wait_for_step(tmp_path / "two", running)
    running[1].send_signal(signal.SIGTERM)
    first, second = end(running)
    assert first[0] == second[0] == 75, (first, second)
    assert "stopped by SIGTERM" in second[1] and "stopped by another process" in first[1]
    stopped = log_of(tmp_path / "two")[-1]["step"]
    assert 0 < stopped < 120 and (tmp_path / "two" / f"step-{stopped:08d}").is_dir()
    assert not (tmp_path / "two" / "model").exists()
    assert [code for code, _ in end(start(2, *words))] == [0, 0]
    assert main(["pretrain", str(text), str(tmp_path / "one"), *SMALL]) == 0
    logs = [log_of(tmp_path / name) for name in ("one", "two")]
    assert [len(log) for log in logs] == [120, 120]
    for one, two in zip(*logs, strict=True):
        for name in ("masked_lm_loss", "next_sentence_loss"):
            assert one[name] == pytest.approx(two[name], abs=1e-5)
    files = [load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two")]
    assert files[0].keys() == files[1].keys()
    for name, tensor in files[0].items():
        torch.testing.assert_close(files[1][name], tensor, atol=1e-3, rtol=0, msg=name)
    config = json.loads((tmp_path / "two" / "model" / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["BertForPreTraining"]

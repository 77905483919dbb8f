"""BERT in a day: runs that are stopped and go on, on several processes, on a stream."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from launching import free_port
from safetensors.torch import load_file
from test_training import CONFIG, Line, batches, weights

from minibert.__main__ import main
from minibert.bert import BertPreTrainedModel
from minibert.config import BertConfig
from minibert.mlm import BertForMaskedLM
from minibert.pretraining import POOL, PretrainingConfig, pretrain
from minibert.stopping import Stop, Stopped
from minibert.streaming import StreamedData, open_stream
from minibert.tokens import Tokenizer
from minibert.training import TrainingConfig, train

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 300  # seconds after which a process is hung; it takes a few


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
    monkeypatch.setattr(Stop, "told", lambda self: True)
    config = TrainingConfig(steps=1, batch_size=12)
    log = train(Line(), lambda s, r, w: batches(s), config, tmp_path, progress=False)
    assert log[-1]["step"] == 1


def test_without_a_folder_signals_are_left_alone():
    seen = []

    def microbatches(step, rank, world):
        seen.append(signal.getsignal(signal.SIGTERM))
        return batches(step)

    train(Line(), microbatches, TrainingConfig(steps=1, batch_size=12), progress=False)
    assert seen == [signal.getsignal(signal.SIGTERM)]
    with pytest.raises(ValueError, match="time limit needs a folder"):
        train(Line(), microbatches, TrainingConfig(steps=1, time_limit=5), progress=False)
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
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    shared |= {"WORLD_SIZE": str(count)}
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


STREAM = PretrainingConfig(
    steps=70, batch_size=2, max_length=16, log_every=10, save_every=1000, task=None, bfloat16=False
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_pretrained("leads-4096")


@pytest.fixture
def files(tmp_path) -> list[str]:
    """Two files of 60 documents: a row each, so that 70 steps of 2 are more than an epoch."""
    for part in range(2):
        rows = [{"text": f"The dog bit {part} {number} men."} for number in range(60)]
        lines = "\n".join(map(json.dumps, rows)) + "\n"
        (tmp_path / f"{part}.jsonl").write_text(lines, encoding="utf-8")
    return [str(tmp_path / f"{part}.jsonl") for part in range(2)]


def ids(data: StreamedData, step: int, rank: int = 0, world: int = 1) -> list[list[int]]:
    return [row for piece in data(step, rank, world) for row in piece.inputs["input_ids"].tolist()]


def model_of(tokenizer: Tokenizer) -> BertPreTrainedModel:
    torch.manual_seed(0)
    return BertForMaskedLM(BertConfig(
        vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=16,
    ))  # fmt: skip


def test_a_stream_goes_on_where_it_was(files, tokenizer):
    """From every step, in a new program as it were: through JSON, with another reader."""
    first = StreamedData(open_stream(files), tokenizer, STREAM)
    rows, states = [], []
    for step in range(70):
        rows.append(ids(first, step))
        states.append(json.dumps(first.state_dict()))
    assert json.loads(states[0])["stream"] is None and json.loads(states[-1])["step"] == 2 * POOL
    for step in (0, 5, POOL - 1, POOL, 2 * POOL + 3):
        again = StreamedData(open_stream(files), tokenizer, STREAM)
        again.load_state_dict(json.loads(states[step]))
        assert [ids(again, s) for s in range(step, 70)] == rows[step:]
    with pytest.raises(ValueError, match="the stream is beyond step 3"):
        first(3)


def test_an_epoch_of_a_stream_takes_every_document(files, tokenizer):
    data = StreamedData(open_stream(files), tokenizer, STREAM)
    for step in range(2 * POOL):
        data(step)
    assert data.epoch == 1  # 128 rows of 120 documents
    halves = [StreamedData(open_stream(files), tokenizer, STREAM) for _ in range(2)]
    for step in (0, 1, 40):
        data = StreamedData(open_stream(files), tokenizer, STREAM)
        parts = [row for rank in range(2) for row in ids(halves[rank], step, rank, 2)]
        assert sorted(parts) == sorted(ids(data, step))


def test_a_run_on_a_stream_is_stopped_and_goes_on_exactly(files, tokenizer, tmp_path, monkeypatch):
    def again(folder, stop=10**9):
        data = StreamedData(open_stream(files), tokenizer, STREAM)
        call = StreamedData.__call__

        def told(self, step, rank=0, world=1):
            if step == stop:
                raise_here = signal.getsignal(signal.SIGTERM)
                raise_here(signal.SIGTERM, None)
            return call(self, step, rank, world)

        monkeypatch.setattr(StreamedData, "__call__", told)
        model = model_of(tokenizer)
        try:
            pretrain(model, tokenizer, data, STREAM, folder, progress=False)
        except Stopped:
            assert stop < STREAM.steps
        monkeypatch.setattr(StreamedData, "__call__", call)
        return weights(model)

    whole = again(tmp_path / "whole")
    again(tmp_path / "cut", stop=40)
    state = json.loads((tmp_path / "cut/step-00000041/state.json").read_text(encoding="utf-8"))
    assert state["data"]["step"] == POOL
    assert again(tmp_path / "cut").equal(whole)


def test_the_command_reads_a_stream(files, tmp_path, capsys):
    small = [*SMALL, "--task", "words", "--stream"]
    small[small.index("120")] = "3"
    assert main(["pretrain", *files, str(tmp_path / "run"), *small]) == 0
    assert (tmp_path / "run" / "model" / "config.json").exists()
    assert not (tmp_path / "run" / "corpus").exists()
    wrong = ["pretrain", *files, str(tmp_path / "other"), *small, "--text-field", "body"]
    assert main(wrong) == 1
    assert "a row has no 'body', but ['text']" in capsys.readouterr().err
    assert main(["pretrain", files[0], "a.csv", str(tmp_path / "other"), *small]) == 1
    assert "name files of one kind" in capsys.readouterr().err
    words = ["pretrain", "leads", str(tmp_path / "other"), *small[:-1], "--text-field", "x"]
    assert main(words) == 2
    assert "--text-field needs --stream" in capsys.readouterr().err


class Few:
    """A stream of these rows, as simple as one can be."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts

    def __iter__(self):
        return iter([{"text": text} for text in self.texts])

    def set_epoch(self, epoch):
        pass

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def test_a_stream_of_nothing_is_refused(tokenizer):
    with pytest.raises(ValueError, match="the stream has no documents"):
        StreamedData(Few(), tokenizer, STREAM)(0)
    with pytest.raises(ValueError, match="no document fills a row"):
        StreamedData(Few("", " "), tokenizer, STREAM)(0)


def test_a_corpus_is_written_once_and_read_in_place(text, tmp_path, capsys):
    cut = ["--task", "words", "--max-length", "32"]
    assert main(["corpus", str(text), str(tmp_path / "cut"), *cut]) == 0
    assert "80 rows in" in capsys.readouterr().out
    small = [*SMALL, "--task", "words"]
    small[small.index("120")] = "3"
    for name, source in {"a": text, "b": tmp_path / "cut"}.items():
        assert main(["pretrain", str(source), str(tmp_path / name), *small]) == 0
    a, b = ([line["loss"] for line in log_of(tmp_path / name)] for name in "ab")
    assert a == b and not (tmp_path / "b" / "corpus").exists()
    wrong = ["pretrain", str(tmp_path / "cut"), str(tmp_path / "c"), *small[:-2]]
    assert main(wrong) == 2
    assert "was written without pairs: give both commands" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "seconds"), [("23:30:00", 84600), ("1-12:00:05", 129605), ("0:00:01", 1)]
)
def test_a_time_limit_is_read_as_clusters_write_it(text, seconds):
    from minibert.commands.flags import duration

    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "1:60:00", "0:00:00", "24h", "-1:00:00"])
def test_a_time_limit_that_is_none(text, tmp_path, capsys):
    words = ["pretrain", "leads", str(tmp_path / "run"), "--steps", "1", "--time-limit", text]
    assert main(words) == 2
    assert "write hours, minutes and seconds, 23:30:00" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["marks", "records"])
def test_a_record_says_who_on_what_how_long_and_how_good(kind):
    kept = json.loads((ROOT / "results" / "day.json").read_text(encoding="utf-8"))
    names = [one["name"] for one in kept["marks"] + kept["records"]]
    assert len(set(names)) == len(names)
    for one in kept[kind]:
        for name in ("name", "model", "machine", "metric", "source"):
            assert isinstance(one[name], str) and one[name], (one["name"], name)
        assert 0 < one["hours"] <= 24, one["name"]
        if one["figure"] is None:  # a source that gives words alone
            assert kind == "marks" and one["said"]
        else:
            assert 0 < one["figure"] <= 100, one["name"]
        published = re.fullmatch(r"https://arxiv\.org/abs/\d{4}\.\d{5}", one["source"])
        made = re.match(r"(python|torchrun|accelerate|minibert) ", one["source"])
        assert published if kind == "marks" else made, one["name"]
        for file in re.findall(r"experiments/\w+\.py", one["source"]):
            assert (ROOT / file).is_file()


def test_the_whole_command_was_killed_and_stopped_on_the_leads():
    """What experiments/day.py recorded."""
    kept = json.loads((ROOT / "results" / "day.json").read_text(encoding="utf-8"))
    (one,) = [one for one in kept["records"] if one["name"] == "leads, two processes"]
    assert 0 < one["killed_at"] < one["steps"] and 0 < one["stopped_at"] < one["steps"]
    assert one["loss_gap"] < 1e-4

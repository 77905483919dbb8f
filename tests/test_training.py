"""The loop: exact resuming, honest means, several processes."""

import itertools
import json
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from minibert.checkpoints import BRANCHED, find_checkpoint, weights_digest
from minibert.steps import Microbatch, backward, choose_precision, make_optimiser, split_step
from minibert.training import TrainingConfig, train

FULL = os.environ.get("MINIBERT_FULL") == "1"  # twenty kills, as the long form


class Output(NamedTuple):
    """A loss, as every head gives it."""

    loss: Tensor


class Line(nn.Module):
    """A small model with dropout, a matrix, a bias and a norm."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Linear(4, 8), nn.LayerNorm(8), nn.Dropout(0.3), nn.Linear(8, 1)
        )

    def forward(self, input_ids: Tensor, labels: Tensor) -> Output:
        """Squared error, a mean over rows."""
        return Output(((self.body(input_ids)[:, 0] - labels) ** 2).mean())


def rows(step: int, count: int = 12) -> tuple[Tensor, Tensor]:
    make = torch.Generator().manual_seed(step)
    x = torch.randn(count, 4, generator=make)
    return x, x.sum(1)


def batches(step: int, rank: int = 0, world: int = 1, parts: int = 1) -> list[Microbatch]:
    """Pieces of unlike size, so that a mean of means would be wrong."""
    x, y = rows(step)
    cuts = [0, 1, 4, 7, 12] if parts == 4 else [0, 12]
    return [
        Microbatch({"input_ids": x[a:b], "labels": y[a:b]}, {"loss": b - a})
        for a, b in itertools.pairwise(cuts)
    ]


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten().cpu() for p in model.parameters()])


CONFIG = TrainingConfig(
    steps=20, batch_size=12, learning_rate=0.01, warmup=4, save_every=5, log_every=2
)


def run(
    folder: Path | None,
    config: TrainingConfig = CONFIG,
    stop: int = 10**9,
    branch_from: Path | str | None = None,
) -> nn.Module:
    """Train; the data gives up at step `stop`, as a power cut would."""

    def interrupted(step: int, rank: int, world: int) -> list[Microbatch]:
        if step == stop:
            raise KeyboardInterrupt
        return batches(step)

    model = Line()
    try:
        train(model, interrupted, config, folder, branch_from=branch_from, progress=False)
    except KeyboardInterrupt:
        assert stop < config.steps
    return model


@pytest.mark.parametrize("stops", [[3], [7], [5], [13, 17], [1, 6, 11, 19]], ids=str)
def test_a_stopped_run_ends_as_one_that_never_stopped(stops, tmp_path):
    whole = run(tmp_path / "whole")
    for stop in stops:
        run(tmp_path / "cut", stop=stop)
    again = run(tmp_path / "cut")
    assert weights(again).equal(weights(whole))
    logs = [
        [
            json.loads(x)
            for x in (tmp_path / name / "log.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        for name in ("whole", "cut")
    ]
    for log in logs:
        for line in log:
            line.pop("tokens_per_second")
    assert logs[0] == logs[1]


def test_a_finished_run_is_only_read(tmp_path):
    first = run(tmp_path)
    again = run(tmp_path, stop=0)  # would fail if it asked for data
    assert weights(again).equal(weights(first))


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(None)
    assert not list(tmp_path.iterdir())


def test_the_callers_chance_is_left_alone(tmp_path):
    torch.manual_seed(5)
    want = torch.rand(3)
    model = Line()
    torch.manual_seed(5)
    train(model, lambda s, r, w: batches(s), CONFIG, progress=False)
    assert torch.rand(3).equal(want)
    assert not model.training


def test_dropout_differs_from_step_to_step():
    model = Line()
    log = train(
        model,
        lambda s, r, w: batches(0),
        TrainingConfig(steps=3, learning_rate=1e-30, log_every=1),
        progress=False,
    )
    assert len({line["loss"] for line in log}) == 3


def test_pieces_add_up_to_the_whole():
    """Four pieces of unlike size have the gradients of one."""
    precision = choose_precision(False, torch.device("cpu"))
    grads, losses = [], []
    for parts in (1, 4):
        model = Line().eval()
        losses.append(backward(model, batches(3, parts=parts), 1, precision)["loss"])
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert torch.allclose(losses[0], losses[1], atol=1e-6)
    assert torch.allclose(grads[0], grads[1], atol=1e-6)
    # and a mean of means would have been seen
    model = Line().eval()
    means = [model(**piece.inputs).loss for piece in batches(3, parts=4)]
    assert abs(sum(means) / 4 - losses[0]) > 0.01


def test_biases_and_norms_do_not_decay():
    model = Line()
    decayed, spared = make_optimiser(model, CONFIG).param_groups
    assert {p.ndim for p in decayed["params"]} == {2}
    assert {p.ndim for p in spared["params"]} == {1}
    assert decayed["weight_decay"] == CONFIG.weight_decay
    assert spared["weight_decay"] == 0


def test_frozen_parameters_stay():
    model = Line()
    model.body[0].requires_grad_(False)
    before = model.body[0].weight.clone()
    train(model, lambda s, r, w: batches(s), CONFIG, progress=False)
    model.cpu()  # it was trained on the best device
    assert model.body[0].weight.equal(before)
    assert not model.body[3].weight.equal(Line().body[3].weight)


def test_the_rate_rises_and_falls():
    config = TrainingConfig(steps=10, warmup=4, learning_rate=1.0)
    rates = [config.rate(step) for step in range(10)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4:] == pytest.approx([6 / 6, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    assert TrainingConfig(steps=2).rate(0) == 1e-3


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"steps": 0}, "steps must be 1 or more, not 0"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"save_every": -1}, "save_every must be"),
        ({"warmup": 11}, "warmup is 11, not 0 to 10"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive"),
        ({"clip": -1.0}, "clip must be positive"),
    ],
)
def test_numbers_that_make_no_run(wrong, words):
    with pytest.raises(ValueError, match=words):
        TrainingConfig(**{"steps": 10} | wrong)


def test_another_config_is_refused_with_what_differs(tmp_path):
    run(tmp_path, stop=7)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    other = TrainingConfig(
        steps=20, batch_size=12, learning_rate=0.02, warmup=4, save_every=5, log_every=2
    )
    with pytest.raises(ValueError, match=r"learning_rate was 0\.01 and is 0\.02"):
        train(Line(), lambda s, r, w: batches(s), other, tmp_path, progress=False)
    with pytest.raises(ValueError, match="model was None and is 'other'"):
        train(
            Line(), lambda s, r, w: batches(s), CONFIG, tmp_path,
            settings={"model": "other"}, progress=False,
        )  # fmt: skip
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def test_a_run_from_before_a_switch_goes_on_without_it(tmp_path):
    run(tmp_path, stop=7)
    for file in tmp_path.rglob("state.json"):
        state = json.loads(file.read_text(encoding="utf-8"))
        assert state["config"].pop("packed") is False
        file.write_text(json.dumps(state), encoding="utf-8")
    with pytest.raises(ValueError, match="packed was None and is True"):
        run(tmp_path, replace(CONFIG, packed=True))
    assert weights(run(tmp_path)).equal(weights(run(tmp_path / "whole")))


def test_other_starting_weights_are_refused(tmp_path):
    """What a finished run would give back is not what was asked for."""
    trained = run(tmp_path)
    for change in (torch.nn.init.zeros_, lambda p: p.mul_(1.000001), lambda p: p.neg_()):
        other = Line()
        with torch.no_grad():
            change(other.body[0].weight)
        with pytest.raises(ValueError, match=r"starting weights was '\w+' and is '\w+'"):
            train(other, lambda s, r, w: batches(s), CONFIG, tmp_path, progress=False)
    with pytest.raises(ValueError, match="starting weights"):  # nor from where it ended
        train(trained, lambda s, r, w: batches(s), CONFIG, tmp_path, progress=False)
    assert weights(run(tmp_path)).equal(weights(trained))


def test_a_longer_run_is_told_how(tmp_path):
    run(tmp_path)
    with pytest.raises(ValueError, match=r"steps was 20 and is 80.*begin in another folder"):
        run(tmp_path, replace(CONFIG, steps=80))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_digest_is_of_names_and_numbers(dtype):
    one, two = Line().to(dtype), Line().to(dtype)
    assert weights_digest(one) == weights_digest(two) != weights_digest(Line().to(torch.half))
    two.body[0].weight.data = two.body[0].weight.data.T.contiguous().T  # laid out otherwise
    assert weights_digest(one) == weights_digest(two)
    two.body[3].bias.data += 1
    assert weights_digest(one) != weights_digest(two)


@pytest.mark.parametrize("rows", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("accumulate", [1, 4])
def test_every_process_has_a_piece_and_no_row_is_lost(rows, world, accumulate):
    pieces = [split_step(rows, rank, world, accumulate) for rank in range(world)]
    assert all(pieces)
    taken = [i for own in pieces for some, real in own if real for i in range(rows)[some]]
    assert sorted(taken) == list(range(rows))
    assert all(len(range(rows)[some]) for own in pieces for some, _ in own)


def test_a_broken_checkpoint_falls_back_to_the_one_before(tmp_path):
    whole = run(None)
    run(tmp_path, stop=12)
    file = tmp_path / "step-00000010" / "tensors.safetensors"
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.warns(UserWarning, match="Going on from step-00000005"):
        again = run(tmp_path)
    assert weights(again).equal(weights(whole))


def test_only_broken_checkpoints_are_an_error(tmp_path):
    run(tmp_path, stop=7)
    (tmp_path / "step-00000005" / "state.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="no checkpoint can be read"):
        run(tmp_path)


def test_two_checkpoints_are_kept(tmp_path):
    run(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "log.jsonl", "step-00000015", "step-00000020",
    ]  # fmt: skip


@pytest.mark.parametrize(("keep", "left"), [(1, [20]), (3, [10, 15, 20]), (9, [5, 10, 15, 20])])
def test_as_many_checkpoints_are_kept_as_asked(keep, left, tmp_path):
    run(tmp_path, replace(CONFIG, keep=keep))
    assert [p.name for p in sorted(tmp_path.glob("step-*"))] == [f"step-{n:08d}" for n in left]


def test_how_many_are_kept_may_change_on_the_way(tmp_path):
    run(tmp_path, stop=12)
    assert weights(run(tmp_path, replace(CONFIG, keep=4))).equal(weights(run(None)))
    assert len(list(tmp_path.glob("step-*"))) == 4


def read_log(folder: Path) -> list[dict[str, object]]:
    lines = [json.loads(x) for x in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{k: v for k, v in line.items() if k != "tokens_per_second"} for line in lines]


def states(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


KEPT = replace(CONFIG, keep=9)


@pytest.mark.parametrize("step", [5, 10, 15])
@pytest.mark.parametrize("stops", [[], [17], [16, 18]], ids=str)
def test_a_branch_that_changes_nothing_is_the_same_run(step, stops, tmp_path):
    """To the bit, stopped or not; and the other run's folder stays as it is."""
    whole = run(tmp_path / "whole", KEPT)
    before = states(tmp_path / "whole")
    origin = tmp_path / "whole" / f"step-{step:08d}"
    for stop in stops:
        run(tmp_path / "branch", KEPT, stop, branch_from=origin)
    branch = run(tmp_path / "branch", KEPT, branch_from=origin)
    assert weights(branch).equal(weights(whole))
    assert states(tmp_path / "whole") == before
    own = [
        load_file(tmp_path / n / "step-00000020" / "tensors.safetensors")
        for n in ("whole", "branch")
    ]
    assert own[0].keys() == own[1].keys()
    assert all(own[0][name].equal(own[1][name]) for name in own[0])  # the averages too
    logs = read_log(tmp_path / "whole"), read_log(tmp_path / "branch")
    (marked,) = [line for line in logs[1] if "branched from" in line]
    assert marked["step"] == step
    assert marked.pop("branched from") == f"whole/step-{step:08d}"
    assert logs[0] == logs[1]


CHANGES = [
    {"learning_rate": 0.001}, {"clip": 0.01}, {"steps": 30}, {"weight_decay": 0.5},
    {"seed": 3}, {"warmup": 18}, {"learning_rate": 0.001, "clip": 0.1, "steps": 25},
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_branch_differs_only_from_its_step_on(change, tmp_path):
    whole = run(tmp_path / "whole", KEPT)
    before = states(tmp_path / "whole")
    origin = tmp_path / "whole" / "step-00000010"
    numbers = replace(KEPT, **change, log_every=1)
    branch = run(tmp_path / "branch", numbers, branch_from=origin)
    assert not weights(branch).equal(weights(whole))
    assert states(tmp_path / "whole") == before
    logs = read_log(tmp_path / "whole"), read_log(tmp_path / "branch")
    shared = [[line for line in log if line["step"] <= 10] for log in logs]
    assert shared[1][-1].pop("branched from") == "whole/step-00000010"
    assert shared[0] == shared[1]
    after = [line for line in logs[1] if line["step"] > 10]
    assert [line["step"] for line in after] == list(range(11, numbers.steps + 1))
    assert [line["rate"] for line in after] == [numbers.rate(s) for s in range(10, numbers.steps)]
    # the rows of step 11 are the same, and so is its loss before the update
    plain = run(tmp_path / "plain", replace(KEPT, log_every=1), branch_from=origin)
    assert weights(plain).equal(weights(whole))
    if "seed" not in change:
        first = next(x for x in read_log(tmp_path / "plain") if x["step"] == 11)
        assert after[0]["loss"] == first["loss"]


def test_a_branch_starts_from_the_checkpoint_whatever_model_is_given(tmp_path):
    whole = run(tmp_path / "whole", KEPT)
    other = Line()
    torch.nn.init.zeros_(other.body[0].weight)
    train(
        other, lambda s, r, w: batches(s), KEPT, tmp_path / "branch",
        branch_from=tmp_path / "whole" / "step-00000010", progress=False,
    )  # fmt: skip
    assert weights(other).equal(weights(whole))


def test_a_branch_goes_on_when_the_other_run_is_gone(tmp_path):
    """It has a checkpoint of its own from its first moment."""
    whole = run(tmp_path / "whole", KEPT)
    origin = tmp_path / "whole" / "step-00000010"
    run(tmp_path / "branch", KEPT, stop=10, branch_from=origin)
    assert [p.name for p in (tmp_path / "branch").glob("step-*")] == ["step-00000010"]
    (tmp_path / "whole").rename(tmp_path / "elsewhere")
    assert weights(run(tmp_path / "branch", KEPT, branch_from=origin)).equal(weights(whole))


def test_a_branch_of_a_branch_names_both(tmp_path):
    run(tmp_path / "a", KEPT)
    slow = replace(KEPT, learning_rate=0.001)
    run(tmp_path / "b", slow, branch_from=tmp_path / "a" / "step-00000005")
    run(tmp_path / "c", KEPT, branch_from=tmp_path / "b" / "step-00000015")
    marks = {
        x["step"]: x["branched from"] for x in read_log(tmp_path / "c") if "branched from" in x
    }
    assert marks == {5: "a/step-00000005", 15: "b/step-00000015"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_size": 24}, "batch_size was 12 and is 24"),
        ({"accumulate": 2}, "accumulate was 1 and is 2"),
        ({"bfloat16": False}, "bfloat16 was None and is False"),
        ({"steps": 10}, "has done 10 steps, and steps is 10"),
        ({"steps": 7}, "has done 10 steps, and steps is 7"),
    ],
    ids=str,
)
def test_numbers_that_no_branch_changes_are_refused(change, words, tmp_path):
    run(tmp_path / "whole", KEPT)
    origin = tmp_path / "whole" / "step-00000010"
    with pytest.raises(ValueError, match=words):
        run(tmp_path / "branch", replace(KEPT, **change), branch_from=origin)
    assert not (tmp_path / "branch").exists()
    assert not change.keys() & set(BRANCHED) or "steps" in change


def test_a_branch_of_other_rows_or_another_model_is_refused(tmp_path):
    run(tmp_path / "whole", KEPT)
    origin = tmp_path / "whole" / "step-00000010"

    def branch(model: nn.Module, **settings: object) -> None:
        train(
            model, lambda s, r, w: batches(s), KEPT, tmp_path / "branch",
            settings=settings, branch_from=origin, progress=False,
        )  # fmt: skip

    with pytest.raises(ValueError, match="rows was None and is 'other'"):
        branch(Line(), rows="other")
    wider = Line()
    wider.body[0], wider.body[1] = nn.Linear(4, 9), nn.LayerNorm(9)
    wider.body[3] = nn.Linear(9, 1)
    with pytest.raises(
        ValueError, match=r"of another model: .*weight was \(8, 4\) and is \(9, 4\)"
    ):
        branch(wider)
    deeper = Line()
    deeper.body.append(nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"body\.4\.bias was None and is \(1,\)"):
        branch(deeper)
    assert not (tmp_path / "branch").exists()


def test_a_checkpoint_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    run(tmp_path / "whole")  # keeps 15 and 20
    for name in ("whole/step-00000010", "whole", "whole/model"):
        with pytest.raises(
            FileNotFoundError, match="no checkpoint.*step-00000015, .*step-00000020"
        ):
            run(tmp_path / "branch", branch_from=tmp_path / name)
    with pytest.raises(FileNotFoundError, match="nowhere has none"):
        run(tmp_path / "branch", branch_from=tmp_path / "nowhere" / "step-00000010")
    assert not (tmp_path / "branch").exists()
    path = tmp_path / "whole" / "step-00000015"
    assert find_checkpoint(str(path)) == path


def test_a_damaged_checkpoint_is_no_place_to_branch(tmp_path):
    run(tmp_path / "whole", KEPT)
    origin = tmp_path / "whole" / "step-00000010"
    file = origin / "tensors.safetensors"
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(ValueError, match=r"step-00000010 cannot be read.*step-00000005"):
        run(tmp_path / "branch", KEPT, branch_from=origin)
    (origin / "state.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="step-00000010 cannot be read"):
        run(tmp_path / "branch", KEPT, branch_from=origin)
    assert not (tmp_path / "branch").exists()


def test_a_folder_with_another_run_takes_no_branch(tmp_path):
    run(tmp_path / "whole", KEPT)
    run(tmp_path / "other", KEPT)
    slow = replace(KEPT, learning_rate=0.001)
    before = states(tmp_path)
    for folder in ("whole", "other"):
        with pytest.raises(ValueError, match=r"holds another run: branched from was None and is"):
            run(tmp_path / folder, slow, branch_from=tmp_path / "whole" / "step-00000010")
    run(tmp_path / "branch", slow, branch_from=tmp_path / "whole" / "step-00000010")
    with pytest.raises(
        ValueError, match="branched from was 'whole/step-00000010' and is 'whole/step"
    ):
        run(tmp_path / "branch", slow, branch_from=tmp_path / "whole" / "step-00000005")
    with pytest.raises(ValueError, match=r"branched from was 'whole/step-00000010' and is None"):
        run(tmp_path / "branch", slow)
    after = states(tmp_path)
    assert {name: after[name] for name in before} == before


def test_a_branch_needs_a_folder(tmp_path):
    run(tmp_path / "whole")
    with pytest.raises(ValueError, match="needs a folder"):
        run(None, branch_from=tmp_path / "whole" / "step-00000015")


def test_other_numbers_are_told_of_branches(tmp_path):
    run(tmp_path, stop=7)
    with pytest.raises(ValueError, match=r"clip was 1\.0 and is 2\.0.*branch_from"):
        run(tmp_path, replace(CONFIG, clip=2.0))
    with pytest.raises(ValueError, match="batch_size was 12 and is 6") as caught:
        run(tmp_path, replace(CONFIG, batch_size=6))
    assert "branch_from" not in str(caught.value)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    whole = run(None)
    run(tmp_path, stop=7)

    def full(tensors: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("minibert.checkpoints.save_file", full)
        with pytest.raises(OSError, match="No space left.*last checkpoint is step-00000005"):
            run(tmp_path)
    assert [p.name for p in tmp_path.glob("*step*")] == ["step-00000005"]
    assert weights(run(tmp_path)).equal(weights(whole))


def test_a_run_goes_on_where_folders_cannot_be_opened(tmp_path, monkeypatch):
    """As on Windows, where also only a file opened for writing can be waited for."""
    whole, real, waited = run(None), (os.open, os.fsync), set()

    def no_folder(path: Path, flags: int) -> int:
        if path.is_dir():
            raise PermissionError(13, "Permission denied", str(path))
        handle = real[0](path, flags)
        if flags & (os.O_RDWR | os.O_WRONLY):
            waited.add(handle)
        return handle

    def wait(handle: int) -> None:
        if handle not in waited:
            raise OSError(9, "Bad file descriptor")
        real[1](handle)

    windows = SimpleNamespace(**vars(os))  # pathlib looks at the real os.name
    windows.name, windows.open, windows.fsync = "nt", no_folder, wait
    monkeypatch.setattr("minibert.checkpoints.os", windows)
    run(tmp_path, stop=7)
    assert weights(run(tmp_path)).equal(weights(whole)) and waited


def test_a_half_written_checkpoint_is_not_seen(tmp_path):
    whole = run(None)
    run(tmp_path, stop=7)
    aside = tmp_path / ".saving-step-00000010"
    aside.mkdir()
    (aside / "tensors.safetensors").write_bytes(b"half")
    assert weights(run(tmp_path)).equal(weights(whole))
    assert not aside.exists()


def test_a_log_line_cut_short_is_dropped(tmp_path):
    run(tmp_path, stop=7)
    with (tmp_path / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 6, "lo')
    run(tmp_path)
    steps = [
        json.loads(x)["step"]
        for x in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert steps == sorted(set(steps)) and steps[-1] == 20


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    def poisoned(step: int, rank: int, world: int) -> list[Microbatch]:
        (piece,) = batches(step)
        if step == 11:
            piece.inputs["labels"][0] = float("nan")
        return [piece]

    with pytest.raises(FloatingPointError, match="after step 12"):
        train(Line(), poisoned, CONFIG, tmp_path, progress=False)
    assert [p.name for p in sorted(tmp_path.glob("step*"))][-1] == "step-00000010"


PRETRAIN = [
    sys.executable, "-m", "minibert", "pretrain", "TEXT", "FOLDER", "--steps", "24",
    "--batch-size", "8", "--max-length", "32", "--layers", "1", "--hidden-size", "32",
    "--heads", "2", "--save-every", "2", "--log-every", "2", "--warmup", "4",
]  # fmt: skip


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> Path:
    """A folder with a few documents of made-up sentences."""
    folder = tmp_path_factory.mktemp("texts")
    make = random.Random(0)
    words = ["the", "dog", "bit", "a", "man", "and", "river", "town", "ran", "over"]
    for number in range(12):
        lines = [" ".join(make.choices(words, k=9)).capitalize() + "." for _ in range(9)]
        (folder / f"{number}.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder


def command(text: Path, folder: Path, *more: str) -> list[str]:
    given = {"TEXT": str(text), "FOLDER": str(folder)}
    return [given.get(word, word) for word in PRETRAIN] + list(more)


def test_killed_with_signal_9_at_random_moments(texts, tmp_path):
    """Killed and started again, it ends bit for bit as one that ran through."""
    times, length = (20, "240") if FULL else (2, "24")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    steps = ["--steps", length]
    subprocess.run(command(texts, tmp_path / "whole", *steps), check=True, **quiet)
    want = load_file(tmp_path / "whole" / "model" / "model.safetensors")
    make, folder = random.Random(1), tmp_path / "cut"
    for kill in range(times):
        process = subprocess.Popen(command(texts, folder, *steps), **quiet)
        goal = kill * int(length) // (times + 1) + 2
        while max((int(p.name[5:]) for p in folder.glob("step-*")), default=0) < goal:
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.005)
        time.sleep(make.random() * 0.03)
        process.kill()  # signal 9, or what Windows has in its place
        assert process.wait() != 0
    subprocess.run(command(texts, folder, *steps), check=True, **quiet)
    got = load_file(folder / "model" / "model.safetensors")
    assert got.keys() == want.keys()
    assert all(got[name].equal(want[name]) for name in want)

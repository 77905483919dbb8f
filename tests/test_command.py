"""The command line: its flags, and what it says when something goes wrong.

What the commands do is tested beside the modules that do it.
"""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click
import pytest

from minibert.__main__ import main
from minibert.checkpoints import Run
from minibert.commands.app import app
from minibert.commands.flags import Read, arguments, make_config
from minibert.config import BertConfig
from minibert.heads import BertForQuestionAnswering
from minibert.pretraining import BertForPreTraining, PretrainingConfig
from minibert.squad import Question, write_squad
from minibert.tokens import Tokenizer
from minibert.training import TrainingConfig

TINY = [
    "--steps", "4", "--batch-size", "8", "--max-length", "32", "--layers", "1",
    "--hidden-size", "16", "--heads", "2", "--log-every", "1", "--save-every", "1",
]  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a text, a file of questions and two small models."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").mkdir()
    for name in ("a.txt", "b.txt"):
        text = f"The dog {name[0]} ran. It bit the man. He fell.\n" * 9
        (tmp_path / "text" / name).write_text(text, encoding="utf-8")
    context = "The dog bit the man."
    write_squad([Question("1", "", "Who bit?", context, ("The dog",), (0,))], "q.json")
    tokenizer = Tokenizer.from_pretrained("leads-4096")
    sizes = BertConfig(
        vocab_size=4096, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=64,
    )  # fmt: skip
    for name, kind in [("body", BertForPreTraining), ("reader", BertForQuestionAnswering)]:
        kind(sizes).save_pretrained(name)
        tokenizer.save_pretrained(name)
    return tmp_path


def call(*words: str) -> int:
    """Run a command and give what it leaves with."""
    try:
        return main(words)
    except SystemExit as stopped:
        return stopped.code


PRETRAIN = "pretrain text run --steps 4 --batch-size 8 --max-length 32"
TRAIN = "qa train run --data q.json --start reader --max-length 32 --doc-stride 16"
REFUSED = {
    PRETRAIN: {
        "--layers 0": "--layers: '0' is no whole number of 1 or more",
        "--layers -3": "--layers: '-3' is no whole number",
        "--heads 0": "--heads: '0'",
        "--heads 3": "cannot be cut into",
        "--hidden-size 0": "--hidden-size: '0'",
        "--hidden-size 1e2": "--hidden-size: '1e2'",
        "--initializer-range 0": "--initializer-range: '0' is no number above 0",
        "--dropout 1": "--dropout: '1' is no number of 0 or more, below 1",
        "--dropout nan": "--dropout: 'nan'",
        "--train-last 1": "--train-last needs --start",
        "--train-last 0": "--train-last needs --start",
        "--stack": "--stack needs --start",
        "--start body --stack": "--stack needs --layers",
        "--start body --layers 3": "body has 2.*random.*--stack",
        "--start body --hidden-size 16": "--hidden-size is of a model from nothing",
        "--start body --heads 2": "--heads is of",
        "--start body --initializer-range 0.1": "--initializer-range is of",
        "--start body --dropout 0": "--dropout is of",
        "--start body --vocabulary leads-4096": "--vocabulary is of",
        "--start body --max-length 65": "body ends at 64",
        "--steps 0": "--steps: '0'",
        "--steps many": "--steps: 'many'",
        "--warmup 5": "warmup is 5, not 0 to 4",
        "--warmup -1": "--warmup: '-1'",
        "--weight-decay -5": "--weight-decay: '-5'",
        "--seed -1": "--seed: '-1' is no whole number of 0 or more",
        "--seed 99999999999999999999": "below 2\\*\\*63",
        "--learning-rate inf": "--learning-rate: 'inf'",
        "--learning-rate nan": "--learning-rate: 'nan'",
        "--clip 0": "--clip: '0'",
        "--accumulate 0": "--accumulate: '0'",
        "--log-every 0": "--log-every: '0'",
        "--save-every 2.5": "--save-every: '2.5'",
        "--evaluate-every 2": "--evaluate-every needs the text 'leads'",
        "--max-length 4": "--max-length: '4' is no whole number of 5 or more",
        "--mask-probability 0": "--mask-probability: '0'",
        "--mask-probability 1.5": "--mask-probability: '1.5'",
        "--task nonsense": "'nonsense' is none of next, order, words",
        "--whole-words true": "'true' is neither yes nor no",
        "--threads 0": "--threads: '0'",
        "--threads 9999999": "--threads: '9999999'",
        "--vocabular": "No such option.*--vocabulary",
    },
    TRAIN: {
        "--epochs 0": "--epochs: '0' is no number above 0",
        "--epochs nan": "--epochs: 'nan'",
        "--epochs 1e300": "--epochs: '1e300'",
        "--warmup-share 2": "--warmup-share: '2' is no number from 0 to 1",
        "--warmup-share -0.1": "--warmup-share: '-0.1'",
        "--doc-stride 0": "--doc-stride: '0'",
        "--doc-stride 29": "no room for so much of a text",
        "--max-length 65": "reader ends at 64",
        "--max-length 0": "--max-length: '0'",
        "--data squat": "squat is none of leadqa, squad, squad-all, and no file",
        "--data text": "text is none of",
        "--freeze-embeddings 1": "neither yes nor no",
        "--batch-size 0": "--batch-size: '0'",
        "--seed x": "--seed: 'x'",
        "--weight-decay nan": "--weight-decay: 'nan'",
        "--steps 3": "No such option.*--steps",
    },
    "qa evaluate q.json --model reader": {
        "--threshold nan": "--threshold: 'nan'",
        "--threshold high": "--threshold: 'high'",
        "--threads -1": "--threads: '-1'",
        "--model body": "body has no question-answering head.*qa train",
        "--predictions no/such.json": "such.json cannot be written: No such",
        "--predictions text": "text cannot be written: ",
        "--predictions q.json/x": "q.json.x cannot be written: ",
        "--predictions q.json": "would overwrite the questions",
        "--predictions ./text/../q.json": "would overwrite the questions",
    },
    "sentences evaluate some.jsonl": {
        "--count 0": "--count: '0'",
        "--count -1": "--count: '-1'",
        "--count 2.5": "--count: '2.5'",
        "--threads 0": "--threads: '0'",
        "--model": "requires an argument",
        "--method graph": "No such option.*--method",
    },
}


@pytest.mark.parametrize(
    ("command", "flags", "said"),
    [(command, flags, said) for command, some in REFUSED.items() for flags, said in some.items()],
    ids=lambda one: one.replace(" ", "_")[-40:],
)
def test_a_flag_that_would_do_nothing_or_harm_is_refused_in_one_line(
    command: str, flags: str, said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(here.rglob("*"))
    questions = (here / "q.json").read_bytes()
    assert call(*command.split(), *flags.split()) == 2
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert line.startswith("minibert: ") and re.search(said, line)
    assert out == "" and sorted(here.rglob("*")) == before  # at once
    assert (here / "q.json").read_bytes() == questions


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("pretrain text nowhere run --steps 4", 1, "no .txt file in nowhere"),
        ("pretrain leads nowhere run --steps 4", 1, "no .txt file in nowhere"),
        ("pretrain text q.json --steps 4", 2, "q.json cannot be written to: "),
        ("pretrain text q.json/run --steps 4", 2, "q.json.run cannot be written to: "),
        ("pretrain text run --steps 4 --start body --train-last 3", 1, "2 layers, not 3"),
        ("pretrain text run --steps 4 --start body --stack --layers 3", 1, "no multiple of 2"),
        ("pretrain text run --steps 4 --start nowhere", 1, "cannot find 'nowhere'"),
        ("pretrain text run --steps 4 --vocabulary nowhere", 1, "cannot find 'nowhere'"),
        ("qa train run --start nowhere", 1, "cannot find 'nowhere'"),
        ("qa train q.json --start reader --max-length 64 --doc-stride 9", 2, "q.json cannot be"),
        ("qa evaluate none.json", 1, "No such file"),
        ("sentences evaluate none.jsonl", 1, "No such file"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_named_before_any_text_is_read(
    words: str,
    code: int,
    said: str,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("pretraining.write_corpus", "questions.question_rows"):
        monkeypatch.setattr(f"minibert.commands.{name}", lambda *args, **more: pytest.fail("read"))
    extra = ["--max-length", "32", "--batch-size", "8"] if words.startswith("pretrain") else []
    assert call(*words.split(), *extra) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("minibert: ") and re.search(said, line)


def commands(one: click.Command, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Give a command and those below it, with their names."""
    yield path.strip(), one
    if isinstance(one, click.Group):
        for name, inner in one.commands.items():
            yield from commands(inner, f"{path} {name}")


FLAGS = [
    pytest.param(name, one, id=f"{name} {one.name}")
    for name, command in commands(app)
    for one in command.get_params(click.Context(command))
    if isinstance(one, click.Option) and one.name not in ("help", "version")
]
NUMBERS = [p for p in FLAGS if isinstance(p.values[1].type, Read)]


@pytest.mark.parametrize(("command", "one"), FLAGS)
def test_every_flag_says_what_it_is_and_what_it_is_when_left_out(
    command: str, one: click.Option
) -> None:
    assert one.help and len(one.help.split()) >= 3
    if not one.is_flag:
        assert re.search(r"\(default: .+\)|\(needed\)", one.help)
        assert ("(needed)" in one.help) == one.required


def test_every_command_has_an_example_that_is_one() -> None:
    for name, command in commands(app):
        ctx = click.Context(command, info_name=f"minibert {name}".strip())
        text = command.get_help(ctx)
        if isinstance(command, click.Group):
            continue
        (example,) = re.findall(rf"^  (minibert {name}\b.*)$", text, re.M)
        words = shlex.split(example.split(" > ")[0])[1 + len(name.split()) :]
        command.make_context(name, words)  # its words are right
        assert command.get_short_help_str(200) and not command.get_short_help_str(200).endswith(
            "..."
        )


def test_the_numbers_of_a_run_are_all_flags() -> None:
    names = {one.values[1].name for one in FLAGS if one.values[0] == "pretrain"}
    assert {one.name for one in fields(PretrainingConfig)} <= names
    names = {one.values[1].name for one in FLAGS if one.values[0] == "qa train"}
    assert {one.name for one in fields(TrainingConfig)} - names == {"steps", "warmup"}


@pytest.mark.parametrize(
    ("command", "one"), [p for p in NUMBERS if p.values[1].type.how is not str]
)
@pytest.mark.parametrize("text", ["nan", "", "-inf", "1e400", "-2"])
def test_no_flag_takes_what_is_no_number(command: str, one: click.Option, text: str) -> None:
    if one.name == "threshold" and text == "-2":
        assert one.type.convert(text, one, None) == -2
        return
    with pytest.raises(click.BadParameter, match=re.escape(repr(text))):
        one.type.convert(text, one, None)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("", {}),
        ("--seed 0 --warmup 0 --weight-decay 0", {"seed": 0, "warmup": 0, "weight_decay": 0.0}),
        ("--task words", {"task": None}),
        ("--mask-probability 1", {"mask_probability": 1.0}),
        ("--learning-rate=1e-3 --clip 0.5", {"learning_rate": 1e-3, "clip": 0.5}),
        ("--bfloat16 no --compile no --whole-words yes", {"bfloat16": False, "whole_words": True}),
        ("--packed yes", {"packed": True}),
    ],
)
def test_what_is_right_comes_through(words: str, wanted: dict[str, object]) -> None:
    given = ["leads", "more", "run", "--steps", "5", *words.split()]
    args = arguments(app.commands["pretrain"].make_context("pretrain", given))
    assert args.text == ("leads", "more") and args.folder == Path("run")
    assert make_config(PretrainingConfig, args) == PretrainingConfig(steps=5, **wanted)


@pytest.mark.parametrize(
    ("words", "data"),
    [
        ("run", ("leadqa",)),
        ("run --data squad", ("squad",)),
        ("run --data leadqa squad mine.json --epochs 2", ("leadqa", "squad", "mine.json")),
        ("--data leadqa squad --epochs 2 run", ("leadqa", "squad")),
        ("run --data=leadqa --data squad", ("leadqa", "squad")),
    ],
)
def test_several_words_for_one_flag(words: str, data: tuple[str, ...]) -> None:
    command = app.commands["qa"].commands["train"]
    args = arguments(command.make_context("train", words.split()))
    assert args.data == data and args.folder == Path("run")


def test_a_rate_that_diverges_is_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["pretrain", "text", "run", *TINY, "--learning-rate", "1e11"]
    assert call(*words) == 1
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("minibert: the loss is no number any more, after step ")
    assert re.search("in another folder, with a lower --learning-rate.*checkpoint", line)
    assert "Traceback" not in line


def test_stopped_from_the_keyboard_and_gone_on(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save = Run.save

    def stop(self: Run, step: int, *more: object) -> None:
        if step == 3:
            raise KeyboardInterrupt
        save(self, step, *more)

    words = ["pretrain", "text", "run", *TINY]
    with monkeypatch.context() as patch:
        patch.setattr(Run, "save", stop)
        assert call(*words) == 130
    *_, line = capsys.readouterr().err.splitlines()
    said = f"the last checkpoint is {Path('run', 'step-00000002')}; the same command goes on"
    assert line.startswith("minibert: stopped; ") and said in line
    assert call(*words) == 0
    out, err = capsys.readouterr()
    assert "50%" in err  # it began where it was
    assert f"The model is in {Path('run', 'model')}" in out
    log = (here / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in log] == [1, 2, 3, 4]


def test_branched_from_a_checkpoint(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["pretrain", "text", *TINY, "--keep", "4"]
    assert call(*words, "run") == 0
    assert call(*words, "same", "--branch-from", "run/step-00000002") == 0
    ends = [
        Path(name, "step-00000004", "tensors.safetensors").read_bytes() for name in ("run", "same")
    ]
    assert ends[0] == ends[1]
    branch = [*words, "slow", "--learning-rate", "1e-5", "--branch-from", "run/step-00000002"]
    assert call(*branch) == 0
    assert call(*branch) == 0  # the same command is the same run
    slow = Path("slow", "step-00000004", "tensors.safetensors").read_bytes()
    assert slow != ends[0]
    log = Path("slow", "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(log[1])["branched from"] == "run/step-00000002"
    capsys.readouterr()
    for more, text in [
        (["new", "--branch-from", "run/step-00000009"],
         "no checkpoint; run has step-00000001, .*step-00000004"),
        (["new", "--branch-from", "run/step-00000002", "--hidden-size", "8"],
         "model.hidden_size was 16 and is 8"),
        (["new", "--branch-from", "run/step-00000002", "--max-length", "24"],
         "max_length was 32 and is 24"),
        (["run", "--branch-from", "run/step-00000002"],
         "holds another run: branched from was None"),
    ]:  # fmt: skip
        assert call(*words, *more) == 1
        *_, line = capsys.readouterr().err.splitlines()
        assert re.search(text, line), line
        assert not any(Path("new").glob("step-*"))


@pytest.mark.parametrize(
    ("where", "words", "said"),
    [
        ("pretraining.write_corpus", "pretrain text run --steps 4", "run holds no checkpoint yet"),
        ("questions.answer_all", "qa evaluate q.json --model reader", "nothing was written"),
        (
            "summaries.evaluate_summaries",
            "sentences evaluate s.jsonl --model body",
            "nothing was written",
        ),
    ],
)
def test_stopped_before_anything_was_kept(
    where: str,
    words: str,
    said: str,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop(*args: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"minibert.commands.{where}", stop)
    (here / "s.jsonl").write_text(
        '{"article": "A dog ran.", "summary": "A dog."}\n', encoding="utf-8"
    )
    assert call(*words.split()) == 130
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith(f"minibert: stopped; {said}")


def test_memory_is_named_and_other_faults_are_not_hidden(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(error: BaseException) -> None:
        def write(*args: object) -> None:
            raise error

        monkeypatch.setattr("minibert.commands.pretraining.write_corpus", write)

    words = ["pretrain", "text", "run", "--steps", "4"]
    for kind in (MemoryError, RuntimeError):
        fail(kind("can't allocate memory: you tried to allocate 9 bytes\nFrame 1"))
        assert call(*words) == 1
        *_, line = capsys.readouterr().err.splitlines()
        assert line.startswith("minibert: this needs more memory than there is (can't allocate")
    fail(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        call(*words)


def test_scores_first_then_the_answers_in_any_letters(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """UTF-8 wherever it runs; an id with half a letter, as JSON may hold it, costs nothing."""
    context = "The dog bit the man."
    names = ["é", "東京", "half \ud83d", "🐕"]
    write = [Question(n, "", "Who bit?", context, ("The dog",), (0,)) for n in names]
    said = here / "said.json"
    monkeypatch.setattr("minibert.commands.questions.read_squad", lambda path: write)
    assert call("qa", "evaluate", "q.json", "--model", "reader", "--predictions", "said.json") == 0
    assert "exact match" in capsys.readouterr().out
    text = said.read_bytes().decode("utf-8")
    assert "東京" in text and "🐕" in text and list(json.loads(text)) == names


def test_where_the_answers_cannot_be_written_after_all_the_scores_are_there(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*args: object, **more: object) -> None:
        raise OSError(28, "No space left on device", "said.json")

    monkeypatch.setattr(Path, "write_text", full)
    assert call("qa", "evaluate", "q.json", "--model", "reader", "--predictions", "said.json") == 1
    out, err = capsys.readouterr()
    assert "exact match" in out and "No space left" in err.splitlines()[-1]

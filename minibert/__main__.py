"""The command line: `python -m minibert pretrain ...`, `qa`, `sentences`.

It only reads arguments; what it does lies in the modules.
"""

import argparse
import json
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, fields, replace
from inspect import cleandoc
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch
from tqdm import tqdm

from minibert.bert import BertModel, load
from minibert.checkpoints import find_checkpoint
from minibert.config import BertConfig, read_config
from minibert.corpus import text_files, write_corpus
from minibert.data import leads, sentences, split_of
from minibert.files import find_folder
from minibert.finetuning import fine_tune
from minibert.mlm import BertForMaskedLM
from minibert.pretraining import (
    BertForPreTraining,
    PretrainingConfig,
    pretrain,
    save_trained,
    stack_layers,
    train_last,
)
from minibert.qa import BertForQuestionAnswering, answer_all, question_rows
from minibert.rouge import evaluate_summaries, read_summaries
from minibert.squad import Question, evaluate, load_leadqa, load_squad, read_squad
from minibert.tokens import Tokenizer
from minibert.training import TrainingConfig, processes

NEW: dict[str, Any] = {  # a model from nothing; another has its own
    "layers": 2,
    "hidden_size": 128,
    "heads": 2,
    "vocabulary": "leads-4096",
    "initializer_range": None,  # 1 / sqrt(hidden size)
    "dropout": 0.1,
}
DATA = ("leadqa", "squad", "squad-all")


class Parser(argparse.ArgumentParser):
    """Says what is wrong with a command in one line."""

    def error(self, message: str) -> NoReturn:
        """Leave with 2."""
        self.exit(2, f"minibert: {message} (see {self.prog} --help)\n")


def refuse(message: str) -> NoReturn:
    """Refuse flags that each are right, but not together."""
    raise argparse.ArgumentError(None, message)


def flag(name: str) -> str:
    """Write a name as a flag."""
    return "--" + name.replace("_", "-")


def yes_no(text: str) -> bool:
    """Read "yes" or "no"."""
    if text not in ("yes", "no"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither yes nor no")
    return text == "yes"


def task(text: str) -> str | None:
    """Read what is trained beside masked words."""
    if text not in ("next", "order", "words"):
        raise argparse.ArgumentTypeError(f"{text!r} is none of next, order, words")
    return None if text == "words" else text


def number(
    kind: type[int] | type[float], words: str, fits: Callable[[float], bool]
) -> Callable[[str], float]:
    """Make a function that reads a number, and refuses what does not fit."""

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = float("nan")  # does not fit
        if not fits(value):
            raise argparse.ArgumentTypeError(f"{text!r} is no {words}")
        return value

    return read


MOST = 2**63  # of a whole number: more, and numpy or torch cannot count it
positive_int = number(int, "whole number of 1 or more, below 2**63", lambda x: 1 <= x < MOST)
row = number(int, "whole number of 5 or more, below 2**63", lambda x: 5 <= x < MOST)
natural = number(int, "whole number of 0 or more, below 2**63", lambda x: 0 <= x < MOST)
threads = number(int, "whole number of 1 or more, at most 1024", lambda x: 1 <= x <= 1024)
positive = number(float, "number above 0, below 1e12", lambda x: 0 < x < 1e12)
not_negative = number(float, "number of 0 or more, below 1e12", lambda x: 0 <= x < 1e12)
finite = number(float, "number between -1e12 and 1e12", lambda x: -1e12 < x < 1e12)
share = number(float, "number from 0 to 1", lambda x: 0 <= x <= 1)
some = number(float, "number above 0, at most 1", lambda x: 0 < x <= 1)
not_all = number(float, "number of 0 or more, below 1", lambda x: 0 <= x < 1)

READ: dict[object, Callable[[str], object]] = {  # by a field's type
    int: positive_int,
    float: positive,
    bool: yes_no,
    bool | None: yes_no,
}
READ |= {  # or, where that is not enough, by its name
    "warmup": natural,
    "seed": natural,
    "weight_decay": not_negative,
    "mask_probability": some,
    "max_length": row,  # [CLS] a [SEP] b [SEP]
    "task": task,
}
SAID = {  # what a docstring says in Python's words
    "bfloat16": "yes or no: compute products in it (default: as the hardware does best)",
    "task": "next, order, or words for masked words alone (default: next)",
}


def meanings(kind: type[TrainingConfig]) -> dict[str, str]:
    """Find what each number of a config means, in its docstring."""
    text = "\n".join(cleandoc(one.__doc__ or "") for one in kind.__mro__)
    found = re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", text, re.MULTILINE)
    return {name: " ".join(what.split()).rstrip(".") for name, what in found}


def add_numbers(parser: argparse.ArgumentParser, kind: type[TrainingConfig], *without: str) -> None:
    """Make a flag of every number of a run's config.

    One that is not given is no attribute of the arguments.
    """
    told = meanings(kind)
    for one in fields(kind):
        if one.name in without:
            continue
        how = READ[one.name if one.name in READ else one.type]
        needed = one.default is MISSING
        default: object = one.default
        text = told.get(one.name, "")
        if how is yes_no:
            default, text = "yes" if default else "no", f"yes or no: {text}"
        text += " (needed)" if needed else f" (default: {default})"
        parser.add_argument(
            flag(one.name),
            type=how,
            required=needed,
            default=argparse.SUPPRESS,
            help=SAID.get(one.name, text).replace("%", "%%"),
        )


Config = TypeVar("Config", bound=TrainingConfig)


def make_config(kind: type[Config], args: argparse.Namespace, **more: Any) -> Config:
    """Make a run's config of the flags that were given."""
    names = [one.name for one in fields(kind)]
    given = {name: getattr(args, name) for name in names if hasattr(args, name)}
    try:
        return kind(**(given | more))
    except (TypeError, ValueError) as error:
        refuse(str(error))


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add the flag of all commands."""
    parser.add_argument(
        "--threads", type=threads, help="threads of this process (default: torch's choice)"
    )


def parser() -> argparse.ArgumentParser:
    """Make the parser of all commands."""
    top = Parser(prog="python -m minibert")
    commands = top.add_subparsers(dest="command", required=True)
    one = commands.add_parser(
        "pretrain",
        help="train a model on text; go on where it was stopped",
        description="Train a model on masked words and sentence pairs, or, "
        "with --task words, on masked words alone. The same command again "
        "goes on from the last checkpoint. Several processes: put torchrun "
        "--nproc-per-node N -m (or accelerate launch -m) before minibert.",
    )
    one.add_argument("text", nargs="+",
                     help="'leads', a folder of .txt files, or several")  # fmt: skip
    one.add_argument("folder", type=Path, help="where the run is kept")
    one.add_argument("--whole-lines", action="store_true",
                     help="a line of a .txt file is a sentence (default: paragraphs "
                     "are joined, then cut into sentences)")  # fmt: skip
    one.add_argument("--start", help="weights to go on from: a name or folder "
                     "(default: a model from nothing)")  # fmt: skip
    one.add_argument("--train-last", type=natural, metavar="N",
                     help="with --start: train the last N layers and the head "
                     "(default: all)")  # fmt: skip
    one.add_argument("--stack", action="store_true",
                     help="with --start and --layers: its layers over again")  # fmt: skip
    one.add_argument("--layers", type=positive_int,
                     help="of --start the first ones (default: all); "
                     f"of a model from nothing (default: {NEW['layers']})")  # fmt: skip
    one.add_argument("--branch-from", type=Path, metavar="RUN/step-N",
                     help="another run's checkpoint to start from, with the same flags "
                     "but for the rate, --clip, --steps, --seed ...")  # fmt: skip
    new: list[tuple[str, Callable[[str], object], str]] = [
        ("hidden_size", positive_int, "numbers a token"),
        ("heads", positive_int, "in a layer"),
        ("vocabulary", str, "a tokenizer's name or folder"),
        ("initializer_range", positive, "the spread of new weights"),
        ("dropout", not_all, "share of what a layer gives that is dropped"),
    ]
    for name, how, what in new:
        default = NEW[name] or "1 / sqrt(hidden size)"
        one.add_argument(flag(name), type=how,
                         help=f"without --start: {what} (default: {default})")  # fmt: skip
    add_threads(one)
    add_numbers(one, PretrainingConfig)
    one.set_defaults(run=run_pretrain)
    add_qa(commands.add_parser("qa", help="answer questions: train, evaluate"))
    add_sentences(commands.add_parser("sentences", help="summarise texts: evaluate"))
    return top


def add_qa(parser: argparse.ArgumentParser) -> None:
    """Add the commands of question answering."""
    commands = parser.add_subparsers(dest="what", required=True)
    one = commands.add_parser(
        "train",
        help="fine-tune a model on questions; go on where it was stopped",
        description="Of 'squad', articles whose title is in the dev or test split of "
        "the leads are kept aside: the dev ones are measured on. 'squad-all' trains on "
        "them too. MINIBERT_SQUAD names the folder that SQuAD is read from, else the hub.",
    )
    one.add_argument("folder", type=Path, help="where the run is kept")
    one.add_argument("--start", default="minilm",
                     help="weights to begin with: a name or folder (default: minilm)")  # fmt: skip
    one.add_argument("--data", nargs="+", default=["leadqa"],
                     help=f"{', '.join(DATA)}, or files like SQuAD's "
                     "(default: leadqa)")  # fmt: skip
    for name, how, value, what in [
        ("epochs", positive, 3.0, "passes over the rows; of few rows at least a step"),
        ("warmup_share", share, 0.06, "of the steps: those in which the rate rises"),
        ("max_length", row, 384, "tokens in a row"),
        ("doc_stride", positive_int, 128, "tokens from one row of a text to the next"),
    ]:
        one.add_argument(flag(name), type=how, default=value,
                         help=f"{what} (default: {value})")  # fmt: skip
    one.add_argument("--freeze-embeddings", type=yes_no, default=False,
                     help="yes or no: leave them as they are in --start (default: no)")  # fmt: skip
    add_threads(one)
    add_numbers(one, TrainingConfig, "steps", "warmup")
    one.set_defaults(run=run_qa_train)
    one = commands.add_parser(
        "evaluate", help="exact match and F1 on a file in SQuAD's format, 1.1 or 2.0"
    )
    one.add_argument("file", type=Path, help="plain or gzipped")
    one.add_argument("--model", default="minilm-qa",
                     help="a name, a folder or a hub id (default: minilm-qa)")  # fmt: skip
    one.add_argument("--threshold", type=finite,
                     help="of no answer (default: the model's own where the file asks "
                     "what its texts do not say)")  # fmt: skip
    one.add_argument("--predictions", type=Path,
                     help="write each id's answer here, as JSON (default: nowhere)")  # fmt: skip
    add_threads(one)
    one.set_defaults(run=run_qa_evaluate)


def add_sentences(parser: argparse.ArgumentParser) -> None:
    """Add the command of sentences and summaries."""
    commands = parser.add_subparsers(dest="what", required=True)
    one = commands.add_parser("evaluate", help="ROUGE of every method on texts with a summary each")
    one.add_argument("file", type=Path, help='lines of {"article": ..., "summary": ...}')
    one.add_argument("--count", type=positive_int, default=3,
                     help="sentences in a summary (default: 3)")  # fmt: skip
    one.add_argument("--model", default="minilm",
                     help="a name, a folder or a hub id (default: minilm)")  # fmt: skip
    add_threads(one)
    one.set_defaults(run=run_sentences_evaluate)


def check_flags(args: argparse.Namespace) -> None:
    """Refuse flags of `pretrain` that would do nothing."""
    if args.start is None:
        for name, given in [("train_last", args.train_last is not None), ("stack", args.stack)]:
            if given:
                refuse(f"{flag(name)} needs --start")
    else:
        for name in NEW:
            if name != "layers" and getattr(args, name) is not None:
                refuse(f"{flag(name)} is of a model from nothing: {args.start} has its own")
    if args.stack and args.layers is None:
        refuse("--stack needs --layers: how many there shall be")
    if hasattr(args, "evaluate_every") and "leads" not in args.text:
        refuse("--evaluate-every needs the text 'leads': of others no part is held out")


def check_start(name: str, max_length: int, layers: int | None = None) -> None:
    """Refuse what weights are too small for, before they are read."""
    sizes = read_config(find_folder(name, ["*.safetensors", "config.json"]))
    if layers is not None and layers > sizes.num_hidden_layers:
        refuse(f"--layers is {layers}, but {name} has {sizes.num_hidden_layers}: "
               "the others would be random. --stack takes its own over again")  # fmt: skip
    if max_length > sizes.max_position_embeddings:
        refuse(f"--max-length is {max_length}, but {name} ends at "
               f"{sizes.max_position_embeddings}")  # fmt: skip


def check_folder(folder: Path) -> None:
    """Refuse a run's folder that cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        refuse(f"{folder} cannot be written to: {error.strerror}")


def check_file(file: Path) -> None:
    """Refuse a file that cannot be written."""
    try:
        new = not file.exists()
        with file.open("a", encoding="utf-8"):
            pass
        if new:
            file.unlink()
    except OSError as error:
        refuse(f"{file} cannot be written: {error.strerror}")


def make_model(
    args: argparse.Namespace, tokenizer: Tokenizer, config: PretrainingConfig
) -> BertForPreTraining | BertForMaskedLM:
    """Make a model from nothing, or on the weights of `--start`."""
    kind = BertForMaskedLM if config.task is None else BertForPreTraining
    torch.manual_seed(config.seed)
    if args.start is None:
        new = NEW | {k: v for k in NEW if (v := getattr(args, k)) is not None}
        hidden = new["hidden_size"]
        try:
            sizes = BertConfig(
                vocab_size=len(tokenizer),
                hidden_size=hidden,
                num_hidden_layers=new["layers"],
                num_attention_heads=new["heads"],
                intermediate_size=4 * hidden,
                max_position_embeddings=config.max_length,
                hidden_dropout_prob=new["dropout"],
                attention_probs_dropout_prob=0.0,
                initializer_range=new["initializer_range"] or hidden**-0.5,
            )
        except ValueError as error:
            refuse(str(error))
        return kind(sizes)
    if args.layers is None or args.stack:
        model = kind.from_pretrained(args.start)
        if args.layers is not None:
            model = stack_layers(model, args.layers)
    else:  # the first layers of a body, and new heads
        body = BertModel.from_pretrained(args.start, add_pooling_layer=False)
        sizes = replace(
            body.config, num_hidden_layers=args.layers, extra={},
            attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        model = kind(sizes)
        wanted = model.bert.state_dict()
        known = {k: v for k, v in body.state_dict().items() if k in wanted}
        model.bert.load_state_dict(known, strict=False)
    if args.train_last is not None:
        train_last(model, args.train_last)
    return model


def read_text(name: str, split: str = "train", whole_lines: bool = False) -> Iterator[list[str]]:
    """Give the documents of a text by its name: 'leads', or a folder."""
    if name == "leads":
        return (sentences(one.text) for one in leads(split))
    return text_files(name, whole_lines=whole_lines)


def run_pretrain(args: argparse.Namespace) -> None:
    """Do `python -m minibert pretrain`."""
    check_flags(args)
    config = make_config(PretrainingConfig, args)
    if args.branch_from and not any(args.folder.glob("step-*")):
        find_checkpoint(args.branch_from)  # before the text is read
    if args.start is not None:
        check_start(args.start, config.max_length, None if args.stack else args.layers)
    tokenizer = Tokenizer.from_pretrained(args.start or args.vocabulary or NEW["vocabulary"])
    for name in args.text:  # a text that is not there, before the others are read
        if name != "leads":
            next(text_files(name), None)
    model = make_model(args, tokenizer, config)
    check_folder(args.folder)
    rank, world, device = processes()
    if rank == 0:
        print(config)
        print(model.config)
        print(f"{world} process(es) on {device}")
    held_out, pairs = None, config.task is not None
    own = args.folder / (f"corpus-{rank}" if world > 1 else "corpus")
    if "leads" in args.text:
        unseen = read_text("leads", "dev")
        held_out = write_corpus(unseen, tokenizer, own / "dev", config.max_length, pairs)
    documents = chain.from_iterable(
        read_text(name, whole_lines=args.whole_lines) for name in args.text
    )
    corpus = write_corpus(documents, tokenizer, own, config.max_length, pairs)
    pretrain(
        model, tokenizer, corpus, config, args.folder,
        held_out=held_out, branch_from=args.branch_from,
    )  # fmt: skip
    if rank == 0:
        print(f"The model is in {args.folder / 'model'}; {own} may be deleted")
    if rank == 0 and args.train_last is not None:
        save_trained(model, args.folder / "trained", args.start)
        tokenizer.save_pretrained(args.folder / "trained")


def article_split(one: Question) -> str:
    """Give the split of a question of SQuAD, by its article's title."""
    return split_of(one.title.replace("_", " "))


def run_qa_train(args: argparse.Namespace) -> None:
    """Do `python -m minibert qa train`."""
    config = make_config(TrainingConfig, args, steps=1)
    if args.doc_stride > args.max_length - 4:  # [CLS] a question of one token [SEP] ... [SEP]
        refuse(f"--doc-stride is {args.doc_stride}: a row of {args.max_length} tokens has "
               "no room for so much of a text")  # fmt: skip
    for name in args.data:
        if name not in DATA and not Path(name).is_file():
            refuse(f"--data {name} is none of {', '.join(DATA)}, and no file")
    check_start(args.start, args.max_length)
    check_folder(args.folder)
    tokenizer = Tokenizer.from_pretrained(args.start)
    squad = load_squad() if {"squad", "squad-all"} & set(args.data) else []
    known = {
        "leadqa": load_leadqa("train"),
        "squad": [one for one in squad if article_split(one) == "train"],
        "squad-all": squad,
    }
    questions = []
    for name in args.data:
        questions += known[name] if name in known else read_squad(name)
    rows = question_rows(questions, tokenizer, args.max_length, args.doc_stride)
    steps = max(1, int(args.epochs * len(rows) / config.batch_size))
    config = replace(config, steps=steps, warmup=int(args.warmup_share * steps))
    torch.manual_seed(config.seed)
    with warnings.catch_warnings():  # a new head is random
        warnings.simplefilter("ignore")
        model = BertForQuestionAnswering.from_pretrained(args.start)
    if args.freeze_embeddings:
        model.bert.embeddings.requires_grad_(False)
    unseen = {"leadqa": [one for one in load_leadqa("dev") if one.answers][:300]}
    if "squad" in args.data:
        unseen["squad"] = [x for x in squad if article_split(x) == "dev"][:300]

    def measure(model: torch.nn.Module) -> dict[str, float]:
        numbers: dict[str, float] = {}
        for name, some in unseen.items():
            found = answer_all(some, model=(model, tokenizer))  # type: ignore[arg-type]
            score = evaluate(some, {x.id: y.text for x, y in zip(some, found, strict=True)})
            numbers |= {f"{name}_{k}": score[k] for k in ("exact_match", "f1")}
        return numbers

    if processes().rank == 0:
        print(config)
        print(f"{len(questions):,} questions, {len(rows):,} rows")
    fine_tune(model, tokenizer, rows, config, args.folder, evaluate=measure)
    if args.freeze_embeddings and processes().rank == 0:
        save_trained(model, args.folder / "trained", args.start)
        tokenizer.save_pretrained(args.folder / "trained")


def run_qa_evaluate(args: argparse.Namespace) -> None:
    """Do `python -m minibert qa evaluate`."""
    if args.predictions:
        check_file(args.predictions)
        if args.predictions.exists() and args.predictions.samefile(args.file):
            refuse(f"--predictions {args.predictions} would overwrite the questions")
    questions = read_squad(args.file)
    with warnings.catch_warnings():  # a random head answers, too
        warnings.filterwarnings("error", r"(?s).*not in the file, so random", UserWarning)
        try:
            model, tokenizer = load(BertForQuestionAnswering, args.model)
        except UserWarning:
            refuse(f"{args.model} has no question-answering head: train one with "
                   f"python -m minibert qa train FOLDER --start {args.model}")  # fmt: skip
    threshold = args.threshold
    if threshold is None and not all(one.answers for one in questions):
        threshold = model.config.extra.get("no_answer_threshold")
    said: dict[str, str] = {}
    with tqdm(range(0, len(questions), 256), unit="×256 questions", disable=None) as bar:
        for at in bar:
            part = questions[at : at + 256]
            found = answer_all(part, model=(model, tokenizer), threshold=threshold)
            said |= {x.id: y.text for x, y in zip(part, found, strict=True)}
    score = evaluate(questions, said)
    print(f"{score['count']:,} questions, answered by {args.model}")
    if "answerable_count" in score:
        print(f"no answer where it scores more than {threshold} above the best span")
        for kind in ("answerable", "unanswerable"):
            parts = [score.get(f"{kind}_{k}", 0.0) for k in ("count", "exact_match", "f1")]
            print("{0:,} {3}: exact match {1:.1f}  F1 {2:.1f}".format(*parts, kind))
    print(f"exact match {score['exact_match']:.1f}  F1 {score['f1']:.1f}", flush=True)
    if args.predictions:  # last: where they cannot be written, the scores are there
        text = json.dumps(said, ensure_ascii=False) + "\n"
        # half a letter, as JSON may hold it, is written as JSON writes it
        args.predictions.write_text(text, encoding="utf-8", errors="backslashreplace")


def run_sentences_evaluate(args: argparse.Namespace) -> None:
    """Do `python -m minibert sentences evaluate`."""
    references = read_summaries(args.file)
    model, tokenizer = load(BertModel, args.model)
    print(f"{len(references):,} texts, {args.count} sentence(s) each, vectors of {args.model}")
    print("ROUGE, 0 to 100, with 95 % bootstrap intervals", flush=True)
    table = evaluate_summaries(references, args.count, model=(model, tokenizer), progress=True)
    print(" " * 10 + "".join(f"{name:24}" for name in next(iter(table.values()))))
    for method, score in table.items():
        cells = [f"{mean:.1f} ({low:.1f} to {high:.1f})" for mean, low, high in score.values()]
        print(f"{method:10}" + "".join(f"{cell:24}" for cell in cells).rstrip())


def kept(args: argparse.Namespace) -> str:
    """Say where what was done so far is."""
    if not hasattr(args, "folder"):
        return "nothing was written"
    found = sorted(args.folder.glob("step-*"))
    if not found:
        return f"{args.folder} holds no checkpoint yet (see --save-every)"
    return f"the last checkpoint is {found[-1]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        0 when it is done. With one line: 1 when something is wrong, 2
        when it is the flags (a single one: `SystemExit`), 130 when it
        was stopped from the keyboard.
    """
    args = parser().parse_args(arguments)
    # Rows differ in length from step to step, and torch would keep a kernel for every
    # shape it ever met: gigabytes after an hour on a CPU.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "1")
    if args.threads:
        torch.set_num_threads(args.threads)
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        # A folder's name that the terminal cannot show must not cost an hour's scores.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        args.run(args)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:  # `| head` has read enough; nothing more is to be flushed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        code, text = 130, f"stopped; {kept(args)}"
        if "step-" in text:
            text += "; the same command goes on from there"
    except argparse.ArgumentError as error:
        code, text = 2, f"{error} (see --help)"
    except FloatingPointError as error:
        mend = "begin again in another folder, with a lower --learning-rate or more warm-up"
        code, text = 1, f"the loss is no number any more, {error}: {mend}; {kept(args)}"
    except (ValueError, TypeError, OSError, ModuleNotFoundError) as error:
        code, text = 1, str(error)
    except (MemoryError, RuntimeError) as error:
        if not re.search("memory|allocate|overflow", str(error)):
            raise
        code, text = 1, f"this needs more memory than there is ({error})".split("\n")[0]
    print(f"minibert: {text}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())

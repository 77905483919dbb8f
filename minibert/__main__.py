"""The command line: `python -m minibert pretrain ...`, `qa`, `sentences`.

It only reads arguments; what it does lies in the modules.
"""

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, fields, replace
from io import TextIOWrapper
from itertools import chain
from pathlib import Path

import torch
from tqdm import tqdm

from minibert.bert import BertConfig, BertModel, load
from minibert.classification import fine_tune
from minibert.data import leads, sentences, split_of
from minibert.mlm import BertForMaskedLM
from minibert.pretraining import (
    BertForPreTraining,
    PretrainingConfig,
    pretrain,
    save_trained,
    stack_layers,
    text_files,
    train_last,
    write_corpus,
)
from minibert.qa import (
    BertForQuestionAnswering,
    Question,
    answer_all,
    evaluate,
    load_leadqa,
    load_squad,
    question_rows,
    read_squad,
)
from minibert.sentences import evaluate_summaries, read_summaries
from minibert.tokens import Tokenizer
from minibert.training import TrainingConfig, processes

SIZES = {  # flag, field, default: a model from nothing
    "layers": ("num_hidden_layers", 2),
    "hidden-size": ("hidden_size", 128),
    "heads": ("num_attention_heads", 2),
}


def yes_no(text: str) -> bool:
    """Read "yes" or "no"."""
    if text not in ("yes", "no"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither yes nor no")
    return text == "yes"


def positive(text: str) -> int:
    """Read a whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 1 or more")
    return int(text)


def add_numbers(parser: argparse.ArgumentParser, kind: type[TrainingConfig], *without: str) -> None:
    """Make a flag of every number of a run's config."""
    for one in fields(kind):
        if one.name in without:
            continue
        how: Callable[[str], object] = yes_no
        if one.type in (int, float):
            how = int if one.type is int else float
        elif one.type == str | None:
            how = str
        parser.add_argument(
            "--" + one.name.replace("_", "-"),
            type=how,
            required=one.default is MISSING,
            default=None if one.default is MISSING else one.default,
            help="yes or no" if how is yes_no else None,
        )


def parser() -> argparse.ArgumentParser:
    """Make the parser of all commands."""
    top = argparse.ArgumentParser(prog="python -m minibert")
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
    one.add_argument("--start", help="weights to go on from: a name or folder")
    one.add_argument("--train-last", type=int, metavar="N",
                     help="with --start: train the last N layers and the head")  # fmt: skip
    one.add_argument("--stack", action="store_true",
                     help="with --start and --layers: its layers over again")  # fmt: skip
    one.add_argument("--vocabulary", default="leads-4096",
                     help="a tokenizer's name or folder; with --start, its own")  # fmt: skip
    for flag, (_, default) in SIZES.items():
        one.add_argument(f"--{flag}", type=int, help=f"without --start: {default}")
    one.add_argument("--initializer-range", type=float,
                     help="without --start: the spread of new weights, "
                     "1 / sqrt(hidden size)")  # fmt: skip
    one.add_argument("--dropout", type=float, help="without --start: 0.1")
    one.add_argument("--threads", type=positive, help="threads of this process")
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
    one.add_argument("--start", default="minilm", help="weights to begin with")
    one.add_argument("--data", nargs="+", default=["leadqa"],
                     help="'leadqa', 'squad', 'squad-all', or files like SQuAD's")  # fmt: skip
    one.add_argument("--epochs", type=float, default=3.0)
    one.add_argument("--warmup-share", type=float, default=0.06, help="of the steps")
    one.add_argument("--max-length", type=int, default=384)
    one.add_argument("--doc-stride", type=int, default=128)
    one.add_argument("--freeze-embeddings", type=yes_no, default=False, help="yes or no")
    one.add_argument("--threads", type=positive, help="threads of this process")
    add_numbers(one, TrainingConfig, "steps", "warmup")
    one.set_defaults(run=run_qa_train)
    one = commands.add_parser(
        "evaluate", help="exact match and F1 on a file in SQuAD's format, 1.1 or 2.0"
    )
    one.add_argument("file", type=Path, help="plain or gzipped")
    one.add_argument("--model", default="minilm-qa", help="a name, a folder or a hub id")
    one.add_argument("--threshold", type=float,
                     help="of no answer; by default the model's own where the file asks "
                     "what its texts do not say")  # fmt: skip
    one.add_argument("--predictions", type=Path, help="write each id's answer here (JSON)")
    one.add_argument("--threads", type=positive, help="threads of this process")
    one.set_defaults(run=run_qa_evaluate)


def add_sentences(parser: argparse.ArgumentParser) -> None:
    """Add the command of sentences and summaries."""
    commands = parser.add_subparsers(dest="what", required=True)
    one = commands.add_parser(
        "evaluate", help="ROUGE of every method on texts with a summary each"
    )
    one.add_argument("file", type=Path, help='lines of {"article": ..., "summary": ...}')
    one.add_argument("--count", type=positive, default=3, help="sentences in a summary")
    one.add_argument("--model", default="minilm", help="a name, a folder or a hub id")
    one.add_argument("--threads", type=positive, help="threads of this process")
    one.set_defaults(run=run_sentences_evaluate)


def make_model(
    args: argparse.Namespace, tokenizer: Tokenizer, config: PretrainingConfig
) -> BertForPreTraining | BertForMaskedLM:
    """Make a model from nothing, or on the weights of `--start`."""
    kind = BertForMaskedLM if config.task is None else BertForPreTraining
    torch.manual_seed(config.seed)
    if args.start is None:
        hidden = args.hidden_size or SIZES["hidden-size"][1]
        return kind(
            BertConfig(
                vocab_size=len(tokenizer),
                hidden_size=hidden,
                num_hidden_layers=args.layers or SIZES["layers"][1],
                num_attention_heads=args.heads or SIZES["heads"][1],
                intermediate_size=4 * hidden,
                max_position_embeddings=config.max_length,
                hidden_dropout_prob=0.1 if args.dropout is None else args.dropout,
                attention_probs_dropout_prob=0.0,
                initializer_range=args.initializer_range or hidden**-0.5,
            )
        )
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


def read_text(name: str, split: str = "train") -> Iterator[list[str]]:
    """Give the documents of a text by its name: 'leads', or a folder."""
    if name == "leads":
        return (sentences(one.text) for one in leads(split))
    return text_files(name)


def run_pretrain(args: argparse.Namespace) -> None:
    """Do `python -m minibert pretrain`."""
    numbers = {one.name: getattr(args, one.name) for one in fields(PretrainingConfig)}
    if numbers["task"] == "words":
        numbers["task"] = None
    config = PretrainingConfig(**numbers)
    tokenizer = Tokenizer.from_pretrained(args.start or args.vocabulary)
    model = make_model(args, tokenizer, config)
    rank, world, device = processes()
    if rank == 0:
        print(config)
        print(model.config)
        print(f"{world} process(es) on {device}")
    held_out = None
    own = args.folder / (f"corpus-{rank}" if world > 1 else "corpus")
    if "leads" in args.text:
        unseen = read_text("leads", "dev")
        held_out = write_corpus(unseen, tokenizer, own / "dev", config.max_length)
    documents = chain.from_iterable(map(read_text, args.text))
    corpus = write_corpus(documents, tokenizer, own, config.max_length)
    pretrain(model, tokenizer, corpus, config, args.folder, held_out=held_out)
    if rank == 0 and args.train_last is not None:
        save_trained(model, args.folder / "trained", args.start)
        tokenizer.save_pretrained(args.folder / "trained")


def article_split(one: Question) -> str:
    """Give the split of a question of SQuAD, by its article's title."""
    return split_of(one.title.replace("_", " "))


def run_qa_train(args: argparse.Namespace) -> None:
    """Do `python -m minibert qa train`."""
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
    steps = max(1, int(args.epochs * len(rows) / args.batch_size))
    names = [one.name for one in fields(TrainingConfig)]
    numbers = {name: getattr(args, name) for name in names if hasattr(args, name)}
    config = TrainingConfig(steps=steps, warmup=int(args.warmup_share * steps), **numbers)
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
    questions = read_squad(args.file)
    model, tokenizer = load(BertForQuestionAnswering, args.model)
    threshold = args.threshold
    if threshold is None and not all(one.answers for one in questions):
        threshold = model.config.extra.get("no_answer_threshold")
    said: dict[str, str] = {}
    for at in tqdm(range(0, len(questions), 256), unit="×256 questions", disable=None):
        some = questions[at : at + 256]
        found = answer_all(some, model=(model, tokenizer), threshold=threshold)
        said |= {x.id: y.text for x, y in zip(some, found, strict=True)}
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
        args.predictions.write_text(text, encoding="utf-8")


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 when it is done, 1 with one line when not."""
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
    except BrokenPipeError:  # `| head` has read enough; nothing more is to be flushed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, TypeError, OSError, ModuleNotFoundError) as error:
        print(f"minibert: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The command line: `python -m minibert pretrain ...`.

It only reads arguments; what it does lies in the modules.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, fields, replace
from itertools import chain
from pathlib import Path

import torch

from minibert.bert import BertConfig, BertModel
from minibert.data import leads, sentences
from minibert.mlm import BertForMaskedLM
from minibert.pretraining import (
    BertForPreTraining,
    PretrainingConfig,
    pretrain,
    save_trained,
    text_files,
    train_last,
    write_corpus,
)
from minibert.tokens import Tokenizer
from minibert.training import processes

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


def add_numbers(parser: argparse.ArgumentParser) -> None:
    """Make a flag of every number of a `PretrainingConfig`."""
    for one in fields(PretrainingConfig):
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
    one.add_argument("--vocabulary", default="leads-4096",
                     help="a tokenizer's name or folder; with --start, its own")  # fmt: skip
    for flag, (_, default) in SIZES.items():
        one.add_argument(f"--{flag}", type=int, help=f"without --start: {default}")
    one.add_argument("--initializer-range", type=float,
                     help="without --start: the spread of new weights, "
                     "1 / sqrt(hidden size)")  # fmt: skip
    one.add_argument("--dropout", type=float, help="without --start: 0.1")
    one.add_argument("--threads", type=int, help="threads of this process")
    add_numbers(one)
    return top


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
    if args.layers is None:
        model = kind.from_pretrained(args.start)
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


def read_text(name: str) -> Iterator[list[str]]:
    """Give the documents of a text by its name: 'leads', or a folder."""
    if name == "leads":
        return (sentences(one.text) for one in leads("train"))
    return text_files(name)


def run_pretrain(args: argparse.Namespace) -> None:
    """Do `python -m minibert pretrain`."""
    numbers = {one.name: getattr(args, one.name) for one in fields(PretrainingConfig)}
    if numbers["task"] == "words":
        numbers["task"] = None
    config = PretrainingConfig(**numbers)
    if args.threads:
        torch.set_num_threads(args.threads)
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
        unseen = (sentences(one.text) for one in leads("dev"))
        held_out = write_corpus(unseen, tokenizer, own / "dev", config.max_length)
    documents = chain.from_iterable(map(read_text, args.text))
    corpus = write_corpus(documents, tokenizer, own, config.max_length)
    pretrain(model, tokenizer, corpus, config, args.folder, held_out=held_out)
    if rank == 0 and args.train_last is not None:
        save_trained(model, args.folder / "trained", args.start)
        tokenizer.save_pretrained(args.folder / "trained")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 when it is done, 1 with one line when not."""
    args = parser().parse_args(arguments)
    try:
        run_pretrain(args)
    except (ValueError, TypeError, OSError, ModuleNotFoundError) as error:
        print(f"minibert: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

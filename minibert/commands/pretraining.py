"""The work of `minibert pretrain`: a model, a corpus and a run, from flags."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import torch

from minibert.bert import BertModel
from minibert.checkpoints import find_checkpoint
from minibert.commands.flags import (
    NEW,
    check_folder,
    flag,
    from_start,
    make_config,
    refuse,
)
from minibert.config import BertConfig, read_config
from minibert.corpus import open_corpus, read_header, text_files, write_corpus
from minibert.data import leads, sentences
from minibert.files import find_folder
from minibert.mlm import BertForMaskedLM
from minibert.nsp import Corpus
from minibert.pretraining import BertForPreTraining, PretrainingConfig, pretrain
from minibert.steps import processes
from minibert.streaming import StreamedData, open_stream
from minibert.tokens import Tokenizer
from minibert.transfer import save_trained, stack_layers, train_last

__all__: list[str] = []


def check_flags(args: SimpleNamespace) -> None:
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
    if args.stream and args.whole_lines:
        refuse("--whole-lines is of .txt files: a stream's rows hold documents")
    if "text_field" in args.given and not args.stream:
        refuse("--text-field needs --stream")
    if "evaluate_every" in args.given and "leads" not in args.text:
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


def make_model(
    args: SimpleNamespace, tokenizer: Tokenizer, config: PretrainingConfig
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


def read_texts(args: SimpleNamespace) -> Iterator[list[str]]:
    """Give the documents of all texts that are asked for, one after another."""
    return chain.from_iterable(
        read_text(name, whole_lines=args.whole_lines) for name in args.text
    )


def is_corpus(texts: tuple[str, ...]) -> bool:
    """Whether the text is a corpus that was written before."""
    return len(texts) == 1 and (Path(texts[0]) / "corpus.json").is_file()


def run_corpus(args: SimpleNamespace) -> None:
    """Do `minibert corpus`."""
    tokenizer = Tokenizer.from_pretrained(args.vocabulary)
    check_folder(args.folder)
    pairs = args.task is not None
    made = write_corpus(read_texts(args), tokenizer, args.folder, args.max_length, pairs)
    print(f"{len(made.tokens):,} tokens, {len(made.chunks):,} rows in {args.folder}")


def prepare(
    args: SimpleNamespace, tokenizer: Tokenizer, config: PretrainingConfig, folder: Path
) -> tuple[Corpus, Corpus | None]:
    """Write the corpus of the texts, and of what is held out of the leads.

    A text that is a corpus itself, of `minibert corpus`, is opened where it lies.
    """
    held_out, pairs = None, config.task is not None
    if is_corpus(args.text):
        header = read_header(Path(args.text[0]) / "corpus.json")
        if header.get("pairs", True) != pairs:
            refuse(f"{args.text[0]} was written {'without' if pairs else 'with'} pairs: "
                   "give both commands the same --task")  # fmt: skip
        return open_corpus(args.text[0], tokenizer, config.max_length), None
    if "leads" in args.text:
        unseen = read_text("leads", "dev")
        held_out = write_corpus(unseen, tokenizer, folder / "dev", config.max_length, pairs)
    corpus = write_corpus(read_texts(args), tokenizer, folder, config.max_length, pairs)
    return corpus, held_out


def run_pretrain(args: SimpleNamespace) -> None:
    """Do `minibert pretrain`."""
    check_flags(args)
    config = make_config(PretrainingConfig, args)
    if args.branch_from and not any(args.folder.glob("step-*")):
        find_checkpoint(args.branch_from)  # before the text is read
    if args.start is not None:
        check_start(args.start, config.max_length, None if args.stack else args.layers)
    tokenizer = Tokenizer.from_pretrained(args.start or args.vocabulary or NEW["vocabulary"])
    stream = open_stream(args.text) if args.stream else None
    for name in args.text:  # a text that is not there, before the others are read
        if name != "leads" and not stream and not is_corpus(args.text):
            next(text_files(name), None)
    model = make_model(args, tokenizer, config)
    check_folder(args.folder)
    rank, world, device = processes()
    if rank == 0:
        print(config)
        print(model.config)
        print(f"{world} process(es) on {device}")
    if stream:
        held_out = None
        corpus: Corpus | StreamedData = StreamedData(stream, tokenizer, config, args.text_field)
    else:
        name = f"corpus-{rank}" if world > 1 else "corpus"
        corpus, held_out = prepare(args, tokenizer, config, args.folder / name)
    pretrain(
        model, tokenizer, corpus, from_start(config), args.folder,
        held_out=held_out, branch_from=args.branch_from,
    )  # fmt: skip
    if rank == 0:
        own = [*args.folder.glob("corpus*")]
        rest = f"; {', '.join(map(str, own))} may be deleted" if own else ""
        print(f"The model is in {args.folder / 'model'}{rest}")
    if rank == 0 and args.start and args.train_last is not None:
        save_trained(model, args.folder / "trained", args.start)
        tokenizer.save_pretrained(args.folder / "trained")

"""The work of `minibert qa train` and `minibert qa evaluate`."""

import json
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch
from tqdm import tqdm

from minibert.commands.flags import (
    DATA,
    check_file,
    check_folder,
    from_start,
    load_trained,
    make_config,
    refuse,
)
from minibert.commands.pretraining import check_start
from minibert.data import split_of
from minibert.finetuning import fine_tune
from minibert.heads import BertForQuestionAnswering
from minibert.qa import answer_all, question_rows
from minibert.squad import Question, evaluate, load_leadqa, load_squad, read_squad
from minibert.steps import processes
from minibert.tokens import Tokenizer
from minibert.training import TrainingConfig
from minibert.transfer import save_trained

__all__: list[str] = []


def article_split(one: Question) -> str:
    """Give the split of a question of SQuAD, by its article's title."""
    return split_of(one.title.replace("_", " "))


def run_qa_train(args: SimpleNamespace) -> None:
    """Do `minibert qa train`."""
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
        for name, asked in unseen.items():
            found = answer_all(asked, model=(model, tokenizer))
            score = evaluate(asked, {x.id: y.text for x, y in zip(asked, found, strict=True)})
            numbers |= {f"{name}_{k}": score[k] for k in ("exact_match", "f1")}
        return numbers

    if processes().rank == 0:
        print(config)
        print(f"{len(questions):,} questions, {len(rows):,} rows")
    fine_tune(model, tokenizer, rows, from_start(config), args.folder, evaluate=measure)
    if args.freeze_embeddings and processes().rank == 0:
        save_trained(model, args.folder / "trained", args.start)
        tokenizer.save_pretrained(args.folder / "trained")


def run_qa_evaluate(args: SimpleNamespace) -> None:
    """Do `minibert qa evaluate`."""
    if args.predictions:
        check_file(args.predictions)
        if args.predictions.exists() and args.predictions.samefile(args.file):
            refuse(f"--predictions {args.predictions} would overwrite the questions")
    questions = read_squad(args.file)
    model, tokenizer = load_trained(
        "BertForQuestionAnswering", args.model,
        f"{args.model} has no question-answering head: train one with "
        f"minibert qa train FOLDER --start {args.model}",
    )  # fmt: skip
    threshold = args.threshold
    if threshold is None and not all(one.answers for one in questions):
        threshold = model.config.extra.get("no_answer_threshold")
    answers: dict[str, str] = {}
    with tqdm(range(0, len(questions), 256), unit="×256 questions", disable=None) as bar:
        for at in bar:
            part = questions[at : at + 256]
            found = answer_all(part, model=(model, tokenizer), threshold=threshold)
            answers |= {x.id: y.text for x, y in zip(part, found, strict=True)}
    score = evaluate(questions, answers)
    print(f"{score['count']:,} questions, answered by {args.model}")
    if "answerable_count" in score:
        print(f"no answer where it scores more than {threshold} above the best span")
        for kind in ("answerable", "unanswerable"):
            parts = [score.get(f"{kind}_{k}", 0.0) for k in ("count", "exact_match", "f1")]
            print("{0:,} {3}: exact match {1:.1f}  F1 {2:.1f}".format(*parts, kind))
    print(f"exact match {score['exact_match']:.1f}  F1 {score['f1']:.1f}", flush=True)
    if args.predictions:  # last: where they cannot be written, the scores are there
        text = json.dumps(answers, ensure_ascii=False) + "\n"
        # half a letter, as JSON may hold it, is written as JSON writes it
        args.predictions.write_text(text, encoding="utf-8", errors="backslashreplace")

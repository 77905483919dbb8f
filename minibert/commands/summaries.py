"""The work of `minibert sentences evaluate`."""

from types import SimpleNamespace

from minibert.bert import BertModel
from minibert.loading import load
from minibert.rouge import evaluate_summaries, read_summaries

__all__: list[str] = []


def run_sentences_evaluate(args: SimpleNamespace) -> None:
    """Do `minibert sentences evaluate`."""
    references = read_summaries(args.file)
    model, tokenizer = load(args.model, BertModel)
    print(f"{len(references):,} texts, {args.count} sentence(s) each, vectors of {args.model}")
    print("ROUGE, 0 to 100, with 95 % bootstrap intervals", flush=True)
    table = evaluate_summaries(references, args.count, model=(model, tokenizer), progress=True)
    print(" " * 10 + "".join(f"{name:24}" for name in next(iter(table.values()))))
    for method, score in table.items():
        cells = [f"{mean:.1f} ({low:.1f} to {high:.1f})" for mean, low, high in score.values()]
        print(f"{method:10}" + "".join(f"{cell:24}" for cell in cells).rstrip())

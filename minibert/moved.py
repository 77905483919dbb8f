"""Names that moved to another module: until 0.3 the old place gives them, with a warning."""

import importlib
import warnings
from collections.abc import Callable
from typing import Any

__all__ = ["moved"]

MOVED = {  # old module -> new module -> names
    "bert": {"huggingface": "from_huggingface to_huggingface", "loading": "load"},
    "classification": {
        "batching": "collate",
        "finetuning": "FineTuningData fine_tune for_trainer patience predict",
        "heads": "BertForMultipleChoice BertForSequenceClassification "
        "BertForTokenClassification ClassificationOutput",
        "tagging": "Span read_tags span_f1 tag tag_row",
    },
    "data": {"files": "resolve"},
    "figures": {"diagrams": "bert_map qa_map transformer_map"},
    "pretraining": {
        "corpus": "open_corpus text_files write_corpus",
        "transfer": "save_trained stack_layers train_last",
    },
    "finetuning": {"classification": "text_row"},
    "qa": {
        "heads": "BertForQuestionAnswering QuestionAnsweringOutput",
        "highlight": "highlight",
        "spans": "best_spans",
        "squad": "evaluate exact_match f1 leadqa_pages load_leadqa load_squad normalise_answer "
        "read_squad write_squad",
        "windows": "Windows trusted_window",
    },
    "sentences": {
        "highlight": "highlight_summary",
        "rouge": "Reference evaluate_summaries mixed_pages read_summaries rouge",
        "summaries": "METHODS Summary summarize",
    },
    "tagging": {"heads": "BertForTokenClassification"},
    "tokens": {"vocabulary": "train_vocabulary"},
    "training": {"steps": "Piece"},
    "transformer": {"attention": "merge_heads"},
}
RENAMED = {"Piece": "Microbatch"}


def moved(module: str) -> Callable[[str], Any]:
    """Make a module's `__getattr__`: its former names, with a DeprecationWarning."""
    table = MOVED.get(module.removeprefix("minibert."), {})
    homes = {name: home for home, names in table.items() for name in names.split()}

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, new = f"minibert.{homes[name]}", RENAMED.get(name, name)
        warnings.warn(
            f"{module}.{name} is now {home}.{new}; the old name goes with version 0.3",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(importlib.import_module(home), new)

    return find

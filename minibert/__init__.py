"""BERT from one matrix product up: the package that the book's chapters write.

    from minibert import BertModel, Tokenizer, answer

Each name below is read from the module that holds it when it is first used, so
`import minibert` costs nothing but itself. The modules have more names, and follow the
book: `minibert.bert`, `minibert.qa`, ...
"""

__version__ = "0.2.0"

HOMES = {  # module -> what of it can be imported from here; type checkers read the block below
    "data": "Lead lead leads",
    "vocabulary": "train_vocabulary",
    "batching": "Batch collate pack unpack",
    "tokens": "Encoding Tokenizer",
    "config": "BertConfig",
    "cards": "models",
    "loading": "load",
    "bert": "BertModel BertPreTrainedModel",
    "mlm": "BertForMaskedLM Masking fill_mask",
    "nsp": "BertForNextSentencePrediction next_sentence",
    "training": "TrainingConfig train",
    "corpus": "open_corpus write_corpus",
    "pretraining": "BertForPreTraining PretrainingConfig pretrain",
    "classification": "classify text_row",
    "labels": "labelled_rows",
    "tagging": "Span tag tag_row",
    "heads": "BertForMultipleChoice BertForQuestionAnswering "
    "BertForSequenceClassification BertForTokenClassification",
    "finetuning": "FineTuningData fine_tune for_trainer predict",
    "squad": "Question",
    "spans": "Answer",
    "qa": "answer answer_all question_rows",
    "sentence_layout": "save_sentence_model",
    "sharing": "push_to_hub",
    "sentences": "embed nearest",
    "summaries": "Summary summarize",
    "inside": "attention_view",
    "search": "ask open_index",
    "exporting": "export",
}
HOME = {name: module for module, names in HOMES.items() for name in names.split()}
__all__ = [*HOME]

TYPE_CHECKING = False  # type checkers know the name, and typing need not be imported
if TYPE_CHECKING:
    from minibert.batching import Batch as Batch
    from minibert.batching import collate as collate
    from minibert.batching import pack as pack
    from minibert.batching import unpack as unpack
    from minibert.bert import BertModel as BertModel
    from minibert.bert import BertPreTrainedModel as BertPreTrainedModel
    from minibert.cards import models as models
    from minibert.classification import classify as classify
    from minibert.classification import text_row as text_row
    from minibert.config import BertConfig as BertConfig
    from minibert.corpus import open_corpus as open_corpus
    from minibert.corpus import write_corpus as write_corpus
    from minibert.data import Lead as Lead
    from minibert.data import lead as lead
    from minibert.data import leads as leads
    from minibert.exporting import export as export
    from minibert.finetuning import FineTuningData as FineTuningData
    from minibert.finetuning import fine_tune as fine_tune
    from minibert.finetuning import for_trainer as for_trainer
    from minibert.finetuning import predict as predict
    from minibert.heads import BertForMultipleChoice as BertForMultipleChoice
    from minibert.heads import BertForQuestionAnswering as BertForQuestionAnswering
    from minibert.heads import (
        BertForSequenceClassification as BertForSequenceClassification,
    )
    from minibert.heads import BertForTokenClassification as BertForTokenClassification
    from minibert.inside import attention_view as attention_view
    from minibert.labels import labelled_rows as labelled_rows
    from minibert.loading import load as load
    from minibert.mlm import BertForMaskedLM as BertForMaskedLM
    from minibert.mlm import Masking as Masking
    from minibert.mlm import fill_mask as fill_mask
    from minibert.nsp import BertForNextSentencePrediction as BertForNextSentencePrediction
    from minibert.nsp import next_sentence as next_sentence
    from minibert.pretraining import BertForPreTraining as BertForPreTraining
    from minibert.pretraining import PretrainingConfig as PretrainingConfig
    from minibert.pretraining import pretrain as pretrain
    from minibert.qa import answer as answer
    from minibert.qa import answer_all as answer_all
    from minibert.qa import question_rows as question_rows
    from minibert.search import ask as ask
    from minibert.search import open_index as open_index
    from minibert.sentence_layout import save_sentence_model as save_sentence_model
    from minibert.sentences import embed as embed
    from minibert.sentences import nearest as nearest
    from minibert.sharing import push_to_hub as push_to_hub
    from minibert.spans import Answer as Answer
    from minibert.squad import Question as Question
    from minibert.summaries import Summary as Summary
    from minibert.summaries import summarize as summarize
    from minibert.tagging import Span as Span
    from minibert.tagging import tag as tag
    from minibert.tagging import tag_row as tag_row
    from minibert.tokens import Encoding as Encoding
    from minibert.tokens import Tokenizer as Tokenizer
    from minibert.training import TrainingConfig as TrainingConfig
    from minibert.training import train as train
    from minibert.vocabulary import train_vocabulary as train_vocabulary
else:

    def __getattr__(name: str) -> object:
        """Find a public name in its module, or a module of the package."""
        import importlib
        import importlib.util

        if name in HOME:
            try:
                home = importlib.import_module(f"minibert.{HOME[name]}")
            except ModuleNotFoundError as error:
                if error.name != "torch":
                    raise
                message = f'minibert.{name} needs torch: pip install "minibert-book[torch]"'
                raise ModuleNotFoundError(message, name="torch") from None
            globals()[name] = getattr(home, name)  # found at once from now on
            return globals()[name]
        spec = None if name.startswith("_") else importlib.util.find_spec(f"minibert.{name}")
        if spec and spec.has_location:
            return importlib.import_module(f"minibert.{name}")
        raise missing(name, folder=spec is not None)

    def missing(name: str, folder: bool) -> Exception:
        """Make the error for a name that is not here, with a near one that is."""
        import difflib
        import pkgutil
        import sys

        known = [*HOME, *(one.name for one in pkgutil.iter_modules(__path__))]
        near = [] if name.startswith("_") else difflib.get_close_matches(name, known, 1)
        hint = f": did you mean {near[0]!r}?" if near else ""
        # `from minibert import X` throws an AttributeError's text away.
        importing = sys._getframe(2).f_code.co_name == "_handle_fromlist"
        if near and importing and not folder:
            return ImportError(f"cannot import name {name!r} from 'minibert'{hint}", name=name)
        error = AttributeError(f"module 'minibert' has no attribute {name!r}{hint}")
        error.name, error.obj = name, None  # else Python finds a near name, too
        return error

    def __dir__() -> list[str]:
        """List what can be used, for completion."""
        return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])

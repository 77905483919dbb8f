"""Names that moved: the old place gives them, with a warning that names the new one."""

import importlib
import subprocess
import sys
import warnings

import pytest

from minibert.moved import MOVED, RENAMED

CASES = [
    (old, home, name)
    for old, homes in MOVED.items()
    for home, names in homes.items()
    for name in names.split()
]


@pytest.mark.parametrize("old, home, name", CASES, ids=lambda part: part)
def test_a_moved_name_is_found_with_a_warning(old: str, home: str, name: str) -> None:
    new = RENAMED.get(name, name)
    module, place = (importlib.import_module(f"minibert.{part}") for part in (old, home))
    with pytest.warns(DeprecationWarning, match=rf"is now minibert\.{home}\.{new}; .*0\.3"):
        assert getattr(module, name) is getattr(place, new)
    assert new in place.__all__
    assert name not in module.__all__


@pytest.mark.parametrize("old", MOVED)
def test_another_name_is_no_attribute(old: str) -> None:
    module = importlib.import_module(f"minibert.{old}")
    with pytest.raises(AttributeError, match=f"minibert.{old}.*no attribute 'nonsense'"):
        module.nonsense  # noqa: B018


def test_the_package_uses_no_old_name() -> None:
    """Its own imports would warn in everybody's program."""
    names = [name for name in sys.modules if name.startswith("minibert.")]
    code = f"import importlib\nfor name in {sorted(names)}: importlib.import_module(name)"
    command = [sys.executable, "-W", "error::DeprecationWarning:minibert", "-c", code]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr


def test_the_names_of_0_2_are_all_there() -> None:
    """What an importer of 0.2 wrote, module by module."""
    wrote = {
        "transformer": "attention causal_mask padding_mask SelfAttention Encoder Transformer",
        "data": "Lead lead leads resolve sentences",
        "tokens": "SPECIAL Batch Encoding Tokenizer train_vocabulary",
        "bert": "BertConfig BertModel BertOutput BertPreTrainedModel from_huggingface load",
        "mlm": "IGNORE at_labels fill_mask Masking",
        "training": "Piece TrainingConfig processes train",
        "pretraining": "measure open_corpus pretrain save_trained text_files write_corpus",
        "classification": "collate classify fine_tune tag text_row predict Span",
        "qa": "Question Windows answer answer_all cut_windows evaluate find_tokens highlight",
        "figures": "COLOURS bert_map heatmap qa_map recorded show transformer_map",
        "sentences": "METHODS Summary embed nearest rouge summarize whiten",
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for old, names in wrote.items():
            module = importlib.import_module(f"minibert.{old}")
            assert all(hasattr(module, name) for name in names.split()), old

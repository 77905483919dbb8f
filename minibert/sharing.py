"""A model on the hub: what of a folder is sent there, and the card that says what it is.

The sending is `huggingface_hub`'s; what is sent is the model, its tokenizer and its card,
and nothing else that lies in the folder.
"""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import yaml

from minibert.cards import count_numbers, read_card
from minibert.checks import as_texts, brief
from minibert.config import BertConfig, named_class, read_config
from minibert.files import SHORT, missing_files
from minibert.sentence_layout import MODULES, SENTENCES, SETTINGS, list_modules, read_layout

if TYPE_CHECKING:
    import huggingface_hub

__all__ = ["model_card", "push_to_hub"]


CARD = "README.md"


class Head(NamedTuple):
    """What a card says of a class of models."""

    task: str | None  # the hub's pipeline_tag, where it has one
    what: str
    theirs: str  # the class of transformers
    call: str  # ours; a class, or a function with its arguments


HEADS = {
    "BertModel": Head(
        "feature-extraction", "a BERT without a head", "AutoModel", 'embed(["A text."], {})'
    ),
    "BertForMaskedLM": Head(
        "fill-mask",
        "a BERT that names hidden words",
        "AutoModelForMaskedLM",
        'fill_mask("This is a [MASK].", {})',
    ),
    "BertForPreTraining": Head(
        "fill-mask",
        "a BERT with both heads of pre-training, hidden words and next sentences",
        "AutoModelForPreTraining",
        'fill_mask("This is a [MASK].", {})',
    ),
    "BertForNextSentencePrediction": Head(
        None,
        "a BERT that says whether one text follows another",
        "AutoModelForNextSentencePrediction",
        'next_sentence("A text.", "Another text.", {})',
    ),
    "BertForSequenceClassification": Head(
        "text-classification",
        "a BERT that classifies texts",
        "AutoModelForSequenceClassification",
        'classify("A text.", {})',
    ),
    "BertForTokenClassification": Head(
        "token-classification",
        "a BERT that tags words",
        "AutoModelForTokenClassification",
        'tag("A text.", {})',
    ),
    "BertForQuestionAnswering": Head(
        "question-answering",
        "a BERT that finds the answer to a question in a text",
        "AutoModelForQuestionAnswering",
        'answer("Where is it?", "It is in a text.", {})',
    ),
    "BertForMultipleChoice": Head(
        "multiple-choice",
        "a BERT that chooses among several endings",
        "AutoModelForMultipleChoice",
        "BertForMultipleChoice",
    ),
}
SIMILARITY = Head(
    "sentence-similarity",
    "a BERT that turns each text into one vector",
    "SentenceTransformer",
    'embed(["A text."], {})',
)


def head_of(folder: Path, config: BertConfig) -> Head:
    """Say what a saved model is, by its layout or the class that its config names."""
    if (folder / MODULES).is_file():
        return SIMILARITY
    return HEADS.get(named_class(config) or "BertModel", HEADS["BertModel"])


def usage(head: Head, name: str) -> str:
    """Write the lines that load a model from the hub, with this package and with another."""
    ours, theirs = f"model={name!r}", f"from_pretrained({name!r})"
    function = head.call.partition("(")[0]
    called = "(" in head.call
    call = head.call.format(ours) if called else f"model = {function}.{theirs}"
    blocks = [("minibert", f"from minibert import {function}\n\n{call}")]
    if head is SIMILARITY:
        other = f"from sentence_transformers import {head.theirs}\n\n"
        other += f'{head.theirs}({name!r}).encode(["A text."])'
        blocks.append(("sentence-transformers", other))
    else:
        other = f"from transformers import {head.theirs}, AutoTokenizer\n\n"
        other += f"model = {head.theirs}.{theirs}\ntokenizer = AutoTokenizer.{theirs}"
        blocks.append(("transformers", other))
    return "\n".join(f"With `{library}`:\n\n```python\n{code}\n```\n" for library, code in blocks)


def size_line(head: Head, folder: Path, config: BertConfig) -> str:
    """Say in one sentence what a model is and how large."""
    size = sum(one.stat().st_size for one in folder.glob("model*.safetensors"))
    return (
        f"{head.what[0].upper()}{head.what[1:]}: {config.num_hidden_layers} layers of "
        f"{config.hidden_size}, {config.num_attention_heads} heads, a vocabulary of "
        f"{config.vocab_size:,}, rows of at most {config.max_position_embeddings:,} tokens; "
        f"{count_numbers(folder):,} numbers, {size / 1e6:.1f} MB."
    )


def model_card(
    folder: str | PathLike[str],
    name: str,
    *,
    license: str,
    language: str | Sequence[str] | None = None,
    base_model: str | None = None,
    tags: Sequence[str] = (),
) -> str:
    """Write the text of a model card, a `README.md` that the hub reads.

    Its sizes are counted in the folder's files.

    Args:
        folder: a saved model.
        name: what the hub is to call it, `owner/name`.
        license: in the hub's words, such as "apache-2.0".
        language: a code such as "en", or several.
        base_model: the hub id of what it was trained on; None for the
            one that its config names, if any.
        tags: more of them than the package gives.

    Raises:
        FileNotFoundError: there is no config, or no weights.
        TypeError, ValueError: no text where one is wanted.
    """
    main = weights_folder(Path(folder))
    config = read_config(main)
    head = head_of(Path(folder), config)
    base = base_model or config.extra.get("base_model")
    fields: dict[str, Any] = {"license": as_texts([license], "license")[0]}
    if language is not None:
        several = [language] if isinstance(language, str) else language
        languages = as_texts(several, "language")
        fields["language"] = languages[0] if len(languages) == 1 else languages
    fields["library_name"] = "minibert"
    if head.task:
        fields["pipeline_tag"] = head.task
    if base:
        fields["base_model"] = SHORT.get(base, base)
    own = ["bert", "sentence-transformers" if head is SIMILARITY else "transformers"]
    fields["tags"] = list(dict.fromkeys([*own, *tags]))
    labels = config.extra.get("id2label")
    text = f"---\n{yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)}---\n\n"
    text += f"# {name.rpartition('/')[2]}\n\n{size_line(head, main, config)}\n"
    if "classif" in (head.task or "") and isinstance(labels, dict) and labels:
        text += f"\nIts labels: {brief(', '.join(map(str, labels.values())))}.\n"
    return f"{text}\n## Use\n\n{usage(head, name)}"


WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json")
VOCABULARY = (
    "vocab.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
# Sent from a folder and from its parts: no pickle, no optimiser's state, no data.
SENT = (
    *(*WEIGHTS, *VOCABULARY, "config.json", "generation_config.json"),
    *(MODULES, SETTINGS, SENTENCES),  # of sentence vectors
    *("*.onnx", "*.onnx_data", "*.onnx.data", CARD, "LICENSE*", "NOTICE*"),
)


def fits(name: str, patterns: Sequence[str]) -> bool:
    """Whether a path's last part is one of some globs."""
    return any(fnmatchcase(PurePosixPath(name).name, one) for one in patterns)


def weights_folder(folder: Path) -> Path:
    """Give the folder that holds the weights: this one, or one inside of it."""
    layout = read_layout(folder)
    return folder if layout is None else layout.folder


def sent_files(folder: Path) -> list[str]:
    """List what is sent of a folder, by paths relative to it.

    Raises:
        FileNotFoundError: there is no model in it.
        ValueError: there is a part of one.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}: give that of a saved model")
    main = weights_folder(folder)
    wanted = ["config.json", "*.safetensors|*.onnx|onnx/*.onnx"]
    if missing := missing_files(main, wanted):
        raise FileNotFoundError(f"{main} has no {' and no '.join(missing)}: it is no saved model")
    if base := read_config(main).extra.get("base_model"):
        raise ValueError(
            f"{main} holds only what was trained, on top of {base!r}, and others would not find "
            "the rest: load it, and give what was loaded, (model, tokenizer)"
        )
    parts = [folder, main, main / "onnx"]
    if main is not folder or (folder / MODULES).is_file():
        parts += [folder / path for _, path in list_modules(folder)]
    return sorted(
        one.relative_to(folder).as_posix()
        for part in dict.fromkeys(parts)
        if part.is_dir()
        for one in part.iterdir()
        if one.is_file() and fits(one.name, SENT)
    )


def replaced(there: Sequence[str], files: Sequence[str]) -> list[str]:
    """List what is on the hub and would be read in place of what is sent.

    Such as a `tokenizer.json` beside a new `vocab.txt`, or the pieces of weights that are
    one file now.
    """
    return [
        old
        for old in there
        for kind in (WEIGHTS, VOCABULARY)
        if old not in files
        and fits(old, kind)
        and any(fits(new, kind) and parent(new) == parent(old) for new in files)
    ]


def parent(path: str) -> str:
    """Give a path's folder, as text."""
    return path.rpartition("/")[0]


class Saves(Protocol):
    """A model, or a tokenizer."""

    def save_pretrained(self, path: str | Path) -> None:
        """Write its files into a folder."""


def as_folder(model: Any, aside: Path) -> Path:
    """Give a saved folder, or save what is given into another one.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(model, (str, PathLike)):
        return Path(model)
    parts = model if isinstance(model, tuple) else (model,)
    if not parts or not all(hasattr(part, "save_pretrained") for part in parts):
        raise TypeError(
            "model must be a saved folder, a model, or a model and its tokenizer, "
            f"(model, tokenizer), not a {type(model).__name__}"
        )
    for part in parts:
        part.save_pretrained(aside)
    if not (aside / "config.json").is_file():
        raise TypeError("a tokenizer goes with its model: give (model, tokenizer)")
    return aside


def base_of(model: Any) -> str | None:
    """Give what a loaded model was trained on top of, where its config names it."""
    first = model[0] if isinstance(model, tuple) else model
    extra = getattr(getattr(first, "config", None), "extra", {})
    return extra.get("base_model") if isinstance(extra, Mapping) else None


def push_to_hub(
    model: str | PathLike[str] | Saves | tuple[Saves, ...],
    repo_id: str,
    *,
    license: str | None = None,
    language: str | Sequence[str] | None = None,
    base_model: str | None = None,
    tags: Sequence[str] = (),
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
    commit_description: str | None = None,
    create_pr: bool = False,
) -> str:
    """Send a model to the hub, in one commit, with a card.

    Weights as safetensors or ONNX are sent, and configs, the tokenizer, card and licence;
    checkpoints, optimisers' states, data, pickles and hidden files are not. What these
    files replace there goes in the same commit. The card is the folder's `README.md`, else
    the one that is on the hub already, else one that is written: see `model_card`.

    Args:
        model: a saved folder; or a model, or a model and its tokenizer, `(model,
            tokenizer)`.
        repo_id: `owner/name`; made if it is not there.
        license: in the hub's words, such as "apache-2.0"; wanted where the folder has no
            `README.md`.
        language: for the card, as are `base_model` and `tags`: see `model_card`.
        private: whether a new repository is to be private; None as the owner has set.
        token: the hub's; None for the one that is logged in, or HF_TOKEN.
        revision: a branch, made if it is not there; None for main.
        commit_message: its first line.
        commit_description: what follows.
        create_pr: ask for the change by a pull request.

    Returns:
        The commit's address.

    Raises:
        FileNotFoundError: the folder lacks a model.
        ValueError: no license, or another than the folder's card says; a folder that holds
            only what was trained on top of another model.
        TypeError: no folder and nothing that can be saved.
        PermissionError: the hub refuses the token, or wants one.
        ConnectionError: the hub could not be reached, or broke off: no commit is known.
    """
    import huggingface_hub
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete

    if create_pr and revision is not None:
        raise ValueError("create_pr asks main for a change: leave revision out")
    with tempfile.TemporaryDirectory(prefix="minibert-") as aside:
        folder = as_folder(model, Path(aside))
        files = sent_files(folder)
        contents: dict[str, Path | bytes] = {one: folder / one for one in files}
        if CARD in files:
            check_card(folder, license, language, base_model, tags)
        elif license is None:
            raise ValueError(
                "a model on the hub says on which terms it may be used: give "
                'license="apache-2.0", say, or write a README.md beside its files'
            )
        else:
            contents[CARD] = model_card(
                folder, repo_id,
                license=license, language=language, base_model=base_model or base_of(model),
                tags=tags,
            ).encode()  # fmt: skip
        with plain_errors(repo_id):
            hub = huggingface_hub.HfApi(token=token, library_name="minibert")
            there = open_repository(hub, repo_id, private, revision)
            if CARD in there and CARD not in files:
                del contents[CARD]
            operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [
                *(CommitOperationDelete(path_in_repo=one) for one in replaced(there, files)),
                *(CommitOperationAdd(one, content) for one, content in contents.items()),
            ]
            made = hub.create_commit(
                repo_id,
                operations,
                commit_message=commit_message or f"Upload {Path(repo_id).name} with minibert",
                commit_description=commit_description,
                revision=revision,
                create_pr=create_pr,
            )
    return str(made.pr_url if create_pr else made.commit_url)


def check_card(folder: Path, *given: str | Sequence[str] | None) -> None:
    """Refuse what a call says of a model and its own card does not.

    Raises:
        ValueError: the first such field.
    """
    card = read_card(folder)
    for name, value in zip(("license", "language", "base_model", "tags"), given, strict=True):
        ours, theirs = (
            {one} if isinstance(one, str) else {*(one or ())} for one in (value, card.get(name))
        )
        if not ours <= theirs:
            raise ValueError(
                f"{folder / CARD} is sent as it is, and its {name} is {card.get(name)!r}, not "
                f"{value!r}: change it there, or leave {name} out"
            )


def open_repository(
    hub: "huggingface_hub.HfApi", repo_id: str, private: bool | None, revision: str | None
) -> list[str]:
    """Make a repository, and a branch of it, where they are missing; list its files.

    Raises:
        PermissionError: it is there, and open to all, and was to be private.
    """
    hub.create_repo(repo_id, private=private, exist_ok=True)
    if private and not hub.repo_info(repo_id).private:
        raise PermissionError(
            f"{repo_id} is on the hub already, and public: make it private there, or push "
            "to another name"
        )
    if revision is not None and not revision.startswith("refs/"):
        hub.create_branch(repo_id, branch=revision, exist_ok=True)
    return list(hub.list_repo_files(repo_id, revision=revision))


UNSEEN = ("RepositoryNotFoundError", "LocalTokenNotFoundError")  # what needs a token


@contextlib.contextmanager
def plain_errors(repo_id: str) -> Iterator[None]:
    """Say in one line what the hub, or the way to it, did not do.

    Raises:
        PermissionError: the hub refused.
        ConnectionError: anything else that is no matter of an argument.
    """
    try:
        yield
    except Exception as error:  # the network fails in many ways
        chain = [one for one in (error, error.__cause__) if one is not None]
        answers = [getattr(one, "response", None) for one in chain]
        if isinstance(error, (PermissionError, ValueError)) and set(answers) == {None}:
            raise
        why = ": ".join(dict.fromkeys(map(in_short, chain)))
        status = {getattr(one, "status_code", 0) for one in answers}
        if {401, 403} & status or type(error).__name__ in UNSEEN:
            raise PermissionError(
                f"the hub does not let you write {repo_id} ({why}): log in by `hf auth "
                "login`, or give token=..., one that may write there"
            ) from None
        raise ConnectionError(
            f"the upload to {repo_id} broke off, and no commit was made known ({why}): call again"
        ) from None


def in_short(error: BaseException) -> str:
    """Give an error's kind, and what the server said, or else its own first line."""
    message = getattr(error, "server_message", None) or str(error)
    lines = [one.strip() for one in message.splitlines() if one.strip()]
    return brief(f"{type(error).__name__}: {' '.join(lines[:1])}")

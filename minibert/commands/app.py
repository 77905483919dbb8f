"""Every command with its flags. What it does is imported when it is run."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

import minibert
from minibert.commands.flags import (
    DATA,
    NEW,
    Command,
    Read,
    arguments,
    finite,
    flag,
    natural,
    not_all,
    not_negative,
    options,
    port,
    positive,
    positive_int,
    row,
    share,
    task,
    yes_no,
)

__all__ = ["app"]

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)
TEXT = click.argument("file", type=click.Path(allow_dash=True), default="-")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="print lines of JSON")


def number(
    name: str, how: Callable[[str], object], default: object, text: str
) -> Callable[[Decorated], Decorated]:
    """Make a flag with a number as its default."""
    return click.option(name, type=Read(how), default=default, help=f"{text} (default: {default})")


def model(default: str, name: str = "--model") -> Callable[[Decorated], Decorated]:
    """Make the flag that names a model."""
    text = f"a name, a folder or a hub id (default: {default})"
    return click.option(name, default=default, help=text)


@click.group(
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(minibert.__version__, prog_name="minibert")
def app() -> None:
    """BERT on the command line.

    A FILE is a text in UTF-8; "-", which is what is read where none is named, stands for
    standard input. What is wrong is said in one line, and the command ends with 1 or, where
    its words are wrong, with 2.

    \b
    Complete names and flags with Tab, in bash (for others, put zsh or fish):
        eval "$(_MINIBERT_COMPLETE=bash_source minibert)"
    """


@app.command(cls=Command, short_help="answer a question with a span of a text")
@click.argument("question")
@TEXT
@model("minilm-qa")
@click.option("--threshold", type=Read(finite),
              help="no answer, an empty line, where it scores more than this above "
              "the best span (default: always answer)")  # fmt: skip
@AS_JSON
@click.pass_context
def answer(ctx: click.Context, /, **_: Any) -> None:
    """Answer QUESTION with a span of the text in FILE.

    \b
    minibert answer "Who was bitten?" page.txt
    """
    from minibert.commands import texts

    texts.answer_question(arguments(ctx))


@app.command(cls=Command, short_help="choose the sentences that stand for a text")
@TEXT
@number("--count", positive_int, 3, "sentences in the summary")
@click.option("--method", default="graph",
              help="graph, centroid, clusters, first or random (default: graph)")  # fmt: skip
@model("minilm")
@AS_JSON
@click.pass_context
def summarize(ctx: click.Context, /, **_: Any) -> None:
    """Print the sentences of FILE that stand for the whole.

    \b
    minibert summarize page.txt --count 2
    """
    from minibert.commands import texts

    texts.summarize_text(arguments(ctx))


@app.command(cls=Command, short_help="turn each line into a vector")
@TEXT
@model("minilm")
@AS_JSON
@click.pass_context
def embed(ctx: click.Context, /, **_: Any) -> None:
    """Print a vector for each line of FILE, its numbers parted by tabs.

    \b
    minibert embed sentences.txt > vectors.tsv
    """
    from minibert.commands import texts

    texts.embed_lines(arguments(ctx))


@app.command(cls=Command, short_help="find an answer in a folder of texts")
@click.argument("folder", type=PATH)
@click.argument("question")
@number("--count", positive_int, 3, "what is printed: answers, or passages")
@click.option("--answer/--no-answer", default=True,
              help="answer in the passages, or print them alone (default: answer)")  # fmt: skip
@model("minilm")
@click.option("--reader", default="minilm-qa",
              help="the model that answers, as --model (default: minilm-qa)")  # fmt: skip
@click.option("--rebuild", is_flag=True, help="embed all passages, whatever was kept")
@click.option("--keep/--no-keep", default=True,
              help="write the vectors to FOLDER/.minibert, or nothing (default: keep)")  # fmt: skip
@AS_JSON
@click.pass_context
def search(ctx: click.Context, /, **_: Any) -> None:
    """Answer QUESTION from FOLDER's .txt files: find the nearest passages, answer in them.

    The passages' vectors are kept in FOLDER/.minibert; later only what changed is embedded.

    \b
    minibert search notes "Where does the Danube end?"
    """
    from minibert.commands import texts

    texts.search_folder(arguments(ctx))


@app.command(cls=Command, short_help="fill the blanks of a sentence")
@click.argument("text")
@number("--count", positive_int, 5, "words for each blank")
@model("minilm-mlm")
@AS_JSON
@click.pass_context
def fill(ctx: click.Context, /, **_: Any) -> None:
    """Fill each [MASK] of TEXT; "-" reads it from standard input.

    \b
    minibert fill "Mercury is the smallest [MASK] in the Solar System."
    """
    from minibert.commands import texts

    texts.fill_blanks(arguments(ctx))


@app.command(cls=Command, short_help="name the class of each line")
@TEXT
@click.option("--model", required=True, help="a folder or a hub id of a classifier (needed)")
@AS_JSON
@click.pass_context
def classify(ctx: click.Context, /, **_: Any) -> None:
    """Print the likeliest class of each line of FILE, with its probability.

    \b
    minibert classify mails.txt --model my-run/model
    """
    from minibert.commands import texts

    texts.classify_lines(arguments(ctx))


@app.command(cls=Command, short_help="draw who attends to whom, as a web page")
@click.argument("text")
@click.argument("page", type=PATH)
@model("minilm")
@click.pass_context
def attention(ctx: click.Context, /, **_: Any) -> None:
    """Write a page with the attention of TEXT, to open in a browser; "-" reads the text.

    \b
    minibert attention "The dog bit the man." dog.html
    """
    from minibert.commands import texts

    texts.draw_attention(arguments(ctx))


@app.command(cls=Command, short_help="answer over HTTP: a page, and requests of programs")
@model("minilm-qa")
@model("minilm", "--embed-model")
@click.option("--host", default="127.0.0.1",
              help="the address to listen at; 0.0.0.0 is open to the whole network "
              "(default: 127.0.0.1)")  # fmt: skip
@number("--port", port, 8000, "to listen at; 0 takes a free one")
@number("--max-batch", positive_int, 16, "rows that are computed together; 1: no batches")
@number("--max-wait-ms", not_negative, 5, "milliseconds that a request waits for others")
@number("--queue", positive_int, 128, "requests that may wait; more are refused")
@number("--timeout", positive, 30, "seconds for a request, waiting included")
@number("--max-characters", positive_int, 20_000, "in a question, paragraph or text")
@number("--max-texts", positive_int, 64, "in a request for vectors")
@number("--max-body", positive_int, 1_000_000, "bytes in a request")
@click.pass_context
def serve(ctx: click.Context, /, **_: Any) -> None:
    """Answer, embed and summarise over HTTP, until Ctrl-C or SIGTERM.

    There is a page at /, what programs may ask at /openapi.json, /health and /metrics (for
    Prometheus). At the end, what was accepted is answered first.

    \b
    minibert serve --port 8000
    """
    from minibert.commands import serving

    serving.run_serve(arguments(ctx))


@app.command(short_help="list the models that need no network")
@AS_JSON
def models(as_json: bool) -> None:
    """List the models that need no network: sizes, figures, licences.

    \b
    minibert models
    """
    from minibert.commands import texts

    texts.list_models(as_json)


@app.command(cls=Command, short_help="write a model as ONNX, for where there is no torch")
@click.argument("model")
@click.argument("folder", type=PATH)
@click.option("--int8", is_flag=True, help="in int8 as well: a fourth of the size")
@click.pass_context
def export(ctx: click.Context, /, **_: Any) -> None:
    """Write MODEL, a name, a folder or a hub id, into FOLDER as ONNX, and compare the two.

    \b
    minibert export minilm-qa qa-onnx --int8
    """
    from minibert.commands import exporting

    exporting.run_export(arguments(ctx))


def pretraining_numbers() -> Iterator[click.Option]:
    """Give the flags of a pre-training run."""
    from minibert.pretraining import PretrainingConfig

    return options(PretrainingConfig)


def new_model_options(command: Decorated) -> Decorated:
    """Add the flags of a model from nothing."""
    new: list[tuple[str, Callable[[str], object], str]] = [
        ("dropout", not_all, "share of what a layer gives that is dropped"),
        ("initializer_range", positive, "the spread of new weights"),
        ("vocabulary", str, "a tokenizer's name or folder"),
        ("heads", positive_int, "in a layer"),
        ("hidden_size", positive_int, "numbers a token"),
    ]
    for name, how, what in new:
        default = NEW[name] or "1 / sqrt(hidden size)"
        text = f"without --start: {what} (default: {default})"
        command = click.option(flag(name), type=Read(how), help=text)(command)
    return command


@app.command(cls=Command, short_help="cut text for pretrain, once")
@click.argument("text", nargs=-1, required=True)
@click.argument("folder", type=PATH)
@click.option("--whole-lines", is_flag=True, help="as in pretrain")
@click.option("--vocabulary", default=NEW["vocabulary"],
              help=f"a tokenizer's name or folder (default: {NEW['vocabulary']})")  # fmt: skip
@number("--max-length", row, 128, "tokens in a row")
@click.option("--task", type=Read(task), default="next",
              help="as in pretrain: words fills rows without pairs (default: next)")  # fmt: skip
@click.pass_context
def corpus(ctx: click.Context, /, **_: Any) -> None:
    """Cut TEXT into rows of ids in FOLDER, which pretrain then takes as its text.

    For text so large that pretrain should not cut it at every start, and in every process.

    \b
    minibert corpus my-texts my-corpus --vocabulary minilm
    """
    from minibert.commands import pretraining

    pretraining.run_corpus(arguments(ctx))


@app.command(
    cls=Command,
    numbers=pretraining_numbers,
    short_help="train a model on text; go on where it was stopped",
)
@click.argument("text", nargs=-1, required=True)
@click.argument("folder", type=PATH)
@click.option("--whole-lines", is_flag=True,
              help="a line of a .txt file is a sentence (default: paragraphs "
              "are joined, then cut into sentences)")  # fmt: skip
@click.option("--stream", is_flag=True,
              help="TEXT is files (.parquet, .jsonl, .json, .csv) or a data set of the hub, "
              "read while it trains")  # fmt: skip
@click.option("--text-field", default="text",
              help="with --stream: what holds the text in a row (default: text)")  # fmt: skip
@click.option("--start", help="weights to go on from: a name or folder "
              "(default: a model from nothing)")  # fmt: skip
@click.option("--train-last", type=Read(natural), metavar="N",
              help="with --start: train the last N layers and the head (default: all)")  # fmt: skip
@click.option("--stack", is_flag=True,
              help="with --start and --layers: its layers over again")  # fmt: skip
@click.option("--layers", type=Read(positive_int),
              help="of --start the first ones (default: all); of a model from nothing "
              f"(default: {NEW['layers']})")  # fmt: skip
@click.option("--branch-from", type=PATH, metavar="RUN/step-N",
              help="another run's checkpoint to start from, with the same flags "
              "but for the rate, --clip, --steps, --seed (default: none)")  # fmt: skip
@new_model_options
@click.pass_context
def pretrain(ctx: click.Context, /, **_: Any) -> None:
    """Train a model on TEXT, and keep the run in FOLDER.

    TEXT is 'leads', a folder of .txt files, or several; or what the command corpus wrote; or
    see --stream. It learns from masked words and sentence pairs or, with --task words, from
    masked words alone. The same command again goes on from the last checkpoint. SIGTERM,
    SIGUSR1 and --time-limit end it with a checkpoint and the exit code 75. Several processes:
    put torchrun --nproc-per-node N -m (or accelerate launch -m) before minibert.

    \b
    minibert pretrain my-texts my-run --steps 2000 --learning-rate 0.001 --warmup 100
    """
    from minibert.commands import pretraining

    pretraining.run_pretrain(arguments(ctx))


def glue_numbers() -> Iterator[click.Option]:
    """Give the flags of GLUE's runs."""
    from minibert.training import TrainingConfig

    without = ("steps", "warmup", "learning_rate", "batch_size", "evaluate_every")
    return options(TrainingConfig, *without)


@app.command(
    cls=Command,
    numbers=glue_numbers,
    several="--tasks",
    short_help="fine-tune a model on GLUE's tasks, and measure it",
)
@click.argument("data", type=PATH)
@click.argument("folder", type=PATH)
@click.option("--start", default="minilm",
              help="weights to begin with: a name or folder (default: minilm)")  # fmt: skip
@click.option("--tasks", multiple=True,
              help="CoLA, SST-2, ..., one or more (default: those that DATA has)")  # fmt: skip
@number("--epochs", positive, 3.0, "passes over the rows")
@number("--learning-rate", positive, 5e-5, "the highest one")
@number("--batch-size", positive_int, 32, "rows in a step")
@number("--warmup-share", share, 0.06, "of the steps: those in which the rate rises")
@number("--max-length", row, 128, "tokens in a row")
@click.pass_context
def glue(ctx: click.Context, /, **_: Any) -> None:
    """Fine-tune a model on GLUE's tasks in DATA, measure each on its dev set.

    DATA holds a folder for each task, DATA/CoLA/train.tsv and so on, as GLUE ships them. Each
    task's run is kept in FOLDER, and the scores in FOLDER/glue.json. The average is that of
    eight tasks, without WNLI.

    \b
    minibert glue glue_data my-scores --start my-run/model
    """
    from minibert.commands import benchmarks

    benchmarks.run_glue(arguments(ctx))


@app.group(no_args_is_help=False, short_help="answer questions: train, evaluate")
def qa() -> None:
    """Train a model to answer questions, or measure one."""


def training_numbers() -> Iterator[click.Option]:
    """Give the flags of a fine-tuning run."""
    from minibert.training import TrainingConfig

    return options(TrainingConfig, "steps", "warmup")


@qa.command(
    "train",
    cls=Command,
    numbers=training_numbers,
    several="--data",
    short_help="fine-tune a model on questions; go on where it was stopped",
)
@click.argument("folder", type=PATH)
@click.option("--start", default="minilm",
              help="weights to begin with: a name or folder (default: minilm)")  # fmt: skip
@click.option("--data", multiple=True, default=["leadqa"],
              help=f"{', '.join(DATA)}, or files like SQuAD's, one or more "
              "(default: leadqa)")  # fmt: skip
@number("--epochs", positive, 3.0, "passes over the rows; of few rows at least a step")
@number("--warmup-share", share, 0.06, "of the steps: those in which the rate rises")
@number("--max-length", row, 384, "tokens in a row")
@number("--doc-stride", positive_int, 128, "tokens from one row of a text to the next")
@click.option("--freeze-embeddings", type=Read(yes_no), default=False,
              help="yes or no: leave them as they are in --start (default: no)")  # fmt: skip
@click.pass_context
def qa_train(ctx: click.Context, /, **_: Any) -> None:
    """Fine-tune a model on questions, and keep the run in FOLDER.

    Of 'squad', articles whose title is in the dev or test split of the leads are kept aside:
    the dev ones are measured on. 'squad-all' trains on them too. MINIBERT_SQUAD names the
    folder that SQuAD is read from, else the hub.

    \b
    minibert qa train my-run --epochs 5 --batch-size 16 --learning-rate 2e-4
    """
    from minibert.commands import questions

    questions.run_qa_train(arguments(ctx))


@qa.command("evaluate", cls=Command, short_help="exact match and F1 on a file like SQuAD's")
@click.argument("file", type=PATH)
@model("minilm-qa")
@click.option("--threshold", type=Read(finite),
              help="of no answer (default: the model's own where the file asks "
              "what its texts do not say)")  # fmt: skip
@click.option("--predictions", type=PATH,
              help="write each id's answer here, as JSON (default: nowhere)")  # fmt: skip
@click.pass_context
def qa_evaluate(ctx: click.Context, /, **_: Any) -> None:
    """Measure exact match and F1 on FILE: SQuAD's format, 1.1 or 2.0, plain or gzipped.

    \b
    minibert qa evaluate my-questions.json --model my-run/model
    """
    from minibert.commands import questions

    questions.run_qa_evaluate(arguments(ctx))


@app.group(no_args_is_help=False, short_help="summarise texts: evaluate")
def sentences() -> None:
    """Measure summaries."""


@sentences.command("evaluate", cls=Command, short_help="ROUGE of every method on texts")
@click.argument("file", type=PATH)
@number("--count", positive_int, 3, "sentences in a summary")
@model("minilm")
@click.pass_context
def sentences_evaluate(ctx: click.Context, /, **_: Any) -> None:
    """Measure ROUGE of every method on FILE: lines of {"article": ..., "summary": ...}.

    \b
    minibert sentences evaluate my-summaries.jsonl
    """
    from minibert.commands import summaries

    summaries.run_sentences_evaluate(arguments(ctx))

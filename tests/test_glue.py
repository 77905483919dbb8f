"""GLUE: files in its own layout, its metrics against others' code, the command on a few rows."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torchmetrics.functional as theirs

from minibert.__main__ import main
from minibert.glue import AVERAGED, TASKS, average, glue_rows, read_glue, score_glue
from minibert.tokens import Tokenizer

# The first line of each task's files, as GLUE ships them, and a row; the texts hold a lone
# quotation mark, as many of GLUE's do. CoLA has no first line.
PARSES = "( ( A tree ) )\t( ( B ) )\t(ROOT (A))\t(ROOT (B))"
FILES = {
    "CoLA": ("", 'gj04\t{label}\t*\t{a}'),
    "SST-2": ("sentence\tlabel", '{a} \t{label}'),
    "MRPC": ("\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String", "{label}\t702\t703\t{a}\t{b}"),
    "STS-B": (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
        "0\tmain-captions\tMSRvid\t2012test\t0001\tnone\tnone\t{a}\t{b}\t{label}",
    ),
    "QQP": ("id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", "1\t2\t3\t{a}\t{b}\t{label}"),
    "MNLI": (
        "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\t"
        "sentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label",
        "0\t31193\t31193n\tgovernment\t" + PARSES + "\t{a}\t{b}\tneutral\t{label}",
    ),
    "QNLI": ("index\tquestion\tsentence\tlabel", "0\t{a}\t{b}\t{label}"),
    "RTE": ("index\tsentence1\tsentence2\tlabel", "0\t{a}\t{b}\t{label}"),
    "WNLI": ("index\tsentence1\tsentence2\tlabel", "0\t{a}\t{b}\t{label}"),
}  # fmt: skip
A, B = 'The "dog ran.', "It's a dog\u2028or a cat."


def write(folder: Path, task: str, count: int = 8) -> None:
    """Write a task's files: `count` rows in each, of all labels in turn."""
    header, row = FILES[task]
    labels = TASKS[task].names or ("0.000", "2.750", "5.000")
    (folder / task).mkdir(parents=True)
    for name in ("train", *TASKS[task].unseen):
        lines = [header] if header else []
        for i in range(count):
            lines.append(row.format(a=A, b=f"{B} {i}", label=labels[i % len(labels)]))
        end = "\r\n" if task == "MRPC" else "\n"
        text = end.join(lines) + end
        (folder / task / f"{name}.tsv").write_text(text, encoding="utf-8", newline="")


@pytest.mark.parametrize("task", TASKS)
def test_a_file_as_glue_ships_it(task, tmp_path):
    write(tmp_path, task)
    found = read_glue(tmp_path / task / "train.tsv", task)
    assert len(found) == 8
    pair = len(TASKS[task].texts) == 2
    assert found[3].texts == ((A, f"{B} 3") if pair else (A,))
    names = TASKS[task].names
    first = [0, 1, 2][: len(names)] if names else [0.0, 2.75, 5.0]
    assert [one.label for one in found[: len(first)]] == first
    row = glue_rows(found, Tokenizer.from_pretrained("minilm"), 16)[1]
    assert ("token_type_ids" in row) == pair and row["labels"] == first[1]


@pytest.mark.parametrize(
    ("task", "text", "words"),
    [
        ("RTE", "index\tsentence1\tlabel\n0\ta\tentailment\n", "no column 'sentence2', but"),
        ("RTE", "index,sentence1,sentence2,label\n", "no column 'sentence1'"),
        ("RTE", "index\tsentence1\tsentence2\tlabel\n", "has no rows"),
        ("RTE", "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tyes\n", "line 2: the label 'yes'"),
        ("QQP", FILES["QQP"][0] + "\n1\t2\t3\ta\n", "1 of 1 lines have fewer than 6"),
        ("CoLA", "gj04\tx\t*\tA dog.\n", "line 1: the label 'x' is none of 0, 1"),
        ("STS-B", FILES["STS-B"][0] + "\n" + "\t".join("0123456ab") + "\t7\n", "'7' is no number"),
        ("STS-B", FILES["STS-B"][0] + "\n" + "\t".join("0123456ab") + "\tx\n", "'x' is no number"),
        ("SNLI", "", "there is no task 'SNLI'; there are CoLA"),
        ("SST-2", "", "has no column 'sentence'"),
    ],
)
def test_a_file_that_is_not_right(task, text, words, tmp_path):
    (tmp_path / "train.tsv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        read_glue(tmp_path / "train.tsv", task)


def test_a_few_lines_that_are_cut_short_are_left_out(tmp_path):
    write(tmp_path, "QQP", 200)
    file = tmp_path / "QQP" / "train.tsv"
    file.write_text(file.read_text(encoding="utf-8") + "201\t1\t2\tonly one\n", encoding="utf-8")
    with pytest.warns(UserWarning, match="1 lines that are cut short are left out"):
        assert len(read_glue(file, "QQP")) == 200


def test_metrics_are_torchmetrics():
    chance = np.random.default_rng(0)
    for _ in range(20):
        right, said = chance.integers(0, 2, (2, 50))
        a, b = torch.tensor(right), torch.tensor(said)
        found = score_glue("QQP", right, said) | score_glue("CoLA", right, said)
        wanted = {
            "accuracy": theirs.accuracy(b, a, "binary"), "f1": theirs.f1_score(b, a, "binary"),
            "matthews": theirs.matthews_corrcoef(b, a, "binary"),
        }  # fmt: skip
        for name, value in wanted.items():
            assert found[name] == pytest.approx(100 * value.item(), abs=1e-4), name
        x, y = torch.rand(2, 50, generator=torch.Generator().manual_seed(int(chance.integers(99))))
        found = score_glue("STS-B", x.tolist(), y.tolist())
        assert found["pearson"] == pytest.approx(
            100 * theirs.pearson_corrcoef(y, x).item(), abs=1e-3
        )
        assert found["spearman"] == pytest.approx(
            100 * theirs.spearman_corrcoef(y, x).item(), abs=1e-3
        )


def test_answers_that_are_all_alike_score_nothing():
    assert score_glue("STS-B", [0.0, 1.0, 5.0], [2.0] * 3) == {"pearson": 0.0, "spearman": 0.0}
    assert score_glue("CoLA", [0, 1, 1], [1] * 3) == {"matthews": 0.0}
    with pytest.raises(ValueError, match="3 labels, but 2 answers"):
        score_glue("CoLA", [0, 1, 1], [1] * 2)


def test_the_average_is_of_eight_tasks():
    scores = {name: float(i) for i, name in enumerate(AVERAGED)}
    assert average(scores) == 3.5
    assert average(scores | {"WNLI": 1000.0}) == 3.5
    assert average({"WNLI": 1.0}) is None


def test_the_command(tmp_path, capsys):
    """A class of two, one of three on two files, and a number; again, it only reads."""
    for task in ("CoLA", "MNLI", "STS-B"):
        write(tmp_path / "data", task)
    words = ["glue", str(tmp_path / "data"), str(tmp_path / "out"), "--start", "leads-small"]
    words += ["--epochs", "2", "--batch-size", "4", "--max-length", "32"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "MNLI  dev_mismatched  accuracy" in said and "no average, without SST-2" in said
    record = json.loads((tmp_path / "out" / "glue.json").read_text(encoding="utf-8"))
    assert record["start"] == "leads-small" and record["average"] is None
    assert list(record["scores"]["MNLI"]) == ["dev_matched", "dev_mismatched"]
    assert list(record["scores"]["STS-B"]["dev"]) == ["pearson", "spearman"]
    config = json.loads((tmp_path / "out/STS-B/model/config.json").read_text(encoding="utf-8"))
    assert config["problem_type"] == "regression"
    assert main([*words, "--tasks", "CoLA"]) == 0
    again = json.loads((tmp_path / "out" / "glue.json").read_text(encoding="utf-8"))
    assert again["scores"] == {"CoLA": record["scores"]["CoLA"]}


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    out = str(tmp_path / "out")
    assert main(["glue", str(tmp_path), out]) == 2
    assert "DATA holds a folder for each task" in capsys.readouterr().err
    write(tmp_path, "CoLA")
    assert main(["glue", str(tmp_path), out, "--tasks", "CoLA", "SST"]) == 2
    assert "--tasks SST is none of CoLA" in capsys.readouterr().err
    (tmp_path / "CoLA" / "dev.tsv").write_text("no\ttabs\n", encoding="utf-8")
    assert main(["glue", str(tmp_path), out, "--tasks", "CoLA"]) == 1
    assert "dev.tsv: 1 of 1 lines have fewer than 4 columns" in capsys.readouterr().err

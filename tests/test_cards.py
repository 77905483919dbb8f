"""The models that need no network, and what their cards say."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from source import ROOT

from minibert import BertForPreTraining, BertModel, cards, models
from minibert.bert import BertPreTrainedModel
from minibert.files import MODELS
from minibert.heads import BertForQuestionAnswering
from minibert.mlm import BertForMaskedLM

KINDS: dict[str, type[BertPreTrainedModel]] = {
    "leads-small": BertForPreTraining,
    "minilm": BertModel,
    "minilm-mlm": BertForMaskedLM,
    "minilm-qa": BertForQuestionAnswering,
}


def record(name: str) -> dict:
    return json.loads((ROOT / "results" / f"{name}.json").read_text(encoding="utf-8"))


def test_it_lists_what_there_is_with_its_true_size() -> None:
    listed = models()
    assert [one.name for one in listed] == sorted(KINDS)
    for one in listed:
        loaded = KINDS[one.name].from_pretrained(one.name)
        assert one.parameters == sum(part.numel() for part in loaded.parameters()), one.name
        assert 1e6 < one.size < 1e8
        assert one.task in ("fill-mask", "question-answering", "sentence-similarity")
        assert one.licence in ("apache-2.0", "cc-by-sa-4.0")


def test_a_cards_figures_are_the_records_and_stand_in_its_text() -> None:
    ours = {one.name: {f[:2]: f.value for f in one.figures} for one in models()}
    for name in ("leads-small", "minilm-mlm"):
        last = record(name)["log"][-1]
        kept = {"hidden pieces named": last["masked_accuracy"]}
        if "pair_accuracy" in last:
            kept["pairs judged right"] = last["pair_accuracy"]
        wanted = {("leads (dev)", k): round(100 * v, 1) for k, v in kept.items()}
        assert ours[name] == wanted
    kept = record("qa")["kept"]
    parts = {"LeadQA (test)": kept["leadqa test"], "SQuAD (five articles)": kept["squad test"]}
    assert ours["minilm-qa"] == {
        (part, said): round(score[name], 1)
        for part, score in parts.items()
        for said, name in [("exact match", "exact_match"), ("F1", "f1")]
    }
    for name, figures in ours.items():
        if figures:
            card = (MODELS / name / "README.md").read_text(encoding="utf-8")
            text = card.split("\n---\n", 1)[1]
            assert all(re.search(rf"\b{value}\b", text) for value in figures.values()), name


@pytest.mark.parametrize("name", ["leads-small", "minilm-mlm", "minilm-qa"])
def test_a_card_is_one_that_the_hub_reads(name: str) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard.load(MODELS / name / "README.md")
    said = {"apache-2.0": "Apache-2.0", "cc-by-sa-4.0": "CC BY-SA 4.0"}[card.data.license]
    assert said in card.text.split("## Licence")[1]
    (one,) = (one for one in models() if one.name == name)
    theirs = [(r.dataset_name, r.metric_name, r.metric_value) for r in card.data.eval_results]
    assert theirs == [tuple(figure) for figure in one.figures]
    config = json.loads((MODELS / name / "config.json").read_text(encoding="utf-8"))
    assert ("base_model" in config) == bool(card.data.base_model)


def test_it_prints_as_a_table() -> None:
    listed = models()
    lines = str(listed).splitlines()
    assert repr(listed) == str(listed) and lines[0].split()[:3] == ["name", "task", "parameters"]
    for one in listed:
        (line,) = (line for line in lines if line.startswith(f"{one.name} "))
        assert f"{one.parameters:,}" in line and one.licence in line
    assert len(lines) == 1 + len(listed) + sum(len(one.figures) for one in listed)
    text = listed._repr_html_()
    assert text.count("<tr>") == 1 + len(listed) and text.count("<th>") == 7
    odd = cards.Models([listed[0]._replace(name="<b>", figures=())])
    assert "&lt;b&gt;" in odd._repr_html_() and "<b>" not in odd._repr_html_()
    assert len(str(cards.Models()).splitlines()) == 1 and listed[:1] == [listed[0]]


def test_it_reads_no_weights_and_no_torch() -> None:
    code = "import sys\nfrom minibert import models\nmodels()\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.stdout.split() == ["False"], done.stderr


def test_without_the_package_what_stands_alone_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(package: str, file: str, extra: str) -> Path:
        raise ModuleNotFoundError(package)

    monkeypatch.setattr("minibert.files.package_file", none)
    assert [one.name for one in models()] == ["leads-small"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("# A model\n\nwithout fields", {}),
        ("---\nlicense: mit\n---\nText\n\n---\n", {"license": "mit"}),
        ("---\nlicense: [a\n---\n", "begins with no YAML"),
        ("---\n- a\n---\n", "must begin with fields"),
        ("---\n!!python/object/apply:os.system [echo]\n---\n", "begins with no YAML"),
        ("", {}),
        (None, {}),
    ],
)
def test_a_cards_fields(text: str | None, found: dict | str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "README.md").write_text(text, encoding="utf-8")
    if isinstance(found, dict):
        assert cards.read_card(tmp_path) == found
        return
    with pytest.raises(ValueError, match=rf"README\.md {found}"):
        cards.read_card(tmp_path)


def test_the_fields_of_a_card_are_plain_yaml() -> None:
    for path in MODELS.glob("*/README.md"):
        assert yaml.safe_load(path.read_text(encoding="utf-8").split("---\n")[1]) == (
            cards.read_card(path.parent)
        )

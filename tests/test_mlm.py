"""Masking by its statistics, the head against transformers, and the string functions."""

from importlib import metadata
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from minibert import mlm
from minibert.config import BertConfig
from minibert.data import leads
from minibert.losses import IGNORE, at_labels, mean_loss
from minibert.mlm import (
    BertForMaskedLM,
    Masking,
    fill_mask,
    fill_one_by_one,
    guess_words,
    pseudo_log_likelihood,
)
from minibert.tokens import Tokenizer
from minibert.vocabulary import SPECIAL

transformers = pytest.importorskip("transformers")
transformers.utils.logging.disable_progress_bar()

WORDS = ["the", "dog", "cat", "man", "bit", "saw", "a", ".", "##s", "##es", "##man", "sea"]
TOKENIZER = Tokenizer([*SPECIAL, *WORDS])
V = len(TOKENIZER)
SMALL = BertConfig(
    vocab_size=V,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=48,
    max_position_embeddings=24,
)
IDS = torch.tensor([[2, 7, 9, 13, 11, 3], [2, 8, 3, 0, 0, 0]])
MASK = (IDS != 0).long()
LABELS = torch.tensor([[-100, 7, -100, -100, 6, -100], [-100, 8, -100, -100, -100, -100]])


def close(a: Tensor, b: Tensor, within: float = 1e-5) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=within)


def small() -> BertForMaskedLM:
    torch.manual_seed(0)
    model = BertForMaskedLM(SMALL).eval()
    with torch.no_grad():  # as they start, biases are 0 and norms 1
        for tensor in model.parameters():
            tensor.add_(torch.randn_like(tensor) * 0.1)
    return model


def peer(folder: Path) -> nn.Module:
    return transformers.BertForMaskedLM.from_pretrained(folder).eval()


def rows(count: int, size: int, seed: int = 0) -> Tensor:
    """Rows with [CLS], [SEP], padding, [UNK] and words of several pieces."""
    chance = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, V, (count, size), generator=chance)
    ids[:, 0], ids[:, -3], ids[:, -2:], ids[:, 4] = 2, 3, 0, 1
    return ids


@pytest.fixture(scope="module")
def pair() -> tuple[BertForMaskedLM, Tokenizer]:
    return small(), TOKENIZER


# Masking


def test_shares_are_the_stated_ones_over_millions() -> None:
    ids = torch.randint(5, V, (4000, 1000), generator=torch.Generator().manual_seed(1))
    hidden, labels = Masking(TOKENIZER)(ids, torch.Generator().manual_seed(2))
    chosen = labels != IGNORE
    count = int(chosen.sum())

    def within(hits: int, draws: int, share: float) -> None:
        error = (share * (1 - share) * draws) ** 0.5
        assert abs(hits - share * draws) < 5 * error, (hits / draws, share)

    within(count, ids.numel(), 0.15)
    within(int((hidden == TOKENIZER.mask_id).sum()), count, 0.8)
    same = 0.1 + 0.1 / (V - len(SPECIAL))  # a random piece may be the right one
    within(int((chosen & (hidden == ids)).sum()), count, same)
    other = hidden[chosen & (hidden != ids) & (hidden != TOKENIZER.mask_id)]
    share = torch.bincount(other, minlength=V)[5:] / len(other)
    close(share, torch.full_like(share, 1 / (V - 5)), 0.005)  # every piece alike
    within(int(chosen[:, 0].sum()), 4000, 0.15)  # the places too


def test_shares_are_those_of_transformers_collator() -> None:
    ids = rows(3000, 300)
    special = ids < len(SPECIAL)
    order = {w: i for i, w in enumerate(TOKENIZER.vocabulary)}
    collator = transformers.DataCollatorForLanguageModeling(transformers.BertTokenizer(vocab=order))
    torch.manual_seed(0)
    hidden, labels = collator.torch_mask_tokens(ids.clone(), special)
    ours, wanted = Masking(TOKENIZER)(ids)
    for one, other in (
        (labels != -100, wanted != IGNORE),
        (hidden == 4, ours == 4),
    ):
        assert abs(one.float().mean() - other.float().mean()) < 0.003
    assert not (labels != -100)[special].any() and not (wanted != IGNORE)[special].any()


@settings(max_examples=60, deadline=None)
@given(
    ids=st.lists(st.lists(st.integers(0, V - 1), min_size=7, max_size=7), min_size=1, max_size=5),
    probability=st.sampled_from([0.0, 0.15, 0.5, 1.0]),
    whole=st.booleans(),
    seed=st.integers(0, 9),
)
def test_masking_properties(
    ids: list[list[int]], probability: float, whole: bool, seed: int
) -> None:
    before = torch.tensor(ids)
    kept = before.clone()
    hide = Masking(TOKENIZER, probability, whole)
    hidden, labels = hide(before, torch.Generator().manual_seed(seed))
    chosen = labels != IGNORE
    assert before.equal(kept)  # the input is left alone
    assert hidden.shape == labels.shape == before.shape
    assert labels[chosen].equal(before[chosen])
    assert hidden[~chosen].equal(before[~chosen])
    special = before < len(SPECIAL)
    assert not chosen[special].any()
    drawn = hidden[chosen]
    assert ((drawn >= len(SPECIAL)) | (drawn == TOKENIZER.mask_id)).all()
    if probability == 0:
        assert not chosen.any()
    if probability == 1:
        assert chosen.equal(~special)
    again = hide(before, torch.Generator().manual_seed(seed))
    assert again.input_ids.equal(hidden) and again.labels.equal(labels)


def test_a_word_is_hidden_whole_or_not_at_all() -> None:
    text = "The dogs saw the catman, the catmans bit a man."
    encoding = TOKENIZER.encode(text)
    words = encoding.words
    assert any(words.count(word) == 3 for word in words if word is not None)
    ids = torch.tensor([encoding.ids]).repeat(4000, 1)
    torch.manual_seed(0)
    chosen = Masking(TOKENIZER, whole_words=True)(ids).labels != IGNORE
    for word in set(words) - {None}:
        its = chosen[:, [i for i, w in enumerate(words) if w == word]]
        assert (its.all(1) == its.any(1)).all()
        if not (ids[0, words.index(word)] < len(SPECIAL)):
            assert abs(its[:, 0].float().mean() - 0.15) < 0.03
    pieces = Masking(TOKENIZER)(ids).labels != IGNORE
    place = next(i for i, t in enumerate(encoding.tokens) if t.startswith("##"))
    assert (pieces[:, place] != pieces[:, place - 1]).any()


@given(
    inner=st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=4),
    seed=st.integers(0, 9),
)
@settings(max_examples=40, deadline=None)
def test_a_piece_takes_the_draw_of_its_words_first_piece(
    inner: list[list[bool]], seed: int
) -> None:
    chance = torch.rand(len(inner), 6, generator=torch.Generator().manual_seed(seed))
    drawn = mlm.draw_by_word(chance, torch.tensor(inner))
    for row, flags, out in zip(chance.tolist(), inner, drawn.tolist(), strict=True):
        first = 0  # a row that opens inside of a word: its first place counts as the start
        for place, flag in enumerate(flags):
            first = first if flag else place
            assert out[place] == row[first]


@pytest.mark.parametrize("size", [1, 8, 32])
def test_a_short_row_may_have_nothing_hidden(size: int) -> None:
    ids = torch.full((20_000, size), 7)
    chosen = Masking(TOKENIZER)(ids, torch.Generator().manual_seed(size)).labels != IGNORE
    share = 0.85**size
    error = (share * (1 - share) / 20_000) ** 0.5
    assert abs((~chosen.any(1)).float().mean() - share) < 5 * error


def test_a_row_of_specials_hides_nothing() -> None:
    ids = torch.tensor([[2, 1, 4, 3, 0, 0]])
    for whole in (False, True):
        hidden, labels = Masking(TOKENIZER, 1.0, whole)(ids)
        assert hidden.equal(ids) and (labels == IGNORE).all()


def test_masks_are_fresh_each_time() -> None:
    ids, hide = rows(8, 40), Masking(TOKENIZER)
    assert not hide(ids).labels.equal(hide(ids).labels)


@pytest.mark.parametrize("probability", [-0.1, 1.5, float("nan")])
def test_a_probability_outside_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match=r"probability is .*, not between 0 and 1"):
        Masking(TOKENIZER, probability)


# The head


def test_equals_transformers(tmp_path: Path) -> None:
    model = small()
    model.save_pretrained(tmp_path)
    theirs = peer(tmp_path)
    with torch.no_grad():
        want = theirs(IDS, MASK, labels=LABELS)
        got = model(IDS, MASK, output_hidden_states=True, output_attentions=True)
        close(got.logits[MASK.bool()], want.logits[MASK.bool()])
        asked = model(IDS, MASK, labels=LABELS)
    close(asked.loss, want.loss)
    close(asked.logits, want.logits[LABELS != IGNORE])
    assert got.loss is None
    assert len(got.hidden_states) == 3 and len(got.attentions) == 2


def test_gradients_equal_those_of_transformers(tmp_path: Path) -> None:
    model = small()
    model.save_pretrained(tmp_path)
    theirs = peer(tmp_path)
    theirs(IDS, MASK, labels=LABELS).loss.backward()
    model(IDS, MASK, labels=LABELS).loss.backward()
    close(
        model.bert.embeddings.token.weight.grad,
        theirs.bert.embeddings.word_embeddings.weight.grad,
    )
    close(model.predictions.bias.grad, theirs.cls.predictions.bias.grad)


def test_their_weights_come_in_and_go_out(tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=V, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=48, max_position_embeddings=24,
    )  # fmt: skip
    theirs = transformers.BertForMaskedLM(config).eval()
    nn.init.normal_(theirs.cls.predictions.bias)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = BertForMaskedLM.from_pretrained(tmp_path / "theirs")
    ours.save_pretrained(tmp_path / "ours")
    with torch.no_grad():
        close(ours(IDS).logits, theirs(IDS).logits)
        close(peer(tmp_path / "ours")(IDS).logits, theirs(IDS).logits, 1e-6)


def test_an_untied_decoder_is_refused(tmp_path: Path) -> None:
    model = small()
    model.save_pretrained(tmp_path)
    from safetensors.torch import load_file

    state = {k: v.clone() for k, v in load_file(tmp_path / "model.safetensors").items()}
    table = state["bert.embeddings.word_embeddings.weight"]
    state["cls.predictions.decoder.weight"] = table + 1
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"decoder\.weight differs from .*word_embed"):
        BertForMaskedLM.from_pretrained(tmp_path)
    state["cls.predictions.decoder.weight"] = table.clone()
    save_file(state, tmp_path / "model.safetensors")
    BertForMaskedLM.from_pretrained(tmp_path)


def test_base_has_the_published_count() -> None:
    with torch.device("meta"):
        model = BertForMaskedLM(BertConfig())
    assert sum(p.numel() for p in model.parameters()) == 109_514_298


def test_the_head_owns_no_table() -> None:
    model = small()
    assert [n for n, p in model.predictions.named_parameters() if p.shape[0] == V] == ["bias"]
    table = model.bert.embeddings.token.weight
    before = model(IDS).logits
    with torch.no_grad():
        table[5] += 1
    assert not model(IDS).logits[..., 5].equal(before[..., 5])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([IGNORE, 5, 9]), min_size=12, max_size=12))
def test_the_loss_is_that_of_every_place(wanted: list[int]) -> None:
    model = small()
    labels = torch.tensor(wanted).view(2, 6)
    with torch.no_grad():
        asked = model(IDS, MASK, labels=labels)
        everywhere = model(IDS, MASK).logits
    assert asked.logits.shape == ((labels != IGNORE).sum(), V)
    if (labels != IGNORE).any():
        full = nn.functional.cross_entropy(everywhere.flatten(0, 1), labels.flatten())
        close(asked.loss, full)
    else:
        assert asked.loss == 0


def test_no_chosen_place_gives_no_loss_and_no_gradient() -> None:
    model = small()
    output = model(IDS, MASK, labels=torch.full_like(IDS, IGNORE))
    output.loss.backward()
    assert output.loss.item() == 0 and output.logits.shape == (0, V)
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert grads and all((g == 0).all() for g in grads)
    assert mean_loss(torch.zeros(0, V), torch.zeros(0, dtype=torch.long)) == 0


def test_where_nothing_is_chosen_transformers_says_nan(tmp_path: Path) -> None:
    model = small()
    model.save_pretrained(tmp_path)
    nothing = torch.full_like(IDS, IGNORE)
    theirs = peer(tmp_path)(IDS, MASK, labels=nothing).loss
    theirs.backward()  # as the chapter says: the loss is lost, the weights are not
    assert theirs.isnan() and model(IDS, MASK, labels=nothing).loss == 0
    # one row with a label beside rows without: the mean is over that label alone
    labels = LABELS.clone()
    labels[1] = IGNORE
    close(model(IDS, MASK, labels=labels).loss, model(IDS[:1], MASK[:1], labels=LABELS[:1]).loss)


def test_labels_are_checked() -> None:
    x = torch.zeros(2, 6, 32)
    with pytest.raises(TypeError, match=r"labels must be int64, not torch\.int32"):
        at_labels(x, LABELS.int())
    with pytest.raises(ValueError, match=r"labels is \(6,\), but input_ids is \(2, 6\)"):
        small()(IDS, MASK, labels=LABELS[0])
    vectors, labels = at_labels(x, LABELS)
    assert vectors.shape == (3, 32) and labels.tolist() == [7, 6, 8]


def test_it_learns_one_sentence() -> None:
    torch.manual_seed(0)
    model = BertForMaskedLM(SMALL)
    adam = torch.optim.AdamW(model.parameters(), lr=5e-3)
    ids = TOKENIZER("the dog bit the man .").input_ids
    for _ in range(150):
        hidden, labels = Masking(TOKENIZER, 0.3)(ids)
        loss = model(hidden, labels=labels).loss
        adam.zero_grad()
        loss.backward()
        adam.step()
    learned = model.eval(), TOKENIZER
    [blank] = fill_mask("the dog [MASK] the man .", 1, model=learned)
    assert blank.words == ["bit"] and blank.probabilities[0] > 0.5
    assert fill_one_by_one("[MASK] dog bit the [MASK] .", model=learned) == ("the dog bit the man.")
    right = pseudo_log_likelihood("the dog bit the man .", model=learned).sum()
    assert right > pseudo_log_likelihood("man . the bit dog the", model=learned).sum()


# On strings


def test_fill_mask_equals_the_pipeline_of_transformers(
    pair: tuple[BertForMaskedLM, Tokenizer], tmp_path: Path
) -> None:
    pair[0].save_pretrained(tmp_path)
    order = {w: i for i, w in enumerate(TOKENIZER.vocabulary)}
    pipe = transformers.pipeline(
        "fill-mask",
        model=peer(tmp_path),
        tokenizer=transformers.BertTokenizer(vocab=order),
        device="cpu",
    )
    text = "the dog [MASK] a man."
    [blank] = fill_mask(text, 4, model=pair)
    want = pipe(text, top_k=4)
    assert blank.words == [TOKENIZER.tokens([one["token"]])[0] for one in want]
    assert blank.probabilities == pytest.approx([one["score"] for one in want], abs=1e-5)


def test_fill_mask_gives_probabilities_in_order(pair) -> None:
    blanks = fill_mask("[MASK] dog bit [MASK].", V, model=pair)
    assert len(blanks) == 2
    for blank in blanks:
        assert sum(blank.probabilities) == pytest.approx(1, abs=1e-5)
        assert blank.probabilities == sorted(blank.probabilities, reverse=True)
        assert sorted(blank.words) == sorted(TOKENIZER.vocabulary)


def test_one_gap_filled_one_by_one_is_the_best(pair) -> None:
    text = "the dog [MASK] a man"
    words = [w for w in fill_mask(text, V, model=pair)[0].words if w not in SPECIAL]
    assert words[0].removeprefix("##") in fill_one_by_one(text, model=pair)
    assert "[MASK]" not in fill_one_by_one("[MASK] [MASK] [MASK] [MASK]", model=pair)


def test_pseudo_log_likelihood_is_the_plain_loop(pair) -> None:
    text = "the dogs saw a catman. " * 2
    ids = TOKENIZER(text).input_ids
    scores = []
    for place in range(1, ids.shape[1] - 1):
        hidden = ids.clone()
        hidden[0, place] = TOKENIZER.mask_id
        with torch.no_grad():
            logits = pair[0](hidden).logits[0, place]
        scores.append(logits.log_softmax(-1)[ids[0, place]])
    close(pseudo_log_likelihood(text, model=pair), torch.stack(scores))


def test_a_long_text_is_scored_in_parts() -> None:
    config = BertConfig(
        vocab_size=V, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=160,
    )  # fmt: skip
    torch.manual_seed(0)
    model = BertForMaskedLM(config).eval()
    assert pseudo_log_likelihood("dog " * 150, model=(model, TOKENIZER)).shape == (150,)


TASKS = [fill_mask, fill_one_by_one, pseudo_log_likelihood]


@pytest.mark.parametrize("task", TASKS)
def test_text_is_checked(task, pair) -> None:
    with pytest.raises(TypeError, match="text must be a string, not 7"):
        task(7, model=pair)
    with pytest.raises(ValueError, match="there is no text"):
        task("  ", model=pair)
    with pytest.raises(ValueError, match=r"32 tokens, the model takes 24: shorten"):
        task("[MASK] " * 30, model=pair)
    with pytest.raises(TypeError, match="the model must be a BertForMaskedLM"):
        task("[MASK]", model=(pair[0].bert, TOKENIZER))


@pytest.mark.parametrize("task", TASKS[:2])
def test_a_gap_is_needed(task, pair) -> None:
    with pytest.raises(ValueError, match=r"no \[MASK\] in 'the dog': write it where"):
        task("the dog", model=pair)


@pytest.mark.parametrize("k", [0, V + 1])
def test_k_is_checked(k: int, pair) -> None:
    with pytest.raises(ValueError, match=f"k is {k}, not 1 to {V}"):
        fill_mask("the [MASK]", k, model=pair)


def test_a_folder_will_do(pair, tmp_path: Path) -> None:
    pair[0].save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    text = "the [MASK] bit a man"
    there = fill_mask(text, model=str(tmp_path), device=pair[0].device)
    assert there == fill_mask(text, model=pair)


def test_the_shipped_model_fills_a_gap() -> None:
    [blank] = fill_mask("The capital of [MASK] is Paris.")
    assert "france" in blank.words


def test_words_are_hidden_whole_and_alike_in_two_vocabularies() -> None:
    texts = [one.text[:200] for one in leads("dev")[:60]]
    words = ["the", "of", "and", "in", "river", "city", "born"]
    asked = []
    for name in ("leads-4096", "minilm"):
        tokenizer = Tokenizer.from_pretrained(name)
        config = BertConfig(
            vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=1,
            num_attention_heads=1, intermediate_size=8,
        )  # fmt: skip
        pair = BertForMaskedLM(config).eval(), tokenizer
        asked.append(guess_words(texts, words, model=pair))
    assert [true for true, _ in asked[0]] == [true for true, _ in asked[1]]
    assert 0.1 < len(asked[0]) / sum(t.lower().split().count(w) for t in texts for w in words) < 0.2
    assert {word for both in asked for pair in both for word in pair} <= set(words)
    again = guess_words(texts, words, model=pair)
    assert again == asked[1] != guess_words(texts, words, model=pair, seed=1)


def test_a_word_that_is_no_piece_is_named() -> None:
    with pytest.raises(LookupError, match="'cephalopod' is not in the vocabulary"):
        guess_words(["the dog"], ["cephalopod"], model="minilm-mlm")


# A head that others trained, over amino acids


def test_antiberty_scores_a_protein_as_transformers_does(tmp_path: Path) -> None:
    try:
        found = metadata.distribution("antiberty")
    except metadata.PackageNotFoundError:
        pytest.skip("the package antiberty is not installed (pip install --no-deps antiberty)")
    folder = Path(str(found.locate_file("antiberty/trained_models")))
    weights = folder / "AntiBERTy_md_smooth" / "pytorch_model.bin"
    state = torch.load(weights, map_location="cpu", weights_only=True)
    kept = {
        name: tensor.clone()
        for name, tensor in state.items()
        if name.startswith(("bert.", "cls.predictions.")) and "pooler" not in name
    }
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = (weights.parent / "config.json").read_text(encoding="utf-8")
    (tmp_path / "config.json").write_text(config, encoding="utf-8")
    ours = BertForMaskedLM.from_pretrained(tmp_path)
    theirs = peer(tmp_path)
    pieces = (folder / "vocab.txt").read_text(encoding="utf-8").split()
    tokenizer = Tokenizer(pieces, lowercase=False)
    protein = "EVQLVESGGGLVQPGGSLRLSCAASGFTFSSYAMSWVRQAPGKGLEWVSAISGSGGSTYYADSVKG"
    ids = tokenizer(" ".join(protein)).input_ids
    assert tokenizer.unk_id not in ids
    hidden, labels = Masking(tokenizer)(ids, torch.Generator().manual_seed(0))
    with torch.no_grad():
        want = theirs(hidden, labels=labels)
        got = ours(hidden).logits
        loss = ours(hidden, labels=labels).loss
    close(got, want.logits)
    close(loss, want.loss)
    right = got.argmax(-1) == ids
    assert right[labels != IGNORE].float().mean() > 0.6  # it is a trained head

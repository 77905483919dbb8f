"""Ids equal the published tokenizer's, and offsets lead back into the text."""

import json
import pickle
import random
import re
import unicodedata
from importlib import resources
from pathlib import Path

import pytest
import regex
import tokenizers
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer, BertTokenizer

from minibert.batching import Batch
from minibert.bert import BertModel
from minibert.config import BertConfig
from minibert.data import leads
from minibert.files import resolve
from minibert.tokens import Encoding, Tokenizer
from minibert.vocabulary import SPECIAL, train_vocabulary

EASY = settings(max_examples=400, deadline=None, derandomize=True)
TEXT = st.text(max_size=40)  # every code point but lone surrogates


@pytest.fixture(scope="module")
def texts():
    return [one.text for one in leads()]


MINILM = Tokenizer.from_pretrained("minilm")
LEADS = Tokenizer.from_pretrained("leads-4096")
REFERENCE = BertTokenizer.from_pretrained(resolve("minilm"))
TINY = Tokenizer([*SPECIAL, "the", "dog", "##s", "bit", "man", "snow", "##man"])
TOY = "the dog bit the man"


# Against transformers


def test_ids_equal_on_every_lead(texts):
    theirs = REFERENCE(texts)
    ours = [MINILM.encode(text) for text in texts]
    assert [one.ids for one in ours] == theirs["input_ids"]
    batch = MINILM(texts[:200])
    padded = REFERENCE(texts[:200], padding=True, return_tensors="pt")
    for name in Batch._fields:
        assert torch.equal(getattr(batch, name), padded[name]), name


def test_ids_equal_the_slow_tokenizer(texts):
    legacy = pytest.importorskip("transformers.models.bert.tokenization_bert_legacy")
    slow = legacy.BertTokenizerLegacy(str(resolve("minilm") / "vocab.txt"))
    for text in random.Random(0).sample(texts, 1500):
        assert MINILM.encode(text).ids == slow(text)["input_ids"]


@EASY
@given(TEXT)
@example("[CLS] typed by hand [MASK]")
@example("a" * 100 + " " + "b" * 101)
@example("snow☃man 故宫 カタカナ 서울 \ufeff\u200b\x00\t")
def test_ids_equal_on_any_text(text):
    assert MINILM.encode(text).ids == REFERENCE(text)["input_ids"]


SCRIPTS = {
    "Latin": (0x41, 0x24F), "IPA": (0x250, 0x2AF), "marks": (0x300, 0x36F),
    "Greek": (0x370, 0x3FF), "Cyrillic": (0x400, 0x4FF), "Armenian": (0x530, 0x58F),
    "Hebrew": (0x590, 0x5FF), "Arabic": (0x600, 0x6FF), "Devanagari": (0x900, 0x97F),
    "Bengali": (0x980, 0x9FF), "Tamil": (0xB80, 0xBFF), "Thai": (0xE00, 0xE7F),
    "Tibetan": (0xF00, 0xFFF), "Burmese": (0x1000, 0x109F), "Georgian": (0x10A0, 0x10FF),
    "Jamo": (0x1100, 0x11FF), "Ethiopic": (0x1200, 0x137F), "Khmer": (0x1780, 0x17FF),
    "Vietnamese": (0x1E00, 0x1EFF), "old Greek": (0x1F00, 0x1FFF), "signs": (0x2000, 0x206F),
    "symbols": (0x2070, 0x2BFF), "kana": (0x3040, 0x30FF), "Chinese": (0x4E00, 0x9FFF),
    "more Chinese": (0x3400, 0x4DBF), "Korean": (0xAC00, 0xD7A3), "private": (0xE000, 0xE0FF),
    "forms": (0xF900, 0xFFFD), "emoji": (0x1F300, 0x1FAFF), "rare Chinese": (0x20000, 0x2A6DF),
    "tags": (0xE0000, 0xE01EF), "controls": (0x0, 0x1F),
}  # fmt: skip
FIVE = [
    {}, {"lowercase": False}, {"strip_accents": False}, {"chinese": False},
    {"lowercase": False, "strip_accents": True, "chinese": False},
]  # fmt: skip


def strings(count: int, seed: int) -> list[str]:
    """Words of many scripts, with punctuation, special tokens and the known between."""
    draw = random.Random(seed)
    known = [p.removeprefix("##") for p in MINILM.vocabulary[1000:] if p.isalpha()]
    made = []
    for _ in range(count):
        words = []
        for _ in range(draw.randint(1, 9)):
            low, high = SCRIPTS[draw.choice(list(SCRIPTS))]
            word = "".join(chr(draw.randint(low, high)) for _ in range(draw.randint(1, 6)))
            words.append(draw.choice([
                word, word, draw.choice(known), draw.choice(known).title(),
                draw.choice(known) + word, draw.choice([*SPECIAL, "[unused1]", "x" * 101]),
            ]))  # fmt: skip
        made.append(draw.choice(["", " ", " ", "-", "\u3000", ", "]).join(words))
    return made


@pytest.mark.parametrize("seed", range(5))
def test_ids_equal_in_many_scripts(seed):
    """9,200 strings, under five settings."""
    switches = FIVE[seed]
    ours = Tokenizer(MINILM.vocabulary, **switches)
    theirs = BertTokenizer(
        {piece: i for i, piece in enumerate(MINILM.vocabulary)},
        do_lower_case=switches.get("lowercase", True),
        strip_accents=switches.get("strip_accents"),
        tokenize_chinese_chars=switches.get("chinese", True),
    )
    texts = strings(1840, seed)
    assert len({*texts}) > 1800
    wanted = theirs(texts, return_offsets_mapping=True)
    found = [ours.encode(text) for text in texts]
    assert [one.ids for one in found] == wanted["input_ids"]
    pairs = theirs(texts[:300], texts[300:600])["input_ids"]
    assert [ours.encode(*two).ids for two in zip(texts[:300], texts[300:600], strict=True)] == pairs
    for one, places in zip(found, wanted["offset_mapping"], strict=True):
        # Theirs, grown by signs: nothing is lost, and no two pieces overlap more than theirs.
        for (start, end), (low, high) in zip(one.offsets, places, strict=True):
            assert start <= low
            assert high <= end
    differ = [Tokenizer(MINILM.vocabulary, **other) for other in FIVE if other != switches]
    for other in differ:  # the settings matter to these strings
        assert [other.encode(text).ids for text in texts[:200]] != wanted["input_ids"][:200]


@EASY
@given(
    st.text("ab c", max_size=30),
    st.none() | st.text("ab c", min_size=1, max_size=30),  # "" is no pair to them
    st.integers(3, 20),
    st.sampled_from(["longest_first", "only_first", "only_second"]),
)
def test_truncation_equals_theirs(first, second, max_length, how):
    args = {"max_length": max_length, "truncation": how}
    try:
        ours = MINILM.encode(first, second, **args).ids
    except ValueError:
        sizes = [len(MINILM.encode(t or "").ids) - 2 for t in (first, second)]
        special = 2 if second is None else 3
        extra = sum(sizes) + special - max_length
        assert extra > 0
        if how == "only_second":
            assert second is None or extra >= sizes[1]
        else:
            assert how == "only_first"
            assert extra >= sizes[0]
        return
    theirs = REFERENCE(first, second, **args)["input_ids"]
    assert ours == theirs
    assert len(ours) <= max_length


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("strip_accents", [True, False, None])
@pytest.mark.parametrize("chinese", [True, False])
def test_every_switch_saves_and_loads_both_ways(lowercase, strip_accents, chinese, tmp_path):
    ours = Tokenizer(
        MINILM.vocabulary,
        lowercase=lowercase, strip_accents=strip_accents, chinese=chinese,
    )  # fmt: skip
    ours.save_pretrained(tmp_path)
    again = Tokenizer.from_pretrained(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("Hacía Café, DNA", "故宫博物院 カタ", "Skłodowska naïve Älv"):
        ids = ours.encode(text).ids
        assert ids == again.encode(text).ids == theirs(text)["input_ids"]
    assert again.vocabulary == ours.vocabulary


def test_what_transformers_saves_is_read(tmp_path):
    REFERENCE.save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").unlink(missing_ok=True)
    assert Tokenizer.from_pretrained(tmp_path).vocabulary == MINILM.vocabulary
    with pytest.raises(FileExistsError, match=r"tokenizer\.json"):
        MINILM.save_pretrained(tmp_path)


# Offsets


def covered(text: str, tokenizer: Tokenizer) -> None:
    """Each piece is what its place holds, cleaned; what no piece has is nothing."""
    normal = normalizers.BertNormalizer(
        lowercase=tokenizer.lowercase, strip_accents=tokenizer.strip_accents
    ).normalize_str
    found = tokenizer.encode(text)
    last, inside, spelled = (0, 0), set(), {}
    for token, (start, end), word, special in zip(
        found.tokens, found.offsets, found.words, found.special, strict=True
    ):
        if special:
            assert (start, end, word) == (0, 0, None)
            continue
        assert 0 <= start < end <= len(text)
        assert start >= last[0] and end >= last[1]
        # Only pieces of one character that was taken apart share a place.
        assert start >= last[1] or (start, end) == last
        last = (start, end)
        inside.update(range(start, end))
        if token not in SPECIAL:
            assert token.removeprefix("##") in normal(text[start:end])
        spelled.setdefault(word, []).append((token, start, end))
    for parts in spelled.values():
        if parts[0][0] not in SPECIAL:
            whole = normal(text[parts[0][1] : parts[-1][2]]).strip()
            assert "".join(p.removeprefix("##") for p, *_ in parts) == whole
    for place in set(range(len(text))) - inside:
        assert not normal(text[place]).strip(), (place, text[place])


@EASY
@given(TEXT)
@example("cafe\u0301s e\u0301\u0323 \u0301x")
@example("서울 İstanbul ß ﬁ Ǆ")
@example("a\u200bb\x00c\ufffdd")
@pytest.mark.parametrize("tokenizer", [MINILM, LEADS], ids=["minilm", "leads"])
def test_offsets_lead_back_in_any_text(tokenizer, text):
    covered(text, tokenizer)


def test_offsets_lead_back_in_every_dev_lead():
    for one in leads("dev"):
        covered(one.text, MINILM)
        covered(one.text, LEADS)


def test_offsets_equal_theirs_but_for_loose_accents(texts):
    for text in texts[:500]:
        if not any(unicodedata.combining(c) for c in text):
            theirs = REFERENCE(text, return_offsets_mapping=True)["offset_mapping"]
            assert MINILM.encode(text).offsets == theirs


def test_a_loose_accent_stays_with_its_letter():
    text = "the cafe\u0301 here"
    start, end = MINILM.encode(text).offsets[2]
    assert text[start:end] == "cafe\u0301"


SIGNED = {
    "hindi": "गुरु क्षेत्र हिन्दी में नहीं",
    "thai": "ที่ กี่ ภู ไม้ นี้",
    "tamil": "தமிழ் மொழி கல்வி",
    "bengali": "বাংলা ছেলেটি য়ি দুঃখ",
    "burmese": "မြန်မာ နေပြည်တော် ကို",
    "khmer": "ភាសាខ្មែរ ពី",
    "sinhala": "සිංහල ශ්‍රී ක්‍",
    "telugu": "తెలుగు కీ",
    "tibetan": "བོད་ཡིག སི",
    "hebrew": "שָׁלוֹם בְּרֵאשִׁית",
    "arabic": "مُحَمَّدٌ \u0600\u0661\u0662",
    "persian": "می\u200cخواهم نامه\u200c",
    "emoji": "❤\ufe0f 👩\u200d🚀 ☺\ufe0f 🏴\U000e0067\U000e0062\U000e007f 1\ufe0f\u20e3 👍🏽",
    "loose": "cafe\u0301 z\u0336\u0353 각\u0301 ﬁ\u0301",
    "vietnamese": "tie\u0302\u0301ng vie\u0323\u0302t",
}  # fmt: skip


def word_places(text: str, found: Encoding) -> list[tuple[int, int]]:
    """Where each word of a text begins and ends, by its pieces."""
    places: dict[int, list[tuple[int, int]]] = {}
    for word, place in zip(found.words, found.offsets, strict=True):
        if word is not None:
            places.setdefault(word, []).append(place)
    return [(min(p)[0], max(e for _, e in p)) for p in places.values()]


@pytest.mark.parametrize("name", SIGNED)
@pytest.mark.parametrize("letters", [True, False], ids=["letters", "unknown"])
def test_a_word_keeps_all_its_signs(name, letters):
    """Signs that normalisation drops stay with their letter, at every piece."""
    text = SIGNED[name]
    clean = normalizers.BertNormalizer().normalize_str(text)
    known = sorted({c for c in clean if not c.isspace()}) if letters else []
    one = Tokenizer([*SPECIAL, *known, *("##" + c for c in known)])
    found = one.encode("a " + text)
    assert (one.unk_id in found.ids[2:]) is not letters
    places = sorted(set(found.offsets[2:-1]))
    if "་" not in text:  # a mark that cuts words
        words = [text[i - 2 : j - 2] for i, j in word_places("a " + text, found)[1:]]
        assert words == text.split()
    inside = "".join(("a " + text)[i:j] for i, j in places)
    assert inside == "".join(text.split())  # nothing between pieces, nothing twice
    covered("a " + text, one)
    pair = one.encode("a", text)
    assert [text[i:j] for i, j in pair.offsets[3:-1]] == [
        ("a " + text)[i:j] for i, j in found.offsets[2:-1]
    ]  # fmt: skip


MARKS = "ुी्ंিীা়்ி่ี့်ြ\u0301\u0323\ufe0f\u200d\u200c\u20e3\U000e0067"
WORD = st.tuples(st.sampled_from("aéगकत্বதทမ❤👩서ד"), st.text(MARKS, max_size=3)).map("".join)


@EASY
@given(st.lists(st.lists(WORD, min_size=1, max_size=4).map("".join), min_size=1, max_size=4))
def test_words_of_any_signs_are_whole(words):
    text = " ".join(words)
    found = MINILM.encode(text)
    for token, (start, end) in zip(found.tokens, found.offsets, strict=True):
        if token not in ("[CLS]", "[SEP]") and end < len(text):
            # A piece ends where a word, a following piece or a cluster does.
            pieces = regex.findall(r"\X", text[start : end + 1])
            starts = {i for i, _ in found.offsets}
            assert text[end] == " " or end in starts or len(pieces[-1]) == 1


def test_the_answer_keeps_its_last_sign():
    text = "The Hindi word for teacher is गुरु."
    found = MINILM.encode(text)
    assert [text[i:j] for i, j in word_places(text, found)][-2:] == ["गुरु", "."]


def test_a_space_or_a_control_keeps_no_sign():
    for text in ("a \u0301b", "a\u200b\u0301 b", "\u0301a b", "a\n\u0301 b"):
        places = [text[i:j] for i, j in MINILM.encode(text).offsets[1:-1]]
        assert places == ["a", "b"], ascii(text)


def test_each_text_of_a_pair_has_its_own_offsets():
    pair = MINILM.encode("who bit?", TOY)
    assert pair.tokens == ["[CLS]", "who", "bit", "?", "[SEP]", *TOY.split(), "[SEP]"]
    assert pair.type_ids == [0] * 5 + [1] * 6
    assert pair.special == [True, *[False] * 3, True, *[False] * 5, True]
    assert pair.words == [None, 0, 1, 2, None, 0, 1, 2, 3, 4, None]
    assert "who bit?"[slice(*pair.offsets[3])] == "?"
    assert TOY[slice(*pair.offsets[6])] == "dog"
    assert pair.offsets[4] == (0, 0)
    theirs = REFERENCE("who bit?", TOY, return_offsets_mapping=True)
    assert pair.offsets == theirs["offset_mapping"]


# What happens to words


def test_one_strange_character_takes_the_whole_word():
    assert TINY.encode("snowman").tokens[1:-1] == ["snow", "##man"]
    assert TINY.encode("snow☃man").tokens[1:-1] == ["[UNK]"]
    assert TINY.encode("snow ☃ man").tokens[1:-1] == ["snow", "[UNK]", "man"]


def test_a_word_of_more_than_100_characters_is_lost():
    many = Tokenizer([*SPECIAL, "a", "##a"])
    assert many.encode("a" * 100).ids.count(many.unk_id) == 0
    assert many.encode("a" * 101).tokens[1:-1] == ["[UNK]"]


def test_case_and_accents():
    entries = [*SPECIAL, "hacia", "hacía", "Hacía", "Hacia"]
    cut = {
        (low, strip): Tokenizer(entries, lowercase=low, strip_accents=strip)
        .encode("Hacía").tokens[1]
        for low in (True, False) for strip in (True, False, None)
    }  # fmt: skip
    assert cut == {
        (True, True): "hacia", (True, False): "hacía", (True, None): "hacia",
        (False, True): "Hacia", (False, False): "Hacía", (False, None): "Hacía",
    }  # fmt: skip


def test_chinese_is_cut_by_character():
    entries = [*SPECIAL, "故", "宫", "##宫"]
    assert Tokenizer(entries).encode("故宫").tokens[1:-1] == ["故", "宫"]
    apart = Tokenizer(entries, chinese=False).encode("故宫").tokens[1:-1]
    assert apart == ["故", "##宫"]


def test_special_tokens_typed_by_hand_are_special_tokens():
    found = MINILM.encode("the [MASK] bit [sep]")
    assert found.ids[2] == MINILM.mask_id == 103
    assert found.special[2] is False
    assert MINILM.sep_id not in found.ids[1:-1]


# Batches


def test_ids_of_many_are_those_of_each(texts):
    some = [*texts[:200], "", "東京 x"]
    for longest in (None, 2, 40):
        assert MINILM.ids(some, max_length=longest) == [
            MINILM.encode(text, max_length=longest).ids for text in some
        ]
    assert MINILM.ids([]) == []
    with pytest.raises(TypeError, match="text 1 must be a string"):
        MINILM.ids(["one", 2])
    with pytest.raises(ValueError, match="max_length is 1"):
        MINILM.ids(["one"], max_length=1)


def test_a_batch():
    batch = TINY([TOY, "dogs"], ["the man", ""])
    assert batch.input_ids.tolist() == [
        [2, 5, 6, 8, 5, 9, 3, 5, 9, 3], [2, 6, 7, 3, 3, 0, 0, 0, 0, 0],
    ]  # fmt: skip
    assert batch.attention_mask.tolist() == [[1] * 10, [1] * 5 + [0] * 5]
    assert batch.token_type_ids.tolist() == [
        [0] * 7 + [1] * 3, [0] * 4 + [1] + [0] * 5,
    ]  # fmt: skip
    assert Batch._fields == ("input_ids", "attention_mask", "token_type_ids")
    assert all(tensor.dtype == torch.int64 for tensor in batch)
    assert isinstance(batch.to("meta"), Batch)
    assert all(tensor.is_meta for tensor in batch.to("meta"))


def test_the_padding_is_pad_wherever_pad_lies():
    odd = Tokenizer(["a", "[MASK]", "[SEP]", "[CLS]", "[UNK]", "[PAD]"])
    assert odd(["a a", ""]).input_ids.tolist() == [[3, 0, 0, 2], [3, 2, 5, 5]]


def test_one_string_is_a_batch_of_one():
    assert torch.equal(TINY(TOY).input_ids, TINY([TOY]).input_ids)
    assert torch.equal(TINY("a", "b").input_ids, TINY(["a"], ["b"]).input_ids)


def test_any_collection_of_strings_will_do():
    for some in ((TOY, "the"), iter([TOY, "the"]), {TOY: 1, "the": 2}):
        assert TINY(some).input_ids.shape == (2, 7)


def test_an_empty_text_is_two_special_tokens():
    assert TINY("").input_ids.tolist() == [[TINY.cls_id, TINY.sep_id]]
    assert TINY.encode("", "").tokens == ["[CLS]", "[SEP]", "[SEP]"]


def test_fixed_length():
    assert TINY([TOY], max_length=12, padding="max_length").input_ids.shape == (1, 12)
    assert TINY([TOY], max_length=4, padding="max_length").input_ids.shape == (1, 4)


def test_nothing_is_cut_that_nobody_asked_to_cut():
    assert TINY("the " * 1000).input_ids.shape == (1, 1002)
    with pytest.raises(ValueError, match=r"text 1 has 7 tokens.*max_length is 6"):
        TINY(["the", TOY], max_length=6, truncation=False)
    assert TINY([TOY], max_length=7, truncation=False).input_ids.shape == (1, 7)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: TINY([]), ValueError, "no texts"),
        (lambda: TINY(["a", None]), TypeError, "text 1 .* None"),
        (lambda: TINY([float("nan")]), TypeError, "text 0 .* nan"),
        (lambda: TINY(7), TypeError, "7 "),
        (lambda: TINY(b"a"), TypeError, "bytes"),
        (lambda: TINY([("a", "b")]), TypeError, "second argument"),
        (lambda: TINY(["a"], [None]), TypeError, "pair 0"),
        (lambda: TINY(["a", "b"], ["c"]), ValueError, "2 texts but 1 pairs"),
        (lambda: TINY.encode(None), TypeError, "text 0"),
        (lambda: TINY.encode("a", 3), TypeError, "pair 0"),
        (lambda: TINY("a\ud800"), ValueError, "surrogate.* at place 1"),
        (lambda: TINY(TOY, max_length=4, truncation="no"), ValueError, "'no'"),
        (lambda: TINY(TOY, max_length=1), ValueError, "no room"),
        (lambda: TINY(TOY, max_length=4, truncation="only_second"), ValueError,
         "no pair"),
        (lambda: TINY(TOY, "a", max_length=4, truncation="only_second"), ValueError,
         "not enough"),
        (lambda: TINY("a", TOY, max_length=4, truncation="only_first"), ValueError,
         "not enough"),
        (lambda: TINY("a", padding=False), ValueError, "padding is False"),
        (lambda: TINY("a", padding="max_length"), ValueError, "max_length=..."),
        (lambda: TINY.id("cat"), LookupError, "'cat' .* 12"),
        (lambda: TINY.tokens([0, 12]), IndexError, "id 12 at place 1"),
        (lambda: TINY.decode([-1]), IndexError, "id -1"),
        (lambda: TINY.decode(torch.zeros(2, 2, dtype=torch.long)), TypeError, "row"),
        (lambda: TINY.decode(torch.tensor(3)), TypeError, "row"),
        (lambda: TINY.decode([1.5]), TypeError, r"1\.5 at place 0"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


# Vocabularies


def test_ids_and_pieces():
    assert len(LEADS) == 4096 == len(LEADS.vocabulary)
    assert len(MINILM) == 30522
    for token in SPECIAL:
        name = f"{token[1:-1].lower()}_id"
        assert getattr(MINILM, name) == MINILM.id(token)
        assert MINILM.tokens([MINILM.id(token)]) == [token]
    assert MINILM.decode(torch.tensor(MINILM.encode("Dogs bit!").ids)) == "dogs bit!"
    LEADS.vocabulary.clear()
    assert len(LEADS.vocabulary) == 4096


@pytest.mark.parametrize(
    ("entries", "kind", "words"),
    [
        (SPECIAL[:-1], ValueError, r"lacks \[MASK\]"),
        ([*SPECIAL, "a", "a"], ValueError, "'a' is twice.* 5 and 6"),
        ([*SPECIAL, 3], TypeError, "entry 5"),
        ("abc", TypeError, "list of pieces"),
    ],
)
def test_a_vocabulary_is_checked(entries, kind, words):
    with pytest.raises(kind, match=words):
        Tokenizer(entries)


def test_the_committed_vocabulary_is_what_training_gives():
    committed = (resources.files("minibert") / "vocab" / "leads-4096.txt").read_bytes()
    learned = train_vocabulary([one.text for one in leads("train")], 4096)
    assert committed.decode() == "".join(f"{piece}\n" for piece in learned)
    assert LEADS.vocabulary == learned


def test_training_repeats_itself_and_nests(texts):
    one = train_vocabulary(texts[:300], 1200)
    assert len(one) == 1200
    assert one == train_vocabulary(iter(texts[:300]), 1200)
    assert one[:800] == train_vocabulary(texts[:300], 800)
    assert one[:5] == SPECIAL


def test_training_keeps_case_when_told_to():
    assert "Dog" in train_vocabulary(["Dog Dog Dog"] * 9, 30, lowercase=False)
    assert "dog" in train_vocabulary(["Dog Dog Dog"] * 9, 30)


def test_a_vocabulary_with_accents():
    """Lower-cased or not, with them or without, whatever the default is."""
    texts = ["Née Née"] * 9
    assert "nee" in train_vocabulary(texts, 30)
    assert "née" in train_vocabulary(texts, 30, strip_accents=False)
    assert "Née" in train_vocabulary(texts, 30, lowercase=False)
    assert "Nee" in train_vocabulary(texts, 30, lowercase=False, strip_accents=True)


def test_training_wants_texts_and_room():
    with pytest.raises(ValueError, match="no texts"):
        train_vocabulary([], 100)
    with pytest.raises(TypeError, match="list of strings"):
        train_vocabulary("the dog", 100)
    with pytest.raises(ValueError, match=r"size 7 is too small.* 6 entries"):
        train_vocabulary(["the dog"], 7)


@EASY
@given(st.sampled_from(leads("dev")))
def test_no_training_character_is_unknown(one):
    found = LEADS.encode(one.text)
    lost = [
        one.text[i:j] for (i, j), t in zip(found.offsets, found.tokens, strict=True)
        if t == "[UNK]"
    ]  # fmt: skip
    assert set(lost) <= {"moꞌai"}


def test_a_line_separator_is_a_piece_like_any_other(tmp_path):
    entries = [*SPECIAL, "\u2028", "\x85", "a"]
    Tokenizer(entries).save_pretrained(tmp_path)
    assert Tokenizer.from_pretrained(tmp_path).vocabulary == entries


def test_a_folder_without_a_vocabulary_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"vocab\.txt or tokenizer\.json"):
        Tokenizer.from_pretrained(tmp_path)


def test_without_settings_it_lowercases_as_published(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL, "dog"]), encoding="utf-8")
    assert Tokenizer.from_pretrained(tmp_path).encode("DOG").tokens[1] == "dog"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"unk_token": "<unk>"}, "unk_token to '<unk>'"),
        ({"mask_token": {"content": "<mask>"}}, "mask_token"),
        ({"do_basic_tokenize": False}, "do_basic_tokenize"),
        ({"never_split": ["x"]}, "never_split"),
    ],
)
def test_settings_that_change_ids_are_refused(settings, words, tmp_path):
    TINY.save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        Tokenizer.from_pretrained(tmp_path)


# What other people's folders say: tokenizer.json, added tokens


ENTRIES = [
    *SPECIAL, "[unused1]", "[unused2]", "new", "##ok", "##tok", "cafe", "café", "Café", "dna",
    "DNA", "故", "宫", "##宫", "故宫", "a", "##s", "[", "]", "unused", "##1", "ab", "##c", "ok",
    "the", "dog", "fi", "ﬁ", "！", "!",
]  # fmt: skip
SAMPLES = [
    "Café DNA 故宫 newtok", "newtok [unused1] [MASK] NEWTOK newtoks", "cafe\u0301 [unused2]a",
    "the newtok, a other tok!", "  newtok  ", "ﬁ fi ！ ! the dog", "a\u0000b c\ufffd \u200bdog",
    "other tok s", "", "[UNK] [CLS]", "ab abc unknown",
]  # fmt: skip


def library(added=(), **switches) -> tokenizers.Tokenizer:
    """A BERT tokenizer of `tokenizers`, made by hand."""
    ids = {piece: i for i, piece in enumerate(ENTRIES)}
    rust = tokenizers.Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    rust.normalizer = normalizers.BertNormalizer(**switches)
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rust.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    rust.decoder = decoders.WordPiece()
    rust.add_special_tokens(SPECIAL)
    rust.add_tokens(list(added))
    return rust


def write(folder: Path, files: dict[str, object]) -> Path:
    """Write files of JSON, or of text, into a folder."""
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def agree(folder: Path) -> Tokenizer:
    """Load a folder with both, compare ids, and after saving once more."""
    theirs = AutoTokenizer.from_pretrained(folder)
    ours = Tokenizer.from_pretrained(folder)
    ours.save_pretrained(folder / "again")
    again, back = Tokenizer.from_pretrained(folder / "again"), pickle.loads(pickle.dumps(ours))
    their_again = AutoTokenizer.from_pretrained(folder / "again")
    assert len(ours) == len(again) == len(theirs) == len(their_again)
    for text in SAMPLES:
        ids = ours.encode(text).ids
        assert ids == theirs(text)["input_ids"], text
        assert ids == again.encode(text).ids == back.encode(text).ids
        assert ids == their_again(text)["input_ids"]
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
        if text:
            assert ours.encode("the dog", text).ids == theirs("the dog", text)["input_ids"]
    return ours


BARE = [
    None, {}, {"tokenizer_class": None}, {"tokenizer_class": "PreTrainedTokenizerFast"},
    {"tokenizer_class": "TokenizersBackend", "do_lower_case": True, "strip_accents": False},
]  # fmt: skip


@pytest.mark.parametrize("config", BARE, ids=["absent", "empty", "null", "fast", "backend"])
@pytest.mark.parametrize(
    "switches",
    [
        {}, {"lowercase": False}, {"strip_accents": False}, {"strip_accents": True},
        {"handle_chinese_chars": False}, {"lowercase": False, "strip_accents": True},
        {"lowercase": False, "handle_chinese_chars": False},
    ],
    ids=str,
)  # fmt: skip
def test_switches_of_tokenizer_json_alone(switches, config, tmp_path):
    files = {"tokenizer.json": library(**switches).to_str()}
    if config is not None:
        files["tokenizer_config.json"] = config
    ours = agree(write(tmp_path, files))
    assert ours.lowercase is switches.get("lowercase", True)
    assert ours.chinese is switches.get("handle_chinese_chars", True)
    assert ours.strip_accents is switches.get("strip_accents")


@pytest.mark.parametrize("kind", ["BertTokenizer", "BertTokenizerFast", "DistilBertTokenizer"])
@pytest.mark.parametrize("settings", [{}, {"do_lower_case": False}, {"strip_accents": False}])
def test_a_class_that_is_named_has_its_own_switches(kind, settings, tmp_path):
    """As in transformers: what tokenizer_config.json leaves out is as published."""
    cased = library(lowercase=False, handle_chinese_chars=False).to_str()
    settings = settings | {"tokenizer_class": kind}
    ours = agree(write(tmp_path, {"tokenizer.json": cased, "tokenizer_config.json": settings}))
    assert ours.lowercase is settings.get("do_lower_case", True)
    assert ours.chinese


def test_tokenizer_json_comes_before_vocab_txt(tmp_path):
    other = "\n".join([*SPECIAL, *ENTRIES[:4:-1]]) + "\n"
    for config in ({}, {"tokenizer_class": "BertTokenizer"}):
        files = {"tokenizer.json": library().to_str(), "vocab.txt": other}
        ours = agree(write(tmp_path, files | {"tokenizer_config.json": config}))
        assert ours.vocabulary == ENTRIES


def test_older_forms_of_tokenizer_json(tmp_path):
    saved = json.loads(library(lowercase=False).to_str())
    del saved["model"]["type"]
    saved["normalizer"] = {"type": "Sequence", "normalizers": [saved["normalizer"]]}
    around = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}},
              {"Sequence": {"id": "A", "type_id": 0}},
              {"SpecialToken": {"id": "[SEP]", "type_id": 0}}]  # fmt: skip
    more = [{"Sequence": {"id": "B", "type_id": 1}},
            {"SpecialToken": {"id": "[SEP]", "type_id": 1}}]  # fmt: skip
    special = {t: {"id": t, "ids": [i], "tokens": [t]} for t, i in (("[CLS]", 2), ("[SEP]", 3))}
    saved["post_processor"] = {
        "type": "TemplateProcessing", "single": around, "pair": around + more,
        "special_tokens": special,
    }  # fmt: skip
    saved["truncation"] = {
        "direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0,
    }  # fmt: skip
    assert not agree(write(tmp_path, {"tokenizer.json": saved})).lowercase
    for wrong in (5, [], [7], [3, 3], None):
        special["[SEP]"]["ids"] = wrong
        write(tmp_path, {"tokenizer.json": saved})
        with pytest.raises(ValueError, match=r"around a text, and \[SEP\] is 3"):
            Tokenizer.from_pretrained(tmp_path)


def strange(change) -> dict[str, object]:
    saved = json.loads(library().to_str())
    change(saved)
    return saved


NOT_BERT = {
    "no normalizer": (lambda s: s.update(normalizer=None), "normalizer None"),
    "NFKC": (lambda s: s.update(normalizer={"type": "NFKC"}), "normalizer NFKC"),
    "two steps": (
        lambda s: s.update(normalizer={
            "type": "Sequence", "normalizers": [{"type": "NFC"}, s["normalizer"]],
        }), "normalizer Sequence",
    ),
    "unclean": (lambda s: s["normalizer"].update(clean_text=False), "clean_text"),
    "Whitespace": (
        lambda s: s.update(pre_tokenizer={"type": "Whitespace"}), "pre_tokenizer Whitespace",
    ),
    "no pre-tokenizer": (lambda s: s.update(pre_tokenizer=None), "pre_tokenizer None"),
    "nothing around": (lambda s: s.update(post_processor=None), "post_processor None"),
    "RoBERTa": (
        lambda s: s.update(post_processor={"type": "RobertaProcessing"}),
        "post_processor RobertaProcessing",
    ),
    "no [SEP]": (
        lambda s: s.update(post_processor={
            "type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [],
        }), "puts other tokens around",
    ),
    "another [CLS]": (
        lambda s: s["post_processor"].update(cls=["[CLS]", 7]), "puts ['[CLS]', 7] around",
    ),
    "another [SEP]": (
        lambda s: s["post_processor"].update(sep=["</s>", 3]), "puts ['</s>', 3] around",
    ),
    "BPE": (lambda s: s.update(model={"type": "BPE", "vocab": {}}), "a BPE model"),
    "Unigram": (lambda s: s.update(model={"type": "Unigram", "vocab": []}), "a Unigram model"),
    "untyped": (lambda s: s.update(model={"vocab": {}}), "a None model"),
    "other prefix": (
        lambda s: s["model"].update(continuing_subword_prefix="@@"), "prefix to '@@'",
    ),
    "long words": (
        lambda s: s["model"].update(max_input_chars_per_word=200), "chars_per_word to 200",
    ),
    "other unknown": (lambda s: s["model"].update(unk_token="<unk>"), "unk_token to '<unk>'"),
    "a hole": (lambda s: s["model"]["vocab"].pop("dog"), "leaves ids out"),
    "one id twice": (lambda s: s["model"]["vocab"].update(dog=7), "has one twice"),
    "added far": (
        lambda s: s["added_tokens"].append({"id": 99, "content": "newtok"}), "'newtok' the id 99",
    ),
    "added elsewhere": (
        lambda s: s["added_tokens"].append({"id": 5, "content": "dog"}), "'dog' the id 5",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_BERT)
def test_what_is_not_bert_in_tokenizer_json_is_refused(name, tmp_path):
    change, words = NOT_BERT[name]
    write(tmp_path, {"tokenizer.json": strange(change)})
    with pytest.raises(ValueError, match=rf"tokenizer\.json.*{re.escape(words)}"):
        Tokenizer.from_pretrained(tmp_path)


def test_a_folder_of_the_name_of_our_vocabulary(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("leads-4096").mkdir()
    assert len(Tokenizer.from_pretrained("leads-4096")) == 4096
    write(Path("leads-4096"), {"vocab.txt": VOCAB})
    assert len(Tokenizer.from_pretrained("leads-4096")) == N


@pytest.mark.parametrize("kind", ["BertJapaneseTokenizer", "RobertaTokenizerFast", "Mine"])
def test_a_class_of_other_rules_is_refused(kind, tmp_path):
    write(tmp_path, {"vocab.txt": VOCAB, "tokenizer_config.json": {"tokenizer_class": kind}})
    with pytest.raises(ValueError, match=f"names a {kind.removesuffix('Fast')}, which does not"):
        Tokenizer.from_pretrained(tmp_path)


def entry(content, **flags) -> dict[str, object]:
    return {
        "content": content, "lstrip": False, "rstrip": False, "single_word": False,
        "normalized": True, "special": False, **flags,
    }  # fmt: skip


N = len(ENTRIES)
VOCAB = "".join(f"{piece}\n" for piece in ENTRIES)
KEPT = {"5": entry("[unused1]", special=True, normalized=False)}
ADDED = {
    "added_tokens.json": {"added_tokens.json": {"newtok": N, "other tok": N + 1}},
    "in any order": {"added_tokens.json": {"other tok": N + 1, "newtok": N}},
    "of the vocabulary": {"added_tokens.json": {"dog": ENTRIES.index("dog"), "newtok": N}},
    "named special": {
        "added_tokens.json": {"newtok": N},
        "tokenizer_config.json": {"additional_special_tokens": ["newtok"]},
    },
    "decoder": {"tokenizer_config.json": {"added_tokens_decoder": {str(N): entry("newtok")}}},
    "kept": {"tokenizer_config.json": {"added_tokens_decoder": KEPT}},
    "single word": {"tokenizer_config.json": {
        "added_tokens_decoder": {str(N): entry("newtok", single_word=True)}}},
    "as written": {"tokenizer_config.json": {
        "added_tokens_decoder": {str(N): entry("newtok", normalized=False)}}},
    "with spaces": {"tokenizer_config.json": {
        "added_tokens_decoder": {str(N): entry("newtok", lstrip=True, rstrip=True)}}},
    "capitals": {"tokenizer_config.json": {
        "added_tokens_decoder": {str(N): entry("NEWTOK"), str(N + 1): entry("other tok")}}},
    "a mask with spaces": {"tokenizer_config.json": {
        "added_tokens_decoder": {"4": entry("[MASK]", lstrip=True, special=True)}}},
    "both say it": {
        "added_tokens.json": {"other tok": N},
        "tokenizer_config.json": {"added_tokens_decoder": {str(N): entry("newtok")}}},
    "additional": {"tokenizer_config.json": {
        "additional_special_tokens": ["[unused1]", "newtok"]}},
    "extra": {"tokenizer_config.json": {
        "extra_special_tokens": ["[unused1]", {"__type": "AddedToken", "content": "newtok"}]}},
    "extra by name": {"tokenizer_config.json": {"extra_special_tokens": {"x": "[unused2]"}}},
    "eos": {"tokenizer_config.json": {
        "eos_token": "[EOS]", "bos_token": "[BOS]", "row_token": "newtok",
        "additional_special_tokens": ["other tok"]}},
    "a map": {"special_tokens_map.json": {"additional_special_tokens": ["[unused1]"]}},
    "a map of dicts": {"special_tokens_map.json": {
        "mask_token": entry("[MASK]"), "eos_token": entry("newtok")}},
    "a map of a list of dicts": {"special_tokens_map.json": {
        "extra_special_tokens": [{"content": "newtok", "lstrip": True}, "[unused1]"]}},
    "a map beside a decoder": {
        "special_tokens_map.json": {"additional_special_tokens": ["[unused2]"]},
        "tokenizer_config.json": {"added_tokens_decoder": KEPT}},
    "a special one": {"tokenizer_config.json": {
        "pad_token": entry("[PAD]", __type="AddedToken"),
        "added_tokens_decoder": {"0": entry("[PAD]")}}},
}  # fmt: skip


@pytest.mark.parametrize("name", ADDED)
@pytest.mark.parametrize("vocabulary", ["vocab.txt", "tokenizer.json"])
def test_added_tokens_have_the_ids_of_transformers(vocabulary, name, tmp_path):
    files = {"vocab.txt": VOCAB}
    if vocabulary == "tokenizer.json":
        files = {"tokenizer.json": library().to_str()}
    files |= ADDED[name]
    config = dict(files.get("tokenizer_config.json", {}))
    files["tokenizer_config.json"] = config | {"tokenizer_class": "BertTokenizer"}
    agree(write(tmp_path, files))


TWO = [AddedToken("newtok"), AddedToken("[unused1]", special=True)]


@pytest.mark.parametrize(
    "config",
    [
        None, {"tokenizer_class": "PreTrainedTokenizerFast"}, {"tokenizer_class": "BertTokenizer"},
        {"tokenizer_class": "BertTokenizer", "added_tokens_decoder": {}},
        {"tokenizer_class": "BertTokenizer", "added_tokens_decoder": KEPT},
        {"tokenizer_class": "PreTrainedTokenizerFast", "added_tokens_decoder": {}},
        {"tokenizer_class": "PreTrainedTokenizerFast",
         "added_tokens_decoder": KEPT | {str(N): entry("newtok", single_word=True)}},
    ],
)  # fmt: skip
def test_added_tokens_of_tokenizer_json(config, tmp_path):
    files = {"tokenizer.json": library(TWO).to_str()}
    if config is not None:
        files["tokenizer_config.json"] = config
    agree(write(tmp_path, files))


def test_what_transformers_added_is_read(tmp_path):
    theirs = BertTokenizer.from_pretrained(resolve("minilm"))
    theirs.add_tokens(["newtok", AddedToken("polonium", single_word=True)])
    theirs.add_special_tokens({"additional_special_tokens": ["[unused1]", "<e1>"]})
    theirs.save_pretrained(tmp_path)
    ours = agree(tmp_path)
    text = "a newtok <e1>[unused1] poloniums, polonium"
    assert ours.encode(text).ids == theirs(text)["input_ids"]
    assert {30522, 30523, 30524, ours.id("[unused1]")} < set(ours.encode(text).ids)


def test_a_kept_token_is_not_taken_over(tmp_path):
    config = {"tokenizer_class": "BertTokenizer", "added_tokens_decoder": KEPT}
    ours = agree(write(tmp_path, {"vocab.txt": VOCAB, "tokenizer_config.json": config}))
    assert ours.add(["otter", "seal"]) == [6, N]
    assert ours.encode("[unused1] otters seal").ids[1:-1] == [5, 6, ours.id("##s"), N]
    after = Tokenizer(ENTRIES, added=[AddedToken("newtok")])
    assert after.add("seal", append=True) == [N + 1]
    assert after.encode("newtok seal").ids[1:-1] == [N, N + 1]


def test_a_special_token_may_be_an_added_one(tmp_path):
    few = "".join(f"{p}\n" for p in ENTRIES if p not in ("[MASK]", "[PAD]"))
    files = {"vocab.txt": few, "added_tokens.json": {"[MASK]": N - 2, "[PAD]": N - 1}}
    files["tokenizer_config.json"] = {"tokenizer_class": "BertTokenizer"}
    ours = agree(write(tmp_path, files))
    assert (ours.mask_id, ours.pad_id) == (N - 2, N - 1)
    with pytest.raises(ValueError, match=r"lacks \[UNK\]"):
        Tokenizer([p for p in ENTRIES if p != "[UNK]"], added=[AddedToken("[UNK]")])


def test_both_ways_of_saving_leave_no_id_out(tmp_path):
    files = {"vocab.txt": VOCAB, "added_tokens.json": {"newtok": N + 3}}
    with pytest.raises(ValueError, match=rf"added_tokens.json gives 'newtok' the id {N + 3}"):
        Tokenizer.from_pretrained(write(tmp_path, files))


# Broken files: one error that names the file


DEEP = '{"a":' * 100_000
WRONG = {
    "vocab.txt": [
        (b"[PAD]\n\xff\xfe", "is not UTF-8.*byte 6"), (b"", "lacks .PAD."),
        (VOCAB.encode("utf-16"), "is not UTF-8"), (VOCAB.encode() + b"dog\n", "'dog' is twice"),
        (b"just a text", "lacks .PAD."),
    ],
    "tokenizer_config.json": [
        (b"{", "is no JSON"), (b"\xff", "is not UTF-8"), (b"[]", "one JSON object"),
        (DEEP.encode(), "nested too deep"),
        ({"do_lower_case": "no"}, "do_lower_case must not be 'no'|lowercase must not be 'no'"),
        ({"do_lower_case": None}, "must not be None"), ({"strip_accents": 3}, "must not be 3"),
        ({"tokenize_chinese_chars": []}, r"must not be \[\]"),
        ({"tokenizer_class": 5}, "tokenizer_class must not be 5"),
        ({"tokenizer_class": ["BertTokenizer"]}, "tokenizer_class must not be"),
        ({"added_tokens_decoder": []}, "added_tokens_decoder must not be"),
        ({"added_tokens_decoder": {"x": {}}}, "has ids as keys"),
        ({"added_tokens_decoder": {"-1": entry("a")}}, "has ids as keys"),
        ({"added_tokens_decoder": {"5": None}}, "added token must not be None"),
        ({"added_tokens_decoder": {"5": {"content": 5}}}, "added token must not be 5"),
        ({"added_tokens_decoder": {"5": entry("")}}, "added token must not be ''"),
        ({"added_tokens_decoder": {"5": entry("[unused1]", lstrip=1)}}, "lstrip must not be 1"),
        ({"additional_special_tokens": 7}, "additional_special_tokens must not be 7"),
        ({"additional_special_tokens": [7]}, "added token must not be 7"),
        ({"cls_token": 5}, "cls_token to 5"), ({"split_special_tokens": True}, "split_special"),
    ],
    "added_tokens.json": [
        (b"{", "is no JSON"), (b"[5]", "one JSON object"), ({"a": "5"}, "a must not be '5'"),
        ({"a": True}, "a must not be True"), ({"a": 1.5}, r"a must not be 1\.5"),
        ({"": N}, "added token must not be ''"), ({"\ud800": N}, r"must not be '\\ud800'"),
        ({"new": -1}, "'new' the id -1"),
        (DEEP.encode(), "nested too deep"),
    ],
    "special_tokens_map.json": [
        (b"{", "is no JSON"), (b"\xff", "is not UTF-8"), ({"sep_token": "</s>"}, "sep_token to"),
        (DEEP.encode(), "nested too deep"),
    ],
    "tokenizer.json": [
        (b"{", "is no JSON"), (b"\xff", "is not UTF-8"), (b"3", "one JSON object"),
        (DEEP.encode(), "nested too deep"), ({}, "model must not be None"),
        ({"model": []}, r"model must not be \[\]"),
        (strange(lambda s: s["model"].update(vocab=[])), r"vocab must not be \[\]"),
        (strange(lambda s: s["model"].update(vocab={"a": "0"})), "a must not be '0'"),
        (strange(lambda s: s["model"].update(vocab={"a": 0.0})), r"a must not be 0\.0"),
        (strange(lambda s: s["model"].update(vocab={"a": False})), "a must not be False"),
        (strange(lambda s: s["model"].update(vocab={"a": 10**30})), "leaves ids out"),
        (strange(lambda s: s["model"].update(vocab={})), r"lacks \[UNK\]"),
        (strange(lambda s: s["model"]["vocab"].update({"\ud800": N})), "half a character"),
        (strange(lambda s: s.update(added_tokens={})), "added_tokens must not be"),
        (strange(lambda s: s.update(added_tokens=["a"])), "'a' is no added token"),
        (strange(lambda s: s["added_tokens"].append({"content": "a"})), "id must not be None"),
        (strange(lambda s: s["normalizer"].update(lowercase=1)), "lowercase must not be 1"),
        (strange(lambda s: s["normalizer"].update(strip_accents="x")), "strip_accents must not"),
        (strange(lambda s: s.update(normalizer="BertNormalizer")), "normalizer must not be"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [(name, *case) for name, cases in WRONG.items() for case in cases],
    ids=lambda x: str(x)[:30],
)
def test_a_broken_file_is_named(name, content, words, tmp_path):
    if name not in ("vocab.txt", "tokenizer.json"):
        write(tmp_path, {"vocab.txt": VOCAB})
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(ValueError) as caught:
        Tokenizer.from_pretrained(tmp_path)
    assert re.search(words, str(caught.value)), caught.value
    assert str(caught.value).startswith(str(tmp_path / name))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", WRONG)
def test_a_link_to_nothing_is_named(name, tmp_path):
    if name != "vocab.txt":
        write(tmp_path, {"vocab.txt": VOCAB})
    try:
        (tmp_path / name).symlink_to("gone")
    except OSError as error:  # Windows, without the right to
        pytest.skip(str(error))
    with pytest.raises(FileNotFoundError, match=f"{name} is a link to gone"):
        Tokenizer.from_pretrained(tmp_path)


# Words of one's own


def test_words_take_unused_rows_in_order():
    mine = Tokenizer.from_pretrained("minilm")
    assert mine.add(["Octopoda", "polonium", "water", "octopoda"]) == [
        1, 2, MINILM.id("water"), 1,
    ]  # fmt: skip
    assert len(mine) == 30522
    assert mine.encode("Octopoda!").tokens[1:-1] == ["octopoda", "!"]
    assert mine.vocabulary[3] == "[unused2]"
    assert MINILM.encode("octopoda").tokens[1:-1] == ["oct", "##op", "##oda"]


def test_words_are_appended():
    mine = Tokenizer.from_pretrained("minilm")
    assert mine.add("polonium", append=True) == [30522]
    assert len(mine) == 30523
    own = Tokenizer.from_pretrained("leads-4096")  # has no unused rows
    assert own.add(["polonium", "octopoda"]) == [4096, 4097]
    assert own.encode("the Poloniums").tokens[2] == "polonium"


def test_added_words_are_saved(tmp_path):
    mine = Tokenizer.from_pretrained("minilm")
    mine.add(["polonium"])
    mine.add(["octopoda"], append=True)
    mine.save_pretrained(tmp_path)
    text = "polonium octopoda"
    want = [101, 1, 30522, 102]
    assert Tokenizer.from_pretrained(tmp_path).encode(text).ids == want
    assert AutoTokenizer.from_pretrained(tmp_path)(text)["input_ids"] == want


@pytest.mark.parametrize("word", ["covid-19", "new york", "", "##ium", "故宫"])
def test_a_word_that_is_cut_first_is_refused(word):
    mine = Tokenizer.from_pretrained("minilm")
    with pytest.raises(ValueError, match="cannot be an entry"):
        mine.add(["fine", word])
    assert mine.vocabulary == MINILM.vocabulary  # nothing half done


def test_add_wants_words():
    with pytest.raises(TypeError, match="word 0"):
        TINY.add([3])
    with pytest.raises(ValueError, match="no words"):
        TINY.add([])


def test_a_tokenizer_travels_to_another_process():
    copy = pickle.loads(pickle.dumps(MINILM))
    assert copy.encode(TOY) == MINILM.encode(TOY)
    assert isinstance(copy.encode(TOY), Encoding)


def test_a_batch_is_taken_by_order_and_by_name():
    batch = Tokenizer.from_pretrained("leads-4096")(["The dog."], ["It bit."])
    assert {**batch}.keys() == {"input_ids", "attention_mask", "token_type_ids"}
    assert batch["input_ids"] is batch[0] is batch.input_ids
    assert batch[1:] == tuple(batch)[1:] and len(batch) == 3 and isinstance(batch, tuple)
    config = BertConfig(
        vocab_size=4096, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
        intermediate_size=8,
    )  # fmt: skip
    model = BertModel(config).eval()
    assert model(**batch)[0].equal(model(*batch)[0])
    with pytest.raises(KeyError):
        batch["labels"]

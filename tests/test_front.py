"""The package's front door: the names that `from minibert import ...` gives.

That a type checker finds what it is told of them is held by mypy, in `make check`.
"""

import ast
import functools
import importlib
import re
import subprocess
import sys
import time
from itertools import chain

import pytest
from source import ROOT

import minibert
from minibert.moved import MOVED

PACKAGE = ROOT / "minibert"
MODULES = {path.stem for path in PACKAGE.glob("*.py") if not path.stem.startswith("__")}


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run a program of its own."""
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, encoding="utf-8")


def for_type_checkers() -> dict[str, str]:
    """Name -> module, as the imports under TYPE_CHECKING say."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (
        one for one in tree.body
        if isinstance(one, ast.If) and ast.unparse(one.test) == "TYPE_CHECKING"
    )  # fmt: skip
    found = {}
    for one in block.body:
        assert isinstance(one, ast.ImportFrom)
        for alias in one.names:
            assert alias.asname == alias.name  # what makes it public to a type checker
            found[alias.name] = one.module.removeprefix("minibert.")
    return found


@functools.cache
def explained() -> dict[str, list[str]]:
    """The modules that each page of the reference explains."""
    return {
        path.stem: re.findall(
            r"^\.\. automodule:: minibert\.(\w+)$", path.read_text(encoding="utf-8"), re.M
        )
        for path in sorted((ROOT / "book").glob("api-*.md"))
    }


def on_the_page() -> dict[str, str]:
    """Name -> module, as the table of the API page says."""
    page = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
    table = page.split("## What most programs need")[1].split("\n## ")[0]
    row = r"^\| \[`minibert\.(\w+)`\]\(([\w-]+)\.md#minibert(\w+)\) \| (.*) \|$"
    rows = re.findall(row, table, re.M)
    assert all(module == anchor and module in explained()[page] for module, page, anchor, _ in rows)
    return {name: module for module, *_, names in rows for name in re.findall(r"`(\w+)`", names)}


def test_the_reference_lists_its_pages_and_their_modules() -> None:
    page = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
    table = page.split("## Every public name")[1].split("\n## ")[0]
    rows = re.findall(r"^\| \[.*\]\(([\w-]+)\.md\) \| (.*) \|$", table, re.M)
    assert {name: re.findall(r"`(\w+)`", modules) for name, modules in rows} == explained()
    without = page.split("## Modules without a public name")[1]
    found = [*chain(*explained().values()), *re.findall(r"`minibert\.(\w+)`", without), "moved"]
    assert sorted(found) == sorted(MODULES)  # each once


def test_the_list_the_types_and_the_page_say_the_same() -> None:
    assert for_type_checkers() == minibert.HOME == on_the_page()
    assert minibert.__all__ == list(minibert.HOME)
    assert len(minibert.HOME) == sum(len(names.split()) for names in minibert.HOMES.values())


@pytest.mark.parametrize("name", minibert.__all__)
def test_a_name_is_public_in_its_module_and_documented(name: str) -> None:
    home = importlib.import_module(f"minibert.{minibert.HOME[name]}")
    found = getattr(minibert, name)
    assert name in home.__all__ and found is getattr(home, name)
    assert found.__module__ == home.__name__  # its own, not one that passes through
    assert name in dir(minibert)
    assert sum(minibert.HOME[name] in modules for modules in explained().values()) == 1


def test_no_name_hides_a_module_and_none_is_of_before() -> None:
    assert not MODULES & set(minibert.HOME)
    former = {
        name for homes in MOVED.values() for names in homes.values() for name in names.split()
    }
    for name in former & set(minibert.HOME):  # it moved, and is asked for at its new place
        assert minibert.HOME[name] not in {
            old for old, homes in MOVED.items()
            if any(name in names.split() for names in homes.values())
        }  # fmt: skip


def test_import_minibert_brings_nothing() -> None:
    """Not torch, not numpy: nothing that Python has not read anyway."""
    done = run("import sys\nbefore = set(sys.modules)\nimport minibert\n"
               "print(*sorted(set(sys.modules) - before))")  # fmt: skip
    assert done.stdout.split() == ["minibert"], done.stderr
    done = run("import sys\nfrom minibert import BertConfig\nprint('torch' in sys.modules)")
    assert done.stdout.split() == ["False"], done.stderr


def test_import_minibert_takes_no_time() -> None:
    code = "import time\nstart = time.process_time()\nimport minibert\n"
    code += "print(time.process_time() - start)"
    assert min(float(run(code).stdout) for _ in range(5)) < 0.02


def test_all_public_names_come_with_the_first_use_of_one() -> None:
    """The second access is a plain attribute."""
    assert minibert.BertConfig is minibert.BertConfig
    assert "BertConfig" in vars(minibert)
    start = time.perf_counter()
    for _ in range(10_000):
        minibert.BertConfig  # noqa: B018
    assert time.perf_counter() - start < 0.1


def test_a_module_is_found_without_its_own_import() -> None:
    """Also one that holds a function of its name, before and after names were read."""
    code = "import sys, minibert\n"
    for name in ("attention", "bert", "highlight", "rouge", "sentences"):
        code += f"assert minibert.{name} is sys.modules['minibert.{name}']\n"
    code += "from minibert import answer, embed, summarize\n"
    code += "from minibert import attention, bert, highlight, rouge, sentences\n"
    for name in ("attention", "bert", "highlight", "rouge", "sentences"):
        code += f"assert {name} is minibert.{name} is sys.modules['minibert.{name}']\n"
    done = run(code + "from minibert import *\nassert embed is minibert.sentences.embed")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("BertModl", "BertModel"),
        ("bertmodel", "BertModel"),
        ("sumarize", "summarize"),
        ("summarise", "summarize"),
        ("fill_masks", "fill_mask"),
        ("sentnces", "sentences"),
        ("BertForMaskedLm", "BertForMaskedLM"),
        ("transformers_", "transformer"),
        ("nothing_like_it", None),
    ],
)
def test_a_typo_is_an_ordinary_error_that_says_what_is_near(name: str, near: str | None) -> None:
    with pytest.raises(AttributeError) as plain:
        getattr(minibert, name)
    assert plain.value.name == name and not hasattr(minibert, name)
    with pytest.raises(ImportError, match=rf"cannot import name '{name}' from 'minibert'"):
        exec(f"from minibert import {name}")
    if near is None:
        assert "did you mean" not in str(plain.value)
        return
    assert str(plain.value).endswith(f": did you mean {near!r}?")


@pytest.mark.parametrize(
    "code", ["import minibert\nminibert.BertModl", "from minibert import BertModl"]
)
def test_python_adds_no_second_guess(code: str) -> None:
    said = run(code).stderr.casefold()
    assert said.count("did you mean 'bertmodel'?") == said.count("did you mean") == 1


@pytest.mark.parametrize("name", ["_private", "__wrapped__", "__file_", ""])
def test_what_python_asks_for_itself_is_no_name(name: str) -> None:
    with pytest.raises(AttributeError, match=r"no attribute '\w*'$"):
        getattr(minibert, name)

"""The examples in the docstrings of the public names run, and give what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

import minibert

WITHOUT = {"push_to_hub"}  # it needs a network, and somebody's token


@pytest.mark.parametrize("name", sorted(minibert.HOMES))
def test_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(importlib.import_module(f"minibert.{name}")).failed == 0


def test_public_names_have_an_example() -> None:
    find = doctest.DocTestFinder().find
    assert {
        name
        for name in minibert.__all__
        if not any(test.examples for test in find(getattr(minibert, name), name))
    } == WITHOUT

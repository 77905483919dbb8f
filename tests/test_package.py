"""What is built from here: the wheel and the sdist hold what they should and nothing else."""

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from pathlib import Path
from typing import NamedTuple

import lock
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from test_repository import PROJECT, listed

import minibert

ROOT = Path(__file__).resolve().parents[1]
NAME = f"minibert_book-{minibert.__version__}"
INFO = f"{NAME}.dist-info"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")


class Built(NamedTuple):
    wheel: Path
    sdist: Path
    log: str


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The sdist of what is tracked, and the wheel of the sdist."""
    folder = tmp_path_factory.mktemp("built")
    for path in listed():  # a copy: the build leaves folders, and reads those left before
        copy = folder / "source" / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, folder / "source"],
        capture_output=True, encoding="utf-8", env=os.environ | {"PYTHONWARNINGS": "default"},
    )  # fmt: skip
    assert not done.returncode, done.stdout[-2000:] + done.stderr[-2000:]
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Built(wheel, sdist, done.stdout + done.stderr)


def shipped() -> dict[str, Path]:
    """What of the package should be in the wheel: all that is tracked of it."""
    names = {path.relative_to(ROOT).as_posix(): path for path in listed()}
    package = {name: path for name, path in names.items() if name.startswith("minibert/")}
    results = {name: path for name, path in names.items() if name.startswith("results/")}
    return package | {f"minibert/{name}": path for name, path in results.items()}


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as packed:
        return email.message_from_string(packed.read(f"{INFO}/METADATA").decode())


def test_the_wheel_holds_the_package_and_nothing_else(built):
    assert built.wheel.name == f"{NAME}-py3-none-any.whl"
    about = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt"}
    about |= {f"licenses/{name}" for name in PROJECT["license-files"]}
    with zipfile.ZipFile(built.wheel) as packed:
        names = packed.namelist()
        assert len(names) == len(set(names))
        assert set(names) == {*shipped(), *(f"{INFO}/{name}" for name in about)}
        for name, path in shipped().items():
            assert packed.read(name) == path.read_bytes(), name
        assert packed.read(f"{INFO}/top_level.txt").split() == [b"minibert"]
        assert b"Root-Is-Purelib: true" in packed.read(f"{INFO}/WHEEL")


def test_the_sdist_holds_what_builds_the_wheel_and_nothing_else(built):
    assert built.sdist.name == f"{NAME}.tar.gz"
    with tarfile.open(built.sdist, encoding="utf-8") as packed:
        names = {one.name.removeprefix(f"{NAME}/") for one in packed if one.isfile()}
    made = {name for name in names if name.startswith("minibert_book.egg-info/")}
    expected = {path.relative_to(ROOT).as_posix() for path in shipped().values()}
    expected |= {"pyproject.toml", "README.md", "MANIFEST.in", *PROJECT["license-files"]}
    assert names - made == expected | {"PKG-INFO", "setup.cfg"}
    assert made


def test_the_wheel_is_large_by_its_models_alone(built):
    with zipfile.ZipFile(built.wheel) as packed:
        sizes = {one.filename: one.compress_size for one in packed.infolist()}
    weights = {name for name in sizes if name.endswith("/model.safetensors")}
    assert all(name.startswith("minibert/models/") for name in weights)
    assert built.wheel.stat().st_size < 40e6  # the public index takes 100 MB
    assert sum(sizes[name] for name in sizes.keys() - weights) < 1.5e6
    assert max(sizes[name] for name in sizes.keys() - weights) < 2e5


def test_the_build_warns_of_nothing(built):
    lines = [line for line in built.log.splitlines() if "warning" in line.lower()]
    assert [line for line in lines if "byte-compiling is disabled" not in line] == []


def test_the_metadata_say_where_it_installs_and_under_which_licence(built):
    fields = metadata(built.wheel)
    assert (fields["Name"], fields["Version"]) == ("minibert-book", minibert.__version__)
    pythons = SpecifierSet(fields["Requires-Python"])
    assert [pythons.contains(one) for one in ("3.10.14", "3.15")] == [False, True]
    said = fields.get_all("Classifier")
    for one in PYTHONS:
        assert pythons.contains(one) and f"Programming Language :: Python :: {one}" in said
    assert "Typing :: Typed" in said and "minibert/py.typed" in shipped()
    assert fields["License-Expression"] == PROJECT["license"]
    assert fields.get_all("License-File") == PROJECT["license-files"]
    assert not [one for one in said if one.startswith("License ::")]  # the expression says it
    assert fields["Description-Content-Type"] == "text/markdown"
    text = fields.get_payload()
    assert text.strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()
    extras = set(fields.get_all("Provides-Extra"))
    needs = [Requirement(line) for line in fields.get_all("Requires-Dist")]
    assert extras == set(PROJECT["optional-dependencies"])
    assert not [one.url for one in needs if one.url]  # the public index refuses an address
    for one in needs:
        if one.name == PROJECT["name"]:
            assert one.extras <= extras


def test_the_wheel_works_where_nothing_else_of_ours_is(built, tmp_path):
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--target", tmp_path / "site", built.wheel], check=True)
    code = """
import pathlib, sys, minibert
assert pathlib.Path(minibert.__file__).is_relative_to(sys.argv[1]), minibert.__file__
assert "leads-small" in [one.name for one in minibert.models()]
model = minibert.BertForMaskedLM.from_pretrained("leads-small")
print(len(minibert.Tokenizer.from_pretrained("leads-small")), model.config.vocab_size)"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "site"], cwd=tmp_path, check=True,
        capture_output=True, encoding="utf-8",
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
    )  # fmt: skip
    assert done.stdout == "4096 4096\n"
    assert list((tmp_path / "site" / "bin").glob("minibert*"))  # the command


def pinned(name: str) -> dict[str, list[str]]:
    """Map each `package==version` of a file to the lines that belong to it."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        if not line.startswith(("#", " ")):
            last = found.setdefault(line.split()[0].lower().replace("_", "-"), [])
        elif line.startswith(" "):
            last.append(line.strip(" \\"))
    return found


def test_the_lock_has_the_same_versions_and_a_hash_for_each_but_torch():
    plain, locked = pinned("requirements.txt"), pinned("requirements.lock")
    remedy = "python tools/lock.py writes requirements.lock anew"
    assert {one.split("==")[0] for one in plain.keys() - locked} == {*lock.LEFT_OUT}, remedy
    added = {one.split("==")[0] for one in locked.keys() - plain}
    assert not added & {one.split("==")[0] for one in plain}, remedy
    assert {"appnope", "colorama", "pywinpty"} <= added  # other systems' own
    digest = re.compile(r"--hash=sha256:[0-9a-f]{64}")
    for one, lines in locked.items():
        assert "==" in one and lines and all(map(digest.fullmatch, lines)), one

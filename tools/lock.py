"""Write requirements.lock: the versions of requirements.txt, with the hash of each file.

    python tools/lock.py          after a change of requirements.txt, and commit both

uv asks the public index for the hashes, whatever index pip is told to use here, and adds
what other systems need (colorama on Windows, appnope on a Mac). One package is left out:
torch has a build for each kind of hardware under one version, and where it comes from is
for each machine to say; requirements.txt has its version.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from make import BUILD, ROOT, pip, python

UV = "uv==0.13.9"
PYTHON = "3.11.5"  # the oldest that all of requirements.txt takes
LEFT_OUT = ("torch",)
COMMAND = "python tools/lock.py"


def write(requirements: Path, lock: Path) -> None:
    """Lock what a file of exact versions asks for, and what that needs."""
    pip(UV, venv=".venv-lock")
    BUILD.mkdir(exist_ok=True)
    without = BUILD / "left-out.txt"
    without.write_text("\n".join(LEFT_OUT) + "\n", encoding="utf-8")
    made = BUILD / lock.name
    made.unlink(missing_ok=True)  # uv would keep what stands there
    command = [
        python(".venv-lock").with_name("uv"), "pip", "compile", "--quiet", "--system-certs",
        "--universal", "--python-version", PYTHON, "--excludes", without,
        "--generate-hashes", "--no-annotate", "--custom-compile-command", COMMAND,
        "--output-file", made, requirements,
    ]  # fmt: skip
    if subprocess.run(command, cwd=ROOT).returncode:
        raise SystemExit(f"{lock.name} was not written: see above")
    made.replace(lock)
    print(f"wrote {lock.name}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        raise SystemExit(__doc__)
    write(ROOT / "requirements.txt", ROOT / "requirements.lock")

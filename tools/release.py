"""Hold a release's tag, the package's version and the changelog together.

    python tools/release.py v0.3.0    prints what the changelog says of 0.3.0

Needs nothing installed: the release workflow runs it before anything else.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def notes(tag: str, root: Path = ROOT) -> str:
    """Give a version's entry in the changelog, if its tag may be released.

    Raises:
        SystemExit: the tag is not the version, or nothing is said of it.
    """
    source = (root / "minibert" / "__init__.py").read_text(encoding="utf-8")
    version = re.search(r'^__version__ = "(.+)"$', source, re.M)[1]
    if tag != f"v{version}":
        raise SystemExit(f"the tag is {tag}, the version {version}: run tools/version.py, then tag")
    log = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    entry = re.search(rf"^## {re.escape(version)}\n(.*?)(?=^## |\Z)", log, re.M | re.S)
    if not entry or not entry[1].strip():
        raise SystemExit(f"CHANGELOG.md says nothing of {version}")
    return entry[1].strip() + "\n"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    print(notes(sys.argv[1]), end="")

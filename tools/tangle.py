"""Write the package's modules from the chapters that print them.

A code cell whose first line is `# minibert/NAME.py` is a part of that file. The
parts of a file are joined in the order of the book.

    python tools/tangle.py           write the modules that changed
    python tools/tangle.py --check   fail when a module differs from its chapter
"""

from __future__ import annotations

import sys

from source import ROOT, exported, read, sources

HEADER = "# Written by tools/tangle.py from\n# {}\n# Edit that, not this.\n"


def modules() -> dict[str, str]:
    """Map each module's path to the text that the chapters give it."""
    parts: dict[str, list[str]] = {}
    origins: dict[str, list[str]] = {}
    for path in sources():
        for module, code in exported(read(path)):
            parts.setdefault(module, []).append(code)
            name = path.relative_to(ROOT).as_posix()
            if name not in origins.setdefault(module, []):
                origins[module].append(name)
    return {
        module: HEADER.format("\n# ".join(origins[module])) + "\n\n\n".join(codes) + "\n"
        for module, codes in parts.items()
    }


def differing() -> dict[str, str]:
    """The modules whose file is not what the chapters say, with the right text."""
    return {
        module: text
        for module, text in modules().items()
        if not (ROOT / module).exists() or (ROOT / module).read_text(encoding="utf-8") != text
    }


def main() -> int:
    """Write what differs, or with --check only say so."""
    changed = differing()
    if "--check" in sys.argv[1:]:
        for module in changed:
            print(f"{module} differs from its chapter: make chapters, or edit the text")
        return len(changed) > 0
    for module, text in changed.items():
        (ROOT / module).write_text(text, encoding="utf-8", newline="\n")
        print(f"wrote {module}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

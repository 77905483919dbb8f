"""For the site's address itself: it leads to the first page, and says of itself what that says.

Who previews a link, and who searches, follows no such redirection.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx

SAID = re.compile(
    r'<title>.*?</title>|<meta (?:name|property)="(?:description|og:|twitter:)[^>]*>'
    r'|<link rel="(?:canonical|icon)"[^>]*>',
    re.S,
)


def write(app: Sphinx, error: Exception | None) -> None:
    """Write index.html."""
    if error is None and app.builder.format == "html":
        first = app.builder.get_target_uri(app.config.root_doc)
        page = Path(app.outdir, first).read_text(encoding="utf-8")
        tags = "\n".join(SAID.findall(page)).replace('href="../', 'href="')
        Path(app.outdir, "index.html").write_text(
            f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n{tags}\n'
            f'<meta http-equiv="Refresh" content="0; url={first}">\n</head>\n'
            f'<body><main><a href="{first}">To the first page</a></main></body>\n</html>\n',
            encoding="utf-8",
        )


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Sphinx know."""
    app.connect("build-finished", write)
    return {"parallel_read_safe": True}

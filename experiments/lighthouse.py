"""What Lighthouse says of five pages of the site; results/lighthouse.json.

    make html; python experiments/lighthouse.py

Node and Chromium must be there; npx fetches Lighthouse once. The site comes from this machine,
packed as a static host packs it. Lighthouse looks at each page three times, as a phone on slow
4G: it loads the page as fast as it can and computes from the trace how long the phone would
have taken. What counts is the median of each category. A busy machine lowers the performance;
`benchmark` says how fast Lighthouse found this one to be (a free one has 1000 and more).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from record import RESULTS, ROOT, circumstances, write_rows

sys.path.append(str(ROOT / "tests" / "site"))
from browser import CHROMIUM, FLAGS
from test_site import BASE, SITE, Host

VERSION = "12.2.3"
PAGES = ["welcome", "ask", "attention", "qa", "questions"]
ROUNDS = 3
CATEGORIES = ["performance", "accessibility", "best-practices", "seo"]
MEASURES = {
    "first_contentful_paint": "first-contentful-paint",
    "largest_contentful_paint": "largest-contentful-paint",
    "total_blocking_time": "total-blocking-time",
}


def report(address: str) -> dict[str, Any]:
    """Lighthouse's report on an address."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "report.json")
        subprocess.run(
            [
                "npx", "--yes", f"lighthouse@{VERSION}", address, "--quiet", "--output=json",
                f"--output-path={out}", f"--chrome-flags={' '.join(FLAGS)}",
                "--max-wait-for-load=300000",
            ],
            check=True, env=os.environ | {"CHROME_PATH": str(CHROMIUM)},
        )  # fmt: skip
        return json.loads(out.read_text(encoding="utf-8"))


def measure(address: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A page's row in the record, and the last report."""
    reports = [report(address) for _ in range(ROUNDS)]

    def median(read: Any) -> float:
        return statistics.median(read(report) for report in reports)

    row = {
        name: round(100 * median(lambda r, name=name: r["categories"][name]["score"]))
        for name in CATEGORIES
    }
    row |= {
        f"{name}_seconds": round(median(lambda r, k=key: r["audits"][k]["numericValue"]) / 1000, 2)
        for name, key in MEASURES.items()
    }
    row["layout_shift"] = round(
        median(lambda r: r["audits"]["cumulative-layout-shift"]["numericValue"]), 3
    )
    row["benchmark"] = round(median(lambda r: r["environment"]["benchmarkIndex"]))
    return row, reports[-1]


def main() -> None:
    """Measure, and write the record."""
    rows = []
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Host, directory=str(SITE))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        for name in PAGES:
            row, last = measure(f"http://127.0.0.1:{http.server_port}{BASE}book/{name}.html")
            rows.append({"page": name} | row)
            print(json.dumps(rows[-1]), flush=True)
        http.shutdown()
    settings = last["configSettings"]
    kept = {
        "command": "python experiments/lighthouse.py",
        "machine": "2 cores that others used too; the site came from the same machine",
        "lighthouse": VERSION,
        "rounds": ROUNDS,
        "as": {key: settings[key] for key in ("formFactor", "throttlingMethod", "throttling")},
        "browser": last["environment"]["hostUserAgent"].split()[-2],
        "pages": rows,
    } | circumstances("jupyter-book")
    write_rows(RESULTS / "lighthouse.json", kept)


if __name__ == "__main__":
    main()

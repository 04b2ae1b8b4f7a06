"""How long a page of trends takes to make and to open, and how large it is.

A store of synthetic rows (no plan is analysed), as the tests make them. Times are medians; the page
is opened in the system's Chromium where playwright is there.

Usage: python benchmarks/trends.py [--plans 10000] [--repeat 3]
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.batch.trend_store import varied, write_store

from cordgap.batch.store import Store
from cordgap.batch.trend_rows import page_rows
from cordgap.batch.trends import gather, trends_document
from cordgap.report.files import write_file
from cordgap.report.trends import trends_html

TOGETHER = 500


def made(db: Path, page: Path) -> dict[str, float]:
    """Make a page; return processor time of its parts, and its size."""
    times, names = [time.process_time()], ("aggregates_s", "rows_s", "page_s")
    with Store(db, read_only=True) as store:
        gather(store)
        document = trends_document(store, None, [])
        times.append(time.process_time())
        rows = page_rows(store, None)
        times.append(time.process_time())
    text = trends_html(document, rows, page=page)
    times.append(time.process_time())
    write_file(page, text)
    parts = dict(zip(names, (b - a for a, b in pairwise(times)), strict=True))
    return parts | {"page_mb": page.stat().st_size / 1e6, "plans_held": rows["rows"]}


def opened(page: Path, repeat: int) -> list[float]:
    """Return the seconds after which the page is ready, each time in a new tab."""
    chromium = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return []
    if chromium is None:
        return []
    found = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(repeat):
            tab: Any = browser.new_page(viewport={"width": 1280, "height": 900})
            tab.goto(page.as_uri())
            tab.wait_for_function("document.documentElement.dataset.readyMs !== undefined")
            found.append(float(tab.evaluate("document.documentElement.dataset.readyMs")) / 1e3)
            tab.close()
        browser.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plans", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        db, page = Path(name, "r.duckdb"), Path(name, "trends.html")
        plans = varied(given.plans)
        for start in range(0, given.plans, TOGETHER):
            write_store(db, plans[start : start + TOGETHER], first=start)
        runs = [made(db, page) for _ in range(given.repeat)]
        result: dict[str, Any] = {key: statistics.median(r[key] for r in runs) for key in runs[0]}
        print(json.dumps({"plans": given.plans} | result | {"ready_s": opened(page, given.repeat)}))


if __name__ == "__main__":
    main()

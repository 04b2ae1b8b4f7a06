"""Make the pictures of the pages anew, by the code as it is: `make pictures`.

The three example plans are analysed as a user would; the figures, the page, the sheet and the list
of results are taken as they come, and written into docs/images with 256 colours. Needs Chromium,
poppler-utils and the packages of development.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
COMMAND = [sys.executable, "-c", "from cordgap.cli.main import run; run()"]
PLAN = "coverage-first"
# Pictures of the demo plan that are figures of its report, with their width here.
FIGURES = {"axial": 960, "map": 1080, "scenarios": 1740, "dvh": 1200, "separation": 1200}
WIDTH, HEIGHT = 1280, 900


def analyse(name: str, out: Path) -> None:
    """Analyse an example plan; 0 and 1 say that it could be done."""
    options = ["--scenarios", "default"] if name == PLAN else []
    words = [*COMMAND, "analyze", str(ROOT / "plans" / name), "--out", str(out), "-q", *options]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{name}: {done.stderr}")


def save(picture: Path, name: str, width: int | None = None) -> None:
    """Write a picture into docs/images, in 256 colours and no wider than asked for."""
    with Image.open(picture) as image:
        plain = image.convert("RGB")
        if width is not None and plain.width > width:
            plain = plain.resize((width, round(plain.height * width / plain.width)), Image.LANCZOS)
        few = plain.quantize(256, dither=Image.Dither.NONE)
        few.save(IMAGES / f"{name}.png", optimize=True)
    print(f"{name}.png {(IMAGES / f'{name}.png').stat().st_size} bytes")


def shoot_report(page: Page, report: Path, folder: Path) -> None:
    """Photograph the page of a report: its top, and its slider with what follows it."""
    page.goto(report.as_uri())
    page.wait_for_function("document.querySelector('#map svg.main-svg') !== null")
    page.screenshot(path=folder / "top.png")
    save(folder / "top.png", "page-top")
    page.locator("#explorer-title").scroll_into_view_if_needed()
    page.evaluate("document.querySelector('#explorer-title').scrollIntoView()")
    page.wait_for_timeout(500)
    page.screenshot(path=folder / "slider.png")
    save(folder / "slider.png", "page-slider")


def shoot_list(page: Page, results: Path, folder: Path) -> None:
    """Photograph the list of results."""
    words = [*COMMAND, "serve", str(results), "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = re.search(r"http://\S+", server.stdout.readline())
            if address is None:
                raise RuntimeError("cordgap serve did not say where")
            page.set_viewport_size({"width": WIDTH, "height": 420})
            page.goto(address[0])
            page.wait_for_selector("table")
            page.screenshot(path=folder / "list.png")
        finally:
            server.terminate()
    save(folder / "list.png", "list")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results = folder / "results"
        for plan in ("coverage-first", "cord-first", "ring"):
            analyse(plan, results / plan)
        report = results / PLAN
        for figure, width in FIGURES.items():
            save(report / "figures" / f"{figure}.png", f"demo-{figure}", width)
        sheet = ["pdftoppm", "-r", "90", "-f", "1", "-l", "1", "-png", "-singlefile"]
        subprocess.run([*sheet, str(report / "report.pdf"), str(folder / "sheet")], check=True)
        save(folder / "sheet.png", "sheet")
        with sync_playwright() as driver:
            browser = driver.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            shoot_report(page, report / "report.html", folder)
            shoot_list(page, results, folder)
            browser.close()


if __name__ == "__main__":
    main()

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from cordgap.analysis import CaseResult, Settings, analyze
from cordgap.case.structure import Structure
from cordgap.dicom.read import read_case
from cordgap.phantom import spine_case
from cordgap.report.page import page_html
from cordgap.separation.uncertainty import load_scenarios

PLANS = Path(__file__).parents[2] / "plans"
Opener = Callable[..., Page]
INJECTION = "<img src=x onerror=alert(1)>"
LONG_NAME = "長い名前 <b>É\u202e\u0301" + "x" * 190


@pytest.fixture(scope="session")
def results() -> dict[str, CaseResult]:
    """Return the shipped plans, and cases with less than a plan, analysed once."""
    found = {name: analyze(read_case(PLANS / name)) for name in ("coverage-first", "cord-first")}
    few = replace(load_scenarios("default"), scenarios=60)
    found["ring"] = analyze(read_case(PLANS / "ring"))
    found["scenarios"] = analyze(found["ring"].case, Settings(scenarios=few))
    reachable = Settings(reachable=("anterior", "left anterolateral"))
    found["not reachable"] = analyze(found["ring"].case, reachable)
    phantom = spine_case()
    found["no dose"] = analyze(replace(phantom, dose=None))
    found["no prescription"] = analyze(replace(phantom, dose=None, prescription=None))
    cord_only = tuple(s for s in phantom.structures if s.role in ("cord", "body"))
    found["no target"] = analyze(replace(phantom, structures=cord_only, image=None))
    named = tuple(_renamed(s) for s in phantom.structures)
    odd = analyze(replace(phantom, structures=named, image=None, identity={"name": "Doe^Jane"}))
    found["odd names"] = odd
    return found


def _renamed(structure: Structure) -> Structure:
    names = {
        "gtv": INJECTION,
        "cord_prv": "_$\\alpha$ 脊髄",
        "thecal_sac": LONG_NAME,
        "canal": "=cmd|' /C calc'!A0",
        "body": "x" * 300,
    }
    return replace(structure, roi_name=names.get(structure.role, structure.roi_name))


@pytest.fixture(scope="session")
def pages(results: dict[str, CaseResult]) -> dict[str, str]:
    """Return the page of each case."""
    return {name: page_html(result) for name, result in results.items()}


@pytest.fixture(scope="session")
def result(results: dict[str, CaseResult]) -> CaseResult:
    return results["cord-first"]


AXE_VERSION = "4.14.1"
TOOLS = Path(__file__).parents[2] / "build" / "npm"


def missing(what: str) -> NoReturn:
    """Skip, or fail where everything has to be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


def call(*words: str) -> bool:
    """Run a command that may fail or not exist."""
    try:
        done = subprocess.run(words, capture_output=True, check=False, timeout=600)
    except OSError:
        return False
    return done.returncode == 0


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the system's Chromium, installed if that is possible."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None and shutil.which("apt-get"):
        sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
        call(*sudo, "apt-get", "update", "-qq")
        call(*sudo, "apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium")
        found = shutil.which("chromium")
    return found or missing("Chromium is not installed (Debian: apt-get install chromium)")


# Of a module: only one browser can be driven at a time.
@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def open_page(browser: Browser, files: dict[str, Path]) -> Iterator[Opener]:
    """Open one of a module's ``files``; at the end there was no error, request or dialog."""
    contexts, trouble = [], []

    def start(name: str, *, width: int = 1280, height: int = 900, axe: bool = False) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height}, bypass_csp=axe, offline=True
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: trouble.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: trouble.append(str(e)))
        page.on("dialog", lambda d: (trouble.append(f"dialog: {d.message}"), d.dismiss()))
        page.on("request", lambda r: None if allowed(r.url) else trouble.append(r.url))
        page.goto(files[name].as_uri())
        page.wait_for_function("document.documentElement.dataset.readyMs !== undefined")
        return page

    own = {path.as_uri() for path in files.values()}

    def allowed(url: str) -> bool:
        return url in own or url.startswith(("data:", "blob:"))

    yield start
    for context in contexts:
        context.close()
    assert trouble == []


@pytest.fixture(scope="session")
def axe() -> str:
    """Return the source of axe-core, fetched from npm if that is possible."""
    file = TOOLS / "node_modules" / "axe-core" / "axe.min.js"
    if not file.is_file():
        call("npm", "install", "--prefix", str(TOOLS), "--no-save", f"axe-core@{AXE_VERSION}")
    if not file.is_file():
        missing(f"axe-core is not there (npm install --prefix {TOOLS} axe-core@{AXE_VERSION})")
    return file.read_text(encoding="utf-8")

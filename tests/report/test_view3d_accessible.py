"""The 3D view and whom it can be used by: no mouse, little sight."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright
from tests.report.test_browser import serious

from cordgap.analysis import CaseResult
from cordgap.report.view3d import view_html

SOFTWARE = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")


@pytest.mark.parametrize("width", [1280, 390])
def test_view_has_no_serious_violation(
    results: dict[str, CaseResult], tetrahedra, chromium: str, axe: str, width: int, tmp_path: Path
) -> None:
    file = tmp_path / "view3d.html"
    file.write_text(
        view_html(results["ring"], tetrahedra(("Cord", "Target", "Removed")), 3.0), encoding="utf-8"
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(SOFTWARE))
        context = browser.new_context(
            viewport={"width": width, "height": 800}, bypass_csp=True, offline=True
        )
        page = context.new_page()
        page.goto(file.as_uri())
        page.wait_for_selector("#scene canvas", timeout=20_000)
        assert serious(page, axe) == []
        # By keyboard alone: every body is reached, hidden and shown again.
        for name in ("Cord", "Target", "Removed"):
            for state in ("false", "true"):
                button = page.get_by_role("button", name=name)
                button.focus()
                page.keyboard.press("Enter")
                assert button.get_attribute("aria-pressed") == state
        browser.close()

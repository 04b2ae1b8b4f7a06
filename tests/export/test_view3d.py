"""The 3D view in a real browser: offline, without errors, names as text."""

from __future__ import annotations

import os

import numpy as np
import pytest

from cordgap.report.view3d import Body, view_html

NAMES = ("<img src=x onerror=alert(1)>", "腫瘍 " + "é" * 200, "a \\ </script><b>b")


@pytest.fixture(scope="module")
def page_file(ring, tetrahedra, tmp_path_factory):
    """Return the view of three tetrahedra with names that mean harm."""
    path = tmp_path_factory.mktemp("view") / "view3d.html"
    path.write_text(view_html(ring, tetrahedra(NAMES), 3.0), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser(debian):
    program = debian("chromium", "chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip("playwright is not installed")
    with sync_playwright() as play:
        started = play.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
        )
        yield started
        started.close()


def test_view_works_offline(page_file, browser, ring):
    page = browser.new_page(viewport={"width": 390, "height": 800})
    problems, requests = [], []
    page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: problems.append(str(e)))
    page.on("dialog", lambda d: problems.append(d.message))
    page.on("request", lambda r: requests.append(r.url))
    page.goto(page_file.as_uri())
    page.wait_for_selector("#scene canvas", timeout=20_000)
    assert "LEVEL NOT IDENTIFIED" in page.inner_text("header")
    assert "Make 3.0 mm" in page.inner_text("h1")
    assert "does not decide whether to operate" in page.inner_text("footer")
    names = [b.inner_text().strip() for b in page.query_selector_all("[data-body]")]
    assert names == [f"{name} (0.50 cc)" for name in NAMES]
    assert page.query_selector("img, b") is None
    page.click('[data-body="1"]')
    assert page.get_attribute('[data-body="1"]', "aria-pressed") == "false"
    assert page.evaluate("document.getElementById('scene').data[1].visible") is False
    for name, eye in (("posterior", [0, 2.4, 0]), ("left", [2.4, 0, 0]), ("head", [0, 0, 2.4])):
        page.click(f'[data-view="{name}"]')
        at = page.evaluate("document.getElementById('scene').layout.scene.camera.eye")
        assert [at["x"], at["y"], at["z"]] == eye
    x = page.evaluate("Array.from(document.getElementById('scene')._fullData[2].x)")
    assert x == [24.0, 34.0, 24.0, 24.0]
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390
    assert problems == []
    assert requests == [page_file.as_uri()]
    page.close()


def test_page_is_one_file(page_file, ring):
    text = page_file.read_text(encoding="utf-8")
    assert "Content-Security-Policy" in text
    assert "default-src 'none'" in text
    assert "<link" not in text
    assert 'src="' not in text.split("<script")[0]
    body = Body("cord", "c", "#0072B2", np.eye(3), np.array([[0, 1, 2]]), 0.0)
    assert "no separation is known" in view_html(ring, [body], None)

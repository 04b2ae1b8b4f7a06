"""The page in a real browser: what follows the slider, and that nothing else happens."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page
from tests.report.conftest import Opener

from cordgap.analysis import CaseResult, analyze
from cordgap.case.grid import CtImage, GridGeometry
from cordgap.phantom import spine_case
from cordgap.phantom.shapes import CordShape, SpineAnatomy
from cordgap.report.files import write_file
from cordgap.report.numbers import shown
from cordgap.report.page import page_html
from cordgap.report.planes import MOST_PLANES, plane_levels
from cordgap.report.server import HOST, make_server
from cordgap.report.tables import analysis_document, to_json

MOST_BYTES = 8_000_000
READY_MS = 2000
LONG_NAME = "長い名前 <b>É\u202e\u0301" + "x" * 190  # as in conftest.py
POSITIONS_MM = (0.0, 2.25, 10.0)


@pytest.fixture(scope="module")
def files(pages: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages on disk, as a user opens them."""
    folder = tmp_path_factory.mktemp("pages")
    names = (
        "coverage-first", "cord-first", "ring", "no dose", "odd names", "not reachable",
    )  # fmt: skip
    return {name: write_file(folder / f"{name}.html", pages[name]) for name in names}


@pytest.fixture(scope="module")
def documents(results: dict[str, CaseResult]) -> dict[str, Any]:
    """What result.json says."""
    return {name: json.loads(to_json(analysis_document(r))) for name, r in results.items()}


def move(page: Page, step: int) -> None:
    """Move the slider as a hand does, and wait until everything was drawn."""
    page.evaluate(
        """async (step) => {
          const slider = document.getElementById("separation");
          slider.value = step;
          slider.dispatchEvent(new Event("input"));
          for (let i = 0; i < 3; i++) await new Promise((go) => requestAnimationFrame(go));
        }""",
        step,
    )


def yellow(page: Page) -> int:
    """Pixels of the axial picture that are shaded as closer than the separation."""
    return int(
        page.evaluate(
            """() => {
              const canvas = document.getElementById("axial"), pen = canvas.getContext("2d");
              const data = pen.getImageData(0, 0, canvas.width, canvas.height).data;
              let n = 0;
              for (let k = 0; k < data.length; k += 4) {
                if (data[k] > 150 && data[k + 1] > 130 && data[k + 2] < 0.75 * data[k]) n++;
              }
              return n;
            }"""
        )
    )


def text_of(page: Page, selector: str) -> str:
    return page.locator(selector).inner_text().strip()


def standing(step: float, required: float | None, interval: list[float] | None) -> str:
    if required is None or interval is None:
        return "–"
    if step < interval[0] - 1e-9:
        return "below the interval"
    if step < required - 1e-9:
        return "in the interval, below the estimate"
    if step < interval[1] - 1e-9:
        return "in the interval, at or above the estimate"
    return "at or above the interval"


@pytest.mark.parametrize("name", ["coverage-first", "cord-first", "ring"])
def test_numbers_are_those_of_the_document(
    open_page: Opener, documents: dict[str, Any], name: str
) -> None:
    page, document = open_page(name), documents[name]
    s = document["separation"]
    limit = next(g["limit"] for g in s["cord_goals"] if g["id"] == s["binding_constraint"])
    for position in POSITIONS_MM:
        step = s["target_left"]["separation_mm"].index(position)
        move(page, step)
        assert text_of(page, "#separation-text") == f"{position:.2f} mm"
        points = {p["question"]: p for p in s["curve"] if p["separation_mm"] == position}
        planned = points["as planned"]
        expected = {
            "required": standing(position, s["required_separation_mm"], s["interval_mm"]),
            "removed": shown(planned["resection_cc"], 2, "cc"),
            "inside": shown(planned["resection_inside_canal_cc"], 2, "cc"),
            "outside": shown(
                planned["resection_cc"] - planned["resection_inside_canal_cc"], 2, "cc"
            ),
            "cord_planned": shown(planned["cord_gy"], 2, "Gy"),
        }
        for metric, gy in planned["metrics"].items():
            share = shown(100 * gy / s["prescription"]["dose_gy"], 1, "%")
            expected[metric] = f"{shown(gy, 2, 'Gy')} ({share})"
        if "re-planned" in points:
            expected["cord_predicted"] = shown(points["re-planned"]["cord_gy"], 2, "Gy")
        found = {
            cell.get_attribute("data-row"): cell.inner_text().strip()
            for cell in page.locator("#readout [data-row]").all()
        }
        assert found == expected
        predicted = points.get("re-planned")
        if predicted is not None:
            mark = page.locator('[data-row="cord_predicted"]').get_attribute("class")
            assert mark == ("number good" if predicted["cord_gy"] <= limit else "number bad")
        cells = page.locator("#schedules [data-schedule]").all()
        assert [c.inner_text().strip() for c in cells] == [
            standing(position, x["required_separation_mm"], x["interval_mm"])
            for x in s["schedules"]
        ]
        check_plots(page, document, step)


def check_plots(page: Page, document: Any, step: int) -> None:
    """Histograms and map hold the numbers of the document."""
    s = document["separation"]
    left = s["target_left"]
    traces = page.evaluate(
        """() => [...document.getElementById("dvh").data].map(
             (t) => ({name: t.name, x: [...t.x], y: [...t.y]}))"""
    )
    remaining = next(t for t in traces if t["name"].endswith(" left"))
    row = np.array(left["volume_cc"][step])
    assert remaining["x"] == left["dose_gy"]
    np.testing.assert_allclose(remaining["y"], 100 * row / max(row[0], 1e-300), rtol=1e-12)
    cord = next(x for x in document["dvh"]["structures"] if x["role"] == "cord")
    drawn = next(t for t in traces if t["name"] == cord["roi_name"])
    assert drawn["x"] == cord["dvh"]["dose_gy"]
    whole = 100 * np.array(cord["dvh"]["volume_cc"]) / cord["volume_cc"]
    np.testing.assert_allclose(drawn["y"], whole, rtol=1e-12)
    shown_map = page.evaluate(
        """() => { const t = document.getElementById("map").data[0];
             return {x: [...t.x], y: [...t.y], z: t.z.map((r) => [...r]), text: t.text}; }"""
    )
    assert shown_map["y"] == s["map"]["level_mm"]
    separation = left["separation_mm"][step]
    for i in range(0, len(shown_map["y"]), 17):
        for j in range(0, len(shown_map["x"]), 11):
            k = s["map"]["direction_deg"].index(shown_map["x"][j] % 360)
            gap = s["map"]["gap_mm"][i][k]
            words = shown_map["text"][i][j]
            if gap is None:
                assert words.endswith("over 20 mm")
                continue
            missing = shown(max(0.0, separation - gap), 1, "mm")
            assert f"gap {shown(gap, 1, 'mm')}; {missing} missing" in words


def test_slider_changes_everything_together(open_page: Opener) -> None:
    page = open_page("coverage-first")
    before, areas = None, []
    for step in (0, 8, 20):
        move(page, step)
        now = (
            text_of(page, '[data-row="removed"]'),
            page.evaluate("document.getElementById('map').data[0].colorscale.flat().join()"),
            page.evaluate("document.getElementById('dvh').data.map((t) => t.y.join()).join()"),
            text_of(page, '[data-schedule="1"]') if step != 8 else None,
        )
        areas.append(yellow(page))
        if before is not None:
            assert all(a != b for a, b in zip(before, now, strict=True) if None not in (a, b))
        before = now
    # The edges of an orange outline count too; shading adds square millimetres of pixels.
    per_mm2 = (720 / 70) ** 2
    assert areas[0] + 5 * per_mm2 < areas[1]
    assert areas[1] + 5 * per_mm2 < areas[2]


def test_keys_wheel_and_slider_change_the_level(open_page: Opener) -> None:
    page = open_page("ring")

    def level() -> int:
        number = re.search(r"z = (-?[\d.]+) mm", text_of(page, "#plane-title"))
        assert number is not None
        line = page.evaluate("document.getElementById('map').layout.shapes.at(-1).y0")
        assert line == float(number[1])
        return round(float(number[1]))

    start = level()
    page.locator("#axial").focus()
    page.keyboard.press("ArrowUp")
    assert level() == start + 1
    page.keyboard.press("PageDown")
    assert level() == start - 9
    page.locator("#level").focus()
    page.keyboard.press("ArrowRight")
    assert level() == start - 8
    page.locator("#axial").hover()
    page.mouse.wheel(0, -120)
    page.wait_for_timeout(100)
    assert level() == start - 7
    text = text_of(page, "#separation-text")
    page.locator("#separation").focus()
    page.keyboard.press("ArrowRight")
    assert float(text_of(page, "#separation-text").split()[0]) == float(text.split()[0]) + 0.25


def test_map_shows_words_and_chooses_the_plane(open_page: Opener) -> None:
    page = open_page("coverage-first")
    page.locator("#map").scroll_into_view_if_needed()
    box = page.locator("#map .nsewdrag").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    page.wait_for_function("document.getElementById('map-text').textContent.includes('gap')")
    words = text_of(page, "#map-text")
    assert words.startswith("anterior, z ")
    page.mouse.click(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    page.wait_for_timeout(200)
    z = re.search(r"z (-?[\d.]+) mm", words)
    assert z is not None
    assert f"z = {z[1]} mm" in text_of(page, "#plane-title")


def test_names_are_shown_as_text(open_page: Opener) -> None:
    page = open_page("odd names")
    move(page, 12)
    assert page.locator("img[src='x']").count() == 0
    assert page.locator("main b").count() == 0
    body = page.locator("main").inner_text()
    assert "<img src=x onerror=alert(1)>" in body
    assert LONG_NAME in page.locator("main").text_content()
    legend = page.locator("#dvh .legendtext").all_text_contents()
    assert any(text.startswith("<img src=x") for text in legend)
    assert page.locator("#dvh b, #dvh a, #dvh img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_without_a_dose_the_volumes_are_shown(open_page: Opener, documents: dict[str, Any]) -> None:
    page = open_page("no dose")
    move(page, 0)
    nothing = yellow(page)
    move(page, 12)
    s = documents["no dose"]["separation"]
    point = next(p for p in s["curve"] if p["separation_mm"] == 3.0)
    assert text_of(page, '[data-row="removed"]') == shown(point["resection_cc"], 2, "cc")
    assert text_of(page, '[data-row="cord_predicted"]') == shown(point["cord_gy"], 2, "Gy")
    assert yellow(page) > nothing + 500


def test_what_cannot_be_cleared_is_not_shaded_and_bounds_the_cord_dose(
    open_page: Opener, documents: dict[str, Any]
) -> None:
    page, whole = open_page("not reachable"), open_page("ring")
    document = documents["not reachable"]["separation"]
    assert document["status"] == "not reachable"
    shaded = []
    for each in (page, whole):
        move(each, 0)
        nothing = yellow(each)
        move(each, 12)
        shaded.append(yellow(each) - nothing)
    # Two of six sextants of a ring.
    assert shaded[0] == pytest.approx(shaded[1] / 3, rel=0.25)
    planned, predicted = (
        text_of(page, f'[data-row="cord_{kind}"]') for kind in ("planned", "predicted")
    )
    assert planned == predicted
    assert text_of(page, "#separation-standing") == "not reachable"


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["coverage-first", "odd names"])
def test_page_is_accessible_and_fits(open_page: Opener, axe: str, name: str, width: int) -> None:
    page = open_page(name, width=width, axe=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert serious(page, axe) == []


def serious(page: Page, axe: str) -> list[str]:
    """Violations that axe-core calls serious or critical."""
    page.evaluate(axe)
    found = page.evaluate("async () => (await axe.run()).violations")
    return [
        f"{v['id']}: {v['help']} ({v['nodes'][0]['html'][:200]})"
        for v in found
        if v["impact"] in ("serious", "critical")
    ]


def test_print_view_is_one_side_of_a4(open_page: Opener, files: dict[str, Path]) -> None:
    for name in files:
        data = open_page(name).pdf(prefer_css_page_size=True, print_background=True)
        assert len(re.findall(rb"/Type\s*/Page\b", data)) == 1, name
        width, height = re.search(rb"/MediaBox\s*\[\s*0 0 ([\d.]+) ([\d.]+)", data).groups()
        assert (float(width), float(height)) == pytest.approx((595, 842), abs=1)


def test_300_slices_are_ready_in_time(browser: Browser, tmp_path: Path) -> None:
    """A CT of 300 slices around a long target: as many planes as a page holds."""
    straight = CordShape(5.5, (0.37, 45.31), (0.0, 0.0), (0.0, 0.0), half_length_mm=75.0)
    anatomy = SpineAnatomy(cord=straight, vertebra_half_length_mm=54.0)
    case = spine_case(anatomy=anatomy, image=False)
    low, high = case.dose.geometry.lower_mm, case.dose.geometry.upper_mm
    axes = [np.linspace(a, b, n) for a, b, n in zip(low, high, (256, 256, 300), strict=True)]
    rng = np.random.default_rng(7)
    values = rng.integers(-200, 300, (300, 256, 256), dtype=np.int16)
    case = replace(case, image=CtImage.from_array(GridGeometry(*axes), values))
    result = analyze(case)
    text = page_html(result)
    assert len(text.encode("utf-8")) < MOST_BYTES
    path = write_file(tmp_path / "long.html", text)
    ready = []
    for _ in range(3):
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(path.as_uri())
        page.wait_for_function("document.documentElement.dataset.readyMs !== undefined")
        ready.append(float(page.evaluate("document.documentElement.dataset.readyMs")))
        page.close()
    assert len(plane_levels(result.separation)) > 0.9 * MOST_PLANES
    # The best of three: the machine may be busy with something else.
    assert min(ready) < READY_MS


def test_list_of_results(
    browser: Browser, axe: str, files: dict[str, Path], documents: dict[str, Any], tmp_path: Path
) -> None:
    for name in ("coverage-first", "cord-first", "odd names"):
        write_file(folder_of(tmp_path, name) / "result.json", to_json(documents[name]))
        write_file(folder_of(tmp_path, name) / "report.html", files[name].read_bytes())
    server = make_server(tmp_path, 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    context = browser.new_context(bypass_csp=True)
    page, trouble = context.new_page(), []
    page.on("console", lambda m: trouble.append(m.text) if m.type == "error" else None)
    try:
        page.goto(f"http://{HOST}:{server.server_address[1]}/")
        assert serious(page, axe) == []
        rows = page.locator("#results tbody tr")
        page.locator("#search").fill("cord-first")
        assert [r.is_visible() for r in rows.all()].count(True) == 1
        page.locator("#search").fill("")
        page.get_by_role("button", name="Required [mm]").click()
        values = [
            float(c.get_attribute("data-value"))
            for c in page.locator("#results tbody tr td:nth-child(5)").all()
        ]
        assert values == sorted(values)
        page.get_by_role("link", name="page of coverage-first").click()
        page.wait_for_function("document.documentElement.dataset.readyMs !== undefined")
        assert "How many millimetres?" in page.locator("main").inner_text()
        assert trouble == []
    finally:
        context.close()
        server.shutdown()
        server.server_close()
        thread.join()


def folder_of(root: Path, name: str) -> Path:
    folder = root / name
    folder.mkdir(exist_ok=True)
    return folder

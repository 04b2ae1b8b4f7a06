"""The page of trends in a real browser: figures, tables and counts of one selection of plans."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from tests.batch.trend_store import INJECTION, Made, plan_id, varied, write_store
from tests.report.conftest import Opener

from cordgap.batch import trend_rows
from cordgap.batch.rules import judge, parse_rule
from cordgap.batch.store import Store
from cordgap.batch.trend_rows import page_rows
from cordgap.batch.trends import gather, trends_document
from cordgap.report.files import write_file
from cordgap.report.trends import trends_html

PLANS = varied(420)
PAIRS = [(n, n + 1) for n in range(0, 400, 9) if PLANS[n].status == PLANS[n + 1].status == "ok"]
MEASURES = {"cord_d0035cc_gy": "D0.035cc", "headroom_gy": "headroom"}
PLOTS = ("dose", "headroom", "needs", "coverage", "pairs", "gradient", "causes")
QUANTILES = ("q05", "q25", "q50", "q75", "q95")


@contextmanager
def gathered(path: Path, since: date | None = None) -> Iterator[Store]:
    with Store(path, read_only=True) as store:
        gather(store, since)
        yield store


def write_page(store_at: Path, page: Path, *rules: str, since: date | None = None) -> Path:
    with gathered(store_at, since) as store:
        found = [judge(store, parse_rule(rule)) for rule in rules]
        document = trends_document(store, since, found)
        text = trends_html(document, page_rows(store, since), page=page)
    return write_file(page, text)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages on disk: a busy site, one plan, none, and a site after a day."""
    folder = tmp_path_factory.mktemp("trends")
    stores = {
        "site": write_store(folder / "site.duckdb", PLANS, PAIRS),
        "one": write_store(folder / "one.duckdb", [Made(gy=19.0)]),
        "none": write_store(folder / "none.duckdb", []),
    }
    rules = ("failed>0", "exceeded>90%", "make_mm.max>3")
    pages = {n: write_page(s, folder / f"{n}.html", *rules) for n, s in stores.items()}
    pages["since"] = write_page(stores["site"], folder / "since.html", since=date(2026, 3, 1))
    return pages


def counts(page: Page) -> dict[str, int]:
    cells = page.locator("#counts dd").all()
    return {str(c.get_attribute("data-count")): int(c.inner_text().replace(",", "")) for c in cells}


def table(page: Page, name: str) -> dict[str, list[float | None]]:
    """Return the numbers of a table by the name of the row."""
    found: dict[str, list[float | None]] = page.evaluate(
        """(id) => Object.fromEntries([...document.getElementById(id).tBodies[0].rows]
             .filter((row) => row.cells.length > 1)
             .map((row) => [row.cells[0].textContent, [...row.cells].slice(1)
               .filter((cell) => "value" in cell.dataset)
               .map((cell) => cell.dataset.value === "" ? null : Number(cell.dataset.value))]))""",
        name,
    )
    return found


def points(page: Page, plot: str) -> int:
    """Count the markers of plans in a figure, without the rings around some of them."""
    return int(
        page.evaluate(
            """(id) => document.getElementById(id).data.filter(
                 (t) => t.mode === "markers" && t.name !== "outside its limits")
                 .reduce((n, t) => n + t.x.length, 0)""",
            plot,
        )
    )


def near(values: list[float | None]) -> Any:
    # Documents are rounded to 1e-4, the page is not.
    return pytest.approx(values, abs=6e-5)


def check(page: Page, expected: dict[str, Any]) -> None:
    """Counts, tables and figures of a page are what the database says of the same plans."""
    assert counts(page) == expected["counts"]
    control = {
        f"{MEASURES[c['measure']]}, {c['fractions']}": [
            c[k] for k in ("plans", "mean", "lower", "upper")
        ]
        for c in expected["control"]
    }
    found = table(page, "control")
    assert found.keys() == control.keys()
    for name, row in found.items():
        assert row[:4] == near(control[name])
    schedules = {
        f"{s['dose_gy']:g} Gy/{s['fractions']}": [s["plans"], s["missing"]]
        + [s[q] for q in QUANTILES]
        for s in expected["schedules"]
    }
    found = table(page, "schedules")
    assert found.keys() == schedules.keys()
    for name, row in found.items():
        assert row == near(schedules[name])
    assert table(page, "coverages") == {
        c["metric"]: [c["plans"], c["met"], c["missed"]] for c in expected["coverage"]
    }
    machines = {
        g["name"] or "not known": [g["plans"]] + [g[q] for q in QUANTILES]
        for g in expected["gradients"]["machine"]
    }
    found = table(page, "gradients")
    assert found.keys() == machines.keys()
    for name, row in found.items():
        assert row == near(machines[name])
    assert table(page, "reasons") == {c["code"]: [c["plans"]] for c in expected["causes"]}
    boxes = page.evaluate(
        """() => document.getElementById("needs").data.flatMap((t) => [...t.median])"""
    )
    assert boxes == near([s["q50"] for s in expected["schedules"] if s["plans"]])
    for plot, name in (("dose", "cord_d0035cc_gy"), ("headroom", "headroom_gy")):
        assert points(page, plot) == expected["measures"][name]["plans"]
    assert points(page, "coverage") == sum(c["plans"] for c in expected["coverage"])
    assert points(page, "pairs") == expected["comparisons"]["pairs"]
    rings = page.evaluate(
        """() => document.getElementById("dose").data.filter(
             (t) => t.name === "outside its limits").reduce((n, t) => n + t.x.length, 0)"""
    )
    outside = [c["outside"] for c in expected["control"] if c["measure"] == "cord_d0035cc_gy"]
    assert rings == sum(outside)


def of_some(
    folder: Path, keep: Callable[[Made], bool] = lambda _: True, since: date | None = None
) -> dict[str, Any]:
    """Return what the database says of a store that holds only the plans that are chosen."""
    chosen = [plan for plan in PLANS if keep(plan)]
    path = folder / "some.duckdb"
    path.unlink(missing_ok=True)
    with gathered(write_store(path, chosen), since) as store:
        document = trends_document(store, since, [])
    # The partner after surgery need not be chosen.
    document["comparisons"]["pairs"] = sum(
        keep(PLANS[a]) and PLANS[a].required_mm is not None for a, _ in PAIRS
    )
    return document


def test_numbers_are_those_of_the_database(open_page: Opener, tmp_path: Path) -> None:
    page = open_page("site")
    expected = of_some(tmp_path)
    assert expected["counts"]["out_of_control"] > 0
    check(page, expected)
    assert page.locator("#headline").inner_text() == "420 of 420 plans shown"
    assert page.locator("#rules tbody tr").count() == 3
    assert [r.split("\t")[1] for r in page.locator("#rules tbody tr").all_inner_texts()] == [
        "✗ fired", "✓ held", "? not evaluable",
    ]  # fmt: skip


def choose(page: Page, **values: str) -> None:
    for name, label in values.items():
        page.locator(f"#{name}").select_option(label=label)


def test_filters_change_figures_and_counts_together(open_page: Opener, tmp_path: Path) -> None:
    page = open_page("site")
    choose(page, fractions="2")
    check(page, of_some(tmp_path, lambda p: p.status == "ok" and p.fractions == 2))
    choose(page, machine=INJECTION)
    check(
        page,
        of_some(
            tmp_path, lambda p: p.fractions == 2 and p.machine == INJECTION and p.status == "ok"
        ),
    )
    page.get_by_role("button", name="Show all").click()
    page.wait_for_timeout(50)
    check(page, of_some(tmp_path))
    choose(page, protocol="rtog-0631", cord="<b>Myelon</b>")
    check(
        page,
        of_some(
            tmp_path,
            lambda p: p.status == "ok" and p.protocol is not None and p.cord == "<b>Myelon</b>",
        ),
    )
    page.get_by_role("button", name="Show all").click()
    page.wait_for_timeout(50)
    choose(page, planner="p3", target="GTV_T7")
    check(
        page,
        of_some(
            tmp_path, lambda p: p.status == "ok" and p.planner == "p3" and p.target == "GTV_T7"
        ),
    )


def test_time_status_and_verdict_leave_the_limits(open_page: Opener, tmp_path: Path) -> None:
    page = open_page("site")
    limits = [row[:4] for row in table(page, "control").values()]
    page.locator("#from").fill("2026-03-01")
    page.locator("#to").fill("2026-03-31")
    first = date(2026, 1, 1)
    inside = [p for p in PLANS if "2026-03-01" <= str(first + timedelta(p.day)) <= "2026-03-31"]
    assert counts(page)["plans"] == len(inside) > 100
    assert points(page, "dose") == sum(p.status == "ok" for p in inside)
    assert [row[:4] for row in table(page, "control").values()] == limits
    choose(page, verdict="a limit is exceeded")
    shown = counts(page)
    assert shown["plans"] == shown["ok"] == shown["exceeded"] == points(page, "dose") > 0
    assert [row[:4] for row in table(page, "control").values()] == limits
    page.get_by_role("button", name="Show all").click()
    page.wait_for_timeout(50)
    choose(page, status="refused")
    refused = sum(p.status == "refused" for p in PLANS)
    assert counts(page) | {"plans": refused, "refused": refused, "ok": 0} == counts(page)
    assert sum(row[0] for row in table(page, "reasons").values()) == refused
    assert points(page, "dose") == 0
    page.get_by_role("button", name="Show all").click()
    page.wait_for_timeout(50)
    choose(page, time="month of the plan")
    page.locator("#from").fill("2024-06-15")
    page.locator("#to").fill("2024-06-01")
    month = [p for p in PLANS if p.month == date(2024, 6, 1)]
    assert counts(page)["plans"] == len(month) > 0
    choose(page, across="over time")
    dates = page.evaluate(
        """() => [...new Set(document.getElementById("dose").data.filter(
             (t) => t.mode === "markers").flatMap((t) => t.x))]"""
    )
    assert dates == ["2024-06-01"]


def test_since_begins_at_that_day_with_limits_of_all(open_page: Opener, tmp_path: Path) -> None:
    page = open_page("since")
    expected = of_some(tmp_path, since=date(2026, 3, 1))
    assert counts(page) == expected["counts"]
    for row, c in zip(table(page, "control").values(), expected["control"], strict=True):
        assert row == near([c[k] for k in ("plans", "mean", "lower", "upper", "outside")])
    page.get_by_role("button", name="Show all").click()
    page.wait_for_timeout(50)
    assert counts(page)["plans"] == len(PLANS)


def test_names_are_shown_as_text(open_page: Opener) -> None:
    page = open_page("site")
    assert page.locator("img[src='x']").count() == 0
    assert page.locator("main b").count() == 0
    assert page.locator(".plot b, .plot a, .plot img").count() == 0
    assert INJECTION in table(page, "reasons")
    assert INJECTION in table(page, "gradients")
    assert INJECTION in page.locator("#machine option").all_text_contents()
    assert any("<img src=" in t for t in page.locator("#gradient .xtick").all_text_contents())


def test_outliers_come_first_and_say_why(open_page: Opener, files: dict[str, Path]) -> None:
    page = open_page("site")
    rows = page.locator("#outliers tbody tr").all_inner_texts()
    outside = counts(page)["out_of_control"]
    whys = [row.split("\t")[5] for row in rows]
    assert all("above" in why or "below" in why for why in whys[:outside])
    assert all(why == "exceeds a limit" for why in whys[outside:])
    assert len(rows) == min(50, len(rows))
    far = {plan_id(n) for n, p in enumerate(PLANS) if p.status == "ok" and (p.gy or 0) > 23}
    assert far & {row.split("\t")[0] for row in rows[:outside]}


def test_reports_are_linked_where_they_are(browser: Browser, tmp_path: Path) -> None:
    store = write_store(tmp_path / "r.duckdb", [Made(gy=20.0, report=True), Made(gy=21.0)])
    report = tmp_path / "reports" / plan_id(0) / "report.html"
    report.parent.mkdir(parents=True)
    report.write_text("<title>the report</title>", encoding="utf-8")
    place = tmp_path / "t.html"
    with gathered(store) as opened:
        document = trends_document(opened, None, [])
        text = trends_html(
            document, page_rows(opened, None), page=place, reports=tmp_path / "reports"
        )
    page = browser.new_page()
    page.goto(write_file(place, text).as_uri())
    links = page.locator("#outliers a")
    assert links.count() == 1
    links.click()
    assert page.title() == "the report"
    page.close()


def test_many_points_are_thinned_and_counts_are_of_all(browser: Browser, tmp_path: Path) -> None:
    some = varied(700)
    store = write_store(tmp_path / "r.duckdb", [*some, *some, *some, *some])
    page = browser.new_page()
    page.goto(write_page(store, tmp_path / "t.html").as_uri())
    page.wait_for_function("document.documentElement.dataset.readyMs !== undefined")
    with gathered(store) as opened:
        expected = trends_document(opened, None, [])
    assert counts(page) == expected["counts"]
    analysed = expected["measures"]["cord_d0035cc_gy"]["plans"]
    assert analysed > 2000 >= points(page, "dose")
    note = page.locator("#dose-note").inner_text()
    assert f"of {analysed:,} points are drawn: all outside the limits" in note
    assert expected["control"][0]["plans"] == table(page, "control")["D0.035cc, 1"][0]
    page.close()


@pytest.mark.parametrize("name", ["none", "one"])
def test_few_plans_say_so(open_page: Opener, name: str) -> None:
    page = open_page(name)
    number = 0 if name == "none" else 1
    assert counts(page)["plans"] == number
    for plot in PLOTS:
        empty = page.locator(f"#{plot} .annotation-text").count()
        assert empty == (name == "none" or plot in ("pairs", "causes")), plot
    text = page.locator("main").inner_text()
    assert ("holds no plan yet" in text) == (name == "none")
    assert ("No control limits: fewer than 20" in text) == (name == "one")


def test_a_page_of_a_part_says_so(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = trend_rows._HELD.replace("20000", "3")
    monkeypatch.setattr(trend_rows, "_HELD", held)
    store = write_store(tmp_path / "r.duckdb", [replace(Made(), day=n) for n in range(5)])
    page = browser.new_page()
    page.goto(write_page(store, tmp_path / "t.html").as_uri())
    assert "holds the 3 plans that were analysed last, of 5" in page.locator("main").inner_text()
    assert counts(page)["plans"] == 3
    page.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["site", "none"])
def test_page_is_accessible_and_fits(open_page: Opener, axe: str, name: str, width: int) -> None:
    page = open_page(name, width=width, axe=True)
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.evaluate(axe)
    found = page.evaluate("async () => (await axe.run()).violations")
    assert [
        f"{v['id']}: {v['nodes'][0]['html'][:200]}"
        for v in found
        if v["impact"] in ("serious", "critical")
    ] == []


def test_keys_reach_filters_and_tables(open_page: Opener) -> None:
    page = open_page("site")
    page.locator("#status").focus()
    page.keyboard.press("ArrowDown")
    assert counts(page)["plans"] == counts(page)["ok"] < len(PLANS)
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#control").is_visible()

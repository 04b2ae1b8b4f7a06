"""Trends of a batch: numbers against those made by hand, control limits, rules, the command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.batch.trend_store import Made, plan_id, rows_of, varied, write_store
from typer.testing import CliRunner

from cordgap.batch import trend_rows
from cordgap.batch.rules import judge, parse_rule
from cordgap.batch.store import Store
from cordgap.batch.trend_rows import page_rows
from cordgap.batch.trends import FEWEST_FOR_LIMITS, gather, trends_document
from cordgap.cli.main import build_app
from cordgap.errors import OptionError
from cordgap.report.schema import load_schema


@contextmanager
def gathered(path: Path, since: date | None = None) -> Iterator[Store]:
    with Store(path, read_only=True) as store:
        gather(store, since)
        yield store


def document_of(path: Path, since: date | None = None) -> dict:
    with gathered(path, since) as store:
        return trends_document(store, since, [])


def stays(path: Path, rule: str, since: date | None = None) -> dict:
    with gathered(path, since) as store:
        return judge(store, parse_rule(rule))


@pytest.fixture(scope="module")
def five(tmp_path_factory) -> Path:
    """Three analysed plans, a refused one and a failed one."""
    plans = [
        Made(gy=15.0, month=date(2026, 3, 1), separation_mm=1.0, required_mm=2.0),
        Made(gy=18.0, month=date(2026, 1, 1), separation_mm=3.0, required_mm=1.0, coverage=94.0),
        Made(gy=13.0, fractions=1, month=None, machine="m2", required_mm=None, gradient=None),
        Made(status="refused", code="no-cord", day=1),
        Made(status="failed", code="worker-died", day=2),
    ]
    return write_store(tmp_path_factory.mktemp("five") / "r.duckdb", plans, pairs=[(0, 1)])


def test_numbers_are_those_made_by_hand(five):
    d = document_of(five)
    assert d["counts"] == {
        "plans": 5, "ok": 3, "refused": 1, "failed": 1, "timeout": 0,
        "exceeded": 2, "not_evaluable": 0, "out_of_control": 0,
    }  # fmt: skip
    # In the order of the months; the plan without one is last.
    assert d["measures"]["cord_d0035cc_gy"] == {
        "plans": 3, "missing": 0, "min": 13.0, "mean": 15.3333, "median": 15.0, "max": 18.0,
        "last": 13.0,
    }  # fmt: skip
    assert d["measures"]["headroom_gy"]["min"] == -1.0
    assert d["measures"]["headroom_gy"]["last"] == pytest.approx(-0.6)
    assert d["measures"]["required_separation_mm"]["missing"] == 1
    schedule = next(s for s in d["schedules"] if (s["dose_gy"], s["fractions"]) == (24.0, 1))
    # 2.0 and 1.0, each 0.5 more; a straight line between them.
    assert schedule == {
        "dose_gy": 24.0, "fractions": 1, "plans": 2, "missing": 1,
        "q05": 1.55, "q25": 1.75, "q50": 2.0, "q75": 2.25, "q95": 2.45,
    }  # fmt: skip
    assert d["coverage"] == [{"metric": "D98%[%]", "plans": 3, "met": 2, "missed": 1}]
    assert d["gradients"]["machine"] == [
        {"name": "m1", "plans": 2} | dict.fromkeys(("q05", "q25", "q50", "q75", "q95"), 9.0)
    ]
    assert d["causes"] == [
        {"status": "refused", "code": "no-cord", "plans": 1},
        {"status": "failed", "code": "worker-died", "plans": 1},
    ]
    # 2.0 mm were asked for, 3.0 were made: at least the upper end, 2.5.
    assert d["comparisons"] == {
        "pairs": 1, "out_of_date": 0, "at_least_predicted": 1, "at_least_upper_end": 1,
        "median_difference_mm": 1.0,
    }  # fmt: skip
    jsonschema.Draft202012Validator(load_schema("trends")).validate(d)


def test_since_counts_what_was_analysed_from_that_day(five):
    d = document_of(five, date(2026, 1, 2))
    assert d["counts"] | {"plans": 2, "refused": 1, "failed": 1} == d["counts"]
    assert d["counts"]["ok"] == d["measures"]["cord_d0035cc_gy"]["plans"] == 0
    assert d["measures"]["cord_d0035cc_gy"]["min"] is None


def test_a_lower_bound_and_an_unknown_limit_are_no_numbers(tmp_path):
    """Of a cord partly outside the dose grid, and where one limit could not be evaluated."""
    plans = [
        Made(gy=11.0, bound="lower", evaluable=False),
        Made(gy=19.0, bound="lower"),
        Made(gy=None),
    ]
    d = document_of(write_store(tmp_path / "r.duckdb", plans))
    assert d["measures"]["cord_d0035cc_gy"]["missing"] == 3
    # At least 19 Gy: the headroom is at most -2, and that is beyond the limit.
    assert d["measures"]["headroom_gy"] | {"plans": 1, "max": -2.0} == d["measures"]["headroom_gy"]
    assert d["counts"]["exceeded"] == d["counts"]["not_evaluable"] == 1


def test_two_cords(tmp_path):
    """The one that was taken counts; where none was, none."""
    path = tmp_path / "r.duckdb"
    rows = [rows_of(0, Made(gy=15.0)), rows_of(1, Made(gy=16.0, separation_mm=None))]
    for part in rows:
        other = part["metrics"][0] | {"roi_name": "Cord_old", "value": 3.0}
        part["metrics"].append(other)
    with Store(path, site_key="00" * 32) as store:
        store.add(rows)
    measure = document_of(path)["measures"]["cord_d0035cc_gy"]
    assert (measure["plans"], measure["min"], measure["missing"]) == (1, 15.0, 1)


def test_a_comparison_of_earlier_results_is_left_out(five, tmp_path):
    path = tmp_path / "r.duckdb"
    path.write_bytes(five.read_bytes())
    with Store(path) as store:
        rows = rows_of(0, Made(gy=15.5))
        for part in rows.values():
            for row in part:
                row["result_id"] = "later"
        store.add([rows])
    found = document_of(path)["comparisons"]
    assert (found["pairs"], found["out_of_date"]) == (0, 1)


# ---- control limits ------------------------------------------------------------------------------
VALUES = st.lists(
    st.floats(1.0, 30.0).map(lambda x: round(x, 4)), min_size=FEWEST_FOR_LIMITS, max_size=60
)


def limits_of(values, path: Path) -> dict:
    path.unlink(missing_ok=True)
    month = date(2026, 1, 1)
    write_store(path, [Made(gy=gy, month=month) for gy in values])
    control = document_of(path)["control"]
    return next(c for c in control if c["measure"] == "cord_d0035cc_gy")


@given(VALUES, st.floats(-0.5, 20.0).map(lambda x: round(x, 4)))
@settings(max_examples=8, deadline=None)
def test_control_limits_are_those_of_an_individuals_chart(tmp_path_factory, values, shift):
    path = tmp_path_factory.mktemp("limits") / "r.duckdb"
    found = limits_of(values, path)
    array = np.array(values)
    half = 2.66 * np.abs(np.diff(array)).mean()
    lower, upper = array.mean() - half, array.mean() + half
    # Documents are rounded to 1e-4.
    assert [found["mean"], found["lower"], found["upper"]] == pytest.approx(
        [array.mean(), lower, upper], abs=6e-5
    )
    assert found["outside"] == ((array < lower - 1e-6) | (array > upper + 1e-6)).sum()
    # Another zero of the scale moves the limits and nothing else.
    moved = limits_of([gy + shift for gy in values], path)
    assert moved["mean_moving_range"] == pytest.approx(found["mean_moving_range"], abs=1.1e-4)
    assert moved["upper"] - found["upper"] == pytest.approx(shift, abs=2.1e-4)


def test_equal_values_are_never_outside(tmp_path):
    found = limits_of([0.1 + 0.2] * 37, tmp_path / "r.duckdb")
    assert found["lower"] == found["mean"] == found["upper"]
    assert found["outside"] == 0


def test_each_number_of_fractions_has_limits_of_its_own_and_few_plans_none(tmp_path):
    plans = [Made(gy=10.0 + 0.1 * (n % 2), fractions=1) for n in range(20)]
    plans += [Made(gy=20.0 + 0.1 * (n % 2), fractions=3) for n in range(19)]
    path = write_store(tmp_path / "r.duckdb", plans)
    control = {
        c["fractions"]: c for c in document_of(path)["control"] if c["measure"] == "cord_d0035cc_gy"
    }
    assert control[1]["upper"] == pytest.approx(10.05 + 2.66 * 0.1, abs=1e-4)
    assert control[3]["mean"] == pytest.approx(20.0474, abs=1e-4)
    assert control[3]["upper"] is control[3]["lower"] is None
    far = [*plans, Made(gy=11.5, fractions=1, day=5), Made(gy=40.0, fractions=2, day=5)]
    path = write_store(tmp_path / "far.duckdb", far)
    assert stays(path, "out-of-control>0") | {
        "state": "fired", "value": 1.0, "plan_ids": [plan_id(39)],
    } == stays(path, "out-of-control>0")  # fmt: skip
    # Limits are of all plans, the count of those since.
    assert stays(path, "out-of-control>0", date(2026, 1, 6))["value"] == 1.0
    assert stays(path, "out-of-control>0", date(2026, 1, 7))["state"] == "held"


# ---- rules ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("rule", "state", "value", "of"),
    [
        ("failed>0", "fired", 1.0, 5),
        ("failed > 1", "held", 1.0, 5),
        ("timeout==0", "fired", 0.0, 5),
        ("plans<5", "held", 5.0, 5),
        ("exceeded>=66%", "fired", 200 / 3, 3),
        ("exceeded>67%", "held", 200 / 3, 3),
        ("refused>19.9%", "fired", 20.0, 5),
        ("headroom_gy.min<0", "fired", -1.0, 3),
        ("headroom_gy.max<0", "held", 2.0, 3),
        ("cord_d0035cc_gy.last>limit", "fired", 13.0, 3),
        ("cord_d0035cc_gy.last<=limit", "held", 13.0, 3),
        ("required_separation_mm.missing!=0", "fired", 1, 3),
        ("gradient_percent_per_mm.mean<9.5", "fired", 9.0, 2),
        ("coverage_value.median>=96", "fired", 96.0, 3),
        ("make_mm.max>3", "not evaluable", None, 0),
        ("out-of-control>0", "not evaluable", None, 3),
    ],
)
def test_rules(five, rule, state, value, of):
    found = stays(five, rule)
    assert (found["state"], found["of"]) == (state, of)
    assert found["value"] == pytest.approx(value)
    assert (found["reason"] is None) == (state != "not evaluable")


def test_a_rule_names_the_plans_that_it_fired_for(five):
    assert stays(five, "failed>0")["plan_ids"] == [plan_id(4)]
    assert stays(five, "headroom_gy.min<0")["plan_ids"] == [plan_id(2), plan_id(1)]
    assert stays(five, "cord_d0035cc_gy.last>limit")["plan_ids"] == [plan_id(2)]
    assert stays(five, "required_separation_mm.missing>0")["plan_ids"] == [plan_id(2)]
    assert stays(five, "ok>0")["plan_ids"] == stays(five, "failed>1")["plan_ids"] == []


def test_a_rule_on_different_coverage_goals_is_not_evaluable(tmp_path):
    plans = [Made(), Made(metric="D95%[%]")]
    found = stays(write_store(tmp_path / "r.duckdb", plans), "coverage_value.min<90")
    assert found["state"] == "not evaluable"
    assert "D95%[%], D98%[%]" in found["reason"]


def test_a_plan_without_a_limit_of_its_own(tmp_path):
    path = write_store(tmp_path / "r.duckdb", [Made(fractions=4)])
    found = stays(path, "cord_d0035cc_gy.last>limit")
    assert (found["state"], found["bound"]) == ("not evaluable", None)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("", "expected one of"),
        ("failed", "expected one of"),
        ("failed>nan", "expected one of"),
        ("failed>0; DROP TABLE plans", "expected one of"),
        ("nothing>0", "nothing is not counted"),
        ("headroom_gy<0", "say which statistic"),
        ("headroom_gy.sum<0", "headroom_gy.sum is not known"),
        ("plan_id.min<0", "plan_id.min is not known"),
        ("headroom_gy.min<5%", "share in %"),
        ("plans>5%", "share in %"),
        ("headroom_gy.min<limit", "belongs to one plan"),
        ("cord_d0035cc_gy.max>limit", "belongs to one plan"),
        ("failed>limit", "belongs to one plan"),
    ],
)
def test_what_is_no_rule(rule, words):
    with pytest.raises(OptionError, match=words):
        parse_rule(rule)


# ---- the plans of a page -------------------------------------------------------------------------
def test_a_page_holds_the_plans_analysed_last_and_says_how_many_there_are(tmp_path, monkeypatch):
    plans = [Made(gy=float(n), day=n, month=date(2026, 1 + (11 - n), 1)) for n in range(12)]
    path = write_store(tmp_path / "r.duckdb", plans)
    monkeypatch.setattr(trend_rows, "_HELD", trend_rows._HELD.replace("20000", "3"))
    with gathered(path) as store:
        held = page_rows(store, None)
    assert (held["plans"], held["rows"]) == (12, 3)
    # The last three, in the order of their months.
    assert held["numbers"]["cord_d0035cc_gy"] == [11.0, 10.0, 9.0]
    assert all(sum(s["steps"]) == 2 and len(s["required_mm"]) == 3 for s in held["schedules"])


def test_a_page_of_10000_plans_is_small(tmp_path):
    """Rows of 40 plans 250 times: the page without plotly, which has 1.5 MB."""
    plans = varied(40)
    with gathered(write_store(tmp_path / "r.duckdb", plans)) as store:
        small = len(json.dumps(page_rows(store, None)))
    with gathered(write_store(tmp_path / "s.duckdb", plans * 2)) as store:
        large = len(json.dumps(page_rows(store, None)))
    assert 10_000 * (large - small) / 40 < 6_000_000


# ---- the command ---------------------------------------------------------------------------------
def run(*words: object):
    result = CliRunner().invoke(build_app(["trends", "batch"]), ["trends", *map(str, words)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_command_says_what_fired_and_ends_with_the_code_of_the_design(five, tmp_path):
    page = tmp_path / "t.html"
    done = run("--db", five, "--out", page, "-q", "--fail-on", "failed>0", "--fail-on", "ok<1")
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith("5 plan(s): 3 ok, 1 refused, 1 failed, 0 timeout; 2 exceed a limit")
    assert lines[1:] == [
        f"fired          failed>0: 1 of 5 plans (bound 0); plans {plan_id(4)}",
        "held           ok<1: 3 of 5 plans (bound 1)",
    ]
    assert page.is_file()
    assert run("--db", five, "--out", page, "-q", "--fail-on", "ok<1").exit_code == 0
    assert run("--db", five, "--out", page, "-q").exit_code == 0
    both = run("--db", five, "--json", "--fail-on", "failed>0", "--fail-on", "make_mm.max>3")
    assert both.exit_code == 3
    document = json.loads(both.stdout)
    jsonschema.Draft202012Validator(load_schema("trends")).validate(document)
    assert [r["state"] for r in document["rules"]] == ["fired", "not evaluable"]
    assert document["page"] is None


def test_command_refuses_before_it_reads(five, tmp_path):
    for words, match in (
        (("--fail-on", "nonsense"), "--fail-on nonsense"),
        (("--since", "yesterday"), "--since yesterday"),
        (("--reports", tmp_path / "no"), "no such folder"),
        (("--out", tmp_path / "no" / "t.html"), "its folder is not there"),
    ):
        with pytest.raises(OptionError, match=match):
            run("--db", five, *words)
    with pytest.raises(OptionError, match="no such database"):
        run("--db", tmp_path / "no.duckdb", "--out", tmp_path / "t.html")
    assert list(tmp_path.iterdir()) == []


def test_a_report_is_linked_only_where_it_is_and_only_below_its_folder(tmp_path):
    plans = [Made(gy=20.0, report=True), Made(gy=20.0, report=True), Made(gy=20.0)]
    path = tmp_path / "r.duckdb"
    rows = [rows_of(n, plan) for n, plan in enumerate(plans)]
    rows[2]["plans"][0]["report"] = "../../outside"
    with Store(path, site_key="00" * 32) as store:
        store.add(rows)
    folder = tmp_path / "re ports"
    for place in (folder / plan_id(0), tmp_path.parent / "outside"):
        place.mkdir(parents=True)
        (place / "report.html").write_text("x", encoding="utf-8")
    (tmp_path / "pages").mkdir()
    page = tmp_path / "pages" / "t.html"
    run("--db", path, "--out", page, "--reports", folder, "-q")
    text = page.read_text(encoding="utf-8")
    start = '<script type="application/json" id="data">'
    data = json.loads(text.split(start)[1].split("</script>")[0])
    assert data["reports"] == [1, 0, 0]
    assert data["reports_at"] == "./../re%20ports"


def test_an_empty_store_has_a_page(tmp_path):
    path = write_store(tmp_path / "r.duckdb", [])
    done = run("--db", path, "--out", tmp_path / "t.html", "-q", "--fail-on", "failed>0")
    assert (done.exit_code, done.stdout.splitlines()[0][:10]) == (0, "0 plan(s):")
    rules = ("exceeded>5%", "headroom_gy.min<0", "out-of-control>0", "cord_d0035cc_gy.last>limit")
    words = [word for rule in rules for word in ("--fail-on", rule)]
    document = json.loads(run("--db", path, "--json", *words).stdout)
    assert {r["state"] for r in document["rules"]} == {"not evaluable"}


def test_superseded_results_are_not_counted(tmp_path):
    path = write_store(tmp_path / "r.duckdb", [Made(gy=20.0)])
    with Store(path) as store:
        again = rows_of(0, replace(Made(), gy=15.0))
        for part in again.values():
            for row in part:
                row["result_id"] = "again"
        store.add([again])
    d = document_of(path)
    assert (d["counts"]["plans"], d["counts"]["exceeded"]) == (1, 0)
    assert d["measures"]["cord_d0035cc_gy"]["max"] == 15.0

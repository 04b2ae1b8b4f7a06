"""All estimators on one plan: who applies, and that no number comes without its interval."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

from cordgap.analysis import Settings, analyze
from cordgap.case.case import Case, Prescription
from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.case.structure import structure_from_contours
from cordgap.dvh.metrics import parse_goal
from cordgap.report.tables import separation_document
from cordgap.separation.estimators import (
    SLOPE_FACTOR,
    USUAL_FALL_MM,
    slope_gy_per_mm,
)
from cordgap.separation.split import pieces_mm3, split_finding

RADIUS, OUTER = 5.0, 15.0


def circle(radius, centre=(0.0, 0.0), n=180):
    t = 2 * np.pi * (np.arange(n) + 0.3) / n
    return np.array(centre) + radius * np.c_[np.cos(t), np.sin(t)]


def tube(number, name, outlines, half):
    z = np.arange(-half + 0.75, half, 1.5)
    contours = [np.c_[o, np.full(len(o), v)] for v in z for o in outlines]
    return structure_from_contours(number, name, contours)


def ring_case(inner_gy, slope, *, gap=0.7, fractions=2, rx=24.0, target=None):
    """A ring round the cord in a dose that rises with the distance from the axis."""
    grid = None
    if inner_gy is not None:
        axis = np.arange(-32.0, 32.1, 1.5)
        geometry = GridGeometry(axis + 0.31, axis - 0.17, axis + 0.11)
        _, y, x = np.meshgrid(*geometry.axes, indexing="ij")
        along = np.maximum(inner_gy + slope * (np.hypot(x, y) - RADIUS), 0.0)
        grid = DoseGrid.from_array(geometry, along)
    outlines = target or [circle(OUTER), circle(RADIUS + gap)]
    structures = (
        tube(1, "GTV", outlines, 9.0),
        tube(2, "SpinalCord", [circle(RADIUS)], 25.0),
    )
    return Case(structures, grid, Prescription(rx, fractions, "option"))


def answer(case, goal="D0.035cc[Gy]<=17", coverage=(), **how):
    how["constraints"] = (parse_goal(goal),)
    how["coverage"] = tuple(parse_goal(g) for g in coverage)
    return analyze(case, Settings(**how))


RINGS = {"held": (12.0, 3.0), "broken": (21.0, 2.4), "no dose": (None, 0.0)}


@cache
def ring(name):
    return answer(ring_case(*RINGS[name]))


@pytest.mark.parametrize(
    ("name", "used", "others"),
    [
        ("held", "trim", {"population-falloff"}),
        ("broken", "plan-gradient", {"isodose-recession", "population-falloff"}),
        ("no dose", "population-falloff", set()),
    ],
)
def test_who_applies(name, used, others):
    rows = {row.method: row for row in ring(name).separation.methods}
    assert list(rows) == ["trim", "plan-gradient", "isodose-recession", "population-falloff"]
    assert [m for m, row in rows.items() if row.used] == [used]
    assert {m for m, row in rows.items() if row.applies} == {used} | others
    for row in rows.values():
        assert row.applies or (row.reason and row.required_separation_mm is None)


@pytest.mark.parametrize("name", RINGS)
def test_never_a_bare_number(name):
    """Wherever a required separation stands in the document, its interval stands beside it."""
    seen = []

    def walk(part):
        if isinstance(part, dict):
            if part.get("required_separation_mm") is not None:
                low, high = part["interval_mm"]
                assert low <= part["required_separation_mm"] <= high
                seen.append(part)
            for value in part.values():
                walk(value)
        elif isinstance(part, list):
            for value in part:
                walk(value)

    walk(separation_document(ring(name)))
    assert len(seen) >= 5


def test_recession_as_the_method_asked_for():
    found = answer(ring_case(21.0, 2.4), method="isodose-recession").separation
    assert (found.method, found.question) == ("isodose-recession", "re-planned")
    row = next(r for r in found.methods if r.method == "isodose-recession")
    assert found.required_separation_mm == row.required_separation_mm
    assert row.bound == "upper" and row.used


# --- the slope ---


def seen(gradient, covered, fall_mm=USUAL_FALL_MM, steepest=None):
    """As much of an anatomy as the slope looks at."""
    steepest = gradient if steepest is None else steepest
    reading = SimpleNamespace(gradient_gy_per_mm=steepest, cord_gradient_gy_per_mm=gradient)
    return SimpleNamespace(
        gradient=None if gradient is None else reading,
        cells=SimpleNamespace(coverage=lambda metric, at_mm, rx: covered if not at_mm else 97.0),
        cord_dose=SimpleNamespace(warm_below_gy=fall_mm * (steepest or 1.0)),
    )


@pytest.mark.parametrize(
    ("gradient", "covered", "fall_mm", "expected"),
    [
        (2.0, 97.0, USUAL_FALL_MM, 2.0),  # 10 % of 20 Gy per mm, usual in all else: as it is
        (1.4, 97.0, USUAL_FALL_MM, np.sqrt(1.4 * 2.0)),  # half way to 2 Gy/mm
        (3.0, 97.0, USUAL_FALL_MM, np.sqrt(3.0 * 2.0)),
        (2.0, 90.0, USUAL_FALL_MM, 2.0 * (1 - 3.5 * 0.07)),
        (2.0, 99.5, USUAL_FALL_MM, 2.0 * (1 + 3.5 * 0.01)),  # no more than for 98 %
        (2.0, 50.0, USUAL_FALL_MM, 2.0 * (1 - 3.5 * 0.12)),  # no less than for 85 %
        (2.0, None, USUAL_FALL_MM, 2.0),
        (2.0, 97.0, USUAL_FALL_MM - 2.0, 2.0 * (1 - 0.035 * 2)),  # a long hot end
        (2.0, 97.0, USUAL_FALL_MM + 2.0, 2.0 * (1 + 0.035 * 2)),  # a short one
        (2.0, 97.0, 30.0, 2.0 * 1.15),
    ],
)
def test_slope(gradient, covered, fall_mm, expected):
    found = slope_gy_per_mm(seen(gradient, covered, fall_mm), 20.0)
    assert found == pytest.approx(SLOPE_FACTOR * expected)
    scaled = slope_gy_per_mm(seen(3 * gradient, covered, fall_mm), 60.0)
    assert scaled == pytest.approx(3 * SLOPE_FACTOR * expected)


def test_slope_of_a_trimmed_target_knows_what_is_covered_then():
    found = slope_gy_per_mm(seen(2.0, 85.0), 20.0, trimmed_mm=1.0)
    assert found == pytest.approx(SLOPE_FACTOR * 2.0)


def test_no_gradient_no_slope():
    assert slope_gy_per_mm(seen(None, 97.0), 20.0) == 0.0


# --- goals at the rim ---


def rows_of(separation, metric, region="target"):
    return [r for r in separation.coverage_goals if r.metric == metric and r.region == region]


def test_a_near_minimum_as_it_is_asks_for_the_plans_own_coverage():
    own = answer(ring_case(21.0, 1.0, rx=26.0))
    now = rows_of(own.separation, "DC0.035cc[%]")[0].value
    asked = answer(
        ring_case(21.0, 1.0, rx=26.0), coverage=(f"Dmin0.035cc[%]>={now:.6f}",)
    ).separation
    row = asked.coverage_goals[0]
    assert row.required_separation_mm == pytest.approx(
        own.separation.required_separation_mm, abs=0.07
    )


def test_the_answer_moves_with_the_goal():
    needs = [
        answer(ring_case(21.0, 1.0), coverage=(f"Dmin0.035cc[%]>={g}",))
        .separation.coverage_goals[0]
        .required_separation_mm
        for g in (60, 70, 80, 88)
    ]
    assert (np.diff(needs) >= 0).all()
    assert needs[-1] > needs[0] + 1.0


@pytest.mark.parametrize(("fractions", "n"), [(1, 2), (2, 0)])
def test_absolute_minima_are_for_one_fraction(fractions, n):
    found = answer(ring_case(21.0, 2.4, fractions=fractions)).separation
    rows = rows_of(found, "DC0.035cc[Gy]")
    assert [r.at_least for r in rows] == [15.0, 15.3][:n]
    assert all(r.source for r in rows)


def test_rim_row():
    (row,) = rows_of(ring("held").separation, "D95%[%]", "rim")
    # The coldest 5 % of the annulus from 5.7 to 13 mm, in a dose of 12 + 3 (rho - 5).
    a, b = RADIUS + 0.7, RADIUS + 8.0
    rho = np.sqrt(a**2 + 0.05 * (b**2 - a**2))
    assert row.value == pytest.approx(100 * (12 + 3 * (rho - RADIUS)) / 24, abs=1.5)
    assert row.verdict == "exceeded"
    assert row.required_separation_mm > ring("held").separation.separation_mm


# --- receding, dose as planned ---


def test_erosion_against_the_closed_form():
    """D95 of an annulus in a radial dose, as BED with alpha/beta 10 Gy in two fractions."""
    found = ring("held").separation.erosion
    for s, bed in zip(found.receded_mm, found.target_gy, strict=True):
        a = RADIUS + 0.7 + s
        gy = 12 + 3 * (np.sqrt(a**2 + 0.05 * (OUTER**2 - a**2)) - RADIUS)
        # Cells of 0.5 mm and a curved dose on 1.5 mm: 0.1 mm of 3 Gy/mm and 1 + 2 d / 20 of BED.
        assert bed == pytest.approx(gy * (1 + gy / 2 / 10), abs=0.3 * (1 + gy / 10))
    assert found.rise_gy_per_mm > 0
    assert found.in_published_band is False
    assert ring("no dose").separation.erosion is None


# --- a target that decompression cuts in two ---


def test_target_split_by_decompression():
    """Two lobes left and right, joined by a bridge in front that lies within reach."""
    lobes = np.array(
        [[-16, -8], [-8, -8], [-8, -6.2], [8, -6.2], [8, -8], [16, -8],
         [16, 4], [7.5, 4], [7.5, -5.2], [-7.5, -5.2], [-7.5, 4], [-16, 4]], dtype=float,
    )  # fmt: skip
    found = answer(ring_case(21.0, 2.4, target=[lobes])).separation
    assert found.required_separation_mm > 1.5
    (split,) = [f for f in found.findings if f.code == "target-split-by-decompression"]
    assert "in 2 pieces" in split.message
    assert found.status == "ok"


def test_the_pieces_are_named_with_their_volumes_largest_first():
    """Lobes of 1 and 2 cc, joined by a bridge of 0.25 cc that is taken away."""
    bridge, small, large = (
        np.stack(np.meshgrid(np.arange(*x), *[np.arange(0.0, n)] * 2), axis=-1).reshape(-1, 3)
        for x, n in (((10.0, 20.0), 5), ((0.0, 10.0), 10), ((20.0, 40.0), 10))
    )
    points = np.concatenate([bridge, small, large])
    keep = np.arange(len(points)) >= len(bridge)
    anatomy = SimpleNamespace(
        cells=SimpleNamespace(
            keep=lambda mm: keep, points_mm=points, volume_mm3=np.ones(len(points))
        ),
        target_structure=SimpleNamespace(roi_name="GTV"),
    )
    found = split_finding(anatomy, 2.5)
    assert found.code == "target-split-by-decompression"
    assert "2.5 mm would leave 'GTV' in 2 pieces (2.0, 1.0 cc); it has 1 now" in found.message
    keep[:] = True
    assert split_finding(anatomy, 2.5) is None


def test_pieces():
    cube = np.stack(np.meshgrid(*[np.arange(0.0, 10.0)] * 3), axis=-1).reshape(-1, 3)
    both = np.concatenate([cube, cube + np.array([20.0, 0.0, 0.0])])
    assert pieces_mm3(cube, np.ones(1000)) == [1000.0]
    assert pieces_mm3(both, np.ones(2000)) == [1000.0, 1000.0]
    crumb = np.concatenate([cube, [[30.0, 30.0, 30.0]]])
    assert pieces_mm3(crumb, np.ones(1001)) == [1000.0]

"""Plan-gradient against phantoms planned again at every separation, and the planner itself.

``replanned/`` holds three small anatomies of ``benchmarks/replanner.py``: one pedicle (named
``small``), a posterior target (seed 1, number 6) and a ring whose cord gets nearly the prescription
(seed 2, number 9). More of them: ``python benchmarks/separation.py --make 20 --seed 5``.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import check_grad

from cordgap.dicom.read import read_case
from cordgap.dvh.integrate import compute_dvh
from cordgap.dvh.metrics import parse_metric
from cordgap.phantom import Epidural, SpineDose, spine_case
from cordgap.separation.anatomy import Anatomy, survey
from cordgap.separation.estimators import plan_gradient
from cordgap.separation.plan import CordLimit

FOLDER = Path(__file__).parent / "replanned"
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
NAMES = ("s1n006", "s2n009", "small")
RX_GY = 24.0
NEAR_MAXIMUM = parse_metric("D0.035cc[Gy]")


@cache
def surveyed(name: str, kind: str) -> tuple[Anatomy, CordLimit]:
    case = read_case(
        rtstruct=FOLDER / name / "RTSTRUCT.dcm",
        rtdose=FOLDER / name / f"RTDOSE_{kind}.dcm",
        with_image=False,
    )
    cord, target = case.structure("SpinalCord"), case.structure("GTV")
    found = survey(case, cord, target, max_mm=10.0)
    dvh = compute_dvh(found.cord, case.dose)
    spread = NEAR_MAXIMUM.evaluate(dvh, RX_GY).plus_minus or 0.0
    limit = CordLimit("cord", "cord", "SpinalCord", NEAR_MAXIMUM, 14.0, dvh, RX_GY, spread)
    return found, limit


def estimate(name: str, kind: str, share: float):
    found, limit = surveyed(name, kind)
    return plan_gradient(found, [replace(limit, limit=share * RX_GY)], RX_GY, max_mm=10.0)


def known(name: str, kind: str) -> list[tuple[float, float]]:
    """Limits as shares of the prescription, with the separation that the new plans need."""
    truth = json.loads((FOLDER / name / "truth.json").read_text(encoding="utf-8"))
    key = {"P1s": "strict_P1s", "P1t": "tradeoff_P1t"}[kind]
    rows = truth["required_margin_mm"].values()
    pairs = [(row["cord_limit_gy"] / row["rx_gy"], row[key]) for row in rows]
    return [(share, mm) for share, mm in pairs if mm is not None and mm > truth["initial_gap_mm"]]


def test_within_a_millimetre_of_new_plans():
    """What docs/separation.md states: 98 of 100 pairs; too little is worse than too much."""
    errors = [
        (estimate(name, kind, share).required_mm or np.nan) - truth_mm
        for name in NAMES
        for kind in ("P1s", "P1t")
        for share, truth_mm in known(name, kind)
    ]
    assert len(errors) >= 40
    assert min(errors) >= -0.5
    assert np.mean(np.abs(errors) <= 1.0) >= 0.95
    # One of the three is a small target, whose fall is steeper than of most.
    assert abs(np.mean(errors)) <= 0.4


def test_intervals_hold_new_plans():
    """They state 90 %; in three anatomies whole runs of limits can fail together."""
    inside = []
    for name in NAMES:
        for kind in ("P1s", "P1t"):
            for share, truth_mm in known(name, kind):
                low, high = estimate(name, kind, share).interval_mm
                inside.append(low - 0.05 <= truth_mm <= high + 0.05)  # truth is read to 0.05 mm
    assert len(inside) >= 30
    assert np.mean(inside) >= 0.8


@pytest.mark.parametrize("name", NAMES)
def test_stricter_limits_never_need_less(name):
    for kind in ("P1s", "P1t"):
        needs = [estimate(name, kind, share).required_mm for share in np.arange(0.8, 0.4, -0.02)]
        assert (np.diff([n for n in needs if n is not None]) >= -1e-9).all()


# --- the planner ---


@pytest.fixture(scope="module")
def replanner():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import replanner

        yield replanner
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def planner(replanner):
    return replanner.Planner(next(x for x in replanner.NAMED if x.name == "small"))


@pytest.mark.parametrize("kind", ["P1s", "P1t", "P2a"])
def test_the_planner_knows_its_gradient(planner, kind):
    cost = planner.objective(kind, 1.0)
    random = np.random.default_rng(4)
    at = random.uniform(0.5, 1.2, planner.n)
    along = random.normal(size=planner.n)
    along /= np.linalg.norm(along)

    def one(step):
        return cost(at + step[0] * along)[0]

    def slope(step):
        return np.array([cost(at + step[0] * along)[1] @ along])

    # Doses are summed in single precision: 1e-3 of the slope at this step.
    assert check_grad(one, slope, np.zeros(1), epsilon=1e-2) < 0.02 * abs(slope(np.zeros(1))[0])


def test_a_new_plan_covers_and_spares(replanner, planner, monkeypatch):
    """D95 is the prescription, and 2 mm of room are worth 15 % of it or more to the cord."""
    monkeypatch.setattr(replanner, "FIRST_STEPS", 50)
    monkeypatch.setattr(replanner, "NEXT_STEPS", 25)
    fluence = planner.plan("P1s", 0.0, None)
    near, _ = planner.measure("P1s", 0.0, fluence)
    far, _ = planner.measure("P1s", 2.0, planner.plan("P1s", 2.0, fluence))
    assert near["D95"] == pytest.approx(1.0, abs=1e-4)
    assert near["cord035"] - far["cord035"] > 0.15
    # A third of the steps of the benchmark, which this very plan comes from.
    truth = json.loads((FOLDER / "small" / "truth.json").read_text(encoding="utf-8"))
    assert near["cord035"] == pytest.approx(truth["m"]["0"]["P1s"]["cord035"], abs=0.03)


def test_dose_by_interpolation_is_the_dose_of_the_matrix(planner):
    fluence = np.random.default_rng(1).uniform(0.5, 1.5, planner.n)
    points = planner.target.points[::40]
    by_matrix = planner.matrix(points) @ fluence * planner.unit
    # The blurred plane is read every 0.4 mm by linear interpolation.
    assert planner.dose(points, fluence) == pytest.approx(by_matrix, rel=5e-3)


def test_layouts_come_from_their_seed(replanner):
    assert replanner.draw(3, 7) == replanner.draw(3, 7)
    assert replanner.draw(3, 7) != replanner.draw(3, 8)


def test_the_curve_that_is_timed_has_21_separations(replanner):
    import separation as benchmark

    dose = SpineDose(cord_edge_gy=21.0, gradient_gy_per_mm=2.4)
    case = spine_case(epidural=Epidural("anterior", 1.0), dose=dose, image=False)
    # Each as planned and re-planned.
    assert benchmark.curve_of(case) == 2 * 21

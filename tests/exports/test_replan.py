"""Estimates against truth: phantoms that were planned again at every separation.

The truth comes from an optimiser that planned each anatomy at 0 to 8 mm (docs/separation.md). The
tolerances are the accuracy that the estimators state: 1 mm in 9 of 10 pairs with a mean error of
at most 0.4 mm for the plan gradient; for trim 0.5 mm (near-minimum) and 1 mm (D98%).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from cordgap import analysis
from cordgap.analysis import CaseResult, Settings, analyze
from cordgap.case.case import Case, Prescription
from cordgap.dicom.read import read_case
from cordgap.dvh import structures
from cordgap.dvh.curve import DVH
from cordgap.dvh.integrate import compute_dvh
from cordgap.dvh.metrics import parse_goal, parse_metric
from cordgap.dvh.solid import build_solid
from cordgap.limits import judge

ANATOMIES = ("anterior", "anterolateral", "circumferential")
RX_GY = 24.0
STORED = Prescription(RX_GY, 1, "option")


@pytest.fixture(scope="module")
def replan(shared_data) -> Path:
    return shared_data / "replan"


@pytest.fixture(scope="module", autouse=True)
def compute_once():
    """Keep what does not depend on the limit: solids, DVHs and the survey of each plan."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analysis, "survey", cache(analysis.survey))
        for name in ("build_solid", "surface_of", "hot_end_of_margin"):
            patch.setattr(judge, name, cache(getattr(judge, name)))
        for name in ("build_solid", "compute_dvh"):
            patch.setattr(structures, name, cache(getattr(structures, name)))
        yield


@cache
def truth(replan: Path, anatomy: str):
    return json.loads((replan / anatomy / "truth.json").read_text(encoding="utf-8"))


@cache
def plan(replan: Path, anatomy: str, separation: int, kind: str) -> Case:
    folder = replan / anatomy / f"{separation}mm"
    return read_case(
        rtstruct=folder / "RTSTRUCT.dcm",
        rtdose=folder / f"RTDOSE_{kind}.dcm",
        wanted=("SpinalCord", "GTV"),
        with_image=False,
    )


@cache
def estimate(replan: Path, anatomy: str, kind: str, goal: str, coverage: str | None) -> CaseResult:
    settings = Settings(
        cord="SpinalCord",
        target="GTV",
        prescription=STORED,
        constraints=(parse_goal(goal),),
        coverage=() if coverage is None else (parse_goal(coverage),),
    )
    return analyze(plan(replan, anatomy, 0, kind), settings)


@dataclass(frozen=True)
class Pair:
    """One anatomy and one limit, as a share of the prescription."""

    anatomy: str
    label: str
    share: float
    truth_mm: float


def pairs(replan: Path) -> list[Pair]:
    """Pairs that need more separation than there is; doses are stored for 24 Gy."""
    found = []
    for anatomy in ANATOMIES:
        known = truth(replan, anatomy)
        for label, row in known["required_margin_mm"].items():
            if "rx_gy" not in row or row["strict_P1s"] is None:
                continue
            share = row["cord_limit_gy"] / row["rx_gy"]
            if row["strict_P1s"] > known["initial_gap_mm"]:
                found.append(Pair(anatomy, label, share, row["strict_P1s"]))
    return found


def test_plan_gradient_of_coverage_first_plans(replan):
    errors = []
    for pair in pairs(replan):
        goal = f"D0.035cc[Gy]<={RX_GY * pair.share:.4f}"
        answer = estimate(replan, pair.anatomy, "P1s", goal, None).separation
        assert answer is not None
        assert (answer.method, answer.question) == ("plan-gradient", "re-planned"), pair
        assert answer.required_separation_mm is not None, pair
        low, high = answer.interval_mm
        assert low <= answer.required_separation_mm <= high
        errors.append(answer.required_separation_mm - pair.truth_mm)
    assert len(errors) >= 20
    assert np.mean(np.abs(errors) <= 1.0) >= 0.9
    assert abs(np.mean(errors)) <= 0.4
    # Underestimates are the dangerous side.
    assert min(errors) >= -1.0


def test_plan_gradient_intervals_hold_the_truth(replan):
    """They state 90 %; with these few anatomies 85 % is what chance may leave of that."""
    inside = []
    for pair in pairs(replan):
        goal = f"D0.035cc[Gy]<={RX_GY * pair.share:.4f}"
        low, high = estimate(replan, pair.anatomy, "P1s", goal, None).separation.interval_mm
        inside.append(low - 0.05 <= pair.truth_mm <= high + 0.05)  # truth is read to 0.05 mm
    assert np.mean(inside) >= 0.85


@pytest.mark.parametrize("anatomy", ANATOMIES)
@pytest.mark.parametrize(
    ("coverage", "criterion", "tolerance_mm"),
    [("Dmin0.035cc[%]>=80", "Dmin035>=0.8", 0.5), ("D98%[%]>=95", "D98>=0.95", 1.0)],
)
def test_trim_of_cord_first_plans(replan, anatomy, coverage, criterion, tolerance_mm):
    known = truth(replan, anatomy)["required_margin_mm_P2a_14Gy_of_24Gy"][criterion]["replanned"]
    answer = estimate(replan, anatomy, "P2a", "D0.035cc[Gy]<=14.4", coverage).separation
    assert (answer.method, answer.question) == ("trim", "as planned")
    assert answer.required_separation_mm == pytest.approx(known, abs=tolerance_mm)
    assert answer.status == "ok"


def test_trimmed_target_meets_the_goal(replan):
    """What trim promises is read off its own curve: coverage at the required separation."""
    answer = estimate(replan, "anterior", "P2a", "D0.035cc[Gy]<=14.4", None).separation
    for point in answer.curve:
        if point.question == "as planned":
            covered = point.metrics["D98%[Gy]"] >= 0.95 * RX_GY
            assert covered == (point.separation_mm >= answer.required_separation_mm)


# --- DVHs of the written files ---

PLANS = [("anterior", m) for m in (0, 1, 2, 3, 4, 6, 8)] + [
    (a, m) for a in ("anterolateral", "circumferential") for m in (0, 2, 4)
]
METRICS = {
    "D95_over_rx": "D95%[%]",
    "D98_over_rx": "D98%[%]",
    "D99_over_rx": "D99%[%]",
}


@cache
def curve(replan: Path, anatomy: str, separation: int, kind: str, name: str) -> DVH:
    case = plan(replan, anatomy, separation, kind)
    return compute_dvh(build_solid(case.structure(name)), case.dose, uncertainty=False)


@pytest.mark.parametrize("kind", ["P1s", "P2a"])
@pytest.mark.parametrize(("anatomy", "separation"), PLANS)
def test_dvh_of_the_files(replan, anatomy, separation, kind):
    """Against an even-odd raster of 0.5 mm, slabs of 1.5 mm, trilinear dose of the same files.

    Doses within 0.5 % of the prescription, volumes within 0.6 %: what that raster leaves open.
    """
    reference = truth(replan, anatomy)["m"][str(separation)]["dvh_from_dicom"][kind]
    cord = curve(replan, anatomy, separation, kind, "SpinalCord")
    target = curve(replan, anatomy, separation, kind, "GTV")
    assert cord.total_volume_cc == pytest.approx(reference["cord_cc"], rel=6e-3)
    assert target.total_volume_cc == pytest.approx(reference["ctv_cc"], rel=6e-3)
    near_maximum = 100 * cord.dose_of_hottest_gy(0.035) / RX_GY
    assert near_maximum == pytest.approx(100 * reference["cord035_over_rx"], abs=0.5)
    for key, metric in METRICS.items():
        value = parse_metric(metric).evaluate(target, RX_GY).value
        assert value == pytest.approx(100 * reference[key], abs=0.5), metric


def test_more_separation_means_less_cord_dose(replan):
    """Plans of one anatomy at 0 to 8 mm, each optimised anew."""
    doses = [
        curve(replan, "anterior", m, "P1s", "SpinalCord").dose_of_hottest_gy(0.035)
        for m in (0, 1, 2, 3, 4, 6, 8)
    ]
    assert (np.diff(doses) < 0).all()

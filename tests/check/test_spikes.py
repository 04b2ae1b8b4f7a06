"""One sample or one vertex that decides a number is named; what is smooth is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cordgap.case.grid import DoseGrid
from cordgap.case.structure import ContourPlane
from cordgap.check.spikes import spike_findings
from cordgap.dvh.integrate import compute_dvh
from cordgap.dvh.metrics import parse_metric
from cordgap.dvh.solid import build_solid
from cordgap.phantom import spine_case

SAMPLES = 150
# What a spike must not move by more without being named.
LIMIT_GY = 1.0
METRICS = [parse_metric(m) for m in ("D0.035cc[Gy]", "D2%[Gy]", "D95%[Gy]", "Mean[Gy]", "Max[Gy]")]


@pytest.fixture(scope="module")
def case():
    return spine_case()


@pytest.fixture(scope="module")
def cord(case):
    return next(s for s in case.structures if s.role == "cord")


def numbers(structure, dose):
    dvh = compute_dvh(build_solid(structure), dose, uncertainty=False)
    return np.array([m.evaluate(dvh, None).value for m in METRICS])


def test_a_smooth_plan_has_none(case):
    for structure in case.structures:
        if structure.status == "ok":
            assert spike_findings(structure, case.dose) == []


def test_every_voxel_that_moves_a_cord_metric_is_named(case, cord):
    rng = np.random.default_rng(5)
    geometry = case.dose.geometry
    lower, upper = cord.bounds_mm
    slices = geometry.slices_around(lower, upper, pad=1)
    good = numbers(cord, case.dose)
    moved = named = 0
    for _ in range(SAMPLES):
        values = case.dose.values.copy()
        at = tuple(int(rng.integers(s.start, s.stop)) for s in slices)
        values[at] = max(0.0, values[at] + rng.choice([-1, 1]) * 10 ** rng.uniform(0.3, 2.5))
        dose = DoseGrid.from_array(geometry, values)
        if np.abs(numbers(cord, dose) - good).max() <= LIMIT_GY:
            continue
        moved += 1
        found = spike_findings(cord, dose)
        named += [f.code for f in found] == ["dose-spike"]
    assert moved >= 20
    assert named == moved


def test_every_vertex_that_moves_a_cord_metric_is_named(case, cord):
    rng = np.random.default_rng(6)
    good = numbers(cord, case.dose)
    moved = named = 0
    for _ in range(SAMPLES):
        planes = list(cord.planes)
        k = int(rng.integers(len(planes)))
        ring = planes[k].contours[0].copy()
        i = int(rng.integers(len(ring)))
        middle = ring.mean(axis=0)
        ring[i] = middle + (ring[i] - middle) * rng.uniform(1.5, 8)
        planes[k] = ContourPlane(planes[k].z_mm, (ring,))
        spoiled = replace(cord, planes=tuple(planes))
        if np.abs(numbers(spoiled, case.dose) - good).max() <= LIMIT_GY:
            continue
        moved += 1
        named += "contour-spike" in {f.code for f in spike_findings(spoiled, case.dose)}
    assert moved >= 20
    assert named == moved


def test_the_message_says_what_the_spike_does(case, cord):
    values = case.dose.values.copy()
    geometry = case.dose.geometry
    x, y, z = build_solid(cord).bounds_mm[0] * 0.5 + build_solid(cord).bounds_mm[1] * 0.5
    at = tuple(
        int(np.argmin(np.abs(axis - v))) for axis, v in zip(geometry.axes, (z, y, x), strict=True)
    )
    values[at] += 80
    (finding,) = spike_findings(cord, DoseGrid.from_array(geometry, values))
    assert finding.code == "dose-spike"
    assert finding.roi_name == cord.roi_name
    assert "where the samples around it say" in finding.message
    assert "would be" in finding.message

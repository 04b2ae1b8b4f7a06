"""Which structure a row is read on, and what is said beside the verdict."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cordgap.case.case import Case
from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.case.prior import PriorCourse
from cordgap.case.structure import structure_from_contours
from cordgap.dvh.structures import compute_structures
from cordgap.errors import ProtocolError
from cordgap.limits.judge import evaluate_constraints
from cordgap.limits.part import heights_of
from cordgap.limits.prior import reirradiate
from cordgap.limits.protocol import load_protocol
from cordgap.limits.reirradiation import _highest, _unreported
from cordgap.limits.rules import reirradiation_rules


def tube(number, name, radius=5.0, half=20):
    t = 2 * np.pi * np.arange(60) / 60
    return structure_from_contours(
        number, name,
        [np.c_[radius * np.cos(t), radius * np.sin(t), np.full(60, z)]
         for z in np.arange(-half, half + 1.0, 2.0)],
    )  # fmt: skip


def dose(half=30.0):
    """10 Gy on the axis, rising by 0.5 Gy/mm to the left."""
    axis = np.arange(-half, half + 0.1, 2.0)
    geometry = GridGeometry(axis, axis, np.arange(-30.0, 31.0, 2.0))
    _, _, x = np.meshgrid(geometry.z_mm, axis, axis, indexing="ij")
    return DoseGrid.from_array(geometry, 10.0 + 0.5 * x)


CORD = tube(1, "SpinalCord")
BENT = structure_from_contours(9, "Line", [])
ROWS = {row.structure: row for row in load_protocol("hytec-2021").constraints}


def judged(row, *structures, cord=CORD, field=None):
    case = Case(structures, dose() if field is None else field)
    computed = compute_structures(case)
    ((result, dvh),) = evaluate_constraints(case, [row], computed, cord, rx_gy=24.0)
    return result, dvh


def row_on(structure, text="cord"):
    row = next(iter(ROWS.values()))
    return replace(row, structure=structure)


def test_the_cord_stands_in_for_what_is_near_it():
    result, _ = judged(row_on("thecal_sac"), CORD)
    assert (result.roi_name, result.value) == ("SpinalCord", pytest.approx(12.4, abs=0.15))


def test_two_structures_of_one_role_are_said():
    first, second = tube(2, "ThecalSac", 7.0), tube(3, "Thecal Sac", 8.0)
    assert second.role == "thecal_sac"
    result, _ = judged(row_on("thecal_sac"), CORD, first, second)
    (note,) = [f for f in result.findings if f.code == "several-structures"]
    assert result.roi_name == "ThecalSac"
    assert "was read on 'ThecalSac'; there is also 'Thecal Sac'" in note.message
    alone, _ = judged(row_on("thecal_sac"), CORD, first)
    assert not [f for f in alone.findings if f.code == "several-structures"]


def test_an_organ_that_is_not_contoured_decides_nothing():
    result, dvh = judged(row_on("esophagus"), CORD)
    assert (result.verdict, result.decides, dvh) == ("not evaluable", False, None)
    assert result.reason == "the structure is not contoured"


def test_the_margin_round_a_cord_at_the_edge_of_the_dose():
    """A limit that is met on what is seen is not met where the dose ends beside it."""
    inside, _ = judged(row_on("cord"), CORD)
    # 1.5 mm more at 0.5 Gy/mm; near-maxima of one cord and one 1.5 mm wider.
    assert inside.margin.value - inside.value == pytest.approx(0.75, abs=0.1)
    cut, _ = judged(row_on("cord"), CORD, field=dose(half=4.0))
    assert cut.bound == "lower"
    assert cut.margin is None or cut.margin.verdict != "met"


def test_a_goal_on_a_share_has_no_margin():
    from cordgap.dvh.metrics import parse_metric

    row = replace(row_on("cord"), metric=parse_metric("D10%[Gy]"))
    result, _ = judged(row, CORD)
    assert result.value is not None and result.margin is None


def test_heights_of_what_is_no_body():
    assert heights_of(None) is None
    assert heights_of(BENT) is None
    # Planes from -20 to 20, and half a slice beyond.
    assert heights_of(CORD) == pytest.approx((-21.0, 21.0))


def test_previous_courses_need_a_cord_with_a_body():
    prior = PriorCourse(10, dose_gy=30.0, interval_months=12.0)
    case = Case((CORD,), dose(), priors=(prior,))
    assert reirradiate(case, BENT, (), fractions=2) is None
    assert reirradiate(case, CORD, (), fractions=None) is None
    found = reirradiate(case, CORD, (), fractions=2)
    # No histogram of the new course: its conditions are not evaluable, and say why.
    reasons = {c.reason for c in found.conditions if c.verdict == "not evaluable"}
    assert "there is no dose of the new course" in reasons


def test_the_highest_of_what_is_not_known():
    assert _highest(None) is None
    assert _highest(np.array([1.0, np.nan])) is None
    assert _highest(np.array([1.0, 3.0])) == 3.0


def test_fractions_that_nobody_reported():
    rules = reirradiation_rules()
    low, high = rules.fractions
    assert _unreported(low, rules) == _unreported(high, rules) == []
    (note,) = _unreported(high + 1, rules)
    assert (note.code, note.found) == ("reirradiation-fractions", f"{high + 1} fractions")


def test_a_protocol_that_cannot_be_read(tmp_path, monkeypatch):
    from pathlib import Path

    file = tmp_path / "mine.toml"
    file.write_text("x", encoding="utf-8")

    def fail(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(ProtocolError, match=r"mine.toml: cannot be read: Permission denied"):
        load_protocol(file)

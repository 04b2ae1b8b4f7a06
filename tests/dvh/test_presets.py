"""Presets: what they do to a solid, and the comparison that says which rule differs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cordgap.case.case import Case
from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.case.structure import structure_from_contours
from cordgap.dvh.comparison import VOLUME, _signed, compare_presets
from cordgap.dvh.metrics import parse_metric
from cordgap.dvh.presets import PRESETS, Rules, compute_under, find_preset, limit_caps
from cordgap.dvh.solid import build_solid
from cordgap.errors import OptionError
from cordgap.phantom.shapes import at_height, circle

AREA = 0.5 * 60 * np.sin(2 * np.pi / 60) * 25.0  # of a 60-gon in a circle of 5 mm
NAMES = [p.name for p in PRESETS]
METRICS = tuple(parse_metric(m) for m in ("D0.035cc[Gy]", "D50%[Gy]", "Max[Gy]"))


def tube(levels, radius_of=lambda z: 5.0, name="SpinalCord", number=1):
    rings = [at_height(circle(0.0, 0.0, radius_of(z), 60), float(z)) for z in levels]
    return structure_from_contours(number, name, rings)


def case_of(*structures):
    """Dose of 50 Gy in the middle, 1 Gy/mm upwards: trilinear meets it."""
    z, y, x = np.arange(-40.0, 41.0, 2.0), np.arange(-20.0, 21.0, 2.0), np.arange(-20.0, 21.0, 2.0)
    values = np.broadcast_to(50.0 + z[:, None, None], (z.size, y.size, x.size))
    return Case(structures, DoseGrid.from_array(GridGeometry(x, y, z), values))


def test_the_systems_that_are_known():
    assert NAMES == ["Eclipse", "RayStation", "MIM", "Mobius3D", "ProKnow", "PlanIQ", "Pinnacle"]
    assert all(p.version and p.not_imitated for p in PRESETS)
    assert find_preset(" proknow ").rules == Rules("slab", "half-slice", max_cap_mm=1.5)


def test_unknown_preset_lists_them():
    with pytest.raises(OptionError, match="the presets are Eclipse, RayStation, MIM, Mobius3D"):
        find_preset("Monaco")


@pytest.mark.parametrize(("spacing", "cap"), [(1.0, 0.5), (3.0, 1.5), (4.0, 1.5), (5.0, 1.5)])
def test_proknow_limits_its_caps(spacing, cap):
    levels = np.arange(0.0, 20.5, spacing)
    solid = find_preset("ProKnow").rules.solid(tube(levels))
    assert solid.z_range_mm == pytest.approx((-cap, levels[-1] + cap))
    assert solid.volume_mm3 == pytest.approx(AREA * (levels[-1] + 2 * cap), rel=1e-9)


def test_caps_of_every_run_are_limited():
    levels = [0.0, 4.0, 8.0, 12.0, 28.0, 32.0, 36.0, 40.0]  # planes missing in the middle
    solid = build_solid(tube(levels), between="slab")
    found = limit_caps(solid, 1.5)
    assert found.volume_mm3 == pytest.approx(AREA * (12 + 12 + 4 * 1.5), rel=1e-9)
    assert limit_caps(solid, 2.0).volume_mm3 == pytest.approx(solid.volume_mm3)
    assert solid.volume_mm3 == pytest.approx(AREA * 8 * 4, rel=1e-9)


def test_single_plane_is_all_cap():
    structure = replace(tube([0.0]), slab_thickness_mm=5.0)
    assert limit_caps(build_solid(structure), 1.5).volume_mm3 <= AREA * 4.0 + 1e-6


def test_pinnacle_has_the_volume_of_its_caps_but_not_their_dose():
    levels = np.arange(-12.0, 12.5, 4.0)
    case = case_of(tube(levels))
    rules = find_preset("Pinnacle").rules
    (found,) = compute_under(case, rules, metrics=METRICS)
    assert found.volume_cc == pytest.approx(AREA * 28 / 1000, rel=1e-9)
    assert found.dvh.total_volume_cc == pytest.approx(AREA * 24 / 1000, rel=1e-9)
    assert found.dvh.max_gy == pytest.approx(62.0, abs=1e-3)
    (with_dose,) = compute_under(case, Rules("slab", "half-slice"), metrics=METRICS)
    assert with_dose.dvh.max_gy == pytest.approx(64.0, abs=1e-3)


def compared(case, rules=None, rx_gy=None):
    rules = rules or Rules()
    ours = compute_under(case, rules, metrics=METRICS, rx_gy=rx_gy)
    return compare_presets(case, ours, rules, metrics=METRICS, rx_gy=rx_gy)


@pytest.fixture(scope="module")
def comparison():
    growing = tube(np.arange(-12.0, 12.5, 4.0), lambda z: 5.0 + z / 12)
    return compared(case_of(growing, tube(np.arange(-8.0, 9.0, 4.0), name="GTV", number=2)))


def test_rows_hold_every_metric_of_every_structure(comparison):
    found = [(r.roi_name, r.metric) for r in comparison.rows]
    names = (VOLUME, *map(str, METRICS))
    assert found == [(roi, name) for roi in ("SpinalCord", "GTV") for name in names]
    assert [r.unit for r in comparison.rows[:2]] == ["cc", "Gy"]
    assert all(len(r.values) == len(PRESETS) for r in comparison.rows)


def test_differences_are_what_the_preset_gives_less_ours(comparison):
    for row in comparison.rows:
        for i, value in enumerate(row.values):
            assert row.difference(i) == pytest.approx(value - row.ours)
            assert row.difference_percent(i) == pytest.approx(100 * (value / row.ours - 1))


def test_same_rules_give_no_difference(comparison):
    """Flat ends and closing ones are the same for a cord that was cut at both ends."""
    i = NAMES.index("RayStation")
    assert comparison.explanations[i].largest is None
    assert "Nothing here changes" in comparison.explanations[i].text
    # Their layers differ in how they are described: round-off of the quadrature remains.
    assert all(abs(row.difference(i)) <= 1e-4 * abs(row.ours) for row in comparison.rows)


def test_each_rule_gets_its_share(comparison):
    for i, explanation in enumerate(comparison.explanations):
        if explanation.largest is None:
            continue
        total = explanation.largest.difference(i)
        assert sum(s.change for s in explanation.steps) == pytest.approx(total, abs=1e-9)
        assert explanation.largest.roi_name in explanation.text


def test_the_rule_that_makes_the_difference_is_named(comparison):
    texts = dict(zip(NAMES, (e.text for e in comparison.explanations), strict=True))
    assert "ends: a rounded cap" in texts["Eclipse"]
    assert "between: every plane is extruded" in texts["MIM"]
    assert "caps: of at most 1.5 mm" in texts["ProKnow"]
    assert "caps: in the volume, but without dose" in texts["Pinnacle"]
    assert "from between" in texts["Pinnacle"]
    assert "from caps" in texts["Pinnacle"]
    assert all("not imitated" in text for text in texts.values())


def test_caps_of_proknow_against_the_closed_form():
    case = case_of(tube(np.arange(-12.0, 12.5, 4.0)))
    found = compared(case)
    volume = next(r for r in found.rows if r.metric == VOLUME)
    # Two caps of 2 mm become 1.5 mm.
    exact = -AREA * 1.0 / 1000
    assert volume.difference(NAMES.index("ProKnow")) == pytest.approx(exact, rel=1e-6)
    highest = next(r for r in found.rows if r.metric == "Max[Gy]")
    assert highest.difference(NAMES.index("ProKnow")) == pytest.approx(-0.5, abs=1e-3)
    assert highest.difference(NAMES.index("Pinnacle")) == pytest.approx(-2.0, abs=1e-3)


def test_ours_may_be_a_preset():
    case = case_of(tube(np.arange(-12.0, 12.5, 4.0)))
    found = compared(case, find_preset("Pinnacle").rules)
    texts = dict(zip(NAMES, (e.text for e in found.explanations), strict=True))
    assert "the same rules as here" in texts["Pinnacle"]
    assert "caps: with dose" in texts["MIM"]
    assert "between: the shape changes smoothly" in texts["RayStation"]
    back = compared(case, find_preset("ProKnow").rules)
    assert "caps: of any height" in back.explanations[NAMES.index("MIM")].text


def test_structure_without_a_solid_has_a_reason():
    found = compared(case_of(tube([0.0]), tube(np.arange(-8.0, 9.0, 4.0), number=2)))
    alone = [r for r in found.rows if r.roi_number == 1]
    assert all(r.ours is None and "single contoured plane" in r.reason for r in alone)
    assert all(r.difference(0) is None for r in alone)


def test_missing_dose_leaves_the_volumes():
    case = replace(case_of(tube(np.arange(-8.0, 9.0, 4.0))), dose=None)
    found = compared(case)
    assert found.rows[0].difference(NAMES.index("Eclipse")) < 0
    assert found.rows[1].ours is None
    assert found.rows[1].reason == "no dose"
    text = found.explanations[NAMES.index("Eclipse")].text
    assert "Most: SpinalCord volume[cc]" in text


def test_nothing_that_changes():
    # A straight tube: between makes no difference.
    case = case_of(tube(np.arange(-8.0, 9.0, 4.0)))
    text = compared(case).explanations[NAMES.index("MIM")].text
    assert "Nothing here changes by more than 0.01 %" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (0.12345, "+0.123"),
        (-0.12345, "-0.123"),
        (-0.0001, "+0.000"),
        (None, "+0.000"),
        (4.0, "+4.000"),
    ],
)
def test_a_difference_in_words_is_never_a_negative_nothing(change, words):
    assert _signed(change) == words


def test_rules_in_words():
    assert str(Rules()) == "shape, half-slice"
    cut = Rules("slab", "half-slice", max_cap_mm=1.5, caps_have_dose=False)
    assert str(cut) == "slab, half-slice, at most 1.5 mm, without dose"

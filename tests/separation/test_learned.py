"""A site's own falloff model: a known law comes back, and little data is said to be little."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordgap.analysis import Settings, analyze
from cordgap.case.case import Case, Prescription
from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.case.structure import structure_from_contours
from cordgap.errors import OptionError, OutOfRangeError
from cordgap.report.falloff_parts import learned_document, learned_lines
from cordgap.separation.falloff import KNEE_FRACTION, Falloff, PopulationFalloff
from cordgap.separation.learned import (
    PlanReading,
    contact_from,
    learn,
    load_falloff,
    read_falloff,
)

SEEDED = settings(derandomize=True, deadline=None, max_examples=40)
RX = 24.0


def readings(contact, gradient, gaps, *, noise=0.0, covers=True):
    """Plans made by the law of the model, their cord doses off by some noise."""
    law = Falloff(contact, 0.0, gradient, KNEE_FRACTION)
    random = np.random.default_rng(3)
    return [
        PlanReading(
            f"{i:03d}", RX, 2, float(gap), law.cord_dose_gy(float(gap)) + noise * random.normal(),
            gradient, covers,
        )
        for i, gap in enumerate(gaps)
    ]  # fmt: skip


@SEEDED
@given(
    contact=st.floats(0.65, 1.0),
    gradient=st.floats(0.03, 0.15),
    gaps=st.lists(st.floats(0.0, 8.0), min_size=5, max_size=12),
)
def test_a_known_law_is_recovered(contact, gradient, gaps):
    found = learn(readings(contact, gradient, gaps), "site")
    model = found.model
    assert model.source == "site"
    assert model.contact_fraction == pytest.approx(contact, abs=1e-6)
    assert model.gradient_per_mm == pytest.approx(gradient, abs=1e-9)
    assert model.contact_low == pytest.approx(contact, abs=1e-6)
    assert all(abs(row.error_mm) < 1e-4 for row in found.left_out if len(gaps) > 5)


@SEEDED
@given(contact=st.floats(0.62, 1.0), gradient=st.floats(0.03, 0.15), gap=st.floats(0.0, 10.0))
def test_the_dose_at_contact_inverts_the_fall(contact, gradient, gap):
    cord = Falloff(contact, 0.0, gradient, KNEE_FRACTION).cord_dose_gy(gap)
    assert contact_from(cord, gap, gradient) == pytest.approx(contact, abs=1e-6)


def test_the_range_holds_what_it_says():
    found = learn(readings(0.85, 0.09, np.linspace(0, 4, 80), noise=0.03), "site")
    # 90 % of 80 plans, within three standard deviations of that share.
    assert 0.80 <= np.mean([row.inside for row in found.left_out]) <= 1.0
    assert np.std([row.error_mm for row in found.left_out]) == pytest.approx(0.03 / 0.09, rel=0.25)


@pytest.mark.parametrize("n", [1, 4])
def test_few_plans_keep_the_published_centre(n):
    found = learn(readings(0.99, 0.20, np.zeros(n)), "site")
    known, model = PopulationFalloff(), found.model
    assert model.few
    assert model.contact_fraction == known.contact_fraction
    assert (model.contact_low, model.contact_high) == (known.contact_low, 0.99)
    assert model.gradient_high_per_mm == pytest.approx(0.20)
    text = "\n".join(learned_lines(learned_document(found)))
    assert "too few plans" in text
    assert ("leave-one-out error: not known, one plan cannot" in text) == (n == 1)


def test_plans_with_a_cold_rim_say_nothing_about_contact():
    cold = readings(0.5, 0.08, np.zeros(6), covers=False)
    found = learn(cold, "site")
    assert (found.model.plans, found.covering) == (0, 0)
    assert found.model.contact_fraction == PopulationFalloff().contact_fraction
    assert found.model.gradient_per_mm == pytest.approx(0.08)
    assert "no plan meets D98%[%]>=95" in found.reason


def test_nothing_is_learned_from_nothing():
    with pytest.raises(OutOfRangeError, match="nothing to learn from"):
        learn([], "site")


def even_plan(gap, contact=0.97, gradient=0.08):
    """A cord whose D0.035cc follows the law, by a dose that rises evenly to the front."""
    slope = gradient * RX
    axis = np.arange(-45.0, 45.1, 1.5)
    geometry = GridGeometry(axis + 0.31, axis - 0.17, axis + 0.11)
    _, yy, _ = np.meshgrid(*geometry.axes, indexing="ij")
    at_edge = contact * RX - slope * gap
    dose = np.clip(at_edge - slope * (yy + 5.0), 0.0, 60.0)
    t = 2 * np.pi * (np.arange(240) + 0.3) / 240
    square = np.array([[-9, -25], [9, -25], [9, -5 - gap], [-9, -5 - gap]])

    def tube(number, name, outline, half):
        z = np.arange(-half + 0.75, half, 1.5)
        return structure_from_contours(
            number, name, [np.c_[outline, np.full(len(outline), v)] for v in z]
        )

    cord = tube(2, "SpinalCord", 5.0 * np.c_[np.cos(t), np.sin(t)], 30.0)
    return Case(
        (tube(1, "GTV", square, 9.0), cord),
        DoseGrid.from_array(geometry, dose),
        Prescription(RX, 2, "x"),
        case_id=f"gap {gap}",
    )


def test_plans_made_by_a_law_give_it_back():
    found = learn([read_falloff(even_plan(gap)) for gap in (0.2, 0.6, 1.1, 1.6, 2.1, 2.6)], "site")
    assert found.model.gradient_per_mm == pytest.approx(0.08, rel=1e-3)
    # The hottest 0.035 cc lies up to half a millimetre inside the surface: 0.04 of the dose.
    assert found.model.contact_fraction == pytest.approx(0.97, abs=0.04)
    assert found.model.contact_high - found.model.contact_low < 0.01
    assert max(abs(row.error_mm) for row in found.left_out) < 0.1


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"dose": None}, "has no dose"),
        ({"prescription": None}, "has no prescription"),
        ({"dose_type": "EFFECTIVE"}, "no absorbed dose"),
    ],
)
def test_a_plan_that_says_nothing_is_refused(how, message):
    from dataclasses import replace

    with pytest.raises(OutOfRangeError, match=message):
        read_falloff(replace(even_plan(1.0), **how))


def test_a_target_far_away_is_refused():
    with pytest.raises(OutOfRangeError, match="beyond 10 mm nothing is learned"):
        read_falloff(even_plan(12.0))


# --- the file ---


@pytest.fixture
def written(tmp_path):
    document = learned_document(learn(readings(0.95, 0.06, np.linspace(0, 3, 8)), "site"))
    (tmp_path / "site.json").write_text(json.dumps(document), encoding="utf-8")
    return tmp_path / "site.json", document


def test_what_is_written_is_read(written):
    path, _ = written
    model = load_falloff(path)
    assert (model.plans, model.source) == (8, "site.json")
    assert model.contact_fraction == pytest.approx(0.95, abs=1e-4)
    case = even_plan(0.5)
    bare = Case(case.structures, None, case.prescription)
    own = analyze(bare, Settings(falloff=model)).separation
    published = analyze(bare).separation
    # 95 % at contact, falling by 6 % per mm, to 17 of 24 Gy.
    assert own.required_separation_mm == pytest.approx((0.95 - 17 / 24) / 0.06, abs=0.01)
    assert own.required_separation_mm > published.required_separation_mm
    schedule = next(s for s in own.schedules if (s.dose_gy, s.fractions) == (24.0, 2))
    assert schedule.required_separation_mm == pytest.approx(own.required_separation_mm)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d | {"schema": "x"}, "no cordgap.falloff/1 document"),
        (lambda d: {k: v for k, v in d.items() if k != "model"}, "model is missing"),
        (lambda d: d | {"model": d["model"] | {"plans": -1}}, "plans is -1"),
        (lambda d: d | {"model": d["model"] | {"gradient_per_mm": 0}}, "make no sense"),
        (lambda d: d | {"model": d["model"] | {"contact_range": [1]}}, "a pair of numbers"),
    ],
)
def test_a_damaged_file_is_refused(written, change, message):
    path, document = written
    path.write_text(json.dumps(change(document)), encoding="utf-8")
    with pytest.raises(OptionError, match=message):
        load_falloff(path)


def test_a_file_that_is_no_file_is_refused(tmp_path):
    with pytest.raises(OptionError, match="there is no such file"):
        load_falloff(tmp_path / "no.json")
    (tmp_path / "bad.json").write_text("{", encoding="utf-8")
    with pytest.raises(OptionError, match="not valid JSON"):
        load_falloff(tmp_path / "bad.json")

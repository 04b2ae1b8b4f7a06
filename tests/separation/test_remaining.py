"""All separations from one histogram agree with the target cut anew at each of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cordgap.dvh.metrics import parse_metric
from cordgap.phantom import spine_case
from cordgap.separation.anatomy import survey
from cordgap.separation.remaining import DOSE_BINS, MOST_EDGES, remaining_by_step
from cordgap.separation.resect import resection_inside_cc

STEPS = np.arange(0.0, 10.01, 0.25)
METRICS = [parse_metric(m) for m in ("D95%[Gy]", "D98%[Gy]", "DC0.035cc[Gy]", "Mean[Gy]")]


@pytest.fixture(scope="module")
def anatomy():
    case = spine_case()
    roles = {s.role: s for s in case.structures}
    return survey(case, roles["cord"], roles["gtv"], max_mm=10.0)


@pytest.mark.parametrize("clearable", [(), ("anterior", "left anterolateral")])
def test_steps_agree_with_cutting_anew(anatomy, clearable):
    cells = anatomy.cells.clear_only(clearable) if clearable else anatomy.cells
    left = remaining_by_step(cells, STEPS, canal=anatomy.canal)
    bin_gy = cells.dose_gy[-1] / DOSE_BINS
    for i in range(0, STEPS.size, 5):
        s = float(STEPS[i])
        assert left.removed_cc[i] == pytest.approx(cells.resection_cc(s), abs=1e-9)
        inside = resection_inside_cc(cells, s, anatomy.canal)
        assert left.removed_inside_cc[i] == pytest.approx(inside, abs=1e-9)
        ours, anew = left.dvh(i), cells.remaining_dvh(s)
        assert ours.total_volume_cc == pytest.approx(anew.total_volume_cc, abs=1e-9)
        assert (ours.min_gy, ours.max_gy) == (anew.min_gy, anew.max_gy)
        for metric in METRICS:
            # Both interpolate inside a bin; the other one between the middles of cells.
            found = metric.evaluate(ours, 24.0).value, metric.evaluate(anew, 24.0).value
            assert found[0] == pytest.approx(found[1], abs=bin_gy + 0.005)


def test_curves_fall_with_dose_and_with_separation(anatomy):
    left = remaining_by_step(anatomy.cells, STEPS)
    edges, volumes = left.edges()
    assert edges[0] == 0.0
    assert edges[1] == 0.25
    np.testing.assert_allclose(volumes[:, 0], left.total_cc, rtol=1e-9)
    assert (volumes[:, -1] == 0.0).all()
    assert (np.diff(volumes, axis=1) <= 1e-12).all()
    assert (np.diff(volumes, axis=0) <= 1e-12).all()


def test_what_is_left_of_nothing(anatomy):
    cells = anatomy.cells
    near = replace(cells, cord_distance_mm=np.zeros(cells.dose_gy.size))
    left = remaining_by_step(near, np.array([0.0, 0.25]))
    assert left.dvh(0) is not None
    assert left.dvh(1) is None
    assert left.edges()[1][1].tolist() == [0.0] * left.edges()[0].size


def test_without_a_dose_there_are_volumes_alone(anatomy):
    cells = replace(anatomy.cells, dose_gy=np.full(anatomy.cells.dose_gy.size, np.nan))
    left = remaining_by_step(cells, STEPS)
    assert left.edges()[0].size == 0
    assert left.removed_cc[8] == pytest.approx(anatomy.cells.resection_cc(2.0))
    assert left.dvh(0).covered_volume_cc == 0


def test_absurd_doses_do_not_make_long_curves(anatomy):
    left = remaining_by_step(replace(anatomy.cells, dose_gy=1e4 * anatomy.cells.dose_gy), STEPS)
    edges, volumes = left.edges()
    assert edges.size <= MOST_EDGES
    assert edges[-1] >= left.max_gy.max()
    assert (volumes[:, -1] == 0.0).all()

"""Contours grouped into planes: duplicates, degenerate ones, jitter, tilted ones, none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cordgap.case.structure as case_structure
from cordgap.case.naming import NamedRole
from cordgap.case.structure import structure_from_contours
from cordgap.errors import Finding

SEEDED = settings(derandomize=True, deadline=None, max_examples=50)


def square(z=0.0, half=5.0, centre=(0.0, 0.0)):
    x, y = centre
    points = [
        (x - half, y - half),
        (x + half, y - half),
        (x + half, y + half),
        (x - half, y + half),
    ]
    return np.array([(px, py, z) for px, py in points])


def make(contours, **how):
    return structure_from_contours(1, "SpinalCord", contours, **how)


def codes(structure):
    return [finding.code for finding in structure.findings]


def test_planes_are_sorted_and_hold_their_contours():
    structure = make([square(6), square(0), square(3), square(3, 1.0, (20, 0))])
    assert structure.status == "ok"
    assert structure.z_mm.tolist() == [0, 3, 6]
    assert [len(p.contours) for p in structure.planes] == [1, 2, 1]
    lower, upper = structure.bounds_mm
    assert lower.tolist() == [-5, -5, 0]
    assert upper.tolist() == [21, 5, 6]


def test_repeated_closing_point_is_dropped():
    structure = make([np.vstack([square(), square()[:1]])])
    assert len(structure.planes[0].contours[0]) == 4


def test_contours_are_read_only_copies():
    points = square()
    structure = make([points])
    points[0, 0] = 99.0
    assert structure.planes[0].contours[0][0, 0] == -5
    with pytest.raises(ValueError, match="read-only"):
        structure.planes[0].contours[0][0, 0] = 1.0


@SEEDED
@given(start=st.integers(0, 3), reverse=st.booleans(), noise=st.floats(-5e-4, 5e-4))
def test_a_contour_drawn_twice_counts_once(start, reverse, noise):
    """The same points from another start, the other way round, or rounded to a micrometre."""
    copy = np.roll(square(), start, axis=0) + np.array([noise, 0, 0])
    structure = make([square(), copy[::-1] if reverse else copy])
    assert len(structure.planes[0].contours) == 1
    assert codes(structure) == ["duplicate-contours"]
    assert "1 contour(s) drawn twice" in structure.findings[0].message


def test_a_contour_beside_another_is_no_duplicate():
    structure = make([square(), square(centre=(0.01, 0.0))])
    assert len(structure.planes[0].contours) == 2
    assert not structure.findings


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((0, 3)),
        [[0, 0, 0]],
        [[0, 0, 0], [5, 5, 0]],
        [[0, 0, 0], [5, 5, 0], [10, 10, 0]],
        [[0, 0, 0], [5, 5, 0], [0, 0, 0]],
    ],
    ids=["none", "point", "line", "collinear", "there and back"],
)
def test_degenerate_contour_is_left_out_and_counted(bad):
    structure = make([square(0), bad, square(3)])
    assert structure.status == "ok"
    assert structure.z_mm.tolist() == [0, 3]
    assert codes(structure) == ["degenerate-contours"]
    assert structure.findings[0].severity == "info"
    assert "1 contour(s)" in structure.findings[0].message


@SEEDED
@given(seed=st.integers(0, 2**31), spacing=st.sampled_from([0.5, 1.0, 2.5, 5.0]))
def test_jitter_of_an_export_does_not_make_planes(seed, spacing):
    """Two contours a plane, each up to 0.02 mm off: below the 0.05 mm tolerance together."""
    rng = np.random.default_rng(seed)
    levels = spacing * np.arange(6)
    contours = [
        square(z + jitter, 2.0, (x, 0.0))
        for z in levels
        for x, jitter in zip((-10.0, 10.0), rng.uniform(-0.02, 0.02, 2), strict=True)
    ]
    rng.shuffle(contours)
    structure = make(contours)
    assert len(structure.planes) == 6
    assert all(len(p.contours) == 2 for p in structure.planes)
    np.testing.assert_allclose(structure.z_mm, levels, atol=0.02)  # the mean of the two


def test_planes_a_tenth_apart_stay_apart():
    assert make([square(0), square(0.1), square(0.2)]).z_mm.tolist() == [0, 0.1, 0.2]


def test_tilted_contour_is_unsupported():
    tilted = square() + np.outer([0, 0, 1, 1], [0, 0, 0.5])
    structure = make([square(0), tilted, square(3)])
    assert structure.status == "unsupported"
    assert structure.reason == (
        "a contour leaves its axial plane by 0.50 mm (tilted contours are not supported)"
    )
    assert structure.planes == ()


def test_slightly_uneven_contour_is_taken_as_planar():
    uneven = square() + np.outer([0, 0, 1, 1], [0, 0, 0.1])
    structure = make([uneven, square(3)])
    assert structure.status == "ok"
    assert structure.z_mm[0] == pytest.approx(0.05)


def test_sagittal_contour_is_unsupported():
    sagittal = square()[:, [2, 0, 1]]
    structure = make([sagittal])
    assert (structure.status, structure.reason) == ("unsupported", "contours are not axial")


@pytest.mark.parametrize("contours", [[], [[[0, 0, 0], [1, 0, 0]]]], ids=["nothing", "a line"])
def test_nothing_closed_is_empty(contours):
    structure = make(contours)
    assert (structure.status, structure.reason) == ("empty", "no closed planar contour")
    assert structure.z_mm.size == 0
    assert np.isnan(structure.bounds_mm[0]).all()


def test_name_gives_the_role_unless_it_is_given():
    assert make([square()]).role == "cord"
    assert make([square()], named=NamedRole("ptv", "option")).role == "ptv"


def test_earlier_findings_are_kept_in_front():
    earlier = Finding("from-the-file", "something")
    structure = make([square(), square()], findings=[earlier])
    assert codes(structure) == ["from-the-file", "duplicate-contours"]


@pytest.mark.parametrize(
    ("contours", "words"),
    [
        ([square(0.0, 1600.0), square(3.0, 1600.0)], "it is 3200 mm long, expected at most 3000"),
        ([square(0.2 * i) for i in range(30)], "it has 30 planes, expected at most 20"),
        ([square(0.0, 0.1, (i, 0.0)) for i in range(30)], "a plane has 30 contours, expected at"),
    ],
    ids=["extent", "planes", "contours"],
)
def test_what_is_of_no_patient_is_not_used(monkeypatch, contours, words):
    monkeypatch.setattr(case_structure, "MAX_PLANES", 20)
    monkeypatch.setattr(case_structure, "MAX_CONTOURS_OF_PLANE", 20)
    found = structure_from_contours(1, "ROI", contours)
    assert (found.status, found.planes) == ("unsupported", ())
    assert words in found.reason

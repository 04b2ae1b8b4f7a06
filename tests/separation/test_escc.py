"""The epidural grade: determined where the contours do, open with the reason where they do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cordgap.case.case import Case
from cordgap.case.structure import structure_from_contours
from cordgap.phantom import Epidural, spine_case
from cordgap.report.scenario_words import escc_words
from cordgap.separation.anatomy import survey
from cordgap.separation.escc import GRADES, _decide, _of_cord, grade_epidural

HALF, TUMOUR = 30.0, 9.0


def grade(case, **how):
    cord, target = case.structure("SpinalCord"), case.structure(how.pop("target", "GTV"))
    return grade_epidural(case, survey(case, cord, target, max_mm=5.0))


def ellipse(a, b, centre=(0.0, 0.0), n=240):
    t = 2 * np.pi * (np.arange(n) + 0.3) / n
    return np.c_[centre[0] + a * np.cos(t), centre[1] + b * np.sin(t)]


def body(number, name, outline, half=HALF):
    """A body whose outline may change with the level."""
    z = np.arange(-half + 0.75, half, 1.5)
    at = outline if callable(outline) else lambda _: outline
    return structure_from_contours(number, name, [np.c_[at(v), np.full(len(at(v)), v)] for v in z])


def spine(*, front, cord=None, sac=None, canal=None):
    """A tumour in front whose back wall lies at y = ``front``; the cord is centred on the axis."""
    square = np.array([[-8, -30], [8, -30], [8, front], [-8, front]], float)
    structures = [
        body(1, "GTV", square, TUMOUR),
        body(2, "SpinalCord", ellipse(5.0, 4.0) if cord is None else cord),
    ]
    if sac is not None:
        structures.append(body(3, "ThecalSac", sac))
    if canal is not None:
        structures.append(body(4, "SpinalCanal", canal))
    return Case(tuple(structures), None)


def at_tumour(there, elsewhere):
    return lambda z: there if abs(z) < TUMOUR + 1.0 else elsewhere


SAC, CANAL = ellipse(8.0, 7.0), ellipse(10.0, 9.0)


def cut_front(outline, y):
    """An outline pushed back to y wherever it reached farther to the front."""
    return np.c_[outline[:, 0], np.maximum(outline[:, 1], y)]


CASES = {
    "bone only": ({"front": -9.3, "sac": SAC, "canal": CANAL}, ("0",)),
    "epidural, off the sac": ({"front": -7.6, "sac": ellipse(8, 6.2), "canal": CANAL}, ("1a",)),
    "sac pushed in": (
        {"front": -4.8, "sac": at_tumour(cut_front(SAC, -4.8), SAC), "canal": CANAL}, ("1b",),
    ),
    "sac drawn as if nothing pressed on it": (
        {"front": -4.8, "sac": SAC, "canal": CANAL}, ("1b",),
    ),
    "cord abutted": (
        {"front": -4.0, "sac": at_tumour(cut_front(SAC, -4.0), SAC), "canal": CANAL}, ("1c",),
    ),
    "cord abutted, narrow behind": (
        {
            "front": -4.0, "sac": at_tumour(cut_front(SAC, -4.0), SAC), "canal": CANAL,
            "cord": at_tumour(-cut_front(ellipse(5, 4), -1.5), ellipse(5, 4)),
        }, ("1c",),
    ),
    "cord compressed, CSF behind": (
        {
            "front": -1.5, "canal": CANAL,
            "sac": at_tumour(cut_front(SAC, -1.5), SAC),
            "cord": at_tumour(cut_front(ellipse(5, 4), -1.5), ellipse(5, 4)),
        }, ("2",),
    ),
    "cord displaced": (
        {
            "front": -1.5, "canal": CANAL,
            "sac": at_tumour(cut_front(SAC, -1.5), SAC),
            "cord": at_tumour(ellipse(5, 4, (0, 2.5)), ellipse(5, 4)),
        }, ("2",),
    ),
    "cord compressed, no CSF": (
        {
            "front": -1.5, "canal": CANAL,
            "sac": at_tumour(cut_front(ellipse(5.1, 4.1), -1.5), SAC),
            "cord": at_tumour(cut_front(ellipse(5, 4), -1.5), ellipse(5, 4)),
        }, ("3",),
    ),
    "no sac, off the cord": ({"front": -6.5, "canal": CANAL}, ("1a", "1b")),
    "no sac, cord compressed": (
        {"front": -1.5, "cord": at_tumour(cut_front(ellipse(5, 4), -1.5), ellipse(5, 4))},
        ("2", "3"),
    ),
    "neither sac nor canal": ({"front": -8.0}, ("0", "1a", "1b")),
    "near the cord, contact open": (
        {"front": -4.75, "sac": at_tumour(cut_front(SAC, -4.75), SAC), "canal": CANAL},
        ("1b", "1c"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_grade(name):
    how, expected = CASES[name]
    if expected == ("1b",):
        how = how | {"cord": ellipse(5.0, 3.5)}
    found = grade(spine(**how))
    assert found.possible == expected, found
    assert found.grade == (expected[0] if len(expected) == 1 else None)
    assert (found.reason is None) == (len(expected) == 1)


@pytest.mark.parametrize("name", ["cord abutted", "cord compressed, CSF behind"])
def test_where_the_patient_lies_changes_nothing(name):
    how, expected = CASES[name]
    moved = []
    for s in spine(**how).structures:
        rings = [
            np.c_[ring + np.array([31.0, -17.0]), np.full(len(ring), p.z_mm + 40.0)]
            for p in s.planes
            for ring in p.contours
        ]
        moved.append(structure_from_contours(s.roi_number, s.roi_name, rings))
    here, there = grade(spine(**how)), grade(Case(tuple(moved), None))
    assert there.possible == here.possible == expected
    assert there.cord_pushed_mm == pytest.approx(here.cord_pushed_mm, abs=1e-3)


def test_the_phantom_is_graded_by_its_gap():
    for gap, expected in ((0.0, "1c"), (1.5, "1b")):
        case = spine_case(image=False, epidural=Epidural(gap_mm=gap))
        assert grade(case).grade == expected
    assert grade(spine_case(image=False, epidural=Epidural(kind="none"))).grade == "0"


def test_a_ptv_and_a_stand_in_are_not_graded():
    case = spine_case(image=False)
    named = [
        replace(s, named=replace(s.named, role="ptv")) if s.roi_name == "GTV" else s
        for s in case.structures
    ]
    found = grade(replace(case, structures=tuple(named)))
    assert found.possible == GRADES
    assert "is no GTV" in found.reason
    assert "not determinable" in escc_words(found)


def test_a_cord_that_ends_at_the_target_leaves_compression_open():
    case = spine_case(image=False)
    cord = case.structure("SpinalCord")
    planes = tuple(p for p in cord.planes if abs(p.z_mm) < 14.5)
    short = tuple(replace(s, planes=planes) if s is cord else s for s in case.structures)
    found = grade(replace(case, structures=short))
    touching = grade(
        replace(spine_case(image=False, epidural=Epidural(gap_mm=0.0)), structures=tuple(
            replace(s, planes=planes) if s.roi_name == "SpinalCord" else s
            for s in spine_case(image=False, epidural=Epidural(gap_mm=0.0)).structures
        ))
    )  # fmt: skip
    assert found.cord_pushed_mm is None
    assert touching.possible == ("1c", "2")
    assert "beyond the target" in touching.reason


def test_without_a_thecal_sac_two_and_three_stay_open():
    left, reason = _of_cord(6.0, None)
    assert left == ("2", "3")
    assert reason == "no thecal sac is contoured: 2 and 3 cannot be told apart"


def test_more_is_never_graded_less():
    """A target nearer to the cord, all else alike, never loses its higher grades."""
    highest = -1
    for gap in (3.0, 1.2, 0.7, 0.4, 0.0):
        left, _ = _decide(3.0, 0.0, 3.0, gap, 0.0, 2.0)
        assert GRADES.index(left[-1]) >= highest
        highest = GRADES.index(left[-1])

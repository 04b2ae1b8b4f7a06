"""Looking up a structure by its name."""

from __future__ import annotations

import pytest

from cordgap.case.case import Case
from cordgap.case.structure import structure_from_contours
from cordgap.errors import CordgapError, StructureNotFoundError


def case(*names):
    return Case(tuple(structure_from_contours(i, n, []) for i, n in enumerate(names, 1)), None)


def test_exact_name():
    assert case("GTV", "SpinalCord").structure("SpinalCord").roi_number == 2


@pytest.mark.parametrize("asked", ["spinalcord", " SpinalCord ", "SPINALCORD"])
def test_case_and_outer_blanks_are_forgiven(asked):
    assert case("SpinalCord ", "GTV").structure(asked).roi_number == 1


def test_exact_name_wins_over_a_loose_one():
    assert case("gtv", "GTV").structure("GTV").roi_number == 2


def test_missing_name_lists_what_is_there():
    with pytest.raises(StructureNotFoundError, match=r"no structure is named 'Cord'.*GTV, SpinalC"):
        case("GTV", "SpinalCord").structure("Cord")


def test_nothing_there():
    with pytest.raises(StructureNotFoundError, match="the structure set has: none"):
        case().structure("GTV")


@pytest.mark.parametrize("names", [("GTV", "GTV"), ("gtv", "Gtv")])
def test_two_of_a_name_are_told_apart_by_number(names):
    with pytest.raises(
        StructureNotFoundError, match=r"2 structures are named .*\(ROI numbers 1, 2"
    ):
        case(*names).structure("GTV")


def test_inner_blanks_are_not_forgiven():
    with pytest.raises(CordgapError):
        case("SpinalCord").structure("Spinal Cord")


def test_identity_is_not_shown():
    named = Case((), None, identity={"patient_name": "SECRET"})
    assert "SECRET" not in repr(named)

"""Which structure is the cord and which the target: rules and messages."""

from __future__ import annotations

import numpy as np
import pytest

from cordgap.case.case import Case
from cordgap.case.structure import structure_from_contours
from cordgap.errors import AmbiguousInputError, StructureNotFoundError
from cordgap.separation.select import choose_cord, choose_target


def case(**at):
    """Small tubes by name, at x; None leaves the structure empty."""
    return case_of(*at.items())


def case_of(*pairs):
    made = []
    for number, (name, x) in enumerate(pairs, 1):
        t = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        contours = [] if x is None else [
            np.c_[x + 4 * np.cos(t), 4 * np.sin(t), np.full(12, z)] for z in (0.0, 3.0, 6.0)
        ]  # fmt: skip
        made.append(structure_from_contours(number, name, contours))
    return Case(tuple(made), None)


def codes(choice):
    return [finding.code for finding in choice.findings]


def test_tg263_cord():
    choice = choose_cord(case(GTV=10, SpinalCord=0, SpinalCord_PRV02=0))
    assert (choice.structure.roi_name, choice.source, codes(choice)) == ("SpinalCord", "TG-263", [])


def test_tg263_name_wins_over_an_alias_and_says_so():
    choice = choose_cord(case_of(("Myelon", 0), ("SpinalCord", 0)))
    assert choice.structure.roi_name == "SpinalCord"
    assert codes(choice) == ["several-cords"]
    assert "'Myelon'" in choice.findings[0].message


def test_two_cords_are_ambiguous():
    with pytest.raises(
        AmbiguousInputError, match=r"2 structures could be the cord: 'Myelon', 'Cor"
    ):
        choose_cord(case_of(("Myelon", 0), ("Cord", 0)))


def test_numbered_name_deserves_a_look():
    choice = choose_cord(case_of(("SPINAL CORD2", 0)))
    assert codes(choice) == ["numbered-name"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("ThecalSac", "SpinalCord_PRV02", "SpinalCanal"), "SpinalCord_PRV02"),
        (("SpinalCanal", "ThecalSac"), "ThecalSac"),
        (("SpinalCanal",), "SpinalCanal"),
    ],
)
def test_stand_ins_best_first(names, expected):
    choice = choose_cord(case_of(*((n, 0) for n in names)))
    assert choice.structure.roi_name == expected
    assert codes(choice) == ["distance-structure-stand-in"]
    assert expected in choice.findings[0].message


def test_no_cord_lists_what_there_is():
    message = r"no structure is known as the spinal cord.*has: GTV, Lung_L\. Choose one with --cord"
    with pytest.raises(StructureNotFoundError, match=message):
        choose_cord(case(GTV=10, Lung_L=50))


def test_empty_cord_says_draw_it():
    with pytest.raises(StructureNotFoundError, match="'SpinalCord' has no usable contour; draw it"):
        choose_cord(case(SpinalCord=None, GTV=10))


def test_named_cord():
    choice = choose_cord(case(Strange=0, SpinalCord=0), "Strange")
    assert (choice.structure.roi_name, choice.source) == ("Strange", "option --cord")
    assert codes(choose_cord(case(SpinalCanal=0), "SpinalCanal")) == ["distance-structure-stand-in"]
    with pytest.raises(StructureNotFoundError, match="no structure is named 'Nothing'"):
        choose_cord(case(SpinalCord=0), "Nothing")


def chosen(found, name=None):
    return choose_target(found, choose_cord(found).structure, name)


def test_gtv_before_ctv():
    choice = chosen(case(SpinalCord=0, CTV=5, GTV=30))
    assert (choice.structure.roi_name, codes(choice)) == ("GTV", [])


def test_ctv_with_a_warning():
    choice = chosen(case(SpinalCord=0, CTV=10, PTV=10))
    assert choice.structure.roi_name == "CTV"
    assert codes(choice) == ["target-not-gtv"]


def test_nearest_of_several():
    choice = chosen(case(SpinalCord=0, GTV_T3=40, GTV_T7=15))
    assert choice.structure.roi_name == "GTV_T7"
    assert codes(choice) == ["several-targets"]
    assert "'GTV_T3'" in choice.findings[0].message


def test_empty_gtv_does_not_count():
    assert chosen(case(SpinalCord=0, GTV=None, CTV=10)).structure.roi_name == "CTV"


def test_ptv_has_to_be_named():
    found = case(SpinalCord=0, PTV=10)
    with pytest.raises(StructureNotFoundError, match=r"A PTV has to be named: PTV\."):
        chosen(found)
    choice = chosen(found, "PTV")
    assert codes(choice) == ["target-not-gtv"]
    assert "no resection is given" in choice.findings[0].message


def test_no_target():
    with pytest.raises(StructureNotFoundError, match=r"no structure is known as GTV or CTV\. The"):
        chosen(case(SpinalCord=0))

"""Roles from names: TG-263, the alias table, and nothing that only looks similar."""

from __future__ import annotations

import pytest

from cordgap.case.naming import identify

TG263 = {
    "SpinalCord": "cord",
    "SpinalCanal": "canal",
    "ThecalSac": "thecal_sac",
    "CaudaEquina": "cauda_equina",
    "SacralPlex": "sacral_plexus",
    "BrachialPlex_L": "brachial_plexus",
    "BrachialPlex_R": "brachial_plexus",
    "Esophagus": "esophagus",
    "External": "body",
    "SpinalCord_PRV02": "cord_prv",
    "SpinalCord_PRV05": "cord_prv",
    "GTV": "gtv",
    "GTVp": "gtv",
    "GTVn1": "gtv",
    "GTV_T7": "gtv",
    "CTV_High": "ctv",
    "CTVn": "ctv",
    "ITV": "itv",
    "PTV": "ptv",
    "PTV_5000": "ptv",
    "PTVp1!": "ptv",
}


@pytest.mark.parametrize(("name", "role"), TG263.items())
def test_tg263_names(name, role):
    named = identify(name)
    assert (named.role, named.source, named.numbered) == (role, "TG-263", False)


@pytest.mark.parametrize(
    "name", ["spinalcord", "SPINAL CORD", "Spinal_Cord", " Spinal-Cord ", "spinal.cord"]
)
def test_case_blanks_and_separators_do_not_matter(name):
    assert identify(name).role == "cord"


ALIASES = {
    "Cord": "cord",
    "True Cord": "cord",
    "Medulla spinalis": "cord",
    "Myelon": "cord",
    "Rückenmark": "cord",
    "RUECKENMARK": "cord",
    "Moelle épinière": "cord",
    "Médula espinal": "cord",
    "Rdzeń kręgowy": "cord",
    "SpinalCord_PRV": "cord_prv",
    "Medula espinal": "cord",
    "Midollo Spinale": "cord",
    "Ruggenmerg": "cord",
    "SC": "cord",
    "SC PRV": "cord_prv",
    "PRV_Cord": "cord_prv",
    "cord prv 3": "cord_prv",
    "Myelon PRV": "cord_prv",
    "Dural Sac": "thecal_sac",
    "Dura": "thecal_sac",
    "Spinalkanal": "canal",
    "Canal": "canal",
    "Cauda": "cauda_equina",
    "Plexus sacralis": "sacral_plexus",
    "Oesophagus": "esophagus",
    "Speiseröhre": "esophagus",
    "Contour externe": "body",
    "Skin": "body",
    "T7": "vertebra",
    "VB L3": "vertebra",
    "Vertebra_C2": "vertebra",
}


@pytest.mark.parametrize(("name", "role"), ALIASES.items())
def test_alias_names(name, role):
    named = identify(name)
    assert named.role == role
    assert named.source == "alias table"


@pytest.mark.parametrize(
    ("name", "role"), [("SPINAL CORD2", "cord"), ("cord 1", "cord"), ("SpinalCanal2", "canal")]
)
def test_copy_number_is_marked(name, role):
    named = identify(name)
    assert (named.role, named.numbered) == (role, True)


NOT_GUESSED = (
    "", "optBRAIN", "BRAIN", "Chord", "Spinal", "SpinalCordAvoid", "cord avoid", "ring cord",
    "Cord-PTV", "SpinalCrod", "CordExt", "Lung_L", "NotCord", "PRV", "PRV_Brain", "Lens PRV",
    "Record", "Escort", "Body-PTV", "xPTV", "PTVring", "GTVxyz", "CTVopt", "Heart", "zCord2b",
    "Dose 5000[cGy]", "SC PRV avoid", "T7 and more",
)  # fmt: skip


@pytest.mark.parametrize("name", NOT_GUESSED)
def test_nothing_is_guessed(name):
    assert identify(name).role == "other"
    assert identify(name).source == "none"


def test_prv_of_another_organ_is_not_the_cords():
    assert identify("Brainstem_PRV03").role == "other"
    assert identify("SpinalCanal_PRV03").role == "other"

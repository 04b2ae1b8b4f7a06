"""Risk of radiation myelopathy in words: a region and its caveat, beside what was seen.

The models behind the limits rest on few events from mixed samples; above 5 % they overstate what
is seen in patients. So no percentage above 5 is ever given, and no volume model (LKB) is offered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from cordgap.case.naming import Role
from cordgap.case.structure import Structure
from cordgap.dvh.metrics import parse_metric
from cordgap.dvh.structures import StructureResult
from cordgap.limits.constraint import role_words
from cordgap.limits.protocol import load_protocol
from cordgap.limits.radiobiology import CORD_ALPHA_BETA_GY, eqd2_gy
from cordgap.limits.rules import Series, read_table

_NEAR_MAXIMUM = parse_metric("D0.035cc[Gy]")


@dataclass(frozen=True)
class ModelRegion:
    """Where a dose lies by one model; ``value`` and ``threshold`` are EQD2 in Gy."""

    id: str
    model: str
    value_gy: float
    threshold_gy: float
    alpha_beta_gy: float
    words: str
    caveat: str
    citation: str
    short: str


@dataclass(frozen=True)
class Risk:
    """What is known of the risk at the near-maximum of one structure, without percentages above 5.

    ``reason`` says why there is no region; the series seen in patients are there in any case.
    """

    role: Role | None
    roi_name: str | None
    dose_gy: float | None
    fractions: int | None
    regions: tuple[ModelRegion, ...]
    seen: tuple[Series, ...]
    not_offered: str
    reason: str | None = None


@cache
def _table() -> dict[str, Any]:
    return read_table("risk", "spinal-cord")


def risk_of(
    role: Role,
    roi_name: str,
    near_maximum_gy: float | None,
    fractions: int | None,
    *,
    reason: str | None = None,
) -> Risk:
    """Return the region of a near-maximum dose.

    Parameters
    ----------
    role, roi_name : str
        The structure the dose was read on.
    near_maximum_gy : float or None
        D0.035cc in Gy.
    fractions : int or None
    reason : str, optional
        Why there can be no region, such as previous radiation.
    """
    table = _table()
    seen = tuple(Series(x["id"], x["words"], x["citation"], x["short"]) for x in table["incidence"])
    off = table["not_offered"]
    not_offered = f"{off['model']} is not offered: it {off['words']} ({off['citation']})"
    if reason is None and (near_maximum_gy is None or fractions is None):
        reason = "the near-maximum of the cord or the number of fractions is not known"
    if reason is not None or near_maximum_gy is None or fractions is None:
        return Risk(role, roi_name, near_maximum_gy, fractions, (), seen, not_offered, reason)
    regions = [_published(role, near_maximum_gy, fractions)]
    inside, outside = table["region"]["inside"], table["region"]["outside"]
    for x in table["threshold"]:
        value = eqd2_gy(near_maximum_gy, fractions, alpha_beta_gy=x["alpha_beta_gy"])
        regions.append(
            ModelRegion(
                x["id"], x["model"], value, x["eqd2_gy"], x["alpha_beta_gy"],
                inside if value <= x["eqd2_gy"] else outside, x["caveat"], x["citation"],
                x["short"],
            )
        )  # fmt: skip
    return Risk(role, roi_name, near_maximum_gy, fractions, tuple(regions), seen, not_offered)


def risk_on(
    structures: Sequence[StructureResult],
    cord: Structure,
    *,
    fractions: int | None,
    irradiated: bool,
) -> Risk:
    """Return the region of a plan: on the thecal sac where it is contoured, else on the cord.

    Parameters
    ----------
    structures : sequence of StructureResult
    cord : Structure
        One of them.
    fractions : int or None
    irradiated : bool
        Whether there were previous courses: the models are of patients without any.
    """
    sacs = [s for s in structures if s.structure.role == "thecal_sac" and s.dvh is not None]
    used = (sacs or [s for s in structures if s.structure is cord])[0]
    read = None if used.dvh is None else _NEAR_MAXIMUM.evaluate(used.dvh)
    reason = None
    if irradiated:
        reason = "previous radiation: the models are of patients without any"
    elif read is not None and read.bound == "lower":
        reason = f"only a part of {used.structure.roi_name} lies inside the dose grid"
    return risk_of(
        used.structure.role,
        used.structure.roi_name,
        None if read is None else read.value,
        fractions,
        reason=reason,
    )


def _published(role: Role, dose_gy: float, fractions: int) -> ModelRegion:
    """Compare with the published doses of 5 %, in EQD2; beyond five fractions by the smallest."""
    region = _table()["region"]
    rows = [
        c
        for c in load_protocol(region["protocol"]).constraints
        if c.verified == "primary" and c.fractions is not None
    ]
    same = [c for c in rows if c.fractions == fractions]
    threshold = min(eqd2_gy(c.limit, c.fractions or 1) for c in same or rows)
    value = eqd2_gy(dose_gy, fractions)
    caveat = region["caveat"]
    if role != rows[0].structure:
        caveat += (
            f" The model is of the {role_words(rows[0].structure)}; the dose was read on the "
            f"{role_words(role)}."
        )
    return ModelRegion(
        "sahgal13", region["model"], value, threshold, CORD_ALPHA_BETA_GY,
        region["inside"] if value <= threshold else region["outside"], caveat,
        f"{region['citation']}, doi:{region['doi']}", region["short"],
    )  # fmt: skip

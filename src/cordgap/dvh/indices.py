"""Plan indices: conformity, gradient, homogeneity, near-maximum, near-minimum, equivalent dose.

Formulas and sources: docs/indices.md.

References
----------
RTOG conformity index: Shaw et al. 1993, doi:10.1016/0360-3016(93)90548-A.
Paddick conformity index: Paddick 2000, doi:10.3171/jns.2000.93.supplement_3.0219.
Gradient index: Paddick and Lippitz 2006, doi:10.3171/sup.2006.105.7.194.
Near-maximum, near-minimum, homogeneity: ICRU Reports 83 (2010) and 91 (2017).
gEUD: Niemierko 1999, Med Phys 26:1100; Wu et al. 2002, doi:10.1016/S0360-3016(01)02585-8.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cordgap.case.grid import DoseGrid
from cordgap.case.naming import TARGET_ROLES, Role
from cordgap.dvh.curve import DVH
from cordgap.dvh.isodose import IsodoseVolume, isodose_volume
from cordgap.dvh.metrics import MetricValue, parse_metric
from cordgap.dvh.solid import Solid
from cordgap.dvh.structures import StructureResult
from cordgap.errors import OptionError

# ICRU 91: below this volume near-maximum and near-minimum speak of 35 mm3, else of 2 %.
SMALL_VOLUME_CC = 2.0
# Volume effect of the spinal cord, n = 0.05 (Burman et al. 1991, doi:10.1016/0360-3016(91)90172-Z),
# and a = 1/n. No other role has a default.
CORD_A = 20.0
CORD_A_SOURCE = "1/n with n = 0.05 for the spinal cord, Burman 1991"
_CORD_ROLES: tuple[Role, ...] = ("cord", "cord_prv", "thecal_sac", "canal")


@dataclass(frozen=True)
class Named:
    """A value, and the metric or the rule that it is."""

    name: str
    value: MetricValue


@dataclass(frozen=True)
class Gradient:
    """Indices of one choice of isodose volumes: of the whole grid, or connected to the target.

    Each is None where it cannot be given; ``reason`` says why.
    """

    prescription_cc: float
    half_cc: float
    ci_rtog: float | None
    ci_paddick: float | None
    selectivity: float | None
    gi: float | None
    r50: float | None
    reason: str | None


@dataclass(frozen=True)
class Conformity:
    """How well the prescription isodose fits a target.

    Parameters
    ----------
    target_cc : float
    covered_cc : float
        Of the target, with at least the prescribed dose.
    coverage : float
        Their ratio.
    prescription, half : IsodoseVolume
        At the prescribed dose and at half of it.
    total, connected : Gradient
        With the isodose volume of the whole grid, and with the parts that meet the target.
    """

    target_cc: float
    covered_cc: float
    coverage: float
    prescription: IsodoseVolume
    half: IsodoseVolume
    total: Gradient
    connected: Gradient


@dataclass(frozen=True)
class Indices:
    """Indices of one structure; ``conformity`` only for targets, else None with the reason."""

    near_max: Named
    near_min: Named
    homogeneity: MetricValue
    geud: MetricValue
    geud_a: float | None
    geud_a_source: str | None
    conformity: Conformity | None
    conformity_reason: str | None


def compute_indices(
    result: StructureResult,
    solid: Solid | None,
    dose: DoseGrid | None,
    *,
    rx_gy: float | None = None,
    geud_a: float | None = None,
) -> Indices:
    """Compute the indices of one structure.

    Parameters
    ----------
    result : StructureResult
        With its DVH.
    solid : Solid or None
        The solid of that DVH; conformity needs it.
    dose : DoseGrid or None
        The whole grid, from which the isodose volumes are taken.
    rx_gy : float, optional
        Prescribed dose; without it there is no conformity.
    geud_a : float, optional
        Parameter of the gEUD in place of the default for the cord.

    Raises
    ------
    OptionError
        If ``geud_a`` is 0 or not finite.
    """
    dvh, role = result.dvh, result.structure.role
    a, source = _parameter(role, geud_a)
    if dvh is None or not dvh.is_complete or dvh.covered_volume_cc <= 0:
        missing = result.reason or "no dose"
        nothing = MetricValue(None, reason=missing)
        none = Named("D2%[Gy]", nothing), Named("D98%[Gy]", nothing)
        return Indices(*none, nothing, nothing, a, source, None, missing)
    geud = MetricValue(None, reason="no parameter a is known for this structure; give --geud-a")
    if a is not None:
        geud = with_uncertainty(dvh, lambda x: equivalent_dose_gy(x, a))
    conformity: Conformity | None = None
    reason: str | None = None
    if role not in TARGET_ROLES:
        reason = "not a target"
    elif not rx_gy:
        reason = "no prescription is known"
    elif solid is None or dose is None:
        reason = "no dose"
    else:
        conformity = compute_conformity(dvh, solid, dose, rx_gy)
    return Indices(
        near_maximum(dvh),
        near_minimum(dvh),
        with_uncertainty(dvh, homogeneity_index),
        geud,
        a,
        source,
        conformity,
        reason,
    )


def _parameter(role: Role, given: float | None) -> tuple[float | None, str | None]:
    if given is not None:
        if given == 0 or not math.isfinite(given):
            raise OptionError(f"--geud-a is {given}, expected a finite number other than 0")
        return given, "option"
    return (CORD_A, CORD_A_SOURCE) if role in _CORD_ROLES else (None, None)


def near_maximum(dvh: DVH) -> Named:
    """D2% of ICRU 83; D0.035cc (35 mm3) of ICRU 91 where the structure is smaller than 2 cc."""
    small = dvh.total_volume_cc < SMALL_VOLUME_CC
    return _metric("D0.035cc[Gy]" if small else "D2%[Gy]", dvh)


def near_minimum(dvh: DVH) -> Named:
    """D98% of ICRU 83; the dose of all but the coldest 35 mm3 where it is smaller than 2 cc."""
    small = dvh.total_volume_cc < SMALL_VOLUME_CC
    return _metric("DC0.035cc[Gy]" if small else "D98%[Gy]", dvh)


def _metric(name: str, dvh: DVH) -> Named:
    return Named(name, parse_metric(name).evaluate(dvh))


def homogeneity_index(dvh: DVH) -> float:
    """(D2% - D98%) / D50% of ICRU 83: 0 is a uniform dose; nan where D50% is 0."""
    hot, cold, median = (
        dvh.dose_of_hottest_gy(share * dvh.total_volume_cc) for share in (0.02, 0.98, 0.5)
    )
    return (hot - cold) / median if median > 0 else float("nan")


def equivalent_dose_gy(dvh: DVH, a: float) -> float:
    """Generalised equivalent uniform dose, (mean of D**a)**(1/a), of the part inside the grid.

    Parameters
    ----------
    dvh : DVH
    a : float
        1 is the mean, large positive values tend to the maximum, large negative ones to the
        minimum; not 0.

    Notes
    -----
    The curve is linear between its edges; each step counts at its middle, within the least and the
    largest dose, which is exact to the square of a 20 000th of the range.
    """
    doses = np.clip(dvh.dose_gy, max(dvh.min_gy, 0.0), dvh.max_gy)
    middle = 0.5 * (doses[:-1] + doses[1:])
    weight = -np.diff(dvh.volume_cc)
    kept = weight > 0
    middle, weight = middle[kept], weight[kept] / weight[kept].sum()
    if a < 0 and (middle <= 0).any():
        return 0.0
    largest = float(middle.max() if a > 0 else middle.min())
    if largest <= 0:
        return 0.0
    # Relative to the dose that dominates, so that no power overflows.
    mean = float(weight @ (middle / largest) ** a)
    return largest * math.exp(math.log(mean) / a)


def with_uncertainty(dvh: DVH, read: Callable[[DVH], float]) -> MetricValue:
    """Read a number off a DVH, with ``plus_minus`` from its alternatives as metrics have it."""
    value = read(dvh)
    if not math.isfinite(value):
        return MetricValue(None, reason="the dose is zero")
    parts = [
        x.weight * abs(read(x.dvh) - read(x.reference or dvh))
        for x in dvh.alternatives
        if x.dvh.covered_volume_cc > 0
    ]
    return MetricValue(value, sum(parts) if parts else None)


def compute_conformity(dvh: DVH, target: Solid, dose: DoseGrid, rx_gy: float) -> Conformity:
    """Compare the prescription isodose with a target.

    Parameters
    ----------
    dvh : DVH
        Of the target, complete.
    target : Solid
    dose : DoseGrid
        The whole grid.
    rx_gy : float
        Prescribed dose.

    Returns
    -------
    Conformity
        Twice: with the isodose volume of the whole grid, and with the parts of it that hold a
        point of the target, so that other lesions do not count. Two lesions whose isodoses touch
        are one part: then neither is the conformity of one lesion.
    """
    full = isodose_volume(dose, rx_gy, target=target)
    half = isodose_volume(dose, 0.5 * rx_gy, target=target)
    volume, covered = dvh.total_volume_cc, dvh.volume_at_least_cc(rx_gy)
    total = _gradient(
        (full.total_cc, half.total_cc), (full.is_cut_off, half.is_cut_off), volume, covered
    )
    connected = _gradient(
        (full.connected_cc or 0.0, half.connected_cc or 0.0),
        (full.connected_is_cut_off, half.connected_is_cut_off),
        volume,
        covered,
    )
    return Conformity(volume, covered, covered / volume, full, half, total, connected)


def _gradient(
    isodose_cc: tuple[float, float], cut_off: tuple[bool, bool], target_cc: float, covered_cc: float
) -> Gradient:
    full, half = isodose_cc
    if full <= 0:
        reason = "the prescription isodose has no volume here"
        return Gradient(full, half, None, None, None, None, None, reason)
    if cut_off[0]:
        reason = "the prescription isodose reaches the edge of the dose grid"
        return Gradient(full, half, None, None, None, None, None, reason)
    rtog, paddick = full / target_cc, covered_cc**2 / (target_cc * full)
    if cut_off[1]:
        reason = "the isodose of half the prescription reaches the edge of the dose grid"
        return Gradient(full, half, rtog, paddick, covered_cc / full, None, None, reason)
    return Gradient(
        full, half, rtog, paddick, covered_cc / full, half / full, half / target_cc, None
    )

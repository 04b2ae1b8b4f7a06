"""The courses that a structure got, each by itself and added point by point as EQD2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cordgap.case.naming import Role
from cordgap.case.prior import PriorCourse
from cordgap.dvh.curve import COVERED_FRACTION, DVH
from cordgap.dvh.samples import Samples, histogram
from cordgap.limits.radiobiology import bed_gy, eqd2_gy
from cordgap.limits.rules import ReirradiationRules

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Course:
    """One course on the structure: near-maximum and maximum in Gy, and as EQD2 and BED.

    ``covered_fraction`` is the share of the structure inside the dose grid: below 1 the doses are
    lower bounds.
    """

    source: str
    fractions: int
    near_maximum_gy: float
    max_gy: float
    eqd2_gy: float
    max_eqd2_gy: float
    bed_gy: float
    plus_minus_eqd2_gy: float | None = None
    covered_fraction: float = 1.0
    interval_months: float | None = None
    interval_source: str | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the doses are those of the whole structure."""
        return self.covered_fraction >= 1 - COVERED_FRACTION


@dataclass(frozen=True, eq=False)
class OnStructure:
    """The courses on one structure: point by point and each by itself."""

    role: Role
    roi_name: str
    courses: tuple[Course, ...]
    new: Course | None
    sum_dvh: DVH | None
    samples: Samples
    prior_eqd2_gy: FloatArray
    new_eqd2_gy: FloatArray | None


def course_on(
    source: str,
    fractions: int,
    dvh: DVH,
    rules: ReirradiationRules,
    *,
    prior: PriorCourse | None = None,
) -> Course:
    """Return one course on a structure, from the histogram of its dose."""
    ratio = rules.alpha_beta_gy
    read = rules.metric.evaluate(dvh)
    has_dose = dvh.covered_volume_cc > 0
    near = read.value if read.value is not None else (dvh.max_gy if has_dose else 0.0)
    near, top = max(near, 0.0), max(dvh.max_gy, 0.0) if has_dose else 0.0
    spread = None
    if read.plus_minus is not None:
        spread = eqd2_gy(near + read.plus_minus, fractions, alpha_beta_gy=ratio) - eqd2_gy(
            near, fractions, alpha_beta_gy=ratio
        )
    return Course(
        source=source,
        fractions=fractions,
        near_maximum_gy=near,
        max_gy=top,
        eqd2_gy=eqd2_gy(near, fractions, alpha_beta_gy=ratio),
        max_eqd2_gy=eqd2_gy(top, fractions, alpha_beta_gy=ratio),
        bed_gy=bed_gy(near, fractions, alpha_beta_gy=rules.nieder.alpha_beta_gy),
        plus_minus_eqd2_gy=spread,
        covered_fraction=dvh.covered_fraction,
        interval_months=prior.interval_months if prior else None,
        interval_source=prior.interval_source if prior else None,
    )


def sum_on(
    structure: tuple[Role, str],
    samples: Samples,
    priors: Sequence[tuple[PriorCourse, FloatArray]],
    new: tuple[Course, FloatArray] | None,
    rules: ReirradiationRules,
) -> OnStructure:
    """Add the courses on one structure, point by point.

    Parameters
    ----------
    structure : (role, name)
    samples : Samples
    priors : sequence of (PriorCourse, ndarray)
        With the dose at each point in Gy, ``nan`` where it is not known.
    new : (Course, ndarray), optional
    rules : ReirradiationRules
    """
    ratio = rules.alpha_beta_gy
    total = np.zeros(samples.volume_mm3.size)
    courses = []
    for prior, gy in priors:
        total = total + _eqd2_or_nan(gy, prior.fractions, ratio)
        dvh = histogram(gy, samples)
        courses.append(course_on(prior.source, prior.fractions, dvh, rules, prior=prior))
    fresh = None if new is None else _eqd2_or_nan(new[1], new[0].fractions, ratio)
    both = None if fresh is None else histogram(total + fresh, samples)
    return OnStructure(
        structure[0], structure[1], tuple(courses), new[0] if new else None, both, samples,
        total, fresh,
    )  # fmt: skip


def _eqd2_or_nan(gy: FloatArray, fractions: int, ratio: float) -> FloatArray:
    found = np.full(gy.size, np.nan)
    known = np.isfinite(gy)
    found[known] = eqd2_gy(np.maximum(gy[known], 0.0), fractions, alpha_beta_gy=ratio)
    return found


def near_maximum(dvh: DVH, rules: ReirradiationRules) -> float:
    """Return D0.035cc of a histogram, or its maximum where the structure is smaller."""
    read = rules.metric.evaluate(dvh)
    return read.value if read.value is not None else dvh.max_gy

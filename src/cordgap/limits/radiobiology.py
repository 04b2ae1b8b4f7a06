"""Doses in other numbers of fractions with the same effect: the linear-quadratic model and LQ-L.

    BED = D (1 + d / (alpha/beta)),   EQD2 = D (d + alpha/beta) / (2 + alpha/beta),   d = D / n

Pure arithmetic: a number in gives a number, an array gives an array. alpha/beta is a parameter of
every function; docs/protocols.md says where it is used and where the model ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from cordgap.errors import OptionError

FloatArray = NDArray[np.float64]

# The value that the series behind the spinal cord limits use (Sahgal 2012, HyTEC 2021: "Gy2/2").
CORD_ALPHA_BETA_GY = 2.0
_REFERENCE_GY = 2.0


@dataclass(frozen=True)
class LinearTail:
    """The linear-quadratic-linear model: above a dose per fraction the effect grows linearly.

    Parameters
    ----------
    transition_gy : float
        Dose per fraction above which it does, in Gy.
    gamma_alpha : float
        Slope there, over alpha: effect per Gy. The slope of LQ at the transition,
        ``1 + 2 transition / (alpha/beta)``, makes the curve smooth.

    References
    ----------
    Astrahan M. Med Phys 2008;35:4161.
    """

    transition_gy: float
    gamma_alpha: float

    def __post_init__(self) -> None:
        for name, value in (("transition", self.transition_gy), ("gamma/alpha", self.gamma_alpha)):
            if not (value > 0 and np.isfinite(value)):
                raise OptionError(f"LQ-L {name} of {value}: expected a number above 0")


@overload
def bed_gy(
    dose_gy: float, fractions: int, *, alpha_beta_gy: float = ..., tail: LinearTail | None = ...
) -> float: ...
@overload
def bed_gy(
    dose_gy: FloatArray,
    fractions: int,
    *,
    alpha_beta_gy: float = ...,
    tail: LinearTail | None = ...,
) -> FloatArray: ...
def bed_gy(
    dose_gy: float | FloatArray,
    fractions: int,
    *,
    alpha_beta_gy: float = CORD_ALPHA_BETA_GY,
    tail: LinearTail | None = None,
) -> float | FloatArray:
    """Return the biologically effective dose of a course.

    Parameters
    ----------
    dose_gy : float or ndarray
        Total dose of the course in Gy, in equal fractions.
    fractions : int
    alpha_beta_gy : float
        Of the tissue, in Gy.
    tail : LinearTail, optional
        LQ-L in place of LQ.

    Returns
    -------
    float or ndarray
        In Gy; grows with the dose and falls with the number of fractions.

    Raises
    ------
    OptionError
        If a dose is negative, or the number of fractions or alpha/beta is not above 0.

    References
    ----------
    Brenner DJ. Semin Radiat Oncol 2008 (PMC2750078): reasonable up to about 18 Gy a fraction.

    Examples
    --------
    >>> bed_gy(17.0, 2)
    89.25
    >>> bed_gy(np.array([17.0, 34.0]), 2).tolist()
    [89.25, 323.0]
    """
    _check(dose_gy, fractions, alpha_beta_gy)
    each = dose_gy / fractions
    if tail is None:
        return dose_gy * (1.0 + each / alpha_beta_gy)
    curved = np.minimum(each, tail.transition_gy)
    effect = curved * (1.0 + curved / alpha_beta_gy) + tail.gamma_alpha * (each - curved)
    return _like(dose_gy, fractions * effect)


@overload
def eqd2_gy(
    dose_gy: float, fractions: int, *, alpha_beta_gy: float = ..., tail: LinearTail | None = ...
) -> float: ...
@overload
def eqd2_gy(
    dose_gy: FloatArray,
    fractions: int,
    *,
    alpha_beta_gy: float = ...,
    tail: LinearTail | None = ...,
) -> FloatArray: ...
def eqd2_gy(
    dose_gy: float | FloatArray,
    fractions: int,
    *,
    alpha_beta_gy: float = CORD_ALPHA_BETA_GY,
    tail: LinearTail | None = None,
) -> float | FloatArray:
    """Return the dose in fractions of 2 Gy that has the effect of a course.

    Parameters, errors and source are those of :func:`bed_gy`.

    Examples
    --------
    >>> [round(eqd2_gy(d, n), 1) for d, n in ((12.4, 1), (17.0, 2), (20.3, 3), (25.3, 5))]
    [44.6, 44.6, 44.5, 44.7]
    >>> round(eqd2_gy(25.3, 5, tail=LinearTail(4.0, 5.0)), 2)
    43.25
    """
    bed = bed_gy(dose_gy, fractions, alpha_beta_gy=alpha_beta_gy, tail=tail)
    return bed / _bed_of_reference(alpha_beta_gy, tail)


@overload
def dose_of_eqd2_gy(
    eqd2: float, fractions: int, *, alpha_beta_gy: float = ..., tail: LinearTail | None = ...
) -> float: ...
@overload
def dose_of_eqd2_gy(
    eqd2: FloatArray, fractions: int, *, alpha_beta_gy: float = ..., tail: LinearTail | None = ...
) -> FloatArray: ...
def dose_of_eqd2_gy(
    eqd2: float | FloatArray,
    fractions: int,
    *,
    alpha_beta_gy: float = CORD_ALPHA_BETA_GY,
    tail: LinearTail | None = None,
) -> float | FloatArray:
    """Return the total dose in a number of fractions that has a given EQD2: the inverse.

    Examples
    --------
    >>> round(dose_of_eqd2_gy(25.0, 2), 2)
    12.28
    """
    _check(eqd2, fractions, alpha_beta_gy)
    bed = eqd2 * _bed_of_reference(alpha_beta_gy, tail)
    each = bed / fractions
    # Positive root of d + d^2 / (alpha/beta) = bed / n, written so that no digits cancel.
    half = 0.5 * alpha_beta_gy
    dose = 2.0 * half * each / (half + np.sqrt(half * half + 2.0 * half * each))
    if tail is not None:
        top = tail.transition_gy * (1.0 + tail.transition_gy / alpha_beta_gy)
        beyond = tail.transition_gy + (each - top) / tail.gamma_alpha
        dose = np.where(each > top, beyond, dose)
    return _like(eqd2, fractions * dose)


@overload
def isoeffective_dose_gy(
    dose_gy: float,
    fractions: int,
    new_fractions: int,
    *,
    alpha_beta_gy: float = ...,
    tail: LinearTail | None = ...,
) -> float: ...
@overload
def isoeffective_dose_gy(
    dose_gy: FloatArray,
    fractions: int,
    new_fractions: int,
    *,
    alpha_beta_gy: float = ...,
    tail: LinearTail | None = ...,
) -> FloatArray: ...
def isoeffective_dose_gy(
    dose_gy: float | FloatArray,
    fractions: int,
    new_fractions: int,
    *,
    alpha_beta_gy: float = CORD_ALPHA_BETA_GY,
    tail: LinearTail | None = None,
) -> float | FloatArray:
    """Return the total dose in another number of fractions that has the same effect.

    Parameters, errors and source are those of :func:`bed_gy`.

    Examples
    --------
    >>> round(isoeffective_dose_gy(17.0, 2, 4), 2)
    23.02
    """
    effect = eqd2_gy(dose_gy, fractions, alpha_beta_gy=alpha_beta_gy, tail=tail)
    return dose_of_eqd2_gy(effect, new_fractions, alpha_beta_gy=alpha_beta_gy, tail=tail)


def _bed_of_reference(alpha_beta_gy: float, tail: LinearTail | None) -> float:
    """BED of a Gy given in fractions of 2 Gy."""
    return bed_gy(_REFERENCE_GY, 1, alpha_beta_gy=alpha_beta_gy, tail=tail) / _REFERENCE_GY


def _like(given: float | FloatArray, value: float | FloatArray) -> float | FloatArray:
    """Return an array for an array, a Python number for a number."""
    return value if isinstance(given, np.ndarray) else float(value)


def _check(dose_gy: float | FloatArray, fractions: int, alpha_beta_gy: float) -> None:
    # Written so that NaN is refused.
    if not (np.all(np.asarray(dose_gy) >= 0) and np.all(np.isfinite(dose_gy))):
        found = "this array" if isinstance(dose_gy, np.ndarray) else f"{dose_gy} Gy"
        raise OptionError(f"a dose of {found} has no biological effect; expected 0 or more")
    if not fractions > 0:
        raise OptionError(f"{fractions} fractions: expected a whole number above 0")
    if not (alpha_beta_gy > 0 and np.isfinite(alpha_beta_gy)):
        raise OptionError(f"alpha/beta of {alpha_beta_gy} Gy: expected a number above 0")

"""Doses in other numbers of fractions with the same effect, by the linear-quadratic model.

    BED = D (1 + d / (alpha/beta)),   EQD2 = D (d + alpha/beta) / (2 + alpha/beta),   d = D / n

Pure arithmetic on numbers and arrays; docs/protocols.md says where it is used and where it ends.
"""

from __future__ import annotations

import math

from cordgap.errors import OptionError

# The value that the series behind the spinal cord limits use (Sahgal 2012, HyTEC 2021: "Gy2/2").
CORD_ALPHA_BETA_GY = 2.0
_REFERENCE_GY = 2.0


def bed_gy(dose_gy: float, fractions: int, *, alpha_beta_gy: float = CORD_ALPHA_BETA_GY) -> float:
    """Return the biologically effective dose of a course.

    Parameters
    ----------
    dose_gy : float
        Total dose of the course in Gy, in equal fractions.
    fractions : int
    alpha_beta_gy : float
        Of the tissue, in Gy.

    Returns
    -------
    float
        In Gy; grows with the dose and falls with the number of fractions.

    Raises
    ------
    OptionError
        If the dose is negative, or the number of fractions or alpha/beta is not above 0.

    References
    ----------
    Brenner DJ. Semin Radiat Oncol 2008 (PMC2750078): reasonable up to about 18 Gy a fraction.

    Examples
    --------
    >>> bed_gy(17.0, 2)
    89.25
    """
    _check(dose_gy, fractions, alpha_beta_gy)
    return dose_gy * (1.0 + dose_gy / fractions / alpha_beta_gy)


def eqd2_gy(dose_gy: float, fractions: int, *, alpha_beta_gy: float = CORD_ALPHA_BETA_GY) -> float:
    """Return the dose in fractions of 2 Gy that has the effect of a course.

    Parameters, errors and source are those of :func:`bed_gy`.

    Examples
    --------
    >>> [round(eqd2_gy(d, n), 1) for d, n in ((12.4, 1), (17.0, 2), (20.3, 3), (25.3, 5))]
    [44.6, 44.6, 44.5, 44.7]
    """
    bed = bed_gy(dose_gy, fractions, alpha_beta_gy=alpha_beta_gy)
    return bed / (1.0 + _REFERENCE_GY / alpha_beta_gy)


def isoeffective_dose_gy(
    dose_gy: float,
    fractions: int,
    new_fractions: int,
    *,
    alpha_beta_gy: float = CORD_ALPHA_BETA_GY,
) -> float:
    """Return the total dose in another number of fractions that has the same effect.

    The positive root of ``D (1 + D / (n alpha/beta)) = BED``. Parameters, errors and source are
    those of :func:`bed_gy`.

    Examples
    --------
    >>> round(isoeffective_dose_gy(17.0, 2, 4), 2)
    23.02
    """
    _check(0.0, new_fractions, alpha_beta_gy)
    bed = bed_gy(dose_gy, fractions, alpha_beta_gy=alpha_beta_gy)
    half = 0.5 * new_fractions * alpha_beta_gy
    # sqrt(h^2 + 2 h BED) - h, written so that no digits cancel.
    return 2.0 * half * bed / (half + math.sqrt(half * half + 2.0 * half * bed))


def _check(dose_gy: float, fractions: int, alpha_beta_gy: float) -> None:
    # Written so that NaN is refused.
    if not (dose_gy >= 0 and math.isfinite(dose_gy)):
        raise OptionError(f"a dose of {dose_gy} Gy has no biological effect; expected 0 or more")
    if not fractions > 0:
        raise OptionError(f"{fractions} fractions: expected a whole number above 0")
    if not (alpha_beta_gy > 0 and math.isfinite(alpha_beta_gy)):
        raise OptionError(f"alpha/beta of {alpha_beta_gy} Gy: expected a number above 0")

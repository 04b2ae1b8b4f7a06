"""What a self-test found, as values: rows with their limits, versions, a verdict.

The limits are those of the validation (docs/validation.md); ``benchmarks/accuracy.py`` and the
tests hold the engine against the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from cordgap._version import __version__

Part = Literal["accuracy", "orientation", "separation", "round trip", "tables"]
PARTS: tuple[Part, ...] = ("accuracy", "orientation", "separation", "round trip", "tables")

# Volume of a cord: docs/validation.md, row "cords".
VOLUME_PERCENT = 0.05
# Dose of a cord, as docs/validation.md says it: within 0.03 mm or 0.5 %, and within 0.1 mm.
NEAR_MM, NEAR_PERCENT, FAR_MM = 0.03, 0.5, 0.1
# Off by more than this of the local value counts as wrong (Nelms 2015); with planes every 0.2 mm
# not one value may be.
LOCAL_PERCENT = 3.0
# Small spheres: diameter from which it holds, |mean| and worst of the volume, in %.
SPHERE_LIMITS = ((5.0, 0.8, 6.0), (10.0, 0.5, 3.0))
# Distance between two surfaces, sampled every 0.25 mm (docs/separation.md).
GAP_MM = 0.05
# Volume closer than s to a cylinder: cells of 0.5 mm are taken or left as a whole.
RESECTION_PERCENT = 1.0
# Compiled loops and numpy do the same sums in another order.
ENGINES_SHARE = 1e-6
# Contours are written as decimal strings with five places.
CONTOUR_MM = 1e-5
# CT numbers are stored as whole HU.
HU = 0.5
# Dose at a point: trilinear in a linear field is exact; what is left is the rounding of 32 bits and
# of positions written to 1e-5 mm.
POINT_GY = 1e-4


@dataclass(frozen=True)
class Limit:
    """A limit that rows are held against, in words, and where it comes from."""

    id: str
    words: str
    source: str


_VALIDATION = "docs/validation.md, Accuracy"
LIMITS = (
    Limit("cord-volume", f"within {VOLUME_PERCENT:g} % of the polygons' body", _VALIDATION),
    Limit(
        "cord-dose",
        f"within {NEAR_MM:g} mm or {NEAR_PERCENT:g} %, and within {FAR_MM:g} mm (1 Gy/mm)",
        _VALIDATION,
    ),
    Limit(
        "cord-near-maximum",
        f"D0.035cc within {NEAR_MM:g} mm in a linear dose (1 Gy/mm)",
        "CONTRIBUTING.md, Tolerances; tests/oracle",
    ),
    Limit(
        "closing-body",
        f"within {LOCAL_PERCENT:g} % of the local value, planes every 0.2 mm",
        f"Nelms 2015; {_VALIDATION}",
    ),
    Limit(
        "small-sphere",
        "volume, worst of the placements: "
        + ", ".join(f"{worst:g} % from {least:g} mm" for least, _, worst in SPHERE_LIMITS),
        _VALIDATION,
    ),
    Limit(
        "small-sphere-mean",
        "volume, mean of the placements: "
        + ", ".join(f"{mean:g} % from {least:g} mm" for least, mean, _ in SPHERE_LIMITS),
        _VALIDATION,
    ),
    Limit("gap", f"within {GAP_MM:g} mm", "docs/separation.md, Definitions"),
    Limit(
        "resection",
        f"within {RESECTION_PERCENT:g} % of the closed form, layers of 1.3 mm and more",
        "tests/separation/test_resect.py: cells of 0.5 mm",
    ),
    Limit("engines", f"same to {ENGINES_SHARE:g} of the value", "docs/dependencies.md, numba"),
    Limit("contour", f"within {CONTOUR_MM:g} mm", "decimal strings with five places"),
    Limit("point-dose", f"within {POINT_GY:g} Gy", "32-bit samples, positions to 1e-5 mm"),
    Limit("point-hu", f"within {HU:g} HU", "CT numbers are whole HU"),
    Limit("dose-sample", "within half a step of the stored samples", "rounding to 16 or 32 bits"),
    Limit("equal", "the same", "what was written"),
    Limit("checksum", "the recorded SHA-256", "limits/tables/SHA256SUMS"),
)


@dataclass(frozen=True)
class Row:
    """One value held against what is known.

    ``error`` and ``limit`` share ``unit`` (that of the error, which may differ from the unit of the
    values: a dose error in mm); both are None where words are compared. ``reason`` says why there
    is no value.
    """

    part: Part
    subject: str
    quantity: str
    limit_id: str
    passed: bool
    expected: float | str | None = None
    found: float | str | None = None
    error: float | None = None
    limit: float | None = None
    unit: str | None = None
    position: str | None = None
    engine: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Selftest:
    """Everything that a self-test found out about an installation."""

    rows: tuple[Row, ...]
    versions: dict[str, str | None]
    platform: dict[str, str]
    engines: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: float
    cordgap_version: str = field(default=__version__)

    @property
    def failed(self) -> tuple[Row, ...]:
        """Rows that missed their limit."""
        return tuple(row for row in self.rows if not row.passed)

    @property
    def passed(self) -> bool:
        """Whether every part has rows and every row keeps its limit."""
        return not self.failed and {row.part for row in self.rows} == set(PARTS)

    @property
    def exit_code(self) -> int:
        """0 passed, 1 a limit was missed."""
        return 0 if self.passed else 1


@dataclass(frozen=True)
class Group:
    """Rows of one part, subject and limit, as one line of a table."""

    part: Part
    subject: str
    limit_id: str
    count: int
    failed: int
    worst: Row


def groups(rows: Iterable[Row], *, by_subject: bool = True) -> tuple[Group, ...]:
    """Gather rows by part, subject and limit; ``worst`` comes nearest to its limit, or beyond.

    The subject of a group is what stands before the comma of its rows' subjects, or how many there
    are where ``by_subject`` is false.
    """
    found: dict[tuple[Part, str, str], list[Row]] = {}
    for row in sorted(rows, key=lambda row: PARTS.index(row.part)):
        subject = row.subject.partition(",")[0] if by_subject else ""
        found.setdefault((row.part, subject, row.limit_id), []).append(row)
    return tuple(
        Group(
            part, subject or _cases(some), limit_id, len(some), sum(not r.passed for r in some),
            max(some, key=_badness),
        )
        for (part, subject, limit_id), some in found.items()
    )  # fmt: skip


def _cases(rows: Iterable[Row]) -> str:
    count = len({(row.subject, row.position) for row in rows})
    return f"{count} case{'s' if count > 1 else ''}"


def _badness(row: Row) -> tuple[bool, float]:
    if row.error is None or row.limit is None:
        return not row.passed, 0.0
    share = abs(row.error) / row.limit if row.limit > 0 else abs(row.error)
    return not row.passed, math.inf if math.isnan(share) else share


def cord_dose_limit_mm(truth_gy: float, gradient_gy_per_mm: float = 1.0) -> float:
    """Return within how many mm a dose of a cord must be: the limit ``cord-dose`` as one number."""
    percent_mm = NEAR_PERCENT / 100 * truth_gy / gradient_gy_per_mm
    return min(FAR_MM, max(NEAR_MM, percent_mm))

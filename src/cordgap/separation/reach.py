"""What follows where surgery cannot clear all sides: tumour that stays bounds the answer.

Only the sextants within reach recede: the target left is T(s) there and whole elsewhere. Trim reads
the coverage of exactly that. The other estimators speak of the cord dose, and the tumour that stays
keeps its dose at its own distance: they hold up to that distance and not beyond.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cordgap.errors import Finding
from cordgap.separation.anatomy import Anatomy
from cordgap.separation.estimators import Estimate
from cordgap.separation.gap import DIRECTION_STEP_DEG, directions_of, sextant_index
from cordgap.separation.result import SEXTANTS, CoverageGoal, InTheWay

# Two distances between the same surfaces agree to this (bisection of trim, surface samples).
SAME_MM = 0.02


@dataclass(frozen=True, eq=False)
class Reach:
    """An anatomy of which surgery can clear some sextants, all where ``names`` is empty.

    ``staying`` is the target in the other sextants with its distance to the cord, nearest first;
    what lies beyond the separations that are considered is left out.
    """

    whole: Anatomy
    cleared: Anatomy
    names: tuple[str, ...]
    staying: tuple[InTheWay, ...]

    @property
    def bound_mm(self) -> float:
        """Distance to the cord of what cannot be cleared; infinite where nothing stays."""
        return self.staying[0].gap_mm if self.staying else float("inf")

    def estimate(self, ask: Callable[[Anatomy], Estimate]) -> tuple[Estimate, tuple[InTheWay, ...]]:
        """Ask for a separation within reach; also what stands in the way where there is none."""
        cleared = ask(self.cleared)
        if not self.names:
            return cleared, ()
        return self.bound(cleared, lambda: ask(self.whole))

    def bound(
        self, cleared: Estimate, whole: Callable[[], Estimate]
    ) -> tuple[Estimate, tuple[InTheWay, ...]]:
        """Hold an estimate for the sextants within reach against what stays in the others.

        ``whole`` is asked only where clearing these alone is not enough.
        """
        if cleared.required_mm is not None:
            if cleared.method == "trim":
                return cleared, ()
            everywhere = cleared
        else:
            everywhere = whole()
        if everywhere.required_mm is None or everywhere.interval_mm is None:
            return everywhere, ()
        needed, (low, high) = everywhere.required_mm, everywhere.interval_mm
        blocking = tuple(x for x in self.staying if x.gap_mm < needed - SAME_MM)
        if not blocking:
            return cleared, ()
        where = ", ".join(f"{x.gap_mm:.1f} mm {x.name}" for x in blocking)
        if cleared.method == "trim":
            why = "with that left, this dose misses its coverage goal at any separation"
        else:
            why = "the cord dose is bound by what stays"
        reason = (
            f"{needed:.1f} mm ({low:.1f}–{high:.1f}) would be needed on all sides, and where it "
            f"cannot be cleared the target stays nearer to the cord ({where}): {why}"
        )
        return Estimate(cleared.method, None, None, reason, reachable=False), blocking

    def bound_row(self, cleared: CoverageGoal, whole: CoverageGoal) -> CoverageGoal:
        """Hold the row of a coverage goal against what stays."""
        if cleared.method is None and whole.method is None:
            return cleared
        method = cleared.method or whole.method
        assert method is not None
        estimate, blocking = self.bound(
            Estimate(method, cleared.required_separation_mm, cleared.interval_mm, cleared.reason),
            lambda: Estimate(method, whole.required_separation_mm, whole.interval_mm, whole.reason),
        )
        if not blocking:
            return cleared
        return replace(
            cleared, required_separation_mm=None, interval_mm=None, method=None,
            reason=estimate.reason,
        )  # fmt: skip

    def findings(self, estimate: Estimate) -> list[Finding]:
        """What to say about an estimate that only some sextants are cleared for."""
        if not self.names or estimate.required_mm is None or estimate.interval_mm is None:
            return []
        found = [
            Finding(
                "cleared-in-part",
                f"only {sextant_words(self.names)} cleared: the estimate was held against "
                "re-planned cases that were cleared on all sides",
            )
        ]
        upper = estimate.interval_mm[1]
        near = [x for x in self.staying if x.gap_mm < upper - SAME_MM]
        if near and estimate.method != "trim":
            where = ", ".join(f"{x.gap_mm:.1f} mm {x.name}" for x in near)
            found.append(
                Finding(
                    "interval-beyond-reach",
                    f"the interval reaches {upper:.1f} mm, and where it cannot be cleared the "
                    f"target stays nearer to the cord ({where}): the separation may turn out not "
                    "to be reachable",
                )
            )
        return found


def clear_only(anatomy: Anatomy, names: Sequence[str], max_mm: float) -> Reach:
    """Let only the named sextants recede; all where none are named."""
    names = tuple(name for name in SEXTANTS if name in names)
    if not names or len(names) == len(SEXTANTS):
        return Reach(anatomy, anatomy, (), ())
    cleared = replace(anatomy, cells=anatomy.cells.clear_only(names))
    points = anatomy.target_surface.points_mm
    towards = directions_of(points, anatomy.map)
    which = sextant_index(towards)
    can = np.array([name in names for name in SEXTANTS])
    # A cell of the map on the border of two sextants belongs to both: what lies within half a cell
    # of a sextant that is cleared goes with it.
    gone = np.zeros(len(points), dtype=bool)
    for turn in (-0.5, 0.0, 0.5):
        gone |= can[sextant_index(towards + turn * DIRECTION_STEP_DEG)]
    distance = anatomy.cord_surface.distance_mm(points[~gone], limit_mm=max_mm + 1.0)
    staying = []
    for i, name in enumerate(SEXTANTS):
        nearest = distance[which[~gone] == i]
        if nearest.size and np.isfinite(nearest.min()):
            staying.append(InTheWay(name, max(float(nearest.min()), 0.0)))
    return Reach(anatomy, cleared, names, tuple(sorted(staying, key=lambda x: x.gap_mm)))


def sextant_words(names: Sequence[str]) -> str:
    """Return names of sextants as people say them."""
    listed = ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]
    return f"{listed} sextant{'s' if len(names) > 1 else ''}"

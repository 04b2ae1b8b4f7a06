"""What each preset gives beside our own rules, and which rule makes the difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cordgap.case.case import Case
from cordgap.case.structure import Structure
from cordgap.dvh.metrics import Metric
from cordgap.dvh.presets import PRESETS, Preset, Rules
from cordgap.dvh.structures import StructureResult

VOLUME = "volume[cc]"
# A change smaller than this share of a value is round-off of the quadrature, not a rule.
_NO_CHANGE_FRACTION = 1e-4
_BETWEEN = {
    "shape": "the shape changes smoothly from plane to plane",
    "slab": "every plane is extruded half-way to the next",
}
_ENDS = {
    "half-slice": "half a slice beyond the last plane",
    "none": "nothing beyond the last plane",
    "flat": "half a slice beyond the last plane, flat at the end",
    "rounded": "a rounded cap beyond the last plane",
}


@dataclass(frozen=True)
class Step:
    """One rule that differs, and what it changes in the row where the preset differs most."""

    rule: str
    change: float | None


@dataclass(frozen=True)
class Row:
    """One metric of one structure: ours, and the value of each preset in the order of presets."""

    roi_number: int
    roi_name: str
    metric: str
    ours: float | None
    reason: str | None
    values: tuple[float | None, ...]

    @property
    def unit(self) -> str:
        """Unit of all values."""
        return self.metric[self.metric.rindex("[") + 1 : -1]

    def difference(self, index: int) -> float | None:
        """Value of a preset minus ours; None where either is missing."""
        value = self.values[index]
        return None if value is None or self.ours is None else value - self.ours

    def difference_percent(self, index: int) -> float | None:
        """Difference in % of ours; None where either is missing or ours is 0."""
        difference = self.difference(index)
        return 100 * difference / self.ours if difference is not None and self.ours else None


@dataclass(frozen=True)
class Explanation:
    """Why a preset gives something else: the rules that differ, in one sentence."""

    preset: Preset
    text: str
    steps: tuple[Step, ...]
    largest: Row | None


@dataclass(frozen=True, eq=False)
class Comparison:
    """All rows, and one explanation a preset."""

    rules: Rules
    ours: tuple[StructureResult, ...]
    rows: tuple[Row, ...]
    explanations: tuple[Explanation, ...]


def compare_presets(
    case: Case,
    ours: Sequence[StructureResult],
    rules: Rules,
    *,
    metrics: Sequence[Metric],
    rx_gy: float | None = None,
) -> Comparison:
    """Compute every preset beside our results.

    Parameters
    ----------
    case : Case
    ours : sequence of StructureResult
        What was computed under ``rules``.
    rules : Rules
        The rules that differences are taken to.
    metrics : sequence of Metric
        As in ``ours``.
    rx_gy : float, optional
        Prescribed dose, for metrics in % of it.

    Notes
    -----
    Presets with the same rules are computed once. Where a preset differs in several rules, they
    are changed one after the other (between, ends, limit of the caps, dose of the caps) in the
    structure where it differs most, so that each rule gets its share.
    """
    structures = [r.structure for r in ours]
    known: dict[tuple[int, Rules], dict[str, float | None]] = {}
    for index, result in enumerate(ours):
        known[index, rules] = _values(result)

    def values(index: int, under: Rules) -> dict[str, float | None]:
        if (index, under) not in known:
            result = _compute(case, structures[index], under, metrics, rx_gy)
            known[index, under] = _values(result)
        return known[index, under]

    rows, where = [], []
    for index, result in enumerate(ours):
        for metric, value in known[index, rules].items():
            reason = result.reason
            if metric != VOLUME and result.metrics[metric].reason:
                reason = result.metrics[metric].reason
            s = result.structure
            presets = tuple(values(index, p.rules)[metric] for p in PRESETS)
            gone = reason if value is None else None
            rows.append(Row(s.roi_number, s.roi_name, metric, value, gone, presets))
            where.append(index)
    explanations = []
    for i, preset in enumerate(PRESETS):
        order = sorted(range(len(rows)), key=lambda k, i=i: -abs(_share(rows[k], i)))  # type: ignore[misc]
        top = order[0] if order and abs(_share(rows[order[0]], i)) > _NO_CHANGE_FRACTION else None
        steps, before = [], rules
        for text, after in _path(rules, preset.rules):
            change = None
            if top is not None:
                a, b = (values(where[top], r)[rows[top].metric] for r in (before, after))
                change = None if a is None or b is None else b - a
            steps.append(Step(text, change))
            before = after
        largest = None if top is None else rows[top]
        text = _explain(preset, tuple(steps), largest, i)
        explanations.append(Explanation(preset, text, tuple(steps), largest))
    return Comparison(rules, tuple(ours), tuple(rows), tuple(explanations))


def _compute(
    case: Case,
    structure: Structure,
    rules: Rules,
    metrics: Sequence[Metric],
    rx_gy: float | None,
) -> StructureResult:
    return rules.compute(case.dose, structure, metrics=metrics, rx_gy=rx_gy, uncertainty=False)


def _values(result: StructureResult) -> dict[str, float | None]:
    return {VOLUME: result.volume_cc} | {name: m.value for name, m in result.metrics.items()}


def _share(row: Row, index: int) -> float:
    return (row.difference_percent(index) or 0.0) / 100


def _path(ours: Rules, theirs: Rules) -> list[tuple[str, Rules]]:
    """Rules that differ, in words, and the rules after each was changed."""
    path = []
    now = ours
    if now.between != theirs.between:
        now = replace(now, between=theirs.between)
        path.append((f"between: {_BETWEEN[theirs.between]} ({theirs.between})", now))
    if now.ends != theirs.ends:
        now = replace(now, ends=theirs.ends)
        path.append((f"ends: {_ENDS[theirs.ends]} ({theirs.ends})", now))
    if now.max_cap_mm != theirs.max_cap_mm:
        now = replace(now, max_cap_mm=theirs.max_cap_mm)
        limit = theirs.max_cap_mm
        word = "of any height" if limit is None else f"of at most {limit:g} mm"
        path.append((f"caps: {word}", now))
    if now.caps_have_dose != theirs.caps_have_dose:
        now = replace(now, caps_have_dose=theirs.caps_have_dose)
        word = "with" if theirs.caps_have_dose else "in the volume, but without"
        path.append((f"caps: {word} dose", now))
    return path


def _explain(preset: Preset, steps: tuple[Step, ...], largest: Row | None, index: int) -> str:
    left = f"not imitated: {preset.not_imitated}"
    if not steps:
        return f"{preset.name}: the same rules as here; {left}."
    rules = "; ".join(step.rule for step in steps)
    if largest is None:
        return f"{preset.name}: {rules}. Nothing here changes by more than 0.01 %; {left}."
    change, percent = largest.difference(index), largest.difference_percent(index)
    most = f"most: {largest.roi_name} {largest.metric} {_signed(change)} ({percent:+.2f} %)"
    if len(steps) > 1:
        parts = (
            f"{_signed(step.change)} from {step.rule.split(':')[0]}"
            for step in steps
            if step.change is not None
        )
        most += ", of it " + ", ".join(parts)
    return f"{preset.name}: {rules}. {most[0].upper()}{most[1:]}; {left}."


def _signed(change: float | None) -> str:
    """A difference as people read it, never a negative nothing."""
    return f"{round(change or 0.0, 3) + 0.0:+.3f}"

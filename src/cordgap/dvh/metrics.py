"""The metric grammar: what is read off a DVH, written as in AAPM TG-263.

``D0.035cc[Gy]``, ``D95%[%]``, ``DC0.035cc[Gy]`` (alias ``Dmin0.035cc``), ``V10Gy[cc]``,
``V100%[%]``, ``CV10Gy[cc]``, ``Mean[Gy]``, ``Min[Gy]``, ``Max[Gy]``, ``Median[%]``. Dose in % is
of the prescription, volume in % of the structure. A goal is a metric with a bound:
``D0.035cc[Gy]<=17``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from cordgap.dvh.curve import DVH
from cordgap.errors import MetricSyntaxError, OutOfRangeError

Kind = Literal["D", "DC", "V", "CV", "Mean", "Min", "Max", "Median"]
Unit = Literal["Gy", "%", "cc"]
Operator = Literal["<=", ">=", "<", ">"]

_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)"
_WORD = r"dmin|dc|cv|mean|min|max|median|d|v|gy|cc"
_TOKEN = re.compile(rf"\s*({_NUMBER}|{_WORD}|%|\[|\]|<=|>=|≤|≥|<|>)", re.I)
_STATISTICS: dict[str, Kind] = {"mean": "Mean", "min": "Min", "max": "Max", "median": "Median"}
_KINDS: dict[str, Kind] = {"d": "D", "dc": "DC", "dmin": "DC", "v": "V", "cv": "CV"}


@dataclass(frozen=True)
class MetricValue:
    """What a metric gives on one DVH.

    ``value`` is None where the metric cannot be evaluated, with the ``reason``. ``plus_minus`` is
    the half-width of the interval of the value, None where it was not estimated;
    ``plus_minus_parts`` are its parts by source, which add up to it. ``bound`` is ``lower`` where
    only a part of the structure lies inside the dose grid and the true value can only be larger.
    """

    value: float | None
    plus_minus: float | None = None
    bound: Literal["lower"] | None = None
    reason: str | None = None
    plus_minus_parts: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Metric:
    """One metric, e.g. ``D0.035cc[Gy]``; ``str()`` gives the canonical form."""

    kind: Kind
    unit: Unit
    argument: float | None = None
    argument_unit: Unit | None = None

    def __str__(self) -> str:
        if self.argument is None:
            return f"{self.kind}[{self.unit}]"
        return f"{self.kind}{self.argument:.10g}{self.argument_unit}[{self.unit}]"

    @property
    def needs_prescription(self) -> bool:
        """Whether the metric refers to the prescribed dose."""
        dose_units = (self.argument_unit,) if self.kind in ("V", "CV") else (self.unit,)
        return "%" in dose_units

    @property
    def is_near_maximum(self) -> bool:
        """Whether only more dose, or more structure, can raise the metric (a lower bound holds)."""
        return (
            self.kind == "Max"
            or (self.kind == "D" and self.argument_unit == "cc")
            or (self.kind == "V" and self.unit == "cc")
        )

    def evaluate(self, dvh: DVH, rx_gy: float | None = None) -> MetricValue:
        """Read the metric off a DVH.

        Parameters
        ----------
        dvh : DVH
        rx_gy : float, optional
            Prescribed dose, for metrics in % of it.

        Returns
        -------
        MetricValue
            In the unit of the metric; with a reason instead of a value where there is none.
        """
        if self.needs_prescription and not rx_gy:
            return MetricValue(None, reason="no prescription is known for a metric in % of it")
        if dvh.covered_volume_cc <= 0:
            return MetricValue(None, reason="the structure lies outside the dose grid")
        complete = dvh.is_complete
        if not complete and not self.is_near_maximum:
            return MetricValue(
                None,
                reason=f"only {100 * dvh.covered_fraction:.1f} % of the structure lies inside the "
                "dose grid",
            )
        try:
            value = self._read(dvh, rx_gy)
        except OutOfRangeError as error:
            return MetricValue(None, reason=str(error))
        try:
            parts = tuple(
                (
                    a.source,
                    a.weight
                    * abs(self._read(a.dvh, rx_gy) - self._read(a.reference or dvh, rx_gy)),
                )
                for a in dvh.alternatives
            )
        except OutOfRangeError:
            parts = ()
        plus_minus = sum(part for _, part in parts) if parts else None
        return MetricValue(value, plus_minus, None if complete else "lower", plus_minus_parts=parts)

    def _read(self, dvh: DVH, rx_gy: float | None) -> float:
        argument = self.argument or 0.0
        total = dvh.total_volume_cc
        if self.kind in ("V", "CV"):
            dose = argument if self.argument_unit == "Gy" else argument / 100 * (rx_gy or 0.0)
            volume = dvh.volume_at_least_cc(dose)
            volume = dvh.covered_volume_cc - volume if self.kind == "CV" else volume
            return volume if self.unit == "cc" else 100 * volume / total
        if self.kind == "Mean":
            dose = dvh.mean_gy
        elif self.kind == "Min":
            dose = dvh.min_gy
        elif self.kind == "Max":
            dose = dvh.max_gy
        elif self.kind == "Median":
            dose = dvh.dose_of_hottest_gy(0.5 * dvh.covered_volume_cc)
        else:
            volume = argument if self.argument_unit == "cc" else argument / 100 * total
            if self.kind == "DC":
                volume = dvh.covered_volume_cc - volume
            dose = dvh.dose_of_hottest_gy(volume)
        return dose if self.unit == "Gy" else 100 * dose / (rx_gy or 1.0)


@dataclass(frozen=True)
class Goal:
    """A metric with a bound; ``str()`` gives the canonical form."""

    metric: Metric
    operator: Operator
    bound: float

    def __str__(self) -> str:
        return f"{self.metric}{self.operator}{self.bound:.10g}"

    def holds(self, value: float) -> bool:
        """Whether a value meets the bound, strictly as written."""
        if self.operator == "<=":
            return value <= self.bound
        if self.operator == ">=":
            return value >= self.bound
        return value < self.bound if self.operator == "<" else value > self.bound


class _Reader:
    """Token by token through a metric or goal, with an error that points at the character."""

    def __init__(self, text: str) -> None:
        self.text, self.position = text, 0

    def fail(self, expected: str) -> MetricSyntaxError:
        at = (
            self.position
            + len(self.text[self.position :])
            - len(self.text[self.position :].lstrip())
        )
        found = f"found {self.text[at]!r}" if at < len(self.text) else "found the end"
        return MetricSyntaxError(
            f"cannot read the metric: {found}, expected {expected}\n  {self.text}\n  {' ' * at}^\n"
            "examples: D0.035cc[Gy]  D95%[%]  V10Gy[cc]  Mean[Gy]  D0.035cc[Gy]<=17"
        )

    def peek(self) -> str:
        match = _TOKEN.match(self.text, self.position)
        return match[1].lower() if match else ""

    def take(self, expected: str, *allowed: str) -> str:
        token = self.peek()
        if not token or (allowed and token not in allowed):
            raise self.fail(expected)
        match = _TOKEN.match(self.text, self.position)
        assert match is not None
        self.position = match.end()
        return token

    def number(self, expected: str) -> float:
        if not re.fullmatch(_NUMBER, self.peek()):
            raise self.fail(expected)
        return float(self.take(expected))

    def at_end(self) -> bool:
        return not self.text[self.position :].strip()


_UNITS: dict[str, Unit] = {"gy": "Gy", "%": "%", "cc": "cc"}


def _read_metric(reader: _Reader) -> Metric:
    head = reader.take("D, DC, V, CV, Mean, Min, Max or Median", *_KINDS, *_STATISTICS)
    argument: float | None = None
    argument_unit: Unit | None = None
    if head in _STATISTICS:
        kind, units = _STATISTICS[head], ("gy", "%")
    elif head in ("v", "cv"):
        kind, units = _KINDS[head], ("cc", "%")
        argument = reader.number("a dose, such as 10Gy or 100%")
        argument_unit = _UNITS[reader.take("Gy or %", "gy", "%")]
    else:
        kind, units = _KINDS[head], ("gy", "%")
        argument = reader.number("a volume, such as 0.035cc or 95%")
        start = reader.position
        argument_unit = _UNITS[reader.take("cc or %", "cc", "%")]
        if argument <= 0 or (argument_unit == "%" and argument > 100):
            reader.position = start
            raise reader.fail("a volume above 0 (and at most 100 %) before the unit")
    reader.take("[", "[")
    unit = _UNITS[reader.take(" or ".join(_UNITS[u] for u in units) + " in brackets", *units)]
    reader.take("]", "]")
    return Metric(kind, unit, argument, argument_unit)


def parse_metric(text: str) -> Metric:
    """Read a metric; case and blanks are forgiven.

    Raises
    ------
    MetricSyntaxError
        Pointing at the character that does not fit.

    Examples
    --------
    >>> str(parse_metric("d 0.035 CC [gy]"))
    'D0.035cc[Gy]'
    >>> str(parse_metric("Dmin0.035cc[%]"))
    'DC0.035cc[%]'
    """
    reader = _Reader(text)
    metric = _read_metric(reader)
    if not reader.at_end():
        raise reader.fail("nothing more after the unit")
    return metric


def parse_goal(text: str) -> Goal:
    """Read a goal such as ``D0.035cc[Gy]<=17``.

    Raises
    ------
    MetricSyntaxError
        Pointing at the character that does not fit.
    """
    reader = _Reader(text)
    metric = _read_metric(reader)
    sign = reader.take("<= or >=", "<=", ">=", "≤", "≥", "<", ">")
    operator: Operator = {"≤": "<=", "≥": ">="}.get(sign, sign)  # type: ignore[assignment]
    bound = reader.number("a number")
    if not reader.at_end():
        if reader.peek() == metric.unit.lower():
            reader.take("the unit")
        if not reader.at_end():
            raise reader.fail("nothing more after the bound")
    return Goal(metric, operator, bound)

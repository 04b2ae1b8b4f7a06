"""The published conditions for re-irradiation, as their table holds them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from cordgap.case.naming import Role
from cordgap.dvh.metrics import Metric, parse_metric
from cordgap.limits.constraint import Verified

Quantity = Literal["cumulative_eqd2", "sbrt_eqd2", "sbrt_share", "interval"]


@dataclass(frozen=True)
class Condition:
    """One condition: what must be at most, or at least, a value."""

    id: str
    quantity: Quantity
    words: str
    unit: str
    verified: Verified
    at_most: float | None = None
    at_least: float | None = None

    def holds(self, value: float) -> bool:
        """Whether a value keeps the condition; equal to the bound is kept."""
        if self.at_most is not None:
            return value <= self.at_most
        return self.at_least is None or value >= self.at_least


@dataclass(frozen=True)
class Nieder:
    """Nieder's bounds on the cumulative BED, with what they need to hold."""

    alpha_beta_gy: float
    none_seen_bed_gy: float
    small_risk_bed_gy: float
    course_bed_gy: float
    interval_months: float
    none_seen_words: str
    small_risk_words: str
    above_words: str
    citation: str
    note: str


@dataclass(frozen=True)
class Recovery:
    """A rule of thumb: the share of a previous dose that is recovered from some month on."""

    months: tuple[float, ...]
    share: tuple[float, ...]
    citation: str

    def share_after(self, months: float) -> float:
        """Return the share recovered after an interval."""
        reached = [s for m, s in zip(self.months, self.share, strict=True) if months >= m]
        return max(reached, default=0.0)


@dataclass(frozen=True)
class Series:
    """What was seen in patients, to stand beside model values."""

    id: str
    words: str
    citation: str
    short: str = ""


@dataclass(frozen=True)
class ReirradiationRules:
    """Conditions for re-irradiation with their source, and what is printed beside them."""

    id: str
    title: str
    structure: Role
    metric_source: str
    metric: Metric
    alpha_beta_gy: float
    citation: str
    doi: str
    url: str
    endpoint: str
    notes: str
    conditions: tuple[Condition, ...]
    prior_range_gy: tuple[float, float]
    prior_range_citation: str
    fractions: tuple[int, int]
    nieder: Nieder
    recovery: Recovery
    other_alpha_beta_gy: tuple[tuple[float, str], ...]
    series: tuple[Series, ...]

    def condition(self, quantity: Quantity) -> Condition:
        """Return the condition on a quantity."""
        return next(c for c in self.conditions if c.quantity == quantity)

    @property
    def source(self) -> str:
        """Citation with its DOI."""
        return f"{self.citation}, doi:{self.doi}"


@cache
def reirradiation_rules() -> ReirradiationRules:
    """Read the table of conditions that comes with the package.

    Examples
    --------
    >>> [(c.id, c.at_most or c.at_least) for c in reirradiation_rules().conditions]
    [('rert_cum', 70.0), ('rert_sbrt', 25.0), ('rert_ratio', 0.5), ('rert_interval', 5.0)]
    """
    table = read_table("reirradiation", "hytec-2021")
    source, prior = table["source"], table["prior_range"]
    nieder = {k: v for k, v in table["nieder"].items() if k in Nieder.__dataclass_fields__}
    recovery = table["recovery"]
    return ReirradiationRules(
        id=source["id"],
        title=source["title"],
        structure=source["structure"],
        metric_source=source["metric_source"],
        metric=parse_metric(source["metric"]),
        alpha_beta_gy=source["alpha_beta_gy"],
        citation=source["citation"],
        doi=source["doi"],
        url=source["url"],
        endpoint=source["endpoint"],
        notes=source["notes"],
        conditions=tuple(Condition(**row) for row in table["condition"]),
        prior_range_gy=(prior["low_gy"], prior["high_gy"]),
        prior_range_citation=prior["citation"],
        fractions=(table["fractions"]["low"], table["fractions"]["high"]),
        nieder=Nieder(**nieder),
        recovery=Recovery(
            tuple(recovery["months"]), tuple(recovery["share"]), recovery["citation"]
        ),
        other_alpha_beta_gy=tuple((x["gy"], x["citation"]) for x in table["alpha_beta"]),
        series=tuple(Series(x["id"], x["words"], x["citation"]) for x in table["series"]),
    )


def read_table(folder: str, name: str) -> dict[str, Any]:
    """Read a table of the package that is no constraint table."""
    file = files("cordgap.limits") / "tables" / folder / f"{name}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))

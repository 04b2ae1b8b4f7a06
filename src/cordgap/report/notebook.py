"""What a notebook shows of a result: the answer, the limits and two pictures; and of its parts.

Names of structures are text: they are escaped. The patient's identity is never in it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from cordgap.analysis import CaseResult
from cordgap.comparison import Comparison
from cordgap.dvh.structures import StructureResult
from cordgap.errors import SAFETY_SENTENCES, Finding
from cordgap.limits.constraint import ConstraintResult
from cordgap.report.comparison_parts import comparison_lines
from cordgap.report.figures import draw_figure, figure_bytes
from cordgap.report.numbers import shown, shown_range
from cordgap.report.sentence import (
    answer_sentence,
    coverage_name,
    coverage_verdict,
    gap_level_mm,
    interval_words,
    level_label,
    method_words,
    role_word,
)
from cordgap.separation.result import Separation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FIGURES = {
    "axial": "Axial plane through the smallest gap; patient right is on the left",
    "dvh": "Dose-volume histograms with the limits",
}


@dataclass(frozen=True)
class Picture:
    """A figure as a notebook shows it."""

    png: bytes

    def __repr__(self) -> str:
        return f"<Picture of {len(self.png)} bytes>"

    def _repr_png_(self) -> bytes:
        return self.png


def picture(figure: Figure) -> Picture:
    """Return a figure so that a notebook shows it, whatever its backend."""
    return Picture(figure_bytes(figure, "png"))


@dataclass(frozen=True)
class Table:
    """Rows of texts under a caption."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def result_html(result: CaseResult) -> str:
    """Return a result as an HTML fragment without script and without a request to anywhere."""
    return _rendered(
        "notebook.html",
        sentence=answer_sentence(result),
        level=level_label(result, gap_level_mm(result.separation)),
        constraints=[row for row in result.constraints if row.decides],
        warnings=result.warnings,
        figures=[
            (alt, b64encode(figure_bytes(draw_figure(name, result), "png")).decode("ascii"))
            for name, alt in _FIGURES.items()
        ],
        version=result.cordgap_version,
        case_id=result.case.case_id,
    )


def separation_html(s: Separation) -> str:
    """Return a separation as an HTML fragment: the answer, goals, sides and schedules."""
    required = shown(s.required_separation_mm, 1, "mm")
    answer = f"{required} required ({interval_words(s)} {shown_range(s.interval_mm)})"
    if s.required_separation_mm is None:
        answer = f"{s.status}: {s.reason}"
    lines = [
        f"Make {shown(s.make_mm, 1, 'mm')}" if s.make_mm is not None else "",
        f"{shown(s.separation_mm, 1, 'mm')} between {s.target_roi_name} and {s.cord_roi_name} now",
        "" if s.resection_cc is None else f"{shown(s.resection_cc, 2, 'cc')} lie closer",
        method_words(s),
    ]
    tables = (
        Table(
            "cord goals",
            ("row", "structure", "goal", "value", "verdict"),
            tuple(
                (
                    g.id,
                    g.roi_name,
                    f"{g.metric} ≤ {g.limit:g} {g.unit}",
                    shown(g.value, 2),
                    g.verdict,
                )
                for g in s.cord_goals
            ),
        ),
        Table(
            "coverage goals",
            ("goal", "value", "now", "needs [mm]", "interval", "method, reason"),
            tuple(
                (
                    f"{coverage_name(g)} ≥ {g.at_least:g}",
                    shown(g.value),
                    coverage_verdict(g.verdict) + (", headline" if g.headline else ""),
                    shown(g.required_separation_mm),
                    shown_range(g.interval_mm),
                    ": ".join(part for part in (g.method, g.reason) if part),
                )
                for g in s.coverage_goals
            ),
        ),
        Table(
            "sides",
            ("side", "gap now [mm]", "missing [mm]", "to remove [cc]"),
            tuple(
                (
                    x.name + ("" if x.reachable else " (not cleared)"),
                    "over 20" if x.gap_mm is None else shown(x.gap_mm),
                    shown(x.deficit_mm),
                    shown(x.resection_cc, 2),
                )
                for x in s.sextants
            ),
        ),
        Table(
            "if the plan is scaled to another schedule",
            ("schedule", "required [mm]", "interval", "reason"),
            tuple(
                (
                    f"{x.dose_gy:g} Gy in {x.fractions}",
                    shown(x.required_separation_mm),
                    shown_range(x.interval_mm),
                    x.reason or "",
                )
                for x in s.schedules
            ),
        ),
    )
    return _value(answer, lines, tables, _doubts(s.findings))


def constraint_html(row: ConstraintResult) -> str:
    """Return a constraint as an HTML fragment: what it says, what was found, where it is from."""
    return _value(
        f"{row.verdict}{', within uncertainty' if row.within_uncertainty else ''}: "
        f"{row.roi_name or role_word(row.structure)} {row.metric_evaluated}",
        [row.reason or "", f"{row.id} ({row.verified}): {row.source}"],
        (
            Table(
                "",
                ("value", "plus or minus", "limit", "headroom", "unit"),
                (
                    (
                        ("at least " if row.bound else "") + shown(row.value, 2),
                        shown(row.plus_minus, 2),
                        f"{row.limit:g}",
                        shown(row.headroom, 2),
                        row.unit,
                    ),
                ),
            ),
        ),
        _doubts(row.findings),
    )


def structure_html(item: StructureResult) -> str:
    """Return a structure as an HTML fragment: its volume, its dose and its metrics."""
    dose = item.dvh
    summary = [f"volume {shown(item.volume_cc, 2, 'cc')}"]
    if dose is not None:
        summary += [
            f"{name} {shown(value, 2, 'Gy')}"
            for name, value in (
                ("min", dose.min_gy),
                ("mean", dose.mean_gy),
                ("max", dose.max_gy),
            )
        ]
    metrics = tuple(
        (
            name,
            ("at least " if x.bound == "lower" else "") + shown(x.value, 2),
            shown(x.plus_minus, 2),
            x.reason or "",
        )
        for name, x in item.metrics.items()
    )
    return _value(
        f"{item.structure.roi_name} ({role_word(item.structure.role)}): {item.status}",
        [item.reason or "", ", ".join(summary)],
        (Table("metrics", ("metric", "value", "plus or minus", "reason"), metrics),),
        _doubts(item.findings),
    )


def comparison_html(found: Comparison) -> str:
    """Return what surgery achieved as an HTML fragment: the text of ``cordgap compare``."""
    title = f"{shown(found.change.achieved_mm, 1, 'mm')} achieved"
    return _rendered(
        "notebook_value.html",
        title=title,
        lines=[],
        text="\n".join(comparison_lines(found)),
        tables=(),
        findings=(),
    )


def _doubts(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    return tuple(f for f in findings if f.severity != "info")


def _value(
    title: str, lines: Sequence[str], tables: Sequence[Table], findings: Sequence[Finding]
) -> str:
    return _rendered(
        "notebook_value.html",
        title=title,
        lines=[line for line in lines if line],
        text="",
        tables=tables,
        findings=findings,
    )


def _rendered(name: str, **context: Any) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(num=shown)
    source = (files("cordgap.report") / "templates" / name).read_text(encoding="utf-8")
    return environment.from_string(source).render(safety=SAFETY_SENTENCES, **context)

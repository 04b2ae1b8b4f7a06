"""DVH and metrics of the structures of a case, or why there are none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module

from cordgap.case.case import Case
from cordgap.case.grid import DoseGrid
from cordgap.case.structure import Structure
from cordgap.dvh.curve import DVH
from cordgap.dvh.integrate import compute_dvh
from cordgap.dvh.metrics import Metric, MetricValue, parse_metric
from cordgap.dvh.solid import Between, Ends, Solid, build_solid
from cordgap.errors import Finding, StructureError

DEFAULT_METRICS = tuple(
    parse_metric(m)
    for m in (
        "D0.035cc[Gy]", "D0.1cc[Gy]", "D1cc[Gy]", "D2%[Gy]", "D50%[Gy]", "D95%[Gy]", "D98%[Gy]",
        "DC0.035cc[Gy]",
    )
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class StructureResult:
    """DVH and metrics of one structure, or why there are none."""

    structure: Structure
    status: str
    reason: str | None
    volume_cc: float | None
    dvh: DVH | None
    metrics: dict[str, MetricValue]
    findings: tuple[Finding, ...] = ()

    def _repr_html_(self) -> str:
        """What a notebook shows; the name of who draws it is all that a value knows of reports."""
        html: str = import_module("cordgap.report.notebook").structure_html(self)
        return html


def compute_structures(
    case: Case,
    *,
    metrics: Sequence[Metric] = DEFAULT_METRICS,
    between: Between = "shape",
    ends: Ends = "half-slice",
    rx_gy: float | None = None,
    names: Sequence[str] = (),
) -> tuple[StructureResult, ...]:
    """Compute DVH and metrics of the named structures (all, if none are named).

    Parameters
    ----------
    case : Case
    metrics : sequence of Metric
    between, ends : str
        How a solid is built from contours.
    rx_gy : float, optional
        Prescribed dose, for metrics in % of it.
    names : sequence of str

    Returns
    -------
    tuple of StructureResult
        One each; a structure without a solid or a dose says why.

    Raises
    ------
    StructureNotFoundError
        If a named structure is not in the case.
    """
    wanted = [case.structure(name) for name in names] if names else list(case.structures)
    build = partial(build_solid, between=between, ends=ends)
    return tuple(
        compute_structure(case.dose, s, build, metrics=metrics, rx_gy=rx_gy) for s in wanted
    )


def compute_structure(
    dose: DoseGrid | None,
    structure: Structure,
    build: Callable[[Structure], Solid],
    *,
    metrics: Sequence[Metric] = DEFAULT_METRICS,
    rx_gy: float | None = None,
    uncertainty: bool = True,
) -> StructureResult:
    """Compute DVH and metrics of one structure, with any way of building its solid.

    Parameters
    ----------
    dose : DoseGrid or None
    structure : Structure
    build : callable
        Makes the solid; a ``StructureError`` of it becomes the status ``unsupported``.
    metrics : sequence of Metric
    rx_gy : float, optional
        Prescribed dose, for metrics in % of it.
    uncertainty : bool
        Whether metrics get their ``plus_minus``.
    """

    def nothing(status: str, reason: str | None, solid: Solid | None = None) -> StructureResult:
        values = {str(m): MetricValue(None, reason=reason) for m in metrics}
        findings = structure.findings + (solid.findings if solid else ())
        volume = solid.volume_cc if solid else None
        return StructureResult(structure, status, reason, volume, None, values, findings)

    if structure.status != "ok":
        return nothing(structure.status, structure.reason)
    try:
        solid = build(structure)
    except StructureError as error:
        return nothing("unsupported", str(error))
    if dose is None:
        return nothing("ok", "no dose", solid)
    dvh = compute_dvh(solid, dose, uncertainty=uncertainty)
    status, reason = "ok", None
    if dvh.covered_volume_cc <= 0:
        status, reason = "outside dose grid", "the structure lies outside the dose grid"
    elif not dvh.is_complete:
        status = "partly outside dose grid"
        reason = f"{100 * dvh.covered_fraction:.1f} % of the volume lies inside the dose grid"
    values = {str(m): m.evaluate(dvh, rx_gy) for m in metrics}
    findings = (*structure.findings, *solid.findings)
    return StructureResult(structure, status, reason, solid.volume_cc, dvh, values, findings)

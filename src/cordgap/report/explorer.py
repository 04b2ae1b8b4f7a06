"""What the separation slider of the page shows at each of its steps.

Every number is taken from the document that is written as result.json, and every text is made here
with the rounding of the other outputs: the browser only chooses which text to show.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cordgap.analysis import CaseResult
from cordgap.dvh.metrics import parse_metric
from cordgap.report.figures import dvh_structures, limit_point
from cordgap.report.numbers import NO_NUMBER, shown, shown_range
from cordgap.report.parts import Document
from cordgap.report.planes import axial_planes, limit_gy
from cordgap.report.style import role_colour
from cordgap.separation.methods import NEAR_MAXIMA_GY
from cordgap.separation.result import SEXTANTS, Separation

# Words for a separation beside a requirement, from too little to enough, and their marks.
STANDING = (
    ("below the interval", "bad"),
    ("in the interval, below the estimate", "open"),
    ("in the interval, at or above the estimate", "open"),
    ("at or above the interval", "good"),
)
_UNKNOWN = (NO_NUMBER, "")


def explorer_data(result: CaseResult, s: Separation, document: Document) -> dict[str, Any]:
    """Return everything behind the slider, ready for JSON.

    Parameters
    ----------
    result : CaseResult
    s : Separation
        Of ``result``.
    document : dict
        The analysis document of ``result``: the source of every number.

    Returns
    -------
    dict
        ``steps_mm`` and ``steps`` (the same as text), ``start`` (index), ``rows`` of the table of
        numbers, ``schedules`` (standing of each schedule by step), ``map``, ``dvh``, ``axial``.
    """
    answer = document["separation"]
    steps = answer["target_left"]["separation_mm"]
    return {
        "steps_mm": steps,
        "steps": [shown(step, 2) for step in steps],
        "start": _start(s, steps),
        "rows": readout(answer, steps, at_least=_is_lower_bound(document)),
        "standing": [list(x) for x in STANDING] + [list(_UNKNOWN)],
        "schedules": [
            [_standing(step, x["required_separation_mm"], x["interval_mm"]) for step in steps]
            for x in answer["schedules"]
        ],
        "map": map_data(answer),
        "dvh": dvh_data(result, document),
        "axial": axial_planes(result, s),
        "sextants": [{"name": x.name, "reachable": x.reachable} for x in s.sextants],
        "gap": {
            "cord_mm": answer["closest_cord_point_mm"],
            "target_mm": answer["closest_target_point_mm"],
            "words": f"gap {shown(answer['separation_mm'], 1, 'mm')}",
        },
    }


def _start(s: Separation, steps: Sequence[float]) -> int:
    """The step to begin at: what is to be made, else what is required, else what there is."""
    wanted = s.make_mm or s.required_separation_mm or s.everywhere_mm or s.separation_mm
    return min(range(len(steps)), key=lambda i: abs(steps[i] - wanted))


def _standing(step: float, required: float | None, interval: Sequence[float] | None) -> int:
    """Index into the words for a separation beside what is required."""
    if required is None or interval is None:
        return len(STANDING)
    return sum(step >= edge - 1e-9 for edge in (interval[0], required, interval[1]))


def _is_lower_bound(document: Document) -> bool:
    """Whether the cord dose is that of a part, so that the true one can only be higher."""
    binding = document["separation"]["binding_constraint"]
    return any(row["id"] == binding and row["bound"] for row in document["constraints"])


def readout(answer: Document, steps: Sequence[float], *, at_least: bool = False) -> list[Document]:
    """Return the rows of numbers beside the slider: a name, and a text and a mark for each step.

    Parameters
    ----------
    answer : dict
        The separation document.
    steps : sequence of float
    at_least : bool
        Whether cord doses are lower bounds: then none can be good.
    """
    planned = _by_step(answer, "as planned")
    any_point = planned or _by_step(answer, answer["question"])
    rows = [_required_row(answer, steps)]
    rows += [
        _row(
            "removed",
            f"{_removed(answer)}, closer than this",
            any_point,
            steps,
            _cc("resection_cc"),
        )
    ]
    inside = _cc("resection_inside_canal_cc")
    if any(p["resection_inside_canal_cc"] is not None for p in any_point.values()):
        rows.append(_row("inside", "of it inside the canal", any_point, steps, inside))
        rows.append(_row("outside", "of it outside the canal", any_point, steps, _outside))
    limit = _near_maximum_limit(answer)
    about = f" (limit {shown(limit, 1, 'Gy')})" if limit is not None else ""
    named = [g["roi_name"] for g in answer["cord_goals"] if g["id"] == answer["binding_constraint"]]
    name = f"{(named or ['cord'])[0]} D0.035cc"
    for key, question, words in (
        ("cord_planned", "as planned", "dose as planned"),
        ("cord_predicted", "re-planned", "re-planned, predicted"),
        ("cord_predicted", "no plan", "from a model of published plans"),
    ):
        points = _by_step(answer, question)
        if points:
            rows.append(
                _row(
                    key,
                    f"{name}, {words}{about}",
                    points,
                    steps,
                    lambda p: _dose(p, limit, at_least),
                )
            )
    rx_gy = _rx_gy(answer)
    for metric in next(iter(planned.values()))["metrics"] if planned else ():
        label = f"{metric.replace('[Gy]', '')} of what is left, dose as planned"
        rows.append(_row(metric, label, planned, steps, lambda p, m=metric: _coverage(p, m, rx_gy)))
    return rows


Point = dict[str, Any]


def _by_step(answer: Document, question: str | None) -> dict[float, Point]:
    return {p["separation_mm"]: p for p in answer["curve"] if p["question"] == question}


def _row(
    key: str, label: str, points: dict[float, Point], steps: Sequence[float], cell: Any
) -> Document:
    cells = [cell(points[step]) if step in points else _UNKNOWN for step in steps]
    return {
        "key": key,
        "label": label,
        "texts": [text for text, _ in cells],
        "marks": [mark for _, mark in cells],
    }


def _required_row(answer: Document, steps: Sequence[float]) -> Document:
    required, interval = answer["required_separation_mm"], answer["interval_mm"]
    label = "Required separation"
    if required is not None:
        label += f" {shown(required, 1, 'mm')} ({shown_range(interval)})"
    found = [_standing(step, required, interval) for step in steps]
    known = [*STANDING, (answer["status"], "bad" if "reachable" in answer["status"] else "open")]
    return {
        "key": "required",
        "label": label,
        "texts": [known[i][0] for i in found],
        "marks": [known[i][1] for i in found],
    }


def _removed(answer: Document) -> str:
    return f"Volume of {answer['target']['roi_name']}"


def _cc(key: str) -> Any:
    return lambda point: (shown(point[key], 2, "cc"), "")


def _outside(point: Point) -> tuple[str, str]:
    whole, inside = point["resection_cc"], point["resection_inside_canal_cc"]
    if whole is None or inside is None:
        return _UNKNOWN
    return shown(whole - inside, 2, "cc"), ""


def _near_maximum_limit(answer: Document) -> float | None:
    """Limit in Gy on the near-maximum that the curve holds; None for other metrics."""
    for goal in answer["cord_goals"]:
        if goal["id"] == answer["binding_constraint"] and goal["metric"] == NEAR_MAXIMA_GY[0]:
            limit: float = goal["limit"]
            return limit
    return None


def _dose(point: Point, limit: float | None, at_least: bool) -> tuple[str, str]:
    gy = point["cord_gy"]
    if gy is None:
        return _UNKNOWN
    held = "open" if at_least else "good"
    mark = "" if limit is None else held if gy <= limit else "bad"
    return f"{'at least ' if at_least else ''}{shown(gy, 2, 'Gy')}", mark


def _rx_gy(answer: Document) -> float | None:
    """Prescribed dose; None where it is not known."""
    prescription = answer["prescription"]
    return None if prescription is None else prescription["dose_gy"]


def _coverage(point: Point, metric: str, rx_gy: float | None) -> tuple[str, str]:
    gy = point["metrics"][metric]
    if gy is None:
        return _UNKNOWN
    share = "" if rx_gy is None else f" ({shown(100.0 * gy / rx_gy, 1, '%')})"
    return f"{shown(gy, 2, 'Gy')}{share}", ""


def map_data(answer: Document) -> Document:
    """Return the gap map, unrolled with anterior in the middle and posterior at both ends."""
    gaps = answer["map"]
    direction = [(d + 180.0) % 360.0 - 180.0 for d in gaps["direction_deg"]]
    order = sorted(range(len(direction)), key=lambda i: direction[i])
    x = [direction[i] for i in order]
    if x and x[0] == -180.0:
        order.append(order[0])
        x.append(180.0)
    return {
        "direction_deg": x,
        "sextant": [SEXTANTS[int((d + 30.0) // 60.0) % 6] for d in x],
        "level_mm": gaps["level_mm"],
        "gap_mm": [[row[i] for i in order] for row in gaps["gap_mm"]],
    }


def dvh_data(result: CaseResult, document: Document) -> Document:
    """Return the curves of cord, target and limited structures, the limits, and the target left."""
    shown_here = dvh_structures(result)
    parts = {(x["roi_number"], x["roi_name"]): x for x in document["dvh"]["structures"]}
    curves = []
    for item in shown_here:
        part = parts[item.structure.roi_number, item.structure.roi_name]
        histogram, whole = part["dvh"], part["volume_cc"]
        if histogram is None or not whole:
            continue
        curves.append(
            {
                "name": part["roi_name"],
                "role": part["role"],
                "colour": role_colour(item.structure.role),
                "dose_gy": histogram["dose_gy"],
                "volume_cc": histogram["volume_cc"],
                "whole_cc": whole,
            }
        )
    limits = []
    by_name = {x.structure.roi_name: x for x in shown_here}
    for row, constraint in zip(document["constraints"], result.constraints, strict=True):
        point = limit_point(constraint, by_name.get(row["roi_name"] or ""))
        if point is not None:
            limits.append(
                {
                    "dose_gy": point[0],
                    "percent": point[1],
                    "words": f"{row['roi_name']} {row['metric_evaluated']} ≤ {row['limit']:g} "
                    f"{row['unit']} ({row['id']}): {row['verdict']}",
                }
            )
    answer = document["separation"]
    rx = document["prescription"]
    return {
        "curves": curves,
        "limits": limits,
        "goals": _goal_points(answer),
        "left": answer["target_left"],
        "target": answer["target"]["roi_name"],
        "rx_gy": None if rx is None else rx["dose_gy"],
        "limit_gy": limit_gy(result),
    }


def _goal_points(answer: Document) -> list[Document]:
    """Where coverage goals on a share of the volume stand: dose in Gy, volume in %."""
    rx_gy = _rx_gy(answer)
    found: list[Document] = []
    if rx_gy is None:
        return found
    for goal in answer["coverage_goals"]:
        metric = parse_metric(goal["metric"])
        if metric.kind != "D" or metric.argument_unit != "%" or goal["region"] != "target":
            continue
        gy = goal["at_least"] * (rx_gy / 100.0 if metric.unit == "%" else 1.0)
        words = f"{answer['target']['roi_name']} {goal['metric']} ≥ {goal['at_least']:g}"
        found.append({"dose_gy": gy, "percent": metric.argument, "words": words})
    return found

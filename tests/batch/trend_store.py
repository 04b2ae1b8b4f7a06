"""Stores of plans that were never analysed: rows as an analysis writes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from cordgap.batch.store import Store

LIMITS_GY = {1: 12.4, 2: 17.0, 3: 20.3, 5: 25.3}
SCHEDULES = (
    (18.0, 1), (24.0, 1), (24.0, 2), (24.0, 3), (27.0, 3), (30.0, 3), (30.0, 5), (35.0, 5),
    (40.0, 5),
)  # fmt: skip
INJECTION = "<img src=x onerror=alert(1)>"
CAUSES = (
    ("refused", INJECTION), ("refused", "no-cord"), ("failed", "worker-died"),
    ("timeout", "plan-timeout"),
)  # fmt: skip


@dataclass(frozen=True)
class Made:
    """One plan; what is None has no row."""

    gy: float | None = 15.0
    fractions: int | None = 2
    month: date | None = date(2026, 1, 1)
    day: int = 0
    status: str = "ok"
    code: str | None = None
    machine: str | None = "m1"
    planner: str | None = "p1"
    protocol: str | None = None
    cord: str = "SpinalCord"
    target: str = "GTV"
    separation_mm: float | None = 1.0
    required_mm: float | None = 2.0
    coverage: float | None = 96.0
    metric: str = "D98%[%]"
    gradient: float | None = 0.09
    evaluable: bool = True
    bound: str | None = None
    report: bool = False


def plan_id(number: int) -> str:
    return hashlib.sha256(f"plan {number}".encode()).hexdigest()[:16]


def result_id(number: int) -> str:
    return hashlib.sha256(f"result {number}".encode()).hexdigest()[:32]


def rows_of(number: int, plan: Made) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of all tables of one plan."""
    name = {"plan_id": plan_id(number), "result_id": result_id(number)}
    chosen = {"accept": [], "constraints": [], "coverage": [], "max_mm": None}
    limit = LIMITS_GY.get(plan.fractions or 0)
    over = limit is not None and plan.gy is not None and plan.gy > limit
    head = name | {
        "status": plan.status, "code": plan.code, "plan_month": plan.month, "seconds": 2.0,
        "analysed_at": datetime(2026, 1, 1, 12) + timedelta(days=plan.day, seconds=number),
        "settings": json.dumps(chosen | {"protocol": plan.protocol}), "machine": plan.machine,
        "planner": plan.planner, "report": name["plan_id"] if plan.report else None,
    }  # fmt: skip
    if plan.status != "ok":
        return {"plans": [head]}
    head |= {"exceeded": over, "evaluable": plan.evaluable, "fractions": plan.fractions}
    rows: dict[str, list[dict[str, Any]]] = {"plans": [head]}
    rows["metrics"] = [
        name | {
            "roi_name": plan.cord, "role": "cord", "metric": "D0.035cc[Gy]", "value": plan.gy,
            "bound": plan.bound,
        }
    ]  # fmt: skip
    if limit is not None:
        known = plan.gy is not None and plan.evaluable
        rows["constraints"] = [
            name | {
                "constraint_id": "c", "structure": "cord", "metric": "D0.035cc[Gy]", "unit": "Gy",
                "limit_value": limit, "value": plan.gy, "decides": True,
                "headroom": limit - plan.gy if known else None,
                "verdict": "not evaluable" if not known else "exceeded" if over else "met",
            }
        ]  # fmt: skip
    if plan.separation_mm is not None:
        met = plan.coverage is not None and plan.coverage >= 95.0
        rows["separations"] = [
            name | {
                "cord": plan.cord, "target": plan.target, "separation_mm": plan.separation_mm,
                "required_separation_mm": plan.required_mm, "coverage_metric": plan.metric,
                "coverage_value": plan.coverage, "coverage_goal": 95.0,
                "coverage_verdict": "met" if met else "exceeded",
            }
        ]  # fmt: skip
        rows["schedules"] = [
            name | {
                "dose_gy": gy, "fractions": n,
                "required_separation_mm": None if plan.required_mm is None
                else max(0.0, plan.required_mm + 0.5 * (2 - n)),
            }
            for gy, n in SCHEDULES
        ]  # fmt: skip
    if plan.gradient is not None:
        rows["falloff"] = [name | {"gradient_per_mm": plan.gradient}]
    return rows


def write_store(
    path: Path, plans: Iterable[Made], pairs: Sequence[tuple[int, int]] = (), *, first: int = 0
) -> Path:
    """Write plans into a store, numbered from ``first``, and comparisons of some by number."""
    made = list(plans)
    with Store(path, site_key="00" * 32) as store:
        store.add([rows_of(number, plan) for number, plan in enumerate(made, first)])
        store.add_comparisons(
            [
                {
                    "comparison_id": hashlib.sha256(
                        f"{result_id(a)}|{result_id(b)}".encode()
                    ).hexdigest()[:16],
                    "plan_id": plan_id(a), "after_plan_id": plan_id(b),
                    "predicted_mm": made[a].required_mm,
                    "predicted_low_mm": (made[a].required_mm or 0.0) - 0.5,
                    "predicted_high_mm": (made[a].required_mm or 0.0) + 0.5,
                    "before_mm": made[a].separation_mm, "achieved_mm": made[b].separation_mm,
                }
                for a, b in pairs
            ]
        )  # fmt: skip
    return path


def varied(count: int, seed: int = 7) -> list[Made]:
    """Return plans of a busy site: machines, schedules, names, some without a result."""
    rng = np.random.default_rng(seed)
    plans = []
    for n in range(count):
        common = {"day": n // 4, "month": date(2024 + n // 240, 1 + (n // 20) % 12, 1)}
        if rng.random() < 0.08:
            status, code = CAUSES[rng.integers(len(CAUSES))]
            nobody = {"machine": None, "planner": None}
            plans.append(Made(status=status, code=code, **(common | nobody)))
            continue
        fractions = int(rng.choice([1, 2, 3]))
        far = 6.0 if rng.random() < 0.02 else 0.0
        plans.append(
            Made(
                gy=round(LIMITS_GY[fractions] - 1.0 + float(rng.normal(0, 0.8)) + far, 4),
                fractions=fractions,
                machine=str(rng.choice(["m1", "m2", INJECTION])),
                planner=str(rng.choice(["p1", "p2", "p3"])),
                protocol=None if rng.random() < 0.7 else "rtog-0631",
                cord=str(rng.choice(["SpinalCord", "<b>Myelon</b>", "脊髄"])),
                target=str(rng.choice(["GTV", "GTV_T7"])),
                separation_mm=round(float(rng.gamma(2.0, 1.0)), 4),
                required_mm=None if rng.random() < 0.05 else round(float(rng.gamma(4.0, 0.5)), 4),
                coverage=round(float(90 + 10 * rng.random()), 4),
                gradient=None if rng.random() < 0.3 else round(float(rng.normal(0.09, 0.01)), 4),
                evaluable=rng.random() > 0.03,
                report=rng.random() < 0.5,
                **common,
            )
        )
    return plans

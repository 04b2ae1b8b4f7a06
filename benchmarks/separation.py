"""Accuracy of the separation estimate against re-planned truth, and its speed.

usage: python benchmarks/separation.py [FOLDER ...] [--make N --seed S] [--repeat N]
                                       [--only accuracy|speed] [--json FILE]

Accuracy: every anatomy of the folders that has a ``truth.json`` (docs/separation.md says how the
truth was made), from the plans at 0 and 2 mm, with the limits scaled to the stored prescription.
``--make N`` plans N anatomies of a seed first (``replanner.py``, about half a minute each; kept in
build/replan/seed<S>). Speed: whole processes and single steps; best of N.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from cordgap import analysis
from cordgap.analysis import Settings, analyze
from cordgap.case.case import Case, Prescription
from cordgap.dicom.read import read_case
from cordgap.dvh import structures
from cordgap.dvh.integrate import compute_dvh
from cordgap.dvh.metrics import parse_goal, parse_metric
from cordgap.dvh.solid import build_solid
from cordgap.limits import judge
from cordgap.phantom import Epidural, Sampling, SpineAnatomy, SpineDose, spine_case
from cordgap.separation.anatomy import survey
from cordgap.separation.plan import CordLimit, Plan
from cordgap.separation.remaining import remaining_by_step
from cordgap.separation.result import Separation
from cordgap.separation.schedules import separation_curve
from replanner import make_anatomies

ROOT = Path(__file__).resolve().parents[1]
REPLAN = ROOT.parent / "shared" / "data" / "replan"
MADE = ROOT / "build" / "replan"
COMMAND = Path(sys.executable).parent / ("cordgap.exe" if os.name == "nt" else "cordgap")
RX_GY = 24.0
NEAR_MAXIMUM = parse_metric("D0.035cc[Gy]")
KINDS = {"P1s": "strict_P1s", "P1t": "tradeoff_P1t"}
# A plan whose cord is this near to its limit may go either way.
TOSS_UP = 0.01
# The 21 separations of the curve whose time is measured.
SEPARATIONS_MM = np.linspace(0.0, 10.0, 21)
# The truth is read off a curve to this.
READ_MM = 0.05
# Metric, at least, region as the table of goals has them; the truth's name and share of Rx.
RIM_GOALS = {
    "rim 15 Gy": ("DC0.035cc[Gy]", 15.0, "target", "Dmin035", 0.625),
    "rim 80 %": ("DC0.035cc[%]", 80.0, "target", "Dmin035", 0.8),
    "D95 rim": ("D95%[%]", 95.0, "rim", "D95rim", 0.95),
}
TRIM_GOALS = {"Dmin035>=0.8": "Dmin0.035cc[%]>=80", "D98>=0.95": "D98%[%]>=95"}


@dataclass(frozen=True)
class Outcome:
    """One estimate beside its truth."""

    anatomy: str
    kind: str
    present_mm: int
    share: float
    truth_mm: float
    estimate_mm: float
    low_mm: float
    high_mm: float

    @property
    def error_mm(self) -> float:
        return self.estimate_mm - self.truth_mm

    @property
    def inside(self) -> bool:
        return self.low_mm - READ_MM <= self.truth_mm <= self.high_mm + READ_MM


def compute_once() -> None:
    """Keep what does not depend on the limit: solids, DVHs and the survey of the last plans."""
    analysis.survey = lru_cache(8)(analysis.survey)
    for name in ("build_solid", "surface_of", "hot_end_of_margin"):
        setattr(judge, name, lru_cache(8)(getattr(judge, name)))
    for name in ("build_solid", "compute_dvh"):
        setattr(structures, name, lru_cache(8)(getattr(structures, name)))


def plans(folder: Path) -> Iterator[tuple[Path, dict, int, str, Case]]:
    for anatomy in sorted(p.parent for p in folder.glob("*/truth.json")):
        truth = json.loads((anatomy / "truth.json").read_text(encoding="utf-8"))
        for present in (0, 2):
            for kind in (*KINDS, "P2a"):
                dose = anatomy / f"{present}mm" / f"RTDOSE_{kind}.dcm"
                if dose.exists():
                    case = read_case(
                        rtstruct=dose.with_name("RTSTRUCT.dcm"),
                        rtdose=dose,
                        wanted=("SpinalCord", "GTV"),
                        with_image=False,
                    )
                    yield anatomy, truth, present, kind, case


def cord_curve(truth: dict, kind: str) -> dict[int, float]:
    """Cord dose over prescription at each whole separation that was planned."""
    known = truth["cord_d035_over_rx"][kind]
    rows = known.items() if isinstance(known, dict) else enumerate(known)
    return {int(m): float(v) for m, v in rows}


def answer(case: Case, limit_gy: float, coverage: str | None = None) -> Separation:
    settings = Settings(
        cord="SpinalCord",
        target="GTV",
        prescription=Prescription(RX_GY, 1, "option"),
        constraints=(parse_goal(f"D0.035cc[Gy]<={limit_gy:.4f}"),),
        coverage=() if coverage is None else (parse_goal(coverage),),
    )
    found = analyze(case, settings).separation
    assert found is not None
    return found


HEADER = (
    f"{'plan':16} {'n':>4} {'under':>7} {'bias':>7} {'sd':>6} {'<=0.5':>7} {'<=1':>7} {'over':>7} "
    f"{'inside':>7} {'width':>6}"
)


def show(label: str, rows: list[Outcome]) -> None:
    if not rows:
        return
    e = np.array([r.error_mm for r in rows])
    print(
        f"{label:16} {len(e):4d} {e.min():+7.2f} {e.mean():+7.2f} {e.std():6.2f} "
        f"{np.mean(abs(e) <= 0.5):7.0%} {np.mean(abs(e) <= 1):7.1%} {e.max():+7.2f} "
        f"{np.mean([r.inside for r in rows]):7.0%} "
        f"{np.median([r.high_mm - r.low_mm for r in rows]):6.2f}"
    )


@dataclass
class Tally:
    """What was asked and what came out."""

    rows: list[Outcome]
    trimmed: list[Outcome]
    rims: list[Outcome]
    doses: list[tuple[str, float]]
    failed: list[str]


def outcome(
    anatomy: Path, kind: str, present: int, share: float, found: Separation, truth_mm: float
) -> Outcome:
    assert found.required_separation_mm is not None and found.interval_mm is not None
    return Outcome(
        anatomy.name, kind, present, share, truth_mm, found.required_separation_mm,
        *found.interval_mm,
    )  # fmt: skip


def ask_trim(tally: Tally, anatomy: Path, truth: dict, case: Case) -> None:
    for criterion, goal in TRIM_GOALS.items():
        known = truth["required_margin_mm_P2a_14Gy_of_24Gy"][criterion]["replanned"]
        if known is None or known <= truth["initial_gap_mm"]:
            continue
        found = answer(case, 14.4, goal)
        if found.required_separation_mm is None:
            tally.failed.append(f"{anatomy.name} trim {goal}")
        else:
            tally.trimmed.append(outcome(anatomy, goal, 0, 14.0 / 24.0, found, known))


def frontier(truth: dict, quality: str, wanted: float) -> dict[int, float]:
    """Least cord dose of the planned strategies, by separation, that gives the rim what is wanted.

    Strategies on either side of the goal are mixed: linear between them, a truth of second rank.
    Where all give the rim more than is wanted, a plan that gives less was not made: no truth.
    """
    found = {}
    for key, strategies in truth["m"].items():
        points = [
            (plan[quality], plan["cord035"])
            for kind, plan in strategies.items()
            if kind in (*KINDS, "P2a") and plan and quality in plan
        ]
        enough = [p for p in points if p[0] >= wanted]
        less = [p for p in points if p[0] <= wanted]
        if enough and less:
            costs = [cord for _, cord in enough]
            for (q0, c0), (q1, c1) in itertools.product(less, enough):
                if q0 < q1:
                    costs.append(c0 + (wanted - q0) / (q1 - q0) * (c1 - c0))
            found[int(key)] = min(costs)
    return found


def needed_mm(curve: dict[int, float], share: float) -> float | None:
    """Separation at which a cord dose first falls to a share, between two that were planned."""
    for m in sorted(curve):
        if m + 1 in curve and curve[m] > share >= curve[m + 1]:
            return m + (curve[m] - share) / (curve[m] - curve[m + 1])
    return None


def ask_rims(tally: Tally, anatomy: Path, truth: dict, kind: str, case: Case) -> None:
    """Goals on the rim, from the plan at 0 mm, against the frontier of the strategies."""
    known = {goal: frontier(truth, *row[3:]) for goal, row in RIM_GOALS.items()}
    for limit in truth["required_margin_mm"].values():
        if "rx_gy" not in limit:
            continue
        share = limit["cord_limit_gy"] / limit["rx_gy"]
        rows = answer(case, RX_GY * share).coverage_goals
        for goal, (metric, at_least, region, *_) in RIM_GOALS.items():
            truth_mm = needed_mm(known[goal], share)
            if truth_mm is None or truth_mm <= truth["initial_gap_mm"]:
                continue
            for g in rows:
                if (g.metric, g.at_least, g.region) == (metric, at_least, region) and g.interval_mm:
                    estimate = g.required_separation_mm
                    assert estimate is not None
                    label = f"{goal} {kind}"
                    tally.rims.append(
                        Outcome(anatomy.name, label, 0, share, truth_mm, estimate, *g.interval_mm)
                    )


def ask(tally: Tally, anatomy: Path, truth: dict, present: int, kind: str, case: Case) -> None:
    gap = max(present, truth["initial_gap_mm"])
    curve = cord_curve(truth, kind)
    for limit in truth["required_margin_mm"].values():
        known = limit.get(KINDS[kind]) if "rx_gy" in limit else None
        if known is None or known <= gap:
            continue
        share = limit["cord_limit_gy"] / limit["rx_gy"]
        if abs(truth["m"][str(present)][kind]["cord035"] - share) < TOSS_UP:
            continue
        found = answer(case, RX_GY * share)
        if found.required_separation_mm is None:
            tally.failed.append(f"{anatomy.name} {kind} {present} mm {share:.2f}")
        else:
            tally.rows.append(outcome(anatomy, kind, present, share, found, known))
    # The predicted cord dose does not depend on the limit, as long as the plan exceeds it.
    for point in answer(case, 0.4 * RX_GY).curve:
        s = point.separation_mm
        if point.question == "re-planned" and s in curve and gap < s <= gap + 3:
            tally.doses.append((kind, point.cord_gy / RX_GY - curve[int(s)]))


def collect(folders: list[Path]) -> Tally:
    """Ask for every plan of the folders that has a truth."""
    compute_once()
    tally = Tally([], [], [], [], [])
    for folder in folders:
        for anatomy, truth, present, kind, case in plans(folder):
            if kind != "P2a":
                ask(tally, anatomy, truth, present, kind, case)
                if present == 0:
                    ask_rims(tally, anatomy, truth, kind, case)
            elif present == 0:
                ask_trim(tally, anatomy, truth, case)
    return tally


def markdown(tally: Tally) -> str:
    """The same figures as a table: all, by kind of plan, by anatomy, trim, and goals at the rim."""
    lines = [
        "| plans | n | worst under | bias | sd | <= 0.5 mm | <= 1 mm | worst over | interval holds "
        "| width |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]

    def add(label: str, rows: list[Outcome]) -> None:
        if not rows:
            return
        e = np.array([r.error_mm for r in rows])
        width = np.median([r.high_mm - r.low_mm for r in rows])
        lines.append(
            f"| {label} | {e.size} | {e.min():+.2f} | {e.mean():+.2f} | {e.std():.2f} | "
            f"{np.mean(abs(e) <= 0.5):.0%} | {np.mean(abs(e) <= 1):.1%} | {e.max():+.2f} | "
            f"{np.mean([r.inside for r in rows]):.0%} | {width:.2f} |"
        )

    add("re-planned, both kinds", tally.rows)
    for kind in KINDS:
        add(f"{kind} re-planned", [r for r in tally.rows if r.kind == kind])
    for name in sorted({r.anatomy for r in tally.rows}):
        add(f"{name}, both kinds", [r for r in tally.rows if r.anatomy == name])
    for goal in TRIM_GOALS.values():
        add(f"trim, `{goal}`", [r for r in tally.trimmed if r.kind == goal])
    for goal in RIM_GOALS:
        add(f"re-planned, {goal}", [r for r in tally.rims if r.kind.startswith(goal)])
    near = np.array([abs(d) <= 0.08 for _, d in tally.doses])
    lines.append("")
    lines.append(
        f"No estimate: {len(tally.failed)}. Cord dose up to 3 mm beyond the present separation "
        f"within 8 % of the prescription: {near.sum()} of {near.size}."
    )
    return "\n".join(lines)


def accuracy(folders: list[Path], out: Path | None) -> None:
    tally = collect(folders)
    rows = tally.rows
    print("required separation against re-planned truth (mm; inside: share of intervals)")
    print(HEADER)
    for kind in KINDS:
        for present in (0, 2):
            mine = [r for r in rows if r.kind == kind and r.present_mm == present]
            show(f"{kind} from {present} mm", mine)
    for kind in KINDS:
        show(f"{kind} re-planned", [r for r in rows if r.kind == kind])
    show("both", rows)
    for goal in TRIM_GOALS.values():
        show(f"trim {goal[:11]}", [r for r in tally.trimmed if r.kind == goal])
    for goal in sorted({r.kind for r in tally.rims}):
        show(goal[:27], [r for r in tally.rims if r.kind == goal])
    for name in sorted({r.anatomy for r in rows}):
        show(name, [r for r in rows if r.anatomy == name])
    below = np.array([r.truth_mm < r.low_mm - READ_MM for r in rows])
    above = np.array([r.truth_mm > r.high_mm + READ_MM for r in rows])
    print(f"truth below the interval {below.mean():.1%}, above it {above.mean():.1%}")
    print(f"no estimate: {len(tally.failed)} {tally.failed[:5]}")
    for kind in (*KINDS, "both"):
        e = np.array([d for k, d in tally.doses if kind in (k, "both")])
        print(
            f"cord dose up to 3 mm beyond the present separation, {kind}, n {len(e)}: bias "
            f"{e.mean():+.3f} of the prescription, within 8 %: {np.mean(abs(e) <= 0.08):.1%}"
        )
    if out is not None:
        found = {
            "rows": [asdict(r) for r in rows],
            "trim": [asdict(r) for r in tally.trimmed],
            "rims": [asdict(r) for r in tally.rims],
        }
        out.write_text(json.dumps(found, indent=1), encoding="utf-8")


def best(repeat: int, call: Callable[[], object]) -> str:
    """Least wall time and least processor time (with child processes) of a call."""
    times = []
    for _ in range(repeat):
        start, used = time.perf_counter(), os.times()
        call()
        now = os.times()
        times.append((time.perf_counter() - start, sum(now[:4]) - sum(used[:4])))
    wall, processor = (min(column) for column in zip(*times, strict=True))
    return f"{wall:6.2f} ({processor:5.2f})"


def curve_of(case: Case) -> int:
    """Survey with its map and a curve of 21 separations: what is drawn after reading."""
    cord, target = case.structure("SpinalCord"), case.structure("GTV")
    anatomy = survey(case, cord, target, max_mm=10.0)
    dvh = compute_dvh(anatomy.cord, case.dose, uncertainty=False)
    limit = CordLimit("cord", "cord", "SpinalCord", NEAR_MAXIMUM, 14.0, dvh, RX_GY, 0.1)
    plan = Plan(Prescription(RX_GY, 1, "option"), (), (limit,), dvh)
    remaining = remaining_by_step(anatomy.cells, SEPARATIONS_MM)
    return len(separation_curve(anatomy, plan, "plan-gradient", remaining))


def speed(repeat: int) -> None:
    print(f"\nspeed, best of {repeat}: wall time (processor time), s")
    for plan in ("coverage-first", "cord-first", "ring"):
        arguments = [COMMAND, "separation", ROOT / "plans" / plan, "--json", "-q"]
        took = best(repeat, lambda a=arguments: subprocess.run(a, capture_output=True, check=False))
        case = read_case(ROOT / "plans" / plan, with_image=False)
        inside = best(repeat, lambda c=case: analyze(c, Settings()))
        drawn = best(repeat, lambda c=case: curve_of(c))
        print(
            f"  {plan:16} whole process {took}   analysis after reading {inside}   "
            f"map and curve of 21 separations {drawn}"
        )
    print("  map and curve against cord length and target volume")
    for cord_half, target_half in (
        (36.0, 13.5),
        (90.0, 13.5),
        (180.0, 13.5),
        (90.0, 40.0),
        (90.0, 80.0),
    ):
        plain = SpineAnatomy()
        case = spine_case(
            anatomy=replace(
                plain,
                cord=replace(plain.cord, half_length_mm=cord_half, bend_per_mm=(0.0, 0.0)),
                vertebra_half_length_mm=target_half,
            ),
            epidural=Epidural("anterior", 1.0, half_length_mm=target_half - 1.5),
            dose=SpineDose(cord_edge_gy=21.0, gradient_gy_per_mm=2.4),
            sampling=Sampling(dose_spacing_mm=2.0),
            image=False,
        )
        took = best(repeat, lambda c=case: curve_of(c))
        volume = build_solid(case.structure("GTV")).volume_cc
        print(f"    cord {2 * cord_half:5.0f} mm, target {volume:6.1f} cc: {took}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--make", type=int, default=0, help="plan so many anatomies first")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", choices=("accuracy", "speed"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    folders = options.folders
    if options.make:
        made = MADE / f"seed{options.seed}"
        make_anatomies(made, seed=options.seed, numbers=range(options.make))
        folders = [*folders, made]
    if options.only != "speed":
        accuracy(folders or [REPLAN], options.json)
    if options.only != "accuracy":
        speed(options.repeat)


if __name__ == "__main__":
    main()

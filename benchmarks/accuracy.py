"""How far the DVH engine is from bodies whose answer is known, with dicompyler-core beside it.

Four tables: cords, bodies that close, the stated interval, small spheres. The published oracle is
read from CORDGAP_ORACLE, or ../shared/data/oracle beside the checkout, where it is there; all else
is made by the script. Usage: python benchmarks/accuracy.py [--quick] [--no-peer] [--json FILE]

Longer than 500 lines because the cases of a table, what is measured on them and how it is printed
stand together: who doubts a figure reads one file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import peer
from cordgap.case.grid import DoseGrid
from cordgap.case.structure import Structure
from cordgap.check.selftest import (
    FAR_MM,
    LOCAL_PERCENT,
    NEAR_MM,
    NEAR_PERCENT,
    SPHERE_LIMITS,
    VOLUME_PERCENT,
)
from cordgap.dicom.dose_sum import read_dose
from cordgap.dicom.structures import read_structures
from cordgap.dvh.curve import DVH
from cordgap.dvh.integrate import compute_dvh
from cordgap.dvh.metrics import parse_metric
from cordgap.dvh.solid import build_solid
from cordgap.export.plan import write_plan
from cordgap.phantom.bodies import (
    SHIFT_MM,
    Body,
    ball,
    case_of,
    linear,
    nelms_bodies,
    own_cords,
    penumbra,
    radial,
)

ROOT = Path(__file__).resolve().parents[1]
ORACLE = Path(os.environ.get("CORDGAP_ORACLE", ROOT.parent / "shared" / "data" / "oracle"))
METRICS = {
    "D0.035cc": "D0_035cc", "D0.1cc": "D0_1cc", "D1cc": "D1cc", "D2%": "D2", "D95%": "D95",
    "Mean": "mean",
}  # fmt: skip
PARSED = {name: parse_metric(f"{name}[Gy]") for name in METRICS}
# Where the dose hardly changes, a millimetre of it says nothing: percent counts there.
LEAST_GRADIENT_SHARE = 0.01
NELMS_LIMITS = {"0.2 mm": 0, "1-3 mm, slab centres": 5, "1-3 mm, poles": 10}
LEAST_COVERAGE, MOST_WIDTH = 0.9, 3.0


@dataclass(frozen=True)
class Row:
    """One metric of one case: error of cordgap and of the peer."""

    group: str
    case: str
    metric: str
    truth: float
    error: float
    gradient: float = 1.0
    peer_error: float | None = None
    plus_minus: float | None = None

    def percent(self, error: float) -> float:
        return 100 * error / self.truth

    def near(self, error: float) -> tuple[bool, bool]:
        """Within 0.03 mm or 0.5 %, and within 0.1 mm (0.5 % where the dose hardly changes)."""
        flat = self.gradient < LEAST_GRADIENT_SHARE * self.truth
        percent = abs(self.percent(error)) <= NEAR_PERCENT
        mm = abs(error) / self.gradient if self.gradient > 0 else np.inf
        return mm <= NEAR_MM or percent, percent if flat else mm <= FAR_MM


def value(dvh: DVH, name: str) -> float:
    read = PARSED[name].evaluate(dvh)
    return float("nan") if read.value is None else read.value


class Peer:
    """dicompyler-core on the same case, written as files."""

    def __init__(self, folder: Path, wanted: bool) -> None:
        self.version = peer.version() if wanted else None
        self.folder, self.count = folder, 0

    def written(self, structure: Structure, dose: DoseGrid) -> tuple[float, DVH] | None:
        if self.version is None:
            return None
        self.count += 1
        plan = write_plan(case_of(structure, dose), self.folder / str(self.count))
        assert plan.rtdose is not None
        return self.read(plan.rtstruct, plan.rtdose, structure.roi_number)

    def read(self, rtstruct: Path, rtdose: Path, number: int) -> tuple[float, DVH] | None:
        """Its volume, and its curve as one of ours."""
        if self.version is None:
            return None
        curve = peer.curve(rtstruct, rtdose, number)
        if curve is None:
            return None
        dose, volume, mean = curve
        return float(volume[0]), DVH(dose, volume, float(volume[0]), 0.0, mean, float(dose[-1]))


# --- cords ---


def oracle_cords(quick: bool, other: Peer) -> Iterator[Row]:
    """Published cords: exact for linear fields, exact shape in the trilinear dose for others."""
    if not ORACLE.is_dir():
        return
    exact = json.loads((ORACLE / "exact.json").read_text(encoding="utf-8"))
    trilinear = json.loads((ORACLE / "triref.json").read_text(encoding="utf-8"))
    fields = sorted({k.split("|")[1] for k in exact})
    sizes = ((1, 3), (3, 2)) if quick else tuple((p, g) for p in (1, 2, 3) for g in (1, 2, 3))
    for planes, grid in sizes:
        rtstruct = ORACLE / f"rs_{planes}.dcm"
        structures = [
            s for s in read_structures(rtstruct).structures if s.roi_name.startswith("cord")
        ]
        solids = [build_solid(s) for s in structures]
        for field in fields:
            rtdose = ORACLE / f"rd_{field}_{grid}.dcm"
            dose = read_dose([rtdose]).grid
            for structure, solid in zip(structures, solids, strict=True):
                key = f"{solid.roi_name}|{field}"
                if key not in exact:
                    continue
                is_linear = field.startswith("lin")
                truth = exact[key] if is_linear else trilinear[f"{key}|{grid}"]
                dvh = compute_dvh(solid, dose, uncertainty=not is_linear)
                theirs = other.read(rtstruct, rtdose, structure.roi_number)
                case = f"{key}, planes {planes} mm, grid {grid} mm"
                yield _volume("oracle cords", case, truth["vol_cc"], solid.volume_cc, theirs)
                for name, key_name in METRICS.items():
                    if truth.get(key_name) is None:
                        continue
                    yield _row(
                        "oracle cords" + ("" if is_linear else ", curved fields"), case, name,
                        truth[key_name], dvh, oracle_gradient(field, truth[key_name]), theirs,
                    )  # fmt: skip
                    if not is_linear:
                        yield _stated("oracle cords", case, name, exact[key][key_name], dvh)


def oracle_gradient(field: str, dose_gy: float) -> float:
    """Gradient of a published field where it has that dose."""
    if field.startswith("lin"):
        return 1.0
    if field.startswith("rad"):
        return 0.15 * dose_gy
    sigma = float(field[3:])
    u = np.linspace(-40, 52, 20001)
    from scipy.special import erf

    dose = 1 + 13.5 * (1 + erf((u - 6) / (np.sqrt(2) * sigma)))
    return float(np.interp(dose_gy, dose, np.gradient(dose, u)))


def cords_of_our_own(quick: bool, other: Peer) -> Iterator[Row]:
    """Other radii, tilts, bends, spacings, offsets, vertex spacings and fields."""
    sizes = ((2.5, 0.2, 2.3),) if quick else ((1.5, 0.2, 1.7), (2.5, 0.2, 2.3), (2.5, 0.5, 2.9))
    fields = [linear(0), linear(1), linear(2), penumbra(3.0), radial(0.12)]
    for spacing, vertex, grid in sizes:
        for body in own_cords():
            structure = body.structure(body.planes(spacing, "centres"), vertex)
            solid = build_solid(structure)
            # The polygon is what is given: of its area, not of the circle's.
            given = body.as_given(vertex)
            for field in fields:
                dose = field.grid(body, grid, SHIFT_MM)
                is_linear = field.axis is not None and "erf" not in field.name
                dvh = compute_dvh(solid, dose, uncertainty=not is_linear)
                theirs = other.written(structure, dose)
                case = f"{body.name}, {field.name}, planes {spacing} mm, grid {grid} mm"
                total = given.volume_cc
                yield _volume("own cords", case, total, solid.volume_cc, theirs)
                volumes = {"D0.035cc": 0.035, "D0.1cc": 0.1, "D1cc": 1.0, "D2%": 0.02 * total,
                           "D95%": 0.95 * total}  # fmt: skip
                exact = {n: given.exact(field, v) for n, v in volumes.items()}
                exact["Mean"] = given.exact_mean(field)
                if is_linear:
                    truth = exact
                else:
                    doses, mean = given.trilinear(dose, np.array(list(volumes.values())))
                    truth = dict(zip(volumes, doses.tolist(), strict=True)) | {"Mean": mean}
                for name in METRICS:
                    yield _row(
                        "own cords" + ("" if is_linear else ", curved fields"), case, name,
                        truth[name], dvh, field.gradient(truth[name]), theirs,
                    )  # fmt: skip
                    if not is_linear:
                        yield _stated("own cords", case, name, exact[name], dvh)


def polygons(quick: bool) -> Iterator[Row]:
    """Vertices every 1 mm: the polygons are the truth for the volume."""
    for body in own_cords():
        for spacing in (2.5,) if quick else (1.5, 2.5):
            z = body.planes(spacing, "centres")
            structure = body.structure(z, 1.0)
            area = sum(
                0.5 * abs(float(c[:, 0] @ np.roll(c[:, 1], -1) - c[:, 1] @ np.roll(c[:, 0], -1)))
                for plane in structure.planes
                for c in plane.contours
            )
            case, ours = f"{body.name}, planes {spacing} mm", build_solid(structure).volume_cc
            yield _volume("vertices every 1 mm", case, area * spacing / 1000, ours, None)


# --- bodies that close ---

# Spacing of the planes and of the dose grid.
Sizes = tuple[tuple[float, float], ...]
NELMS = {"D99%": 0.99, "D95%": 0.95, "D5%": 0.05, "D1%": 0.01}


def closing_bodies(quick: bool, other: Peer) -> Iterator[Row]:
    """Bodies of the kind of Nelms 2015: 4 Gy at the coldest point, 1 Gy/mm along y and z."""
    fine = ((0.2, 3.0),) if quick else ((0.2, 0.4), (0.2, 1.0), (0.2, 2.0), (0.2, 3.0))
    wide = ((1.0, 1.0), (2.0, 2.0), (3.0, 3.0))
    none = Peer(other.folder, False)
    yield from _closing("0.2 mm", 12.0, fine, "centres", none)
    yield from _closing("1-3 mm, slab centres", 12.0, wide, "centres", other)
    yield from _closing("1-3 mm, poles", 12.0, wide, "poles", other)
    if not quick:
        for radius, sizes in ((9.0, ((1.5, 1.5), (2.0, 2.5), (3.0, 2.0))),
                              (7.5, ((1.0, 2.0), (1.5, 2.5), (2.5, 1.5))),
                              (15.0, ((1.5, 2.5), (2.5, 2.0), (3.0, 3.0)))):  # fmt: skip
            for where in ("centres", "poles"):
                group = f"other radii, {'slab centres' if where == 'centres' else 'poles'}"
                yield from _closing(group, radius, sizes, where, other)
        for phase in (0.15, 0.35, 0.65, 0.85):
            yield from _closing("other radii, other phases", 11.0, ((1.5, 2.0), (2.5, 2.5)),
                                phase, other)  # fmt: skip


def _closing(
    group: str,
    radius: float,
    sizes: Sizes,
    where: str | float,
    other: Peer,
) -> Iterator[Row]:
    any_phase = isinstance(where, float)
    for body in nelms_bodies(radius):
        if any_phase and body.axis == 2 and any(body.flat):
            continue  # nobody can tell where between two planes it was cut
        for spacing, grid in sizes:
            structure = body.structure(body.planes(spacing, where), 0.1)
            solid = build_solid(structure)
            true = body.with_half_slices(spacing) if where == "poles" else body
            for axis in (1, 2):
                field = linear(axis, radius + 4.0)
                dose = field.grid(body, grid, SHIFT_MM)
                dvh = compute_dvh(solid, dose, uncertainty=any_phase)
                theirs = other.written(structure, dose)
                case = f"{body.name} {2 * radius:g} mm, {field.name}, planes {spacing:g} mm"
                case += f", grid {grid:g} mm"
                total = true.volume_cc
                if axis == 1:
                    yield _volume(group, case, total, solid.volume_cc, theirs)
                volumes = {n: share * total for n, share in NELMS.items()} | {"D0.03cc": 0.03}
                exact = {n: true.exact(field, v) for n, v in volumes.items()}
                for name, truth in (exact | {"Mean": true.exact_mean(field)}).items():
                    yield _row(group, case, name, truth, dvh, 1.0, theirs)
                    if any_phase:
                        yield _stated(group, case, name, truth, dvh)


for _name in (*NELMS, "D0.03cc"):
    PARSED[_name] = parse_metric(f"{_name}[Gy]")


# --- small spheres ---


def small_spheres(quick: bool, other: Peer) -> Iterator[Row]:
    """Spheres in 50 placements: phase of the 1 mm planes stratified, x and y at random."""
    rng = np.random.default_rng(2021)
    n = 10 if quick else 50
    for diameter in (5.0, 10.0) if quick else (3.0, 5.0, 7.0, 10.0, 15.0, 20.0):
        for i in range(n):
            x, y = rng.uniform(-0.5, 0.5, 2)
            body = ball(diameter, (float(x), float(y), 0.0))
            vertex = np.pi * diameter / 64
            z = np.arange(-np.ceil(diameter), np.ceil(diameter)) + (i + rng.random()) / n
            rings = [_ring64(body, float(v)) for v in z if abs(v) < diameter / 2]
            from cordgap.case.structure import structure_from_contours

            structure = structure_from_contours(1, "sphere", rings, slab_thickness_mm=1.0)
            theirs = None
            if i % 5 == 0 and other.version:
                dose = linear(0).grid(body, 1.0, SHIFT_MM)
                theirs = other.written(structure, dose)
            yield _volume(f"spheres {diameter:g} mm", f"placement {i}, vertices {vertex:.2f} mm",
                          body.volume_cc, build_solid(structure).volume_cc, theirs)  # fmt: skip


def _ring64(body: Body, z: float) -> np.ndarray:
    radius = float(body.radius(np.array(z)))
    angle = 2 * np.pi * (np.arange(64) + 0.3) / 64
    x, y, _ = body.offset_mm
    return np.column_stack([x + radius * np.cos(angle), y + radius * np.sin(angle), np.full(64, z)])


# --- rows ---


def _volume(
    group: str, case: str, truth: float, ours: float, theirs: tuple[float, DVH] | None
) -> Row:
    return Row(group, case, "volume", truth, ours - truth,
               peer_error=None if theirs is None else theirs[0] - truth)  # fmt: skip


def _row(
    group: str, case: str, name: str, truth: float, dvh: DVH, gradient: float,
    theirs: tuple[float, DVH] | None,
) -> Row:  # fmt: skip
    peer_error = None if theirs is None else value(theirs[1], name) - truth
    return Row(group, case, name, truth, value(dvh, name) - truth, gradient, peer_error)


def _stated(group: str, case: str, name: str, continuous: float, dvh: DVH) -> Row:
    read = PARSED[name].evaluate(dvh)
    assert read.value is not None
    return Row(f"{group}: interval", case, name, continuous, read.value - continuous,
               plus_minus=read.plus_minus)  # fmt: skip


def measure(*, quick: bool, with_peer: bool = True) -> list[Row]:
    """Every row of every table."""
    with tempfile.TemporaryDirectory() as folder:
        other = Peer(Path(folder), with_peer)
        return [
            *oracle_cords(quick, other),
            *cords_of_our_own(quick, other),
            *polygons(quick),
            *closing_bodies(quick, other),
            *small_spheres(quick, other),
        ]


# --- what the rows say ---


def groups(rows: list[Row], *, part: str) -> list[str]:
    return [g for g in dict.fromkeys(r.group for r in rows) if part in g]


def _q(values: list[float], digits: int = 3) -> str:
    size = np.abs(values)
    return f"{np.median(size):.{digits}f} / {size.max():.{digits}f}"


def cord_table(rows: list[Row]) -> str:
    head = (
        "| cords | metric | cases | cordgap mm | cordgap % | ≤ 0.03 mm or 0.5 % | ≤ 0.1 mm "
        "| dicompyler-core mm | % | ≤ 0.03 mm or 0.5 % | ≤ 0.1 mm |\n" + "|---" * 11 + "|"
    )
    lines = [head]
    kinds = ("oracle cords", "own cords", "vertices every 1 mm")
    for group in [g for g in groups(rows, part="") if g.startswith(kinds) and "interval" not in g]:
        for name in ("volume", *METRICS):
            chosen = [r for r in rows if r.group == group and r.metric == name]
            if chosen:
                cells = [group, name, str(len(chosen))]
                cells += _cord_cells(chosen, [r.error for r in chosen])
                theirs = [r for r in chosen if r.peer_error is not None]
                cells += _cord_cells(theirs, [r.peer_error or 0.0 for r in theirs])
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cord_cells(rows: list[Row], errors: list[float]) -> list[str]:
    if not rows:
        return ["", "", "", ""]
    pairs = list(zip(rows, errors, strict=True))
    percent = _q([r.percent(e) for r, e in pairs])
    if rows[0].metric == "volume":
        return ["", percent, "", ""]
    # Millimetres only where the dose changes.
    mm = [e / r.gradient for r, e in pairs if r.gradient >= LEAST_GRADIENT_SHARE * r.truth]
    near = [r.near(e) for r, e in pairs]
    shares = [f"{100 * float(np.mean([n[i] for n in near])):.0f} %" for i in (0, 1)]
    return [_q(mm) if mm else "", percent, *shares]


def far_off(rows: list[Row], group: str, *, of_peer: bool = False) -> list[Row]:
    """Rows of a group more than 3 % off the local value."""
    chosen = [r for r in rows if r.group == group]
    errors = [r.peer_error if of_peer else r.error for r in chosen]
    return [
        r for r, e in zip(chosen, errors, strict=True)
        if e is not None and not abs(r.percent(e)) <= LOCAL_PERCENT
    ]  # fmt: skip


def closing_table(rows: list[Row]) -> str:
    lines = [
        "| contours | values | cordgap off by > 3 % | volume % | dose mm "
        "| dicompyler-core off by > 3 % | volume % | dose mm |\n" + "|---" * 8 + "|"
    ]
    others = [g for g in groups(rows, part="other radii") if "interval" not in g]
    for group in (*NELMS_LIMITS, *others):
        chosen = [r for r in rows if r.group == group]
        if not chosen:
            continue
        cells = [group, str(len(chosen)), str(len(far_off(rows, group)))]
        cells += _closing_cells([(r, r.error) for r in chosen])
        theirs = [(r, r.peer_error) for r in chosen if r.peer_error is not None]
        cells += [str(len(far_off(rows, group, of_peer=True))) if theirs else ""]
        cells += _closing_cells(theirs) if theirs else ["", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _closing_cells(pairs: list[tuple[Row, float]]) -> list[str]:
    return [
        _q([r.percent(e) for r, e in pairs if r.metric == "volume"], 2),
        _q([e for r, e in pairs if r.metric != "volume"]),
    ]


def interval(rows: list[Row], group: str, metric: str | None = None) -> tuple[int, float, float]:
    """Cases, share whose interval holds the truth, median plus_minus over median error."""
    chosen = [r for r in rows if r.group == group and metric in (None, r.metric)]
    size = np.array([abs(r.error) for r in chosen])
    stated = np.array([np.nan if r.plus_minus is None else r.plus_minus for r in chosen])
    return len(chosen), float(np.mean(size <= stated)), float(np.median(stated) / np.median(size))


def interval_table(rows: list[Row]) -> str:
    lines = [
        "| bodies | metric | cases | interval holds the truth | median ± / median error |\n"
        "|---|---|---|---|---|"
    ]
    for group in groups(rows, part=": interval"):
        there = {r.metric for r in rows if r.group == group}
        for metric in (*sorted(there), None):
            n, share, width = interval(rows, group, metric)
            name = group.removesuffix(": interval")
            lines.append(
                f"| {name} | {metric or 'all'} | {n} | {100 * share:.0f} % | {width:.2f} |"
            )
    return "\n".join(lines)


def sphere_table(rows: list[Row]) -> str:
    lines = [
        "| spheres | placements | cordgap volume %: mean | range "
        "| dicompyler-core: mean | range |\n"
        "|---|---|---|---|---|---|"
    ]
    for group in groups(rows, part="spheres"):
        chosen = [r for r in rows if r.group == group]
        ours = [r.percent(r.error) for r in chosen]
        theirs = [r.percent(r.peer_error) for r in chosen if r.peer_error is not None]
        cells = [group.removeprefix("spheres "), str(len(ours)), *_mean_range(ours)]
        lines.append("| " + " | ".join(cells + _mean_range(theirs)) + " |")
    return "\n".join(lines)


def _mean_range(percent: list[float]) -> list[str]:
    if not percent:
        return ["", ""]
    return [f"{np.mean(percent):+.2f}", f"{min(percent):+.2f} to {max(percent):+.2f}"]


def tables(rows: list[Row]) -> dict[str, str]:
    """Every table as Markdown, by its title."""
    return {
        "Cords: error, median / worst": cord_table(rows),
        "Bodies that close: error, median / worst": closing_table(rows),
        "The stated interval against the continuous truth": interval_table(rows),
        "Small spheres, planes every 1 mm": sphere_table(rows),
    }


def failures_of(rows: list[Row]) -> list[str]:
    """What breaks a limit, in words."""
    found = []
    for row in rows:
        if row.group.startswith(("oracle cords", "own cords", "vertices")) and not row.plus_minus:
            if row.metric == "volume":
                if abs(row.percent(row.error)) > VOLUME_PERCENT:
                    found.append(f"volume {row.percent(row.error):+.3f} %: {row.case}")
            elif "interval" not in row.group and not all(row.near(row.error)):
                found.append(f"{row.metric} {row.error:+.4f} Gy: {row.case}")
    for group, most in NELMS_LIMITS.items():
        n = len(far_off(rows, group))
        if n > most:
            found.append(f"{n} values more than {LOCAL_PERCENT:g} % off, at most {most}: {group}")
    for group in groups(rows, part=": interval"):
        n, share, width = interval(rows, group)
        if share < LEAST_COVERAGE:
            found.append(f"the interval holds the truth in {100 * share:.0f} % of {n}: {group}")
        if width > MOST_WIDTH and "cords" in group:
            found.append(f"median ± is {width:.2f} times the median error: {group}")
    for row_group in groups(rows, part="spheres"):
        percent = [r.percent(r.error) for r in rows if r.group == row_group]
        diameter = float(row_group.split()[1])
        for least, mean, worst in SPHERE_LIMITS:
            if diameter >= least and diameter < (10.0 if least < 10 else np.inf) and (
                abs(float(np.mean(percent))) > mean or max(map(abs, percent)) > worst
            ):  # fmt: skip
                found.append(f"volume mean {np.mean(percent):+.2f} %: {row_group}")
    return found


def accuracy_failures() -> list[str]:
    """Re-measure a small set, without the peer; what breaks a limit, in words."""
    return failures_of(measure(quick=True, with_peer=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small set, under 40 s")
    parser.add_argument("--no-peer", action="store_true", help="leave dicompyler-core out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every row")
    options = parser.parse_args()
    start = time.perf_counter()
    rows = measure(quick=options.quick, with_peer=not options.no_peer)
    if not ORACLE.is_dir():
        print(f"no oracle at {ORACLE}: the published cords are left out\n")
    for title, table in tables(rows).items():
        print(f"{title}\n\n{table}\n")
    print(f"{len(rows)} values in {time.perf_counter() - start:.0f} s")
    if options.json:
        options.json.write_text(json.dumps([asdict(r) for r in rows], indent=0), encoding="utf-8")
    failures = failures_of(rows)
    print("\n".join(failures or ["within all limits"]))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()

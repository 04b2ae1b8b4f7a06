"""Plan spine phantoms again at every separation, and write plans and truth as DICOM and JSON.

usage: python benchmarks/replanner.py OUT [--anatomies N] [--seed S] [--first K] [--named]
                                     [--usual]

A photon pencil beam in an ellipse of water (depth dose, a primary and two scatter Gaussians),
coplanar beams of 2.5 x 5 mm beamlets, fluence by L-BFGS-B. Three kinds of plan for each anatomy
and separation: P1s covers the target strictly and lets the cord get what it must, P1t weighs
underdose a tenth of that and lets the rim go cold, P2a holds the cord at 14/24 of the
prescription. P1s and P1t are normalised to D95 = prescription, P2a as far as the cord allows.

OUT/<anatomy>/truth.json and OUT/<anatomy>/<0|2>mm/{RTSTRUCT,RTDOSE_<kind>}.dcm, as
``separation.py`` reads them; half a minute an anatomy. Anatomies that are there are kept.

Longer than 500 lines because it is one small planning system whose constants (kernel, weights,
normalisation) mean something only together: the truth of the estimates rests on all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from pydicom.uid import generate_uid
from scipy import sparse
from scipy.ndimage import binary_dilation, map_coordinates
from scipy.optimize import minimize
from scipy.spatial import cKDTree
from scipy.special import erf

from cordgap.case.case import Case, Prescription
from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.case.structure import structure_from_contours
from cordgap.export.plan import write_plan
from layouts import NAMED, CordDistance, Layout, contours, draw

RX_GY = 24.0
KINDS = ("P1s", "P1t", "P2a")
UNDERDOSE = {"P1s": 1.0, "P1t": 0.1, "P2a": 1.0}
SEPARATIONS_MM = tuple(range(9))
LAST_P2A_MM = 6
STARTS_MM = (0, 2)
CORD_OF_P2A = 14.0 / 24.0
# A separation that leaves less than this share of the target is not planned.
LEAST_LEFT = 0.3
# The fluence is found with these, the first plan of a series longer than those that follow it.
FIRST_STEPS, NEXT_STEPS = 150, 70
BEAMLET_U_MM, BEAMLET_V_MM = 2.5, 5.0
AXIS_MM = 1000.0
BODY_HALF_MM = (150.0, 100.0)
# Depth dose: attenuation and build-up per mm.
FALL_PER_MM, RISE_PER_MM = 0.0051, 0.3252
MID_SIGMA_MM, SCATTER_SIGMA_MM = 6.5, 16.0
# What the planner wants, in units of the prescription.
WANTED, HOT, HOT_WEIGHT = 1.03, 1.2, 20.0
HOLD_AT, HOLD_WEIGHT, HOLD_SPARE = 0.56, 8000.0, 0.2
SHELL_LOW, SHELL_MM = 0.35, 6.0
# The coarse lattice of the optimisation, the finer one of the truth.
PLAN_STEP_MM, TRUTH_STEP_MM, CORD_STEP_MM = 1.6, 1.1, 0.7
NEAR_MM = 9.0
# Lattices start this share of a step off, so that nothing is aligned.
OFF = (0.1, 0.2, 0.15)
FAR_SHARE = 0.3
RIM_MM = 8.0
# Limits of the truth: label, prescription, fractions, cord limit.
LIMITS = (
    ("24Gy/1fx", 24, 1, 14.0), ("24Gy/2fx", 24, 2, 17.0), ("27Gy/3fx", 27, 3, 20.3),
    ("30Gy/3fx", 30, 3, 20.3), ("27Gy/3fx_hi", 27, 3, 21.9), ("18Gy/1fx", 18, 1, 14.0),
    ("40Gy/5fx", 40, 5, 25.3), ("28Gy/1fx", 28, 1, 14.0),
)  # fmt: skip
CRITERIA = {"D95>=1": ("D95", 1.0), "D98>=0.95": ("D98", 0.95), "D99>=0.95": ("D99", 0.95),
            "Dmin035>=0.8": ("Dmin035", 0.8)}  # fmt: skip


@dataclass(frozen=True)
class Beam:
    """Direction, sideways axis, and the lattice of beamlets with those that are open."""

    along: np.ndarray
    across: np.ndarray
    u: np.ndarray
    v: np.ndarray
    is_open: np.ndarray


@dataclass(frozen=True)
class Samples:
    """Points with a volume each and, for the target, their distance to the cord."""

    points: np.ndarray
    mm3: np.ndarray
    cord_mm: np.ndarray


def lattice(low: np.ndarray, high: np.ndarray, step: float | tuple[float, ...]) -> np.ndarray:
    steps = np.broadcast_to(step, 3)
    axes = [np.arange(a, b, s) + f * s for a, b, s, f in zip(low, high, steps, OFF, strict=True)]
    return np.stack([v.ravel() for v in np.meshgrid(*axes, indexing="ij")], axis=1)


class Planner:
    """One anatomy, ready to be planned."""

    def __init__(self, layout: Layout) -> None:
        self.layout, self.machine = layout, layout.machine
        self.distance = CordDistance(layout)
        random = np.random.default_rng(0)
        self.target = self.sample_target(PLAN_STEP_MM, random)
        self.iso = np.average(self.target.points, axis=0, weights=self.target.mm3)
        self.cord = self.sample_cord((1.0, 1.0, 1.5), beyond=9.0)
        self.shell, self.shell_mm = self.sample_shell(random)
        self.fine = self.sample_target(TRUTH_STEP_MM)
        self.fine_cord = self.sample_cord((CORD_STEP_MM, CORD_STEP_MM, 1.0), beyond=4.0)
        self.beams = tuple(self.make_beams())
        self.n = sum(int(beam.is_open.sum()) for beam in self.beams)
        self.unit = 1.0
        self.on = {k: self.matrix(getattr(self, k).points) for k in ("target", "cord")}
        self.on["shell"] = self.matrix(self.shell)
        self.unit = 1.0 / float(np.median(self.on["target"] @ np.ones(self.n, np.float32)))
        for matrix in self.on.values():
            matrix *= np.float32(self.unit)
        self.differences = self.neighbours()

    def sample_target(self, step: float, thin: np.random.Generator | None = None) -> Samples:
        """Lattice points of the target; those far from the cord thinned out for planning."""
        one = self.layout
        reach = one.half_length_mm + 1.0
        low = np.array([-44.0, one.canal_y_mm - 48.0, -reach])
        points = lattice(low, np.array([44.0, one.canal_y_mm + 24.0, reach]), step)
        points = points[one.inside_target(*points.T) > 0]
        cord_mm = self.distance(points)
        keep = cord_mm >= one.gap_mm
        mm3 = np.full(len(points), step**3)
        if thin is not None:
            far = cord_mm > NEAR_MM
            keep &= ~far | (thin.random(len(points)) < FAR_SHARE)
            mm3[far] /= FAR_SHARE
        return Samples(points[keep], mm3[keep], cord_mm[keep])

    def sample_cord(self, step: tuple[float, ...], *, beyond: float) -> Samples:
        reach = self.layout.half_length_mm + beyond
        points = lattice(np.array([-9.0, -9.0, -reach]), np.array([9.0, 9.0, reach]), step)
        cx, cy = self.layout.cord_centre_mm(points[:, 2])
        points[:, 0] += cx
        points[:, 1] += cy
        points = points[self.layout.inside_cord(*points.T) > 0]
        return Samples(points, np.full(len(points), np.prod(step)), np.zeros(len(points)))

    def sample_shell(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Points of the body 3 to 30 mm off the target, and that distance."""
        one = self.layout
        reach = one.half_length_mm + 14.0
        low, high = (-55.0, one.canal_y_mm - 60.0, -reach), (55.0, one.canal_y_mm + 40.0, reach)
        points = random.uniform(low, high, (60000, 3))
        points = points[one.inside_target(*points.T) < -2.0]
        off, _ = cKDTree(self.target.points).query(points)
        keep = np.flatnonzero((off > 3.0) & (off < 30.0))
        keep = random.permutation(keep)[:1500]
        return points[keep], off[keep]

    def make_beams(self) -> Iterator[Beam]:
        for k in range(self.machine.beams):
            angle = np.radians(self.machine.first_deg + 360.0 * k / self.machine.beams)
            along = np.array([np.sin(angle), np.cos(angle), 0.0])
            across = np.array([np.cos(angle), -np.sin(angle), 0.0])
            u, v, _ = self.project(self.target.points, along, across)
            us = np.arange(np.floor((u.min() - 6) / BEAMLET_U_MM), np.ceil((u.max() + 6) / 2.5) + 1)
            vs = np.arange(np.floor((v.min() - 4) / BEAMLET_V_MM), np.ceil((v.max() + 4) / 5.0) + 1)
            hit = np.zeros((len(us), len(vs)), bool)
            hit[
                np.round(u / BEAMLET_U_MM - us[0]).astype(int),
                np.round(v / BEAMLET_V_MM - vs[0]).astype(int),
            ] = True
            is_open = binary_dilation(hit, np.ones((5, 3)))
            yield Beam(along, across, us * BEAMLET_U_MM, vs * BEAMLET_V_MM, is_open)

    def project(
        self, points: np.ndarray, along: np.ndarray, across: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Position of points in the isocentre plane of a beam, and the depth dose there."""
        source = self.iso - AXIS_MM * along
        ray = points - source
        magnify = AXIS_MM / (ray @ along)
        length = np.linalg.norm(ray, axis=1)
        unit = ray / length[:, None]
        ax, ay = BODY_HALF_MM
        a = (unit[:, 0] / ax) ** 2 + (unit[:, 1] / ay) ** 2
        b = 2 * (source[0] * unit[:, 0] / ax**2 + source[1] * unit[:, 1] / ay**2)
        c = (source[0] / ax) ** 2 + (source[1] / ay) ** 2 - 1
        entry = (-b - np.sqrt(np.maximum(b * b - 4 * a * c, 0.0))) / (2 * a)
        depth = np.maximum(length - entry, 0.0)
        size = RISE_PER_MM / (RISE_PER_MM - FALL_PER_MM)
        dose = size * (np.exp(-FALL_PER_MM * depth) - np.exp(-RISE_PER_MM * depth)) * magnify**2
        return (ray @ across) * magnify, ray[:, 2] * magnify, dose

    def spreads(self) -> tuple[tuple[float, float], ...]:
        """Share and sigma of the Gaussians of the kernel."""
        m = self.machine
        primary = float(np.hypot(m.source_mm / 2.355, m.electrons_mm))
        return (
            (1 - m.scatter - m.mid, primary),
            (m.mid, MID_SIGMA_MM),
            (m.scatter, SCATTER_SIGMA_MM),
        )

    def matrix(self, points: np.ndarray) -> np.ndarray:
        """Dose of every beamlet at every point."""
        parts = []
        for beam in self.beams:
            u, v, depth_dose = self.project(points, beam.along, beam.across)
            i, j = np.nonzero(beam.is_open)
            total = 0.0
            for share, sigma in self.spreads():
                fu = bar(u, beam.u, BEAMLET_U_MM, sigma).astype(np.float32)
                fv = bar(v, beam.v, BEAMLET_V_MM, sigma).astype(np.float32)
                total = total + np.float32(share) * fu[:, i] * fv[:, j]
            parts.append(total * depth_dose.astype(np.float32)[:, None])
        return np.concatenate(parts, axis=1)

    def dose(self, points: np.ndarray, fluence: np.ndarray) -> np.ndarray:
        """Dose at any points: each beam blurred on a fine plane and read by interpolation."""
        out, at, step = np.zeros(len(points)), 0, 0.4
        for beam in self.beams:
            weights = np.zeros(beam.is_open.shape)
            count = int(beam.is_open.sum())
            weights[beam.is_open] = fluence[at : at + count] * self.unit
            at += count
            u, v, depth_dose = self.project(points, beam.along, beam.across)
            uu, vv = (np.arange(a.min() - 1.0, a.max() + 1.0, step) for a in (u, v))
            plane = np.zeros((len(uu), len(vv)))
            for share, sigma in self.spreads():
                fu = bar(uu, beam.u, BEAMLET_U_MM, sigma)
                plane += share * fu @ weights @ bar(vv, beam.v, BEAMLET_V_MM, sigma).T
            where = [(u - uu[0]) / step, (v - vv[0]) / step]
            out += map_coordinates(plane, where, order=1) * depth_dose
        return out

    def neighbours(self) -> sparse.csr_matrix:
        """Differences between beamlets that lie side by side in a row."""
        rows, columns, values, count, at = [], [], [], 0, 0
        for beam in self.beams:
            index = np.full(beam.is_open.shape, -1)
            opened = int(beam.is_open.sum())
            index[beam.is_open] = at + np.arange(opened)
            at += opened
            one, other = index[:-1], index[1:]
            both = (one >= 0) & (other >= 0)
            pairs = int(both.sum())
            rows += [np.arange(count, count + pairs)] * 2
            columns += [one[both], other[both]]
            values += [np.ones(pairs), -np.ones(pairs)]
            count += pairs
        return sparse.csr_matrix(
            (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
            shape=(count, self.n),
        )

    def left(self, samples: Samples, separation_mm: float) -> np.ndarray:
        """Which samples of the target are left at a separation."""
        if separation_mm <= self.layout.gap_mm:
            return np.ones(len(samples.points), bool)
        return samples.cord_mm >= separation_mm

    def objective(
        self, kind: str, separation_mm: float
    ) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
        """Cost of a fluence and its gradient, for one kind of plan."""
        m = self.machine
        target = np.where(self.left(self.target, separation_mm), self.target.mm3, 0.0)
        target /= target.sum()
        cord = self.cord.mm3 / self.cord.mm3.sum()
        under = m.cover * UNDERDOSE[kind]
        spare = m.spare if kind != "P2a" else HOLD_SPARE
        shell = SHELL_LOW + (0.95 - SHELL_LOW) * np.exp(-self.shell_mm / SHELL_MM)
        count = len(shell)

        def cost(fluence: np.ndarray) -> tuple[float, np.ndarray]:
            f = fluence.astype(np.float32)
            dt, dc, ds = ((self.on[k] @ f).astype(float) for k in ("target", "cord", "shell"))
            cold, hot = np.maximum(WANTED - dt, 0.0), np.maximum(dt - HOT, 0.0)
            value = float(under * (target @ cold**2) + HOT_WEIGHT * (target @ hot**2))
            by_target = 2 * target * (HOT_WEIGHT * hot - under * cold)
            by_cord = np.zeros(len(dc))
            if kind == "P2a":
                over = np.maximum(dc - HOLD_AT, 0.0)
                value += HOLD_WEIGHT * float(cord @ over**2)
                by_cord += 2 * HOLD_WEIGHT * cord * over
            dc = np.maximum(dc, 1e-3)
            mean = float(cord @ dc**m.exponent) ** (1.0 / m.exponent)
            value += spare * mean**2
            by_cord += 2 * spare * mean ** (2 - m.exponent) * cord * dc ** (m.exponent - 1)
            high = np.maximum(ds - shell, 0.0)
            value += m.fall * float(np.mean(high**2)) + m.low * float(np.mean(ds**2))
            by_shell = 2 * (m.fall * high + m.low * ds) / count
            rough = self.differences @ fluence
            value += m.smooth * float(np.mean(rough**2))
            slope = sum(
                by.astype(np.float32) @ self.on[k]
                for k, by in (("target", by_target), ("cord", by_cord), ("shell", by_shell))
            ).astype(float)
            return value, slope + 2 * m.smooth * (self.differences.T @ rough) / len(rough)

        return cost

    def plan(self, kind: str, separation_mm: float, start: np.ndarray | None) -> np.ndarray:
        """Fluence of a plan, from that of its neighbour where there is one."""
        steps = FIRST_STEPS if start is None else NEXT_STEPS
        found = minimize(
            self.objective(kind, separation_mm),
            np.ones(self.n) if start is None else start,
            jac=True,
            method="L-BFGS-B",
            bounds=[(0, None)] * self.n,
            options={"maxiter": steps, "maxfun": int(1.3 * steps), "ftol": 1e-7, "maxcor": 12},
        )
        return found.x

    def measure(
        self, kind: str, separation_mm: float, fluence: np.ndarray
    ) -> tuple[dict[str, float], float]:
        """Metrics of a plan on the finer lattice, and the factor that normalises it."""
        left = self.left(self.fine, separation_mm)
        dt, vt = self.dose(self.fine.points[left], fluence), self.fine.mm3[left]
        dc, vc = self.dose(self.fine_cord.points, fluence), self.fine_cord.mm3
        scale = 1.0 / coldest(dt, vt, 0.05 * vt.sum())
        if kind == "P2a":
            scale = min(scale, CORD_OF_P2A / -coldest(-dc, vc, 35.0))
        rim = self.fine.cord_mm[left] < RIM_MM
        found = {
            "cord035": -scale * coldest(-dc, vc, 35.0),
            "D95": scale * coldest(dt, vt, 0.05 * vt.sum()),
            "D98": scale * coldest(dt, vt, 0.02 * vt.sum()),
            "D99": scale * coldest(dt, vt, 0.01 * vt.sum()),
            "Dmin035": scale * coldest(dt, vt, 35.0),
            "V_cc": float(vt.sum()) / 1000.0,
        }
        if rim.any():
            found["D95rim"] = scale * coldest(dt[rim], vt[rim], 0.05 * vt[rim].sum())
        return {k: round(v, 4) for k, v in found.items()}, scale


def bar(at: np.ndarray, centres: np.ndarray, width: float, sigma: float) -> np.ndarray:
    """Profile of a bar blurred by a Gaussian, of every centre at every position."""
    k = 1.0 / (np.sqrt(2.0) * sigma)
    off = at[:, None] - centres
    return 0.5 * (erf((off + width / 2) * k) - erf((off - width / 2) * k))


def coldest(dose: np.ndarray, mm3: np.ndarray, volume_mm3: float) -> float:
    """Dose below which the coldest ``volume_mm3`` lies."""
    order = np.argsort(dose)
    reached = np.cumsum(mm3[order]) - 0.5 * mm3[order]
    return float(np.interp(volume_mm3, reached, dose[order]))


def first_below(x: list[float], y: list[float], limit: float) -> float | None:
    """Where a curve, made monotone, has fallen to a limit; None where it never does."""
    falling = np.minimum.accumulate(y)
    if falling[0] <= limit:
        return x[0]
    at = np.flatnonzero(falling <= limit)
    if not at.size:
        return None
    i = int(at[0])
    share = (falling[i - 1] - limit) / (falling[i - 1] - falling[i])
    return round(x[i - 1] + float(share) * (x[i] - x[i - 1]), 3)


def case_of(planner: Planner, separation_mm: float, kind: str, dose: DoseGrid) -> Case:
    one = planner.layout
    keep = max(one.gap_mm, separation_mm)

    def target(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        inside = one.inside_target(x, y, z)
        points = np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1)
        near = one.inside_cord(x, y, z).ravel() > -14.0
        far = np.full(len(points), 10.0)
        far[near] = planner.distance(points[near])
        return np.minimum(inside, far.reshape(x.shape) - keep)

    heights = np.arange(-one.half_length_mm + 0.25, one.half_length_mm, 1.5)
    reach = one.half_length_mm + 12.0
    y = one.canal_y_mm
    outline = contours(target, heights, (-46.0, 46.0, y - 50.0, y + 26.0), 0.4)
    cord = contours(
        one.inside_cord,
        np.arange(-reach, reach, 1.5) + 0.25,
        (-14.0, 14.0, y - 14.0, y + 14.0),
        0.25,
    )
    return Case(
        structures=(
            structure_from_contours(1, "GTV", outline),
            structure_from_contours(2, "SpinalCord", cord),
        ),
        dose=dose,
        prescription=Prescription(RX_GY, 1, "phantom"),
        patient_position="HFS",
        case_id=f"{one.name[:10]} {separation_mm:g} {kind}",
        # One structure set serves the doses of all kinds.
        frame_of_reference_uid=generate_uid(entropy_srcs=[one.name, f"{separation_mm:g}"]),
    )


def dose_grid(planner: Planner, fluence: np.ndarray, scale: float, grid_mm: float) -> DoseGrid:
    one = planner.layout
    both = np.concatenate([planner.fine.points, planner.fine_cord.points])
    low, high = both.min(axis=0) - 10.0, both.max(axis=0) + 10.0
    low[2], high[2] = -one.half_length_mm - 13.0, one.half_length_mm + 13.0
    off = np.random.default_rng(sum(map(ord, one.name))).uniform(0.0, grid_mm, 3)
    x, y, z = (
        np.arange(a - o, b + grid_mm, grid_mm) for a, b, o in zip(low, high, off, strict=True)
    )
    zz, yy, xx = np.meshgrid(z, y, x, indexing="ij")
    points = np.stack([xx.ravel(), yy.ravel(), zz.ravel()], axis=1)
    values = RX_GY * scale * planner.dose(points, fluence).reshape(xx.shape)
    return DoseGrid.from_array(GridGeometry(x, y, z), values)


def write(case: Case, kind: str, folder: Path) -> None:
    written = write_plan(case, folder, deflated=True, dose_bits=16, patient_id=case.case_id)
    written.rtstruct.replace(folder / "RTSTRUCT.dcm")
    assert written.rtdose is not None and written.rtplan is not None
    written.rtdose.replace(folder / f"RTDOSE_{kind}.dcm")
    written.rtplan.unlink()


def truth_of(
    layout: Layout, series: dict[str, dict[int, dict[str, float]]], grid_mm: float
) -> dict:
    def curve(kind: str, metric: str) -> tuple[list[float], list[float]]:
        known = {m: v[metric] for m, v in series[kind].items() if metric in v}
        return [max(layout.gap_mm, float(m)) for m in known], list(known.values())

    limits = {}
    for label, rx, fractions, limit in LIMITS:
        row: dict[str, float | None] = {"rx_gy": rx, "fx": fractions, "cord_limit_gy": limit}
        for kind, key in (("P1s", "strict_P1s"), ("P1t", "tradeoff_P1t")):
            row[key] = first_below(*curve(kind, "cord035"), limit / rx)
        limits[label] = row
    criteria = {}
    for label, (metric, goal) in CRITERIA.items():
        x, y = curve("P2a", metric)
        criteria[label] = {"replanned": first_below(x, [-v for v in y], -goal)}
    return {
        "anatomy": layout.name,
        "engine": "benchmarks/replanner.py",
        "layout": asdict(layout),
        "dose_grid_mm": grid_mm,
        "initial_gap_mm": layout.gap_mm,
        "rx_stored_gy": RX_GY,
        "fx_stored": 1,
        "m": {str(m): {k: series[k][m] for k in series if m in series[k]} for m in series["P1s"]},
        "cord_d035_over_rx": {
            k: {str(m): v["cord035"] for m, v in series[k].items()} for k in series
        },
        "required_margin_mm": limits,
        "required_margin_mm_P2a_14Gy_of_24Gy": criteria,
    }


def replan(layout: Layout, out: Path, grid_mm: float) -> dict:
    """Plan one anatomy at every separation, write its start plans and its truth."""
    planner = Planner(layout)
    folder = out / layout.name
    series: dict[str, dict[int, dict[str, float]]] = {}
    for kind in KINDS:
        fluence = None
        series[kind] = {}
        for m in SEPARATIONS_MM:
            if 0 < m <= layout.gap_mm and m not in STARTS_MM:
                continue
            if kind == "P2a" and m > LAST_P2A_MM:
                break
            if planner.left(planner.fine, m).mean() < LEAST_LEFT:
                break
            fluence = planner.plan(kind, m, fluence)
            series[kind][m], scale = planner.measure(kind, m, fluence)
            if m in STARTS_MM:
                dose = dose_grid(planner, fluence, scale, grid_mm)
                write(case_of(planner, m, kind, dose), kind, folder / f"{m}mm")
    truth = truth_of(layout, series, grid_mm)
    (folder / "truth.json").write_text(json.dumps(truth, indent=1), encoding="utf-8")
    return truth


def make_anatomies(
    out: Path,
    *,
    seed: int,
    numbers: Iterable[int],
    named: bool = False,
    usual: bool = False,
    grid_mm: float = 1.5,
) -> None:
    """Plan layouts of a seed (or the named ones) that are not in the folder yet.

    ``usual`` keeps the weights of the published planner.
    """
    layouts = NAMED if named else tuple(draw(seed, k, usual=usual) for k in numbers)
    for layout in layouts:
        if (out / layout.name / "truth.json").exists():
            continue
        start = time.perf_counter()
        truth = replan(layout, out, grid_mm)
        for kind in ("P1s", "P1t"):
            curve = truth["cord_d035_over_rx"][kind]
            print(layout.name, kind, *(f"{v:.3f}" for v in curve.values()))
        at = truth["m"]["0"]
        print(
            f"{layout.name} D98 {at['P1s']['D98']:.3f} {at['P1t']['D98']:.3f}, "
            f"{at['P1s']['V_cc']:.1f} cc, {time.perf_counter() - start:.0f} s",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--anatomies", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--grid", type=float, default=1.5)
    parser.add_argument("--named", action="store_true", help="the named layouts instead")
    parser.add_argument("--usual", action="store_true", help="weigh as the published planner")
    options = parser.parse_args()
    make_anatomies(
        options.out,
        seed=options.seed,
        numbers=range(options.first, options.first + options.anatomies),
        named=options.named,
        usual=options.usual,
        grid_mm=options.grid,
    )


if __name__ == "__main__":
    main()

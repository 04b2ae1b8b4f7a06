"""Anatomies and machines for the planner of ``replanner.py``: drawn from a seed, or named.

A layout is a vertebral level with a cord and a tumour: parts of the vertebra outside the canal, and
sectors of the epidural space that reach to the cord, or to a gap from it. Everything is an implicit
function, so that distances to the cord do not come from the code that is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import contourpy
import numpy as np
from scipy.spatial import cKDTree

# Spacing of the samples on the cord surface that distances are taken from.
CORD_SAMPLE_MM = 0.35
# The cord reaches this far beyond the target.
CORD_BEYOND_MM = 25.0
# Sharpest source of a usual planner.
USUAL_SOURCE_MM = 6.0


@dataclass(frozen=True)
class Machine:
    """What the dose is made with: source width, scatter, beams, and what the planner weighs.

    ``cover`` weighs underdose, ``spare`` the hot end of the cord (a generalised mean with exponent
    ``exponent``), ``smooth`` differences between neighbouring beamlets. The defaults were set once
    so that the cord curves of published anatomies come out within 0.02 of the prescription (rms).
    """

    source_mm: float = 7.0
    electrons_mm: float = 1.65
    mid: float = 0.092
    scatter: float = 0.194
    beams: int = 18
    first_deg: float = 0.0
    cover: float = 430.0
    spare: float = 0.69
    exponent: float = 14.8
    smooth: float = 0.077
    fall: float = 4.2
    low: float = 0.96


@dataclass(frozen=True)
class Layout:
    """One anatomy. Millimetres and degrees; 90 is anterior, 0 is the patient's left."""

    name: str
    cord_half_mm: tuple[float, float] = (5.5, 5.5)
    cord_tilt: tuple[float, float] = (0.0, 0.03)
    cord_bend: float = 0.0
    cord_off_mm: tuple[float, float] = (0.0, 0.3)
    gap_mm: float = 0.0
    half_length_mm: float = 14.0
    epidural_half_length_mm: float = 12.0
    vertebra_half_mm: tuple[float, float] | None = (18.0, 14.0)
    vertebra_side: int = 0
    canal_half_mm: tuple[float, float] = (9.0, 8.0)
    epidural: tuple[tuple[float, float], ...] = ((90.0, 65.0),)
    pedicles: tuple[int, ...] = ()
    lamina: bool = False
    canal_y_mm: float = 45.0
    machine: Machine = field(default_factory=Machine)

    def cord_centre_mm(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = self.cord_off_mm[0] + self.cord_tilt[0] * z + self.cord_bend * z * z
        y = self.cord_off_mm[1] + self.cord_tilt[1] * z - 0.5 * self.cord_bend * z * z
        return x, self.canal_y_mm + y

    def inside_cord(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Positive inside, roughly in mm."""
        cx, cy = self.cord_centre_mm(z)
        a, b = self.cord_half_mm
        return (1.0 - np.hypot((x - cx) / a, (y - cy) / b)) * min(a, b)

    def inside_target(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Positive inside the target before anything is cleared; the cord is not left out."""
        cx, cy = self.cord_centre_mm(z)
        yc = self.canal_y_mm
        canal_x, canal_y = self.canal_half_mm
        canal = (1.0 - np.hypot(x / canal_x, (y - yc) / canal_y)) * min(self.canal_half_mm)
        bone = np.full(np.shape(x), -5.0)
        if self.vertebra_half_mm is not None:
            half_x, half_y = self.vertebra_half_mm
            middle = yc - canal_y - half_y + 2.5
            bone = (1.0 - np.hypot(x / half_x, (y - middle) / half_y)) * min(half_x, half_y)
            if self.vertebra_side:
                bone = np.minimum(bone, self.vertebra_side * x + 3.0)
        for side in self.pedicles:
            at = side * (canal_x + 3.0)
            stalk = np.minimum(4.0 - np.abs(x - at), np.minimum(y - (yc - 12.0), yc + 5.0 - y))
            bone = np.maximum(bone, np.minimum(stalk, 9.0 - np.abs(z)))
        if self.lamina:
            ring = np.abs(np.hypot(x / (canal_x + 3.0), (y - yc) / (canal_y + 3.0)) - 1.0)
            arch = np.minimum(3.0 - ring * (canal_y + 3.0), y - (yc + 1.0))
            bone = np.maximum(bone, arch)
        bone = np.minimum(np.minimum(bone, -canal), self.half_length_mm - np.abs(z))
        angle = np.degrees(np.arctan2(-(y - cy), x - cx))
        soft = np.full(np.shape(x), -5.0)
        for middle, half in self.epidural:
            off = np.abs((angle - middle + 180.0) % 360.0 - 180.0)
            reach = np.radians(half - off) * np.hypot(x - cx, y - cy)
            soft = np.maximum(soft, np.full(np.shape(x), 5.0) if half >= 180.0 else reach)
        soft = np.minimum(np.minimum(soft, canal + 0.6), self.epidural_half_length_mm - np.abs(z))
        return np.maximum(bone, soft)


class CordDistance:
    """Signed distance to the cord surface, negative inside: to the plane of the nearest sample."""

    def __init__(self, layout: Layout) -> None:
        half = layout.half_length_mm + CORD_BEYOND_MM
        heights = np.arange(-half, half, CORD_SAMPLE_MM)
        a, b = layout.cord_half_mm
        angles = np.arange(0.0, 2 * np.pi, CORD_SAMPLE_MM / max(a, b))
        z, t = (v.ravel() for v in np.meshgrid(heights, angles, indexing="ij"))
        cx, cy = layout.cord_centre_mm(z)
        self.points = np.stack([cx + a * np.cos(t), cy + b * np.sin(t), z], axis=1)
        step = 1e-4
        ux, uy = layout.cord_centre_mm(z + step)
        along = np.stack([(ux - cx) / step, (uy - cy) / step, np.ones_like(z)], axis=1)
        around = np.stack([-a * np.sin(t), b * np.cos(t), np.zeros_like(z)], axis=1)
        normals = np.cross(around, along)
        self.normals = normals / np.linalg.norm(normals, axis=1, keepdims=True)
        self.tree = cKDTree(self.points)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        far, at = self.tree.query(points)
        flat = np.einsum("ij,ij->i", points - self.points[at], self.normals[at])
        return np.where(far < 2.0, flat, np.sign(flat) * far)


def contours(
    inside: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    heights: np.ndarray,
    box: tuple[float, float, float, float],
    step_mm: float,
) -> list[np.ndarray]:
    """Closed contours of an implicit function on axial planes, shape (n, 3) each."""
    x, y = np.arange(box[0], box[1], step_mm), np.arange(box[2], box[3], step_mm)
    flat_x, flat_y = np.meshgrid(x, y)
    found = []
    for z in heights:
        values = inside(flat_x, flat_y, np.full_like(flat_x, z))
        for line in contourpy.contour_generator(x, y, values).lines(0.0):
            here, there = line[:-1], line[1:]
            area = 0.5 * np.sum(here[:, 0] * there[:, 1] - here[:, 1] * there[:, 0])
            if len(line) > 8 and abs(area) > 0.5:
                found.append(np.column_stack([here, np.full(len(here), z)]))
    return found


NAMED = (
    Layout("anterior"),
    Layout(
        "anterolateral",
        cord_half_mm=(5.0, 5.0),
        cord_tilt=(0.04, 0.02),
        cord_bend=0.0006,
        cord_off_mm=(-0.6, 0.6),
        gap_mm=0.5,
        vertebra_half_mm=(17.0, 13.5),
        canal_half_mm=(9.0, 8.5),
        epidural=((35.0, 75.0),),
        pedicles=(1,),
    ),
    Layout(
        "circumferential",
        cord_tilt=(0.02, 0.0),
        cord_bend=0.0005,
        cord_off_mm=(0.0, 0.0),
        epidural=((90.0, 181.0),),
        pedicles=(1, -1),
        lamina=True,
    ),
    Layout(
        "small",
        cord_half_mm=(4.2, 4.2),
        cord_off_mm=(-0.8, 0.0),
        half_length_mm=9.0,
        epidural_half_length_mm=8.0,
        vertebra_half_mm=None,
        epidural=((0.0, 45.0),),
        pedicles=(1,),
        machine=Machine(beams=9),
    ),
)


def draw(seed: int, number: int, *, usual: bool = False) -> Layout:
    """Layout ``number`` of a seed: anatomy, machine and planner at random.

    A ``usual`` planner weighs as in the published cases: only anatomy, source, number of beams and
    smoothness are drawn.
    """
    r = np.random.default_rng([seed, number])

    def between(low: float, high: float) -> float:
        return float(r.uniform(low, high))

    def about(middle: float, spread: float) -> float:
        return float(middle * np.exp(r.normal(0.0, spread)))

    half = between(4.2, 6.2)
    shape = r.choice(["one", "one", "one", "two", "ring"])
    if shape == "one":
        epidural = ((between(0, 360), between(40, 110)),)
    elif shape == "two":
        first = between(0, 180)
        epidural = ((first, between(30, 70)), (first + 180.0, between(30, 70)))
    else:
        epidural = ((90.0, 181.0),)
    bone = r.random() < 0.9
    canal = (between(8.3, 10.5), between(7.3, 9.0))
    layout = Layout(
        f"{'u' if usual else 's'}{seed}n{number:03d}",
        cord_half_mm=(half, half * between(0.75, 1.0)),
        cord_tilt=(between(-0.08, 0.08), between(-0.08, 0.08)),
        cord_bend=between(-0.0008, 0.0008),
        cord_off_mm=(between(-0.5, 0.5), between(-0.5, 0.5)),
        gap_mm=float(r.choice([0.0, 0.0, 0.0, 0.3, 0.8, 1.5, 2.0])),
        half_length_mm=between(9, 20),
        epidural_half_length_mm=between(8, 14),
        vertebra_half_mm=(between(13, 21), between(10, 16)) if bone else None,
        vertebra_side=int(r.choice([0, 0, 0, 1, -1])),
        canal_half_mm=canal,
        epidural=epidural,
        pedicles=((), (1,), (-1,), (1, -1))[r.integers(4)],
        lamina=bool(r.random() < 0.3),
        machine=Machine(
            source_mm=between(5.5, 8.0),
            electrons_mm=between(1.3, 2.1),
            mid=between(0.07, 0.13),
            scatter=between(0.15, 0.23),
            beams=int(r.choice([9, 12, 18])),
            first_deg=between(0, 20),
            cover=about(430.0, 0.35),
            spare=about(0.69, 0.35),
            exponent=between(7.0, 15.0),
            smooth=about(0.077, 0.9),
            fall=about(4.2, 0.3),
            low=about(0.96, 0.3),
        ),
    )
    if not usual:
        return layout
    drawn = layout.machine
    like_published = Machine(
        source_mm=max(drawn.source_mm, USUAL_SOURCE_MM),
        beams=drawn.beams,
        first_deg=drawn.first_deg,
        smooth=drawn.smooth,
    )
    return replace(layout, machine=like_published)

"""The work items of speed.py: a cord, a body of 23 litres, and what is true of the cord.

A: a curved cord of 10.1 cc, 43 contours of 60 points, in 200 x 200 x 150 dose samples of 2.5 mm.
B: a body of 23.5 litres, 100 contours of 300 points, in 500 x 500 x 300 samples of 1 mm.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cordgap.case.case import Case, Prescription
from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.export.plan import WrittenPlan, write_plan
from cordgap.phantom import CordShape
from cordgap.phantom.shapes import at_height, cord_contours, make_case, make_structure

FloatArray = NDArray[np.float64]

CORD = CordShape(5.0, (0.37, -0.61), (0.02, 0.05), (0.0, 0.004), half_length_mm=64.5)
CORD_PLANES, CORD_VERTICES, CORD_STEP_MM = 43, 60, 2.5
HOTTEST_CC = 0.035
_OFFSET_MM = (-0.413, 0.291, -0.157)
# Points of the truth: a quarter of a million lie in the hottest 0.1 cc of a hundred.
_SOBOL_LOG2 = 21


def _axes(counts: tuple[int, int, int], step_mm: float) -> list[FloatArray]:
    return [step_mm * (np.arange(n) - n // 2) + o for n, o in zip(counts, _OFFSET_MM, strict=True)]


def cord_dose_gy(x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    """A plateau of 24 Gy with a penumbra of up to 10 %/mm that follows the cord's bend."""
    from scipy.special import ndtr

    edge = (y - 0.002 * z * z - 2.0) / 4.0
    return np.asarray(1.0 + 23.0 * ndtr(edge) * np.exp(-((z / 45.0) ** 2) - (x / 90.0) ** 2))


def _case(
    name: str, contours: list[FloatArray], axes: list[FloatArray], values: FloatArray
) -> Case:
    structure = make_structure(1, name, contours)
    grid = DoseGrid.from_array(GridGeometry(*axes), values)
    return make_case(name, (structure,), grid, Prescription(24.0, 1, "phantom"))


@cache
def case_a() -> Case:
    """The cord; its polygons have the area of the circle, so that the circle is the truth."""
    half = CORD.half_length_mm
    z = -half + 2 * half / CORD_PLANES * (np.arange(CORD_PLANES) + 0.5)
    angle = 2 * np.pi / CORD_VERTICES
    radius = CORD.radius_mm * float(np.sqrt(angle / np.sin(angle)))
    axes = _axes((200, 200, 150), CORD_STEP_MM)
    zz, yy, xx = np.meshgrid(*axes[::-1], indexing="ij", sparse=True)
    contours = cord_contours(CORD, z, radius, CORD_VERTICES)
    return _case("SpinalCord", contours, axes, cord_dose_gy(xx, yy, zz))


@cache
def truth_a() -> tuple[float, float]:
    """D0.035cc of the exact cord in the trilinear dose, in Gy, and the dose gradient there.

    Sobol points in the cord and ``scipy.ndimage.map_coordinates``: nothing of the engine.
    """
    from scipy.ndimage import map_coordinates
    from scipy.stats import qmc

    p = qmc.Sobol(3, seed=1).random_base2(_SOBOL_LOG2)
    z = 2 * CORD.half_length_mm * (p[:, 2] - 0.5)
    radius, angle = CORD.radius_mm * np.sqrt(p[:, 0]), 2 * np.pi * p[:, 1]
    centre = CORD.centre_at(z)
    points = (z, centre[:, 1] + radius * np.sin(angle), centre[:, 0] + radius * np.cos(angle))
    grid = case_a().dose
    assert grid is not None
    axes = grid.geometry.axes
    index = [(v - a[0]) / CORD_STEP_MM for v, a in zip(points, axes, strict=True)]
    gy = map_coordinates(grid.values, index, order=1)
    rank = round(gy.size * (1 - HOTTEST_CC / CORD.volume_cc))
    there = np.argsort(gy)[rank - 200 : rank + 200]
    at = [v[there] for v in points]
    step = 0.01
    slopes = []
    for axis in range(3):
        low, high = ([v - s * (i == axis) for i, v in enumerate(at)] for s in (step, -step))
        slopes.append((cord_dose_gy(*high[::-1]) - cord_dose_gy(*low[::-1])) / (2 * step))
    return float(np.sort(gy)[rank]), float(np.sqrt(sum(s * s for s in slopes)).mean())


@cache
def case_b() -> Case:
    """The body, with a hot region of some centimetres and a warm one."""
    z = 2.96 * (np.arange(100) - 49.5)
    t = 2 * np.pi * np.arange(300) / 300
    contours = []
    for level in z:
        share = 1 - 0.1 * (level / 150) ** 2
        x, y = 0.37 + 204 * share * np.cos(t), -0.61 + 133 * share * np.sin(t)
        contours.append(at_height(np.c_[x, y], float(level)))
    axes = _axes((500, 500, 300), 1.0)
    zz, yy, xx = np.meshgrid(*axes[::-1], indexing="ij", sparse=True)
    hot = 40 * np.exp(-((xx - 20) ** 2 + (yy + 30) ** 2) / 2450 - zz**2 / 3200)
    warm = 8 * np.exp(-(((xx + 80) / 25) ** 2) - ((yy - 10) / 30) ** 2)
    return _case("BODY", contours, axes, np.asarray(hot + warm + 0.3))


def write_a(folder: Path) -> WrittenPlan:
    """Write the cord as DICOM."""
    return write_plan(case_a(), folder)


def write_large(folder: Path) -> WrittenPlan:
    """Write the cord's contours with the dose of B: an RTDOSE of 300 MB."""
    b, a = case_b(), case_a()
    return write_plan(
        make_case("large", a.structures, b.dose, Prescription(24.0, 1, "phantom")), folder
    )

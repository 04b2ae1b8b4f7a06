"""The organs around a spine, and a dose grid that covers them: plans as large as exported ones.

Upright cylinders of elliptic cross-section, whose volumes are near those of adult organs over the
levels that are drawn. What counts is their size, not their place: a batch reads and sums them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cordgap.case.case import Case
from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.case.structure import Structure, structure_from_contours

# Name, middle (x, y), half widths (x, y), lowest and highest level, in mm.
ORGANS = (
    ("External", (0, -10), (175, 115), (-72, 72)),
    ("Lung_L", (88, -15), (58, 78), (-72, 72)),
    ("Lung_R", (-88, -15), (58, 78), (-72, 72)),
    ("Heart", (22, -55), (48, 42), (-72, 20)),
    ("Esophagus", (6, 8), (9, 7), (-72, 72)),
    ("Trachea", (-4, -8), (9, 9), (10, 72)),
    ("A_Aorta", (28, 18), (13, 13), (-72, 72)),
    ("Liver", (-70, -40), (70, 60), (-72, -40)),
    ("Stomach", (60, -55), (45, 35), (-72, -50)),
    ("Kidney_L", (62, 48), (26, 30), (-72, -44)),
    ("Kidney_R", (-62, 48), (26, 30), (-72, -44)),
    ("BrachialPlex_L", (40, 20), (12, 10), (50, 72)),
    ("Chestwall", (0, -10), (165, 105), (-40, 40)),
    ("Skin", (0, -10), (174, 114), (-72, 72)),
)
PLANE_MM = 2.0
# Points of a contour are about so far apart, as planning systems export them.
POINT_MM = 2.5
DOSE_MM = 2.0
# Beyond the spine the dose falls by this share per mm: entrance and exit of many beams.
FALL_PER_MM = 0.03


def in_thorax(case: Case) -> Case:
    """Put a spine case into a body, with a dose wherever the body is."""
    spine = [s for s in case.structures if s.roi_name != "External"]
    organs = tuple(organ(len(spine) + 1 + i, *row) for i, row in enumerate(ORGANS))
    assert case.dose is not None
    return replace(case, structures=(*spine, *organs), dose=wide_dose(case.dose))


def organ(
    number: int,
    name: str,
    middle: tuple[float, float],
    half: tuple[float, float],
    levels: tuple[float, float],
) -> Structure:
    """A cylinder of elliptic cross-section, a contour every 2 mm."""
    around = np.pi * (3 * sum(half) - np.sqrt((3 * half[0] + half[1]) * (half[0] + 3 * half[1])))
    t = np.linspace(0, 2 * np.pi, int(around / POINT_MM), endpoint=False)
    x, y = middle[0] + half[0] * np.cos(t), middle[1] + half[1] * np.sin(t)
    heights = np.arange(levels[0] + PLANE_MM / 2, levels[1], PLANE_MM)
    return structure_from_contours(
        number, name, [np.column_stack([x, y, np.full(t.size, z)]) for z in heights]
    )


def wide_dose(dose: DoseGrid) -> DoseGrid:
    """The dose of the spine, going on outside of its grid with an exponential fall."""
    half_x, half_y = ORGANS[0][2]
    x = np.arange(-half_x - 6, half_x + 7, DOSE_MM)
    y = np.arange(ORGANS[0][1][1] - half_y - 6, ORGANS[0][1][1] + half_y + 7, DOSE_MM)
    z = np.arange(-78.0, 79.0, DOSE_MM)
    inner = dose.geometry
    edge = [np.clip(a, b[0], b[-1]) for a, b in zip((x, y, z), inner.axes[::-1], strict=True)]
    away = [np.abs(a - e) for a, e in zip((x, y, z), edge, strict=True)]
    # Trilinear, axis by axis.
    values = dose.values
    for axis, (at, known) in enumerate(zip(edge[::-1], inner.axes, strict=True)):
        i = np.clip(np.searchsorted(known, at) - 1, 0, known.size - 2)
        share = (at - known[i]) / (known[i + 1] - known[i])
        shape = [1, 1, 1]
        shape[axis] = -1
        share = share.reshape(shape)
        values = (1 - share) * values.take(i, axis) + share * values.take(i + 1, axis)
    fall = [np.exp(-FALL_PER_MM * a) for a in away]
    values = values * fall[2][:, None, None] * fall[1][:, None] * fall[0]
    return DoseGrid.from_array(GridGeometry(x, y, z), values)

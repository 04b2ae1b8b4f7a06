"""Shapes, doses and sampling of the phantoms, and the contours that follow from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cordgap.case.case import Case, Prescription
from cordgap.case.grid import CtImage, DoseGrid, GridGeometry
from cordgap.case.structure import Structure, structure_from_contours
from cordgap.errors import OptionError

FloatArray = NDArray[np.float64]
EpiduralKind = Literal["none", "anterior", "anterolateral", "circumferential"]

PHANTOM_FRAME_UID = "1.2.826.0.1.3680043.8.498.20260101000000000001"
# Sector of the canal that the tumour fills: (centre, half width) in degrees, 0 = anterior.
_SECTORS = {"anterior": (0.0, 65.0), "anterolateral": (40.0, 70.0)}


@dataclass(frozen=True)
class CordShape:
    """A cord with circular axial sections on a tilted or bent centreline.

    The section at height z is a circle of ``radius_mm`` around
    ``centre_mm + tilt * z + bend_per_mm * z**2 / 2``, from ``-half_length_mm`` to
    ``+half_length_mm``.
    """

    radius_mm: float = 5.0
    centre_mm: tuple[float, float] = (0.37, -0.61)
    tilt: tuple[float, float] = (0.0, 0.0)
    bend_per_mm: tuple[float, float] = (0.0, 0.0)
    half_length_mm: float = 24.0

    def centre_at(self, z_mm: ArrayLike) -> FloatArray:
        """Return the centre (x, y) of the section at each height, shape ``(..., 2)``."""
        z = np.asarray(z_mm, dtype=np.float64)[..., None]
        return np.asarray(
            np.array(self.centre_mm) + z * np.array(self.tilt) + z * z * self._half_bend
        )

    @property
    def _half_bend(self) -> FloatArray:
        return np.array(self.bend_per_mm) / 2

    @property
    def volume_cc(self) -> float:
        """Exact volume."""
        return float(np.pi * self.radius_mm**2 * 2 * self.half_length_mm / 1000)


@dataclass(frozen=True)
class SphereShape:
    """A sphere."""

    radius_mm: float = 12.0
    centre_mm: tuple[float, float, float] = (0.37, -0.61, 0.23)

    @property
    def volume_cc(self) -> float:
        """Exact volume."""
        return float(4 / 3 * np.pi * self.radius_mm**3 / 1000)


@dataclass(frozen=True)
class LinearDose:
    """Dose that is linear in space: ``at_centre_gy`` at the centre of the shape."""

    at_centre_gy: float = 30.0
    gradient_gy_per_mm: tuple[float, float, float] = (0.0, -1.5, 0.0)


@dataclass(frozen=True)
class Sampling:
    """How finely a phantom is contoured and its dose is sampled."""

    plane_spacing_mm: float = 1.5
    vertices: int = 90
    dose_spacing_mm: float = 1.5
    dose_offset_mm: tuple[float, float, float] = (-0.413, 0.291, -0.157)
    dose_margin_mm: float = 8.0


@dataclass(frozen=True)
class SpineAnatomy:
    """A vertebra with its canal and cord, in LPS: y grows towards the back.

    The vertebral body is a superellipse, ``|x/a|**p + |y/b|**p = 1``, that ends at the canal;
    ``vertebra_half_length_mm`` is also the half length of the target.
    """

    cord: CordShape = field(
        default_factory=lambda: CordShape(
            5.5, (0.37, 45.31), (0.01, 0.02), (0.0, 0.0004), half_length_mm=36.0
        )
    )
    canal_centre_mm: tuple[float, float] = (0.13, 45.11)
    canal_half_mm: tuple[float, float] = (10.0, 9.0)
    vertebra_half_mm: tuple[float, float] = (18.0, 14.0)
    vertebra_power: float = 2.8
    vertebra_half_length_mm: float = 13.5
    body_half_mm: tuple[float, float] = (150.0, 100.0)

    @property
    def vertebra_centre_mm(self) -> tuple[float, float]:
        """Centre of the vertebral body; it reaches 1 mm behind the anterior canal wall."""
        x, y = self.canal_centre_mm
        return x, y - self.canal_half_mm[1] - self.vertebra_half_mm[1] + 1.0


@dataclass(frozen=True)
class Epidural:
    """The part of the target inside the canal, at ``gap_mm`` from the cord surface.

    The gap is measured in the axial plane; in 3D it is smaller by the cosine of the cord's tilt
    (0.06 % for the default anatomy). ``side`` speaks of the patient and matters only for
    ``anterolateral``.
    """

    kind: EpiduralKind = "anterior"
    gap_mm: float = 1.0
    side: Literal["left", "right"] = "left"
    half_length_mm: float = 12.0

    def sector_deg(self) -> tuple[float, float]:
        """Return first and last direction, 0 anterior, 90 patient left."""
        centre, half = _SECTORS[self.kind]
        centre = centre if self.side == "left" else -centre
        return centre - half, centre + half


@dataclass(frozen=True)
class SpineDose:
    """A smooth dose: a plateau round the target that falls off towards the cord and outside.

    Along the normal of the cord surface the dose is ``plateau * Phi((d - mu) / sigma)`` with
    the two constants chosen so that at the surface (d = 0) it is ``cord_edge_gy`` and rises by
    ``gradient_gy_per_mm``.
    """

    prescription_gy: float = 24.0
    fractions: int = 2
    cord_edge_gy: float = 20.0
    gradient_gy_per_mm: float = 2.4
    plateau_fraction: float = 1.15


def slab_centres(half_length_mm: float, spacing_mm: float) -> FloatArray:
    """Return plane heights at the centres of slabs that fill the length exactly."""
    count = round(2 * half_length_mm / spacing_mm)
    if count < 1 or abs(count * spacing_mm - 2 * half_length_mm) > 1e-6:
        raise OptionError(
            f"the length {2 * half_length_mm:g} mm is no multiple of the plane spacing "
            f"{spacing_mm:g} mm, so half-slice ends could not be exact; change one of them"
        )
    return np.asarray(-half_length_mm + spacing_mm * (np.arange(count) + 0.5))


def circle(x: float, y: float, radius: float, vertices: int) -> FloatArray:
    """Return a polygon with its vertices on a circle."""
    return ellipse((x, y), (radius, radius), vertices)


def ellipse(centre: tuple[float, float], half: tuple[float, float], vertices: int) -> FloatArray:
    """Return a polygon with its vertices on an ellipse."""
    if vertices < 8:
        raise OptionError(f"a phantom contour needs at least 8 vertices, found {vertices}")
    angle = 2 * np.pi * (np.arange(vertices) + 0.3) / vertices
    return np.column_stack(
        [centre[0] + half[0] * np.sin(angle), centre[1] - half[1] * np.cos(angle)]
    )


def at_height(outline: FloatArray, z_mm: float) -> FloatArray:
    """Add a z to every point of an outline."""
    return np.column_stack([outline, np.full(len(outline), z_mm)])


def cord_contours(
    cord: CordShape, z_mm: FloatArray, radius_mm: float, vertices: int
) -> list[FloatArray]:
    """Return one circle a plane round the cord's centreline."""
    return [
        at_height(circle(float(x), float(y), radius_mm, vertices), float(z))
        for (x, y), z in zip(cord.centre_at(z_mm), z_mm, strict=True)
    ]


def make_structure(
    number: int,
    name: str,
    contours: list[FloatArray],
    colour: tuple[int, int, int] = (255, 160, 0),
) -> Structure:
    """Make a structure in the phantom's frame of reference."""
    return structure_from_contours(
        number, name, contours, colour=colour, frame_of_reference_uid=PHANTOM_FRAME_UID
    )


def make_case(
    case_id: str,
    structures: tuple[Structure, ...],
    dose: DoseGrid,
    prescription: Prescription,
    image: CtImage | None = None,
) -> Case:
    """Put the parts of a phantom together."""
    return Case(
        structures=structures,
        dose=dose,
        prescription=prescription,
        image=image,
        frame_of_reference_uid=PHANTOM_FRAME_UID,
        patient_position="HFS",
        case_id=case_id,
    )


def dose_geometry(lower: FloatArray, upper: FloatArray, sampling: Sampling) -> GridGeometry:
    """Return a dose grid that covers a box with a margin, off the contour planes."""
    step, offset = sampling.dose_spacing_mm, np.array(sampling.dose_offset_mm)
    first = np.floor((lower - sampling.dose_margin_mm - offset) / step)
    last = np.ceil((upper + sampling.dose_margin_mm - offset) / step)
    x, y, z = (o + step * np.arange(a, b + 1) for o, a, b in zip(offset, first, last, strict=True))
    return GridGeometry(x, y, z)


def dose_grid(geometry: GridGeometry, dose_gy: FloatArray) -> DoseGrid:
    """Wrap dose samples, read-only."""
    dose_gy.flags.writeable = False
    return DoseGrid(geometry, lambda slices: dose_gy[slices])


@cache
def gauss_legendre(nodes: int) -> tuple[FloatArray, FloatArray]:
    """Return places in (-1, 1) and weights of the Gauss-Legendre rule, computed once.

    SciPy solves a banded problem: 2,000 nodes take it 0.1 s and numpy's dense one 5 s.
    """
    from scipy.special import roots_legendre

    places, weights = roots_legendre(nodes)
    places.flags.writeable = weights.flags.writeable = False
    return places, weights


def segment_area(radius: ArrayLike, distance: FloatArray) -> FloatArray:
    """Return the area of discs beyond a line at signed distances from their centres, in mm2."""
    r = np.asarray(radius, dtype=np.float64)
    x = np.divide(distance, r, out=np.zeros(np.broadcast(r, distance).shape), where=r > 0)
    x = np.clip(x, -1.0, 1.0)
    return np.asarray(r * r * (np.arccos(x) - x * np.sqrt(1.0 - x * x)))

"""A previous course on a phantom: conventional fields over some levels, in any frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cordgap.case.case import Case
from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.case.transform import RigidTransform
from cordgap.errors import OptionError
from cordgap.phantom.shapes import FloatArray

PRIOR_FRAME_UID = "1.2.826.0.1.3680043.8.498.20250101000000000001"


@dataclass(frozen=True)
class PriorField:
    """Dose of opposed fields: flat, and falling off beyond two heights.

    ``dose_gy * Phi((z - bottom) / sigma) * Phi((top - z) / sigma)``, changed by
    ``tilt_per_mm`` of itself for each mm towards the back: exact at every point.
    """

    dose_gy: float = 30.0
    fractions: int = 10
    bottom_mm: float = -60.0
    top_mm: float = 60.0
    sigma_mm: float = 3.0
    tilt_per_mm: float = -0.002

    def dose_at_gy(self, points_mm: ArrayLike) -> FloatArray:
        """Return the exact dose at points (n, 3) in the coordinates of the phantom."""
        from scipy.special import ndtr

        points = np.asarray(points_mm, dtype=np.float64)
        z = points[..., 2]
        edges = ndtr((z - self.bottom_mm) / self.sigma_mm) * ndtr((self.top_mm - z) / self.sigma_mm)
        return np.asarray(self.dose_gy * edges * (1 + self.tilt_per_mm * points[..., 1]))


def prior_dose(
    case: Case,
    field: PriorField | None = None,
    *,
    transform: RigidTransform | None = None,
    spacing_mm: float = 2.5,
    margin_mm: float = 12.0,
    up_to_mm: float | None = None,
) -> DoseGrid:
    """Sample a previous dose round the structures near the cord of a phantom.

    Parameters
    ----------
    case : Case
    field : PriorField, optional
    transform : RigidTransform, optional
        From the coordinates of the phantom to those in which the grid lies; none where they are
        the same.
    spacing_mm, margin_mm : float
        Of the grid, and how far it reaches beyond the structures.
    up_to_mm : float, optional
        Height at which the grid ends, in its own coordinates, so that it covers only a part.

    Returns
    -------
    DoseGrid
        Axis-aligned in its own coordinates; each sample is exact.

    Raises
    ------
    OptionError
        If the grid would be empty.
    """
    field = field or PriorField()
    near = [s for s in case.structures if s.role in ("cord", "thecal_sac", "canal")]
    points = np.concatenate(
        [
            np.column_stack([contour, np.full(len(contour), plane.z_mm)])
            for s in near
            for plane in s.planes
            for contour in plane.contours
        ]
    )
    there = points if transform is None else transform.apply(points)
    lower, upper = there.min(axis=0) - margin_mm, there.max(axis=0) + margin_mm
    if up_to_mm is not None:
        upper[2] = min(upper[2], up_to_mm)
    if upper[2] <= lower[2] + spacing_mm:
        raise OptionError(f"a previous dose up to z = {up_to_mm} mm would not reach the cord")
    # Off the contour planes, as everything in a phantom.
    x, y, z = (np.arange(a + 0.37, b, spacing_mm) for a, b in zip(lower, upper, strict=True))
    geometry = GridGeometry(x, y, z)
    zz, yy, xx = np.meshgrid(z, y, x, indexing="ij")
    samples = np.column_stack([xx.ravel(), yy.ravel(), zz.ravel()])
    if transform is not None:
        samples = transform.inverse().apply(samples)
    return DoseGrid.from_array(geometry, field.dose_at_gy(samples).reshape(geometry.shape))

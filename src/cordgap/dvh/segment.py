"""A part of a solid between two heights, for metrics of a part of the cord."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cordgap.dvh.layers import runs_of
from cordgap.dvh.solid import Between, Ends, Solid
from cordgap.errors import StructureError


@dataclass(frozen=True, eq=False)
class Segment(Solid):
    """The part of a solid between the heights ``cut_mm``, cut flat."""

    cut_mm: tuple[float, float] = (0.0, 0.0)

    def rebuilt(self, *, between: Between | None = None, ends: Ends | None = None) -> Solid:
        """Build the same part of the solid that another rule makes of the planes."""
        return cut_solid(super().rebuilt(between=between, ends=ends), *self.cut_mm)


def cut_solid(solid: Solid, bottom_mm: float, top_mm: float) -> Segment:
    """Return the part of a solid between two heights.

    Parameters
    ----------
    solid : Solid
    bottom_mm, top_mm : float
        On or between contoured planes: end caps are a convention, nobody contoured them.

    Raises
    ------
    StructureError
        If the contoured planes do not reach that far, or leave a gap there.
    """
    first, last = solid.plane_range_mm
    layers = [
        replace(x, bottom_mm=max(x.bottom_mm, bottom_mm), top_mm=min(x.top_mm, top_mm))
        for x in solid.layers
        if x.top_mm > bottom_mm and x.bottom_mm < top_mm
    ]
    filled = sum(x.top_mm - x.bottom_mm for x in layers)
    whole = first <= bottom_mm < top_mm <= last and filled > top_mm - bottom_mm - 1e-6
    if not whole:
        raise StructureError(
            f"{solid.roi_name!r} is contoured from z = {first:.1f} to {last:.1f} mm"
            + (" with a gap" if first <= bottom_mm and top_mm <= last else "")
            + f", which does not hold the part from {bottom_mm:.1f} to {top_mm:.1f} mm",
            roi_name=solid.roi_name,
            action="contour it further",
        )
    return Segment(
        roi_name=solid.roi_name,
        runs=runs_of(layers),
        between=solid.between,
        ends=solid.ends,
        planes=solid.planes,
        slab_thickness_mm=solid.slab_thickness_mm,
        closes=False,
        findings=solid.findings,
        cut_mm=(bottom_mm, top_mm),
    )

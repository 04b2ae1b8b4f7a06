"""Whether decompression leaves the target in more pieces than it had."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cordgap.dvh.surface import corners_of
from cordgap.errors import Finding
from cordgap.separation.anatomy import Anatomy

# Cells count as touching within this; smaller pieces than this are crumbs of the cutting.
_VOXEL_MM = 1.5
_CRUMB_MM3 = 100.0


def split_finding(anatomy: Anatomy, required_mm: float) -> Finding | None:
    """Say so where the target left at the required separation falls into more pieces."""
    cells = anatomy.cells
    keep = cells.keep(required_mm)
    if keep.all():
        return None
    after = pieces_mm3(cells.points_mm[keep], cells.volume_mm3[keep])
    if len(after) <= 1:
        return None
    before = pieces_mm3(cells.points_mm, cells.volume_mm3)
    if len(after) <= len(before):
        return None
    shown = ", ".join(f"{v / 1000:.1f}" for v in sorted(after, reverse=True))
    return Finding(
        "target-split-by-decompression",
        f"{required_mm:.1f} mm would leave {anatomy.target_structure.roi_name!r} in {len(after)} "
        f"pieces ({shown} cc); it has {len(before)} now. Volume and coverage count them all",
        severity="info",
        roi_name=anatomy.target_structure.roi_name,
        action="contour the pieces as targets of their own when re-planning",
    )


def pieces_mm3(points_mm: NDArray[np.float64], volume_mm3: NDArray[np.float64]) -> list[float]:
    """Volumes of the connected pieces of a cloud of cells, without crumbs."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(points_mm):
        return []
    index = np.floor((points_mm - corners_of(points_mm)[0]) / _VOXEL_MM).astype(np.int64) + 1
    # One number a voxel, with a free layer around, so that a neighbour is a fixed step away.
    size = corners_of(index)[1] + 2
    steps = np.array([size[1] * size[2], size[2], 1])
    place = index @ steps
    there = np.zeros(int(np.prod(size)), dtype=bool)
    there[place] = True
    taken = np.flatnonzero(there)
    voxel = (np.cumsum(there) - 1)[place]
    pairs = []
    for offset in np.ndindex(3, 3, 3):
        step = int((np.array(offset) - 1) @ steps)
        if step <= 0:
            continue
        at = np.searchsorted(taken, taken + step)
        met = np.flatnonzero(taken[np.minimum(at, taken.size - 1)] == taken + step)
        pairs.append(np.stack([met, at[met]]))
    first, second = np.concatenate(pairs, axis=1)
    graph = coo_array((np.ones(first.size), (first, second)), shape=(taken.size, taken.size))
    _, label = connected_components(graph, directed=False)
    found = np.bincount(label[voxel], weights=volume_mm3)
    return [float(v) for v in found if v > _CRUMB_MM3]

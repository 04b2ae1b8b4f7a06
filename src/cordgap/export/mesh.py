"""Cord, target and what is removed as closed surfaces in mm, for planning surgery and for printing.

A body is the negative part of a signed distance on a lattice; its surface is where that is 0
(marching cubes). Distances are exact around the surface, elsewhere the sign is enough. What is
removed at s mm is inside the target and closer than s to the cord: the larger of the two distances.

References
----------
Lewiner et al. 2003, doi:10.1080/10867651.2003.10487582, as in scikit-image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cordgap.analysis import CaseResult
from cordgap.dvh.surface import Surface, contains, surface_of
from cordgap.errors import OptionError
from cordgap.export.rois import (
    Pair,
    pair_of,
    removed_volume_cc,
    resection_known,
    separations_of,
)
from cordgap.report.style import REMOVED, role_colour
from cordgap.report.view3d import Body, view_html
from cordgap.separation.gap import direction_deg
from cordgap.separation.result import GapMap

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

# Lattice of bodies, and of what is removed, which is thin; larger bodies take a coarser one.
LATTICE_MM = 0.5
FINE_LATTICE_MM = 0.25
MAX_POINTS = 3_000_000
# A surface on a lattice cuts corners: where it encloses less by this share, the lattice is refined.
VOLUME_FRACTION = 0.005
_HALVINGS = 2
# Less is what is left where two surfaces touch, or the thin end of a wedge between lattice points.
MIN_PIECE_MM3 = 1.0
# Distances are at least this share of a step: a surface through a lattice point is not closed.
_NUDGE = 1e-3
_EVERY = 4
# The volume that a surface has to enclose is added up from cross-sections this far apart.
_SECTIONS_MM = 1.5


@dataclass(frozen=True, eq=False)
class Lattice:
    """Points at even distances: axes in mm."""

    x_mm: FloatArray
    y_mm: FloatArray
    z_mm: FloatArray
    step_mm: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Points by z, y, x."""
        return self.z_mm.size, self.y_mm.size, self.x_mm.size

    def points(self, where: BoolArray) -> FloatArray:
        """Coordinates (n, 3) of the points that an array (nz, ny, nx) marks."""
        k, j, i = np.nonzero(where)
        return np.stack([self.x_mm[i], self.y_mm[j], self.z_mm[k]], axis=1)


def lattice_around(lower: FloatArray, upper: FloatArray, step_mm: float) -> Lattice:
    """Lay a lattice around a box, coarser than asked for where it would have too many points."""
    extent = upper - lower + 4 * step_mm
    step = max(step_mm, float((np.prod(extent) / MAX_POINTS) ** (1 / 3)))
    x, y, z = (
        np.arange(lo - 2 * step, hi + 3 * step, step)
        for lo, hi in zip(lower.tolist(), upper.tolist(), strict=True)
    )
    return Lattice(x, y, z, step)


def signed_field(surface: Surface, lattice: Lattice) -> FloatArray:
    """Signed distance (nz, ny, nx) to a body's surface, exact in the cells that it passes."""
    from scipy.ndimage import binary_dilation, binary_erosion

    inside = np.zeros(lattice.shape, dtype=bool)
    every = np.ones(lattice.shape[1:], dtype=bool)[None]
    for k, z in enumerate(lattice.z_mm):
        level = Lattice(lattice.x_mm, lattice.y_mm, np.array([z]), lattice.step_mm)
        inside[k] = contains(surface.solid, level.points(every)).reshape(lattice.shape[1:])
    block = np.ones((3, 3, 3), dtype=bool)
    far = 2.0 * lattice.step_mm
    near = binary_dilation(inside, block) & ~binary_erosion(inside, block)
    field = np.where(inside, -far, far)
    distance = surface.distance_mm(lattice.points(near), limit_mm=far)
    field[near] = np.clip(distance, -far, far)
    return field


def within_field(
    cord: Surface, lattice: Lattice, distance_mm: float, where: BoolArray
) -> FloatArray:
    """Distance to the cord minus ``distance_mm`` at marked points, exact near 0; else far."""
    coarse = tuple(axis[::_EVERY] for axis in (lattice.z_mm, lattice.y_mm, lattice.x_mm))
    step = lattice.step_mm * _EVERY
    # Interpolated distances are off by at most half the diagonal of a coarse cell.
    band = 0.5 * np.sqrt(3.0) * (step + 2 * lattice.step_mm)
    limit = distance_mm + 2 * step + band
    z, y, x = np.meshgrid(*coarse, indexing="ij")
    rough = cord.distance_mm(np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1), limit_mm=limit)
    rough = np.clip(rough, -limit, limit).reshape(z.shape) - distance_mm
    field = _refined(rough, lattice.shape)
    near = where & (np.abs(field) <= band)
    exact = cord.distance_mm(lattice.points(near), limit_mm=limit) - distance_mm
    field[near] = np.clip(exact, -limit, limit)
    return field


def _refined(values: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Interpolate every fourth value of a lattice to all, the last one held."""
    for axis, n in enumerate(shape):
        at = np.minimum(np.arange(n) / _EVERY, values.shape[axis] - 1.0)
        low = np.minimum(at.astype(int), max(values.shape[axis] - 2, 0))
        high = np.minimum(low + 1, values.shape[axis] - 1)
        part = (at - low).reshape([-1 if a == axis else 1 for a in range(3)])
        values = values.take(low, axis) * (1 - part) + values.take(high, axis) * part
    return values


def beyond_sextants(points: FloatArray, gaps: GapMap, clearable: Sequence[bool]) -> FloatArray:
    """Distance in mm of points (n, 3) to the sextants that can be cleared, negative inside."""
    known = np.isfinite(gaps.centre_mm).all(axis=1)
    level, centre = gaps.level_mm[known], gaps.centre_mm[known]
    x, y = (np.interp(points[:, 2], level, centre[:, i]) for i in (0, 1))
    dx, dy = points[:, 0] - x, points[:, 1] - y
    direction, radius = direction_deg(dx, dy), np.hypot(dx, dy)
    away = np.full(len(points), np.inf)
    for index, here in enumerate(clearable):
        if here == clearable[(index + 1) % 6]:
            continue
        off = np.radians(direction - (60.0 * index + 30.0))
        away = np.minimum(away, np.where(np.cos(off) > 0, radius * np.abs(np.sin(off)), radius))
    can = np.asarray(clearable)[(np.floor((direction + 30.0) / 60.0) % 6).astype(int)]
    return np.where(can, -away, away)


def closed_surface(field: FloatArray, lattice: Lattice) -> tuple[FloatArray, NDArray[np.int64]]:
    """Vertices (n, 3) in mm and faces (m, 3) of where a field is 0, normals outwards."""
    from skimage.measure import marching_cubes

    least = _NUDGE * lattice.step_mm
    values = np.where(np.abs(field) < least, np.copysign(least, field), field).astype(np.float32)
    vertices, faces, _, _ = marching_cubes(values, 0.0, gradient_direction="ascent")
    origin = np.array([lattice.x_mm[0], lattice.y_mm[0], lattice.z_mm[0]])
    return origin + lattice.step_mm * vertices[:, ::-1].astype(np.float64), faces


def bodies_of(result: CaseResult, separation_mm: float | None) -> tuple[Body, ...]:
    """Closed surfaces of cord, target and, at a separation, what is removed."""
    pair = pair_of(result, separation_mm or 0.0)
    assert result.cord is not None
    assert result.target is not None
    cord, target = result.cord.structure, result.target.structure
    whole = surface_of(pair.cord)
    target_surface = surface_of(pair.target)
    bodies = [
        _body("cord", cord.roi_name, role_colour(cord.role), whole),
        _body("target", target.roi_name, role_colour(target.role), target_surface),
    ]
    if separation_mm and resection_known(result):
        removed = _removed(result, pair, target_surface, separation_mm)
        if removed is not None:
            bodies.append(removed)
    return tuple(bodies)


def _body(kind: str, name: str, colour: str, surface: Surface) -> Body:
    solid = surface.solid

    def closed(step_mm: float) -> _Closed:
        lattice = lattice_around(*solid.bounds_mm, step_mm)
        return _Closed(*closed_surface(signed_field(surface, lattice), lattice), lattice.step_mm)

    found = _refined_until(closed, LATTICE_MM, solid.volume_cc)
    return Body(kind, name, colour, found.vertices_mm, found.faces, solid.volume_cc)


@dataclass(frozen=True, eq=False)
class _Closed:
    """A closed surface and the step of the lattice that it was found on."""

    vertices_mm: FloatArray
    faces: NDArray[np.int64]
    step_mm: float


def _refined_until(closed: Callable[[float], _Closed], step_mm: float, volume_cc: float) -> _Closed:
    """Halve the step until the surface encloses the volume, or the lattice has no more points."""
    found = closed(step_mm)
    for _ in range(_HALVINGS):
        off = abs(enclosed_cc(found.vertices_mm, found.faces) - volume_cc)
        if off <= VOLUME_FRACTION * volume_cc:
            break
        finer = closed(found.step_mm / 2)
        if finer.step_mm > 0.9 * found.step_mm:
            break
        found = finer
    return found


def enclosed_cc(vertices: FloatArray, faces: NDArray[np.int64]) -> float:
    """Volume that closed faces enclose, in cc: the sum of signed tetrahedra."""
    a, b, c = (vertices[faces[:, i]] - vertices[0] for i in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum()) / 6000.0


def _removed(result: CaseResult, pair: Pair, target: Surface, separation_mm: float) -> Body | None:
    assert result.separation is not None
    gaps = result.separation.map
    lower, upper = pair.target.bounds_mm
    cord_points = pair.cord_surface.points_mm
    lower = np.maximum(lower, cord_points.min(axis=0) - separation_mm)
    upper = np.minimum(upper, cord_points.max(axis=0) + separation_mm)
    volume_cc = removed_volume_cc(pair, gaps, separation_mm, step_mm=_SECTIONS_MM)
    if (lower >= upper).any() or 1000.0 * volume_cc < MIN_PIECE_MM3:
        return None

    def closed(step_mm: float) -> _Closed:
        lattice = lattice_around(lower, upper, step_mm)
        field = signed_field(target, lattice)
        where = field < 2.0 * lattice.step_mm
        field = np.maximum(field, within_field(pair.cord_surface, lattice, separation_mm, where))
        if not all(pair.clearable):
            points = lattice.points(np.ones(lattice.shape, dtype=bool))
            beyond = beyond_sextants(points, gaps, pair.clearable)
            field = np.maximum(field, beyond.reshape(lattice.shape))
        _drop_crumbs(field, lattice)
        if not (field < 0).any():
            return _Closed(np.zeros((1, 3)), np.zeros((0, 3), dtype=np.int64), lattice.step_mm)
        return _Closed(*closed_surface(field, lattice), lattice.step_mm)

    found = _refined_until(closed, FINE_LATTICE_MM, volume_cc)
    if not len(found.faces):
        return None
    name = f"removed at {separation_mm:.1f} mm"
    return Body("removed", name, REMOVED, found.vertices_mm, found.faces, volume_cc)


def _drop_crumbs(field: FloatArray, lattice: Lattice) -> None:
    """Leave out, in place, pieces too small to be removed by anybody."""
    from scipy.ndimage import label

    pieces, _ = label(field < 0, np.ones((3, 3, 3), dtype=bool))
    size = np.bincount(pieces.ravel()) * lattice.step_mm**3
    small = size < MIN_PIECE_MM3
    small[0] = False
    field[small[pieces]] = lattice.step_mm


def mesh_contents(
    result: CaseResult, *, at_mm: float | None = None
) -> tuple[dict[str, bytes | str], tuple[str, ...]]:
    """Make STL files, a glTF scene and an interactive view of cord, target and what is removed.

    Parameters
    ----------
    result : CaseResult
    at_mm : float, optional
        Separation in place of what to make (the upper end of the interval), which is the default.

    Returns
    -------
    contents, notes
        By path inside the report's folder; notes say what was left out, and why.

    Raises
    ------
    OptionError
        When the extra ``cordgap[mesh]`` is missing, or ``at_mm`` makes no sense.
    """
    _require_extra()
    wanted = separations_of(result, at_mm)
    if result.separation is None:
        return {}, (f"no meshes and no 3D view: {result.separation_reason}",)
    separation = wanted[-1] if wanted else None
    bodies = bodies_of(result, separation)
    notes = []
    if len(bodies) == 2:
        why = "nothing is closer" if separation and resection_known(result) else "it is not known"
        notes.append(f"no mesh of what is removed: {why}")
    for body in bodies:
        enclosed = enclosed_cc(body.vertices_mm, body.faces)
        if abs(enclosed - body.volume_cc) > 2 * VOLUME_FRACTION * body.volume_cc:
            notes.append(
                f"the mesh of {body.name} encloses {enclosed:.3f} cc of {body.volume_cc:.3f}: the "
                "body is too thin, or too large, for the lattice"
            )
    meshes = {body.kind: _trimesh(body) for body in bodies}
    contents: dict[str, bytes | str] = {
        f"mesh/{kind}.stl": _exported(mesh, "stl") for kind, mesh in meshes.items()
    }
    contents["mesh/scene.glb"] = _scene(bodies, meshes)
    contents["view3d.html"] = view_html(result, bodies, separation)
    return contents, tuple(notes)


def _trimesh(body: Body) -> Any:
    import trimesh

    rgb = [int(body.colour[i : i + 2], 16) for i in (1, 3, 5)]
    opacity = {"cord": 255, "target": 110, "removed": 200}[body.kind]
    mesh = trimesh.Trimesh(body.vertices_mm, body.faces, process=False)
    mesh.visual = trimesh.visual.TextureVisuals(
        material=trimesh.visual.material.PBRMaterial(
            baseColorFactor=[*rgb, opacity],
            metallicFactor=0.0,
            roughnessFactor=0.8,
            alphaMode="OPAQUE" if opacity == 255 else "BLEND",
            name=body.kind,
        )
    )
    return mesh


def _exported(mesh: Any, kind: str) -> bytes:
    buffer = BytesIO()
    mesh.export(buffer, file_type=kind)
    return buffer.getvalue()


def _scene(bodies: Sequence[Body], meshes: dict[str, Any]) -> bytes:
    """glTF binary: vertices in mm (LPS); the node turns them into metres, Y up, as glTF wants.

    Patient left is +X, head +Y, anterior +Z.
    """
    import trimesh

    turn = np.zeros((4, 4))
    turn[0, 0], turn[1, 2], turn[2, 1], turn[3, 3] = 1e-3, 1e-3, -1e-3, 1.0
    scene = trimesh.Scene()
    for body in bodies:
        scene.add_geometry(
            meshes[body.kind], geom_name=body.kind, node_name=body.kind, transform=turn
        )
    data = scene.export(file_type="glb")
    assert isinstance(data, bytes)
    return data


def _require_extra() -> None:
    try:
        import skimage  # noqa: F401
        import trimesh  # noqa: F401
    except ImportError as error:
        raise OptionError(
            f"--mesh needs a package that is not installed ({error.name}); install it with: "
            "pip install 'cordgap[mesh]'"
        ) from error

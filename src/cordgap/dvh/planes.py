"""One contoured plane: rings, even-odd area, and its shape as radius against angle."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cordgap.case.structure import ContourPlane
from cordgap.dvh import compiled
from cordgap.dvh.loops import ON_RAY
from cordgap.dvh.sections import next_vertex

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

# Angles of a polar cross-section: a 5 mm circle is met to 1 micrometre, before its area is
# scaled to that of the contour.
N_ANGLES = 180
_ANGLES = np.linspace(0, 2 * np.pi, N_ANGLES, endpoint=False)
DIRECTIONS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
# Relative change of area by which a contour counts as crossing itself.
_SELF_CROSSING = 5e-3
# ... and beyond which nobody can say what it encloses.
_TANGLED = 0.05
TANGLED = "tangled-contour"
# A pen crosses its own line a few times, a damaged file hundreds of times.
_MAX_CROSSINGS = 50
# Edges looked at first: a knot shows at once, and all its crossings would take minutes to count.
_FIRST_EDGES = 300
# Two contours that share more than this of the larger are one contour drawn twice.
_SAME_CONTOUR = 0.98
# A contour that lies inside another when shrunk to this share may share an edge with it.
_NESTED_SHARE = 0.98
# Point-edge pairs tested at once.
_TESTS_AT_ONCE = 2_000_000


@dataclass(frozen=True, eq=False)
class Profile:
    """A star-shaped cross-section: centroid, squared radius per angle, exact area."""

    centre_mm: FloatArray
    squared_radius_mm2: FloatArray
    area_mm2: float


@dataclass(frozen=True, eq=False)
class Profiles:
    """Star-shaped cross-sections, one above the other.

    Height (n,), centroid (n, 2), squared radius (n, n_angles) and area (n,) of each.
    """

    z_mm: FloatArray
    centre_mm: FloatArray
    squared_radius_mm2: FloatArray
    area_mm2: FloatArray

    @classmethod
    def of(cls, sections: Sequence[tuple[float, Profile]]) -> Profiles:
        """Put cross-sections at heights into one table."""
        profiles = [profile for _, profile in sections]
        return cls(
            np.array([z for z, _ in sections]),
            np.array([p.centre_mm for p in profiles]),
            np.array([p.squared_radius_mm2 for p in profiles]),
            np.array([p.area_mm2 for p in profiles]),
        )

    @classmethod
    def joined(cls, tables: Sequence[Profiles]) -> Profiles:
        """Several tables as one."""
        return cls(*(np.concatenate([getattr(t, f.name) for t in tables]) for f in fields(cls)))

    def rows(self, which: IntArray) -> Profiles:
        """Some of them, in that order."""
        return Profiles(*(getattr(self, f.name)[which] for f in fields(self)))

    def each(self) -> list[Profile]:
        """One by one."""
        parts = zip(self.centre_mm, self.squared_radius_mm2, self.area_mm2.tolist(), strict=True)
        return [Profile(*of) for of in parts]


_NO_PROFILE = Profile(np.zeros(2), np.zeros(N_ANGLES), 0.0)


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane with its rings, their even-odd area, and its profile if it is star-shaped."""

    z_mm: float
    contours: tuple[FloatArray, ...]
    area_mm2: float
    profile: Profile | None


def inside_rings(rings: Sequence[FloatArray], points: FloatArray) -> NDArray[np.bool_]:
    """Even-odd test of points (n, 2) against rings."""
    inside = np.zeros(len(points), dtype=bool)
    order = np.argsort(points[:, 1], kind="stable")
    x, y = points[order, 0], points[order, 1]
    flips = np.zeros(len(points), dtype=bool)
    for ring in rings:
        a, b = ring, np.roll(ring, -1, axis=0)
        # Each edge is met by a run of the points sorted by y; a few edges at a time bound memory.
        low, n = _runs_met(a, b, y)
        bounds = np.flatnonzero(np.diff(np.cumsum(n) // _TESTS_AT_ONCE, prepend=-1))
        for first, last in zip(bounds, np.r_[bounds[1:], len(n)], strict=True):
            part = slice(int(first), int(last))
            edge = np.repeat(np.arange(first, last), n[part])
            rank = np.arange(edge.size) - np.repeat(np.cumsum(n[part]) - n[part], n[part])
            which = low[edge] + rank
            rise = b[edge, 1] - a[edge, 1]
            crossing = a[edge, 0] + (y[which] - a[edge, 1]) * (b[edge, 0] - a[edge, 0]) / rise
            hits = np.bincount(which[crossing > x[which]], minlength=len(points))
            flips ^= (hits % 2).astype(bool)
    inside[order] = flips
    return inside


def _runs_met(a: FloatArray, b: FloatArray, y: FloatArray) -> tuple[IntArray, IntArray]:
    """First, and how many, of ascending ``y`` each edge from ``a`` to ``b`` meets.

    The lower end belongs to an edge and the upper does not, so that each vertex counts once.
    """
    low = np.searchsorted(y, np.minimum(a[:, 1], b[:, 1]), side="left")
    return low, np.searchsorted(y, np.maximum(a[:, 1], b[:, 1]), side="left") - low


def lattice_inside(
    rings: Sequence[FloatArray], x_mm: FloatArray, y_mm: FloatArray
) -> NDArray[np.bool_]:
    """Even-odd test of a lattice of columns ``x_mm`` and rows ``y_mm`` (ascending); (ny, nx).

    As :func:`inside_rings`, but each row is crossed once by each edge that meets it.
    """
    flips = np.zeros((y_mm.size, x_mm.size + 1), dtype=np.int32)
    for ring in rings:
        a, b = ring, np.roll(ring, -1, axis=0)
        low, n = _runs_met(a, b, y_mm)
        edge = np.repeat(np.arange(n.size), n)
        row = low[edge] + np.arange(edge.size) - np.repeat(np.cumsum(n) - n, n)
        slope = (b[edge, 0] - a[edge, 0]) / (b[edge, 1] - a[edge, 1])
        crossing = a[edge, 0] + (y_mm[row] - a[edge, 1]) * slope
        np.add.at(flips, (row, np.searchsorted(x_mm, crossing, side="left")), 1)
    # A crossing flips the columns before it.
    after = np.cumsum(flips[:, ::-1], axis=1)[:, ::-1]
    inside: NDArray[np.bool_] = after[:, 1:] % 2 == 1
    return inside


def signed_area_mm2(points: FloatArray) -> float:
    """Shoelace area of a ring; positive for one winding, negative for the other."""
    x, y = points[:, 0] - points[0, 0], points[:, 1] - points[0, 1]
    twice = np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1]) + x[-1] * y[0] - x[0] * y[-1]
    return 0.5 * float(twice)


def profiles_of(contours: Sequence[FloatArray]) -> list[Profile | None]:
    """Resample contours to radius against angle, all at once; None unless star-shaped.

    Star-shaped is meant about the centroid.
    """
    if not contours:
        return []
    size = np.array([len(c) for c in contours])
    first = np.cumsum(size) - size
    points = np.concatenate(contours)
    kernels = compiled.loaded()
    if kernels is not None:
        return _as_profiles(*kernels.polar_profiles(points, first, size, DIRECTIONS))
    which = np.repeat(np.arange(size.size), size)
    after = next_vertex(size)
    x, y = np.ascontiguousarray(points[:, 0]), np.ascontiguousarray(points[:, 1])
    # Relative to the first point, for precision.
    x0, y0 = x[first], y[first]
    x -= x0[which]
    y -= y0[which]
    cross = x * y[after] - x[after] * y
    area = 0.5 * np.add.reduceat(cross, first)
    flat = area == 0
    sixfold = np.where(flat, 1.0, 6.0 * area)
    cx = np.add.reduceat((x + x[after]) * cross, first) / sixfold
    cy = np.add.reduceat((y + y[after]) * cross, first) / sixfold
    x -= cx[which]
    y -= cy[which]
    # Walk every ring with the area on its left, from its smallest angle on.
    angle = np.arctan2(y, x)
    lowest = np.flatnonzero(angle == np.minimum.reduceat(angle, first)[which])
    lowest = lowest[np.r_[True, np.diff(which[lowest]) > 0]]
    walk = (np.arange(which.size) - first[which]) * np.where(area > 0, 1, -1)[which]
    order = first[which] + ((lowest - first)[which] + walk) % size[which]
    x, y, angle = x[order], y[order], angle[order]
    step = (angle[after] - angle + np.pi) % (2 * np.pi) - np.pi
    turn = np.add.reduceat(step, first)
    star = ~flat & (np.minimum.reduceat(step, first) >= -1e-9)
    star &= np.abs(turn - 2 * np.pi) <= 1e-6
    walked = np.cumsum(step) - step
    walked -= walked[first][which]
    # Rings one after the other: which edge does each ray meet? Where edges are radial the angle
    # does not advance: the last of them counts.
    apart = 16.0 * np.arange(size.size)
    wanted = (_ANGLES - angle[first][:, None] + ON_RAY) % (2 * np.pi) + apart[:, None]
    edge = np.searchsorted(walked + apart[which], wanted, side="right") - 1
    ex, ey = x[after] - x, y[after] - y
    across = DIRECTIONS[:, 0] * ey[edge] - DIRECTIONS[:, 1] * ex[edge]
    length = (x * ey - y * ex)[edge]
    radial = np.abs(across) < 1e-12
    if radial.any():
        radius = np.where(radial, np.hypot(x, y)[edge], length / np.where(radial, 1.0, across))
    else:
        radius = length / across
    star &= radius.min(axis=1) > 0
    chords = np.einsum("ij,ij->i", radius[:, 1:], radius[:, :-1]) + radius[:, 0] * radius[:, -1]
    sampled = 0.5 * chords * np.sin(2 * np.pi / N_ANGLES)
    area = np.abs(area)
    squared = radius * radius * (area / np.where(star, sampled, 1.0))[:, None]
    return _as_profiles(np.stack([cx + x0, cy + y0], axis=1), squared, area, star)


def _as_profiles(
    centre: FloatArray, squared: FloatArray, area: FloatArray, star: NDArray[np.bool_]
) -> list[Profile | None]:
    return [
        Profile(c, q, a) if ok else None
        for c, q, a, ok in zip(centre, squared, area.tolist(), star.tolist(), strict=True)
    ]


def profile_of(contour: FloatArray) -> Profile | None:
    """Resample one contour to radius against angle; None unless star-shaped."""
    return profiles_of([contour])[0]


def clean_planes(planes: Sequence[ContourPlane]) -> list[tuple[Plane, str | None]]:
    """Even-odd area of planes; overlapping contours are merged and named as a problem."""
    profiles = iter(profiles_of([p.contours[0] for p in planes if len(p.contours) == 1]))
    of = [next(profiles) if len(p.contours) == 1 else None for p in planes]
    odd = [
        plane
        for plane, profile in zip(planes, of, strict=True)
        if profile is None and not (plane.is_xor and len(plane.contours) > 1)
    ]
    cleaned = iter(_clean(odd))
    found: list[tuple[Plane, str | None]] = []
    for plane, profile in zip(planes, of, strict=True):
        if profile is not None:
            found.append((Plane(plane.z_mm, plane.contours, profile.area_mm2, profile), None))
        elif plane.is_xor and len(plane.contours) > 1:
            found.append((_exclusive(plane), None))
        else:
            found.append(next(cleaned))
    return found


def _clean(planes: Sequence[ContourPlane]) -> list[tuple[Plane, str | None]]:
    """Planes of several contours, or of one that is not star-shaped."""
    import shapely

    if not planes:
        return []
    contours = [c for plane in planes for c in plane.contours]
    size = np.array([len(c) for c in contours])
    rings = shapely.linearrings(
        np.concatenate(contours), indices=np.repeat(np.arange(size.size), size)
    )
    polygons = shapely.polygons(rings)
    valid, area = shapely.is_valid(polygons), shapely.area(polygons)
    ends = np.cumsum([len(plane.contours) for plane in planes]).tolist()
    found = []
    for plane, begin, end in zip(planes, [0, *ends], ends, strict=False):
        rows = slice(begin, end)
        found.append(_clean_one(plane, polygons[rows], valid[rows], area[rows]))
    return found


def _clean_one(
    plane: ContourPlane, polygons: Any, valid: NDArray[np.bool_], area_mm2: FloatArray
) -> tuple[Plane, str | None]:
    import shapely

    contours, areas = plane.contours, area_mm2.tolist()
    problem = None
    polygons = polygons.copy()
    for i in np.flatnonzero(~valid).tolist():
        if _crossings(contours[i]) > _MAX_CROSSINGS:
            return Plane(plane.z_mm, contours, 0.0, None), TANGLED
        polygons[i] = shapely.make_valid(polygons[i])
        areas[i] = float(polygons[i].area)
        shoelace = abs(signed_area_mm2(contours[i]))
        change = abs(areas[i] - shoelace)
        if change > _SELF_CROSSING * shoelace:
            problem = problem or "self-crossing-contour"
        if change > _TANGLED * max(shoelace, areas[i]):
            problem = TANGLED
    if problem == TANGLED:
        return Plane(plane.z_mm, contours, sum(areas), None), problem
    if len(contours) == 1:
        return Plane(plane.z_mm, contours, areas[0], None), problem
    common = _common_areas(polygons)
    copies = set()
    for i in range(len(polygons)):
        for j, shared in common[i]:
            if j >= i or j in copies:
                continue
            smaller = min(areas[i], areas[j])
            if shared > _SAME_CONTOUR * max(areas[i], areas[j]):
                # Drawn twice, a little apart: neither a hole nor a second body.
                copies.add(i)
                break
            if _SELF_CROSSING * smaller < shared < (1 - _SELF_CROSSING) * smaller:
                return _merged(plane, polygons), "overlapping-contours"
    if copies:
        kept = tuple(c for i, c in enumerate(contours) if i not in copies)
        return clean_planes([ContourPlane(plane.z_mm, kept)])[0][0], "duplicate-contours"
    # Nested or apart: every second level of nesting is a hole.
    total = 0.0
    for i, area in enumerate(areas):
        inside = sum(areas[j] > area and shared > 0.5 * area for j, shared in common[i])
        total += area if inside % 2 == 0 else -area
    return Plane(plane.z_mm, contours, total, None), problem


def _crossings(ring: FloatArray) -> int:
    """Count how often the edges of a ring cross each other; of a long ring, up to the limit."""
    import shapely

    if len(ring) > _FIRST_EDGES and (n := _crossings(ring[:_FIRST_EDGES])) > _MAX_CROSSINGS:
        return n
    edges = shapely.linestrings(np.stack([ring, np.roll(ring, -1, axis=0)], axis=1))
    return int(shapely.STRtree(edges).query(edges, "crosses").shape[1]) // 2


def _common_areas(polygons: Any) -> list[list[tuple[int, float]]]:
    """Return for each polygon the others that it meets, in order, and the area they share."""
    import shapely

    found: list[list[tuple[int, float]]] = [[] for _ in polygons]
    if len(polygons) == 2:
        first, second = np.array([0]), np.array([1])
        if not shapely.intersects(*polygons):
            return found
    else:
        first, second = shapely.STRtree(polygons).query(polygons, "intersects")
        once = first < second
        first, second = first[once], second[once]
    shared = shapely.area(shapely.intersection(polygons[first], polygons[second])).tolist()
    for i, j, area in zip(first.tolist(), second.tolist(), shared, strict=True):
        found[i].append((j, area))
        found[j].append((i, area))
    return [sorted(of) for of in found]


def _exclusive(plane: ContourPlane) -> Plane:
    """Even-odd area of contours that are combined by exclusive or, however they overlap."""
    import shapely

    area = shapely.Polygon()
    for contour in plane.contours:
        area = shapely.symmetric_difference(area, shapely.make_valid(shapely.Polygon(contour)))
    return Plane(plane.z_mm, plane.contours, float(area.area), None)


def _merged(plane: ContourPlane, polygons: Any) -> Plane:
    import shapely

    union = shapely.union_all(polygons)
    parts = list(getattr(union, "geoms", [union]))
    rings = [
        np.asarray(ring.coords)[:-1, :2]
        for part in parts
        if part.geom_type == "Polygon"
        for ring in (part.exterior, *part.interiors)
    ]
    return Plane(plane.z_mm, tuple(rings), float(union.area), None)


def may_loft(planes: Sequence[Plane]) -> list[bool]:
    """Whether each plane can be joined with the next: both star-shaped, one above the other.

    Above the other: each centroid lies inside the other contour, or one contour lies inside the
    other (as in a body that closes to one side).
    """
    star = [p.profile is not None for p in planes]
    joined = [a and b for a, b in itertools.pairwise(star)]
    if not any(joined):
        return joined
    shapes = [p.profile or _NO_PROFILE for p in planes]
    centre = np.array([s.centre_mm for s in shapes])
    squared = np.array([s.squared_radius_mm2 for s in shapes])
    dx, dy = np.diff(centre, axis=0).T
    far = dx * dx + dy * dy
    along = np.round(np.arctan2(dy, dx) / (2 * np.pi) * N_ANGLES).astype(np.intp) % N_ANGLES
    back = (along + N_ANGLES // 2) % N_ANGLES
    i = np.arange(far.size)
    inside = (far < squared[i, along]) & (far < squared[i + 1, back])
    return [
        can and (bool(near) or _nested(*planes[k : k + 2]))
        for k, (can, near) in enumerate(zip(joined, inside | (far < 1e-18), strict=True))
    ]


def _nested(a: Plane, b: Plane) -> bool:
    """Whether the smaller one of two contours lies inside the other."""
    small, large = sorted((a, b), key=lambda plane: plane.area_mm2)
    assert small.profile is not None
    centre = small.profile.centre_mm
    within = centre + _NESTED_SHARE * (small.contours[0] - centre)
    return bool(inside_rings(large.contours, within).all())

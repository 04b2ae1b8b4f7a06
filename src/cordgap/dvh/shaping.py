"""How a body that closes looks: its cap beyond the last plane, and its sides between the planes.

Cross-sections that shrink from plane to plane say where the body ends, and that its sides bend.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cordgap.dvh.planes import Plane, Profile, next_vertex, profile_of

FloatArray = NDArray[np.float64]

# A body closes where less than this share of the last contour's area would be left at the next
# plane, which nobody drew; some is allowed, because contours are not exact.
CLOSED_SHARE = 0.1
# Cross-sections of a closing cap, dense towards the tip, where its sides turn in.
_N_SECTIONS = 6
# A cross-section that has shrunk to this share of its width is a point or a line.
_LEAST_SHARE = 0.01
# A loft is cut into parts until its straight sides lie this close to the curve, as a share of the
# radius (the volume is then off by less than twice that), into at most so many.
_CHORD_SHARE = 1e-3
_MOST_PARTS = 8


def closing_cap(last: Plane, second: Plane, third: Plane) -> list[tuple[float, Profile]]:
    """Cross-sections of the cap of a body that closes before the next plane would come.

    The squared widths of the cross-section are its second moments along two axes; each is
    continued as the parabola through the last three planes, which is exact for ellipsoids, for
    cones, and for cylinders along any axis. A width that does not shrink stays. The shape is that
    of the last contour, and its centroid goes on as it came.

    Parameters
    ----------
    last, second, third : Plane
        From the end inwards; each holds one contour and its profile.

    Returns
    -------
    list of (z_mm, Profile)
        From the last plane outwards, the last plane included. Empty where the cross-sections do
        not shrink that fast: the body was cut there.
    """
    if last.profile is None or second.profile is None or third.profile is None:
        return []
    outline, centre = last.contours[0], last.profile.centre_mm
    moments = _second_moments([p.contours[0] for p in (last, second, third)])
    values, vectors = np.linalg.eigh(moments[0])
    if values[0] <= 0:
        return []
    # In coordinates in which the last contour is as wide one way as the other; turned so that the
    # widths of the one before lie along the axes.
    whiten = vectors / np.sqrt(values)
    axes = np.linalg.eigh(whiten.T @ moments[1] @ whiten)[1]
    to_axes = axes.T @ whiten.T
    at_second, at_third = (np.diag(to_axes @ m @ to_axes.T) for m in moments[1:])
    # Squared width 1 + slope t + bend t^2, t in spacings beyond the last plane.
    spacing = last.z_mm - second.z_mm
    deep = (last.z_mm - third.z_mm) / spacing
    bend = (at_third - 1 - deep * (at_second - 1)) / (deep * (deep - 1))
    slope = bend - (at_second - 1)

    def left_at(t: FloatArray) -> FloatArray:
        widths = _squared_widths(slope, bend, t)
        left: FloatArray = np.sqrt(widths[:, 0] * widths[:, 1])
        return left

    if left_at(np.ones(1))[0] > CLOSED_SHARE:
        return []
    left = left_at(np.linspace(0.0, 1.0, 1001))
    gone = np.flatnonzero(left <= _LEAST_SHARE**2)
    tip = gone[0] / 1000 if gone.size else 1.0
    beyond = tip * (1 - (1 - np.arange(1, _N_SECTIONS + 1) / _N_SECTIONS) ** 2)
    drift = centre - second.profile.centre_mm
    back = (vectors * np.sqrt(values)) @ axes
    sections = [(last.z_mm, last.profile)]
    for t, squared in zip(beyond, _squared_widths(slope, bend, beyond), strict=True):
        shrink = back @ np.diag(np.maximum(np.sqrt(squared), _LEAST_SHARE)) @ to_axes
        profile = profile_of(centre + t * drift + (outline - centre) @ shrink.T)
        if profile is None:
            return []
        sections.append((float(last.z_mm + t * spacing), profile))
    return sections


def _squared_widths(slope: FloatArray, bend: FloatArray, t: FloatArray) -> FloatArray:
    """Squared widths (n, 2) at ``t`` relative to those of the last plane; never growing."""
    turn = np.where(bend > 0, -slope / np.where(bend > 0, 2 * bend, 1.0), np.inf)
    at = np.minimum(t[:, None], turn)
    widths: FloatArray = np.where(slope < 0, 1 + slope * at + bend * at * at, 1.0)
    return np.maximum(widths, 0.0)


def _second_moments(contours: Sequence[FloatArray]) -> FloatArray:
    """Second moments (n, 2, 2) of n polygons about their centroids, divided by their areas."""
    size = np.array([len(c) for c in contours])
    first = np.cumsum(size) - size
    # About a point near each, for precision.
    near = np.array([c[0] for c in contours])
    x, y = (np.concatenate(contours) - np.repeat(near, size, axis=0)).T
    after = next_vertex(size)
    xn, yn = x[after], y[after]
    cross = x * yn - xn * y
    terms = np.stack([
        cross, cross * (x + xn), cross * (y + yn), cross * (x * x + x * xn + xn * xn),
        cross * (y * y + y * yn + yn * yn),
        cross * (x * yn + 2 * (x * y + xn * yn) + xn * y),
    ])  # fmt: skip
    twice, mx, my, xx, yy, xy = np.add.reduceat(terms, first, axis=1)
    cx, cy = mx / (3 * twice), my / (3 * twice)
    xx, yy, xy = xx / (6 * twice) - cx * cx, yy / (6 * twice) - cy * cy, xy / (12 * twice) - cx * cy
    return np.stack([xx, xy, xy, yy], axis=1).reshape(-1, 2, 2)


def bent_between(
    planes: Sequence[Plane], lofts: Sequence[bool], i: int
) -> list[tuple[float, Profile]]:
    """Cross-sections strictly between planes ``i`` and ``i + 1`` where a straight loft misses them.

    Centroid and squared radius follow the cubic that has, in each plane, the slope of the parabola
    through it and its two neighbours; with one neighbour missing the parabola itself. Both are
    exact where centroid and squared radius are parabolas in z, as in ellipsoids and cones.

    Parameters
    ----------
    planes : sequence of Plane
    lofts : sequence of bool
        Whether each gap is lofted; gap ``i`` is.
    i : int
        The gap.

    Returns
    -------
    list of (z_mm, Profile)
        As many as it takes; none where the straight loft is close enough, no neighbour is
        lofted, or the curve would leave no cross-section.
    """
    first = i - 1 if i > 0 and lofts[i - 1] else i
    after = i + 1 < len(lofts) and lofts[i + 1]
    known = planes[first : i + 2 + after]
    profiles = [p.profile for p in known if p.profile is not None]
    if len(known) < 3 or len(profiles) < len(known):
        return []
    z = np.array([p.z_mm for p in known])
    at = i - first
    slopes = _slopes(z, at)
    gap = z[at + 1] - z[at]

    def section(share: float) -> Profile:
        weights = gap * (share * (1 - share) ** 2 * slopes[0] - share**2 * (1 - share) * slopes[1])
        weights[at] += (1 - share) ** 2 * (1 + 2 * share)
        weights[at + 1] += share**2 * (3 - 2 * share)
        return Profile(
            weights @ np.array([p.centre_mm for p in profiles]),
            weights @ np.array([p.squared_radius_mm2 for p in profiles]),
            float(weights @ np.array([p.area_mm2 for p in profiles])),
        )

    middle = section(0.5)
    chord = 0.5 * (profiles[at].squared_radius_mm2 + profiles[at + 1].squared_radius_mm2)
    if not _is_body(middle):
        return []
    miss = float(np.abs(np.sqrt(middle.squared_radius_mm2) - np.sqrt(chord)).max())
    # Cut into n parts the chord misses 1/n^2 of that.
    allowed = _CHORD_SHARE * float(np.sqrt(middle.area_mm2 / np.pi))
    n = min(_MOST_PARTS, int(np.ceil(np.sqrt(miss / allowed))))
    inner = [(float(z[at] + share * gap), section(share)) for share in np.arange(1, n) / n]
    return inner if all(_is_body(p) for _, p in inner) else []


def _is_body(profile: Profile) -> bool:
    return profile.area_mm2 > 0 and float(profile.squared_radius_mm2.min()) > 0


def _slopes(z_mm: FloatArray, at: int) -> FloatArray:
    """Slopes in planes ``at`` and ``at + 1``, as weights (2, n) of the values in all planes."""
    h = np.diff(z_mm)
    chords = np.diff(np.eye(z_mm.size), axis=0) / h[:, None]

    def parabola(j: int) -> FloatArray:
        """Slope in plane ``j`` of the parabola through it and its neighbours."""
        slope: FloatArray = (chords[j - 1] * h[j] + chords[j] * h[j - 1]) / (h[j - 1] + h[j])
        return slope

    if at == 0:
        return np.array([2 * chords[0] - parabola(1), parabola(1)])
    if at == h.size - 1:
        return np.array([parabola(at), 2 * chords[at] - parabola(at)])
    return np.array([parabola(at), parabola(at + 1)])

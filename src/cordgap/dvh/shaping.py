"""How a body that closes looks: its cap beyond the last plane, and its sides between the planes.

Cross-sections that shrink from plane to plane say where the body ends, and that its sides bend.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cordgap.dvh.planes import DIRECTIONS, Plane, Profiles, profiles_of

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

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
# Of each direction the products x x, x y, y x, y y.
_PRODUCTS = (DIRECTIONS[:, :, None] * DIRECTIONS[:, None, :]).reshape(-1, 4)


def closing_cap(last: Plane, second: Plane, third: Plane) -> Profiles | None:
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
    Profiles or None
        From beyond the last plane outwards. None where the cross-sections do not shrink that
        fast: the body was cut there.
    """
    if last.profile is None or second.profile is None or third.profile is None:
        return None
    outline, centre = last.contours[0], last.profile.centre_mm
    squared = np.array([p.profile.squared_radius_mm2 for p in (last, second, third) if p.profile])
    moments = _second_moments(squared)
    (xx, xy), (_, yy) = moments[0].tolist()
    if not (xx > 0 and xx * yy > xy * xy):
        return None
    # In coordinates in which the last contour is as wide one way as the other; turned so that the
    # widths of the one before lie along the axes.
    wide, high = np.sqrt(xx), np.sqrt(yy - xy * xy / xx)
    whiten = np.array([[1 / wide, 0.0], [-xy / (xx * high), 1 / high]])
    (a, b), (_, c) = (whiten @ moments[1] @ whiten.T).tolist()
    turn = 0.5 * np.arctan2(2 * b, a - c)
    axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    to_axes = axes.T @ whiten
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
        return None
    left = left_at(np.linspace(0.0, 1.0, 1001))
    gone = np.flatnonzero(left <= _LEAST_SHARE**2)
    tip = gone[0] / 1000 if gone.size else 1.0
    beyond = tip * (1 - (1 - np.arange(1, _N_SECTIONS + 1) / _N_SECTIONS) ** 2)
    drift = centre - second.profile.centre_mm
    back = np.array([[wide, 0.0], [xy / wide, high]]) @ axes
    outlines = []
    for t, widths in zip(beyond, _squared_widths(slope, bend, beyond), strict=True):
        shrink = back @ np.diag(np.maximum(np.sqrt(widths), _LEAST_SHARE)) @ to_axes
        outlines.append(centre + t * drift + (outline - centre) @ shrink.T)
    sections = [
        (float(last.z_mm + t * spacing), profile)
        for t, profile in zip(beyond, profiles_of(outlines), strict=True)
        if profile is not None
    ]
    return Profiles.of(sections) if len(sections) == _N_SECTIONS else None


def _squared_widths(slope: FloatArray, bend: FloatArray, t: FloatArray) -> FloatArray:
    """Squared widths (n, 2) at ``t`` relative to those of the last plane; never growing."""
    turn = np.where(bend > 0, -slope / np.where(bend > 0, 2 * bend, 1.0), np.inf)
    at = np.minimum(t[:, None], turn)
    widths: FloatArray = np.where(slope < 0, 1 + slope * at + bend * at * at, 1.0)
    return np.maximum(widths, 0.0)


def _second_moments(squared_radius_mm2: FloatArray) -> FloatArray:
    """Second moments (n, 2, 2) of n star-shaped cross-sections, divided by their areas."""
    # Of a sector with radius r: r^4 / 4 times what its direction gives, over r^2 / 2.
    sums = 0.5 * (squared_radius_mm2 * squared_radius_mm2) @ _PRODUCTS
    moments: FloatArray = (sums / squared_radius_mm2.sum(axis=1)[:, None]).reshape(-1, 2, 2)
    return moments


def bent(profiles: Profiles) -> tuple[Profiles, IntArray]:
    """Put cross-sections between lofted planes wherever a straight loft misses the curve.

    Centroid and squared radius follow the cubic that has, in each plane, the slope of the parabola
    through it and its two neighbours; at the ends that of the parabola through the last three. Both
    are exact where centroid and squared radius are parabolas in z, as in ellipsoids and cones.

    Parameters
    ----------
    profiles : Profiles
        Of planes that follow each other, all lofted.

    Returns
    -------
    profiles : Profiles
        With as many between as it takes; none where the straight loft is close enough, there are
        fewer than three planes, or the curve would leave no cross-section.
    rows : ndarray of shape (n,)
        Where those given are now.
    """
    z, given = profiles.z_mm, np.arange(profiles.z_mm.size)
    if z.size < 3:
        return profiles, given
    squared = profiles.squared_radius_mm2
    values = np.column_stack([profiles.centre_mm, profiles.area_mm2, squared])
    gap = np.diff(z)[:, None]
    chord = np.diff(values, axis=0) / gap
    inner = (chord[:-1] * gap[1:] + chord[1:] * gap[:-1]) / (gap[:-1] + gap[1:])
    slope = np.concatenate([2 * chord[:1] - inner[:1], inner, 2 * chord[-1:] - inner[-1:]])

    def at(i: IntArray, share: FloatArray) -> Profiles:
        s = share[:, None]
        level = (1 - s) ** 2 * (1 + 2 * s) * values[i] + s**2 * (3 - 2 * s) * values[i + 1]
        lean = s * (1 - s) ** 2 * slope[i] - s**2 * (1 - s) * slope[i + 1]
        found = level + gap[i] * lean
        return Profiles(z[i] + share * gap[i, 0], found[:, :2], found[:, 3:], found[:, 2])

    every = given[:-1]
    middle = at(every, np.full(every.size, 0.5))
    body = _are_bodies(middle)
    chord_radius = np.sqrt(0.5 * (squared[:-1] + squared[1:]))
    miss = np.abs(np.sqrt(np.maximum(middle.squared_radius_mm2, 0)) - chord_radius).max(axis=1)
    # Cut into n parts the chord misses 1/n^2 of that.
    allowed = _CHORD_SHARE * np.sqrt(np.where(body, middle.area_mm2, 1.0) / np.pi)
    n = np.clip(np.ceil(np.sqrt(miss / allowed)), 1, _MOST_PARTS).astype(np.intp)
    extra = np.where(body, n - 1, 0)
    which = np.repeat(every, extra)
    rank = np.arange(which.size) - np.repeat(np.cumsum(extra) - extra, extra)
    between = at(which, (rank + 1) / n[which])
    bad = np.unique(which[~_are_bodies(between)])
    keep = np.flatnonzero(~np.isin(which, bad))
    which, between = which[keep], between.rows(keep)
    order = np.argsort(np.concatenate([2 * given, 2 * which + 1]), kind="stable")
    return Profiles.joined([profiles, between]).rows(order), np.argsort(order)[: z.size]


def _are_bodies(profiles: Profiles) -> NDArray[np.bool_]:
    """Which cross-sections have an extent in every direction."""
    there: NDArray[np.bool_] = (profiles.area_mm2 > 0) & (
        profiles.squared_radius_mm2.min(axis=1) > 0
    )
    return there

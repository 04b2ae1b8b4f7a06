"""The hot loops of the DVH as plain Python, which numba turns into machine code.

The same cross-sections, lines, pieces and curve as in numpy, in one loop each; results agree to
rounding. Numpy does the same where numba is not installed, does not work, or is not worth its
start-up (:mod:`cordgap.dvh.compiled`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

# A vertex so near to a ray, as an angle, lies on it.
ON_RAY = 1e-10


def loft_vertices(
    lower: IntArray,
    upper: IntArray,
    share: FloatArray,
    shaped: FloatArray,
    directions: FloatArray,
    centre_mm: FloatArray,
    squared_mm2: FloatArray,
) -> FloatArray:
    """Vertices (k * n_angles, 2) of cross-sections: ``Lofts.vertices`` in one loop."""
    m = directions.shape[0]
    out = np.empty((lower.size * m, 2))
    at = 0
    for i in range(lower.size):
        a, b = lower[i], upper[i]
        x = centre_mm[a, 0] + share[i] * (centre_mm[b, 0] - centre_mm[a, 0])
        y = centre_mm[a, 1] + share[i] * (centre_mm[b, 1] - centre_mm[a, 1])
        for j in range(m):
            q = squared_mm2[a, j] + shaped[i] * (squared_mm2[b, j] - squared_mm2[a, j])
            radius = np.sqrt(max(q, 0.0))
            out[at, 0] = radius * directions[j, 0] + x
            out[at, 1] = radius * directions[j, 1] + y
            at += 1
    return out


def strips_of(
    points_mm: FloatArray, starts: IntArray, least: float, pitch_mm: float, rows_mm: FloatArray
) -> tuple[FloatArray, IntArray]:
    """Cut outlines into strips along y: ``strips`` in one loop.

    ``starts`` says where the points of each outline begin.

    Returns
    -------
    ndarray of shape (3, n)
        Middles, heights and weights.
    ndarray of shape (k + 1,)
        Where those of each outline begin.
    """
    k, r = starts.size - 1, rows_mm.size
    first = np.zeros(k + 1, np.intp)
    out = np.empty((3, 64))
    done = 0
    for i in range(k):
        low = high = points_mm[starts[i], 1]
        for j in range(starts[i] + 1, starts[i + 1]):
            low, high = min(low, points_mm[j, 1]), max(high, points_mm[j, 1])
        extent = high - low
        wanted = max(least, (0.5 * np.pi / pitch_mm) * extent) * (2 / np.pi)
        begin = 0.0
        for j in range(r + 1):
            end = 0.5 * np.pi
            if j < r:
                share = (rows_mm[j] - low) / max(extent, 1e-9)
                if share <= 0:
                    continue
                end = np.arcsin(np.sqrt(min(share, 1.0)))
            n = int(np.ceil((end - begin) * wanted - 1e-9))
            if done + n > out.shape[1]:
                larger = np.empty((3, 2 * (done + n)))
                larger[:, :done] = out[:, :done]
                out = larger
            step = (end - begin) / max(n, 1)
            share0 = np.sin(begin) ** 2
            moment0 = 2 * np.sqrt(share0 * (1 - share0)) * (1 - 2 * share0)
            for part in range(n):
                share1 = np.sin(begin + part * step + step) ** 2
                moment1 = 2 * np.sqrt(share1 * (1 - share1)) * (1 - 2 * share1)
                middle = 0.5 * (share0 + share1)
                chord = 2 * np.sqrt(middle * (1 - middle))
                out[0, done] = low + extent * middle
                out[1, done] = extent * (share1 - share0)
                out[2, done] = extent * ((0.5 * step + 0.25 * (moment0 - moment1)) / chord)
                done += 1
                share0, moment0 = share1, moment1
            begin = end
            if end >= 0.5 * np.pi:
                break
        first[i + 1] = done
    return out[:, :done].copy(), first


def spans_of(
    points_mm: FloatArray,
    after: IntArray,
    starts: IntArray,
    outline: IntArray,
    rising: bool,
    z_mm: FloatArray,
    thickness_mm: FloatArray,
    area_mm2: FloatArray,
    line_y: FloatArray,
    heights: FloatArray,
    weights: FloatArray,
    first_line: IntArray,
) -> FloatArray:
    """Cut sub-slices into spans: ``scan_section`` in one loop.

    ``starts`` says where the points of each outline begin, ``first_line`` where its lines do.

    Returns
    -------
    ndarray of shape (11, n)
        x0, x1, y, z, area, dy, dz, and the leans in y at both ends and in z at both ends.
    """
    k, outlines = z_mm.size, starts.size - 1
    lines = first_line[outlines]
    # Crossings (x, lean in y, lean in z) of one outline as they are found, and their lines.
    line_of, found = np.empty(64, np.int64), np.empty((3, 64))
    # Those of all outlines by line and x, where those of each line begin, and how many there are.
    crossings = np.empty((3, 4 * (lines + 16)))
    begins, filled = np.zeros(lines + 1, np.int64), np.zeros(lines, np.int64)
    leans = rising and k > 1
    for s in range(outlines):
        first, last = first_line[s], first_line[s + 1]
        to_below = to_above = 0
        rise = 1.0
        if leans:
            below, above = max(s - 1, 0), min(s + 1, k - 1)
            to_below, to_above = starts[below] - starts[s], starts[above] - starts[s]
            rise = z_mm[above] - z_mm[below]
        n = 0
        line = here = ring = first
        new_ring = True
        for j in range(starts[s], starts[s + 1]):
            # An edge meets the lines from that of its start to that of its end, which is near.
            to = after[j]
            x0, y0, y1 = points_mm[j, 0], points_mm[j, 1], points_mm[to, 1]
            if new_ring:
                while line < last and line_y[line] < y0:
                    line += 1
                while line > first and line_y[line - 1] >= y0:
                    line -= 1
                here = ring = line
            new_ring = to != j + 1
            if new_ring:
                line = ring
            else:
                while line < last and line_y[line] < y1:
                    line += 1
                while line > first and line_y[line - 1] >= y1:
                    line -= 1
            if line == here:
                continue
            lean = (points_mm[to, 0] - x0) / (y1 - y0)
            up = 0.0
            if leans:
                moved_x = points_mm[j + to_above, 0] - points_mm[j + to_below, 0]
                moved_y = points_mm[j + to_above, 1] - points_mm[j + to_below, 1]
                up = (moved_x - moved_y * lean) / rise
            for c in range(min(here, line), max(here, line)):
                if n == line_of.size:
                    more, larger = np.empty(2 * n, np.int64), np.empty((3, 2 * n))
                    more[:n], larger[:, :n] = line_of, found
                    line_of, found = more, larger
                line_of[n] = c
                found[0, n], found[1, n], found[2, n] = x0 + (line_y[c] - y0) * lean, lean, up
                begins[c + 1] += 1
                n += 1
            here = line
        done = begins[first]
        if done + n > crossings.shape[1]:
            larger = np.empty((3, 2 * (done + n)))
            larger[:, :done] = crossings[:, :done]
            crossings = larger
        for c in range(first, last):
            begins[c + 1] += begins[c]
        for i in range(n):
            c = line_of[i]
            slot = begins[c] + filled[c]
            filled[c] += 1
            while slot > begins[c] and crossings[0, slot - 1] > found[0, i]:
                for value in range(3):
                    crossings[value, slot] = crossings[value, slot - 1]
                slot -= 1
            for value in range(3):
                crossings[value, slot] = found[value, i]
    total = 0
    for i in range(k):
        s = outline[i]
        total += begins[first_line[s + 1]] - begins[first_line[s]]
    out = np.empty((11, total // 2))
    done = 0
    for i in range(k):
        first, last = first_line[outline[i]], first_line[outline[i] + 1]
        area = 0.0
        for line in range(first, last):
            for c in range(begins[line], begins[line + 1], 2):
                area += (crossings[0, c + 1] - crossings[0, c]) * weights[line]
        scale = area_mm2[i] / area if area > 0 else 0.0
        for line in range(first, last):
            height = heights[line]
            for c in range(begins[line], begins[line + 1], 2):
                width = crossings[0, c + 1] - crossings[0, c]
                steep_y, steep_z = width / height, width / thickness_mm[i]
                out[0, done] = crossings[0, c]
                out[1, done] = crossings[0, c + 1]
                out[2, done] = line_y[line]
                out[3, done] = z_mm[i]
                out[4, done] = scale * thickness_mm[i] * weights[line]
                out[5, done] = height
                out[6, done] = thickness_mm[i]
                out[7, done] = min(max(crossings[1, c], -steep_y), steep_y)
                out[8, done] = min(max(crossings[1, c + 1], -steep_y), steep_y)
                out[9, done] = min(max(crossings[2, c], -steep_z), steep_z)
                out[10, done] = min(max(crossings[2, c + 1], -steep_z), steep_z)
                done += 1
    return out


def slope_change(
    samples: FloatArray,
    row: int,
    plane: int,
    nz: int,
    ny: int,
    nx: int,
    at_mm: FloatArray,
    along_z: bool,
) -> tuple[FloatArray, float]:
    """Largest change of slope at each inner sample of an axis, and the largest sample.

    ``samples``, ``row`` and ``plane`` are what ``in_one_line`` returns of a block (nz, ny, nx);
    ``at_mm`` are the positions along z, or else along y.
    """
    change = np.zeros(at_mm.size - 2)
    largest = 0.0
    for k in range(nz):
        for j in range(ny):
            i, step = (k, plane) if along_z else (j, row)
            begin = k * plane + j * row
            if i == 0 or i == at_mm.size - 1:
                for c in range(begin, begin + nx):
                    largest = max(largest, abs(samples[c]))
                continue
            before, after = 1 / (at_mm[i] - at_mm[i - 1]), 1 / (at_mm[i + 1] - at_mm[i])
            most = change[i - 1]
            for c in range(begin, begin + nx):
                rise = (samples[c + step] - samples[c]) * after
                most = max(most, abs(rise - (samples[c] - samples[c - step]) * before))
                largest = max(largest, abs(samples[c]))
            change[i - 1] = most
    return change, largest


def add_spans(
    x0_mm: FloatArray,
    x1_mm: FloatArray,
    y_mm: FloatArray,
    z_mm: FloatArray,
    area_mm2: FloatArray,
    dy_mm: FloatArray,
    dz_mm: FloatArray,
    lean_y0: FloatArray,
    lean_y1: FloatArray,
    lean_z0: FloatArray,
    lean_z1: FloatArray,
    gx: FloatArray,
    gy: FloatArray,
    gz: FloatArray,
    samples: FloatArray,
    row: int,
    plane: int,
    low_gy: float,
    width_gy: float,
    slope: FloatArray,
    offset: FloatArray,
    sums: FloatArray,
) -> None:
    """Cut spans at the grid columns and add them to a histogram: ``cut`` and ``add`` in one loop.

    ``samples``, ``row`` and ``plane`` are what ``in_one_line`` returns. Added to are ``slope`` and
    ``offset`` (n_bins + 2,) and ``sums``: volume, volume times dose, lowest and highest dose.
    """
    nx, ny, nz = gx.size, gy.size, gz.size
    last_bin = slope.size - 1
    per_bin = 1.0 / width_gy
    per_step = 1.0 / (gx[1:] - gx[:-1])
    ix = iy = iz = 0
    total, moment, lowest, highest = sums[0], sums[1], sums[2], sums[3]
    for s in range(x0_mm.size):
        y, z, x_in, x_out = y_mm[s], z_mm[s], x0_mm[s], x1_mm[s]
        if y < gy[0] or y > gy[ny - 1] or z < gz[0] or z > gz[nz - 1]:
            continue
        if not (x_out > gx[0] and x_in < gx[nx - 1]):
            continue
        x0, x1 = max(x_in, gx[0]), min(x_out, gx[nx - 1])
        # Cells of the span; the last ones are near.
        while iy < ny - 2 and gy[iy + 1] <= y:
            iy += 1
        while iy > 0 and gy[iy] > y:
            iy -= 1
        while iz < nz - 2 and gz[iz + 1] <= z:
            iz += 1
        while iz > 0 and gz[iz] > z:
            iz -= 1
        while ix < nx - 2 and gx[ix + 1] <= x0:
            ix += 1
        while ix > 0 and gx[ix] > x0:
            ix -= 1
        hy, hz = gy[iy + 1] - gy[iy], gz[iz + 1] - gz[iz]
        ty, tz = (y - gy[iy]) / hy, (z - gz[iz]) / hz
        share_y, share_z = dy_mm[s] / hy, dz_mm[s] / hz
        ly0, lz0 = lean_y0[s] * dy_mm[s], lean_z0[s] * dz_mm[s]
        ly1, lz1 = lean_y1[s] * dy_mm[s] - ly0, lean_z1[s] * dz_mm[s] - lz0
        per_length = 1.0 / max(x_out - x_in, 1e-12)
        node = over_y = over_z = 0.0
        column = ix
        first = True
        while True:
            # The node at this column: dose, and what it changes across the strip in y and z.
            at = iz * plane + iy * row + column
            c00, c01 = samples[at], samples[at + row]
            c10, c11 = samples[at + plane], samples[at + plane + row]
            lower, upper = c01 - c00, c11 - c10
            rise = (c10 - c00) + ty * (upper - lower)
            next_node = (c00 + ty * lower) + tz * rise
            next_y = (lower + tz * (upper - lower)) * share_y
            next_z = rise * share_z
            if not first:
                left, right = gx[column - 1], gx[column]
                start, stop = max(x0, left), min(x1, right)
                inverse = per_step[column - 1]
                t0, t1 = (start - left) * inverse, (stop - left) * inverse
                middle = 0.5 * (t0 + t1)
                rate = next_node - node
                share = (0.5 * (start + stop) - x_in) * per_length
                lean = rate * inverse
                dy = over_y + middle * (next_y - over_y) + lean * (ly0 + share * ly1)
                dz = over_z + middle * (next_z - over_z) + lean * (lz0 + share * lz1)
                along = (t1 - t0) * rate
                weight = (stop - start) * area_mm2[s]
                centre = node + middle * rate
                half = 0.5 * np.sqrt(along * along + (dy * dy + dz * dz))
                half = max(half, 0.01 * width_gy)
                total += weight
                moment += weight * centre
                lowest, highest = min(lowest, centre - half), max(highest, centre + half)
                density = 0.5 * weight / half
                edge = centre - half - low_gy
                i = int(min(max(np.ceil(edge * per_bin), 0.0), last_bin))
                slope[i] += density
                offset[i] += density * edge
                edge = centre + half - low_gy
                i = int(min(max(np.ceil(edge * per_bin), 0.0), last_bin))
                slope[i] -= density
                offset[i] -= density * edge
                if column >= nx - 1 or right >= x1:
                    break
            first = False
            node, over_y, over_z = next_node, next_y, next_z
            column += 1
    sums[0], sums[1], sums[2], sums[3] = total, moment, lowest, highest


def polar_profiles(
    points: FloatArray, first: IntArray, size: IntArray, directions: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.bool_]]:
    """Resample rings to radius against angle: ``profiles_of`` in one loop.

    Parameters
    ----------
    points : ndarray of shape (n, 2)
        Rings one after the other.
    first, size : ndarray of shape (k,)
        Where each ring starts, and how many points it has.
    directions : ndarray of shape (n_angles, 2)
        Evenly spaced, from angle 0 on.

    Returns
    -------
    centre (k, 2), squared radius (k, n_angles), area (k,), whether star-shaped (k,)
    """
    k, m = size.size, directions.shape[0]
    step = 2 * np.pi / m
    centre, area = np.empty((k, 2)), np.empty(k)
    squared, star = np.zeros((k, m)), np.zeros(k, np.bool_)
    longest = 0
    for i in range(k):
        longest = max(longest, size[i])
    x, y = np.empty(longest), np.empty(longest)
    for i in range(k):
        n, x0, y0 = size[i], points[first[i], 0], points[first[i], 1]
        twice = mx = my = 0.0
        for j in range(n):
            x[j], y[j] = points[first[i] + j, 0] - x0, points[first[i] + j, 1] - y0
        for j in range(n):
            b = j + 1 if j + 1 < n else 0
            cross = x[j] * y[b] - x[b] * y[j]
            twice += cross
            mx += (x[j] + x[b]) * cross
            my += (y[j] + y[b]) * cross
        sixfold = 3.0 * twice if twice != 0 else 1.0
        cx, cy = mx / sixfold, my / sixfold
        centre[i, 0], centre[i, 1], area[i] = cx + x0, cy + y0, abs(0.5 * twice)
        if twice == 0:
            continue
        for j in range(n):
            x[j] -= cx
            y[j] -= cy
        # Walk the ring with the area on its left.
        ahead = 1 if twice > 0 else -1
        ray = int(np.ceil((np.arctan2(y[0], x[0]) - ON_RAY) / step))
        last = ray + m
        turns, least = 0, 1.0
        is_star = True
        a = 0
        for c in range(n):
            b = a + ahead
            b = 0 if b == n else (n - 1 if b < 0 else b)
            # The sine of the angle from a to b, and its cosine, times both radii.
            across, along = x[a] * y[b] - x[b] * y[a], x[a] * x[b] + y[a] * y[b]
            if across <= 0:
                radii = (x[a] * x[a] + y[a] * y[a]) * (x[b] * x[b] + y[b] * y[b])
                if along < 0 or across * across > 1e-18 * radii:
                    is_star = False
                    break
            # Turns are counted where the ring passes angle 0.
            if y[a] < 0 <= y[b] and across > 0:
                turns += 1
            elif y[b] < 0 <= y[a] and across < 0:
                turns -= 1
            ex, ey = x[b] - x[a], y[b] - y[a]
            # Rays that this edge meets; what rounding leaves goes to the last edge.
            while ray < last:
                to = ray % m
                # A vertex on the ray is not beyond it: of radial edges the last counts.
                beyond = directions[to, 0] * y[b] - directions[to, 1] * x[b]
                if c < n - 1 and beyond <= ON_RAY * (abs(x[b]) + abs(y[b])):
                    break
                over = directions[to, 0] * ey - directions[to, 1] * ex
                radial = abs(over) < 1e-12
                radius = np.sqrt(x[a] * x[a] + y[a] * y[a]) if radial else across / over
                least = min(least, radius)
                squared[i, to] = radius * radius
                ray += 1
            a = b
        if not is_star or turns != 1 or least <= 0:
            continue
        star[i] = True
        chords = 0.0
        for j in range(m):
            chords += np.sqrt(squared[i, j] * squared[i, j - 1])
        scale = area[i] / (0.5 * chords * np.sin(step))
        for j in range(m):
            squared[i, j] *= scale
    return centre, squared, area, star


def cumulate(
    slope: FloatArray, offset: FloatArray, width_gy: float, total: float, round_off: float
) -> FloatArray:
    """Volume above each bin edge, from what was added there: the sums of a histogram in one loop.

    Neither rises, nor is below 0, nor above the total; at the last edge it is 0.
    """
    n = slope.size
    above = np.empty(n)
    density = passed = 0.0
    for i in range(n):
        density += slope[i]
        passed += offset[i]
        left = total - (i * width_gy * density - passed)
        above[i] = min(left, total) if left >= round_off * total else 0.0
    highest = 0.0
    for i in range(n - 1, -1, -1):
        highest = max(highest, above[i])
        above[i] = highest
    above[0], above[n - 1] = total, 0.0
    return above

"""Paint a CT of a spine that fits the contours of a phantom: water-like body, bone, canal, cord."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cordgap.case.grid import CtImage, GridGeometry
from cordgap.case.structure import ContourPlane, Structure
from cordgap.phantom.shapes import FloatArray, SpineAnatomy

NOISE_SEED = 20260101
NOISE_HU = 5.0
# CT numbers are stored in steps of 4 HU, well below the noise, so that the files compress.
STEP_HU = 4

AIR, FAT, SKIN, SOFT, MUSCLE, KIDNEY, BLOOD = -1000.0, -95.0, 10.0, 35.0, 58.0, 95.0, 130.0
CSF, CORD, TUMOUR, DISC, LIGAMENT = 6.0, 44.0, 72.0, 80.0, 60.0
CORTEX, TRABECULA, LYTIC, CALCIUM = 760.0, 210.0, 95.0, 600.0
DISC_HEIGHT_MM = 5.0
SHELL_MM = 1.4
_SPINE_REACH_MM = (52.0, 46.0, 1e3)
_ALL = (slice(None), slice(None))


def paint_spine(geometry: GridGeometry, anatomy: SpineAnatomy, target: Structure) -> CtImage:
    """Paint a CT that fits an anatomy and a target.

    Vertebra, disc and posterior arch repeat along z; cord, canal, vertebral body and the outline
    of the body are those of ``anatomy``; inside ``target`` bone is partly lytic and the canal
    holds soft tissue. Edges are softened over one pixel; the noise has a fixed seed.

    Returns
    -------
    CtImage
        In HU, from -1000 to about 800.
    """
    noise = np.random.default_rng(NOISE_SEED)
    x, y = geometry.x_mm[None, :], geometry.y_mm[:, None]
    spacing = geometry.spacing_mm[0]
    body = _Brush(x, y, spacing, _texture(geometry.part((slice(0, 1), *_ALL)), noise)[0])
    _paint_body(body, anatomy)
    # Only the part round the spine differs from slice to slice.
    centre, reach = np.array([*anatomy.canal_centre_mm, 0.0]), np.array(_SPINE_REACH_MM)
    window = geometry.slices_around(centre - reach, centre + reach)[1:]
    texture = _texture(geometry.part((slice(None), *window)), noise)
    values = np.empty(geometry.shape, dtype=np.float32)
    for k, z in enumerate(geometry.z_mm):
        hu = body.hu.copy()
        brush = _Brush(x[:, window[1]], y[window[0]], spacing, texture[k], hu[window])
        _paint_vertebra(brush, anatomy, float(z))
        _paint_canal(brush, anatomy, float(z))
        _paint_target(brush, anatomy, target, float(z))
        hu[window] = brush.hu
        noisy = np.where(hu > AIR + 200, hu + noise.normal(0.0, NOISE_HU, hu.shape), hu)
        values[k] = np.rint(np.clip(noisy, -1000, 3000) / STEP_HU) * STEP_HU
    values.flags.writeable = False
    return CtImage(geometry, lambda slices: values[slices])


class _Brush:
    """One slice in the making, with shapes as signed distances (negative inside)."""

    def __init__(
        self,
        x: FloatArray,
        y: FloatArray,
        spacing_mm: float,
        texture: FloatArray,
        hu: FloatArray | None = None,
    ) -> None:
        self.x, self.y, self.spacing_mm, self.texture = x, y, spacing_mm, texture
        self.hu = np.full((y.size, x.size), AIR) if hu is None else hu

    def fill(self, distance: FloatArray, hu: float | FloatArray, opacity: float = 1.0) -> None:
        weight = np.clip(0.5 - distance / self.spacing_mm, 0.0, 1.0) * opacity
        self.hu = self.hu * (1 - weight) + weight * hu

    def bone(self, distance: FloatArray, opacity: float = 1.0, shell_mm: float = SHELL_MM) -> None:
        self.fill(distance, CORTEX, opacity)
        self.fill(distance + shell_mm, TRABECULA + self.texture, opacity)

    def ellipse(self, cx: float, cy: float, rx: float, ry: float, power: float = 2) -> FloatArray:
        u, v = np.abs(self.x - cx) / rx, np.abs(self.y - cy) / ry
        level = (u**power + v**power) ** (1 / power)
        slope = np.hypot(u ** (power - 1) / rx, v ** (power - 1) / ry) + 1e-9
        return np.asarray((level - 1.0) * np.maximum(level, 1e-9) ** (power - 1) / slope)

    def capsule(
        self, a: tuple[float, float], b: tuple[float, float], ra: float, rb: float
    ) -> FloatArray:
        dx, dy = b[0] - a[0], b[1] - a[1]
        along = (self.x - a[0]) * dx + (self.y - a[1]) * dy
        t = np.clip(along / (dx * dx + dy * dy), 0.0, 1.0)
        off = np.hypot(self.x - a[0] - t * dx, self.y - a[1] - t * dy)
        return np.asarray(off - (ra + t * (rb - ra)))


def _texture(geometry: GridGeometry, noise: np.random.Generator) -> FloatArray:
    """Coarse trabecular texture, about 35 HU: white noise summed over a few octaves."""
    from scipy.ndimage import gaussian_filter

    white = noise.normal(0.0, 1.0, geometry.shape)
    total = np.zeros(geometry.shape)
    for sigma_mm, weight in ((0.8, 22.0), (2.2, 28.0)):
        sigmas = [sigma_mm / step if step > 0 else 0.0 for step in geometry.spacing_mm[::-1]]
        smooth = gaussian_filter(white, sigmas, mode="nearest", truncate=3.0)
        total += weight * smooth / max(float(smooth.std()), 1e-9)
    return total


def _paint_body(brush: _Brush, anatomy: SpineAnatomy) -> None:
    bx, by = anatomy.body_half_mm
    cx, cy = anatomy.canal_centre_mm
    va = anatomy.vertebra_half_mm[0]
    front = anatomy.vertebra_centre_mm[1] - anatomy.vertebra_half_mm[1]
    body = brush.ellipse(0.0, 0.0, bx, by)
    brush.fill(body, SKIN)
    brush.fill(body + 2.0, FAT)
    brush.fill(brush.ellipse(0.0, 0.0, bx - 16, by - 12), MUSCLE)
    brush.fill(brush.ellipse(0.0, -2.0, bx - 24, by - 22), FAT)
    # Abdomen: viscera in front, retroperitoneal fat behind them.
    brush.fill(brush.ellipse(0.0, front - 62, bx - 34, 48), SOFT)
    brush.fill(brush.ellipse(-62.0, front - 42, 50, 34), SOFT + 25)
    for side in (-1.0, 1.0):
        kidney = brush.ellipse(cx + side * (va + 46), cy - 24, 21, 27)
        brush.fill(kidney, KIDNEY + 45)
        brush.fill(kidney + 5.0, KIDNEY)
        brush.fill(brush.ellipse(cx + side * (va + 34), cy - 26, 9, 8), FAT)
        psoas = brush.ellipse(cx + side * (va + 12), cy - 17, 12, 15)
        quadratus = brush.ellipse(cx + side * (va + 40), cy + 8, 22, 9)
        erector = brush.ellipse(cx + side * 31, cy + 27, 27, 18, 2.6)
        for muscle in (psoas, quadratus, erector):
            brush.fill(muscle, MUSCLE + 0.25 * brush.texture)
        brush.fill(brush.capsule((cx + side * 17, cy + 21), (cx + side * 40, cy + 37), 0.7, 0.4), 5)
    aorta = brush.ellipse(cx + 11, front - 13, 11, 11)
    brush.fill(aorta, MUSCLE)
    brush.fill(aorta + 1.2, BLOOD)
    brush.fill(brush.capsule((cx + 19, front - 17), (cx + 20.5, front - 12), 0.9, 0.7), CALCIUM)
    brush.fill(brush.ellipse(cx - 17, front - 11, 13, 8.5), BLOOD - 35)


def _window(z: float, low: float, high: float, soft: float = 1.5) -> float:
    """Opacity of something that spans ``low`` to ``high`` along z."""
    return float(np.clip((z - low) / soft + 0.5, 0, 1) * np.clip((high - z) / soft + 0.5, 0, 1))


def _paint_vertebra(brush: _Brush, anatomy: SpineAnatomy, z_mm: float) -> None:
    half = anatomy.vertebra_half_length_mm + 0.5
    period = 2 * half + DISC_HEIGHT_MM
    z = (z_mm + period / 2) % period - period / 2
    cx, cy = anatomy.canal_centre_mm
    ca, cb = anatomy.canal_half_mm
    vx, vy = anatomy.vertebra_centre_mm
    va, vb = anatomy.vertebra_half_mm
    power = anatomy.vertebra_power
    body = brush.ellipse(vx, vy, va, vb, power)
    brush.fill(body, DISC + 0.3 * brush.texture)
    brush.fill(brush.ellipse(vx, vy + 1, va * 0.6, vb * 0.55), DISC - 15)
    inside = _window(z, -half, half, 1.0)
    brush.bone(body, inside)
    plate = inside * (1 - _window(z, -half + 1.6, half - 1.6, 1.0))
    brush.fill(body, CORTEX - 180 + brush.texture, plate)
    if abs(z) < 3.5:  # the basivertebral vein enters from behind, half way up
        brush.fill(brush.capsule((vx, vy + vb), (vx, vy + 4), 2.6, 0.8), SOFT, 0.8)

    back = cy + cb
    arch = _window(z, -10, 5)
    for side in (-1.0, 1.0):
        at = cx + side * (ca + 5.0)
        pedicle = brush.capsule((at, cy - cb + 0.5), (at + side, cy + 3), 4.6, 4.4)
        rib = brush.capsule((vx + side * (va + 3), vy + 9), (cx + side * 38, cy + 9), 4.4, 3.2)
        process = brush.capsule((at + side * 3, cy + 5), (at + side * 23, cy + 12), 4.6, 3.6)
        pillar = brush.ellipse(at + side * 1.5, cy + 6, 6.2, 7.0)
        brush.bone(rib, _window(z, 5.5, 13), 1.2)
        brush.bone(process, _window(z, -5, 6))
        brush.bone(pedicle, _window(z, -4, 9))
        # Facet joint at the level of the disc: two articular processes with a gap between them.
        low = brush.ellipse(at + side * 3, cy + 3.5, 4.2, 4.6)
        high = brush.ellipse(at - side * 0.5, cy + 10.5, 4.6, 4.2)
        brush.bone(low, _window(abs(z), 9, 30), 1.1)
        brush.bone(high, _window(abs(z), 9, 30), 1.1)
        brush.bone(pillar, _window(z, -9, 9))
        brush.bone(brush.capsule((at, cy + 7), (cx, back + 5), 4.2, 3.4), arch)
    # Between the laminae: yellow ligament; between the spinous processes: interspinous ligament.
    for side in (-1.0, 1.0):
        ligament = brush.capsule((cx + side * ca, cy + 6), (cx, back + 3), 1.6, 2.0)
        brush.fill(ligament, LIGAMENT, 1 - arch)
    tip = back + 8 + float(np.clip(8 - 1.6 * z, 4, 26))  # the process slopes down and back
    spinous = brush.capsule((cx, back + 4), (cx, tip), 3.0, 3.4)
    brush.fill(brush.capsule((cx, back + 4), (cx, back + 26), 1.2, 1.5), LIGAMENT)
    brush.bone(spinous, _window(z, -14, 4))


def _paint_canal(brush: _Brush, anatomy: SpineAnatomy, z_mm: float) -> None:
    (cx, cy), (ca, cb) = anatomy.canal_centre_mm, anatomy.canal_half_mm
    canal = brush.ellipse(cx, cy, ca, cb)
    brush.fill(canal, FAT + 40)
    brush.fill(canal + 1.0, CSF)
    x, y = anatomy.cord.centre_at(z_mm)
    cord = brush.ellipse(float(x), float(y), anatomy.cord.radius_mm, anatomy.cord.radius_mm)
    brush.fill(cord, CORD)


def _paint_target(brush: _Brush, anatomy: SpineAnatomy, target: Structure, z_mm: float) -> None:
    plane = _plane_near(target, z_mm)
    if plane is None:
        return
    inside = _inside(plane, brush.x, brush.y)
    (cx, cy), (ca, cb) = anatomy.canal_centre_mm, anatomy.canal_half_mm
    in_canal = brush.ellipse(cx, cy, ca, cb) <= 0
    brush.hu[inside & in_canal] = TUMOUR
    bone = inside & ~in_canal
    # Mixed lesion: coarse lytic islands, the cortex mostly kept, soft tissue where no bone was.
    lytic = np.clip((brush.texture + 14) / 24, 0, 1) * 0.85
    eaten = np.where(brush.hu < 450, lytic, 0.5 * lytic)
    brush.hu[bone] = np.where(brush.hu < 90, TUMOUR, (1 - eaten) * brush.hu + eaten * LYTIC)[bone]


def _plane_near(structure: Structure, z_mm: float) -> ContourPlane | None:
    heights = structure.z_mm
    if heights.size < 2:
        return None
    nearest = int(np.argmin(np.abs(heights - z_mm)))
    reach = float(np.median(np.diff(heights))) / 2 + 1e-6
    return structure.planes[nearest] if abs(heights[nearest] - z_mm) <= reach else None


def _inside(plane: ContourPlane, x: FloatArray, y: FloatArray) -> NDArray[np.bool_]:
    """Pixels inside the contours of a plane, by the even-odd rule."""
    inside = np.zeros((y.size, x.size), dtype=bool)
    for contour in plane.contours:
        for (x0, y0), (x1, y1) in zip(contour, np.roll(contour, -1, axis=0), strict=True):
            if y0 == y1:
                continue
            rows = (y > min(y0, y1)) & (y <= max(y0, y1))
            crossing = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
            inside ^= rows & (x < crossing)
    return inside

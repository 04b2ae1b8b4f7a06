"""Small good plans in many writers' styles: what the mutants are made of.

All say the same thing, so that all have the same numbers; the demo plan and the real exports have
their own.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from tests.dicom import builders as build

Files = dict[str, bytes]
ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "data" / "real"
RX_GY, FRACTIONS = 24.0, 2


def dose_gy(x, y, z):
    """A hot target left of the cord, with a gradient between them and no symmetry."""
    r = np.sqrt((x - 12.5) ** 2 + (y - 0.5) ** 2 + np.maximum(np.abs(z + 1) - 8, 0) ** 2)
    return 1.5 + 27.0 / (1 + np.exp((r - 6.5) / 1.4)) + 0.02 * y + 0.01 * z + 0.005 * x


def _structures() -> Dataset:
    cord = build.tube(5.0, z=range(-21, 22, 3), n=14)
    target = build.tube(4.0, z=range(-6, 7, 3), n=14, centre=(11.5, 0.5))
    ds = build.rtstruct({"SpinalCord": cord, "GTV": target, "Iso": [("POINT", np.zeros((1, 3)))]})
    for roi, kind in zip(ds.RTROIObservationsSequence, ("ORGAN", "GTV", "ISOCENTER"), strict=True):
        roi.RTROIInterpretedType = kind
    return ds


def _dose(**how) -> Dataset:
    how = {"struct": build.STRUCT_UID, **how}
    return build.rtdose(
        dose_gy, position=(-13.0, -14.0, -26.0), spacing=(2.0, 2.5), size=(28, 15, 17),
        offsets=np.arange(28) * 2.0, bits=16, **how,
    )  # fmt: skip


def _plan() -> Dataset:
    return build.rtplan((("SITE", RX_GY),), fractions=FRACTIONS)


def _encoded(ds: Dataset, syntax: str = ImplicitVRLittleEndian, *, bare: bool = False) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return build.save(ds, Path(folder) / "x.dcm", syntax, bare=bare).read_bytes()


def _three(syntax: str, *, bare: bool = False, change: Callable[[Dataset], None] | None = None):
    files = {"rtstruct.dcm": _structures(), "rtdose.dcm": _dose(), "rtplan.dcm": _plan()}
    for ds in files.values():
        if change:
            change(ds)
    return {name: _encoded(ds, syntax, bare=bare) for name, ds in files.items()}


def _open_lengths(ds: Dataset) -> None:
    """Write every sequence and item without a length."""
    for element in ds:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
                _open_lengths(item)


def _big_endian(ds: Dataset) -> None:
    if "PixelData" in ds:
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()


def _rle() -> Files:
    files = _three(ExplicitVRLittleEndian)
    ds = dcmread(io.BytesIO(files["rtdose.dcm"]))
    ds.compress(RLELossless, generate_instance_uid=False)
    return {**files, "rtdose.dcm": _written(ds)}


def _absolute() -> Files:
    return {**_three(ExplicitVRLittleEndian), "rtdose.dcm": _encoded(_dose(absolute=True))}


def _coarse() -> Files:
    """32 bits and 2.5 mm: one sample can hold a thousand Gy, and fills a cord with them."""
    ds = build.rtdose(
        dose_gy, position=(-13.0, -14.0, -27.0), spacing=(2.5, 2.5), size=(23, 12, 17),
        offsets=np.arange(23) * 2.5, struct=build.STRUCT_UID,
    )  # fmt: skip
    return {**_three(ExplicitVRLittleEndian), "rtdose.dcm": _encoded(ds)}


def _beams() -> Files:
    """Two beam doses that make up the plan dose."""
    files = _three(ImplicitVRLittleEndian)
    del files["rtdose.dcm"]
    for beam in (1, 2):
        ds = _dose(kind="BEAM", beams=[beam], number=20 + beam)
        ds.PixelData = (np.frombuffer(ds.PixelData, "<u2") // 2).astype("<u2").tobytes()
        files[f"beam{beam}.dcm"] = _encoded(ds)
    return files


def _with_ct() -> Files:
    """Contours that name the CT slice they were drawn on."""
    ds = _structures()
    slices = {float(z): build.ct_slice(float(z), number=200 + i) for i, z in
              enumerate(range(-21, 22, 3))}  # fmt: skip
    for roi in ds.ROIContourSequence:
        for contour in roi.ContourSequence:
            z = float(contour.ContourData[2])
            image = build.reference(slices[z].SOPInstanceUID, build.CT)
            contour.ContourImageSequence = [image]
    files = _three(ExplicitVRLittleEndian)
    files["rtstruct.dcm"] = _encoded(ds, ExplicitVRLittleEndian)
    return files | {f"ct{z:+.0f}.dcm": _encoded(ct) for z, ct in slices.items()}


def _written(ds: Dataset) -> bytes:
    stream = io.BytesIO()
    dcmwrite(stream, ds, enforce_file_format=True)
    return stream.getvalue()


def _cropped(dose: Dataset, lower: np.ndarray, upper: np.ndarray) -> Dataset:
    """Cut an axial dose grid to a box in mm, at least two samples an axis."""
    position = np.array(dose.ImagePositionPatient, float)
    dy, dx = map(float, dose.PixelSpacing)
    offsets = np.array(dose.GridFrameOffsetVector, float)
    z = position[2] + offsets - (0 if abs(offsets[0]) < 0.01 else position[2])
    x, y = position[0] + dx * np.arange(dose.Columns), position[1] + dy * np.arange(dose.Rows)
    ix, iy, iz = (
        np.flatnonzero((axis >= low) & (axis <= high))
        for axis, low, high in zip((x, y, z), lower, upper, strict=True)
    )
    pixels = np.frombuffer(dose.PixelData, f"<u{dose.BitsAllocated // 8}").reshape(
        z.size, y.size, x.size
    )
    dose.PixelData = pixels[np.ix_(iz, iy, ix)].tobytes()
    dose.Rows, dose.Columns, dose.NumberOfFrames = iy.size, ix.size, iz.size
    dose.ImagePositionPatient = build.decimals((x[ix[0]], y[iy[0]], z[iz].min()))
    dose.GridFrameOffsetVector = build.decimals(z[iz] - z[iz].min())
    return dose


def _only(struct: Dataset, names: tuple[str, ...], low: float, high: float) -> Dataset:
    """Keep some structures, and of them the contours between two z."""
    numbers = [r.ROINumber for r in struct.StructureSetROISequence if r.ROIName in names]
    struct.StructureSetROISequence = [
        r for r in struct.StructureSetROISequence if r.ROINumber in numbers
    ]
    for keyword in ("ROIContourSequence", "RTROIObservationsSequence"):
        struct[keyword].value = [r for r in struct[keyword] if r.ReferencedROINumber in numbers]
    for roi in struct.ROIContourSequence:
        roi.ContourSequence = [
            c for c in roi.ContourSequence if low <= float(c.ContourData[2]) <= high
        ]
    return struct


def _cut(struct: Dataset, dose: Dataset, names: tuple[str, ...], low: float, high: float) -> Files:
    struct = _only(struct, names, low, high)
    points = np.concatenate(
        [
            np.array(c.ContourData, float).reshape(-1, 3)
            for roi in struct.ROIContourSequence
            for c in roi.ContourSequence
        ]
    )
    room = 7.0
    dose = _cropped(dose, points.min(axis=0) - room, points.max(axis=0) + room)
    return {"rtstruct.dcm": _written(struct), "rtdose.dcm": _written(dose)}


def _demo() -> Files:
    """A demo plan of this project, cut to a few centimetres and written with explicit VR."""
    kinds: dict[str, Path] = {}
    for path in sorted((ROOT / "plans" / "ring").glob("*.dcm"), reverse=True)[:8]:
        kinds.setdefault(str(dcmread(path, specific_tags=["Modality"]).Modality), path)
    struct, dose = dcmread(kinds["RTSTRUCT"]), dcmread(kinds["RTDOSE"])
    files = _cut(struct, dose, ("SpinalCord", "GTV"), -12.0, 12.0)
    return {**files, "rtplan.dcm": kinds["RTPLAN"].read_bytes()}


def _openkbp() -> Files:
    """A real export (MIT licence), cut in memory; read where it is, never copied."""
    folder = REAL / "openkbp_pt_290"
    struct, dose = dcmread(folder / "RS.dcm"), dcmread(folder / "RD.dcm")
    return _cut(struct, dose, ("SpinalCord", "PTV70"), 170.0, 215.0)


BASES: dict[str, Callable[[], Files]] = {
    "implicit": lambda: _three(ImplicitVRLittleEndian),
    "explicit": lambda: _three(ExplicitVRLittleEndian),
    "undefined-lengths": lambda: _three(ExplicitVRLittleEndian, change=_open_lengths),
    "deflated": lambda: _three(DeflatedExplicitVRLittleEndian),
    "big-endian": lambda: _three(ExplicitVRBigEndian, change=_big_endian),
    "rle": _rle,
    "bare": lambda: _three(ImplicitVRLittleEndian, bare=True),
    "absolute-offsets": _absolute,
    "coarse": _coarse,
    "beams": _beams,
    "with-ct": _with_ct,
    "demo": _demo,
}
# Large enough that they come round less often.
SLOW = ("demo", "openkbp")


@cache
def files_of(base: str) -> Files:
    """Return the files of a base plan."""
    if base not in BASES:
        real_bases()  # a worker process starts without them
    return BASES[base]()


def real_bases() -> list[str]:
    """Add the real exports, where the test data are there, and return their names."""
    if REAL.is_dir():
        BASES.setdefault("openkbp", _openkbp)
    return [name for name in ("openkbp",) if name in BASES]

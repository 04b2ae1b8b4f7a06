"""What a file says word by word, for programs that take it so: nothing cleaned, nothing put right.

Numbers are made from :mod:`cordgap.dicom.structures` and :mod:`cordgap.dicom.dose`; this is for
explaining what another program made of the same files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cordgap.dicom.contours import parse_decimals
from cordgap.dicom.dataset import items, numbers, open_dataset, raw_bytes, reading, whole_number
from cordgap.errors import DicomError

_CONTOUR_DATA = 0x30060050
_OFFSET_TOLERANCE_MM = 0.01


def contours_as_written(rtstruct: Path, roi_number: int) -> tuple[NDArray[np.float64], ...]:
    """Return every contour of a structure: points, open lines and duplicates too.

    Parameters
    ----------
    rtstruct : Path
    roi_number : int

    Returns
    -------
    tuple of ndarray of shape (n, 3)
        Points in mm (LPS), in the order of the file.

    Raises
    ------
    DicomError
        When the file cannot be read, or a contour is not made of triplets of numbers.
    """
    with reading(rtstruct):
        ds = open_dataset(rtstruct, ("ROIContourSequence",))
        found = []
        for roi in items(ds, "ROIContourSequence"):
            if whole_number(roi, "ReferencedROINumber") != roi_number:
                continue
            for contour in items(roi, "ContourSequence"):
                values = parse_decimals(raw_bytes(contour, _CONTOUR_DATA) or b"")
                if values.size == 0 or values.size % 3:
                    raise DicomError(
                        f"{rtstruct.name}: a contour of ROI {roi_number} holds {values.size} "
                        "coordinates, expected triplets; export the structure set again"
                    )
                found.append(values.reshape(-1, 3))
    return tuple(found)


def absolute_offset_mm(rtdose: Path) -> float:
    """Return how far the frames move when absolute frame offsets are taken as relative ones.

    0 where GridFrameOffsetVector is relative (PS3.3 C.8.8.3.2 a), the z of ImagePositionPatient
    where it is absolute (C.8.8.3.2 b).
    """
    with reading(rtdose):
        ds = open_dataset(rtdose, ("ImagePositionPatient", "GridFrameOffsetVector"))
        offsets = numbers(ds, "GridFrameOffsetVector") or (0.0,)
        position = numbers(ds, "ImagePositionPatient") or (0.0, 0.0, 0.0)
    is_absolute = abs(offsets[0]) > _OFFSET_TOLERANCE_MM and len(position) == 3
    return position[2] if is_absolute else 0.0

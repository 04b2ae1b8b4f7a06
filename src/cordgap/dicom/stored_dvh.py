"""DVHs that a planning system stored in an RTDOSE file: to be compared, never to be used.

PS3.3 C.8.8.4. What is in them is what the exporting program computed from its own contours and
dose; after an edit or an anonymisation the ROI numbers may point to other structures.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from cordgap.dicom.contours import parse_decimals
from cordgap.dicom.dataset import (
    items,
    numbers,
    open_dataset,
    raw_bytes,
    reading,
    text,
    whole_number,
)
from cordgap.errors import DicomError, Finding

FloatArray = NDArray[np.float64]

_DVH_DATA = 0x30040058
# A stated mean within this share of the mean of its curve is the same number: bins of 0.01 Gy move
# it by 0.5 % on the coolest organ of the exports seen.
_SAME_MEAN = 0.02
# Ratios of stated to computed values of one file that agree this well are one factor: a maximum
# of 0.15 Gy is rounded by a bin of 7 %. Most must agree, since one ROI may hold an artefact.
_SAME_FACTOR = 0.1
_MOST = 0.8
# A dose called 100 % lies in this range (Gy): fractions of 1 Gy to the largest total courses.
_HUNDRED_PERCENT_GY = (1.0, 150.0)


@dataclass(frozen=True, eq=False)
class StoredDvh:
    """One stored cumulative DVH.

    Parameters
    ----------
    roi_number : int
    dose_gy : ndarray of shape (n,)
        Ascending, the first 0.
    volume : ndarray of shape (n,)
        Volume that gets at least each dose, in cc, or in percent where ``in_percent``.
    bin_gy : float
        Widest bin: how well a dose can be read off.
    in_percent : bool
        Whether volumes are shares of the structure, so that nothing in cc is known.
    min_gy, max_gy, mean_gy : float, optional
        As stated beside the curve, in Gy; None where absent.
    """

    roi_number: int
    dose_gy: FloatArray
    volume: FloatArray
    bin_gy: float
    in_percent: bool
    min_gy: float | None
    max_gy: float | None
    mean_gy: float | None

    @property
    def total(self) -> float:
        """Whole volume, in cc or percent."""
        return float(self.volume[0])

    @property
    def curve_mean_gy(self) -> float:
        """Mean dose of the curve."""
        lost = -np.diff(self.volume)
        return float((lost * 0.5 * (self.dose_gy[1:] + self.dose_gy[:-1])).sum() / lost.sum())

    @property
    def curve_max_gy(self) -> float:
        """Dose up to which the curve holds more volume than round-off."""
        return float(self.dose_gy[np.flatnonzero(self.volume > 1e-9 * self.total)[-1]])

    def dose_of_hottest_gy(self, volume: float) -> float:
        """Return the dose that the hottest ``volume`` gets at least; unit as that of the curve."""
        return float(np.interp(volume, self.volume[::-1], self.dose_gy[::-1]))


@dataclass(frozen=True)
class StoredDvhs:
    """What an RTDOSE file stores: the DVHs that can be compared, and what was noticed."""

    file: str
    dvhs: tuple[StoredDvh, ...] = ()
    findings: tuple[Finding, ...] = ()


def count_stored_dvhs(path: Path) -> int:
    """Return how many DVHs a file stores; 0 where that cannot be told."""
    try:
        with reading(path):
            return len(items(open_dataset(path, ("DVHSequence",)), "DVHSequence"))
    except DicomError:
        return 0


def read_stored_dvhs(path: Path) -> StoredDvhs:
    """Read the DVHs that an RTDOSE file stores.

    Parameters
    ----------
    path : Path
        RTDOSE file.

    Returns
    -------
    StoredDvhs
        A DVH that cannot be compared (relative dose, another type, several or excluded
        structures, no usable numbers) is left out with the finding ``stored-dvh-not-compared``.
        Minimum, maximum and mean that are percent though labelled GY, recognised by the curve
        itself, are converted, with the finding ``stored-dvh-percent``.

    Raises
    ------
    DicomError
        When the file cannot be read.

    Notes
    -----
    The standard does not say which edge of a bin a volume belongs to; the middle is taken, which
    is what the stated means of the exports seen agree with, and is off by half a bin at most.
    """
    found: list[StoredDvh] = []
    findings: list[Finding] = []
    with reading(path):
        ds = open_dataset(path, ("DVHSequence", "DVHNormalizationDoseValue"))
        for index, item in enumerate(items(ds, "DVHSequence"), start=1):
            try:
                found.append(_read(item))
            except DicomError as error:
                findings.append(
                    Finding(
                        "stored-dvh-not-compared",
                        f"stored DVH {index} was not compared: {error}",
                        severity="info",
                        file=path.name,
                    )
                )
    hundred = _hundred_percent_gy(found)
    if hundred is not None:
        found = [_converted(dvh, hundred) for dvh in found]
        findings.append(
            Finding(
                "stored-dvh-percent",
                "minimum, maximum and mean of the stored DVHs are labelled GY but are percent of "
                f"{hundred:.4g} Gy, as their curves show; they were converted",
                severity="info",
                file=path.name,
                found=f"percent of {hundred:.4g} Gy",
                expected="Gy",
            )
        )
    return StoredDvhs(path.name, tuple(found), tuple(findings))


def _read(item: Dataset) -> StoredDvh:
    """Read one item; a DicomError without file name says why it cannot be compared."""
    number = _structure_of(item)
    units = text(item, "DoseUnits").upper()
    if units != "GY":
        raise DicomError(f"its DoseUnits are {units or 'absent'}, expected GY")
    kind = text(item, "DVHType").upper()
    if kind not in ("CUMULATIVE", "DIFFERENTIAL", "NATURAL"):
        raise DicomError(f"its DVHType is {kind or 'absent'}")
    if kind == "NATURAL":
        raise DicomError("natural DVHs (volume per dose to the power -3/2) are not supported")
    volume_units = text(item, "DVHVolumeUnits").upper()
    if volume_units not in ("CM3", "PERCENT"):
        raise DicomError(f"its DVHVolumeUnits are {volume_units or 'absent'}")
    dose, volume, width = _curve(item, cumulative=kind == "CUMULATIVE")
    stated = {
        word: (numbers(item, word) or (None,))[0]
        for word in ("DVHMinimumDose", "DVHMaximumDose", "DVHMeanDose")
    }
    return StoredDvh(
        roi_number=number,
        dose_gy=dose,
        volume=volume,
        bin_gy=width,
        in_percent=volume_units == "PERCENT",
        min_gy=stated["DVHMinimumDose"],
        max_gy=stated["DVHMaximumDose"],
        mean_gy=stated["DVHMeanDose"],
    )


def _structure_of(item: Dataset) -> int:
    included: list[int] = []
    for reference in items(item, "DVHReferencedROISequence"):
        kind = text(reference, "DVHROIContributionType").upper()
        if kind == "EXCLUDED":
            raise DicomError("a structure is excluded from it")
        number = whole_number(reference, "ReferencedROINumber")
        if number is not None:
            included.append(number)
    if len(included) != 1:
        raise DicomError(f"it refers to {len(included)} structures, expected one")
    return included[0]


def _curve(item: Dataset, *, cumulative: bool) -> tuple[FloatArray, FloatArray, float]:
    scaling = (numbers(item, "DVHDoseScaling") or (1.0,))[0]
    try:
        data = parse_decimals(raw_bytes(item, _DVH_DATA) or b"")
    except ValueError as error:
        raise DicomError("its DVHData are not numbers") from error
    if data.size < 2 or data.size % 2 or not scaling > 0:
        raise DicomError(f"it has {data.size} values of DVHData, expected pairs")
    stated = whole_number(item, "DVHNumberOfBins")
    if stated is not None and stated != data.size // 2:
        raise DicomError(f"it has {data.size // 2} bins and states {stated}")
    widths, volumes = data[0::2] * scaling, np.maximum(data[1::2], 0.0)
    if widths.min() < 0 or volumes.max() <= 0:
        raise DicomError("its DVHData hold a negative width or no volume")
    edges = np.cumsum(widths)
    if cumulative:
        if (np.diff(volumes) > 1e-6 * volumes.max()).any():
            raise DicomError("its cumulative volume rises with dose")
        middle = edges - 0.5 * widths
        dose, volume = np.r_[0.0, middle, edges[-1]], np.r_[volumes[0], volumes, 0.0]
    else:
        above = np.cumsum(volumes[::-1])[::-1]
        dose, volume = np.r_[0.0, edges], np.r_[above, 0.0]
    return dose, np.minimum.accumulate(volume), float(widths.max())


def _hundred_percent_gy(dvhs: list[StoredDvh]) -> float | None:
    """Return the dose that 100 % stands for where the stated means are percent, else None.

    A mean in Gy equals that of its curve. Means that are all the same multiple of it, with maxima
    of about that multiple, are percent of one dose.
    """
    known = [d for d in dvhs if d.mean_gy and d.curve_mean_gy > 5 * d.bin_gy]
    factors = np.array([d.mean_gy / d.curve_mean_gy for d in known if d.mean_gy])
    if not factors.size or (np.abs(factors - 1) <= _SAME_MEAN).any():
        return None
    # Hotter structures determine it best.
    factor = float(factors[int(np.argmax([d.curve_mean_gy for d in known]))])
    maxima = [d.max_gy / d.curve_max_gy for d in known if d.max_gy and d.curve_max_gy > 0]
    same = np.abs(np.r_[factors, maxima] / factor - 1) <= _SAME_FACTOR
    if np.mean(same) < _MOST:
        return None
    hundred = 100.0 / factor
    return hundred if _HUNDRED_PERCENT_GY[0] <= hundred <= _HUNDRED_PERCENT_GY[1] else None


def _converted(dvh: StoredDvh, hundred_gy: float) -> StoredDvh:
    def gy(value: float | None) -> float | None:
        return None if value is None else value / 100.0 * hundred_gy

    return StoredDvh(
        dvh.roi_number, dvh.dose_gy, dvh.volume, dvh.bin_gy, dvh.in_percent,
        gy(dvh.min_gy), gy(dvh.max_gy), gy(dvh.mean_gy),
    )  # fmt: skip

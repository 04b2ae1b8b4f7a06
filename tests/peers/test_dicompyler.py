"""dicompyler-core as a second, independent calculation."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from cordgap.check.second import second_dvh
from cordgap.dicom.read import read_case
from cordgap.dvh.integrate import compute_dvh
from cordgap.dvh.solid import build_solid
from cordgap.errors import DicomError, OptionError

# dicompyler rasters at the dose pixels (2.5 x 2.5 x 3 mm) and bins at 0.01 Gy. On a heart of
# 440 cc a pixel more or less at the border is 0.5 % of the volume; the dose there is 0.05 to 3 Gy
# with a gradient of up to 0.1 Gy/mm, a quarter of a pixel of which is 1 % of the mean.
VOLUME_SHARE = 5e-3
MEAN_SHARE = 1e-2
BIN_GY = 0.01


@pytest.fixture(scope="module")
def files(shared_data) -> tuple[Path, Path]:
    folder = shared_data / "real" / "dicompyler_breast"
    return folder / "rtss.dcm", folder / "rtdose.dcm"


@cache
def both(rtstruct: Path, rtdose: Path, name: str):
    case = read_case(rtstruct=rtstruct, rtdose=rtdose, wanted=[name], with_image=False)
    structure = case.structure(name)
    ours = compute_dvh(build_solid(structure), case.dose, uncertainty=False)
    return ours, second_dvh(rtstruct, rtdose, structure.roi_number)


def test_heart_volume_and_mean(files):
    ours, theirs = both(*files, "Heart")
    assert theirs.total_volume_cc == pytest.approx(ours.total_volume_cc, rel=VOLUME_SHARE)
    assert theirs.mean_gy == pytest.approx(ours.mean_gy, rel=MEAN_SHARE)


def test_heart_median(files):
    ours, theirs = both(*files, "Heart")
    half = 0.5 * ours.total_volume_cc
    assert theirs.dose_of_hottest_gy(half) == pytest.approx(
        ours.dose_of_hottest_gy(half), abs=BIN_GY
    )


def test_what_comes_back(files):
    _, theirs = both(*files, "Heart")
    assert (theirs.roi_number, theirs.roi_name) == (5, "Heart")
    assert theirs.program == "dicompyler-core 0.5.6"
    assert theirs.dose_gy.shape == theirs.volume_cc.shape
    assert theirs.volume_cc[0] == pytest.approx(theirs.total_volume_cc)
    assert theirs.volume_cc[-1] == 0.0
    assert (np.diff(theirs.volume_cc) <= 0).all()


def test_missing_package_says_what_to_install(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "dicompylercore", None)
    with pytest.raises(OptionError, match=r'pip install "cordgap\[check\]"'):
        second_dvh(*files, 5)


@pytest.mark.parametrize("number", [2, 99], ids=["empty structure", "no such structure"])
def test_nothing_to_calculate(files, number):
    with pytest.raises(DicomError, match=r"rtss.dcm.*there is no second calculation"):
        second_dvh(*files, number)


def test_unreadable_file(files, tmp_path):
    broken = tmp_path / "rtdose.dcm"
    broken.write_bytes(b"not DICOM")
    with pytest.raises(DicomError, match=r"rtdose.dcm: dicompyler-core cannot calculate ROI 5"):
        second_dvh(files[0], broken, 5)

"""DVHs inside a dose file: read, recognised, compared, never used."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from cordgap.check.stored import compare_stored, stored_notes
from cordgap.dicom.read import read_case
from cordgap.dicom.stored_dvh import count_stored_dvhs, read_stored_dvhs
from cordgap.dvh.integrate import compute_dvh
from cordgap.dvh.solid import build_solid

STEP_GY = 0.01


def stored(
    roi_number,
    volume,
    *,
    kind="CUMULATIVE",
    units="GY",
    volume_units="CM3",
    scaling=1.0,
    stated=None,
    contributions=("INCLUDED",),
) -> Dataset:
    """``volume`` at the middles of bins of 0.01 Gy; ``stated`` is minimum, maximum, mean."""
    item = Dataset()
    item.DVHReferencedROISequence = []
    for number, word in enumerate(contributions):
        reference = Dataset()
        reference.ReferencedROINumber = roi_number + number
        reference.DVHROIContributionType = word
        item.DVHReferencedROISequence.append(reference)
    item.DVHType = kind
    item.DoseUnits = units
    item.DoseType = "PHYSICAL"
    item.DVHDoseScaling = f"{scaling:g}"
    item.DVHVolumeUnits = volume_units
    item.DVHNumberOfBins = len(volume)
    width = STEP_GY / scaling
    item.DVHData = [f"{v:.10g}" for pair in volume for v in (width, pair)]
    if stated:
        item.DVHMinimumDose, item.DVHMaximumDose, item.DVHMeanDose = (f"{v:.10g}" for v in stated)
    return item


def curve_of(case, name):
    """A curve as a planning system would store it."""
    dvh = compute_dvh(build_solid(case.structure(name)), case.dose, uncertainty=False)
    edges = np.arange(0.5 * STEP_GY, dvh.max_gy + STEP_GY, STEP_GY)
    return dvh, [dvh.volume_at_least_cc(d) for d in edges]


@pytest.fixture
def folder(build, tmp_path):
    """Return a function that writes a plan whose dose file stores DVHs."""

    def write(*items, **dataset):
        dose = build.rtdose()
        if items:
            dose.DVHSequence = list(items)
        for word, value in dataset.items():
            setattr(dose, word, value)
        return build.plan_folder(tmp_path / "plan", rtdose=dose)

    return write


@pytest.fixture
def case(folder):
    return read_case(folder())


def codes(comparison):
    return [f.code for f in comparison.findings]


def test_nothing_stored(case):
    assert stored_notes(case) == ()
    found = compare_stored(case)
    assert (found.rows, found.findings) == ((), ())
    assert found.reason == "the dose file stores none"


@pytest.mark.parametrize("scaling", [1.0, 0.01])
@pytest.mark.parametrize("kind", ["CUMULATIVE", "DIFFERENTIAL"])
def test_the_same_curve_agrees(case, folder, kind, scaling):
    dvh, volume = curve_of(case, "SpinalCord")
    if kind == "DIFFERENTIAL":
        # Between the edges of the bins, not their middles.
        edges = np.arange(0.0, dvh.max_gy + STEP_GY, STEP_GY)
        volume = -np.diff([dvh.volume_at_least_cc(d) for d in (*edges, edges[-1] + STEP_GY)])
    again = read_case(folder(stored(1, volume, kind=kind, scaling=scaling)))
    found = compare_stored(again)
    assert codes(found) == []
    assert {r.roi_name for r in found.rows} == {"SpinalCord"}
    for row in found.rows:
        # A dose is read off a curve of bins of 0.01 Gy, a volume is exact.
        room = 1e-6 if row.metric == "volume" else STEP_GY
        assert row.stored == pytest.approx(row.main, abs=room), row.metric
    (note,) = stored_notes(again)
    assert (note.code, note.severity) == ("stored-dvh-present", "info")
    assert "1 DVH" in note.message


def test_stored_numbers_never_replace_computed_ones(case, folder):
    dvh, volume = curve_of(case, "SpinalCord")
    again = read_case(folder(stored(1, [0.5 * v for v in volume])))
    mine, _ = curve_of(again, "SpinalCord")
    assert (mine.mean_gy, mine.total_volume_cc) == (dvh.mean_gy, dvh.total_volume_cc)


def test_percent_labelled_gy_is_recognised(case, folder):
    items = []
    for number, name in ((1, "SpinalCord"), (2, "GTV")):
        dvh, volume = curve_of(case, name)
        percent = [100 * v / 24.0 for v in (dvh.min_gy, dvh.max_gy, dvh.mean_gy)]
        items.append(stored(number, volume, stated=percent))
    found = compare_stored(read_case(folder(*items)))
    assert codes(found) == ["stored-dvh-percent"]
    assert found.findings[0].found == "percent of 24 Gy"
    maxima = [r for r in found.rows if r.metric == "Max"]
    assert len(maxima) == 2
    for row in maxima:
        assert row.stored == pytest.approx(row.main, rel=1e-3)


def test_gy_labelled_gy_stays(case, folder):
    dvh, volume = curve_of(case, "SpinalCord")
    stated = (dvh.min_gy, dvh.max_gy, dvh.mean_gy)
    path = folder(stored(1, volume, stated=stated)) / "rtdose.dcm"
    (found,) = read_stored_dvhs(path).dvhs
    assert (found.min_gy, found.max_gy, found.mean_gy) == pytest.approx(stated)
    # The middle of a bin stands for its volume.
    assert found.curve_mean_gy == pytest.approx(dvh.mean_gy, abs=0.1 * STEP_GY)


def test_one_wrong_mean_is_not_percent(case, folder):
    """A factor that the maxima do not share is no unit."""
    dvh, volume = curve_of(case, "SpinalCord")
    path = folder(stored(1, volume, stated=(dvh.min_gy, dvh.max_gy, 4 * dvh.mean_gy)))
    assert read_stored_dvhs(path / "rtdose.dcm").findings == ()


def test_volume_in_percent(case, folder):
    _, volume = curve_of(case, "SpinalCord")
    again = read_case(folder(stored(1, [100 * v / volume[0] for v in volume],
                                    volume_units="PERCENT")))  # fmt: skip
    found = compare_stored(again)
    assert {r.metric for r in found.rows} == {"Mean", "Max", "D2%", "D50%", "D95%", "D98%"}
    for row in found.rows:
        assert row.stored == pytest.approx(row.main, abs=STEP_GY)
    assert codes(found) == []


def test_numbers_that_point_to_the_wrong_structure(case, folder):
    """After an edit the curve of the cord stands under the number of the target."""
    _, cord = curve_of(case, "SpinalCord")
    _, target = curve_of(case, "GTV")
    found = compare_stored(read_case(folder(stored(2, cord), stored(1, target))))
    assert codes(found) == ["stored-dvh-differs"] * 2
    fits = {f.roi_name: f.message.rpartition("fits ")[2] for f in found.findings}
    assert fits == {"GTV": "'SpinalCord'", "SpinalCord": "'GTV'"}
    assert {f.severity for f in found.findings} == {"warning"}


def test_another_dose_and_an_unknown_number(case, folder):
    dvh, volume = curve_of(case, "SpinalCord")
    twice = [v for v in volume for _ in range(2)]
    found = compare_stored(read_case(folder(stored(1, twice), stored(77, volume))))
    assert codes(found) == ["stored-dvh-differs"] * 2
    text = " ".join(f.message for f in found.findings)
    assert "ROI number 77 is not in the structure set" in text
    assert f"computed {dvh.mean_gy:.4g} Gy" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"units": "RELATIVE"}, "DoseUnits are RELATIVE"),
        ({"kind": "NATURAL"}, "natural DVHs"),
        ({"volume_units": "PER_U"}, "DVHVolumeUnits are PER_U"),
        ({"contributions": ("INCLUDED", "EXCLUDED")}, "a structure is excluded"),
        ({"contributions": ("INCLUDED", "INCLUDED")}, "refers to 2 structures"),
        ({"volume": [1.0, 2.0, 3.0]}, "rises with dose"),
        ({"volume": [0.0, 0.0]}, "no volume"),
    ],
)
def test_what_cannot_be_compared_says_why(folder, change, words):
    change = {"volume": [3.0, 2.0, 1.0]} | change
    found = compare_stored(read_case(folder(stored(1, **change))))
    assert found.rows == ()
    assert codes(found) == ["stored-dvh-not-compared"]
    assert words in found.findings[0].message
    assert found.findings[0].severity == "info"
    assert found.reason == "none of them can be compared"


def test_damaged_data(folder):
    item = stored(1, [3.0, 2.0])
    item.DVHNumberOfBins = 3
    odd = stored(1, [3.0, 2.0])
    odd.DVHData = ["0.01", "3", "0.01"]
    empty = Dataset()
    found = read_stored_dvhs(folder(item, odd, empty) / "rtdose.dcm")
    assert found.dvhs == ()
    assert len(found.findings) == 3


def test_a_sum_of_files_has_no_stored_dvh(build, folder):
    item = stored(1, [3.0, 2.0])
    path = folder(item, DoseSummationType="BEAM")
    dose = build.rtdose(kind="BEAM", beams=(1,))
    dose.DVHSequence = [item]
    build.save(dose, path / "rtdose.dcm")
    build.save(build.rtdose(kind="BEAM", beams=(2,), number=22), path / "second.dcm")
    found = compare_stored(read_case(path))
    assert found.rows == ()
    assert "sum of files" in found.reason


def test_a_file_that_cannot_be_read_stores_nothing_known(tmp_path):
    (tmp_path / "x.dcm").write_bytes(b"not DICOM")
    assert count_stored_dvhs(tmp_path / "x.dcm") == 0


def test_real_export_with_percent(shared_data):
    """Eclipse: percent of 14 Gy labelled GY; 9 curves, none of them of another structure."""
    case = read_case(shared_data / "real" / "dicompyler_breast", with_image=False)
    found = compare_stored(case)
    assert codes(found) == ["stored-dvh-percent"]
    assert found.findings[0].found == "percent of 14 Gy"
    assert len({r.roi_name for r in found.rows}) == 9
    heart = {r.metric: r for r in found.rows if r.roi_name == "Heart"}
    assert heart["volume"].stored == pytest.approx(437.46, abs=0.01)
    # Half a percent: Eclipse rounds the ends of a structure.
    assert heart["volume"].main == pytest.approx(heart["volume"].stored, rel=0.01)
    assert heart["Mean"].main == pytest.approx(heart["Mean"].stored, rel=0.005)
    assert heart["D0.035cc"].main == pytest.approx(heart["D0.035cc"].stored, rel=0.005)

"""Why dicompyler-core differs, found by taking its habits one after the other."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from cordgap.check import compare
from cordgap.check.compare import second_calculation
from cordgap.check.raster import BIN_GY, CAUSES, inside_lattice, metric_names, values_of_bins
from cordgap.check.verdict import judge
from cordgap.cli.second import calculate_again, with_second
from cordgap.dicom.read import read_case
from cordgap.errors import OptionError

# A fine grid with a gradient, so that the steps have something to change.
GRID = {"position": (-30.0, -31.0, -21.0), "spacing": (2.0, 2.5), "size": (15, 31, 26)}


def steep(x, y, z):
    """12 to 28 Gy across the cord; nothing is symmetric."""
    return np.maximum(20 + 0.9 * x - 0.5 * y + 0.11 * z + 0.002 * x * y, 0.0)


def plan(build, folder, rois=None, dose=None, **how):
    rtstruct = build.rtstruct(rois or {"SpinalCord": build.tube(z=range(-12, 13, 3), n=48)})
    for item in rtstruct.RTROIObservationsSequence:
        item.RTROIInterpretedType = ""  # of type 2 in the standard; dicompyler-core needs it
    return build.plan_folder(
        folder,
        rtstruct=rtstruct,
        rtdose=dose or build.rtdose(steep, **(GRID | how)),
    )


def second(folder, **changed):
    case = replace(read_case(folder), **changed)
    return second_calculation(case, [case.structure("SpinalCord")])


def causes_of(calculation) -> set[str]:
    """Causes of more than half a percent of any metric."""
    return {
        c.cause for row in calculation.rows for c in row.causes
        if abs(row.percent(c.change) or 0.0) > 0.5
    }  # fmt: skip


def drawn_twice(build):
    tube = build.tube(n=48)
    return {"SpinalCord": [*tube, tube[4]]}


def jittered(build):
    """A second contour, two hundredths of a millimetre beside a plane."""
    tube = build.tube(n=48)
    return {"SpinalCord": [*tube, build.circle(2.0, 0.02, n=48, centre=(20.0, 0.0))]}


def stray_point(build):
    return {"SpinalCord": [*build.tube(n=48), ("POINT", np.array([[0.0, 0.0, 13.0]]))]}


def coarser_below(build):
    return {"SpinalCord": build.tube(z=[-18, -12, -6, 0, 3, 6, 9, 12], n=48)}


def leaning(build):
    """Half a slice of lean: what lies between the planes matters."""
    return {
        "SpinalCord": [build.circle(6.0, float(z), n=48, centre=(0.8 * z, 0)) for z in (-6, 0, 6)]
    }


def beyond(build):
    return {"SpinalCord": build.tube(z=range(-12, 37, 3), n=48)}


@pytest.mark.parametrize(
    ("rois", "grid", "expected"),
    [
        (None, {}, {"pixel-centres"}),
        (None, {"absolute": True}, {"absolute-frame-offsets", "pixel-centres"}),
        (drawn_twice, {}, {"contours-as-drawn"}),
        (jittered, {}, {"contours-as-drawn"}),
        (stray_point, {}, {"contours-as-drawn"}),
        (coarser_below, {}, {"smallest-gap"}),
        (leaning, {}, {"one-dose-plane"}),
        (beyond, {}, {"volume-outside-dose"}),
        (None, {"orientation": (-1, 0, 0, 0, -1, 0), "position": (32.0, 29.0, -21.0)}, set()),
        (None, {"orientation": (0, 1, 0, -1, 0, 0), "position": (30.0, -31.0, -21.0)}, set()),
        (None, {"offsets": -3.0 * np.arange(15), "position": (-30.0, -31.0, 21.0)}, set()),
        (None, {"bits": 16}, set()),
    ],
    ids=[
        "plain", "absolute offsets", "contour drawn twice", "jittered plane", "stray point",
        "coarser planes below", "leaning cord", "cord beyond the grid", "prone", "decubitus",
        "decreasing offsets", "16 bits",
    ],
)  # fmt: skip
def test_every_difference_is_explained(build, tmp_path, rois, grid, expected):
    found = second(plan(build, tmp_path / "plan", rois and rois(build), **grid))
    assert found.program == "dicompyler-core 0.5.6"
    assert {row.status for row in found.rows} <= {"agrees", "explained", "not comparable"}
    assert expected <= causes_of(found)
    assert not [f for f in found.findings if f.severity != "info"]
    for row in found.rows:
        if row.status == "explained":
            # Nothing is left over but a count that falls on the edge of a bin.
            assert abs(row.left_over) <= BIN_GY * (1 + 1e-6)
            total = sum(c.change for c in row.causes) + row.left_over
            assert row.main + total == pytest.approx(row.second, abs=1e-6)


def test_known_sizes(build, tmp_path):
    """A duplicate erases one of nine planes; a point sets the thickness of all of them."""

    def share(rois, name):
        found = second(plan(build, tmp_path / name, rois(build)))
        row = next(r for r in found.rows if r.metric == "volume")
        change = next(c.change for c in row.causes if c.cause == "contours-as-drawn")
        return change / (row.second - change)

    assert share(drawn_twice, "a") == pytest.approx(-1 / 9, abs=1e-6)
    # 1 mm in place of 3 mm as the thickness of every plane.
    assert share(stray_point, "b") == pytest.approx(-2 / 3, abs=1e-6)


def test_a_cord_between_the_pixels_cannot_be_counted(build, tmp_path):
    rois = {"SpinalCord": build.tube(0.8, centre=(1.25, 0.0), n=24)}
    found = second(plan(build, tmp_path / "plan", rois))
    assert not found.rows
    assert found.not_calculated[0].explained
    assert not found.findings


def test_what_the_habits_do_not_explain_is_a_finding(build, tmp_path, monkeypatch):
    """A file that the other program read differently: here, its dose is 3 % higher."""
    truth = compare.second_dvh

    def hotter(*args):
        found = truth(*args)
        stated = {k: v if k == "volume" else 1.03 * v for k, v in found.stated.items()}
        return replace(found, stated=stated)

    monkeypatch.setattr(compare, "second_dvh", hotter)
    case = read_case(plan(build, tmp_path / "plan"))
    found = second_calculation(case, [case.structure("SpinalCord")])
    status = {row.metric: row.status for row in found.rows}
    assert status["D0.035cc"] == status["Mean"] == "not explained"
    row = next(r for r in found.rows if r.metric == "Mean")
    assert row.percent(row.left_over) == pytest.approx(3.0, abs=0.1)
    (finding,) = found.findings
    assert finding.code == "second-calc-unexplained"
    assert finding.severity == "warning"
    before = judge(case, ())
    assert before.word == "usable" or "warnings" in before.word
    assert finding in with_second(before, found).findings
    assert with_second(before, found).word == "usable with warnings"


def test_a_failure_that_is_not_explained_is_a_finding(build, tmp_path, monkeypatch):
    def fails(*_):
        raise compare.DicomError("RD.dcm: cannot calculate; there is no second calculation")

    monkeypatch.setattr(compare, "second_dvh", fails)
    found = second(plan(build, tmp_path / "plan"))
    assert [f.code for f in found.findings] == ["second-calc-failed"]


def test_the_sum_of_beams_is_written_for_it(build, tmp_path):
    folder = plan(build, tmp_path / "plan", dose=build.rtdose(
        lambda x, y, z: 0.4 * steep(x, y, z), **GRID, kind="BEAM", beams=(1,)
    ))  # fmt: skip
    other = build.rtdose(
        lambda x, y, z: 0.6 * steep(x, y, z), **GRID, kind="BEAM", beams=(2,), number=22
    )
    build.save(other, folder / "beam2.dcm")
    case = read_case(folder)
    assert len([f for f in case.inputs if f.kind == "rtdose"]) == 2
    with pytest.raises(OptionError, match="sums several"):
        second_calculation(case, case.structures)
    found = calculate_again(case, [case.structure("SpinalCord"), None])
    assert {r.status for r in found.rows} <= {"agrees", "explained"}
    alone = second(plan(build, tmp_path / "whole"))
    for row, whole in zip(found.rows, alone.rows, strict=True):
        # The sum is rounded to 32 bits, at most a bin apart.
        assert row.second == pytest.approx(whole.second, abs=1.01 * BIN_GY)


def test_no_dose_and_no_files(build, tmp_path):
    folder = plan(build, tmp_path / "plan")
    with pytest.raises(OptionError, match="needs a dose"):
        second(folder, dose=None)
    with pytest.raises(OptionError, match="not read from any"):
        second(folder, inputs=())


def test_the_other_program_is_silent(build, tmp_path, caplog):
    with caplog.at_level(logging.DEBUG):
        second(plan(build, tmp_path / "plan", beyond(build)))
    assert not [r for r in caplog.records if r.name.startswith(("dicompyler", "pydicom"))]


def test_every_cause_has_words():
    assert all(text and text == text.strip() for text in CAUSES.values())


def test_lattice_falls_as_in_matplotlib():
    """Points on edges and corners too: the rule decides whole columns of pixels."""
    from matplotlib.path import Path as Polygon

    rng = np.random.default_rng(5)
    x, y = np.arange(-8.0, 9.0), np.arange(-7.0, 8.0)
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    for n in (3, 4, 5, 12, 30):
        for ring in (rng.integers(-7, 8, (n, 2)).astype(float), rng.uniform(-7, 7, (n, 2))):
            expected = Polygon(ring).contains_points(points).reshape(y.size, x.size)
            assert (inside_lattice([ring], x, y) == expected).all()


def test_nearest_bin():
    """Plateaus give their lowest dose: dose_constraint takes the first of the nearest bins."""
    counts = np.array([1.0, 1.0, 0.5, 0.5, 0.5, 0.1])
    values = values_of_bins(counts, np.arange(7) * 1.0)
    assert values["D50%"] == 2.0
    assert values["D0.1cc"] == 5.0
    assert values["D1cc"] == 0.0
    assert values["Max"] == 6.0
    # Half gets 1 to 2, 0.4 gets 4 to 5, 0.1 gets 5 to 6.
    assert values["Mean"] == pytest.approx(0.5 * 1.5 + 0.4 * 4.5 + 0.1 * 5.5)
    assert set(values) == set(metric_names())

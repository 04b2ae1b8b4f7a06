"""Left and right of the patient, in whatever position the patient lies on the table.

DICOM coordinates are the patient's (LPS), so that the numbers are the same for a patient who lies
on the back or the belly, head or feet first; images and dose are stored along other axes. The
phantom has its epidural tumour on the left only.
"""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tests.dicom.builders import ORIENTATIONS

from cordgap.analysis import analyze
from cordgap.dicom.read import read_case
from cordgap.export.plan import write_plan
from cordgap.phantom import Epidural, SpineDose, spine_case
from cordgap.report.axial import plot_axial, plot_levels
from cordgap.report.figures import plot_map

# Positions for which the stored samples are only flipped.
POSITIONS = {name: ORIENTATIONS[name] for name in ("HFS", "HFP", "FFS", "FFP")}


def turned(ds, position):
    """The same samples in space, stored as for a patient in another position."""
    orientation = np.array(POSITIONS[position], float)
    along, down = orientation[:3], orientation[3:]
    frames = int(ds.get("NumberOfFrames", 1))
    kind = np.dtype(f"<u{ds.BitsAllocated // 8}")
    stored = np.frombuffer(ds.PixelData, kind, count=frames * ds.Rows * ds.Columns)
    stored = stored.reshape(frames, ds.Rows, ds.Columns)
    corner = np.array(ds.ImagePositionPatient, float)
    step_y, step_x = (float(v) for v in ds.PixelSpacing)
    if along[0] < 0:
        stored = stored[:, :, ::-1]
        corner[0] += step_x * (ds.Columns - 1)
    if down[1] < 0:
        stored = stored[:, ::-1]
        corner[1] += step_y * (ds.Rows - 1)
    if "GridFrameOffsetVector" in ds and np.cross(along, down)[2] < 0:
        offsets = np.array(ds.GridFrameOffsetVector, float)
        stored = stored[::-1]
        corner[2] += offsets[-1]
        ds.GridFrameOffsetVector = [f"{v:.10g}" for v in (offsets[-1] - offsets)[::-1]]
    ds.ImagePositionPatient = [f"{v:.10g}" for v in corner]
    ds.ImageOrientationPatient = [f"{v:g}" for v in orientation]
    data = np.ascontiguousarray(stored).tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    if ds.Modality == "CT":
        ds.PatientPosition = position
    return ds


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    case = spine_case(
        epidural=Epidural(kind="anterolateral", side="left", gap_mm=0.8),
        dose=SpineDose(cord_edge_gy=20.0),
    )
    found = {}
    for position in POSITIONS:
        folder = tmp_path_factory.mktemp(position)
        written = write_plan(case, folder)
        for path in (*written.images, written.rtdose):
            turned(pydicom.dcmread(path), position).save_as(path)
        found[position] = analyze(read_case(folder))
    return found


@pytest.mark.parametrize("position", POSITIONS)
def test_numbers_do_not_depend_on_the_position(results, position):
    here, reference = results[position], results["HFS"]
    assert here.case.patient_position == position
    one, two = here.separation, reference.separation
    assert one.separation_mm == pytest.approx(0.8, abs=0.05)
    assert one.separation_mm == pytest.approx(two.separation_mm, abs=1e-9)
    assert one.required_separation_mm == pytest.approx(two.required_separation_mm, abs=1e-6)
    np.testing.assert_allclose(one.map.gap_mm, two.map.gap_mm, atol=1e-9)
    for a, b in zip(one.sextants, two.sextants, strict=True):
        assert a.resection_cc == pytest.approx(b.resection_cc, abs=1e-9)


@pytest.mark.parametrize("position", POSITIONS)
def test_the_tumour_is_on_the_left(results, position):
    s = results[position].separation
    rows = {x.name: x for x in s.sextants}
    # The tumour fills -30 to 110 degrees: up to the border of the right anterolateral sextant.
    assert rows["left posterolateral"].gap_mm < rows["right posterolateral"].gap_mm - 1.0
    left, right = (rows[f"{side} anterolateral"].resection_cc for side in ("left", "right"))
    assert left > 0.05
    assert right < 0.1 * left
    assert s.map.direction_deg[np.nanargmin(np.nanmean(s.map.gap_mm, axis=0))] in range(10, 120)


def axes():
    figure = Figure(figsize=(9, 6))
    FigureCanvasAgg(figure)
    return figure.add_subplot()


def on_screen(ax, x, y):
    return ax.transData.transform((x, y))


@pytest.mark.parametrize("position", POSITIONS)
def test_axial_picture_has_l_on_the_side_of_the_tumour(results, position):
    """Where L stands on the screen lies the tinted rim, and the CT is not turned either."""
    result = results[position]
    ax = axes()
    artists = plot_axial(ax, result)
    ax.figure.canvas.draw()
    marks = {m.get_text(): m for m in artists["marks"] if hasattr(m, "get_text")}
    side = {k: m.get_window_extent().x0 for k, m in marks.items()}
    height = {k: m.get_window_extent().y0 for k, m in marks.items()}
    assert side["R"] < side["L"]
    assert height["P"] < height["A"]
    centre = result.separation.map.centre_mm
    middle = on_screen(ax, *np.nanmean(centre, axis=0))[0]
    left = {x.name: x for x in result.separation.sextants}["left anterolateral"]
    assert left.deficit_mm > 0
    # The tinted rim: filled contours in data coordinates, weighed on the screen.
    tint = [c for c in ax.collections if c.get_hatch()] or ax.collections
    path = np.concatenate([p.vertices for c in tint[:1] for p in c.get_paths()])
    assert on_screen(ax, path[:, 0].mean(), path[:, 1].mean())[0] > middle
    assert middle < marks["L"].get_window_extent().x0
    hu = artists["image"][0].get_array()
    reference = plot_axial(axes(), results["HFS"])["image"][0].get_array()
    np.testing.assert_allclose(hu, reference)


@pytest.mark.parametrize("position", POSITIONS)
def test_map_has_left_on_the_side_of_the_tumour(results, position):
    ax = axes()
    artists = plot_map(ax, results[position])
    ax.figure.canvas.draw()
    sides = artists["sides"][0]
    where = {t.get_text(): t.get_window_extent().x0 for t in sides.get_xticklabels()}
    assert where["RIGHT"] < where["anterior"] < where["LEFT"]
    values = artists["map"][0].get_array()
    columns = np.linspace(-180, 180, values.shape[1])
    worst = columns[int(np.argmin(np.ma.mean(values, axis=0)))]
    assert 10 <= worst <= 120
    assert on_screen(ax, worst, 0)[0] > on_screen(ax, 0, 0)[0]


@pytest.mark.parametrize("position", POSITIONS)
def test_every_plane_beside_each_other_has_its_sides(results, position):
    planes = plot_levels(axes(), results[position])
    assert len(planes) == 3
    for artists in planes:
        ax = artists["axes"][0]
        texts = {t.get_text(): t.get_position() for t in ax.texts}
        assert texts["R"][0] < texts["L"][0]
        assert "LEVEL NOT IDENTIFIED" in ax.get_title(loc="left") + ax.get_title()
        assert artists["image"]

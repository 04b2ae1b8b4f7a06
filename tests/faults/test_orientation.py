"""However a dose is written, the same samples in space give the same histogram."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.dicom.builders import ORIENTATIONS

from cordgap.dicom import read_case
from cordgap.dvh.integrate import compute_dvh
from cordgap.dvh.solid import build_solid

LOWER = np.array([-14.0, -17.0, -13.0])
STEP = np.array([1.5, 2.25, 1.75])
SIZE = np.array([21, 15, 17])
# Positions are written with ten digits and doses in steps of 1e-6 Gy.
TOLERANCE_GY = 1e-5


def field(x, y, z):
    """Dose without any symmetry, curved along every axis."""
    return 40 + 0.4 * x - 0.3 * y + 0.2 * z + 0.02 * x * y - 0.01 * y * z + 0.015 * z * x * x / 5


def contours(build):
    """A structure without any symmetry: radius, centre and level all change along it."""
    return [
        build.circle(2.5 + 0.1 * i, -7.5 + 2.5 * i, n=40, centre=(2.0 + 0.4 * i, -1.0 - 0.3 * i))
        for i in range(7)
    ]


def written(build, orientation, *, decreasing, absolute, uneven, tilt=0.0):
    """The same samples, stored along other directions."""
    along, down = np.array(orientation[:3], float), np.array(orientation[3:], float)
    axes = [int(np.argmax(np.abs(d))) for d in (np.cross(along, down), down, along)]
    directions = (np.cross(along, down), down, along)
    upper = LOWER + STEP * (SIZE - 1)
    corner = LOWER.copy()
    forward = [d[a] > 0 for a, d in zip(axes, directions, strict=True)]
    if decreasing:
        forward[0] = not forward[0]
    for axis, is_forward in zip(axes, forward, strict=True):
        if not is_forward:
            corner[axis] = upper[axis]
    offsets = np.arange(SIZE[axes[0]]) * STEP[axes[0]]
    if uneven:
        # The field is not linear along every axis: only planes that are there may be left out.
        offsets = np.delete(offsets, [1, 2] if forward[0] else [-2, -3])
    if decreasing:
        offsets = -offsets
    ds = build.rtdose(
        field,
        orientation=orientation,
        position=corner,
        spacing=(STEP[axes[1]], STEP[axes[2]]),
        size=(offsets.size, int(SIZE[axes[1]]), int(SIZE[axes[2]])),
        offsets=offsets,
        absolute=absolute,
    )
    if tilt:
        ds.ImageOrientationPatient = [f"{c + tilt * (c == 0):.6f}" for c in orientation]
    return ds


def histogram(build, folder, dose):
    folder = build.plan_folder(
        folder, rtdose=dose, rtstruct=build.rtstruct({"SpinalCord": contours(build)})
    )
    case = read_case(folder)
    return compute_dvh(build_solid(case.structures[0]), case.dose, uncertainty=False)


@pytest.fixture(scope="module")
def plain(build, tmp_path_factory):
    ds = written(build, ORIENTATIONS["HFS"], decreasing=False, absolute=False, uneven=False)
    return histogram(build, tmp_path_factory.mktemp("plain") / "plan", ds)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(sorted(ORIENTATIONS)),
    decreasing=st.booleans(),
    absolute=st.booleans(),
    tilt=st.sampled_from([0.0, 1e-6, -1e-6]),
)
def test_the_way_of_writing_changes_nothing(
    build, tmp_path_factory, plain, name, decreasing, absolute, tilt
):
    # Absolute offsets are legal for frames along the patient's own axes only.
    ds = written(
        build,
        ORIENTATIONS[name],
        decreasing=decreasing,
        absolute=absolute and name == "HFS",
        uneven=False,
        tilt=tilt,
    )
    found = histogram(build, tmp_path_factory.mktemp("plan") / "plan", ds)
    assert found.covered_volume_cc == pytest.approx(plain.covered_volume_cc, rel=1e-9)
    for volume_cc in (0.001, 0.035, 0.1, 0.3):
        a, b = found.dose_of_hottest_gy(volume_cc), plain.dose_of_hottest_gy(volume_cc)
        assert a == pytest.approx(b, abs=TOLERANCE_GY)
    assert found.mean_gy == pytest.approx(plain.mean_gy, abs=TOLERANCE_GY)


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_uneven_planes_are_used_where_they_are(build, tmp_path, name, plain):
    """Planes left out beyond the structure change nothing, wherever the frames run."""
    ds = written(build, ORIENTATIONS[name], decreasing=False, absolute=False, uneven=True)
    found = histogram(build, tmp_path / "plan", ds)
    assert found.mean_gy == pytest.approx(plain.mean_gy, abs=TOLERANCE_GY)
    assert found.max_gy == pytest.approx(plain.max_gy, abs=TOLERANCE_GY)

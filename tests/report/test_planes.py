"""The planes of the viewer: distances for the browser to threshold, outlines in their place."""

from __future__ import annotations

import io
from base64 import b64decode
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cordgap.analysis import CaseResult
from cordgap.dvh.planes import inside_rings
from cordgap.dvh.solid import build_solid
from cordgap.dvh.surface import surface_of
from cordgap.phantom.shapes import at_height, circle, make_structure
from cordgap.report.axial import solids_shown
from cordgap.report.explorer import explorer_data
from cordgap.report.planes import MOST_PLANES, View, axial_planes, levels_along, plane_levels
from cordgap.report.tables import analysis_document

# What the page says: what is closer to the cord is drawn to 0.1 mm, outlines to 0.05 mm.
SHADE_MM, OUTLINE_MM = 0.1, 0.06


@pytest.fixture(scope="module", params=["coverage-first", "ring"])
def drawn(request: Any, results: dict[str, CaseResult]) -> tuple[CaseResult, dict[str, Any]]:
    result = results[request.param]
    return result, axial_planes(result, result.separation)


def read_lattice(axial: dict[str, Any], near: dict[str, Any], points: Any) -> Any:
    """Distance at points (n, 2) from the corner of the view, as the browser reads it."""
    data = np.frombuffer(b64decode(near["data"]), np.uint8).astype(float)
    data = data.reshape(near["rows"], near["columns"])
    u = (points[:, 0] - near["x"]) / axial["lattice_mm"]
    v = (points[:, 1] - near["y"]) / axial["lattice_mm"]
    i, j = np.floor(u).astype(int), np.floor(v).astype(int)
    a, b = u - i, v - j
    value = (data[j, i] * (1 - a) + data[j, i + 1] * a) * (1 - b) + (
        data[j + 1, i] * (1 - a) + data[j + 1, i + 1] * a
    ) * b
    return axial["lowest_mm"] + axial["byte_mm"] * value


def test_lattice_gives_the_distance_to_the_cord(drawn: Any) -> None:
    result, axial = drawn
    (_, target), *_, (_, cord) = solids_shown(result)
    surface = surface_of(cord)
    view = axial["view"]
    corner = np.array([view["left_mm"], view["front_mm"]])
    rng = np.random.default_rng(3)
    checked = 0
    for plane in axial["planes"][::6]:
        if plane["near"] is None:
            continue
        points = corner + rng.uniform(0, view["size_mm"], (4000, 2))
        points = points[inside_rings(target.section_at(plane["z_mm"]), points)]
        exact = surface.distance_mm(np.c_[points, np.full(len(points), plane["z_mm"])])
        close = np.abs(exact) < 10.0
        if not close.any():
            continue
        read = read_lattice(axial, plane["near"], points[close] - corner)
        # Inside the cord the distance has a ridge; there everything is removed anyway.
        outside = exact[close] > -1.0
        assert np.abs(read - exact[close])[outside].max() < SHADE_MM
        checked += int(outside.sum())
    assert checked > 500


def test_outlines_are_where_the_contours_are(drawn: Any) -> None:
    from shapely import LinearRing, Point

    result, axial = drawn
    view = axial["view"]
    middle = axial["planes"][len(axial["planes"]) // 2]
    for (_, solid), rings in zip(solids_shown(result), middle["rings"], strict=True):
        sections = solid.section_at(middle["z_mm"])
        assert len(sections) == len(rings)
        for exact, flat in zip(sections, rings, strict=True):
            points = np.array(flat).reshape(-1, 2) / 100.0
            points += [view["left_mm"], view["front_mm"]]
            ring = LinearRing(points)
            assert max(ring.distance(Point(p)) for p in exact) < OUTLINE_MM


def test_pictures_are_the_ct(drawn: Any) -> None:
    result, axial = drawn
    assert axial["has_ct"]
    assert len(axial["planes"]) == plane_levels(result.separation).size
    for plane in axial["planes"][::20]:
        with Image.open(io.BytesIO(b64decode(plane["picture"]))) as picture:
            assert picture.format == "JPEG"
            assert picture.size == (round(axial["view"]["size_mm"] / 0.5),) * 2
            assert np.ptp(np.asarray(picture)) > 200


def test_levels_are_thinned_evenly(results: dict[str, CaseResult]) -> None:
    s = results["ring"].separation
    assert s is not None
    many = np.arange(400.0)
    levels = plane_levels(replace(s, map=replace(s.map, level_mm=many)))
    assert levels.size <= MOST_PLANES
    assert set(np.diff(levels)) == {3.0}


def test_planes_go_on_along_the_cord_while_it_is_seen() -> None:
    view = View(-35.0, -35.0, 70.0)
    near_target = np.arange(-20.0, 21.0)

    def cord(half_length_mm: float, lean: float = 0.0) -> Any:
        z = np.arange(-half_length_mm, half_length_mm + 1.0, 2.5)
        return build_solid(
            make_structure(
                1,
                "SpinalCord",
                [at_height(circle(lean * v, 0.0, 5.0, 30), float(v)) for v in z],
            )
        )

    levels, step = levels_along(near_target, cord(60.0), view)
    assert step == 3.0
    assert (np.diff(levels) > 0).all()
    assert set(np.round(np.diff(levels), 9)) == {1.0, 3.0}
    assert (levels[0], levels[-1]) == (-59.0, 59.0)
    levels, step = levels_along(near_target, cord(500.0), view)
    assert levels.size <= MOST_PLANES
    assert step > 3.0
    assert levels[0] < -480
    # Leaning by 0.5, the cord reaches the edge of the view at z = 60.
    levels, _ = levels_along(near_target, cord(100.0, 0.5), view)
    assert (levels[0], levels[-1]) == (-59.0, 59.0)
    # No longer than the map: nothing is added.
    assert levels_along(near_target, cord(20.0), view)[0].size == near_target.size
    many = np.arange(float(MOST_PLANES))
    assert levels_along(many, cord(500.0), view)[0] is many


def test_slider_begins_at_what_is_to_be_made(results: dict[str, CaseResult]) -> None:
    for name in ("coverage-first", "ring", "no dose"):
        result = results[name]
        s = result.separation
        assert s is not None
        data = explorer_data(result, s, analysis_document(result))
        assert data["steps_mm"][data["start"]] == s.make_mm
        assert data["steps_mm"] == [0.25 * i for i in range(41)]

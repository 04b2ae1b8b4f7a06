"""Written regions hold, read back, the volume that the result states."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely

from cordgap.analysis import CaseResult, analyze
from cordgap.dicom.read import read_case
from cordgap.dicom.structures import read_structures
from cordgap.dvh.planes import inside_rings
from cordgap.dvh.solid import build_solid
from cordgap.dvh.surface import surface_of
from cordgap.export.outlines import MOST_SHIFT_MM, Outline, equal_volume, keyhole, outline_of
from cordgap.export.rois import derived_rois, pair_of, removed_volume_cc, stated_cc
from cordgap.export.rtstruct import write_rtstruct
from cordgap.phantom import spine_case
from cordgap.phantom.shapes import at_height, circle, make_structure
from cordgap.separation.sections import even_odd, regions_within

PLANS = Path(__file__).parents[2] / "plans"
# What is promised.
VOLUME = 5e-3
GAP_MM = 1.0


def ball(spacing_mm: float) -> CaseResult:
    """Return a cord beside a ball, whose slivers grow from one plane to many."""
    z = np.arange(-45.0, 45.0, spacing_mm) + 0.37
    radius, apart = 12.0, 5.0 + GAP_MM + 12.0
    cord = [at_height(circle(0.05 * v, 0.0, 5.0, 90), float(v)) for v in z]
    target = [
        at_height(circle(0.6 * apart, -0.8 * apart, float(np.sqrt(radius**2 - v**2)), 90), float(v))
        for v in z
        if abs(v) < radius
    ]
    structures = (make_structure(1, "SpinalCord", cord), make_structure(2, "GTV", target))
    return analyze(replace(spine_case(image=False), structures=structures, dose=None))


@pytest.fixture(scope="module", params=[1.0, 2.5, 3.0])
def sampled(request) -> CaseResult:
    return ball(request.param)


def held(roi, result) -> float:
    settings = result.settings
    found = outline_of(
        [(z, even_odd(rings)) for z, rings in roi.planes],
        roi.source,
        between=settings.between,
        ends=settings.ends,
    )
    assert found.volume_cc is not None
    return found.volume_cc


@pytest.mark.parametrize("beyond_mm", [0.5, 1.0, 2.0, 4.0, 6.0])
def test_every_piece_holds_what_the_result_states(sampled, beyond_mm):
    """From slivers of 0.005 cc on one to three planes to half a cubic centimetre."""
    separation = GAP_MM + beyond_mm
    rois, notes = derived_rois(sampled, [separation])
    removed, left, *_ = rois
    stated = stated_cc(sampled, separation)
    whole = build_solid(sampled.target.structure).volume_cc
    assert not notes
    assert held(removed, sampled) == pytest.approx(stated, rel=VOLUME)
    assert held(left, sampled) == pytest.approx(whole - stated, rel=VOLUME)
    for roi in (removed, left):
        moved = re.search(r"moved by (\S+) mm", roi.description)
        assert moved is None or 0 < abs(float(moved[1])) <= MOST_SHIFT_MM
    # And nothing else than the region is drawn: the result counts cells of 0.125 mm3, of which
    # eight more or less lie at the border of a sliver.
    exact = removed_volume_cc(pair_of(sampled, separation), sampled.separation.map, separation)
    assert held(removed, sampled) == pytest.approx(exact, rel=1e-2, abs=1e-3)


@pytest.mark.parametrize("plan", ["ring", "coverage-first"])
def test_demo_plans_hold_it_through_the_file(plan, ring, tmp_path):
    result = ring if plan == "ring" else analyze(read_case(PLANS / plan))
    s = result.separation
    whole = build_solid(result.target.structure).volume_cc
    least = next(p.separation_mm for p in s.curve if (p.resection_cc or 0.0) >= 0.02)
    for separation in (least, least + 0.5, 6.0):
        write_rtstruct(result, tmp_path / "rs.dcm", at_mm=separation)
        volumes = {
            x.roi_name: build_solid(x).volume_cc
            for x in read_structures(tmp_path / "rs.dcm").structures
        }
        stated = stated_cc(result, separation)
        words = f"{separation:.1f}mm"
        assert volumes[f"CG_Resect_{words}"] == pytest.approx(stated, rel=VOLUME)
        assert volumes[f"CG_Remain_{words}"] == pytest.approx(whole - stated, rel=VOLUME)


def test_shell_and_prv_hold_what_lies_between_their_ends(sampled):
    """Against cross-sections every 0.6 mm or less, from half a plane before to half beyond."""
    pair = pair_of(sampled, 6.0)
    rois, _ = derived_rois(sampled, [6.0])
    checked = [(x, x.name) for x in rois if "Shell" in x.name or "PRV" in x.name]
    assert len(checked) == 2
    for roi, name in checked:
        margin = 1.5 if "PRV" in name else float(name[9:12])
        surface = surface_of(pair.cord) if "PRV" in name else pair.cord_surface
        z = np.array([level for level, _ in roi.planes])
        edges = np.linspace(1.5 * z[0] - 0.5 * z[1], 1.5 * z[-1] - 0.5 * z[-2], 151)
        levels = 0.5 * (edges[1:] + edges[:-1])
        areas = []
        for level, (region,) in zip(
            levels.tolist(), regions_within(surface, [margin], levels), strict=True
        ):
            body = even_odd(pair.cord.section_at(level))
            grown = shapely.union(region, body)
            areas.append((grown if "PRV" in name else shapely.difference(grown, body)).area)
        exact = float(np.dot(areas, np.diff(edges))) / 1000
        assert held(roi, sampled) == pytest.approx(exact, rel=VOLUME), name


def test_a_separation_that_the_curve_does_not_hold_is_added_up(sampled):
    separation = 3.1
    assert stated_cc(sampled, separation) is None
    exact = removed_volume_cc(pair_of(sampled, separation), sampled.separation.map, separation)
    removed = derived_rois(sampled, [separation])[0][0]
    assert held(removed, sampled) == pytest.approx(exact, rel=VOLUME)
    below, above = (stated_cc(sampled, x) for x in (3.0, 3.25))
    assert below < exact < above


def test_what_cannot_be_held_is_said():
    result = ball(3.0)
    s = result.separation
    wrong = replace(s, curve=tuple(replace(p, resection_cc=0.5) for p in s.curve))
    rois, notes = derived_rois(replace(result, separation=wrong), [2.0])
    assert re.fullmatch(
        r"the contours of CG_Resect_2\.0mm hold 0\.02\d cc, not 0\.500 cc", notes[0]
    )
    assert "moved" not in rois[0].description
    # A sliver of 0.4 mm3 between two planes.
    _, notes = derived_rois(result, [1.01])
    assert any("no plane holds a part of GTV closer than 1.01 mm" in note for note in notes)


def test_a_shift_is_found_or_refused():
    def grows(shift_mm):
        return Outline((), 1.0 + 2.0 * shift_mm + shift_mm**2, shift_mm)

    assert equal_volume(grows, 1.0).shift_mm == 0.0
    found = equal_volume(grows, 1.08)
    assert found.holds(1.08)
    assert found.shift_mm == pytest.approx(0.039, abs=2e-3)
    assert equal_volume(grows, 0.9).shift_mm == pytest.approx(-0.051, abs=3e-3)
    assert equal_volume(grows, 1.4).shift_mm == 0.0, "it would take 0.18 mm"
    assert equal_volume(lambda x: Outline((), 1.0, x), 1.1).shift_mm == 0.0
    assert equal_volume(lambda x: Outline((), None if x else 1.0, x), 1.1).shift_mm == 0.0


def test_keyhole_keeps_the_area():
    rng = np.random.default_rng(3)
    holes = [shapely.Point(x, y).buffer(r) for x, y, r in ((3, 0, 1.5), (-3, 1, 2), (0, -4, 1))]
    polygon = shapely.Point(0, 0).buffer(8).difference(shapely.union_all(holes))
    ring = keyhole(polygon)
    x, y = ring.T
    area = 0.5 * abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))
    assert area == pytest.approx(polygon.area, rel=1e-12)
    points = rng.uniform(-9, 9, (500, 2))
    inside = shapely.contains_xy(polygon, points[:, 0], points[:, 1])
    assert (inside_rings([ring], points) == inside).all()

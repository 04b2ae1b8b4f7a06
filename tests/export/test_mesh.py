"""Closed surfaces: watertight, in millimetres, of the volumes that were meant."""

from __future__ import annotations

import builtins
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import trimesh

from cordgap.case.structure import structure_from_contours
from cordgap.dvh.solid import build_solid
from cordgap.dvh.surface import surface_of
from cordgap.errors import OptionError
from cordgap.export.mesh import (
    LATTICE_MM,
    MAX_POINTS,
    _body,
    beyond_sextants,
    bodies_of,
    enclosed_cc,
    lattice_around,
    mesh_contents,
)

# What the project promises of a printed volume.
VOLUME = 0.01


@pytest.fixture(scope="module")
def contents(ring):
    made, notes = mesh_contents(ring)
    assert notes == ()
    return made


def load(data, kind):
    return trimesh.load(BytesIO(data), file_type=kind, process=True)


def expected_cc(result, separation_mm):
    at = {p.separation_mm: p.resection_cc for p in result.separation.curve}
    return {
        "cord": build_solid(result.cord.structure).volume_cc,
        "target": build_solid(result.target.structure).volume_cc,
        "removed": at[separation_mm],
    }


def test_stl_files_are_closed_and_in_mm(ring, contents):
    assert set(contents) == {
        "mesh/cord.stl", "mesh/target.stl", "mesh/removed.stl", "mesh/scene.glb", "view3d.html",
    }  # fmt: skip
    assert ring.separation.make_mm == 3.0
    for kind, volume in expected_cc(ring, 3.0).items():
        mesh = load(contents[f"mesh/{kind}.stl"], "stl")
        assert mesh.is_watertight, kind
        assert mesh.is_winding_consistent, kind
        assert mesh.volume / 1000 == pytest.approx(volume, rel=VOLUME), kind
    cord = load(contents["mesh/cord.stl"], "stl")
    lower, upper = build_solid(ring.cord.structure).bounds_mm
    # A lattice rounds edges by less than its step.
    np.testing.assert_allclose(cord.bounds, [lower, upper], atol=LATTICE_MM)


def test_gltf_holds_the_same_bodies(ring, contents):
    scene = load(contents["mesh/scene.glb"], "glb")
    assert set(scene.geometry) == {"cord", "target", "removed"}
    for kind, volume in expected_cc(ring, 3.0).items():
        mesh = scene.geometry[kind]
        mesh.merge_vertices()
        assert mesh.is_watertight
        assert mesh.volume / 1000 == pytest.approx(volume, rel=VOLUME)
        turn, name = scene.graph[kind]
        assert name == kind
        # glTF is in metres, Y up: patient left +X, head +Y, anterior +Z.
        np.testing.assert_allclose(turn @ [1, 0, 0, 0], [1e-3, 0, 0, 0], atol=1e-12)
        np.testing.assert_allclose(turn @ [0, 1, 0, 0], [0, 0, -1e-3, 0], atol=1e-12)
        np.testing.assert_allclose(turn @ [0, 0, 1, 0], [0, 1e-3, 0, 0], atol=1e-12)
        assert np.linalg.det(turn[:3, :3]) > 0


def test_only_what_surgery_reaches_is_removed(reached):
    bodies = {b.kind: b for b in bodies_of(reached, 3.0)}
    volume = expected_cc(reached, 3.0)["removed"]
    assert bodies["removed"].volume_cc == pytest.approx(volume, rel=VOLUME)
    mesh = trimesh.Trimesh(bodies["removed"].vertices_mm, bodies["removed"].faces)
    assert mesh.is_watertight


@pytest.mark.parametrize(("radius_mm", "step_mm"), [(0.9, 1.0), (2.5, 1.0), (30.0, 3.0)])
def test_thin_and_large_bodies_keep_their_volume(radius_mm, step_mm):
    angle = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    x, y = radius_mm * np.cos(angle), radius_mm * np.sin(angle)
    levels = step_mm * np.arange(30)
    structure = structure_from_contours(1, "x", [np.c_[x, y, np.full(180, z)] for z in levels])
    solid = build_solid(structure)
    body = _body("cord", "x", "#000000", surface_of(solid))
    mesh = trimesh.Trimesh(body.vertices_mm, body.faces)
    assert mesh.is_watertight
    assert enclosed_cc(body.vertices_mm, body.faces) == pytest.approx(mesh.volume / 1000, rel=1e-6)
    assert mesh.volume / 1000 == pytest.approx(solid.volume_cc, rel=VOLUME)
    assert body.volume_cc == solid.volume_cc
    assert (
        np.prod(lattice_around(*solid.bounds_mm, 0.1).shape) < 1.2 * MAX_POINTS
    )  # and two steps around


def test_a_mesh_that_misses_the_volume_is_named(ring, monkeypatch):
    monkeypatch.setattr("cordgap.export.mesh.MAX_POINTS", 3000)
    _, notes = mesh_contents(ring)
    assert any("the mesh of removed at 3.0 mm encloses" in note for note in notes)


def test_distance_to_sextants(ring):
    gaps = ring.separation.map
    x, y = gaps.centre_mm[np.isfinite(gaps.centre_mm).all(axis=1)][0]
    z = gaps.level_mm[np.isfinite(gaps.centre_mm).all(axis=1)][0]
    points = np.array([[x, y - 10, z], [x, y + 10, z], [x + 10, y, z]])
    only = (True, False, False, False, False, False)
    found = beyond_sextants(points, gaps, only)
    # 30 degrees inside either border; behind the apex; 60 degrees beyond the left border.
    np.testing.assert_allclose(found, [-5.0, 10.0, 10 * np.sin(np.pi / 3)], atol=1e-6)


def test_what_cannot_be_made_is_said(ring, monkeypatch):
    nothing = replace(ring, separation=None, separation_reason="there is no target")
    assert mesh_contents(nothing) == ({}, ("no meshes and no 3D view: there is no target",))
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "skimage":
            raise ImportError("no", name="skimage")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(OptionError, match=r"pip install 'cordgap\[mesh\]'"):
        mesh_contents(ring)

"""The compiled loops give the numbers of numpy, are loaded when that pays, and are optional."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.case.structure import structure_from_contours
from cordgap.dvh import compiled, loops
from cordgap.dvh.integrate import compute_dvh
from cordgap.dvh.lines import scan_section, sections
from cordgap.dvh.solid import build_solid
from cordgap.errors import OptionError

SEEDED = settings(derandomize=True, deadline=None, max_examples=40)
# Both add the same numbers in another order.
AGREE = 1e-6


def ring(points, z):
    return np.c_[points, np.full(len(points), z)]


def ellipse(a, b, centre=(0.0, 0.0), n=48):
    t = 2 * np.pi * (np.arange(n) + 0.3) / n
    return np.array(centre) + np.c_[a * np.cos(t), b * np.sin(t)]


@st.composite
def solids(draw):
    """Cords that lean and taper, rings, two bodies on a plane, with every kind of end."""
    n = draw(st.integers(2, 8))
    spacing = draw(st.floats(0.8, 4.0))
    size = draw(st.floats(1.5, 12.0))
    tilt = draw(st.tuples(st.floats(-0.8, 0.8), st.floats(-0.8, 0.8)))
    kind = draw(st.sampled_from(["cord", "ring", "two", "L"]))
    contours = []
    for i in range(n):
        z = i * spacing
        at, a = np.array(tilt) * z, size * (1 + 0.06 * i)
        beside = np.array([a, 0.0])
        outlines = {
            "cord": [ellipse(a, 0.8 * a, at)],
            "ring": [ellipse(a, a, at), ellipse(0.4 * a, 0.5 * a, at)],
            "two": [ellipse(0.4 * a, a, at - beside), ellipse(0.5 * a, 0.6 * a, at + beside)],
            "L": [at + a * np.array([(0, 0), (3, 0), (3, 1), (1, 1), (1, 4), (0, 4)], float)],
        }[kind]
        contours.extend(ring(o, z) for o in outlines)
    return build_solid(
        structure_from_contours(1, "ROI", contours),
        between=draw(st.sampled_from(["shape", "slab"])),
        ends=draw(st.sampled_from(["half-slice", "none", "rounded"])),
    )


@st.composite
def doses(draw):
    """Random samples on unevenly spaced axes, which may end inside the solid."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    axes = []
    for low in (-30.0, -30.0, -12.0):
        n = draw(st.integers(4, 30))
        axes.append(low + np.cumsum(rng.uniform(0.5, 4.0, n)))
    geometry = GridGeometry(*axes)
    return DoseGrid.from_array(geometry, rng.uniform(0.0, 30.0, geometry.shape))


def same(a, b):
    assert a.covered_volume_cc == pytest.approx(b.covered_volume_cc, rel=AGREE, abs=1e-12)
    assert a.total_volume_cc == b.total_volume_cc
    if b.covered_volume_cc == 0:
        return
    for name in ("min_gy", "mean_gy", "max_gy"):
        assert getattr(a, name) == pytest.approx(getattr(b, name), rel=AGREE)
    for share in (0.001, 0.02, 0.3, 0.5, 0.9, 0.99):
        volume = share * b.covered_volume_cc
        assert a.dose_of_hottest_gy(volume) == pytest.approx(
            b.dose_of_hottest_gy(volume), rel=AGREE
        )
    edges = np.linspace(b.min_gy, b.max_gy, 50)
    np.testing.assert_allclose(
        [a.volume_at_least_cc(float(d)) for d in edges],
        [b.volume_at_least_cc(float(d)) for d in edges],
        rtol=AGREE, atol=AGREE * b.covered_volume_cc,
    )  # fmt: skip


@pytest.fixture(scope="module")
def numba():
    return pytest.importorskip("numba")


@SEEDED
@given(solid=solids(), dose=doses())
def test_both_engines_give_the_same(numba, solid, dose):
    for uncertainty in (False, True):
        a, b = (
            compute_dvh(solid, dose, uncertainty=uncertainty, engine=engine)
            for engine in ("compiled", "numpy")
        )
        same(a, b)
        for x, y in zip(a.alternatives, b.alternatives, strict=True):
            same(x.dvh, y.dvh)


@SEEDED
@given(solid=solids(), pitch=st.floats(0.3, 3.0))
def test_both_engines_cut_the_same_spans(numba, solid, pitch):
    kernels = compiled.kernels_for(0, "compiled")
    assert kernels is not None
    axis = np.arange(-40.0, 40.0, 2.7)
    for section in sections(solid, pitch, pitch, axis):
        ours = scan_section(section, pitch, axis, kernels)
        numpys = scan_section(section, pitch, axis)
        for name in (
            "x0_mm",
            "x1_mm",
            "y_mm",
            "z_mm",
            "area_mm2",
            "dy_mm",
            "dz_mm",
            "lean_y0",
            "lean_z1",
        ):
            np.testing.assert_allclose(
                getattr(ours, name), getattr(numpys, name), rtol=1e-9, atol=1e-9, err_msg=name
            )


def cord(planes=6):
    contours = [ring(ellipse(5.0, 5.0, n=24), 3.0 * i) for i in range(planes)]
    return build_solid(structure_from_contours(1, "ROI", contours))


def grid():
    axes = [np.arange(-12.0, 30.0, 3.0)] * 3
    geometry = GridGeometry(*axes)
    zz, yy, xx = np.meshgrid(*geometry.axes, indexing="ij")
    return DoseGrid.from_array(geometry, 40 + 0.5 * xx - 0.3 * yy + 0.02 * zz * xx)


def test_the_loops_are_plain_python():
    """What numba compiles runs as it is: this holds the loops without numba, and is slow."""
    plain = compiled.Kernels(**{name: getattr(loops, name) for name in compiled._SIGNATURES})
    solid, dose = cord(2), grid()
    expected = compute_dvh(solid, dose, uncertainty=False, pitch_mm=2.0, engine="numpy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "_kernels", plain)
        same(compute_dvh(solid, dose, uncertainty=False, pitch_mm=2.0, engine="auto"), expected)


@pytest.fixture
def nothing_loaded(monkeypatch):
    """As in a new process."""
    monkeypatch.setattr(compiled, "_kernels", None)
    monkeypatch.setattr(compiled, "_refused", False)
    monkeypatch.setattr(compiled, "_numpy_pieces", 0.0)


def test_compiled_only_when_it_repays_its_start(nothing_loaded, monkeypatch):
    loads = []
    monkeypatch.setattr(compiled, "_load", lambda: loads.append(1))
    affordable = compiled.STARTUP_S / compiled.NUMPY_S_PER_PIECE
    compiled.kernels_for(0.4 * affordable, "auto")
    compiled.kernels_for(0.4 * affordable, "auto")
    assert not loads
    compiled.kernels_for(0.4 * affordable, "auto")
    assert loads


def test_without_numba(nothing_loaded, monkeypatch):
    """``auto`` goes on in numpy, however much there is to do; ``compiled`` says what to install."""
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setattr(compiled, "STARTUP_S", 0.0)
    same(
        compute_dvh(cord(), grid(), uncertainty=False),
        compute_dvh(cord(), grid(), uncertainty=False, engine="numpy"),
    )
    with pytest.raises(OptionError, match=r"numba is not installed .* cordgap\[fast\]"):
        compute_dvh(cord(), grid(), engine="compiled")


def test_a_small_run_does_not_import_numba():
    code = (
        "import sys; import cordgap; from cordgap.phantom import cord_in_linear_dose; "
        "from cordgap.dvh.solid import build_solid; from cordgap.dvh.integrate import compute_dvh; "
        "case = cord_in_linear_dose(); compute_dvh(build_solid(case.structures[0]), case.dose); "
        "print('numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


def test_no_folder_for_the_cache(numba, nothing_loaded, monkeypatch):
    """Numba refuses to cache where it can write nowhere; the loops are then compiled anew."""
    plain = numba.njit
    asked = []

    def without_cache(signature, *, cache=False, **how):
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return plain(signature, **how)

    monkeypatch.setattr(numba, "njit", without_cache)
    same(
        compute_dvh(cord(), grid(), uncertainty=False, engine="compiled"),
        compute_dvh(cord(), grid(), uncertainty=False, engine="numpy"),
    )
    assert asked == [True, False] * len(compiled._SIGNATURES)

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from cordgap.analysis import CaseResult
from cordgap.phantom import spine_case
from cordgap.report.axial import sample_plane
from cordgap.report.figures import (
    FIGURE_NAMES,
    draw_figure,
    figure_bytes,
    plot_axial,
    plot_clock,
    plot_dvh,
    plot_levels,
    plot_map,
    plot_separation,
    save_figures,
)
from cordgap.report.style import label, role_colour

CASES = ("coverage-first", "cord-first", "ring", "no dose", "no target", "odd names")


@pytest.fixture
def ax() -> Any:
    figure = Figure()
    FigureCanvasAgg(figure)
    return figure.add_subplot()


def legend(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_limit_marker_stands_at_the_limit(ax: Any, result: CaseResult) -> None:
    artists = plot_dvh(ax, result)
    marker = artists["limits"][0]
    cord = next(s for s in result.structures if s.structure.role == "cord")
    assert marker.get_xdata()[0] == 17.0
    assert cord.dvh is not None
    assert marker.get_ydata()[0] == pytest.approx(100 * 0.035 / cord.dvh.total_volume_cc)
    assert "limit D0.035cc[Gy] ≤ 17 Gy" in legend(ax)
    assert any(text.startswith("SpinalCord (") for text in legend(ax))
    assert not any(text.startswith("BODY") for text in legend(ax))
    assert artists["curves"][0].get_color() == role_colour("cord")
    assert "[Gy]" in ax.get_title(loc="left") + ax.get_title()


def test_separation_lines_stand_at_their_values(ax: Any, result: CaseResult) -> None:
    s = result.separation
    assert s is not None
    artists = plot_separation(ax, result)
    assert artists["required"][0].get_xdata()[0] == s.required_separation_mm
    assert artists["present"][0].get_xdata()[0] == s.separation_mm
    assert artists["make"][0].get_xdata()[0] == s.make_mm
    assert artists["goal"][0].get_ydata()[0] == 95.0
    low, high = s.interval_mm or (0.0, 0.0)
    box = artists["interval"][0].get_extents().transformed(ax.transData.inverted())
    assert (box.x0, box.x1) == pytest.approx((low, high))
    curve = artists["curve"][0]
    at_required = np.interp(s.required_separation_mm or 0, curve.get_xdata(), curve.get_ydata())
    assert at_required == pytest.approx(95.0, abs=0.7)  # the curve has 0.5 mm steps


def test_re_planned_shows_the_cord_dose_against_its_limit(
    ax: Any, results: dict[str, CaseResult]
) -> None:
    artists = plot_separation(ax, results["coverage-first"])
    assert artists["goal"][0].get_ydata()[0] == 17.0
    assert "cord D0.035cc [Gy]" in ax.get_ylabel()


def test_map_is_centred_on_anterior_with_patient_right_on_the_left(
    ax: Any, result: CaseResult
) -> None:
    artists = plot_map(ax, result)
    s = result.separation
    assert s is not None
    image = artists["map"][0]
    values = image.get_array()
    assert image.norm.vcenter == s.required_separation_mm
    left = int(np.argmin(np.abs(s.map.direction_deg - 90)))
    gaps = np.ma.masked_invalid(s.map.gap_mm[:, left])
    columns = np.linspace(-180, 180, values.shape[1])
    assert np.ma.allclose(values[:, int(np.argmin(np.abs(columns - 90)))], gaps)
    assert artists["closest"][0].get_ydata()[0] == s.closest_cord_point_mm[2]
    # A tick names its sextant, then its gap and what is removed there.
    names = [t.get_text().replace("-\n", "").split("\n") for t in ax.get_xticklabels()]
    ticks = {n[0]: x for n, x in zip(names, ax.get_xticks(), strict=True)}
    assert ticks["right"] < ticks["anterior"] < ticks["left"]
    front = next(n for n in names if n[0] == "anterior")
    assert front[1:] == [f"{s.sextants[0].gap_mm:.1f} mm", f"{s.sextants[0].resection_cc:.2f} cc"]


def test_axial_is_seen_from_the_feet(ax: Any, result: CaseResult) -> None:
    artists = plot_axial(ax, result)
    s = result.separation
    assert s is not None
    assert ax.get_xlim()[0] < ax.get_xlim()[1]  # x grows to the patient's left: right side
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # y grows to the back: below
    texts = {t.get_text(): t.get_position() for t in ax.texts}
    assert texts["R"][0] < texts["L"][0]
    assert texts["A"][1] > texts["P"][1]
    assert f"gap {s.separation_mm:.1f} mm" in texts
    assert "LEVEL NOT IDENTIFIED" in ax.get_title(loc="left") + ax.get_title()
    assert "closer than the required 2.0 mm" in legend(ax)
    assert artists["image"]
    assert np.ptp(ax.get_xlim()) == pytest.approx(70.0)
    line = artists["gap"][0]
    assert line.get_xdata()[0] == s.closest_cord_point_mm[0]


def test_level_is_written_where_it_is_known(ax: Any, result: CaseResult) -> None:
    named = replace(result, settings=replace(result.settings, levels=(("T7", -12.0, 8.0),)))
    plot_axial(ax, named)
    title = ax.get_title(loc="left") + ax.get_title()
    assert "Level T7" in title
    assert "NOT IDENTIFIED" not in title


def test_planes_beside_each_other_are_the_worst(ax: Any, result: CaseResult) -> None:
    s = result.separation
    assert s is not None
    planes = plot_levels(ax, result)
    assert len(planes) == len(s.worst_levels_mm) == 3
    for z, artists in zip(s.worst_levels_mm, planes, strict=True):
        inset = artists["axes"][0]
        title = inset.get_title(loc="left") + inset.get_title()
        assert f"z = {z:.1f} mm" in title
        assert "LEVEL NOT IDENTIFIED" in title
        texts = {t.get_text(): t.get_position() for t in inset.texts}
        assert texts["R"][0] < texts["L"][0]
        assert artists["removal"]
        assert artists["image"]
    assert "closer than the required 2.0 mm" in legend(ax)
    assert "3.0 mm from the cord (make)" in legend(ax)


def test_planes_say_when_there_is_nothing_to_remove(ax: Any, result: CaseResult) -> None:
    assert result.separation is not None
    none = replace(result, separation=replace(result.separation, worst_levels_mm=()))
    assert plot_levels(ax, none) == []
    assert "nothing is to be removed" in ax.texts[0].get_text()


def test_map_names_the_sides_and_hatches_what_is_not_cleared(ax: Any, result: CaseResult) -> None:
    s = result.separation
    assert s is not None
    some = tuple(replace(x, reachable="left" in x.name) for x in s.sextants)
    artists = plot_map(ax, replace(result, separation=replace(s, sextants=some)))
    ticks = artists["sides"][0].get_xticklabels()
    where = {t.get_text(): t.get_position()[0] for t in ticks}
    assert where["RIGHT"] == -90
    assert where["LEFT"] == 90
    assert "hatched: not cleared" in ax.get_title(loc="left") + ax.get_title()
    spans = [p.get_extents().transformed(ax.transData.inverted()) for p in ax.patches]
    hatched = sorted((round(b.x0), round(b.x1)) for b in spans)
    # Posterior stands at both ends; both left sextants, 30 to 150, are free.
    assert hatched == [(-180, -150), (-150, -90), (-90, -30), (-30, 30), (150, 180)]
    assert not any(p.get_hatch() is None for p in ax.patches)


def test_tinted_rim_spares_what_cannot_be_cleared(ax: Any, result: CaseResult) -> None:
    s = result.separation
    assert s is not None
    none = tuple(replace(x, reachable=x.name == "right posterolateral") for x in s.sextants)
    artists = plot_axial(ax, replace(result, separation=replace(s, sextants=none)))
    assert artists["removal"] == []


def test_another_plane_has_no_gap_line(ax: Any, result: CaseResult) -> None:
    assert plot_axial(ax, result, z_mm=-20.0)["gap"] == []


def test_plane_is_sampled_trilinearly() -> None:
    dose = spine_case().dose
    assert dose is not None
    g = dose.geometry
    x, y = g.x_mm[3:6], g.y_mm[4:9]
    middle = 0.5 * (g.z_mm[5] + g.z_mm[6])
    expected = 0.5 * (dose.values[5, 4:9, 3:6] + dose.values[6, 4:9, 3:6])
    assert sample_plane(dose, x, y, float(middle)) == pytest.approx(expected)
    assert np.isnan(sample_plane(dose, x, y, float(g.z_mm[-1] + 1))).all()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", FIGURE_NAMES)
def test_every_figure_of_every_case_is_drawn(
    results: dict[str, CaseResult], case: str, name: str
) -> None:
    figure = draw_figure(name, results[case])
    assert figure_bytes(figure, "png").startswith(b"\x89PNG")
    assert any("LEVEL NOT IDENTIFIED" in t.get_text() for t in figure.findobj(match=_is_text))


def _is_text(artist: Any) -> bool:
    return isinstance(artist, Text)


@pytest.mark.parametrize("name", FIGURE_NAMES)
def test_titles_and_legends_stay_on_the_picture(results: dict[str, CaseResult], name: str) -> None:
    for case in ("coverage-first", "cord-first", "ring"):
        figure = draw_figure(name, results[case])
        figure.canvas.draw()
        for ax in figure.axes:
            parts = [ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label]  # type: ignore[attr-defined]
            if ax.get_legend() is not None:
                parts += ax.get_legend().get_texts()
            for part in (p for p in parts if p.get_text()):
                box = part.get_window_extent()
                assert box.x0 >= -1
                assert box.x1 <= figure.bbox.x1 + 1
                assert box.y1 <= figure.bbox.y1 + 1


def test_same_result_same_bytes(result: CaseResult) -> None:
    one, two = (figure_bytes(draw_figure("dvh", result), "svg") for _ in range(2))
    assert one == two


def test_save_figures(result: CaseResult, tmp_path: Path) -> None:
    paths = save_figures(result, tmp_path / "figures")
    assert {p.name for p in paths} == {f"{n}.{k}" for n in FIGURE_NAMES for k in ("png", "svg")}
    assert all(p.stat().st_size > 1000 for p in paths)
    assert len(list((tmp_path / "figures").iterdir())) == len(paths)


@pytest.mark.parametrize(
    ("name", "drawn"),
    [("_cord", " _cord"), ("a$b$", r"a\$b\$"), ("脊髄", "??"), ("a\nb", "a b"), ("x" * 50, None)],
)
def test_labels_are_safe_to_draw(name: str, drawn: str | None) -> None:
    assert label(name) == (drawn or "x" * 39 + "…")


def test_clock_has_anterior_above_and_patient_left_on_the_right(
    ax: Any, result: CaseResult
) -> None:
    s = result.separation
    assert s is not None
    artists = plot_clock(ax, result)
    for i, (wedge, sextant) in enumerate(zip(artists["wedges"], s.sextants, strict=True)):
        middle = np.radians(0.5 * (wedge.theta1 + wedge.theta2))
        towards = np.array([np.cos(middle), np.sin(middle)])
        angle = np.radians(60.0 * i)
        np.testing.assert_allclose(towards, [np.sin(angle), np.cos(angle)], atol=1e-9)
        text = artists["words"][i]
        np.testing.assert_allclose(np.array(text.get_position()) @ towards, 0.67)
        assert text.get_text().startswith(f"{sextant.gap_mm:.1f} mm")
        if sextant.deficit_mm:
            assert f"+ {sextant.deficit_mm:.1f} mm" in text.get_text()
        assert (wedge.get_linewidth() > 1) == bool(sextant.deficit_mm)
    sides = {t.get_text(): t.get_position() for t in artists["sides"]}
    assert sides["LEFT"][0] > 1 > -1 > sides["RIGHT"][0]
    assert sides["ANTERIOR"][1] > 1 > -1 > sides["POSTERIOR"][1]


def test_clock_hatches_what_is_not_cleared(ax: Any, result: CaseResult) -> None:
    s = result.separation
    assert s is not None
    some = tuple(replace(x, reachable=x.name == "anterior") for x in s.sextants)
    artists = plot_clock(ax, replace(result, separation=replace(s, sextants=some)))
    assert [w.get_hatch() for w in artists["wedges"]] == [None] + ["///"] * 5
    assert "not cleared" in artists["words"][3].get_text()

"""The scenario file: what it must hold, what is refused, and what is drawn from it."""

from __future__ import annotations

import re

import numpy as np
import pytest

from cordgap.errors import OptionError
from cordgap.separation.uncertainty import (
    PARTS,
    default_text,
    draw_moves,
    load_scenarios,
    parse_scenarios,
)

TEXT = default_text()
PIVOT = np.array([0.0, 20.0, 5.0])


def changed(old, new):
    assert TEXT.count(old) == 1
    return TEXT.replace(old, new)


def test_the_default_cites_every_part():
    model = load_scenarios()
    assert [part.name for part in model.parts] == list(PARTS)
    assert all(len(part.source) > 20 for part in model.parts)
    # 0.7, 0.5, 0.5, 0.7 and 0.7 mm in quadrature.
    assert model.total_sd_mm(1)[1] == pytest.approx(np.sqrt(3 * 0.49 + 2 * 0.25), abs=1e-12)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "sd_mm = [0.7, 0.7, 0.8]",
            "sd_mm = [0.7, -0.7, 0.8]",
            r"\[setup\]: sd_mm .* 0 or more",
        ),
        ("sd_mm = [0.7, 0.7, 0.8]\n", "", r"\[setup\]: sd_mm is missing; 0 leaves this part out"),
        ("sd_deg = [0.5, 0.5, 0.5]", "sd_mm = 0.5", r"\[rotation\]: unknown key 'sd_mm'"),
        (
            "sd_mm = [0.5, 0.5, 0.4]",
            "sd_mm = [0.5, 0.4]",
            r"raction\]: sd_mm is .* or three",
        ),
        ("sd_mm = [0.5, 0.5, 0.4]", "sd_mm = nan", r"\[intrafraction\]: sd_mm is .*nan"),
        ("sd_mm = [0.5, 0.5, 0.4]", 'sd_mm = "0.5"', r"\[intrafraction\]: sd_mm is '0.5'"),
        ("sd_mm = [0.5, 0.5, 0.4]", "sd_mm = true", r"\[intrafraction\]: sd_mm is True"),
        ("sd_mm = [0.5, 0.5, 0.4]", "sd_mm = 50", r"at most 10; is it in mm\?"),
        ("[contour]", "[contours]", r"unknown part 'contours'; the parts are setup"),
        (
            'bias_sign = "either"',
            'bias_sign = "maybe"',
            r"bias_sign is 'maybe', expected",
        ),
        ("seed = 20170601", "seed = -1", r"seed is -1, expected a whole number from 0"),
        ("scenarios = 1000", "scenarios = 1.5", r"scenarios is 1.5, expected a whole number"),
        ('schema = "cordgap.scenarios/1"', "", r'expected schema = "cordgap.scenarios/1"'),
        ("[registration]", "[registration", r"not valid TOML"),
        ("bias_mm = [0.0, 0.7, 0.0]", "bias_mm = [0.0, 70.0, 0.0]", r"bias_mm is .* at most 10 mm"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(old, new, message):
    with pytest.raises(OptionError, match=message) as caught:
        parse_scenarios(changed(old, new), "clinic.toml")
    assert str(caught.value).startswith("clinic.toml")


def test_a_part_that_is_missing_is_refused():
    text = re.sub(r"\[contour\].*", "", TEXT, flags=re.S)
    with pytest.raises(OptionError, match=r"\[contour\] is missing: give its sd_mm"):
        parse_scenarios(text, "clinic.toml")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(OptionError, match=r"--scenarios no.toml: there is no such file"):
        load_scenarios(tmp_path / "no.toml")


def test_the_same_seed_draws_the_same():
    model = load_scenarios()
    one, other = draw_moves(model, 3, PIVOT), draw_moves(model, 3, PIVOT)
    np.testing.assert_array_equal(one.shift_mm, other.shift_mm)
    np.testing.assert_array_equal(one.rotation, other.rotation)
    again = parse_scenarios(changed("seed = 20170601", "seed = 7"), "x")
    assert np.abs(draw_moves(again, 3, PIVOT).shift_mm - one.shift_mm).max() > 0.1


def test_what_is_drawn_has_the_spread_that_was_asked_for():
    text = changed("bias_mm = [0.0, 0.7, 0.0]", "bias_mm = 0.0")
    text = text.replace("sd_deg = [0.5, 0.5, 0.5]", "sd_deg = 0.0")
    text = text.replace("scenarios = 1000", "scenarios = 20000")
    model = parse_scenarios(text, "x")
    moves = draw_moves(model, 1, PIVOT)
    # The contour is drawn apart from the shifts; 20,000 draws know a spread to 0.5 %, times 4.
    expected = np.sqrt(np.square(model.total_sd_mm(1)) - np.array([0.49, 0.49, 0.0]))
    np.testing.assert_allclose(moves.shift_mm.std(axis=0), expected, rtol=0.02)
    np.testing.assert_allclose(moves.growth_mm.std(), 0.7, rtol=0.02)
    np.testing.assert_allclose(moves.shift_mm.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_array_equal(moves.rotation, np.broadcast_to(np.eye(3), (20000, 3, 3)))


def test_an_error_of_each_fraction_averages_out():
    text = TEXT.replace('repeats = "course"', 'repeats = "fraction"')
    model = parse_scenarios(text, "x")
    assert model.total_sd_mm(4)[0] == pytest.approx(0.5 * model.total_sd_mm(1)[0])
    assert load_scenarios().total_sd_mm(4) == load_scenarios().total_sd_mm(1)


def test_rotations_turn_about_the_pivot():
    text = re.sub(r"sd_mm = .*", "sd_mm = 0.0", TEXT)
    text = text.replace("bias_mm = [0.0, 0.7, 0.0]", "bias_mm = 0.0")
    moves = draw_moves(parse_scenarios(text, "x"), 1, PIVOT)
    for k in (0, 1, 500):
        np.testing.assert_allclose(
            moves.apply(k, PIVOT[None], np.zeros((1, 3)))[0], PIVOT, atol=1e-9
        )
        np.testing.assert_allclose(moves.rotation[k] @ moves.rotation[k].T, np.eye(3), atol=1e-12)
    assert np.abs(moves.rotation - np.eye(3)).max() > 0.01


def test_a_bias_of_unknown_sign_goes_both_ways():
    text = re.sub(r"sd_mm = .*", "sd_mm = 0.0", TEXT).replace("[0.5, 0.5, 0.5]", "0.0")
    shift = draw_moves(parse_scenarios(text, "x"), 1, PIVOT).shift_mm
    np.testing.assert_allclose(
        np.abs(shift), np.broadcast_to([0.0, 0.7, 0.0], shift.shape), atol=1e-12
    )
    assert 400 < (shift[:, 1] > 0).sum() < 600

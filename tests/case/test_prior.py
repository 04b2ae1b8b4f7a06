"""What a previous course has to say of itself."""

from __future__ import annotations

import pytest

from cordgap.case.prior import PriorCourse
from cordgap.errors import OptionError
from cordgap.phantom import prior_dose, spine_case


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"fractions": 10}, "30 Gy: give either a dose file or a dose in Gy"),
        ({"fractions": 10, "dose_gy": 0.0}, "30 Gy: 0.0 Gy, expected a dose above 0"),
        ({"fractions": 10, "dose_gy": float("inf")}, "inf Gy, expected a dose above 0"),
        ({"fractions": 10, "dose_gy": float("nan")}, "nan Gy, expected a dose above 0"),
        ({"fractions": 0, "dose_gy": 30.0}, "30 Gy: 0 fractions, expected 1 or more"),
        (
            {"fractions": 10, "dose_gy": 30.0, "interval_months": -1.0},
            "the interval is -1.0 months, expected 0 or more",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(given, words):
    with pytest.raises(OptionError, match=words):
        PriorCourse(source="30 Gy", **given)


def test_a_file_and_a_number_are_one_too_many():
    case = spine_case(image=False)
    with pytest.raises(OptionError, match="either a dose file or a dose in Gy"):
        PriorCourse(10, dose=prior_dose(case), dose_gy=30.0)

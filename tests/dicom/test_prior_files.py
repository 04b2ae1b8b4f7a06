"""Where the dose of a previous course lies, and what is refused or said of it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from cordgap.dicom import prior
from cordgap.dicom.image import _assemble, _Slice
from cordgap.dicom.overrides import Overrides
from cordgap.dicom.prior import PriorRequest, _other_patient, _placed, find_priors
from cordgap.errors import DicomError, GeometryMismatchError, OptionError


def record(frame="1.2.3", name="OLD.dcm"):
    return SimpleNamespace(name=name, frame_of_reference_uids=(frame,) if frame else ())


def place(old, frame, *, registrations=(), ignored=False):
    notes = []
    asked = Overrides(ignore_frame_of_reference=ignored)
    return _placed(old, frame, registrations, asked, notes), [n.code for n in notes]


def test_the_same_frame_needs_nothing():
    assert place(record(), "1.2.3") == ((None, None), [])


@pytest.mark.parametrize(
    ("frame", "words"), [("9.9", "another frame of reference"), (None, "no frame of reference")]
)
def test_another_frame_needs_a_registration_or_an_answer(frame, words):
    with pytest.raises(GeometryMismatchError, match=f"states {words} than the plan") as refused:
        place(record(frame), "1.2.3")
    assert refused.value.code == "prior-not-registered"
    found, codes = place(record(frame), "1.2.3", ignored=True)
    assert (found, codes) == ((None, None), ["frame-of-reference-overridden"])


def test_the_registration_that_fits_is_taken(monkeypatch):
    there = object()

    def read(path, frames):
        assert frames == ("1.2.3", "9.9")
        if path == "OTHER.dcm":
            raise GeometryMismatchError("of other images", code="registration-other-frames")
        if path == "SCALED.dcm":
            raise GeometryMismatchError("it scales", code="registration-not-rigid")
        return there

    monkeypatch.setattr(prior, "read_registration", read)
    (found, path), codes = place(record("9.9"), "1.2.3", registrations=("OTHER.dcm", "REG.dcm"))
    assert (found, path.name, codes) == (there, "REG.dcm", [])
    with pytest.raises(GeometryMismatchError, match="of other images"):
        place(record("9.9"), "1.2.3", registrations=("OTHER.dcm",))
    # One that is wrong in itself is never passed over for the next.
    with pytest.raises(GeometryMismatchError, match="it scales"):
        place(record("9.9"), "1.2.3", registrations=("SCALED.dcm", "REG.dcm"))


def test_one_file_for_two_courses_is_refused(monkeypatch, tmp_path):
    same = SimpleNamespace(path=tmp_path / "OLD.dcm")
    monkeypatch.setattr(prior, "resolve", lambda *words: same)
    with pytest.raises(OptionError, match="the same dose file was given twice"):
        find_priors((), (PriorRequest("OLD.dcm", 5), PriorRequest("./OLD.dcm", 10)))
    found = find_priors((), (PriorRequest("OLD.dcm", 5), PriorRequest("30Gy", 10)))
    assert found.used == (same,)


def test_another_patient_is_said():
    note = _other_patient(record(), record(name="RS.dcm"))
    assert note.code == "patient-id-differs"
    assert "OLD.dcm carries another patient identifier than RS.dcm" in note.message


# --- slices of a CT that do not make an image ---


def ct_slice(tmp_path, n, **how):
    given = {
        "path": tmp_path / f"{n}.dcm", "series_uid": "1", "patient_position": "HFS",
        "orientation": (1.0, 0, 0, 0, 1, 0), "position_mm": (0.0, 0.0, 2.0 * n),
        "spacing_mm": (1.0, 1.0), "size": (8, 8),
    }  # fmt: skip
    return _Slice(**given | how)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"size": (8, 9)}, "1.dcm and 0.dcm differ in size or direction"),
        ({"spacing_mm": (1.0, 1.1)}, "differ in size or direction"),
        ({"orientation": (0.0, 1, 0, 1, 0, 0)}, "differ in size or direction"),
        ({"position_mm": ()}, "a slice has no position or orientation"),
    ],
)
def test_slices_that_differ_make_no_image(tmp_path, how, message):
    with pytest.raises(DicomError, match=message):
        _assemble([ct_slice(tmp_path, 0), ct_slice(tmp_path, 1, **how)])


def test_slices_without_a_size_or_a_direction_make_no_image(tmp_path):
    with pytest.raises(DicomError, match="has no Rows or Columns"):
        _assemble([ct_slice(tmp_path, n, size=(0, 0)) for n in (0, 1)])
    with pytest.raises(DicomError, match="no position or orientation"):
        _assemble([ct_slice(tmp_path, n, orientation=()) for n in (0, 1)])

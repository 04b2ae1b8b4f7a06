"""Nothing that names a person leaves the program: a canary in every text, and every byte searched.

Each text attribute of the DICOM dictionary that a file may carry holds a word of its own, so that a
leak names its attribute. What is shown on purpose holds none: ROI names and file names. Labels of
plan and structure set hold another word, since they are shown where files must be told apart.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import re
import shutil
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.datadict import DicomDictionary, tag_for_keyword
from pydicom.dataset import Dataset

PLANS = Path(__file__).parents[2] / "plans"
CANARY, LABEL, FOLDER, OUT = "CNRY", "LBLQ", "FLDRQ", "OUTDIRQ"
BIRTHDAY, HEIGHT = "19010203", "1.765432198"
TRACES = (CANARY, BIRTHDAY, "1901-02", "02.1901", "/1901", HEIGHT[:9])
TEXT = ("PN", "LO", "SH", "ST", "LT", "UT", "AE", "UC")
WHEN = {"DA": BIRTHDAY, "DT": BIRTHDAY + "040506", "AS": "091Y"}
# Needed for a result or shown on purpose.
KEPT = {"ROIName", "RTPlanLabel", "RTPlanName", "StructureSetLabel"}
LABELS = {"RTPlanLabel": "RTPLAN", "RTPlanName": "RTPLAN", "StructureSetLabel": "RTSTRUCT"}
# Of patient, visit, study, series, equipment, frame of reference, request, and the RT modules.
GROUPS = (0x0008, 0x0010, 0x0018, 0x0020, 0x0032, 0x0038, 0x0040, 0x3004, 0x3006, 0x300A, 0x300C,
          0x300E)  # fmt: skip
ATTRIBUTES = [
    (tag, vr, keyword)
    for tag, (vr, _, _, retired, keyword) in DicomDictionary.items()
    if tag >> 16 in GROUPS and keyword and not retired and keyword not in KEPT
    and vr in (*TEXT, *WHEN)
]  # fmt: skip
# Thousands of contours: nothing of them is shown but numbers.
DENSE = {"ContourSequence", "ContourImageSequence"}


def mark(ds: Dataset, depth: int = 0) -> None:
    """Put a canary into every text of a data set and of its items."""
    for tag, vr, keyword in ATTRIBUTES:
        if depth and tag >> 16 not in (0x0008, 0x0010, 0x3004, 0x3006, 0x300A, 0x300C):
            continue
        word = f"{CANARY}{tag:08X}"
        setattr(ds, keyword, WHEN.get(vr) or (f"{word}^Given" if vr == "PN" else word))
    for keyword in [k for k in LABELS if k in ds]:
        setattr(ds, keyword, f"{LABEL}{len(keyword)}")
    if depth == 0:
        ds.PatientSize = HEIGHT
        other = Dataset()
        other.PatientID, other.IssuerOfPatientID = f"{CANARY}other", f"{CANARY}issuer"
        ds.OtherPatientIDsSequence = [other]
        block = ds.private_block(0x0011, f"{CANARY} private", create=True)
        block.add_new(0x01, "LO", f"{CANARY}private")
    for element in list(ds):
        if element.VR == "SQ" and element.keyword not in DENSE:
            for item in element.value:
                mark(item, depth + 1)


def marked_copy(source: Path, target: Path) -> Path:
    """Copy the DICOM files of a folder with canaries in all of them."""
    target.mkdir(parents=True)
    for path in sorted(source.glob("*.dcm")):
        ds = dcmread(path)
        if ds.Modality == "CT" and not path.name.endswith(("1.dcm", "5.dcm")):
            shutil.copy(path, target)  # a few marked slices are as good as all
            continue
        mark(ds)
        ds.save_as(target / path.name)
    return target


@pytest.fixture(scope="session")
def example(tmp_path_factory) -> Path:
    """A shipped plan in a folder that is named after a patient."""
    return marked_copy(PLANS / "coverage-first", tmp_path_factory.mktemp("a") / f"{FOLDER}^Jane")


@pytest.fixture(scope="session")
def unspoilt(build, tmp_path_factory) -> Path:
    """A small plan with canaries."""
    folder = tmp_path_factory.mktemp("b")
    where = {"position": (-30.0, -31.0, -21.0), "spacing": (2.0, 2.5), "size": (15, 31, 26)}
    source = build.plan_folder(
        folder / "source", rtdose=build.rtdose(lambda x, y, z: 20 + 0.4 * x + 0 * y, **where)
    )
    return marked_copy(source, folder / "marked")


@pytest.fixture
def small(unspoilt, tmp_path) -> Path:
    """Copy the small plan, to be spoilt."""
    return Path(shutil.copytree(unspoilt, tmp_path / f"{FOLDER}^Jane"))


class Ran:
    """Everything that a command gave away."""

    def __init__(self, code, out, err, folder):
        self.code, self.out, self.err = code, out, err
        self.files = {}
        if folder is not None and folder.is_dir():
            for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                name = str(path.relative_to(folder))
                self.files[name] = name + "\n" + readable(path.read_bytes())

    def leaks(self, *words):
        """Places and the text around each word."""
        places = {"stdout": self.out, "stderr": self.err} | self.files
        return [
            f"{place}: ...{text[max(0, hit.start() - 40) : hit.end() + 30]!r}"
            for place, text in places.items()
            for word in words
            for hit in itertools.islice(re.finditer(re.escape(word), text), 3)
        ]


def readable(data: bytes) -> str:
    """Text of a file: as it is, and what is packed inside."""
    text = data.decode("latin-1")
    # Pictures of the page, as addresses and in its data; scripts speak of base64 too.
    for packed in re.findall(rb'(?:base64,|"picture": "|"data": ")([A-Za-z0-9+/=]+)', data):
        with suppress(binascii.Error):
            text += "\n" + readable(base64.b64decode(packed))
    for start in (m.end() for m in re.finditer(rb"stream\r?\n", data)):
        try:
            inner = zlib.decompressobj().decompress(data[start:]).decode("latin-1")
        except zlib.error:
            continue
        text += inner
        # Letters of two bytes, set apart by kerning: [(C) -20 (ANARY)] TJ.
        for array in re.findall(r"\[([^\]]*)\]\s*TJ", inner):
            text += "\n" + "".join(re.findall(r"\(([^)]*)\)", array)).replace("\0", "")
        text += "\n" + "\n".join(re.findall(r"\(([^)]*)\)\s*Tj", inner)).replace("\0", "")
    if data.startswith(b"\x89PNG"):
        for chunk in re.finditer(rb"(zTXt|iTXt)([^\0]+)\0.{1,4}?", data, re.S):
            with_text = data[chunk.end() : chunk.end() + 4000]
            try:
                text += zlib.decompressobj().decompress(with_text).decode("latin-1")
            except zlib.error:
                continue
    return text


@pytest.fixture
def cordgap(cordgap):
    """Run the command; the last ``--out`` folder is read too."""

    def call(*arguments):
        words = [str(a) for a in arguments]
        folder = Path(words[words.index("--out") + 1]) if "--out" in words else None
        return Ran(*cordgap(*words), folder)

    return call


def assert_silent(ran, *, label=False):
    """No canary anywhere, nor the folder; labels only where they are needed."""
    words = (*TRACES, FOLDER) if label else (*TRACES, FOLDER, LABEL)
    assert not ran.leaks(*words)


def test_the_canaries_are_there(example):
    """Else the tests below prove nothing."""
    assert len(ATTRIBUTES) > 400
    for path in example.glob("*.dcm"):
        ds = dcmread(path, stop_before_pixels=True)
        if ds.Modality != "CT" or "OtherPatientIDsSequence" in ds:
            for word in ("PatientName", "PatientID", "InstitutionName", "AccessionNumber",
                         "StudyDescription", "SeriesDescription", "PatientComments",
                         "ReferringPhysicianName", "OperatorsName", "DeviceSerialNumber",
                         "StationName", "StudyID"):  # fmt: skip
                assert str(ds[word].value).startswith(f"{CANARY}{tag_for_keyword(word):08X}")
            assert ds.PatientBirthDate == BIRTHDAY
    plan = next(
        ds for p in example.glob("*.dcm")
        if (ds := dcmread(p, stop_before_pixels=True)).Modality == "RTPLAN"
    )  # fmt: skip
    assert plan.DoseReferenceSequence[0].DoseReferenceDescription.startswith(CANARY)
    assert plan.RTPlanLabel.startswith(LABEL)


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize(
    "words",
    [
        ["separation"],
        ["dvh"],
        ["dvh", "--structure", "SpinalCord", "--metric", "D0.035cc[Gy]"],
        ["check"],
        ["check", "--second-calc"],
    ],
    ids=" ".join,
)
def test_verbs(cordgap, example, words, form):
    ran = cordgap(*words[:1], example, *words[1:], *form, "-vv")
    assert ran.code in (0, 1)
    assert len(ran.out) > 30
    assert_silent(ran)


def test_reports(cordgap, example, tmp_path):
    ran = cordgap(
        "analyze", example, "--out", tmp_path / OUT / "report", "--json", "-vv", "--dicom",
        "--mesh",
    )  # fmt: skip
    assert ran.code == 1
    assert {"result.json", "report.html", "report.pdf", "dvh.csv", "figures/axial.png"} <= set(
        ran.files
    )
    assert_silent(ran)
    assert not ran.leaks(OUT)
    # The text of the files can be read, so that not finding anything means something.
    texts = ("result.json", "report.html", "report.pdf", "dvh.csv", "dicom/structures.dcm")
    for name in (*texts, "view3d.html"):
        assert "SpinalCord" in ran.files[name], name
    assert "cordgap" in ran.files["figures/axial.png"]


def test_identify_shows_name_and_identifier(cordgap, example, tmp_path):
    ran = cordgap("analyze", example, "--out", tmp_path / OUT, "--identify", "-q", "--dicom")
    name = f"{CANARY}{tag_for_keyword('PatientName'):08X}"
    number = f"{CANARY}{tag_for_keyword('PatientID'):08X}"
    for file in ("result.json", "report.html", "report.pdf"):
        assert name in ran.files[file], file
        assert number in ran.files[file], file
    # The folder that the user typed is named on the terminal, and nowhere else.
    assert {place.partition(":")[0] for place in ran.leaks(OUT)} == {"stdout"}
    # Asked for are these, and nothing else; the terminal, pictures and tables stay without.
    objects = {f"dicom/{file}.dcm" for file in ("structures", "dvh", "report")}
    assert all(name in ran.files[file] and number in ran.files[file] for file in objects)
    reports = {"result.json", "report.html", "report.pdf", *objects}
    for place, text in {"stdout": ran.out, "stderr": ran.err, **ran.files}.items():
        found = set(re.findall(rf"{CANARY}[0-9A-F]{{8}}", text))
        assert found <= ({name, number} if place in reports else set()), place


# --- errors and refusals ---


def cut(folder: Path, name: str, share: float) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: int(len(data) * share)])


def two_patients(build, folder):
    ds = build.rtstruct(number=71, frame="1.2.3.4", patient=f"{CANARY}second")
    ds.StudyInstanceUID = "1.2.3.5"
    mark(ds)
    ds.PatientID = f"{CANARY}second"
    build.save(ds, folder / "other.dcm")


def other_identifier(build, folder):
    ds = dcmread(folder / "rtplan.dcm")
    ds.PatientID = f"{CANARY}renamed"
    ds.save_as(folder / "rtplan.dcm")


def two_doses(build, folder):
    ds = dcmread(folder / "rtdose.dcm")
    ds.SOPInstanceUID = "1.2.3.99"
    ds.save_as(folder / "again.dcm")


def two_structure_sets(build, folder):
    ds = dcmread(folder / "rtplan.dcm")
    del ds.ReferencedStructureSetSequence
    ds.save_as(folder / "rtplan.dcm")
    ds = dcmread(folder / "rtstruct.dcm")
    ds.SOPInstanceUID = "1.2.3.98"
    ds.save_as(folder / "again.dcm")


def several_prescriptions(build, folder):
    ds = build.rtplan(targets=(("SITE", 24.0), ("SITE", 27.0)))
    mark(ds)
    build.save(ds, folder / "rtplan.dcm")


def nothing_but_text(build, folder):
    for path in folder.glob("*.dcm"):
        path.write_text(f"{CANARY} is not DICOM")


def odd_value(file, keyword, value):
    def spoil(build, folder):
        ds = dcmread(folder / file)
        setattr(ds, keyword, value)
        ds.save_as(folder / file)

    return spoil


def without(file):
    return lambda build, folder: (folder / file).unlink()


def truncated(file, share):
    return lambda build, folder: cut(folder, file, share)


def without_cord(build, folder):
    ds = dcmread(folder / "rtstruct.dcm")
    ds.StructureSetROISequence[0].ROIName = "Something"
    ds.save_as(folder / "rtstruct.dcm")


def bad_settings(build, folder):
    (folder / "cordgap.toml").write_text("colour = 'red'", encoding="utf-8")


def unreadable_number(build, folder):
    """A number that is a name."""
    data = (folder / "rtplan.dcm").read_bytes()
    assert b"24" in data
    ds = dcmread(folder / "rtplan.dcm")
    item = ds.DoseReferenceSequence[0]
    item.add_new(0x300A0026, "LO", f"{CANARY}24")
    ds.save_as(folder / "rtplan.dcm")


@pytest.mark.parametrize(
    ("spoil", "label"),
    [
        (two_patients, False),
        (other_identifier, False),
        (two_doses, True),
        (two_structure_sets, True),
        (several_prescriptions, False),
        (nothing_but_text, False),
        (odd_value("rtdose.dcm", "DoseUnits", "RELATIVE"), False),
        (odd_value("rtdose.dcm", "FrameOfReferenceUID", "1.2.3.4"), False),
        (without("rtdose.dcm"), False),
        (without("rtstruct.dcm"), False),
        (without("rtplan.dcm"), False),
        (truncated("rtstruct.dcm", 0.6), False),
        (truncated("rtstruct.dcm", 0.02), False),
        (truncated("rtdose.dcm", 0.6), False),
        (truncated("rtplan.dcm", 0.5), False),
        (without_cord, False),
        (bad_settings, False),
        (unreadable_number, False),
    ],
    ids=[
        "two patients", "other identifier", "two doses", "two structure sets",
        "several prescriptions", "no DICOM", "relative dose", "other frame", "no dose",
        "no structures", "no plan", "cut structures", "stub of structures", "cut dose", "cut plan",
        "no cord", "settings", "number that is a name",
    ],
)  # fmt: skip
def test_refusals(cordgap, build, small, spoil, label):
    spoil(build, small)
    for verb in ("analyze", "separation", "dvh", "check"):
        for form in ([], ["--json"]):
            ran = cordgap(verb, small, *form, "-vv")
            assert ran.out + ran.err
            assert_silent(ran, label=label)
            if form:
                json.loads(ran.out)


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_a_folder_that_is_missing_or_cannot_be_written(cordgap, example, tmp_path, form):
    assert_silent(cordgap("analyze", example.parent / f"{FOLDER} nowhere", *form, "-vv"))
    assert_silent(cordgap("analyze", next(example.glob("*.dcm")), *form))
    (tmp_path / OUT).write_text("a file")
    ran = cordgap("analyze", example, "--out", tmp_path / OUT / "deep", *form)
    assert ran.code == 2
    assert_silent(ran)
    # The path typed for --out may be named on the terminal, not in the document.
    assert OUT not in ran.out
    ran = cordgap("analyze", example, "--protocol", tmp_path / OUT / "mine.toml", *form)
    assert OUT not in ran.out


def test_file_errors_do_not_name_folders(cordgap, example, monkeypatch):
    def broken(self, *_, **__):
        raise PermissionError(13, "Permission denied", str(self))

    (example / "cordgap.toml").write_text("rx = 24.0", encoding="utf-8")
    monkeypatch.setattr(Path, "read_text", broken)
    try:
        for form in ([], ["--json"]):
            ran = cordgap("analyze", example, *form)
            assert ran.code == 2
            assert "Permission denied" in ran.err
            assert "cordgap.toml" in ran.err
            assert_silent(ran)
    finally:
        (example / "cordgap.toml").unlink()


def test_case_id_is_made_of_uids_alone(build, tmp_path, cordgap):
    """The same files under another name and identifier have the same key."""
    keys = set()
    for number in range(2):
        folder = build.plan_folder(tmp_path / f"p{number}")
        if number:
            for path in folder.glob("*.dcm"):
                ds = dcmread(path)
                ds.PatientName, ds.PatientID = "Other^Name", "other"
                ds.save_as(path)
        keys.add(json.loads(cordgap("analyze", folder, "--json", "-q").out)["case"]["case_id"])
    assert len(keys) == 1


def test_labels_with_the_name_are_hidden(cordgap, build, small):
    """A label is shown to tell doses apart, unless the patient was typed into it."""
    for path, word in (("rtplan.dcm", "RTPlanLabel"), ("rtstruct.dcm", "StructureSetLabel")):
        ds = dcmread(small / path)
        ds.PatientName, ds.PatientID = "Smithers^Waylon", "9876543"
        setattr(ds, word, "SMITHERS T7" if word == "RTPlanLabel" else "c 9876543")
        ds.save_as(small / path)
    two_doses(build, small)
    ran = cordgap("analyze", small)
    assert "2 doses fit" in ran.err
    assert not ran.leaks("SMITHERS", "Smithers", "9876543")

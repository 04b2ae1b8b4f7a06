"""An archive: Debian's Orthanc, on this computer alone."""

from __future__ import annotations

import gc
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pydicom
import pytest
from tests.conftest import free_port
from tests.network.conftest import parts, rows

from cordgap.errors import DicomError, NetworkError, OptionError
from cordgap.export.derived import start
from cordgap.network import pacs as archive
from cordgap.network.inbox import Inbox, Limits
from cordgap.network.pacs import Pacs
from cordgap.report.schema import load_schema

WAYS = ("get", "move", "web")


@pytest.fixture
def filled(orthanc, objects):
    """Return Orthanc with one plan, and the UID of its study."""
    for path in objects:
        orthanc.call("/instances", path.read_bytes())
    return orthanc, str(pydicom.dcmread(objects[0]).StudyInstanceUID)


def place(orthanc, how) -> Pacs:
    if how == "web":
        if "dicom-web" not in orthanc.call("/plugins"):
            pytest.skip("the DICOMweb plug-in of Orthanc is not installed")
        return Pacs(f"{orthanc.url}/dicom-web")
    return Pacs(f"ORTHANC@127.0.0.1:{orthanc.port}")


def get(orthanc, how, studies, inbox):
    port = free_port()
    orthanc.knows("CORDGAP", port)
    return archive.fetch(place(orthanc, how), studies, inbox, how=how, listen=("127.0.0.1", port))


@pytest.mark.parametrize("how", WAYS)
def test_fetch(filled, objects, tmp_path, how):
    orthanc, study = filled
    inbox = Inbox(tmp_path)
    tally = get(orthanc, how, [study], inbox)
    assert (tally.stored, tally.refused, rows(tmp_path)) == (52, {}, 52)
    assert parts(tmp_path) == 0
    arrived = {pydicom.dcmread(p).SOPInstanceUID: p for p in tmp_path.glob("*/*.dcm")}
    for path in objects:
        sent = pydicom.dcmread(path)
        assert pydicom.dcmread(arrived[sent.SOPInstanceUID]) == sent
    again = get(orthanc, how, [study], inbox)
    assert (again.stored, again.repeated, rows(tmp_path)) == (0, 52, 52)


@pytest.mark.parametrize("how", ["get", "web"])
def test_find(filled, how):
    orthanc, study = filled
    assert archive.find_studies(place(orthanc, how), "20250101") == [study]
    assert archive.find_studies(place(orthanc, how), "20300101") == []


@pytest.mark.parametrize("how", ["get", "move"])
def test_what_does_not_fit_is_an_error_and_what_came_is_kept(filled, tmp_path, how):
    orthanc, study = filled
    inbox = Inbox(tmp_path, Limits(objects=10))
    with pytest.raises(NetworkError, match="what arrived before is kept") as refused:
        get(orthanc, how, [study], inbox)
    # Orthanc goes on after a C-GET that failed for one object, and gives a C-MOVE up.
    assert refused.value.code == {"get": "fetch-incomplete", "move": "archive-refused"}[how]
    assert 0 < rows(tmp_path) <= 10
    assert get(orthanc, how, [study], Inbox(tmp_path)).stored > 0
    assert rows(tmp_path) == 52


def test_the_archive_does_not_know_where_we_are(filled, tmp_path):
    orthanc, study = filled
    pacs = Pacs(f"ORTHANC@127.0.0.1:{orthanc.port}", aet="STRANGER")
    with pytest.raises(NetworkError, match="refused the study with status") as refused:
        archive.fetch(pacs, [study], Inbox(tmp_path), how="move", listen=("127.0.0.1", 0))
    assert refused.value.code == "archive-refused"


# pynetdicom leaves a socket that found nobody to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("address", ["A@127.0.0.1:{}", "http://127.0.0.1:{}/dicom-web"])
def test_nobody_answers(tmp_path, address):
    pacs = Pacs(address.format(free_port()))
    with pytest.raises(NetworkError, match="answer") as refused:
        archive.find_studies(pacs, "20260101")
    assert refused.value.code == "no-answer"
    del refused
    gc.collect()


def test_what_is_no_dicomweb(orthanc):
    with pytest.raises(NetworkError, match="HTTP 404") as refused:
        archive.find_studies(Pacs(f"{orthanc.url}/nowhere"), "20260101")
    assert refused.value.code == "archive-refused"


@pytest.mark.parametrize(
    ("address", "how", "study", "words"),
    [
        ("127.0.0.1:104", "get", "1.2", "expected AET@HOST:PORT"),
        ("A@127.0.0.1:99999", "get", "1.2", "expected AET@HOST:PORT"),
        ("A@127.0.0.1:104", "web", "1.2", "--by web does not fit"),
        ("http://127.0.0.1", "move", "1.2", "--by move does not fit"),
        ("A@127.0.0.1:104", "get", "1.2/../..", "--study: expected a Study Instance UID"),
    ],
)
def test_options(tmp_path, address, how, study, words):
    with pytest.raises(OptionError, match=words):
        archive.fetch(Pacs(address), [study], Inbox(tmp_path), how=how, listen=("127.0.0.1", 0))


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """Return a result folder with objects that cordgap wrote, beside one that it did not."""
    from cordgap.dicom.read import read_case
    from cordgap.export.derived import finished, read_source

    folder = tmp_path_factory.mktemp("own") / "dicom"
    folder.mkdir()
    plan = Path(__file__).parents[2] / "plans" / "ring"
    case = read_case(plan, with_image=False)
    source = read_source(
        next(f for f in case.inputs if f.kind == "rtstruct"),
        ("StudyInstanceUID", "SpecificCharacterSet"),
    )
    classes = {"structures": "1.2.840.10008.5.1.4.1.1.481.3",
               "report": "1.2.840.10008.5.1.4.1.1.104.1"}  # fmt: skip
    for name, uid in classes.items():
        ds = start(source, uid, "OT", {})
        (folder / f"{name}.dcm").write_bytes(finished(ds, case.inputs))
    shutil.copy(plan / "0001.dcm", folder / "other.dcm")
    return folder.parent


@pytest.mark.parametrize("how", ["get", "web"])
def test_send(orthanc, own, how):
    files = archive.own_objects([own])
    assert [p.name for p in files] == ["report.dcm", "structures.dcm"]
    assert archive.send(place(orthanc, how), files) == (2, {})
    assert len(orthanc.call("/instances")) == 2
    # Once more: the archive has them already, and nothing is there twice.
    assert archive.send(place(orthanc, how), files) == (2, {})
    assert len(orthanc.call("/instances")) == 2


def test_only_own_objects_are_sent(own, tmp_path):
    with pytest.raises(DicomError, match=r"other\.dcm was not written by cordgap"):
        archive.own_objects([own / "dicom" / "other.dcm"])
    with pytest.raises(DicomError, match="no DICOM object of cordgap"):
        archive.own_objects([tmp_path])


def test_what_the_archive_refuses_is_counted(node, own):
    """Our own receiver, with no room: each object gets its answer."""
    with node(limits=Limits(objects=0)) as (folder, tally):
        pacs = Pacs(f"CORDGAP@127.0.0.1:{tally.port}", aet="TPS1")
        assert archive.send(pacs, archive.own_objects([own])) == (0, {"status-A700": 2})
        with pytest.raises(NetworkError, match="refuses OTHER") as refused:
            archive.send(
                Pacs(f"CORDGAP@127.0.0.1:{tally.port}", aet="OTHER"), archive.own_objects([own])
            )
        assert refused.value.code == "association-refused"
        assert rows(folder) == 0


def test_the_verbs(filled, own, tmp_path, monkeypatch, capsys):
    from cordgap.cli import main

    orthanc, _ = filled
    pacs = ["--pacs", f"ORTHANC@127.0.0.1:{orthanc.port}"]

    def verb(*words):
        monkeypatch.setattr(sys, "argv", ["cordgap", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main.run()
        return stopped.value.code, capsys.readouterr()

    code, said = verb("fetch", *pacs, "--since", "2025-12-31", "--into", tmp_path, "--json")
    document = json.loads(said.out)
    jsonschema.Draft202012Validator(load_schema("transfer")).validate(document)
    assert (code, document["stored"], document["studies"], rows(tmp_path)) == (0, 52, 1, 52)
    code, said = verb("send", own, *pacs)
    assert (code, said.out) == (0, "2 of 2 object(s) sent, 0 refused\n")
    assert verb("fetch", *pacs, "--into", tmp_path)[0] == 2
    assert "--since soon" in verb("fetch", *pacs, "--into", tmp_path, "--since", "soon")[1].err


def test_other_verbs_do_not_pay_for_the_network():
    code = "import sys; from cordgap.cli.main import build_app; build_app(); "
    code += "print([m for m in ('pynetdicom', 'dicomweb_client', 'requests') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

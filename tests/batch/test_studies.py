"""Plans in an archive: fetched by the workers, removed again, results as of the same files here."""

from __future__ import annotations

import gc
import json
import socket
from pathlib import Path

import jsonschema
import pydicom
import pytest
from tests.batch.test_cluster import Cluster, everything
from tests.conftest import free_port

from cordgap.batch import lane, studies
from cordgap.batch.engine import BatchOptions, run_batch
from cordgap.batch.lane import Lane, LaneTimeoutError
from cordgap.batch.pairs import compare_pairs
from cordgap.batch.store import Store
from cordgap.batch.studies import PacsPlace, fetched, inventory_of
from cordgap.batch.work import WorkSettings, job_document, list_archive
from cordgap.dicom.inventory import PlanFiles
from cordgap.errors import NetworkError, OptionError
from cordgap.network import pacs as archive
from cordgap.network.inbox import Inbox
from cordgap.report.schema import load_schema

DATABASES = ("r.duckdb", "local.duckdb")
WAYS = ("get", "web")


@pytest.fixture
def filled(orthanc, written):
    """Orthanc with two good plans and one without a dose, and what else a study may hold."""
    for file in sorted(written.rglob("*.dcm")):
        if "bad" not in file.parts or file.name != "RD.dcm":
            orthanc.call("/instances", file.read_bytes())
    return orthanc


def place_of(orthanc, how: str) -> PacsPlace:
    if how == "web":
        if "dicom-web" not in orthanc.call("/plugins"):
            pytest.skip("the DICOMweb plug-in of Orthanc is not installed")
        return PacsPlace(f"{orthanc.url}/dicom-web")
    return PacsPlace(f"ORTHANC@127.0.0.1:{orthanc.port}")


def uids_of(written: Path, *folders: str) -> list[str]:
    return [
        str(pydicom.dcmread(next((written / f).rglob("RS.dcm"))).StudyInstanceUID) for f in folders
    ]


def run(site, place: PacsPlace, uids: list[str], db: Path, **options):
    with Store(db, site_key=site.KEY) as store:
        return run_batch(
            place, inventory_of(place, uids, None), store, settings=WorkSettings(),
            site_key=site.KEY, options=BatchOptions(**options),
        )  # fmt: skip


def fetched_here(orthanc, uids: list[str], folder: Path, how: str) -> Path:
    pacs = place_of(orthanc, how).opened()
    archive.fetch(pacs, uids, Inbox(folder), how=how, listen=("", 0))
    return folder


@pytest.fixture
def dask(tmp_path, monkeypatch):
    # What workers write for a time is below a folder that can be looked into.
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    made = Cluster(tmp_path / "dask")
    yield made
    made.close()


def left_behind(folder: Path) -> list[str]:
    """Return what is left of fetched studies."""
    return [str(p) for p in folder.rglob("*") if "cordgap-study" in p.name or p.suffix == ".dcm"]


@pytest.mark.parametrize("how", WAYS)
def test_workers_of_a_cluster_fetch_and_results_are_those_of_local_files(
    site, filled, written, tmp_path, dask, how
):
    uids = uids_of(written, "Smith^Ann", "Jones", "bad")
    here = fetched_here(filled, uids, tmp_path / "here", how)
    local, far = tmp_path / "local.duckdb", tmp_path / "far.duckdb"
    assert site.run(here, local).counts == {"ok": 2, "refused": 1}
    place = place_of(filled, how)
    summary = run(site, place, uids, far, scheduler=dask.address)
    assert summary.counts == {"ok": 2, "refused": 1}
    # With their identifiers, hashes of the files, and every number.
    assert everything(site, far) == everything(site, local)
    assert left_behind(tmp_path / "tmp") == []
    with Store(far) as store:
        (pair,) = compare_pairs(store, [(uids[0], uids[1])], summary.done)
    # The phantoms' gaps, less the cosine of the tilt of the cord.
    assert (pair["before_mm"], pair["achieved_mm"]) == pytest.approx((0.0, 1.0), abs=0.05)
    again = run(site, place, uids, far, scheduler=dask.address)
    assert (again.known, again.analysed, site.count(far)) == (3, 0, 3)


def test_only_what_a_plan_is_made_of_is_fetched_and_the_folder_goes(filled, written, tmp_path):
    (uid,) = uids_of(written, "Jones")
    other = pydicom.dcmread(next((written / "Jones").rglob("RP.dcm")))
    other.Modality, other.SeriesInstanceUID = "RTRECORD", "1.2.3.4"
    other.SOPClassUID = other.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.4"
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = "1.2.3.5"
    other.save_as(tmp_path / "record.dcm")
    filled.call("/instances", (tmp_path / "record.dcm").read_bytes())
    for how in WAYS:
        with fetched(place_of(filled, how), uid) as folder:
            kinds = sorted(p.name[:2] for p in folder.glob("*/*.dcm"))
            assert kinds == ["RD", "RP", "RS"]
            assert folder.stat().st_mode & 0o77 == 0
        assert not folder.exists()


# pynetdicom leaves a socket that found nobody to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_archive_that_does_not_answer_fails_each_study_and_the_next_run_goes_on(
    site, filled, written, tmp_path, quick
):
    uids = uids_of(written, "Smith^Ann", "Jones")
    db = tmp_path / "r.duckdb"
    nobody = PacsPlace(f"ORTHANC@127.0.0.1:{free_port()}")
    summary = run(site, nobody, uids, db)
    assert summary.counts == {"failed": 2}
    assert {row[0] for row in site.rows(db, "SELECT code FROM plans")} == {"no-answer"}
    summary = run(site, place_of(filled, "get"), uids, db)
    assert summary.counts == {"ok": 2}
    assert site.rows(db, "SELECT status, count(*) FROM plans GROUP BY 1") == [("ok", 2)]
    gc.collect()
    words = json.dumps(site.rows(db, "SELECT * FROM all_plans"), default=str)
    assert not any(uid in words for uid in uids)


def test_a_study_that_is_not_there_or_not_whole_is_not_analysed(
    site, filled, written, tmp_path, here, monkeypatch
):
    place, (uid,) = place_of(filled, "get"), uids_of(written, "Jones")
    with pytest.raises(NetworkError, match="0 object"), fetched(place, "1.2.3"):
        pass
    real = Inbox.store

    def refuses_doses(self, head, body):
        if b"1.2.840.10008.5.1.4.1.1.481.2" in bytes(head) + bytes(body[:2000]):
            raise NetworkError("no room", code="inbox-full")
        return real(self, head, body)

    monkeypatch.setattr(Inbox, "store", refuses_doses)
    for how in WAYS:
        db = tmp_path / f"{how}.duckdb"
        summary = run(site, place_of(filled, how), [uid], db)
        assert summary.counts == {"failed": 1}
        assert site.rows(db, "SELECT code FROM plans") == [("fetch-incomplete",)]


def test_a_worker_that_is_given_up_leaves_nothing(site, tmp_path, monkeypatch):
    """An archive that takes the connection and says nothing."""
    monkeypatch.setattr(lane.tempfile, "tempdir", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = PacsPlace(f"SILENT@127.0.0.1:{silent.getsockname()[1]}")
        settings = WorkSettings()
        plan = PlanFiles((), archive="1.2.3")
        job = job_document(place, plan, site.KEY, settings, settings.words(), None)
        worker = Lane(None)
        with pytest.raises(LaneTimeoutError):
            worker.call(list_archive, job, timeout_s=6.0)
    assert list(tmp_path.iterdir()) == []


def test_a_worker_without_a_file_of_tls_is_not_the_fault_of_the_plan(site, tmp_path, here):
    place = PacsPlace("ORTHANC@127.0.0.1:9", tls=True, ca=str(tmp_path / "no.pem"))
    whole = PacsPlace(place.address)
    with Store(tmp_path / "r.duckdb", site_key=site.KEY) as store:
        summary = run_batch(
            place, inventory_of(whole, ["1.2.3"], None), store, settings=WorkSettings(),
            site_key=site.KEY, options=BatchOptions(),
        )  # fmt: skip
    assert summary.counts == {"failed": 1}
    assert site.rows(tmp_path / "r.duckdb", "SELECT code FROM plans") == [("archive-unusable",)]


def test_studies_since_a_day(filled, written):
    place = place_of(filled, "get")
    found = inventory_of(place, (), "20200101")
    assert {p.archive for p in found.plans} == set(uids_of(written, "Smith^Ann", "Jones"))
    assert found.studies == 2
    assert inventory_of(place, (), "20990101").plans == ()
    with pytest.raises(OptionError, match="expected a Study Instance UID"):
        inventory_of(place, ["../evil"], None)
    with pytest.raises(OptionError, match="AET@HOST:PORT"):
        inventory_of(PacsPlace("nonsense"), ["1.2"], None)


def batch(*words: object):
    from typer.testing import CliRunner

    from cordgap.cli.main import build_app

    result = CliRunner().invoke(build_app(["batch", "query"]), ["batch", *map(str, words)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_command(here, filled, written, tmp_path):
    """Numbers are those of the files that were sent; the archive changes what is around them."""
    uids = uids_of(written, "Jones")
    words = ("--db", tmp_path / "r.duckdb", "--site-key", tmp_path / "key", "-q")
    place = f"ORTHANC@127.0.0.1:{filled.port}"
    done = batch("--pacs", place, "--study", uids[0], "--json", *words)
    document = json.loads(done.stdout)
    jsonschema.Draft202012Validator(load_schema("batch")).validate(document)
    assert (document["studies"], document["plans"]["ok"]) == (1, 1)
    here.run(written / "Jones", tmp_path / "local.duckdb")
    for table in ("metrics", "separations", "schedules", "constraints"):
        sql = f"SELECT * EXCLUDE (result_id, plan_id) FROM {table}"
        rows = [sorted(map(repr, here.rows(tmp_path / db, sql))) for db in DATABASES]
        assert rows[0] == rows[1] != []
    for more, match in (
        ((written, "--pacs", place, "--since", "2026-01-01"), "either ROOT or --pacs"),
        (("--pacs", place), "either --study UID"),
        (("--pacs", place, "--study", "1.2", "--since", "2026-01-01"), "either --study UID"),
        ((), "give ROOT"),
        ((written, "--study", "1.2"), "go with --pacs"),
        ((written, "--ca", "ca.pem"), "go with --pacs"),
    ):
        with pytest.raises(OptionError, match=match):
            batch(*more, *words)


def test_fetching_takes_nothing_that_names_a_patient_to_the_disk_for_long(monkeypatch):
    """The folder of a study goes even where reading it ends in an error."""
    made = []

    def arrived(pacs, uids, inbox, **_):
        made.append(inbox.folder)
        raise NetworkError("cut off", code="fetch-incomplete")

    monkeypatch.setattr(archive, "fetch", arrived)
    with pytest.raises(NetworkError, match="cut off"), studies.fetched(PacsPlace("A@b:1"), "1.2"):
        pass
    assert made
    assert not made[0].exists()

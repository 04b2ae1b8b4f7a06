"""The receiver: what it takes, whom it refuses, and what no sender can do to it."""

from __future__ import annotations

import errno
import json
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import jsonschema
import pydicom
import pytest
from pydicom.uid import generate_uid
from pynetdicom import AE
from pynetdicom.presentation import build_context
from tests.network.conftest import parts, rows, wait_until

from cordgap.errors import NetworkError, OptionError
from cordgap.network import inbox as inbox_module
from cordgap.network import link
from cordgap.network.inbox import Inbox, Limits, file_head
from cordgap.report.schema import load_schema

# Verification, the request of an association of which only the length is a lie.
HUGE = struct.pack(">BBL", 1, 0, 0xFFFFFFFF)


@pytest.fixture
def storescu(debian):
    program = debian("storescu", "dcmtk")

    def send(tally, *paths, aet="TPS1", called="CORDGAP", more=()):
        words = [program, *more, "-nh", "-aet", aet, "-aec", called, "+sd", "+r"]
        return subprocess.run(
            [*words, "127.0.0.1", str(tally.port), *map(str, paths)],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    return send


def associate(tally, aet="TPS1"):
    ae = AE(ae_title=aet)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
    ae.requested_contexts = [
        build_context(uid, "1.2.840.10008.1.2.1") for uid in link.STORAGE_CLASSES
    ]
    return ae.associate("127.0.0.1", tally.port, ae_title="CORDGAP")


def changed(path, **values):
    ds = pydicom.dcmread(path)
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    if "SOPInstanceUID" in values:
        ds.file_meta.MediaStorageSOPInstanceUID = values["SOPInstanceUID"]
    return ds


def test_a_plan_arrives_as_it_was_sent(node, storescu, objects):
    with node() as (folder, tally):
        done = storescu(tally, *objects)
        assert done.returncode == 0, done.stderr
        assert (tally.stored, rows(folder), parts(folder)) == (len(objects), len(objects), 0)
        again = storescu(tally, *objects)
        assert again.returncode == 0
        assert (tally.stored, tally.repeated, rows(folder)) == (52, 52, 52)
    arrived = {pydicom.dcmread(p).SOPInstanceUID: p for p in folder.glob("*/*.dcm")}
    for path in objects:
        sent = pydicom.dcmread(path)
        assert pydicom.dcmread(arrived[sent.SOPInstanceUID]) == sent
    assert {p.name[:3] for p in arrived.values()} == {"CT.", "RS.", "RP.", "RD."}


def test_a_thousand_instances_by_two_senders_at_once(node, storescu, many):
    with node() as (folder, tally):
        both = {}

        def send(aet):
            both[aet] = storescu(tally, many, aet=aet)

        senders = [threading.Thread(target=send, args=(aet,)) for aet in ("TPS1", "TPS2")]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        assert [done.returncode for done in both.values()] == [0, 0]
        # Each object once, whoever came first.
        assert (tally.stored, tally.repeated, rows(folder)) == (1000, 1000, 1000)
        assert not tally.refused
        assert parts(folder) == 0


@pytest.mark.parametrize(("aet", "called"), [("OTHER", "CORDGAP"), ("TPS1", "ELSEWHERE")])
def test_strangers_are_refused(node, storescu, objects, aet, called):
    with node() as (folder, tally):
        done = storescu(tally, objects[0], aet=aet, called=called)
        assert done.returncode != 0
        assert "Not Recognized" in done.stderr
        wait_until(lambda: tally.rejected == 1)
        assert rows(folder) == 0


def test_nobody_may_send_unless_named(node):
    with pytest.raises(OptionError, match="--allow AET is missing"), node(allow=[]):
        pass
    with pytest.raises(OptionError, match="1 to 16 ASCII"), node(allow=["A\\B"]):
        pass


def test_port_in_use(node):
    with (
        node() as (_, tally),
        pytest.raises(NetworkError, match="cannot listen on") as refused,
        node(address=("127.0.0.1", tally.port)),
    ):
        pass
    assert refused.value.code == "port-unusable"


def raw(tally):
    return socket.create_connection(("127.0.0.1", tally.port), timeout=10)


def test_malformed_pdus_stop_nobody(node, storescu, objects):
    rng = random.Random(1)
    with node() as (folder, tally):
        assert storescu(tally, *objects[:2]).returncode == 0
        before = rows(folder)
        for number in range(60):
            with raw(tally) as wire:
                kind = number % 4
                if kind == 0:
                    wire.sendall(rng.randbytes(200))
                elif kind == 1:
                    wire.sendall(HUGE + b"\0" * 1000)
                elif kind == 2:  # half a request
                    wire.sendall(struct.pack(">BBL", 1, 0, 500) + rng.randbytes(100))
                else:  # an element of a request that is longer than the request
                    wire.sendall(struct.pack(">BBL", 1, 0, 80) + b"\0\1" + b"\xff" * 78)
        assert rows(folder) == before
        done = storescu(tally, *objects)
        assert done.returncode == 0, done.stderr
        assert rows(folder) == len(objects)


def test_a_length_of_four_gigabytes_is_not_waited_for(node):
    with node() as (_, tally), raw(tally) as wire:
        wire.sendall(HUGE)
        # The connection is closed although nothing of the 4 GB has come.
        assert wire.recv(1) == b""


def test_connections_have_a_number(node, storescu, objects, monkeypatch):
    monkeypatch.setattr(link, "MOST_CONNECTIONS", 5)
    with node() as (_, tally):
        held = [raw(tally) for _ in range(5)]
        with raw(tally) as one_more:
            assert one_more.recv(1) == b""
        for wire in held:
            wire.close()
        wait_until(lambda: storescu(tally, objects[0]).returncode == 0)


def test_an_association_aborted_in_the_middle_of_an_object(node, storescu, objects):
    biggest = max(objects, key=lambda path: path.stat().st_size)
    with node() as (folder, tally):
        assert storescu(tally, *[p for p in objects if p != biggest]).returncode == 0
        before = rows(folder)
        assoc = associate(tally)
        wire = assoc.dul.socket.socket
        real, sent = wire.send, 0

        class Cut:
            """Sends the beginning of an object and is gone."""

            def __getattr__(self, name):
                return getattr(wire, name)

            def send(self, data):
                nonlocal sent
                sent += len(data)
                if sent > 40_000:
                    wire.shutdown(socket.SHUT_RDWR)
                    raise ConnectionResetError
                return real(data)

        assoc.dul.socket.socket = Cut()
        assoc.send_c_store(changed(biggest))
        wait_until(lambda: tally.aborted + (not assoc.is_established) > 0)
        wire.close()
        assert (rows(folder), parts(folder)) == (before, 0)
        assert storescu(tally, biggest).returncode == 0
        assert rows(folder) == before + 1


HOSTILE = ("../../../tmp/evil", "1.2.3/../../x", "/etc/passwd", "..", "1.2\\3", "1..2", "CON", "")


@pytest.mark.parametrize("uid", HOSTILE)
def test_hostile_uids_never_become_a_path(node, objects, tmp_path, uid):
    with node() as (folder, tally):
        outside = sorted(p for p in tmp_path.rglob("*") if folder not in p.parents)
        assoc = associate(tally)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's, about the UID
            answer = assoc.send_c_store(changed(objects[0], StudyInstanceUID=uid))
        assert answer.Status == 0xA900
        assoc.release()
        assert tally.refused == {"object-uid": 1}
        assert (rows(folder), parts(folder)) == (0, 0)
        assert sorted(p for p in tmp_path.rglob("*") if folder not in p.parents) == outside


def test_an_object_that_is_not_the_one_announced(tmp_path, objects):
    inbox = Inbox(tmp_path)
    body = encoded(changed(objects[0]))
    head = file_head("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.840.10008.1.2.1")
    with pytest.raises(NetworkError, match="another one than its message announced") as refused:
        inbox.store(head, body)
    assert refused.value.code == "object-uid"
    assert rows(tmp_path) == 0


def encoded(ds):
    from pynetdicom.dsutils import encode

    return encode(ds, False, True)


def store(inbox, ds):
    head = file_head(ds.SOPClassUID, ds.SOPInstanceUID, "1.2.840.10008.1.2.1")
    return inbox.store(head, encoded(ds))


def test_another_content_under_the_same_uid_is_refused(tmp_path, objects):
    inbox = Inbox(tmp_path)
    first = store(inbox, changed(objects[0]))
    kept = first.path.read_bytes()
    with pytest.raises(NetworkError, match="the first is kept") as refused:
        store(inbox, changed(objects[0], SeriesDescription="other"))
    assert refused.value.code == "object-conflict"
    assert first.path.read_bytes() == kept
    assert not store(inbox, changed(objects[0])).new
    assert rows(tmp_path) == 1


@pytest.mark.parametrize(
    ("limits", "action"),
    [
        (Limits(object_bytes=1000), "--max-object-mb"),
        (Limits(objects=0), "--max-objects"),
        (Limits(free_bytes=1 << 60), "--keep-free-mb"),
    ],
)
def test_limits(tmp_path, objects, limits, action):
    with pytest.raises(NetworkError, match=action) as refused:
        store(Inbox(tmp_path, limits), changed(objects[0]))
    assert refused.value.code == "inbox-full"
    assert rows(tmp_path) == 0


def test_an_object_without_end_is_cut_off(node, objects):
    """A peer that never finishes its object fills neither memory nor disk."""
    ds = changed(objects[0], PixelData=b"\0" * (8 << 20))
    with node(limits=Limits(object_bytes=1 << 20)) as (folder, tally):
        assoc = associate(tally)
        wire = assoc.dul.socket.socket
        status = assoc.send_c_store(ds)
        assert "Status" not in status
        wait_until(lambda: not assoc.is_established)
        wire.close()  # pynetdicom leaves it to the garbage collector
        assert (rows(folder), tally.stored) == (0, 0)


def test_the_limit_is_of_one_object_not_of_an_association(node, objects):
    ds = changed(objects[0], PixelData=b"\0" * (1 << 20))
    with node(limits=Limits(object_bytes=2 << 20)) as (folder, tally):
        assoc = associate(tally)
        # 8 MB in all; 2 MB and 4 MB for what goes around them would not do.
        answers = [assoc.send_c_store(changed_uid(ds, number)).Status for number in range(8)]
        assoc.release()
        assert answers == [0] * 8
        assert rows(folder) == 8


def test_disk_full_while_an_object_is_written(node, objects, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with node() as (folder, tally):
        assoc = associate(tally)
        assert assoc.send_c_store(changed(objects[0])).Status == 0
        with monkeypatch.context() as patch:
            patch.setattr(inbox_module.os, "fsync", full)
            assert assoc.send_c_store(changed(objects[1])).Status == 0xA700
            assert (rows(folder), parts(folder)) == (1, 0)
        assert assoc.send_c_store(changed(objects[1])).Status == 0
        assoc.release()
        assert tally.refused == {"inbox-full": 1}
        assert (rows(folder), parts(folder)) == (2, 0)


def test_disk_full_for_real(tmp_path, objects):
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if not hasattr(os, "geteuid") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    try:
        inbox = Inbox(place, Limits(free_bytes=0))
        ds = changed(objects[0], PixelData=b"\0" * 100_000)
        kept = 0
        with pytest.raises(NetworkError) as refused:
            for number in range(10):
                store(inbox, changed_uid(ds, number))
                kept += 1
        assert refused.value.code == "inbox-full"
        assert 0 < kept < 3
        assert (rows(place), parts(place)) == (kept, 0)
    finally:
        subprocess.run(["umount", str(place)], check=True)


def changed_uid(ds, number):
    ds.SOPInstanceUID = generate_uid(entropy_srcs=[str(number)])
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds


def test_parts_of_a_killed_run_are_removed(tmp_path):
    Inbox(tmp_path)
    (tmp_path / ".incoming" / "abc.part").write_bytes(b"half")
    Inbox(tmp_path)
    assert parts(tmp_path) == 0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(cert),
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def test_tls(node, storescu, objects, certificate):
    cert, key = certificate
    context = link.tls_context(server=True, cert=cert, key=key, ca=None)
    with node(context=context) as (folder, tally):
        # One who never shakes hands must not keep the next one waiting.
        with raw(tally):
            more = ["+tla", "+cf", str(cert)]
            done = storescu(tally, *objects, more=more)
            assert done.returncode == 0, done.stderr
        assert rows(folder) == len(objects)
        assert storescu(tally, objects[0]).returncode != 0
        assert tally.repeated == 0


def test_tls_takes_only_certified_senders(node, storescu, objects, certificate):
    cert, key = certificate
    context = link.tls_context(server=True, cert=cert, key=key, ca=cert)
    with node(context=context) as (folder, tally):
        done = storescu(tally, objects[0], more=["+tla", "+cf", str(cert)])
        assert done.returncode != 0
        done = storescu(tally, objects[0], more=["+tls", str(key), str(cert), "+cf", str(cert)])
        assert done.returncode == 0, done.stderr
        assert rows(folder) == 1


def test_tls_needs_a_certificate(certificate):
    with pytest.raises(OptionError, match="--tls needs --cert"):
        link.tls_context(server=True, cert=None, key=None, ca=None)
    with pytest.raises(OptionError, match="cannot be used"):
        link.tls_context(server=True, cert=certificate[1], key=certificate[1], ca=None)


def test_the_verb(tmp_path, storescu, objects):
    command = [sys.executable, "-c", "from cordgap.cli.main import run; run()", "receive",
               "--into", str(tmp_path / "in"), "--allow", "TPS1", "--port", "0"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        assert line.startswith("CORDGAP listens on 127.0.0.1:")
        port = int(line.partition(";")[0].rpartition(":")[2])
        tally = type("Tally", (), {"port": port})
        assert storescu(tally, *objects).returncode == 0
        process.terminate()
        rest, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert rest.startswith("52 object(s) of 1 study(ies) stored, 0 had come before, 0 refused;")
    assert rows(tmp_path / "in") == 52


def test_the_document(tmp_path, capsys, monkeypatch):
    from cordgap.cli import main

    words = ["cordgap", "receive", "--into", str(tmp_path), "--allow", "A", "--port", "0"]
    monkeypatch.setattr(sys, "argv", [*words, "--idle-s", "0", "--json"])
    with pytest.raises(SystemExit) as stopped:
        main.run()
    assert stopped.value.code == 0
    document = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator(load_schema("transfer")).validate(document)
    assert document["verb"] == "receive"

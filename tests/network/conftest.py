"""Plans to send, and counts of what arrived."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import generate_uid

from cordgap.network.inbox import Inbox
from cordgap.network.receive import receiving

PLANS = Path(__file__).parents[2] / "plans"


@pytest.fixture(scope="session")
def objects() -> list[Path]:
    """Return the files of one plan."""
    return sorted((PLANS / "ring").glob("*.dcm"))


@pytest.fixture(scope="session")
def many(tmp_path_factory) -> Path:
    """Return a folder of 1,000 small CT slices of one study."""
    folder = tmp_path_factory.mktemp("many")
    source = next(p for p in sorted((PLANS / "ring").glob("*.dcm")) if _is_ct(p))
    ds = pydicom.dcmread(source)
    ds.Rows = ds.Columns = 4
    ds.PixelData = b"\0" * 32
    ds.StudyInstanceUID = generate_uid(entropy_srcs=["a thousand"])
    for number in range(1000):
        uid = generate_uid(entropy_srcs=[f"slice {number}"])
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid
        ds.save_as(folder / f"{number:04d}.dcm")
    return folder


def _is_ct(path: Path) -> bool:
    return pydicom.dcmread(path, specific_tags=["Modality"]).Modality == "CT"


def rows(folder: Path) -> int:
    """Count the objects that an inbox holds."""
    return len(list(folder.glob("*/*.dcm")))


def parts(folder: Path) -> int:
    """Count what is half written."""
    return len(list((folder / ".incoming").iterdir()))


def wait_until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for something that another thread does."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def node(tmp_path):
    """Return a function that starts a receiver for TPS1 and TPS2 on a free port."""

    @contextmanager
    def start(**options):
        inbox = Inbox(tmp_path / "inbox", options.pop("limits", None))
        given = {"address": ("127.0.0.1", 0), "ae_title": "CORDGAP", "allow": ["TPS1", "TPS2"]}
        with receiving(inbox, **(given | options)) as tally:
            yield inbox.folder, tally

    return start

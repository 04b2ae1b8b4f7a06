"""What tests of several folders share."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).parent
REAL = HERE.parents[1] / "shared" / "data" / "real"
SHARED = REAL.parent


def slow_tests() -> list[str]:
    """Beginnings of the names of tests that take long, as ``slow.txt`` lists them."""
    lines = (HERE / "slow.txt").read_text(encoding="utf-8").splitlines()
    return [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]


# What waits for a server, a browser or a limit in time, or has processes of its own: nothing else
# should run beside it.
ALONE = (
    "tests/report/", "tests/network/", "tests/batch/", "tests/test_docs.py",
    "tests/faults/test_fuzz.py", "tests/end_to_end/test_portable.py",
    "tests/end_to_end/test_privacy.py",
)  # fmt: skip


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave files unread that a run leaves out as a whole."""
    out = {
        "not slow": [line for line in slow_tests() if "::" not in line],
        "not alone": ALONE,
    }.get(config.option.markexpr, ())
    if HERE.parent not in collection_path.parents:
        return None
    name = collection_path.relative_to(HERE.parent).as_posix()
    return name in out or f"{name}/" in out or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what ``make test-fast`` leaves out, and what runs beside no other test."""
    slow = tuple(slow_tests())
    for item in items:
        if item.nodeid.startswith(slow):
            item.add_marker("slow")
        if item.nodeid.startswith(ALONE):
            item.add_marker("alone")


@pytest.fixture(scope="session")
def build() -> ModuleType:
    """Return the builder of small DICOM files (tests/dicom/builders.py)."""
    spec = importlib.util.spec_from_file_location("builders", HERE / "dicom" / "builders.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of test data beside the checkout; skips where it is missing."""
    if not SHARED.is_dir():
        message = "the test data ../shared/data are not there"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return SHARED


@pytest.fixture(scope="session")
def debian():
    """Return a function that gives the path of a program, after installing its package if need be.

    Where it cannot be installed the test is skipped; with CI=true that fails.
    """

    def program(name: str, package: str) -> str:
        path = _find(name)
        if path is None:
            _install(package)
            path = _find(name)
        if path is None:
            message = f"{name} (Debian package {package}) is not there and cannot be installed"
            if os.environ.get("CI") == "true":
                pytest.fail(message)
            pytest.skip(message)
        return path

    return program


def _install(package: str) -> None:
    """Install a Debian package where root or sudo can."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    for words in (["update", "-qq"], ["install", "-y", "-qq", package]):
        command = [*([] if root else ["sudo", "-n"]), "apt-get", *words]
        try:
            subprocess.run(command, capture_output=True, check=True, timeout=300)
        except (OSError, subprocess.SubprocessError):
            return


def _find(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


@pytest.fixture(scope="session")
def tetrahedra():
    """Return a function that gives a cord, a target and what is removed, under three names."""
    from cordgap.report.view3d import Body

    corners = np.array([[0.0, 0, 0], [10, 0, 0], [0, 10, 0], [0, 0, 30]])
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    kinds = (("cord", "#0072B2"), ("target", "#D55E00"), ("removed", "#F0E442"))

    def bodies(names: tuple[str, ...]) -> list[Body]:
        return [
            Body(kind, name, colour, corners + 12.0 * n, faces, 0.5)
            for n, ((kind, colour), name) in enumerate(zip(kinds, names, strict=True))
        ]

    return bodies


def free_port() -> int:
    """Return a port of this computer that nobody uses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc, on this computer alone."""

    url: str
    port: int
    aet: str = "ORTHANC"

    def call(self, path: str, data: bytes | None = None, method: str | None = None) -> Any:
        """Call the REST interface; return what it answers."""
        request = urllib.request.Request(f"{self.url}{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            body = answer.read()
        return body if path.endswith("/file") else json.loads(body or b"null")

    def clear(self) -> None:
        """Forget every study."""
        for study in self.call("/studies"):
            self.call(f"/studies/{study}", method="DELETE")

    def knows(self, aet: str, port: int) -> None:
        """Name a node of this computer that objects may be moved to."""
        node = {"AET": aet, "Host": "127.0.0.1", "Port": port}
        self.call(f"/modalities/{aet}", json.dumps(node).encode(), "PUT")


@pytest.fixture(scope="session")
def orthanc_server(debian, tmp_path_factory) -> Iterator[Orthanc]:
    """Start Orthanc once, with DICOMweb where its plug-in is installed."""
    program = debian("Orthanc", "orthanc")
    plugins = list(Path("/usr/share/orthanc/plugins").glob("libOrthancDicomWeb.so"))
    folder = tmp_path_factory.mktemp("orthanc")
    server = Orthanc(f"http://127.0.0.1:{free_port()}", free_port())
    config = folder / "orthanc.json"
    config.write_text(
        json.dumps(
            {
                "HttpPort": int(server.url.rpartition(":")[2]), "DicomPort": server.port,
                "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
                "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"),
                "Plugins": [str(path) for path in plugins], "DicomWeb": {"Enable": True},
                "DicomAlwaysAllowFind": True, "DicomAlwaysAllowGet": True,
                "DicomAlwaysAllowMove": True, "DicomAlwaysAllowStore": True,
            }
        )
    )  # fmt: skip
    with subprocess.Popen(
        [program, str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _wait_for(f"{server.url}/system")
            yield server
        finally:
            process.terminate()


@pytest.fixture
def orthanc(orthanc_server) -> Orthanc:
    """Return the running Orthanc, empty."""
    orthanc_server.clear()
    return orthanc_server


def _wait_for(url: str) -> None:
    for _ in range(150):
        try:
            urllib.request.urlopen(url, timeout=5).read()
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    pytest.fail("Orthanc did not start within 30 s")

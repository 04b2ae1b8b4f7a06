"""Helpers of this folder, and small plans written once."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

from cordgap.dicom.read import read_case


def _load():
    name = "tests_batch_site"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / "site.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def site():
    return _load()


@pytest.fixture(scope="session")
def written(site, tmp_path_factory):
    """Two good plans and a truncated one; copy before changing anything."""
    root = tmp_path_factory.mktemp("written")
    site.plan_at(root / "Smith^Ann" / "export", 0.0, "PAT-A")
    site.plan_at(root / "Jones" / "a" / "b", 1.0, "PAT-B")
    site.plan_at(root / "bad", 2.0, "PAT-C")
    dose = root / "bad" / "RD.dcm"
    dose.write_bytes(dose.read_bytes()[:4000])
    (root / "notes.txt").write_text("nothing", encoding="utf-8")
    return root


@pytest.fixture
def tree(written, tmp_path):
    return Path(shutil.copytree(written, tmp_path / "tree"))


@pytest.fixture
def quick(here, monkeypatch):
    """Work in this process, with files read and hashed and no dose computed."""
    from cordgap.batch import work

    def analysed(job, hashes):
        read_case(work._discovery(job))
        rows = work._row(job, hashes, "ok", None, None)
        name = {key: rows["plans"][0][key] for key in ("result_id", "plan_id")}
        rows["structures"] = [name | {"roi_number": n, "roi_name": "x"} for n in range(2)]
        return rows

    monkeypatch.setattr(work, "_analysed", analysed)
    return here


@pytest.fixture
def here(site, monkeypatch):
    """Work in this process."""
    site.use_lane(monkeypatch)
    return site

"""``analyze --out DIR --dicom --mesh`` on the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PLANS = Path(__file__).parents[2] / "plans"
RUN = (sys.executable, "-c", "from cordgap.cli.main import run; run()")


def run(*words, expect):
    done = subprocess.run(
        [*RUN, *map(str, words)], capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == expect, done.stderr
    return done


def test_everything_from_a_zip_at_a_chosen_separation(tmp_path):
    archive = shutil.make_archive(str(tmp_path / "plan"), "zip", PLANS / "cord-first")
    out = tmp_path / "out"
    done = run("analyze", archive, "--out", out, "--dicom", "--mesh", "--at", "3", expect=1)
    files = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert {
        "result.json", "report.html", "report.pdf", "dicom/structures.dcm", "dicom/dvh.dcm",
        "dicom/report.dcm", "mesh/cord.stl", "mesh/target.stl", "mesh/removed.stl",
        "mesh/scene.glb", "view3d.html",
    } <= files  # fmt: skip
    assert "view3d.html" in done.stdout
    assert "note: DVHs not written, as they are not complete: BODY" in done.stderr
    import pydicom

    rois = pydicom.dcmread(out / "dicom" / "structures.dcm").StructureSetROISequence
    assert [r.ROIName for r in rois] == [
        "CG_Resect_3.0mm", "CG_Remain_3.0mm", "CG_Shell_3.0mm", "CG_Cord_PRV1.5",
    ]  # fmt: skip
    assert "removed at 3.0 mm" in (out / "view3d.html").read_text(encoding="utf-8")
    assert json.loads((out / "result.json").read_text(encoding="utf-8"))["separation"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dicom"], "need --out DIR"),
        (["--mesh"], "need --out DIR"),
        (["--at", "3"], "give one of them too"),
        (["--dicom", "--at", "30", "--out", "OUT"], "expected above 0 and at most"),
    ],
)
def test_what_makes_no_sense_is_refused(words, message, tmp_path):
    out = tmp_path / "out"
    done = run("analyze", PLANS / "ring", *[out if w == "OUT" else w for w in words], expect=2)
    assert message in done.stderr
    assert not out.exists()

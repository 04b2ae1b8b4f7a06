"""What a batch came to, as a document and as closing lines."""

from __future__ import annotations

from typing import Any

from cordgap._version import __version__
from cordgap.batch.engine import STATUSES, Summary
from cordgap.dicom.inventory import Inventory
from cordgap.errors import SAFETY_SENTENCES


def batch_document(summary: Summary, inventory: Inventory, *, dry_run: bool) -> dict[str, Any]:
    """Return a summary as ``cordgap.batch/1``."""
    return {
        "schema": "cordgap.batch/1",
        "cordgap_version": __version__,
        "run_id": None if dry_run else summary.run_id,
        "state": "dry run" if dry_run else summary.state,
        "studies": inventory.studies,
        "files": inventory.files,
        "files_not_dicom": inventory.not_dicom,
        "files_unreadable": inventory.unreadable,
        "plans_found": summary.found,
        "plans_known": summary.known,
        "plans_analysed": 0 if dry_run else summary.analysed,
        "plans_left": summary.left + (summary.analysed if dry_run else 0),
        "copies": summary.copies,
        "archives_without_plans": summary.empty_archives,
        "plans": {status: summary.counts.get(status, 0) for status in STATUSES},
        "plans_exceeding_a_limit": summary.exceeded,
        "not_ok": [
            {"plan_id": d.plan_id, "status": d.status, "code": d.code}
            for d in summary.done
            if d.status in STATUSES[1:]
        ],
        "safety": list(SAFETY_SENTENCES),
    }


def closing_lines(summary: Summary, inventory: Inventory, *, dry_run: bool) -> list[str]:
    """Return the lines that a batch ends with."""
    looked = f"{inventory.files} files looked at, {inventory.not_dicom} of them not DICOM"
    if inventory.studies is not None:
        looked = f"{inventory.studies} study(ies) of the archive"
    if inventory.unreadable:
        looked += f", {inventory.unreadable} file(s) or folder(s) not readable"
    if dry_run:
        left = summary.left + summary.analysed
        return [
            looked,
            f"{summary.found} plan(s): {summary.known} known, {left} to analyse; nothing was "
            "written (dry run)",
        ]
    words = ", ".join(f"{summary.counts.get(s, 0)} {s}" for s in STATUSES)
    lines = [looked]
    if summary.copies:
        lines.append(f"{summary.copies} copies of the same files were counted once")
    if summary.empty_archives:
        kind = "ZIP file(s)" if inventory.studies is None else "study(ies)"
        lines.append(f"{summary.empty_archives} {kind} without a plan")
    end = f"{summary.found} plan(s): {words}; {summary.exceeded} exceed a limit; "
    end += f"{summary.analysed} analysed now, {summary.known} known before"
    if summary.left:
        end += f", {summary.left} left; run again to go on"
    if summary.state == "interrupted":
        end = "interrupted; what was finished is kept. " + end
    if not summary.found:
        where = "name the folder of your exports"
        end = f"no plan was found; {where if inventory.studies is None else 'see --since'}"
    return [*lines, end]

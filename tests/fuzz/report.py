"""Counts of a run as text, as tables in docs/reliability.md, and failures with their files."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fuzz.oracle import BAD, CHANGED_NOTED, EQUAL_NOTED, GOOD, REFUSED, SILENT

if TYPE_CHECKING:
    from tests.fuzz.run import Record

DOCS = Path(__file__).parents[2] / "docs" / "reliability.md"
BINS_GY = (0.0, 0.1, 0.5, 1.0, 3.0, math.inf)
# A spike that moves the cord's near-maximum by more than this must be seen.
SPIKE_GY = 1.0
# Numbers that a file states once and that nothing in a minimal plan repeats: another plausible
# value cannot be told from the true one. They are counted and listed, and fail no run.
STATED_ONCE = frozenset(
    (
        "ImagePositionPatient", "PixelSpacing", "GridFrameOffsetVector", "DoseGridScaling",
        "TargetPrescriptionDose", "NumberOfFractionsPlanned", "DoseReferenceType", "ROINumber",
        "ReferencedROINumber", "ROIName",
    )
)  # fmt: skip
_NAMED = (CHANGED_NOTED, EQUAL_NOTED, REFUSED)


def is_failure(record: Record) -> bool:
    """Whether a mutant broke a promise; a payload mutant may change numbers silently."""
    if record.outcome not in BAD:
        return False
    if record.outcome != SILENT or missed_spike(record):
        return True
    return record.structural and not stated_once(record)


def stated_once(record: Record) -> bool:
    """Whether all that was changed is the value of numbers that nothing repeats."""
    words = re.findall(r"[A-Za-z]+", attribute(record).split(" of ")[-1])
    return "length" not in attribute(record) and bool(words) and words[-1] in STATED_ONCE


def missed_spike(record: Record) -> bool:
    return record.spike and record.cord_gy > SPIKE_GY and record.outcome == SILENT


def summary(records: Sequence[Record]) -> str:
    return "\n\n".join((counts_table(records), payload_table(records), spikes_table(records)))


def counts_table(records: Sequence[Record]) -> str:
    """Structural mutants: kind by outcome."""
    rows = [r for r in records if r.structural]
    outcomes = (*GOOD, *BAD)
    kinds = dict.fromkeys(_kind(r) for r in rows)
    lines = [_row(("mutation", "mutants", *(o.lower() for o in outcomes)))]
    lines.append(_row(("---", *["---:"] * (len(outcomes) + 1))))
    for kind in kinds:
        of_kind = [r for r in rows if _kind(r) == kind]
        tally = Counter(r.outcome for r in of_kind)
        lines.append(_row((kind, len(of_kind), *(tally[o] for o in outcomes))))
    tally = Counter(r.outcome for r in rows)
    lines.append(_row(("**all**", len(rows), *(tally[o] for o in outcomes))))
    return "\n".join(lines)


def payload_table(records: Sequence[Record]) -> str:
    """Payload mutants: how many were noticed, by how far D0.035cc of the cord moved."""
    rows = [r for r in records if not r.structural]
    lines = [
        _row(("D0.035cc of the cord moved by", "mutants", "noticed", "rate")),
        _row(("---", "---:", "---:", "---:")),
    ]
    for low, high in itertools.pairwise(BINS_GY):
        inside = [r for r in rows if low <= r.change_gy < high or (math.isinf(high) and
                  math.isinf(r.change_gy))]  # fmt: skip
        seen = [r for r in inside if _noticed(r)]
        words = f"{low:g} to {high:g} Gy" if math.isfinite(high) else f"over {low:g} Gy"
        rate = f"{100 * len(seen) / len(inside):.0f} %" if inside else "-"
        lines.append(_row((words, len(inside), len(seen), rate)))
    return "\n".join(lines)


def spikes_table(records: Sequence[Record]) -> str:
    """Changes of one voxel or vertex that moved a dose of the cord by more than 1 Gy."""
    lines = [
        _row(("one voxel or vertex", "mutants", "moved a cord dose by over 1 Gy", "noticed")),
        _row(("---", "---:", "---:", "---:")),
    ]
    for kind in dict.fromkeys(r.kind for r in records if r.spike):
        single = [r for r in records if r.kind == kind and r.spike]
        rows = [r for r in single if r.cord_gy > SPIKE_GY]
        lines.append(_row((kind, len(single), len(rows), sum(_noticed(r) for r in rows))))
    return "\n".join(lines)


def _noticed(record: Record) -> bool:
    return record.outcome in _NAMED or bool(record.findings)


def _kind(record: Record) -> str:
    return re.sub(" again$", "", record.kind)


def _row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(str(c) for c in cells) + " |"


def write_docs(records: Sequence[Record], *, seed: int) -> None:
    """Write the tables between the markers of docs/reliability.md anew."""
    text = DOCS.read_text(encoding="utf-8")
    random = sum(r.name[0] == "random" for r in records)
    slowest = max(r.seconds for r in records)
    peak = max((r.peak_bytes or 0) for r in records) / 2**20
    measured = (
        f"Seed {seed}: {random} random mutants, {sum(r.name[0] == 'cut' for r in records)} cuts "
        f"at element boundaries, {sum(r.name[0] == 'bomb' for r in records)} bombs. Slowest "
        f"{slowest:.1f} s, largest resident set {peak:.0f} MB."
    )
    for mark, body in {
        "measured": measured,
        "structural": counts_table(records),
        "payload": payload_table(records),
        "spikes": spikes_table(records),
        "silent": silent_table(records),
    }.items():
        text, hits = re.subn(
            rf"(<!-- {mark} -->\n).*?(\n<!-- end {mark} -->)",
            lambda m, body=body: m[1] + body + m[2],  # type: ignore[misc]
            text,
            flags=re.DOTALL,
        )
        if hits != 1:
            raise AssertionError(f"docs/reliability.md has {hits} places for {mark}")
    DOCS.write_text(text, encoding="utf-8")


def attribute(record: Record) -> str:
    """Name what a mutation hit, without item numbers."""
    words = re.sub(r"\.\d+(?=\.|$| )", "", record.where)
    return words.split(" vertex")[0]


def silent_table(records: Sequence[Record]) -> str:
    """Silent changes of structural mutants, counted by what was hit."""
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        if record.structural and record.outcome == SILENT:
            groups[attribute(record), _kind(record)].append(record)
    if not groups:
        return "None."
    lines = [_row(("what was hit", "mutation", "mutants", "example")), _row(("---",) * 4)]
    for (where, kind), found in sorted(groups.items(), key=lambda pair: -len(pair[1])):
        first = found[0]
        example = f"`{first.old}` to `{first.new}`" if first.old or first.new else ""
        lines.append(_row((where, kind, len(found), example)))
    return "\n".join(lines)


def write_failures(
    records: Sequence[Record],
    folder: Path,
    files_of: Callable[[tuple[str | int, ...]], dict[str, bytes]],
) -> None:
    """Write failures.md and silent.md beside ``folder``, and in it the files of one mutant each."""
    folder.mkdir(parents=True, exist_ok=True)
    groups: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in records:
        if is_failure(record):
            last = record.detail if record.outcome != SILENT else attribute(record)
            key = (record.outcome, re.sub(r"\d+", "#", last)[:90] or record.kind)
            groups[key].append(record)
    lines = [f"# Failures: {sum(map(len, groups.values()))} mutants in {len(groups)} groups", ""]
    for number, (key, found) in enumerate(
        sorted(groups.items(), key=lambda pair: (BAD.index(pair[0][0]) == 0, -len(pair[1])))
    ):
        first = min(found, key=lambda r: (r.kind not in ("bad number", "enumerated value"), r.name))
        where = folder / f"{number:03d}"
        big = first.name[0] == "bomb"
        lines.append(
            f"## {number:03d} {key[0]}: {key[1]} ({len(found)} mutants)\n"
            f"- {first.title}\n- {first.detail or _changes(first)}\n- task {first.name}, "
            f"{first.seconds:.1f} s, peak {(first.peak_bytes or 0) / 2**20:.0f} MB; files: "
            + (f"{where}/" if not big else "make anew with tests.fuzz.run.mutant(Task(name))")
        )
        lines += [f"  - also {r.title}" for r in found[1:4]]
        if not big:
            where.mkdir(exist_ok=True)
            for name, data in files_of(first.name).items():
                (where / name).write_bytes(data)
    (folder.parent / "failures.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    silent = [r for r in records if r.structural and r.outcome == SILENT]
    lines = ["# Silent changes of structural mutants, by attribute", ""]
    by_attribute: dict[str, list[Record]] = defaultdict(list)
    for record in silent:
        by_attribute[attribute(record).split(" of ")[-1]].append(record)
    for where_hit, found in sorted(by_attribute.items(), key=lambda pair: -len(pair[1])):
        lines.append(f"## {where_hit} ({len(found)})")
        lines += [
            f"- [{r.kind}] {r.base}: `{r.old}` -> `{r.new}`: {_changes(r)}" for r in found[:25]
        ]
    lines.append("\n# Changed with a finding: does the finding name the change?\n")
    named: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        if record.structural and record.outcome == CHANGED_NOTED:
            named[attribute(record).split(" of ")[-1], ", ".join(record.findings)].append(record)
    lines += [
        f"- {where_hit}: {codes} ({len(found)}); `{found[0].old}` -> `{found[0].new}`: "
        f"{_changes(found[0])}"
        for (where_hit, codes), found in sorted(named.items())
    ]
    (folder.parent / "silent.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _changes(record: Record) -> str:
    def word(value: float | str | None) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    return "; ".join(f"{key} {word(old)} -> {word(new)}" for key, old, new in record.changed[:5])

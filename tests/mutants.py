"""Change the code of a room a little, many times, and see whether its tests notice.

    python -m tests.mutants dvh --sample 200 --seed 1

mutmut makes every mutant of the room in a copy of the project under ``build/mutants/ROOM``; a
sample drawn with the seed is tried, each against the quick tests of the room that reach the
changed function. Compiled loops run as plain Python, so that they can be changed too.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What tries the mutants of a room: its own tests and the closed forms.
TESTS = {
    "dvh": ["tests/dvh", "tests/oracle"],
    "separation": ["tests/separation"],
}
# Property tests of the compiled loops: hours as plain Python, and tests/dvh/test_loops.py does the
# same on small cases.
LEFT_OUT = (
    "tests/dvh/test_compiled.py",
    "tests/separation/test_displaced.py::test_every_way_gives_what_all_points_give[compiled",
    "tests/separation/test_scenarios.py::test_numpy_and_machine_code_agree",
    # Two minutes as plain Python, as long as all others that reach a function together.
    "tests/separation/test_scenarios.py::test_a_contour_error_counts_as_a_shift_of_the_surface",
)
COPIED = ("src", "tests", "plans", "benchmarks")
# What mutmut's exit codes say.
WORDS = {
    None: "not tried", 2: "not tried", 0: "survived", 1: "killed", 3: "killed",
    5: "no tests", 33: "no tests", 24: "timed out", -24: "timed out", 36: "timed out",
    152: "timed out", 255: "timed out", -9: "timed out",
}  # fmt: skip


_RUN = """
import sys
import mutmut.__main__ as m

make = m.get_mutant_runner

def without_clean_run(*words):
    runner = make(*words)
    runner.run_clean_tests = lambda tests: 0
    return runner

m.get_mutant_runner = without_clean_run
m._run(tuple(sys.argv[1:]), 1)
"""


def make_copy(room: str, folder: Path, marks: str) -> None:
    """Copy the project, with settings that mutate one room alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        shutil.rmtree(folder / name, ignore_errors=True)
        # Times are kept: mutmut makes anew the mutants of changed files alone.
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    own = {
        "source_paths": ["src"],
        "only_mutate": [f"src/cordgap/{room}/*"],
        "also_copy": ["plans", "benchmarks"],
        "pytest_add_cli_args": [
            *("-m", marks, "-p", "no:cacheprovider", "-p", "no:xdist"),
            *(word for test in LEFT_OUT for word in ("--deselect", test)),
        ],
        "pytest_add_cli_args_test_selection": TESTS[room],
        # A loop that does not end shows soon; a slow machine needs some room.
        "timeout_multiplier": 4.0,
        "timeout_constant": 5.0,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in own.items()]
    text = f"{settings}\n[tool.mutmut]\n" + "\n".join(lines) + "\n"
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    shared, here = ROOT.parent / "shared", folder / "shared"
    if shared.is_dir() and not here.exists():
        here.symlink_to(shared)


def environment(folder: Path) -> dict[str, str]:
    """Processes that tests start shall see the changed code too."""
    changed = str(folder / "mutants" / "src")
    return {**os.environ, "PYTHONPATH": changed, "NUMBA_DISABLE_JIT": "1", "MPLBACKEND": "Agg"}


def mutmut(folder: Path, *words: str, quiet: bool = False) -> str:
    """Run mutmut in the copy."""
    done = subprocess.run(
        [sys.executable, "-m", "mutmut", *words], cwd=folder, env=environment(folder), check=False,
        stdout=subprocess.PIPE if quiet else None, text=True, encoding="utf-8",
    )  # fmt: skip
    return done.stdout or ""


def all_mutants(folder: Path, room: str) -> dict[str, int | None]:
    """Exit code of every mutant by its name; None for those that were not tried."""
    found: dict[str, int | None] = {}
    for file in sorted((folder / "mutants" / "src" / "cordgap" / room).glob("*.meta")):
        found |= json.loads(file.read_text(encoding="utf-8"))["exit_code_by_key"]
    return found


def generate(folder: Path) -> None:
    """Make the mutants of the room, without trying any."""
    code = (
        "import mutmut.__main__ as m; from pathlib import Path; "
        "m.set_mutant_under_test('mutant_generation'); Path('mutants').mkdir(exist_ok=True); "
        "m.copy_src_dir(); m.copy_also_copy_files(); m.setup_source_paths(); m.create_mutants(1)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment(folder), check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip


def try_out(folder: Path, names: list[str], minutes: float) -> None:
    """Try some mutants, one process at a time, for so many minutes at the most.

    Those whose tests are quick come first: what the time does not allow is what takes longest.
    mutmut's own run of all tests before the first mutant is left out: to learn which test reaches
    which function it has just run them, and stops where one fails.
    """
    command = [sys.executable, "-c", _RUN, *names]
    with subprocess.Popen(
        command, cwd=folder, env=environment(folder), stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as running:  # fmt: skip
        try:
            running.wait(60 * minutes)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGTERM)  # each result was written when it was found


def report(folder: Path, room: str, names: list[str], made: int) -> str:
    """Say what became of the mutants, file by file, and show those that were not noticed."""
    codes = all_mutants(folder, room)
    words = {name: WORDS.get(codes[name], "crashed") for name in names}
    kinds = ["killed", "survived", "timed out", "crashed", "no tests", "not tried"]
    total = Counter(words.values())
    lines = [f"{room}: {made} mutants made, {len(names)} of them drawn: "
             + ", ".join(f"{total[kind]} {kind}" for kind in kinds if total[kind]), ""]  # fmt: skip
    lines += [f"| file | {' | '.join(kinds)} |", "|---|" + "---|" * len(kinds)]
    for file in sorted({name.split(".x")[0] for name in names}):
        here = Counter(words[n] for n in names if n.split(".x")[0] == file)
        lines.append(f"| {file} | {' | '.join(str(here[kind]) for kind in kinds)} |")
    for name in sorted(n for n, word in words.items() if word in ("survived", "no tests")):
        lines += ["", f"### {words[name]}: {name}", mutmut(folder, "show", name, quiet=True)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Draw, try and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("room", choices=sorted(TESTS))
    parser.add_argument("--sample", type=int, default=200, help="how many mutants; 0 takes all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60.0, help="after which it ends")
    parser.add_argument("--marks", default="not slow", help="which tests, as of pytest -m")
    parser.add_argument("--again", action="store_true", help="only what was not killed last time")
    parser.add_argument("--report", action="store_true", help="try nothing, report the last run")
    given = parser.parse_args()
    folder = ROOT / "build" / "mutants" / given.room
    if not given.report:
        make_copy(given.room, folder, given.marks)
        generate(folder)
    every = sorted(all_mutants(folder, given.room))
    names = every
    if given.sample and given.sample < len(every):
        names = sorted(random.Random(given.seed).sample(every, given.sample))
    tried = names
    if given.again:
        codes = all_mutants(folder, given.room)
        tried = [name for name in names if codes[name] != 1]
    if tried and not given.report:
        try_out(folder, tried, given.minutes)
    text = report(folder, given.room, names, len(every))
    (folder / "report.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

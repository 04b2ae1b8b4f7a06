"""Windows and macOS: no help from POSIX, and folders with spaces and umlauts."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
PLAN = ROOT / "plans" / "cord-first"
RUN = "import sys; from cordgap.cli.main import run; run()"
# Start-up code for every process of a test, workers too: what Windows has not is not there.
WITHOUT_POSIX = """
import os, shutil, signal, subprocess, sys, types

subprocess.Popen.kill = lambda self: self.send_signal(9)  # what it does there is not our matter
for name in ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "spwd", "crypt",
             "readline"):
    sys.modules[name] = None
for name in ("fork", "forkpty", "killpg", "getuid", "geteuid", "getgid", "getegid", "getpgid",
             "setsid", "setuid", "nice", "sysconf", "getloadavg", "mkfifo", "chown",
             "lchown", "chroot", "wait3", "wait4", "sched_getaffinity", "sched_setaffinity",
             "posix_fadvise", "sendfile", "O_NOFOLLOW", "O_DIRECTORY", "fchmod", "fchown"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGKILL", "SIGALRM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGPIPE",
             "alarm", "setitimer", "pause"):
    if hasattr(signal, name):
        delattr(signal, name)
locks = sys.modules["msvcrt"] = types.ModuleType("msvcrt")
locks.LK_NBLCK, locks.locking = 2, lambda handle, mode, count: None
"""
IMPORT_ALL = """
import importlib, json, pkgutil, sys
import cordgap
assert sys.modules["fcntl"] is None
names = [m.name for m in pkgutil.walk_packages(cordgap.__path__, "cordgap.")]
for name in names:
    if name != "cordgap.batch.lane":
        importlib.import_module(name)
print(json.dumps(names))
"""


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Run Python, or the command, without POSIX."""
    folder = tmp_path_factory.mktemp("without posix")
    (folder / "sitecustomize.py").write_text(WITHOUT_POSIX, encoding="utf-8")
    path = os.pathsep.join([str(folder), str(SOURCE)])

    def run(*words, code=RUN, cwd=None):
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, words)], cwd=cwd, check=False, timeout=300,
            env=os.environ | {"PYTHONPATH": path}, capture_output=True, encoding="utf-8",
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


def test_every_module_can_be_imported(start):
    done = start(code=IMPORT_ALL)
    assert done.returncode == 0, done.stderr
    names = set(json.loads(done.stdout))
    assert len(names) > 150
    assert {"cordgap.batch.lane", "cordgap.network.desk", "cordgap.selftest.run"} <= names


def test_analyze_and_a_batch(start, tmp_path):
    done = start("analyze", PLAN, "--out", tmp_path / "Bericht für Ärzte", "--json", "-q")
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["separation"]["required_separation_mm"] > 1
    assert (tmp_path / "Bericht für Ärzte" / "report.pdf").is_file()
    for name in ("cord-first", "ring"):
        shutil.copytree(PLAN.parent / name, tmp_path / "Pläne alle" / f"Fall {name} ß")
    database = tmp_path / "Daten bank" / "Größe.duckdb"
    database.parent.mkdir()
    done = start("batch", tmp_path / "Pläne alle", "--db", database, "--jobs", 2, "--json", "-q")
    assert done.returncode == 1, done.stderr  # the ring exceeds its limit
    rows = start("query", "SELECT status FROM plans ORDER BY status", "--db", database, "--json")
    assert json.loads(rows.stdout)["rows"] == [["ok"], ["ok"]]


def test_watch_locks_its_folder_and_reads_plans(start, tmp_path):
    shutil.copytree(PLAN, tmp_path / "Ein gang ü" / "Plan")
    done = start(
        "watch", tmp_path / "Ein gang ü", "--out", tmp_path / "Aus gang ß", "--once",
        "--settle-s", 0, "-q",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert list((tmp_path / "Aus gang ß").rglob("report.html"))


def test_paths_in_the_current_folder_with_umlauts(start, tmp_path):
    """Relative, with a ZIP: how a file is dragged into a console."""
    here = tmp_path / "Prüfung Süd & Ost"
    here.mkdir()
    shutil.make_archive(str(here / "Plan ä ö"), "zip", PLAN)
    done = start("dvh", "Plan ä ö.zip", "--structure", "SpinalCord", "--json", cwd=here)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["structures"][0]["status"] == "ok"


# Names that are not on Windows; each use needs a way without it, told beside it.
POSIX_ONLY = {
    "os": {"fork", "forkpty", "killpg", "getuid", "geteuid", "getgid", "setsid", "getpgid",
           "uname", "sysconf", "mkfifo", "chown", "chroot", "nice", "getloadavg", "statvfs",
           "sched_getaffinity", "O_NOFOLLOW", "O_DIRECTORY", "fchmod", "wait4"},
    "signal": {"SIGKILL", "SIGALRM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCHLD",
               "SIGPIPE", "alarm", "setitimer", "pause", "pthread_kill", "sigwait"},
}  # fmt: skip
MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "posix"}
# Module and file: there is a way without it, and a test above or in tests/batch takes it.
WITH_FALLBACK = {("fcntl", "network/desk.py"), ("resource", "batch/lane.py")}


def uses(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in POSIX_ONLY.get(node.value.id, ()):
                yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            if node.module in MODULES:
                yield node.module
            for alias in node.names:
                if alias.name in POSIX_ONLY.get(node.module or "", ()):
                    yield f"{node.module}.{alias.name}"


def test_what_only_posix_has_is_used_where_there_is_another_way():
    found = set()
    for file in (SOURCE / "cordgap").rglob("*.py"):
        name = file.relative_to(SOURCE / "cordgap").as_posix()
        found |= {(use, name) for use in uses(ast.parse(file.read_text(encoding="utf-8")))}
    assert found == WITH_FALLBACK


@pytest.mark.parametrize(
    "line", ["import os; os.fork()", "from signal import SIGKILL", "import pwd"]
)
def test_such_a_use_would_be_seen(line):
    assert list(uses(ast.parse(line)))


def test_files_are_opened_with_an_encoding():
    """On Windows the default is not UTF-8. (Ruff's PLW1514 is still a preview rule.)"""
    missing = []
    for file in (SOURCE / "cordgap").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and opens_text(node)):
                continue
            if "encoding" not in {k.arg for k in node.keywords}:
                missing.append(f"{file.name}:{node.lineno}")
    assert not missing


def opens_text(call):
    if isinstance(call.func, ast.Attribute) and call.func.attr in ("read_text", "write_text"):
        return True
    name = ast.unparse(call.func)
    modes = [a.value for a in call.args if isinstance(a, ast.Constant)]
    return name in ("open", "os.fdopen") and not any("b" in str(mode) for mode in modes)


def test_a_memory_limit_on_macos_is_watched(monkeypatch):
    """It takes RLIMIT_AS and does not keep it."""
    from cordgap.batch import lane

    monkeypatch.setattr(sys, "platform", "darwin")
    assert not lane._system_limits()
    assert lane.memory_is_limited() == (importlib.util.find_spec("psutil") is not None)

"""Runs commands and programs of the pages, each in a fork of one process that imported everything.

A line of JSON on standard input is a job: ``cwd``, ``out`` (a file for what is printed), and
``argv`` of the command or ``code`` in Python. The answer is a line with its exit code. Where the
system cannot fork, each job gets a process of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

# A block that takes longer hangs; its process is ended by a signal.
LONGEST_S = 300
COMMAND = "from cordgap.cli.main import run; run()"


def forked(job: dict[str, Any]) -> int:
    """Do a job in a fork of this process, and return its exit code."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 70
    try:
        signal.alarm(LONGEST_S)
        os.chdir(job["cwd"])
        into = os.open(job["out"], os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(into, 1)
        os.dup2(into, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if "code" in job:
            exec(compile(job["code"], job["name"], "exec"), {"__name__": "__main__"})
        else:
            from cordgap.cli.main import run

            sys.argv = ["cordgap", *job["argv"]]
            run()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def spawned(job: dict[str, Any]) -> int:
    """Do a job in a process of its own, and return its exit code."""
    words = ["-c", job["code"]] if "code" in job else ["-c", COMMAND, *job["argv"]]
    with Path(job["out"]).open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-X", "utf8", *words],
            cwd=job["cwd"],
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=LONGEST_S,
        )
    return done.returncode


def main() -> None:
    do = spawned
    if hasattr(os, "fork"):
        do = forked
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import jinja2  # noqa: F401
            import shapely  # noqa: F401

            import cordgap.cli.main
            import cordgap.dicom.read
            import cordgap.report.write  # noqa: F401
    for line in sys.stdin:
        print(do(json.loads(line)), flush=True)


if __name__ == "__main__":
    main()

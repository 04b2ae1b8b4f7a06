"""What the verbs share: option types, reading the plan, printing a document."""

from __future__ import annotations

import logging
import math
import os
import sys
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from cordgap.cli.flags import (
    ACCEPT_WORDS,
    ALPHA_BETA_RANGE_GY,
    FRACTIONS_RANGE,
    MAX_RANGE_MM,
    RX_RANGE_GY,
    MethodName,
)
from cordgap.cli.prior import inside, prior_requests
from cordgap.errors import CordgapError, Finding, OptionError

if TYPE_CHECKING:
    from cordgap.analysis import Settings
    from cordgap.case.case import Case, Prescription
    from cordgap.dicom.prior import PriorRequest

SETTINGS_FILE = "cordgap.toml"


def start_logging(quiet: bool, verbose: int) -> None:
    """Send log messages to stderr: warnings by default."""
    level = (
        logging.ERROR if quiet else (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    )
    logging.basicConfig(level=level, stream=sys.stderr, format="%(name)s: %(message)s", force=True)
    # What other packages say of their own work is no news of a plan.
    for name in ("pydicom", "fontTools", "matplotlib", "numba"):
        logging.getLogger(name).setLevel(logging.ERROR)


@dataclass
class PlanOptions:
    """Options of one run: the command line first, then ``cordgap.toml`` in the plan folder."""

    path: Path | None
    rtstruct: str | None = None
    rtdose: list[str] = field(default_factory=list)
    rtplan: str | None = None
    accept: list[str] = field(default_factory=list)
    relative_dose_gy: float | None = None
    cord: str | None = None
    target: str | None = None
    rx: float | None = None
    fractions: int | None = None
    protocol: str | None = None
    constraint: list[str] = field(default_factory=list)
    row: list[str] = field(default_factory=list)
    coverage: list[str] = field(default_factory=list)
    max_mm: float | None = None
    level: list[str] = field(default_factory=list)
    method: str | None = None
    reachable: str | None = None
    alpha_beta: float | None = None
    prior: list[str] = field(default_factory=list)
    prior_fractions: list[int] = field(default_factory=list)
    prior_date: list[str] = field(default_factory=list)
    registration: list[str] = field(default_factory=list)
    recovery: bool = False
    scenarios: str | None = None
    falloff: str | None = None
    identify: bool = False
    from_file: tuple[str, ...] = ()

    @classmethod
    def given(cls, arguments: Mapping[str, Any]) -> PlanOptions:
        """Return the options of a verb; what is None was not given."""
        there = {name: value for name, value in arguments.items() if value is not None}
        return cls(**{"path": None, **there})

    def filled_from_file(self) -> PlanOptions:
        """Return the options with what ``cordgap.toml`` says where the command line is silent.

        Raises
        ------
        OptionError
            If the file cannot be read, has a key or a type that is not known, or if a value of
            either source makes no sense.
        """
        self._check()
        file = None if self.path is None else self.path / SETTINGS_FILE
        if file is None or not file.is_file():
            return self
        try:
            table = tomllib.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise OptionError(f"{SETTINGS_FILE}: not valid TOML: {error}") from error
        values = dict(self.__dict__)
        used = []
        for key, value in table.items():
            kind = _FILE_KEYS.get(key)
            if kind is None:
                raise OptionError(
                    f"{SETTINGS_FILE}: unknown key {key!r}; known keys are "
                    + ", ".join(sorted(_FILE_KEYS))
                )
            inner = int if key == "prior_fractions" else str
            if kind is list and type(value) is inner:
                value = [value]
            if isinstance(value, bool) != (kind is bool) or not isinstance(value, _ACCEPTED[kind]):
                raise OptionError(f"{SETTINGS_FILE}: {key} is {value!r}, expected {_WORDS[kind]}")
            if isinstance(value, list) and not all(type(v) is inner for v in value):
                words = "strings" if inner is str else "whole numbers"
                raise OptionError(f"{SETTINGS_FILE}: {key} must hold {words} only")
            # What belongs to the previous courses of the command line comes from there alone.
            if key.startswith("prior") and self.prior:
                continue
            # Only what was not given is absent: 0 and "" are values, and wrong ones.
            if values[key] is None or values[key] in ([], False):
                values[key] = value
                used.append(key)
        values["from_file"] = tuple(used)
        options = PlanOptions(**values)
        options._check()
        return options

    def _check(self) -> None:
        """Complain about values that make no sense, naming where they come from."""
        for key, (low, high) in _RANGES.items():
            number = getattr(self, key)
            # Written so that NaN is refused.
            if number is not None and not low <= number <= high:
                raise OptionError(f"{self._source(key)} is {number}, expected {low:g} to {high:g}")
        for key in _TEXTS:
            text = getattr(self, key)
            if text is not None and not text.strip():
                raise OptionError(f"{self._source(key)} is blank; give a value or leave it out")
        methods = get_args(MethodName)
        if self.method is not None and self.method not in methods:
            raise OptionError(
                f"{self._source('method')} is {self.method!r}, expected one of {', '.join(methods)}"
            )
        for word in self.accept:
            if word not in ACCEPT_WORDS:
                raise OptionError(
                    f"{self._source('accept')} is {word!r}, expected {' or '.join(ACCEPT_WORDS)}"
                )
        self._levels()
        self._priors()

    def _priors(self) -> tuple[PriorRequest, ...]:
        return prior_requests(self.prior, self.prior_fractions, self.prior_date)

    def _levels(self) -> tuple[tuple[str, float, float], ...]:
        source = self._source("level")
        levels = tuple(parse_level(text, source) for text in self.level)
        names: set[str] = set()
        for name, _, _ in levels:
            if name.casefold() in names:
                raise OptionError(f"{source}: {name} is named twice; give each level once")
            names.add(name.casefold())
        return levels

    def _source(self, key: str) -> str:
        """Return where a value comes from, as messages name it."""
        if key in self.from_file:
            return f"{SETTINGS_FILE}: {key}"
        return "--" + key.replace("_", "-")

    def prescription(self, case: Case | None) -> Prescription | None:
        """Return the prescription: options over RTPLAN; a half-given one is completed from it.

        Raises
        ------
        OptionError
            If one half is given and the other is not known.
        """
        from cordgap.case.case import Prescription

        planned = case.prescription if case else None
        if self.rx is None and self.fractions is None:
            return planned
        dose = self.rx if self.rx is not None else (planned.dose_gy if planned else None)
        number = self.fractions
        if number is None and planned is not None:
            number = planned.fractions
        if dose is None or number is None:
            missing = "--rx GY" if dose is None else "--fractions N"
            raise OptionError(f"the prescription is incomplete: give {missing} too")
        given = {"rx", "fractions"} & set(self.from_file)
        return Prescription(float(dose), int(number), SETTINGS_FILE if given else "option")

    def settings(self, case: Case | None) -> Settings:
        """Return the settings of the analysis."""
        from cordgap.analysis import Settings
        from cordgap.dvh.metrics import parse_goal
        from cordgap.limits.radiobiology import CORD_ALPHA_BETA_GY
        from cordgap.separation.estimate import DEFAULT_MAX_MM, parse_sextants

        protocol = self._inside(self.protocol) if self.protocol else self.protocol
        method: Any = self.method
        return Settings(
            protocol=protocol,
            constraints=tuple(dict.fromkeys(parse_goal(text) for text in self.constraint)),
            rows=tuple(dict.fromkeys(self.row)),
            coverage=tuple(dict.fromkeys(parse_goal(text) for text in self.coverage)),
            cord=self.cord,
            target=self.target,
            prescription=self.prescription(case),
            method=method,
            reachable=parse_sextants(self.reachable) if self.reachable is not None else (),
            max_mm=DEFAULT_MAX_MM if self.max_mm is None else self.max_mm,
            alpha_beta_gy=CORD_ALPHA_BETA_GY if self.alpha_beta is None else self.alpha_beta,
            recovery=self.recovery,
            levels=self._levels(),
            **self._models(),
        )

    def _models(self) -> dict[str, Any]:
        """Read the files of scenarios and falloff; names inside PATH are found too."""
        models: dict[str, Any] = {}
        if self.scenarios is not None:
            from cordgap.separation.uncertainty import load_scenarios

            models["scenarios"] = load_scenarios(self._inside(self.scenarios))
        if self.falloff is not None:
            from cordgap.separation.learned import load_falloff

            models["falloff"] = load_falloff(self._inside(self.falloff))
        return models

    def _inside(self, name: str) -> str:
        if self.path is not None and (self.path / name).is_file():
            return str(self.path / name)
        return name

    def read(
        self,
        *,
        need_dose: bool = True,
        with_image: bool = True,
        wanted: Collection[str] | Callable[[str], bool] | None = None,
    ) -> Case:
        """Read the case these options name."""
        from cordgap.dicom.overrides import Overrides
        from cordgap.dicom.read import read_case

        return read_case(
            self.path,
            rtstruct=self.rtstruct,
            rtdose=tuple(self.rtdose),
            rtplan=self.rtplan,
            need_dose=need_dose,
            with_image=with_image,
            wanted=wanted,
            identify=self.identify,
            overrides=Overrides(
                ignore_frame_of_reference="frame-of-reference" in self.accept,
                relative_dose_gy=self.relative_dose_gy,
                one_fraction="one-fraction" in self.accept,
                fractions=self.fractions,
            ),
            priors=self._priors(),
            registrations=[inside(self.path, name) for name in self.registration],
            progress=_Progress() if sys.stderr.isatty() else None,
        )


class _Progress:
    """Tells on a terminal how many files were looked at; silent for small folders."""

    def __init__(self) -> None:
        self._console: Any = None

    def __call__(self, files: int) -> None:
        if self._console is None:
            from rich.console import Console

            self._console = Console(stderr=True, highlight=False)
        self._console.print(f"{files} files looked at", end="\r")


_FILE_KEYS: dict[str, type] = {
    "rtstruct": str,
    "rtdose": list,
    "rtplan": str,
    "accept": list,
    "relative_dose_gy": float,
    "cord": str,
    "target": str,
    "rx": float,
    "fractions": int,
    "protocol": str,
    "constraint": list,
    "coverage": list,
    "max_mm": float,
    "level": list,
    "method": str,
    "reachable": str,
    "alpha_beta": float,
    "row": list,
    "prior": list,
    "prior_fractions": list,
    "prior_date": list,
    "registration": list,
    "recovery": bool,
    "scenarios": str,
    "falloff": str,
}
_TEXTS = tuple(key for key, kind in _FILE_KEYS.items() if kind is str)
_RANGES: dict[str, tuple[float, float]] = {
    "rx": RX_RANGE_GY,
    "relative_dose_gy": RX_RANGE_GY,
    "fractions": FRACTIONS_RANGE,
    "max_mm": MAX_RANGE_MM,
    "alpha_beta": ALPHA_BETA_RANGE_GY,
}
_ACCEPTED: dict[type, tuple[type, ...]] = {
    str: (str,),
    list: (list,),
    float: (float, int),
    int: (int,),
    bool: (bool,),
}
_WORDS: dict[type, str] = {
    str: "a string",
    list: "a list",
    float: "a number",
    int: "a whole number",
    bool: "true or false",
}


def parse_level(text: str, source: str = "--level") -> tuple[str, float, float]:
    """Read ``T7=-12:8`` into a name and the range of z in mm; ``source`` is for the message.

    Raises
    ------
    OptionError
        If it has another form.
    """
    name, _, span = text.partition("=")
    low, _, high = span.partition(":")
    try:
        bottom, top = float(low), float(high)
    except ValueError:
        raise OptionError(
            f"{source} {text}: expected NAME=FROM:TO with z in mm, T7=-12:8"
        ) from None
    if not (math.isfinite(bottom) and math.isfinite(top)):
        raise OptionError(f"{source} {text}: expected finite numbers for FROM and TO")
    if not name.strip() or bottom >= top:
        raise OptionError(f"{source} {text}: expected a name and FROM below TO")
    return name.strip(), bottom, top


_emitted = False


def start_output() -> None:
    """Forget what an earlier command in this process has printed."""
    global _emitted
    _emitted = False


def emit(document: dict[str, Any]) -> None:
    """Print one JSON document on stdout."""
    from cordgap.report.tables import to_json

    global _emitted
    text = to_json(document)
    _emitted = True
    print(text)


def emit_error(error: Exception) -> None:
    """Print an error as JSON where ``--json`` was given and stdout holds no document yet."""
    if "--json" in sys.argv[1:] and not _emitted:
        from cordgap.report.tables import error_document

        document = error_document(error)
        message = document["error"]["message"]
        document["error"] |= {"message": without_paths(message, sys.argv[1:])}
        emit(document)


def without_paths(message: str, words: Iterable[str]) -> str:
    """Leave the paths that the user typed, and their parents, out of a message that is kept."""
    paths = {str(p) for word in words if os.sep in word for p in (Path(word), *Path(word).parents)}
    for path in sorted(paths - {os.sep, "."}, key=len, reverse=True):
        message = message.replace(path, "...")
    return message


def tell(findings: tuple[Finding, ...], *, quiet: bool) -> None:
    """Print warnings on stderr."""
    if quiet:
        return
    for finding in findings:
        if finding.severity != "info":
            print(f"{finding.severity}: {finding.message} [{finding.code}]", file=sys.stderr)


def report_error(error: Exception) -> int:
    """Print an error, as JSON on stdout too where ``--json`` was given; return the exit code."""
    if isinstance(error, CordgapError):
        print(f"cordgap: error: {error}", file=sys.stderr)
    elif isinstance(error, OSError):
        from cordgap.report.files import words_of

        print(f"cordgap: error: {words_of(error)}", file=sys.stderr)
    else:
        print(
            f"cordgap: unexpected {type(error).__name__}; this is a fault of cordgap, please "
            "report it. Set CORDGAP_DEBUG=1 to see where it happened.",
            file=sys.stderr,
        )
    emit_error(error)
    return 2

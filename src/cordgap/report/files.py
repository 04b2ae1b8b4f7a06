"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from cordgap.errors import OptionError


def check_folder(folder: Path) -> None:
    """See that files can be written into a folder that may not be there yet; leaves no trace.

    Raises
    ------
    OptionError
        If it is a file, or cannot be made or written into.
    """
    try:
        place = folder
        while not place.exists():
            if place.is_symlink():
                raise OptionError(f"--out {folder}: {place} is a link to nothing; name a folder")
            place = place.parent
        if not place.is_dir():
            raise OptionError(f"--out {folder}: {place} is a file; name a folder")
        # Permission bits do not tell everything: try it.
        with tempfile.TemporaryDirectory(prefix=".cordgap-", dir=place):
            pass
    except OSError as error:
        raise unwritable(folder, error) from error


def unwritable(folder: Path, error: OSError) -> OptionError:
    """Return the error that says why nothing can be written into a folder."""
    reason = error.strerror or type(error).__name__
    return OptionError(f"the report folder {folder} cannot be written: {reason}; name another")


def words_of(error: OSError) -> str:
    """Say what the operating system refused, and of which file; never the folder.

    Folders are often named after patients.
    """
    reason = error.strerror or type(error).__name__
    if error.filename is None:
        return str(error) if error.strerror is None else reason
    file = Path(os.fsdecode(error.filename))
    return reason if file.is_dir() else f"{file.name}: {reason}"


def write_file(path: Path, content: bytes | str) -> Path:
    """Write a file through a temporary one beside it, so that no reader sees half of it.

    Text is written as UTF-8, line ends as they are.
    """
    part = _part(path)
    try:
        part.write_bytes(_data(content))
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return path


def write_files(folder: Path, contents: Mapping[str, bytes | str]) -> list[Path]:
    """Write files into a folder; none is put in its place before all are on the disk.

    Where that fails, what was written and what was made is removed again.

    Parameters
    ----------
    folder : Path
        Made if it is not there; files of the same names are replaced.
    contents : mapping of str to bytes or str
        What goes into each file, by its path inside the folder.
    """
    parts: dict[Path, Path] = {}
    made: list[Path] = []
    new: list[Path] = []
    try:
        for name, content in contents.items():
            path = folder / name
            _make_folder(path.parent, made)
            if path.is_dir():
                raise IsADirectoryError(0, f"{name} is a folder", str(path))
            parts[path] = _part(path)
            parts[path].write_bytes(_data(content))
        for path, part in parts.items():
            fresh = not path.exists()
            part.replace(path)
            if fresh:
                new.append(path)
    except BaseException:
        for path in (*parts.values(), *new):
            with suppress(OSError):
                path.unlink(missing_ok=True)
        for place in reversed(made):
            with suppress(OSError):
                place.rmdir()
        raise
    return list(parts)


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def _data(content: bytes | str) -> bytes:
    return content.encode("utf-8") if isinstance(content, str) else content


def _make_folder(folder: Path, made: list[Path]) -> None:
    """Make a folder and its parents, noting those that were not there."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        _make_folder(folder.parent, made)
    folder.mkdir()
    made.append(folder)

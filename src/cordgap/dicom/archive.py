"""A ZIP file of a plan -> a folder that is removed when the program ends."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import zipfile
from pathlib import Path

from cordgap.errors import DicomError

# A plan with its images stays far below; more is a mistake, or a bomb.
MAX_UNPACKED_BYTES = 8 << 30
MAX_MEMBERS = 200_000
_COPY_BYTES = 1 << 20


def is_zip(path: Path) -> bool:
    """Tell whether a file is a ZIP archive, by content."""
    return path.is_file() and zipfile.is_zipfile(path)


def unpacked(path: Path) -> Path:
    """Unpack a ZIP file into a private folder for temporary files.

    Returns
    -------
    Path
        The folder; it is removed when the program ends.

    Raises
    ------
    DicomError
        When the archive is damaged, encrypted, or larger than any plan.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if not m.is_dir()]
            _refuse_unusable(path, members)
            folder = Path(tempfile.mkdtemp(prefix="cordgap-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            left = MAX_UNPACKED_BYTES
            for member in members:
                left = _unpack(archive, member, folder, left)
    except DicomError:
        raise
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, OSError) as error:
        raise DicomError(
            f"{path.name}: the ZIP file cannot be unpacked ({type(error).__name__}); unpack it "
            "yourself and give the folder",
            code="archive-damaged",
            file=path.name,
        ) from error
    except Exception as error:  # zlib.error and whatever a damaged stream raises
        raise DicomError(
            f"{path.name}: the ZIP file is damaged ({type(error).__name__}); copy it again",
            code="archive-damaged",
            file=path.name,
        ) from error
    return folder


def _refuse_unusable(path: Path, members: list[zipfile.ZipInfo]) -> None:
    if any(member.flag_bits & 1 for member in members):
        raise DicomError(
            f"{path.name}: the ZIP file is encrypted; unpack it yourself and give the folder",
            code="archive-encrypted",
            file=path.name,
        )
    size = sum(member.file_size for member in members)
    if len(members) > MAX_MEMBERS or size > MAX_UNPACKED_BYTES:
        raise _too_large(path.name, f"{len(members)} files of {size} bytes")


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, left: int) -> int:
    """Unpack one file, below the folder whatever its name says; return the bytes still allowed."""
    parts = [p for p in Path(member.filename.replace("\\", "/")).parts if p not in ("..", ".", "/")]
    target = folder.joinpath(*(part.replace(":", "_") for part in parts))
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, target.open("wb") as stream:
        while block := source.read(_COPY_BYTES):
            left -= len(block)
            if left < 0:
                raise _too_large(str(archive.filename or "archive"), "more than it states")
            stream.write(block)
    return left


def _too_large(name: str, found: str) -> DicomError:
    return DicomError(
        f"{Path(name).name}: found {found} in the ZIP file, expected at most {MAX_MEMBERS} files "
        f"and {MAX_UNPACKED_BYTES >> 30} GB; give the folder of one plan",
        code="file-too-large",
        file=Path(name).name,
        found=found,
    )

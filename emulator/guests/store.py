# SPDX-License-Identifier: Apache-2.0
"""The per-user folder with the guests that were fetched.

Each guest has a folder with its files and `guest.json`, which tells where they came from and their
SHA-256. The first file is the guest's image; `parts` are what it needs besides. A guest is put in
place by one rename, so it is there whole or not at all.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from aether_edgecloud.emulator.errors import UserError

_RECORD = "guest.json"


@dataclass(frozen=True, slots=True)
class Part:
    """Where a stored file came from."""

    package: str
    version: str
    source_file: str
    image: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Record:
    """Where a stored guest came from: its image, and its other files."""

    name: str
    package: str
    version: str
    source_file: str
    image: str
    size: int
    sha256: str
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file out of a package, to be stored."""

    package: str
    version: str
    source_file: str
    data: bytes


def folder() -> Path:
    """$AETHER_GUESTS, or aether-edgecloud/guests in the user's data folder."""
    chosen = os.environ.get("AETHER_GUESTS")
    if chosen:
        return Path(chosen)
    data = os.environ.get("XDG_DATA_HOME")
    base = Path(data) if data else Path.home() / ".local" / "share"
    return base / "aether-edgecloud" / "guests"


def record(name: str) -> Record | None:
    """What is stored under `name`; None when nothing is, or its record cannot be read."""
    try:
        fields = json.loads((folder() / name / _RECORD).read_text(encoding="utf-8"))
        parts = tuple(Part(**part) for part in fields.pop("parts", ()))
        found = Record(**fields, parts=parts)
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    stored: tuple[Record | Part, ...] = (found, *parts)
    texts = [text for one in stored for text in (one.package, one.version, one.image, one.sha256)]
    return found if all(isinstance(text, str) for text in texts) else None


def image(name: str) -> Path:
    """The stored image, its SHA-256 checked. UserError when it is missing or damaged."""
    return files(name)[0]


def files(name: str) -> tuple[Path, ...]:
    """All files of a stored guest, the image first, their SHA-256 checked. UserError when one is
    missing or damaged."""
    fix = f"get it with `aether guests fetch {name}`"
    found = record(name)
    if found is None:
        raise UserError(f"guest {name!r} is not here yet", fix=fix)
    stored: tuple[Record | Part, ...] = (found, *found.parts)
    return tuple(_checked(folder() / name, one, fix) for one in stored)


def _checked(base: Path, stored: Record | Part, fix: str) -> Path:
    path = base / Path(stored.image).name
    try:
        data = path.read_bytes()
    except OSError as e:
        raise UserError(f"cannot be read ({e.strerror})", where=str(path), fix=fix) from None
    if hashlib.sha256(data).hexdigest() != stored.sha256:
        raise UserError("is damaged: its SHA-256 does not match", where=str(path), fix=fix)
    return path


def check_place() -> None:
    """Raises UserError if no guest could be stored."""
    place = folder()
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryDirectory(dir=place):
            pass
    except OSError as e:
        raise _cannot_be_written(e) from None


def _cannot_be_written(error: OSError) -> UserError:
    return UserError(
        f"cannot be written ({error.strerror})",
        where=str(folder()),
        fix="set AETHER_GUESTS to a folder you may write",
    )


def put(name: str, package: str, version: str, source_file: str, data: bytes) -> Record:
    """Stores a guest of one file in place of what was there. Raises UserError when it cannot."""
    return put_all(name, (Fetched(package, version, source_file, data),))


def put_all(name: str, fetched: Sequence[Fetched]) -> Record:
    """Stores a guest's files, its image first, in place of what was there. Raises UserError when
    it cannot."""
    parts = [
        Part(
            one.package,
            one.version,
            one.source_file,
            Path(one.source_file).name,
            len(one.data),
            hashlib.sha256(one.data).hexdigest(),
        )
        for one in fetched
    ]
    made = Record(name, **asdict(parts[0]), parts=tuple(parts[1:]))
    base = folder()
    try:
        base.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=base) as scratch:
            new = Path(scratch) / "new"
            new.mkdir()
            for part, one in zip(parts, fetched, strict=True):
                (new / part.image).write_bytes(one.data)
            text = json.dumps(asdict(made), indent=2) + "\n"
            (new / _RECORD).write_text(text, encoding="utf-8")
            _swap(new, base / name, Path(scratch) / "old")
    except OSError as e:
        raise _cannot_be_written(e) from None
    return made


def _swap(new: Path, target: Path, aside: Path) -> None:
    """Puts `new` at `target`; what stood there goes `aside`, and comes back on failure."""
    had_one = target.exists()
    if had_one:
        os.rename(target, aside)
    try:
        os.rename(new, target)
    except OSError:
        if had_one:
            os.rename(aside, target)
        raise
    shutil.rmtree(aside, ignore_errors=True)

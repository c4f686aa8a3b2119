# SPDX-License-Identifier: Apache-2.0
"""The per-user folder with the guests that were fetched.

Each guest has a folder with its image and `guest.json`, which tells where it came from and the
image's SHA-256. A guest is put in place by one rename, so it is there whole or not at all.
"""

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from aether_edgecloud.emulator.errors import UserError

_RECORD = "guest.json"


@dataclass(frozen=True, slots=True)
class Record:
    """Where a stored guest came from."""

    name: str
    package: str
    version: str
    source_file: str
    image: str
    size: int
    sha256: str


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
        found = Record(**fields)
    except (OSError, ValueError, TypeError):
        return None
    texts = (found.package, found.version, found.image, found.sha256)
    return found if all(isinstance(t, str) for t in texts) else None


def image(name: str) -> Path:
    """The stored image, its SHA-256 checked. UserError when it is missing or damaged."""
    fix = f"get it with `aether guests fetch {name}`"
    found = record(name)
    if found is None:
        raise UserError(f"guest {name!r} is not here yet", fix=fix)
    path = folder() / name / Path(found.image).name
    try:
        data = path.read_bytes()
    except OSError as e:
        raise UserError(f"cannot be read ({e.strerror})", where=str(path), fix=fix) from None
    if hashlib.sha256(data).hexdigest() != found.sha256:
        raise UserError("is damaged: its SHA-256 does not match", where=str(path), fix=fix)
    return path


def put(name: str, package: str, version: str, source_file: str, data: bytes) -> Record:
    """Stores a guest's image in place of what was there. Raises UserError when it cannot."""
    digest = hashlib.sha256(data).hexdigest()
    image_name = Path(source_file).name
    made = Record(name, package, version, source_file, image_name, len(data), digest)
    base = folder()
    try:
        base.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=base) as scratch:
            new = Path(scratch) / "new"
            new.mkdir()
            (new / image_name).write_bytes(data)
            text = json.dumps(asdict(made), indent=2) + "\n"
            (new / _RECORD).write_text(text, encoding="utf-8")
            _swap(new, base / name, Path(scratch) / "old")
    except OSError as e:
        raise UserError(
            f"cannot be written ({e.strerror})",
            where=str(base),
            fix="set AETHER_GUESTS to a folder you may write",
        ) from None
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

# SPDX-License-Identifier: Apache-2.0
"""Telemetry of running emulators, for other processes: one small file each in a folder of the user.

    0     u64  sequence: odd while the rest is being written
    8     JSON: who and what, padded with zeros to 4096
    4096  the hypervisor's page, then the VMs', in the emulated machine's own layout

The file is locked as long as its run lives. Whatever goes wrong with it, the run goes on without.
"""

import contextlib
import fcntl
import json
import mmap
import os
import stat
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

from aether_edgecloud.emulator.telemetry.layout import MAX_VMS, PAGE_SIZE
from aether_edgecloud.emulator.telemetry.pages import RawPages

_SUFFIX = ".telemetry"
_SEQUENCE = struct.Struct("<Q")
_SIZE = PAGE_SIZE * (2 + MAX_VMS)
_TRIES = 1000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a run has published last: `facts` are those given to `Publisher.publish`."""

    pid: int
    facts: dict[str, object]
    pages: RawPages | None


def folder() -> Path:
    """Where the files are: in the user's runtime folder, else in that for temporary files."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_absolute():
        return Path(runtime) / "aether-edgecloud"
    return Path(tempfile.gettempdir()) / f"aether-edgecloud-{os.getuid()}"


class Publisher:
    """Use as a context; the file is there inside it only."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._file: int | None = None
        self._map: mmap.mmap | None = None
        self._sequence = 0

    def publish(self, facts: dict[str, object], pages: RawPages | None) -> None:
        """Shows the state of the run. `facts` must fit into 4 KiB as JSON."""
        if self._map is None:
            return
        text = json.dumps({**facts, "vms": 0 if pages is None else len(pages.vms)}).encode()
        if len(text) > PAGE_SIZE - _SEQUENCE.size:
            return
        self._sequence += 1
        _SEQUENCE.pack_into(self._map, 0, self._sequence)
        self._map[_SEQUENCE.size : PAGE_SIZE] = text.ljust(PAGE_SIZE - _SEQUENCE.size, b"\0")
        if pages is not None:
            body = b"".join((pages.hypervisor, *pages.vms))
            self._map[PAGE_SIZE : PAGE_SIZE + len(body)] = body
        self._sequence += 1
        _SEQUENCE.pack_into(self._map, 0, self._sequence)

    def __enter__(self) -> "Publisher":
        place = folder()
        try:
            place.mkdir(mode=0o700, exist_ok=True)
            if not _is_ours(place):
                return self
            # Locked before it gets its name: without a lock it would be taken for a dead run's.
            self._path = place / f".{os.getpid()}"
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._file = os.open(self._path, flags, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._file, 0)
            # Written, not only made longer: a full disk is told here, and not by a signal later.
            os.write(self._file, bytes(_SIZE))
            self._path = self._path.rename(place / f"{os.getpid()}{_SUFFIX}")
            self._map = mmap.mmap(self._file, _SIZE)
        except OSError:
            self._close()
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._map is not None:
            self._map.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        if self._file is not None:
            os.close(self._file)
        self._map = self._path = self._file = None


def _is_ours(place: Path) -> bool:
    """Nobody else can put files there: it is a folder, no link, and this user's alone."""
    found = place.lstat()
    private = stat.S_IMODE(found.st_mode) & 0o077 == 0
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and private


def running() -> tuple[int, ...]:
    """The process IDs of the runs there are. Files whose run is gone are removed."""
    place = folder()
    try:
        if not _is_ours(place):
            return ()
        names = sorted(place.iterdir())
    except OSError:
        return ()
    found: list[int] = []
    for path in names:
        if path.suffix == _SUFFIX and path.stem.isdecimal():
            if _is_alive(path):
                found.append(int(path.stem))
            else:
                with contextlib.suppress(OSError):
                    path.unlink()
    return tuple(sorted(found))


def _is_alive(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False


def read(pid: int) -> Snapshot | None:
    """What run `pid` has published; None when it is gone, or has published nothing yet."""
    path = folder() / f"{pid}{_SUFFIX}"
    if not _is_alive(path):
        return None
    for _ in range(_TRIES):
        try:
            data = path.read_bytes()
            after = path.read_bytes()[: _SEQUENCE.size]
        except OSError:
            return None
        if len(data) < _SIZE:
            continue
        (sequence,) = _SEQUENCE.unpack_from(data)
        if sequence % 2 == 0 and data[: _SEQUENCE.size] == after:
            return None if sequence == 0 else _snapshot(pid, data)
    return None


def _snapshot(pid: int, data: bytes) -> Snapshot | None:
    try:
        facts = json.loads(data[_SEQUENCE.size : PAGE_SIZE].rstrip(b"\0"))
        count = int(facts.pop("vms"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    pages = [data[at : at + PAGE_SIZE] for at in range(PAGE_SIZE, _SIZE, PAGE_SIZE)]
    if not count or count > MAX_VMS:
        return Snapshot(pid, facts, None)
    return Snapshot(pid, facts, RawPages(pages[0], tuple(pages[1 : 1 + count])))

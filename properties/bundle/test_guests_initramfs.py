# SPDX-License-Identifier: Apache-2.0
"""The initramfs of the guest `linux`, and the archive format it is in."""

import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.guests import cpio, initramfs

NAMES = (
    "[", "[[", "cat", "cttyhack", "devmem", "mount", "nproc", "poweroff", "printf", "reboot",
    "setsid", "sh", "sleep", "taskset", "yes",
)  # fmt: skip


def busybox(names: tuple[str, ...] = NAMES) -> bytes:
    """A program with a list of names as busybox has it."""
    return b"\x7fELF code\0" + "".join(f"{n}\0" for n in names).encode() + b"\0 more\0"


def unpack(archive: bytes) -> list[tuple[str, int, bytes, tuple[int, ...]]]:
    """Path, mode, data and the other numbers of every entry, as the format's description says."""
    found: list[tuple[str, int, bytes, tuple[int, ...]]] = []
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        numbers = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        name_size, size = numbers[11], numbers[6]
        name = archive[at + 110 : at + 110 + name_size]
        assert name[-1:] == b"\0"
        start = (at + 110 + name_size + 3) // 4 * 4
        path = name[:-1].decode()
        at = (start + size + 3) // 4 * 4
        if path == "TRAILER!!!":
            assert at == len(archive)
            return found
        found.append((path, numbers[1], archive[start : start + size], tuple(numbers)))


PATHS = st.text("abcxyz/.-", min_size=1, max_size=12)
ENTRIES = st.lists(
    st.builds(cpio.Entry, PATHS, st.sampled_from([0o100644, 0o40755, 0o120777]), st.binary()),
    unique_by=lambda e: e.path,
    max_size=6,
)


@given(ENTRIES, st.randoms())
def test_what_is_archived_is_there_in_order(entries: list[cpio.Entry], random: object) -> None:
    archive = cpio.archive(entries)
    found = unpack(archive)
    assert {(path, mode, data) for path, mode, data, _ in found} == {
        (e.path, e.mode, e.data) for e in entries
    }
    assert [path for path, *_ in found] == sorted(e.path for e in entries)
    assert cpio.archive(reversed(entries)) == archive, "whatever the order they were given in"
    assert [numbers[0] for *_, numbers in found] == list(range(1, len(found) + 1)), "inodes"
    for *_, numbers in found:
        uid, gid, mtime = numbers[2], numbers[3], numbers[5]
        assert (uid, gid, mtime) == (0, 0, 0)


def test_one_path_twice() -> None:
    with pytest.raises(ValueError, match="one path"):
        cpio.archive([cpio.file("a", b""), cpio.folder("a")])


def test_what_linux_and_init_need_is_there() -> None:
    program = busybox()
    entries = {
        path: (mode, data, rest) for path, mode, data, rest in unpack(initramfs.build(program))
    }
    mode, data, numbers = entries["dev/console"]
    assert stat.S_ISCHR(mode)
    assert numbers[9:11] == (5, 1)
    assert entries["bin/busybox"][:2] == (0o100755, program)
    assert entries["init"][0] == 0o100755
    assert entries["init"][1].startswith(b"#!/bin/busybox sh\n")
    for name in NAMES:
        mode, data, _ = entries[f"bin/{name}"]
        assert stat.S_ISLNK(mode)
        assert data == b"busybox"
    for name in ("proc", "sys", "dev", "bin"):
        assert stat.S_ISDIR(entries[name][0])


@pytest.mark.parametrize("missing", ["nproc", "sh", "cttyhack"])
def test_a_busybox_that_lacks_something(missing: str) -> None:
    names = tuple(name for name in NAMES if name != missing)
    with pytest.raises(UserError, match=f"has no {missing}"):
        initramfs.build(busybox(names))


def test_what_is_no_busybox() -> None:
    with pytest.raises(UserError, match="this busybox has no"):
        initramfs.build(b"\x7fELF")


def test_init_is_sound_shell_and_knows_every_end(tmp_path: Path) -> None:
    shell = shutil.which("dash") or shutil.which("sh")
    assert shell is not None
    init = next(data for path, _, data, _ in unpack(initramfs.build(busybox())) if path == "init")
    (tmp_path / "init").write_bytes(init)
    subprocess.run([shell, "-n", str(tmp_path / "init")], check=True)
    for word in initramfs.THEN:
        assert f"\n{word})".encode() in init

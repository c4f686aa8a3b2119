# SPDX-License-Identifier: Apache-2.0
"""Boots of the real binary up to the first instruction of a guest, and what they left."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from aether_edgecloud.emulator.arch import sysregs
from aether_edgecloud.emulator.boards.board import Board, Placement
from aether_edgecloud.emulator.bundle.check import HostLayout
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.elf import symbols
from aether_edgecloud.emulator.elf.symbols import Symbols
from aether_edgecloud.emulator.launch import binary, host
from aether_edgecloud.emulator.launch.binary import El2Binary
from aether_edgecloud.emulator.machine import Machine, Stop, StopKind
from aether_edgecloud.emulator.machine.console import Bytes
from aether_edgecloud.emulator.report.machine_state import read_state
from aether_edgecloud.properties.boots.structures import offsets
from aether_edgecloud.stage2.decode import Decoded, Geometry, decode_tables

STEP = 2_000
"""Instructions between two looks for a guest's first: fewer than a slot's window has."""
MOST = 12_000_000
_MOST_BANKS = 8
"""BOARD_MAX_BANKS."""
FREE, FIRMWARE, EL2, VM = 0, 1, 2, 16
"""Owners of a frame; that of a VM is VM + VMID."""
IS_FREE, IS_OWNED, IS_TABLE, IS_SHOWN = range(4)
"""States of a frame."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The boot ended without a guest: what, by the console."""

    line: str


@dataclass(frozen=True, slots=True)
class Booted:
    """A machine at a guest's first instructions."""

    machine: Machine
    el2: El2Binary

    @property
    def image(self) -> range:
        """PAs of the hypervisor's image."""
        start = self.machine.board.place(self.el2.image.memory_size, 0).image.start
        return range(start, start + self.el2.image.memory_size)

    def symbol(self, name: str) -> int:
        found = _symbols(self.image).address_of(name)
        assert found is not None, name
        return found

    def read(self, pa: int, size: int) -> bytes:
        memory = self.machine.memory
        start = pa - memory.ram_base
        assert 0 <= start <= memory.ram_size - size, hex(pa)
        return bytes(memory.bytes[start : start + size])

    def frames(self) -> dict[int, tuple[int, int]]:
        """Owner and state of every frame, by PA."""
        frame = self._offsets("frame")
        owner, state, size = frame["owner"], frame["state"], frame[""]
        found: dict[int, tuple[int, int]] = {}
        for base, count, table in self._banks():
            data = self.read(table, count * size)
            places = range(base, base + 4096 * count, 4096)
            pairs = zip(data[owner::size], data[state::size], strict=True)
            found.update(zip(places, pairs, strict=True))
        return found

    def frame_table(self) -> set[int]:
        """The PAs of the pages that hold it."""
        size = self._offsets("frame")[""]
        return {
            page
            for _, count, table in self._banks()
            for page in range(table & -4096, table + count * size, 4096)
        }

    def _banks(self) -> Iterator[tuple[int, int, int]]:
        """Base, number of frames, and where their entries are, of each bank of RAM."""
        layout, at = self._offsets("frame_bank"), self.symbol("frame_banks")
        for _ in range(_MOST_BANKS):
            if not (count := self._word(at + layout["count"])):
                return
            yield self._word(at + layout["base"]), count, self._word(at + layout["frames"])
            at += layout[""]

    def _offsets(self, name: str) -> dict[str, int]:
        assert self.el2.elf is not None
        return offsets(self.el2.elf, name)

    @property
    def vm_count(self) -> int:
        return int(struct.unpack("<I", self.read(self.symbol("vm_count"), 4))[0])

    def stage2(self, vm: int) -> Decoded:
        """What stands in the tables of a VM, by its number."""
        layout = self._offsets("vm")
        at = self.symbol("vms") + vm * layout[""]
        root = self._word(at + layout["stage2"] + self._offsets("pgt")["root"])
        vmid = struct.unpack("<H", self.read(at + layout["vmid"], 2))[0]
        vtcr = self.machine.cpu.system_register(sysregs.by_name("VTCR_EL2")) or 0
        geometry = Geometry.stage2(vtcr, root | vmid << 48)
        return decode_tables(self._table, geometry)

    def el2_map(self) -> Decoded:
        """What stands in EL2's own tables."""
        found = read_state(self.machine, 0, Stop(StopKind.LIMIT, 0, 0, 0), ()).el2
        assert isinstance(found, Decoded)
        return found

    def _word(self, pa: int) -> int:
        return int(struct.unpack("<Q", self.read(pa, 8))[0])

    def _table(self, pa: int, entries: int, /) -> list[int] | None:
        memory = self.machine.memory
        start = pa - memory.ram_base
        if not 0 <= start <= memory.ram_size - 8 * entries:
            return None
        return memory.bytes[start : start + 8 * entries].cast("Q").tolist()


@cache
def _binary() -> El2Binary:
    return binary.load(None)


@cache
def _symbols(image: range) -> Symbols:
    return symbols.load(_binary().elf, image)


def layout(board: Board, bundle_size: int) -> HostLayout:
    """What a VM can have of the board."""
    return host.layout(board, _binary().image.memory_size, bundle_size)


def places(board: Board, bundle: bytes) -> Placement:
    """Where the firmware puts what it loads."""
    return board.place(_binary().image.memory_size, len(bundle))


def boot(board: Board, bundle: bytes, *, dtb: bytes | None = None) -> Booted | Refused:
    """Boots `bundle`; `dtb` replaces the board's own device tree. The caller closes the machine
    of a `Booted`. AssertionError for a boot that ends in any other way than these two."""
    el2 = _binary()
    machine = Machine(board, el2.image, bundle, mmu=MmuMode.NATIVE, source=Bytes(b""))
    if dtb is not None:
        place = board.place(el2.image.memory_size, len(bundle)).dtb
        start = place.start - board.ram_base
        machine.memory.bytes[start : start + len(place)] = dtb.ljust(len(place), b"\0")
    stop = Stop(StopKind.LIMIT, 0, 2, 0)
    while stop.kind is StopKind.LIMIT and stop.instructions < MOST:
        stop = machine.run(machine.instructions + STEP)
        executes = any(sum(cpu.instructions_by_el()[:2]) for cpu in machine.cpus)
        # Not one is retired if the first is undefined and there is no vector for that.
        if executes or b": crash: " in bytes(machine.console.output):
            return Booted(machine, el2)
    booted = Booted(machine, el2)
    try:
        return Refused(_refusal(booted, stop))
    finally:
        machine.close()


def _refusal(booted: Booted, stop: Stop) -> str:
    """The one line; where there is no UART, from the buffer of early lines. Where nothing is known
    of PSCI the machine waits for ever."""
    data = bytes(booted.machine.console.output)
    ended = (StopKind.SYSTEM_OFF, StopKind.DEADLOCK)
    assert stop.kind in ended, f"{stop}\n{data.decode('latin-1')}"
    if not data:
        at = booted.symbol("console_early")
        data = booted.read(at, 4096).partition(b"\0")[0]
    lines = data.decode("latin-1").split("\r\n")
    assert lines[0].startswith("[aether] Aether EdgeCloud EL2 "), lines
    assert lines[2:] == ["[aether] end: boot-failed", ""], lines
    where, _, rest = lines[1].removeprefix("[aether] boot: ").partition(": ")
    what, _, fix = rest.partition("; ")
    assert lines[1].startswith("[aether] boot: ") and where and what and fix, lines
    assert lines[1].isprintable()
    return lines[1]

# SPDX-License-Identifier: Apache-2.0
"""Cache and TLB maintenance of the binary, from its events: the emulator has no caches, so what is
forgotten would not show in a run.

A VM of a few pinned pages resets itself for ever. Watched: the boot, and its first two lives.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import keystone
import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.bundle import format, manifest
from aether_edgecloud.emulator.bundle.manifest import Image, Memory, Vm
from aether_edgecloud.emulator.bundle.schedule import equal_shares
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.cpu.registers import key
from aether_edgecloud.emulator.machine import BootImage, Machine
from aether_edgecloud.emulator.monitor.events import Event, EventKind
from aether_edgecloud.emulator.monitor.monitor import Monitor, Record
from aether_edgecloud.emulator.monitor.violation import Violation
from aether_edgecloud.emulator.toolchain import Artefact

BASE = 0x4000_0000
MEMORY_PA = 0x4180_0000
MEMORY_SIZE = 0x8000
LOADED_AT = 0x4020_0000
RAM_SIZE = 64 << 20
LIMIT = 1_000_000
LINE = 64
RESET = "movz x0, #0x8400, lsl #16\n movk x0, #9\n hvc #0\n"
SCTLR_M = 1

DC_ZVA = f"{key(1, 3, 7, 4, 1):#06x}"
DC_CIVAC = f"{key(1, 3, 7, 14, 1):#06x}"
DC_IVAC = f"{key(1, 0, 7, 6, 1):#06x}"
IC_IALLU = f"{key(1, 0, 7, 5, 0):#06x}"
IC_IALLUIS = f"{key(1, 0, 7, 1, 0):#06x}"


@dataclass(frozen=True, slots=True)
class Watched:
    """What CPU 0 did, and what the monitor thought of it."""

    events: list[Event]
    violation: Violation | None
    symbols: dict[str, int]

    def index(self, kind: EventKind, name: str = "", start: int = 0) -> int:
        """The first such event from `start` on."""
        for i in range(start, len(self.events)):
            event = self.events[i]
            if event.kind is kind and (not name or event.name == name):
                return i
        raise AssertionError(f"no {kind.value} {name}")

    def lives(self) -> list[list[Event]]:
        """What comes before the first entry of each life: the boot, then a restart."""
        first = self.index(EventKind.ERET)
        again = self.index(EventKind.MAINTENANCE, IC_IALLUIS, first)
        return [self.events[:first], self.events[first : self.index(EventKind.ERET, start=again)]]


def watch(el2: Artefact, cpus: int) -> Watched:
    code, _ = keystone.Ks(keystone.KS_ARCH_ARM64, keystone.KS_MODE_LITTLE_ENDIAN).asm(
        RESET, as_bytes=True
    )
    vms = tuple(
        Vm(f"vm{i}", 1, BASE, 0, (Memory(BASE, MEMORY_SIZE, pa),), (Image(0, BASE),), ())
        for i, pa in enumerate(range(MEMORY_PA, MEMORY_PA + cpus * MEMORY_SIZE, MEMORY_SIZE))
    )
    tree = manifest.encode(manifest.Manifest(vms, equal_shares([[i] for i in range(cpus)])))
    bundle = format.pack(format.Bundle(tree, (format.Blob("image", code),)))
    image = BootImage.from_file(Path(el2.flat))
    machine = Machine(virt(RAM_SIZE, cpus), image, bundle, mmu=MmuMode.MODEL)
    monitor = Monitor(machine, record=Record.CACHES_TOO)
    machine.run(until=LIMIT)
    print(bytes(machine.console.output).decode("latin-1"))  # for whoever looks into a failure
    with Path(el2.elf).open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        symbols = {s.name: LOADED_AT + s["st_value"] for s in table.iter_symbols()}
    return Watched([e for e in monitor.events if e.cpu == 0], monitor.violation, symbols)


@pytest.fixture(scope="module")
def watched(el2: Artefact) -> Watched:
    return watch(el2, 1)


@pytest.fixture(scope="module")
def watched_two(el2: Artefact) -> Watched:
    return watch(el2, 2)


def operands(events: list[Event], name: str) -> list[int]:
    return [event.value & -LINE for event in events if event.name == name]


def test_no_rule_is_broken(watched: Watched, watched_two: Watched) -> None:
    """Of translation: TLBIs with their operands, VTTBR_EL2 with its ISB, entries, barriers."""
    for one in (watched, watched_two):
        if one.violation is not None:
            raise one.violation


@pytest.mark.parametrize("life", [0, 1], ids=["boot", "restart"])
def test_a_guests_memory_is_clean_before_it_runs(watched: Watched, life: int) -> None:
    """Its caches may be off: what EL2 wrote is cleaned to the point of coherency, and the guest
    starts behind the DSB that completes it."""
    events = watched.lives()[life]
    dirty: set[int] = set()
    zeroed = 0
    for event in events:
        line = event.value & -LINE
        if event.name == DC_ZVA and (
            life or MEMORY_PA <= line < MEMORY_PA + MEMORY_SIZE  # not EL2's own tables of the boot
        ):
            assert line not in dirty, "zeroed again before it was cleaned: another frame"
            dirty.add(line)
            zeroed += 1
        elif event.name == DC_CIVAC:
            dirty.discard(line)
    assert zeroed == MEMORY_SIZE // LINE, "not all of it is scrubbed, line by line"
    assert not dirty, "a line is not cleaned"
    last = max((i for i, event in enumerate(events) if event.name == DC_CIVAC), default=0)
    assert any(e.kind is EventKind.DSB and e.name == "sy" for e in events[last:]), "no DSB after"


@pytest.mark.parametrize("life", [0, 1], ids=["boot", "restart"])
def test_instructions_are_fetched_anew(watched: Watched, life: int) -> None:
    """IC IALLUIS after the image was cleaned, then DSB ISH, then ISB."""
    events = watched.lives()[life]
    names = [event.name or event.kind.value for event in events]
    assert DC_CIVAC in names
    last_clean = len(names) - 1 - names[::-1].index(DC_CIVAC)
    assert IC_IALLUIS in names[last_clean:], "no IC IALLUIS after the last clean"
    after = names[last_clean + names[last_clean:].index(IC_IALLUIS) :]
    assert "ish" in after, "no DSB ISH after the IC"
    assert "isb" in after[after.index("ish") :], "no ISB after the DSB"


@pytest.mark.parametrize("life", [0, 1], ids=["boot", "restart"])
def test_translations_of_a_former_life_are_gone(watched: Watched, life: int) -> None:
    """TLBI VMALLS12E1IS under the VM's own VMID (1), and its DSB ISH."""
    lives = watched.lives()
    vmid, done, pending = 0, False, False
    for event in (event for one in lives[: life + 1] for event in one):
        if event is lives[life][0]:
            done = pending = False
        if event.kind is EventKind.MSR and event.name == "vttbr_el2":
            vmid = event.value >> 48
        elif event.name == "vmalls12e1is":
            pending = vmid == 1
        elif event.name == "ish":
            done |= pending
    assert done, "no TLBI of the VM, or it is not completed"


def before_the_mmu(watched: Watched) -> list[Event]:
    on = next(
        i
        for i, event in enumerate(watched.events)
        if event.name == "sctlr_el2" and event.value & SCTLR_M
    )
    return watched.events[:on]


def test_data_is_invalidated_around_the_writes_with_the_mmu_off(watched: Watched) -> None:
    """Once before anything is written past the caches, once when the tables are: else a line that
    an earlier program left would hide, or overwrite, what is in memory."""
    events = before_the_mmu(watched)
    times = Counter(operands(events, DC_IVAC))
    start, end = (watched.symbols[name] for name in ("data_start", "image_end"))
    assert {times[line] for line in range(start, end - LINE, LINE)} == {2}
    tables = max(i for i, event in enumerate(events) if event.name == "ishst")
    passes = [i for i, event in enumerate(events) if event.name == DC_IVAC]
    assert passes
    second = passes[len(passes) // 2 :]
    assert tables < second[0], "tables are written after the last invalidation"
    assert any(event.name == "sy" for event in events[second[-1] :]), "no DSB after"


def test_nothing_stale_is_left_when_the_mmu_goes_on(watched: Watched) -> None:
    """IC IALLU, TLBI of EL2 and of all VMIDs, the DSB that completes them, an ISB."""
    events = before_the_mmu(watched)
    names = [event.name or event.kind.value for event in events]
    for name in (IC_IALLU, "alle2", "alle1"):
        assert name in names
        assert "nsh" in names[names.index(name) :], f"{name} is not completed"
    assert "isb" in names[len(names) - 1 - names[::-1].index("nsh") :]


def test_a_second_cpu_finds_what_it_reads_with_its_caches_off(watched_two: Watched) -> None:
    """Its struct cpu, and the registers of EL2's map, are cleaned before it is started."""
    cleaned = set(operands(watched_two.events, DC_CIVAC))
    for name in ("smp_starting", "mm_boot_registers"):
        assert watched_two.symbols[name] & -LINE in cleaned, name
    cpus = watched_two.symbols["cpus"]
    assert any(cpus < line < cpus + 0x1000 for line in cleaned), "struct cpu"

# SPDX-License-Identifier: Apache-2.0
"""The monitor: attached to a machine, it sees every event and checks every rule.

It knows the architecture, and no hypervisor: roots come from the registers, tables from memory. It
changes nothing in a run, but stops it at the first violation, unless violations are reported.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE, MmuMode
from aether_edgecloud.emulator.cpu.observation import (
    Listener,
    Observation,
    Observed,
    Unseen,
    Wanted,
)
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.machine.machine import Machine
from aether_edgecloud.emulator.monitor.events import (
    REGISTERS,
    Dsb,
    Event,
    EventKind,
    decode_barrier,
    decode_tlbi,
    is_maintenance,
    span_of,
)
from aether_edgecloud.emulator.monitor.journal import Journal, SavedTables, Table
from aether_edgecloud.emulator.monitor.registers import RamTest, Registers
from aether_edgecloud.emulator.monitor.trees import LivePage, Trees
from aether_edgecloud.emulator.monitor.violation import Rule, Violation

_READ_AT_ATTACH = (
    reg.SCTLR_EL2,
    reg.HCR_EL2,
    reg.TCR_EL2,
    reg.MAIR_EL2,
    reg.TTBR0_EL2,
    reg.VTCR_EL2,
    reg.VTTBR_EL2,
)


@dataclass(frozen=True, slots=True, eq=False)
class SavedMonitor:
    """What a monitor knows at one moment."""

    tables: SavedTables
    unseen: Unseen
    events: int


class Record(Enum):
    """Which events are kept."""

    NOTHING = "nothing"
    EVENTS = "what the rules are about, and exceptions to EL2"
    CACHES_TOO = "the same, and DC, IC and AT at EL2"


_WANTED = {
    Record.NOTHING: 0,
    Record.EVENTS: Wanted.ALL,
    Record.CACHES_TOO: Wanted.ALL | Wanted.CACHES,
}


class Monitor:
    """Watches a machine, from its first instruction or from now on, and is part of its snapshots.

    `ignore`: rules that are not checked. `record`: what is kept in `events`; with nothing kept
    only what a rule needs is looked at, which is cheaper. `report` is told of each violation, and
    the run goes on: `violation` stays None. Several monitors of one machine do not disturb each
    other. UserError if translation is not by the model: stores could not be seen.
    """

    def __init__(
        self,
        machine: Machine,
        *,
        ignore: frozenset[Rule] = frozenset(),
        record: Record = Record.NOTHING,
        report: Callable[[Violation], None] | None = None,
    ) -> None:
        if any(cpu.engine.mmu is not MmuMode.MODEL for cpu in machine.cpus):
            raise UserError(
                "the monitor needs the MMU model", where="monitor", fix="run with --mmu model"
            )
        self.violation: Violation | None = None
        """The first rule that was broken; nothing is checked after it."""
        self.on_event: Listener | None = None
        """Told of each event behind the rules, of those that a rule or the record needs."""
        self.also_wanted = 0
        """Told besides (`Wanted`), from the next event on."""
        self.on_unclean: Callable[[int], None] | None = None
        """Told, with the CPU that did it, when `entries.unclean` has more or less: `added` and
        `dropped` say what."""
        self._events: list[Event] = []
        self._machine = machine
        self._record = record
        memory = machine.memory
        self._memory = memory
        self._report = report
        self._step_kind = -1
        self._words = memory.bytes.cast("Q")
        self._flush_due = False
        self._is_restoring = False
        self._journal = Journal()
        pages: Table[int, LivePage] = Table(self._journal, self._page_changed)
        code: Table[int, bool] = Table(self._journal, self._code_changed)
        self.trees = Trees(self, self._journal, ignore, pages, code, self._breach)
        self.registers = Registers(
            self.trees, self._journal, RamTest(memory.ram_base, memory.ram_size), len(machine.cpus)
        )
        self.entries = self.registers.entries
        self._seen = Observation(machine.cpus, memory, self._listen)
        self._is_dirty = [True] * len(machine.cpus)
        """By CPU: what decides about its next ERET may have changed since the last."""
        self._power_ons = [self._power_on(number) for number in range(len(machine.cpus))]
        for number, cpu in enumerate(machine.cpus):
            cpu.on_power_on.append(self._power_ons[number])
        for number in range(len(machine.cpus)):
            self._attach(number)
        self._want()
        self._flush()
        machine.attachments.append(self)

    def close(self) -> None:
        """Watch no more."""
        self._machine.attachments.remove(self)
        self._seen.close()
        for cpu, told in zip(self._machine.cpus, self._power_ons, strict=True):
            cpu.on_power_on.remove(told)

    @property
    def events(self) -> list[Event]:
        """What it has seen, in order. UserError if it was not told to keep any."""
        if self._record is Record.NOTHING:
            raise UserError(
                "the monitor has kept no events",
                fix="say Monitor(machine, record=Record.EVENTS), or to pytest --aether-events=on",
            )
        return self._events

    def check(self) -> None:
        """Raise the violation, if there has been one."""
        if self.violation is not None:
            raise self.violation

    def place_of_store(self, cpu: int) -> tuple[int, int]:
        """Of the store that is being reported: its PC, and the instructions that `cpu` had
        retired."""
        pc = self._seen.pc(cpu, of_store=True)
        return pc, self._seen.instruction(cpu, pc)

    def save(self) -> SavedMonitor:
        """What it knows, to go with a snapshot of the machine."""
        return SavedMonitor(
            self._journal.save(),
            self._seen.unseen_pages(),
            len(self._events),
        )

    def restore(self, saved: object) -> None:
        """Know again what was saved; the machine is restored to the same moment. A machine's
        snapshots do both."""
        assert isinstance(saved, SavedMonitor)
        self.violation = None
        self._is_restoring = True
        self._journal.restore(saved.tables)
        self._is_restoring = False
        self.entries.unclean.forget_changes()
        self._seen.set_unseen(saved.unseen)
        self._is_dirty = [True] * len(self._is_dirty)
        del self._events[saved.events :]
        self._want()
        self._flush()

    # What the trees ask (Memory).

    def words(self, pa: int, /) -> Sequence[int] | None:
        """The 512 words of a page of RAM."""
        if not self._memory.is_ram(pa):
            return None
        first = pa - self._memory.ram_base
        return self._words[first >> 3 : (first + PAGE_SIZE) >> 3].tolist()

    def word(self, pa: int, /) -> int | None:
        """A word of RAM."""
        if not self._memory.is_ram(pa):
            return None
        return self._words[pa - self._memory.ram_base >> 3]

    def unseen(self, pa: int, /, *, is_ordered: bool) -> bool:
        """See Memory."""
        return self._seen.unseen(self._number(pa), is_ordered=is_ordered)

    def _number(self, pa: int) -> int:
        """Of a page of RAM."""
        return (pa - self._memory.ram_base) // PAGE_SIZE

    # What the hooks report.

    def _listen(self, cpu: int, kind: int, a: int, b: int, c: int) -> None:
        if self.violation is not None or (kind == Observed.CODE and a in self.trees.code):
            return
        self._step_kind = kind
        try:
            self._step(cpu, kind, a, b, c)
        except Violation as violation:
            self._place(violation)
            self.violation = violation
            self._machine.interrupt()
        self._step_kind = -1
        unclean = self.entries.unclean
        if self.on_unclean is not None and (unclean.added or unclean.dropped):
            self.on_unclean(cpu)
        unclean.forget_changes()
        if self._record is not Record.NOTHING:
            self._note(cpu, kind, a, b, c)
        if self.on_event is not None:
            self.on_event(cpu, kind, a, b, c)
        self._want()
        self._flush()

    def _breach(self, violation: Violation) -> None:
        """A rule is broken. Raises it, unless it is to be reported."""
        if self._report is None:
            raise violation
        self._place(violation)
        self._report(violation)

    def _place(self, violation: Violation) -> None:
        """Say where a violation happened."""
        cpu = violation.cpu
        if self._step_kind < 0:
            violation.pc = self._machine.cpus[cpu].pc
            violation.instruction = self._machine.cpus[cpu].retired
            return
        if self._step_kind == Observed.STORE:
            violation.pc, violation.instruction = self.place_of_store(cpu)
            return
        violation.pc = self._seen.pc(cpu)
        violation.instruction = self._seen.instruction(cpu, violation.pc)

    def _step(self, cpu: int, kind: int, a: int, b: int, c: int) -> None:
        if kind == Observed.STORE:
            if self._machine.cpus[cpu].current_el == 2:
                self.entries.store(cpu, a, b, c)
                self._is_dirty[cpu] = True
            else:
                self.entries.follow(cpu, a, b, c)
        elif kind == Observed.SYSREG:
            self._system(cpu, a, b)
        elif kind == Observed.BARRIER:
            barrier = decode_barrier(a)
            if isinstance(barrier, Dsb):
                self.entries.dsb(cpu, barrier)
            elif barrier is not None:
                self.registers.synchronise(cpu)
        elif kind == Observed.CODE:
            self.trees.add_code(cpu, a)
        elif kind == Observed.CONTEXT:
            self.registers.synchronise(cpu)
        elif kind == Observed.ERET:
            self.registers.leave(cpu)
            self._is_dirty[cpu] = False

    def _system(self, cpu: int, key: int, value: int) -> None:
        name = REGISTERS.get(key)
        if name is not None:
            self.registers.write(cpu, name, value)
            self._is_dirty[cpu] = True
            return
        tlbi = decode_tlbi(key)
        if tlbi is None:
            return
        registers = self.registers.cpus[cpu]
        if registers.is_vttbr_new and not tlbi.el2 and tlbi.name not in ("alle1", "alle1is"):
            self.trees.breach(Rule.VTTBR_NOT_SYNCHRONISED, cpu, vmid=registers.vmid)
            if registers.old_vmid != registers.vmid:
                return  # it acts on the one or on the other
        self.entries.tlbi(cpu, tlbi, span_of(tlbi, value), registers.vmid)

    def _power_on(self, cpu: int) -> Callable[[], None]:
        def power_on() -> None:
            self.registers.reset(cpu)
            self.entries.unclean.forget_changes()
            self._want()
            self._flush()

        return power_on

    def _attach(self, cpu: int) -> None:
        """Learn what the registers lead to already."""
        engine = self._machine.cpus[cpu].engine
        values = engine.batch(_READ_AT_ATTACH).read()
        at = (cpu, self._machine.cpus[cpu].pc, self._machine.cpus[cpu].retired)
        try:
            for register, value in zip(_READ_AT_ATTACH, values, strict=True):
                self.registers.write(cpu, register.name, value)
                if self._record is not Record.NOTHING:
                    self._events.append(Event(EventKind.MSR, *at, name=register.name, value=value))
            self.registers.synchronise(cpu)
        except Violation as violation:
            self.violation = self.violation or violation
            self._machine.interrupt()

    def _want(self) -> None:
        """Have no more reported than a rule or the record needs."""
        entries, cpus = self.entries, self.registers.cpus
        everyone = _WANTED[self._record] | self.also_wanted
        everyone |= Wanted.BARRIERS if entries.unclean or len(entries.unpublished) else 0
        for cpu, is_dirty in enumerate(self._is_dirty):
            wanted = everyone
            if cpu in entries.flushes or cpus[cpu].is_vttbr_new:
                wanted |= Wanted.BARRIERS
            self._seen.want(cpu, wanted | Wanted.ERET if is_dirty else wanted)

    def _page_changed(self, pa: int) -> None:
        number = self._number(pa)
        is_live = pa in self.trees.pages
        if is_live != self._seen.is_watched(number):
            self._seen.watch(number, is_watched=is_live)
            self._flush_due = True
            if is_live and self._record is not Record.NOTHING and not self._is_restoring:
                self._note_table(pa)

    def _code_changed(self, pa: int) -> None:
        if pa not in self.trees.code:
            self._seen.forget_code(self._number(pa))

    def _flush(self) -> None:
        """No translation may be left that lets a store to a watched page pass unseen."""
        if self._flush_due:
            self._flush_due = False
            self._seen.flush()

    def _note_table(self, pa: int) -> None:
        words = tuple((n, word) for n, word in enumerate(self.words(pa) or ()) if word)
        level = self.trees.pages[pa].level
        self._events.append(Event(EventKind.TABLE, 0, 0, 0, address=pa, value=level, words=words))

    def _note(self, cpu: int, kind: int, a: int, b: int, c: int) -> None:
        pc = self._seen.pc(cpu, of_store=kind == Observed.STORE)
        at = (cpu, pc, self._seen.instruction(cpu, pc))
        event = None
        if kind == Observed.STORE:
            event = Event(EventKind.STORE, *at, address=a, old=b, value=c)
        elif kind == Observed.CODE:
            event = Event(EventKind.CODE, *at, address=a)
        elif kind == Observed.ENTRY:
            event = Event(EventKind.ENTRY, *at, value=a)
        elif kind == Observed.ERET:
            event = Event(EventKind.ERET, *at, value=a)
        elif kind == Observed.BARRIER:
            barrier = decode_barrier(a)
            if isinstance(barrier, Dsb):
                event = Event(EventKind.DSB, *at, name=barrier.name)
            elif barrier is not None:
                event = Event(EventKind.ISB, *at)
        elif a in REGISTERS:
            event = Event(EventKind.MSR, *at, name=REGISTERS[a], value=b)
        else:
            tlbi = decode_tlbi(a)
            if tlbi is not None:
                event = Event(EventKind.TLBI, *at, name=tlbi.name, value=b)
            elif is_maintenance(a):
                event = Event(EventKind.MAINTENANCE, *at, name=f"{a:#06x}", value=b)
        if event is not None:
            self._events.append(event)

# SPDX-License-Identifier: Apache-2.0
"""TLBs and walk caches that forget nothing until they must, for every CPU of a machine.

What they may hold of EL2's tables and of stage 2 is what the monitor's protocol calls unclean:
whatever a live tree held and lost, until a TLBI of the right scope by a CPU that reaches this one,
with a DSB before and after. Each is tagged by VMID, not by tree. Of stage 1 of EL1&0 a TLB holds
what its walks have read. Stores of EL2 that no DSB has published may be missed by a walk; registers
take effect at a context synchronisation event, or before it.
"""

from dataclasses import dataclass, replace
from functools import partial

from aether_edgecloud.emulator.adversary.choices import Choices
from aether_edgecloud.emulator.adversary.tlb_exposure import Emptied, Exposure, ExposureState
from aether_edgecloud.emulator.adversary.tlb_garbage import GarbageState
from aether_edgecloud.emulator.adversary.tlb_stage1 import Stage1State
from aether_edgecloud.emulator.adversary.tlb_walker import BELOW, EL2, TlbWalker
from aether_edgecloud.emulator.arch import mmu
from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE
from aether_edgecloud.emulator.cpu.observation import Observation, Observed, Wanted
from aether_edgecloud.emulator.cpu.translation import REGISTERS as MMU_REGISTERS
from aether_edgecloud.emulator.cpu.translation import mmu_registers
from aether_edgecloud.emulator.machine.machine import Machine
from aether_edgecloud.emulator.monitor.entries import may_be_held
from aether_edgecloud.emulator.monitor.events import (
    REGISTERS,
    Dsb,
    Extent,
    Tlbi,
    decode_barrier,
    decode_tlbi,
    span_of,
)
from aether_edgecloud.emulator.monitor.monitor import Monitor
from aether_edgecloud.emulator.monitor.trees import EntryKind, Tree, entry_kind
from aether_edgecloud.emulator.monitor.unclean import CLEAN, NONE, Unclean
from aether_edgecloud.emulator.monitor.violation import Rule, Violation
from aether_edgecloud.stage2.decode import LEVEL_SHIFT

_HCR_VM, _HCR_FB = 1 << 0, 1 << 9


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two entries for one address that may be in one TLB at once, and say different things: the
    rule tlb-conflict (Arm ARM D8, TLB conflict aborts).

    `vmid` is None for EL2's own tables. `ia` is a VA of EL2, or an IPA; `pc` a VA, and
    `instruction` how many the CPU had retired, when it used that address.
    """

    cpu: int
    vmid: int | None
    ia: int
    level: int
    old: int
    """The descriptor that the TLB may still hold, of `level`."""
    new_level: int
    new: int
    """The one that memory has, of `new_level`."""
    pc: int
    instruction: int

    def __str__(self) -> str:
        regime = "EL2 stage 1" if self.vmid is None else f"VMID {self.vmid}"
        return (
            f"tlb-conflict: two entries translate one address ({regime}, "
            f"{'VA' if self.vmid is None else 'IPA'} {self.ia:#x}, {self.old:#x} of level "
            f"{self.level} and {self.new:#x} of level {self.new_level}; CPU {self.cpu}, "
            f"PC {self.pc:#x}, instruction {self.instruction}; Arm ARM D8, TLB conflict aborts)"
        )


@dataclass(frozen=True, slots=True)
class CpuTlbState:
    """What the TLB of one CPU is, but for what the monitor knows."""

    stage1: Stage1State
    garbage: GarbageState
    fetched: tuple[Unclean, ...]
    made: dict[int, int]
    used: int
    filled: int
    registers: tuple[int, ...] | None
    before: bytes


@dataclass(frozen=True, slots=True)
class TlbState:
    """What a TlbAdversary is at one moment."""

    choices: int
    cpus: tuple[CpuTlbState, ...]
    conflicts: tuple[Conflict, ...]
    exposure: ExposureState
    linked: tuple[int, ...]
    """PAs of tables of stage 2 that were linked before their contents are visible."""


class TlbAdversary:
    """The TLBs of a machine at reset, which goes through them from now on."""

    def __init__(self, machine: Machine, choices: Choices) -> None:
        self.choices = choices
        self.conflicts: list[Conflict] = []
        """Each pair of descriptors once for each CPU."""
        self._machine = machine
        # The protocol, as those of a test have it; what it objects to is theirs to say.
        self.monitor = Monitor(machine, report=self._note)
        self.trees, self.entries = self.monitor.trees, self.monitor.entries
        self.monitor.registers.exposes_by_register = False
        self.exposure = Exposure()
        self.monitor.on_unclean = self._unclean_changed
        self.monitor.on_event = self._event
        self._unseen_tables: list[int] = []  # of this event
        self._linked: list[int] = []  # of them, those of stage 2 that are still unseen
        self._seen = Observation(machine.cpus, machine.memory, self._listen)
        self._seen.keep_before()
        self._used = [0] * len(machine.cpus)
        self._before: list[mmu.MmuRegisters | None] = [None] * len(machine.cpus)
        self._walkers = []
        for number, cpu in enumerate(machine.cpus):
            walker = TlbWalker(self, number, machine.memory.read64)
            if cpu.translation.walker is not None:
                walker.below = cpu.translation.walker.below
            cpu.translation.walker = walker
            self._walkers.append(walker)
            cpu.on_power_on.append(partial(self._power_on, number))
        self._want()
        machine.attachments.append(self)

    def save(self) -> TlbState:
        """What the TLBs hold."""
        before = self._seen.contents_before()
        return TlbState(
            self.choices.state,
            tuple(
                CpuTlbState(
                    walker.stage1.save(),
                    walker.garbage.save(),
                    tuple(walker.fetched),
                    dict(walker.made),
                    self._used[cpu],
                    walker.filled,
                    _values(self._before[cpu]),
                    before[cpu],
                )
                for cpu, walker in enumerate(self._walkers)
            ),
            tuple(self.conflicts),
            self.exposure.save(),
            tuple(self._linked),
        )

    def restore(self, state: object) -> None:
        """Hold again what was saved. The monitor has been restored before."""
        assert isinstance(state, TlbState)
        self.choices.state = state.choices
        self.conflicts = list(state.conflicts)
        for cpu, (walker, saved) in enumerate(zip(self._walkers, state.cpus, strict=True)):
            walker.stage1.restore(saved.stage1)
            walker.garbage.restore(saved.garbage)
            walker.fetched = list(saved.fetched)
            walker.made = dict(saved.made)
            walker.filled = saved.filled
            self._used[cpu] = saved.used
            values = saved.registers
            self._before[cpu] = None if values is None else mmu_registers(*values)
        self.exposure.restore(state.exposure)
        self._linked = list(state.linked)
        self._seen.set_before([saved.before for saved in state.cpus])
        self._want()

    # What walkers ask (Owner).

    def registers(self, cpu: int, /) -> mmu.MmuRegisters | None:
        """See Owner."""
        return self._before[cpu]

    def unseen_words(self, cpu: int, pa: int, /) -> list[tuple[int, int]]:
        """See Owner."""
        return self._seen.unseen_words(cpu, pa)

    def used(self, cpu: int, *, is_el2: bool) -> None:
        """See Owner."""
        self._used[cpu] |= EL2 if is_el2 else BELOW
        self._want()

    def looked_up(self, cpu: int, root: int, ia: int, /) -> None:
        """See Owner."""
        registers = self.monitor.registers
        if registers.cpus[cpu].stage2_root != root:
            return
        if registers.is_out(cpu):
            registers.enter(cpu)
            self.exposure.begin(cpu, root)
        if self.exposure.is_by_lookup(cpu, root):
            self.exposure.look_up(cpu, root, ia)

    def page(self) -> int:
        """See Owner."""
        memory = self._machine.memory
        return memory.ram_base + self.choices.number(memory.ram_size // PAGE_SIZE) * PAGE_SIZE

    def conflict(
        self, cpu: int, vmid: int | None, ia: int, stale: mmu.Cached, memory: mmu.Cached
    ) -> None:
        """See Owner."""
        pair = (cpu, vmid, stale.descriptor, memory.descriptor)
        if any((c.cpu, c.vmid, c.old, c.new) == pair for c in self.conflicts):
            return
        pc = self._seen.pc(cpu)
        at = (pc, self._seen.instruction(cpu, pc))
        self.conflicts.append(
            Conflict(
                cpu, vmid, ia, stale.level, stale.descriptor, memory.level, memory.descriptor, *at
            )
        )

    # What the hooks report, after the monitor has heard of it.

    def _listen(self, cpu: int, kind: int, a: int, b: int, c: int) -> None:
        del c
        if kind == Observed.SYSREG:
            if a in REGISTERS:
                self._register_changes(cpu)
            else:
                tlbi = decode_tlbi(a)
                if tlbi is not None:
                    self._invalidate(cpu, tlbi, b)
        elif kind in (Observed.BARRIER, Observed.LOWER_DSB):
            barrier = decode_barrier(a)
            if isinstance(barrier, Dsb):
                if kind == Observed.LOWER_DSB:
                    self.entries.dsb(cpu, barrier)
                    self.entries.unclean.forget_changes()
                self._complete(cpu, barrier)
            elif barrier is not None:
                self._synchronise(cpu)
        elif kind == Observed.ERET:
            self._synchronise(cpu)
            self._enter(cpu)
        elif kind == Observed.CONTEXT:
            self._synchronise(cpu)
        elif kind == Observed.LOWER_TLBI:
            tlbi = decode_tlbi(a)
            if tlbi is not None:
                self._invalidate_below(cpu, tlbi, b)
        else:
            return
        self._want()

    def _register_changes(self, cpu: int) -> None:
        """An MSR is about to execute: it takes effect now, or at the next synchronisation."""
        if self._before[cpu] is None:
            self._before[cpu] = self._machine.cpus[cpu].translation.registers

    def _synchronise(self, cpu: int) -> None:
        """A context synchronisation event."""
        if self._before[cpu] is not None:
            self._before[cpu] = None
            if self._used[cpu]:
                self._forget(cpu, self._used[cpu])
        self._walkers[cpu].made.clear()
        if self._walkers[cpu].fetched:
            self._walkers[cpu].fetched.clear()
            self._forget(cpu, EL2)

    def _enter(self, cpu: int) -> None:
        """A CPU has gone below EL2."""
        registers = self.monitor.registers
        root = registers.cpus[cpu].stage2_root
        if root is None or not registers.cpus[cpu].has_stage2:
            return
        if registers.is_out(cpu):
            registers.enter(cpu)
            self._forget(cpu, BELOW)
        self.exposure.enter(cpu, root)
        if not self._linked:
            return
        for pa in self._linked:
            page = self.trees.pages.get(pa)
            if page is not None and page.root == root:
                self._hold_what_was(cpu, pa, [n == cpu for n in range(len(self._walkers))])
        self._unclean_changed(cpu)
        self.entries.unclean.forget_changes()

    def _invalidate(self, cpu: int, tlbi: Tlbi, value: int) -> None:
        """A TLBI of EL2."""
        registers = self.monitor.registers.cpus[cpu]
        is_unclear = registers.is_vttbr_new and registers.old_vmid != registers.vmid
        if is_unclear and not tlbi.el2 and tlbi.extent is not Extent.ALL:
            return  # it acts on the one VMID or on the other
        for walker in self._walkers if tlbi.shareable else [self._walkers[cpu]]:
            walker.stage1.invalidate(cpu, tlbi, value, registers.vmid)
            walker.garbage.invalidate(cpu, tlbi, registers.vmid)
        if tlbi.extent not in (Extent.ALL, Extent.VMID) or not tlbi.stage2:
            return
        for root, tree in self.trees.trees.items():
            if tree.vmid is None or (tlbi.extent is Extent.VMID and tree.vmid != registers.vmid):
                continue
            for number in range(len(self._walkers)) if tlbi.shareable else (cpu,):
                self.exposure.invalidate(number, root, Emptied(cpu, tlbi.shareable))

    def _invalidate_below(self, cpu: int, tlbi: Tlbi, value: int) -> None:
        """A TLBI at EL1."""
        registers = self.monitor.registers.cpus[cpu]
        is_forced = bool(registers.hcr_el2 & _HCR_FB)
        for walker in self._walkers if tlbi.shareable or is_forced else [self._walkers[cpu]]:
            walker.stage1.invalidate(cpu, tlbi, value, registers.vmid)
        if len(self.entries.unclean):
            # What combines both stages goes with stage 1.
            self.entries.tlbi(cpu, tlbi, span_of(tlbi, value), registers.vmid)
            self.entries.unclean.forget_changes()

    def _complete(self, cpu: int, dsb: Dsb) -> None:
        """A DSB: what it ends, no translation that is kept goes by any more."""
        for walker in self._walkers:
            walker.stage1.complete(cpu, dsb)
            walker.garbage.complete(cpu, dsb)
        self.exposure.complete(cpu, dsb)
        for number, used in enumerate(self._used):
            if used:
                self._forget(number, used)
        if self._linked:
            self._linked = [pa for pa in self._linked if self._is_unseen(pa)]

    def _unclean_changed(self, cpu: int) -> None:
        """The monitor knows of more that a TLB may hold, or of less. A choice that was made without
        it does not stand."""
        unclean = self.entries.unclean
        for one in unclean.dropped:
            self.exposure.drop(one, len(self._walkers))
            tree = self.trees.trees.get(one.root)
            if tree is not None and tree.vmid is None:
                self._walkers[cpu].fetched.append(one)
        for key in unclean.added:
            new = unclean.get(key)
            if new is not None:
                self.exposure.add(new, len(self._walkers))
        for root in {root: None for _, root, _ in unclean.added}:
            tree = self.trees.trees.get(root)
            if tree is None:
                continue
            for number in range(len(self._walkers)):
                if tree.exposed >> number & 1:
                    self._forget(number, EL2 if tree.vmid is None else BELOW)
        self._want()

    def _note(self, violation: Violation) -> None:
        """The protocol objects to something."""
        if violation.rule is Rule.NOT_VISIBLE and violation.pa is not None:
            self._unseen_tables.append(violation.pa)

    def _event(self, cpu: int, kind: int, a: int, b: int, c: int) -> None:
        """After each step of the protocol."""
        if kind == Observed.STORE:
            self._note_made(a, b, c)
        if not self._unseen_tables:
            return
        tables, self._unseen_tables = self._unseen_tables, []
        for pa in tables:
            page = self.trees.pages.get(pa)
            if page is None:
                continue
            tree = self.trees.trees[page.root]
            walks = [self._walks(number, tree) for number in range(len(self._walkers))]
            self._hold_what_was(cpu, pa, walks)
            if tree.vmid is not None and pa not in self._linked:
                self._linked.append(pa)
        self._unclean_changed(cpu)
        self.entries.unclean.forget_changes()

    def _note_made(self, entry: int, old: int, new: int) -> None:
        """A word of a live table has changed. Of EL2's own: accesses may have been translated
        before, by speculation, and found nothing; that stands until the CPU synchronises its
        context, whatever DSB comes between."""
        page = self.trees.pages.get(entry & -PAGE_SIZE)
        if page is None or entry_kind(old, page.level) != EntryKind.INVALID:
            return
        tree = self.trees.trees[page.root]
        if tree.vmid is not None or entry_kind(new, page.level) == EntryKind.INVALID:
            return
        for number, walker in enumerate(self._walkers):
            if tree.exposed >> number & 1 and self._machine.cpus[number].current_el == 2:
                walker.made[entry] = old
        self._want()

    def _hold_what_was(self, cpu: int, pa: int, walks: list[bool]) -> None:
        """A table was linked before its contents are visible: those CPUs may walk it as it was."""
        page = self.trees.pages[pa]
        tree = self.trees.trees[page.root]
        if not any(walks):
            return
        now = self.monitor.words(pa) or ()
        for words, may_find in self._seen.page_before(self._page_number(pa)):
            both = zip(walks, may_find, strict=True)
            progress = tuple(NONE if does and may else CLEAN for does, may in both)
            if not any(state == NONE for state in progress):
                continue
            for index, (old, new) in enumerate(zip(words, now, strict=True)):
                kind = entry_kind(old, page.level)
                if kind == EntryKind.INVALID or old == new:
                    continue
                ia = page.ia + (index << LEVEL_SHIFT[page.level])
                if not may_be_held(old, page.level, tree.geometry.pa_bits):
                    continue
                is_leaf = kind == EntryKind.LEAF
                at = (pa + index * 8, page.root, page.level, ia)
                self._hold(Unclean(*at, old, is_leaf, cpu, progress))

    def _hold(self, one: Unclean) -> None:
        """Some CPUs may hold an old descriptor; others may hold it already."""
        unclean = self.entries.unclean
        same = unclean.get(one.key)
        if same is not None:
            both = zip(one.progress, same.progress, strict=True)
            progress = tuple(was if new == CLEAN else new for new, was in both)
            if progress == same.progress:
                return
            one = replace(same, progress=progress, dsbed=False)
        unclean.put(one)

    def _is_unseen(self, pa: int) -> bool:
        """Whether some CPU may walk a page as it was."""
        return any(any(may) for _, may in self._seen.page_before(self._page_number(pa)))

    def _walks(self, cpu: int, tree: Tree) -> bool:
        """Whether a CPU may walk a tree just now: stage 2 not at EL2, where it is out of
        context."""
        is_on = tree.vmid is None or (
            self.monitor.registers.cpus[cpu].hcr_el2 & _HCR_VM
            and self._machine.cpus[cpu].current_el < 2
        )
        return bool(is_on and tree.exposed >> cpu & 1)

    def _page_number(self, pa: int) -> int:
        return (pa - self._machine.memory.ram_base) // PAGE_SIZE

    def _power_on(self, cpu: int) -> None:
        """A CPU starts anew: what its TLB holds now is nothing that it held before."""
        self._walkers[cpu].reset()
        self.exposure.reset(cpu)
        self._used[cpu], self._before[cpu] = 0, None
        self._want()

    def _forget(self, cpu: int, whose: int) -> None:
        """The translations that are kept are made anew."""
        engine, walker = self._machine.cpus[cpu].engine, self._walkers[cpu]
        self._used[cpu] &= ~whose
        if not walker.filled & whose:
            return
        if whose & EL2:
            walker.filled = 0
            engine.clear_tlb()
        else:
            walker.filled &= ~BELOW
            engine.forget_below_el2()

    def _want(self) -> None:
        """Have no more reported than is needed."""
        waits = (
            any(self._used)
            or bool(self._linked)
            or self.exposure.is_leaving
            or any(walker.stage1.leaving or walker.garbage.is_leaving for walker in self._walkers)
        )
        for cpu, walker in enumerate(self._walkers):
            is_new = self._before[cpu] is not None or walker.fetched or walker.made
            wanted = Wanted.LOWER | (Wanted.BARRIERS if waits or is_new else 0)
            root = self.monitor.registers.cpus[cpu].stage2_root
            is_out = self.monitor.registers.is_out(cpu) or self.exposure.is_by_lookup(cpu, root)
            wanted |= Wanted.ERET if is_new or is_out or self._linked else 0
            if waits or len(self.entries.unclean.pending(cpu)):
                wanted |= Wanted.LOWER_DSB
            self._seen.want(cpu, wanted)


def _values(registers: mmu.MmuRegisters | None) -> tuple[int, ...] | None:
    if registers is None:
        return None
    values: tuple[int, ...] = tuple(getattr(registers, r.name) for r in MMU_REGISTERS)
    return values

# SPDX-License-Identifier: Apache-2.0
"""All rules on one machine: watches a run, and collects what it finds."""

from aether_edgecloud.emulator.check.descriptor import describe, describe_change
from aether_edgecloud.emulator.check.early_use import EarlyUse
from aether_edgecloud.emulator.check.el2_map import El2Map, has_other_granule, read_map
from aether_edgecloud.emulator.check.finding import Entry, Findings, Place
from aether_edgecloud.emulator.check.guest_rules import GuestRules
from aether_edgecloud.emulator.check.hardware_findings import HardwareFindings
from aether_edgecloud.emulator.check.names import NO_NAMES, Names
from aether_edgecloud.emulator.check.position import Position
from aether_edgecloud.emulator.check.rules import NOT_FLUSHED_OWN, RULES
from aether_edgecloud.emulator.cpu.observation import Observed, Wanted
from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.emulator.monitor.difference import DifferenceMonitor
from aether_edgecloud.emulator.monitor.entries import may_be_held, takes_nothing_but_af
from aether_edgecloud.emulator.monitor.events import REGISTERS
from aether_edgecloud.emulator.monitor.monitor import Monitor
from aether_edgecloud.emulator.monitor.trees import OA, EntryKind, entry_kind, leaf_pa
from aether_edgecloud.emulator.monitor.violation import Rule, Violation
from aether_edgecloud.stage2.decode import ENTRIES, LAST_LEVEL, LEVEL_SHIFT, PAGE

ALL_RULES = frozenset(RULES)

_SYNCHRONISING = Wanted.BARRIERS | Wanted.ERET
_XN, _AP2 = 1 << 54, 1 << 7
_EL2_REGISTERS = ("sctlr_el2", "ttbr0_el2", "tcr_el2", "mair_el2")
# Found when EL2 is left: what led to it came before. By the register that was written.
_BY_REGISTER = {
    Rule.BAD_ROOT: "vttbr_el2",
    Rule.TWO_ROOTS: "vttbr_el2",
    Rule.TWO_VMIDS: "vttbr_el2",
    Rule.STAGE2_OFF: "hcr_el2",
}
_BY_STORE = (Rule.NOT_FLUSHED, Rule.NOT_PUBLISHED)
# What names the store before, which made the entry what it was.
_AFTER_STORE = (Rule.MAKE_BEFORE_CLEAN, Rule.FROZEN)


class Checker:
    """Watches `machine` from now on. It changes nothing in a run, and is no part of snapshots: a
    machine that is restored to an earlier moment wants a new one.

    `rules`: their ids. `by_difference`: stores to tables are found at the next barrier, and not
    each by itself. UserError if translation is not by the model.
    """

    def __init__(
        self,
        machine: Machine,
        *,
        names: Names = NO_NAMES,
        rules: frozenset[str] = ALL_RULES,
        by_difference: bool = False,
    ) -> None:
        self.findings = Findings(rules, names)
        self.names = names
        self.first_entry: Place | None = None
        """Where EL2 was first left for a guest."""
        self.has_translated = False
        """EL2's MMU has been on."""
        self._machine = machine
        self._position = Position(machine)
        self._stores: dict[int, Place] = {}
        self._writes: dict[tuple[int, str], Place] = {}
        self._maps: dict[int, El2Map] = {}
        """By CPU; those that are not out of date."""
        self._code: list[tuple[int, int]] = []
        """Ranges of PA that EL2 can execute, when last looked at."""
        self._look_due = True
        self._other_granules: set[str] = set()
        """Regimes that use one that cannot be looked at."""
        self._hardware = HardwareFindings(machine, self.findings, self._position)
        ignored = frozenset(rule for rule in Rule if rule.id not in rules)
        kind = DifferenceMonitor if by_difference else Monitor
        self._early = EarlyUse(machine, self.findings, self._position, self._is_on_walk)
        self._monitor = kind(machine, ignore=ignored, report=self._violation)
        self._monitor.on_event = self._event
        self._guests = GuestRules(
            machine,
            self.findings,
            self._position,
            self._map,
            self._monitor.trees.is_reachable,
            self._entered,
        )
        self._look_at_registers()

    def close(self) -> None:
        """Watch no more."""
        self._guests.close()
        self._early.close()
        self._monitor.close()

    @property
    def vcpus(self) -> int:
        """How many vCPUs have been entered."""
        return self._guests.vcpus

    @property
    def unchecked(self) -> tuple[str, ...]:
        """What could not be looked at, in words."""
        words = "uses a granule that is not checked: only 4 KiB is"
        return tuple(f"{regime} {words}" for regime in sorted(self._other_granules))

    def finish(self) -> None:
        """The run is over: what is judged by its whole."""
        self._hardware.look()
        if self.first_entry is None:
            return
        el2_map = self._map(self.first_entry.cpu)
        if not el2_map.is_known:
            return
        pages = sorted(self._monitor.trees.pages)
        writable = el2_map.is_writable_pa(pages) if el2_map.leaves is not None else len(pages)
        if writable:
            words = f"{writable:,} of {len(pages):,} live table pages, at the end of the run"
            self.findings.add(RULES["writable-tables"], self.first_entry, words)

    # What the monitor reports.

    def _violation(self, v: Violation) -> None:
        if self._is_harmless(v):
            return
        place = self._position.at(v.cpu, v.pc, v.instruction)
        entry = Entry(v.vmid, v.entry_pa, v.level, v.ia, v.old, v.new)
        words = [v.rule.words]
        if v.entry_pa is not None and v.level is not None:
            words += self._changes(v.cpu, v.level, v.vmid is not None, v.old, v.new)
        before = None
        if v.rule in (*_BY_STORE, *_BY_REGISTER):
            place = self._guests.place_of_eret(v.cpu)
        if v.rule in _BY_STORE and v.entry_pa is not None:
            before = self._stores.get(v.entry_pa)
            words.append(f"the CPU went on to PC {v.pc:#x} below EL2")
        elif v.rule in _BY_REGISTER:
            before = self._writes.get((v.cpu, _BY_REGISTER[v.rule]))
            words.append(f"the CPU went on to PC {v.pc:#x} below EL2")
        elif v.rule in _AFTER_STORE and v.entry_pa is not None:
            store = self._stores.get(v.entry_pa)
            if store is not None:
                name = self.names.symbol(store.pc) or f"PC {store.pc:#x}"
                words.append(f"it was last changed by {name}, at {store.position:,}")
        rule = RULES[v.rule.id]
        if v.rule is Rule.NOT_FLUSHED and v.vmid is None:
            rule, words[0] = NOT_FLUSHED_OWN, NOT_FLUSHED_OWN.words
        self.findings.add(
            rule, before or place, "; ".join(words), entry=entry, value=v.pa,
            kind="" if rule is RULES[rule.id] else "own",
        )  # fmt: skip

    def _is_harmless(self, v: Violation) -> bool:
        """What the monitor holds against the project's own hypervisor, and no TLB can make wrong;
        or what cannot be known."""
        if v.rule is Rule.BAD_ROOT:
            registers = self._monitor.registers.cpus[v.cpu]
            is_other = has_other_granule(registers, is_stage2=True)
            if is_other:
                self._other_granules.add("stage 2")
            return is_other
        if v.entry_pa is None or v.level is None or v.old is None:
            return False
        page = self._monitor.trees.pages.get(v.entry_pa & -PAGE)
        if v.rule is Rule.FROZEN and page is not None and v.ia is not None and v.new is not None:
            is_meant = self._is_meant(v.new, v.level, page.root)
            entries = self._monitor.entries
            return is_meant and entries.allows_below(page.root, v.level, v.ia, v.old, v.new)
        if page is None or page.frozen:
            return False
        if v.rule is Rule.MAKE_BEFORE_CLEAN and v.ia is not None and v.new is not None:
            # Where they hold something, it is what the tables have again, or they have nothing.
            entries = self._monitor.entries
            stale = entries.unclean.overlapping(page.root, v.ia, 1 << LEVEL_SHIFT[v.level])
            return all(unclean.in_place or entries.agrees(unclean) for unclean in stale)
        if v.rule is Rule.NOT_FLUSHED and entry_kind(v.old, v.level) == EntryKind.LEAF:
            words = self._monitor.words(page_pa := v.entry_pa & -PAGE)
            now = 0 if words is None else words[v.entry_pa - page_pa >> 3]
            return takes_nothing_but_af(v.old, now, v.level, is_stage2=v.vmid is not None)
        return False

    def _is_meant(self, new: int, level: int, root: int) -> bool:
        """Whether what is stored in a page that was a table still reads as a descriptor that
        somebody made: what walkers take for one may be other data."""
        kind = entry_kind(new, level)
        is_ram = self._machine.memory.is_ram
        if kind == EntryKind.TABLE:
            return is_ram(new & OA)
        pa_bits = self._monitor.trees.trees[root].geometry.pa_bits
        is_leaf = kind == EntryKind.LEAF
        return not is_leaf or is_ram(leaf_pa(new, level)) or may_be_held(new, level, pa_bits)

    def _changes(
        self, cpu: int, level: int, is_stage2: bool, old: int | None, new: int | None
    ) -> list[str]:
        mair = self._monitor.registers.cpus[cpu].mair_el2
        if old is not None and new is not None:
            return [describe_change(old, new, level, is_stage2=is_stage2, mair=mair)]
        if new is not None:
            return [f"the entry -> {describe(new, level, is_stage2=is_stage2, mair=mair)}"]
        if old is not None:
            return [f"it was {describe(old, level, is_stage2=is_stage2, mair=mair)}"]
        return []

    # What else it sees.

    def _is_on_walk(self, cpu: int, va: int, entry: int) -> bool:
        """Whether the tables of EL2 that a CPU uses lead by an entry to a VA."""
        root = self._monitor.registers.cpus[cpu].el2_root
        tree = None if root is None else self._monitor.trees.trees.get(root)
        if tree is None:
            return False
        table = tree.root
        for level in range(tree.geometry.start_level, LAST_LEVEL + 1):
            index = va >> LEVEL_SHIFT[level] & ENTRIES - 1
            if table + index * 8 == entry:
                return True
            words = self._monitor.words(table)
            if words is None or entry_kind(words[index], level) != EntryKind.TABLE:
                return False
            table = words[index] & OA
        return False

    def _event(self, cpu: int, kind: int, a: int, b: int, c: int) -> None:
        self._hardware.look()
        if kind == Observed.STORE:
            self._store(cpu, a, b, c)
        elif kind == Observed.BARRIER:
            self._early.barrier(cpu, a)
        elif kind == Observed.ERET:
            self._early.synchronise(cpu)
            if self._look_due and self.first_entry is not None:
                self._look_at_code(cpu)
        elif kind == Observed.SYSREG:
            name = REGISTERS.get(a)
            if name is not None:
                self._writes[cpu, name] = self._position.now(cpu)
                if name in _EL2_REGISTERS:
                    self._look_at_registers()
        self._monitor.also_wanted = _SYNCHRONISING if self._early.is_waiting else 0

    def _store(self, cpu: int, pa: int, old: int, new: int) -> None:
        if old == new or self._machine.cpus[cpu].current_el != 2:
            return
        place = self._monitor.place_of_store(cpu)
        where = self._position.at(cpu, *place)
        self._stores[pa] = where
        page = self._monitor.trees.pages.get(pa & -PAGE)
        if page is None or self._monitor.trees.trees[page.root].vmid is not None:
            return
        was, now = entry_kind(old, page.level), entry_kind(new, page.level)
        shift = LEVEL_SHIFT[page.level]
        ia = page.ia + (pa % PAGE // 8 << shift)
        self._maps.clear()
        if now == EntryKind.INVALID:
            self._early.gone(pa)
        elif was == EntryKind.INVALID:
            entry = Entry(None, pa, page.level, ia, old, new)
            mair = self._monitor.registers.cpus[cpu].mair_el2
            what = describe(new, page.level, is_stage2=False, mair=mair)
            self._early.stored(entry, 1 << shift, what, where)
        self._look_due |= EntryKind.TABLE in (was, now) or self._concerns_code(old, page.level)
        self._look_due |= self._concerns_code(new, page.level)

    def _concerns_code(self, descriptor: int, level: int) -> bool:
        """Whether a leaf of EL2 has to do with what it executes."""
        if entry_kind(descriptor, level) != EntryKind.LEAF:
            return False
        if not descriptor & _XN:
            return True
        pa = leaf_pa(descriptor, level)
        end = pa + (1 << LEVEL_SHIFT[level])
        is_writable = not descriptor & _AP2
        return is_writable and any(pa < stop and start < end for start, stop in self._code)

    def _look_at_registers(self) -> None:
        self._maps.clear()
        self._look_due = True
        for registers in self._monitor.registers.cpus.values():
            is_other = has_other_granule(registers, is_stage2=False)
            self.has_translated |= registers.el2_root is not None or is_other
            if is_other:
                self._other_granules.add("EL2")

    def _entered(self, cpu: int) -> None:
        """A CPU enters a guest for the first time."""
        if self.first_entry is None:
            self.first_entry = self._guests.place_of_eret(cpu)
        self._look_at_code(cpu)

    def _map(self, cpu: int) -> El2Map:
        """What EL2's tables map for a CPU."""
        known = self._maps.get(cpu)
        if known is None:
            registers = self._monitor.registers.cpus[cpu]
            known = self._maps[cpu] = read_map(self._machine.memory, registers)
        return known

    def _look_at_code(self, cpu: int) -> None:
        el2_map = self._map(cpu)
        self._look_due = False
        leaves = el2_map.leaves or ()
        self._code = [(leaf.pa, leaf.pa + leaf.size) for leaf in leaves if leaf.exec_el1]
        pairs = list(el2_map.writable_code())
        if not pairs:
            return
        code, writable = pairs[0]
        size = sum(leaf.size for leaf, _ in pairs)
        same = "and written" if writable == code else f"and written at VA {writable.ia:#x}"
        words = f"{size:#x} bytes, first VA {code.ia:#x} (PA {code.pa:#x}), can be executed {same}"
        entry = Entry(None, None, code.levels[0], code.ia, None, code.descriptor)
        place = self._guests.place_of_eret(cpu)
        self.findings.add(RULES["writable-code"], place, words, entry=entry, value=code.pa)

# SPDX-License-Identifier: Apache-2.0
"""The page-table-entry protocol, checked over a stream of events of one PE.

An entry of a live table is valid, invalid but unclean (a TLB or walk cache may still hold it), or
invalid and clean. Unclean becomes clean by, in this order: DSB ISHST (or ISH); TLBI of the right
kind, address and VMID; DSB ISH. For stage 2 by address the TLBI is two: IPAS2E1IS, DSB ISH, then
VMALLE1IS. See Arm ARM D8, "Using break-before-make when updating translation table entries".
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, IntEnum

from aether_edgecloud.stage2.spec import LAST_LEVEL, LEVEL_SHIFT, PAGE, Config, Regime

_ENTRIES = 512
_VALID = 1
_TABLE = 2
_RESERVED = 2
_OA = 0x0000_FFFF_FFFF_F000
# What may change in a valid leaf without break-before-make: permissions (AP or S2AP, XN, PXN), AF,
# DBM and the bits for software.
_FREE_BITS = (3 << 6) | (1 << 10) | (1 << 51) | (3 << 53) | (0xF << 55)


class EventKind(IntEnum):
    """The recorder's ``enum event_kind``."""

    WRITE = 0
    ZERO = 1
    DSB_ISHST = 2
    DSB_ISH = 3
    ISB = 4
    SET_VTTBR = 5
    TLBI_IPAS2E1IS = 6
    TLBI_VMALLE1IS = 7
    TLBI_VMALLS12E1IS = 8
    TLBI_VAE2IS = 9
    BAD_ACCESS = 10


@dataclass(frozen=True, slots=True)
class Event:
    """WRITE: ``a`` PA of the entry, ``b`` descriptor. ZERO: ``a`` PA of the page. SET_VTTBR: ``a``
    the value; an ISB goes with it. TLBI by address: ``a`` the IPA or VA.
    """

    kind: EventKind
    a: int = 0
    b: int = 0


class Rule(Enum):
    """What can be wrong."""

    VALID_TO_VALID = "a valid entry was replaced without break-before-make"
    MAKE_BEFORE_CLEAN = "an entry was made valid before its old translation was gone"
    FROZEN = "a table was written or reused while walkers may still reach it"
    DETACHED_VALID = "a table was detached while it held entries that are valid or unclean"
    NOT_CLEARED = "a table was linked before all of it was written"
    NOT_VISIBLE = "a table was linked before its contents were made visible by a DSB"
    TWO_PARENTS = "a page that is a table already was linked again"
    NOT_FLUSHED = "an old translation may be left in a TLB"
    NOT_PUBLISHED = "a new entry was not made visible to the walkers by a DSB"
    NOT_SYNCHRONISED = "no ISB after a change of tables"
    VTTBR_MOVED = "VTTBR_EL2 changed between a TLBI and its DSB ISH"
    VTTBR_LOST = "VTTBR_EL2 was not put back"
    WRONG_ROOT = "VTTBR_EL2 pairs a VMID with the root of another address space"
    BAD_ACCESS = "memory outside the arena was accessed"


@dataclass(frozen=True, slots=True)
class Violation:
    rule: Rule
    event: int
    """Number of the event, counted from the first one fed."""
    address: int
    """PA of the entry or page; otherwise the value of the register."""

    def __str__(self) -> str:
        return f"event {self.event}: {self.rule.value} ({self.address:#x})"


@dataclass(frozen=True, slots=True)
class Space:
    """An address space under watch, with the PA of its (first) root table."""

    config: Config
    root: int


class _Progress(Enum):
    NONE = 0
    DSBED = 1
    TLBI_IPA = 2
    TLBI_IPA_DSB = 3
    TLBIED = 4


@dataclass(slots=True)
class _Stale:
    """An old descriptor that TLBs may hold."""

    space: Space
    ia: int
    size: int
    detached: int | None
    """The table that it led to."""
    progress: _Progress = _Progress.NONE

    def covers(self, ia: int) -> bool:
        return self.ia <= ia < self.ia + self.size


@dataclass(slots=True)
class _Live:
    """A table that walkers can reach, or could until its link is clean (frozen)."""

    space: Space
    level: int
    ia: int
    frozen: bool = False


@dataclass(slots=True)
class Monitor:
    """Feed events; read `violations`. `end_of_operation` checks what must hold between calls."""

    vttbr: int = 0
    violations: list[Violation] = field(default_factory=list)
    annotations: bool = True
    """Whether any invalid word may stand in a live table. Where not, one that is neither 0 nor a
    reserved page shows that somebody uses the page for another purpose already.
    """
    in_place: int = 0
    """Changes of permissions made without a break, which the architecture allows."""
    _events: int = 0
    _spaces: list[Space] = field(default_factory=list)
    _pages: dict[int, list[int | None]] = field(default_factory=dict)
    _live: dict[int, _Live] = field(default_factory=dict)
    _stale: dict[int, _Stale] = field(default_factory=dict)
    _unseen: set[int] = field(default_factory=set)
    """Pages with stores after the last DSB."""
    _unpublished: bool = False
    _unsynchronised: bool = False
    _resting_vttbr: int | None = None

    def watch(self, space: Space) -> None:
        """The root becomes live, after events that cleared it: to be called after `pgt_init`."""
        self._spaces.append(space)
        level = space.config.start_level
        for page in range(0, space.config.root_size, PAGE):
            ia = (page // 8) << LEVEL_SHIFT[level]
            self._link(space, space.root + page, level, ia)

    def feed(self, events: Iterable[Event]) -> None:
        for event in events:
            self._feed(event)
            self._events += 1

    def end_of_operation(self) -> None:
        for entry in self._stale:
            self._report(Rule.NOT_FLUSHED, entry)
        if self._unpublished:
            self._report(Rule.NOT_PUBLISHED, 0)
        elif self._unsynchronised and not self._stale:
            self._report(Rule.NOT_SYNCHRONISED, 0)
        if self._resting_vttbr is not None and self.vttbr != self._resting_vttbr:
            self._report(Rule.VTTBR_LOST, self.vttbr)
        self._resting_vttbr = self.vttbr

    def _report(self, rule: Rule, address: int) -> None:
        self.violations.append(Violation(rule, self._events, address))

    def _feed(self, event: Event) -> None:
        match event.kind:
            case EventKind.WRITE:
                self._write(event.a, event.b)
            case EventKind.ZERO:
                if event.a in self._live:
                    self._report(Rule.FROZEN, event.a)
                self._pages[event.a] = [0] * _ENTRIES
                self._unseen.add(event.a)
            case EventKind.DSB_ISHST:
                self._dsb(False)
            case EventKind.DSB_ISH:
                self._dsb(True)
            case EventKind.ISB:
                self._unsynchronised = self._unpublished or bool(self._stale)
            case EventKind.SET_VTTBR:
                self._set_vttbr(event.a)
            case EventKind.BAD_ACCESS:
                self._report(Rule.BAD_ACCESS, event.a)
            case _:
                self._tlbi(event.kind, event.a)

    def _write(self, entry: int, new: int) -> None:
        page, index = entry - entry % PAGE, entry % PAGE // 8
        content = self._pages.setdefault(page, [None] * _ENTRIES)
        old = content[index] or 0
        content[index] = new
        self._unseen.add(page)
        table = self._live.get(page)
        if table is None:
            return
        self._unsynchronised = True
        foreign = not new & _VALID and new not in (0, _RESERVED)
        if table.frozen or (foreign and not self.annotations):
            self._report(Rule.FROZEN, entry)
            return
        if new & _VALID:
            self._unpublished = True
        if entry in self._stale:
            if new & _VALID:
                self._report(Rule.MAKE_BEFORE_CLEAN, entry)
            return
        size = 1 << LEVEL_SHIFT[table.level]
        ia = table.ia + index * size
        if old & _VALID and new != old:
            was_table = table.level < LAST_LEVEL and bool(old & _TABLE)
            if new & _VALID:
                self.in_place += 1
                if was_table or (old ^ new) & ~_FREE_BITS:
                    self._report(Rule.VALID_TO_VALID, entry)
            detached = old & _OA if was_table else None
            self._stale[entry] = _Stale(table.space, ia, size, detached)
            if detached is not None:
                for below, _ in self._subtree(detached, table.level + 1, ia):
                    if below in self._live:
                        self._live[below].frozen = True
        elif new & _VALID and new & _TABLE and table.level < LAST_LEVEL and new != old:
            self._link(table.space, new & _OA, table.level + 1, ia)

    def _link(self, space: Space, page: int, level: int, ia: int) -> None:
        for below, table in self._subtree(page, level, ia):
            if below in self._live:
                self._report(Rule.TWO_PARENTS, below)
                continue
            if None in self._pages.get(below, [None]):
                self._report(Rule.NOT_CLEARED, below)
            if below in self._unseen:
                self._report(Rule.NOT_VISIBLE, below)
            self._live[below] = _Live(space, *table)

    def _subtree(self, page: int, level: int, ia: int) -> Iterator[tuple[int, tuple[int, int]]]:
        """The table and all below it: PA, (level, first input address)."""
        todo = [(page, level, ia)]
        while todo:
            page, level, ia = todo.pop()
            yield page, (level, ia)
            if level == LAST_LEVEL:
                continue
            for index, desc in enumerate(self._pages.get(page, [])):
                if desc is not None and desc & 3 == _VALID | _TABLE:
                    todo.append((desc & _OA, level + 1, ia + (index << LEVEL_SHIFT[level])))

    def _dsb(self, waits_for_tlbi: bool) -> None:
        self._unseen.clear()
        self._unpublished = False
        for entry, stale in list(self._stale.items()):
            if stale.progress is _Progress.NONE:
                stale.progress = _Progress.DSBED
            elif waits_for_tlbi and stale.progress is _Progress.TLBI_IPA:
                stale.progress = _Progress.TLBI_IPA_DSB
            elif waits_for_tlbi and stale.progress is _Progress.TLBIED:
                del self._stale[entry]
                if stale.detached is not None:
                    self._detach(stale.detached)

    def _detach(self, page: int) -> None:
        table = self._live.get(page)
        if table is None:
            return
        for below, _ in list(self._subtree(page, table.level, table.ia)):
            self._live.pop(below, None)
            content = self._pages[below]
            if any(desc is not None and desc & _VALID for desc in content) or any(
                below <= entry < below + PAGE for entry in self._stale
            ):
                self._report(Rule.DETACHED_VALID, below)

    def _tlbi(self, kind: EventKind, address: int) -> None:
        vmid = self.vttbr >> 48
        for stale in self._stale.values():
            if stale.space.config.regime is Regime.EL2:
                if kind is EventKind.TLBI_VAE2IS and stale.covers(address):
                    self._advance(stale, _Progress.DSBED, _Progress.TLBIED)
                continue
            if stale.space.config.vmid != vmid:
                continue
            if kind is EventKind.TLBI_IPAS2E1IS and stale.covers(address):
                self._advance(stale, _Progress.DSBED, _Progress.TLBI_IPA)
            elif kind is EventKind.TLBI_VMALLE1IS:
                self._advance(stale, _Progress.TLBI_IPA_DSB, _Progress.TLBIED)
            elif kind is EventKind.TLBI_VMALLS12E1IS and stale.progress is not _Progress.NONE:
                stale.progress = _Progress.TLBIED

    @staticmethod
    def _advance(stale: _Stale, before: _Progress, after: _Progress) -> None:
        if stale.progress is before:
            stale.progress = after

    def _set_vttbr(self, value: int) -> None:
        if any(
            stale.progress in (_Progress.TLBI_IPA, _Progress.TLBIED)
            and stale.space.config.regime is Regime.STAGE2
            for stale in self._stale.values()
        ):
            self._report(Rule.VTTBR_MOVED, value)
        for space in self._spaces:
            same_vmid = space.config.regime is Regime.STAGE2 and space.config.vmid == value >> 48
            if same_vmid and space.root != value & 0x0000_FFFF_FFFF_FFFE and value != 0:
                self._report(Rule.WRONG_ROOT, value)
        self.vttbr = value

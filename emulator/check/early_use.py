# SPDX-License-Identifier: Apache-2.0
"""Use of a translation of EL2 before the barriers behind the store of its entry."""

from collections.abc import Callable
from dataclasses import dataclass

from aether_edgecloud.emulator.check.finding import Entry, Findings, Place
from aether_edgecloud.emulator.check.position import Position
from aether_edgecloud.emulator.check.rules import RULES, RuleInfo
from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.emulator.monitor.events import Dsb, decode_barrier

_BEFORE_DSB, _BEFORE_ISB = RULES["used-before-dsb"], RULES["used-before-isb"]
_VA_BITS = (1 << 48) - 1


@dataclass(frozen=True, slots=True)
class _Pending:
    """An entry that has become valid; `size` in bytes of VA, `what` the descriptor in words."""

    entry: Entry
    size: int
    what: str
    stored: Place


class EarlyUse:
    """Follows the entries that EL2 makes valid until a DSB and a context synchronisation event have
    come. An access is seen when its translation is first asked for.

    `is_on_walk`: whether the walk of a CPU for a VA of EL2 comes by the entry at a PA.
    """

    def __init__(
        self,
        machine: Machine,
        findings: Findings,
        position: Position,
        is_on_walk: Callable[[int, int, int], bool],
    ) -> None:
        self._is_on_walk = is_on_walk
        self._findings = findings
        self._position = position
        self._stored: dict[int, _Pending] = {}
        """By PA of the entry: no DSB has followed."""
        self._shown: dict[int, _Pending] = {}
        """A DSB has, but no context synchronisation event."""
        self._translations = [cpu.translation for cpu in machine.cpus]
        for number, unit in enumerate(self._translations):
            unit.on_fill = self._fill(number)

    def close(self) -> None:
        """Follow no more."""
        for unit in self._translations:
            unit.on_fill = None

    @property
    def is_waiting(self) -> bool:
        """Whether a barrier is to come."""
        return bool(self._stored or self._shown)

    def stored(self, entry: Entry, size: int, what: str, place: Place) -> None:
        """An entry of EL2's tables has been made valid; `what` describes it."""
        assert entry.pa is not None
        self._stored[entry.pa] = _Pending(entry, size, what, place)

    def gone(self, pa: int) -> None:
        """An entry is not valid any more."""
        self._stored.pop(pa, None)
        self._shown.pop(pa, None)

    def barrier(self, cpu: int, word: int) -> None:
        """A DSB or ISB."""
        decoded = decode_barrier(word)
        if isinstance(decoded, Dsb):
            if decoded.stores:
                for pa in [pa for pa, p in self._stored.items() if p.stored.cpu == cpu]:
                    self._shown[pa] = self._stored.pop(pa)
        elif decoded is not None:
            self.synchronise(cpu)

    def synchronise(self, cpu: int) -> None:
        """A context synchronisation event."""
        for pa in [pa for pa, p in self._shown.items() if p.stored.cpu == cpu]:
            del self._shown[pa]

    def _fill(self, cpu: int) -> Callable[[int, int, int], None]:
        def filled(va: int, _access: int, el: int) -> None:
            if el == 2 and (self._stored or self._shown):
                self._used(cpu, va & _VA_BITS)

        return filled

    def _used(self, cpu: int, va: int) -> None:
        for waiting, rule in ((self._stored, _BEFORE_DSB), (self._shown, _BEFORE_ISB)):
            for pa, pending in list(waiting.items()):
                first = pending.entry.ia
                if first is None or not first <= va < first + pending.size:
                    continue
                if rule is _BEFORE_ISB and pending.stored.cpu != cpu:
                    continue  # the other CPU's own affair
                if not self._is_on_walk(cpu, va, pa):
                    continue  # an entry of another tree
                self._report(rule, cpu, va, pending)
                del waiting[pa]

    def _report(self, rule: RuleInfo, cpu: int, va: int, pending: _Pending) -> None:
        use, store = self._position.now(cpu), pending.stored
        symbol = self._findings.names.symbol(use.pc) or f"PC {use.pc:#x}"
        missing = "ISB since the DSB" if rule is _BEFORE_ISB else "DSB between"
        words = (
            f"{pending.what} is stored here; VA {va:#x} is used by {symbol}, CPU {cpu},"
            f" at {use.position:,}, with no {missing}"
        )
        self._findings.add(rule, store, words, entry=pending.entry, value=va)

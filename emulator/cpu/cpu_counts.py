# SPDX-License-Identifier: Apache-2.0
"""What is counted of one CPU: instructions by EL, exceptions, stays at EL2, timelines of VMs."""

from aether_edgecloud.emulator.cpu.engine import Engine
from aether_edgecloud.emulator.cpu.exits import BOOT, ExitStatistics, kind_name
from aether_edgecloud.emulator.cpu.hooks import EXCEPTION_KINDS, EXIT_ENDS


class CpuCounts:
    """Kept in the hooks' state, where the hooks count too; the stays at EL2 are taken over here."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._state = engine.state
        self.exits = ExitStatistics()
        """Up to the last `collect_exit`."""

    def begin(self) -> None:
        """The CPU is at reset, at EL2."""
        self.collect_exit()
        self.exits.begin(BOOT)
        self._state.exit_open = 1

    def switched_on(self) -> None:
        """It starts anew, at EL2, after it was off."""
        state = self._state
        state.el_retired[state.el] += state.retired - state.el_mark
        state.el_mark = state.exit_start = state.retired
        state.el, state.after_eret, state.after_wfe = 2, 1, 0

    def exception(self, from_el: int, target_el: int, kind: int, sp: int, elr: int) -> None:
        """One has been taken; `sp` and `elr` are those of the target."""
        state = self._state
        state.exception_counts[(from_el * 3 + target_el) * EXCEPTION_KINDS + kind] += 1
        state.exceptions += 1
        state.last_exception = kind | from_el << 8 | target_el << 12
        state.el_retired[from_el] += state.retired - state.el_mark
        state.el_mark = state.retired
        state.el = target_el
        state.after_eret = 0
        state.sp_suspect = sp & 15 != 0
        if target_el == 2 and from_el < 2:
            self.collect_exit()
            self._engine.fold(elr)
            self._engine.guest_left(kind)
            self._engine.tables.note_exit(kind)
            state.exit_start = state.retired
            state.exit_open = 1

    def collect_exit(self) -> None:
        """Take over what the hooks noted of the stays at EL2."""
        for kind, instructions in self._engine.tables.take_exits():
            if kind == EXIT_ENDS:
                self.exits.finish(instructions)
            else:
                self.exits.begin(kind_name(kind))

    def instructions_by_el(self) -> tuple[int, int, int]:
        """Retired instructions at EL0, EL1 and EL2."""
        state = self._state
        counts = list(state.el_retired[:3])
        counts[state.el] += state.retired - state.el_mark
        return counts[0], counts[1], counts[2]

    def exceptions(self) -> dict[tuple[int, int, str], int]:
        """How many exceptions were taken, by EL from, EL to, and kind."""
        counts: dict[tuple[int, int, str], int] = {}
        for i, count in enumerate(self._state.exception_counts):
            if count:
                way, kind = divmod(i, EXCEPTION_KINDS)
                place = (*divmod(way, 3), kind_name(kind))
                counts[place] = counts.get(place, 0) + count
        return counts

    def timelines(self) -> dict[int, tuple[int, int]]:
        """By VMID: the hash over (PC, counter) of every entry to and exit from that VM's vCPUs on
        this CPU, and how many there were."""
        state = self._state
        return {
            vmid: (int(state.timeline[vmid]), int(events))
            for vmid, events in enumerate(state.timeline_events)
            if events
        }

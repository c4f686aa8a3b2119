# SPDX-License-Identifier: Apache-2.0
"""Machines in which EL2 has done all that it does before the first guest: the same for any secret
that is planted later, so it is run once."""

import ctypes as c
from collections.abc import Callable

from aether_edgecloud.emulator.machine import Machine, StopKind
from aether_edgecloud.emulator.machine.console import Bytes, InputSource
from aether_edgecloud.emulator.machine.snapshot import Snapshot

_STEP = 2_000_000
_AHEAD = 2_000
_CROSSING_FN = c.CFUNCTYPE(None, c.c_uint64)


class Booted:
    """Makes machines that are about to enter their first guest, from those that `build` makes at
    reset. Where there is no such place within `most` instructions they stay at reset."""

    def __init__(self, build: Callable[[InputSource], Machine], most: int = 200_000_000) -> None:
        self._build = build
        self._most = most
        self._snapshot: Snapshot | None = None
        self._is_known = False

    def machine(self, source: InputSource) -> Machine:
        """One with this input."""
        if not self._is_known:
            self._is_known = True
            self._snapshot = self._boot()
        machine = self._build(source)
        if self._snapshot is not None:
            machine.restore(self._snapshot)
        return machine

    def _boot(self) -> Snapshot | None:
        first = self._first_entry()
        if not first:
            return None
        machine = self._build(Bytes())
        try:
            # Some way before the ERET: Unicorn does not tell of the first block it runs.
            machine.run(max(first - _AHEAD, 0))
            snapshot = machine.snapshot()
        finally:
            machine.close()
        # Input that was asked for up to there would be late.
        return snapshot if snapshot.console.asked == 0 else None

    def _first_entry(self) -> int:
        """Its position; 0 if there is none."""
        machine = self._build(Bytes())
        found: list[int] = []

        def crossing(_pc: int) -> None:
            if not found:
                state = machine.cpus[machine.running or 0].state
                found.append(int(state.others_retired + state.retired))
                machine.interrupt()

        callback = _CROSSING_FN(crossing)
        for cpu in machine.cpus:
            cpu.state.on_crossing = c.cast(callback, c.c_void_p).value
        try:
            while not found and machine.instructions < self._most:
                if machine.run(machine.instructions + _STEP).kind not in _GOES_ON:
                    break
        finally:
            for cpu in machine.cpus:
                cpu.state.on_crossing = None
            machine.close()
        return found[0] if found else 0


_GOES_ON = (StopKind.LIMIT, StopKind.BREAK)

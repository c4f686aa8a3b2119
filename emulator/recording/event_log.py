# SPDX-License-Identifier: Apache-2.0
"""The events of a machine while it runs, as `events.h` has them."""

import ctypes as c
import struct
from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

from aether_edgecloud.emulator.cpu.exits import is_interrupt
from aether_edgecloud.emulator.cpu.hooks import HookState
from aether_edgecloud.emulator.cpu.registers import VTTBR_EL2
from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.emulator.recording.events import EVENT, EventKind

_CAPACITY = 1 << 15
_EVENT = struct.Struct("<QQQQBBB5x")
_EC_HVC = 0x16
_MMIO = int(EventKind.MMIO)
_MASK64 = (1 << 64) - 1
_DRAIN_FN = c.CFUNCTYPE(None)
_VMID_SHIFT, _VMID_MASK = 48, 0xFF


class _Buffer(c.Structure):
    """`struct event_buffer`."""

    _fields_ = [
        ("count", c.c_uint32),
        ("capacity", c.c_uint32),
        ("events", c.c_void_p),
        ("drain", c.c_void_p),
    ]


class _Log(c.Structure):
    """`struct event_log`."""

    _fields_ = [("buffer", c.c_void_p), ("cpu", c.c_uint32), ("vm", c.c_uint32)]


class EventLog:
    """Collects a machine's events from now on, until it is closed. It changes nothing in the run.

    `take` hands events over in the order in which they happened, as rows of `EVENT`.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._parts: list[npt.NDArray[np.void]] = []
        self._rows = (c.c_uint8 * (_CAPACITY * _EVENT.size))()
        drain = _DRAIN_FN(self._drain)
        self._callbacks = [drain]
        self._buffer = _Buffer(
            count=0,
            capacity=_CAPACITY,
            events=c.addressof(self._rows),
            drain=c.cast(drain, c.c_void_p).value,
        )
        self._logs: list[_Log] = []
        for number, cpu in enumerate(machine.cpus):
            log = _Log(c.addressof(self._buffer), number)
            self._logs.append(log)
            cpu.state.events = c.addressof(log)
            cpu.on_exception = self._exception_of(number)
            cpu.on_power_on.append(self.look_at_vms)
        machine.on_device = self._device_log()
        self.look_at_vms()

    def close(self) -> None:
        """Collect nothing any more."""
        for cpu in self._machine.cpus:
            cpu.state.events = None
            cpu.on_exception = None
            cpu.on_power_on.remove(self.look_at_vms)
        self._machine.on_device = None

    def look_at_vms(self) -> None:
        """VTTBR_EL2 may have been written, and not by an instruction."""
        for log, cpu in zip(self._logs, self._machine.cpus, strict=True):
            log.vm = cpu.native(VTTBR_EL2) >> _VMID_SHIFT & _VMID_MASK

    def take(self) -> npt.NDArray[np.void]:
        """What has happened since the last time."""
        self._drain()
        parts, self._parts = self._parts, []
        return np.concatenate(parts) if parts else np.empty(0, EVENT)

    def add(
        self, kind: EventKind, cpu: int, position: int, a: int = 0, b: int = 0, c: int = 0
    ) -> None:
        """One more event, after all the others."""
        buffer = self._buffer
        _EVENT.pack_into(
            self._rows,
            buffer.count * _EVENT.size,
            *(position, a & _MASK64, b & _MASK64, c, kind, cpu, self._logs[cpu].vm),
        )
        buffer.count += 1
        if buffer.count == _CAPACITY:
            self._drain()

    def here(self, cpu: int) -> int:
        """The position at the start of the block that this CPU runs."""
        state = self._machine.cpus[cpu].state
        return int(state.others_retired + state.retired)

    def _drain(self) -> None:
        size = self._buffer.count * _EVENT.size
        if size:
            self._parts.append(np.frombuffer(memoryview(self._rows)[:size].tobytes(), EVENT))
            self._buffer.count = 0

    def _exception_of(self, cpu: int) -> Callable[[int, int, int, int, int], None]:
        def tell(from_el: int, to_el: int, kind: int, esr: int, elr: int) -> None:
            levels = from_el | to_el << 4
            if is_interrupt(kind):
                event, a, last = EventKind.INTERRUPT, 0, levels | kind << 8
            elif kind == _EC_HVC and to_el == 2:
                x0 = self._machine.cpus[cpu].registers()[0]
                event, a, last = EventKind.HYPERCALL, x0, esr & 0xFFFF
            else:
                event, a, last = EventKind.EXCEPTION, esr, levels | kind << 8
            self.add(event, cpu, self.here(cpu), a, elr, last)

        return tell

    def _device_log(self) -> Callable[[int, int, int, int, bool], None]:
        """As `add`. There are many: what ctypes has to look up is looked up before."""
        rows, pack, size = memoryview(self._rows), _EVENT.pack_into, _EVENT.size
        count = _word(self._buffer, _Buffer.count.offset, "I")
        places = [
            (
                _word(cpu.state, HookState.others_retired.offset, "Q"),
                _word(cpu.state, HookState.retired.offset, "Q"),
                _word(log, _Log.vm.offset, "I"),
            )
            for cpu, log in zip(self._machine.cpus, self._logs, strict=True)
        ]

        def device(cpu: int, pa: int, width: int, value: int, is_write: bool) -> None:
            at = count[0]
            others, retired, vm = places[cpu]
            last = width | is_write << 8
            what = (others[0] + retired[0], pa, value & _MASK64, last, _MMIO, cpu, vm[0])
            pack(rows, at * size, *what)
            count[0] = at + 1
            if at + 1 == _CAPACITY:
                self._drain()

        return device


def _word(structure: c.Structure, offset: int, kind: Literal["I", "Q"]) -> "memoryview[int]":
    """A field of one word; "I" has 32 bits, "Q" 64."""
    data = memoryview(structure).cast("B")
    return data[offset : offset + struct.calcsize(kind)].cast(kind)

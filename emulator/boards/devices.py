# SPDX-License-Identifier: Apache-2.0
"""A board's devices as live models, wired as the board wires them.

Every CPU has its own count of time, so what depends on time is asked for, and driven, per CPU.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

from aether_edgecloud.emulator.boards.board import Board, DeviceKind
from aether_edgecloud.emulator.devices.device import Device, State, saved_part, saved_parts
from aether_edgecloud.emulator.devices.generic_timer import GenericTimer, TimerLevels
from aether_edgecloud.emulator.devices.gicv2 import Gicv2
from aether_edgecloud.emulator.devices.pl011 import Pl011
from aether_edgecloud.emulator.devices.pl031 import Pl031
from aether_edgecloud.emulator.firmware.psci import Firmware


@dataclass(frozen=True, slots=True)
class Window:
    """A device at PA `base` to `base + size`, as one CPU accesses it."""

    base: int
    size: int
    kind: DeviceKind
    device: Device


class ClockWindow:
    """A clock as one CPU accesses it, by that CPU's count in `now`: a `Device`."""

    def __init__(self, clock: Pl031, now: list[int], cpu: int) -> None:
        self._clock = clock
        self._now = now
        self._cpu = cpu

    def read(self, offset: int, size: int) -> int:
        """A register."""
        return self._clock.read(offset, size, self._now[self._cpu])

    def write(self, offset: int, size: int, value: int) -> None:
        """A register."""
        self._clock.write(offset, size, value, self._now[self._cpu])

    def save(self) -> State:
        """The state of the clock."""
        return self._clock.save()

    def restore(self, state: Mapping[str, object]) -> None:
        """Restores the clock."""
        self._clock.restore(state)


_NEVER = 1 << 128
"""A count that no machine reaches."""


@dataclass(slots=True)
class _CpuWiring:
    """The outputs for one CPU alone as they were driven last (None: not yet).

    Those of the timer are good for its `generation` from the count `since` until before `until`.
    """

    timer: GenericTimer
    generation: int = -1
    since: int = 0
    until: int = _NEVER
    levels: TimerLevels | None = None
    maintenance: bool | None = None

    def holds(self, counter: int) -> bool:
        """The timer's outputs at `counter` are the ones driven last."""
        return self.generation == self.timer.generation and self.since <= counter < self.until


@dataclass(slots=True)
class BoardDevices:
    """The devices of one machine. `timers` has one entry per CPU.

    `now` holds the count that each CPU's clock accesses go by. `wire` sets it; whoever knows a
    later count may set it before an access.
    """

    board: Board
    gic: Gicv2
    uarts: tuple[Pl011, ...]
    clocks: tuple[Pl031, ...]
    timers: tuple[GenericTimer, ...]
    firmware: Firmware
    now: list[int] = field(init=False)
    _wiring: tuple[_CpuWiring, ...] = field(init=False)
    _uart_lines: list[tuple[int, Pl011, int]] = field(init=False)
    _clock_lines: list[tuple[int, Pl031, int]] = field(init=False)
    _shared_levels: list[bool | None] = field(init=False)
    """Of each interrupt of a UART or clock, as it was driven last."""
    _maintenance_intid: int = field(init=False)

    def __post_init__(self) -> None:
        cpus = range(self.board.cpus)
        self.now = [0 for _ in cpus]
        self._wiring = tuple(_CpuWiring(timer) for timer in self.timers)
        numbers = itertools.count()
        self._uart_lines = [
            (next(numbers), uart, interrupt.intid)
            for node, uart in zip(self.board.all(DeviceKind.PL011), self.uarts, strict=True)
            for interrupt in node.interrupts
        ]
        self._clock_lines = [
            (next(numbers), clock, interrupt.intid)
            for node, clock in zip(self.board.all(DeviceKind.PL031), self.clocks, strict=True)
            for interrupt in node.interrupts
        ]
        self._shared_levels = [None] * next(numbers)
        hypervisor = self.board.device(DeviceKind.GICV2_HYPERVISOR_INTERFACE)
        self._maintenance_intid = hypervisor.interrupts[0].intid

    @property
    def console(self) -> Pl011:
        """The UART that /chosen/stdout-path names."""
        return self.uarts[0]

    def windows(self, cpu: int = 0) -> tuple[Window, ...]:
        """What `cpu` finds in its physical address space besides RAM."""
        uarts = iter(self.uarts)
        clocks = iter(self.clocks)
        windows = []
        for node in self.board.devices:
            device: Device
            match node.kind:
                case DeviceKind.GICV2_DISTRIBUTOR:
                    device = self.gic.distributor_of(cpu)
                case DeviceKind.GICV2_CPU_INTERFACE:
                    device = self.gic.cpu_interface(cpu)
                case DeviceKind.GICV2_HYPERVISOR_INTERFACE:
                    device = self.gic.hypervisor_interface(cpu)
                case DeviceKind.GICV2_VIRTUAL_CPU_INTERFACE:
                    device = self.gic.virtual_cpu_interface(cpu)
                case DeviceKind.PL011:
                    device = next(uarts)
                case DeviceKind.PL031:
                    device = ClockWindow(next(clocks), self.now, cpu)
            windows.append(Window(node.base, node.size, node.kind, device))
        return tuple(windows)

    def wire(self, cpu: int, counter: int) -> None:
        """Drive the GIC's inputs with what the devices put out when `cpu` has reached `counter`.

        To be called for a CPU after anything it does that can change an output (a write to a device
        or to a timer register, a read of a device, input fed), and when its count has reached
        `next_event`. Afterwards `gic.stale` names the CPUs whose interrupt inputs may differ.
        """
        self.now[cpu] = counter
        wiring = self._wiring[cpu]
        if not wiring.holds(counter):
            self._wire_timer(cpu, counter)
        maintenance = self.gic.maintenance(cpu)
        if maintenance is not wiring.maintenance:
            wiring.maintenance = maintenance
            self.gic.set_level(self._maintenance_intid, maintenance, cpu)
        for number, uart, intid in self._uart_lines:
            if uart.interrupt is not self._shared_levels[number]:
                self._drive(number, intid, uart.interrupt)
        for number, clock, intid in self._clock_lines:
            if clock.next_event is not None and self.gic.first_target(intid) == cpu:
                clock.advance(counter)
            if clock.interrupt is not self._shared_levels[number]:
                self._drive(number, intid, clock.interrupt)

    def _drive(self, number: int, intid: int, level: bool) -> None:
        self._shared_levels[number] = level
        self.gic.set_level(intid, level)

    def _wire_timer(self, cpu: int, counter: int) -> None:
        wiring = self._wiring[cpu]
        timer = wiring.timer
        until = timer.next_event(counter)
        wiring.generation = timer.generation
        wiring.since = counter
        wiring.until = _NEVER if until is None else until
        levels = timer.levels(counter)
        if levels != wiring.levels:
            wiring.levels = levels
            lines = self.board.timer
            self.gic.set_level(lines.physical, levels.physical, cpu)
            self.gic.set_level(lines.virtual, levels.virtual, cpu)
            self.gic.set_level(lines.hypervisor, levels.hypervisor, cpu)

    def next_event(self, cpu: int, counter: int) -> int | None:
        """The least count of `cpu` after `counter` at which an output changes by itself, if any.

        An output that no CPU owns, a clock's, follows the time of the first CPU its interrupt
        goes to, so that no other CPU's progress can move it.
        """
        wiring = self._wiring[cpu]
        if wiring.holds(counter):
            event = None if wiring.until == _NEVER else wiring.until
        else:
            event = wiring.timer.next_event(counter)
        for _, clock, intid in self._clock_lines:
            due = clock.next_event
            if due is not None and self.gic.first_target(intid) == cpu:
                due = max(due, counter + 1)
                event = due if event is None else min(event, due)
        return event

    def save(self) -> State:
        """The state of every device and of the firmware."""
        return {
            "gic": self.gic.save(),
            "uarts": [uart.save() for uart in self.uarts],
            "clocks": [clock.save() for clock in self.clocks],
            "timers": [timer.save() for timer in self.timers],
            "firmware": self.firmware.save(),
        }

    def restore(self, state: Mapping[str, object]) -> None:
        """Become what was saved on the same board. The CPUs' counts are the machine's to give."""
        self.gic.restore(saved_part(state, "gic"))
        for uart, part in zip(self.uarts, saved_parts(state, "uarts"), strict=True):
            uart.restore(part)
        for clock, part in zip(self.clocks, saved_parts(state, "clocks"), strict=True):
            clock.restore(part)
        for timer, part in zip(self.timers, saved_parts(state, "timers"), strict=True):
            timer.restore(part)
        self.firmware.restore(saved_part(state, "firmware"))
        self._shared_levels = [None] * len(self._shared_levels)
        self._wiring = tuple(_CpuWiring(timer) for timer in self.timers)


def build_devices(board: Board) -> BoardDevices:
    """Fresh models of everything on the board, as firmware leaves it: the UARTs enabled."""
    return BoardDevices(
        board=board,
        gic=Gicv2(board.spis, board.cpus),
        uarts=tuple(Pl011(enabled=True) for _ in board.all(DeviceKind.PL011)),
        clocks=tuple(
            Pl031(board.counter_hz, board.clock_start) for _ in board.all(DeviceKind.PL031)
        ),
        timers=tuple(GenericTimer(board.counter_hz) for _ in range(board.cpus)),
        firmware=Firmware(board.cpus, board.ram, all_on=board.spin_table is not None),
    )

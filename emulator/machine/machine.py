# SPDX-License-Identifier: Apache-2.0
"""The machine: steps one CPU, keeps its devices in time with it, answers for the firmware.

A run is a function of (binary, bundle, board, input): time is retired instructions, and everything
that reaches the guest from outside comes through `InputSource` at a point that instructions fix.
"""

import ctypes as c
import mmap
from dataclasses import dataclass
from enum import Enum

from aether_edgecloud.emulator.boards.board import Board
from aether_edgecloud.emulator.boards.devices import Window, build_devices
from aether_edgecloud.emulator.boards.dtb import build_dtb
from aether_edgecloud.emulator.cpu.clock import Clock
from aether_edgecloud.emulator.cpu.controls import Lines
from aether_edgecloud.emulator.cpu.cpu import Cpu, CpuEvent
from aether_edgecloud.emulator.cpu.engine import HookProvider, MmuMode
from aether_edgecloud.emulator.cpu.hooks import HookLibrary
from aether_edgecloud.emulator.cpu.system_registers import SystemRegisterModels
from aether_edgecloud.emulator.cpu.translation import PhysicalMemory
from aether_edgecloud.emulator.devices.pl011 import Pl011, Uart
from aether_edgecloud.emulator.firmware.psci import (
    CpuOff,
    CpuPowerDown,
    CpuStandby,
    SystemOff,
    SystemReset,
)
from aether_edgecloud.emulator.machine.console import Bytes, Console, InputSource
from aether_edgecloud.emulator.machine.image import BootImage
from aether_edgecloud.emulator.toolchain import shared_library


class StopKind(Enum):
    """Why a machine came to a stop, in words."""

    SYSTEM_OFF = "firmware switched the machine off"
    SYSTEM_RESET = "firmware was asked to restart the machine"
    LIMIT = "the limit of instructions was reached"
    BREAK = "it was asked to stop"
    DEADLOCK = "every CPU waits, and no event will ever come"
    AARCH32 = "an ERET went to AArch32 state, which the emulator does not have"
    LOCKUP = "exceptions follow one another, and no instruction retires"
    INPUT_ENDED = "the guest polls for input, and there will be none"


@dataclass(frozen=True, slots=True)
class Stop:
    """Where a machine stopped: `pc` is a VA at `el`, `instructions` the total retired."""

    kind: StopKind
    pc: int
    el: int
    instructions: int


# An event so far ahead, in ticks, never comes: only a counter that wraps around is like that.
NEVER_TICKS = 1 << 56


class Machine:
    """One machine with a binary loaded, at reset.

    `image` is entered at EL2 with the DTB's PA in X0; `initrd` (a bundle) is named in /chosen.
    UserError if they do not fit into the board's RAM.
    """

    def __init__(
        self,
        board: Board,
        image: BootImage,
        initrd: bytes = b"",
        *,
        mmu: MmuMode = MmuMode.MODEL,
        source: InputSource | None = None,
        bootargs: str = "",
        hooks: HookProvider | None = None,
    ) -> None:
        place = board.place(image.memory_size, len(initrd))
        dtb = build_dtb(board, initrd=place.initrd, bootargs=bootargs)
        self.board = board
        self.image = image
        # Private: a page that is only ever read takes no memory.
        self._mapping = mmap.mmap(-1, board.ram_size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        ram = (c.c_char * board.ram_size).from_buffer(self._mapping)
        self.memory = PhysicalMemory(board.ram_base, ram)
        self._load(place.image.start, image.data)
        if place.initrd is not None:
            self._load(place.initrd.start, initrd)
        self._load(place.dtb.start, dtb)

        self.devices = build_devices(board)
        self.clock = Clock(board.instructions_per_tick)
        self.console = Console(self.devices.console, source or Bytes())
        self.cpu = Cpu(
            hooks or HookLibrary(shared_library("hooks")),
            mmu,
            self.memory,
            ram,
            SystemRegisterModels(self.devices.timers[0], self.clock),
        )
        for window in self.devices.windows():
            self._map(window)
        self._break = False
        self.cpu.reset(place.image.start, place.dtb.start)

    def run(self, until: int | None = None) -> Stop:
        """Run until the machine stops, at most until `until` instructions have retired in all.

        The limit is met at the first block boundary at or past it.
        """
        while True:
            self._update(until)
            if self.console.input_ended:
                return self._stop(StopKind.INPUT_ENDED)
            if self._break:
                self._break = False
                return self._stop(StopKind.BREAK)
            if until is not None and self.cpu.retired >= until:
                return self._stop(StopKind.LIMIT)
            match self.cpu.run():
                case CpuEvent.FIRMWARE:
                    stop = self._firmware()
                    if stop is not None:
                        return self._stop(stop)
                case CpuEvent.WAIT:
                    if not self._wait():
                        return self._stop(StopKind.DEADLOCK)
                case CpuEvent.LOCKUP:
                    return self._stop(StopKind.LOCKUP)
                case CpuEvent.AARCH32:
                    return self._stop(StopKind.AARCH32)
                case CpuEvent.DEADLINE | CpuEvent.ATTENTION:
                    pass

    def interrupt(self) -> None:
        """Stop `run` at the next block boundary. For signal handlers and device callbacks."""
        self._break = True
        self.cpu.request_attention()

    def close(self) -> None:
        """Give the memory back at once; Python's collector may take its time with the cycle of
        machine, engine and callbacks. The machine is of no use afterwards."""
        self.cpu.close()

    @property
    def counter(self) -> int:
        """The system counter, in ticks."""
        return self.clock.counter(self.cpu.retired)

    def _load(self, pa: int, data: bytes) -> None:
        offset = pa - self.board.ram_base
        self.memory.bytes[offset : offset + len(data)] = data

    def _map(self, window: Window) -> None:
        device = window.device
        is_console = device is self.devices.console

        def read(offset: int, size: int) -> int:
            if is_console and offset in (Uart.FR, Uart.DR):
                self.console.poll()
                if self.console.input_ended:
                    self.cpu.request_attention()
            value = device.read(offset, size)
            self._wire()
            return value

        def write(offset: int, size: int, value: int) -> None:
            device.write(offset, size, value)
            if isinstance(device, Pl011):
                self.console.collect()
            self._wire()

        self.memory.add_window(window.base, window.size)
        self.cpu.engine.map_device(window.base, window.size, read, write)

    def _wire(self) -> None:
        """Let the devices' outputs reach the CPU. Time is that of the last block boundary."""
        self.devices.wire(self.counter)
        lines = Lines(irq=self.devices.gic.irq(), fiq=self.devices.gic.fiq())
        if lines != self.cpu.lines:
            self.cpu.set_lines(lines)

    def _update(self, until: int | None) -> None:
        """Bring devices to the present and set the next deadline."""
        self._wire()
        event = self._next_event()
        deadline = None if event is None else self.clock.instructions_at(event)
        if until is not None:
            deadline = until if deadline is None else min(deadline, until)
        self.cpu.set_deadline(deadline)

    def _next_event(self) -> int | None:
        """The counter value at which a device's output changes next by itself."""
        event = self.devices.next_event(self.counter)
        return event if event is not None and event - self.counter < NEVER_TICKS else None

    def _wait(self) -> bool:
        """WFI: time jumps to the next event that wakes the CPU. False if there is none."""
        while True:
            self._wire()
            if self.cpu.wakes():
                return True
            if self._break:
                return True
            event = self._next_event()
            if event is not None:
                self.clock.skip_to(event, self.cpu.retired)
            elif not self.console.wait():
                return False

    def _firmware(self) -> StopKind | None:
        x = self.cpu.registers()
        result = self.devices.firmware.call(tuple(x[:8]), 0)
        self.cpu.write_x(dict(enumerate(result.values)))
        match result.power:
            case SystemOff():
                return StopKind.SYSTEM_OFF
            case SystemReset():
                return StopKind.SYSTEM_RESET
            case CpuOff():
                return StopKind.DEADLOCK
            case CpuStandby() | CpuPowerDown():
                # PSCI lets firmware take a power-down request as a standby: the call returns.
                return None if self._wait() else StopKind.DEADLOCK
        return None

    def _stop(self, kind: StopKind) -> Stop:
        self.cpu.collect_exit()
        return Stop(kind, self.cpu.pc, self.cpu.current_el, self.cpu.retired)

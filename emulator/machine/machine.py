# SPDX-License-Identifier: Apache-2.0
"""The machine: steps its CPUs in turn, keeps the devices in time with them, answers for firmware.

A run is a function of (binary, bundle, board, input, quantum, seed): time is retired instructions,
and everything that reaches the guest from outside comes through `InputSource` at a point that
instructions fix.

One CPU runs at a time (`turns.py`).
"""

import ctypes as c
import itertools
import mmap
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from aether_edgecloud.emulator.boards.board import Board, DeviceKind
from aether_edgecloud.emulator.boards.devices import Window, build_devices
from aether_edgecloud.emulator.cpu.clock import Clock
from aether_edgecloud.emulator.cpu.controls import Lines
from aether_edgecloud.emulator.cpu.cpu import Cpu, CpuEvent
from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE, HookProvider, MmuMode
from aether_edgecloud.emulator.cpu.hooks import HookLibrary
from aether_edgecloud.emulator.cpu.registers import VTTBR_EL2
from aether_edgecloud.emulator.cpu.system_registers import SystemRegisterModels
from aether_edgecloud.emulator.cpu.translation import PhysicalMemory
from aether_edgecloud.emulator.devices.pl011 import Pl011, Uart
from aether_edgecloud.emulator.firmware.psci import (
    CpuOff,
    CpuOn,
    CpuPowerDown,
    CpuStandby,
    SystemOff,
    SystemReset,
    affinity,
)
from aether_edgecloud.emulator.machine.console import Bytes, Console, InputSource
from aether_edgecloud.emulator.machine.core import NEVER, Activity, Core
from aether_edgecloud.emulator.machine.image import BootImage
from aether_edgecloud.emulator.machine.payload import Payload
from aether_edgecloud.emulator.machine.ram_copies import Pages, RamCopies
from aether_edgecloud.emulator.machine.schedule import Schedule
from aether_edgecloud.emulator.machine.setup import Adversary, Setup
from aether_edgecloud.emulator.machine.snapshot import Attachment, Snapshot
from aether_edgecloud.emulator.machine.stop import Stop, StopKind
from aether_edgecloud.emulator.machine.turns import Turns
from aether_edgecloud.emulator.toolchain import shared_library

__all__ = ["QUANTUM", "Machine", "Stop", "StopKind"]

QUANTUM = 1_000
"""Instructions of a slice. A CPU that loses its turn while it holds a lock of the software delays
another by a quantum: the less it is, the nearer the CPUs are to running at once."""

VMID_SHIFT, VMID_MASK = 48, 0xFF  # of VTTBR_EL2
# An event so far ahead, in ticks, never comes: only a counter that wraps around is like that.
NEVER_TICKS = 1 << 56


class Machine(Turns):
    """One machine with a binary loaded, at reset.

    `image` is entered on CPU 0 at EL2 with the DTB's PA in X0; `initrd` (a bundle) is named in
    /chosen. A `payload` says otherwise, and leaves no place for `initrd` and `bootargs`. `quantum`
    (instructions, at least 1) and `seed` say how the CPUs take turns; an `interleaving` says it
    inside EL2 too.
    UserError if image and initrd do not fit into the board's RAM.
    """

    usual_adversary: ClassVar[Adversary | None] = None
    """That of machines which are given none: for a whole suite of tests that knows of none."""

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
        quantum: int = QUANTUM,
        seed: int = 0,
        adversary: Adversary | None = None,
        payload: Payload | None = None,
        interleaving: Adversary | None = None,
    ) -> None:
        if adversary is None and mmu is MmuMode.MODEL:
            adversary = self.usual_adversary
        self.setup = Setup(
            board, image, initrd, mmu, bootargs, quantum, seed, adversary, payload, interleaving
        )
        """What the machine was built of."""
        self.board = board
        self.image = image
        self.loaded = self.setup.taken()
        """PAs that firmware has written, or keeps for the image."""
        self._identity = self.setup.digest()
        # Private: a page that is only ever read takes no memory.
        self._mapping = mmap.mmap(-1, board.ram_size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        ram = (c.c_char * board.ram_size).from_buffer(self._mapping)
        self.memory = PhysicalMemory(board.ram_base, ram)
        for pa, data in self.setup.loads():
            self._load(pa, data)
        self._copies = RamCopies(self.memory, is_tracked=mmu is MmuMode.MODEL)
        self.attachments: list[Attachment] = []
        """What goes into snapshots besides the machine itself."""
        self.on_wait: Callable[[int], bool] | None = None
        """Asked, with the CPU's number, at each WFI. If it says so the machine stops there, and
        that WFI has ended."""

        self.on_run: Callable[[], None] | None = None
        """Told before each run."""
        self.on_restore: Callable[[], None] | None = None
        """Told when the machine has become what a snapshot says."""
        self.on_device: Callable[[int, int, int, int, bool], None] | None = None
        """Told of each access to a device: CPU, PA, size, value, whether it is a write."""

        self.devices = build_devices(board)
        self.console = Console(self.devices.console, source or Bytes(), board.counter_hz)
        hooks = hooks or HookLibrary(shared_library("hooks"))
        cores = tuple(self._core(n, hooks, mmu, ram) for n in range(board.cpus))
        super().__init__(cores, Schedule(quantum, seed, board.cpus))
        self.cpus = tuple(core.cpu for core in cores)
        """All CPUs, by number."""
        for window in self.devices.windows():
            self.memory.add_window(window.base, window.size)
        for core in self._cores:
            others = [cpu.state for cpu in self.cpus if cpu is not core.cpu]
            core.cpu.engine.set_peers(others)
            for window in self.devices.windows(core.number):
                self._map(core, window)

        self._timer_at_reset = self.devices.timers[0].save()
        self._break = False
        self._cores[0].activity = Activity.RUNNING
        self.cpu.reset(*self.setup.start())
        self._hold_secondaries()
        self._wire(self._cores[0])
        if adversary is not None:
            adversary.attach(self)
        if interleaving is not None:
            interleaving.attach(self)
        self.built_in = len(self.attachments)
        """How many of them, the first ones, belong to the setup."""

    @classmethod
    def of(cls, setup: Setup, source: InputSource | None = None) -> "Machine":
        """Another machine like the one that has this setup, at reset."""
        return cls(
            setup.board,
            setup.image,
            setup.initrd,
            mmu=setup.mmu,
            source=source,
            bootargs=setup.bootargs,
            quantum=setup.quantum,
            seed=setup.seed,
            adversary=setup.adversary,
            payload=setup.payload,
            interleaving=setup.interleaving,
        )

    @property
    def cpu(self) -> Cpu:
        """CPU 0."""
        return self.cpus[0]

    @property
    def instructions(self) -> int:
        """Instructions retired by all CPUs since reset."""
        return sum(cpu.retired for cpu in self.cpus)

    @property
    def running(self) -> int | None:
        """The number of the CPU whose slice it is; None between slices."""
        return None if self._running is None else self._running.number

    def activity(self, number: int) -> str:
        """What a CPU does, in words."""
        return self._cores[number].activity.value

    def counter_of(self, number: int) -> int:
        """The system counter as that CPU sees it, in ticks."""
        return self._cores[number].counter

    @property
    def counter(self) -> int:
        """The system counter as CPU 0 sees it, in ticks."""
        return self._cores[0].counter

    def run(
        self, until: int | None = None, *, before: int | None = None, of: int | None = None
    ) -> Stop:
        """Run until the machine stops, at most until `until` instructions have retired in all, or
        until instruction number `before` would execute: counted from 0, of all CPUs, or of CPU `of`
        alone.

        The limit is met at the first block boundary at or past `until`, or at the last one from
        which `before` is reached inside the block; all that is due at that boundary has been done.
        """
        if self.on_run is not None:
            self.on_run()
        while True:
            core = self._running
            if core is None:
                kind = self._next_slice()
                if kind is not None:
                    return self._stop(kind)
                continue
            if self.console.input_ended:
                return self._stop(StopKind.INPUT_ENDED)
            if self._break:
                self._break = False
                return self._stop(StopKind.BREAK)
            bound = NEVER if until is None else until - self._others_retired
            if bound <= core.cpu.retired:
                return self._stop(StopKind.LIMIT)
            self._set_deadline(core, bound)
            core.cpu.set_peek(self._peek(core, before, of))
            kind = self._handle(core, core.cpu.run())
            if kind is not None:
                return self._stop(kind)

    def interrupt(self) -> None:
        """Stop `run` at the next block boundary. For signal handlers and device callbacks."""
        self._break = True
        if self._running is not None:
            self._running.cpu.request_attention()

    def snapshot(self) -> Snapshot:
        """What the machine is, for `restore`. Not while it runs."""
        return self._save(self._copies.take())

    def changes(self) -> tuple[Snapshot, dict[int, bytes | None]]:
        """The same without RAM, and the pages of RAM that have changed since the last time of
        either, by number from its start; None is a page of zeros."""
        pages = self._copies.take_changes()
        return self._save({}), pages

    def _save(self, ram: Pages) -> Snapshot:
        taken = Snapshot(
            self._identity,
            self.instructions,
            ram,
            tuple(core.save() for core in self._cores),
            self._save_turns(),
            self.devices.save(),
            self.console.save(),
            tuple(attachment.save() for attachment in self.attachments),
        )
        self._ask_before_stores()
        return taken

    def restore(self, snapshot: Snapshot) -> None:
        """Become what a snapshot says: one of this machine, or of one built with the same
        arguments (else ValueError), with the same attachments. Not while it runs."""
        if snapshot.machine != self._identity:
            raise ValueError("the snapshot is one of another machine")
        stale = self._copies.restore(snapshot.ram, self._pages_of_code)
        for core, state in zip(self._cores, snapshot.cores, strict=True):
            code = core.cpu.engine.code
            code.drop_pages(code.pages_of(stale))
            core.restore(state)
        self._restore_turns(snapshot.schedule)
        self._break = False
        self.devices.restore(snapshot.devices)
        self.console.restore(snapshot.console)
        for attachment, saved in zip(self.attachments, snapshot.attachments, strict=True):
            attachment.restore(saved)
        if self.on_restore is not None:
            self.on_restore()

    def read_pa(self, pa: int, size: int) -> bytes:
        """Bytes of RAM; ValueError if they are not all there."""
        return self.memory.read(pa, size)

    def write_pa(self, pa: int, data: bytes) -> None:
        """Write RAM behind the CPUs' backs, as seen by all of them: what was translated of it as
        code is forgotten, translations of addresses are not. Not while it runs."""
        self.memory.write(pa, data)
        offset = pa - self.board.ram_base
        pages = range(offset // PAGE_SIZE, -(-(offset + len(data)) // PAGE_SIZE))
        for cpu in self.cpus:
            code = cpu.engine.code
            code.drop_pages(code.pages_of(pages))

    def find_guest(self, vmid: int) -> int | None:
        """The first CPU that is below EL2 with this VMID in VTTBR_EL2."""
        for number, cpu in enumerate(self.cpus):
            if cpu.current_el < 2 and cpu.native(VTTBR_EL2) >> VMID_SHIFT & VMID_MASK == vmid:
                return number
        return None

    def wake(self, number: int) -> None:
        """A WFI in which that CPU waits ends, as it may at any time."""
        core = self._cores[number]
        if core.activity is Activity.WAITING:
            core.activity = Activity.WOKEN

    def close(self) -> None:
        """Give the memory back at once; Python's collector may take its time with the cycle of
        machine, engine and callbacks. The machine is of no use afterwards."""
        for cpu in self.cpus:
            cpu.close()

    def _ask_before_stores(self) -> None:
        """From now on the first store to each page of RAM tells so."""
        for cpu in self.cpus:
            if cpu.engine.mmu is MmuMode.MODEL:
                cpu.engine.flush_tlb()

    def _pages_of_code(self, pages: Sequence[int]) -> Iterable[int]:
        return itertools.chain.from_iterable(cpu.engine.code.pages_of(pages) for cpu in self.cpus)

    def _handle(self, core: Core, event: CpuEvent) -> StopKind | None:
        match event:
            case CpuEvent.DEADLINE:
                if core.cpu.slice_ended and core.time >= self._limit:
                    self._end_slice(core)
                elif core.time >= core.event:
                    self._wire(core)
            case CpuEvent.ATTENTION:
                self._wire(core)
            case CpuEvent.FIRMWARE:
                return self._firmware(core)
            case CpuEvent.WAIT:
                if self.on_wait is not None and self.on_wait(core.number):
                    return StopKind.BREAK
                self._wait(core)
            case CpuEvent.YIELD:
                self._yield(core)
            case CpuEvent.SWITCH:
                return self._switch(core)
            case CpuEvent.LOCKUP:
                return self._storm(core)
            case CpuEvent.AARCH32:
                return StopKind.AARCH32
            case CpuEvent.PEEK:
                return StopKind.LIMIT
        return None

    def _firmware(self, core: Core) -> StopKind | None:
        x = core.cpu.registers()
        result = self.devices.firmware.call(tuple(x[:8]), core.number)
        core.cpu.write_x(dict(enumerate(result.values)))
        match result.power:
            case SystemOff():
                return StopKind.SYSTEM_OFF
            case SystemReset():
                return StopKind.SYSTEM_RESET
            case CpuOn():
                target = self._cores[result.power.cpu]
                target.start_at = (result.power.entry, result.power.context_id)
                target.activity = Activity.STARTING
                self._share(core)
            case CpuOff():
                for tell in core.cpu.on_power_off:
                    tell()
                self._leave(core, Activity.OFF)
            case CpuStandby() | CpuPowerDown():
                # PSCI lets firmware take a power-down request as a standby: the call returns.
                self._wait(core)
        return None

    def _next_slice(self) -> StopKind | None:
        """Find the CPU that runs next and begin its slice. None unless there is none to find."""
        while self._running is None:
            if self._break:
                self._break = False
                return StopKind.BREAK
            if self.console.input_ended:
                return StopKind.INPUT_ENDED
            if self._turns:
                self._take_turn(self._turns.pop())
            elif not self._begin_round():
                return StopKind.DEADLOCK
        return None

    def _wait_for_input(self) -> bool:
        """Nothing will happen by itself: False if no input will come either."""
        if not self.console.wait():
            return False
        self._wire(self._cores[0])
        return True

    def _rest(self, time: int) -> None:
        """No CPU has anything to do until `time`."""
        now = max(core.time for core in self._cores)
        if time > now:
            self.console.rest((time - now) // self.board.instructions_per_tick)

    # Power.

    def _start(self, core: Core, time: int) -> None:
        """Switch a CPU on at `time`."""
        core.skip_to(time)
        self.devices.timers[core.number].restore(self._timer_at_reset)
        core.activity = Activity.RUNNING
        core.cpu.power_on(*core.start_at)
        self.devices.firmware.cpu_started(core.number)
        self._wire(core)

    def _look_at_release(self, core: Core, time: int) -> None:
        """Firmware's loop around WFE over the release address."""
        address, _ = core.start_at
        entry = self.memory.read64(address)
        if entry:
            core.start_at = (entry, 0)
            self._start(core, time)

    def _hold_secondaries(self) -> None:
        table = self.board.spin_table
        if table is None:
            return
        for core in self._cores[1:]:
            core.activity = Activity.HELD
            core.start_at = (table.release_address(core.number), 0)

    # Devices.

    def _load(self, pa: int, data: bytes) -> None:
        offset = pa - self.board.ram_base
        self.memory.bytes[offset : offset + len(data)] = data

    def _core(self, number: int, hooks: HookProvider, mmu: MmuMode, ram: c.Array[c.c_char]) -> Core:
        clock = Clock(self.board.instructions_per_tick)
        timer = self.devices.timers[number]
        models = SystemRegisterModels(timer, clock, affinity(number))
        return Core(number, Cpu(hooks, mmu, self.memory, ram, models), clock)

    def _map(self, core: Core, window: Window) -> None:
        device = window.device
        is_console = device is self.devices.console
        is_clock = window.kind is DeviceKind.PL031
        now = self.devices.now

        def read(offset: int, size: int) -> int:
            now[core.number] = core.counter
            if is_console and offset in (Uart.FR, Uart.DR):
                self.console.poll(core.counter, self.instructions)
                if self.console.input_ended:
                    core.cpu.request_attention()
            value = device.read(offset, size)
            if self.on_device is not None:
                self.on_device(core.number, window.base + offset, size, value, False)
            self._drive(core)
            return value

        def write(offset: int, size: int, value: int) -> None:
            now[core.number] = core.counter
            if self.on_device is not None:
                self.on_device(core.number, window.base + offset, size, value, True)
            device.write(offset, size, value)
            if isinstance(device, Pl011):
                self.console.collect()
            self._drive(core)
            if is_clock:
                self._clock_written(core)

        core.cpu.engine.map_device(window.base, window.size, read, write)

    def _drive(self, core: Core) -> None:
        """Let the devices' outputs reach the CPUs. Time is that of the last block boundary."""
        gic = self.devices.gic
        self.devices.wire(core.number, core.counter)
        stale = gic.stale
        if not stale:
            return
        for other in self._cores:
            n = other.number
            if not stale >> n & 1:
                continue
            signals, virtual = gic.signals(n), gic.virtual_signals(n)
            woken = other.set_lines(
                Lines(signals.irq, signals.fiq, False, virtual.irq, virtual.fiq)
            )
            if woken and other is not core and self._running is not None:
                self._share(self._running)

    def _wire(self, core: Core) -> None:
        """The same, and find out when the next of them changes by itself."""
        self._drive(core)
        self._find_event(core)

    def _find_event(self, core: Core) -> None:
        counter = core.counter
        event = self.devices.next_event(core.number, counter)
        if event is None or event - counter >= NEVER_TICKS:
            core.event = NEVER
        else:
            core.event = event * self.board.instructions_per_tick

    def _clock_written(self, core: Core) -> None:
        """Its alarm belongs to the time of any CPU, one that waits too."""
        core.cpu.request_attention()
        for other in self._cores:
            if other is not core:
                self._find_event(other)
        self._share(core)

    def _stop(self, kind: StopKind) -> Stop:
        core = self._running or self._cores[self._last]
        core.cpu.collect_exit()
        return Stop(kind, core.cpu.pc, core.cpu.current_el, self.instructions, core.number)

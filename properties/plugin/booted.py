# SPDX-License-Identifier: Apache-2.0
"""A machine that a test works with."""

from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.cpu.exits import BOOT
from aether_edgecloud.emulator.elf import symbols
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.launch.binary import El2Binary
from aether_edgecloud.emulator.machine import Machine, Stop, StopKind
from aether_edgecloud.emulator.monitor.monitor import Monitor
from aether_edgecloud.properties.plugin.choice import GUEST, Choice

_FIRST_STEP = 1 << 6
_LAST_STEP = 1 << 18
_LONGEST_BOOT = 1 << 28
"""Instructions after which a binary that has entered no guest is given up."""
RUN_LIMIT = 10_000_000
"""Instructions after which `run` stops where nothing else has stopped it."""


class BootedMachine:
    """A machine, booted, and the monitor that watches it. Addresses are PAs.

    `machine` is the emulator's own, for everything that has no shorter way here.
    """

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self.machine = Machine(
            choice.board,
            choice.el2.image,
            choice.initrd,
            mmu=choice.mmu,
            quantum=choice.quantum,
            seed=choice.seed,
            adversary=choice.adversary,
        )
        place = choice.board.place(choice.el2.image.memory_size, len(choice.initrd))
        self.image = place.image
        """Where the binary was loaded."""
        self.symbols = symbols.load(choice.el2.elf, place.image)
        self.stop: Stop | None = None
        """How its last run ended; None if it has not run since its boot."""
        self.monitor: Monitor | None = None
        if choice.monitor:
            self.monitor = Monitor(self.machine, record=choice.events)

    def boot(self) -> None:
        """Goes as far as the choice says. UserError for a binary that does not come there."""
        if self.choice.until == GUEST:
            self._enter_guest()
        elif self.choice.until:
            stop = self.run(int(self.choice.until))
            if stop.kind is not StopKind.LIMIT:
                raise self._ended(stop, "has ended after", "boot it with a smaller until")
        self._booted = self.machine.snapshot()
        self.stop = None

    def restore(self) -> None:
        """As its boot left it."""
        self.machine.restore(self._booted)
        self.stop = None

    def run(self, instructions: int = RUN_LIMIT) -> Stop:
        """Goes on for so many instructions, to the next block boundary, or until it stops by
        itself. Raises what the monitor has seen; ValueError for a negative number."""
        __tracebackhide__ = True
        if instructions < 0:
            raise ValueError(f"{instructions} instructions: run() goes forwards only")
        self.stop = self.machine.run(self.machine.instructions + instructions)
        if self.monitor is not None:
            self.monitor.check()
        return self.stop

    @property
    def el2(self) -> El2Binary:
        """The binary."""
        return self.choice.el2

    @property
    def cpu(self) -> Cpu:
        """CPU 0."""
        return self.machine.cpu

    @property
    def console(self) -> str:
        """What came from the console since reset."""
        return self.machine.console.output.decode("latin-1").replace("\r\n", "\n")

    def address_of(self, symbol: str) -> int:
        """Where a symbol of the binary's ELF file is. KeyError for one that it has not."""
        address = self.symbols.address_of(symbol)
        if address is None:
            raise KeyError(f"{self.el2.name} has no symbol {symbol!r}")
        return address

    def read64(self, pa: int) -> int:
        """A little-endian word of 64 bits. ValueError outside of RAM."""
        return int.from_bytes(self.machine.read_pa(pa, 8), "little")

    def close(self) -> None:
        """Gives its memory back."""
        self.machine.close()

    def _enter_guest(self) -> None:
        """Runs up to the first instruction of a guest: in larger and larger steps, and where one of
        them has gone too far, once more in smaller ones."""
        step, has_overshot = _FIRST_STEP, False
        before = self.machine.snapshot()
        while True:
            stop = self.run(step)
            if any(cpu.exits.lengths_of(BOOT) for cpu in self.machine.cpus):
                if step == 1:
                    return
                self.machine.restore(before)
                step, has_overshot = max(1, step >> 4), True
            elif stop.kind is not StopKind.LIMIT or stop.instructions > _LONGEST_BOOT:
                fix = "boot it with until=reset or a number of instructions"
                raise self._ended(stop, "entered no guest in", fix)
            else:
                before = self.machine.snapshot()
                step = step if has_overshot else min(2 * step, _LAST_STEP)

    def _ended(self, stop: Stop, what: str, fix: str) -> UserError:
        """A boot that does not come where it should."""
        what += f" {stop.instructions:,} instructions: {stop.kind.value}"
        said = self.console.rstrip("\n").rpartition("\n")[2]
        if said:
            what += f" (its last line: {said!r})"
        return UserError(what, where=self.el2.name, fix=fix)

# SPDX-License-Identifier: Apache-2.0
"""A board's devices as live models, wired as the board wires them."""

from collections.abc import Mapping
from dataclasses import dataclass

from aether_edgecloud.emulator.boards.board import Board, DeviceKind, DeviceNode
from aether_edgecloud.emulator.devices.device import Device, State, saved_part, saved_parts
from aether_edgecloud.emulator.devices.generic_timer import GenericTimer
from aether_edgecloud.emulator.devices.gicv2 import Gicv2
from aether_edgecloud.emulator.devices.pl011 import Pl011
from aether_edgecloud.emulator.firmware.psci import Firmware


@dataclass(frozen=True, slots=True)
class Window:
    """A device at PA `base` to `base + size`, as one CPU accesses it."""

    base: int
    size: int
    kind: DeviceKind
    device: Device


@dataclass(frozen=True, slots=True)
class BoardDevices:
    """The devices of one machine. `timers` has one entry per CPU."""

    board: Board
    gic: Gicv2
    uarts: tuple[Pl011, ...]
    timers: tuple[GenericTimer, ...]
    firmware: Firmware

    @property
    def console(self) -> Pl011:
        """The UART that /chosen/stdout-path names."""
        return self.uarts[0]

    def windows(self, cpu: int = 0) -> tuple[Window, ...]:
        """What `cpu` finds in its physical address space besides RAM.

        The GIC's hypervisor and virtual CPU interfaces have no model and so no window: an access
        to them is an access to nothing.
        """
        uarts = iter(self.uarts)
        windows = []
        for node in self.board.devices:
            device: Device
            match node.kind:
                case DeviceKind.GICV2_DISTRIBUTOR:
                    device = self.gic.distributor_of(cpu)
                case DeviceKind.GICV2_CPU_INTERFACE:
                    device = self.gic.cpu_interface(cpu)
                case DeviceKind.PL011:
                    device = next(uarts)
                case _:
                    continue
            windows.append(Window(node.base, node.size, node.kind, device))
        return tuple(windows)

    def wire(self, counter: int) -> None:
        """Drive the GIC's inputs with what the devices put out when the counter is `counter`.

        To be called after anything that can change an output: a device or timer register write,
        input fed, the counter reaching `next_event`.
        """
        for node, uart in zip(self._uart_nodes(), self.uarts, strict=True):
            for interrupt in node.interrupts:
                self.gic.set_level(interrupt.intid, uart.interrupt)
        lines = self.board.timer
        for cpu, timer in enumerate(self.timers):
            levels = timer.levels(counter)
            self.gic.set_level(lines.physical, levels.physical, cpu)
            self.gic.set_level(lines.virtual, levels.virtual, cpu)
            self.gic.set_level(lines.hypervisor, levels.hypervisor, cpu)

    def next_event(self, counter: int) -> int | None:
        """The least count after `counter` at which a timer's output changes, if any."""
        events = (timer.next_event(counter) for timer in self.timers)
        return min((event for event in events if event is not None), default=None)

    def _uart_nodes(self) -> list[DeviceNode]:
        return [node for node in self.board.devices if node.kind is DeviceKind.PL011]

    def save(self) -> State:
        """The state of every device and of the firmware."""
        return {
            "gic": self.gic.save(),
            "uarts": [uart.save() for uart in self.uarts],
            "timers": [timer.save() for timer in self.timers],
            "firmware": self.firmware.save(),
        }

    def restore(self, state: Mapping[str, object]) -> None:
        """Become what was saved on the same board."""
        self.gic.restore(saved_part(state, "gic"))
        for uart, part in zip(self.uarts, saved_parts(state, "uarts"), strict=True):
            uart.restore(part)
        for timer, part in zip(self.timers, saved_parts(state, "timers"), strict=True):
            timer.restore(part)
        self.firmware.restore(saved_part(state, "firmware"))


def build_devices(board: Board) -> BoardDevices:
    """Fresh models of everything on the board, as firmware leaves it: the UARTs enabled."""
    uarts = [node for node in board.devices if node.kind is DeviceKind.PL011]
    return BoardDevices(
        board=board,
        gic=Gicv2(board.spis, board.cpus),
        uarts=tuple(Pl011(enabled=True) for _ in uarts),
        timers=tuple(GenericTimer(board.counter_hz) for _ in range(board.cpus)),
        firmware=Firmware(board.cpus, board.ram),
    )

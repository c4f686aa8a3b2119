# SPDX-License-Identifier: Apache-2.0
"""Board `virt`: QEMU's `-M virt,virtualization=on,gic-version=2 -cpu cortex-a72`.

Of QEMU's board it has RAM, CPUs, GICv2 with virtualisation, generic timers, the UART and the real
time clock, at the same addresses and interrupts; not flash, GPIO, fw_cfg, PCIe, virtio, the PMU and
the GICv2m frame. `virt-spin-table` differs in how its CPUs are started.
"""

from dataclasses import replace

from aether_edgecloud.emulator.boards.board import (
    GIB,
    KIB,
    MIB,
    Board,
    DeviceKind,
    DeviceNode,
    Interrupt,
    TimerInterrupts,
)
from aether_edgecloud.emulator.boards.spin_table import SpinTable
from aether_edgecloud.emulator.errors import UserError

NAME = "virt"
SPIN_TABLE_NAME = "virt-spin-table"
DEFAULT_RAM = 256 * MIB
MIN_RAM = 16 * MIB
MAX_RAM = 255 * GIB
"""RAM reaches from 1 GiB to 256 GiB of the address space at most."""
MAX_CPUS = 8
"""A GICv2 serves no more."""

_GIC_WINDOW = 64 * KIB
_PPI_GIC_MAINTENANCE = 16 + 9
_SPI_UART = 32 + 1
_SPI_CLOCK = 32 + 2
_2024_01_01 = 1_704_067_200


def virt(ram_size: int = DEFAULT_RAM, cpus: int = 1) -> Board:
    """The board with `ram_size` bytes of RAM; UserError for a size or number it cannot have."""
    where = f"board {NAME}"
    if not 1 <= cpus <= MAX_CPUS:
        raise UserError(
            f"{cpus} CPUs", where=where, fix=f"use 1 to {MAX_CPUS}, as many as a GICv2 serves"
        )
    if ram_size % (2 * MIB) or not MIN_RAM <= ram_size <= MAX_RAM:
        raise UserError(
            f"{ram_size} bytes of RAM",
            where=where,
            fix=f"use a multiple of 2 MiB from {MIN_RAM // MIB} MiB to {MAX_RAM // GIB} GiB",
        )
    return Board(
        name=NAME,
        cpu="cortex-a72",
        cpus=cpus,
        ram_base=0x4000_0000,
        ram_size=ram_size,
        counter_hz=62_500_000,
        instructions_per_tick=1,
        devices=(
            DeviceNode(DeviceKind.GICV2_DISTRIBUTOR, 0x0800_0000, _GIC_WINDOW),
            DeviceNode(DeviceKind.GICV2_CPU_INTERFACE, 0x0801_0000, _GIC_WINDOW),
            DeviceNode(
                DeviceKind.GICV2_HYPERVISOR_INTERFACE,
                0x0803_0000,
                _GIC_WINDOW,
                (Interrupt(_PPI_GIC_MAINTENANCE),),
            ),
            DeviceNode(DeviceKind.GICV2_VIRTUAL_CPU_INTERFACE, 0x0804_0000, _GIC_WINDOW),
            DeviceNode(DeviceKind.PL011, 0x0900_0000, 4 * KIB, (Interrupt(_SPI_UART),)),
            DeviceNode(DeviceKind.PL031, 0x0901_0000, 4 * KIB, (Interrupt(_SPI_CLOCK),)),
        ),
        timer=TimerInterrupts(
            secure_physical=16 + 13, physical=16 + 14, virtual=16 + 11, hypervisor=16 + 10
        ),
        spis=256,
        uart_clock_hz=24_000_000,
        image_offset=0x20_0000,
        dtb_space=64 * KIB,
        clock_start=_2024_01_01,
    )


def virt_spin_table(ram_size: int = DEFAULT_RAM, cpus: int = 1) -> Board:
    """The board whose CPUs wait in a spin table, in the first page of RAM."""
    board = virt(ram_size, cpus)
    return replace(board, name=SPIN_TABLE_NAME, spin_table=SpinTable(board.ram_base))

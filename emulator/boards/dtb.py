# SPDX-License-Identifier: Apache-2.0
"""The device tree of a board, as its firmware hands it to the boot image."""

from aether_edgecloud.emulator.boards.board import (
    Board,
    DeviceKind,
    DeviceNode,
    Interrupt,
    Trigger,
)
from aether_edgecloud.emulator.bundle.fdt import Node, Property, cells, text, wide, write
from aether_edgecloud.emulator.firmware.psci import affinity

_PHANDLE_GIC = 1
_PHANDLE_CLOCK = 2

_GIC_SPI = 0
_GIC_PPI = 1


_GIC_WINDOWS = (
    DeviceKind.GICV2_DISTRIBUTOR,
    DeviceKind.GICV2_CPU_INTERFACE,
    DeviceKind.GICV2_HYPERVISOR_INTERFACE,
    DeviceKind.GICV2_VIRTUAL_CPU_INTERFACE,
)
"""In the order in which the GIC's `reg` lists them."""


def build_dtb(board: Board, *, initrd: range | None = None, bootargs: str = "") -> bytes:
    """The board's FDT; the same bytes for the same arguments.

    `initrd` is a range of PA, passed on in /chosen. The console is the board's first PL011.
    """
    return write(build_tree(board, initrd=initrd, bootargs=bootargs))


def build_tree(board: Board, *, initrd: range | None = None, bootargs: str = "") -> Node:
    """The same as a tree."""
    uarts = board.all(DeviceKind.PL011)
    return Node(
        "",
        (
            Property("compatible", text(f"aether,{board.name}", "linux,dummy-virt")),
            Property("model", text(f"aether,{board.name}")),
            Property("#address-cells", cells(2)),
            Property("#size-cells", cells(2)),
            Property("interrupt-parent", cells(_PHANDLE_GIC)),
        ),
        (
            Node("chosen", (*_stdout(uarts), *handed_over(initrd, bootargs))),
            _memory(board),
            *_reserved(board),
            _cpus(board),
            psci_node(),
            _timer(board),
            _gic(board),
            _clock(board),
            *(_uart(node) for node in uarts),
            *(_real_time_clock(node) for node in board.all(DeviceKind.PL031)),
        ),
    )


def _stdout(uarts: tuple[DeviceNode, ...]) -> tuple[Property, ...]:
    if not uarts:
        return ()
    return (Property("stdout-path", text(f"/{_uart_name(uarts[0])}")),)


def handed_over(initrd: range | None, bootargs: str) -> tuple[Property, ...]:
    """What firmware says in /chosen, in the boards' DTB and in a user's."""
    properties = []
    if bootargs:
        properties.append(Property("bootargs", text(bootargs)))
    if initrd is not None:
        # One cell below 4 GiB, as QEMU 7.2 writes it; readers have to take both forms.
        number = cells if initrd.stop < 1 << 32 else wide
        properties.append(Property("linux,initrd-start", number(initrd.start)))
        properties.append(Property("linux,initrd-end", number(initrd.stop)))
    return tuple(properties)


def _memory(board: Board) -> Node:
    return Node(
        f"memory@{board.ram_base:x}",
        (
            Property("device_type", text("memory")),
            Property("reg", wide(board.ram_base, board.ram_size)),
        ),
    )


def _reserved(board: Board) -> tuple[Node, ...]:
    """The memory that CPUs wait in, if the board has such."""
    if board.spin_table is None:
        return ()
    pages = board.spin_table.pages
    return (
        Node(
            "reserved-memory",
            (
                Property("#address-cells", cells(2)),
                Property("#size-cells", cells(2)),
                Property("ranges", b""),
            ),
            (
                Node(
                    f"spin-table@{pages.start:x}", (Property("reg", wide(pages.start, len(pages))),)
                ),
            ),
        ),
    )


def _cpus(board: Board) -> Node:
    return Node(
        "cpus",
        (Property("#address-cells", cells(1)), Property("#size-cells", cells(0))),
        tuple(
            Node(
                f"cpu@{affinity(cpu):x}",
                (
                    Property("device_type", text("cpu")),
                    Property("compatible", text(f"arm,{board.cpu}")),
                    Property("reg", cells(affinity(cpu))),
                    *_enable_method(board, cpu),
                ),
            )
            for cpu in range(board.cpus)
        ),
    )


def _enable_method(board: Board, cpu: int) -> tuple[Property, ...]:
    if board.spin_table is None:
        return (Property("enable-method", text("psci")),)
    return (
        Property("enable-method", text("spin-table")),
        Property("cpu-release-addr", wide(board.spin_table.release_address(cpu))),
    )


def psci_node() -> Node:
    """PSCI by SMC, as the firmware model has it."""
    return Node(
        "psci",
        (
            Property("compatible", text("arm,psci-1.0", "arm,psci-0.2")),
            Property("method", text("smc")),
        ),
    )


def _timer(board: Board) -> Node:
    lines = board.timer
    flags = _ppi_cpus(board) | Trigger.LEVEL_HIGH.value
    return Node(
        "timer",
        (
            Property("compatible", text("arm,armv8-timer", "arm,armv7-timer")),
            Property(
                "interrupts",
                b"".join(
                    cells(_GIC_PPI, intid - 16, flags)
                    for intid in (
                        lines.secure_physical,
                        lines.physical,
                        lines.virtual,
                        lines.hypervisor,
                    )
                ),
            ),
            Property("always-on", b""),
        ),
    )


def _gic(board: Board) -> Node:
    windows = [board.device(kind) for kind in _GIC_WINDOWS]
    interrupts = [i for window in windows for i in window.interrupts]
    return Node(
        f"intc@{windows[0].base:x}",
        (
            Property("compatible", text("arm,cortex-a15-gic")),
            Property("interrupt-controller", b""),
            Property("#interrupt-cells", cells(3)),
            Property("#address-cells", cells(0)),
            Property("reg", b"".join(wide(window.base, window.size) for window in windows)),
            Property("interrupts", b"".join(_interrupt(i) for i in interrupts)),
            Property("phandle", cells(_PHANDLE_GIC)),
        ),
    )


def _clock(board: Board) -> Node:
    return Node(
        "apb-pclk",
        (
            Property("compatible", text("fixed-clock")),
            Property("#clock-cells", cells(0)),
            Property("clock-frequency", cells(board.uart_clock_hz)),
            Property("clock-output-names", text("clk24mhz")),
            Property("phandle", cells(_PHANDLE_CLOCK)),
        ),
    )


def _uart_name(node: DeviceNode) -> str:
    return f"pl011@{node.base:x}"


def _uart(node: DeviceNode) -> Node:
    return Node(
        _uart_name(node),
        (
            Property("compatible", text("arm,pl011", "arm,primecell")),
            Property("reg", wide(node.base, node.size)),
            Property("interrupts", b"".join(_interrupt(i) for i in node.interrupts)),
            Property("clocks", cells(_PHANDLE_CLOCK, _PHANDLE_CLOCK)),
            Property("clock-names", text("uartclk", "apb_pclk")),
        ),
    )


def _real_time_clock(node: DeviceNode) -> Node:
    return Node(
        f"pl031@{node.base:x}",
        (
            Property("compatible", text("arm,pl031", "arm,primecell")),
            Property("reg", wide(node.base, node.size)),
            Property("interrupts", b"".join(_interrupt(i) for i in node.interrupts)),
            Property("clocks", cells(_PHANDLE_CLOCK)),
            Property("clock-names", text("apb_pclk")),
        ),
    )


def _interrupt(interrupt: Interrupt) -> bytes:
    """Three cells of the GIC binding: kind, number within the kind, flags."""
    if interrupt.intid < 32:
        return cells(_GIC_PPI, interrupt.intid - 16, interrupt.trigger.value)
    return cells(_GIC_SPI, interrupt.intid - 32, interrupt.trigger.value)


def _ppi_cpus(board: Board) -> int:
    """The CPU mask of a PPI's flags, bits [15:8]."""
    return ((1 << board.cpus) - 1) << 8

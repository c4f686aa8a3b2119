# SPDX-License-Identifier: Apache-2.0
"""Boards: what may be asked for, the device tree, placement, and the wired devices."""

import itertools
import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator import boards
from aether_edgecloud.emulator.boards.board import MIB, DeviceKind
from aether_edgecloud.emulator.boards.devices import build_devices
from aether_edgecloud.emulator.boards.dtb import build_dtb
from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.bundle import fdt
from aether_edgecloud.emulator.devices.generic_timer import TimerRegister
from aether_edgecloud.emulator.devices.gicv2_cpu_interface import Gicc
from aether_edgecloud.emulator.devices.gicv2_distributor import Gicd
from aether_edgecloud.emulator.devices.pl011 import Uart
from aether_edgecloud.emulator.errors import UserError


def child(node: fdt.Node, name: str) -> fdt.Node:
    return next(n for n in node.children if n.name == name)


def tree(**arguments: object) -> fdt.Node:
    return fdt.read(build_dtb(virt(), **arguments), where="board")  # type: ignore[arg-type]


def test_boards_by_name() -> None:
    assert boards.names() == ("virt",)
    assert boards.by_name("virt") == virt()
    assert boards.by_name("virt", ram_size=64 * MIB, cpus=2) == virt(64 * MIB, 2)
    with pytest.raises(UserError) as error:
        boards.by_name("virtt")
    assert str(error.value) == "option --board: no board 'virtt'; use one of: virt"


@pytest.mark.parametrize("ram", [0, -2 * MIB, 14 * MIB, 64 * MIB + 4096, 63 * MIB, 256 << 30])
def test_impossible_ram_is_refused(ram: int) -> None:
    with pytest.raises(UserError, match=r"board virt: .* bytes of RAM; use a multiple of 2 MiB"):
        virt(ram)


@pytest.mark.parametrize("cpus", [0, -1, 9])
def test_an_impossible_number_of_cpus_is_refused(cpus: int) -> None:
    with pytest.raises(UserError, match=r"board virt: .* CPUs; use 1 to 8"):
        virt(cpus=cpus)


def test_windows_lie_apart_and_outside_ram() -> None:
    board = virt()
    spans = sorted((node.base, node.base + node.size) for node in board.devices)
    for (_, stop), (start, _) in itertools.pairwise(spans):
        assert stop <= start
    assert spans[-1][1] <= board.ram.start
    assert all(start % 4096 == 0 and stop % 4096 == 0 for start, stop in spans)


def test_time() -> None:
    board = virt()
    assert (board.counter_hz, board.instructions_per_tick) == (62_500_000, 1)


def test_the_tree_says_what_the_board_is() -> None:
    root = tree()
    assert child(root, "memory@40000000").get("reg") == fdt.wide(0x4000_0000, 256 * MIB)
    assert child(root, "psci").get("method") == fdt.text("smc")
    gic = child(root, "intc@8000000")
    assert gic.get("reg") == fdt.wide(
        *(0x0800_0000, 0x10000, 0x0801_0000, 0x10000),
        *(0x0803_0000, 0x10000, 0x0804_0000, 0x10000),
    )
    assert gic.get("interrupts") == fdt.cells(1, 9, 4)
    assert root.get("interrupt-parent") == gic.get("phandle")
    uart = child(root, "pl011@9000000")
    assert uart.get("compatible") == fdt.text("arm,pl011", "arm,primecell")
    assert uart.get("reg") == fdt.wide(0x0900_0000, 0x1000)
    assert uart.get("interrupts") == fdt.cells(0, 1, 4)
    clock = child(root, "apb-pclk").get("phandle")
    assert clock is not None
    assert uart.get("clocks") == clock * 2
    numbers = [13, 14, 11, 10]
    expected = b"".join(fdt.cells(1, number, 0x104) for number in numbers)
    assert child(root, "timer").get("interrupts") == expected
    chosen = child(root, "chosen")
    assert chosen.get("stdout-path") == fdt.text("/pl011@9000000")
    assert chosen.get("linux,initrd-start") is None
    assert chosen.get("bootargs") is None


def test_chosen_passes_initrd_and_arguments() -> None:
    chosen = child(tree(initrd=range(0x4800_0000, 0x4800_1388), bootargs="quiet x=1"), "chosen")
    assert chosen.get("linux,initrd-start") == fdt.cells(0x4800_0000)
    assert chosen.get("linux,initrd-end") == fdt.cells(0x4800_1388)
    assert chosen.get("bootargs") == fdt.text("quiet x=1")
    high = child(tree(initrd=range(0xFFFF_F000, 0x1_0000_0000)), "chosen")
    assert high.get("linux,initrd-start") == fdt.wide(0xFFFF_F000)
    assert high.get("linux,initrd-end") == fdt.wide(0x1_0000_0000)


@pytest.mark.parametrize("cpus", range(1, 9))
def test_every_cpu_has_a_node(cpus: int) -> None:
    root = fdt.read(build_dtb(virt(cpus=cpus)), where="board")
    nodes = child(root, "cpus").children
    assert [node.name for node in nodes] == [f"cpu@{n}" for n in range(cpus)]
    assert all(node.get("enable-method") == fdt.text("psci") for node in nodes)
    assert all(node.get("compatible") == fdt.text("arm,cortex-a72") for node in nodes)


@pytest.mark.parametrize("cpus", [1, 8])
def test_dtc_accepts_the_tree_without_a_warning(dtc: Path, tmp_path: Path, cpus: int) -> None:
    blob = tmp_path / "board.dtb"
    initrd = range(0x4800_0000, 0x4800_1000)
    blob.write_bytes(build_dtb(virt(cpus=cpus), initrd=initrd, bootargs="quiet"))
    run = subprocess.run(
        [dtc, "-I", "dtb", "-O", "dts", blob], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0
    assert run.stderr == ""


def test_the_same_arguments_give_the_same_bytes() -> None:
    assert build_dtb(virt(cpus=3)) == build_dtb(virt(cpus=3))


@given(image=st.integers(1, 40 * MIB), initrd=st.integers(0, 40 * MIB), mib=st.integers(16, 300))
def test_placement_is_apart_and_inside_ram(image: int, initrd: int, mib: int) -> None:
    board = virt(mib // 2 * 2 * MIB)
    try:
        placement = board.place(image, initrd)
    except UserError as error:
        assert "do not fit" in str(error)
        assert image + initrd + 5 * MIB > board.ram_size // 2
        return
    assert placement.image.start == 0x4020_0000
    assert len(placement.image) == image
    stop = placement.image.stop
    assert (placement.initrd is None) == (initrd == 0)
    if placement.initrd is not None:
        assert placement.initrd.start >= stop
        assert placement.initrd.start % 4096 == 0
        assert len(placement.initrd) == initrd
        stop = placement.initrd.stop
    assert placement.dtb.start >= stop
    assert placement.dtb.start % (2 * MIB) == 0
    assert placement.dtb.stop <= board.ram.stop


def test_the_dtb_fits_its_space() -> None:
    board = virt(cpus=8)
    assert len(build_dtb(board, initrd=range(1, 2), bootargs="x" * 1000)) < board.dtb_space


def test_windows_are_what_a_cpu_sees() -> None:
    devices = build_devices(virt(cpus=2))
    kinds = {window.kind: window for window in devices.windows(1)}
    # The hypervisor and virtual CPU interfaces have no model yet.
    assert set(kinds) == {
        DeviceKind.GICV2_DISTRIBUTOR,
        DeviceKind.GICV2_CPU_INTERFACE,
        DeviceKind.PL011,
    }
    gicd = kinds[DeviceKind.GICV2_DISTRIBUTOR]
    assert (gicd.base, gicd.size) == (0x0800_0000, 0x10000)
    assert gicd.device.read(Gicd.ITARGETSR, 4) == 0x0202_0202
    assert gicd.device.read(Gicd.TYPER, 4) == 1 << 5 | 8
    assert kinds[DeviceKind.GICV2_CPU_INTERFACE].device is devices.gic.cpu_interface(1)
    assert kinds[DeviceKind.PL011].device is devices.console


def test_the_console_works_from_the_first_instruction() -> None:
    devices = build_devices(virt())
    devices.console.write(Uart.DR, 4, ord("x"))
    assert devices.console.take_output() == b"x"


def test_the_uart_is_wired_to_its_spi() -> None:
    devices = build_devices(virt())
    devices.console.write(Uart.IMSC, 4, 1 << 4)
    devices.console.feed(b"x")
    devices.wire(0)
    assert devices.gic.distributor.read(Gicd.ISPENDR + 4, 4) == 1 << 1
    devices.console.read(Uart.DR, 4)
    devices.wire(0)
    assert devices.gic.distributor.read(Gicd.ISPENDR + 4, 4) == 0


@pytest.mark.parametrize(
    ("name", "intid"), [("CNTP_{}_EL0", 30), ("CNTV_{}_EL0", 27), ("CNTHP_{}_EL2", 26)]
)
def test_timers_are_wired_to_their_ppis(name: str, intid: int) -> None:
    devices = build_devices(virt(cpus=2))
    timer = devices.timers[1]
    timer.write(TimerRegister(name.format("CVAL")), 100, 0)
    timer.write(TimerRegister(name.format("CTL")), 1, 0)
    assert devices.next_event(0) == 100
    for counter, pending in ((99, 0), (100, 1 << intid)):
        devices.wire(counter)
        assert devices.gic.distributor_of(1).read(Gicd.ISPENDR, 4) == pending
        assert devices.gic.distributor_of(0).read(Gicd.ISPENDR, 4) == 0


def test_saving_the_whole_board_is_an_identity() -> None:
    devices = build_devices(virt(cpus=2))
    devices.gic.distributor.write(Gicd.CTLR, 4, 1)
    devices.gic.cpu_interface(1).write(Gicc.PMR, 4, 0x80)
    devices.console.write(Uart.DR, 4, 0x55)
    devices.console.feed(b"abc")
    devices.timers[1].write(TimerRegister.CNTV_CVAL_EL0, 77, 0)
    devices.firmware.call((0xC400_0003, 1, 0x4020_0000, 0), 0)
    state = json.loads(json.dumps(devices.save()))
    other = build_devices(virt(cpus=2))
    assert other.save() != state
    other.restore(state)
    assert other.save() == state == devices.save()

# SPDX-License-Identifier: Apache-2.0
"""Boards: what may be asked for, the device tree, placement, and the wired devices."""

import itertools
import json
import subprocess
from pathlib import Path

import pytest
import unicorn
from hypothesis import given
from hypothesis import strategies as st
from unicorn import arm64_const as a64

from aether_edgecloud.emulator import boards
from aether_edgecloud.emulator.boards.board import MIB, DeviceKind
from aether_edgecloud.emulator.boards.devices import build_devices
from aether_edgecloud.emulator.boards.dtb import build_dtb
from aether_edgecloud.emulator.boards.spin_table import CODE, SpinTable
from aether_edgecloud.emulator.boards.virt import virt, virt_spin_table
from aether_edgecloud.emulator.bundle import fdt
from aether_edgecloud.emulator.devices.generic_timer import TimerRegister
from aether_edgecloud.emulator.devices.gicv2_cpu_interface import Gicc
from aether_edgecloud.emulator.devices.gicv2_distributor import Gicd
from aether_edgecloud.emulator.devices.gicv2_hypervisor import Gich
from aether_edgecloud.emulator.devices.pl011 import Uart
from aether_edgecloud.emulator.devices.pl031 import Rtc
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.firmware.psci import CpuState


def child(node: fdt.Node, name: str) -> fdt.Node:
    return next(n for n in node.children if n.name == name)


def tree(**arguments: object) -> fdt.Node:
    return fdt.read(build_dtb(virt(), **arguments), where="board")  # type: ignore[arg-type]


def test_boards_by_name() -> None:
    assert boards.names() == ("virt", "virt-spin-table")
    assert boards.by_name("virt") == virt()
    assert boards.by_name("virt", ram_size=64 * MIB, cpus=2) == virt(64 * MIB, 2)
    with pytest.raises(UserError) as error:
        boards.by_name("virtt")
    assert str(error.value) == "option --board: no board 'virtt'; use one of: virt, virt-spin-table"


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


def test_the_cpus_of_a_spin_table() -> None:
    board = virt_spin_table(cpus=3)
    root = fdt.read(build_dtb(board), where="board")
    nodes = child(root, "cpus").children
    assert [node.name for node in nodes] == ["cpu@0", "cpu@1", "cpu@2"]
    table = board.spin_table
    assert table is not None
    addresses = []
    for cpu, node in enumerate(nodes):
        assert node.get("enable-method") == fdt.text("spin-table")
        assert node.get("cpu-release-addr") == fdt.wide(table.release_address(cpu))
        addresses.append(table.release_address(cpu))
    assert len(set(addresses)) == 3
    assert all(address % 8 == 0 and address in table.pages for address in addresses)
    assert min(addresses) >= table.base + len(CODE)
    reserved = child(child(root, "reserved-memory"), f"spin-table@{table.base:x}")
    assert reserved.get("reg") == fdt.wide(table.base, 4096)
    assert table.base in board.ram
    assert board.place(1, 1).image.start >= table.pages.stop
    assert child(root, "psci").get("method") == fdt.text("smc")
    firmware = build_devices(board).firmware
    assert [firmware.state(cpu) for cpu in range(3)] == [CpuState.ON] * 3


@pytest.mark.parametrize("cpu", [1, 7])
def test_a_cpu_leaves_the_spin_table_where_it_is_told(cpu: int) -> None:
    table = SpinTable(0x4000_0000)
    engine = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
    engine.ctl_set_cpu_model(a64.UC_CPU_ARM64_A72)
    engine.mem_map(table.base, 0x20_0000)
    engine.mem_write(table.base, CODE)
    mpidr = 0x8000_0000 | cpu

    def read_mpidr(uc: unicorn.Uc, register: int, *_: object) -> bool:
        uc.reg_write(register, mpidr)
        return True

    engine.hook_add(unicorn.UC_HOOK_INSN, read_mpidr, aux1=a64.UC_ARM64_INS_MRS)
    for n in range(4):
        engine.reg_write(a64.UC_ARM64_REG_X0 + n, 99)
    engine.emu_start(table.base, 0, count=40)
    assert engine.reg_read(a64.UC_ARM64_REG_PC) in range(table.base, table.base + len(CODE))
    entry = table.base + 0x10_0000
    engine.mem_write(table.release_address(cpu ^ 1), (entry + 64).to_bytes(8, "little"))
    engine.mem_write(table.release_address(cpu), entry.to_bytes(8, "little"))
    engine.emu_start(engine.reg_read(a64.UC_ARM64_REG_PC), entry, count=40)
    assert engine.reg_read(a64.UC_ARM64_REG_PC) == entry
    assert [engine.reg_read(a64.UC_ARM64_REG_X0 + n) for n in range(4)] == [0] * 4


@pytest.mark.parametrize("cpus", [1, 8])
@pytest.mark.parametrize("name", boards.names())
def test_dtc_accepts_the_tree_without_a_warning(
    dtc: Path, tmp_path: Path, name: str, cpus: int
) -> None:
    blob = tmp_path / "board.dtb"
    initrd = range(0x4800_0000, 0x4800_1000)
    board = boards.by_name(name, cpus=cpus)
    blob.write_bytes(build_dtb(board, initrd=initrd, bootargs="quiet"))
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
    assert set(kinds) == set(DeviceKind)
    gicd = kinds[DeviceKind.GICV2_DISTRIBUTOR]
    assert (gicd.base, gicd.size) == (0x0800_0000, 0x10000)
    assert gicd.device.read(Gicd.ITARGETSR, 4) == 0x0202_0202
    assert gicd.device.read(Gicd.TYPER, 4) == 1 << 5 | 8
    assert kinds[DeviceKind.GICV2_CPU_INTERFACE].device is devices.gic.cpu_interface(1)
    gich = kinds[DeviceKind.GICV2_HYPERVISOR_INTERFACE]
    gicv = kinds[DeviceKind.GICV2_VIRTUAL_CPU_INTERFACE]
    assert (gich.base, gicv.base) == (0x0803_0000, 0x0804_0000)
    assert gich.device is devices.gic.hypervisor_interface(1)
    assert gicv.device is devices.gic.virtual_cpu_interface(1)
    assert kinds[DeviceKind.PL011].device is devices.console
    assert kinds[DeviceKind.PL031].base == 0x0901_0000


def test_the_console_works_from_the_first_instruction() -> None:
    devices = build_devices(virt())
    devices.console.write(Uart.DR, 4, ord("x"))
    assert devices.console.take_output() == b"x"


def test_the_uart_is_wired_to_its_spi() -> None:
    devices = build_devices(virt())
    devices.console.write(Uart.IMSC, 4, 1 << 4)
    devices.console.feed(b"x")
    devices.wire(0, 0)
    assert devices.gic.distributor.read(Gicd.ISPENDR + 4, 4) == 1 << 1
    devices.console.read(Uart.DR, 4)
    devices.wire(0, 0)
    assert devices.gic.distributor.read(Gicd.ISPENDR + 4, 4) == 0


@pytest.mark.parametrize(
    ("name", "intid"), [("CNTP_{}_EL0", 30), ("CNTV_{}_EL0", 27), ("CNTHP_{}_EL2", 26)]
)
def test_timers_are_wired_to_their_ppis(name: str, intid: int) -> None:
    devices = build_devices(virt(cpus=2))
    timer = devices.timers[1]
    timer.write(TimerRegister(name.format("CVAL")), 100, 0)
    timer.write(TimerRegister(name.format("CTL")), 1, 0)
    assert devices.next_event(1, 0) == 100
    assert devices.next_event(0, 0) is None
    for counter, pending in ((99, 0), (100, 1 << intid), (99, 0), (200, 1 << intid)):
        devices.wire(1, counter)
        assert devices.next_event(1, counter) == (100 if counter < 100 else 1 << 64)
        assert devices.gic.distributor_of(1).read(Gicd.ISPENDR, 4) == pending
        assert devices.gic.distributor_of(0).read(Gicd.ISPENDR, 4) == 0


def test_a_cpus_time_is_its_own() -> None:
    devices = build_devices(virt(cpus=2))
    for timer in devices.timers:
        timer.write(TimerRegister.CNTV_CVAL_EL0, 100, 0)
        timer.write(TimerRegister.CNTV_CTL_EL0, 1, 0)
    devices.wire(0, 100)
    devices.wire(1, 99)
    pending = [devices.gic.distributor_of(cpu).read(Gicd.ISPENDR, 4) for cpu in range(2)]
    assert pending == [1 << 27, 0]
    assert devices.next_event(1, 99) == 100


@given(
    writes=st.lists(
        st.tuples(
            st.integers(0, 1),
            st.sampled_from(
                [
                    TimerRegister.CNTV_CVAL_EL0,
                    TimerRegister.CNTV_CTL_EL0,
                    TimerRegister.CNTHP_CVAL_EL2,
                    TimerRegister.CNTHP_CTL_EL2,
                ]
            ),
            st.integers(0, 60),
            st.integers(0, 20),
        ),
        max_size=20,
    )
)
def test_wiring_what_has_changed_is_wiring_everything(
    writes: list[tuple[int, TimerRegister, int, int]],
) -> None:
    """What `wire` keeps from the last time never differs from what it would find anew."""
    devices = build_devices(virt(cpus=2))
    now = [0, 0]
    for cpu, register, value, step in writes:
        devices.timers[cpu].write(register, value, now[cpu])
        now[cpu] += step
        devices.wire(cpu, now[cpu])
        levels = devices.timers[cpu].levels(now[cpu])
        expected = sum(level << intid for intid, level in levels.by_intid())
        gicd = devices.gic.distributor_of(cpu)
        assert gicd.read(Gicd.ISPENDR, 4) == expected
        assert devices.next_event(cpu, now[cpu]) == devices.timers[cpu].next_event(now[cpu])


def test_a_write_by_one_cpu_makes_another_stale() -> None:
    gic = build_devices(virt(cpus=4)).gic
    for cpu in range(4):
        gic.distributor_of(cpu).write(Gicd.CTLR, 4, 1)
        gic.cpu_interface(cpu).write(Gicc.PMR, 4, 0xFF)
        gic.cpu_interface(cpu).write(Gicc.CTLR, 4, 1)
    for cpu in range(4):
        gic.signals(cpu)
        gic.virtual_signals(cpu)
    assert gic.stale == 0
    gic.distributor_of(1).write(Gicd.SGIR, 4, 0b1001 << 16 | 3)
    assert gic.stale == 0b1001
    assert [gic.irq(cpu) for cpu in range(4)] == [True, False, False, True]
    assert gic.stale == 0


def test_saving_the_whole_board_is_an_identity() -> None:
    devices = build_devices(virt(cpus=2))
    devices.gic.distributor.write(Gicd.CTLR, 4, 1)
    devices.gic.cpu_interface(1).write(Gicc.PMR, 4, 0x80)
    devices.console.write(Uart.DR, 4, 0x55)
    devices.console.feed(b"abc")
    devices.timers[1].write(TimerRegister.CNTV_CVAL_EL0, 77, 0)
    devices.clocks[0].write(Rtc.LR, 4, 5, 0)
    devices.gic.hypervisor_interface(1).write(Gich.HCR, 4, 3)
    devices.firmware.call((0xC400_0003, 1, 0x4020_0000, 0), 0)
    state = json.loads(json.dumps(devices.save()))
    other = build_devices(virt(cpus=2))
    assert other.save() != state
    other.restore(state)
    assert other.save() == state == devices.save()


def test_restoring_forgets_what_was_wired() -> None:
    """A state saved before its outputs were driven: they are driven after it is restored."""
    devices = build_devices(virt())
    devices.wire(0, 0)
    devices.timers[0].write(TimerRegister.CNTV_CTL_EL0, 1, 0)
    devices.console.write(Uart.IMSC, 4, 1 << 4)
    devices.console.feed(b"x")
    devices.gic.hypervisor_interface().write(Gich.HCR, 4, 3)
    state = devices.save()
    gicd = devices.gic.distributor
    for _ in range(2):
        assert (gicd.read(Gicd.ISPENDR, 4), gicd.read(Gicd.ISPENDR + 4, 4)) == (0, 0)
        devices.wire(0, 10)
        assert gicd.read(Gicd.ISPENDR, 4) == 1 << 27 | 1 << 25
        assert gicd.read(Gicd.ISPENDR + 4, 4) == 1 << 1
        devices.restore(state)

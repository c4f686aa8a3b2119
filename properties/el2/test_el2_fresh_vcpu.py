# SPDX-License-Identifier: Apache-2.0
"""A vCPU starts with nothing of a former life: every register of its own is as at its first start.

The guest gathers what is not zero, says what it found, makes all of it non-zero and resets.
"""

import re
from pathlib import Path

import keystone
import pytest

from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.bundle import format, manifest
from aether_edgecloud.emulator.bundle.manifest import Device, DeviceKind, Image, Memory, Vm
from aether_edgecloud.emulator.bundle.schedule import equal_shares
from aether_edgecloud.emulator.machine import BootImage, Machine
from aether_edgecloud.emulator.toolchain import Artefact

BASE = 0x4000_0000
UART = 0x900_0000
RAM_SIZE = 64 << 20
LIMIT = 1_500_000
FRAME_TICKS = 625_000

# What is written before the reset: anything that does not stop the guest from getting there.
EL1 = {
    "tpidr_el0": 0xBAD0,
    "tpidrro_el0": 0xBAD0,
    "tpidr_el1": 0xBAD0,
    "vbar_el1": 0x1000,
    "ttbr0_el1": 0x1000,
    "ttbr1_el1": 0x1000,
    "mair_el1": 0xFF,
    "tcr_el1": 0x10,
    "contextidr_el1": 0xBAD0,
    "far_el1": 0xBAD0,
    "esr_el1": 0xBAD0,
    "elr_el1": 0xBAD0,
    "spsr_el1": 0x3C5,
    "sp_el0": 0xBAD0,
    "cpacr_el1": 0x30_0000,
    "cntkctl_el1": 1,
    "cntv_ctl_el0": 2,
    "cntv_cval_el0": 0xBAD0,
}

GATHER_X = "".join(f"orr x0, x0, x{n}\n" for n in range(1, 31)) + "mov x1, sp\n orr x0, x0, x1\n"
SOIL_X = "movz x1, #0xbad\n mov sp, x1\n" + "".join(f"mov x{n}, x1\n" for n in range(2, 31))


def gather(register: str) -> str:
    return f"mrs x1, {register}\n orr x0, x0, x1\n"


def soil(register: str, value: int) -> str:
    return f"mov x1, #{value:#x}\n msr {register}, x1\n"


SAY = """
    mov     x2, #0x43           // C: clean
    cbz     x0, say
    mov     x2, #0x44           // D: dirty
say:
    mov     x1, #1
    movz    x0, #0xc600, lsl #16
    movk    x0, #2              // AETHER_CONSOLE_WRITE
    hvc     #0
"""
RESET = "movz x0, #0x8400, lsl #16\n movk x0, #9\n hvc #0\n"


def run(el2: Artefact, assembly: str, limit: int = LIMIT) -> bytes:
    """The console of a VM that runs this, and has a few lives."""
    code, _ = keystone.Ks(keystone.KS_ARCH_ARM64, keystone.KS_MODE_LITTLE_ENDIAN).asm(
        assembly + RESET, as_bytes=True
    )
    uart = Device(DeviceKind.VPL011, UART, 0x1000)
    vm = Vm("test", 1, BASE, 0, (Memory(BASE, 1 << 20),), (Image(0, BASE),), (uart,))
    tree = manifest.encode(manifest.Manifest((vm,), equal_shares([[0]])))
    bundle = format.pack(format.Bundle(tree, (format.Blob("image", code),)))
    machine = Machine(virt(RAM_SIZE), BootImage.from_file(Path(el2.flat)), bundle)
    machine.run(until=limit)
    return bytes(machine.console.output)


def said(el2: Artefact, gathering: str, soiling: str) -> str:
    """What the guest found in each of its lives."""
    lines = run(el2, gathering + SAY + soiling).decode("latin-1").split("\r\n")
    return "".join(line for line in lines if not line.startswith("[aether]"))


def test_general_registers_do_not_outlive_a_reset(el2: Artefact) -> None:
    lives = said(el2, GATHER_X, SOIL_X)
    assert len(lives) >= 2
    assert set(lives) == {"C"}


@pytest.mark.parametrize("register", EL1)
def test_el1_registers_do_not_outlive_a_reset(el2: Artefact, register: str) -> None:
    lives = said(el2, "mov x0, #0\n" + gather(register), soil(register, EL1[register]))
    assert len(lives) >= 2
    assert set(lives) == {"C"}


def test_the_guest_of_these_tests_sees_a_register_that_is_not_zero(el2: Artefact) -> None:
    assert set(said(el2, "mov x0, #0\n" + soil("tpidr_el1", 1) + gather("tpidr_el1"), "")) == {"D"}


@pytest.mark.parametrize("register", ["mdscr_el1", "dbgbvr0_el1", "dbgwvr0_el1", "actlr_el1"])
def test_registers_that_nobody_switches_keep_nothing(el2: Artefact, register: str) -> None:
    """They would be a way from one VM to another, or out of reach of a reset: RAZ/WI."""
    lives = said(el2, "mov x0, #0\n" + soil(register, 0x1000) + gather(register), "")
    assert len(lives) >= 2
    assert set(lives) == {"C"}


def test_the_virtual_counter_starts_anew(el2: Artefact) -> None:
    """A VM starts with its counter near 0: it cannot tell how long the machine, or a former life,
    has run before."""
    console = run(
        el2,
        "mrs x2, cntvct_el0\n mov x1, #8\n movz x0, #0xc600, lsl #16\n movk x0, #2\n hvc #0\n",
        4 * LIMIT,
    )
    starts = [part[:8] for part in re.split(rb"vm test: (?:start|reset)\r\n", console)[1:]]
    ticks = [int.from_bytes(start, "little") for start in starts if len(start) == 8]
    assert len(ticks) >= 2
    assert all(0 < value < FRAME_TICKS for value in ticks), ticks


def test_a_vcpu_starts_at_el1(el2: Artefact) -> None:
    lives = said(el2, "mrs x0, currentel\n eor x0, x0, #4\n", "")
    assert len(lives) >= 2, "it cannot call the hypervisor"
    assert set(lives) == {"C"}

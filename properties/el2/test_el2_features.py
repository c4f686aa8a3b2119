# SPDX-License-Identifier: Apache-2.0
"""On a CPU with all that QEMU knows, a guest sees only features whose state the hypervisor keeps,
and gets UNDEFINED for those it does not."""

import struct
from collections.abc import Callable

import pytest

from aether_edgecloud.emulator.bundle import format, manifest
from aether_edgecloud.emulator.bundle.manifest import Image, Memory, Vm
from aether_edgecloud.emulator.bundle.schedule import equal_shares

BASE = 0x4000_0000
HVC = 0xD400_0002
Boot = Callable[..., str]


def movz(rt: int, value: int, half: int = 0) -> int:
    return 0xD280_0000 | half << 21 | value << 5 | rt


def movk(rt: int, value: int, half: int) -> int:
    return 0xF280_0000 | half << 21 | value << 5 | rt


def mrs(rt: int, op0: int, op1: int, crn: int, crm: int, op2: int) -> int:
    return 0xD520_0000 | op0 << 19 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5 | rt


def msr(rt: int, *register: int) -> int:
    return mrs(rt, *register) & ~(1 << 21)


WRITE_X2 = (movz(1, 8), movz(0, 0xC600, 1), movk(0, 2, 0), HVC)
"""AETHER_CONSOLE_WRITE of the eight bytes of X2."""
OFF = (movz(0, 0x8400, 1), movk(0, 8, 0), HVC)
ISB = 0xD503_3FDF


def run(boot: Boot, *code: int, cpu: str) -> bytes:
    """What the guest wrote."""
    vm = Vm("test", 1, BASE, 0, (Memory(BASE, 1 << 20),), (Image(0, BASE),), ())
    tree = manifest.encode(manifest.Manifest((vm,), equal_shares([[0]])))
    image = struct.pack(f"<{len(code)}I", *code)
    data = format.pack(format.Bundle(tree, (format.Blob("image", image),)))
    console = boot(data, cpu=cpu)
    assert console.endswith("[aether] end: guest-off\r\n")
    _, _, rest = console.partition("start\r\n")
    return rest.removesuffix("[aether] end: guest-off\r\n").removesuffix("\r\n").encode("latin-1")


# Fields of Armv8.0 and, where they may be more, the largest value a guest may see.
ALLOWED = {
    (4, 0): {0: 1, 4: 1, 16: 1, 20: 1},  # PFR0: EL0, EL1 AArch64 only, FP, AdvSIMD with FP16
    (5, 0): {0: 6, 12: 15, 20: 15, 28: 15},  # DFR0: DebugVer, BRPs, WRPs, CTX_CMPs
    (6, 0): {n: 15 for n in (*range(4, 24, 4), *range(28, 52, 4))},  # ISAR0
    # MMFR0: PARange, ASIDBits, BigEnd, BigEndEL0, TGran16, TGran64, TGran4
    (7, 0): {0: 2, 4: 2, 8: 1, 16: 1, 20: 1, 24: 0, 28: 0},
    (7, 1): {0: 2, 12: 2, 20: 2},  # MMFR1: HAFDBS, HPDS, PAN
}


@pytest.mark.parametrize("cpu", ["max", "cortex-a72", "cortex-a53"])
def test_id_registers_show_only_what_is_known(boot: Boot, cpu: str) -> None:
    registers = [(crm, op2) for crm in range(1, 8) for op2 in range(8)]
    code = [word for crm, op2 in registers for word in (mrs(2, 3, 0, 0, crm, op2), *WRITE_X2)]
    written = run(boot, *code, *OFF, cpu=cpu)
    values = dict(zip(registers, struct.unpack(f"<{len(registers)}Q", written), strict=True))
    for register, value in values.items():
        allowed = ALLOWED.get(register, {})
        for shift in range(0, 64, 4):
            field = value >> shift & 15
            signed = register in ((4, 0), (7, 0)) and field == 15
            assert signed or field <= allowed.get(shift, 0), (register, shift, hex(value))
    assert values[4, 0] & 0xFF == 0x11
    assert values[7, 0] & 15 in (1, 2)


SCTLR_ENIA_HIGH = 0xB0D0  # RES1 bits of SCTLR_EL1, and EnIA (bit 31)
PREPARE = {
    "pacia x0, x1": (movz(3, 0x0800), movk(3, SCTLR_ENIA_HIGH, 1), msr(3, 3, 0, 1, 0, 0), ISB),
    "rdvl x0, #1": (movz(3, 0x0033, 1), msr(3, 3, 0, 1, 0, 2), ISB),
    "rdsvl x0, #1": (movz(3, 0x0333, 1), msr(3, 3, 0, 1, 0, 2), ISB),
    "mrs x0, lorc_el1": (),
    "mrs x0, apiakeylo_el1": (),
}
WORD = {
    "pacia x0, x1": 0xDAC1_0020,
    "rdvl x0, #1": 0x04BF_5020,
    "rdsvl x0, #1": 0x04BF_5820,
    "mrs x0, lorc_el1": mrs(0, 3, 0, 10, 4, 3),
    "mrs x0, apiakeylo_el1": mrs(0, 3, 0, 2, 1, 0),
}


@pytest.mark.parametrize("what", PREPARE)
def test_what_is_not_there_is_undefined(boot: Boot, what: str) -> None:
    # The vectors: with bits in VBAR_EL1[10:0] that count as zero.
    handler = (mrs(2, 3, 0, 5, 2, 0), *WRITE_X2, *OFF)
    start = (movz(4, 0x4000, 1), movk(4, 0x1420, 0), msr(4, 3, 0, 12, 0, 0), ISB, *PREPARE[what])
    code = [*start, WORD[what], *OFF]
    code += [0] * (0x1200 // 4 - len(code)) + [*handler]
    esr = int.from_bytes(run(boot, *code, cpu="max"), "little")
    assert esr == 1 << 25  # unknown reason, a 32-bit instruction

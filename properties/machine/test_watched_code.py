# SPDX-License-Identifier: Apache-2.0
"""Exceptions that Unicorn never raises are found by watching code. No address, no neighbour and no
change of the code may hide an instruction from the watch."""

import functools
import random
import struct

import capstone
import keystone
import pytest

from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.properties.machine.bare import constant, run
from aether_edgecloud.properties.machine.hooks_twin import may_misalign_sp

MODES = pytest.mark.parametrize("mmu", list(MmuMode), ids=lambda m: m.value)

A = 0x4040_0000
B = A + (1 << 18)  # the same slot of a table of 2**16 entries of 4 bytes

SA = "movz x1, #0x0808\n movk x1, #0x30d0, lsl #16\n msr sctlr_el1, x1"
FP_OFF = "msr cpacr_el1, xzr"
TPMCR = "mov x1, #0x20\n msr mdcr_el2, x1"
HARMLESS = "sub sp, sp, #8\n add sp, sp, #8\n ret"


@functools.cache
def assemble(text: str, at: int) -> bytes:
    code, _ = keystone.Ks(keystone.KS_ARCH_ARM64, keystone.KS_MODE_LITTLE_ENDIAN).asm(
        text, at, as_bytes=True
    )
    assert isinstance(code, bytes)
    return code


def call(address: int) -> str:
    return constant("x9", address) + "\n blr x9\n"


@MODES
@pytest.mark.parametrize(
    ("code", "setup", "ec"),
    [
        ("sub sp, sp, #8\n ldr x0, [sp]\n add sp, sp, #8\n ret", SA, 0x26),
        ("fmov d0, #1.0\n ret", FP_OFF, 0x07),
        ("mrs x5, s3_3_c9_c12_0\n ret", TPMCR, 0x18),
    ],
)
def test_code_in_the_same_slot_of_the_tables(mmu: MmuMode, code: str, setup: str, ec: int) -> None:
    memory = {A: assemble(HARMLESS, A), B: assemble(code, B)}
    taken = run(call(A) + call(B), mmu, setup=setup, memory=memory)
    assert taken is not None
    assert taken.ec == ec


@MODES
def test_code_that_is_replaced_by_longer_code(mmu: MmuMode) -> None:
    longer = struct.unpack("<5I", assemble("nop\n nop\n nop\n fmov d0, #1.0\n ret", A))
    stores = "\n".join(
        f"movz w2, #{w & 0xFFFF}\n movk w2, #{w >> 16}, lsl #16\n str w2, [x1, #{4 * i}]"
        for i, w in enumerate(longer)
    )
    maintain = "dc cvau, x1\n dsb ish\n ic ivau, x1\n dsb ish\n isb\n"
    body = f"{call(A)}{constant('x1', A)}\n{stores}\n{maintain}{call(A)}"
    taken = run(body, mmu, setup=FP_OFF, memory={A: assemble(HARMLESS, A)})
    assert taken is not None
    assert taken.ec == 0x07


@MODES
@pytest.mark.parametrize("change", ["ld1 {v0.8b}, [sp], #8", "sub wsp, wsp, #8"])
@pytest.mark.parametrize("between", ["", "b next\n next: nop\n"])
def test_every_form_that_misaligns_sp(mmu: MmuMode, change: str, between: str) -> None:
    """The 32-bit form counts too, whatever it does to the upper half."""
    taken = run(f"{change}\n {between} ldr x0, [sp]", mmu, setup=SA)
    assert taken is not None
    assert taken.ec == 0x26


@MODES
def test_a_prefetch_is_exempt_from_sp_alignment(mmu: MmuMode) -> None:
    assert run("sub sp, sp, #8\n prfm pldl1keep, [sp]\n add sp, sp, #8", mmu, setup=SA) is None


def test_no_instruction_that_writes_sp_is_overlooked() -> None:
    """Against a disassembler: what writes SP or WSP may misalign it, unless it plainly cannot."""
    engine = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    engine.detail = True
    stack_pointers = {capstone.arm64.ARM64_REG_SP, capstone.arm64.ARM64_REG_WSP}
    source = random.Random(1)
    seen = 0
    for _ in range(60_000):
        word = source.getrandbits(32)
        if source.random() < 0.7:
            word |= 31 << source.choice((0, 5))
        for instruction in engine.disasm(struct.pack("<I", word), 0):
            _, written = instruction.regs_access()
            if not stack_pointers & set(written) or _keeps_alignment(instruction):
                continue
            # The disassembler takes the XZR of CMP and CMN, of ADDS and SUBS for SP.
            flags_only = instruction.mnemonic in ("cmp", "cmn", "adds", "subs")
            if flags_only or instruction.mnemonic.startswith(_LATER_THAN_THE_A72):
                continue
            seen += 1
            assert may_misalign_sp(word), (
                f"{word:#010x} {instruction.mnemonic} {instruction.op_str}"
            )
    assert seen > 500


# Pointer authentication, memory tagging, scalable vectors.
_LATER_THAN_THE_A72 = (
    *("ldraa", "ldrab", "addg", "subg", "irg", "stg", "st2g", "stzg", "stz2g", "addvl", "addpl"),
    *("addsvl", "addspl"),
)
_MOVES_BY_ITS_SIZE = ("ld1", "ld2", "ld3", "ld4", "st1", "st2", "st3", "st4")


def _keeps_alignment(instruction: capstone.CsInsn) -> bool:
    """ADD, SUB of SP by a multiple of 16, and write-back by one, as the text says it."""
    text = instruction.op_str
    immediates = [part.strip(" ]!#") for part in text.split(",") if "#" in part]
    if "wsp" in text or not immediates or "lsl" in immediates[0]:
        return text.startswith("sp, sp") and "lsl #12" in text
    if instruction.mnemonic in ("add", "sub"):
        return text.startswith("sp, sp") and ("lsl" in text or int(immediates[0], 0) % 16 == 0)
    by_size = instruction.mnemonic.startswith(_MOVES_BY_ITS_SIZE)
    return "[sp" in text and not by_size and int(immediates[-1], 0) % 16 == 0

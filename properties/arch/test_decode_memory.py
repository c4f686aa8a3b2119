# SPDX-License-Identifier: Apache-2.0
"""Loads and stores: decode against capstone over random words, effective address and the
instruction syndrome against the Arm ARM."""

import random
import re

import pytest
from capstone import CS_ARCH_ARM64, CS_MODE_ARM, Cs
from keystone import KS_ARCH_ARM64, KS_MODE_LITTLE_ENDIAN, Ks

from aether_edgecloud.emulator.arch.decode import (
    IndexMode,
    LoadStore,
    MemoryKind,
    Other,
    decode,
    effective_address,
    iss_for_data_abort,
    writeback_value,
)

PC = 0x4000_0000
CS = Cs(CS_ARCH_ARM64, CS_MODE_ARM)
KS = Ks(KS_ARCH_ARM64, KS_MODE_LITTLE_ENDIAN)

# Extensions that decode_memory leaves out on purpose.
NOT_DECODED = re.compile(
    r"ldraa|ldrab|ld64b|st64bv?0?|stg|st2g|stzg|stz2g|ldg|stgp|stgm|stzgm|ldgm|"
    r"cpy\w*|set[pme]\w*|setg\w*|ldiapp|stilp|rprfm"
)
ATOMIC = re.compile(r"cas\w*|swp\w*|(ld|st)(add|clr|eor|set|smax|smin|umax|umin)\w*")
ADDRESS = re.compile(
    r"\[(?P<base>\w+)(?:, (?P<index>[wx]\w+)(?:, (?P<extend>\w+)(?: #(?P<amount>\w+))?)?"
    r"|, #(?P<imm>-?\w+))?\](?P<pre>!)?(?:, (?:#(?P<post_imm>-?\w+)|(?P<post_reg>x\w+)))?$"
)


def assemble(text: str) -> int:
    """One instruction at PC."""
    encoding, _ = KS.asm(text, PC)
    return int.from_bytes(bytes(encoding), "little")


def memory(text: str) -> LoadStore:
    """One load or store, decoded."""
    instruction = decode(assemble(text))
    assert isinstance(instruction, LoadStore)
    return instruction


def number_of(register: str) -> int:
    """Encoding of a register name."""
    return 31 if register in ("sp", "xzr", "wzr") else int(register[1:])


def capstone_says(word: int) -> tuple[str, str] | None:
    """(mnemonic, operands), None if unallocated."""
    for _, _, mnemonic, operands in CS.disasm_lite(word.to_bytes(4, "little"), PC):
        return mnemonic, operands
    return None


def check_address(ls: LoadStore, operands: str) -> None:
    """Base, offset and addressing mode agree with the text."""
    if ls.rn is None:
        assert int(operands.rsplit("#", 1)[1], 0) == PC + ls.offset
        return
    match = ADDRESS.search(operands)
    assert match, operands
    assert number_of(match["base"]) == ls.rn
    post = match["post_imm"] or match["post_reg"]
    expected = IndexMode.PRE if match["pre"] else IndexMode.POST if post else IndexMode.OFFSET
    assert ls.index is expected
    index = match["index"] or match["post_reg"]
    assert (None if index is None else number_of(index)) == ls.rm
    if match["index"]:
        assert (match["extend"] or "lsl").upper() == ls.extend.name
        assert int(match["amount"] or "0", 0) == ls.shift
    elif not match["post_reg"]:
        printed = int(match["imm"] or match["post_imm"] or "0", 0)
        assert (printed - ls.offset) % (1 << 64) == 0


def check_simd_structure(ls: LoadStore, mnemonic: str, operands: str) -> None:
    """LD1-LD4 and ST1-ST4: register list, arrangement, lane."""
    registers, _, lane = operands.partition("}")
    names = re.findall(r"v(\d+)\.(\d*)([bhsd])", registers)
    size_bytes = 1 << "bhsd".index(names[0][2])
    assert ls.rt == int(names[0][0]) and ls.size_bytes == size_bytes
    if lane.startswith("[") or mnemonic.endswith("r"):
        assert ls.elements == len(names)
    else:
        assert ls.elements == len(names) * int(names[0][1])


def check_registers(ls: LoadStore, mnemonic: str, operands: str) -> None:
    """Registers, their width, access size, and what the mnemonic says."""
    names = re.split(r", (?=\[|#)", operands, maxsplit=1)[0].split(", ")
    if ls.exclusive:
        assert mnemonic.startswith(("ldx", "ldax", "stx", "stlx"))
        assert ls.acquire_release == mnemonic.startswith(("ldax", "stlx"))
        if ls.kind is MemoryKind.STORE:
            assert ls.rs == number_of(names.pop(0))
    elif ATOMIC.fullmatch(mnemonic):
        assert ls.kind is MemoryKind.ATOMIC
        assert ls.rs == number_of(names.pop(0))
        if mnemonic.startswith("casp"):
            names.pop(0)
        elif mnemonic.startswith("st"):
            names = ["wzr" if ls.size_bytes < 8 else "xzr"]
        order = re.sub(r"^(casp?|swp|(ld|st)(add|clr|eor|set|[su]max|[su]min))|[bh]$", "", mnemonic)
        assert ls.acquire_release == (order in ("a", "l", "al"))
    else:
        assert ls.acquire_release == bool(re.match(r"lda[rp]|stlu?r", mnemonic))
    assert ls.unprivileged == bool(re.match(r"(ld|st)tr", mnemonic))
    assert ls.sign_extend == bool(re.search(r"rs[bhw]$|^ldpsw$", mnemonic))
    assert ls.rt == number_of(names[0])
    assert ls.rt2 == (number_of(names[1]) if len(names) > 1 else None)
    width = names[0][0]
    assert ls.simd == (width in "bhsdq")
    if ls.simd:
        assert ls.size_bytes == 1 << "bhsdq".index(width)
    else:
        assert ls.sf == (width == "x")
        # No mnemonic without a size ends in one of these letters.
        sizes = {"b": 1, "h": 2, "w": 4}
        assert ls.size_bytes == sizes.get(mnemonic[-1], 8 if width == "x" else 4)


def is_unpredictable(ls: LoadStore) -> bool:
    """CONSTRAINED UNPREDICTABLE register choices, which capstone does not print, and with them
    LDTR and STTR of the base register, which are not."""
    registers = (ls.rt, ls.rt2)
    return (
        ((ls.writeback or ls.unprivileged) and not ls.simd and ls.rn != 31 and ls.rn in registers)
        or (ls.pair and ls.is_load and ls.rt == ls.rt2)
        or (ls.rs is not None and (ls.rs in registers or (ls.rs == ls.rn and ls.rn != 31)))
    )


def check_against_capstone(word: int) -> bool:
    """Whether `word` is allocated; asserts that both decoders agree on it."""
    text = capstone_says(word)
    instruction = decode(word)
    if text is None and isinstance(instruction, LoadStore):
        # Rs and Rt2 where they mean nothing should be ones; others are UNPREDICTABLE.
        if (word >> 24) & 0x3F == 0b001000 and word & 0x001F_7C00 != 0x001F_7C00:
            return False
        if is_unpredictable(instruction):
            return False
    if text is None or NOT_DECODED.fullmatch(text[0]):
        assert instruction == Other(), f"{word:#010x} {text}"
        return False
    mnemonic, operands = text
    assert isinstance(instruction, LoadStore), f"{word:#010x} {mnemonic} {operands}"
    if mnemonic.startswith("prf"):
        assert instruction.kind is MemoryKind.PREFETCH
    elif not ATOMIC.fullmatch(mnemonic):
        expected = MemoryKind.LOAD if mnemonic.startswith("ld") else MemoryKind.STORE
        assert instruction.kind is expected
    check_address(instruction, operands)
    if operands.startswith("{"):
        check_simd_structure(instruction, mnemonic, operands)
    elif instruction.kind is not MemoryKind.PREFETCH:
        check_registers(instruction, mnemonic, operands)
    return True


@pytest.mark.parametrize(
    ("fixed", "mask"),
    [
        pytest.param(0x0800_0000, 0x0A00_0000, id="whole-group"),
        pytest.param(0x0800_0000, 0x3F00_0000, id="exclusive-ordered-cas"),
        pytest.param(0x081F_7C00, 0x3F1F_7C00, id="exclusive-ordered-cas-ones"),
        pytest.param(0x0C00_0000, 0xBFBF_0000, id="multiple-structures"),
        pytest.param(0x0C80_0000, 0xBFA0_0000, id="multiple-structures-post"),
        pytest.param(0x0D00_0000, 0xBF1F_0000, id="single-structure"),
        pytest.param(0x0D80_0000, 0xBF80_0000, id="single-structure-post"),
        pytest.param(0x1800_0000, 0x3B00_0000, id="literal"),
        pytest.param(0x2800_0000, 0x3A00_0000, id="pair"),
        pytest.param(0x3800_0000, 0x3B20_0000, id="immediate"),
        pytest.param(0x3820_0800, 0x3B20_0C00, id="register-offset"),
        pytest.param(0x3820_0000, 0x3F20_0C00, id="atomic"),
        pytest.param(0x3900_0000, 0x3B00_0000, id="unsigned-offset"),
        pytest.param(0x1900_0000, 0x3F20_0C00, id="rcpc-unscaled"),
    ],
)
def test_random_words_agree_with_capstone(fixed: int, mask: int) -> None:
    generator = random.Random(fixed)
    allocated = 0
    for _ in range(3000):
        word = (generator.getrandbits(32) & ~mask) | fixed
        try:
            allocated += check_against_capstone(word)
        except AssertionError as failure:
            raise AssertionError(
                f"{word:#010x}: {capstone_says(word)}, {decode(word)}"
            ) from failure
    assert allocated > 100


REGISTERS = [0x1000 * n for n in range(31)] + [0x8000_0000]


@pytest.mark.parametrize(
    ("text", "address", "size", "writeback"),
    [
        ("ldr x0, [x1]", 0x1000, 8, None),
        ("ldr x0, [sp, #8]", 0x8000_0008, 8, None),
        ("ldrb w0, [x2, #-1]", 0x1FFF, 1, None),
        ("ldr x0, [x2, #-8]!", 0x1FF8, 8, 0x1FF8),
        ("ldr x0, [x2], #-8", 0x2000, 8, 0x1FF8),
        ("ldp x0, x1, [x2, #-16]!", 0x1FF0, 16, 0x1FF0),
        ("ldpsw x0, x1, [x2], #8", 0x2000, 8, 0x2008),
        ("ldnp q0, q1, [x2, #32]", 0x2020, 32, None),
        ("ldr x0, [x1, x2, lsl #3]", 0x1_1000, 8, None),
        ("strh w0, [x1, x2, lsl #1]", 0x5000, 2, None),
        ("str q0, [x1, x2, lsl #4]", 0x2_1000, 16, None),
        ("ldr x0, [x1, xzr]", 0x1000, 8, None),
        ("ld4 {v0.16b-v3.16b}, [x1], #64", 0x1000, 64, 0x1040),
        ("ld3 {v0.s-v2.s}[1], [x1], x2", 0x1000, 12, 0x3000),
        ("ld2r {v0.8h-v1.8h}, [x1]", 0x1000, 4, None),
        ("stxp w0, x1, x2, [x3]", 0x3000, 16, None),
        ("ldtr x0, [x1, #-256]", 0xF00, 8, None),
    ],
)
def test_effective_address(text: str, address: int, size: int, writeback: int | None) -> None:
    ls = memory(text)
    assert effective_address(ls, REGISTERS, PC) == address
    assert ls.access_bytes == size
    assert writeback_value(ls, REGISTERS) == writeback


@pytest.mark.parametrize(
    ("text", "index", "address"),
    [
        ("ldr x0, [x1, w2, uxtw]", 0xFFFF_FFFF_FFFF_FFFF, 0x1_0000_0FFF),
        ("ldr x0, [x1, w2, sxtw]", 0xFFFF_FFFF, 0xFFF),
        ("ldr x0, [x1, w2, sxtw #3]", 0xFFFF_FFFF, 0xFF8),
        ("ldr x0, [x1, x2, sxtx #3]", 0xFFFF_FFFF_FFFF_FFFE, 0xFF0),
        ("ldr x0, [x1, w2, uxtw #3]", 0x1_0000_0001, 0x1008),
    ],
)
def test_extended_offset_wraps_in_64_bits(text: str, index: int, address: int) -> None:
    registers = list(REGISTERS)
    registers[2] = index
    assert effective_address(memory(text), registers, PC) == address


def test_literal_is_relative_to_its_own_address() -> None:
    ls = memory(f"ldr x3, #{PC + 0x100}")
    assert effective_address(ls, REGISTERS, PC) == PC + 0x100
    assert effective_address(ls, REGISTERS, PC + 8) == PC + 0x108


def iss(sas: int, srt: int, *, sse: int = 0, sf: int = 0, ar: int = 0) -> int:
    """ISV = 1 and these fields, by their bit numbers in the Arm ARM."""
    return 1 << 24 | sas << 22 | sse << 21 | srt << 16 | sf << 15 | ar << 14


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ldr w7, [x1]", iss(2, 7)),
        ("ldr x7, [x1]", iss(3, 7, sf=1)),
        ("str x7, [x1, x2, lsl #3]", iss(3, 7, sf=1)),
        ("str wzr, [x1]", iss(2, 31)),
        ("str xzr, [x1]", iss(3, 31, sf=1)),
        ("strb w30, [x1, #1]", iss(0, 30)),
        ("ldrh w0, [x1]", iss(1, 0)),
        ("ldrsb w5, [x1]", iss(0, 5, sse=1)),
        ("ldrsb x5, [x1]", iss(0, 5, sse=1, sf=1)),
        ("ldrsh w5, [x1]", iss(1, 5, sse=1)),
        ("ldrsw x5, [x1]", iss(2, 5, sse=1, sf=1)),
        ("ldursw x5, [x1, #-3]", iss(2, 5, sse=1, sf=1)),
        ("ldtr w5, [x1]", iss(2, 5)),
        ("ldar x5, [x1]", iss(3, 5, sf=1, ar=1)),
        ("stlrb w5, [x1]", iss(0, 5, ar=1)),
        (f"ldr x5, #{PC + 8}", iss(3, 5, sf=1)),
        (f"ldrsw x5, #{PC + 8}", iss(2, 5, sse=1, sf=1)),
        ("ldr x5, [x1], #8", 0),
        ("str w5, [x1, #8]!", 0),
        ("ldp x5, x6, [x1]", 0),
        ("stnp w5, w6, [x1]", 0),
        ("ldxr x5, [x1]", 0),
        ("stlxr w4, x5, [x1]", 0),
        ("ldr q0, [x1]", 0),
        ("str b0, [x1]", 0),
        ("ld1 {v0.4s}, [x1]", 0),
        ("prfm pldl1keep, [x1]", 0),
    ],
)
def test_instruction_syndrome(text: str, expected: int) -> None:
    assert iss_for_data_abort(decode(assemble(text))) == expected


@pytest.mark.parametrize("word", [0xF8200020, 0x88A07C20, 0xC8207C20], ids=["ldadd", "cas", "stxp"])
def test_atomics_and_exclusive_pairs_have_no_syndrome(word: int) -> None:
    assert isinstance(decode(word), LoadStore)
    assert iss_for_data_abort(decode(word)) == 0


def test_ldapr_has_one() -> None:
    assert iss_for_data_abort(decode(0xF8BFC025)) == iss(3, 5, sf=1, ar=1)

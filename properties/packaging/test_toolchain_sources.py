# SPDX-License-Identifier: Apache-2.0
"""Counting lines, and telling FP and SIMD instructions from others by their encoding."""

import re

import capstone
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aether_edgecloud.emulator.toolchain.image import is_fp_or_simd
from aether_edgecloud.emulator.toolchain.sources import lines_of_code

_VECTOR_REGISTER = re.compile(r"\b[bhsdqv](?:[12]?\d|3[01])\b(?!_)")
_DISASSEMBLER = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("\n   \n\t\n", 0),
        ("// only a comment\n/* and\n\n another */\n", 0),
        ("int x; // one\n", 1),
        ("/* a */ int x;\n/* b\n*/ int y;\n", 2),
        ('char *s = "/* no comment";\nint y;\n/* c */\n', 2),
        ('char *s = "\\"// no comment";\nint y;\n', 2),
        ("char c = '\"'; // one\n/* \" */\n", 1),
        ("#define A 1\n\n#define B \\\n    2\n", 3),
    ],
)
def test_lines_of_code(text: str, count: int) -> None:
    assert lines_of_code(text) == count


# Every encoding class is met: the bits that choose it are drawn apart from the rest.
@given(st.integers(0, 15), st.integers(0, (1 << 25) - 1), st.integers(0, 7))
def test_fp_by_encoding_is_fp_by_register_name(op0: int, low: int, high: int) -> None:
    word = high << 29 | op0 << 25 | low
    decoded = list(_DISASSEMBLER.disasm_lite(word.to_bytes(4, "little"), 0))
    assume(decoded)
    _, _, mnemonic, operands = decoded[0]
    # SVE and SME registers are another class. Memory copy and set (FEAT_MOPS) sit among the vector
    # loads and stores, but name general registers. This CPU has none of them.
    assume(not re.search(r"\b[zp]\d|\bza\d?\b", operands))
    assume(not mnemonic.startswith(("cpy", "set")))
    assert is_fp_or_simd(word) == bool(_VECTOR_REGISTER.search(operands)), f"{mnemonic} {operands}"

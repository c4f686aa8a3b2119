# SPDX-License-Identifier: Apache-2.0
"""An image with FP instructions or absolute addresses is refused, and no other is."""

from dataclasses import replace
from pathlib import Path

import pytest

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.toolchain import build
from aether_edgecloud.emulator.toolchain.compilers import Zig
from aether_edgecloud.emulator.toolchain.making import make
from aether_edgecloud.emulator.toolchain.recipes import EL2

_SCRIPT = """
SECTIONS {
    . = 0;
    .text : { *(.text) }
    .rodata : { *(.rodata .rodata.*) }
    .rela.dyn : { *(.rela*) }
    . = ALIGN(4096);
    .data : { *(.data) }
}
"""


def make_small(folder: Path, source: str, code: str) -> None:
    """Build one source under the rules of EL2, without the rest of EL2."""
    (folder / source).write_text(code, encoding="utf-8")
    (folder / "small.lds").write_text(_SCRIPT, encoding="utf-8")
    recipe = replace(
        EL2,
        name="small",
        sources=(source,),
        excluded=(),
        headers=(),
        include_dirs=(),
        linker_script="small.lds",
        offsets=None,
    )
    out = folder / "out"
    out.mkdir()
    make(recipe, Zig(), "key", folder, out)


def assembly(*lines: str) -> str:
    start = (".arch_extension fp", ".arch_extension simd", ".text", ".globl _start", "_start:")
    return "\n".join((*start, *lines, "ret", ""))


@pytest.mark.parametrize(
    "instruction",
    [
        "fmov d0, x1",
        "fmov x1, d0",
        "ldr q3, [x0]",
        "stp d8, d9, [sp, #-16]!",
        "movi v0.2d, #0",
        "ldr s1, [x2, x3, lsl #2]",
        "st1 {v0.16b}, [x1]",
    ],
)
def test_fp_fails_the_build(instruction: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        make_small(tmp_path, "small.S", assembly("nop", instruction))
    line = str(caught.value)
    assert line.startswith("small: FP/SIMD instruction at _start+0x4: " + instruction.split()[0])


def exempted(name: str, after: str) -> str:
    """The function that EL2 may have, and another behind it."""
    return assembly(
        "nop", "ret", f".type {name}, %function", f"{name}:", "movi v0.2d, #0", "ret",
        f".size {name}, . - {name}", "other:", after,
    )  # fmt: skip


def test_fp_is_allowed_in_the_function_that_loads_it(tmp_path: Path) -> None:
    make_small(tmp_path, "small.S", exempted("fpsimd_load", "nop"))


def test_fp_behind_the_exempt_function_fails_the_build(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"FP/SIMD instruction at other\+0x0: fmov d0, x1"):
        make_small(tmp_path, "small.S", exempted("fpsimd_load", "fmov d0, x1"))


def test_fp_in_a_function_of_another_name_fails_the_build(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"at fpsimd_load2\+0x0: movi"):
        make_small(tmp_path, "small.S", exempted("fpsimd_load2", "nop"))


def test_other_instructions_pass(tmp_path: Path) -> None:
    lines = ("mrs x0, hcr_el2", "ldp x0, x1, [sp], #16", "ldaxr x2, [x3]", "msr scr_el3, x4")
    make_small(tmp_path, "small.S", assembly(*lines))


def test_data_that_looks_like_fp_passes(tmp_path: Path) -> None:
    lines = ("b 1f", ".word 0x9e670020", ".quad 0x3dc000033dc00003", "1: nop")
    make_small(tmp_path, "small.S", assembly(*lines))


def test_code_after_data_is_searched(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"_start\+0x8: fmov"):
        make_small(tmp_path, "small.S", assembly("b 1f", ".word 0", "1: fmov d0, x1"))


def test_floating_point_in_c_fails_the_build(tmp_path: Path) -> None:
    code = "double zz(double x);\ndouble zz(double x)\n{\n    return x * 2;\n}\n"
    with pytest.raises(UserError):
        make_small(tmp_path, "small.c", code)


def test_copying_a_struct_uses_no_simd(tmp_path: Path) -> None:
    code = """
struct big { _Alignas(16) unsigned long x[4]; };
void copy(struct big *to, const struct big *from);
void copy(struct big *to, const struct big *from) { *to = *from; }
"""
    make_small(tmp_path, "small.c", code)


def test_an_absolute_address_fails_the_build(tmp_path: Path) -> None:
    code = 'extern const char *names[];\nconst char *names[] = {"one", "two"};\n'
    with pytest.raises(UserError, match=r"small: absolute address in names\+0x0; "):
        make_small(tmp_path, "small.c", code)


def test_a_switch_over_strings_leaves_no_address(tmp_path: Path) -> None:
    words = ("none", "sync", "irq", "fiq", "serror", "reset", "debug", "other")
    cases = "".join(f'    case {n}: return "{word}";\n' for n, word in enumerate(words))
    code = (
        "const char *name(int n);\nconst char *name(int n)\n{\n    switch (n) {\n"
        + cases
        + '    default: return "?";\n    }\n}\n'
        # Inlined here and there: the compiler would have one table for both.
        + "int length(int n);\nint length(int n)\n{\n    const char *p = name(n);\n"
        + "    while (*p) {\n        p++;\n    }\n    return (int)(p - name(n));\n}\n"
    )
    make_small(tmp_path, "small.c", code)


def test_el2_is_checked(tree: Path, tmp_path: Path) -> None:
    (tree / "el2" / "zz_added.S").write_text(assembly("fmov d0, x1").replace("_start", "added"))
    with pytest.raises(UserError, match=r"el2: FP/SIMD instruction at added\+0x0: fmov d0, x1; "):
        build("el2", into=tmp_path / "out", root=tree)
    assert not any((tmp_path / "out").iterdir())

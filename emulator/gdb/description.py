# SPDX-License-Identifier: Apache-2.0
"""The target description: which registers there are, and the fields of those that have some.

"Debugging with GDB", appendix "Target Descriptions". gdb shows a register of a type with fields by
their names: `p $HCR_EL2`, and a number of it by `p/x $HCR_EL2`.
"""

from collections.abc import Iterator
from itertools import groupby

from aether_edgecloud.emulator.arch.field_tables import ESR_TOP, REGISTERS, Field
from aether_edgecloud.emulator.gdb.registers import ALL, Group, Register

_HEAD = """<?xml version="1.0"?>
<!DOCTYPE target SYSTEM "gdb-target.dtd">
<target version="1.0">
<architecture>aarch64</architecture>
"""
_CPSR = (
    *(Field(name, bit, bit) for name, bit in (("SP", 0), ("nRW", 4), ("F", 6), ("I", 7))),
    *(Field(name, bit, bit) for name, bit in (("A", 8), ("D", 9), ("IL", 20), ("SS", 21))),
    *(Field(name, bit, bit) for name, bit in (("V", 28), ("C", 29), ("Z", 30), ("N", 31))),
    Field("EL", 3, 2),
)
# One 128-bit register as all that it can hold, as gdb's own aarch64-fpu.xml has it.
_VECTORS = (
    ("v2d", "ieee_double", 2), ("v2u", "uint64", 2), ("v2i", "int64", 2), ("v4f", "ieee_single", 4),
    ("v4u", "uint32", 4), ("v4i", "int32", 4), ("v8u", "uint16", 8), ("v8i", "int16", 8),
    ("v16u", "uint8", 16), ("v16i", "int8", 16), ("v1u", "uint128", 1), ("v1i", "int128", 1),
)  # fmt: skip
_UNIONS = (
    ("vnd", (("f", "v2d"), ("u", "v2u"), ("s", "v2i"))),
    ("vns", (("f", "v4f"), ("u", "v4u"), ("s", "v4i"))),
    ("vnh", (("u", "v8u"), ("s", "v8i"))),
    ("vnb", (("u", "v16u"), ("s", "v16i"))),
    ("vnq", (("u", "v1u"), ("s", "v1i"))),
    ("aarch64v", (("d", "vnd"), ("s", "vns"), ("h", "vnh"), ("b", "vnb"), ("q", "vnq"))),
)
_GDB_GROUPS = {Group.EL2: "system", Group.EL1: "system", Group.RUN: "system"}


def target_xml() -> str:
    """The whole description."""
    features = (_feature(group, tuple(found)) for group, found in groupby(ALL, lambda r: r.group))
    return _HEAD + "".join(features) + "</target>\n"


def _feature(group: Group, registers: tuple[Register, ...]) -> str:
    lines = [f'<feature name="{group.value}">']
    if group is Group.FPU:
        lines += _vector_types()
    for register in registers:
        fields = _fields(register)
        lines += _flags(register, fields) if fields else ()
    lines += (_register(register) for register in registers)
    return "\n".join((*lines, "</feature>\n"))


def _register(register: Register) -> str:
    words = [f'name="{register.name}"', f'bitsize="{8 * register.size}"']
    words.append(f'type="{_type(register)}"')
    if register.group in _GDB_GROUPS:
        words += [f'group="{_GDB_GROUPS[register.group]}"', 'save-restore="no"']
    return f"<reg {' '.join(words)}/>"


def _type(register: Register) -> str:
    if _fields(register):
        return f"{register.name}_fields"
    if register.group is Group.FPU:
        return "aarch64v" if register.size == 16 else "int"
    pointers = {"sp": "data_ptr", "pc": "code_ptr"}
    return pointers.get(register.name, f"uint{8 * register.size}")


def _fields(register: Register) -> tuple[Field, ...]:
    """Lowest first. ESR_ELx has more that depend on EC; here they are one."""
    if register.name == "cpsr":
        layout = _CPSR
    elif register.name in ("ESR_EL1", "ESR_EL2"):
        layout = (*ESR_TOP, Field("ISS", 24, 0))
    elif register.name == "PAR_EL1":  # two layouts, by its bit 0
        return ()
    else:
        layout = REGISTERS.get(register.name.upper(), ())
    named = (field for field in layout if not field.name.startswith("RES"))
    return tuple(sorted(named, key=lambda field: field.lo))


def _flags(register: Register, fields: tuple[Field, ...]) -> Iterator[str]:
    yield f'<flags id="{_type(register)}" size="{register.size}">'
    for field in fields:
        yield f'<field name="{field.name}" start="{field.lo}" end="{field.hi}"/>'
    yield "</flags>"


def _vector_types() -> Iterator[str]:
    for name, element, count in _VECTORS:
        yield f'<vector id="{name}" type="{element}" count="{count}"/>'
    for name, members in _UNIONS:
        yield f'<union id="{name}">'
        for member, of in members:
            yield f'<field name="{member}" type="{of}"/>'
        yield "</union>"

# SPDX-License-Identifier: Apache-2.0
"""System registers decoded into their fields, for display. The layouts are in field_tables."""

from dataclasses import dataclass

from aether_edgecloud.emulator.arch.field_tables import ESR_TOP, ISS, REGISTERS, Field
from aether_edgecloud.emulator.arch.sysregs import by_name


@dataclass(frozen=True, slots=True)
class FieldValue:
    """Bits [hi:lo] of a register. meaning is empty where the value says it all."""

    name: str
    hi: int
    lo: int
    value: int
    meaning: str


def _extract(value: int, hi: int, lo: int) -> int:
    return (value >> lo) & ((1 << (hi - lo + 1)) - 1)


def _layout(name: str, value: int) -> tuple[Field, ...]:
    """The fields of a register; those of ESR_ELx depend on its EC, those of PAR_EL1 on F."""
    upper = name.upper()
    if upper in ("ESR_EL1", "ESR_EL2"):
        ec = _extract(value, 31, 26)
        return (*ESR_TOP, *ISS.get(ec, (Field("ISS", 24, 0),)))
    if upper == "PAR_EL1":
        return REGISTERS["PAR_EL1 fault" if value & 1 else "PAR_EL1"]
    return REGISTERS[upper]


def has_fields(name: str) -> bool:
    """Whether fields() knows the register, by name in any case."""
    return name.upper() in REGISTERS or name.upper() in ("ESR_EL1", "ESR_EL2")


def fields(name: str, value: int) -> tuple[FieldValue, ...]:
    """The fields of register `name` holding `value`, highest first. Bits without a name come as
    fields named "RES" where they are not zero.

    Raises KeyError for a register whose fields are not known, ValueError for a value that is not
    64 bits.
    """
    if not 0 <= value < 1 << 64:
        raise ValueError(f"{value:#x} is not a 64-bit value")
    result: list[FieldValue] = []
    top = 63
    for field in sorted(_layout(name, value), key=lambda field: -field.hi):
        result.extend(_reserved(value, top, field.hi + 1))
        bits = _extract(value, field.hi, field.lo)
        result.append(FieldValue(field.name, field.hi, field.lo, bits, field.meaning(bits)))
        top = field.lo - 1
    result.extend(_reserved(value, top, 0))
    return tuple(result)


def _reserved(value: int, hi: int, lo: int) -> list[FieldValue]:
    if hi < lo or not _extract(value, hi, lo):
        return []
    return [FieldValue("RES", hi, lo, _extract(value, hi, lo), "reserved, not zero")]


def describe_register(name: str, value: int) -> str:
    """One line: the register, its value and its fields that are not zero or have a meaning.

    A register without known fields is just named with its value. Raises KeyError for a name that
    is no register of this CPU.
    """
    name = by_name(name).name
    if not has_fields(name):
        return f"{name} = {value:#x}"
    words = []
    for field in fields(name, value):
        if field.meaning and (field.value or field.hi != field.lo):
            words.append(f"{field.name}={field.value:#x} ({field.meaning})")
        elif field.value:
            words.append(field.name if field.hi == field.lo else f"{field.name}={field.value:#x}")
    return f"{name} = {value:#x}" + (": " + ", ".join(words) if words else "")

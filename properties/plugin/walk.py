# SPDX-License-Identifier: Apache-2.0
"""The entries that translate one address, level by level."""

from collections.abc import Iterator
from dataclasses import dataclass

from aether_edgecloud.stage2.decode import (
    ENTRIES,
    LAST_LEVEL,
    LEVEL_SHIFT,
    Geometry,
    ReadMemory,
    Regime,
    stage2_memory_type,
)

_ADDRESS = 0x0000_FFFF_FFFF_F000


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry on the way, and where it is; `descriptor` None: no memory is there."""

    level: int
    pa: int
    descriptor: int | None


def entries(read64: ReadMemory, geometry: Geometry, ia: int) -> Iterator[Entry]:
    """The entries that a walk of `ia` reads, to the leaf or to where it faults."""
    table, level = geometry.root, geometry.start_level
    if ia >> geometry.ia_bits:
        return
    index = ia >> LEVEL_SHIFT[level]
    while True:
        pa = table + 8 * index
        descriptor = read64(pa)
        yield Entry(level, pa, descriptor)
        if descriptor is None or descriptor & 3 != 3 or level == LAST_LEVEL:
            return
        table, level = descriptor & _ADDRESS, level + 1
        index = ia >> LEVEL_SHIFT[level] & (ENTRIES - 1)


def describe(descriptor: int | None, level: int, regime: Regime) -> str:
    """A descriptor in words."""
    if descriptor is None:
        return "no memory there"
    value = f"{descriptor:#018x}"
    if not descriptor & 1:
        return f"{value} invalid"
    if descriptor & 2 and level < LAST_LEVEL:
        return f"{value} table at {descriptor & _ADDRESS:#x}"
    if level == 0 or bool(descriptor & 2) != (level == LAST_LEVEL):
        return f"{value} reserved encoding"
    kind = "page" if level == LAST_LEVEL else "block"
    pa = descriptor & _ADDRESS & -(1 << LEVEL_SHIFT[level])
    words = [f"{value} {kind} at {pa:#x}"]
    if regime is Regime.STAGE2:
        rights = ("r" if descriptor >> 6 & 1 else "-") + ("w" if descriptor >> 7 & 1 else "-")
        words.append(rights + ("-" if descriptor >> 54 & 1 else "x"))
        words.append(str(stage2_memory_type(descriptor >> 2 & 0xF) or "reserved memory type"))
    if not descriptor >> 10 & 1:
        words.append("AF=0")
    return ", ".join(words)

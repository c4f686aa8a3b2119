# SPDX-License-Identifier: Apache-2.0
"""What a stage 2 maps, read from memory as a walker would."""

from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE
from aether_edgecloud.emulator.cpu.translation import PhysicalMemory
from aether_edgecloud.emulator.machine.machine import Machine
from aether_edgecloud.stage2.decode import Decoded, Geometry, Leaf, decode_tables


def decode_stage2(machine: Machine, vttbr_el2: int, vtcr_el2: int) -> Decoded:
    """The whole tree, with its tables and what is malformed. ValueError for registers that lead to
    no tree."""
    return decode_tables(_Reader(machine.memory), Geometry.stage2(vtcr_el2, vttbr_el2))


def stage2_map(machine: Machine, vttbr_el2: int, vtcr_el2: int) -> tuple[Leaf, ...]:
    """Every block and page: `ia` is an IPA. ValueError for registers that lead to no tree, or if
    something in the tree is malformed."""
    decoded = decode_stage2(machine, vttbr_el2, vtcr_el2)
    if decoded.malformed:
        first = decoded.malformed[0]
        raise ValueError(f"{first.fault.value}: entry at PA {first.entry:#x}, IPA {first.ia:#x}")
    return decoded.leaves


class _Reader:
    """Tables of RAM."""

    def __init__(self, memory: PhysicalMemory) -> None:
        self._memory = memory
        self._words = memory.bytes.cast("Q")

    def __call__(self, pa: int, entries: int, /) -> list[int] | None:
        first = pa - self._memory.ram_base
        if first < 0 or first + entries * 8 > self._memory.ram_size or first % PAGE_SIZE:
            return None
        return self._words[first >> 3 : (first >> 3) + entries].tolist()

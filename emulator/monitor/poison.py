# SPDX-License-Identifier: Apache-2.0
"""RAM with a pattern in it at reset.

In RAM full of zeros a table that was linked before it was cleared looks like one that was. Real RAM
holds anything. Each word of the pattern is a valid descriptor at every level, with an output
address that no machine has: whoever links such a table is found out.
"""

from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE
from aether_edgecloud.emulator.machine.machine import Machine

POISON = 0x0000_7BAD_C0DE_F7FF
_PAGE = POISON.to_bytes(8, "little") * (PAGE_SIZE // 8)


def poison(machine: Machine) -> None:
    """Fill all RAM of a machine at reset that firmware has left alone."""
    memory = machine.memory
    kept = [*machine.loaded]
    if machine.board.spin_table is not None:
        kept.append(range(machine.board.spin_table.base, machine.board.spin_table.base + PAGE_SIZE))
    at, top = memory.ram_base, memory.ram_base + memory.ram_size
    kept.append(range(top, top))
    for span in sorted(kept, key=lambda span: span.start):
        end = span.start & -PAGE_SIZE
        if end > at:
            memory.write(at, _PAGE * ((end - at) // PAGE_SIZE))
        at = max(at, -(-span.stop // PAGE_SIZE) * PAGE_SIZE)

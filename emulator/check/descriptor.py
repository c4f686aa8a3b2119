# SPDX-License-Identifier: Apache-2.0
"""Translation table descriptors in words (Arm ARM, D8)."""

from aether_edgecloud.emulator.monitor.trees import OA, EntryKind, entry_kind, leaf_pa
from aether_edgecloud.stage2.decode import (
    LAST_LEVEL,
    Shareability,
    mair_memory_type,
    stage2_memory_type,
)

_SHAREABILITY = {
    Shareability.NON: "NSH",
    Shareability.RESERVED: "SH=1",
    Shareability.OUTER: "OSH",
    Shareability.INNER: "ISH",
}
_STAGE2_ACCESS = ("no access", "R", "W", "RW")


def describe(descriptor: int, level: int, *, is_stage2: bool, mair: int) -> str:
    """For a 4 KiB granule: "invalid", "table 0x4029_7000", "page 0x4200_0000 RW XN Normal WB ISH".
    `mair` is MAIR_EL2, for stage 1."""
    kind = entry_kind(descriptor, level)
    if kind == EntryKind.INVALID:
        return "invalid"
    if kind == EntryKind.TABLE:
        return f"table {descriptor & OA:#x}"
    words = ["page" if level == LAST_LEVEL else "block", f"{leaf_pa(descriptor, level):#x}"]
    if is_stage2:
        words.append(_STAGE2_ACCESS[descriptor >> 6 & 3])
        memory = stage2_memory_type(descriptor >> 2 & 0xF)
    else:
        words.append("R" if descriptor >> 7 & 1 else "RW")
        memory = mair_memory_type(mair >> 8 * (descriptor >> 2 & 7) & 0xFF)
    words.append("XN" if descriptor >> 54 & 1 else "X")
    words.append("reserved memory type" if memory is None else str(memory))
    words.append(_SHAREABILITY[Shareability(descriptor >> 8 & 3)])
    if not descriptor >> 10 & 1:
        words.append("AF=0")
    if descriptor >> 52 & 1:
        words.append("contiguous")
    return " ".join(words)


def describe_change(old: int, new: int, level: int, *, is_stage2: bool, mair: int) -> str:
    """Both, which never read alike unless they are: "page ... -> page ... (bits 0x800 differ)"."""
    was, now = (describe(d, level, is_stage2=is_stage2, mair=mair) for d in (old, new))
    told = f" (bits {old ^ new:#x} differ)" if was == now and old != new else ""
    return f"{was} -> {now}{told}"

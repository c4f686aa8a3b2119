# SPDX-License-Identifier: Apache-2.0
"""A VM's memory as its stage 2 shows it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE
from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.emulator.report.machine_state import stage2_tables
from aether_edgecloud.stage2.decode import Decoded

_DIGEST = 16


@dataclass(frozen=True, slots=True)
class Region:
    """RAM at IPA `ipa`, `size` bytes from PA `pa`."""

    ipa: int
    pa: int
    size: int
    is_writable: bool


class GuestMemory:
    """The memory of the VM in VTTBR_EL2 of a CPU, in one machine."""

    def __init__(self, machine: Machine) -> None:
        self._memory = machine.memory
        self._known: dict[tuple[int, int], tuple[bytes, Decoded, tuple[Region, ...]]] = {}

    def regions(self, cpu: Cpu) -> tuple[Region, ...]:
        """All RAM that stage 2 lets the VM read or write, by rising IPA."""
        root = (cpu.native(reg.VTTBR_EL2), cpu.native(reg.VTCR_EL2))
        known = self._known.get(root)
        if known is not None and self._tables(known[1]) == known[0]:
            return known[2]
        decoded = stage2_tables(cpu, self._memory)
        if not isinstance(decoded, Decoded):
            return ()
        found = tuple(
            Region(leaf.ia, leaf.pa, leaf.size, leaf.write)
            for leaf in decoded.regions
            if (leaf.read or leaf.write) and self._is_ram(leaf.pa, leaf.size)
        )
        self._known[root] = self._tables(decoded), decoded, found
        return found

    def digest(self, regions: Sequence[Region]) -> bytes:
        """The same for the same memory, and in all likelihood for no other."""
        digest = hashlib.blake2b(digest_size=_DIGEST)
        for region in regions:
            digest.update(b"%d %d %d;" % (region.ipa, region.size, region.is_writable))
            words = self._words(region)
            is_used = words.max(axis=1) != 0
            digest.update(is_used.tobytes())
            digest.update(words[is_used].tobytes())
        return digest.digest()

    def copy(self, regions: Sequence[Region]) -> dict[int, bytes]:
        """The pages that are not zero, by IPA."""
        found: dict[int, bytes] = {}
        for region in regions:
            words = self._words(region)
            for page in np.flatnonzero(words.max(axis=1)).tolist():
                found[region.ipa + page * PAGE_SIZE] = words[page].tobytes()
        return found

    def _words(self, region: Region) -> npt.NDArray[np.uint64]:
        start = region.pa - self._memory.ram_base
        part = self._memory.bytes[start : start + region.size]
        return np.frombuffer(part, np.uint64).reshape(-1, PAGE_SIZE // 8)

    def _is_ram(self, pa: int, size: int) -> bool:
        return self._memory.is_ram(pa) and self._memory.is_ram(pa + size - 1)

    def _tables(self, decoded: Decoded) -> bytes:
        return b"".join(self._memory.read(table.pa, PAGE_SIZE) for table in decoded.tables)

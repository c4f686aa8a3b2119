# SPDX-License-Identifier: Apache-2.0
"""What differs between the two runs, and how it gets into the one VM.

Memory and registers are planted before the first instruction of the VM, or of a vCPU, and again
when the VM starts anew: what EL2 has done up to the first time is the same in both runs. Input
comes by the console's UART.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE
from aether_edgecloud.emulator.cpu.register_image import RegisterImage
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.emulator.noninterference.crossings import Vcpu
from aether_edgecloud.emulator.noninterference.memory import GuestMemory

FIRST_FREE_X = 4
"""X0 is the DTB's address or the context of CPU_ON; Linux' boot protocol keeps X1 to X3 zero."""
_TILE = 64 << 10
_LOOK = 64
_VECTOR_BYTES = 16
_CTRL_T = 0x14
_LEAST_INPUT, _MORE_INPUT = 32, 64


class SecretKind(Enum):
    """Where a secret lies."""

    MEMORY = "memory"
    """In the VM's RAM where no image was loaded, or in ranges that the user names."""
    REGISTERS = "registers"
    """In X4 to X30, V0 to V31, TPIDR_EL0, TPIDRRO_EL0 and TPIDR_EL1 of each vCPU."""
    INPUT = "input"
    """In what is typed for the VM; how much that is, is secret too."""
    RESIDUE = "residue"
    """In all RAM that firmware has not loaded anything into: what an earlier life has left."""


USUAL = frozenset({SecretKind.MEMORY, SecretKind.REGISTERS})


@dataclass(frozen=True, slots=True)
class Secret:
    """One secret, made of a seed; of two seeds no two bytes are alike but by chance."""

    seed: int
    kinds: frozenset[SecretKind] = USUAL
    ranges: tuple[range, ...] = ()
    """IPAs that hold it, and no other memory does; none: all RAM without an image."""

    def draw(self, purpose: str, size: int) -> bytes:
        """So many of its bytes."""
        return hashlib.shake_128(f"{purpose} {self.seed}".encode()).digest(size)

    def typed(self, number: int) -> bytes:
        """What the user types for VM `number`, counted from 1: Ctrl-T and the number, then
        letters."""
        drawn = self.draw("input", 1 + _LEAST_INPUT + _MORE_INPUT)
        size = _LEAST_INPUT + drawn[0] % _MORE_INPUT
        return bytes([_CTRL_T, ord("0") + number]) + bytes(65 + b % 26 for b in drawn[1 : 1 + size])


class Typed:
    """Console input that is at its end for nobody: a user who says no more."""

    exhausted = False

    def __init__(self, data: bytes = b"") -> None:
        self._data = data
        self._next = 0

    def take_byte(self) -> int | None:
        """The next byte, None after the last."""
        if self._next == len(self._data):
            return None
        self._next += 1
        return self._data[self._next - 1]

    def wait(self) -> None:
        """There is nobody to wait for."""

    def pace(self, seconds: float) -> None:
        """There is nobody to wait for."""


@dataclass(slots=True)
class Planter:
    """Plants a secret in a machine's VM `vmid`, which starts at IPA `entry`. `kept` are IPAs of
    images, that stay as they are. What was planted at the first start is counted."""

    machine: Machine
    memory: GuestMemory
    secret: Secret
    vmid: int
    entry: int
    kept: Sequence[range] = ()
    bytes_planted: int = 0
    starts: int = 0
    """Of vCPUs."""
    _known: set[Vcpu] = field(default_factory=set)
    _due: list[tuple[Vcpu, int]] = field(default_factory=list)
    _witness: int | None = None
    """PA of the first page that holds it."""

    @property
    def is_due(self) -> bool:
        """The machine stands at the first instruction of a vCPU that has no secret yet."""
        return bool(self._due)

    def entered(self, vcpu: Vcpu, cpu: int, pc: int) -> None:
        """A vCPU is about to be entered. If it has no secret yet the machine is to stop here."""
        if vcpu.vmid != self.vmid or not self.secret.kinds & USUAL:
            return
        if vcpu not in self._known or (pc == self.entry and self._is_gone()):
            self._known.add(vcpu)
            self._due.append((vcpu, cpu))
            self.machine.interrupt()

    def plant(self) -> None:
        """What is due. Not while the machine runs."""
        for vcpu, cpu in self._due:
            if SecretKind.MEMORY in self.secret.kinds and self._is_gone():
                self._plant_memory(cpu)
            if SecretKind.REGISTERS in self.secret.kinds:
                self._plant_registers(cpu, vcpu)
            self.starts += 1
        self._due.clear()

    def _is_gone(self) -> bool:
        """Its place has been scrubbed, or it was nowhere yet."""
        place = self._witness
        return place is None or not any(self.machine.read_pa(place, _LOOK))

    def plant_residue(self) -> None:
        """At reset."""
        memory, base = self.machine.memory, self.machine.board.ram_base
        taken = sorted(
            (r.start - base & -PAGE_SIZE, -(-(r.stop - base) // PAGE_SIZE) * PAGE_SIZE)
            for r in self.machine.loaded
        )
        tile = self.secret.draw("residue", _TILE)
        at = 0
        for start, end in [*taken, (memory.ram_size, memory.ram_size)]:
            for place in range(at, start, _TILE):
                size = min(_TILE, start - place)
                memory.write(base + place, tile[:size])
                self.bytes_planted += size
            at = max(at, end)

    def _plant_memory(self, cpu: int) -> None:
        tile = self.secret.draw("memory", _TILE)
        found, first = 0, self._witness is None
        for region in self.memory.regions(self.machine.cpus[cpu]):
            if not region.is_writable:
                continue
            whole = range(region.ipa, region.ipa + region.size)
            for part in _parts(whole, self.secret.ranges, self.kept):
                for ipa in range(part.start, part.stop, _TILE):
                    size = min(_TILE, part.stop - ipa)
                    # By address: a stub that knows a place finds the same wherever it begins.
                    data = tile[ipa % _TILE :] + tile[: ipa % _TILE]
                    pa = region.pa + ipa - region.ipa
                    self.machine.write_pa(pa, data[:size])
                    self._witness = pa if self._witness is None else self._witness
                found += len(part)
        if not found:
            raise UserError(
                "there is no memory of that VM to hold a secret",
                where="--range" if self.secret.ranges else None,
                fix="name IPAs in its memory",
            )
        self.bytes_planted += found if first else 0

    def _plant_registers(self, cpu: int, vcpu: Vcpu) -> None:
        core = self.machine.cpus[cpu]
        data = self.secret.draw(f"registers {vcpu.affinity}", 8 * 40 + _VECTOR_BYTES * len(reg.V))
        words = [int.from_bytes(data[i : i + 8], "little") for i in range(0, 8 * 40, 8)]
        core.write_x({n: words[n] for n in range(FIRST_FREE_X, len(reg.X))})
        for name, value in zip(("TPIDR_EL0", "TPIDRRO_EL0", "TPIDR_EL1"), words[32:], strict=False):
            core.access.write(name, value)
        RegisterImage(core.engine, vectors=reg.V).write(data[8 * 40 :])
        self.bytes_planted += len(data)


def _parts(whole: range, wanted: Sequence[range], kept: Sequence[range]) -> list[range]:
    """What of a range may be written: all that is wanted, and without a wish all that need not be
    kept."""
    if wanted:
        parts = [range(max(whole.start, r.start), min(whole.stop, r.stop)) for r in wanted]
        return [part for part in parts if part]
    parts = []
    at = whole.start
    for taken in sorted(kept, key=lambda r: r.start):
        start, stop = taken.start & -PAGE_SIZE, -(-taken.stop // PAGE_SIZE) * PAGE_SIZE
        if start < whole.stop and stop > at:
            parts.append(range(at, max(at, start)))
            at = stop
    parts.append(range(at, max(at, whole.stop)))
    return [part for part in parts if part]

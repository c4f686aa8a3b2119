# SPDX-License-Identifier: Apache-2.0
"""GICv2 distributor (IHI 0048B, "Distributor register descriptions"), no Security Extensions.

Choices the architecture leaves open, made as QEMU's `virt` and GIC-400 make them: SGIs are always
enabled; an SGI or PPI keeps its own priority per CPU; of equal priorities the lowest interrupt ID
wins, and of the sources of one SGI the lowest CPU; GICD_SGIR works while forwarding is off; with
one CPU, GICD_ITARGETSRn are RAZ/WI. Words are 32 bits; only GICD_IPRIORITYRn, GICD_ITARGETSRn,
GICD_CPENDSGIRn and GICD_SPENDSGIRn have byte access. Any other access is RAZ/WI.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

from aether_edgecloud.emulator.devices.device import (
    State,
    saved_bytes,
    saved_int,
    saved_ints,
    saved_part,
    saved_parts,
)
from aether_edgecloud.emulator.devices.gicv2_bank import InterruptBank
from aether_edgecloud.emulator.devices.gicv2_variant import QEMU_VIRT, GicVariant

MAX_CPUS = 8
MAX_SPIS = 988
"""Interrupt IDs 32 to 1019."""

SGIS = 16
PRIVATE = 32
"""Interrupt IDs below this are banked per CPU: 16 SGIs and 16 PPIs."""

_PERIPHERAL_ID = (0x90, 0xB4, 0x2B, 0x00)
"""GICD_PIDR0-3: part 0x490, JEP106 code 0x3B of Arm, architecture GICv2."""
_COMPONENT_ID = (0x0D, 0xF0, 0x05, 0xB1)


class Gicd(IntEnum):
    """Offsets of the distributor's registers; of arrays, the first."""

    CTLR = 0x000
    TYPER = 0x004
    IIDR = 0x008
    IGROUPR = 0x080
    ISENABLER = 0x100
    ICENABLER = 0x180
    ISPENDR = 0x200
    ICPENDR = 0x280
    ISACTIVER = 0x300
    ICACTIVER = 0x380
    IPRIORITYR = 0x400
    ITARGETSR = 0x800
    ICFGR = 0xC00
    SGIR = 0xF00
    CPENDSGIR = 0xF10
    SPENDSGIR = 0xF20
    PIDR4 = 0xFD0
    PIDR0 = 0xFE0
    CIDR0 = 0xFF0


CTLR_ENABLE_GRP0 = 1 << 0
CTLR_ENABLE_GRP1 = 1 << 1

# The same as plain integers: the lookup of an enum's member costs more than the access itself.
_CTLR, _SGIR = int(Gicd.CTLR), int(Gicd.SGIR)
_IGROUPR, _ICFGR = int(Gicd.IGROUPR), int(Gicd.ICFGR)
_ISENABLER, _ICENABLER = int(Gicd.ISENABLER), int(Gicd.ICENABLER)
_ISPENDR, _ICPENDR = int(Gicd.ISPENDR), int(Gicd.ICPENDR)
_ISACTIVER = int(Gicd.ISACTIVER)
_IPRIORITYR, _ITARGETSR = int(Gicd.IPRIORITYR), int(Gicd.ITARGETSR)
_CPENDSGIR, _SPENDSGIR = int(Gicd.CPENDSGIR), int(Gicd.SPENDSGIR)

_SGI_BITS = (1 << SGIS) - 1


class PendingInterrupt(NamedTuple):
    """The interrupt a distributor forwards: its ID, priority and group, and an SGI's sender."""

    intid: int
    priority: int
    group: int
    source_cpu: int = 0


class Distributor:
    """The distributor of `num_spis` SPIs and `num_cpus` CPUs; `cpu` says who accesses it.

    `stale` has a bit for each CPU whose interrupt inputs may have changed since they were last
    looked at, `stale_virtual` for its virtual ones: distributor and interfaces set them, `Gicv2`
    clears them.
    """

    def __init__(self, num_spis: int, num_cpus: int = 1, variant: GicVariant = QEMU_VIRT) -> None:
        if not 0 <= num_spis <= MAX_SPIS:
            raise ValueError(f"a GICv2 has 0 to {MAX_SPIS} SPIs, not {num_spis}")
        if not 1 <= num_cpus <= MAX_CPUS:
            raise ValueError(f"a GICv2 has 1 to {MAX_CPUS} CPUs, not {num_cpus}")
        self.num_spis = num_spis
        self.num_cpus = num_cpus
        self.variant = variant
        self.ctlr = 0
        self._everyone = (1 << num_cpus) - 1
        self._ids = PRIVATE + num_spis
        self._private = [
            InterruptBank(PRIVATE, enabled=_SGI_BITS, edge=_SGI_BITS) for _ in range(num_cpus)
        ]
        self._shared = InterruptBank(num_spis)
        # Bit i of _targets[cpu]: SPI i goes to that CPU.
        sole = self._shared.implemented if num_cpus == 1 else 0
        self._targets = [sole] * num_cpus
        # _sgi_sources[cpu][sgi]: a bit for each CPU whose SGI is pending at `cpu`.
        self._sgi_sources = [bytearray(SGIS) for _ in range(num_cpus)]
        self.stale = self._everyone
        self.stale_virtual = self._everyone
        # _best[cpu] is what is forwarded to that CPU, unless its bit in _unknown is set.
        self._best: list[PendingInterrupt | None] = [None] * num_cpus
        self._unknown = self._everyone

    def _touch(self, cpus: int) -> None:
        """What is forwarded to these CPUs may have changed."""
        self._unknown |= cpus
        self.stale |= cpus

    # What devices and CPU interfaces do.

    def set_level(self, intid: int, asserted: bool, cpu: int = 0) -> None:
        """Drive the input of a PPI (of `cpu`) or of an SPI."""
        if not SGIS <= intid < self._ids:
            raise ValueError(f"interrupt {intid} has no input here")
        bank, index = self._locate(intid, cpu)
        if bank.line >> index & 1 != asserted:
            bank.set_line(index, asserted)
            self._touch(1 << cpu if intid < PRIVATE else self._everyone)

    def highest_pending(self, cpu: int) -> PendingInterrupt | None:
        """The interrupt forwarded to `cpu`: HighestPriorityPendingInterrupt() of IHI 0048B."""
        if self._unknown >> cpu & 1:
            self._unknown &= ~(1 << cpu)
            self._best[cpu] = self._find_highest_pending(cpu)
        return self._best[cpu]

    def _find_highest_pending(self, cpu: int) -> PendingInterrupt | None:
        if not self.ctlr:
            return None
        groups = (bool(self.ctlr & CTLR_ENABLE_GRP0), bool(self.ctlr & CTLR_ENABLE_GRP1))
        private = self._private[cpu]
        own = private.candidates(groups)
        shared = self._shared.candidates(groups) & self._targets[cpu]
        if not own and not shared:
            return None
        intid = -1
        if own:
            intid = private.best(own)
        if shared:
            spi = self._shared.best(shared)
            if intid < 0 or self._shared.priority[spi] < private.priority[intid]:
                intid = PRIVATE + spi
        bank, index = self._locate(intid, cpu)
        source = _lowest_bit(self._sgi_sources[cpu][intid]) if intid < SGIS else 0
        return PendingInterrupt(intid, bank.priority[index], bank.group >> index & 1, source)

    def acknowledge(self, interrupt: PendingInterrupt, cpu: int) -> None:
        """Pending becomes active; an SGI stays pending too while another CPU's is."""
        intid = interrupt.intid
        bank, index = self._locate(intid, cpu)
        bank.active |= 1 << index
        if intid < SGIS:
            self._clear_sgi(cpu, intid, 1 << interrupt.source_cpu)
        else:
            bank.latched &= ~(1 << index)
        self._touch(1 << cpu if intid < PRIVATE else self._everyone)

    def deactivate(self, intid: int, cpu: int) -> None:
        """Active becomes inactive; nothing happens to an ID that is not implemented."""
        if intid < self._ids:
            bank, index = self._locate(intid, cpu)
            bank.active &= ~(1 << index)
            self._touch(1 << cpu if intid < PRIVATE else self._everyone)

    def first_target(self, intid: int) -> int:
        """The lowest CPU that an SPI goes to; 0 if it goes to none."""
        for cpu in range(self.num_cpus):
            if self._targets[cpu] >> (intid - PRIVATE) & 1:
                return cpu
        return 0

    def group_of(self, intid: int, cpu: int) -> int:
        """0 or 1: the group of an interrupt; 0 of one that is not implemented."""
        if intid >= self._ids:
            return 0
        bank, index = self._locate(intid, cpu)
        return bank.group >> index & 1

    def _locate(self, intid: int, cpu: int) -> tuple[InterruptBank, int]:
        if intid < PRIVATE:
            return self._private[cpu], intid
        return self._shared, intid - PRIVATE

    # Registers.

    def read(self, offset: int, size: int, cpu: int) -> int:
        """A register, as `cpu` sees it."""
        if size == 4 and offset % 4 == 0:
            return self._read_word(offset, cpu)
        if size == 1 and _has_byte_access(offset):
            return self._read_byte(offset, cpu)
        return 0

    def write(self, offset: int, size: int, value: int, cpu: int) -> None:
        """A register, written by `cpu`."""
        if size == 4 and offset % 4 == 0:
            self._write_word(offset, value & 0xFFFF_FFFF, cpu)
        elif size == 1 and _has_byte_access(offset):
            self._write_byte(offset, value & 0xFF, cpu)
            self._touch(self._everyone)

    def _read_word(self, offset: int, cpu: int) -> int:
        if _IGROUPR <= offset < _IPRIORITYR:
            return self._read_bits(offset, cpu)
        if _has_byte_access(offset):
            return sum(self._read_byte(offset + i, cpu) << 8 * i for i in range(4))
        if _ICFGR <= offset < _ICFGR + 0x100:
            bank, first = self._word(offset - _ICFGR, 16, cpu)
            return _spread(bank.edge >> first & 0xFFFF)
        if Gicd.PIDR0 <= offset < Gicd.PIDR0 + 16:
            return _PERIPHERAL_ID[(offset - Gicd.PIDR0) // 4]
        if Gicd.CIDR0 <= offset < Gicd.CIDR0 + 16:
            return _COMPONENT_ID[(offset - Gicd.CIDR0) // 4]
        match offset:
            case Gicd.CTLR:
                return self.ctlr
            case Gicd.TYPER:
                # ITLinesNumber: 32(N+1) interrupt IDs. Neither SecurityExtn nor LSPI.
                lines = (PRIVATE + self.num_spis + 31) // 32 - 1
                return lines | (self.num_cpus - 1) << 5
            case Gicd.IIDR:
                return self.variant.distributor_iidr
            case Gicd.PIDR4:
                return 0x04  # JEP106 continuation code of Arm
        return 0

    def _write_word(self, offset: int, value: int, cpu: int) -> None:
        if _IGROUPR <= offset < _IPRIORITYR:
            self._write_bits(offset, value, cpu)
            return
        if offset == _SGIR:
            self._write_sgir(value, cpu)
            return
        if _has_byte_access(offset):
            for i in range(4):
                self._write_byte(offset + i, value >> 8 * i & 0xFF, cpu)
        elif _ICFGR <= offset < _ICFGR + 0x100:
            self._write_icfgr(offset, value, cpu)
        elif offset == _CTLR:
            self.ctlr = value & (CTLR_ENABLE_GRP0 | CTLR_ENABLE_GRP1)
        self._touch(self._everyone)

    def _word(self, byte_offset: int, per_word: int, cpu: int) -> tuple[InterruptBank, int]:
        """Bank and first index of the interrupts that a word of a bit array stands for."""
        intid = byte_offset // 4 * per_word
        return self._locate(intid, cpu)

    def _read_bits(self, offset: int, cpu: int) -> int:
        array = offset & ~0x7F
        bank, first = self._word(offset - array, 32, cpu)
        if array >= _ISACTIVER:
            bits = bank.active
        elif array >= _ISPENDR:
            bits = bank.pending
        elif array >= _ISENABLER:
            bits = bank.enabled
        else:
            bits = bank.group
        return bits >> first & 0xFFFF_FFFF

    def _write_bits(self, offset: int, value: int, cpu: int) -> None:
        array = offset & ~0x7F
        bank, first = self._word(offset - array, 32, cpu)
        bits = value << first & bank.implemented
        # SGIs are always enabled, and made pending only by GICD_SGIR and GICD_SPENDSGIRn.
        not_sgis = bits if bank is self._shared else bits & ~_SGI_BITS
        if array == _IGROUPR:
            whole = 0xFFFF_FFFF << first & bank.implemented
            bank.group = bank.group & ~whole | bits
        elif array == _ISENABLER:
            bank.enabled |= not_sgis
        elif array == _ICENABLER:
            bank.enabled &= ~not_sgis
        elif array == _ISPENDR:
            bank.latched |= not_sgis
        elif array == _ICPENDR:
            bank.latched &= ~not_sgis
        elif array == _ISACTIVER:
            bank.active |= bits
        else:
            bank.active &= ~bits
        self._touch(self._everyone if bank is self._shared else 1 << cpu)

    def _write_icfgr(self, offset: int, value: int, cpu: int) -> None:
        if offset == _ICFGR:
            return  # SGIs are edge-triggered
        bank, first = self._word(offset - _ICFGR, 16, cpu)
        whole = 0xFFFF << first & bank.implemented
        bank.edge = bank.edge & ~whole | _gather(value) << first & whole

    def _read_byte(self, offset: int, cpu: int) -> int:
        if offset >= _CPENDSGIR:
            return self._sgi_sources[cpu][offset % SGIS]
        intid = offset % 0x400
        if intid >= self._ids:
            return 0
        bank, index = self._locate(intid, cpu)
        if offset < _ITARGETSR:
            return bank.priority[index]
        if self.num_cpus == 1:
            return 0
        if intid < PRIVATE:
            return 1 << cpu
        return sum((self._targets[c] >> index & 1) << c for c in range(self.num_cpus))

    def _write_byte(self, offset: int, value: int, cpu: int) -> None:
        if offset >= _SPENDSGIR:
            self._set_sgi(cpu, offset % SGIS, value & self._everyone)
            return
        if offset >= _CPENDSGIR:
            self._clear_sgi(cpu, offset % SGIS, value)
            return
        intid = offset % 0x400
        if intid >= self._ids:
            return
        bank, index = self._locate(intid, cpu)
        if offset < _ITARGETSR:
            bank.priority[index] = value & self.variant.priority_mask
        elif intid >= PRIVATE and self.num_cpus > 1:
            for c in range(self.num_cpus):
                kept = self._targets[c] & ~(1 << index)
                self._targets[c] = kept | (value >> c & 1) << index

    # Software-generated interrupts.

    def _write_sgir(self, value: int, cpu: int) -> None:
        everyone = self._everyone
        match value >> 24 & 3:  # TargetListFilter
            case 0b00:
                targets = value >> 16 & everyone  # CPUTargetList
            case 0b01:
                targets = everyone & ~(1 << cpu)
            case 0b10:
                targets = 1 << cpu
            case _:
                targets = 0  # reserved
        for target in range(self.num_cpus):
            if targets >> target & 1:
                self._set_sgi(target, value & 0xF, 1 << cpu)

    def _set_sgi(self, target: int, sgi: int, sources: int) -> None:
        self._sgi_sources[target][sgi] |= sources
        self._latch_sgi(target, sgi)

    def _clear_sgi(self, target: int, sgi: int, sources: int) -> None:
        self._sgi_sources[target][sgi] &= ~sources
        self._latch_sgi(target, sgi)

    def _latch_sgi(self, target: int, sgi: int) -> None:
        bank = self._private[target]
        pending = self._sgi_sources[target][sgi] != 0
        bank.latched = bank.latched & ~(1 << sgi) | pending << sgi
        self._touch(1 << target)

    # State.

    def save(self) -> State:
        """The whole state."""
        return {
            "ctlr": self.ctlr,
            "private": [bank.save() for bank in self._private],
            "shared": self._shared.save(),
            "targets": list(self._targets),
            "sgi_sources": b"".join(self._sgi_sources).hex(),
        }

    def restore(self, state: Mapping[str, object]) -> None:
        """Become what was saved."""
        self.ctlr = saved_int(state, "ctlr")
        for bank, part in zip(self._private, saved_parts(state, "private"), strict=True):
            bank.restore(part)
        self._shared.restore(saved_part(state, "shared"))
        self._targets = saved_ints(state, "targets")
        sources = saved_bytes(state, "sgi_sources")
        self._sgi_sources = [bytearray(sources[i : i + SGIS]) for i in range(0, len(sources), SGIS)]
        self._touch(self._everyone)


def _has_byte_access(offset: int) -> bool:
    return _IPRIORITYR <= offset < _ICFGR or _CPENDSGIR <= offset < _CPENDSGIR + 32


def _lowest_bit(bits: int) -> int:
    return (bits & -bits).bit_length() - 1 if bits else 0


def _spread(bits: int) -> int:
    """Sixteen bits as the Int_config[1] bits of a GICD_ICFGRn."""
    return sum((bits >> i & 1) << 2 * i + 1 for i in range(16))


def _gather(word: int) -> int:
    """The Int_config[1] bits of a GICD_ICFGRn as sixteen bits."""
    return sum((word >> 2 * i + 1 & 1) << i for i in range(16))

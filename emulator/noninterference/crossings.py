# SPDX-License-Identifier: Apache-2.0
"""What VMs see of a run: everything that a vCPU finds when EL2 enters it, and how it left.

It knows the architecture, and no hypervisor: a VM is a VMID in VTTBR_EL2, a vCPU what VMPIDR_EL2
shows. What a vCPU cannot read, since it traps, is left out.
"""

import ctypes as c
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from aether_edgecloud.emulator.arch import decode as a64
from aether_edgecloud.emulator.arch import sysregs, traps
from aether_edgecloud.emulator.arch.esr import ExceptionClass
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.cpu.exits import is_interrupt, kind_name
from aether_edgecloud.emulator.cpu.register_image import RegisterImage
from aether_edgecloud.emulator.devices.generic_timer import TimerRegister
from aether_edgecloud.emulator.devices.gicv2_virtual import LIST_REGISTERS
from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.emulator.noninterference.memory import GuestMemory, Region

ENTRY = -1
"""The kind of a crossing into a vCPU; any other is that of an exception to EL2."""

_VMID_SHIFT, _VMID_MASK = 48, 0xFF
_AFFINITY = 0xFF_00FF_FFFF
_KIND_MASK = 0xFF  # of hook_state.last_exception
_CROSSING_FN = c.CFUNCTYPE(None, c.c_uint64)
_FIRST_STORED = 2  # MPIDR_EL1 and the hidden bits of HCR_EL2, which are looked at elsewhere

_HAS_FAR = (
    ExceptionClass.INSTRUCTION_ABORT_LOWER,
    ExceptionClass.DATA_ABORT_LOWER,
    ExceptionClass.PC_ALIGNMENT,
)
_ABORTS = _HAS_FAR[:2]
_STAGE2_FAULTS = (0b000100, 0b001000, 0b001100)  # translation, access flag, permission


def _system(*names: str) -> tuple[reg.SystemRegister, ...]:
    return tuple(reg.SystemRegister(name, *sysregs.by_name(name).encoding) for name in names)


_GUEST = _system(
    "SCTLR_EL1", "CPACR_EL1", "TTBR0_EL1", "TTBR1_EL1", "TCR_EL1", "SPSR_EL1", "PAR_EL1",
    "MAIR_EL1", "CONTEXTIDR_EL1", "TPIDR_EL1", "TPIDR_EL0", "TPIDRRO_EL0", "CNTKCTL_EL1",
    "CSSELR_EL1",
)  # fmt: skip
_CONTROLS = _system(
    "HCR_EL2", "CPTR_EL2", "MDCR_EL2", "HSTR_EL2", "CNTHCTL_EL2", "VPIDR_EL2", "VMPIDR_EL2"
)
_CORE = (*reg.X, reg.SP_BANK[0], reg.SP_BANK[1])
_BANKED = (reg.ELR[1], reg.ESR[1], reg.FAR[1], reg.VBAR[1])
_PENDING = "HCR_EL2.{VI, VF, VSE}"
_EXTRA_ENTRY = (
    *(_PENDING, "CNTVOFF_EL2", "CNTV_CTL_EL0", "CNTV_CVAL_EL0"),
    *("GICH_HCR", "GICV_CTLR", "GICV_PMR", "GICV_BPR", "GICV_ABPR", "GICH_APR"),
    *(f"GICH_LR{n}" for n in range(LIST_REGISTERS)),
)
_EXTRA_EXIT = ("pc", "ESR_EL2", "FAR_EL2", "HPFAR_EL2")
TIME = "time"
"""The name of a crossing's system counter among the values that are compared."""


class Vcpu(NamedTuple):
    """A vCPU: VMID of VTTBR_EL2, affinity fields of VMPIDR_EL2."""

    vmid: int
    affinity: int


@dataclass(frozen=True, slots=True)
class Crossing:
    """A vCPU is entered, or has left. `number` counts those of the vCPU from 0, `position` is that
    of the first instruction on the other side, `counter` the system counter there. The rest is what
    is compared: `kind`, images of registers, further values, a digest of memory (or nothing)."""

    vcpu: Vcpu
    number: int
    kind: int
    cpu: int
    position: int
    counter: int
    registers: bytes
    vectors: bytes
    extra: tuple[int, ...]
    memory: bytes = b""

    def is_same(self, other: "Crossing") -> bool:
        """Whether the vCPU sees the same."""
        return (
            self.registers == other.registers
            and self.extra == other.extra
            and self.vectors == other.vectors
            and self.memory == other.memory
            and self.kind == other.kind
        )

    def packed(self) -> bytes:
        """What is compared, as bytes."""
        numbers = b"".join(value.to_bytes(8, "little") for value in self.extra)
        return b"".join(
            (bytes([self.kind & 0xFF]), self.registers, numbers, self.vectors, self.memory)
        )

    @property
    def words(self) -> str:
        """What kind of crossing it is."""
        return "entry" if self.kind == ENTRY else f"exit by {kind_name(self.kind)}"


class _Look:
    """Reads one CPU."""

    def __init__(self, machine: Machine, number: int) -> None:
        self.cpu = machine.cpus[number]
        self.number = number
        engine = self.cpu.engine
        self.who = RegisterImage(engine, (reg.PSTATE,), (reg.VTTBR_EL2, reg.VMPIDR_EL2))
        self.entry = RegisterImage(
            engine, (*_CORE, *_BANKED, reg.PC, reg.PSTATE), (*_GUEST, *_CONTROLS)
        )
        self.exit = RegisterImage(engine, _CORE, (reg.SPSR_EL2,))
        self.syndrome = engine.batch([reg.ESR[2], reg.FAR[2], reg.HPFAR_EL2])
        self.vectors = RegisterImage(engine, (reg.FPCR, reg.FPSR), (), reg.V)
        self.timer = self.cpu.system_registers.timer
        self.gic = machine.devices.gic.virtual_cpu_interface(number)


class CrossingLog:
    """Collects the crossings of some VMs while a machine runs; it changes nothing in the run.

    `vmids` are the VMs. Without `is_timed` nothing that depends on time is taken in: no counter, no
    timer, no virtual interrupt, and of exits only those that the vCPU makes by itself, WFI apart.
    `looks_at_memory` says of a vCPU and the number of one of its entries whether its memory is
    looked at there; it is then in the crossing as a digest. At the crossing `copied_at` all of it
    is kept in `copied`.
    """

    def __init__(
        self,
        machine: Machine,
        vmids: frozenset[int],
        *,
        is_timed: bool = True,
        looks_at_memory: Callable[[Vcpu, int], bool] | None = None,
        copied_at: tuple[Vcpu, int] | None = None,
    ) -> None:
        self.pending: dict[Vcpu, deque[Crossing]] = {}
        """By vCPU, until somebody takes them out."""
        self.on_other_entry: Callable[[Vcpu, int, int], None] | None = None
        """Told of each entry of another VM's vCPU: on which CPU, at which PC."""
        self.memory = GuestMemory(machine)
        self.regions: dict[int, tuple[Region, ...]] = {}
        """By VMID: its memory when it was looked at last."""
        self.copied: dict[int, bytes] | None = None
        self._machine = machine
        self._vmids = vmids
        self._is_timed = is_timed
        self._looks_at_memory = looks_at_memory
        self._copied_at = copied_at
        self._counts: dict[Vcpu, int] = {}
        self._left_by_itself: dict[Vcpu, bool] = {}
        self._readable: dict[tuple[object, ...], tuple[int, ...]] = {}
        self._looks = [_Look(machine, number) for number in range(len(machine.cpus))]
        self._callbacks = [_CROSSING_FN(self._told(look)) for look in self._looks]
        for cpu, callback in zip(machine.cpus, self._callbacks, strict=True):
            cpu.state.on_crossing = c.cast(callback, c.c_void_p).value

    def close(self) -> None:
        """Collect nothing any more."""
        for cpu in self._machine.cpus:
            cpu.state.on_crossing = None

    def values(self, crossing: Crossing) -> dict[str, int]:
        """What is compared of a crossing, by name; memory and kind apart."""
        look = self._looks[crossing.cpu]
        is_entry = crossing.kind == ENTRY
        found = (look.entry if is_entry else look.exit).decode(crossing.registers)
        extra = list(crossing.extra)
        if self._is_timed:
            found[TIME] = extra.pop(0)
        names = _EXTRA_ENTRY if is_entry else _EXTRA_EXIT
        if not is_entry or self._is_timed:
            found |= dict(zip(names, extra, strict=False))
            del extra[: len(names)]
        for key, value in zip(extra[::2], extra[1::2], strict=True):
            fields = (key >> 14 & 3, key >> 11 & 7, key >> 7 & 15, key >> 3 & 15, key & 7)
            known = sysregs.by_encoding(*fields)
            found["S{}_{}_C{}_C{}_{}".format(*fields) if known is None else known.name] = value
        if crossing.vectors:
            found |= look.vectors.decode(crossing.vectors)
        return {name if name == TIME else name.upper(): value for name, value in found.items()}

    def _told(self, look: _Look) -> Callable[[int], None]:
        def crossing(pc: int) -> None:
            try:
                self._crossing(look, pc)
            except BaseException as error:  # C cannot carry it
                look.cpu.engine.fail(error)

        return crossing

    def _crossing(self, look: _Look, pc: int) -> None:
        who = look.who.decode(look.who.read())
        vmid = who["vttbr_el2"] >> _VMID_SHIFT & _VMID_MASK
        vcpu = Vcpu(vmid, who["vmpidr_el2"] & _AFFINITY)
        is_entry = who["pstate"] >> 2 & 3 < 2
        if vmid not in self._vmids:
            if is_entry and self.on_other_entry is not None:
                self.on_other_entry(vcpu, look.number, pc)
            return
        kind = ENTRY if is_entry else int(look.cpu.state.last_exception) & _KIND_MASK
        if not self._is_timed and not self._counts_without_time(vcpu, kind):
            return
        number = self._counts.get(vcpu, 0)
        self._counts[vcpu] = number + 1
        state = look.cpu.state
        counter = int(state.counter_skipped + state.retired // state.instructions_per_tick)
        position = int(state.others_retired + state.retired)
        extra: list[int] = [counter] if self._is_timed else []
        memory = b""
        if is_entry:
            registers = look.entry.read()
            if self._is_timed:
                extra += _time_and_interrupts(look)
            extra += self._stored(look.cpu)
            if self._looks_at_memory is not None and self._looks_at_memory(vcpu, number):
                self.regions[vmid] = regions = self.memory.regions(look.cpu)
                memory = self.memory.digest(regions)
            if self._copied_at == (vcpu, number):
                self.copied = self.memory.copy(self.memory.regions(look.cpu))
        else:
            registers = look.exit.read()
            extra += (pc, *_syndrome(look, kind))
        vectors = look.vectors.read() if self._has_vectors(look.cpu) else b""
        found = Crossing(
            *(vcpu, number, kind, look.number, position, counter),
            *(registers, vectors, tuple(extra), memory),
        )
        self.pending.setdefault(vcpu, deque()).append(found)

    def _counts_without_time(self, vcpu: Vcpu, kind: int) -> bool:
        if kind == ENTRY:
            return self._left_by_itself.get(vcpu, True)
        by_itself = not is_interrupt(kind) and kind != ExceptionClass.WFX
        self._left_by_itself[vcpu] = by_itself
        return by_itself

    def _has_vectors(self, cpu: Cpu) -> bool:
        return not cpu.native(reg.CPTR_EL2) & traps.CPTR_TFP

    def _stored(self, cpu: Cpu) -> list[int]:
        """Registers that Unicorn does not have: encoding and value of each that EL1 can read."""
        stored = cpu.system_registers.stored
        if len(stored) <= _FIRST_STORED:
            return []
        controls = cpu.trap_controls()
        shape = (controls.mdcr_el2, controls.hcr_el2, *stored)
        keys = self._readable.get(shape)
        if keys is None:
            keys = tuple(key for key in sorted(stored) if _is_readable(key, controls))
            self._readable[shape] = keys
        return [part for key in keys for part in (key, stored[key])]


def _time_and_interrupts(look: _Look) -> list[int]:
    timer, gic = look.timer, look.gic
    return [
        look.cpu.system_registers.hidden(reg.HCR_EL2),
        timer.virtual_offset,
        timer.read(TimerRegister.CNTV_CTL_EL0, 0) & 3,
        timer.read(TimerRegister.CNTV_CVAL_EL0, 0),
        gic.hcr,
        gic.ctlr,
        gic.pmr,
        gic.bpr,
        gic.abpr,
        gic.active_priorities,
        *(gic.list_register(n) for n in range(LIST_REGISTERS)),
    ]


def _syndrome(look: _Look, kind: int) -> tuple[int, int, int]:
    """ESR_EL2, FAR_EL2 and HPFAR_EL2, each if this exception has set it."""
    if is_interrupt(kind):
        return 0, 0, 0
    esr, far, hpfar = look.syndrome.read()
    has_hpfar = kind in _ABORTS and esr & 0b111100 in _STAGE2_FAULTS
    return esr, far if kind in _HAS_FAR else 0, hpfar if has_hpfar else 0


def _is_readable(key: int, controls: traps.TrapControls) -> bool:
    fields = (key >> 14 & 3, key >> 11 & 7, key >> 7 & 15, key >> 3 & 15, key & 7)
    if sysregs.by_encoding(*fields) is None or fields[1] > 3:
        return False
    access = a64.SysRegAccess(*fields, 0, True)
    return isinstance(traps.check_sysreg(access, 1, controls), traps.Allowed)

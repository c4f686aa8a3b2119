# SPDX-License-Identifier: Apache-2.0
"""Registers, by field, and what the last step changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aether_edgecloud.emulator.arch import fields
from aether_edgecloud.emulator.arch.esr import describe
from aether_edgecloud.emulator.arch.fields import FieldValue
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.report.machine_state import read_register, register_names

if TYPE_CHECKING:
    from aether_edgecloud.emulator.replay.replay import Replay

_EL1 = (
    "SCTLR_EL1", "TCR_EL1", "TTBR0_EL1", "TTBR1_EL1", "MAIR_EL1", "CPACR_EL1", "VBAR_EL1",
    "ESR_EL1", "ELR_EL1", "SPSR_EL1", "FAR_EL1", "CONTEXTIDR_EL1", "TPIDR_EL1",
    "CNTKCTL_EL1", "CNTV_CTL_EL0", "CNTV_CVAL_EL0",
)  # fmt: skip
_EL2 = (
    "HCR_EL2", "ESR_EL2", "ELR_EL2", "SPSR_EL2", "FAR_EL2", "HPFAR_EL2", "VTTBR_EL2", "VTCR_EL2",
    "SCTLR_EL2", "TCR_EL2", "TTBR0_EL2", "MAIR_EL2", "VBAR_EL2", "TPIDR_EL2", "CPTR_EL2",
    "MDCR_EL2", "VMPIDR_EL2", "CNTHCTL_EL2", "CNTVOFF_EL2", "CNTHP_CTL_EL2", "CNTHP_CVAL_EL2",
)  # fmt: skip
_EL0 = ("TPIDR_EL0", "TPIDRRO_EL0", "FPCR", "FPSR")
_VMID_SHIFT, _VMID_MASK = 48, 0xFF
_POINTERS = ("ELR_EL2", "VBAR_EL2", "TPIDR_EL2", "FAR_EL2")
_OF_GUESTS_TOO = ("ELR_EL2", "FAR_EL2")


@dataclass(frozen=True, slots=True)
class RegisterView:
    """A register: `before` is its value before the instruction that led to the cursor, if another.
    `fields` in the order of the Arm ARM, empty where it has none; `note` says what it points to or
    means."""

    name: str
    value: int
    before: int | None = None
    fields: tuple[FieldValue, ...] = ()
    note: str | None = None
    width: int = 64

    @property
    def is_changed(self) -> bool:
        """Whether the last step changed it."""
        return self.before is not None


@dataclass(frozen=True, slots=True)
class CpuView:
    """One CPU. `general` is X0 to X30, SP, PC, PSTATE; `vectors` is empty unless asked for.
    `activity` says what it does, `vmid` that of VTTBR_EL2 and `vm` its name, if it has one;
    `counter` is the system counter as it sees it."""

    cpu: int
    el: int
    pc: int
    symbol: str | None
    vmid: int
    vm: str | None
    activity: str
    retired: int
    counter: int
    general: tuple[RegisterView, ...]
    system: tuple[RegisterView, ...]
    vectors: tuple[RegisterView, ...] = ()


def system_names(el: int) -> tuple[str, ...]:
    """Those that matter most at an EL, first those of that EL."""
    return (*_EL2, *_EL1, *_EL0) if el == 2 else (*_EL1, *_EL2, *_EL0)


def registers(
    replay: "Replay",
    *,
    cpu: int | None = None,
    system: Sequence[str] | None = None,
    vectors: bool = False,
    changes: bool = True,
) -> CpuView:
    """The registers of a CPU (the cursor's). `system` by architectural name; by default those that
    matter at its EL. Without `changes` nothing is said about the last step, which is cheaper.
    UserError for a register or a CPU that is not there."""
    number = replay.cpu if cpu is None else cpu
    machine = replay.machine
    if not 0 <= number < len(machine.cpus):
        raise UserError(f"there is no CPU {number}", fix=f"use 0 to {len(machine.cpus) - 1}")
    core = machine.cpus[number]
    el = core.current_el
    names = system_names(el) if system is None else register_names(system)
    now = _values(core, names, vectors=vectors)
    before = (
        replay.look_back(lambda at: _values(at.machine.cpus[number], names, vectors=vectors))
        if changes
        else None
    ) or now

    def view(name: str) -> RegisterView:
        value, old = now[name], before.get(name, now[name])
        changed = None if old == value else old
        width = 128 if name.startswith("V") and name[1:].isdigit() else 64
        return RegisterView(
            name, value, changed, _fields(name, value), _note(replay, name, value, el), width
        )

    vmid = core.native(reg.VTTBR_EL2) >> _VMID_SHIFT & _VMID_MASK
    general = [name for name in now if name in _GENERAL]
    return CpuView(
        number,
        el,
        core.pc,
        replay.symbols.at(core.pc) if el == 2 else None,
        vmid,
        vm_name(replay, vmid),
        machine.activity(number),
        core.retired,
        machine.counter_of(number),
        tuple(view(name) for name in general),
        tuple(view(name) for name in names if name in now),
        tuple(view(f"V{n}") for n in range(32)) if vectors else (),
    )


def vm_name(replay: "Replay", vmid: int) -> str | None:
    """What a VM is called; None for no VM, and one that nobody named."""
    return replay.vms[vmid - 1] if 0 < vmid <= len(replay.vms) else None


_GENERAL = (*(f"X{n}" for n in range(31)), "SP", "PC", "PSTATE")


def _values(core: Cpu, names: Sequence[str], *, vectors: bool) -> dict[str, int]:
    x = core.registers()
    values = dict(zip(_GENERAL, (*x, core.pc, core.engine.read(reg.PSTATE)), strict=True))
    for name in names:
        value = read_register(core, name)
        if value is not None:
            values[name] = value
    if vectors:
        for number, text in enumerate(core.engine.read_vectors()):
            values[f"V{number}"] = int(text, 16)
    return values


def _fields(name: str, value: int) -> tuple[FieldValue, ...]:
    known = "SPSR_EL2" if name == "PSTATE" else name
    if value >> 64 or not fields.has_fields(known):
        return ()
    return fields.fields(known, value)


def _note(replay: "Replay", name: str, value: int, el: int) -> str | None:
    if name.startswith("ESR_EL"):
        return describe(value) if value else None
    if name in _POINTERS or (el == 2 and name in _GENERAL):
        # Where a binary is linked a guest may have something of its own.
        program = replay.program
        is_ours = value in program.image if name in _OF_GUESTS_TOO else program.has(value)
        return replay.symbols.at(value) if is_ours else None
    return None

# SPDX-License-Identifier: Apache-2.0
"""The state of a machine in one hash: registers, memory, devices, time."""

import hashlib
import json

import numpy as np

from aether_edgecloud.emulator.arch import sysregs
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE
from aether_edgecloud.emulator.machine.machine import Machine

_CORE: tuple[reg.Register, ...] = (
    *reg.X,
    reg.SP,
    reg.PSTATE,
    *reg.SP_BANK[:3],
    *reg.ELR[1:3],
    *reg.ESR[1:3],
    *reg.FAR[1:3],
    *reg.VBAR[1:3],
    reg.FPCR,
    reg.FPSR,
)
# Unicorn answers for these with something else than PSTATE's fields.
_IN_PSTATE = ("CurrentEL", "NZCV", "DAIF", "SPSel")


def state_sha256(machine: Machine) -> str:
    """SHA-256 over what decides how the run goes on: registers, memory, devices, time, console.

    RAM enters as the number and content of each page that is not all zero. Not in it, because
    Unicorn does not show it: the state of the exclusive monitor.
    """
    digest = hashlib.sha256()
    core = machine.cpu.engine.batch(_CORE).read()
    values: dict[str, object] = {
        register.name: f"{value:#x}" for register, value in zip(_CORE, core, strict=True)
    }
    values["pc"] = f"{machine.cpu.pc:#x}"
    values["retired"] = machine.cpu.retired
    values["skipped"] = machine.clock.skipped
    values["stored"] = {f"{k:#x}": v for k, v in machine.cpu.system_registers.stored.items()}
    values["system"] = _system_registers(machine)
    values["vectors"] = machine.cpu.engine.read_vectors()
    values["empty_polls"] = machine.console.empty_polls
    values["devices"] = machine.devices.save()
    digest.update(json.dumps(values, sort_keys=True).encode())
    pages = np.frombuffer(machine.memory.bytes, dtype=np.uint64).reshape(-1, PAGE_SIZE // 8)
    for number in np.flatnonzero(pages.any(axis=1)):
        digest.update(int(number).to_bytes(8, "little"))
        digest.update(pages[number].tobytes())
    return digest.hexdigest()


def _system_registers(machine: Machine) -> dict[str, str]:
    """The system registers that the engine keeps."""
    values = {}
    for register in sysregs.SYSREGS:
        if register.model is sysregs.Model.NATIVE and register.name not in _IN_PSTATE:
            encoding = reg.SystemRegister(register.name, *register.encoding)
            value = machine.cpu.engine.read_if_present(encoding)
            if value is not None:
                values[register.name] = f"{value:#x}"
    return values

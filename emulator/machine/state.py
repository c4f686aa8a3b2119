# SPDX-License-Identifier: Apache-2.0
"""The state of a machine in one hash: registers, memory, devices, time."""

import hashlib
import json

from aether_edgecloud.emulator.arch import sysregs
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE
from aether_edgecloud.emulator.machine.machine import Machine
from aether_edgecloud.emulator.machine.nonzero_pages import nonzero_pages

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

    RAM enters as the number and content of each page that is not all zero.
    """
    digest = hashlib.sha256()
    values: dict[str, object] = {
        "cpus": [_cpu(cpu) for cpu in machine.cpus],
        "schedule": machine.save_schedule(),
        "empty_polls": machine.console.empty_polls,
        "devices": machine.devices.save(),
    }
    digest.update(json.dumps(values, sort_keys=True).encode())
    ram = machine.memory.bytes
    for number in nonzero_pages(machine.memory):
        digest.update(number.to_bytes(8, "little"))
        digest.update(ram[number * PAGE_SIZE : (number + 1) * PAGE_SIZE])
    return digest.hexdigest()


def _cpu(cpu: Cpu) -> dict[str, object]:
    core = cpu.engine.batch(_CORE).read()
    values: dict[str, object] = {
        register.name: f"{value:#x}" for register, value in zip(_CORE, core, strict=True)
    }
    values["pc"] = f"{cpu.pc:#x}"
    values["retired"] = cpu.retired
    values["stored"] = {f"{k:#x}": v for k, v in cpu.system_registers.stored.items()}
    values["system"] = _system_registers(cpu)
    values["vectors"] = cpu.engine.read_vectors()
    values["monitor"] = cpu.engine.monitor.read()
    return values


def _system_registers(cpu: Cpu) -> dict[str, str]:
    """The system registers that the engine keeps."""
    values = {}
    for register in sysregs.SYSREGS:
        if register.model is sysregs.Model.NATIVE and register.name not in _IN_PSTATE:
            encoding = reg.SystemRegister(register.name, *register.encoding)
            value = cpu.engine.read_if_present(encoding)
            if value is not None:
                values[register.name] = f"{value:#x}"
    return values

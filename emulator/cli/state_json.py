# SPDX-License-Identifier: Apache-2.0
"""A stopped machine as JSON: numbers in hexadecimal text, as registers and addresses are read.

format, version          "aether-machine-state", 1
why                      why the machine stopped
cpu, cpus                the CPU shown, and how many there are
instructions             that this CPU has retired
el, pc, sp, pstate       where it stands
x                        X0 to X30
registers                system registers: {NAME: {"value", "fields": {NAME: value}}}
stage2, el2              a map, or {"none": why there is none}:
                         {"root", "regions": [{"start", "end", "pa", "read", "write",
                         "exec_el1", "exec_el0", "memory", "levels"}], "malformed": count}
"""

import json

from aether_edgecloud.emulator.arch import fields
from aether_edgecloud.emulator.report.machine_state import MachineState, NoMap
from aether_edgecloud.stage2.decode import Decoded, Leaf


def render(state: MachineState) -> bytes:
    """The JSON text, in UTF-8, ended by a newline."""
    values: dict[str, object] = {
        "format": "aether-machine-state",
        "version": 1,
        "why": state.why,
        "cpu": state.cpu,
        "cpus": state.cpus,
        "instructions": state.instructions,
        "el": state.el,
        "pc": f"{state.pc:#x}",
        "sp": f"{state.sp:#x}",
        "pstate": f"{state.pstate:#x}",
        "x": [f"{value:#x}" for value in state.x],
        "registers": {r.name: _register(r.name, r.value) for r in state.registers},
        "stage2": _map(state.stage2),
        "el2": _map(state.el2),
    }
    return (json.dumps(values, indent=2) + "\n").encode()


def _register(name: str, value: int) -> dict[str, object]:
    found = {}
    if fields.has_fields(name):
        found = {f.name: f"{f.value:#x}" for f in fields.fields(name, value)}
    return {"value": f"{value:#x}", "fields": found}


def _map(decoded: Decoded | NoMap) -> dict[str, object]:
    if isinstance(decoded, NoMap):
        return {"none": decoded.why}
    return {
        "root": f"{decoded.geometry.root:#x}",
        "regions": [_region(leaf) for leaf in decoded.regions],
        "malformed": len(decoded.malformed),
    }


def _region(leaf: Leaf) -> dict[str, object]:
    return {
        "start": f"{leaf.ia:#x}",
        "end": f"{leaf.end - 1:#x}",
        "pa": f"{leaf.pa:#x}",
        "read": leaf.read,
        "write": leaf.write,
        "exec_el1": leaf.exec_el1,
        "exec_el0": leaf.exec_el0,
        "memory": str(leaf.memory),
        "levels": list(leaf.levels),
    }

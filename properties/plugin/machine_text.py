# SPDX-License-Identifier: Apache-2.0
"""A machine at the moment a test failed, as text: registers by field, and the stage-2 map with the
entry that the failure is about."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from aether_edgecloud.emulator.cli import output, render_state
from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.elf import symbols
from aether_edgecloud.emulator.machine import Stop, StopKind
from aether_edgecloud.emulator.report import machine_state
from aether_edgecloud.emulator.report.machine_state import NoMap, RegisterValue
from aether_edgecloud.properties.plugin import walk
from aether_edgecloud.properties.plugin.lab import Use
from aether_edgecloud.stage2.decode import LAST_LEVEL, Regime

REGISTERS = (
    "ESR_EL2", "ELR_EL2", "SPSR_EL2", "FAR_EL2", "HPFAR_EL2", "HCR_EL2", "SCTLR_EL2", "VBAR_EL2",
    "VTTBR_EL2", "VTCR_EL2", "ESR_EL1", "ELR_EL1", "SPSR_EL1", "FAR_EL1", "SCTLR_EL1",
)  # fmt: skip
_ABORTS_FROM_BELOW = (0x20, 0x24)
_CONSOLE_LINES = 12
_ENTRY = ("ia", "entry_pa", "level", "old", "new")


@dataclass(frozen=True, slots=True)
class Place:
    """What a failure is about: a CPU, where it was, and an entry of a table if it is about one: one
    of stage 2, or of EL2's own map."""

    cpu: int
    pc: int
    el: int
    ia: int | None = None
    entry_pa: int | None = None
    level: int | None = None
    old: int | None = None
    new: int | None = None
    regime: Regime = Regime.STAGE2


def place(use: Use, violation: Any) -> Place:
    """Where to look: at what the monitor has seen, else where the machine stands; there the IPA of
    a stage-2 fault that has just been taken."""
    machine = use.machine
    if violation is not None:
        number = int(violation.cpu)
        entry = {name: getattr(violation, name, None) for name in _ENTRY}
        is_el2 = entry["entry_pa"] is not None and violation.vmid is None
        regime = Regime.EL2 if is_el2 else Regime.STAGE2
        return Place(number, int(violation.pc), 2, **entry, regime=regime)
    stop = None if use.booted is None else use.booted.stop
    running = machine.save_schedule()["running"]
    number = running if isinstance(running, int) else 0 if stop is None else stop.cpu
    cpu = machine.cpus[number]
    return Place(number, cpu.pc, cpu.current_el, _faulting_ipa(cpu))


def registers(use: Use, at: Place) -> str:
    """All of a CPU that matters, by field."""
    stop = (None if use.booted is None else use.booted.stop) or Stop(StopKind.BREAK, 0, 0, 0)
    state = machine_state.read_state(use.machine, at.cpu, stop, REGISTERS)
    names = symbols.load(use.el2.elf, use.image)
    text, console = _page()
    where = names.at(state.pc) if state.el == 2 else None
    console.print(
        f"{use.el2.name} ({use.el2.image.sha256[:16]}), CPU {state.cpu} of {state.cpus}, after "
        f"{state.instructions:,} instructions at EL{state.el}{f' in {where}' if where else ''}: "
        + state.why,
        markup=False,
    )
    for other in range(state.cpus):
        if other != at.cpu:
            cpu = use.machine.cpus[other]
            console.print(f"CPU {other}: EL{cpu.current_el} at {cpu.pc:#x}", markup=False)
    render_state.print_general(state, names, console)
    for register in state.registers:
        if register.value:
            _print_register(register, names, console, own=state.returns_to_el2)
    return _finish(text)


def _print_register(
    register: RegisterValue, names: symbols.Symbols, console: Console, *, own: bool
) -> None:
    guests = register.name in ("ELR_EL2", "FAR_EL2") and not own
    render_state.print_register(register, None if guests else names, console, every_field=False)


def tables(use: Use, at: Place) -> str:
    """The map that the failure is about, and the entries for its address: that of stage 2, in use
    or not, unless it is about EL2's own."""
    cpu = use.machine.cpus[at.cpu]
    is_on = bool(_value(cpu, "HCR_EL2") & 1)
    if at.regime is Regime.EL2:
        decoded, title = machine_state.el2_tables(cpu, use.machine.memory), "EL2's own map"
    elif is_on or _value(cpu, "VTTBR_EL2"):
        decoded = machine_state.stage2_tables(cpu, use.machine.memory)
        title = "stage 2" if is_on else "stage 2 (off: HCR_EL2.VM is 0)"
    else:
        return "stage 2 is off"
    if isinstance(decoded, NoMap):
        return decoded.why
    text, console = _page()
    render_state.print_map(title, decoded, console, mark=at.ia)
    lines = list(_change(at))
    if at.ia is not None:
        lines.append(f"entries for {at.ia:#x}:")
        for entry in walk.entries(use.machine.memory.read64, decoded.geometry, at.ia):
            mark = "->" if entry.pa == at.entry_pa else "  "
            words = walk.describe(entry.descriptor, entry.level, at.regime)
            lines.append(f"{mark} level {entry.level} at {entry.pa:#x}: {words}")
    for line in lines:
        console.print(line, markup=False, highlight=False)
    return _finish(text)


def console_tail(use: Use) -> str:
    """The last lines of its console."""
    shown = use.machine.console.output.decode("latin-1").replace("\r\n", "\n").splitlines()
    return "\n".join(shown[-_CONSOLE_LINES:])


def _change(at: Place) -> Iterator[str]:
    """What was done to the entry."""
    if at.entry_pa is None:
        return
    level = LAST_LEVEL if at.level is None else at.level
    yield f"the entry at {at.entry_pa:#x}, level {level}:"
    for name, value in (("was", at.old), ("is now", at.new)):
        if value is not None:
            yield f"   {name:<7}{walk.describe(value, level, at.regime)}"


def _faulting_ipa(cpu: Cpu) -> int | None:
    """The IPA of the stage-2 fault that EL2 has taken and not yet returned from."""
    if cpu.current_el != 2 or _value(cpu, "ESR_EL2") >> 26 not in _ABORTS_FROM_BELOW:
        return None
    return _value(cpu, "HPFAR_EL2") >> 4 << 12 | _value(cpu, "FAR_EL2") & 0xFFF


def _value(cpu: Cpu, name: str) -> int:
    return machine_state.read_register(cpu, name) or 0


def _page() -> tuple[io.StringIO, Console]:
    text = io.StringIO()
    return text, output.wide(text)


def _finish(text: io.StringIO) -> str:
    return "\n".join(line.rstrip() for line in text.getvalue().strip("\n").splitlines())

# SPDX-License-Identifier: Apache-2.0
"""A stopped machine for the eye: registers by field, maps as regions."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from aether_edgecloud.emulator.arch import fields
from aether_edgecloud.emulator.arch.esr import describe
from aether_edgecloud.emulator.bundle import size
from aether_edgecloud.emulator.elf.symbols import Symbols
from aether_edgecloud.emulator.report.machine_state import MachineState, NoMap, RegisterValue
from aether_edgecloud.stage2.decode import Decoded, Leaf, Regime, Shareability

_X_COLUMNS = 4
_SHAREABILITY = {
    Shareability.NON: "non",
    Shareability.OUTER: "outer",
    Shareability.INNER: "inner",
    Shareability.RESERVED: "reserved",
}


_RETURN_ADDRESSES = ("ELR_EL2", "FAR_EL2")
"""Addresses of whoever took the last exception to EL2: often a guest's."""


def print_state(
    state: MachineState, symbols: Symbols, console: Console, *, every_field: bool
) -> None:
    """Prints all of it. With `every_field` fields that are zero are shown too."""
    _heading("stopped", console)
    where = symbols.at(state.pc) if state.el == 2 else None
    at = f" in [bold]{escape(where)}[/]" if where else ""
    who = f"CPU {state.cpu} of {state.cpus}, " if state.cpus > 1 else ""
    done = f"after {state.instructions:,} instructions"
    console.print(f"{who}{done} at EL{state.el}{at}: {state.why}")
    print_general(state, symbols, console)
    _heading("system registers", console)
    for register in state.registers:
        guests = register.name in _RETURN_ADDRESSES and not state.returns_to_el2
        print_register(register, None if guests else symbols, console, every_field=every_field)
    print_map("stage 2 of the VM", state.stage2, console)
    print_map("EL2's own map", state.el2, console)


def _heading(text: str, console: Console) -> None:
    console.print(Text(f"\n── {text} {'─' * max(0, 74 - len(text))}", style="cyan"))


def print_general(state: MachineState, symbols: Symbols, console: Console) -> None:
    """X0 to X30, SP, PC and PSTATE."""
    cells = [(f"x{n}", value) for n, value in enumerate(state.x)]
    cells += [("sp", state.sp), ("pc", state.pc)]
    for start in range(0, len(cells), _X_COLUMNS):
        line = Text()
        for name, value in cells[start : start + _X_COLUMNS]:
            line.append(f"{name:<3} ", style="dim").append(f"{value:016x}  ")
        console.print(line, soft_wrap=True)
    link = symbols.at(state.x[30]) if state.el == 2 else None
    if link is not None:
        console.print(Text.assemble(("x30 is ", "dim"), link), soft_wrap=True)
    flags = "  ".join(_field_words("SPSR_EL2", state.pstate, every_field=False))
    line = Text.assemble(("pstate ", "dim"), f"{state.pstate:08x}  ", (flags, "green"))
    console.print(line, soft_wrap=True)


def print_register(
    register: RegisterValue, symbols: Symbols | None, console: Console, *, every_field: bool
) -> None:
    """A system register by its fields. `symbols` is None for an address that is not EL2's own."""
    name, value = register.name, register.value
    line = Text.assemble((f"{name:<12}", "bold"), f" {value:#018x}")
    if name.startswith("ESR_EL"):
        line.append(f"  {describe(value)}" if value else "", style="dim")
    elif name.endswith("_EL2") and symbols is not None and (symbol := symbols.at(value)):
        line.append(f"  {symbol}", style="dim")
    console.print(line, soft_wrap=True)
    if fields.has_fields(name) and (value or every_field):
        words = _field_words(name, value, every_field=every_field)
        if words:
            console.print(Text("             " + "  ".join(words), style="green"), soft_wrap=True)


def _field_words(name: str, value: int, *, every_field: bool) -> list[str]:
    """`NAME=value (meaning)` of each field that is not zero, or of each."""
    words: list[str] = []
    for field in fields.fields(name, value):
        if not every_field and (not field.value or field.name in ("RES0", "RES1")):
            continue
        flag = field.hi == field.lo and field.value == 1
        text = field.name if flag else f"{field.name}={field.value:#x}"
        words.append(f"{text} ({field.meaning})" if field.meaning else text)
    return words


def print_map(
    title: str, decoded: Decoded | NoMap, console: Console, *, mark: int | None = None
) -> None:
    """A map by regions. The one that has the input address `mark` is pointed at."""
    _heading(title, console)
    if isinstance(decoded, NoMap):
        console.print(escape(decoded.why))
        return
    geometry = decoded.geometry
    console.print(
        f"root {geometry.root:#x}, {geometry.ia_bits}-bit input addresses from level"
        f" {geometry.start_level}, {len(decoded.tables)} tables"
    )
    regions = decoded.regions
    console.print(_map_table(regions, geometry.regime, mark) if regions else "nothing is mapped")
    if mark is not None and not any(leaf.ia <= mark < leaf.end for leaf in regions):
        console.print(f"[red]no entry maps {mark:#x}[/]")
    for bad in decoded.malformed:
        console.print(
            f"[red]level {bad.level} entry at {bad.entry:#x} for {bad.ia:#x}:"
            f" {bad.fault.value} ({bad.descriptor:#x})[/]"
        )


def _map_table(regions: tuple[Leaf, ...], regime: Regime, mark: int | None) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("IPA" if regime is Regime.STAGE2 else "VA", justify="right", no_wrap=True)
    table.add_column("to PA", justify="right", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    for heading in ("rights", "memory", "share", "levels"):
        table.add_column(heading, no_wrap=True)
    if mark is not None:
        table.add_column("", no_wrap=True)
    for leaf in regions:
        start = f"{leaf.ia:#x}-{leaf.end - 1:#x}"
        pa = "same" if leaf.pa == leaf.ia else f"{leaf.pa:#x}"
        rights = _rights(leaf, regime)
        style = "red" if leaf.write and (leaf.exec_el1 and regime is Regime.EL2) else ""
        table.add_row(
            start,
            pa,
            size.show(leaf.size),
            Text(rights, style=style),
            f"{leaf.memory}{'' if leaf.af else ' AF=0'}",
            _SHAREABILITY[leaf.shareability],
            ",".join(str(level) for level in leaf.levels),
            *([] if mark is None else ["<- here" if leaf.ia <= mark < leaf.end else ""]),
        )
    return table


def _rights(leaf: Leaf, regime: Regime) -> str:
    """`rwx`; in stage 2, where EL1 and EL0 may differ, x1 or x0 names the one that executes."""
    base = ("r" if leaf.read else "-") + ("w" if leaf.write else "-")
    if regime is Regime.EL2 or leaf.exec_el1 == leaf.exec_el0:
        return base + ("x" if leaf.exec_el1 else "-")
    return base + ("x1" if leaf.exec_el1 else "x0")

# SPDX-License-Identifier: Apache-2.0
"""A place in a recorded run for the eye."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from aether_edgecloud.emulator.bundle import size as byte_size
from aether_edgecloud.emulator.cli import output
from aether_edgecloud.emulator.cli.replay_request import View, Wanted
from aether_edgecloud.emulator.replay import parse
from aether_edgecloud.emulator.replay.conditions import Hit
from aether_edgecloud.emulator.replay.difference import Difference
from aether_edgecloud.emulator.replay.program import SourceLine
from aether_edgecloud.emulator.replay.replay import Replay
from aether_edgecloud.emulator.replay.views.backtrace import backtrace, stack
from aether_edgecloud.emulator.replay.views.code import Instruction, disassembly
from aether_edgecloud.emulator.replay.views.maps import Map, MapView, stage1_of, translation_map
from aether_edgecloud.emulator.replay.views.memory import memory
from aether_edgecloud.emulator.replay.views.registers import RegisterView, registers
from aether_edgecloud.emulator.replay.views.surroundings import (
    EventView,
    console_at,
    events_around,
)

_X_COLUMNS = 4
_LINE = 16
_MOST_PAGES = 8
_TITLES = {
    Map.STAGE2: "stage 2",
    Map.STAGE1_EL2: "stage 1 of EL2",
    Map.STAGE1_LOW: "stage 1 of EL1&0, TTBR0",
    Map.STAGE1_HIGH: "stage 1 of EL1&0, TTBR1",
}


def print_views(replay: Replay, wanted: Sequence[Wanted], cpu: int | None) -> None:
    """Where the cursor is, and what was asked for."""
    console = output.wide()
    _print_place(replay, cpu, console)
    for view in wanted:
        _print_view(replay, view, cpu, console)


def print_hits(replay: Replay, hits: Sequence[Hit]) -> None:
    """One a line, to be used as a link."""
    console = output.wide()
    for hit in hits:
        place = f"{replay.title}@{hit.moment.text}"
        console.print(f"{place}  {hit.words}", soft_wrap=True, markup=False)


def print_difference(a: Replay, b: Replay, found: Difference | None) -> None:
    """Where two runs part."""
    console = output.wide()
    if found is None:
        console.print(f"the runs are the same, to their end at {a.end:,}")
        return
    console.print(f"a  {a.title}@{found.position}", markup=False, soft_wrap=True)
    console.print(f"b  {b.title}@{found.position}", markup=False, soft_wrap=True)
    if found.ended:
        console.print(f"{found.ended} ends at {found.position:,}; they are the same up to there")
    elif not found.position:
        console.print("the runs part at reset")
    else:
        console.print(f"the runs part with the instruction at {found.position - 1:,}:")
        for name, replay in (("a", a), ("b", b)):
            replay.goto(found.position - 1)
            console.print(f"{name}: ", end="")
            _print_place(replay, None, console)
            replay.goto(found.position)
    for register in found.registers:
        values = ["none" if v is None else f"{v:#x}" for v in (register.a, register.b)]
        console.print(f"  CPU {register.cpu} {register.name:<14} a {values[0]}  b {values[1]}")
    if not found.has_memory:
        console.print("  RAM was not compared: the machines differ from the start")
    shown = ", ".join(f"{pa:#x}" for pa in found.pages[:_MOST_PAGES])
    if shown:
        more = len(found.pages) - _MOST_PAGES
        console.print(f"  pages that differ: {shown}" + (f" and {more} more" if more > 0 else ""))


def _heading(text: str, console: Console) -> None:
    console.print(Text(f"\n── {text} {'─' * max(0, 74 - len(text))}", style="cyan"))


def _print_place(replay: Replay, cpu: int | None, console: Console) -> None:
    view = registers(replay, cpu=cpu, system=(), changes=False)
    attempt = f", attempt {replay.attempt}" if replay.attempt else ""
    share = 100 * replay.position / replay.end if replay.end else 100
    console.print(f"position {replay.position:,} of {replay.end:,} ({share:.2f} %){attempt}")
    vm = "" if not view.vmid else f", VM {view.vmid}" + (f" ({view.vm})" if view.vm else "")
    symbol = f" in {view.symbol}" if view.symbol else ""
    source = replay.source_line(view.pc) if view.el == 2 else None
    line = f", {source.file}:{source.number}" if source else ""
    cpus = len(replay.machine.cpus)
    who = f"CPU {view.cpu} of {cpus}" if cpus > 1 else "CPU 0"
    console.print(
        f"{who} at EL{view.el}{vm}: {view.pc:#x}{symbol}{line}", markup=False, soft_wrap=True
    )
    failure = replay.failure
    if failure is not None and failure.position == replay.position:
        console.print(failure.text, style="red", markup=False, soft_wrap=True)


def _print_view(replay: Replay, wanted: Wanted, cpu: int | None, console: Console) -> None:
    match wanted.view:
        case View.REGISTERS:
            _print_registers(replay, cpu, console)
        case View.CODE:
            _heading("code", console)
            _print_code(disassembly(replay, cpu=cpu), console)
        case View.STAGE1:
            for found in stage1_of(replay, cpu=cpu):
                _print_map(found, console)
        case View.STAGE2:
            _print_map(translation_map(replay, Map.STAGE2, cpu=cpu), console)
        case View.BACKTRACE:
            _print_backtrace(replay, cpu, console)
        case View.STACK:
            _print_stack(replay, cpu, console)
        case View.MEMORY:
            _print_memory(replay, wanted, cpu, console)
        case View.CONSOLE:
            _heading("console up to here", console)
            text = console_at(replay).decode("utf-8", "replace")
            printable = "".join(c for c in text if c == "\n" or c.isprintable())
            console.print(printable, markup=False, soft_wrap=True)
        case View.EVENTS:
            _heading("events", console)
            early, late = events_around(replay)
            _print_events(early, console)
            console.print("   ──", style="cyan")
            _print_events(late, console)


def _print_registers(replay: Replay, cpu: int | None, console: Console) -> None:
    view = registers(replay, cpu=cpu)
    _heading("registers", console)
    for start in range(0, len(view.general), _X_COLUMNS):
        line = Text()
        for register in view.general[start : start + _X_COLUMNS]:
            mark = "*" if register.is_changed else " "
            style = "bold yellow" if register.is_changed else ""
            line.append(f"{register.name.lower():>6}", style="dim")
            line.append(f"{mark}{register.value:016x} ", style=style)
        console.print(line, soft_wrap=True)
    for register in view.general:
        if register.is_changed:
            console.print(_change(register), soft_wrap=True)
    for register in view.system:
        line = Text(f"{register.name:<16} {register.value:#018x}", style="")
        if register.is_changed:
            line.append(f"  was {register.before:#x}", style="bold yellow")
        if register.note:
            line.append(f"  {register.note}", style="dim")
        words = [
            f.name if f.hi == f.lo and f.value == 1 else f"{f.name}={f.value:#x}"
            for f in register.fields
            if f.value
        ]
        line.append("  " + " ".join(words) if words else "", style="green")
        console.print(line, soft_wrap=True)


def _change(register: RegisterView) -> Text:
    note = f"  {register.note}" if register.note else ""
    words = f"{register.name.lower():>6}* was {register.before:#x}{note}"
    return Text(words, style="bold yellow")


def _print_code(code: Sequence[Instruction], console: Console) -> None:
    function, line = None, None
    for instruction in code:
        name = (instruction.symbol or "").partition("+")[0]
        if name and name != function:
            console.print(f"{name}:", markup=False)
            function = name
        source = instruction.source
        is_assembly = source is not None and source.file.endswith((".S", ".s", ".asm"))
        if source is not None and source != line and not is_assembly:
            console.print(Text(f"      {_line(source)}", style="dim"), soft_wrap=True)
            line = source
        arrow = "->" if instruction.is_current else "  "
        word = "        " if instruction.word is None else f"{instruction.word:08x}"
        text = Text(f"{arrow} {instruction.va:#014x}  {word}  {instruction.text}")
        if instruction.target_symbol:
            text.append(f"  {instruction.target_symbol}", style="dim")
        if instruction.is_current:
            text.stylize("bold")
        console.print(text, soft_wrap=True)


def _line(source: SourceLine) -> str:
    return f"{source.file}:{source.number}  {source.text.strip()}".rstrip()


def _print_map(view: MapView, console: Console) -> None:
    _heading(_TITLES[view.which], console)
    if view.none:
        console.print(escape(view.none))
        return
    console.print(f"root {view.root:#x}, {view.tables} tables")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("IPA" if view.which is Map.STAGE2 else "VA", justify="right", no_wrap=True)
    is_ipa = view.which in (Map.STAGE1_LOW, Map.STAGE1_HIGH)
    table.add_column("to IPA" if is_ipa else "to PA", justify="right", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    for heading in ("rights", "memory", "owner", ""):
        table.add_column(heading, no_wrap=True)
    for region in view.regions:
        table.add_row(
            f"{region.start:#x}-{region.end - 1:#x}",
            "same" if region.pa == region.start else f"{region.pa:#x}",
            byte_size.show(region.end - region.start),
            region.rights,
            region.memory,
            region.owner or "",
            "<- here" if region.has_cursor else "",
        )
    console.print(table)
    for words in view.malformed:
        console.print(Text(words, style="red"))


def _print_backtrace(replay: Replay, cpu: int | None, console: Console) -> None:
    _heading("backtrace", console)
    for frame in backtrace(replay, cpu=cpu):
        source = f"  {frame.source.file}:{frame.source.number}" if frame.source else ""
        kind = "" if frame.kind in ("pc", "frame") else f"  ({frame.kind})"
        console.print(
            f"#{frame.number:<2} EL{frame.el} {frame.pc:#x}  {frame.symbol or ''}{source}{kind}",
            markup=False,
            soft_wrap=True,
        )


def _print_stack(replay: Replay, cpu: int | None, console: Console) -> None:
    _heading("stack", console)
    for word in stack(replay, cpu=cpu):
        value = "?" * 16 if word.value is None else f"{word.value:016x}"
        console.print(f"{word.va:#014x}  {value}  {word.symbol or ''}", markup=False)


def _print_memory(replay: Replay, wanted: Wanted, cpu: int | None, console: Console) -> None:
    space, start, size = parse.range_of(replay, wanted.text, wanted.size)
    view = memory(replay, start, size, space, cpu=cpu, changes=True)
    _heading(f"memory {space.value}:{start:#x}", console)
    data = view.data
    for offset in range(0, size, _LINE):
        line = Text(f"{start + offset:#014x} ")
        row = data[offset : offset + _LINE]
        for n, byte in enumerate(row):
            style = "bold yellow" if offset + n in view.changed else ""
            line.append(" ??" if byte is None else f" {byte:02x}", style=style)
        text = "".join(chr(b) if b is not None and 32 <= b < 127 else "." for b in row)
        line.append("   " * (_LINE - len(row)) + f"  {text}", style="dim")
        console.print(line, soft_wrap=True)
    for piece in view.pieces:
        if piece.why:
            console.print(f"{piece.start:#x}: {piece.why}", markup=False)


def _print_events(events: Sequence[EventView], console: Console) -> None:
    for event in events:
        where = f"{event.moment.shown:>15}  CPU {event.cpu}  VM {event.vm}"
        kind, name = parse.kind_name(event.kind), f"event:{event.index}"
        text = f"{name:<13} {where}  {kind:<13} {event.words}"
        console.print(text, markup=False, soft_wrap=True)

# SPDX-License-Identifier: Apache-2.0
"""gdb's `monitor` commands: what the protocol has no packet for."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aether_edgecloud.emulator.arch import fields, sysregs
from aether_edgecloud.emulator.arch.esr import describe
from aether_edgecloud.emulator.gdb import memory, registers
from aether_edgecloud.emulator.gdb.memory import View
from aether_edgecloud.emulator.gdb.motion import Watched
from aether_edgecloud.emulator.gdb.points import AUTOMATIC, Scope
from aether_edgecloud.emulator.gdb.requests import Interrupted, TargetError
from aether_edgecloud.emulator.replay import Cancelled, Direction, Write, parse
from aether_edgecloud.emulator.replay.moments import Moment
from aether_edgecloud.emulator.replay.views.backtrace import backtrace
from aether_edgecloud.emulator.replay.views.maps import Map, MapView, stage1_of, translation_map
from aether_edgecloud.emulator.replay.views.owners import Owners
from aether_edgecloud.emulator.replay.views.surroundings import (
    EventView,
    console_at,
    events_around,
)
from aether_edgecloud.emulator.report.machine_state import DEFAULT_REGISTERS

if TYPE_CHECKING:
    from aether_edgecloud.emulator.gdb.target import ReplayTarget

_PAGE = 4096


@dataclass(frozen=True, slots=True)
class Asked:
    """One command: of which target, with which words."""

    target: "ReplayTarget"
    words: Sequence[str]
    interrupted: Interrupted

    def word(self, index: int, otherwise: str = "") -> str:
        """One of the words."""
        return self.words[index] if index < len(self.words) else otherwise

    def number(self, index: int, otherwise: int) -> int:
        """One of the words, as a number: decimal, or hexadecimal with 0x."""
        if index >= len(self.words):
            return otherwise
        try:
            return int(self.words[index].replace(",", "").replace("_", ""), 0)
        except ValueError:
            raise TargetError(f"{self.words[index]!r} is no number") from None

    def count(self, otherwise: int) -> int:
        """The first word, as a number of things."""
        value = self.number(0, otherwise)
        if value < 0:
            raise TargetError(f"{value} is no number of things; give one from 0 on")
        return value


def run(target: "ReplayTarget", line: str, interrupted: Interrupted) -> str:
    """The output of a command. TargetError for one that cannot be."""
    try:
        words = shlex.split(line)
    except ValueError as e:
        raise TargetError(f"{line!r}: {e}") from None
    name = words[0] if words else "help"
    found = [command for command in _COMMANDS if command.startswith(name)]
    if name in _COMMANDS:
        found = [name]
    if len(found) != 1:
        what = "no such command" if not found else f"that may be {' or '.join(found)}"
        raise TargetError(f"{name}: {what}; see `monitor help`")
    command = _COMMANDS[found[0]]
    if command.most is not None and len(words) - 1 > command.most:
        takes = command.usage or "nothing"
        raise TargetError(f"{found[0]} takes {takes}; {words[command.most + 1]!r} is too much")
    try:
        text = command.does(Asked(target, words[1:], interrupted))
    except Cancelled:
        raise TargetError("interrupted; the position is the one from before") from None
    return text if text.endswith("\n") else f"{text}\n"


def _help(asked: Asked) -> str:
    usages = [(f"{name} {command.usage}", command.what) for name, command in _COMMANDS.items()]
    width = max(len(usage) for usage, _ in usages)
    return "\n".join(f"{usage:<{width}}  {what}" for usage, what in usages)


def _position(asked: Asked) -> str:
    target, replay = asked.target, asked.target.replay
    end = f"{replay.end:,}" if replay.is_complete else f"{replay.end:,} or more"
    here = Moment(replay.position, replay.attempt).shown
    return f"position {here} of {end}: next is {_where(target, target.current)}"


def _where(target: "ReplayTarget", number: int) -> str:
    """A thread, what it does, and where it is if that is EL2's code."""
    thread, cpu = target.threads()[number - 1], target.cpu(number)
    symbol = target.replay.symbols.at(cpu.pc) if cpu.current_el == 2 else None
    return f"{thread.name}, {thread.about}" + (f" in {symbol}" if symbol else "")


def _cpu(asked: Asked) -> str:
    target = asked.target
    if asked.words:
        target.focus = _existing_cpu(asked, 0) + 1
    return f"monitor commands and watchpoints are about {_where(target, target.focus)}"


def _existing_cpu(asked: Asked, index: int) -> int:
    """One of the words, as the number of a CPU that there is."""
    number, count = asked.number(index, 0), len(asked.target.replay.machine.cpus)
    if not 0 <= number < count:
        raise TargetError(f"there is no CPU {number}; they are 0 to {count - 1}")
    return number


def _goto(asked: Asked) -> str:
    if not asked.words:
        raise TargetError("where to? A position, 40%, event:N, mark:NAME, end, +N, -N")
    asked.target.go_to(" ".join(asked.words), Watched(asked.interrupted))
    return _moved(asked)


def _moved(asked: Asked) -> str:
    asked.target.focus = asked.target.current
    return f"{_position(asked)}\n{_STALE}"


def _last_write(asked: Asked) -> str:
    """By the last instruction before the cursor that wrote any of it."""
    target, view = asked.target, asked.target.view
    size = asked.number(1, 1)
    if asked.word(0, "-")[:1] in "-0123456789":
        address = asked.number(0, -1)
    else:
        address, view = parse.place(target.replay, f"el2:{asked.word(0)}")[1], View.EL2
    if not 0 <= address < 1 << 64 or not 0 < size <= 1 << 12:
        raise TargetError("of what? ADDRESS|SYMBOL [SIZE], at most 4096 bytes")
    cpu, ram = target.cpu(target.focus), target.replay.machine.memory
    pa = memory.translate(cpu, ram, view, address)
    hit = target.replay.find(Write(pa, size), Direction.BACK, Watched(asked.interrupted))
    if hit is None:
        return f"nothing has written PA {pa:#x} before"
    return f"{hit.words}\n{_moved(asked)}"


def _registers(asked: Asked) -> str:
    """By field."""
    cpu = asked.target.cpu(asked.target.focus)
    lines = []
    for name in asked.words or DEFAULT_REGISTERS:
        try:
            register = sysregs.by_name(name)
        except KeyError:
            raise TargetError(f"no system register {name!r}") from None
        value = registers.read_system(cpu, register)
        line = fields.describe_register(register.name, value)
        if register.name in ("ESR_EL1", "ESR_EL2") and value:
            line += f" -- {describe(value)}"
        lines.append(line)
    return "\n".join(lines)


def _stage1(asked: Asked) -> str:
    return "\n".join(_map(v) for v in stage1_of(asked.target.replay, cpu=asked.target.focus - 1))


def _stage2(asked: Asked) -> str:
    return _map(translation_map(asked.target.replay, Map.STAGE2, cpu=asked.target.focus - 1))


def _map(view: MapView) -> str:
    root = "" if view.root is None else f" (root {view.root:#x})"
    lines = [f"{view.which.value}{root}:" + ("" if view.none is None else f" {view.none}")]
    for region in view.regions:
        to = "same" if region.pa == region.start else f"{region.pa:#x}"
        owner = "" if region.owner is None else f"  {region.owner}"
        here = "  <- here" if region.has_cursor else ""
        lines.append(
            f"{region.start:#14x}-{region.end - 1:#014x}  to {to:<14} {region.rights:<7}  "
            f"{region.memory}{owner}{here}"
        )
    return "\n".join((*lines, *view.malformed))


def _owner(asked: Asked) -> str:
    """By the hypervisor's frame table."""
    pa = asked.number(0, -1)
    if pa < 0:
        raise TargetError("of what? A physical address")
    if not asked.target.replay.machine.memory.is_ram(pa):
        return f"PA {pa:#x} is no RAM"
    page = pa & -_PAGE
    ((_, _, owner),) = Owners(asked.target.replay).split(page, _PAGE)
    return f"PA {page:#x}-{page + _PAGE - 1:#x}: {owner or 'the frame table tells nothing'}"


def _events(asked: Asked) -> str:
    count = asked.count(8)
    replay = asked.target.replay
    before, after = events_around(replay, before=count, after=count)
    here = f"->{Moment(replay.position, replay.attempt).shown:>14}"
    return "\n".join((*map(_event, before), here, *map(_event, after)))


def _event(event: EventView) -> str:
    where = f"{event.moment.shown:>14}  CPU {event.cpu}"
    return f"  {where}  {f'event:{event.index}':<13} {event.words}"


def _console(asked: Asked) -> str:
    count = asked.count(20)
    text = console_at(asked.target.replay, most=count * 200).decode("utf-8", "replace")
    lines = text.replace("\r", "").split("\n")
    return "\n".join(lines[-count:])


def _vm(asked: Asked) -> str:
    target = asked.target
    lines = [f"{thread.name}: {thread.about}" for thread in target.threads()]
    lines += [f"VM {name}: VMID {n}" for n, name in enumerate(target.vms, start=1)]
    return "\n".join(lines)


def _backtrace(asked: Asked) -> str:
    lines = []
    for frame in backtrace(asked.target.replay, cpu=asked.target.focus - 1):
        source = "" if frame.source is None else f" at {frame.source.file}:{frame.source.number}"
        symbol = "" if frame.symbol is None else f" {frame.symbol}"
        lines.append(f"#{frame.number:<2} EL{frame.el} {frame.pc:#x}{symbol}{source}")
    return "\n".join(lines)


def _memory(asked: Asked) -> str:
    wanted = asked.word(0)
    if wanted:
        try:
            asked.target.view = View[wanted.upper()]
        except KeyError:
            names = ", ".join(view.name.lower() for view in View)
            raise TargetError(f"{wanted!r}: one of {names}") from None
    view = asked.target.view
    return f"addresses are: {view.name.lower()}, {view.value}"


def _scope(asked: Asked) -> str:
    points = asked.target.points
    match asked.words:
        case []:
            pass
        case ["auto"]:
            points.scope = AUTOMATIC
        case ["any"]:
            points.scope = Scope()
        case ["el0" | "el1" | "el2" as level]:
            points.scope = Scope(el=int(level[2]))
        case ["vm", name] if name in asked.target.vms:
            points.scope = Scope(vmid=asked.target.vms.index(name) + 1)
        case ["cpu", _]:
            points.scope = Scope(cpu=_existing_cpu(asked, 1))
        case _:
            raise TargetError("auto, any, el0, el1, el2, vm NAME, or cpu N")
    return f"breakpoints count {points.scope.words(asked.target.vms)}"


_STALE = "gdb does not know that: `maintenance flush register-cache`, or use `aether-goto`"


@dataclass(frozen=True, slots=True)
class _Command:
    """`most`: words behind its name; None is any number."""

    does: Callable[[Asked], str]
    usage: str
    what: str
    most: int | None = 0


_COMMANDS: dict[str, _Command] = {
    "help": _Command(_help, "", "this"),
    "position": _Command(_position, "", "where in the run this is, and whose instruction is next"),
    "goto": _Command(
        _goto, "POSITION", "go there: N, 40%, event:N, mark:NAME, end, +N, -N", most=None
    ),
    "last-write": _Command(
        _last_write, "ADDRESS|SYMBOL [SIZE]", "go back to the last write of it", most=2
    ),
    "regs": _Command(_registers, "[NAME]...", "system registers by field", most=None),
    "stage1": _Command(_stage1, "", "stage-1 map of the thread's EL as regions"),
    "stage2": _Command(_stage2, "", "stage-2 map of the thread's VM as regions, by owner"),
    "owner": _Command(_owner, "PA", "who owns a page, by the hypervisor's frame table", most=1),
    "backtrace": _Command(_backtrace, "", "from EL2 on into what was interrupted"),
    "events": _Command(_events, "[N]", "what happened before and after", most=1),
    "console": _Command(
        _console, "[LINES]", "the end of the console's output at this moment", most=1
    ),
    "cpu": _Command(
        _cpu, "[N]", "the CPU that this, and watchpoints, are about; the one that stopped", most=1
    ),
    "vm": _Command(_vm, "", "the VMs, and which vCPU each CPU has"),
    "memory": _Command(
        _memory, "[VIEW]", "what addresses are: current, el2, guest, ipa, pa", most=1
    ),
    "scope": _Command(
        _scope, "[SCOPE]", "where breakpoints count: auto, any, el0..el2, vm NAME, cpu N", most=2
    ),
}

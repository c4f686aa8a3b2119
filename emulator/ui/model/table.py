# SPDX-License-Identifier: Apache-2.0
"""All commands."""

from aether_edgecloud.emulator.replay.conditions import Direction
from aether_edgecloud.emulator.ui.model import comparing, keeping, looking, moves
from aether_edgecloud.emulator.ui.model.commands import Command, Group, Screen
from aether_edgecloud.emulator.ui.model.layout import TITLES, Pane

_ON, _BACK = Direction.FORWARD, Direction.BACK

_MOVES = (
    Command("step", ("s",), Group.STEP, "one instruction on", moves.step(_ON)),
    Command("step back", ("S",), Group.STEP, "one instruction back", moves.step(_BACK)),
    Command("over", ("n",), Group.STEP, "one on, calls and exceptions as one", moves.over(_ON)),
    Command("over back", ("N",), Group.STEP, "the same backwards", moves.over(_BACK)),
    Command("out", ("o",), Group.STEP, "to where this function returns", moves.out(_ON)),
    Command("out back", ("O",), Group.STEP, "back to its call", moves.out(_BACK)),
    Command(
        "continue", ("c",), Group.FIND, "to the next breakpoint or watchpoint", moves.to_stop(_ON)
    ),
    Command("continue back", ("C",), Group.FIND, "to the one before", moves.to_stop(_BACK)),
    Command("event", ("e",), Group.FIND, "to the next event (f: kinds)", moves.to_event(_ON)),
    Command("event back", ("E",), Group.FIND, "to the event before", moves.to_event(_BACK)),
    Command(
        "execution", ("x",), Group.FIND, "to the next of the cursor's line", moves.to_execution(_ON)
    ),
    Command("execution back", ("X",), Group.FIND, "to the one before", moves.to_execution(_BACK)),
    Command(
        "all executions",
        ("a",),
        Group.FIND,
        "of that line, in the timeline's span",
        moves.executions,
    ),
    Command("write", ("w",), Group.FIND, "to the next write of a byte", moves.to_write(_ON)),
    Command("last write", ("W",), Group.FIND, "to the last write of a byte", moves.to_write(_BACK)),
    Command(
        "register write",
        ("r",),
        Group.FIND,
        "to the next write of a register",
        moves.to_register_write(_ON),
    ),
    Command(
        "last register write",
        ("R",),
        Group.FIND,
        "to the last write of a register",
        moves.to_register_write(_BACK),
    ),
    Command(
        "table write",
        ("t",),
        Group.FIND,
        "to the next write of a table entry",
        moves.to_entry_write(_ON),
    ),
    Command(
        "last table write",
        ("T",),
        Group.FIND,
        "to the last write of a table entry",
        moves.to_entry_write(_BACK),
    ),
    Command("search", ("/",), Group.FIND, "symbols and events by name", moves.LOOK_UP),
    Command("difference", ("d",), Group.FIND, "to another recording", comparing.COMPARE),
    Command("go to", ("g",), Group.GO, "a position, event, mark or bookmark", moves.GO),
    Command("back", ("[", "alt+left"), Group.GO, "to the place before", moves.wander(-1)),
    Command("forward", ("]", "alt+right"), Group.GO, "to the place left by back", moves.wander(1)),
    Command("enter", ("enter",), Group.GO, "what the cursor's line is about", looking.enter),
)

_KEEPS = (
    Command(
        "breakpoint", ("b",), Group.KEEP, "set or clear at the cursor", keeping.breakpoint_here
    ),
    Command("watchpoint", ("v",), Group.KEEP, "set one on memory", keeping.WATCH),
    Command("clear", ("B",), Group.KEEP, "a breakpoint or watchpoint", keeping.drop),
    Command("bookmark", ("k",), Group.KEEP, "set, rename or clear it here", keeping.BOOKMARK),
    Command("bookmarks", ("K",), Group.KEEP, "all of them, and marks", keeping.bookmarks),
    Command("copy link", ("y",), Group.KEEP, "a word that opens this place", Screen.COPY_LINK),
)

_PANES = tuple(
    Command(TITLES[pane], (str(pane.value),), Group.LOOK, "show this pane", looking.choose(pane))
    for pane in Pane
)

_LOOKS = (
    Command("next pane", ("tab",), Group.LOOK, "give it the keys", looking.next_pane(1)),
    Command("previous pane", ("shift+tab",), Group.LOOK, "give it the keys", looking.next_pane(-1)),
    Command("zoom pane", ("z",), Group.LOOK, "alone, or with the others", looking.zoom),
    Command("up", ("up",), Group.LOOK, "the pane's cursor", looking.move(-1)),
    Command("down", ("down",), Group.LOOK, "the pane's cursor", looking.move(1)),
    Command("page up", ("pageup",), Group.LOOK, "the pane's cursor", looking.page(-1)),
    Command("page down", ("pagedown",), Group.LOOK, "the pane's cursor", looking.page(1)),
    Command("first", ("home",), Group.LOOK, "row of a list", looking.edge(-1)),
    Command("last", ("end",), Group.LOOK, "row of a list", looking.edge(1)),
    Command("left", ("left",), Group.LOOK, "a byte, or a register beside", looking.sideways(-1)),
    Command("right", ("right",), Group.LOOK, "a byte, or a register beside", looking.sideways(1)),
    Command("code at", ("l",), Group.LOOK, "an address or symbol", looking.CODE),
    Command("memory at", ("m",), Group.LOOK, "a VA, IPA or PA", looking.MEMORY),
    Command("cursors home", (".",), Group.LOOK, "back to PC and SP", looking.to_pc),
    Command("event kinds", ("f",), Group.LOOK, "that are listed and gone to", looking.KINDS),
    Command("next CPU", ("p",), Group.LOOK, "at the same moment", looking.next_cpu),
    Command("zoom in", ("+", "="), Group.LOOK, "timeline", looking.zoom_timeline(deeper=True)),
    Command("zoom out", ("-",), Group.LOOK, "timeline", looking.zoom_timeline(deeper=False)),
    Command("whole run", ("0",), Group.LOOK, "timeline", looking.whole_timeline),
    Command("earlier", ("<",), Group.LOOK, "timeline, by half of it", looking.shift_timeline(-1)),
    Command("later", (">",), Group.LOOK, "timeline, by half of it", looking.shift_timeline(1)),
    Command("palette", (":", "ctrl+p"), Group.LOOK, "all commands by name", Screen.PALETTE),
    Command("help", ("?", "f1"), Group.LOOK, "all keys", Screen.HELP),
    Command("cancel", ("escape",), Group.LOOK, "work that goes on", Screen.CANCEL),
    Command("quit", ("q", "ctrl+q"), Group.LOOK, "leave", Screen.QUIT),
)

COMMANDS = (*_MOVES, *_KEEPS, *_PANES, *_LOOKS)

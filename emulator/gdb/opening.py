# SPDX-License-Identifier: Apache-2.0
"""What can be debugged: a recording in a file, or a run that is made as the debugger goes on."""

import io
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from aether_edgecloud.emulator.elf import symbols
from aether_edgecloud.emulator.gdb.requests import ExecFile
from aether_edgecloud.emulator.gdb.target import ReplayTarget
from aether_edgecloud.emulator.launch.machine import build_machine
from aether_edgecloud.emulator.launch.target import read_file
from aether_edgecloud.emulator.machine.console import Bytes
from aether_edgecloud.emulator.recording.recording import Recording
from aether_edgecloud.emulator.replay import Replay
from aether_edgecloud.emulator.replay.program import Program
from aether_edgecloud.emulator.replay.source import RecordedRun
from aether_edgecloud.emulator.report.request import RunRequest

_ELF_IN_RECORDING = "/aether/el2.elf"
"""A name for gdb; no such file is needed."""


def recorded(path: Path, *, any_emulator: bool = False) -> ReplayTarget:
    """A recording, at its start. UserError for a file that cannot be opened, and for one that
    another emulator made unless `any_emulator`."""
    recording = Recording.open(path, any_emulator=any_emulator)
    replay = Replay(RecordedRun(recording))
    elf = recording.el2().elf
    if elf is None:
        return ReplayTarget(replay, None)
    start = replay.machine.loaded[0].start
    return ReplayTarget(replay, _exec_file(_ELF_IN_RECORDING, elf, start))


def live(request: RunRequest, elf_path: Path | None, typed: bytes = b"") -> ReplayTarget:
    """A run at reset, with `typed` as its console input. UserError for a board that is too small,
    or an ELF file that cannot be read."""
    machine = build_machine(request, Bytes(typed))
    elf = None if elf_path is None else read_file(elf_path)
    image = machine.loaded[0]
    program = Program.load(elf, image, {})
    replay = Replay.live(machine, title=request.target, vms=request.vms, program=program)
    if elf_path is None or elf is None:
        return ReplayTarget(replay, None)
    return ReplayTarget(replay, _exec_file(str(elf_path.absolute()), elf, image.start))


def _exec_file(name: str, data: bytes, start: int) -> ExecFile | None:
    """`start` is the PA of the first byte that is loaded, and EL2's VA of it in a file that is
    linked for 0; any other runs where it is linked, once its MMU is on."""
    try:
        linked = symbols.linked_at(ELFFile(io.BytesIO(data)))
    except ELFError:
        return None
    return ExecFile(name, data, 0 if linked else start)

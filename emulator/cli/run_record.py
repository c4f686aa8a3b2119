# SPDX-License-Identifier: Apache-2.0
"""`aether run --record`: the recorder of a run that was requested."""

from pathlib import Path

from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.emulator.recording.recorder import Recorder
from aether_edgecloud.emulator.report.request import RunRequest
from aether_edgecloud.emulator.toolchain.sources import SOURCE_ROOT, expand

_SOURCES = ("el2/**/*.[chS]", "stage2/**/*.[ch]")
"""What the hypervisor is built of; the text goes into the file with it."""


def record(machine: Machine, file: Path, request: RunRequest) -> Recorder:
    """A recorder of `machine`, which is the one of `request` at reset. UserError if the file
    cannot be written."""
    return Recorder(
        machine,
        file,
        target=request.target,
        vms=request.vms,
        elf=None if request.elf is None else request.elf.read_bytes(),
        sources=_sources() if request.own_binary else None,
    )


def _sources() -> dict[str, str]:
    return {
        name: (SOURCE_ROOT / name).read_text(errors="replace")
        for name in sorted(expand(SOURCE_ROOT, _SOURCES))
    }

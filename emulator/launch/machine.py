# SPDX-License-Identifier: Apache-2.0
"""The emulated machine of a run."""

from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.launch import host
from aether_edgecloud.emulator.machine import BootImage, Machine
from aether_edgecloud.emulator.machine.console import InputSource
from aether_edgecloud.emulator.machine.machine import QUANTUM
from aether_edgecloud.emulator.report.request import MmuChoice, RunRequest

_MODES = {MmuChoice.MODEL: MmuMode.MODEL, MmuChoice.NATIVE: MmuMode.NATIVE}


def build_machine(request: RunRequest, source: InputSource | None = None) -> Machine:
    """The machine of a request, at reset. Without `source` it has no input.

    UserError for a board that does not exist or that is too small.
    """
    return Machine(
        host.sized_board(request.board, request.ram_size, request.cpus),
        BootImage(request.binary, request.binary_memory),
        request.bundle,
        mmu=_MODES[request.mmu],
        source=source,
        quantum=quantum_of(request),
        seed=request.seed,
        adversary=request.adversary,
        payload=request.payload,
        interleaving=request.interleaving,
    )


def quantum_of(request: RunRequest) -> int:
    """Instructions of one CPU between two turns of the others."""
    return QUANTUM if request.quantum is None else request.quantum

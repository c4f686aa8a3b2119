# SPDX-License-Identifier: Apache-2.0
"""From what stands on the command line to a run that is known to be sound."""

import hashlib

from aether_edgecloud.emulator.bundle import build
from aether_edgecloud.emulator.cli import host, target
from aether_edgecloud.emulator.cli.binary import El2Binary
from aether_edgecloud.emulator.report.request import MmuChoice, RunRequest


def build_request(
    target_name: str,
    mmu: str,
    board_name: str,
    ram: str,
    binary: El2Binary,
    max_instructions: int | None,
) -> RunRequest:
    """The run of TARGET, its bundle made and checked against the board. Raises UserError."""
    board = host.board(board_name, ram)
    found = target.resolve(target_name)
    layout = host.layout(board, binary.image.memory_size, len(found.bundle))
    build.open_bundle(found.bundle, where=target_name, host=layout)
    return RunRequest(
        target=target_name,
        binary=binary.image.data,
        binary_sha256=binary.image.sha256,
        binary_memory=binary.image.memory_size,
        bundle=found.bundle,
        bundle_sha256=hashlib.sha256(found.bundle).hexdigest(),
        board=board.name,
        ram_size=board.ram_size,
        mmu=MmuChoice(mmu),
        max_instructions=max_instructions,
        own_binary=binary.own,
    )

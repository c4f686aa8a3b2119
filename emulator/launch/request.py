# SPDX-License-Identifier: Apache-2.0
"""From what stands on the command line to a run that is known to be sound."""

import hashlib

from aether_edgecloud.emulator.adversary.plan import Plan
from aether_edgecloud.emulator.bundle import build
from aether_edgecloud.emulator.launch import host, target
from aether_edgecloud.emulator.launch.binary import El2Binary
from aether_edgecloud.emulator.launch.host import AS_NEEDED, BoardChoice
from aether_edgecloud.emulator.launch.target import AS_IT_IS, GuestChoice
from aether_edgecloud.emulator.report.request import MmuChoice, RunRequest


def build_request(
    target_name: str,
    binary: El2Binary,
    *,
    mmu: str = "model",
    board: BoardChoice = AS_NEEDED,
    guest: GuestChoice = AS_IT_IS,
    max_instructions: int | None = None,
    quantum: int | None = None,
    seed: int = 0,
    adversary: Plan | None = None,
) -> RunRequest:
    """The run of TARGET, its bundle made and checked against the board. Raises UserError."""
    found = target.resolve(target_name, guest)
    manifest, _ = build.open_bundle(found.bundle, where=target_name)
    chosen = host.board(board, manifest, len(found.bundle))
    layout = host.layout(chosen, binary.image.memory_size, len(found.bundle))
    build.open_bundle(found.bundle, where=target_name, host=layout)
    return RunRequest(
        target=target_name,
        binary=binary.image.data,
        binary_sha256=binary.image.sha256,
        binary_memory=binary.image.memory_size,
        bundle=found.bundle,
        bundle_sha256=hashlib.sha256(found.bundle).hexdigest(),
        vms=tuple(vm.name for vm in manifest.vms),
        board=chosen.name,
        ram_size=chosen.ram_size,
        cpus=chosen.cpus,
        mmu=MmuChoice(mmu),
        max_instructions=max_instructions,
        quantum=quantum,
        seed=seed,
        adversary=adversary,
        own_binary=binary.own,
        elf=binary.elf,
    )

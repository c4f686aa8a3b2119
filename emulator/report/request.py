# SPDX-License-Identifier: Apache-2.0
"""What a run is asked to do, wherever it runs."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from aether_edgecloud.emulator.adversary.plan import Plan
from aether_edgecloud.emulator.interleave.interleaving import Interleaving
from aether_edgecloud.emulator.machine.payload import Payload
from aether_edgecloud.emulator.report.run_report import End


class MmuChoice(Enum):
    """Who translates in the emulator."""

    MODEL = "model"
    """The Python MMU decides every TLB fill."""
    NATIVE = "native"
    """Unicorn's own walker."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One run: `binary` is the flat EL2 image, `bundle` its initrd, both complete and checked.
    `binary_memory` is what the image takes once loaded, BSS included, in bytes.

    `target` is what the user called it, `vms` are the bundle's by name, `ram_size` in bytes, `cpus`
    the board's. `max_instructions` counts retired instructions of all CPUs and exception levels
    (None: no limit). `quantum` (None: the usual) and `seed` choose how CPUs take turns. `adversary`
    makes the machine unkind. `elf` has the binary's symbols.
    """

    target: str
    binary: bytes
    binary_sha256: str
    binary_memory: int
    bundle: bytes
    bundle_sha256: str
    vms: tuple[str, ...]
    board: str
    ram_size: int
    cpus: int = 1
    mmu: MmuChoice = MmuChoice.MODEL
    max_instructions: int | None = None
    quantum: int | None = None
    seed: int = 0
    adversary: Plan | None = None
    own_binary: bool = True
    """The binary is this project's: it says on its last line how a run ended."""
    elf: Path | None = None
    payload: Payload | None = None
    """What is loaded besides a binary that has no bundle; then `bundle` is empty, and
    `bundle_sha256` is that of all of this."""
    interleaving: Interleaving | None = None
    """How the CPUs take turns inside EL2."""

    @property
    def silent_end(self) -> End:
        """The end of a machine that went off without such a line."""
        return End.POWER_OFF if self.own_binary else End.MACHINE_OFF

# SPDX-License-Identifier: Apache-2.0
"""What a run is asked to do, wherever it runs."""

from dataclasses import dataclass
from enum import Enum

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

    `target` is what the user called it, `ram_size` in bytes, `max_instructions` counts retired
    instructions of all exception levels (None: no limit).
    """

    target: str
    binary: bytes
    binary_sha256: str
    binary_memory: int
    bundle: bytes
    bundle_sha256: str
    board: str
    ram_size: int
    mmu: MmuChoice = MmuChoice.MODEL
    max_instructions: int | None = None
    own_binary: bool = True
    """The binary is this project's: it says on its last line how a run ended."""

    @property
    def silent_end(self) -> End:
        """The end of a machine that went off without such a line."""
        return End.POWER_OFF if self.own_binary else End.MACHINE_OFF

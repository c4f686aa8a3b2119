# SPDX-License-Identifier: Apache-2.0
"""What the user says is to run: our hypervisor with TARGET, or another EL2 binary."""

from dataclasses import dataclass
from pathlib import Path

from aether_edgecloud.emulator.adversary.plan import Plan
from aether_edgecloud.emulator.guests import catalogue
from aether_edgecloud.emulator.launch import bare, binary, foreign, input_files
from aether_edgecloud.emulator.launch.bare import NOT_BARE, BareChoice
from aether_edgecloud.emulator.launch.foreign import QemuStyle
from aether_edgecloud.emulator.launch.host import AS_NEEDED, BoardChoice
from aether_edgecloud.emulator.launch.request import build_request
from aether_edgecloud.emulator.launch.target import AS_IT_IS, LINUX, GuestChoice
from aether_edgecloud.emulator.report.request import RunRequest


@dataclass(frozen=True, slots=True)
class RunChoice:
    """TARGET, if it was said, and the options about guest, board and EL2 binary (`binary`: in place
    of the hypervisor; `bare`: without one)."""

    target: str | None
    guest: GuestChoice = AS_IT_IS
    board: BoardChoice = AS_NEEDED
    bare: BareChoice = NOT_BARE
    binary: Path | None = None

    def style(self) -> QemuStyle | None:
        """A run without our hypervisor; None for one with it. UserError for options that do not go
        together."""
        return bare.style(self.bare, self.guest, self.board, target=self.target, binary=self.binary)

    def files(self) -> tuple[Path | None, ...]:
        """All that is read; None for each that was not said."""
        guest, own = self.guest, self.bare
        modules = (module.file for module in own.modules)
        options = (guest.kernel, guest.ramdisk, guest.dtb, self.binary, own.initrd, own.symbols)
        return (*options, *modules, *input_files.of_target(self.target))

    def request(
        self,
        *,
        mmu: str = "model",
        max_instructions: int | None = None,
        quantum: int | None = None,
        seed: int = 0,
        adversary: Plan | None = None,
    ) -> RunRequest:
        """The run, known to be sound. Without TARGET it is the guest of the catalogue that comes
        first, or the kernel that was named. UserError for anything wrong."""
        style = self.style()
        if style is not None:
            return foreign.load(style).request(
                mmu=mmu,
                max_instructions=max_instructions,
                quantum=quantum,
                seed=seed,
                adversary=adversary,
            )
        target = self.target
        if target is None:
            target = catalogue.DEFAULT if self.guest.kernel is None else LINUX
        return build_request(
            target,
            binary.load(self.binary),
            mmu=mmu,
            board=self.board,
            guest=self.guest,
            max_instructions=max_instructions,
            quantum=quantum,
            seed=seed,
            adversary=adversary,
        )

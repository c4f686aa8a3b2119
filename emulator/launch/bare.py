# SPDX-License-Identifier: Apache-2.0
"""What the user says of a run without our hypervisor, as one says it to QEMU."""

from dataclasses import dataclass
from pathlib import Path

from aether_edgecloud.emulator.bundle import size
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.launch.foreign import DEFAULT_MEMORY, QemuStyle
from aether_edgecloud.emulator.launch.guest_loader import OPTION, Module
from aether_edgecloud.emulator.launch.host import BoardChoice
from aether_edgecloud.emulator.launch.target import GuestChoice


@dataclass(frozen=True, slots=True)
class BareChoice:
    """The options that only such a run has. An initrd or a module says that it is one."""

    bare: bool = False
    initrd: Path | None = None
    modules: tuple[Module, ...] = ()
    symbols: Path | None = None


NOT_BARE = BareChoice()


def style(
    choice: BareChoice,
    guest: GuestChoice,
    board: BoardChoice,
    *,
    target: str | None,
    binary: Path | None,
) -> QemuStyle | None:
    """The run that is asked for; None for one of our hypervisor. UserError for options that do not
    go together."""
    because = _because(choice)
    if because is None:
        if choice.symbols is not None:
            raise UserError("is for a run with --bare", where="--symbols", fix="add --bare")
        return None
    _check(because, guest, board, target, binary)
    if guest.kernel is None:
        fix = "name the EL2 binary with --kernel FILE"
        raise UserError("there is no kernel to run", where=because, fix=fix)
    return QemuStyle(
        kernel=guest.kernel,
        append=guest.append,
        initrd=choice.initrd,
        dtb=guest.dtb,
        modules=choice.modules,
        memory=DEFAULT_MEMORY
        if guest.memory is None
        else size.parse(guest.memory, where="--memory"),
        cpus=1 if guest.cpus is None else guest.cpus,
        board=board.name,
        symbols=choice.symbols,
    )


def _because(choice: BareChoice) -> str | None:
    """The option that says so."""
    if choice.bare:
        return "--bare"
    if choice.initrd is not None:
        return "--initrd"
    return OPTION if choice.modules else None


def _check(
    because: str, guest: GuestChoice, board: BoardChoice, target: str | None, binary: Path | None
) -> None:
    """Refuses what is for a run of our hypervisor."""
    for given, where, fix in (
        (target, f"TARGET {target}", "leave it out: --kernel says what runs"),
        (binary, "--binary", "name the EL2 binary with --kernel"),
        (guest.ramdisk, "--ramdisk", "use --initrd"),
        (guest.shell or None, "--shell", "leave it out"),
        (board.ram, "--ram", "use --memory"),
        (board.cpus, "--board-cpus", "use --cpus"),
    ):
        if given is not None:
            raise UserError(f"does not go with {because}", where=where, fix=fix)

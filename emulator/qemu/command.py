# SPDX-License-Identifier: Apache-2.0
"""The QEMU command line for a board, and finding QEMU."""

import os
import shutil
from pathlib import Path

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.launch.foreign import QemuStyle

PROGRAM = "qemu-system-aarch64"

_MACHINES = {"virt": ("virt,virtualization=on,gic-version=2", "cortex-a72")}
_MIB = 1 << 20


def find_program() -> str:
    """The path of QEMU. UserError, with how to get it, when it is not here."""
    found = shutil.which(PROGRAM)
    if found is None:
        raise UserError(
            f"{PROGRAM} is not here",
            fix="install it (Debian: apt install qemu-system-arm), or leave out --on qemu",
        )
    return found


def arguments(
    board: str, ram_size: int, cpus: int, kernel: Path, initrd: Path, *, icount: bool
) -> list[str]:
    """Everything behind the program's name. `ram_size` in bytes. Raises UserError for a board or
    a size QEMU has not.

    `icount` makes time follow instructions (one every 2^0 ns, never waiting for the host).
    """
    # A comma would end a file name early in some options, but not in these two.
    found = _machine(board, ram_size, cpus, icount=icount)
    return [*found, "-kernel", str(kernel), "-initrd", str(initrd)]


def foreign_arguments(style: QemuStyle, *, icount: bool) -> list[str]:
    """The same for a binary without a bundle."""
    found = _machine(style.board, style.memory, style.cpus, icount=icount)
    found += ["-kernel", str(style.kernel)]
    for option, value in (
        ("-append", style.append),
        ("-initrd", style.initrd),
        ("-dtb", style.dtb),
    ):
        if value is not None:
            found += [option, str(value)]
    for module in style.modules:
        parts = ["guest-loader", f"addr={module.address:#x}"]
        parts.append(f"{module.kind.value}={_escaped(str(module.file))}")
        if module.bootargs is not None:
            parts.append(f"bootargs={_escaped(module.bootargs)}")
        found += ["-device", ",".join(parts)]
    return found


def _escaped(text: str) -> str:
    return text.replace(",", ",,")


def _machine(board: str, ram_size: int, cpus: int, *, icount: bool) -> list[str]:
    """The board, its console on stdin and stdout, and nothing else."""
    if board not in _MACHINES:
        raise UserError(
            f"board {board!r} does not run on QEMU",
            where="--board",
            fix=f"boards that do: {', '.join(_MACHINES)}",
        )
    if ram_size % _MIB:
        raise UserError("QEMU takes whole MiB of RAM", where="--ram", fix="round it to MiB")
    machine, cpu = _MACHINES[board]
    found = ["-M", machine, "-cpu", cpu, "-smp", str(cpus)]
    found += ["-m", f"{ram_size // _MIB}M"]
    # Nothing but the board itself; a reset, which nobody asks for, ends the run.
    found += ["-nodefaults", "-display", "none", "-no-reboot"]
    found += ["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]
    if cpus > (os.cpu_count() or 1):
        # One thread: a CPU that spins for a lock would else take the host from the one that has it.
        found += ["-accel", "tcg,thread=single"]
    if icount:
        found += ["-icount", "shift=0,sleep=off"]
    return found

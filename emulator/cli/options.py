# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]


def _file(*, dash: bool = False) -> click.Path:
    return click.Path(path_type=Path, allow_dash=dash)


def _together(*options: Decorator) -> Decorator:
    """Several options as one, shown in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


board_options = _together(
    click.option("--board", default="virt", show_default=True, help="The board to run on."),
    click.option("--ram", metavar="SIZE",
                 help="The board's RAM; without it, enough for the VMs (256MiB or more)."),
    click.option("--board-cpus", type=click.IntRange(min=1), metavar="N",
                 help="The board's CPUs; without it, as many as the VMs use."),
)  # fmt: skip
guest_options = _together(
    click.option("--cpus", type=click.IntRange(min=1), metavar="N",
                 help="vCPUs of a guest run by name."),
    click.option("--memory", metavar="SIZE", help="Memory of a guest run by name."),
    click.option("--kernel", type=_file(), metavar="IMAGE",
                 help="An arm64 Image of your own, in place of a guest."),
    click.option("--ramdisk", type=_file(), metavar="FILE", help="A ramdisk for the kernel."),
    click.option("--dtb", type=_file(), metavar="FILE",
                 help="A DTB for the guest, in place of a generated one."),
    click.option("--append", metavar="ARGS", help="More words on the kernel's command line."),
    click.option("--shell", is_flag=True, help="Let the guest linux go on with a shell."),
)  # fmt: skip
emulator_options = _together(
    click.option("--mmu", type=click.Choice(["model", "native"]), default="model",
                 show_default=True,
                 help="Who translates in the emulator: the Python MMU, or Unicorn's walker."),
    click.option("--quantum", type=click.IntRange(min=1), metavar="N",
                 help="Instructions of one CPU before the next one's turn (emulator)."),
    click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
                 help="Which interleaving of the CPUs (emulator)."),
)  # fmt: skip
binary_option: Decorator = click.option(
    "--binary",
    type=_file(),
    metavar="FILE",
    help="An EL2 binary, flat or ELF, in place of the hypervisor.",
)
json_option: Decorator = click.option(
    "--json",
    "json_file",
    type=_file(dash=True),
    metavar="FILE",
    help="Write the report as JSON too; - for stdout, the console then goes to stderr.",
)

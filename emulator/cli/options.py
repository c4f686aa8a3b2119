# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from aether_edgecloud.emulator.adversary import plan
from aether_edgecloud.emulator.adversary.plan import Plan
from aether_edgecloud.emulator.interleave import interleaving
from aether_edgecloud.emulator.interleave.interleaving import Interleaving
from aether_edgecloud.emulator.launch import guest_loader
from aether_edgecloud.emulator.launch.bare import BareChoice
from aether_edgecloud.emulator.launch.guest_loader import Module
from aether_edgecloud.emulator.launch.host import BoardChoice
from aether_edgecloud.emulator.launch.target import GuestChoice

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


def _as_one(name: str, make: Callable[..., object], parts: dict[str, str]) -> Decorator:
    """Passes several options as one argument `name`: what `make` makes of them. `parts` has the
    argument of `make` for each option, by the option's name."""

    def decorate(command: Command) -> Command:
        @wraps(command)
        def called(*arguments: Any, **values: Any) -> Any:
            made = make(**{part: values.pop(option) for option, part in parts.items()})
            return command(*arguments, **{name: made}, **values)

        return called

    return decorate


def _adversary(_context: click.Context, _option: click.Parameter, text: str | None) -> Plan | None:
    return None if text is None else plan.parse(text)


def _modules(
    _context: click.Context, _option: click.Parameter, texts: tuple[str, ...]
) -> tuple[Module, ...]:
    return tuple(guest_loader.parse(text) for text in texts)


def _interleaving(
    _context: click.Context, _option: click.Parameter, text: str | None
) -> Interleaving | None:
    return None if text is None else interleaving.parse(text)


_BOARD_PARTS = {"board": "name", "ram": "ram", "board_cpus": "cpus"}
_BARE_PARTS = {
    "bare": "bare", "initrd": "initrd", "guest_loader": "modules", "symbols": "symbols",
}  # fmt: skip
_GUEST_PARTS = ("cpus", "memory", "kernel", "ramdisk", "dtb", "append", "shell")

board_options = _together(
    click.option("--board", default="virt", show_default=True, help="The board to run on."),
    click.option("--ram", metavar="SIZE",
                 help="The board's RAM; without it, enough for the VMs (256MiB or more)."),
    click.option("--board-cpus", type=click.IntRange(min=1), metavar="N",
                 help="The board's CPUs; without it, as many as the VMs use."),
    _as_one("board", BoardChoice, _BOARD_PARTS),
)  # fmt: skip
guest_options = _together(
    click.option("--cpus", type=click.IntRange(min=1), metavar="N",
                 help="vCPUs of a guest run by name."),
    click.option("--memory", metavar="SIZE", help="Memory of a guest run by name."),
    click.option("--kernel", type=_file(), metavar="IMAGE",
                 help="An arm64 Image of your own, in place of a guest, or EL2 binary (--bare)."),
    click.option("--ramdisk", type=_file(), metavar="FILE", help="A ramdisk for the kernel."),
    click.option("--dtb", type=_file(), metavar="FILE",
                 help="A DTB for the guest, in place of a generated one."),
    click.option("--append", metavar="ARGS", help="More words on the kernel's command line."),
    click.option("--shell", is_flag=True, help="Let the guest linux go on with a shell."),
    _as_one("guest", GuestChoice, {part: part for part in _GUEST_PARTS}),
)  # fmt: skip
bare_options = _together(
    click.option("--bare", is_flag=True,
                 help="Run --kernel at EL2 itself, without the hypervisor, as QEMU does; --append, "
                      "--dtb, --memory and --cpus are then the machine's."),
    click.option("--initrd", type=_file(), metavar="FILE", help="Its initrd; implies --bare."),
    click.option("--guest-loader", multiple=True, callback=_modules,
                 metavar="addr=ADDR,kernel=FILE[,bootargs=TEXT]",
                 help="A module for it, or addr=ADDR,initrd=FILE; repeatable; implies --bare."),
    click.option("--symbols", type=_file(), metavar="ELF", help="Its symbols (--bare)."),
    _as_one("bare", BareChoice, _BARE_PARTS),
)  # fmt: skip
adversary_option: Decorator = click.option(
    "--adversary",
    callback=_adversary,
    metavar="PARTS",
    help="TLBs, caches as unkind as they may be: tlb,caches[,seed=N][,rate=0..256].",
)
emulator_options = _together(
    click.option("--mmu", type=click.Choice(["model", "native"]), default="model",
                 show_default=True,
                 help="Who translates in the emulator: the Python MMU, or Unicorn's walker."),
    click.option("--quantum", type=click.IntRange(min=1), metavar="N",
                 help="Instructions of one CPU before the next one's turn (emulator)."),
    click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
                 help="Which interleaving of the CPUs (emulator)."),
    adversary_option,
)  # fmt: skip
interleaving_option: Decorator = click.option(
    "--interleaving",
    callback=_interleaving,
    metavar="SCHEDULE",
    help="How the CPUs take turns inside EL2, as `aether explore` has found it (emulator).",
)
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

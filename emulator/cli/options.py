# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

board_option: Decorator = click.option(
    "--board", default="virt", show_default=True, help="The board to run on."
)
ram_option: Decorator = click.option(
    "--ram", default="256MiB", show_default=True, metavar="SIZE", help="The board's RAM."
)
binary_option: Decorator = click.option(
    "--binary",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="An EL2 binary, flat or ELF, in place of the hypervisor.",
)
mmu_option: Decorator = click.option(
    "--mmu",
    type=click.Choice(["model", "native"]),
    default="model",
    show_default=True,
    help="Who translates in the emulator: the Python MMU, or Unicorn's walker.",
)
json_option: Decorator = click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Write the report as JSON too; - for stdout, the console then goes to stderr.",
)

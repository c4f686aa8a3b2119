# SPDX-License-Identifier: Apache-2.0
"""`aether build`: builds the hypervisor and tells what came out."""

from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.cli import output
from aether_edgecloud.emulator.toolchain import Artefact


@click.command("build")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Build the stubs and the hooks too.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, allow_dash=True),
              metavar="FILE", help="Write the facts as JSON; - for stdout.")  # fmt: skip
def command(names: tuple[str, ...], everything: bool, json_file: Path | None) -> int:
    """Build the EL2 binary, or the products NAMEd, unless they are up to date.

    CROSS_COMPILE=aarch64-linux-gnu- builds with that gcc in place of zig.
    """
    wanted = toolchain.recipe_names() if everything else names or ("el2",)
    errors = Console(stderr=True)
    built: list[Artefact] = []
    with errors.status("building") as status:
        for name in wanted:
            status.update(f"building {escape(name)}")
            built.append(toolchain.artefact(name))
    if json_file is not None:
        output.write_json(json_file, [_facts(artefact) for artefact in built])
    if json_file != output.STDOUT:
        for artefact in built:
            _print(artefact)
    return 0


def _print(artefact: Artefact) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(no_wrap=True)
    table.add_row("name", f"[bold]{escape(artefact.name)}[/] ({artefact.origin.value})")
    table.add_row("flat image", escape(str(artefact.flat)))
    table.add_row("ELF", escape(str(artefact.elf)))
    sizes = artefact.sizes
    table.add_row("text / data / bss", f"{sizes.text:,} / {sizes.data:,} / {sizes.bss:,} bytes")
    table.add_row("sha256", artefact.sha256)
    table.add_row("lines of code", f"{artefact.lines_of_code:,}")
    table.add_row("compiler", escape(artefact.compiler))
    console = output.wide()
    console.print(table)
    console.print()


def _facts(artefact: Artefact) -> dict[str, object]:
    sizes = artefact.sizes
    return {
        "name": artefact.name,
        "flat": str(artefact.flat),
        "elf": str(artefact.elf),
        "sha256": artefact.sha256,
        "elf_sha256": artefact.elf_sha256,
        "text": sizes.text,
        "data": sizes.data,
        "bss": sizes.bss,
        "lines_of_code": artefact.lines_of_code,
        "compiler": artefact.compiler,
        "origin": artefact.origin.value,
    }

# SPDX-License-Identifier: Apache-2.0
"""`aether bundle`: makes a bundle, or shows what is in one."""

from collections.abc import Sequence
from pathlib import Path

import click
from rich.markup import escape
from rich.table import Table

from aether_edgecloud.emulator import atomic_file
from aether_edgecloud.emulator.bundle import build, format, size, toml
from aether_edgecloud.emulator.bundle.manifest import Vm
from aether_edgecloud.emulator.cli import options, output
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.launch import binary, host, target


def _print_schema(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(toml.SCHEMA.read_text(encoding="utf-8"), nl=False)
        context.exit()


@click.command("bundle")
@click.argument("target_name", metavar="TARGET")
@click.option(
    "-o", "--output", "output_file", type=click.Path(path_type=Path), help="Write the bundle here."
)
@options.guest_options
@options.board_options
@click.option("--show", is_flag=True, help="Show the contents; writes nothing.")
@click.option("--schema", is_flag=True, is_eager=True, expose_value=False, callback=_print_schema,
              help="Print the JSON Schema of FILE.toml.")  # fmt: skip
def command(
    target_name: str,
    output_file: Path | None,
    guest: target.GuestChoice,
    board: host.BoardChoice,
    show: bool,
) -> int:
    """Make a bundle of TARGET (FILE.toml, or a guest's name), or --show one (FILE.bundle too).

    Memory pinned to host addresses is checked against --board and --ram.
    """
    if show == (output_file is not None):
        raise UserError(
            "say what to do with it", where="bundle", fix="give either -o OUT or --show"
        )
    if output_file is not None and _same_file(output_file, Path(target_name)):
        raise UserError(
            "is what the bundle is made of", where=str(output_file), fix="name another file"
        )
    found = target.resolve(target_name, guest)
    _check_pinned(found, board)
    if output_file is not None:
        atomic_file.write(output_file, found.bundle)
        click.echo(f"{output_file}: {len(found.bundle)} bytes", err=True)
        return 0
    _show(found)
    return 0


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them is not there yet
        return False


def _check_pinned(found: target.Target, choice: host.BoardChoice) -> None:
    """What is pinned must be free beside the hypervisor; the rest it places itself at boot."""
    manifest, _ = build.open_bundle(found.bundle, where=found.name)
    machine = host.board(choice, manifest, len(found.bundle))
    if all(m.host_address is None for vm in manifest.vms for m in vm.memory):
        return
    hypervisor = binary.load(None)
    layout = host.layout(machine, hypervisor.image.memory_size, len(found.bundle))
    build.open_bundle(found.bundle, where=found.name, host=layout)


def _show(found: target.Target) -> None:
    manifest, bundle = build.open_bundle(found.bundle, where=found.name)
    console = output.wide()
    for vm in manifest.vms:
        console.print(_vm_table(vm, manifest.vms, bundle))


def _vm_table(vm: Vm, vms: Sequence[Vm], bundle: format.Bundle) -> Table:
    table = Table(title=f"VM {escape(vm.name)}", title_justify="left", title_style="bold")
    table.add_column("what")
    table.add_column("IPA", justify="right", style="cyan")
    table.add_column("size", justify="right")
    table.add_column("")
    table.add_row("entry", f"{vm.entry:#x}", "", f"{vm.vcpus} vCPU, EL1")
    for memory in vm.memory:
        pinned = "" if memory.host_address is None else f"at PA {memory.host_address:#x}"
        table.add_row("memory", f"{memory.ipa:#x}", size.show(memory.size), pinned)
    for image in vm.images:
        blob = bundle.blobs[image.blob]
        is_dtb = vm.dtb_address == image.load_address
        note = f"{escape(blob.name)}{' (in x0)' if is_dtb else ''}"
        table.add_row("DTB" if is_dtb else "image", f"{image.load_address:#x}",
                      size.show(len(blob.data)), note)  # fmt: skip
    for device in vm.devices:
        table.add_row("device", f"{device.ipa:#x}", size.show(device.size), device.kind.value)
    for what, others in (("peers", vm.peers), ("manages", vm.manages or None)):
        if others is not None:
            table.add_row(what, "", "", ", ".join(escape(vms[n].name) for n in others) or "none")
    if vm.manual_start:
        table.add_row("start", "", "", "by a VM that manages it")
    return table

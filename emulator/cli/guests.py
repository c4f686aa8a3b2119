# SPDX-License-Identifier: Apache-2.0
"""`aether guests`: what can be run by name, and fetching what is not here yet."""

from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aether_edgecloud.emulator.cli import output
from aether_edgecloud.emulator.guests import catalogue, copies, fetch, store
from aether_edgecloud.guest_stubs import catalogue as stubs


@click.group("guests", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> int:
    """List the guests, or fetch one from Debian's packages."""
    if context.invoked_subcommand is None:
        _list()
    return 0


@command.command("fetch")
@click.argument("name")
def fetch_command(name: str) -> int:
    """Fetch the guest NAME; apt does the work, in a state folder of its own, without root."""
    guest = catalogue.packaged(name)
    errors = Console(stderr=True)
    with errors.status(f"fetching {guest.name}") as status:
        for step in fetch.fetch(guest):
            status.update(escape(step))
            if not errors.is_terminal:
                errors.print(escape(step))
    stored = store.record(guest.name)
    assert stored is not None
    click.echo(
        f"{guest.name}: {stored.package} {stored.version}, {stored.size} bytes,"
        f" sha256 {stored.sha256}"
    )
    if guest is catalogue.XEN:
        click.echo(f"`aether guests copy {guest.name} FOLDER` gives its files; run it with --bare")
    else:
        click.echo(f"run it with `aether run {guest.name}`")
    return 0


@command.command("copy")
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path))
def copy_command(name: str, folder: Path) -> int:
    """Copy the files of the fetched guest NAME to FOLDER: Image and initramfs.cpio of linux, xen
    and xen-syms of xen."""
    for file in copies.copy(name, folder):
        click.echo(str(file))
    return 0


def _list() -> None:
    table = Table(title="Guests", title_justify="left", title_style="bold")
    table.add_column("name", style="bold", no_wrap=True)
    table.add_column("what it is")
    table.add_column("here")
    for guest in catalogue.PACKAGED:
        stored = store.record(guest.name)
        here = f"yes, {stored.version}" if stored else f"no: aether guests fetch {guest.name}"
        what = f"{guest.summary} (Debian package {guest.package})"
        table.add_row(guest.name, what, escape(here))
    for stub in stubs.STUBS:
        table.add_row(escape(_stub_form(stub)), escape(stub.description), "yes, embedded")
    console = output.wide()
    console.print(table)
    console.print(f"Fetched guests lie in {escape(str(store.folder()))}")
    for stub in stubs.STUBS:
        if stub.cases:
            cases = ", ".join(case.name for case in stub.cases)
            console.print(f"Cases of {stub.name}: {escape(cases)}")


def _stub_form(stub: stubs.Stub) -> str:
    """The name with what may stand behind it."""
    case = "[:CASE]" if stub.cases else ""
    count = "[=COUNT]" if stub.default_parameter is not None else ""
    return f"{stub.name}{case}{count}"

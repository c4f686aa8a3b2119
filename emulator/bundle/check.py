# SPDX-License-Identifier: Apache-2.0
"""The rules a manifest obeys, checked before a bundle is written and before one is run.

The hypervisor checks the same rules again at boot: it trusts no bundle. Here they are told with the
place in the user's own file. What concerns one VM alone is in `check_vm`, slots in
`check_schedule`, what VMs may do with each other in `check_rights`; here is what VMs have to share,
and what the board has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aether_edgecloud.emulator.bundle import check_rights, check_schedule, check_vm
from aether_edgecloud.emulator.bundle.manifest import DeviceKind, Manifest, Vm
from aether_edgecloud.emulator.bundle.span import PA_LIMIT, check_apart, check_pages
from aether_edgecloud.emulator.bundle.span import Span as Span
from aether_edgecloud.emulator.errors import UserError

MAX_VMS = 8

_BLOCK = 2 << 20


@dataclass(frozen=True, slots=True)
class HostLayout:
    """The host's RAM, and what in it is taken already: the hypervisor, the bundle, the board's
    DTB (PAs, bytes). `cpus` is how many CPUs the board has, `devices` are the windows that the
    hypervisor keeps to itself."""

    ram: Span
    taken: tuple[Span, ...]
    cpus: int | None = None
    devices: tuple[Span, ...] = ()


def check(
    manifest: Manifest,
    blob_sizes: Sequence[int],
    *,
    where: Sequence[str],
    where_keys: Sequence[Mapping[str, str]] = (),
    where_schedule: str | None = None,
    host: HostLayout | None = None,
) -> None:
    """Raises UserError for the first rule the manifest breaks.

    `blob_sizes` are the sizes of the bundle's blobs in bytes; `where` names the place of each VM,
    and the place of the whole for a manifest without one; `where_keys` the places of keys of each
    VM, as far as they are known. With `host`, what the board has to give
    is checked too.
    """
    if not 1 <= len(manifest.vms) <= MAX_VMS:
        raise UserError(
            f"{len(manifest.vms)} VMs, and the hypervisor runs 1 to {MAX_VMS}",
            where=where[0] if where else None,
            fix="change their number",
        )
    for vm, place in zip(manifest.vms, where, strict=True):
        check_vm.check_vm(vm, blob_sizes, place)
    _check_names(manifest.vms, where)
    check_rights.check_rights(manifest.vms, where, where_keys)
    _check_host_addresses(manifest.vms, where)
    place = where_schedule if where_schedule is not None else where[0]
    check_schedule.check_schedule(
        manifest, where=place, board_cpus=None if host is None else host.cpus
    )
    if host is not None:
        _check_board(manifest.vms, host, where)


def _check_names(vms: Sequence[Vm], where: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for vm, place in zip(vms, where, strict=True):
        if vm.name in seen:
            raise UserError(
                f"a VM is called {vm.name!r} already ({seen[vm.name]})",
                where=place,
                fix="give each VM a name of its own",
            )
        seen[vm.name] = place


def _check_host_addresses(vms: Sequence[Vm], where: Sequence[str]) -> None:
    """What is pinned or passed through is one VM's only."""
    spans: list[Span] = []
    owners: dict[int, str] = {}
    for vm, where_vm in zip(vms, where, strict=True):
        place = f"{where_vm}: vm {vm.name}"
        for span in _host_spans(vm):
            check_pages(span, PA_LIMIT, "PA", place)
            spans.append(span)
        check_apart(spans, place)
        for device in vm.devices:
            if device.kind is not DeviceKind.PASSTHROUGH:
                continue
            for intid in device.interrupts:
                if intid in owners:
                    raise UserError(
                        f"interrupt {intid} is passed to {owners[intid]} already",
                        where=place,
                        fix="pass an interrupt to one VM",
                    )
                owners[intid] = vm.name


def _host_spans(vm: Vm) -> list[Span]:
    found = [
        Span(f"host memory of {vm.name}", m.host_address, m.size)
        for m in vm.memory
        if m.host_address is not None
    ]
    found += [
        Span(f"device passed to {vm.name}", d.host_address, d.size)
        for d in vm.devices
        if d.host_address is not None
    ]
    return found


def _check_board(vms: Sequence[Vm], host: HostLayout, where: Sequence[str]) -> None:
    """Refuses what the board does not have, or has for the hypervisor only."""
    for vm, where_vm in zip(vms, where, strict=True):
        place = f"{where_vm}: vm {vm.name}"
        for memory in vm.memory:
            if memory.host_address is not None:
                span = Span("host memory", memory.host_address, memory.size)
                _check_pinned(span, host, place)
        for device in vm.devices:
            if device.host_address is not None:
                span = Span("device", device.host_address, device.size)
                _check_passed(span, host, place)
    wanted = sum(m.size for vm in vms for m in vm.memory)
    room = host.ram.size - sum(t.size for t in host.taken)
    if wanted > room:
        raise UserError(
            f"{-(-wanted // _MIB)} MiB of guest memory do not fit into {host.ram.size // _MIB} MiB"
            f" of RAM, of which {max(room, 0) // _MIB} MiB are free",
            where=where[0] if len(vms) == 1 else where[0].partition(":")[0],
            fix="give the board more with --ram, or the VMs less",
        )


_MIB = 1 << 20


def _check_pinned(span: Span, host: HostLayout, place: str) -> None:
    if not host.ram.holds(span):
        raise UserError(
            f"{span} is not inside {host.ram}",
            where=place,
            fix="pin it elsewhere, or give the board more with --ram",
        )
    for taken in host.taken:
        if span.overlaps(taken):
            free = _round_up(max(t.end for t in host.taken))
            raise UserError(
                f"{span} overlaps {taken}",
                where=place,
                fix=f"pin it at {free:#x} or above, or leave `host` out",
            )


def _check_passed(span: Span, host: HostLayout, place: str) -> None:
    for taken in (host.ram, *host.devices):
        if span.overlaps(taken):
            raise UserError(
                f"{span} overlaps {taken}", where=place, fix="pass a device that is free"
            )


def _round_up(address: int) -> int:
    """The next 2 MiB boundary, where a pinned range maps with blocks."""
    return -(-address // _BLOCK) * _BLOCK

# SPDX-License-Identifier: Apache-2.0
"""The rules for what VMs may do with each other: FF-A peers, and who starts and manages whom."""

from collections.abc import Mapping, Sequence

from aether_edgecloud.emulator.bundle.manifest import Vm
from aether_edgecloud.emulator.errors import UserError


def check_rights(
    vms: Sequence[Vm], where: Sequence[str], where_keys: Sequence[Mapping[str, str]] = ()
) -> None:
    """Raises UserError for the first rule they break; `where` names the place of each VM,
    `where_keys` those of its keys, as far as they are known."""
    keys = where_keys or [{}] * len(vms)
    for number, vm in enumerate(vms):

        def place(key: str, number: int = number) -> str:
            return f"{keys[number].get(key, where[number])}: vm {vms[number].name}"

        for key, others in (("peers", vm.peers or ()), ("manages", vm.manages)):
            _check_list(key, others, number, len(vms), place(key))
        if vm.uuid is not None and vm.peers is None:
            fix = "give it peers, even none: peers = []"
            raise UserError("a uuid without peers", where=place("uuid"), fix=fix)
        for peer in vm.peers or ():
            if number not in (vms[peer].peers or ()):
                raise UserError(
                    f"{vms[peer].name} is its peer, and it is not one of {vms[peer].name}",
                    where=place("peers"),
                    fix="name each of the two in the peers of the other",
                )
        if vm.manual_start and not any(number in other.manages for other in vms):
            raise UserError(
                "is started by hand, and no VM manages it",
                where=place("start"),
                fix="name it in the `manages` of another VM",
            )
    if all(vm.manual_start for vm in vms):
        raise UserError(
            "no VM starts by itself", where=where[0], fix='say start = "auto" for one of them'
        )


def _check_list(key: str, others: Sequence[int], own: int, count: int, place: str) -> None:
    fix = "name other VMs, each once"
    if len(set(others)) != len(others):
        raise UserError(f"{key} has a VM twice", where=place, fix=fix)
    if own in others:
        raise UserError(f"{key} has the VM itself", where=place, fix=fix)
    if any(other >= count for other in others):
        raise UserError(f"{key} has a VM that there is not", where=place, fix=fix)

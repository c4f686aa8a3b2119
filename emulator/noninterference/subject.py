# SPDX-License-Identifier: Apache-2.0
"""What is run twice, from a run that was requested."""

from aether_edgecloud.emulator.bundle import build
from aether_edgecloud.emulator.bundle.manifest import DeviceKind, Manifest
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.launch.machine import build_machine
from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.emulator.machine.console import InputSource
from aether_edgecloud.emulator.noninterference import channels
from aether_edgecloud.emulator.noninterference.booted import Booted
from aether_edgecloud.emulator.noninterference.pair import Subject
from aether_edgecloud.emulator.noninterference.secret import USUAL, SecretKind
from aether_edgecloud.emulator.report.request import RunRequest

_MOST_TYPED = 9
"""Ctrl-T and one digit name a VM."""


def subject_of(request: RunRequest, secret: str) -> Subject:
    """The bundle of a request, VM `secret` being the one that has a secret. UserError if there is
    no such VM, or no other."""
    manifest, bundle = build.open_bundle(request.bundle, where=request.target)
    number = number_of(request.vms, secret, "--secret")
    if len(manifest.vms) == 1:
        fix = "describe several in FILE.toml"
        raise UserError("has no other VM that could see anything", where=request.target, fix=fix)

    def build_it(source: InputSource) -> Machine:
        return build_machine(request, source)

    return Subject(
        build=build_it,
        booted=Booted(build_it).machine,
        names=request.vms,
        sizes=tuple(sum(memory.size for memory in vm.memory) for vm in manifest.vms),
        secret=number,
        entry=manifest.vms[number].entry,
        kept=tuple(
            range(image.load_address, image.load_address + len(bundle.blobs[image.blob].data))
            for image in manifest.vms[number].images
        ),
        ways=tuple(channels.declared(manifest, number).items()),
        kinds=USUAL | {SecretKind.INPUT} if _can_type(manifest, number) else USUAL,
    )


def compared(subject: Subject, names: tuple[str, ...] = ()) -> frozenset[int]:
    """The VMs that are compared, by number: those named, or all to which no channel leads.
    UserError if there is none."""
    others = frozenset(range(len(subject.names))) - {subject.secret}
    if names:
        found = frozenset(number_of(subject.names, name, "--compare") for name in names)
        if not found <= others:
            raise UserError("is the VM with the secret", where="--compare", fix="name another")
        return found
    ways = dict(subject.ways)
    free = others - ways.keys()
    if not free:
        told = "; ".join(str(ways[number][-1]) for number in sorted(others))
        raise UserError(
            f"every other VM may learn of it, as the manifest says: {told}",
            where=f"--secret {subject.names[subject.secret]}",
            fix="name one with --compare that you know does not use it",
        )
    return free


def number_of(names: tuple[str, ...], name: str, where: str) -> int:
    """The number of the VM called `name`. UserError at `where` if there is none."""
    if name not in names:
        raise UserError(f"no VM {name!r}", where=where, fix=f"there are: {', '.join(names)}")
    return names.index(name)


def _can_type(manifest: Manifest, number: int) -> bool:
    devices = manifest.vms[number].devices
    return number < _MOST_TYPED and any(d.kind is DeviceKind.VPL011 for d in devices)

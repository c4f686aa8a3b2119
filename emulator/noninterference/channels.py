# SPDX-License-Identifier: Apache-2.0
"""Which VMs a manifest lets the secret flow to."""

from collections.abc import Sequence
from dataclasses import dataclass

from aether_edgecloud.emulator.bundle.manifest import Manifest, Vm


@dataclass(frozen=True, slots=True)
class Channel:
    """A way that the manifest opens between two VMs, by name."""

    vms: tuple[str, str]
    what: str

    def __str__(self) -> str:
        return f"{self.vms[0]} {self.what} {self.vms[1]}"


def declared(manifest: Manifest, secret: int) -> dict[int, tuple[Channel, ...]]:
    """By number, each VM that can learn of what VM `secret` does, and by which channels, nearest
    to the secret first. What a VM learns it may tell on."""
    vms = manifest.vms
    ways: dict[int, tuple[Channel, ...]] = {secret: ()}
    reached = [secret]
    for one in reached:
        for other in range(len(vms)):
            channel = _between(vms, one, other)
            if other not in ways and channel is not None:
                ways[other] = (*ways[one], channel)
                reached.append(other)
    del ways[secret]
    return ways


def _between(vms: Sequence[Vm], one: int, other: int) -> Channel | None:
    names = (vms[one].name, vms[other].name)
    if other in (vms[one].peers or ()):
        return Channel(names, "is an FF-A peer of")
    if other in vms[one].manages:
        return Channel(names, "manages")
    if one in vms[other].manages:
        return Channel(names, "is managed by")
    return None

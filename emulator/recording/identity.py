# SPDX-License-Identifier: Apache-2.0
"""Which run a recording is of: all that a run is a function of, apart from its input."""

import dataclasses
import hashlib
import importlib.metadata
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import unicorn

from aether_edgecloud import emulator
from aether_edgecloud.emulator.adversary import plan
from aether_edgecloud.emulator.boards.board import (
    Board,
    DeviceKind,
    DeviceNode,
    Interrupt,
    TimerInterrupts,
    Trigger,
)
from aether_edgecloud.emulator.boards.spin_table import SpinTable
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.cpu.engine_state import layout
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.interleave import interleaving as schedules
from aether_edgecloud.emulator.machine import BootImage, Machine
from aether_edgecloud.emulator.machine.payload import Payload
from aether_edgecloud.emulator.machine.setup import Setup
from aether_edgecloud.emulator.recording import document
from aether_edgecloud.emulator.recording.document import Malformed, listed
from aether_edgecloud.emulator.recording.typed import checked

_DISTRIBUTION = "aether-edgecloud"
_DECIDES = (
    *("adversary", "arch", "boards", "cpu", "devices", "firmware", "interleave", "machine"),
    "monitor",
)
"""Packages of the emulator in which a run is computed."""


@dataclass(frozen=True, slots=True)
class Versions:
    """By what a recording was made. `emulator` is a SHA-256 over the sources that compute a run,
    `layout` one over that of the saved state."""

    aether: str
    unicorn: str
    emulator: str
    layout: str


@dataclass(frozen=True, slots=True)
class Identity:
    """The machine of a run. Hashes are SHA-256 as hex; `memory_size` is what the binary takes once
    loaded, in bytes; `machine` is what snapshots of this machine carry."""

    target: str
    """What the user called it."""
    vms: tuple[str, ...]
    """The VMs of the bundle, by number: VMID n is the nth."""
    binary_sha256: str
    bundle_sha256: str
    memory_size: int
    board: Board
    mmu: MmuMode
    quantum: int
    seed: int
    bootargs: str
    machine: str
    versions: Versions
    has_payload: bool = False
    """In place of a bundle there are the packed pieces of a `Payload`."""
    adversary: str = ""
    """As `--adversary` has it; empty without one."""
    interleaving: str = ""
    """As `--interleaving` has it; empty without one."""

    @staticmethod
    def of(setup: Setup, target: str, vms: tuple[str, ...]) -> "Identity":
        """That of a machine here and now."""
        return Identity(
            target,
            vms,
            setup.image.sha256,
            hashlib.sha256(setup.carried()).hexdigest(),
            setup.image.memory_size,
            setup.board,
            setup.mmu,
            setup.quantum,
            setup.seed,
            setup.bootargs,
            setup.digest(),
            our_versions(),
            setup.payload is not None,
            "" if setup.adversary is None else str(setup.adversary),
            "" if setup.interleaving is None else str(setup.interleaving),
        )

    def setup(self, image: bytes, bundle: bytes, where: str) -> Setup:
        """What its machine is built of. UserError if that is not what ran."""
        fix = "copy the file again, or record the run again"
        if hashlib.sha256(image).hexdigest() != self.binary_sha256:
            raise UserError("its binary is not the one that ran", where=where, fix=fix)
        if hashlib.sha256(bundle).hexdigest() != self.bundle_sha256:
            raise UserError("its bundle is not the one that ran", where=where, fix=fix)
        setup = Setup(
            self.board,
            BootImage(image, self.memory_size),
            b"" if self.has_payload else bundle,
            self.mmu,
            self.bootargs,
            self.quantum,
            self.seed,
            adversary=plan.parse(self.adversary, where) if self.adversary else None,
            payload=Payload.unpack(bundle, where) if self.has_payload else None,
            interleaving=schedules.parse(self.interleaving, where) if self.interleaving else None,
        )
        # Before anything is built of a board that may be of any size.
        is_the_same = self.machine.startswith(setup.board_digest())
        try:
            is_the_same = is_the_same and setup.digest() == self.machine
        except (UserError, ValueError):  # no place for the binary, no text for a device tree
            is_the_same = False
        if not is_the_same:
            raise UserError(
                "its board is not as this version makes it",
                where=where,
                fix=f"replay it with aether {self.versions.aether}",
            )
        return setup

    def to_plain(self) -> dict[str, Any]:
        """Values that go through JSON unchanged."""
        plain = dataclasses.asdict(self)
        plain["board"]["devices"] = [
            {
                "kind": node.kind.name,
                "base": node.base,
                "size": node.size,
                "interrupts": [[i.intid, i.trigger.name] for i in node.interrupts],
            }
            for node in self.board.devices
        ]
        return plain | {"mmu": self.mmu.value}

    @staticmethod
    def from_json(data: bytes) -> "Identity":
        """The identity that was written, as JSON of `to_plain`. Malformed for anything else."""
        values = document.parse(data)
        try:
            values["vms"] = tuple(listed(values["vms"]))
            values["mmu"] = MmuMode(values["mmu"])
            values["board"] = _board(values["board"])
            values["versions"] = Versions(**values["versions"])
            found = checked(Identity(**values), Identity)
            if found.quantum < 1:
                raise ValueError(f"a quantum of {found.quantum}")
            return found
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            raise Malformed(f"no identity: {e}") from e

    def check_versions(self, where: str, *, any_emulator: bool) -> str | None:
        """UserError if this emulator cannot repeat the run. With `any_emulator` one of which only
        the sources differ is let through; the note that says so comes back."""
        ours, theirs = our_versions(), self.versions
        fix = f"replay it with aether {theirs.aether} as it was then, or record it again"
        if theirs.unicorn != ours.unicorn:
            raise UserError(
                f"recorded with Unicorn {theirs.unicorn}; this is {ours.unicorn}",
                where=where,
                fix=fix,
            )
        if theirs.layout == ours.layout and theirs.emulator == ours.emulator:
            return None
        if theirs.emulator == ours.emulator:
            raise UserError(
                f"recorded with another build of Unicorn {ours.unicorn}", where=where, fix=fix
            )
        what = (
            f"recorded with another emulator (aether {theirs.aether}, sources "
            f"{theirs.emulator[:12]}); this is aether {ours.aether}, {ours.emulator[:12]}"
        )
        if theirs.layout != ours.layout or not any_emulator:
            raise UserError(what, where=where, fix=fix)
        return f"{what}: what lies between two checkpoints may differ"


def mmu_is_recordable(machine: Machine) -> bool:
    """Only with the MMU model a run goes on the same from a checkpoint in another process."""
    return machine.setup.mmu is MmuMode.MODEL


@cache
def our_versions() -> Versions:
    """Those of this installation."""
    try:
        aether = importlib.metadata.version(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        aether = "(not installed)"
    saved = hashlib.sha256(repr(layout()).encode()).hexdigest()
    return Versions(aether, unicorn.__version__, _hash_sources(), saved)


def _hash_sources() -> str:
    root = Path(emulator.__path__[0])
    digest = hashlib.sha256()
    for package in _DECIDES:
        for path in sorted((root / package).iterdir()):
            if path.suffix in (".py", ".c", ".h"):
                data = path.read_bytes()
                digest.update(f"{package}/{path.name} {len(data)}\n".encode() + data)
    return digest.hexdigest()


def _board(plain: dict[str, Any]) -> Board:
    values = dict(plain)
    values["devices"] = tuple(
        DeviceNode(
            DeviceKind[node["kind"]],
            node["base"],
            node["size"],
            tuple(Interrupt(intid, Trigger[name]) for intid, name in listed(node["interrupts"])),
        )
        for node in listed(values["devices"])
    )
    values["timer"] = TimerInterrupts(**values["timer"])
    if values["spin_table"] is not None:
        values["spin_table"] = SpinTable(**values["spin_table"])
    return Board(**values)

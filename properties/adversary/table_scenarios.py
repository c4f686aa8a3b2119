# SPDX-License-Identifier: Apache-2.0
"""What the binaries of the table run: guests that look at memory which they must not see, and say
what they have seen. Nothing here knows the hypervisor's inside."""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.bundle.build import build
from aether_edgecloud.emulator.bundle.description import (
    Description,
    DtbChoice,
    ImageBytes,
    VmDescription,
)
from aether_edgecloud.emulator.bundle.manifest import DeviceKind, Memory
from aether_edgecloud.guest_stubs import catalogue
from aether_edgecloud.properties.adversary import table_malformed
from aether_edgecloud.properties.adversary.table_builds import Program

MEMORY_IPA = 0x4020_0000
MEMORY_SIZE = 0x3_0000
CODE_IPA = MEMORY_IPA + 0x1_8000
RETURN_1 = struct.pack("<II", 0x5280_0020, 0xD65F_03C0)
"""MOV W0, #1; RET"""
WITH_LOOKER = 0x100


@dataclass(frozen=True, slots=True)
class Actor:
    """A VM with a case of the stub `witness`; `cpus` has the pCPU of each vCPU."""

    name: str
    case: str
    parameter: int = 0
    cpus: tuple[int, ...] = (0,)
    peers: tuple[str, ...] | None = None
    manages: tuple[str, ...] = ()

    def describe(self) -> VmDescription:
        stub = catalogue.find("witness")
        image = catalogue.patched(
            toolchain.artefact("stub:witness").flat.read_bytes(),
            case=stub.case(self.case).number,
            parameter=self.parameter,
        )
        return VmDescription(
            name=self.name,
            memory=(Memory(MEMORY_IPA, MEMORY_SIZE),),
            images=(
                ImageBytes("witness", image, MEMORY_IPA),
                ImageBytes("code", RETURN_1, CODE_IPA),
            ),
            entry=MEMORY_IPA,
            vcpus=len(self.cpus),
            cpus=self.cpus,
            devices=(DeviceKind.VPL011,),
            dtb=DtbChoice.NONE,
            peers=self.peers,
            manages=self.manages,
        )


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is booted on a board with so many CPUs. `most`: instructions after which a boot is
    stuck; the real binary needs a small part of them."""

    name: str
    what: str
    actors: tuple[Actor, ...] = ()
    cpus: int = 1
    most: int = 8_000_000
    refused: Callable[[], Mapping[str, bytes]] | None = None
    """In place of actors: bundles that the real binary does not take."""

    @property
    def program(self) -> Program:
        """Of the hypervisor nothing runs without actors and bundles, but the page-table library."""
        is_hypervisor = self.actors or self.refused is not None
        return Program.HYPERVISOR if is_hypervisor else Program.DRILL

    def bundles(self) -> Mapping[str, bytes]:
        """One for each boot, by what it is; an empty one: the program takes none."""
        if self.refused is not None:
            return self.refused()
        if not self.actors:
            return {"": b""}
        actors = tuple(actor.describe() for actor in self.actors)
        return {"": build(Description(actors), where=self.name)}


SCENARIOS = (
    Scenario(
        "lending",
        "two VMs on one CPU lend and give each other pages, data and code, and describe some"
        " wrongly; each of them ends once",
        (
            Actor("owner", "owner", parameter=2, peers=("server",)),
            Actor("server", "server", parameter=1, peers=("owner",)),
        ),
    ),
    Scenario(
        "library",
        "no guests: the page-table library alone at EL2, which splits, protects, replaces, frees"
        " and reuses on live tables, and looks where translation leads, to what type of memory,"
        " and what is executed there",
    ),
    Scenario(
        "two-cpus",
        "as `lending`, and a second vCPU of the owner, on another CPU, looks too",
        (
            Actor("owner", "owner", 2 | WITH_LOOKER, (0, 1), peers=("server",)),
            Actor("server", "server", 1, (1,), peers=("owner",)),
        ),
        cpus=2,
    ),
    Scenario(
        "shared-cpu",
        "two vCPUs of one VM on one CPU, with one ASID and different tables; the first starts the"
        " second, also in ways that are wrong",
        (Actor("pair", "two-on-one-cpu", cpus=(0, 0), peers=()),),
    ),
    Scenario(
        "lives",
        "a VM with its caches off reads all of its memory in each life, and dirties it; another"
        " one ends it, destroys it, and makes it anew",
        (
            Actor("manager", "manager", peers=(), manages=("subject",)),
            Actor("subject", "lives-on"),
        ),
    ),
    Scenario(
        "malformed",
        "boots with bundles that no tool makes, each with one thing wrong: a size that wraps, an"
        " image or memory that does not fit, a name that is not in its device tree",
        refused=table_malformed.bundles,
    ),
)


def find(name: str) -> Scenario:
    """The scenario called `name`; KeyError if there is none."""
    for scenario in SCENARIOS:
        if scenario.name == name:
            return scenario
    raise KeyError(name)

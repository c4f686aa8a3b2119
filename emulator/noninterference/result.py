# SPDX-License-Identifier: Apache-2.0
"""What a comparison of two runs has found, as plain values."""

from dataclasses import dataclass
from enum import Enum

from aether_edgecloud.emulator.noninterference.channels import Channel
from aether_edgecloud.emulator.noninterference.secret import Secret

MOST_BYTES = 32


class Verdict(Enum):
    """What can be said of one VM."""

    EQUAL = "equal"
    """It sees the same in both runs, as far as they went."""
    DIFFERENT = "different"
    VOID = "void"
    """It was not compared: a channel that the manifest opens may tell it."""
    NOT_RUN = "not run"
    """It was never entered: nothing is known."""


@dataclass(frozen=True, slots=True)
class VmResult:
    """What became of one VM: how many crossings of its vCPUs were compared and the BLAKE2b digest
    of them all, how often its memory was looked at, and why it was not compared."""

    name: str
    vmid: int
    verdict: Verdict
    crossings: int = 0
    digest: str = ""
    memory_looks: int = 0
    channels: tuple[Channel, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run stands: instructions of all CPUs, and the system counter of the one meant."""

    position: int
    counter: int


@dataclass(frozen=True, slots=True)
class DifferentValue:
    """A register, or another number that a vCPU sees."""

    name: str
    a: int
    b: int


@dataclass(frozen=True, slots=True)
class DifferentMemory:
    """The first bytes that differ in a page at `ipa`; `offset` counts from its start."""

    ipa: int
    offset: int
    a: bytes
    b: bytes


@dataclass(frozen=True, slots=True)
class Difference:
    """The first crossing at which a vCPU sees something else. `a` and `b` are its places in the two
    runs, None where the run has no such crossing; `before` is what the last one was, that is the
    same in both. `memory` has the first pages that differ of `pages`."""

    vm: str
    vcpu: int
    number: int
    what: str
    cpu: int
    a: Place | None
    b: Place | None
    before: str
    values: tuple[DifferentValue, ...] = ()
    memory: tuple[DifferentMemory, ...] = ()
    pages: int = 0
    why: str = ""
    """In words, where no values can tell it."""


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How one of the runs ended: the stop's kind, or that it went on to the limit of time."""

    why: str
    instructions: int
    counter: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs that differ in a VM's secret."""

    secret_vm: str
    a: Secret
    b: Secret
    vms: tuple[VmResult, ...]
    difference: Difference | None
    ends: tuple[RunEnd, RunEnd]
    planted: int
    """Bytes, in each of the runs."""
    secret_shows: bool
    """The secret VM itself ran otherwise: at least one of its entries or exits was at another PC or
    another time. If not, little was tried."""

    @property
    def holds(self) -> bool:
        """No VM that was compared saw anything of the secret."""
        return self.difference is None

# SPDX-License-Identifier: Apache-2.0
"""Two runs of one machine, with two secrets, side by side: what VMs see in both is compared while
they go on, so that the first difference ends them."""

import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from aether_edgecloud.emulator.machine import Machine, Stop, StopKind
from aether_edgecloud.emulator.machine.console import InputSource
from aether_edgecloud.emulator.noninterference.channels import Channel
from aether_edgecloud.emulator.noninterference.crossings import ENTRY, Crossing, CrossingLog, Vcpu
from aether_edgecloud.emulator.noninterference.result import RunEnd
from aether_edgecloud.emulator.noninterference.secret import (
    USUAL,
    Planter,
    Secret,
    SecretKind,
    Typed,
)
from aether_edgecloud.emulator.recording.recorder import Recorder

_STEP = 200_000
"""Instructions that one run gets ahead of the other."""
_DIGEST = 16
_AT_LIMIT = (StopKind.LIMIT, StopKind.BREAK)
_TICKS_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Subject:
    """A schedule that is run twice. VM `n` has VMID n + 1; `names` and `sizes` (bytes of memory)
    are by number.

    `secret` is the number of the VM that has one. It starts at IPA `entry`, `kept` are IPAs of its
    images, `ways` the channels by which others may learn of it, `kinds` the usual places of the
    secret. `build` makes a machine at reset, `booted` one that is about to enter its first guest.
    """

    build: Callable[[InputSource], Machine]
    booted: Callable[[InputSource], Machine]
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    secret: int
    entry: int
    kept: tuple[range, ...] = ()
    ways: tuple[tuple[int, tuple[Channel, ...]], ...] = ()
    kinds: frozenset[SecretKind] = USUAL


@dataclass(frozen=True, slots=True)
class Options:
    """`ticks`: how far the runs go. `vms`: the VMs, by number, that are compared."""

    ticks: int
    vms: frozenset[int]
    is_timed: bool = True
    has_memory: bool = True


Looks = Callable[[Vcpu, int], bool]
"""Whether the memory of a vCPU is looked at, at the entry of that number."""


class Side:
    """One of the runs. With a `recorder` it is recorded."""

    def __init__(
        self,
        subject: Subject,
        secret: Secret,
        options: Options,
        looks: Looks | None = None,
        copied_at: tuple[Vcpu, int] | None = None,
        recorder: Callable[[Machine], Recorder] | None = None,
    ) -> None:
        has_input = SecretKind.INPUT in secret.kinds
        typed = Typed(secret.typed(subject.secret + 1) if has_input else b"")
        is_from_reset = recorder is not None or SecretKind.RESIDUE in secret.kinds
        self.machine = (subject.build if is_from_reset else subject.booted)(typed)
        self.end: RunEnd | None = None
        self._ticks = options.ticks
        self.recorder = None if recorder is None else recorder(self.machine)
        self.log = CrossingLog(
            self.machine,
            frozenset(number + 1 for number in options.vms),
            is_timed=options.is_timed,
            looks_at_memory=looks if options.has_memory else None,
            copied_at=copied_at,
        )
        self.planter = Planter(
            *(self.machine, self.log.memory, secret),
            *(subject.secret + 1, subject.entry, subject.kept),
        )
        self.log.on_other_entry = self.planter.entered
        if SecretKind.RESIDUE in secret.kinds:
            self.planter.plant_residue()
            self._planted()

    @property
    def counter(self) -> int:
        """The system counter of the CPU that is farthest."""
        return max(self.machine.counter_of(n) for n in range(len(self.machine.cpus)))

    def advance(self, until: int | None = None) -> None:
        """Go on for a while, at most until so many instructions have retired; where the machine
        stops or the limit of time is reached, the run has its end."""
        target = self.machine.instructions + _STEP
        stop = self._run(target if until is None else min(target, until))
        if self.planter.is_due:
            self.planter.plant()
            self._planted()
        elif stop.kind not in _AT_LIMIT:
            self.end = RunEnd(stop.kind.value, stop.instructions, self.counter)
        elif self.counter >= self._ticks:
            self.end = RunEnd("the limit of time", stop.instructions, self.counter)

    def has_passed(self, crossing: Crossing) -> bool:
        """Whether what has not happened at that time on that CPU will not happen any more."""
        if self.end is not None and not self.is_at_limit:
            return True
        return self.machine.counter_of(crossing.cpu) > crossing.counter

    @property
    def is_at_limit(self) -> bool:
        """It has ended, and not by itself."""
        return self.end is not None and self.counter >= self._ticks

    def timelines(self, vmid: int) -> tuple[tuple[int, int], ...]:
        """Hash and number of a VM's entries and exits, for each CPU."""
        return tuple(cpu.timelines.get(vmid, (0, 0)) for cpu in self.machine.cpus)

    def close(self) -> None:
        """Give the memory back."""
        self.log.close()
        self.machine.close()

    def _run(self, until: int) -> Stop:
        return self.machine.run(until) if self.recorder is None else self.recorder.run(until)

    def _planted(self) -> None:
        """The machine is not what its instructions have made of it: replays have to know."""
        if self.recorder is not None:
            self.recorder.become(self.machine.snapshot())


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The first crossing of a vCPU that is not the same; None in the run that has none."""

    vcpu: Vcpu
    a: Crossing | None
    b: Crossing | None
    before: Crossing | None

    @property
    def number(self) -> int:
        """Of the crossing."""
        return (self.a or self.b or _NOTHING).number

    @property
    def counter(self) -> int:
        """When it was, in the run that has it first."""
        return min(c.counter for c in (self.a, self.b) if c is not None)

    @property
    def is_of_memory_alone(self) -> bool:
        """Nothing but what memory holds differs."""
        return (
            self.a is not None
            and self.b is not None
            and self.a.memory != self.b.memory
            and (self.a.registers, self.a.extra, self.a.vectors, self.a.kind)
            == (self.b.registers, self.b.extra, self.b.vectors, self.b.kind)
        )


_NOTHING = Crossing(Vcpu(0, 0), 0, ENTRY, 0, 0, 0, b"", b"", ())


class Pair:
    """Both runs. `check` is called now and then, and may raise to end them."""

    def __init__(
        self,
        subject: Subject,
        secrets: tuple[Secret, Secret],
        options: Options,
        *,
        looks: Looks | None = None,
        copied_at: tuple[Vcpu, int] | None = None,
        check: Callable[[int], None] = lambda counter: None,
    ) -> None:
        self.subject, self.options = subject, options
        self._check = check
        usual = looks or self._usual_looks
        self.a = Side(subject, secrets[0], options, usual, copied_at)
        self.b = Side(subject, secrets[1], options, usual, copied_at)
        self.last: dict[Vcpu, Crossing] = {}
        """By vCPU: the last crossing that was the same in both."""
        self.looked: dict[Vcpu, int] = {}
        """By vCPU: the number of the last one at which memory was the same."""
        self.memory_looks: dict[int, int] = {}
        self._digests: dict[Vcpu, hashlib.blake2b] = {}

    def close(self) -> None:
        """Give the memory back."""
        self.a.close()
        self.b.close()

    def run(self) -> Mismatch | None:
        """Until the first difference, or to the end of both."""
        while True:
            sides = [side for side in (self.a, self.b) if side.end is None]
            if not sides:
                return self._match(is_over=True)
            min(sides, key=lambda side: side.counter).advance()
            self._check(min(self.a.counter, self.b.counter))
            found = self._match(is_over=False)
            if found is not None:
                return found

    def crossings(self, vmid: int) -> int:
        """How many of a VM were compared, and were the same."""
        return sum(last.number + 1 for vcpu, last in self.last.items() if vcpu.vmid == vmid)

    def digest(self, vmid: int) -> str:
        """Of them all."""
        whole = hashlib.blake2b(digest_size=_DIGEST)
        for vcpu in sorted(self._digests):
            if vcpu.vmid == vmid:
                whole.update(self._digests[vcpu].digest())
        return whole.hexdigest()

    def has_same_memory_now(self, vmid: int) -> bool | None:
        """Whether a VM that runs on no CPU has the same memory in both; None if it runs, or if that
        was never looked at."""
        last = [one for vcpu, one in self.last.items() if vcpu.vmid == vmid]
        is_out = all(one.kind != ENTRY for one in last)
        regions = (self.a.log.regions.get(vmid), self.b.log.regions.get(vmid))
        left = any(q for s in (self.a, self.b) for v, q in s.log.pending.items() if v.vmid == vmid)
        if not is_out or left or regions[0] is None or regions[1] is None:
            return None
        return self.a.log.memory.digest(regions[0]) == self.b.log.memory.digest(regions[1])

    def _usual_looks(self, vcpu: Vcpu, number: int) -> bool:
        """The more memory there is the less often."""
        pages = self.subject.sizes[vcpu.vmid - 1] >> 12
        return number // 2 % min(64, max(8, pages // 64)) == 0

    def _match(self, *, is_over: bool) -> Mismatch | None:
        found: list[Mismatch] = []
        for vcpu in sorted(self.a.log.pending.keys() | self.b.log.pending.keys()):
            one, other = (s.log.pending.setdefault(vcpu, deque()) for s in (self.a, self.b))
            while one and other and one[0].is_same(other[0]):
                self._accept(one.popleft())
                other.popleft()
            if one and other:
                found.append(Mismatch(vcpu, one[0], other[0], self.last.get(vcpu)))
            elif one and self._lacks(self.b, one[0], is_over=is_over):
                found.append(Mismatch(vcpu, one[0], None, self.last.get(vcpu)))
            elif other and self._lacks(self.a, other[0], is_over=is_over):
                found.append(Mismatch(vcpu, None, other[0], self.last.get(vcpu)))
        return min(found, key=lambda one: one.counter, default=None)

    def _lacks(self, side: Side, crossing: Crossing, *, is_over: bool) -> bool:
        if self.options.is_timed:
            return side.has_passed(crossing)
        return is_over and not (self.a.is_at_limit or self.b.is_at_limit)

    def _accept(self, crossing: Crossing) -> None:
        vcpu = crossing.vcpu
        self.last[vcpu] = crossing
        if vcpu not in self._digests:
            self._digests[vcpu] = hashlib.blake2b(digest_size=_DIGEST)
        self._digests[vcpu].update(crossing.packed())
        if crossing.memory:
            self.looked[vcpu] = crossing.number
            self.memory_looks[vcpu.vmid] = self.memory_looks.get(vcpu.vmid, 0) + 1

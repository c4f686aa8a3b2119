# SPDX-License-Identifier: Apache-2.0
"""Puppets, specification and oracle together: calls are made for real, judged, and looked at.

Every step is noted in words first, so that whatever goes wrong can be told with what led to it.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from itertools import permutations, product
from typing import Self

from aether_edgecloud.properties.attack import message_rules, rules
from aether_edgecloud.properties.attack.abi import (
    FAST_64,
    MASK32,
    PAGE,
    SETTLED,
    Code,
    Ffa,
    Life,
    Vendor,
)
from aether_edgecloud.properties.attack.oracle import WORD, Oracle
from aether_edgecloud.properties.attack.ownership import Config, Doing, State, Vcpu, initial
from aether_edgecloud.properties.attack.puppet_code import Piece
from aether_edgecloud.properties.attack.puppets import (
    MEMORY_IPA,
    Puppets,
    Result,
    Who,
)
from aether_edgecloud.properties.attack.verdict import Answer, Verdict, Wrong, judge, refusal
from aether_edgecloud.properties.attack.world import TRIO, World

KEPT = (*range(8, 23), 28, 29, 30)
"""Registers that no call changes."""
FILL = 0x5A5A_0000_0000_0000
ACTIVE = (Doing.RESTS, Doing.SERVES, Doing.TOLD)
MOST_SLOTS = 1000
"""In which a VM gets where a manager sends it."""
ABORTED = (Ffa.ERROR, 0, Code.ABORTED & 0xFFFF_FFFF, 0, 0, 0, 0, 0)
Pair = tuple[int, int]


def configs(world: World, puppets: Puppets) -> tuple[Config, ...]:
    """What the manifest of a world says."""
    return tuple(
        Config(
            place.name,
            tuple(pa >> 12 for pa in puppets.own_pages(n)),
            len(place.cpus),
            MEMORY_IPA >> 12,
            frozenset(world.number(peer) for peer in place.peers or ()),
            frozenset(world.number(other) for other in place.manages),
            place.peers is not None,
            place.restart.value != 0,
        )
        for n, place in enumerate(world.places)
    )


class Caller:
    """A world whose vCPUs call the hypervisor."""

    def __init__(self, world: World = TRIO, puppets: Puppets | None = None) -> None:
        self.world = world
        self.puppets = puppets or Puppets(world)
        self.state = initial(configs(world, self.puppets))
        self.state = self.state.with_vcpus(
            {(w.vm, w.vcpu): Vcpu(Doing.RESTS) for w in self.puppets.everyone}
        ).changed(values={c.frames[0]: None for c in self.state.configs})
        self._initial = self.state
        self.oracle = Oracle(self.puppets)
        self.log: list[str] = []
        self.calls = 0
        self.postponed: dict[Pair, tuple[int, ...]] = {}
        self.oracle.check(self.state)

    def anew(self) -> Self:
        """The same at its beginning; the machine has been put back there."""
        other = copy(self)
        other.state, other.log, other.calls = self._initial, [], 0
        other.postponed = {}
        other.oracle.forget()
        return other

    # Words.

    def name(self, who: Pair) -> str:
        return f"{self.world.places[who[0]].name}.{who[1]}"

    def note(self, words: str) -> None:
        """Before a step is done."""
        self.log.append(words)

    def explain(self, error: BaseException) -> str:
        """A failure with the steps that led to it."""
        steps = "\n".join(f"  {n:3} {words}" for n, words in enumerate(self.log, 1))
        return f"{error}\nafter these steps:\n{steps}"

    # Who can act.

    def able(self, who: Pair) -> bool:
        """Whether a vCPU is in its VM and can be made to do something."""
        doing = self.state.vcpus[who].doing
        return self.state.lives[who[0]] is Life.RUNNING and doing in ACTIVE

    @property
    def actors(self) -> list[Pair]:
        return [who for who in self.state.vcpus if self.able(who)]

    @property
    def here(self) -> list[Pair]:
        """Those in a slot of theirs now, that would act at once."""
        return [(who.vm, who.vcpu) for who in self.puppets.at_rest()]

    def can_race(self, one: Pair, other: Pair) -> bool:
        """Whether two vCPUs are on different pCPUs and have a slot at the same time."""
        return self.world.can_meet(one, other)

    # Memory of guests.

    def pa(self, vm: int, ipa: int) -> int | None:
        """Where an IPA leads, by the specification."""
        entry = self.state.maps[vm].get(ipa >> 12)
        return None if entry is None else (entry.frame << 12) | (ipa & PAGE - 1)

    def tx(self, vm: int, state: State | None = None) -> bytes:
        """The content of a VM's TX page, of which `state` (or the present one) says where it is."""
        box = (state or self.state).boxes[vm]
        return b"" if box is None else self._page(vm, box.tx)

    def rx(self, vm: int, state: State | None = None) -> bytes:
        box = (state or self.state).boxes[vm]
        return b"" if box is None else self._page(vm, box.rx)

    def _page(self, vm: int, page: int) -> bytes:
        return self.puppets.read(self.state.maps[vm][page].frame << 12, PAGE)

    def put_tx(self, vm: int, data: bytes) -> None:
        """The guest writes its TX buffer; what was behind stays."""
        box = self.state.boxes[vm]
        if box is not None:
            frame = self.state.maps[vm][box.tx].frame
            self.puppets.write(frame << 12, data[:WORD])

    def scribble(self, vm: int, page: int, seed: int) -> None:
        """The guest fills a page that it may write, and its followed word with a value."""
        entry = self.state.maps[vm].get(page)
        if entry is None or not entry.rights.write:
            return
        value = FILL | seed
        self.note(f"VM {vm} fills IPA {page << 12:#x} with {value:#x}")
        self.puppets.write(entry.frame << 12, value.to_bytes(8, "little") * (PAGE // 8))
        self.state = self.state.changed(values={**self.state.values, entry.frame: value})

    # Calls.

    def call(self, who: Pair, function: int, *arguments: int, tx: bytes | None = None) -> int:
        """HVC #0 with these registers; `tx` is written to TX before. X0's code if it was refused,
        else 0."""
        x = _registers(function, arguments)
        self._check_silence()
        self.note(f"{self.name(who)}: {words(x)}" + ("" if tx is None else f" TX={_short(tx)}"))
        if tx is not None:
            self.put_tx(who[0], tx)
        found = rules.verdict(self.state, who, x, self.tx(who[0]))
        if found is None:
            raise ValueError(f"not specified: {function:#x}")
        before = self.oracle.fingerprint()
        result = self._do(who, x, may_block=found.blocks)
        self.calls += 1
        if result is not None:
            self._check_kept(who, result)
        if result is None or self._has_waited(who, result, found):
            self._blocked(who, x, found)
            self._end_waits()
            self._check_silence()
            self.oracle.check(self.state)
            return 0
        answer = Answer(result.x[:8], self.rx(who[0]))
        code = refusal(answer, plain=found.plain)
        was_life = x[0] in Vendor.__members__.values() and x[0] > Vendor.VM_INFO
        after = judge(self.state, found, answer)
        if code is not None and self.oracle.fingerprint() != before:
            raise Wrong(f"the call was refused ({code}), and has changed tables or frames")
        if was_life and code is None:
            self._settle(x[1], after)
        self.state = after
        self._end_waits()
        if was_life:
            self.puppets.machine.seen.clear()  # before it ended, it went on
        self._check_silence()
        self.oracle.check(self.state)
        return code or 0

    def _has_waited(self, who: Pair, result: Result, found: Verdict) -> bool:
        """Whether it is back from a wait that was over when it began: an interrupt, or what came
        while it was told of one."""
        if not found.blocks or found.must:
            return False
        return result.x[0] == Ffa.INTERRUPT or result.x[:8] == self.postponed.get(who)

    def _end_waits(self) -> None:
        """Of those to whom an interrupt is signalled."""
        for vm in self.state.armed:
            who = (vm, 0)
            waits = self.state.vcpus[who].doing in (Doing.WAITS, Doing.ASKS)
            runs = self.state.lives[vm] is Life.RUNNING
            if waits and runs and self.state.notes[vm].rings:
                self.state, message = message_rules.interrupted(self.state, who)
                self._delivered(who, message)

    def _do(self, who: Pair, x: Sequence[int], *, may_block: bool) -> Result | None:
        return self.puppets.do(Who(*who), Piece.HVC, _with_kept(x), may_block=may_block)

    def _check_silence(self) -> None:
        """Nobody has gone on, since somebody was last set going, that waits or is off by now."""
        for who in self.puppets.machine.seen:
            doing = self.state.vcpus[who.vm, who.vcpu].doing
            if doing not in ACTIVE:
                raise Wrong(f"{self.name((who.vm, who.vcpu))} goes on, although it {doing.value}")

    def _check_kept(self, who: Pair, result: Result) -> None:
        if result.fault is not None:
            raise Wrong(f"the call of {self.name(who)} ends in an exception: {result.fault}")
        for n in KEPT:
            if result.x[n] != 0xC0DE_0000 + n:
                raise Wrong(f"the call changed X{n} of {self.name(who)} to {result.x[n]:#x}")

    def _blocked(self, who: Pair, x: Sequence[int], found: Verdict) -> None:
        if found.must:
            raise Wrong(f"does not come back, although {'; '.join(found.must.values())}")
        if not found.blocks:
            raise Wrong(f"does not come back\n{self.puppets.where()}")
        match x[0] & ~FAST_64:
            case Ffa.MSG_WAIT:
                self.state = message_rules.waits(self.state, who)
            case Ffa.DIRECT_REQ:
                taker = self._taker(who, x)
                self.state = message_rules.asked(self.state, who, taker)
            case Ffa.DIRECT_RESP:
                peer = self.state.vcpus[who].peer
                if peer is not None:
                    self._tell(peer, message_rules.delivered(x, answer=True))
                self.state = message_rules.answered(self.state, who)
            case Ffa.RUN:
                asks = replace(self.state.vcpus[who], doing=Doing.ASKS)
                message = self.postponed.pop(who, None)
                if message is not None:
                    self._delivered(who, message)
                    asks = asks.answered()
                self.state = self.state.with_vcpus({who: asks})

    def _taker(self, who: Pair, x: Sequence[int]) -> Pair:
        message = message_rules.delivered(x, answer=False)
        receiver = (x[1] & 0xFFFF) - 1
        free = message_rules.waiting(self.state, receiver)
        if self.state.lives[receiver] is Life.PAUSED and len(free) == 1:
            self._tell(free[0], message)
            return free[0]
        for taker in free:
            result = self.puppets.waits(Who(*taker))
            if result is not None:
                if result.x[:8] != message:
                    raise Wrong(f"{self.name(taker)} is given {words(result.x[:8])}")
                return taker
        raise Wrong(f"the request of {self.name(who)} comes to nobody")

    def _tell(self, who: Pair, message: Sequence[int]) -> None:
        """A vCPU that waited must be given this; that of a paused VM, when it goes on; one that
        was told of an interrupt, when it waits again."""
        told = self.state.vcpus[who].doing is Doing.TOLD
        if self.state.lives[who[0]] is Life.RUNNING and not told:
            self._delivered(who, message)
        else:
            self.postponed = {**self.postponed, who: tuple(message)}

    def _delivered(self, who: Pair, message: Sequence[int]) -> None:
        result = self.puppets.waits(Who(*who))
        if result is None:
            raise Wrong(f"{self.name(who)} is never told: {words(message)}")
        if result.x[:8] != tuple(message):
            raise Wrong(f"{self.name(who)} is told {words(result.x[:8])}, must be {words(message)}")

    # Two at once.

    def race(
        self,
        calls: Mapping[Pair, tuple[int, ...]],
        quantum: int,
        seed: int,
        delay: int = 0,
        first_delay: int = 0,
    ) -> None:
        """Calls of vCPUs on different pCPUs at once: one order of them must explain all answers.
        While another is at it, a call may be refused as BUSY."""
        xs = {who: _registers(call[0], call[1:]) for who, call in calls.items()}
        said = " | ".join(f"{self.name(who)}: {words(x)}" for who, x in xs.items())
        self.note(f"at once (quantum {quantum}, seed {seed}, delay {delay}): {said}")
        acts = {
            Who(*who): (Piece.HVC, _with_kept(x) | {25: 0 if n else first_delay})
            for n, (who, x) in enumerate(xs.items())
        }
        results = self.puppets.race(acts, quantum, seed, later=2 * delay)
        self.calls += len(xs)
        for who in xs:
            if Who(*who) not in results:
                raise Wrong(f"the call of {self.name(who)} does not come back")
            self._check_kept(who, results[Who(*who)])
        failures = []
        for order in permutations(xs):
            state = self.state
            try:
                for who in order:
                    found = rules.verdict(state, who, xs[who], self.tx(who[0], state))
                    assert found is not None
                    answer = Answer(results[Who(*who)].x[:8], self.rx(who[0], state))
                    state = judge(state, found.with_may(Code.BUSY), answer)
                self.oracle.check(state)
            except Wrong as error:
                failures.append(f"{' then '.join(map(self.name, order))}: {error}")
            else:
                self.state = state
                self._end_waits()
                return
        raise Wrong("no order of the two explains them:\n" + "\n".join(failures))

    def flip(
        self,
        who: Pair,
        other: Pair,
        registers: tuple[int, ...],
        tx: bytes,
        offset: int,
        second: int,
        quantum: int,
        seed: int,
    ) -> None:
        """A call while another vCPU of the VM writes two values in turn to a word of TX: what it
        does must be what one content explains, be it one copied byte by byte in between. None of
        them may give away the caller's code."""
        box = self.state.boxes[who[0]]
        if box is None:
            return
        x = _registers(registers[0], registers[1:])
        first = int.from_bytes(tx[offset : offset + 8].ljust(8, b"\0"), "little")
        self.note(
            f"{self.name(who)}: {words(x)} TX={_short(tx)} while {self.name(other)} flips TX"
            f"+{offset:#x} to {second:#x} (quantum {quantum}, seed {seed})"
        )
        self.put_tx(who[0], tx)
        page = self.tx(who[0])
        contents = torn(page, offset, second)
        ipa = (box.tx << 12) + offset
        results = self.puppets.race(
            {
                Who(*who): (Piece.HVC, _with_kept(x)),
                Who(*other): (Piece.FLIP, {1: ipa, 2: second, 3: first, 4: 300}),
            },
            quantum,
            seed,
        )
        self.calls += 1
        if len(results) != 2:
            raise Wrong("a call with a changing TX does not come back")
        answer = Answer(results[Who(*who)].x[:8], self.rx(who[0]))
        failures = []
        for content in contents:
            found = rules.verdict(self.state, who, x, content)
            assert found is not None
            try:
                state = judge(self.state, found, answer)
                self.oracle.check(state)
            except Wrong as error:
                failures.append(str(error))
            else:
                offered = state.shares.keys() - self.state.shares.keys()
                self.state = state
                for handle in offered:
                    # What was read of a tag, or of the access offered, nobody knows yet.
                    self.call(who, Ffa.MEM_RECLAIM, handle & MASK32, handle >> 32)
                return
        raise Wrong("no content of TX explains it:\n" + "\n".join(failures))

    # What follows from the life of another.

    def _askers(self, vm: int) -> list[Pair]:
        return [
            who
            for who, v in self.state.vcpus.items()
            if v.doing in (Doing.ASKS, Doing.TOLD)
            and v.peer is not None
            and v.peer[0] == vm
            and who[0] != vm
            and who not in self.postponed
        ]

    def _until_life(self, vm: int, life: Life) -> None:
        """By VM_INFO of a VM that manages it."""
        manager = next(w for w in self.actors if vm in self.state.configs[w[0]].manages)
        seen = life
        for _ in range(MOST_SLOTS):
            result = self.puppets.call(Who(*manager), Vendor.VM_INFO, vm + 1)
            if result is None or result.x[0] != 0:
                raise Wrong(f"VM_INFO answers {result}")
            seen = Life(result.x[1])
            if seen is life:
                return
            self.puppets.pass_slot()
        raise Wrong(f"VM {vm} never becomes {life.name}: it is {seen.name}")

    def _forget(self, vm: int) -> None:
        """What a VM that has ended would have been told."""
        self.postponed = {w: message for w, message in self.postponed.items() if w[0] != vm}

    def _settle(self, number: int, after: State) -> None:
        """Until a VM is where a call of a manager sends it."""
        vm = number - 1
        askers = self._askers(vm)
        assert after.lives[vm] in SETTLED
        self._until_life(vm, after.lives[vm])
        told = {
            w: message
            for w, message in self.postponed.items()
            if w[0] == vm and self.state.vcpus[w].doing is not Doing.TOLD
        }
        if after.lives[vm] is not Life.PAUSED:
            self.postponed = {w: m for w, m in self.postponed.items() if w not in told}
        if self.state.lives[vm] is Life.PAUSED and after.lives[vm] is Life.RUNNING:
            for waiter, message in told.items():
                self._delivered(waiter, message)
        if after.lives[vm] in (Life.DOWN, Life.ABSENT):
            self._forget(vm)
            for asker in askers:
                self._tell(asker, ABORTED)


def _registers(function: int, arguments: Sequence[int]) -> tuple[int, ...]:
    x = (function, *arguments)
    return (*x, *[0] * (8 - len(x)))


def torn(page: bytes, offset: int, second: int) -> list[bytes]:
    """What a reader can find in a page, eight bytes of which change meanwhile: each of them that
    of the one word or of the other."""
    pair = page[offset : offset + 8], second.to_bytes(8, "little")
    bytes_ = [sorted({a, b}, key=(a, b).index) for a, b in zip(*pair, strict=True)]
    return [page[:offset] + bytes(choice) + page[offset + 8 :] for choice in product(*bytes_)]


def _with_kept(x: Sequence[int]) -> dict[int, int]:
    return dict(enumerate(x)) | {n: 0xC0DE_0000 + n for n in KEPT}


_FFA = {int(f): f.name for f in Ffa}
_VENDOR = {int(v): v.name for v in Vendor}


def words(x: Sequence[int]) -> str:
    """A call in words."""
    base = x[0] & ~FAST_64
    ffa, vendor = _FFA.get(base), _VENDOR.get(x[0])
    name = hex(x[0]) if vendor is None else vendor
    if ffa is not None:
        name = f"FFA_{ffa}" + ("_64" if x[0] != base else "")
    last = max((n for n, value in enumerate(x) if value), default=0)
    arguments = ", ".join(f"{value:#x}" for value in x[1 : last + 1])
    return f"{name}({arguments})"


def _short(data: bytes) -> str:
    return data[:160].hex(" ", 8) + ("..." if len(data) > 160 else "")

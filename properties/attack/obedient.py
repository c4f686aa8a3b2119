# SPDX-License-Identifier: Apache-2.0
"""A hypervisor in name only, which answers every call as the specification says: the specification
is tested on it by itself, and its answers are what wrong answers are made from."""

from collections.abc import Sequence
from itertools import count

from aether_edgecloud.properties.attack import memory_rules, message_rules, rules
from aether_edgecloud.properties.attack.abi import (
    FAST_64,
    MASK32,
    PAGE,
    Code,
    Ffa,
    Life,
    Range,
    Transaction,
    Vendor,
)
from aether_edgecloud.properties.attack.memory_rules import vm_id
from aether_edgecloud.properties.attack.ownership import Config, Doing, Kind, State, Vcpu, initial
from aether_edgecloud.properties.attack.verdict import Answer, Verdict, judge

CONFIGS = (
    Config("a", tuple(range(0x100, 0x130)), 2, peers=frozenset([1]), partition=True),
    Config("b", tuple(range(0x200, 0x230)), 2, peers=frozenset([0]), partition=True),
    Config("m", tuple(range(0x300, 0x308)), 1, manages=frozenset([0, 1])),
)


def booted() -> State:
    """All vCPUs are on."""
    state = initial(CONFIGS)
    return state.with_vcpus({who: Vcpu(Doing.RESTS) for who in state.vcpus})


class Obedient:
    """Has the parts of a session that moves ask for."""

    def __init__(self) -> None:
        self.state = booted()
        self.log: list[str] = []
        self.pages: dict[int, bytes] = {}
        self._generations = count(1)

    @property
    def actors(self) -> list[tuple[int, int]]:
        return [who for who in self.state.vcpus if self.able(who)]

    def able(self, who: tuple[int, int]) -> bool:
        doing = self.state.vcpus[who].doing
        return self.state.lives[who[0]] is Life.RUNNING and doing in (Doing.RESTS, Doing.SERVES)

    @property
    def here(self) -> list[tuple[int, int]]:
        return self.actors

    def tx(self, vm: int) -> bytes:
        return b"" if self.state.boxes[vm] is None else self.pages.get(vm, bytes(PAGE))

    def call(
        self, who: tuple[int, int], function: int, *arguments: int, tx: bytes | None = None
    ) -> int:
        x = (function, *arguments, *[0] * (7 - len(arguments)))
        if tx is not None and self.state.boxes[who[0]] is not None:
            old = self.tx(who[0])
            self.pages[who[0]] = tx + old[len(tx) :]
        self.log.append(f"{who}: {function:#x}")
        verdict = rules.verdict(self.state, who, x, self.tx(who[0]))
        assert verdict is not None
        if verdict.blocks and not verdict.must:
            self._block(who, x)
            return 0
        self.state = judge(self.state, verdict, self.answer(who, x, verdict))
        return min(verdict.must, default=0)

    def _block(self, who: tuple[int, int], x: Sequence[int]) -> None:
        match x[0] & ~FAST_64:
            case Ffa.MSG_WAIT:
                self.state = message_rules.waits(self.state, who)
            case Ffa.DIRECT_REQ:
                taker = message_rules.waiting(self.state, (x[1] & 0xFFFF) - 1)[0]
                self.state = message_rules.asked(self.state, who, taker)
            case Ffa.DIRECT_RESP:
                self.state = message_rules.answered(self.state, who)

    def answer(self, who: tuple[int, int], x: Sequence[int], verdict: Verdict) -> Answer:
        """What the specification wants to hear."""
        code = min(verdict.must, default=0)
        if code and verdict.plain:
            return Answer((code & (1 << 64) - 1, *x[1:]))
        if code:
            return Answer((Ffa.ERROR, 0, code & MASK32, 0, 0, 0, 0, 0))
        vm, state = who[0], self.state
        if x[0] in Vendor.__members__.values():
            life = state.lives[x[1] - 1] if x[0] == Vendor.VM_INFO else 0
            return Answer((0, life, 0, 0, *x[4:8]))
        results = [0] * 7
        match x[0] & ~FAST_64:
            case Ffa.VERSION:
                return Answer((rules.VERSION, *x[1:]))
            case Ffa.MEM_SHARE | Ffa.MEM_LEND | Ffa.MEM_DONATE:
                used = {h & 0xFF for h, s in state.shares.items() if s.owner == vm}
                index = next(n for n in range(8) if n not in used)
                handle = 1 << 63 | next(self._generations) << 16 | vm_id(vm) << 8 | index
                results[1:3] = handle & MASK32, handle >> 32
            case Ffa.MEM_RETRIEVE_REQ:
                return self._response(vm)
            case Ffa.ID_GET:
                results[1] = vm_id(vm)
            case Ffa.FEATURES:
                results[1] = 20 if x[1] == 1 else 0
            case Ffa.PARTITION_INFO_GET:
                results[1:3] = 1, 24
            case Ffa.NOTIFICATION_GET:
                pending = state.notes[vm].pending if x[2] & 2 else 0
                results[3:5] = pending & MASK32, pending >> 32
            case Ffa.NOTIFICATION_INFO_GET:
                return Answer((Ffa.SUCCESS | x[0] & FAST_64, *results))
        return Answer((Ffa.SUCCESS, *results))

    def _response(self, vm: int) -> Answer:
        tx = self.tx(vm)
        handle = int.from_bytes(tx[8:16], "little")
        share = self.state.shares[handle]
        at = int.from_bytes(tx[32:36], "little")
        asked = tx[at + 2]
        write = share.kind is Kind.DONATE or (share.write and asked & 3 != 1)
        place = self.state.place(vm, len(share.pages))
        assert place is not None
        data = Transaction(
            vm_id(share.owner),
            vm_id(vm),
            (Range(place << 12, len(share.pages)),),
            handle=handle,
            tag=share.tag,
            permissions=(2 if write else 1) | (2 if asked >> 2 & 3 == 2 else 1) << 2,
        ).packed()
        rest = [0] * 5
        return Answer((Ffa.MEM_RETRIEVE_RESP, len(data), len(data), *rest), data.ljust(PAGE, b"\0"))


__all__ = ["CONFIGS", "Code", "Obedient", "booted", "memory_rules"]

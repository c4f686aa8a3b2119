# SPDX-License-Identifier: Apache-2.0
"""Nobody waits for anybody: calls, ends and lifecycle calls pile up while VMs are still ending or
loading. Nothing is predicted here; whatever happens, the hypervisor lives, the maps and the frame
table agree, no slot is outlasted, and in the end all that was shared has come home."""

import random
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aether_edgecloud.properties.attack.abi import (
    MASK32,
    READ_WRITE,
    Ffa,
    Life,
    Range,
    Transaction,
    Vendor,
    relinquish,
)
from aether_edgecloud.properties.attack.arena import Arena, shared
from aether_edgecloud.properties.attack.puppet_code import Piece
from aether_edgecloud.properties.attack.puppets import Puppets, Stuck, Who
from aether_edgecloud.properties.attack.session import PL011, Session
from aether_edgecloud.properties.attack.world import CROWDED

STEPS = 30
MANAGER = Who(2)


class Storm:
    """Acts of vCPUs that are at rest at the moment; the others are busy or gone."""

    def __init__(self, session: Session, seed: int) -> None:
        self.puppets: Puppets = session.puppets
        self.oracle = session.oracle
        self.dice = random.Random(seed)
        self.handles: list[int] = []
        self.log: list[str] = []

    def call(self, who: Who, *x: int, tx: bytes = b"") -> tuple[int, ...]:
        self.log.append(f"{who}: {' '.join(map(hex, x))}")
        if tx:
            self.puppets.write(self.puppets.own_pages(who.vm)[2], tx)
        if self.puppets.waits(who) is None:
            if self.ought_to_rest(who) and self.puppets.waits(who) is None:
                raise Stuck(f"{who} does not come to rest")
            return ()  # it has ended meanwhile, or the manager has stopped it
        result = self.puppets.call(who, x[0], *x[1:])
        return () if result is None else result.x

    def ought_to_rest(self, who: Who) -> bool:
        """The manager, and the first vCPU of a VM that runs; another may be off after a reset. Who
        waits for a message is not asked to call."""
        if who == MANAGER:
            return True
        info = self.puppets.call(MANAGER, Vendor.VM_INFO, who.vm + 1)
        return who.vcpu == 0 and info is not None and info.x[1] == Life.RUNNING

    def free(self) -> Who | None:
        """A vCPU of a partition that comes to rest soon."""
        who = Who(self.dice.randrange(2), self.dice.randrange(2))
        return who if self.puppets.waits(who) is not None else None

    def step(self) -> None:
        dice = self.dice
        if dice.randrange(3) == 0:
            function = dice.choice([v for v in Vendor if v != Vendor.VERSION])
            self.call(MANAGER, function, dice.randrange(1, 3))
            return
        who = self.free()
        if who is None:
            return
        me, other = who.vm + 1, 2 - who.vm
        handle = dice.choice(self.handles) if self.handles else 0
        match dice.randrange(10):
            case 0 | 1:
                self.call(who, Ffa.RXTX_MAP, 0x4000_2000, 0x4000_3000, 1)
            case 2 | 3:
                page = 0x4000_8000 + dice.randrange(16) * 0x1000
                kind = dice.choice([Ffa.MEM_SHARE, Ffa.MEM_LEND, Ffa.MEM_DONATE])
                access = 0 if kind is Ffa.MEM_DONATE else READ_WRITE
                ranges = (Range(page, dice.randrange(1, 9)),)
                data = Transaction(me, other, ranges, permissions=access).packed()
                x = self.call(who, kind, len(data), len(data), tx=data)
                if x and x[0] == Ffa.SUCCESS:
                    self.handles.append(x[2] | x[3] << 32)
            case 4 | 5:
                data = Transaction(other, me, handle=handle).packed()
                self.call(who, Ffa.RX_RELEASE)
                self.call(who, Ffa.MEM_RETRIEVE_REQ, len(data), len(data), tx=data)
            case 6:
                self.call(who, Ffa.MEM_RELINQUISH, tx=relinquish(handle, 0, 1, me))
            case 7:
                self.call(who, Ffa.MEM_RECLAIM, handle & MASK32, handle >> 32)
            case 8:
                self.call(who, dice.choice([Ffa.MSG_WAIT, Ffa.DIRECT_REQ]), me << 16 | other)
            case _:
                self.log.append(f"{who} ends")
                end = dice.choice(["reset", "off", "crash", "CPU_ON"])
                if end == "crash":
                    self.puppets.set_going(who, Piece.CRASH, {1: PL011})
                    self.puppets.pass_frames(1)
                else:
                    functions = {"reset": 0x8400_0009, "off": 0x8400_0008, "CPU_ON": 0xC400_0003}
                    self.call(who, functions[end], 1, 0x4000_0000)

    def stop_all(self) -> None:
        """Whatever state they are in, both partitions get down and are destroyed."""
        for target in (1, 2):
            for _ in range(100):
                state = self.call(MANAGER, Vendor.VM_INFO, target)[1]
                if state == Life.ABSENT:
                    break
                self.call(MANAGER, Vendor.VM_STOP, target)
                self.call(MANAGER, Vendor.VM_DESTROY, target)
                self.puppets.pass_frames(1)
            else:
                raise AssertionError(f"VM {target} never goes: {Life(state).name}")


@cache
def crowded() -> Arena:
    """The manager shares a pCPU with those it manages; it has booted once."""
    return Arena(CROWDED)


def run(seed: int, arena: Arena) -> None:
    session = arena.begin()
    late = session.puppets.late()
    storm = Storm(session, seed)
    try:
        for _ in range(STEPS):
            storm.step()
            storm.oracle.check_reach()
        storm.stop_all()
        storm.oracle.check_reach()
        for vm, config in enumerate(session.state.configs):
            for frame in config.frames:
                assert storm.oracle.frame(frame) == (17 + vm, 1, 0), hex(frame)
                assert vm == 2 or storm.oracle.is_zero(frame), f"{frame:#x} is not scrubbed"
        assert session.puppets.late() == late, "a slot was outlasted"
    except AssertionError as error:
        steps = "\n".join(storm.log)
        raise AssertionError(f"{error}\nafter these steps:\n{steps}") from None


@settings(max_examples=max(15, settings().max_examples // 10))
@given(st.integers(0, 1 << 32))
def test_nobody_waits_for_anybody(seed: int) -> None:
    run(seed, shared())


@settings(max_examples=max(5, settings().max_examples // 30))
@given(st.integers(0, 1 << 32))
def test_nobody_waits_for_anybody_on_the_same_cpu(seed: int) -> None:
    run(seed, crowded())


@pytest.mark.parametrize("delay", range(0, 44_000, 4_000))
def test_a_long_call_late_in_a_slot_is_begun_again(delay: int) -> None:
    """b.0 takes 32 pages and has them zeroed, at any place of its slot: nothing outlasts it."""
    session = shared().begin()
    for who in ((0, 0), (1, 0)):
        assert session.call(who, Ffa.RXTX_MAP, 0x4000_2000, 0x4000_3000, 1) == 0
    late = session.puppets.late()
    data = Transaction(1, 2, (Range(0x4000_8000, 32),), permissions=READ_WRITE, flags=1).packed()
    session.put_tx(0, data)
    session.race({(0, 0): (Ffa.MEM_LEND, len(data), len(data))}, 1000, 0, first_delay=delay)
    (handle,) = session.state.shares
    data = Transaction(1, 2, handle=handle, flags=1).packed()
    session.put_tx(1, data)
    session.race({(1, 0): (Ffa.MEM_RETRIEVE_REQ, len(data), len(data))}, 1000, 0, first_delay=delay)
    assert session.state.shares[handle].loan is not None
    assert session.puppets.late() == late, "a slot was outlasted"

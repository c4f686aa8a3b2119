# SPDX-License-Identifier: Apache-2.0
"""Searches find what happened, and nothing else, in both directions: against a run in which Unicorn
calls back at each instruction and each access."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.recording.events import EventKind
from aether_edgecloud.emulator.replay import (
    Access,
    AnyOf,
    Cancelled,
    Condition,
    Direction,
    EventOf,
    Execute,
    Read,
    RegisterWrite,
    Replay,
    TableEntryWrite,
    Write,
)
from aether_edgecloud.properties.replay.runs import (
    HELLO,
    SMP,
    Accessed,
    Run,
    Tried,
    live,
    recording,
    truth,
)

START, LENGTH = 900_000, 60_000
SMP_START, SMP_LENGTH = 920_000, 40_000


@contextmanager
def replay_of(run: Run, folder: Path) -> Iterator[Replay]:
    """A recorded run, opened."""
    replay = Replay.open(recording(run, folder))
    yield replay
    replay.close()


def all_forward(replay: Replay, what: Condition, start: int, end: int) -> list[tuple[int, int]]:
    """Positions and CPUs of what is found one after another in [start, end)."""
    replay.goto(start)
    found = []
    while (hit := replay.find(what, Direction.FORWARD)) is not None and hit.position < end:
        assert (replay.position, replay.attempt) == (hit.position, hit.attempt)
        found.append((hit.position, hit.cpu))
    return found


def all_back(replay: Replay, what: Condition, start: int, end: int) -> list[tuple[int, int]]:
    """The same from the end on."""
    replay.goto(end)
    found = []
    while (hit := replay.find(what, Direction.BACK)) is not None and hit.position > start:
        found.append((hit.position, hit.cpu))
    return found[::-1]


def executions(tried: tuple[Tried, ...], pc: int) -> list[tuple[int, int]]:
    return [(one.moment.position, one.cpu) for one in tried if one.pc == pc]


def of(
    accesses: tuple[Accessed, ...], pa: int, size: int, wanted: Callable[[Accessed], bool]
) -> list[tuple[int, int]]:
    found = dict.fromkeys(
        (a.position, a.cpu)
        for a in accesses
        if a.pa < pa + size and pa < a.pa + a.size and wanted(a)
    )
    return list(found)


def test_executions_of_an_instruction(tmp_path: Path) -> None:
    known = truth(HELLO, START, LENGTH)
    rng = random.Random(1)
    with replay_of(HELLO, tmp_path) as replay:
        for pc in rng.sample(sorted({one.pc for one in known.tried}), 2):
            places = [p for p in executions(known.tried, pc) if p[0] > START][:6]
            last = places[-1][0] + 1
            assert all_forward(replay, Execute(pc), START, last) == places
            assert all_back(replay, Execute(pc), START, last) == places
            hits = replay.find_all(Execute(pc), START + 1, last)
            assert [(hit.position, hit.cpu) for hit in hits] == places
            by_level = [replay.find_all(Execute(pc, el=el), START + 1, last) for el in (1, 2)]
            found = sorted(hit.position for level in by_level for hit in level)
            assert found == [position for position, _ in places]


@pytest.mark.parametrize("kind", [Write, Read, Access])
def test_accesses_to_memory(kind: type[Write | Read | Access], tmp_path: Path) -> None:
    known = truth(HELLO, START, LENGTH)

    def wanted(access: Accessed) -> bool:
        return kind is Access or access.is_store is (kind is Write)

    rng = random.Random(2)
    inside = [a for a in known.accesses if START < a.position < known.end and wanted(a)]
    with replay_of(HELLO, tmp_path) as replay:
        for one in rng.sample(inside, 3):
            pa, size = one.pa + rng.randrange(one.size), rng.choice((1, 1, 8))
            places = [p for p in of(known.accesses, pa, size, wanted) if p[0] > START][:4]
            last = places[-1][0] + 1
            assert all_forward(replay, kind(pa, size), START, last) == places
            assert all_back(replay, kind(pa, size), START, last) == places
            hits = replay.find_all(kind(pa, size), START + 1, last)
            assert [(hit.position, hit.cpu) for hit in hits] == places


def test_accesses_of_several_cpus(tmp_path: Path) -> None:
    known = truth(SMP, SMP_START, SMP_LENGTH)
    by_pa: dict[int, set[int]] = {}
    for access in known.accesses:
        if access.is_store:
            by_pa.setdefault(access.pa & ~7, set()).add(access.cpu)
    shared = [pa for pa, cpus in by_pa.items() if len(cpus) == 2]
    pa = shared[0] if shared else next(iter(by_pa))
    places = [p for p in of(known.accesses, pa, 8, lambda a: a.is_store) if p[0] > SMP_START][:8]
    last = places[-1][0] + 1
    with replay_of(SMP, tmp_path) as replay:
        assert all_forward(replay, Write(pa, 8), SMP_START, last) == places
        assert all_back(replay, Write(pa, 8), SMP_START, last) == places
        for cpu in (0, 1):
            hits = replay.find_all(Write(pa, 8, cpu=cpu), SMP_START + 1, last)
            assert [(hit.position, hit.cpu) for hit in hits] == [p for p in places if p[1] == cpu]


def test_a_write_of_what_was_there_already_counts(tmp_path: Path) -> None:
    """A page with the same content at two checkpoints may have been written in between."""
    with replay_of(HELLO, tmp_path) as replay:
        spin = replay.symbols.address_of("console_write")
        assert spin is not None
        replay.goto(START)
        hit = replay.find(Execute(spin), Direction.FORWARD)
        assert hit is not None
        sp = replay.machine.cpu.registers()[31]
        write = replay.find(Write(sp - 8), Direction.FORWARD)
        assert write is not None
        again = replay.find(Write(sp - 8), Direction.BACK)
        assert again is None or again.position < write.position


def test_writes_of_registers(tmp_path: Path) -> None:
    with replay_of(HELLO, tmp_path) as replay:
        replay.goto(START)
        for name in ("VTTBR_EL2", "hcr_el2"):
            hit = replay.find(RegisterWrite(name), Direction.BACK)
            assert hit is not None
            word = replay.machine.cpu.engine.fetch_word(replay.machine.cpu.pc)
            assert word is not None
            assert word >> 20 == 0xD51  # MSR
        replay.goto(START)
        before = replay.machine.cpu.registers()[19]
        hit = replay.find(RegisterWrite("x19"), Direction.BACK)
        assert hit is not None
        assert replay.machine.cpu.registers()[19] != before
        replay.step()
        assert replay.machine.cpu.registers()[19] == before


def test_events_are_where_they_happened(tmp_path: Path) -> None:
    with replay_of(HELLO, tmp_path) as replay:
        what = EventOf(frozenset({EventKind.HYPERCALL}))
        first = replay.find(what, Direction.FORWARD)
        assert first is not None
        assert replay.machine.cpu.current_el == 2
        replay.step(-1)
        assert replay.machine.cpu.current_el == 1
        replay.goto(first.position)
        second = replay.find(what, Direction.FORWARD)
        assert second is not None
        assert second.position > first.position
        back = replay.find(what, Direction.BACK)
        assert back == first
        assert replay.find(what, Direction.BACK) is None
        assert replay.position == first.position


def test_stores_to_a_table_entry(tmp_path: Path) -> None:
    with replay_of(HELLO, tmp_path) as replay:
        replay.goto(replay.end)
        entry = replay.machine.cpu.native(reg.TTBR0_EL2) & ~0xFFF
        hit = replay.find(TableEntryWrite(entry), Direction.BACK)
        assert hit is not None
        before = replay.machine.read_pa(entry, 8)
        replay.step()
        assert before == bytes(8) or replay.machine.read_pa(entry, 8) != before


def test_the_first_of_several(tmp_path: Path) -> None:
    known = truth(HELLO, START, LENGTH)
    store = next(a for a in known.accesses if a.is_store and a.position > START + 500)
    pc = next(one.pc for one in known.tried if one.moment.position == store.position - 3)
    both = AnyOf((Write(store.pa, store.size), Execute(pc)))
    with replay_of(HELLO, tmp_path) as replay:
        replay.goto(store.position - 4)
        first = replay.find(both, Direction.FORWARD)
        assert first is not None
        assert (first.position, first.condition) == (store.position - 3, Execute(pc))
        replay.goto(store.position + 1)
        last = replay.find(both, Direction.BACK)
        assert last is not None
        assert last.position == store.position


def test_a_live_run_is_made_as_far_as_it_is_searched() -> None:
    replay = live(HELLO)
    assert not replay.is_complete
    va = replay.symbols.address_of("console_write")
    assert va is not None
    hit = replay.find(Execute(va), Direction.FORWARD)
    assert hit is not None
    assert replay.machine.cpu.pc == va
    assert replay.find(Execute(va + (1 << 40)), Direction.FORWARD) is None
    assert replay.is_complete
    assert replay.position == hit.position
    replay.close()


def test_a_search_that_is_cancelled_leaves_the_cursor(tmp_path: Path) -> None:
    class Impatient:
        def at(self, done: int, total: int) -> None:
            raise Cancelled

    with replay_of(HELLO, tmp_path) as replay:
        replay.goto(START)
        pc = replay.machine.cpu.pc
        for what in (Execute(0x1000), Write(replay.machine.board.ram_base)):
            for direction in Direction:
                with pytest.raises(Cancelled):
                    replay.find(what, direction, Impatient())
                assert (replay.position, replay.machine.cpu.pc) == (START, pc)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (Execute(2), "no instruction"),
        (Execute(4, cpu=1), "no CPU 1"),
        (Execute(4, el=3), "no EL3"),
        (Write(0, 4), "not in RAM"),
        (Write(0x4000_0000, 0), "0 bytes"),
        (RegisterWrite("x31"), "no register"),
        (AnyOf(()), "0 conditions"),
        (AnyOf((RegisterWrite("x1"), RegisterWrite("x2"))), "one general-purpose"),
    ],
)
def test_what_makes_no_sense_is_refused(what: Condition, words: str, tmp_path: Path) -> None:
    with replay_of(HELLO, tmp_path) as replay:
        replay.goto(1_000)
        with pytest.raises(UserError, match=words):
            replay.find(what, Direction.FORWARD)
        assert replay.position == 1_000

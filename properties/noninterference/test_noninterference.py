# SPDX-License-Identifier: Apache-2.0
"""The hypervisor as it is: nobody sees anything of what another VM keeps secret."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aether_edgecloud.emulator.bundle.manifest import Restart
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.noninterference.result import Comparison, Verdict
from aether_edgecloud.emulator.noninterference.secret import SecretKind
from aether_edgecloud.guest_stubs import catalogue

from .worlds import ALL, KEEPER, OBSERVER, Guest, World, two_runs, usual

CASES = [case.name for case in catalogue.find("keeper").cases]
PAIR = replace(OBSERVER, case="pair", cpus=(0, 1))
TWO_CPUS = World(
    (replace(KEEPER, cpus=(1, 0)), PAIR),
    (
        ((0, 1, 300), (1, 0, 400), (0, 1, 300)),
        ((1, 1, 300), (0, 0, 500), (None, 0, 200)),
    ),
    window_us=128,
    mmu=MmuMode.NATIVE,
)


def check(found: Comparison, *, least: int = 20) -> None:
    """Nothing was seen, there was something to be seen, and somebody looked."""
    assert found.difference is None, found.difference
    assert found.secret_shows
    for vm in found.vms:
        assert vm.verdict is Verdict.EQUAL and vm.crossings >= least and vm.memory_looks, vm


@pytest.mark.parametrize(
    "case",
    [
        case if case in ("anything", "lives") else pytest.param(case, marks=pytest.mark.nightly)
        for case in CASES
    ],
)
def test_each_way_to_keep_a_secret(case: str) -> None:
    check(two_runs(usual(World((replace(KEEPER, case=case), OBSERVER)))))


def test_two_vcpus_on_two_cpus() -> None:
    check(two_runs(usual(TWO_CPUS), ms=35))


def test_what_a_former_life_has_left() -> None:
    """All RAM that the firmware has left alone is full of it."""
    found = two_runs(usual(World()), kinds=frozenset({SecretKind.RESIDUE}), ms=30)
    assert found.difference is None and found.planted > 100 << 20
    assert found.vms[0].crossings >= 20 and found.vms[0].memory_looks


@pytest.mark.nightly
def test_the_same_runs_give_the_same_digest() -> None:
    subject = usual(World())
    one, other = (two_runs(subject, ms=30, seed=seed) for seed in (0, 2))
    assert one.vms == other.vms and one.vms[0].digest


# Any schedule

QUIET = (Guest("third", "spin", "wfi"), Guest("third", "spin", "hypercalls"))
WATCHED = (
    OBSERVER,
    Guest("observer", "listener"),
    replace(OBSERVER, case="lives", restart=Restart.CRASH),
    Guest("observer", "null-hvc", parameter=2000, restart=Restart.NEVER),
    Guest("observer", "gic", restart=Restart.NEVER),
)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[World, int]:
    """A schedule, and the number of the VM with the secret."""
    keeper = replace(KEEPER, case=draw(st.sampled_from(CASES)))
    guests = [keeper, draw(st.sampled_from(WATCHED))]
    guests += draw(st.lists(st.sampled_from(QUIET), max_size=1))
    pcpus = draw(st.integers(1, 2))
    has_two = pcpus == 2 and draw(st.booleans())
    placed = []
    for guest in guests:
        home = draw(st.integers(0, pcpus - 1))
        cpus = (home, 1 - home) if guest is keeper and has_two else (home,)
        placed.append(replace(guest, cpus=cpus))
    placed = draw(st.permutations(placed))
    window = 128 if has_two else 64
    rows: list[tuple[tuple[int | None, int, int], ...]] = []
    for cpu in range(pcpus):
        here = [(n, v) for n, g in enumerate(placed) for v, c in enumerate(g.cpus) if c == cpu]
        here += draw(st.lists(st.sampled_from(here), max_size=1)) if here else []
        row = [(n, v, draw(st.integers(window + 86, 400))) for n, v in draw(st.permutations(here))]
        rows.append(tuple(row))
    frame = max(sum(length for _, _, length in row) for row in rows) + window + 36
    slots = tuple((*row, (None, 0, frame - sum(one[2] for one in row))) for row in rows)
    world = World(
        tuple(placed), slots, frame, window, MmuMode.NATIVE,
        quantum=draw(st.sampled_from((1000, 333))), seed=draw(st.integers(0, 3)),
    )  # fmt: skip
    return world, next(n for n, guest in enumerate(placed) if guest.name == "keeper")


@settings(max_examples=max(3, settings().max_examples // 25))
@given(worlds(), st.integers(0, 1 << 20))
def test_any_schedule_and_secret(drawn: tuple[World, int], seed: int) -> None:
    world, secret = drawn
    subject = world.subject(secret)
    subject = replace(subject, booted=subject.build)  # it is used only once
    found = two_runs(subject, ms=40, seed=2 * seed, kinds=ALL)
    assert found.difference is None, found.difference
    assert any(vm.verdict is Verdict.EQUAL for vm in found.vms)

# SPDX-License-Identifier: Apache-2.0
"""A VM is loaded anew only when none of its vCPUs runs any more: not one on another CPU either,
whose slot ends too soon for a kick."""

from collections.abc import Iterator

import pytest

from aether_edgecloud.properties.attack.puppet_code import Piece
from aether_edgecloud.properties.attack.puppets import (
    MEMORY_IPA,
    PAGE,
    Place,
    Puppets,
    Slot,
    Who,
    World,
)

SYSTEM_RESET = 0x8400_0009
A, A1 = Who(0), Who(0, 1)
WORLD = World(
    (Place("a", (0, 1), 16), Place("b", (0, 1), 8)),
    ((Slot("a", 0, 3), Slot("b", 0)), (Slot("a", 1), Slot("b", 1, 3))),
)
CODE, DATA = 12, 1
"""Pages of a: the first is loaded long after the other."""
STORE_FOR_EVER = b"".join(
    word.to_bytes(4, "little")
    for word in (
        0xF900_0062,  # str x2, [x3]
        0x1400_0001,  # b .+4
        0x17FF_FFFE,  # b .-8
    )
)
LOOP = 3
"""Instructions of a turn of the puppet's delay."""


@pytest.fixture
def booted() -> Iterator[Puppets]:
    puppets = Puppets(WORLD, monitored=False)
    yield puppets
    puppets.close()


@pytest.mark.parametrize("quantum", [50, 1000])
def test_no_vcpu_runs_while_its_vm_is_loaded(booted: Puppets, quantum: int) -> None:
    """a.1 stores to a page again and again; a.0 resets the VM at any time of a.1's slot, so now
    and then just before its end. In the next life the page is zero."""
    code, data = booted.own_pages(0)[CODE], booted.own_pages(0)[DATA]
    booted.rest(A, A1)
    booted.write(code, STORE_FOR_EVER)
    snapshot = booted.snapshot()
    step = booted.slot // 40
    stored = []
    for delay in range(0, booted.slot, step):
        booted.restore(snapshot)
        acts = {
            A1: (
                Piece.EXECUTE,
                {1: MEMORY_IPA + CODE * PAGE, 2: 0xBAD, 3: MEMORY_IPA + DATA * PAGE},
            ),
            A: (Piece.HVC, {0: SYSTEM_RESET, 25: delay // LOOP}),
        }
        results = booted.race(acts, quantum)
        assert A1 not in results, "it does not store for ever"
        booted.rest(A)
        assert booted.read(code, len(STORE_FOR_EVER)) == bytes(len(STORE_FOR_EVER)), "not loaded"
        stored.append(int.from_bytes(booted.read(data, 8), "little"))
    assert not any(stored), "a vCPU of the former life has run while its VM was loaded"

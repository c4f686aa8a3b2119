# SPDX-License-Identifier: Apache-2.0
"""Where what a partition retrieves is mapped: in its window, which ends."""

import struct
from collections.abc import Iterator

import pytest

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.properties.attack.abi import (
    MASK32,
    READ_WRITE,
    WINDOW_IPA,
    WINDOW_PAGES,
    Code,
    Ffa,
    Range,
    Transaction,
)
from aether_edgecloud.properties.attack.arena import shared
from aether_edgecloud.properties.attack.puppet_code import Piece
from aether_edgecloud.properties.attack.puppets import PAGE, Puppets, Who
from aether_edgecloud.properties.boots import structures

A, B = Who(0), Who(1)
TX, RX, OFFERED = 2, 3, 8
"""Pages of the memory of each."""
IPA = 0x4000_0000


@pytest.fixture
def puppets() -> Iterator[Puppets]:
    """Both partitions have mailboxes."""
    arena = shared()
    found = arena.begin().puppets
    for who in (A, B):
        assert call(found, who, Ffa.RXTX_MAP, IPA + TX * PAGE, IPA + RX * PAGE, 1)[0] == Ffa.SUCCESS
    yield found
    arena.begin()


def call(puppets: Puppets, who: Who, function: int, *x: int, tx: bytes = b"") -> tuple[int, ...]:
    if tx:
        puppets.write(puppets.own_pages(who.vm)[TX], tx)
    result = puppets.call(who, function, *x)
    assert result is not None
    return result.x


def retrieve(puppets: Puppets, pages: int) -> tuple[int, ...]:
    """Of `pages` pages that a shares: what b's call answers."""
    data = Transaction(1, 2, (Range(IPA + OFFERED * PAGE, pages),), permissions=READ_WRITE).packed()
    answer = call(puppets, A, Ffa.MEM_SHARE, len(data), len(data), tx=data)
    assert answer[0] == Ffa.SUCCESS
    data = Transaction(1, 2, handle=answer[2] | answer[3] << 32).packed()
    return call(puppets, B, Ffa.MEM_RETRIEVE_REQ, len(data), len(data), tx=data)


def leave(puppets: Puppets, pages: range) -> None:
    """As if all of b's window but these pages were in use."""
    elf = toolchain.artefact("el2").elf
    vm, shares = structures.offsets(elf, "vm"), structures.offsets(elf, "ffa_vm_memory")
    base = puppets.symbols.address_of("vms")
    assert base is not None
    used = (1 << WINDOW_PAGES) - 1
    for page in pages:
        used &= ~(1 << page)
    at = base + vm[""] * B.vm + vm["shares"] + shares["window"]
    puppets.write(at, used.to_bytes(WINDOW_PAGES // 8, "little"))


@pytest.mark.parametrize("free", [1, 3, 20])
def test_nothing_is_mapped_past_the_windows_end(puppets: Puppets, free: int) -> None:
    leave(puppets, range(WINDOW_PAGES - free, WINDOW_PAGES))
    answer = retrieve(puppets, free + 1)
    assert (answer[0], answer[2]) == (Ffa.ERROR, Code.NO_MEMORY & MASK32)


@pytest.mark.parametrize(
    ("free", "at"),
    [
        (range(WINDOW_PAGES - 4, WINDOW_PAGES), WINDOW_PAGES - 4),
        (range(62, 67), 62),  # in two words of the hypervisor's record
        (range(WINDOW_PAGES - 64, WINDOW_PAGES), WINDOW_PAGES - 64),
        (range(WINDOW_PAGES), 0),
    ],
)
def test_the_lowest_pages_that_are_free(puppets: Puppets, free: range, at: int) -> None:
    """Told in the one range of the descriptor (DEN0077A, 5.11.4), and mapped."""
    leave(puppets, free)
    answer = retrieve(puppets, 4)
    assert answer[0] == Ffa.MEM_RETRIEVE_RESP
    said = puppets.read(puppets.own_pages(B.vm)[RX], answer[1])
    assert said[-16:-4] == struct.pack("<QI", WINDOW_IPA + at * PAGE, 4)
    offered = puppets.own_pages(A.vm)[OFFERED]
    for page in range(4):
        puppets.write(offered + page * PAGE, bytes([page + 1] * 8))
        result = puppets.do(B, Piece.LOAD, {1: WINDOW_IPA + (at + page) * PAGE})
        assert result is not None
        assert result.fault is None
        assert result.x[2] == int.from_bytes(bytes([page + 1] * 8), "little")

# SPDX-License-Identifier: Apache-2.0
"""Copies of RAM: what is looked at for one, and what only differs."""

import numpy as np
import pytest

from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE
from aether_edgecloud.emulator.machine import Machine, nonzero_pages
from aether_edgecloud.properties.machine.snapshot_worlds import WORLDS

_STEPS = 12
_PIECE = 20_000


def _pages(machine: Machine) -> dict[int, bytes]:
    """All pages that are not zero, by looking at every one."""
    words = np.frombuffer(machine.memory.bytes, np.uint64).reshape(-1, PAGE_SIZE // 8)
    return {int(n): words[n].tobytes() for n in np.flatnonzero(words.any(axis=1))}


def _apply(pages: dict[int, bytes], changes: dict[int, bytes | None]) -> None:
    for number, data in changes.items():
        if data is None:
            del pages[number]
        else:
            pages[number] = data


@pytest.mark.parametrize("has_pagemap", [True, False])
def test_pages_that_are_not_zero(has_pagemap: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read or not, never written or written with zeros again; with a host that tells or not."""
    if not has_pagemap:
        monkeypatch.setattr(nonzero_pages, "_PAGEMAP", "/nowhere")
    machine = WORLDS["hello"].make()
    machine.run(200_000)
    end = machine.board.ram_base + machine.board.ram_size
    machine.write_pa(end - PAGE_SIZE, bytes(PAGE_SIZE - 1) + b"x")
    machine.write_pa(end - 3 * PAGE_SIZE, b"x")
    machine.write_pa(end - 3 * PAGE_SIZE, b"\0")
    machine.read_pa(end - 9 * PAGE_SIZE, PAGE_SIZE)
    found = nonzero_pages.nonzero_pages(machine.memory)
    assert found == list(_pages(machine))
    assert machine.board.ram_size // PAGE_SIZE - 1 in found
    machine.close()


def test_changes_add_up_to_what_ram_is() -> None:
    """Between other snapshots, and after going back; and no snapshot changes with them."""
    machine = WORLDS["hello"].make()
    kept = [machine.snapshot()]
    contents = [dict(kept[0].ram)]
    pages = dict(kept[0].ram)
    for step in range(_STEPS):
        machine.run(machine.instructions + _PIECE)
        if step % 4 == 2:
            kept.append(machine.snapshot())
            contents.append(dict(kept[-1].ram))
            pages = dict(kept[-1].ram)
            machine.run(machine.instructions + _PIECE)
        elif step % 4 == 3:
            machine.restore(kept[-1])
            pages = dict(kept[-1].ram)
            machine.run(machine.instructions + _PIECE)
        taken, changes = machine.changes()
        assert not taken.ram
        assert taken.instructions == machine.instructions
        assert all(pages.get(n) != data for n, data in changes.items())
        _apply(pages, changes)
        assert pages == _pages(machine)
    assert [snapshot.ram for snapshot in kept] == contents
    for snapshot, ram in zip(reversed(kept), reversed(contents), strict=True):
        machine.restore(snapshot)
        assert _pages(machine) == ram
    machine.close()

# SPDX-License-Identifier: Apache-2.0
"""A guest's map that is kept is the one that would be decoded again."""

from typing import cast

import pytest

from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.replay.views import maps
from aether_edgecloud.emulator.replay.views.maps import KeptMap, Map, MapView
from aether_edgecloud.emulator.replay.views.memory import Space, Translator

_PAGE = 4096
_ROOT, _LEVEL2, _LEVEL3 = 0x8000, 0x9000, 0xA000
_TABLE, _ENTRY = 3, 0x703  # page, Normal by MAIR index 0, inner shareable, AF
_REGISTERS = {
    "SCTLR_EL1": 1,
    "TCR_EL1": 25 | 1 << 23 | 2 << 32,  # 39 bits, 4 KiB, the upper half off, 40-bit outputs
    "TTBR0_EL1": _ROOT,
    "MAIR_EL1": 0xFF,
}


class Tables:
    """A memory that is its own IPA space; counts what is read of it."""

    def __init__(self) -> None:
        self.words = {_ROOT: _LEVEL2 | _TABLE, _LEVEL2: _LEVEL3 | _TABLE}
        for page in range(4):
            self.words[_LEVEL3 + 8 * page] = 0x4000_0000 + _PAGE * page | _ENTRY

    def read(self, address: int, size: int, space: Space = Space.VA) -> bytes | None:
        assert space is Space.IPA
        return b"".join(
            self.words.get(at, 0).to_bytes(8, "little") for at in range(address, address + size, 8)
        )


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Tables:
    monkeypatch.setattr(maps, "_value", lambda core, name: _REGISTERS[name])
    return Tables()


def _map(tables: Tables, pc: int, kept: dict[Map, KeptMap] | None) -> MapView:
    core, memory = cast(Cpu, None), cast(Translator, tables)
    return maps._guest_map(Map.STAGE1_LOW, core, memory, pc, kept)


def test_it_is_decoded_once_and_the_same(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[Map, KeptMap] = {}
    first = _map(tables, 0x1000, kept)
    (region,) = first.regions
    assert (region.start, region.end, region.pa, region.has_cursor) == (0, 0x4000, 1 << 30, True)
    expected = [_map(tables, pc, None) for pc in (0x1000, 0x9000)]

    def never(*_: object) -> object:
        raise AssertionError("decoded again")

    monkeypatch.setattr(maps, "decode_tables", never)
    assert [_map(tables, pc, kept) for pc in (0x1000, 0x9000)] == expected


@pytest.mark.parametrize("at", [_ROOT + 8, _LEVEL2 + 8, _LEVEL3 + 32, _LEVEL3])
def test_any_entry_that_changes_counts(tables: Tables, at: int) -> None:
    kept: dict[Map, KeptMap] = {}
    _map(tables, 0, kept)
    tables.words[at] = (_LEVEL3 | _TABLE) if at < _LEVEL3 else 0x5000_0000 | _ENTRY
    assert _map(tables, 0, kept) == _map(tables, 0, None)
    assert _map(tables, 0, kept) == _map(tables, 0, None)


def test_another_root_counts(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[Map, KeptMap] = {}
    _map(tables, 0, kept)
    monkeypatch.setitem(_REGISTERS, "TTBR0_EL1", _LEVEL2)
    assert _map(tables, 0, kept) == _map(tables, 0, None)

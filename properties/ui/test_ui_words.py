# SPDX-License-Identifier: Apache-2.0
"""What users type."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.recording.events import EventKind
from aether_edgecloud.emulator.replay.views.memory import Space
from aether_edgecloud.emulator.ui.model import words
from aether_edgecloud.emulator.ui.model.matching import matching
from aether_edgecloud.emulator.ui.model.row import Address
from aether_edgecloud.properties.ui import stand_in


@given(st.integers(0, (1 << 64) - 1))
def test_numbers_in_every_form(value: int) -> None:
    for form in (f"{value}", f"{value:_}", f"{value:,}", f"{value:#x}", f" {value:#_x} "):
        assert words.number(form) == value


@pytest.mark.parametrize("text", ["", "x", "0x", "-1", "1.5", "_", "0x_", "12ab", "\uff11\uff12"])
def test_what_is_no_number(text: str) -> None:
    assert words.number(text) is None


_ADDRESSES = {
    "0x1000": Address(Space.VA, 0x1000),
    "4096": Address(Space.VA, 0x1000),
    "trap": Address(Space.VA, 0x4008_0100),
    "trap+0x10": Address(Space.VA, 0x4008_0110),
    "trap - 0x10": Address(Space.VA, 0x4008_00F0),
    "x3": Address(Space.VA, 0x30),
    "X3+8": Address(Space.VA, 0x38),
    "sp": Address(Space.VA, stand_in.SP),
    "pa:0x10": Address(Space.PA, 0x10),
    "IPA:x1": Address(Space.IPA, 0x10),
    "x0-8": Address(Space.VA, (1 << 64) - 8),
    "trap+8-4": Address(Space.VA, 0x4008_0104),
}


@pytest.mark.parametrize("text", _ADDRESSES)
def test_addresses(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    session, _ = stand_in.session(monkeypatch)
    assert words.address(session, text) == _ADDRESSES[text]


def test_an_address_is_read_back_as_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    session, _ = stand_in.session(monkeypatch)
    for space in Space:
        address = Address(space, 0x1234)
        assert words.address(session, str(address), Space.PA) == address


@pytest.mark.parametrize("text", ["", "nobody", "pa:", "x31", "trap+", "trap*2", "va:pa:1"])
def test_what_is_no_address(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    session, _ = stand_in.session(monkeypatch)
    with pytest.raises(UserError, match="is not an address"):
        words.address(session, text)


@given(st.frozensets(st.sampled_from(EventKind), min_size=1))
def test_kinds_are_read_back_as_they_are_shown(chosen: frozenset[EventKind]) -> None:
    assert words.kinds(words.kinds_in_words(chosen)) == chosen


def test_kinds() -> None:
    assert words.kinds("") == words.kinds("all") == frozenset(EventKind)
    assert words.kinds("Hyper, mmio") == {EventKind.HYPERCALL, EventKind.MMIO}
    assert words.kinds("-dsb") == frozenset(EventKind) - {EventKind.DSB}
    assert words.kinds("vm-switch") == {EventKind.VM_SWITCH}
    with pytest.raises(UserError, match="'frob'; there are: exception, eret"):
        words.kinds("frob")


@given(st.lists(st.text("abc ", max_size=6), max_size=8), st.text("ABC ", max_size=4))
def test_matching_lines_have_every_word(lines: list[str], typed: str) -> None:
    found = matching(lines, typed)
    expected = [n for n, line in enumerate(lines) if all(w.lower() in line for w in typed.split())]
    assert found == expected

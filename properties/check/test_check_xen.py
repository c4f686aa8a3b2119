# SPDX-License-Identifier: Apache-2.0
"""Debian's unmodified Xen 4.17 with a Linux dom0 under all checkers: what is found is known, and a
single instruction less of its TLB maintenance is found too."""

from dataclasses import dataclass, replace

import pytest

from aether_edgecloud.emulator.check.checker import ALL_RULES
from aether_edgecloud.emulator.check.names import read_names
from aether_edgecloud.emulator.check.run_end import RunEnd
from aether_edgecloud.emulator.check.session import Outcome, Session
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.launch.foreign import Foreign, load
from aether_edgecloud.emulator.machine import BootImage, Machine
from aether_edgecloud.properties.foreign import xen_dom0

pytestmark = pytest.mark.nightly

NOP = 0xD503201F.to_bytes(4, "little")
KNOWN = {
    ("used-before-isb", "pmap_map"),
    ("used-before-isb", "xen_pt_update"),
    ("writable-code", "return_from_trap"),
    ("writable-tables", "return_from_trap"),
}
"""Rule and function; docs/check-your-own.md judges each."""


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Foreign:
    """Or a skip."""
    try:
        return load(xen_dom0.style(tmp_path_factory.mktemp("xen")))
    except UserError as error:
        pytest.skip(str(error))


def check(foreign: Foreign, limit: int, *, by_difference: bool = False) -> Outcome:
    machine = Machine(foreign.board, foreign.image, payload=foreign.payload)
    names = read_names(foreign.elf, machine.loaded[0])
    session = Session(machine, names, rules=ALL_RULES, limit=limit, by_difference=by_difference)
    for _ in session.run():
        pass
    outcome = session.outcome()
    machine.close()
    return outcome


def places(outcome: Outcome) -> set[tuple[str, str]]:
    return {(f.rule.id, (f.symbol or "").partition("+")[0]) for f in outcome.findings}


def test_to_the_end_of_the_boot(foreign: Foreign) -> None:
    outcome = check(foreign, 3_000_000_000)
    assert outcome.end is RunEnd.OFF
    assert b"aether: userspace, " in outcome.console
    assert not outcome.has_error
    assert places(outcome) == KNOWN


def test_with_two_cpus(foreign: Foreign) -> None:
    two = replace(foreign, board=replace(foreign.board, cpus=2))
    outcome = check(two, 60_000_000)
    assert not outcome.has_error


@dataclass(frozen=True, slots=True)
class Removal:
    """An instruction, by the function and what it is, that is made a NOP; where it shows within
    so many instructions."""

    pc: int
    word: int
    function: str
    limit: int


REMOVALS = {
    "TLBI of a mapping": Removal(0x262AB0, 0xD50C8337, "xen_pt_update", 8_000_000),
    "TLBI of a temporary mapping": Removal(0x2AAB54, 0xD50C8720, "pmap_map", 2_000_000),
    "DSB behind its entry": Removal(0x2AAACC, 0xD5033F9F, "pmap_map", 2_000_000),
    "TLBI of a guest's entry": Removal(0x263B04, 0xD50C83DF, "__p2m_set_entry", 140_000_000),
    "ISB behind VTTBR_EL2": Removal(0x263AFC, 0xD5033FDF, "p2m_force_tlb_flush_sync", 8_000_000),
}


@pytest.mark.parametrize("name", REMOVALS)
def test_an_instruction_less(foreign: Foreign, name: str) -> None:
    removal = REMOVALS[name]
    at = removal.pc - xen_dom0.LINKED
    image = bytearray(foreign.image.data)
    assert image[at : at + 4] == removal.word.to_bytes(4, "little")
    image[at : at + 4] = NOP
    broken = replace(foreign, image=BootImage(bytes(image), foreign.image.memory_size))
    outcome = check(broken, removal.limit)
    assert outcome.has_error
    errors = {f for f in places(outcome) if f not in KNOWN}
    assert removal.function in {function for _, function in errors}

# SPDX-License-Identifier: Apache-2.0
"""Which exceptions from EL2 to EL2 are the binary's own fault, and what is kept of them."""

import struct

import pytest

from aether_edgecloud.emulator.arch.esr import ExceptionClass, iss_data_abort, syndrome
from aether_edgecloud.emulator.arch.mmu_at import PAR_F
from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.cpu.own_faults import OwnFault, OwnFaults
from aether_edgecloud.emulator.cpu.synchronous import DFSC_EXTERNAL_ABORT, SyncException
from aether_edgecloud.emulator.machine import BootImage, Machine
from aether_edgecloud.emulator.report.own_faults import reports, words

EXTERNAL = syndrome(
    ExceptionClass.DATA_ABORT_SAME, iss_data_abort(DFSC_EXTERNAL_ABORT, is_write=True)
)
TRANSLATION = syndrome(ExceptionClass.DATA_ABORT_SAME, iss_data_abort(0b000111, is_write=False))


def noted(esr: int, par: int) -> OwnFault:
    faults = OwnFaults()
    faults.note(7, SyncException(2, esr, 0x1000, 0x8123), 0xB9000001, par)
    assert faults.last is not None
    return faults.last


@pytest.mark.parametrize("ec", [ExceptionClass.HVC, ExceptionClass.SVC])
def test_a_call_is_none(ec: ExceptionClass) -> None:
    faults = OwnFaults()
    faults.note(0, SyncException(2, syndrome(ec), 0x1000), None, 0)
    assert faults == OwnFaults()


def test_an_external_abort_has_a_pa() -> None:
    """What AT put into PAR_EL1, attributes and all, with the offset into the page."""
    found = noted(EXTERNAL, 0xFF00_0000_2000_0B80)
    assert (found.far, found.pa) == (0x8123, 0x2000_0123)
    assert words(found, lambda _: "store+0x4") == (
        "write to PA 0x20000123 (VA 0x8123), where the board has neither RAM nor a device; "
        "PC 0x1000 <store+0x4>, after 7 instructions"
    )


@pytest.mark.parametrize(("esr", "par"), [(TRANSLATION, 0x2000_0000), (EXTERNAL, PAR_F)])
def test_another_abort_has_none(esr: int, par: int) -> None:
    found = noted(esr, par)
    assert found.pa is None
    assert "address 0x8123; PC 0x1000, after 7" in words(found, lambda _: None)


def test_first_last_and_count_of_each_cpu() -> None:
    faults = OwnFaults()
    for pc in (4, 8, 12):
        faults.note(pc, SyncException(2, syndrome(ExceptionClass.BRK, 1), pc), None, 0)
    (found,) = reports([OwnFaults(), faults], lambda _: None)
    assert (found.cpu, found.count) == (1, 3)
    assert "PC 0x4," in found.first
    assert "PC 0xc," in found.last


LDR_X0, LDUR_X0, LDXR_X0 = 0xF940_0020, 0xF840_0020, 0xC85F_7C20
"""Of [x1]: the first two are decoded where exceptions are taken in C, the last is not."""


@pytest.mark.parametrize("load", [LDR_X0, LDUR_X0, LDXR_X0])
def test_an_abort_of_a_load_is_one(load: int) -> None:
    """With the MMU off: an address that is no PA."""
    code = struct.pack("<II", 0xD2E0_0081, load)  # mov x1, #1 << 50
    machine = Machine(virt(64 << 20), BootImage(code, len(code)))
    machine.run(2)
    found, entry = machine.cpus[0].own_faults.first, machine.loaded[0].start
    machine.close()
    assert found is not None
    assert (found.pc, found.far, found.word) == (entry + 4, 1 << 50, load)

# SPDX-License-Identifier: Apache-2.0
"""The PL031 against Arm DDI 0224, and on the board."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.boards.devices import build_devices
from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.devices.gicv2_distributor import Gicd
from aether_edgecloud.emulator.devices.pl031 import Pl031, Rtc

HZ = 10
WRAP = 1 << 32

seconds = st.integers(0, 5) | st.integers(WRAP - 5, WRAP - 1) | st.integers(0, WRAP - 1)
counters = st.integers(0, 100) | st.integers(0, 1 << 40)


def test_reset_and_identification_values() -> None:
    clock = Pl031(HZ, 77)
    values = [clock.read(offset, 4, 0) for offset in range(0, 0x20, 4)]
    assert values == [77, 0, 0, 1, 0, 0, 0, 0]
    identification = [clock.read(offset, 4, 0) for offset in range(0xFE0, 0x1000, 4)]
    assert identification == [0x31, 0x10, 0x14, 0x00, 0x0D, 0xF0, 0x05, 0xB1]
    assert not clock.interrupt
    assert clock.next_event is None


@given(start=seconds, load=seconds, at=counters, later=counters)
def test_it_counts_seconds_from_what_was_loaded(start: int, load: int, at: int, later: int) -> None:
    clock = Pl031(HZ, start)
    assert clock.read(Rtc.DR, 4, at) == (start + at // HZ) % WRAP
    clock.write(Rtc.LR, 4, load, at)
    assert clock.read(Rtc.LR, 4, at) == load
    assert clock.read(Rtc.DR, 4, at) == load
    assert clock.read(Rtc.DR, 4, at + later) == (load + (at + later) // HZ - at // HZ) % WRAP


@given(start=seconds, match=seconds, at=counters)
def test_the_alarm_goes_off_in_the_second_that_matches(start: int, match: int, at: int) -> None:
    clock = Pl031(HZ, start)
    clock.write(Rtc.IMSC, 4, 1, 0)
    clock.advance(at)
    clock.write(Rtc.ICR, 4, 1, at)
    clock.write(Rtc.MR, 4, match, at)
    if clock.read(Rtc.DR, 4, at) == match:
        assert clock.interrupt
        return
    due = clock.next_event
    assert due is not None
    assert due > at
    assert clock.read(Rtc.RIS, 4, due - 1) == 0
    assert clock.read(Rtc.DR, 4, due) == match
    assert clock.read(Rtc.DR, 4, due - 1) == (match - 1) % WRAP
    assert clock.read(Rtc.RIS, 4, due) == clock.read(Rtc.MIS, 4, due) == 1
    assert clock.interrupt
    assert clock.next_event is None
    clock.write(Rtc.ICR, 4, 1, due)
    assert not clock.interrupt
    assert clock.next_event == due + WRAP * HZ


def test_the_mask_hides_but_does_not_forget() -> None:
    clock = Pl031(HZ)
    clock.write(Rtc.MR, 4, 3, 0)
    assert clock.next_event is None
    clock.advance(35)
    assert not clock.interrupt
    assert (clock.read(Rtc.RIS, 4, 35), clock.read(Rtc.MIS, 4, 35)) == (1, 0)
    clock.write(Rtc.IMSC, 4, 0xFFFF_FFFF, 35)
    assert clock.read(Rtc.IMSC, 4, 35) == 1
    assert clock.interrupt
    clock.write(Rtc.ICR, 4, 0, 35)
    assert clock.interrupt


@pytest.mark.parametrize("size", [1, 2, 8])
@pytest.mark.parametrize("register", list(Rtc))
def test_only_words(register: Rtc, size: int) -> None:
    clock = Pl031(HZ, 5)
    before = clock.save()
    clock.write(register, size, 0xFF, 0)
    assert clock.read(register, size, 0) == 0
    assert clock.save() == before


@pytest.mark.parametrize("register", [Rtc.DR, Rtc.CR, Rtc.RIS, Rtc.MIS, Rtc.PERIPH_ID0])
def test_what_cannot_be_written(register: Rtc) -> None:
    clock = Pl031(HZ, 5)
    before = clock.save()
    clock.write(register, 4, 0, 0)
    assert clock.save() == before


@given(load=seconds, match=seconds, at=counters, later=counters)
def test_restoring_is_an_identity(load: int, match: int, at: int, later: int) -> None:
    clock = Pl031(HZ, 9)
    clock.write(Rtc.IMSC, 4, 1, 0)
    clock.write(Rtc.LR, 4, load, at)
    clock.write(Rtc.MR, 4, match, at)
    other = Pl031(HZ)
    other.restore(json.loads(json.dumps(clock.save())))
    assert other.next_event == clock.next_event
    for register in Rtc:
        assert other.read(register, 4, at + later) == clock.read(register, 4, at + later)


# On the board.


def test_the_clock_is_wired_to_its_spi() -> None:
    board = virt(cpus=2)
    devices = build_devices(board)
    window = next(w.device for w in devices.windows(1) if w.base == 0x0901_0000)
    assert window.read(Rtc.DR, 4) == board.clock_start
    gicd = devices.gic.distributor
    gicd.write(Gicd.ITARGETSR + 34, 1, 0b10)
    window.write(Rtc.MR, 4, board.clock_start + 2)
    window.write(Rtc.IMSC, 4, 1)
    due = 2 * board.counter_hz
    assert devices.next_event(1, 0) == due
    assert devices.next_event(0, 0) is None
    # It keeps the time of the CPU it interrupts, whatever another's count is.
    for cpu, counter, pending in ((1, due - 1, 0), (0, due + 5, 0), (1, due, 1 << 2)):
        devices.wire(cpu, counter)
        assert gicd.read(Gicd.ISPENDR + 4, 4) == pending
    assert devices.next_event(1, due) is None
    window.write(Rtc.ICR, 4, 1)
    devices.wire(1, due)
    assert gicd.read(Gicd.ISPENDR + 4, 4) == 0


def test_an_access_goes_by_the_count_of_its_cpu() -> None:
    board = virt(cpus=2)
    devices = build_devices(board)
    clocks = [
        next(w.device for w in devices.windows(cpu) if w.base == 0x0901_0000) for cpu in range(2)
    ]
    devices.now[0] = 3 * board.counter_hz
    devices.wire(1, board.counter_hz)
    read = [clock.read(Rtc.DR, 4) - board.clock_start for clock in clocks]
    assert read == [3, 1]

# SPDX-License-Identifier: Apache-2.0
"""The generic timer against the Arm ARM, "The Generic Timer"."""

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aether_edgecloud.emulator.devices.generic_timer import (
    READ_ONLY,
    GenericTimer,
    TimerLevels,
    TimerRegister,
)

WRAP = 1 << 64
ENABLE, IMASK, ISTATUS = 1, 2, 4
NAMES = ("CNTP", "CNTV", "CNTHP")

# Numbers near zero, near the wrap, and near each other are where mistakes live.
near = st.integers(0, 40) | st.integers(WRAP - 40, WRAP - 1) | st.integers(0, WRAP - 1)
names = st.sampled_from(NAMES)
controls = st.integers(0, 3)


def register(name: str, field: str) -> TimerRegister:
    return TimerRegister(f"{name}_{field}_{'EL2' if name == 'CNTHP' else 'EL0'}")


def level(levels: TimerLevels, name: str) -> bool:
    return {"CNTP": levels.physical, "CNTV": levels.virtual, "CNTHP": levels.hypervisor}[name]


def count(name: str, counter: int, offset: int) -> int:
    """The count a timer compares with: CNTVCT for CNTV, else CNTPCT."""
    return (counter - (offset if name == "CNTV" else 0)) % WRAP


@st.composite
def timers(draw: st.DrawFn) -> GenericTimer:
    timer = GenericTimer(62_500_000)
    timer.write(TimerRegister.CNTVOFF_EL2, draw(near), 0)
    for name in NAMES:
        timer.write(register(name, "CTL"), draw(controls), 0)
        timer.write(register(name, "CVAL"), draw(near), 0)
    return timer


def test_reset_state_is_quiet() -> None:
    timer = GenericTimer(62_500_000)
    assert timer.read(TimerRegister.CNTFRQ_EL0, 0) == 62_500_000
    assert timer.levels(1000) == TimerLevels(False, False, False)
    assert timer.next_event(1000) is None


def test_interrupt_ids() -> None:
    assert dict(TimerLevels(True, False, False).by_intid()) == {30: True, 27: False, 26: False}
    assert dict(TimerLevels(False, True, False).by_intid()) == {30: False, 27: True, 26: False}
    assert dict(TimerLevels(False, False, True).by_intid()) == {30: False, 27: False, 26: True}


@pytest.mark.parametrize("read_only", sorted(READ_ONLY))
def test_read_only_registers(read_only: TimerRegister) -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        GenericTimer(1).write(read_only, 0, 0)


@given(counter=near, offset=near)
def test_counters(counter: int, offset: int) -> None:
    timer = GenericTimer(1)
    timer.write(TimerRegister.CNTVOFF_EL2, offset, counter)
    assert timer.read(TimerRegister.CNTVOFF_EL2, counter) == offset
    assert timer.read(TimerRegister.CNTPCT_EL0, counter) == counter
    assert timer.read(TimerRegister.CNTVCT_EL0, counter) == (counter - offset) % WRAP


@given(name=names, control=st.integers(0, WRAP - 1), compare=near, counter=near, offset=near)
def test_control_and_output(
    name: str, control: int, compare: int, counter: int, offset: int
) -> None:
    timer = GenericTimer(1)
    timer.write(TimerRegister.CNTVOFF_EL2, offset, counter)
    timer.write(register(name, "CVAL"), compare, counter)
    timer.write(register(name, "CTL"), control, counter)
    met = bool(control & ENABLE) and count(name, counter, offset) >= compare
    assert timer.read(register(name, "CVAL"), counter) == compare
    expected = control & (ENABLE | IMASK) | (ISTATUS if met else 0)
    assert timer.read(register(name, "CTL"), counter) == expected
    assert level(timer.levels(counter), name) is (met and not control & IMASK)
    for other in NAMES:
        assert other == name or not level(timer.levels(counter), other)


@given(name=names, value=st.integers(0, WRAP - 1), counter=near, offset=near, later=near)
def test_timer_value_is_a_signed_32_bit_view(
    name: str, value: int, counter: int, offset: int, later: int
) -> None:
    timer = GenericTimer(1)
    timer.write(TimerRegister.CNTVOFF_EL2, offset, counter)
    timer.write(register(name, "TVAL"), value, counter)
    low = value & 0xFFFF_FFFF
    signed = low - (1 << 32) if low >> 31 else low
    compare = (count(name, counter, offset) + signed) % WRAP
    assert timer.read(register(name, "CVAL"), counter) == compare
    assert timer.read(register(name, "TVAL"), counter) == low
    expected = (compare - count(name, later, offset)) % WRAP & 0xFFFF_FFFF
    assert timer.read(register(name, "TVAL"), later) == expected


@given(timer=timers(), counter=near)
def test_next_event_is_the_next_change(timer: GenericTimer, counter: int) -> None:
    now = timer.levels(counter)
    event = timer.next_event(counter)
    # An output changes only where a count reaches its compare value or wraps to zero.
    offset = timer.read(TimerRegister.CNTVOFF_EL2, 0)
    moments = set()
    for name in NAMES:
        compare = timer.read(register(name, "CVAL"), 0)
        for at in (compare, 0):
            distance = (at - count(name, counter, offset)) % WRAP or WRAP
            moments.add(counter + distance)
    changes = [moment for moment in sorted(moments) if timer.levels(moment) != now]
    assert event == (changes[0] if changes else None)


@given(timer=timers(), counter=st.integers(0, 100))
def test_nothing_changes_before_the_next_event(timer: GenericTimer, counter: int) -> None:
    event = timer.next_event(counter)
    assume(event is not None)
    assert event is not None
    assert event > counter
    now = timer.levels(counter)
    steps = range(counter + 1, event) if event - counter < 200 else (counter + 1, event - 1)
    assert all(timer.levels(moment) == now for moment in steps if moment < event)
    assert timer.levels(event) != now


@given(timer=timers(), counter=near)
def test_restoring_is_an_identity(timer: GenericTimer, counter: int) -> None:
    state = json.loads(json.dumps(timer.save()))
    other = GenericTimer(62_500_000)
    other.restore(state)
    assert other.save() == timer.save()
    for name in TimerRegister:
        assert other.read(name, counter) == timer.read(name, counter)
    assert other.next_event(counter) == timer.next_event(counter)

# SPDX-License-Identifier: Apache-2.0
"""The turns of the CPUs: a pure function of quantum and seed."""

from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.machine.schedule import Schedule

schedules = st.builds(
    Schedule,
    quantum=st.integers(1, 20) | st.integers(1, 100_000),
    seed=st.just(0) | st.integers(1, 1 << 64),
    cpus=st.integers(1, 8),
)
rounds = st.integers(0, 1 << 40)


@given(schedules, rounds)
def test_each_cpu_has_one_turn_in_a_round(schedule: Schedule, number: int) -> None:
    assert sorted(schedule.order(number)) == list(range(schedule.cpus))


@given(schedules, rounds)
def test_a_slice_ends_in_its_round_and_later_than_the_one_before(
    schedule: Schedule, number: int
) -> None:
    for cpu in range(schedule.cpus):
        limit = schedule.limit(number, cpu)
        assert schedule.start(number) < limit <= schedule.start(number + 1)


@given(schedules, rounds)
def test_cpus_stay_within_a_quantum(schedule: Schedule, number: int) -> None:
    """The first to have had its turn against the last that has not."""
    ahead = max(schedule.limit(number + 1, cpu) for cpu in range(schedule.cpus))
    behind = min(schedule.limit(number, cpu) for cpu in range(schedule.cpus))
    assert ahead - behind <= schedule.quantum


@given(schedules, st.integers(0, 1 << 60))
def test_every_time_lies_in_one_round(schedule: Schedule, time: int) -> None:
    number = schedule.round_at(time)
    assert schedule.start(number) <= time < schedule.start(number + 1)


def test_seed_0_is_plain_round_robin() -> None:
    schedule = Schedule(1000, 0, 4)
    for number in range(20):
        assert schedule.order(number) == (0, 1, 2, 3)
        assert {schedule.limit(number, cpu) for cpu in range(4)} == {1000 * (number + 1)}


def test_seeds_differ_and_orders_and_limits_vary() -> None:
    for seed in (1, 2, 1 << 63):
        schedule = Schedule(1000, seed, 4)
        assert len({schedule.order(number) for number in range(200)}) == 24
        limits = {schedule.limit(n, 0) - schedule.start(n) for n in range(2000)}
        assert len(limits) > 200
    one, two = ([Schedule(1000, seed, 4).order(n) for n in range(50)] for seed in (1, 2))
    assert one != two

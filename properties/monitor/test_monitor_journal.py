# SPDX-License-Identifier: Apache-2.0
"""What is restored is what was saved, whatever happened between and in whatever order."""

from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.monitor import journal
from aether_edgecloud.emulator.monitor.journal import Journal, SavedTables, Table

_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 1), st.integers(0, 5), st.integers(0, 3)),
        st.tuples(st.just("drop"), st.integers(0, 1), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("save"), st.just(0), st.just(0), st.just(0)),
        st.tuples(st.just("restore"), st.just(0), st.integers(0, 7), st.just(0)),
    ),
    max_size=60,
)


@given(_STEPS, st.booleans())
def test_any_saved_state_comes_back(
    steps: list[tuple[str, int, int, int]], overflows: bool
) -> None:
    changed: list[int] = []
    owner = Journal()
    first: Table[int, int] = Table(owner, changed.append)
    tables = (first, Table[int, int](owner))
    saved: list[tuple[SavedTables, list[dict[int, int]]]] = []
    most, journal._MOST_CHANGES = journal._MOST_CHANGES, 3 if overflows else 1 << 18
    try:
        for kind, number, key, value in steps:
            before = dict(first)
            changed.clear()
            if kind == "put":
                tables[number].put(key, value)
            elif kind == "drop":
                tables[number].drop(key)
            elif kind == "save":
                saved.append((owner.save(), [dict(table) for table in tables]))
            elif saved:
                token, contents = saved[key % len(saved)]
                owner.restore(token)
                assert [dict(table) for table in tables] == contents
            differing = {k for k in {*before, *first} if before.get(k) != first.get(k)}
            assert differing <= set(changed)
    finally:
        journal._MOST_CHANGES = most

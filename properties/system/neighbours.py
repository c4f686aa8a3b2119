# SPDX-License-Identifier: Apache-2.0
"""What may run beside a VM that is watched, and the layouts in which it does."""

from hypothesis import strategies as st

from aether_edgecloud.emulator.bundle.manifest import Restart
from aether_edgecloud.emulator.bundle.schedule import WINDOW_US
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.guest_stubs import catalogue
from aether_edgecloud.properties.system.side_by_side import HAS_TELEMETRY, Guest, Layout, Place

QUIET = Guest("spin", "wfi")
"""Sleeps for ever."""

HOSTILE: tuple[Guest, ...] = (
    *(Guest("hostile", case.name) for case in catalogue.find("hostile").cases),
    *(Guest("intruder", case.name) for case in catalogue.find("intruder").cases),
    Guest("spin", "vector-storm"),
    Guest("spin", "hypercalls"),
    Guest("power", "system-off"),
    Guest("fault-loop", "data-abort"),
)

OBSERVED = 0
"""The number of the VM that is watched, in `one_cpu` and `two_cpus`."""


def observer(case: str = "single", lines: int = 6) -> Guest:
    """The stub that looks at time."""
    return Guest("observer", case, HAS_TELEMETRY | lines)


def one_cpu(mmu: MmuMode = MmuMode.NATIVE) -> Layout:
    """The watched VM in two slots, another between them, on one pCPU."""
    return Layout(
        (Place("observed", (0,), Restart.CRASH), Place("other", (0,))),
        (((0, 0, 300), (1, 0, 400), (0, 0, 200), (None, 0, 100)),),
        1000,
        mmu=mmu,
    )


def two_cpus(mmu: MmuMode = MmuMode.NATIVE) -> Layout:
    """Both VMs with two vCPUs on two pCPUs; their slots overlap, but not everywhere. The window has
    room for a vCPU that waits for the other's look at 96 pending interrupts."""
    return Layout(
        (Place("observed", (0, 1), Restart.CRASH), Place("other", (1, 0))),
        (
            ((0, 0, 400), (1, 1, 400), (None, 0, 200)),
            ((1, 0, 200), (0, 1, 400), (1, 0, 400)),
        ),
        1000,
        mmu=mmu,
        window_us=128,
    )


def neighbours() -> st.SearchStrategy[Guest]:
    """Any of the hostile ones; one that does a bit of everything has a seed."""
    seeds = st.integers(0, 1 << 20)
    return st.sampled_from(HOSTILE) | st.builds(
        Guest, st.just("intruder"), st.just("anything"), seeds
    )


@st.composite
def layouts(draw: st.DrawFn, *, vcpus: int) -> tuple[Layout, int]:
    """A layout, and the number of the watched VM, which has so many vCPUs. The window is the one
    that docs/not-modelled.md asks for: longer where a neighbour has two vCPUs, which can wait for
    each other, and then no longer than a short quantum."""
    pcpus = draw(st.integers(vcpus, 2))
    others = draw(st.integers(1, 2))
    observed = draw(st.integers(0, others))
    places = []
    for number in range(1 + others):
        if number == observed:
            cpus = tuple(draw(st.permutations(range(pcpus)))[:vcpus])
            places.append(Place("observed", cpus, Restart.CRASH))
        else:
            pins = st.lists(st.integers(0, pcpus - 1), min_size=1, max_size=2)
            restart = draw(st.sampled_from((Restart.ALWAYS, Restart.CRASH)))
            places.append(Place(f"other{number}", tuple(draw(pins)), restart))
    waits = any(len(p.cpus) > 1 for p in places if p.name != "observed")
    window = 128 if waits else WINDOW_US
    lengths = st.integers(window + 86, 500)
    slots: list[list[tuple[int | None, int, int]]] = []
    for pcpu in range(pcpus):
        here = [(n, i) for n, p in enumerate(places) for i, c in enumerate(p.cpus) if c == pcpu]
        here += draw(st.lists(st.sampled_from(here), max_size=2)) if here else []
        slots.append([(n, i, draw(lengths)) for n, i in draw(st.permutations(here))])
    frame = max(sum(length for _, _, length in row) for row in slots) + window + 36
    for row in slots:
        row.append((None, 0, frame - sum(length for _, _, length in row)))
    layout = Layout(
        tuple(places),
        tuple(tuple(row) for row in slots),
        frame,
        quantum=draw(st.sampled_from((1000, 333) if waits else (8000, 1000, 333))),
        seed=draw(st.integers(0, 3)),
        window_us=window,
    )
    return layout, observed

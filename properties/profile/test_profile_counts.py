# SPDX-License-Identifier: Apache-2.0
"""The figures of a program whose exits have known lengths are exactly these.

`known_el2.S`: an exit that goes round n times costs 11 + 2n instructions, an HVC 13 + 2n.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.elf import symbols
from aether_edgecloud.emulator.launch.binary import El2Binary
from aether_edgecloud.emulator.machine import Machine, StopKind
from aether_edgecloud.emulator.profile import Profile, Profiler
from aether_edgecloud.properties.profile.runs import LIMIT, known, profiled


@dataclass
class Found:
    machine: Machine
    profile: Profile


@pytest.fixture(scope="module", params=list(MmuMode), ids=lambda m: m.value)
def found(request: pytest.FixtureRequest, known_el2: El2Binary) -> Iterator[Found]:
    machine = known(known_el2, request.param)
    yield Found(machine, profiled(machine, known_el2))
    machine.close()


def trapped(*rounds: int) -> list[int]:
    return [11 + 2 * n for n in rounds]


def calls(*rounds: int) -> list[int]:
    return [13 + 2 * n for n in rounds]


EXITS = {
    # #0x10 leaves after 8 + 2n of the 13, and has 7 of its own; #0x20 after 10 + 2n, and has 4.
    "hvc": [*calls(3, 1, 2, 5), 8 + 6 + 7, 10 + 4 + 4, 10 + 8 + 4],
    "smc": trapped(2),
    "sysreg-read": trapped(4, 9, 4),
    "sysreg-write": trapped(6),
    "mmio-read": trapped(7),
    "mmio-write": trapped(8, 300, 8),
    "data-abort-write": trapped(9),
    "data-abort-read": trapped(10),
    "instruction-abort": [9 + 2 * 11],
    "wfx": trapped(1),
    "irq": [4, 4],
}
AT_EL2 = {"hvc at EL2": [11, 12], "brk at EL2": [8]}
BOOT = {"boot": [31]}
OFF = 1 + 2 * 6 + 4 + 7 + 2
"""HVC #0xff, to the SMC that does not return."""


def test_each_class_has_its_figures(found: Found) -> None:
    expected = {**EXITS, **AT_EL2, **BOOT}
    assert {stay.name for stay in found.profile.stays} == set(expected)
    for stay in found.profile.stays:
        lengths = sorted(expected[stay.name])
        figures = stay.figures
        assert (figures.count, figures.low, figures.high) == (len(lengths), lengths[0], lengths[-1])
        assert figures.median == lengths[(len(lengths) - 1) // 2]
        assert figures.total == sum(lengths)
        for n, count in enumerate(figures.buckets):
            assert count == sum(2**n // 2 <= length < 2**n for length in lengths)


def test_exceptions_taken_at_el2_are_in_no_exits_figure(found: Found) -> None:
    inside = {stay.name: stay.inside for stay in found.profile.stays if stay.inside}
    assert inside == {"hvc": 11 + 12 + 8, "hvc at EL2": 8}


def test_what_never_returned_is_told_apart(found: Found) -> None:
    assert found.profile.unfinished == (("hvc", OFF),)


def test_exits_are_told_by_what_they_were_about(found: Found) -> None:
    told = {
        (stay.name, group.name): (group.figures.count, group.figures.total)
        for stay in found.profile.stays
        for group in stay.groups
    }
    expected = {
        ("hvc", "PSCI_VERSION"): calls(3, 1),
        ("hvc", "CPU_ON (64)"): calls(2),
        ("hvc", "#0x7"): calls(5),
        ("hvc", "#0x10"): [21],
        ("hvc", "#0x20"): [18, 22],
        ("smc", "SMCCC_VERSION"): trapped(2),
        ("sysreg-read", "ID_AA64PFR0_EL1"): trapped(4, 9),
        ("sysreg-read", "ID_AA64MMFR0_EL1"): trapped(4),
        ("sysreg-write", "CONTEXTIDR_EL1"): trapped(6),
        ("mmio-read", "UART"): trapped(7),
        ("mmio-write", "UART"): trapped(8, 300, 8),
        ("data-abort-write", "RAM"): trapped(9),
        ("data-abort-read", "RAM"): trapped(10),
        ("instruction-abort", "RAM"): [31],
        ("wfx", "wfi"): trapped(1),
    }
    assert told == {place: (len(n), sum(n)) for place, n in expected.items()}
    items = {
        item: (figures.count, figures.total)
        for stay in found.profile.stays
        for group in stay.groups
        for item, figures in group.items
        if stay.name == "mmio-write"
    }
    assert items == {"0x9000000": (2, 27 + 611), "0x9000030": (1, 27)}


def test_every_instruction_at_el2_is_in_one_stay_and_one_function(found: Found) -> None:
    profile = found.profile
    assert profile.by_el == found.machine.cpu.instructions_by_el()
    in_stays = sum(stay.figures.total for stay in profile.stays)
    assert in_stays + OFF == profile.by_el[2]
    assert sum(function.instructions for function in profile.functions) == profile.by_el[2]


def test_each_function_has_its_instructions(found: Found) -> None:
    functions = {f.name: (f.instructions, f.entered) for f in found.profile.functions}
    # Rounds of the HVCs with that of the last; of those that skip the instruction; of the abort.
    of_calls, of_skips, of_abort = 3 + 1 + 2 + 5 + 3 + 2 + 4 + 6, 2 + 17 + 6 + 7 + 316 + 19 + 1, 11
    skips = 12
    assert functions == {
        "_start": (1, 1),
        "start": (30, 1),
        "synchronous": (
            2 * (of_calls + of_skips + of_abort) + 4 * 8 + 6 * (skips + 1),
            of_calls + of_skips + of_abort,
        ),
        "skip": (3 * skips, skips),
        "leave": (skips, skips),
        "come_back": (2, 1),
        "call": (4 * 8 + 3 + 2 * 5 + 7, 8),
        "interrupted": (7, 1),
        "set_timer": (2 * 4, 2),
        "at_el2": (6 + 7, 2),
        "further_in": (4, 1),
        "interrupt": (2 * 3, 2),
        "off": (2, 1),
        # One for each exit; 5 for an HVC at EL2, 4 for a BRK.
        "vectors": (8 + skips + 1 + 2 + 2 * 5 + 4, 0),
    }


def test_functions_are_told_by_class(found: Found) -> None:
    by_class = {f.name: dict(f.by_class) for f in found.profile.functions}
    assert by_class["interrupt"] == {"irq": 6}
    assert by_class["start"] == {"boot": 30}
    assert by_class["at_el2"] == {"hvc at EL2": 13}
    assert by_class["further_in"] == {"brk at EL2": 4}
    assert by_class["leave"] == {
        "mmio-write": 3, "sysreg-read": 3, "data-abort-read": 1, "data-abort-write": 1,
        "mmio-read": 1, "smc": 1, "sysreg-write": 1, "wfx": 1,
    }  # fmt: skip
    start = next(f for f in found.profile.functions if f.name == "start")
    assert (start.at_boot, start.in_exits) == (30, 0)


def test_without_symbols_code_goes_by_its_page(known_el2: El2Binary) -> None:
    machine = known(known_el2)
    profile = profiled(machine, El2Binary("", known_el2.image, None))
    assert [(f.name, f.instructions) for f in profile.functions] == [
        (f"page {machine.loaded[0].start:#x}", profile.by_el[2])
    ]
    machine.close()


def test_a_profile_may_begin_anywhere_and_end_anywhere(known_el2: El2Binary) -> None:
    """From inside one exit to inside another: its parts add up to the whole."""
    names = symbols.load(known_el2.elf, virt_image(known_el2))
    for first, second in ((400, 401), (61, 777), (34, 1100), (0, 15)):
        machine = known(known_el2)
        parts: list[Profile] = []
        for until in (first, second, LIMIT):
            profiler = Profiler(machine)
            machine.run(before=until)
            parts.append(profiler.finish(names))
        whole = known(known_el2)
        profile = profiled(whole, known_el2)
        assert machine.instructions == whole.instructions
        for el in range(3):
            assert sum(part.by_el[el] for part in parts) == profile.by_el[el]
        for part in parts:
            in_stays = sum(stay.figures.total for stay in part.stays)
            assert in_stays + sum(n for _, n in part.unfinished) == part.by_el[2]
            assert sum(f.instructions for f in part.functions) == part.by_el[2]
        machine.close()
        whole.close()


def virt_image(el2: El2Binary) -> range:
    machine = known(el2)
    loaded = machine.loaded[0]
    machine.close()
    return loaded


def test_code_that_runs_where_it_is_linked_has_the_same_names(known_el2: El2Binary) -> None:
    """As that of a binary which has moved itself with its MMU."""
    loaded = virt_image(known_el2)
    names = symbols.load(known_el2.elf, loaded)
    start = names.address_of("start")
    assert start is not None
    linked = [a for a, n in zip(names.addresses, names.names, strict=True) if n == "start"]
    assert len(linked) == 2
    assert {names.at(address) for address in linked} == {"start"}


def test_a_machine_that_stops_and_goes_on_is_profiled_as_one_that_does_not(
    known_el2: El2Binary,
) -> None:
    machine = known(known_el2)
    profiler = Profiler(machine)
    while machine.run(machine.instructions + 1).kind is StopKind.LIMIT:
        pass
    profile = profiler.finish(symbols.load(known_el2.elf, machine.loaded[0]))
    whole = known(known_el2)
    assert profile == profiled(whole, known_el2)
    machine.close()
    whole.close()

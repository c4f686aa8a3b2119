# SPDX-License-Identifier: Apache-2.0
"""The export reads back, by a parser written from the format's documentation, as what happened."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from aether_edgecloud.emulator.monitor.casemate import export
from aether_edgecloud.emulator.monitor.events import Event, EventKind
from aether_edgecloud.emulator.monitor.monitor import Monitor, Record
from aether_edgecloud.properties.machine import smp
from aether_edgecloud.properties.monitor import el2_programs as p
from aether_edgecloud.properties.monitor.el2_programs import (
    DATA,
    DSB_ISHST,
    IPA,
    L2,
    L3,
    PAGE_LEAF,
    SPARE,
    TABLE,
    entry,
    tlbi,
    write,
)
from aether_edgecloud.properties.monitor.test_monitor_cpus import ANSWER, READY, WAIT_READY, machine

Word = str | list["Word"]

PAGE = 4096
TLBI_ALL = {"vmalls12e1", "vmalls12e1is", "vmalle1", "vmalle1is"}
TLBI_ALL |= {"alle1", "alle1is", "alle2", "alle2is"}
TLBI_ADDRESS = {"vae2", "vae2is", "vale2is", "ipas2e1is"}
SYSREGS = {"vttbr_el2", "ttbr0_el2", "vtcr_el2", "hcr_el2", "tcr_el2", "sctlr_el2", "mair_el2"}


class Trans(NamedTuple):
    """A record: name, sequence id, thread, the positional words, the fields, source and line."""

    name: str
    id: int
    tid: int
    words: list[str]
    fields: dict[str, str]
    source: tuple[str, int]


def read(text: str) -> Iterator[Word]:
    """S-expressions."""
    stack: list[list[Word]] = [[]]
    for token in re.findall(r'\(|\)|"[^"]*"|[^\s()"]+', text):
        if token == "(":
            stack.append([])
        elif token == ")":
            done = stack.pop()
            stack[-1].append(done)
        else:
            stack[-1].append(token)
    assert len(stack) == 1
    yield from stack[0]


def parse(line: str) -> Trans:
    """One record: name, (id), (tid), what belongs to it, (src) at the end."""
    (record,) = read(line)
    assert isinstance(record, list)
    name, number, thread, *body, source = record
    fields: dict[str, str] = {}
    words: list[str] = []
    for part in (number, thread, *body, source):
        if isinstance(part, str):
            words.append(part)
        else:
            key, value = part
            assert isinstance(key, str)
            assert isinstance(value, str)
            assert key not in fields
            fields[key] = value
    assert isinstance(name, str)
    file, _, line_number = fields.pop("src").strip('"').partition(":")
    return Trans(
        name,
        int(fields.pop("id")),
        int(fields.pop("tid")),
        words,
        fields,
        (file, int(line_number)),
    )


def back(records: list[Trans]) -> list[tuple[object, ...]]:
    """What the records say happened, in the words of `told`."""
    memory: dict[int, dict[int, int]] = {}
    found: list[tuple[object, ...]] = []
    for record in records:
        fields = record.fields
        at = record.tid
        match record.name:
            case "mem-init":
                assert set(fields) == {"address", "size"}
                assert int(fields["size"], 16) == PAGE
                page = int(fields["address"], 16)
                assert page % PAGE == 0
                assert page not in memory, "initialised twice"
                memory[page] = {}
            case "mem-write":
                assert list(fields) == ["mem-order", "address", "value"]
                assert fields["mem-order"] == "plain"
                address, value = int(fields["address"], 16), int(fields["value"], 16)
                assert address & -PAGE in memory, "written before it was initialised"
                memory[address & -PAGE][address] = value
                if record.source[0] != "table":
                    found.append(("write", at, address, value))
            case "barrier":
                if record.words == ["isb"]:
                    assert not fields
                    found.append(("isb", at))
                else:
                    assert record.words == ["dsb"]
                    assert fields["kind"] in ("ish", "ishst", "nsh", "sy")
                    found.append(("dsb", at, fields["kind"]))
            case "tlbi":
                (operation,) = record.words
                assert operation in TLBI_ALL | TLBI_ADDRESS
                assert set(fields) == ({"value"} if operation in TLBI_ADDRESS else set())
                found.append(("tlbi", at, operation, int(fields.get("value", "0"), 16)))
            case "sysreg-write":
                assert fields["sysreg"] in SYSREGS
                found.append(("sysreg", at, fields["sysreg"], int(fields["value"], 16)))
            case _:
                raise AssertionError(record)
    return found


DSB_KINDS = {"ish": "ish", "ishst": "ishst", "sy": "ish", "st": "ishst", "osh": "ish"}
DSB_KINDS |= {"oshst": "ishst", "nsh": "nsh", "nshst": "nsh"}


def told(events: list[Event]) -> list[tuple[object, ...]]:
    """The events that the format knows."""
    found: list[tuple[object, ...]] = []
    for event in events:
        match event.kind:
            case EventKind.STORE:
                found.append(("write", event.cpu, event.address, event.value))
            case EventKind.ISB:
                found.append(("isb", event.cpu))
            case EventKind.DSB if event.name in DSB_KINDS:
                found.append(("dsb", event.cpu, DSB_KINDS[event.name]))
            case EventKind.TLBI:
                found.append(("tlbi", event.cpu, event.name, event.value))
            case EventKind.MSR:
                found.append(("sysreg", event.cpu, event.name, event.value))
    return found


def round_trip(monitor: Monitor) -> list[Trans]:
    lines = list(export(monitor.events))
    records = [parse(line) for line in lines]
    assert [record.id for record in records] == list(range(len(records)))
    assert back(records) == told(monitor.events)
    return records


BODY = (
    write(entry(L3, 0), 0)
    + p.flush_ipa()
    + write(entry(L3, 0), DATA + 0x5000 | PAGE_LEAF)
    + "dsb st\ndsb osh\ndsb nsh\ndsb ld\n"
    + write(entry(SPARE, 3), DATA | PAGE_LEAF)
    + DSB_ISHST
    + write(entry(L2, 10), SPARE | TABLE)
    + DSB_ISHST
    + tlbi("vmalls12e1")
    + tlbi("alle1is")
    + "dsb sy\n"
)


def test_a_program() -> None:
    monitor = p.record(BODY, start=p.EL2_MMU_ON + p.STAGE2_ON)
    monitor.check()
    records = round_trip(monitor)
    stores = [r for r in records if r.name == "mem-write" and r.source[0] != "table"]
    events = [e for e in monitor.events if e.kind is EventKind.STORE]
    assert [r.source for r in stores] == [(f"{e.pc:#x}", e.instruction) for e in events]


def test_a_table_is_there_before_it_is_led_to() -> None:
    """With all that was in it; the register or the entry that leads to it comes after."""
    records = round_trip(p.record(BODY))
    first = {r.fields["address"]: r.id for r in records if r.name == "mem-init"}
    assert set(first) == {f"{page:#x}" for page in (p.ROOT, L2, L3, SPARE)}
    root = next(r for r in records if r.fields.get("sysreg") == "vttbr_el2" and r.id > 10)
    assert all(first[f"{page:#x}"] < root.id for page in (p.ROOT, L2, L3))
    link = next(r for r in records if r.fields.get("value") == f"{SPARE | TABLE:#x}")
    assert first[f"{SPARE:#x}"] < link.id
    written = {
        int(r.fields["address"], 16): int(r.fields["value"], 16)
        for r in records
        if r.source[0] == "table" and r.name == "mem-write"
    }
    expected = {
        entry(pa, n // 8): word
        for pa in (p.ROOT, L2, L3)
        for n in range(0, PAGE, 8)
        if (word := int.from_bytes(p.tables()[pa][n : n + 8], "little"))
    }
    expected[entry(SPARE, 3)] = DATA | PAGE_LEAF
    assert written == expected


def test_a_table_that_comes_back_is_told_by_its_differences() -> None:
    again = (
        write(entry(L2, 9), 0)
        + p.FLUSH_ALL
        + write(entry(L3, 7), DATA | PAGE_LEAF)
        + DSB_ISHST
        + write(entry(L2, 9), L3 | TABLE)
        + DSB_ISHST
    )
    records = round_trip(p.record(again))
    told_of = [r for r in records if r.source[0] == "table" and r.name == "mem-write"]
    assert int(told_of[-1].fields["address"], 16) == entry(L3, 7)
    assert sum(int(r.fields["address"], 16) & -PAGE == L3 for r in told_of) == 3


def test_two_cpus_are_two_threads() -> None:
    first = p.STAGE2_ON + WAIT_READY + write(entry(L3, 0), 0) + p.flush_ipa()
    made = machine(first, READY)
    monitor = Monitor(made, record=Record.EVENTS)
    made.run(smp.LIMIT)
    monitor.check()
    records = round_trip(monitor)
    assert {record.tid for record in records} == {0, 1}
    assert ANSWER == 8


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('(barrier (id 9) (tid 0) dsb (kind ish) (src "a.c:40"))', [("dsb", 0, "ish")]),
        ('(barrier (id 2) (tid 3) isb (src "a.c:1"))', [("isb", 3)]),
        (
            '(tlbi (id 9) (tid 1) ipas2e1is (value 0x41200) (src "a.c:1"))',
            [("tlbi", 1, "ipas2e1is", IPA >> 12)],
        ),
        (
            '(sysreg-write (id 6) (tid 0) (sysreg vttbr_el2) (value 0x1f000) (src "a.c:39"))',
            [("sysreg", 0, "vttbr_el2", 0x1F000)],
        ),
    ],
)
def test_the_parser_reads_the_format(line: str, expected: list[tuple[object, ...]]) -> None:
    assert back([parse(line)]) == expected

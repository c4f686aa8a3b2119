# SPDX-License-Identifier: Apache-2.0
"""The monitor sees what happens, exactly and in order."""

import ctypes as c
import re
from pathlib import Path

import keystone
import pytest

from aether_edgecloud.emulator.cpu import observation
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.monitor.events import (
    Dsb,
    Event,
    EventKind,
    Extent,
    Isb,
    decode_barrier,
    decode_tlbi,
    span_of,
)
from aether_edgecloud.emulator.monitor.monitor import Monitor
from aether_edgecloud.properties.machine.bare import constant
from aether_edgecloud.properties.monitor import el2_programs as p
from aether_edgecloud.properties.monitor.el2_programs import (
    DATA,
    L3,
    PAGE_LEAF,
    entry,
)

_KEYSTONE = keystone.Ks(keystone.KS_ARCH_ARM64, keystone.KS_MODE_LITTLE_ENDIAN)


def word(text: str) -> int:
    code, _ = _KEYSTONE.asm(text, 0, as_bytes=True)
    assert isinstance(code, bytes)
    return int.from_bytes(code[:4], "little")


def stores(body: str) -> list[tuple[int, int, int]]:
    """Entry, old and new value of every store to a live table."""
    return [(e.address, e.old, e.value) for e in of(body, EventKind.STORE)]


def of(body: str, *kinds: EventKind) -> list[Event]:
    """The events of these kinds after stage 2 was on."""
    return [event for event in p.record(body).events if event.kind in kinds]


AT = entry(L3, 8)
"""An entry that holds zero; what is stored in these tests leaves it invalid."""
LOW, HIGH = 0x1111_2222_3333_4444 & ~1, 0x5555_6666_7777_8888


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        ("str x2, [x1]", [(0, LOW)]),
        ("str w2, [x1]", [(0, LOW & 0xFFFF_FFFF)]),
        ("str w2, [x1, #4]", [(0, (LOW & 0xFFFF_FFFF) << 32)]),
        ("strh w2, [x1, #2]", [(0, (LOW & 0xFFFF) << 16)]),
        ("strb w3, [x1, #7]", [(0, (HIGH & 0xFF) << 56)]),
        ("str x2, [x1], #8", [(0, LOW)]),
        ("stp x2, x3, [x1]", [(0, LOW), (8, HIGH)]),
        ("stp x2, x3, [x1, #8]", [(8, LOW), (16, HIGH)]),
        ("stnp x2, x3, [x1]", [(0, LOW), (8, HIGH)]),
        ("stlr x2, [x1]", [(0, LOW)]),
        ("stur x2, [x1, #8]", [(8, LOW)]),
        ("str q0, [x1]", [(0, LOW), (8, HIGH)]),
        ("str d0, [x1]", [(0, LOW)]),
        ("stp q0, q0, [x1]", [(0, LOW), (8, HIGH), (16, LOW), (24, HIGH)]),
        ("stp d0, d0, [x1]", [(0, LOW), (8, LOW)]),
        ("ldxr x4, [x1]\n stxr w5, x2, [x1]", [(0, LOW)]),
        ("str xzr, [x1]", [(0, 0)]),
    ],
)
def test_every_store(store: str, expected: list[tuple[int, int]]) -> None:
    setup = f"{constant('x1', AT)}\n{constant('x2', LOW)}\n{constant('x3', HIGH)}\nmov x9, x1\n"
    setup += "msr cptr_el2, xzr\nisb\nfmov d0, x2\nfmov v0.d[1], x3\n"
    clear = "stp xzr, xzr, [x9]\nstp xzr, xzr, [x9, #16]\n"
    seen = stores(f"{setup}{store}\n{clear}")
    assert seen[: len(expected)] == [(AT + offset, 0, value) for offset, value in expected]
    assert len(seen) == len(expected) + 4, "and nothing else"


def test_words_are_kept_beside_a_part_that_is_stored() -> None:
    body = p.write(AT, LOW) + "strb wzr, [x1, #1]\nstrh wzr, [x1, #6]\n"
    masked = LOW & ~0xFF00
    assert stores(body) == [
        (AT, 0, LOW),
        (AT, LOW, masked),
        (AT, masked, masked & 0xFFFF_FFFF_FFFF),
    ]


def test_dc_zva_is_seen_word_by_word() -> None:
    """DC ZVA on the line that has the two pages."""
    body = f"{constant('x1', L3)}\ndc zva, x1\n{p.FLUSH_ALL}"
    changed = [event for event in stores(body) if event[1] != event[2]]
    assert changed == [
        (L3, DATA | PAGE_LEAF, 0),
        (L3 + 8, DATA + 0x1000 | PAGE_LEAF, 0),
    ]


def test_what_is_read_back_is_what_was_stored() -> None:
    """Stores through the alias reach memory, and loads see them at once."""
    body = p.write(AT, LOW) + "ldr x20, [x1]\nldrb w21, [x1, #1]\n" + p.write(AT, 0)
    machine = p.boot(body)
    monitor = Monitor(machine)
    machine.run(p.LIMIT)
    assert monitor.violation is None
    x = machine.cpu.registers()
    assert (x[20], x[21]) == (LOW, LOW >> 8 & 0xFF)
    assert machine.memory.read64(AT) == 0


def test_the_order_and_the_place_of_everything() -> None:
    body = p.write(entry(L3, 0), 0) + p.flush_ipa() + p.write(AT, 2)
    events = p.record(body).events
    begin = next(n for n, e in enumerate(events) if e.kind is EventKind.STORE)
    seen = [(e.kind, e.name) for e in events[begin:] if e.kind is not EventKind.CODE]
    assert seen == [
        (EventKind.STORE, ""),
        (EventKind.DSB, "ishst"),
        (EventKind.TLBI, "ipas2e1is"),
        (EventKind.DSB, "ish"),
        (EventKind.TLBI, "vmalle1is"),
        (EventKind.DSB, "ish"),
        (EventKind.ISB, ""),
        (EventKind.STORE, ""),
        (EventKind.ERET, ""),
    ]
    # No branch before them: PC and instruction count go together.
    for event in events[begin:-2]:
        assert event.pc - p.CODE - 64 == 4 * (event.instruction - 1)
    assert [e.value for e in events[begin:] if e.kind is EventKind.TLBI] == [p.IPA >> 12, 0]


def test_registers() -> None:
    events = p.record("").events
    written = [(e.name, e.value) for e in events if e.kind is EventKind.MSR and e.instruction]
    assert written == [
        ("vtcr_el2", p.VTCR),
        ("vttbr_el2", p.vttbr(p.ROOT)),
        ("hcr_el2", p.HCR),
    ]


BARRIERS = {
    "dsb sy": Dsb("sy", True, True, True),
    "dsb st": Dsb("st", True, False, True),
    "dsb ld": Dsb("ld", False, False, True),
    "dsb ish": Dsb("ish", True, True, True),
    "dsb ishst": Dsb("ishst", True, False, True),
    "dsb ishld": Dsb("ishld", False, False, True),
    "dsb osh": Dsb("osh", True, True, True),
    "dsb oshst": Dsb("oshst", True, False, True),
    "dsb nsh": Dsb("nsh", True, True, False),
    "dsb nshst": Dsb("nshst", True, False, False),
    "isb": Isb(),
    "dmb ish": None,
    "nop": None,
    "sb": None,
}


@pytest.mark.parametrize("text", BARRIERS)
def test_barriers(text: str) -> None:
    encoded = 0xD503_30FF if text == "sb" else word(text)
    assert decode_barrier(encoded) == BARRIERS[text]


EL1_BY_ALL = ("vmalle1", "vmalls12e1", "alle1", "alle2")
BY_ADDRESS = ("vae1", "vaae1", "vale1", "vaale1", "aside1", "vae2", "vale2", "ipas2e1", "ipas2le1")


@pytest.mark.parametrize("scope", ["", "is"])
@pytest.mark.parametrize("base", [*EL1_BY_ALL, *BY_ADDRESS])
def test_every_tlbi_of_armv8_0(base: str, scope: str) -> None:
    """Against an assembler."""
    name = base + scope
    encoded = word(f"tlbi {name}" + (", x0" if base in BY_ADDRESS else ""))
    found = decode_tlbi(encoded >> 5 & 0xFFFF)
    assert found is not None
    assert found.name == name
    assert found.shareable == (scope == "is")
    assert found.el2 == base.endswith("e2")
    assert found.stage2 == (base in ("vmalls12e1", "alle1", "ipas2e1", "ipas2le1"))
    assert found.stage1 == (not base.startswith("ipa"))
    assert found.last_level == (base in ("vale1", "vaale1", "vale2", "ipas2le1"))
    extents = {"alle1": Extent.ALL, "alle2": Extent.ALL, "aside1": Extent.ASID}
    extents |= {"vmalle1": Extent.VMID, "vmalls12e1": Extent.VMID}
    assert found.extent is extents.get(base, Extent.ADDRESS)


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ((1, 4, 8, 0, 2), "ripas2e1is"),
        ((1, 4, 8, 4, 2), "ripas2e1"),
        ((1, 4, 8, 4, 6), "ripas2le1"),
        ((1, 4, 8, 4, 0), "ipas2e1os"),
        ((1, 4, 8, 2, 1), "rvae2is"),
        ((1, 4, 8, 6, 5), "rvale2"),
        ((1, 4, 8, 1, 6), "vmalls12e1os"),
        ((1, 4, 8, 1, 0), "alle2os"),
        ((1, 0, 8, 5, 1), "rvae1os"),
        ((1, 0, 8, 1, 0), "vmalle1os"),
    ],
)
def test_later_tlbi(encoding: tuple[int, int, int, int, int], name: str) -> None:
    """Of FEAT_TLBIOS and FEAT_TLBIRANGE, by the Arm ARM's encodings."""
    found = decode_tlbi(reg.key(*encoding))
    assert found is not None
    assert found.name == name
    assert found.ranged == name.startswith("r")


def test_what_is_no_tlbi() -> None:
    assert decode_tlbi(reg.key(1, 0, 7, 14, 1)) is None  # DC CIVAC
    assert decode_tlbi(reg.key(1, 6, 8, 7, 0)) is None  # ALLE3
    assert decode_tlbi(reg.key(3, 4, 2, 1, 0)) is None  # VTTBR_EL2
    assert decode_tlbi(reg.key(1, 4, 8, 2, 0)) is None


def test_the_span_of_an_address() -> None:
    tlbi = decode_tlbi(reg.key(1, 4, 8, 0, 1))
    assert tlbi is not None
    span = span_of(tlbi, 0x8_1234)
    assert (span.first, span.size, span.level) == (0x8123_4000, 4096, None)
    level_2 = span_of(tlbi, 0b0110 << 44 | 0x8_1200)
    assert (level_2.first, level_2.level) == (0x8120_0000, 2)


@pytest.mark.parametrize(
    ("number", "scale", "pages"), [(0, 0, 2), (31, 0, 64), (0, 1, 64), (3, 2, 8192), (1, 3, 131072)]
)
def test_the_span_of_a_range(number: int, scale: int, pages: int) -> None:
    """(NUM + 1) << (5 * SCALE + 1) granules."""
    tlbi = decode_tlbi(reg.key(1, 4, 8, 0, 2))
    assert tlbi is not None
    span = span_of(tlbi, 1 << 46 | scale << 44 | number << 39 | 0x8_1234)
    assert (span.first, span.size) == (0x8123_4000, pages * 4096)


def test_the_observers_mirror() -> None:
    """`struct observer` is written down twice: field by field the same."""
    header = Path(observation.__file__).with_name("observe.h").read_text(encoding="utf-8")
    code = re.sub(r"//.*", "", header)
    body = re.search(r"struct observer \{(.*?)\n\};", code, re.DOTALL)
    assert body is not None
    types = {"uint32_t": c.c_uint32, "uint64_t": c.c_uint64}
    fields = re.findall(r"(\w+) (\*?)(\w+);", body[1])
    written = [
        (name, c.c_void_p if pointer or kind.endswith("_fn") else types[kind])
        for kind, pointer, name in fields
    ]
    assert [tuple(field[:2]) for field in observation.Observer._fields_] == written
    kinds = re.findall(r"OBSERVED_(\w+) = (\d+)", code)
    assert {name: int(value) for name, value in kinds} == {
        kind.name: kind.value for kind in observation.Observed
    }
    wanted = dict(re.findall(r"#define WANT_(\w+) (\d+)u", code))
    assert {name: str(getattr(observation.Wanted, name)) for name in wanted} == wanted

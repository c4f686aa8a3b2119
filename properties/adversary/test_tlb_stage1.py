# SPDX-License-Identifier: Apache-2.0
"""Stage 1 of EL1&0 in a TLB that forgets nothing: which TLBI removes what, and guests that leave
one out."""

import struct

import pytest

from aether_edgecloud.emulator.adversary.choices import Choices
from aether_edgecloud.emulator.adversary.tlb import TlbAdversary
from aether_edgecloud.emulator.adversary.tlb_stage1 import GLOBAL, Stage1Tlb, place
from aether_edgecloud.emulator.monitor.events import Dsb, Tlbi, decode_barrier, decode_tlbi
from aether_edgecloud.properties.adversary import tlb_programs as programs
from aether_edgecloud.properties.adversary.tlb_programs import SECRET, load
from aether_edgecloud.properties.machine.bare import assemble, constant
from aether_edgecloud.properties.monitor import el2_programs as p

VA = 0x7F_1234_5000
TABLE, LEAF = 0x4100_0003, 0x4200_0743
OTHER = 0x1111_0743
"""What memory has instead."""


def tlbi(name: str) -> Tlbi:
    return next(t for key in range(1 << 14, 1 << 15) if (t := decode_tlbi(key)) and t.name == name)


def dsb(word: int) -> Dsb:
    found = decode_barrier(word)
    assert isinstance(found, Dsb)
    return found


DSB_ISH, DSB_NSH, DSB_ISHST = dsb(0xD5033B9F), dsb(0xD503379F), dsb(0xD5033A9F)


def filled() -> Stage1Tlb:
    """VMID 3, ASID 5: a table of level 2, a leaf below it; a global leaf; the same for others."""
    tlb = Stage1Tlb()
    for vmid in (3, 4):
        for asid in (5, 6):
            tlb.hold((vmid, asid), place(VA, 21), TABLE, is_leaf=False)
            tlb.hold((vmid, asid), place(VA, 12), LEAF, is_leaf=True)
        tlb.hold((vmid, GLOBAL), place(VA + (1 << 30), 21), LEAF, is_leaf=True)
    return tlb


def held(tlb: Stage1Tlb, vmid: int = 3, asid: int = 5) -> str:
    """T, L and G for what is left."""
    looked = (("T", VA, 21), ("L", VA, 12), ("G", VA + (1 << 30), 21))
    return "".join(
        name for name, va, shift in looked if tlb.find(vmid, asid, place(va, shift), OTHER)
    )


def operand(va: int, asid: int = 5) -> int:
    return asid << 48 | va >> 12 & (1 << 44) - 1


@pytest.mark.parametrize(
    ("name", "value", "left", "left_of_others"),
    [
        ("vmalle1", 0, "", ""),
        ("vmalls12e1is", 0, "", ""),
        ("alle1", 0, "", ""),
        ("alle2", 0, "TLG", "TLG"),
        ("ipas2e1is", 0, "TLG", "TLG"),
        ("vae2", operand(VA), "TLG", "TLG"),
        ("vae1is", operand(VA), "G", "TLG"),
        ("vale1is", operand(VA), "TG", "TLG"),
        ("vae1is", operand(VA + 0x1000), "LG", "TLG"),
        ("vae1is", operand(VA + (1 << 30)), "TL", "TL"),
        ("vaae1", operand(VA, 9), "G", "G"),
        ("vaale1", operand(VA, 9), "TG", "TG"),
        ("aside1is", operand(0), "G", "TLG"),
        ("aside1", operand(0, 7), "TLG", "TLG"),
    ],
)
def test_what_a_tlbi_removes(name: str, value: int, left: str, left_of_others: str) -> None:
    tlb = filled()
    tlb.invalidate(0, tlbi(name), value, 3)
    assert held(tlb) == "TLG"  # until a DSB
    tlb.complete(0, DSB_ISHST)
    assert held(tlb) == "TLG"
    tlb.complete(0, DSB_ISH)
    assert held(tlb) == left
    assert held(tlb, asid=6) == left_of_others
    assert held(tlb, vmid=4) == ("" if name == "alle1" else "TLG")


def test_whose_dsb_completes_it() -> None:
    tlb = filled()
    tlb.invalidate(1, tlbi("vmalle1is"), 0, 3)
    for cpu, barrier in ((0, DSB_ISH), (1, DSB_NSH)):
        tlb.complete(cpu, barrier)
        assert held(tlb) == "TLG"
    tlb.complete(1, DSB_ISH)
    assert held(tlb) == ""
    tlb = filled()
    tlb.invalidate(1, tlbi("vmalle1"), 0, 3)
    tlb.complete(1, DSB_NSH)
    assert held(tlb) == ""


def test_the_halves_of_the_va_space_are_apart() -> None:
    tlb = Stage1Tlb()
    high = 0xFFFF_FF80_0000_0000
    tlb.hold((3, GLOBAL), place(high, 12), LEAF, is_leaf=True)
    assert tlb.find(3, 5, place(high, 12), OTHER) == [LEAF]
    assert tlb.find(3, 5, place(high & (1 << 48) - 1, 12), OTHER) == []
    assert tlb.find(3, 5, place(high, 12), LEAF) == []


def test_it_is_bounded() -> None:
    tlb = Stage1Tlb()
    for page in range(1 << 16):
        tlb.hold((3, 5), place(page << 12, 12), LEAF, is_leaf=True)
    assert sum(len(entries) for entries in tlb.save().held.values()) <= 1 << 15


# Guests.

L1, L2, L3 = p.GUEST + 0x1_0000, p.GUEST + 0x1_1000, p.GUEST + 0x1_2000
PAGE = 0x8000_0000
"""VA of the guest's page."""
NORMAL = 0x743
SAME = p.GUEST + 0x2_0000
"""IPA and PA of two pages of the guest, each with its number."""
BEGIN = f"""
    {constant("x1", L1)}
    msr ttbr0_el1, x1
    {constant("x1", 25 | 1 << 23 | 0x3500 | 1 << 32)}
    msr tcr_el1, x1
    mov x1, #0xff
    msr mair_el1, x1
    isb
    tlbi vmalle1
    dsb ish
    isb
    {constant("x1", 0x30D0_0801)}
    msr sctlr_el1, x1
    isb
"""
OFF = "movz x0, #0x8400, lsl #16\n movk x0, #8\n smc #0\n b ."


def guest(body: str, *, seed: int = 1, rate: int = 256) -> tuple[int, ...] | None:
    """Run a guest with a stage 1 of its own; X20 and X21."""
    code = assemble(f"{BEGIN}{body}{OFF}")[64:]
    machine = programs.boot("", code=code)

    def table(entries: dict[int, int]) -> bytes:
        return struct.pack("<512Q", *(entries.get(n, 0) for n in range(512)))

    memory = machine.memory
    memory.write(L1, table({1: 0x4000_0000 | 0x701, 2: L2 | 3}))
    memory.write(L2, table({0: L3 | 3}))
    memory.write(L3, table({0: SAME | NORMAL}))
    for number in range(2):
        memory.write(SAME + number * 0x1000, struct.pack("<Q", SECRET + number))
    TlbAdversary(machine, Choices(seed, rate))
    return programs.finish(machine, 2)


def look(register: str) -> str:
    return load(register, PAGE)


def remap(maintenance: str, *, value: int = (SAME + 0x1000) | NORMAL) -> str:
    """The page is used, then it is elsewhere, with this between."""
    change = p.write(L3, 0) + "dsb ishst\n" + maintenance + p.write(L3, value) + "dsb ishst\nisb\n"
    return look("x20") + change + look("x21")


def by_va(va: int) -> str:
    return constant("x1", va >> 12) + "\ntlbi vae1is, x1\ndsb ish\nisb\n"


BY_VA = by_va(PAGE)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("rate", [128, 256])
def test_a_guest_that_does_all_it_must(seed: int, rate: int) -> None:
    for maintenance in (BY_VA, "tlbi vmalle1\n dsb nsh\n isb\n", "tlbi vmalle1is\n nop\n dsb sy\n"):
        assert guest(remap(maintenance), seed=seed, rate=rate) == (SECRET, SECRET + 1)


@pytest.mark.parametrize(
    ("maintenance", "in_kind_tlb"),
    [
        ("", SECRET),
        (by_va(PAGE + 0x1000), SECRET),
        ("tlbi vmalle1is\n", SECRET + 1),
        (BY_VA.replace("dsb ish", "nop"), SECRET + 1),
    ],
    ids=["nothing", "another page", "no DSB", "no DSB after that by VA"],
)
def test_a_guest_that_forgets_something(maintenance: str, in_kind_tlb: int) -> None:
    assert guest(remap(maintenance)) == (SECRET, SECRET)
    assert guest(remap(maintenance), rate=0) == (SECRET, in_kind_tlb)


def test_a_permission_that_is_granted_needs_no_tlbi() -> None:
    read_only = SAME | NORMAL | 1 << 7
    store = f"{constant('x0', PAGE)}\nmov x2, #7\nstr x2, [x0]\n"
    grant = p.write(L3, read_only) + "dsb ishst\n" + BY_VA + look("x20")
    grant += p.write(L3, SAME | NORMAL) + "dsb ishst\nisb\n" + store + look("x21")
    assert guest(grant) == (SECRET, 7)


def test_an_entry_that_was_invalid_or_had_no_access_flag_is_not_held() -> None:
    for absent in (0, SAME | NORMAL & ~(1 << 10)):
        walk = f"{constant('x0', PAGE)}\nat s1e1r, x0\nisb\n"
        first = p.write(L3, absent) + "dsb ishst\n" + BY_VA + walk
        second = p.write(L3, (SAME + 0x1000) | NORMAL) + "dsb ishst\nisb\n" + look("x21")
        assert guest(first + "mov x20, #1\n" + second) == (1, SECRET + 1)

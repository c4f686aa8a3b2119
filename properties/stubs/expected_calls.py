# SPDX-License-Identifier: Apache-2.0
"""What the stubs `mmio` and `hypercalls` should see: from the PL011's manual (ARM DDI 0183), the
Arm ARM's loads and stores, SMCCC 1.2, PSCI 1.1 and the guest ABI.
"""

from aether_edgecloud.properties.stubs.expect import (
    SYNCHRONOUS_EXTERNAL,
    Bits,
    Expect,
    Level,
    data_abort,
    fetch_abort,
    reads,
    runs,
    undefined,
)

ALIGNMENT = 0x21

IDENTIFICATION = {
    "periph-id0": runs(0x11),
    "periph-id1": runs(0x10),
    "periph-id2": runs(Bits(0x04, 0xFFFF_FF0F)),  # the revision is the upper digit
    "periph-id3": runs(0x00),
    "pcell-id0": runs(0x0D),
    "pcell-id1": runs(0xF0),
    "pcell-id2": runs(0x05),
    "pcell-id3": runs(0xB1),
    "flags": runs(Bits(0x90, 0xF8)),  # TXFE, RXFE; neither full nor busy. The rest: modem lines
    "raw-interrupts": reads(),
    "masked-interrupts": runs(0),
    "empty-receiver": reads(),
}

_F0 = runs(0xF0)
LOADS = {
    **dict.fromkeys(("ldrb", "ldrh", "ldr-w", "ldrsh-w", "ldrsh-x", "ldrsw"), _F0),
    "ldr-x": runs(Bits(0x0D, 0xFFFF_FFFF)),  # two registers at once: the upper half is not said
    "ldrsb-w": runs(0xFFFF_FFF0),
    "ldrsb-x": runs(0xFFFF_FFFF_FFFF_FFF0),
    **dict.fromkeys(("ldarb", "ldarh", "ldar-w", "ldur-w", "ldtr-w", "offset-immediate"), _F0),
    "ldursb-x": runs(0xFFFF_FFFF_FFFF_FFF0),
    "ldtrsb-w": runs(0xFFFF_FFF0),
    **dict.fromkeys(("offset-register", "offset-sxtw"), _F0),
    "el0-ldrsb-x": runs(0xFFFF_FFFF_FFFF_FFF0, level=Level.EL0),
    "el1t-ldr-w": runs(0xF0, level=Level.EL1T),
    "ibrd-ldrh": runs(0x8123),
    "ibrd-ldrsh-w": runs(0xFFFF_8123),
    "ibrd-ldrsh-x": runs(0xFFFF_FFFF_FFFF_8123),
    "ibrd-ldr-w": runs(0x8123),
    "ibrd-ldrsw": runs(0x8123),
    "ibrd-ldrb": runs(0x23),
    "ibrd-ldrsb-x": runs(0x23),
}

TARGETS = {
    **{f"into-w{n}": runs(0xF0, changed=1 | 1 << n) for n in range(31)},
    **dict.fromkeys(("into-wzr", "into-xzr", "into-wzr-byte", "into-xzr-signed"), runs()),
}

STORES = {
    **dict.fromkeys(("strh", "str-w", "sturh", "sttr-w", "stlrh", "stlr-w"), runs(0x1234)),
    "str-x": runs(Bits(0, ~0xFFFF)),  # two registers at once: which bits arrive is not said
    **dict.fromkeys(("str-wzr", "strh-wzr", "stlr-wzr"), runs(0)),
    "str-base": runs(0x0024),
    "str-offset": runs(0x1234, changed=0b101, x2=0x0900_0000),
    "el0-str-w": runs(0x1234, level=Level.EL0),
    **{f"from-w{n}": runs(0x100 + n, changed=1 | 1 << n) for n in range(31) if n != 1},
}

CHARACTERS = {
    "dr-strb": runs(0, before="A"),
    "dr-strh": runs(0, before="B"),
    "dr-str-w": runs(0, before="C"),
    "dr-stlrb": runs(0, before="D"),
    "dr-stlr-w": runs(0, before="E"),
    "dr-sturb": runs(0, before="F"),
    "dr-strb-el0": runs(0, before="G", level=Level.EL0),
    "dr-three": runs(0, before="xyz"),
}

OTHERS = {
    "prefetch": runs(),
    "fetch": fetch_abort(SYNCHRONOUS_EXTERNAL),
    "unaligned": data_abort(ALIGNMENT),
    "checked-unaligned": data_abort(ALIGNMENT, elr=12, changed=1),
    "unassigned-offset": reads(),
    "store-to-flags": runs(Bits(0x90, 0xF8)),
    "store-to-id": runs(0xF0),
}

MMIO = {**IDENTIFICATION, **LOADS, **TARGETS, **STORES, **CHARACTERS, **OTHERS}


def _returns(value: int, mask: int = 0xFFFF_FFFF, **others: int) -> Expect:
    """A call's x0. x1-x3 may be results; x4-x30 and SP are kept (SMCCC 1.2)."""
    registers = {0: Bits(value & mask, mask)}
    registers |= {int(name[1:]): Bits(other) for name, other in others.items()}
    return Expect(changed=None, registers=registers)


WIDE = (1 << 64) - 1
SUCCESS = _returns(0)
NOT_SUPPORTED = _returns(-1)  # of an SMC32 function: in w0
NOT_SUPPORTED_64 = _returns(-1, WIDE)
INVALID_PARAMETERS = _returns(-2)
INVALID_PARAMETERS_64 = _returns(-2, WIDE)
ALREADY_ON = _returns(-4)
SMCCC_INVALID_PARAMETER_64 = _returns(-3, WIDE)
PSCI_1_1 = _returns(0x1_0001)


def _all(prefix: str, names: str, expect: Expect) -> dict[str, Expect]:
    return {f"{prefix}{name}": expect for name in names.split()}


PSCI = {
    "psci-version-upper-half": PSCI_1_1,
    "psci-version": PSCI_1_1,
    **_all("psci-features-", "version cpu-off cpu-on cpu-on-64 affinity-info", SUCCESS),
    **_all("psci-features-", "affinity-info-64 migrate-info-type system-off", SUCCESS),
    **_all("psci-features-", "system-reset features smccc-version upper-half", SUCCESS),
    # Bit 1: extended StateID format; bit 0: OS-initiated mode. Neither is offered.
    **_all("psci-features-", "cpu-suspend cpu-suspend-64", SUCCESS),
    **_all("psci-features-", "unknown vendor", NOT_SUPPORTED),
    **_all("cpu-on-", "self self-upper-half", ALREADY_ON),
    "cpu-on-self-64": _returns(-4, WIDE),
    **_all("affinity-info-", "self self-64 upper-half", SUCCESS),  # 0: ON
    "migrate-info-type": _returns(2),  # no Trusted OS to migrate
    "cpu-on-nobody": INVALID_PARAMETERS,
    **_all("cpu-on-", "nobody-64 far-affinity reserved-bits", INVALID_PARAMETERS_64),
    **_all("affinity-info-", "nobody level-4", INVALID_PARAMETERS),
    **_all("", "psci-version-64 system-off-64 system-suspend", NOT_SUPPORTED_64),
    **_all("", "migrate cpu-freeze system-reset2-unknown-type psci-unknown", NOT_SUPPORTED),
}

SMCCC = {
    "smccc-version": _returns(0x1_0002),
    **_all("arch-features-", "version itself", SUCCESS),
    **_all("arch-features-", "unknown psci", NOT_SUPPORTED),
    "call-count": _returns(10),
    "call-uid": Expect(changed=0b1111),  # checked apart: not the UID of "unknown"
    "revision": _returns(0, x1=1),
    "aether-version-upper-half": _returns(1),
    "aether-version": _returns(1),  # major << 16 | minor: 0.1
    **_all("aether-features-", "version features console upper-half", SUCCESS),
    "aether-features-unknown": NOT_SUPPORTED,
    **_all("", "zero yielding minus-one-32 arch-unknown sip oem", NOT_SUPPORTED),
    **_all("", "minus-one standard-hypervisor trusted-os vendor-unknown", NOT_SUPPORTED),
    **_all("vendor-", "reserved reserved-bits console-32", NOT_SUPPORTED),
    **_all("", "yielding-64 vendor-version-64", NOT_SUPPORTED_64),
}

_TEXT = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUV"


def _write(count: int) -> Expect:
    # x1-x7 are the arguments, and no result: they are kept.
    registers = {0: Bits(0), 2: Bits(0x6867_6665_6463_6261), 3: Bits(0x706F_6E6D_6C6B_6A69)}
    return Expect(changed=0xFF if count else 0xFD, registers=registers, before=_TEXT[:count])


_REFUSED = Expect(changed=0xFF, registers={0: Bits(WIDE - 2)})

CONSOLE = {
    **{f"console-{count}": _write(count) for count in (0, 1, 7, 8, 48)},
    **_all("console-", "49 huge 2-32", _REFUSED),
}

CONDUITS = {
    **_all("by-", "hvc smc", runs(0x1_0001)),
    **_all("by-hvc-", "1 ffff", runs(WIDE)),
    **_all("by-smc-", "1 ffff", undefined(elr=4, changed=1)),
    "unknown-by-smc": NOT_SUPPORTED,
    "by-hvc-el1t": runs(0x1_0001, level=Level.EL1T),
    "by-smc-then-hvc": runs(0x1_0001),
}

HYPERCALLS = {**PSCI, **SMCCC, **CONSOLE, **CONDUITS}

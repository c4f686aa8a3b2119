# SPDX-License-Identifier: Apache-2.0
"""What a probe should see, as data, and how far a line is from it.

Syndromes are written out from the Arm ARM's ESR_EL1 description, by field.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum

from aether_edgecloud.properties.stubs.probe_lines import ProbeLine

ALL = (1 << 64) - 1


class Level(Enum):
    """Where the probe ran: its PSTATE, and the vector of a synchronous exception from there."""

    EL1H = (0xA000_0005, 0x200)
    EL1T = (0xA000_0004, 0x000)
    EL0 = (0xA000_0000, 0x400)

    @property
    def pstate(self) -> int:
        return self.value[0]

    @property
    def vector(self) -> int:
        return self.value[1]

    @property
    def lower(self) -> bool:
        """An exception from here comes from a lower level than EL1."""
        return self is Level.EL0


@dataclass(frozen=True, slots=True)
class Bits:
    """A value of which only the bits of `mask` are said."""

    value: int
    mask: int = ALL

    def matches(self, seen: int) -> bool:
        return (seen ^ self.value) & self.mask == 0

    def __str__(self) -> str:
        return f"{self.value:#x}" + ("" if self.mask == ALL else f" under {self.mask:#x}")


@dataclass(frozen=True, slots=True)
class Argument:
    """An address counted from the probe's argument; `above` bytes more are right too."""

    offset: int = 0
    above: int = 0

    def matches(self, seen: int, argument: int) -> bool:
        return 0 <= (seen - argument - self.offset) & ALL <= self.above


@dataclass(frozen=True, slots=True)
class Exception_:
    """The exception that ended the probe. `elr` is an offset in the probe or an address."""

    ec: int
    iss: tuple[int, ...] = (0,)
    iss_mask: int = 0x1FF_FFFF
    elr: int | Argument = 0
    far: Argument | None = None
    """None: FAR_EL1 means nothing for this class."""


@dataclass(frozen=True, slots=True)
class Expect:
    """What one probe should see. `exception` None: it ends by itself."""

    exception: Exception_ | None = None
    level: Level = Level.EL1H
    changed: int | None = 0
    """Registers that differ from before (bit 31: SP). None: any of x0-x3."""
    registers: dict[int, Bits] = field(default_factory=dict)
    """Values of x0-x3 that are known."""
    spsr: Bits | None = None
    """None: PSTATE is what the probe began with."""
    before: str = ""
    """Characters the probe itself sent to the console."""

    def problems(self, line: ProbeLine) -> Iterator[str]:
        """Everything about `line` that is not as it should be."""
        if line.before != self.before:
            yield f"sent {line.before!r}, not {self.before!r}"
        if bool(line["taken"]) != (self.exception is not None):
            yield "took an exception" if line["taken"] else "took no exception"
            return
        if self.exception is not None:
            yield from self._exception_problems(self.exception, line)
        spsr = self.spsr or Bits(self.level.pstate)
        if not spsr.matches(line["spsr"]):
            yield f"spsr is {line['spsr']:#x}, not {spsr}"
        allowed = 0xF if self.changed is None else self.changed
        wrong = line["changed"] & ~allowed if self.changed is None else line["changed"] ^ allowed
        if wrong:
            yield f"registers changed are {line['changed']:#x}, not {allowed:#x}"
        for number, bits in self.registers.items():
            seen = line.fields.get(f"x{number}")
            if seen is None and number == 1:
                seen = line["arg"]  # as it was
            if seen is None:
                yield f"x{number} did not change"
            elif not bits.matches(seen):
                yield f"x{number} is {seen:#x}, not {bits}"

    def _exception_problems(self, wanted: Exception_, line: ProbeLine) -> Iterator[str]:
        if line["ec"] != wanted.ec:
            yield f"ec is {line['ec']:#x}, not {wanted.ec:#x}"
        if line["il"] != 1:
            yield "il is 0"
        if all((line["iss"] ^ iss) & wanted.iss_mask for iss in wanted.iss):
            listed = " or ".join(f"{iss:#x}" for iss in wanted.iss)
            yield f"iss is {line['iss']:#x}, not {listed} (under {wanted.iss_mask:#x})"
        if line["vector"] != self.level.vector:
            yield f"vector is {line['vector']:#x}, not {self.level.vector:#x}"
        if isinstance(wanted.elr, int):
            if line.fields.get("at") != wanted.elr:
                yield f"elr is not the probe + {wanted.elr:#x}"
        elif not wanted.elr.matches(line.fields.get("elr", 0), line["arg"]):
            yield f"elr is {line.fields.get('elr', 0):#x}"
        if wanted.far is not None and not wanted.far.matches(line["far"], line["arg"]):
            yield f"far is {line['far']:#x} with the argument {line['arg']:#x}"
        if line["entry"] & 0x3CD != 0x3C5:
            yield f"the handler began with {line['entry']:#x}: not EL1h with DAIF masked"


def runs(
    x0: int | Bits | None = None,
    *,
    changed: int | None = None,
    level: Level = Level.EL1H,
    before: str = "",
    **others: int,
) -> Expect:
    """No exception. With `x0`, that register alone changes, unless `changed` says otherwise."""
    registers = {} if x0 is None else {0: x0 if isinstance(x0, Bits) else Bits(x0)}
    registers |= {int(name[1:]): Bits(value) for name, value in others.items()}
    if changed is None:
        changed = 0 if x0 is None else 1
    return Expect(changed=changed, registers=registers, level=level, before=before)


def reads(level: Level = Level.EL1H) -> Expect:
    """No exception, and x0 gets a value nobody can foretell."""
    return Expect(changed=1, level=level)


def raises(
    ec: int,
    iss: int | tuple[int, ...] = 0,
    *,
    mask: int = 0x1FF_FFFF,
    elr: int | Argument = 0,
    far: Argument | None = None,
    level: Level = Level.EL1H,
    changed: int = 0,
) -> Expect:
    """One exception."""
    all_iss = iss if isinstance(iss, tuple) else (iss,)
    return Expect(Exception_(ec, all_iss, mask, elr, far), level=level, changed=changed)


def undefined(*, elr: int = 0, level: Level = Level.EL1H, changed: int = 0) -> Expect:
    """EC 0, ISS 0: UNDEFINED."""
    return raises(0x00, elr=elr, level=level, changed=changed)


EA = 1 << 9
"""External abort type: IMPLEMENTATION DEFINED, so never compared."""
SYNCHRONOUS_EXTERNAL = 0x10


def data_abort(
    fsc: int | tuple[int, ...],
    *,
    write: bool = False,
    maintenance: bool = False,
    elr: int = 0,
    far: Argument = Argument(),
    level: Level = Level.EL1H,
    changed: int = 0,
) -> Expect:
    """A data abort at EL1: ISV is 0 for an abort of stage 1. For cache maintenance and address
    translation CM and WnR are both 1."""
    codes = fsc if isinstance(fsc, tuple) else (fsc,)
    wnr, cm = int(write or maintenance), int(maintenance)
    return raises(
        0x24 if level.lower else 0x25,
        tuple(cm << 8 | wnr << 6 | code for code in codes),
        mask=0x1FF_FFFF & ~EA,
        elr=elr,
        far=far,
        level=level,
        changed=changed,
    )


def fetch_abort(
    fsc: int | tuple[int, ...], *, offset: int = 0, level: Level = Level.EL1H, changed: int = 0
) -> Expect:
    """An instruction abort at EL1: ELR and FAR are both the address fetched from."""
    address = Argument(offset)
    return raises(
        0x20 if level.lower else 0x21,
        fsc,
        mask=0x1FF_FFFF & ~EA,
        elr=address,
        far=address,
        level=level,
        changed=changed,
    )


def read_write_fetch(
    name: str, fsc: int | tuple[int, ...], *, level: Level = Level.EL1H
) -> dict[str, Expect]:
    """The probes read-, write- and fetch-NAME."""
    return {
        f"read-{name}": data_abort(fsc, level=level),
        f"write-{name}": data_abort(fsc, write=True, level=level),
        f"fetch-{name}": fetch_abort(fsc, level=level),
    }


def at_el0(expect: Expect) -> Expect:
    """The same from EL0."""
    return replace(expect, level=Level.EL0)

# SPDX-License-Identifier: Apache-2.0
"""MMU faults and their status codes (Arm ARM: FaultRecord, EncodeLDFSC, IPAValid)."""

from dataclasses import dataclass
from enum import Enum


class FaultKind(Enum):
    """What went wrong; the value is the status code, for the kinds with a level that of level 0."""

    ADDRESS_SIZE = 0b000000
    TRANSLATION = 0b000100
    ACCESS_FLAG = 0b001000
    PERMISSION = 0b001100
    SYNC_EXTERNAL = 0b010000
    SYNC_EXTERNAL_ON_WALK = 0b010100
    SYNC_PARITY = 0b011000
    SYNC_PARITY_ON_WALK = 0b011100
    ALIGNMENT = 0b100001
    TLB_CONFLICT = 0b110000
    EXCLUSIVE = 0b110101

    @property
    def has_level(self) -> bool:
        """Whether bits [1:0] of the status code are a lookup level."""
        return self in _WITH_LEVEL


_WITH_LEVEL = frozenset(
    {
        FaultKind.ADDRESS_SIZE,
        FaultKind.TRANSLATION,
        FaultKind.ACCESS_FLAG,
        FaultKind.PERMISSION,
        FaultKind.SYNC_EXTERNAL_ON_WALK,
        FaultKind.SYNC_PARITY_ON_WALK,
    }
)


def encode_ldfsc(kind: FaultKind, level: int) -> int:
    """The 6-bit DFSC/IFSC of ESR_ELx and FST of PAR_EL1 (Arm ARM EncodeLDFSC).

    `level` is 0..3 and is ignored by the kinds that have none.
    """
    return kind.value | level if kind.has_level else kind.value


@dataclass(frozen=True, slots=True)
class WalkStep:
    """One descriptor that a walk read.

    `input_address` is the VA (stage 1) or IPA (stage 2) being translated, `address` where the
    descriptor lies in the output space of its own stage, `pa` where it was read. `descriptor` is
    None when the read took an external abort.
    """

    stage: int
    level: int
    input_address: int
    address: int
    pa: int
    descriptor: int | None


@dataclass(frozen=True, slots=True)
class Fault:
    """A failed translation (the parts of the Arm ARM's FaultRecord that the MMU decides).

    `stage` is 1 or 2. `s1ptw`: stage 2 failed on the address of a stage-1 descriptor. `ipa` is the
    address stage 2 was asked for, None for stage-1 faults. `walks` holds the descriptors read, when
    the caller asked for them.
    """

    kind: FaultKind
    level: int
    stage: int
    s1ptw: bool = False
    ipa: int | None = None
    walks: tuple[WalkStep, ...] = ()

    @property
    def fsc(self) -> int:
        """The fault status code for ESR_ELx.{D,I}FSC."""
        return encode_ldfsc(self.kind, self.level)

    @property
    def ipa_valid(self) -> bool:
        """Whether HPFAR_EL2 is defined after this fault (Arm ARM IPAValid).

        It is UNKNOWN after a stage-2 Permission fault that was not on a stage-1 walk.
        """
        if self.stage != 2:
            return False
        kinds = {FaultKind.ACCESS_FLAG, FaultKind.TRANSLATION, FaultKind.ADDRESS_SIZE}
        return self.kind in kinds or (self.s1ptw and self.kind is FaultKind.PERMISSION)

    @property
    def hpfar_el2(self) -> int:
        """HPFAR_EL2.FIPA in place: IPA[47:12] in bits [39:4]; 0 for a stage-1 fault."""
        return 0 if self.ipa is None else (self.ipa >> 12 & 0xF_FFFF_FFFF) << 4

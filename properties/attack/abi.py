# SPDX-License-Identifier: Apache-2.0
"""Numbers and layouts of the calls, from FF-A 1.1 (DEN0077A) and docs/sharing.md.

Written for the attack alone, so that a wrong number in the hypervisor's own list is found. Packing
takes any value for any field: what a hostile guest can write.
"""

import struct
from dataclasses import dataclass, replace
from enum import IntEnum

PAGE = 4096
MASK32 = (1 << 32) - 1
MASK64 = (1 << 64) - 1
FAST_64 = 0x4000_0000
WINDOW_IPA = 0x7000_0000
WINDOW_PAGES = 1024
MOST_PAGES = 32
"""Of one transaction."""
MOST_SHARES = 8
"""Of one VM at a time."""
NOTIFICATION_INTID = 20


class Ffa(IntEnum):
    """Function identifiers, 32-bit convention."""

    ERROR = 0x8400_0060
    SUCCESS = 0x8400_0061
    INTERRUPT = 0x8400_0062
    VERSION = 0x8400_0063
    FEATURES = 0x8400_0064
    RX_RELEASE = 0x8400_0065
    RXTX_MAP = 0x8400_0066
    RXTX_UNMAP = 0x8400_0067
    PARTITION_INFO_GET = 0x8400_0068
    ID_GET = 0x8400_0069
    MSG_POLL = 0x8400_006A
    MSG_WAIT = 0x8400_006B
    YIELD = 0x8400_006C
    RUN = 0x8400_006D
    MSG_SEND = 0x8400_006E
    DIRECT_REQ = 0x8400_006F
    DIRECT_RESP = 0x8400_0070
    MEM_DONATE = 0x8400_0071
    MEM_LEND = 0x8400_0072
    MEM_SHARE = 0x8400_0073
    MEM_RETRIEVE_REQ = 0x8400_0074
    MEM_RETRIEVE_RESP = 0x8400_0075
    MEM_RELINQUISH = 0x8400_0076
    MEM_RECLAIM = 0x8400_0077
    NOTIFICATION_BITMAP_CREATE = 0x8400_007D
    NOTIFICATION_BIND = 0x8400_007F
    NOTIFICATION_UNBIND = 0x8400_0080
    NOTIFICATION_SET = 0x8400_0081
    NOTIFICATION_GET = 0x8400_0082
    NOTIFICATION_INFO_GET = 0x8400_0083
    SPM_ID_GET = 0x8400_0085
    MSG_SEND2 = 0x8400_0086


FFA_FIRST, FFA_LAST = 0x8400_0060, 0x8400_00EF

HAS_64 = frozenset(
    {
        Ffa.RXTX_MAP,
        Ffa.MEM_DONATE,
        Ffa.MEM_LEND,
        Ffa.MEM_SHARE,
        Ffa.MEM_RETRIEVE_REQ,
        Ffa.DIRECT_REQ,
        Ffa.DIRECT_RESP,
        Ffa.NOTIFICATION_INFO_GET,
    }
)
"""Those with a 64-bit convention as well."""


class Code(IntEnum):
    """Error codes: of FF-A, and of the vendor's calls, which give them in X0."""

    NOT_SUPPORTED = -1
    INVALID_PARAMETERS = -2
    NO_MEMORY = -3
    BUSY = -4
    INTERRUPTED = -5
    DENIED = -6
    RETRY = -7
    ABORTED = -8
    NO_DATA = -9


class Vendor(IntEnum):
    """Vendor calls."""

    VERSION = 0x8600_0000
    VM_INFO = 0xC600_0010
    VM_CREATE = 0xC600_0011
    VM_START = 0xC600_0012
    VM_PAUSE = 0xC600_0013
    VM_RESUME = 0xC600_0014
    VM_STOP = 0xC600_0015
    VM_DESTROY = 0xC600_0016


class VendorCode(IntEnum):
    """In X0."""

    UNKNOWN = -1
    INVALID = -3
    DENIED = -5
    BAD_STATE = -6


class Life(IntEnum):
    """State of a VM."""

    DOWN = 0
    RUNNING = 1
    STOPPING = 2
    RECORDING = 3
    LOADING = 4
    RELEASING = 5
    READY = 6
    PAUSED = 7
    ABSENT = 8
    SCRUBBING = 9


SETTLED = frozenset({Life.DOWN, Life.RUNNING, Life.READY, Life.PAUSED, Life.ABSENT})


class FrameState(IntEnum):
    """Of the frame table."""

    FREE = 0
    OWNED = 1
    TABLE = 2
    SHOWN = 3
    SHARED = 4
    LENT = 5
    MAILBOX = 6


OWNER_EL2 = 2
OWNER_VM = 16

READ_ONLY, READ_WRITE = 1, 2
NOT_EXECUTABLE, EXECUTABLE = 1, 2
HEADER, ENDPOINT, COMPOSITE, RANGE = 48, 16, 16, 16


@dataclass(frozen=True, slots=True)
class Range:
    address: int
    pages: int
    reserved: int = 0


@dataclass(frozen=True, slots=True)
class Transaction:
    """A memory transaction descriptor with one endpoint, field by field; any of them may be wrong.

    `composite` None: no composite, its offset is 0.
    """

    sender: int
    receiver: int
    ranges: tuple[Range, ...] = ()
    attributes: int = 0
    flags: int = 0
    handle: int = 0
    tag: int = 0
    permissions: int = 0
    endpoint_flags: int = 0
    endpoint_reserved: int = 0
    total: int | None = None
    """None: the sum of the ranges."""
    count: int | None = None
    """Of ranges; None: as many as there are."""
    endpoint_size: int = ENDPOINT
    endpoint_count: int = 1
    endpoint_offset: int = HEADER
    composite_offset: int | None = None
    """None: behind the endpoint, or 0 without ranges."""
    reserved: bytes = bytes(12)
    composite_reserved: int = 0

    def packed(self) -> bytes:
        header = struct.pack(
            "<HHIQQIII12s",
            self.sender,
            self.attributes,
            self.flags,
            self.handle,
            self.tag,
            self.endpoint_size,
            self.endpoint_count,
            self.endpoint_offset,
            self.reserved,
        )
        at = self.endpoint_offset if HEADER <= self.endpoint_offset <= 256 else HEADER
        composite = at + ENDPOINT if self.ranges or self.composite_offset else 0
        offset = composite if self.composite_offset is None else self.composite_offset
        endpoint = struct.pack(
            "<HBBIQ",
            self.receiver,
            self.permissions,
            self.endpoint_flags,
            offset,
            self.endpoint_reserved,
        )
        data = header.ljust(at, b"\0") + endpoint
        if not self.ranges:
            return data
        total = sum(r.pages for r in self.ranges) & MASK32 if self.total is None else self.total
        count = len(self.ranges) if self.count is None else self.count
        data = data.ljust(offset, b"\0") if len(data) <= offset <= 512 else data
        data += struct.pack("<IIQ", total, count, self.composite_reserved)
        for r in self.ranges:
            data += struct.pack("<QII", r.address & MASK64, r.pages & MASK32, r.reserved)
        return data

    def but(self, **changes: object) -> "Transaction":
        return replace(self, **changes)  # type: ignore[arg-type]


def relinquish(handle: int, flags: int, count: int, who: int) -> bytes:
    """The descriptor of FFA_MEM_RELINQUISH."""
    return struct.pack("<QIIH", handle, flags, count, who)


def signed(value: int, bits: int = 64) -> int:
    """Two's complement."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value

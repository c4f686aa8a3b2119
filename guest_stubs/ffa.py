# SPDX-License-Identifier: Apache-2.0
"""What a guest says to the hypervisor about other VMs: FF-A 1.1 (Arm DEN0077A) and the calls of a
VM that manages others. Numbers, and descriptors as bytes."""

import struct
from dataclasses import dataclass, replace
from enum import IntEnum
from uuid import UUID

FFA_64 = 0x4000_0000
"""Set in the number of a function's 64-bit variant."""
VERSION_1_1 = 0x1_0001
HYPERVISOR_ID = 0
WINDOW_IPA = 0x7000_0000
"""Where memory of other VMs appears."""
WINDOW_SIZE = 0x40_0000
MAX_PAGES = 32
"""Of one memory transaction."""
MAX_TRANSACTIONS = 8
"""That one VM has sent and that are not over."""
NOTIFICATION_INTID = 20
"""PPI: notifications are pending."""
FEATURE_NPI = 1
"""FFA_FEATURES of this tells NOTIFICATION_INTID."""
PARTITION_INFO_SIZE = 24
BUFFER_SIZE = 4096
"""Of RX and of TX."""


class FfaFunction(IntEnum):
    """The 32-bit variants; also what answers begin with."""

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
    MSG_SEND_DIRECT_REQ = 0x8400_006F
    MSG_SEND_DIRECT_RESP = 0x8400_0070
    MEM_DONATE = 0x8400_0071
    MEM_LEND = 0x8400_0072
    MEM_SHARE = 0x8400_0073
    MEM_RETRIEVE_REQ = 0x8400_0074
    MEM_RETRIEVE_RESP = 0x8400_0075
    MEM_RELINQUISH = 0x8400_0076
    MEM_RECLAIM = 0x8400_0077
    MEM_OP_PAUSE = 0x8400_0078
    MEM_OP_RESUME = 0x8400_0079
    MEM_FRAG_RX = 0x8400_007A
    MEM_FRAG_TX = 0x8400_007B
    NORMAL_WORLD_RESUME = 0x8400_007C
    NOTIFICATION_BITMAP_CREATE = 0x8400_007D
    NOTIFICATION_BITMAP_DESTROY = 0x8400_007E
    NOTIFICATION_BIND = 0x8400_007F
    NOTIFICATION_UNBIND = 0x8400_0080
    NOTIFICATION_SET = 0x8400_0081
    NOTIFICATION_GET = 0x8400_0082
    NOTIFICATION_INFO_GET = 0x8400_0083
    RX_ACQUIRE = 0x8400_0084
    SPM_ID_GET = 0x8400_0085
    MSG_SEND2 = 0x8400_0086
    SECONDARY_EP_REGISTER = 0x8400_0087
    MEM_PERM_GET = 0x8400_0088
    MEM_PERM_SET = 0x8400_0089


class FfaError(IntEnum):
    """In W2 of an answer FfaFunction.ERROR."""

    NOT_SUPPORTED = -1
    INVALID_PARAMETERS = -2
    NO_MEMORY = -3
    BUSY = -4
    INTERRUPTED = -5
    DENIED = -6
    RETRY = -7
    ABORTED = -8
    NO_DATA = -9


class VmCall(IntEnum):
    """Calls about another VM, whose partition id is in X1; X2 to X7 are zero."""

    INFO = 0xC600_0010
    CREATE = 0xC600_0011
    START = 0xC600_0012
    PAUSE = 0xC600_0013
    RESUME = 0xC600_0014
    STOP = 0xC600_0015
    DESTROY = 0xC600_0016


class VmResult(IntEnum):
    """Of a VmCall, in X0."""

    SUCCESS = 0
    INVALID_PARAMETER = -3
    DENIED = -5
    BAD_STATE = -6


class VmState(IntEnum):
    """What VmCall.INFO answers in X1."""

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


class VmEnd(IntEnum):
    """How its last life ended; what VmCall.INFO answers in X2. OFF also before the first end."""

    OFF = 0
    RESET = 1
    CRASH = 2
    STOPPED = 3


class DataAccess(IntEnum):
    NOT_SPECIFIED = 0
    READ_ONLY = 1
    READ_WRITE = 2


class InstructionAccess(IntEnum):
    NOT_SPECIFIED = 0
    NOT_EXECUTABLE = 1
    EXECUTABLE = 2


class TransactionType(IntEnum):
    """Bits 4 and 3 of the flags of a retrieve request."""

    ANY = 0
    SHARE = 1
    LEND = 2
    DONATE = 3


ATTRIBUTES = 0x2F
"""Normal memory, write-back, inner shareable; 0 says nothing."""
ZERO_MEMORY = 1
"""Bit 0 of the flags."""
GET_FROM_VMS = 2
"""Flag of NOTIFICATION_GET: notifications that VMs have set."""

_TRANSACTION = struct.Struct("<HHIQQIII12s")
_ACCESS = struct.Struct("<HBBIQ")
_COMPOSITE = struct.Struct("<IIQ")
_RANGE = struct.Struct("<QII")
_RELINQUISH = struct.Struct("<QII")
_PARTITION = struct.Struct("<HHI16s")


def ids(high: int, low: int) -> int:
    """Two partitions, or a partition and a vCPU, as X1 has them."""
    return high << 16 | low


def permissions(data: int, instruction: int = 0) -> int:
    """The permissions byte of an EndpointAccess."""
    return data | instruction << 2


@dataclass(frozen=True, slots=True)
class Range:
    """Whole pages at an IPA."""

    address: int
    pages: int
    reserved: int = 0


@dataclass(frozen=True, slots=True)
class EndpointAccess:
    """Endpoint memory access descriptor. `composite` None: the offset at which `pack` puts the
    ranges, 0 if there are none."""

    receiver: int
    permissions: int = 0
    flags: int = 0
    composite: int | None = None
    reserved: int = 0

    @property
    def data(self) -> int:
        """Bits 1 and 0 of the permissions: a DataAccess, or 3."""
        return self.permissions & 3

    @property
    def instruction(self) -> int:
        """Bits 3 and 2 of the permissions: an InstructionAccess, or 3."""
        return self.permissions >> 2 & 3


@dataclass(frozen=True, slots=True)
class MemoryTransaction:
    """Memory transaction descriptor of FF-A 1.1. What is None is what the rest asks for; other
    values make a wrong descriptor."""

    sender: int
    endpoints: tuple[EndpointAccess, ...]
    ranges: tuple[Range, ...] = ()
    attributes: int = 0
    flags: int = 0
    handle: int = 0
    tag: int = 0
    endpoint_size: int = _ACCESS.size
    endpoint_count: int | None = None
    endpoint_offset: int = _TRANSACTION.size
    reserved: bytes = bytes(12)
    total_pages: int | None = None
    range_count: int | None = None
    composite_reserved: int = 0

    def pack(self) -> bytes:
        """The bytes, for TX; ranges follow the endpoints."""
        count = len(self.endpoints) if self.endpoint_count is None else self.endpoint_count
        data = _TRANSACTION.pack(
            self.sender, self.attributes, self.flags, self.handle, self.tag,
            self.endpoint_size, count, self.endpoint_offset, self.reserved,
        )  # fmt: skip
        data += bytes(max(0, min(self.endpoint_offset, BUFFER_SIZE) - len(data)))
        composite = len(data) + _ACCESS.size * len(self.endpoints)
        for access in self.endpoints:
            there = composite if self.ranges else 0
            offset = there if access.composite is None else access.composite
            data += _ACCESS.pack(
                access.receiver, access.permissions, access.flags, offset, access.reserved
            )
        if not self.ranges:
            return data
        total, number = self.total_pages, self.range_count
        data += _COMPOSITE.pack(
            sum(r.pages for r in self.ranges) if total is None else total,
            len(self.ranges) if number is None else number,
            self.composite_reserved,
        )
        return data + b"".join(_RANGE.pack(r.address, r.pages, r.reserved) for r in self.ranges)

    @classmethod
    def unpack(cls, data: bytes) -> "MemoryTransaction":
        """What is in RX. Raises struct.error or ValueError for what is none."""
        sender, attributes, flags, handle, tag, size, count, offset, reserved = (
            _TRANSACTION.unpack_from(data)
        )
        if size != _ACCESS.size:
            raise ValueError(f"endpoint descriptors of {size} bytes")
        endpoints = tuple(
            EndpointAccess(*_ACCESS.unpack_from(data, offset + size * i)) for i in range(count)
        )
        found = cls(
            sender, endpoints, (), attributes, flags, handle, tag,
            size, count, offset, reserved,
        )  # fmt: skip
        composite = endpoints[0].composite if endpoints else None
        if not composite:
            return found
        total, number, rest = _COMPOSITE.unpack_from(data, composite)
        start = composite + _COMPOSITE.size
        ranges = tuple(
            Range(*_RANGE.unpack_from(data, start + _RANGE.size * i)) for i in range(number)
        )
        return replace(
            found, ranges=ranges, total_pages=total, range_count=number, composite_reserved=rest
        )


@dataclass(frozen=True, slots=True)
class Relinquish:
    """Descriptor of MEM_RELINQUISH. `count` None is the number of endpoints."""

    handle: int
    endpoints: tuple[int, ...]
    flags: int = 0
    count: int | None = None

    def pack(self) -> bytes:
        """The bytes, for TX."""
        count = len(self.endpoints) if self.count is None else self.count
        data = _RELINQUISH.pack(self.handle, self.flags, count)
        return data + b"".join(struct.pack("<H", endpoint) for endpoint in self.endpoints)


@dataclass(frozen=True, slots=True)
class PartitionInfo:
    """What PARTITION_INFO_GET writes to RX, once for each partition."""

    id: int
    vcpus: int
    properties: int
    uuid: UUID

    @classmethod
    def unpack(cls, data: bytes, count: int) -> "tuple[PartitionInfo, ...]":
        """The first `count` of them."""
        fields = (_PARTITION.unpack_from(data, _PARTITION.size * i) for i in range(count))
        return tuple(cls(i, vcpus, flags, UUID(bytes=uuid)) for i, vcpus, flags, uuid in fields)

# SPDX-License-Identifier: Apache-2.0
"""The reader of FF-A memory descriptors: the C code under ASan and UBSan, on descriptors of every
wrong shape, against a reading in Python from the standard's tables."""

import itertools
import struct
import subprocess
from collections.abc import Callable, Generator

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from aether_edgecloud.guest_stubs.ffa import EndpointAccess, FfaError, MemoryTransaction, Range

from .conftest import host_build

PAGE = 4096
MOST_BYTES = 4096
MOST_PAGES = 32
HEADER, ENTRY = 48, 16

INVALID = frozenset([FfaError.INVALID_PARAMETERS])
FAULTY = frozenset([FfaError.INVALID_PARAMETERS, FfaError.NO_MEMORY])
Verdict = tuple[int, ...] | FfaError
Read = Callable[[bytes, bool], Verdict]


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Generator[Read, None, None]:
    """What the C code makes of these bytes, with or without ranges."""
    target = tmp_path_factory.mktemp("ffa") / "descriptors"
    sources = ("host/ffa_descriptor.c", "ffa_descriptor.c")
    program = host_build(target, sources, ("el2/include", "stage2/include"))
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(data: bytes, ranges: bool) -> Verdict:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write((b"r" if ranges else b"n") + struct.pack("<I", len(data)) + data)
            process.stdin.flush()
            verdict, *numbers = process.stdout.readline().decode("ascii").split()
            found = tuple(int(number) for number in numbers)
            return FfaError(found[0]) if verdict == "error" else found

        yield ask
        process.stdin.close()
        assert process.wait() == 0


def composite(data: bytes, at: int) -> tuple[list[tuple[int, int]], int] | None:
    """The ranges (address, pages) and the end of the composite descriptor; None: malformed."""
    if at < HEADER or at % 8 or at + ENTRY > len(data):
        return None
    total, count, zero = struct.unpack_from("<IIQ", data, at)
    end = at + ENTRY + count * ENTRY
    if zero or count == 0 or end > len(data):
        return None
    ranges = [struct.unpack_from("<QII", data, at + ENTRY * (n + 1)) for n in range(count)]
    sound = all(
        address % PAGE == 0 and pages > 0 and not rest and address + pages * PAGE <= 1 << 64
        for address, pages, rest in ranges
    )
    if not sound or sum(pages for _, pages, _ in ranges) != total:
        return None
    return [(address, pages) for address, pages, _ in ranges], end


def reading(data: bytes, with_ranges: bool) -> tuple[int, ...] | frozenset[FfaError]:
    """All that the descriptor says, or the errors that it may be answered with."""
    if not HEADER + ENTRY <= len(data) <= MOST_BYTES:
        return INVALID
    sender, attributes, flags, handle, tag, size, count, at, zero = struct.unpack_from(
        "<HHIQQIII12s", data
    )
    if (size, count, any(zero)) != (ENTRY, 1, False):
        return INVALID
    if at < HEADER or at % ENTRY or at + ENTRY > len(data):
        return INVALID
    receiver, permissions, more_flags, ranges_at, rest = struct.unpack_from("<HBBIQ", data, at)
    if more_flags or rest:
        return INVALID
    said = (sender, receiver, attributes, permissions, flags, handle, tag)
    if not with_ranges:
        return INVALID if ranges_at else said
    found = composite(data, ranges_at)
    if found is None:
        return INVALID
    ranges, end = found
    if set(range(at, at + ENTRY)) & set(range(ranges_at, end)):
        return INVALID
    ordered = sorted(ranges)
    twice = any(a + n * PAGE > b for (a, n), (b, _) in itertools.pairwise(ordered))
    if sum(pages for _, pages in ranges) > MOST_PAGES:
        return FAULTY if twice else frozenset([FfaError.NO_MEMORY])
    if twice:
        return INVALID
    return (*said, *(a + page * PAGE for a, pages in ranges for page in range(pages)))


def agree(read: Read, data: bytes, ranges: bool) -> Verdict:
    wanted, got = reading(data, ranges), read(data, ranges)
    if isinstance(wanted, frozenset):
        assert got in wanted, (wanted, got)
    else:
        assert got == wanted
    return got


def packed(*ranges: tuple[int, int]) -> bytes:
    described = tuple(Range(address, pages) for address, pages in ranges)
    return MemoryTransaction(1, (EndpointAccess(2, 2),), described).pack()


ADDRESSES = st.builds(
    lambda page, odd: page * PAGE + odd,
    st.integers(0x40000, 0x40008) | st.sampled_from([0, (1 << 52) - 1, (1 << 52) - 2, 1 << 28]),
    st.sampled_from([0] * 12 + [1, 8, 2048]),
)
COUNTS = st.sampled_from([1] * 8 + [2, 2, 3, 4, 16, 31, 32, 33]) | st.sampled_from(
    [0, 1 << 20, 1 << 31, (1 << 32) - 1]
)
RANGES = st.builds(Range, ADDRESSES, COUNTS, st.sampled_from([0] * 20 + [1, 1 << 31]))
NUMBERS = st.sampled_from(
    [
        0,
        1,
        2,
        8,
        15,
        16,
        24,
        32,
        40,
        47,
        48,
        56,
        64,
        72,
        80,
        96,
        112,
        4080,
        4096,
        1 << 31,
        2**32 - 1,
    ]
)


def mostly(value: object, other: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.one_of(*[st.just(value)] * 7, other)


TRANSACTIONS = st.builds(
    MemoryTransaction,
    sender=st.integers(0, 0xFFFF),
    endpoints=st.builds(
        EndpointAccess,
        receiver=st.integers(0, 0xFFFF),
        permissions=st.integers(0, 255),
        flags=mostly(0, st.integers(1, 255)),
        composite=mostly(None, NUMBERS),
        reserved=mostly(0, st.sampled_from([1, 1 << 63])),
    ).map(lambda access: (access,)),
    ranges=st.lists(RANGES, max_size=4).map(tuple),
    attributes=st.integers(0, 0xFFFF),
    flags=st.integers(0, 2**32 - 1),
    handle=st.integers(0, 2**64 - 1),
    tag=st.integers(0, 2**64 - 1),
    endpoint_size=mostly(16, NUMBERS),
    endpoint_count=mostly(None, NUMBERS),
    endpoint_offset=mostly(48, NUMBERS),
    reserved=mostly(bytes(12), st.binary(min_size=12, max_size=12)),
    total_pages=mostly(None, NUMBERS),
    range_count=mostly(None, NUMBERS),
    composite_reserved=mostly(0, NUMBERS),
)


def pack(transaction: MemoryTransaction) -> bytes | None:
    try:
        return transaction.pack()
    except struct.error:  # a sum of pages that is no 32-bit number
        return None


@settings(max_examples=400)
@given(TRANSACTIONS.map(pack), st.booleans(), st.integers(-40, 40))
def test_descriptors_with_a_few_faults(
    read: Read, data: bytes | None, ranges: bool, longer: int
) -> None:
    if data is not None:
        got = agree(read, data, ranges)
        event(got.name if isinstance(got, FfaError) else "accepted")
        agree(read, data[:longer] if longer < 0 else data + bytes(longer), ranges)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes(read: Read, data: bytes, ranges: bool) -> None:
    agree(read, data, ranges)


@given(
    st.integers(0, 159).flatmap(lambda at: st.tuples(st.just(at), st.integers(0, 255))),
    st.booleans(),
)
def test_one_byte_of_a_good_one_is_changed(
    read: Read, change: tuple[int, int], ranges: bool
) -> None:
    at, value = change
    data = bytearray(packed(*[(0x4000_0000 + 0x3000 * n, 2) for n in range(5)]))
    assert len(data) == 160
    if not ranges:
        data = bytearray(packed())
        at %= len(data)
    data[at] = value
    agree(read, bytes(data), ranges)


def test_every_length_of_a_good_one(read: Read) -> None:
    """Cut anywhere it is refused, and nothing behind its end is read; what follows is ignored."""
    data = packed((0x4000_0000, 2), (0x4010_0000, 1))
    for length in range(len(data)):
        assert agree(read, data[:length], True) is FfaError.INVALID_PARAMETERS
    for more in (0, 1, 7, MOST_BYTES - len(data)):
        assert isinstance(agree(read, data + bytes(more), True), tuple)
    assert agree(read, data.ljust(MOST_BYTES + 1, b"\0"), True) is FfaError.INVALID_PARAMETERS
    without = packed()
    for length in range(len(without)):
        assert agree(read, without[:length], False) is FfaError.INVALID_PARAMETERS


@pytest.mark.parametrize(
    ("ranges", "wanted"),
    [
        ([(0x4000_0000, MOST_PAGES)], None),
        ([(0x4000_0000, MOST_PAGES + 1)], FfaError.NO_MEMORY),
        ([(0x4000_0000 + PAGE * n, 1) for n in range(MOST_PAGES)], None),
        ([(0x4000_0000 + PAGE * n, 1) for n in range(MOST_PAGES + 1)], FfaError.NO_MEMORY),
        ([(0x4000_0000 + PAGE * n, 1) for n in range(251)], FfaError.NO_MEMORY),
        ([(0x4000_0000, 1), (0x4000_0000, 1)], FfaError.INVALID_PARAMETERS),
        ([(0x4000_0000, 3), (0x4000_2000, 1)], FfaError.INVALID_PARAMETERS),
        ([(0x4000_2000, 1), (0x4000_0000, 3)], FfaError.INVALID_PARAMETERS),
        ([(0x4000_1000, 1), (0x4000_0000, 3)], FfaError.INVALID_PARAMETERS),
        ([(0x4000_2000, 2), (0x4000_0000, 2)], None),
        ([(0x4000_0000, 0)], FfaError.INVALID_PARAMETERS),
        ([(0, 0), (0x4000_0000, 1)], FfaError.INVALID_PARAMETERS),
        ([(0x4000_0800, 1)], FfaError.INVALID_PARAMETERS),
        ([((1 << 64) - PAGE, 1)], None),
        ([((1 << 64) - PAGE, 2)], FfaError.INVALID_PARAMETERS),
        ([((1 << 64) - 2 * PAGE, 1 << 31)], FfaError.INVALID_PARAMETERS),
    ],
)
def test_ranges(read: Read, ranges: list[tuple[int, int]], wanted: FfaError | None) -> None:
    got = agree(read, packed(*ranges), True)
    assert (None if isinstance(got, tuple) else got) is wanted


def placed(endpoint: int, ranges: int, count: int = 1) -> bytearray:
    """A good descriptor but for where its parts lie, and perhaps without a range."""
    data = bytearray(160)
    data[:HEADER] = struct.pack("<HHIQQIII12s", 1, 0, 0, 0, 0, 16, 1, endpoint, bytes(12))
    data[ranges : ranges + 32] = struct.pack("<IIQQII", count, count, 0, 0x4000_0000, 1, 0)
    data[endpoint : endpoint + ENTRY] = struct.pack("<HBBIQ", 2, 2, 0, ranges, 0)
    return data


@pytest.mark.parametrize("ranges", [*range(48, 128, 8), 81, 82, 84])
def test_where_the_ranges_lie(read: Read, ranges: int) -> None:
    """The endpoint descriptor is at 64, or at 96."""
    for endpoint in (64, 96):
        apart = ranges >= endpoint + ENTRY or ranges + 32 <= endpoint
        got = agree(read, bytes(placed(endpoint, ranges)), True)
        assert isinstance(got, tuple) == (apart and ranges % 8 == 0)


@pytest.mark.parametrize("endpoint", [48, 49, 52, 56, 64, 72, 80, 88, 96])
def test_where_the_endpoint_lies(read: Read, endpoint: int) -> None:
    data = placed(endpoint, 112)
    assert isinstance(agree(read, bytes(data), True), tuple) == (endpoint % 16 == 0)
    data[endpoint + 4 : endpoint + 8] = bytes(4)
    for length in range(len(data)):
        got = agree(read, bytes(data[:length]), False)
        assert isinstance(got, tuple) == (endpoint % 16 == 0 and length >= max(endpoint + 16, 64))


def test_no_range(read: Read) -> None:
    assert agree(read, bytes(placed(48, 64, count=0)), True) is FfaError.INVALID_PARAMETERS

# SPDX-License-Identifier: Apache-2.0
"""Integers as sections of little-endian bytes."""

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from aether_edgecloud.emulator.recording.document import Malformed

_U64 = np.dtype("<u8")


def pack_rows(rows: Iterable[Sequence[int]], width: int) -> bytes:
    """Rows of `width` numbers of 64 bits, without sign."""
    return np.fromiter(itertools.chain.from_iterable(rows), _U64).tobytes()


def unpack_rows(data: bytes, width: int) -> list[list[int]]:
    """The same rows. Malformed for bytes that are not whole rows."""
    if len(data) % (width * _U64.itemsize):
        raise Malformed(f"{len(data)} bytes are no rows of {width} numbers")
    rows: list[list[int]] = np.frombuffer(data, _U64).reshape(-1, width).tolist()
    return rows

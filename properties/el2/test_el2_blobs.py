# SPDX-License-Identifier: Apache-2.0
"""A blob of a bundle lies in the bundle: what is behind it belongs to somebody else."""

import struct

import pytest

from .bundle_seals import resealed
from .host_readers import Readers
from .test_el2_bundles import PAGE, SMALL_BUNDLE

TABLE = 64
END = len(SMALL_BUNDLE)
PAGES = -(-END // PAGE)


@pytest.mark.parametrize("blob", [0, 1])
@pytest.mark.parametrize(
    ("offset", "size"),
    [
        (PAGES * PAGE, 1),
        (PAGES * PAGE, PAGE),
        (PAGES * PAGE, (1 << 64) - PAGES * PAGE),
        ((1 << 64) - PAGE, PAGE),
        ((1 << 64) - PAGE, 2 * PAGE),
        (1 << 40, 1 << 30),
    ],
)
def test_a_blob_outside_the_bundle_is_refused(
    readers: Readers, blob: int, offset: int, size: int
) -> None:
    data = bytearray(SMALL_BUNDLE)
    struct.pack_into("<QQ", data, TABLE + 64 * blob, offset, size)
    answer = readers.bundle(resealed(bytes(data)))
    assert "outside the bundle" in answer.get("error", "")

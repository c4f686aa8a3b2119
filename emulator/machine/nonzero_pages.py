# SPDX-License-Identifier: Apache-2.0
"""Which pages of a RAM are not all zeros, without looking at those that the host never gave it.

RAM is a private mapping of the host's zeros. A page that Linux's /proc/self/pagemap says is neither
present nor swapped out has never been written. Where there is no such file every page is read.
"""

import ctypes as c
import os

import numpy as np
import numpy.typing as npt

from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE
from aether_edgecloud.emulator.cpu.translation import PhysicalMemory

_PAGEMAP = "/proc/self/pagemap"
_ENTRY = np.dtype(np.uint64)
_PRESENT_OR_SWAPPED = 62  # the two highest bits of an entry


def nonzero_pages(memory: PhysicalMemory) -> list[int]:
    """Their numbers from the start of RAM, rising."""
    words = np.frombuffer(memory.bytes, np.uint64).reshape(-1, PAGE_SIZE // 8)
    in_use = _in_use(c.addressof(c.c_char.from_buffer(memory.bytes)), len(words))
    found: list[int] = []
    for first, end in np.flatnonzero(np.diff(in_use, prepend=False, append=False)).reshape(-1, 2):
        found += (first + np.flatnonzero(words[first:end].max(axis=1))).tolist()
    return found


def _in_use(address: int, pages: int) -> npt.NDArray[np.bool_]:
    """Of each page at an address of this process: False if it cannot hold anything but zeros."""
    everything = np.ones(pages, np.bool_)
    if address % PAGE_SIZE or os.sysconf("SC_PAGE_SIZE") != PAGE_SIZE:
        return everything
    try:
        with open(_PAGEMAP, "rb", buffering=0) as file:
            size = pages * _ENTRY.itemsize
            data = os.pread(file.fileno(), size, address // PAGE_SIZE * _ENTRY.itemsize)
    except OSError:
        return everything
    if len(data) != size:
        return everything
    in_use: npt.NDArray[np.bool_] = np.frombuffer(data, _ENTRY) >> _PRESENT_OR_SWAPPED != 0
    return in_use if in_use.any() else everything

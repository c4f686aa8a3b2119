# SPDX-License-Identifier: Apache-2.0
"""Which registers a load or store transfers: what they hold is what is in memory."""

import numpy as np
import numpy.typing as npt

from aether_edgecloud.emulator.arch import decode as a64
from aether_edgecloud.emulator.trace.operations import NO_REGISTER, V, operation

_PIECES = 4


class Transfers:
    """For each of `words` (instructions): `registers` u8[n, 4], in the order of their bytes in
    memory, NO_REGISTER where there is none or the trace tells the memory itself; and `widths`
    u8[n], how many bytes each of them has there."""

    def __init__(self, words: npt.NDArray[np.uint32]) -> None:
        self.most = _PIECES
        rows = [_transfer(word) for word in words.tolist()]
        none = [NO_REGISTER] * _PIECES
        self.registers = np.array([(r + none)[:_PIECES] for r, _ in rows], np.uint8)
        self.registers = self.registers.reshape(-1, _PIECES)
        self.widths = np.array([width for _, width in rows], np.uint8)


def _transfer(word: int) -> tuple[list[int], int]:
    ls = a64.decode(word)
    if not isinstance(ls, a64.LoadStore) or operation(word).words or not operation(word).size:
        return [], 0
    numbers = [ls.rt] if ls.rt2 is None else [ls.rt, ls.rt2]
    if not ls.simd:
        # A store of XZR stores zeros.
        return [NO_REGISTER if n == 31 else n for n in numbers], ls.size_bytes
    if ls.size_bytes == 16:
        return [V + 2 * n + half for n in numbers for half in (0, 1)], 8
    return [V + 2 * n for n in numbers], ls.size_bytes

# SPDX-License-Identifier: Apache-2.0
"""The choices of an adversary: a stream of numbers that a seed decides, part of a run's state."""

_MASK = (1 << 64) - 1
_GAMMA = 0x9E37_79B9_7F4A_7C15


class Choices:
    """SplitMix64 (Steele, Lea, Flood 2014). `rate` of 256 choices go against the program."""

    def __init__(self, seed: int, rate: int) -> None:
        self._rate = rate
        self.state = (seed * 0xD1B5_4A32_D192_ED03 + _GAMMA) & _MASK
        """To save, and to set when a snapshot is restored."""

    def number(self, below: int) -> int:
        """A number of [0, below)."""
        self.state = (self.state + _GAMMA) & _MASK
        z = self.state
        z = ((z ^ z >> 30) * 0xBF58_476D_1CE4_E5B9) & _MASK
        z = ((z ^ z >> 27) * 0x94D0_49BB_1331_11EB) & _MASK
        return ((z ^ z >> 31) >> 11) % below

    def against(self) -> bool:
        """Whether what is to be decided goes against the program."""
        return self.number(256) < self._rate

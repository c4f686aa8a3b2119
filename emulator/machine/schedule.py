# SPDX-License-Identifier: Apache-2.0
"""Which CPU runs when, and for how long, as a function of a seed: no state, no history.

Time, in instructions, is cut into rounds of one step. In each round every CPU that has something to
do runs once, up to its limit in that round. With seed 0 the CPUs take turns by number and a step is
a quantum. Any other seed shuffles each round's order and makes limits earlier by up to a quarter of
a quantum, with steps so much shorter; two CPUs are never more than a quantum apart.
"""

from dataclasses import dataclass, field

_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Schedule:
    """The rounds of `cpus` CPUs; `quantum` in instructions, at least 1."""

    quantum: int
    seed: int
    cpus: int
    step: int = field(init=False)
    """The length of a round."""
    _jitter: int = field(init=False)

    def __post_init__(self) -> None:
        jitter = self.quantum // 4 if self.seed else 0
        object.__setattr__(self, "_jitter", jitter)
        object.__setattr__(self, "step", self.quantum - jitter)

    def round_at(self, time: int) -> int:
        """The round that `time` lies in."""
        return time // self.step

    def start(self, number: int) -> int:
        """When a round starts."""
        return number * self.step

    def limit(self, number: int, cpu: int) -> int:
        """Where a CPU's slice in a round ends: at the first block at or past this."""
        end = (number + 1) * self.step
        if not self._jitter:
            return end
        return end - min(self._draw(number, cpu, 0) % (self._jitter + 1), self.step - 1)

    def round_of(self, time: int, cpu: int) -> int:
        """The round in which a CPU that is always busy executes at `time`."""
        number = self.round_at(time)
        return number + (time >= self.limit(number, cpu))

    def order(self, number: int) -> tuple[int, ...]:
        """The CPUs in the order of their turns in a round."""
        if not self.seed:
            return tuple(range(self.cpus))
        return tuple(sorted(range(self.cpus), key=lambda cpu: self._draw(number, cpu, 1)))

    def _draw(self, number: int, cpu: int, purpose: int) -> int:
        """64 bits that look random (the finaliser of SplitMix64 over all that it depends on)."""
        x = (self.seed * 0x9E37_79B9_7F4A_7C15 + (number << 4 | cpu << 1 | purpose)) & _MASK
        x = ((x ^ x >> 30) * 0xBF58_476D_1CE4_E5B9) & _MASK
        x = ((x ^ x >> 27) * 0x94D0_49BB_1331_11EB) & _MASK
        return x ^ x >> 31

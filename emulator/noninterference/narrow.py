# SPDX-License-Identifier: Apache-2.0
"""Memory is looked at only now and then: to which entry a difference of it goes back."""

from collections.abc import Callable
from dataclasses import replace

from aether_edgecloud.emulator.noninterference.crossings import Vcpu
from aether_edgecloud.emulator.noninterference.pair import Mismatch, Options, Pair, Subject
from aether_edgecloud.emulator.noninterference.secret import Secret

_LOOKS = 128
"""In one more pass through both runs, at most."""


class Narrow:
    """Goes through two runs again, that are the same every time."""

    def __init__(
        self,
        subject: Subject,
        secrets: tuple[Secret, Secret],
        options: Options,
        check: Callable[[int], None],
    ) -> None:
        self._subject, self._secrets = subject, secrets
        self._options, self._check = options, check

    def first(self, found: Mismatch, good: int) -> Mismatch | None:
        """The first entry of that vCPU, up to the mismatch `found`, at which its memory differs;
        at number `good` (-1: nowhere) it did not. None if it does at none of them."""
        bad: Mismatch | None = found if found.is_of_memory_alone else None
        low, high = good, found.number & ~1  # entries have the even numbers
        while high > low:
            step = 2 * -(-(high - low) // (2 * _LOOKS))
            pair = self._pair(found.vcpu, frozenset(range(high, low, -step)))
            try:
                seen = pair.run()
                low = max(low, pair.looked.get(found.vcpu, low))
            finally:
                pair.close()
            if seen is None or seen.vcpu != found.vcpu or not _has_memory(seen):
                return bad
            bad, high = seen, seen.number
            if step == 2:
                break
        return bad

    def copies(self, found: Mismatch) -> tuple[dict[int, bytes], dict[int, bytes]]:
        """The pages of both runs at that entry, by IPA; zero pages are left out."""
        where = (found.vcpu, found.number)
        pair = self._pair(found.vcpu, frozenset([found.number]), where)
        try:
            pair.run()
            return pair.a.log.copied or {}, pair.b.log.copied or {}
        finally:
            pair.close()

    def _pair(
        self, vcpu: Vcpu, numbers: frozenset[int], copied_at: tuple[Vcpu, int] | None = None
    ) -> Pair:
        def looks(one: Vcpu, number: int) -> bool:
            return one == vcpu and number in numbers

        return Pair(
            self._subject,
            self._secrets,
            replace(self._options, has_memory=True),
            looks=looks,
            copied_at=copied_at,
            check=self._check,
        )


def _has_memory(found: Mismatch) -> bool:
    return found.a is not None and found.b is not None and found.a.memory != found.b.memory

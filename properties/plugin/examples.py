# SPDX-License-Identifier: Apache-2.0
"""How many examples Hypothesis tried for a test, and where they came from."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

EXAMPLES = "hypothesis_examples"
SEED = "hypothesis_seed"
"""The JUnit properties that say so."""
_DERANDOMIZED = "derandomized"
"""In place of a seed: the examples follow from the test."""


@contextmanager
def counted(item: pytest.Item) -> Iterator[None]:
    """Around a test: count and seed become properties of it. Whoever else collects goes on to."""
    from hypothesis.statistics import collector

    outer: Any = collector.value
    tried = 0

    def note(statistics: Any) -> None:
        nonlocal tried
        if outer is not None:
            outer(statistics)
        phases = [phase for phase in statistics.values() if isinstance(phase, dict)]
        tried += sum(len(phase.get("test-cases", ())) for phase in phases)

    inner: Any = note
    try:
        with collector.with_value(inner):
            yield
    finally:
        if tried:
            item.user_properties.append((EXAMPLES, tried))
            seed = _seed(item)
            if seed is not None:
                item.user_properties.append((SEED, seed))


def _seed(item: pytest.Item) -> int | str | None:
    from aether_edgecloud.properties.plugin import profiles, words

    seed = words.seed(item)
    return _DERANDOMIZED if seed is None and profiles.is_derandomized(item) else seed

# SPDX-License-Identifier: Apache-2.0
"""How many examples Hypothesis tried for a test."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

EXAMPLES = "hypothesis_examples"
"""The JUnit property that says so."""


@contextmanager
def counted(item: pytest.Item) -> Iterator[None]:
    """Around a test: the count becomes a property of it. Whoever else collects goes on to."""
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

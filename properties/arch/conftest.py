# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of the architecture's models."""

import pytest

from aether_edgecloud.properties.arch.native_cpu import NativeCpu


@pytest.fixture(scope="session")
def native() -> NativeCpu:
    """One engine for all tests: making it costs more than a step."""
    return NativeCpu()

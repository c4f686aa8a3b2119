# SPDX-License-Identifier: Apache-2.0
"""`boot_stub(NAME, on=...)` for all tests of the stubs: the same run is made only once."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.qemu import command
from aether_edgecloud.guest_stubs import catalogue
from aether_edgecloud.properties.stubs.deviations import Platform
from aether_edgecloud.properties.stubs.runner import Run, RunResult, boot

BootStub = Callable[..., RunResult]

UNDER_HYPERVISOR = (Platform.QEMU, Platform.MODEL, Platform.NATIVE)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with an argument `platform` runs on all platforms that have the hypervisor."""
    marks = metafunc.definition.iter_markers("parametrize")
    if "platform" in metafunc.fixturenames and not any(m.args[0] == "platform" for m in marks):
        metafunc.parametrize("platform", UNDER_HYPERVISOR, ids=lambda platform: platform.value)


@pytest.fixture(scope="session")
def boot_stub() -> BootStub:
    """Boots a stub: `boot_stub(name, on=Platform.QEMU, case="ldp", parameter=3)`; the other
    fields of `Run` go by name too. Skips where QEMU is needed and missing."""
    done: dict[tuple[Run, Platform], RunResult] = {}

    def run(name: str, *, on: Platform, case: str | None = None, **fields: object) -> RunResult:
        number = 0 if case is None else catalogue.find(name).case(case).number
        wanted = replace(Run(name, case=number), **fields)  # type: ignore[arg-type]
        if (wanted, on) not in done:
            if on in (Platform.QEMU, Platform.BARE):
                _need_qemu()
            done[wanted, on] = boot(wanted, on)
        return done[wanted, on]

    return run


def _need_qemu() -> None:
    try:
        command.find_program()
    except UserError as error:
        pytest.skip(str(error))

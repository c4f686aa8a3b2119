# SPDX-License-Identifier: Apache-2.0
"""Settings and fixtures of the whole suite.

`--aether-profile` (or AETHER_PROFILE) chooses how hard Hypothesis looks: `pr`, the default, gives
one verdict for one state of the code; `nightly` looks further each time and also runs the tests
marked `nightly`. With AETHER_REQUIRE_ALL=1 a skipped test is a failure, so that nothing is silently
left out where everything is supposed to be installed.
"""

import os
import shutil
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from hypothesis import settings

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.guests import store
from aether_edgecloud.emulator.toolchain import Artefact

# Not derived from what is loaded now: with CI set that is a profile of Hypothesis's own.
_BASE = settings.get_profile("default")
settings.register_profile("pr", _BASE, deadline=None, print_blob=True, derandomize=True)
settings.register_profile(
    "nightly",
    _BASE,
    deadline=None,
    print_blob=True,
    max_examples=1000,
    stateful_step_count=100,
)
PROFILES = ("pr", "nightly")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--aether-profile",
        choices=PROFILES,
        default=None,
        help="how hard Hypothesis looks: pr (default) or nightly; also AETHER_PROFILE",
    )


def pytest_configure(config: pytest.Config) -> None:
    # Always loaded here: with CI set, Hypothesis would choose a profile of its own.
    settings.load_profile(_profile(config))


def _profile(config: pytest.Config) -> str:
    name = config.getoption("--aether-profile") or os.environ.get("AETHER_PROFILE") or PROFILES[0]
    if name not in PROFILES:
        known = " or ".join(PROFILES)
        raise pytest.UsageError(f"AETHER_PROFILE: unknown profile {name!r}; choose {known}")
    return str(name)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if _profile(config) == "nightly" or "nightly" in config.getoption("-m", default=""):
        return
    slow = [item for item in items if item.get_closest_marker("nightly")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


def _require_all() -> bool:
    return os.environ.get("AETHER_REQUIRE_ALL", "0") not in ("", "0")


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped or hasattr(report, "wasxfail") or not _require_all():
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"skipped, although AETHER_REQUIRE_ALL is set: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.fixture(scope="session")
def el2() -> Artefact:
    """The EL2 binary of these sources."""
    return toolchain.artefact("el2")


@pytest.fixture(scope="session")
def stub() -> Callable[[str], Artefact]:
    """The guest stub of a name: `stub("hello")`."""
    return lambda name: toolchain.artefact(f"stub:{name}")


@pytest.fixture(scope="session")
def qemu() -> Path:
    """qemu-system-aarch64, or a skip."""
    return _program("qemu-system-aarch64", package="qemu-system-arm")


@pytest.fixture(scope="session")
def u_boot() -> Path:
    """Debian's U-Boot for QEMU's virt board, or a skip."""
    try:
        return store.image("u-boot")
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def linux() -> tuple[Path, ...]:
    """Debian's Linux kernel and busybox, or a skip."""
    try:
        return store.files("linux")
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def dtc() -> Path:
    """The device-tree compiler, or a skip."""
    return _program("dtc", package="device-tree-compiler")


@pytest.fixture(scope="session")
def cross_gcc() -> str:
    """The CROSS_COMPILE prefix of an installed GNU cross compiler, or a skip."""
    _program("aarch64-linux-gnu-gcc", package="gcc-aarch64-linux-gnu")
    return "aarch64-linux-gnu-"


def _program(name: str, *, package: str) -> Path:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is missing: apt-get install {package}")
    return Path(found)

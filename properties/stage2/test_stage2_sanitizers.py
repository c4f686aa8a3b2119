# SPDX-License-Identifier: Apache-2.0
"""The same sequences of operations with the library under AddressSanitizer and UBSan."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aether_edgecloud.stage2.host import ENV_COMPILER, BuildError, asan_build, build_library

OPERATIONS = tuple(
    Path(__file__).with_name(f"test_stage2_{subject}.py")
    for subject in ("operations", "ranges", "reserved", "descriptors", "spaces")
)


def libasan(compiler: str) -> Path | None:
    """The compiler's ASan runtime, to be loaded before Python's own libraries."""
    for name in ("libasan.so", "libclang_rt.asan-x86_64.so", "libclang_rt.asan-aarch64.so"):
        shown = subprocess.run(
            [compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=False
        )
        path = Path(shown.stdout.strip())
        if path.is_absolute() and path.exists():
            return path
    return None


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    compiler = next((name for name in ("gcc", "clang") if shutil.which(name)), None)
    if compiler is None:
        pytest.skip("no system C compiler: apt-get install gcc libc6-dev")
    runtime = libasan(compiler)
    if runtime is None:
        pytest.skip(f"{compiler} has no AddressSanitizer runtime: apt-get install gcc libc6-dev")
    try:
        build_library(asan_build(compiler))
    except BuildError as error:
        if "cannot find" in str(error) or "No such file" in str(error):
            pytest.skip(f"{compiler} cannot build for this machine: apt-get install libc6-dev")
        raise
    return {
        **os.environ,
        ENV_COMPILER: compiler,
        "LD_PRELOAD": str(runtime),
        # Python frees nothing at its end; and the library is loaded by path, not linked.
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    }


def test_operations_under_asan_and_ubsan(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            *map(str, OPERATIONS),
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def test_asan_sees_an_access_between_tables(environment: dict[str, str]) -> None:
    """The build above does watch: a word in the gap after a page cannot be read."""
    program = "from aether_edgecloud.stage2.host import Arena; Arena(1).read_past()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "AddressSanitizer: use-after-poison" in done.stderr

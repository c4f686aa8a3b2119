# SPDX-License-Identifier: Apache-2.0
"""The hypervisor's readers as a program of this machine, and QEMU runs of the hypervisor."""

import shutil
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from aether_edgecloud.emulator.toolchain import Artefact

from .host_readers import Readers

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("host/readers.c", "board.c", "bundle.c", "fdt.c", "manifest.c", "uart.c")
FLAGS = (
    "-std=c11",
    "-O1",
    "-g",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Werror",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
)
QEMU_LIMIT_S = 120


@pytest.fixture(scope="session")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Generator[Readers, None, None]:
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no compiler with ASan: apt-get install gcc")
    program = tmp_path_factory.mktemp("readers") / "readers"
    includes = ("-Iel2/include", "-Istage2/include")
    sources = [f"el2/{name}" for name in SOURCES]
    subprocess.run(
        [compiler, *FLAGS, *includes, *sources, "-o", str(program)], cwd=ROOT, check=True
    )
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield Readers(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait() == 0


@pytest.fixture(scope="session")
def boot(qemu: Path, el2: Artefact, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """The console of the hypervisor on QEMU with these bytes as its bundle, to the end."""

    def run(
        bundle: bytes | None,
        *,
        memory: str = "256M",
        machine: str = "gic-version=2",
        cpu: str = "cortex-a72",
    ) -> str:
        command = [str(qemu), "-M", f"virt,virtualization=on,{machine}", "-cpu", cpu]
        command += ["-m", memory, "-nographic", "-kernel", str(el2.flat)]
        if bundle is not None:
            file = tmp_path_factory.mktemp("boot") / "bundle"
            file.write_bytes(bundle)
            command += ["-initrd", str(file)]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=QEMU_LIMIT_S
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode("latin-1")

    return run

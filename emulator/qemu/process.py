# SPDX-License-Identifier: Apache-2.0
"""A QEMU process that cannot outlive its user."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from aether_edgecloud.emulator.errors import UserError

_PR_SET_PDEATHSIG = 1


class QemuProcess:
    """QEMU with its console on pipes. Use as a context: at its end QEMU is gone.

    It has a session of its own, so that Ctrl-C at the terminal reaches the caller alone, which
    then ends it. Should the caller be killed outright, the kernel kills QEMU.
    """

    def __init__(self, command: Sequence[str], errors: Path) -> None:
        """`errors` is the file QEMU's own messages go to. UserError when it cannot be started."""
        with errors.open("wb") as stderr:
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    bufsize=0,
                    start_new_session=True,
                    preexec_fn=_die_with_parent(),
                )
            except OSError as e:
                raise UserError(
                    f"cannot be started ({e.strerror})",
                    where=command[0],
                    fix="install QEMU anew, or leave out --on qemu",
                ) from None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.input = self._process.stdin.fileno()
        self.output = self._process.stdout.fileno()
        os.set_blocking(self.input, False)

    def cpu_seconds(self) -> float:
        """The host CPU time that QEMU has taken so far."""
        try:
            words = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(") ")[2].split()
        except OSError:
            return 0.0
        user, system = words[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def wait(self) -> int:
        """Waits for QEMU's own end; its exit status, negative for a signal."""
        return self._process.wait()

    def __enter__(self) -> "QemuProcess":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def _die_with_parent() -> Callable[[], object] | None:
    """What the child does before it becomes QEMU; prepared here, for after a fork one must not."""
    try:
        prctl = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return None
    kill = int(signal.SIGKILL)
    return lambda: prctl(_PR_SET_PDEATHSIG, kill, 0, 0, 0)

# SPDX-License-Identifier: Apache-2.0
"""The hypervisor's readers as a process of this machine, with sanitizers."""

import struct
import subprocess
from dataclasses import dataclass


class Answer(dict[str, str]):
    """What the readers say. To expect what they do not say is a failed assertion."""

    def __missing__(self, key: str) -> str:
        raise AssertionError(f"no {key!r} in the answer {dict(self)}")


@dataclass(frozen=True, slots=True)
class Readers:
    """The C readers under ASan and UBSan. An answer without the key "error" was accepted."""

    process: subprocess.Popen[bytes]

    def board(self, dtb: bytes) -> Answer:
        """What follows of bundle() is for this board."""
        return self._ask(b"d", dtb)

    def bundle(self, data: bytes) -> Answer:
        return self._ask(b"b", data)

    def uart(self, registers: bytes) -> Answer:
        return self._ask(b"u", registers)

    def _ask(self, kind: bytes, data: bytes) -> Answer:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(kind + struct.pack("<I", len(data)) + data)
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # said by the answer that does not come
        line = self.process.stdout.readline().decode("ascii")
        assert line.endswith("\n"), "a sanitizer has ended the readers: see stderr"
        verdict, _, rest = line.strip().partition(" ")
        if verdict == "error":
            return Answer(error=rest)
        assert verdict == "ok"
        return Answer(item.split("=", 1) for item in rest.split(" "))

# SPDX-License-Identifier: Apache-2.0
"""Keys with a meaning before they reach a guest: Ctrl-A for the host, Ctrl-T for EL2's console."""

_CTRL_A = 0x01
_CTRL_T = 0x14


class EscapeKeys:
    """Takes Ctrl-A sequences out of what is typed."""

    def __init__(self) -> None:
        self.leave = False
        """Ctrl-A x was typed."""
        self._escaped = False

    def filter(self, typed: bytes) -> bytes:
        """What of `typed` goes to the guest; nothing behind Ctrl-A x does."""
        out = bytearray()
        for byte in typed:
            if self.leave:
                break
            if self._escaped:
                self._escaped = False
                if byte in b"xX":
                    self.leave = True
                elif byte == _CTRL_A:
                    out.append(byte)
            elif byte == _CTRL_A:
                self._escaped = True
            else:
                out.append(byte)
        return bytes(out)


class VmKeys:
    """Input for several VMs on the one line to EL2, which gives it to the VM attached last.

    Ctrl-T N attaches VM N, from 1 on; Ctrl-T Ctrl-T is one Ctrl-T. A board with one VM has no such
    keys: all input is that VM's.
    """

    def __init__(self, vms: int) -> None:
        self._vms = vms
        self._attached = 1
        self._typing_to = 1
        self._escaped = False

    def typed(self, data: bytes) -> bytes:
        """What to send for keys of a user who switches VMs by Ctrl-T."""
        if self._vms < 2:
            return data
        out = bytearray()
        for byte in data:
            if self._escaped:
                self._escaped = False
                number = byte - ord("0")
                if 1 <= number <= self._vms:
                    self._typing_to = number
                elif byte == _CTRL_T:
                    out += self._attach(self._typing_to) + bytes((_CTRL_T, _CTRL_T))
            elif byte == _CTRL_T:
                self._escaped = True
            else:
                out += self._attach(self._typing_to)
                out.append(byte)
        return bytes(out)

    def to_vm(self, number: int, data: bytes) -> bytes:
        """What to send so that VM `number` gets `data`."""
        if self._vms < 2:
            return data
        return self._attach(number) + data.replace(b"\x14", b"\x14\x14") if data else b""

    def _attach(self, number: int) -> bytes:
        if self._attached == number:
            return b""
        self._attached = number
        return bytes((_CTRL_T, ord("0") + number))

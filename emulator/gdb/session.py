# SPDX-License-Identifier: Apache-2.0
"""One debugger's session: bytes in, bytes out. It waits for nothing and knows no socket.

Where a packet asks for something that may take long, `feed` comes back with `has_work` set, and
`work` does it. Source: "Debugging with GDB", appendix "GDB Remote Serial Protocol".
"""

import re
from collections import deque
from collections.abc import Callable

from aether_edgecloud.emulator.gdb.host_io import HostIo
from aether_edgecloud.emulator.gdb.packets import (
    MAX_PACKET,
    Decoder,
    Event,
    Packet,
    Signal,
    frame,
)
from aether_edgecloud.emulator.gdb.parsing import (
    Malformed,
    address_and_size,
    from_hex,
    number,
    resume,
    thread_id,
)
from aether_edgecloud.emulator.gdb.requests import (
    SIGINT,
    SIGTRAP,
    Point,
    PointKind,
    Resume,
    Stop,
    Target,
    TargetError,
    Why,
)
from aether_edgecloud.emulator.gdb.transfers import auxiliary_vector, part, threads_xml

_OK = b"OK"
_UNSUPPORTED = b""
_NO_SUCH_THREAD = b"E01"
_MALFORMED = b"E16"  # EINVAL
_NO_MEMORY = b"E0e"  # EFAULT
_MOST_MEMORY = MAX_PACKET // 2
_MOST_OUTPUT = MAX_PACKET // 2 - 1
"""Bytes in one packet in which each takes two characters."""

_FEATURES = (
    f"PacketSize={MAX_PACKET:x}",
    "QStartNoAckMode+",
    "qXfer:features:read+",
    "qXfer:threads:read+",
    "qXfer:exec-file:read+",
    "qXfer:auxv:read+",
    "vContSupported+",
    "swbreak+",
    "hwbreak+",
    "ReverseStep+",
    "ReverseContinue+",
)

Receive = Callable[[], bytes | None]
"""What has come from gdb meanwhile, without waiting; None when gdb is gone."""


class Session:
    """Answers one gdb about a target. Any bytes are fine; what is no packet is skipped."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._exec_file = target.exec_file()
        self._files = HostIo(self._exec_file)
        self._decoder = Decoder()
        self._events: deque[Event] = deque()
        self._work: Resume | str | None = None
        self._sent = b""
        self._acknowledges = True
        self._tells_breaks: set[Why] = set()
        self._thread = target.current
        self._resumed_thread = 0
        self._stop = Stop(target.current, Why.STEPPED)
        self.ended = False
        """gdb has detached or killed: it sends no more."""
        self.killed = False
        """It was killed, so the server ends too."""

    @property
    def has_work(self) -> bool:
        """`work` is to be called before anything else is answered."""
        return self._work is not None

    def feed(self, data: bytes) -> bytes:
        """What to send after `data` has come."""
        self._events.extend(self._decoder.feed(data))
        return self._drain()

    def work(self, receive: Receive) -> bytes:
        """Run the target, or a `monitor` command; what to send then. A Ctrl-C among what `receive`
        gives ends it early."""
        task, self._work = self._work, None

        def interrupted() -> bool:
            data = receive()
            if data is None:
                return True
            self._events.extend(self._decoder.feed(data))
            if Signal.INTERRUPT not in self._events:
                return False
            self._events = deque(e for e in self._events if e is not Signal.INTERRUPT)
            return True

        match task:
            case Resume():
                answer = self._run(task, interrupted)
            case str():
                answer = self._output(self._monitor(task, interrupted)) + self._reply(_OK)
            case None:
                answer = b""
        return answer + self._drain()

    def _run(self, task: Resume, interrupted: Callable[[], bool]) -> bytes:
        try:
            stop = self._target.resume(task, interrupted)
        except TargetError as e:
            stop = Stop(self._target.current, Why.STEPPED, notice=str(e))
        self._stop, self._thread = stop, stop.thread
        notice = self._output(f"{stop.notice}\n") if stop.notice else b""
        return notice + self._reply(self._stop_reply())

    def _monitor(self, line: str, interrupted: Callable[[], bool]) -> str:
        try:
            return self._target.monitor(line, interrupted)
        except TargetError as e:
            return f"{e}\n"

    def _drain(self) -> bytes:
        out = bytearray()
        while self._events and not self.has_work and not self.ended:
            event = self._events.popleft()
            # gdb waits for each answer: the same packet once more is one it has sent again.
            if isinstance(event, Packet) and self._events and event == self._events[0]:
                continue
            out += self._take(event)
        return bytes(out)

    def _take(self, event: Event) -> bytes:
        acknowledgement = b"+" if self._acknowledges else b""
        match event:
            case Packet():
                return acknowledgement + self._answer(event.payload)
            case Signal.TOO_LONG:
                return acknowledgement + self._reply(_MALFORMED)
            case Signal.DAMAGED:
                return b"-" if self._acknowledges else b""
            case Signal.NACK:
                return self._sent
        return b""  # ACK; INTERRUPT while nothing runs

    def _reply(self, payload: bytes) -> bytes:
        self._sent = frame(payload)
        return self._sent

    def _output(self, text: str) -> bytes:
        """Text for gdb's console, in as many packets as it takes."""
        data = text.encode()
        starts = range(0, len(data), _MOST_OUTPUT)
        return b"".join(
            frame(b"O" + data[start : start + _MOST_OUTPUT].hex().encode()) for start in starts
        )

    def _answer(self, payload: bytes) -> bytes:
        try:
            answer = self._dispatch(payload)
        except Malformed:
            answer = _MALFORMED
        except TargetError as e:
            # None of the characters that would be escaped: this is no binary reply.
            words = re.sub(r"[^ -~]|[#$}*]", " ", str(e))
            answer = b"E." + words.encode()
        return b"" if answer is None else self._reply(answer)

    def _dispatch(self, payload: bytes) -> bytes | None:
        """The answer, None if it comes later or not at all."""
        target, kind, rest = self._target, payload[:1], payload[1:]
        match kind:
            case b"?":
                return self._stop_reply()
            case b"g":
                return target.read_registers(self._thread).hex().encode()
            case b"p":
                return target.read_register(self._thread, number(rest)).hex().encode()
            case b"G" | b"P":
                register, _, _ = rest.partition(b"=")
                target.write_register(self._thread, number(register) if kind == b"P" else 0)
                return _OK
            case b"m":
                return self._memory(*address_and_size(rest))
            case b"M" | b"X":
                place, _, _ = rest.partition(b":")
                target.write_memory(self._thread, *address_and_size(place))
                return _OK
            case b"H":
                return self._choose_thread(rest[:1], thread_id(rest[1:]))
            case b"T":
                return _OK if self._exists(thread_id(rest)) else _NO_SUCH_THREAD
            case b"Z" | b"z":
                return self._point(rest, insert=kind == b"Z")
            case b"D":
                self.ended = True
                return _OK
            case b"k":
                self.ended = self.killed = True
                return None
            case b"q" | b"Q":
                return self._query(payload)
            case b"v":
                return self._v(payload)
        task = resume(payload, self._resumed_thread or self._thread)
        return _UNSUPPORTED if task is None else self._begin(task)

    def _memory(self, address: int, size: int) -> bytes:
        """gdb takes words for data here: an error is a number."""
        try:
            found = self._target.read_memory(self._thread, address, min(size, _MOST_MEMORY))
        except TargetError:
            return _NO_MEMORY
        return found.hex().encode()

    def _begin(self, task: Resume) -> bytes | None:
        if not self._exists(task.thread):
            return _NO_SUCH_THREAD
        self._work = task
        return None

    def _exists(self, thread: int) -> bool:
        return any(t.number == thread for t in self._target.threads())

    def _choose_thread(self, what: bytes, thread: int) -> bytes:
        """0 is any thread, -1 all of them."""
        if thread > 0 and not self._exists(thread):
            return _NO_SUCH_THREAD
        if what == b"g":
            self._thread = thread if thread > 0 else self._thread
        elif what == b"c":
            self._resumed_thread = max(thread, 0)
        else:
            return _UNSUPPORTED
        return _OK

    def _point(self, rest: bytes, *, insert: bool) -> bytes:
        kind, _, place = rest.partition(b",")
        if kind not in (b"0", b"1", b"2", b"3", b"4"):
            return _UNSUPPORTED
        point = Point(PointKind(int(kind)), *address_and_size(place))
        if insert:
            self._target.insert(point)
        else:
            self._target.remove(point)
        return _OK

    def _v(self, payload: bytes) -> bytes | None:
        name, _, _ = payload.partition(b";")
        match name:
            case b"vCont?":
                return b"vCont;c;C;s;S;r"
            case b"vCont":
                task = resume(payload, self._resumed_thread or self._thread)
                return _UNSUPPORTED if task is None else self._begin(task)
            case b"vKill":
                self.ended = self.killed = True
                return _OK
        if payload.startswith(b"vFile:"):
            return self._files.answer(payload)
        return _UNSUPPORTED

    def _query(self, payload: bytes) -> bytes | None:
        name, _, rest = payload.partition(b":")
        match name:
            case b"qSupported":
                asked = rest.split(b";")
                self._tells_breaks = {
                    why for why in (Why.SOFTWARE, Why.HARDWARE) if f"{why.value}+".encode() in asked
                }
                return ";".join(_FEATURES).encode()
            case b"QStartNoAckMode":
                # This packet has its acknowledgement already.
                self._acknowledges = False
                return _OK
            case b"qC":
                return b"QC%x" % self._thread
            case b"qAttached":
                return b"1"
            case b"qSymbol":
                return _OK
            case b"qfThreadInfo":
                return b"m" + b",".join(b"%x" % t.number for t in self._target.threads())
            case b"qsThreadInfo":
                return b"l"
            case b"qOffsets":
                if self._exec_file is None:
                    return _UNSUPPORTED
                return b"Text=%x;Data=%x;Bss=%x" % ((self._exec_file.offset,) * 3)
            case b"qqemu.PhyMemMode":
                return b"1" if self._target.physical else b"0"
            case b"Qqemu.PhyMemMode":
                self._target.physical = number(rest) != 0
                return _OK
            case b"qXfer":
                return self._transfer(rest)
        if payload.startswith(b"qThreadExtraInfo,"):
            return self._thread_info(thread_id(payload.partition(b",")[2]))
        if payload.startswith(b"qRcmd,"):
            self._work = from_hex(payload.partition(b",")[2]).decode("utf-8", "replace")
            return None
        return _UNSUPPORTED

    def _thread_info(self, wanted: int) -> bytes:
        for thread in self._target.threads():
            if thread.number == wanted:
                return f"{thread.name}: {thread.about}".encode().hex().encode()
        return _NO_SUCH_THREAD

    def _transfer(self, rest: bytes) -> bytes:
        """qXfer:OBJECT:read:ANNEX:OFFSET,LENGTH."""
        words = rest.split(b":")
        if len(words) != 4 or words[1] != b"read":
            return _UNSUPPORTED
        offset, length = address_and_size(words[3])
        match words[0], words[2]:
            case b"features", b"target.xml":
                content = self._target.description().encode()
            case b"threads", b"":
                content = threads_xml(self._target.threads()).encode()
            case b"exec-file", _:
                content = b"" if self._exec_file is None else self._exec_file.name.encode()
            case b"auxv", b"":
                content = auxiliary_vector(self._exec_file)
            case _:
                return _UNSUPPORTED
        return part(content, offset, length)

    def _stop_reply(self) -> bytes:
        stop = self._stop
        signal = SIGINT if stop.why is Why.INTERRUPTED else SIGTRAP
        words = [f"T{signal:02x}thread:{stop.thread:x}", f"core:{stop.thread - 1:x}"]
        match stop.why:
            case Why.SOFTWARE | Why.HARDWARE if stop.why in self._tells_breaks:
                words.append(f"{stop.why.value}:")
            case Why.WRITE | Why.READ | Why.ACCESS:
                words.append(f"{stop.why.value}:{stop.address:x}")
            case Why.BEGIN | Why.END:
                words.append(stop.why.value)
        for register in self._target.expedited(stop.thread):
            value = self._target.read_register(stop.thread, register).hex()
            words.append(f"{register:x}:{value}")
        return (";".join(words) + ";").encode()

# SPDX-License-Identifier: Apache-2.0
"""The protocol over a scripted target: each packet's answer, by gdb's description of them."""

import struct
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.gdb.packets import MAX_PACKET
from aether_edgecloud.emulator.gdb.session import Session
from aether_edgecloud.properties.gdb.client import ask, packet, payloads
from aether_edgecloud.properties.gdb.scripted import ELF, ScriptedTarget


@pytest.fixture
def target() -> ScriptedTarget:
    return ScriptedTarget()


@pytest.fixture
def session(target: ScriptedTarget) -> Session:
    return Session(target)


def _one(session: Session, payload: bytes, later: bytes = b"") -> bytes:
    (answer,) = ask(session, payload, later)
    return answer


# Acknowledgements.


def test_each_packet_is_acknowledged(session: Session) -> None:
    assert session.feed(packet(b"qC")) == b"+$QC1#c5"


def test_without_acknowledgements_after_it_was_agreed(session: Session) -> None:
    assert session.feed(packet(b"QStartNoAckMode")) == b"+$OK#9a"
    assert session.feed(b"+" + packet(b"qC")) == b"$QC1#c5"
    assert session.feed(b"$qC#00") == b""


def test_a_damaged_packet_is_asked_for_again(session: Session) -> None:
    assert session.feed(b"$qC#00") == b"-"
    assert session.feed(packet(b"qC")) == b"+$QC1#c5"


def test_an_answer_is_sent_again(session: Session) -> None:
    session.feed(packet(b"qC"))
    assert session.feed(b"-") == b"$QC1#c5"


def test_a_packet_that_was_sent_again_before_it_could_be_answered(session: Session) -> None:
    """By a gdb that became impatient while the server started."""
    assert session.feed(packet(b"qC") * 3) == b"+$QC1#c5"


def test_a_packet_that_is_too_long_is_an_error(session: Session) -> None:
    assert _one(session, b"m" + b"0" * MAX_PACKET) == b"E16"


# What is agreed at the start.


def test_features(session: Session) -> None:
    features = _one(session, b"qSupported:multiprocess+;swbreak+;hwbreak+").split(b";")
    assert {b"ReverseStep+", b"ReverseContinue+", b"QStartNoAckMode+"} <= set(features)
    assert b"PacketSize=4000" in features
    assert not any(feature.startswith(b"multiprocess+") for feature in features)


@pytest.mark.parametrize("payload", [b"vMustReplyEmpty", b"!", b"qTStatus", b"R00", b"vAttach;1"])
def test_what_is_not_known_is_answered_by_nothing(session: Session, payload: bytes) -> None:
    assert _one(session, payload) == b""


def test_offsets_of_the_program(session: Session) -> None:
    assert _one(session, b"qOffsets") == b"Text=40200000;Data=40200000;Bss=40200000"


# Threads.


def test_threads(session: Session) -> None:
    assert _one(session, b"qfThreadInfo") == b"m1,2"
    assert _one(session, b"qsThreadInfo") == b"l"
    assert _one(session, b"T2") == b"OK"
    assert _one(session, b"T3") == b"E01"
    extra = bytes.fromhex(_one(session, b"qThreadExtraInfo,1").decode())
    assert extra == b"CPU 0: EL2"


def test_threads_as_xml(session: Session) -> None:
    answer = _one(session, b"qXfer:threads:read::0,1000")
    assert answer[:1] == b"l"
    first, second = ET.fromstring(answer[1:])
    assert first.attrib == {"id": "1", "core": "0", "name": "CPU 0"}
    assert second.text == 'EL1, "a" <b> & c'


def test_registers_are_those_of_the_thread_that_was_chosen(session: Session) -> None:
    assert _one(session, b"g").startswith(b"01" * 8)
    assert _one(session, b"Hg2") == b"OK"
    assert _one(session, b"g").startswith(b"02" * 8)
    assert _one(session, b"p2") == b"0202"
    assert _one(session, b"Hg9") == b"E01"
    assert _one(session, b"Hg0") == b"OK"
    assert _one(session, b"g").startswith(b"02" * 8)


# Registers and memory.


def test_memory(session: Session) -> None:
    assert _one(session, b"m1010,4") == b"10111213"
    assert _one(session, b"m10fe,4") == b"feff"
    # gdb takes anything but a number for data.
    assert _one(session, b"m2000,4") == b"E0e"


@pytest.mark.parametrize("payload", [b"M1000,1:00", b"X1000,1:a", b"X1000,0:"])
def test_memory_is_not_written(session: Session, payload: bytes) -> None:
    assert _one(session, payload) == b"E.read-only"


def test_words_of_an_error_hold_nothing_with_a_meaning(session: Session) -> None:
    assert _one(session, b"P1=0000") == b"E.this is  set  in  stone  "
    assert _one(session, b"G00") == b"E.this is  set  in  stone  "


@pytest.mark.parametrize(
    "payload",
    [b"m1000", b"m,4", b"mx,4", b"m1000,4,4", b"mffffffffffffffff,2", b"m10000000000000000,1",
     b"p", b"pxyz", b"Hgx", b"Z0,10", b"Z0,10,4;X1,0", b"vCont;x", b"vCont;s:zz", b"vCont;r1",
     b"qXfer:features:read:target.xml:0", b"qRcmd,6", b"qRcmd,zz", b"vFile:open", b"vFile:open:6"],
)  # fmt: skip
def test_what_does_not_follow_the_protocol_is_an_error(session: Session, payload: bytes) -> None:
    assert _one(session, payload) in (b"E16", b"")


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.binary(max_size=40).map(packet),
            st.builds(
                lambda head, tail: packet(head + tail),
                st.sampled_from(
                    [b"m", b"Z", b"z", b"H", b"vCont;", b"vFile:", b"qXfer:", b"q", b"Q", b"X",
                     b"P", b"qRcmd,", b"vFile:pread:", b"vFile:open:", b"qThreadExtraInfo,", b"T"]
                ),
                st.text("0123456789abcdef,;:-=sScCr", max_size=20).map(str.encode),
            ),
        )
    )
)  # fmt: skip
def test_any_bytes_may_come(chunks: list[bytes]) -> None:
    session = Session(ScriptedTarget())
    for chunk in chunks:
        session.feed(chunk)
        while session.has_work:
            session.work(lambda: b"\x03")
    if not session.ended:
        assert payloads(session.feed(b"#00" + packet(b"qC")))[-1].startswith(b"QC")


# Objects in parts.


def test_an_object_is_read_in_parts(session: Session) -> None:
    whole = ScriptedTarget().description().encode()
    found, more = b"", True
    while more:
        answer = _one(session, b"qXfer:features:read:target.xml:%x,ffb" % len(found))
        more = answer[:1] == b"m"
        assert not more or len(answer) == 1 + 0xFFB
        found += answer[1:]
    assert found == whole
    assert _one(session, b"qXfer:features:read:target.xml:100000,ffb") == b"l"
    assert _one(session, b"qXfer:siginfo:read::0,ffb") == b""


def test_where_the_program_was_entered(session: Session) -> None:
    entry = int.from_bytes(ELF.data[24:32], "little") + ELF.offset
    assert _one(session, b"qXfer:auxv:read::0,1000") == b"l" + struct.pack("<4Q", 9, entry, 0, 0)


def test_the_program_is_read_from_here(session: Session) -> None:
    """As gdb does without a file of its own: name, open, fstat, pread, close."""
    assert _one(session, b"qXfer:exec-file:read:1:0,fff") == b"l/program.elf"
    name = ELF.name.encode().hex().encode()
    assert _one(session, b"vFile:setfs:0") == b"F0"
    assert _one(session, b"vFile:fstat:3") == b"F-1,9"
    first = _one(session, b"vFile:open:%b,0,0" % name)[1:]
    fd = _one(session, b"vFile:open:%b,0,0" % name)[1:]
    assert _one(session, b"vFile:close:%b" % first) == b"F0"
    status = _one(session, b"vFile:fstat:%b" % fd)
    assert status.startswith(b"F40;")
    assert struct.unpack(">7I3Q3I", status[4:])[7] == len(ELF.data)
    found = b""
    while part := _one(session, b"vFile:pread:%b,1000,%x" % (fd, len(found))).partition(b";")[2]:
        found += part
    assert found == ELF.data
    assert _one(session, b"vFile:close:%b" % fd) == b"F0"
    assert _one(session, b"vFile:pread:%b,10,0" % fd) == b"F-1,9"


@pytest.mark.parametrize(
    ("payload", "answer"),
    [
        (b"vFile:open:%b,0,0" % b"/etc/passwd".hex().encode(), b"F-1,2"),
        (b"vFile:open:%b,1,1b6" % ELF.name.encode().hex().encode(), b"F-1,1e"),
        (b"vFile:unlink:%b" % ELF.name.encode().hex().encode(), b"F-1,1e"),
        (b"vFile:readlink:%b" % b"/proc/self/exe".hex().encode(), b"F-1,2"),
        (b"vFile:pread:7,10,0", b"F-1,9"),
    ],
)
def test_no_other_file_is_read_and_none_is_written(
    session: Session, payload: bytes, answer: bytes
) -> None:
    assert _one(session, payload) == answer


# Running.


def test_step(session: Session, target: ScriptedTarget) -> None:
    assert _one(session, b"?") == b"T05thread:1;core:0;3:0103;"
    assert _one(session, b"vCont;s:1;c") == b"T05thread:1;core:0;3:0103;"
    assert target.position == 1
    assert _one(session, b"vCont;s:2") == b"T05thread:2;core:1;3:0203;"
    assert target.position == 2
    assert _one(session, b"s") == b"T05thread:2;core:1;3:0203;"


def test_step_back(session: Session, target: ScriptedTarget) -> None:
    target.position = 2
    assert _one(session, b"bs") == b"T05thread:1;core:0;3:0103;"
    assert target.position == 1


def test_step_out_of_a_range(session: Session, target: ScriptedTarget) -> None:
    _one(session, b"vCont;r0,8:1;c")
    assert target.position == 8


def test_breakpoints_in_both_directions(session: Session, target: ScriptedTarget) -> None:
    _one(session, b"qSupported:swbreak+;hwbreak+")
    assert _one(session, b"Z0,14,4") == b"OK"
    assert _one(session, b"Z1,1e,4") == b"OK"
    assert _one(session, b"vCont;c") == b"T05thread:1;core:0;swbreak:;3:0103;"
    assert target.position == 0x14
    assert _one(session, b"c") == b"T05thread:1;core:0;hwbreak:;3:0103;"
    assert _one(session, b"bc") == b"T05thread:1;core:0;swbreak:;3:0103;"
    assert _one(session, b"z0,14,4") == b"OK"
    (notice, stop) = ask(session, b"bc")
    assert (notice, stop[:4]) == (b"O" + b"no more\n".hex().encode(), b"T05t")
    assert b";replaylog:begin;" in stop


def test_breaks_are_named_only_to_a_gdb_that_knows_them(session: Session) -> None:
    _one(session, b"qSupported:multiprocess+")
    _one(session, b"Z0,14,4")
    assert _one(session, b"vCont;c") == b"T05thread:1;core:0;3:0103;"


@pytest.mark.parametrize(("kind", "word"), [(2, b"watch"), (3, b"rwatch"), (4, b"awatch")])
def test_watchpoints(session: Session, kind: int, word: bytes) -> None:
    assert _one(session, b"Z%d,14,8" % kind) == b"OK"
    assert _one(session, b"vCont;c") == b"T05thread:1;core:0;%b:14;3:0103;" % word


def test_the_end(session: Session) -> None:
    assert b";replaylog:end;" in ask(session, b"vCont;c")[-1]
    assert _one(session, b"Z5,0,4") == b""


def test_an_interrupt(session: Session, target: ScriptedTarget) -> None:
    assert _one(session, b"vCont;c", later=b"\x03") == b"T02thread:1;core:0;3:0103;"
    assert target.position == 10
    assert session.feed(b"\x03") == b""


def test_an_interrupt_that_comes_with_the_packet(session: Session, target: ScriptedTarget) -> None:
    session.feed(packet(b"vCont;c") + b"\x03")
    assert payloads(session.work(lambda: b""))[0].startswith(b"T02")
    assert target.position == 10


def test_what_comes_while_it_runs_is_answered_afterwards(session: Session) -> None:
    found = ask(session, b"vCont;c", later=b"\x03" + packet(b"qC"))
    assert found[0].startswith(b"T02")
    assert found[1] == b"QC1"


def test_gdb_goes_away_while_it_runs(session: Session, target: ScriptedTarget) -> None:
    session.feed(packet(b"vCont;c"))
    session.work(lambda: None)
    assert target.position == 10


def test_the_pc_cannot_be_set(session: Session) -> None:
    assert _one(session, b"c1000").startswith(b"E.")


def test_a_thread_that_is_none_does_not_go(session: Session, target: ScriptedTarget) -> None:
    assert _one(session, b"vCont;s:7") == b"E01"
    assert target.position == 0


# The rest.


def test_monitor(session: Session, target: ScriptedTarget) -> None:
    *outputs, end = ask(session, b"qRcmd," + b"goto 12".hex().encode())
    assert end == b"OK"
    assert all(len(output) <= MAX_PACKET and output[:1] == b"O" for output in outputs)
    text = b"".join(bytes.fromhex(output[1:].decode()) for output in outputs)
    assert text == b"goto 12" * 2000
    assert target.asked == ["goto 12"]
    output, end = ask(session, b"qRcmd," + b"fail".hex().encode())
    assert bytes.fromhex(output[1:].decode()) == b"it fails\n"


def test_physical_addresses_as_qemu_has_them(session: Session, target: ScriptedTarget) -> None:
    assert _one(session, b"qqemu.PhyMemMode") == b"0"
    assert _one(session, b"Qqemu.PhyMemMode:1") == b"OK"
    assert target.physical
    assert _one(session, b"qqemu.PhyMemMode") == b"1"


@pytest.mark.parametrize(
    ("payload", "answer", "killed"),
    [(b"D", [b"OK"], False), (b"D;1", [b"OK"], False), (b"k", [], True),
     (b"vKill;1", [b"OK"], True)],
)  # fmt: skip
def test_the_end_of_a_session(
    session: Session, payload: bytes, answer: list[bytes], killed: bool
) -> None:
    assert ask(session, payload) == answer
    assert (session.ended, session.killed) == (True, killed)
    assert session.feed(packet(b"qC")) == b""

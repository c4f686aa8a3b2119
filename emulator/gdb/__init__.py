# SPDX-License-Identifier: Apache-2.0
"""gdb's remote serial protocol over a recording, or over a machine that runs in memory.

`packets` and `session` are the protocol: bytes in, bytes out. `target` and what it is made of
answer for the machine. `server` holds the socket.
"""

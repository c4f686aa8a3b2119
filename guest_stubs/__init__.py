# SPDX-License-Identifier: Apache-2.0
"""Small EL1 guests in assembly and C: well-behaved, curious and hostile.

`catalogue.py` lists them as data. Each is a flat image that is loaded 2 MiB into its memory and
entered at its first byte, MMU off. `runtime/` is what they share: start-up, console output by
hypercall or PL011, and probes.

A probe is a few instructions entered by ERET with every register chosen. It ends at its first
exception, and one line of a fixed form says what the guest saw (`runtime/probe.c` describes it).
Nothing here says what is right: that stands in `properties/stubs/`, from the Arm ARM.
"""

# SPDX-License-Identifier: Apache-2.0
"""Schedules of several CPUs, chosen instruction by instruction where that matters.

Where EL2 does what another CPU can see (a barrier, a TLBI, an atomic access, an access to a word
that several CPUs use) the schedule may give the turn to another CPU. Each schedule is a number that
replays.
"""

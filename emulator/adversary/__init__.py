# SPDX-License-Identifier: Apache-2.0
"""A machine as unkind as the architecture allows: TLBs that never forget, caches that do not agree.

Nothing here makes a correct program fail: each choice is one that the Arm ARM leaves to hardware.
"""

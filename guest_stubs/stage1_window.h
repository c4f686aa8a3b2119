// SPDX-License-Identifier: Apache-2.0
// The stage-1 address space of the stub `stage1`, shared by the tables and the probes.
#ifndef STUB_STAGE1_WINDOW_H
#define STUB_STAGE1_WINDOW_H

// VA by the index at each level, 4 KiB granule, 48 bits.
#define VA(l0, l1, l2, l3) (((l0) << 39) | ((l1) << 30) | ((l2) << 21) | ((l3) << 12))

// Level 0. Identity: the memory and the PL011 at their IPAs, for EL1 alone.
#define L0_IDENTITY 0
#define L0_WINDOW 1      // the entries below
#define L0_INVALID 2     //
#define L0_BLOCK 3       // the encoding of a block, which level 0 has not
#define L0_UNOWNED 4     // a table where nothing is
#define L0_OVERSIZE 5    // a table beyond TCR_EL1.IPS
#define L0_USER 6        // the image, read-only and executable at EL0
#define L0_RESTRICTED 7  // the window again, under APTable = read-only, PXNTable and UXNTable
#define L0_DEVICE_WALK 8 // a table in the PL011

// Levels 1 and 2 of the window.
#define LX_TABLE 0
#define LX_INVALID 1
#define LX_NO_AF 2
#define LX_READ_ONLY 3 // PXN and UXN too
#define LX_UNOWNED 4
#define LX_OVERSIZE 5
#define LX_GOOD 6 // a block over the memory, read-write
#define LX_OVERSIZE_TABLE 7
#define LX_UNOWNED_BLOCK 8 // a block where nothing is

// Level 3 of the window.
#define L3_GOOD 0
#define L3_INVALID 1
#define L3_NO_AF 2
#define L3_READ_ONLY 3 // PXN and UXN too
#define L3_UNOWNED 4
#define L3_OVERSIZE 5
#define L3_PL011 6
#define L3_EL0_WRITABLE 7 // UXN and PXN clear
#define L3_EL0_READ_ONLY 8
#define L3_CODE 9
#define L3_DEVICE_MEMORY 10 // the guest's memory, mapped as Device
#define L3_RESERVED 11      // descriptor bits [1:0] = 0b01
#define L3_CHANGING 12
#define L3_BEFORE_UNOWNED 13 // a good page, then one where nothing is
#define L3_AFTER_GOOD 14
#define L3_EL0_NO_EXECUTE 15
#define L3_CONTIGUOUS 16 // to 31
#define L3_PL011_READ_ONLY 32
#define L3_EL0_UNOWNED 33
#define L3_EL0_UNOWNED_CODE 34
#define L3_EL0_PL011 35
#define L3_BEFORE_INVALID 36 // a good page, then an invalid one (37)
#define L3_PAST_40_BITS 38   // 2^40, reachable when TCR_EL1.IPS says 44 bits

// 64 KiB granule: level 1 by bits [47:42], level 2 by [41:29], level 3 by [28:16].
#define VA64(l1, l2, l3) (((l1) << 42) | ((l2) << 29) | ((l3) << 16))
#define K64_L2_INVALID 100
#define K64_L2_TABLE 101
#define K64_L2_NO_AF 102
#define K64_L3_GOOD 0
#define K64_L3_INVALID 1
#define K64_L3_NO_AF 2
#define K64_L3_READ_ONLY 3
#define K64_L3_UNOWNED 4

#define UNOWNED_IPA 0x0b000000

// Values at byte 8 of the two pages behind L3_CHANGING.
#define MARK_A 0xaaaa0000aaaa0001
#define MARK_B 0xbbbb0000bbbb0002

#endif

// SPDX-License-Identifier: Apache-2.0
// PL011 registers, as addresses (ARM DDI 0183).
#ifndef STUB_PL011_H
#define STUB_PL011_H

#define PL011_DR 0x09000000
#define PL011_FR 0x09000018
#define PL011_IBRD 0x09000024  // 16 bits, read and write
#define PL011_FBRD 0x09000028  // 6 bits
#define PL011_LCR_H 0x0900002c // 8 bits
#define PL011_CR 0x09000030
#define PL011_IFLS 0x09000034
#define PL011_IMSC 0x09000038
#define PL011_RIS 0x0900003c
#define PL011_MIS 0x09000040
#define PL011_ICR 0x09000044
#define PL011_PERIPH_ID0 0x09000fe0
#define PL011_PCELL_ID0 0x09000ff0
#define PL011_PCELL_ID1 0x09000ff4 // reads 0xf0

#endif

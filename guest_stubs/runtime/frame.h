// SPDX-License-Identifier: Apache-2.0
// The frame through which a probe is entered and left: one layout for C and assembly.
#ifndef STUB_FRAME_H
#define STUB_FRAME_H

// Byte offsets in struct frame. Going in: x, sp, sp_el0, elr, spsr, sctlr. Coming out: the state
// at the exception that ended the probe, and what the exception registers said.
#define FRAME_X 0
#define FRAME_SP 248
#define FRAME_SP_EL0 256
#define FRAME_ELR 264
#define FRAME_SPSR 272
#define FRAME_ESR 280
#define FRAME_FAR 288
#define FRAME_VECTOR 296
#define FRAME_ENTRY_PSTATE 304
#define FRAME_SCTLR 312
#define FRAME_RUNTIME_SP 320
#define FRAME_ACTIVE 328
#define FRAME_SIZE 336

// A probe that met no exception leaves by this SVC.
#define PROBE_END_SVC 0x5afe

// SCTLR_EL1 with the bits that are RES1 in Armv8.0 set and all else off: MMU off, little-endian.
#define SCTLR_EL1_RES1 0x30d00800
#define SCTLR_EL1_M (1 << 0)
#define SCTLR_EL1_A (1 << 1)
#define SCTLR_EL1_SA (1 << 3)
#define SCTLR_EL1_SA0 (1 << 4)
#define SCTLR_EL1_UMA (1 << 9)
#define SCTLR_EL1_DZE (1 << 14)
#define SCTLR_EL1_UCT (1 << 15)
#define SCTLR_EL1_nTWI (1 << 16)
#define SCTLR_EL1_nTWE (1 << 18)
#define SCTLR_EL1_WXN (1 << 19)
#define SCTLR_EL1_UCI (1 << 26)

// PSTATE a probe starts with: N and C set and DAIF clear, so that a lost flag or mask shows.
#define EL1H 0xa0000005
#define EL1T 0xa0000004
#define EL0T 0xa0000000
#define PSTATE_IL (1 << 20)

// What a probe's argument counts from.
#define FROM_ZERO 0
#define FROM_BASE 1 // the IPA where the guest's memory begins

#endif

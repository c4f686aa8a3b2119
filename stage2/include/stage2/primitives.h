// SPDX-License-Identifier: Apache-2.0
// What the page-table library needs from whoever embeds it. EL2 gives one instruction (or a few)
// for each; the host build gives a recorder. The order of the calls is the library's business and
// is tested there: a primitive does what its comment says and nothing else.
//
// All inline assembly here needs a "memory" clobber.
#ifndef STAGE2_PRIMITIVES_H
#define STAGE2_PRIMITIVES_H

#include <stdint.h>

#include <stage2/addr.h>

// Where this program reads and writes the 4 KiB table page at `table`. At EL2, with VA = PA: a
// cast.
uint64_t *pgt_prim_table(pa_t table);

// Store a descriptor: one 64-bit single-copy atomic store (a plain STR of an aligned X register
// through a volatile pointer). Orders nothing.
void pgt_prim_write(uint64_t *entry, uint64_t descriptor);

// Fill the 4 KiB table page with zeros. Orders nothing. Must work with the MMU off, where DC ZVA
// faults (all memory is Device then): use stores, or look at SCTLR_EL2.M.
void pgt_prim_zero(pa_t table);

// DSB ISHST: all stores before it are visible to the table walkers of every PE in the Inner
// Shareable domain before anything after it, TLBI included, begins.
void pgt_prim_dsb_ishst(void);

// DSB ISH: every TLBI before it has finished on every PE of the domain, and so has every access
// that used an old translation, before anything after it begins.
void pgt_prim_dsb_ish(void);

// ISB: what follows on this PE is fetched anew, under the translations now in force.
void pgt_prim_isb(void);

// Write VTTBR_EL2, then ISB, so that the TLBIs that follow work on its VMID. Returns the value it
// had before. May do nothing but return the old value when that equals `vttbr`. While a foreign
// VMID is loaded no table walk may be made with the EL1 registers of another guest: on PEs with a
// speculative AT erratum (Cortex-A72 1319367) this primitive holds the work-around.
uint64_t pgt_prim_set_vttbr(uint64_t vttbr);

// TLBI IPAS2E1IS: stage-2 entries of all levels that translate `ipa` under the current VMID, on
// every PE of the domain. (The operand register takes IPA >> 12.)
void pgt_prim_tlbi_ipas2e1is(ipa_t ipa);

// TLBI VMALLE1IS: all stage-1 entries of the current VMID, among them the combined ones (VA to PA)
// which IPAS2E1IS need not remove.
void pgt_prim_tlbi_vmalle1is(void);

// TLBI VMALLS12E1IS: all entries of both stages of the current VMID.
void pgt_prim_tlbi_vmalls12e1is(void);

// TLBI VAE2IS: EL2's entries of all levels that translate `va`. (The operand takes VA >> 12.)
void pgt_prim_tlbi_vae2is(va_t va);

#endif

// SPDX-License-Identifier: Apache-2.0
// A guest that looks at what it must not see, and at what it must: nothing here knows a
// hypervisor's inside.
#ifndef WITNESS_H
#define WITNESS_H

#include "../runtime/stub.h"

#pragma GCC visibility push(hidden)

#define PAGE_SIZE UINT64_C(4096)
#define FIRST_PAGE UINT64_C(0x18000) // counted from the image; image, data and stacks lie below
#define MEMORY_END UINT64_C(0x30000)
#define PAGES ((MEMORY_END - FIRST_PAGE) / PAGE_SIZE)
#define FAULTED UINT64_C(0xfa0000000000fa11)

// Cacheable at its IPA, and again beyond ALIAS, where accesses go past the caches.
#define ALIAS UINT64_C(0x40000000)

// caches.S, tables.c
void caches_set(uint64_t table);
void translation_on(uint64_t table);
void mmu_on(bool with_alias);
void alias_on(void);
uint64_t load_at_once(uint64_t address); // with stage 1 on, before any barrier but ISB; then off
void clean(uint64_t address);            // a page, to memory
void code_written(uint64_t address);     // by this vCPU: instructions are fetched anew

// memory.c
static inline uint64_t page(uint64_t number)
{
    return (uint64_t)_start + FIRST_PAGE + number * PAGE_SIZE;
}
uint64_t load(uint64_t address); // FAULTED: it took an exception
void store(uint64_t address, uint64_t value);
void fill(uint64_t address, uint64_t seed);      // a page; seed 0: with zeros
uint64_t wrong(uint64_t address, uint64_t seed); // words of a page that fill() has not left there
void write_code(uint64_t address, uint32_t number); // a function that returns it
uint64_t call(uint64_t address); // what write_code() has put there; FAULTED: it cannot be
void say(const char *what, bool good, uint64_t value);

// ffa.c: a partition's calls; what is busy is tried again.
enum offer { OFFER_DONATE = 0x84000071, OFFER_LEND = 0x84000072, OFFER_SHARE = 0x84000073 };
uint64_t mailbox(uint64_t tx, uint64_t rx); // 0: done
uint64_t mailbox_end(void);
uint64_t partitions(void); // fills RX
uint64_t offer(enum offer how, uint64_t peer, uint64_t address, uint32_t pages,
               bool zero); // handle
// Loans that are described wrongly. 0: refused.
uint64_t offer_page_twice(uint64_t peer, uint64_t address);
uint64_t offer_beyond_its_end(uint64_t peer, uint64_t address); // where the last one had a range
uint64_t offer_more_than_said(uint64_t peer, uint64_t address);
uint64_t retrieve(uint64_t handle, uint64_t owner, bool execute); // IPA; 0: refused
uint64_t relinquish(uint64_t handle, bool zero);
uint64_t reclaim(uint64_t handle);
void rest(void); // until the next slot

// peer.c: one partition asks, the other does and answers.
enum order { READ, CHECK, FILL, RETRIEVE, EXECUTE, RELINQUISH, COUNT, CALL, OFF, RESET };
uint64_t order(uint64_t peer, enum order what, uint64_t a, uint64_t b);
_Noreturn void serve(uint64_t peer);

// looker.c: the second vCPU looks where the first says.
void looker_start(bool on_same_cpu); // if so, without the alias in its tables
uint64_t looker_reads(uint64_t address);
uint64_t looker_calls(uint64_t address);
uint64_t looker_moves_mailbox(uint64_t tx, uint64_t rx);

#pragma GCC visibility pop

#endif

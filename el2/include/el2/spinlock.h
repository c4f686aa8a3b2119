// SPDX-License-Identifier: Apache-2.0
// A lock between physical CPUs. EL2 runs with interrupts masked, so that a holder is never
// interrupted. Only the CPUs of one VM ever meet at one. Served in order: none of them waits longer
// than all others hold it once, so that a VM cannot hold up the end of a slot by contention.
#ifndef EL2_SPINLOCK_H
#define EL2_SPINLOCK_H

#include <stdint.h>

struct spinlock {
    uint32_t next; // ticket of the next to come
    uint32_t serving;
};

static inline void spin_lock(struct spinlock *lock)
{
    uint32_t ticket = __atomic_fetch_add(&lock->next, 1, __ATOMIC_RELAXED);
    while (__atomic_load_n(&lock->serving, __ATOMIC_ACQUIRE) != ticket) {
        __asm__ volatile("yield"); // to the holder, where CPUs share one thread
    }
}

static inline void spin_unlock(struct spinlock *lock)
{
    __atomic_store_n(&lock->serving, lock->serving + 1, __ATOMIC_RELEASE);
}

#endif

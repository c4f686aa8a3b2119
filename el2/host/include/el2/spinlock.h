// SPDX-License-Identifier: Apache-2.0
// In place of the real one: on a host nobody else can hold it, so that to wait is to be wrong.
#ifndef EL2_SPINLOCK_H
#define EL2_SPINLOCK_H

#include <stdint.h>
#include <stdlib.h>

struct spinlock {
    uint32_t held;
};

static inline void spin_lock(struct spinlock *lock)
{
    if (lock->held++ != 0) {
        abort();
    }
}

static inline void spin_unlock(struct spinlock *lock)
{
    if (--lock->held != 0) {
        abort();
    }
}

#endif

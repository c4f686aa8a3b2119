// SPDX-License-Identifier: Apache-2.0
// Why a boot cannot go on: what a person reads in the one line `[aether] boot: where: what; fix`.
#ifndef EL2_ERROR_H
#define EL2_ERROR_H

#include <stdbool.h>

struct boot_error {
    const char *where;
    const char *what;
    const char *fix;
};

// Fills *error and returns false, so that a check can end in `return refuse(...)`.
static inline bool refuse(struct boot_error *error, const char *where, const char *what,
                          const char *fix)
{
    error->where = where;
    error->what = what;
    error->fix = fix;
    return false;
}

// Leaves a function that checks, with an error, unless this holds.
#define REQUIRE(good, error, where, what, fix)                                                     \
    if (!(good)) {                                                                                 \
        return refuse(error, where, what, fix);                                                    \
    }

#endif

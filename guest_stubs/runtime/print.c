// SPDX-License-Identifier: Apache-2.0
// Text output.
#include "mmio.h"
#include "stub.h"

#define PL011_DR 0x00
#define PL011_FR 0x18
#define PL011_FR_TXFF (1U << 5)

enum conduit { UNKNOWN, HYPERCALL, PL011 };

static char line[256];
static size_t used;
static enum conduit conduit;

static void pl011_put(char c)
{
    while ((mmio_read32(PL011_BASE + PL011_FR) & PL011_FR_TXFF) != 0) {
    }
    mmio_write32(PL011_BASE + PL011_DR, (uint8_t)c);
}

void pl011_write(const char *s)
{
    flush();
    for (; *s != '\0'; s++) {
        if (*s == '\n') {
            pl011_put('\r');
        }
        pl011_put(*s);
    }
}

static void write_by_hypercall(const char *bytes, size_t count)
{
    struct smccc args;
    args.x[1] = count;
    for (int i = 2; i < 8; i++) {
        args.x[i] = 0;
    }
    for (size_t i = 0; i < count; i++) {
        args.x[2 + i / 8] |= (uint64_t)(uint8_t)bytes[i] << (8 * (i % 8));
    }
    do {
        args.x[0] = AETHER_CONSOLE_WRITE;
        hvc_call(&args);
    } while (args.x[0] == AETHER_BUSY); // nothing was written
}

void flush(void)
{
    if (used != 0 && conduit == UNKNOWN) {
        // A NOT_SUPPORTED answer has bit 31 set; a version has not.
        const uint32_t version = (uint32_t)hvc(AETHER_VERSION, 0, 0, 0);
        conduit = (version & 0x80000000U) == 0 ? HYPERCALL : PL011;
    }
    for (size_t at = 0; at < used; at += AETHER_CONSOLE_WRITE_MAX) {
        const size_t left = used - at;
        const size_t count = left < AETHER_CONSOLE_WRITE_MAX ? left : AETHER_CONSOLE_WRITE_MAX;
        if (conduit == HYPERCALL) {
            write_by_hypercall(line + at, count);
            continue;
        }
        for (size_t i = 0; i < count; i++) {
            pl011_put(line[at + i]);
        }
    }
    used = 0;
}

void put_char(char c)
{
    if (c == '\n') {
        put_char('\r');
    }
    line[used++] = c;
    if (c == '\n' || used == sizeof line) {
        flush();
    }
}

void put_string(const char *s)
{
    for (; *s != '\0'; s++) {
        put_char(*s);
    }
}

void put_hex(uint64_t value)
{
    int shift = 60;
    put_string("0x");
    while (shift > 0 && (value >> shift) == 0) {
        shift -= 4;
    }
    for (; shift >= 0; shift -= 4) {
        put_char("0123456789abcdef"[(value >> shift) & 0xf]);
    }
}

void put_decimal(uint64_t value)
{
    char digits[20];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    while (count > 0) {
        put_char(digits[--count]);
    }
}

void put_key(const char *key, uint64_t value)
{
    put_char(' ');
    put_string(key);
    put_char('=');
    put_hex(value);
}

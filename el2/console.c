// SPDX-License-Identifier: Apache-2.0
#include <el2/console.h>
#include <el2/uart.h>

#define EARLY_SIZE 512u

// Found by its symbol when a board has no console to speak of.
char console_early[EARLY_SIZE];
static uint32_t early_used;
static bool ready;
static bool mid_line;

static void put(char c)
{
    if (ready) {
        uart_put((uint8_t)c);
    } else if (early_used < EARLY_SIZE) {
        console_early[early_used++] = c;
    }
    mid_line = c != '\n';
}

void console_init(pa_t uart)
{
    uart_init(uart);
    ready = true;
    for (uint32_t i = 0; i < early_used; i++) {
        uart_put((uint8_t)console_early[i]);
    }
}

void console_guest(uint8_t byte)
{
    uart_put(byte);
    mid_line = byte != '\n';
}

void log_text(const char *text)
{
    for (; *text != '\0'; text++) {
        put(*text);
    }
}

void log_hex(uint64_t value)
{
    log_text("0x");
    for (unsigned shift = 64; shift != 0; shift -= 4) {
        unsigned digit = (value >> (shift - 4)) & 15u;
        put((char)(digit < 10 ? '0' + digit : 'a' + digit - 10));
    }
}

void log_number(uint64_t value)
{
    char digits[20];
    uint32_t used = 0;
    do {
        digits[used++] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    while (used != 0) {
        put(digits[--used]);
    }
}

void log_begin(void)
{
    if (mid_line) {
        log_text("\r\n");
    }
    log_text("[aether] ");
}

void log_end(void)
{
    log_text("\r\n");
}

void log_line(const char *text)
{
    log_begin();
    log_text(text);
    log_end();
}

void log_named(const char *name, uint64_t value)
{
    log_text(name);
    log_hex(value);
}

void log_registers(const uint64_t x[31])
{
    for (unsigned i = 0; i < 31; i++) {
        if (i % 4 == 0) {
            log_begin();
            log_text(" ");
        }
        log_text(" x");
        log_number(i);
        log_named(" ", x[i]);
        if (i % 4 == 3 || i == 30) {
            log_end();
        }
    }
}

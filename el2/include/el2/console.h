// SPDX-License-Identifier: Apache-2.0
// The console: lines of the hypervisor, `[aether] ...\r\n`, between the bytes of a guest.
#ifndef EL2_CONSOLE_H
#define EL2_CONSOLE_H

#include <stdint.h>

#include <stage2/addr.h>

// What is written before waits in memory (symbol console_early), and is shown now.
void console_init(pa_t uart);

// A byte of a guest, passed through unchanged.
void console_guest(uint8_t byte);

// A line of the hypervisor: log_begin(), any of the others, log_end(). Starts on a line of its own.
void log_begin(void);
void log_text(const char *text);
void log_hex(uint64_t value); // 0x and 16 digits
void log_number(uint64_t value);
void log_named(const char *name, uint64_t value); // name and log_hex()
void log_end(void);

// A whole line.
void log_line(const char *text);

// Lines with X0 to X30.
void log_registers(const uint64_t x[31]);

#endif

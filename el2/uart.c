// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>

#include <el2/uart.h>

// A character takes at most about 10 ms on the wire (1200 baud): far fewer polls than this.
#define POLLS 10000000u

static volatile uint32_t *registers;

static uint32_t read(uint32_t offset)
{
    return registers[offset / 4];
}

static void write(uint32_t offset, uint32_t value)
{
    registers[offset / 4] = value;
}

void uart_drop(void)
{
    registers = NULL;
}

// False: there is no UART, or none any more.
static bool wait_while(uint32_t flags)
{
    for (uint32_t i = 0; registers != NULL && i < POLLS; i++) {
        if ((read(PL011_FR) & flags) == 0) {
            return true;
        }
    }
    uart_drop(); // it will not work later, and waiting for every byte would take for ever
    return false;
}

void uart_init(pa_t base)
{
    registers = (volatile uint32_t *)(uintptr_t)pa_value(base);
    if (!wait_while(PL011_FR_BUSY)) {
        return;
    }
    write(PL011_CR, 0);
    write(PL011_IMSC, 0);
    write(PL011_ICR, PL011_INT_ALL);
    write(PL011_LCR_H, PL011_LCR_H_8BIT | PL011_LCR_H_FEN);
    write(PL011_CR, PL011_CR_UARTEN | PL011_CR_TXE | PL011_CR_RXE);
}

void uart_put(uint8_t byte)
{
    if (wait_while(PL011_FR_TXFF)) {
        write(PL011_DR, byte);
    }
}

void uart_drain(void)
{
    (void)wait_while(PL011_FR_BUSY);
}

bool uart_has_input(void)
{
    return registers != NULL && (read(PL011_FR) & PL011_FR_RXFE) == 0;
}

uint32_t uart_get(void)
{
    return read(PL011_DR);
}

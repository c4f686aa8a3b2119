// SPDX-License-Identifier: Apache-2.0
#include <el2/uart.h>

// A character takes at most about 10 ms on the wire (1200 baud): far fewer polls than this.
#define POLLS 10000000u

#define FIFO_SIZE 16u // of the smallest revision

volatile uint32_t *uart_registers;

static uint32_t read(uint32_t offset)
{
    return uart_registers[offset / 4];
}

static void write(uint32_t offset, uint32_t value)
{
    uart_registers[offset / 4] = value;
}

void uart_drop(void)
{
    uart_registers = NULL;
}

// False: there is no UART, or none any more.
static bool wait_while(uint32_t flags)
{
    for (uint32_t i = 0; uart_registers != NULL && i < POLLS; i++) {
        if ((read(PL011_FR) & flags) == 0) {
            return true;
        }
    }
    uart_drop(); // it will not work later, and waiting for every byte would take for ever
    return false;
}

void uart_init(pa_t base)
{
    uart_registers = (volatile uint32_t *)(uintptr_t)pa_value(base);
    if (!wait_while(PL011_FR_BUSY)) {
        return;
    }
    write(PL011_CR, 0);
    write(PL011_IMSC, 0);
    write(PL011_ICR, PL011_INT_ALL);
    write(PL011_LCR_H, PL011_LCR_H_8BIT | PL011_LCR_H_FEN);
    write(PL011_CR, PL011_CR_UARTEN | PL011_CR_TXE | PL011_CR_RXE);
}

void uart_wait(void)
{
    (void)wait_while(PL011_FR_TXFF);
}

void uart_drain(void)
{
    (void)wait_while(PL011_FR_BUSY);
}

uint32_t uart_room(void)
{
    uint32_t flags = uart_registers != NULL ? read(PL011_FR) : PL011_FR_TXFE;
    return (flags & PL011_FR_TXFE) != 0 ? FIFO_SIZE : (flags & PL011_FR_TXFF) == 0;
}

void uart_send(const char *bytes, uint32_t count)
{
    for (uint32_t i = 0; uart_registers != NULL && i < count; i++) {
        write(PL011_DR, (uint8_t)bytes[i]);
    }
}

bool uart_has_input(void)
{
    return uart_registers != NULL && (read(PL011_FR) & PL011_FR_RXFE) == 0;
}

uint32_t uart_get(void)
{
    return read(PL011_DR);
}

// SPDX-License-Identifier: Apache-2.0
// The board's PL011, polled. Register names from the Arm PrimeCell UART (PL011) manual.
#ifndef EL2_UART_H
#define EL2_UART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <stage2/addr.h>

#define PL011_DR 0x00u
#define PL011_RSR 0x04u
#define PL011_FR 0x18u
#define PL011_ILPR 0x20u
#define PL011_IBRD 0x24u
#define PL011_FBRD 0x28u
#define PL011_LCR_H 0x2cu
#define PL011_CR 0x30u
#define PL011_IFLS 0x34u
#define PL011_IMSC 0x38u
#define PL011_RIS 0x3cu
#define PL011_MIS 0x40u
#define PL011_ICR 0x44u
#define PL011_DMACR 0x48u
#define PL011_PERIPH_ID0 0xfe0u

#define PL011_FR_BUSY (1u << 3)
#define PL011_FR_RXFE (1u << 4)
#define PL011_FR_TXFF (1u << 5)
#define PL011_FR_TXFE (1u << 7)
#define PL011_LCR_H_FEN (1u << 4)
#define PL011_LCR_H_8BIT (3u << 5)
#define PL011_CR_UARTEN (1u << 0)
#define PL011_CR_TXE (1u << 8)
#define PL011_CR_RXE (1u << 9)
#define PL011_INT_RX (1u << 4)
#define PL011_INT_TX (1u << 5)
#define PL011_INT_RT (1u << 6)
#define PL011_INT_ALL 0x7ffu

// 8n1 with FIFOs, interrupts off, the baud rate as firmware left it. The page must be mapped.
void uart_init(pa_t base);

__attribute__((visibility("hidden"))) extern volatile uint32_t *uart_registers;

// Waits until there is room in the FIFO, but not for ever: a UART that never has room is dropped.
void uart_wait(void);

// Does nothing before uart_init(), and without a UART.
static inline void uart_put(uint8_t byte)
{
    volatile uint32_t *registers = uart_registers;
    if (registers != NULL && (registers[PL011_FR / 4] & PL011_FR_TXFF) != 0) {
        uart_wait();
        registers = uart_registers;
    }
    if (registers != NULL) {
        registers[PL011_DR / 4] = byte;
    }
}

// The same without waiting: how many bytes there is room for (without a UART: as many as there ever
// is), and so many.
uint32_t uart_room(void);
void uart_send(const char *bytes, uint32_t count);

// Never touch the UART again.
void uart_drop(void);

// Wait, but not for ever, until all is on the wire.
void uart_drain(void);

bool uart_has_input(void);

// The data register, with the receive error flags above the byte; only after uart_has_input().
uint32_t uart_get(void);

#endif

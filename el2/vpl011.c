// SPDX-License-Identifier: Apache-2.0
#include <el2/console.h>
#include <el2/uart.h>
#include <el2/vpl011.h>

#define IFLS_RESET 0x12u
#define CR_MASK 0xff87u
#define FBRD_MASK 0x3fu
#define BYTE_MASK 0xffu
#define IFLS_MASK 0x3fu
#define DMACR_MASK 0x7u

void vpl011_reset(struct vpl011 *uart)
{
    *uart = (struct vpl011){.cr = PL011_CR_TXE | PL011_CR_RXE, .ifls = IFLS_RESET};
}

// Transmit interrupt: there is always room. Receive interrupt: the board has a byte.
static uint32_t raw_interrupts(void)
{
    return PL011_INT_TX | (uart_has_input() ? PL011_INT_RX : 0);
}

// The identification registers of revision r1p5, one byte in each word.
static uint32_t identification(uint64_t offset)
{
    static const uint8_t bytes[8] = {0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1};
    return bytes[(offset - PL011_PERIPH_ID0) / 4];
}

uint32_t vpl011_read(const struct vpl011 *uart, uint64_t offset)
{
    switch (offset) {
    case PL011_DR:
        return uart_has_input() ? uart_get() : 0;
    case PL011_FR:
        return PL011_FR_TXFE | (uart_has_input() ? 0 : PL011_FR_RXFE);
    case PL011_ILPR:
        return uart->ilpr;
    case PL011_IBRD:
        return uart->ibrd;
    case PL011_FBRD:
        return uart->fbrd;
    case PL011_LCR_H:
        return uart->lcr_h;
    case PL011_CR:
        return uart->cr;
    case PL011_IFLS:
        return uart->ifls;
    case PL011_IMSC:
        return uart->imsc;
    case PL011_RIS:
        return raw_interrupts();
    case PL011_MIS:
        return raw_interrupts() & uart->imsc;
    case PL011_DMACR:
        return uart->dmacr;
    default: // PL011_RSR: no errors
        return offset >= PL011_PERIPH_ID0 && offset % 4 == 0 && offset < PL011_PERIPH_ID0 + 32
                   ? identification(offset)
                   : 0;
    }
}

void vpl011_write(struct vpl011 *uart, uint64_t offset, uint32_t value)
{
    switch (offset) {
    case PL011_DR:
        console_guest((uint8_t)value);
        break;
    case PL011_ILPR:
        uart->ilpr = value & BYTE_MASK;
        break;
    case PL011_IBRD:
        uart->ibrd = (uint16_t)value;
        break;
    case PL011_FBRD:
        uart->fbrd = value & FBRD_MASK;
        break;
    case PL011_LCR_H:
        uart->lcr_h = value & BYTE_MASK;
        break;
    case PL011_CR:
        uart->cr = value & CR_MASK;
        break;
    case PL011_IFLS:
        uart->ifls = value & IFLS_MASK;
        break;
    case PL011_IMSC:
        uart->imsc = value & PL011_INT_ALL;
        break;
    case PL011_DMACR:
        uart->dmacr = value & DMACR_MASK;
        break;
    default: // read-only registers; PL011_RSR and PL011_ICR clear what is never latched here
        break;
    }
}

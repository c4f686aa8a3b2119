// SPDX-License-Identifier: Apache-2.0
// The real one, with a uart_put() that the host can watch.
#ifndef EL2_HOST_UART_H
#define EL2_HOST_UART_H

#define uart_put uart_put_of_the_board
#include_next <el2/uart.h>
#undef uart_put

void uart_put(uint8_t byte);

#endif

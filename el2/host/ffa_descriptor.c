// SPDX-License-Identifier: Apache-2.0
// The reader of FF-A memory descriptors as a program for the host, where sanitizers watch it. From
// stdin: records of 'r' (with ranges) or 'n' (without), a little-endian 32-bit length, and that
// many bytes, which are all the memory it may read. To stdout: one line for each, `error CODE` or
// `ok NUMBER ...` with all that was read.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <el2/ffa_descriptor.h>

int main(void)
{
    int kind;
    while ((kind = getchar()) != EOF) {
        uint32_t length;
        struct ffa_request request;
        if (fread(&length, sizeof(length), 1, stdin) != 1) {
            return 1;
        }
        uint8_t *copy = malloc(length);
        if (copy == NULL || fread(copy, 1, length, stdin) != length) {
            return 1;
        }
        enum ffa_error error = ffa_read_request(copy, length, kind == 'r', &request);
        free(copy);
        if (error != FFA_OK) {
            printf("error %d\n", (int)error);
        } else {
            printf("ok %u %u %u %u %u %llu %llu", request.sender, request.receiver,
                   request.attributes, request.permissions, request.flags,
                   (unsigned long long)request.handle, (unsigned long long)request.tag);
            for (uint32_t i = 0; i < request.page_count; i++) {
                printf(" %llu", (unsigned long long)request.pages[i]);
            }
            printf("\n");
        }
        fflush(stdout);
    }
    return 0;
}

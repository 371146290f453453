// Numbers as eyes like them, a few characters each. Not for scripts.
#ifndef MF_CLI_HUMAN_H
#define MF_CLI_HUMAN_H

#include <stddef.h>
#include <stdint.h>

struct cli_human {
    char text[24];
};

// 950, 12,345, 1.23M, 4.50G
struct cli_human cli_human_count(uint64_t count);
// 950 B, 12.3 KiB, 340 MiB
struct cli_human cli_human_bytes(uint64_t bytes);
// 7s, 12m 5s, 4h 12m, 3d 4h
struct cli_human cli_human_ms(uint64_t ms);

#endif

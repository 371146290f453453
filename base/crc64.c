// CRC-64 by eight tables, eight bytes a step; see crc64.h.
#include "base/crc64.h"

#include <pthread.h>

#define POLYNOMIAL UINT64_C(0x95ac9329ac4bc9b5) // 0xad93d23594c935a9 with its bits reversed

// Made at the first use, constant since.
static uint64_t tables[8][256];
static pthread_once_t made = PTHREAD_ONCE_INIT;

// tables[n][byte]: what `byte` becomes when n more bytes of zero follow it.
static void make_tables(void)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        uint64_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? POLYNOMIAL : 0);
        tables[0][byte] = crc;
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        for (int n = 1; n < 8; n++)
            tables[n][byte] = tables[0][tables[n - 1][byte] & 0xff] ^ tables[n - 1][byte] >> 8;
    }
}

uint64_t mf_crc64(uint64_t crc, struct mf_bytes bytes)
{
    pthread_once(&made, make_tables); // which cannot fail
    struct mf_reader r = mf_reader_of(bytes);
    while (mf_reader_left(&r) >= 8) {
        crc ^= mf_read_u64(&r);
        uint64_t next = 0;
        for (int n = 0; n < 8; n++)
            next ^= tables[7 - n][crc >> (8 * n) & 0xff];
        crc = next;
    }
    while (mf_reader_left(&r) > 0)
        crc = tables[0][(crc ^ mf_read_u8(&r)) & 0xff] ^ crc >> 8;
    return crc;
}

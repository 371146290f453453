// LZF: runs of literal bytes, and copies of what was written up to 8 KiB before; see lzf.h.
#include "base/lzf.h"

bool mf_lzf_unpack(struct mf_bytes packed, uint8_t *to, size_t to_bytes)
{
    struct mf_reader r = mf_reader_of(packed);
    size_t len = 0;
    while (mf_reader_left(&r) > 0) {
        unsigned control = mf_read_u8(&r);
        if (control < 32) {
            struct mf_bytes run = mf_read_bytes(&r, control + 1);
            if (r.failed || run.len > to_bytes - len)
                return false;
            memcpy(to + len, run.data, run.len);
            len += run.len;
            continue;
        }
        size_t count = control >> 5;
        if (count == 7)
            count += mf_read_u8(&r);
        count += 2;
        size_t back = ((size_t)(control & 31) << 8 | mf_read_u8(&r)) + 1;
        if (r.failed || back > len || count > to_bytes - len)
            return false;
        // Source and target may overlap, and then what is written is read again.
        for (size_t i = 0; i < count; i++, len++)
            to[len] = to[len - back];
    }
    return len == to_bytes;
}

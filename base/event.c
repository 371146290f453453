// Changes of keys; see event.h.
#include "base/event.h"

#include <endian.h>
#include <string.h>

const char *mf_change_event_name(enum mf_change_event event)
{
    static const char *const names[MF_EVENTS] = {[MF_EVENT_SET] = "set",
                                                 [MF_EVENT_DEL] = "del",
                                                 [MF_EVENT_EXPIRE] = "expire",
                                                 [MF_EVENT_EVICT] = "evict"};
    return names[event];
}

bool mf_change_event_find(struct mf_bytes name, enum mf_change_event *out)
{
    for (unsigned i = 0; i < MF_EVENTS; i++) {
        *out = (enum mf_change_event)i;
        if (mf_bytes_equal(name, mf_bytes_str(mf_change_event_name(*out))))
            return true;
    }
    return false;
}

static uint8_t *put_blob(uint8_t *to, struct mf_bytes bytes)
{
    uint32_t len = htole32((uint32_t)bytes.len);
    memcpy(to, &len, sizeof(len));
    if (bytes.len > 0)
        memcpy(to + sizeof(len), bytes.data, bytes.len);
    return to + sizeof(len) + bytes.len;
}

// For every change of a key there is: room is looked for once.
void mf_event_put(struct mf_buf *out, const struct mf_event *event)
{
    size_t bytes = mf_event_bytes(event);
    uint64_t version = htole64(event->version);
    uint8_t *to = mf_buf_reserve(out, bytes);
    to[0] = (uint8_t)event->event;
    memcpy(to + 1, &version, sizeof(version));
    put_blob(put_blob(to + 1 + sizeof(version), event->key), event->value);
    out->len += bytes;
}

void mf_event_take(struct mf_reader *reader, struct mf_event *out)
{
    out->event = (enum mf_change_event)mf_read_u8(reader);
    out->version = mf_read_u64(reader);
    out->key = mf_read_blob(reader);
    out->value = mf_read_blob(reader);
}

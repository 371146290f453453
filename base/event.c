// Changes of keys; see event.h.
#include "base/event.h"

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

void mf_event_put(struct mf_buf *out, const struct mf_event *event)
{
    mf_buf_u8(out, (uint8_t)event->event);
    mf_buf_u64(out, event->version);
    mf_buf_blob(out, event->key);
    mf_buf_blob(out, event->value);
}

void mf_event_take(struct mf_reader *reader, struct mf_event *out)
{
    out->event = (enum mf_change_event)mf_read_u8(reader);
    out->version = mf_read_u64(reader);
    out->key = mf_read_blob(reader);
    out->value = mf_read_blob(reader);
}

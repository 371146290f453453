// What is told again behind replies; see resp_track_again.h.
#include "server/resp_track_again.h"

#include <stddef.h>

void mf_resp_again_add(struct mf_resp_again *again, const struct mf_bytes *key, uint64_t at,
                       uint64_t sent)
{
    if (at <= sent)
        return; // no reply is due that it could have overtaken
    unsigned time = again->times[0].due && again->times[0].at != at ? 1 : 0;
    again->times[time].due = true;
    again->times[time].at = at;
    if (key == NULL || again->times[time].keys.len + key->len > MF_RESP_AGAIN_BYTES_MAX)
        again->times[time].all = true;
    else
        mf_buf_blob(&again->times[time].keys, *key);
}

// Both times may have come: replies that wait for one before them are sent together.
void mf_resp_again_tell(struct mf_resp_again *again, uint64_t sent,
                        void (*tell)(void *arg, const struct mf_bytes *key), void *arg)
{
    while (again->times[0].due && sent >= again->times[0].at) {
        struct mf_reader keys = mf_reader_of(mf_buf_view(&again->times[0].keys));
        if (again->times[0].all)
            tell(arg, NULL);
        while (!again->times[0].all && mf_reader_left(&keys) > 0) {
            struct mf_bytes key = mf_read_blob(&keys);
            tell(arg, &key);
        }
        mf_buf_free(&again->times[0].keys);
        again->times[0] = again->times[1];
        again->times[1].due = false;
        again->times[1].all = false;
        again->times[1].keys = (struct mf_buf){0};
    }
}

void mf_resp_again_free(struct mf_resp_again *again)
{
    mf_buf_free(&again->times[0].keys);
    mf_buf_free(&again->times[1].keys);
}

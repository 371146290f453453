// Which changes a connection has made itself; see resp_track_own.h.
#include "server/resp_track_own.h"

#include <stddef.h>
#include <stdlib.h>

void mf_resp_own_free(struct mf_resp_own_changes *own)
{
    mf_buf_free(&own->held);
    free(own);
}

uint32_t mf_resp_own_begin(struct mf_resp_own_changes *own, uint64_t hash)
{
    for (uint32_t i = 0; i < MF_RESP_OWN_WRITES_MAX; i++) {
        if (own->writes[i].used)
            continue;
        // Of two at once nobody knows which comes last: a hand-over of the shard can pass one on
        // the other's way. Their changes are told.
        bool crossed = false;
        for (uint32_t k = 0; k < MF_RESP_OWN_WRITES_MAX; k++) {
            if (own->writes[k].used && own->writes[k].key == hash)
                crossed = own->writes[k].crossed = true;
        }
        own->writes[i].used = true;
        own->writes[i].key = hash;
        own->writes[i].crossed = crossed;
        return i + 1;
    }
    return 0;
}

static bool is_written(const struct mf_resp_own_changes *own, uint64_t hash)
{
    for (uint32_t i = 0; i < MF_RESP_OWN_WRITES_MAX; i++) {
        if (own->writes[i].used && own->writes[i].key == hash)
            return true;
    }
    return false;
}

static void hold(struct mf_buf *held, uint64_t hash, uint64_t version, struct mf_bytes key)
{
    mf_buf_u64(held, hash);
    mf_buf_u64(held, version);
    mf_buf_blob(held, key);
}

void mf_resp_own_end(struct mf_resp_own_changes *own, uint32_t write, uint64_t version,
                     void (*tell)(void *arg, struct mf_bytes key), void *arg)
{
    uint64_t hash = own->writes[write - 1].key;
    own->writes[write - 1].used = false;
    if (own->writes[write - 1].crossed)
        version = 0; // as if it had made none
    struct mf_buf before = own->held;
    struct mf_reader reader = mf_reader_of(mf_buf_view(&before));
    bool come = version == 0;
    own->held = (struct mf_buf){0};
    while (mf_reader_left(&reader) > 0) {
        uint64_t of = mf_read_u64(&reader);
        uint64_t at = mf_read_u64(&reader);
        struct mf_bytes key = mf_read_blob(&reader);
        if (version != 0 && of == hash && at == version)
            come = true;
        else if (is_written(own, of))
            hold(&own->held, of, at, key);
        else
            tell(arg, key);
    }
    mf_buf_free(&before);
    if (come)
        return;
    own->made[own->next_made].key = hash;
    own->made[own->next_made].version = version;
    own->next_made = (own->next_made + 1) % MF_RESP_OWN_MADE_MAX;
}

bool mf_resp_own_changed(struct mf_resp_own_changes *own, uint64_t hash, uint64_t version,
                         struct mf_bytes key)
{
    for (uint32_t i = 0; version != 0 && i < MF_RESP_OWN_MADE_MAX; i++) {
        if (own->made[i].key != hash || own->made[i].version != version)
            continue;
        own->made[i].version = 0;
        return true;
    }
    if (version == 0 || own->held.len + key.len > MF_RESP_OWN_HELD_BYTES_MAX ||
        !is_written(own, hash))
        return false;
    hold(&own->held, hash, version, key);
    return true;
}

// The options of `watch`, and what its client is sent.
#include "rpc/msgpack_parse.h"

#include <stdlib.h>

#include "base/event.h"

// Larger lists of shards are not kept for the next request.
#define FROMS_KEPT_MAX 1024u
// No cluster has more shards than this.
#define FROMS_MAX 16384u

static bool take_pattern(struct parser *p, const struct mf_msgpack_token *value, bool by_prefix)
{
    struct mf_rpc_watch *watch = &p->request->watch;
    if (!mf_parse_is_bytes(value))
        return false;
    watch->patterns++;
    watch->by_prefix = by_prefix;
    watch->pattern = value->bytes;
    return true;
}

bool mf_parse_option_key(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value)
{
    (void)flag;
    return take_pattern(p, value, false);
}

bool mf_parse_option_prefix(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value)
{
    (void)flag;
    return take_pattern(p, value, true);
}

bool mf_parse_option_events(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value)
{
    (void)flag;
    if (value->type != MF_MP_ARRAY || value->count == 0)
        return false;
    p->request->watch.events = 0;
    for (uint32_t i = 0; i < value->count; i++) {
        struct mf_msgpack_token name;
        enum mf_change_event event;
        if (!mf_parse_next(p, &name) || !mf_parse_is_bytes(&name) ||
            !mf_change_event_find(name.bytes, &event))
            return false;
        p->request->watch.events |= 1u << event;
    }
    return true;
}

static void add_from(struct mf_rpc_watch *watch, uint32_t shard, uint64_t version)
{
    if (watch->from_count == watch->froms_cap) {
        watch->froms_cap = watch->froms_cap == 0 ? 16 : watch->froms_cap * 2;
        watch->froms = mf_realloc(watch->froms, watch->froms_cap * sizeof(*watch->froms));
    }
    watch->froms[watch->from_count++] = (struct mf_shard_version){shard, version};
}

bool mf_parse_option_from_version(struct parser *p, uint32_t flag,
                                  const struct mf_msgpack_token *value)
{
    (void)flag;
    struct mf_rpc_watch *watch = &p->request->watch;
    if (value->type == MF_MP_UINT) {
        watch->has_from = true;
        watch->from_version = value->uinteger;
        return true;
    }
    if (value->type != MF_MP_MAP || value->count > FROMS_MAX)
        return false;
    for (uint32_t i = 0; i < value->count; i++) {
        struct mf_msgpack_token shard;
        struct mf_msgpack_token version;
        if (!mf_parse_next(p, &shard) || shard.type != MF_MP_UINT || shard.uinteger > UINT32_MAX ||
            !mf_parse_next(p, &version) || version.type != MF_MP_UINT)
            return false;
        add_from(watch, (uint32_t)shard.uinteger, version.uinteger);
    }
    return true;
}

bool mf_parse_option_progress(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value)
{
    (void)flag;
    p->request->watch.progress = true;
    return value->type == MF_MP_BOOL;
}

bool mf_parse_check_watch(struct parser *p)
{
    const struct mf_rpc_watch *watch = &p->request->watch;
    if (watch->patterns != 1)
        return mf_parse_refuse(p, MF_BAD_REQUEST, "watch: %s, expected exactly one of key, prefix",
                               watch->patterns == 0 ? "no key and no prefix" : "key and prefix");
    if (!watch->by_prefix && watch->pattern.len == 0)
        return mf_parse_refuse(p, MF_BAD_REQUEST, "watch: the key is empty");
    if (watch->pattern.len > p->limits->key_bytes_max)
        return mf_parse_refuse(p, MF_TOO_LARGE, "watch: the %s has %zu bytes, at most %zu",
                               watch->by_prefix ? "prefix" : "key", watch->pattern.len,
                               p->limits->key_bytes_max);
    return true;
}

void mf_parse_clear_watch(struct mf_rpc_watch *watch)
{
    if (watch->froms_cap > FROMS_KEPT_MAX)
        mf_parse_free_watch(watch);
    *watch = (struct mf_rpc_watch){
        .events = MF_EVENTS_ALL, .froms = watch->froms, .froms_cap = watch->froms_cap};
}

void mf_parse_free_watch(struct mf_rpc_watch *watch)
{
    free(watch->froms);
    watch->froms = NULL;
    watch->froms_cap = 0;
}

static void pack_head(struct mf_buf *out, uint64_t id, const char *event)
{
    mf_pack_array(out, 3);
    mf_pack_uint(out, 2);
    mf_pack_str(out, "event");
    mf_pack_array(out, 5);
    mf_pack_uint(out, id);
    mf_pack_str(out, event);
}

void mf_rpc_event(struct mf_buf *out, uint64_t id, const struct mf_event *event)
{
    pack_head(out, id, mf_change_event_name(event->event));
    mf_pack_bin(out, event->key);
    mf_pack_uint(out, event->version);
    if (event->event == MF_EVENT_SET)
        mf_pack_bin(out, event->value);
    else
        mf_pack_nil(out);
}

void mf_rpc_progress(struct mf_buf *out, uint64_t id, const struct mf_shard_version *versions,
                     uint32_t count)
{
    pack_head(out, id, "progress");
    mf_pack_nil(out);
    mf_pack_uint(out, 0);
    mf_pack_map(out, count);
    for (uint32_t i = 0; i < count; i++) {
        mf_pack_uint(out, versions[i].shard);
        mf_pack_uint(out, versions[i].version);
    }
}

void mf_rpc_lost(struct mf_buf *out, uint64_t id)
{
    pack_head(out, id, "lost");
    mf_pack_nil(out);
    mf_pack_uint(out, 0);
    mf_pack_nil(out);
}

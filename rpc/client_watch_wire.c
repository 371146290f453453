// A watch's request, and the notifications that it brings, in MessagePack.
#include <msgpack/pack.h>
#include <stdlib.h>
#include <string.h>

#include "base/event.h"
#include "rpc/client_watch.h"

// Holds the frame, every option's name and the names of all events.
#define FRAME_BYTES 256
#define FROM_BYTES 14 // one shard and its version, at most

static int append(void *data, const char *bytes, size_t len)
{
    mf_buf_put(data, bytes, len);
    return 0;
}

static void pack_text(msgpack_packer *packer, const char *text)
{
    msgpack_pack_str(packer, strlen(text));
    msgpack_pack_str_body(packer, text, strlen(text));
}

static void pack_changes(msgpack_packer *packer, unsigned changes)
{
    pack_text(packer, "events");
    msgpack_pack_array(packer, (size_t)__builtin_popcount(changes));
    for (unsigned i = 0; i < MF_EVENTS; i++) {
        if ((changes & 1u << i) != 0)
            pack_text(packer, mf_change_event_name((enum mf_change_event)i));
    }
}

static void pack_froms(msgpack_packer *packer, const struct mf_positions *positions)
{
    pack_text(packer, "from_version");
    msgpack_pack_map(packer, positions->known);
    for (uint32_t i = 0; i < positions->count; i++) {
        if (positions->all[i].state == MF_POSITION_UNKNOWN)
            continue;
        msgpack_pack_uint32(packer, positions->first + i);
        msgpack_pack_uint64(packer, mf_position_from(&positions->all[i]));
    }
}

bool mf_watch_pack(struct mf_watch *watch)
{
    const struct mf_positions *positions = &watch->positions;
    struct mf_buf buf = {.cap = FRAME_BYTES + watch->pattern_len +
                                (size_t)positions->known * FROM_BYTES};
    free(watch->request.bytes);
    watch->request.bytes = NULL;
    buf.data = malloc(buf.cap);
    if (buf.data == NULL)
        return false;
    msgpack_packer packer;
    msgpack_packer_init(&packer, &buf, append);
    msgpack_pack_array(&packer, 4);
    msgpack_pack_int(&packer, 0);
    msgpack_pack_uint32(&packer, MF_OWN_MSGIDS | watch->slot);
    pack_text(&packer, "watch");
    msgpack_pack_array(&packer, 1);
    msgpack_pack_map(&packer, 2u + (watch->changes != MF_EVENTS_ALL) + (positions->known > 0));
    pack_text(&packer, watch->by_prefix ? "prefix" : "key");
    msgpack_pack_bin(&packer, watch->pattern_len);
    msgpack_pack_bin_body(&packer, watch->pattern, watch->pattern_len);
    pack_text(&packer, "progress");
    msgpack_pack_true(&packer);
    if (watch->changes != MF_EVENTS_ALL)
        pack_changes(&packer, watch->changes);
    if (positions->known > 0)
        pack_froms(&packer, positions);
    watch->request.bytes = buf.data;
    watch->request.len = buf.len;
    return true;
}

struct mf_call *mf_watch_pack_end(uint64_t remote_id)
{
    struct mf_call *call = calloc(1, sizeof *call);
    struct mf_buf buf = {.data = malloc(FRAME_BYTES), .cap = FRAME_BYTES};
    if (call == NULL || buf.data == NULL) {
        free(call);
        free(buf.data);
        return NULL;
    }
    msgpack_packer packer;
    msgpack_packer_init(&packer, &buf, append);
    msgpack_pack_array(&packer, 3);
    msgpack_pack_int(&packer, 2);
    pack_text(&packer, "unwatch");
    msgpack_pack_array(&packer, 1);
    msgpack_pack_uint64(&packer, remote_id);
    *call = (struct mf_call){.own = true, .once = true, .bytes = buf.data, .len = buf.len};
    return call;
}

static bool is_bytes(const struct mf_msgpack_token *token)
{
    return token->type == MF_MP_STR || token->type == MF_MP_BIN;
}

static enum mf_news_kind kind_of(struct mf_bytes name, enum mayfly_change *change)
{
    enum mf_change_event event;
    if (mf_bytes_equal(name, mf_bytes_str("progress")))
        return MF_NEWS_PROGRESS;
    if (mf_bytes_equal(name, mf_bytes_str("lost")))
        return MF_NEWS_LOST;
    if (!mf_change_event_find(name, &event))
        return MF_NEWS_BROKEN;
    *change = (enum mayfly_change)(1u << event);
    return MF_NEWS_CHANGE;
}

// The last element: a change's value, or the versions of a progress.
static enum mf_news_kind read_last(struct mf_msgpack_in *in, enum mf_news_kind kind,
                                   struct mf_watch_news *news)
{
    struct mf_msgpack_token token;
    if (mf_msgpack_next(in, &token) != MF_OK)
        return MF_NEWS_BROKEN;
    if (kind == MF_NEWS_CHANGE && is_bytes(&token))
        news->value = token.bytes;
    else if (kind == MF_NEWS_PROGRESS && token.type == MF_MP_MAP)
        news->count = token.count;
    else if (kind == MF_NEWS_PROGRESS || (kind == MF_NEWS_CHANGE && token.type != MF_MP_NIL))
        return MF_NEWS_BROKEN;
    news->rest = *in;
    return kind;
}

enum mf_news_kind mf_watch_read_news(struct mf_msgpack_in *in, struct mf_watch_news *news)
{
    struct mf_msgpack_token method, params, id, name, key, version;
    *news = (struct mf_watch_news){0};
    if (mf_msgpack_next(in, &method) != MF_OK || method.type != MF_MP_STR)
        return MF_NEWS_BROKEN;
    if (!mf_bytes_equal(method.bytes, mf_bytes_str("event")))
        return MF_NEWS_NONE;
    if (mf_msgpack_next(in, &params) != MF_OK || params.type != MF_MP_ARRAY || params.count != 5 ||
        mf_msgpack_next(in, &id) != MF_OK || id.type != MF_MP_UINT ||
        mf_msgpack_next(in, &name) != MF_OK || name.type != MF_MP_STR ||
        mf_msgpack_next(in, &key) != MF_OK || mf_msgpack_next(in, &version) != MF_OK ||
        version.type != MF_MP_UINT)
        return MF_NEWS_BROKEN;
    enum mf_news_kind kind = kind_of(name.bytes, &news->change);
    if (kind == MF_NEWS_CHANGE && !is_bytes(&key))
        return MF_NEWS_BROKEN;
    news->remote_id = id.uinteger;
    news->key = kind == MF_NEWS_CHANGE ? key.bytes : (struct mf_bytes){0};
    news->version = version.uinteger;
    return kind == MF_NEWS_BROKEN ? kind : read_last(in, kind, news);
}

// The embedded store's writes: options are checked and become a command, which the shard applies
// under its lock.
#include "store/store_internal.h"

#include <stdlib.h>

// A value over this may not have a place in memory; smaller ones always have one (base/bytes.h).
#define PROBE_BYTES ((size_t)64 << 10)
// What an entry takes beside key and value, generously.
#define ENTRY_BYTES 128u

#define SET_FLAGS                                                                                  \
    (MAYFLY_FLAG_TTL | MAYFLY_FLAG_EXPIRE_AT | MAYFLY_FLAG_KEEP_TTL | MAYFLY_FLAG_NX |             \
     MAYFLY_FLAG_XX | MAYFLY_FLAG_IF_VERSION)
#define EXPIRE_FLAGS (MAYFLY_FLAG_NX | MAYFLY_FLAG_XX | MAYFLY_FLAG_GT | MAYFLY_FLAG_LT)

static const struct mayfly_options no_options;

static bool more_than_one(unsigned flags)
{
    return (flags & (flags - 1)) != 0;
}

// Only flags that the call knows, and no number without its flag.
static bool options_fit(const struct mayfly_options *options, unsigned known)
{
    unsigned flags = options->flags;
    return (flags & ~known) == 0 && options->id.len == 0 &&
           (options->ttl_ms == 0 || (flags & MAYFLY_FLAG_TTL) != 0) &&
           (options->expire_at_ms == 0 || (flags & MAYFLY_FLAG_EXPIRE_AT) != 0) &&
           (options->if_version == 0 || (flags & MAYFLY_FLAG_IF_VERSION) != 0);
}

static uint32_t command_flags(unsigned flags)
{
    static const struct {
        unsigned flag;
        uint32_t command_flag;
    } rows[] = {
        {MAYFLY_FLAG_NX, MF_NX},
        {MAYFLY_FLAG_XX, MF_XX},
        {MAYFLY_FLAG_GT, MF_GT},
        {MAYFLY_FLAG_LT, MF_LT},
        {MAYFLY_FLAG_KEEP_TTL, MF_KEEP_TTL},
        {MAYFLY_FLAG_IF_VERSION, MF_IF_VERSION},
    };
    uint32_t result = 0;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        result |= (flags & rows[i].flag) != 0 ? rows[i].command_flag : 0;
    return result;
}

// Microseconds from now to a Unix time in milliseconds; 0 when it has come.
static int64_t until_us(const struct mayfly_store *store, int64_t at_ms)
{
    uint64_t now_us = store->clock.wall_us();
    if (at_ms <= 0 || (uint64_t)at_ms <= now_us / 1000)
        return 0;
    uint64_t latest_ms = (uint64_t)INT64_MAX / 1000;
    uint64_t wanted_ms = (uint64_t)at_ms < latest_ms ? (uint64_t)at_ms : latest_ms;
    return wanted_ms * 1000 > now_us ? (int64_t)(wanted_ms * 1000 - now_us) : 0;
}

static enum mayfly_err set_expiry(const struct mayfly_store *store,
                                  const struct mayfly_options *options, struct mf_command *command)
{
    if ((options->flags & MAYFLY_FLAG_TTL) != 0) {
        if (options->ttl_ms < 1 || options->ttl_ms > MAYFLY_TTL_MS_MAX)
            return MAYFLY_ERR_BAD_REQUEST;
        command->expiry = MF_EXPIRY_IN;
        command->expire_us = options->ttl_ms * 1000;
    } else if ((options->flags & MAYFLY_FLAG_EXPIRE_AT) != 0) {
        command->expiry = MF_EXPIRY_IN;
        command->expire_us = until_us(store, options->expire_at_ms);
    }
    return MAYFLY_OK;
}

bool mf_store_has_room(size_t bytes)
{
    if (bytes <= PROBE_BYTES)
        return true;
    // volatile: or the compiler would do without the two calls.
    void *volatile room = malloc(bytes + ENTRY_BYTES);
    bool there = room != NULL;
    free(room);
    return there;
}

// Applies a command of one key in its shard.
static struct mf_result apply(struct mayfly_store *store, struct mf_command *command)
{
    command->items = &command->one;
    command->item_count = 1;
    uint32_t shard = mf_store_shard_of(store, command->one.key);
    uint64_t now_us = mf_store_begin(store, shard);
    struct mf_result result = mf_store_apply(&store->shards[shard], now_us, command);
    mf_store_end(store, shard);
    result.value = mf_bytes_of(NULL, 0); // was valid under the lock
    return result;
}

enum mayfly_err mayfly_store_set(struct mayfly_store *store, struct mayfly_bytes key,
                                 struct mayfly_bytes value, const struct mayfly_options *options,
                                 struct mayfly_written *out)
{
    if (!mf_store_usable(store))
        return MAYFLY_ERR_FORKED;
    options = options != NULL ? options : &no_options;
    enum mayfly_err err = mf_store_check_key(key);
    if (err != MAYFLY_OK)
        return err;
    if (value.len > MAYFLY_STORE_VALUE_MAX)
        return MAYFLY_ERR_TOO_LARGE;
    unsigned expiries = MAYFLY_FLAG_TTL | MAYFLY_FLAG_EXPIRE_AT | MAYFLY_FLAG_KEEP_TTL;
    if ((value.data == NULL && value.len > 0) || !options_fit(options, SET_FLAGS) ||
        more_than_one(options->flags & expiries) ||
        more_than_one(options->flags & (MAYFLY_FLAG_NX | MAYFLY_FLAG_XX)))
        return MAYFLY_ERR_BAD_REQUEST;
    struct mf_command command = {
        .op = MF_OP_SET,
        .flags = command_flags(options->flags),
        .if_version = options->if_version,
        .one = {.key = mf_store_bytes(key), .value = mf_store_bytes(value)},
    };
    err = set_expiry(store, options, &command);
    if (err != MAYFLY_OK)
        return err;
    if (!mf_store_has_room(key.len + value.len))
        return MAYFLY_ERR_OUT_OF_MEMORY;
    struct mf_result result = apply(store, &command);
    if (result.kind != MF_RESULT_WRITTEN)
        return MAYFLY_ERR_INTERNAL;
    if (out != NULL)
        *out = (struct mayfly_written){.written = result.version != 0, .version = result.version};
    return MAYFLY_OK;
}

enum mayfly_err mayfly_store_del(struct mayfly_store *store, const struct mayfly_bytes *keys,
                                 size_t count, const struct mayfly_options *options,
                                 uint64_t *deleted)
{
    if (!mf_store_usable(store))
        return MAYFLY_ERR_FORKED;
    options = options != NULL ? options : &no_options;
    if (!options_fit(options, MAYFLY_FLAG_IF_VERSION) || (options->flags != 0 && count != 1))
        return MAYFLY_ERR_BAD_REQUEST;
    for (size_t i = 0; i < count; i++) {
        enum mayfly_err err = mf_store_check_key(keys[i]);
        if (err != MAYFLY_OK)
            return err;
    }
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        struct mf_command command = {
            .op = MF_OP_DEL,
            .flags = command_flags(options->flags),
            .if_version = options->if_version,
            .one.key = mf_store_bytes(keys[i]),
        };
        struct mf_result result = apply(store, &command);
        if (result.kind != MF_RESULT_INT)
            return MAYFLY_ERR_INTERNAL;
        sum += (uint64_t)result.integer;
    }
    if (deleted != NULL)
        *deleted = sum;
    return MAYFLY_OK;
}

static enum mayfly_err change(struct mayfly_store *store, struct mf_command *command, bool *changed)
{
    struct mf_result result = apply(store, command);
    if (result.kind != MF_RESULT_BOOL)
        return MAYFLY_ERR_INTERNAL;
    if (changed != NULL)
        *changed = result.integer != 0;
    return MAYFLY_OK;
}

enum mayfly_err mayfly_store_expire(struct mayfly_store *store, struct mayfly_bytes key,
                                    int64_t ttl_ms, const struct mayfly_options *options,
                                    bool *changed)
{
    if (!mf_store_usable(store))
        return MAYFLY_ERR_FORKED;
    options = options != NULL ? options : &no_options;
    enum mayfly_err err = mf_store_check_key(key);
    if (err != MAYFLY_OK)
        return err;
    bool nx_alone = (options->flags & MAYFLY_FLAG_NX) == 0 || options->flags == MAYFLY_FLAG_NX;
    if (!options_fit(options, EXPIRE_FLAGS) || !nx_alone || ttl_ms > MAYFLY_TTL_MS_MAX ||
        more_than_one(options->flags & (MAYFLY_FLAG_GT | MAYFLY_FLAG_LT)))
        return MAYFLY_ERR_BAD_REQUEST;
    struct mf_command command = {
        .op = MF_OP_EXPIRE,
        .flags = command_flags(options->flags),
        .expiry = MF_EXPIRY_IN,
        .expire_us = ttl_ms > 0 ? ttl_ms * 1000 : 0,
        .one.key = mf_store_bytes(key),
    };
    return change(store, &command, changed);
}

enum mayfly_err mayfly_store_persist(struct mayfly_store *store, struct mayfly_bytes key,
                                     bool *changed)
{
    if (!mf_store_usable(store))
        return MAYFLY_ERR_FORKED;
    enum mayfly_err err = mf_store_check_key(key);
    if (err != MAYFLY_OK)
        return err;
    struct mf_command command = {.op = MF_OP_PERSIST, .one.key = mf_store_bytes(key)};
    return change(store, &command, changed);
}

enum mayfly_err mayfly_store_flush(struct mayfly_store *store, uint64_t *dropped)
{
    if (!mf_store_usable(store))
        return MAYFLY_ERR_FORKED;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < store->shard_count; i++) {
        struct mf_command command = {.op = MF_OP_FLUSH};
        uint64_t now_us = mf_store_begin(store, i);
        struct mf_result result = mf_store_apply(&store->shards[i], now_us, &command);
        mf_store_end(store, i);
        if (result.kind != MF_RESULT_INT)
            return MAYFLY_ERR_INTERNAL;
        mf_store_free_flushed(store, i);
        sum += (uint64_t)result.integer;
    }
    if (dropped != NULL)
        *dropped = sum;
    return MAYFLY_OK;
}

// Options of MessagePack-RPC methods: one row each, and the pairs that exclude each other.
#include "rpc/msgpack_parse.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/glob.h"

#define SESSION_BYTES 16

// Stores an option's value; false: the value is not what `expected` says.
typedef bool take_option(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value);

// Options. An option given as false never gets here.

static bool option_flag(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value)
{
    p->command->flags |= flag;
    return value->type == MF_MP_BOOL;
}

static bool option_read(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value)
{
    if (!mf_parse_is_bytes(value))
        return false;
    if (mf_bytes_equal(value->bytes, mf_bytes_str("local"))) {
        p->command->flags |= flag;
        return true;
    }
    return mf_bytes_equal(value->bytes, mf_bytes_str("linearizable"));
}

static bool option_ttl(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value)
{
    int64_t ttl_ms;
    (void)flag;
    if (!mf_parse_to_integer(value, &ttl_ms) || ttl_ms < 1 || ttl_ms > MF_TTL_MS_MAX)
        return false;
    p->command->expiry = MF_EXPIRY_IN;
    p->command->expire_us = ttl_ms * 1000;
    return true;
}

static bool option_expire_at(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value)
{
    int64_t unix_ms;
    (void)flag;
    if (!mf_parse_to_integer(value, &unix_ms) || unix_ms > MF_TTL_MS_MAX)
        return false;
    p->command->expiry = MF_EXPIRY_AT;
    p->command->expire_us = unix_ms <= 0 ? 0 : unix_ms * 1000; // before 1970: the past
    return true;
}

static bool option_if_version(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value)
{
    if (value->type != MF_MP_UINT)
        return false;
    p->command->flags |= flag;
    p->command->if_version = value->uinteger;
    return true;
}

static bool option_id(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value)
{
    (void)flag;
    if (!mf_parse_is_bytes(value) || value->bytes.len == 0 || value->bytes.len > MF_ID_MAX)
        return false;
    p->command->id = value->bytes;
    return true;
}

// The client's own name is for those who watch the wire.
static bool option_client(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value)
{
    (void)p;
    (void)flag;
    return mf_parse_is_bytes(value);
}

static bool option_user(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value)
{
    (void)flag;
    p->request->hello_user = value->bytes;
    return mf_parse_is_bytes(value);
}

static bool option_password(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value)
{
    (void)flag;
    p->request->hello_password = value->bytes;
    return mf_parse_is_bytes(value);
}

// Reserved: checked so that what clients send today stays valid.
static bool option_session(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value)
{
    (void)p;
    (void)flag;
    return mf_parse_is_bytes(value) && value->bytes.len == SESSION_BYTES;
}

static bool option_match(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value)
{
    (void)flag;
    if (!mf_parse_is_bytes(value) || value->bytes.len > MF_GLOB_BYTES_MAX)
        return false;
    p->command->body = value->bytes;
    return true;
}

// What is more than one call gives anyhow is as good as that.
static bool option_count(struct parser *p, uint32_t flag, const struct mf_msgpack_token *value)
{
    (void)flag;
    if (value->type != MF_MP_UINT || value->uinteger == 0)
        return false;
    p->command->limit = value->uinteger < UINT32_MAX ? (uint32_t)value->uinteger : UINT32_MAX;
    return true;
}

static const struct {
    const char *expected;
    take_option *take;
    uint32_t flag; // enum mf_command_flag
} options[OPTION_COUNT] = {
    [MF_OPTION_READ] = {"\"linearizable\" or \"local\"", option_read, MF_READ_LOCAL},
    [MF_OPTION_META] = {"a boolean", option_flag, MF_WITH_META},
    [MF_OPTION_TTL] = {"an integer of milliseconds from 1 to 9007199254740991", option_ttl, 0},
    [MF_OPTION_EXPIRE_AT] = {"Unix time as an integer of milliseconds, below 2^53",
                             option_expire_at, 0},
    [MF_OPTION_NX] = {"a boolean", option_flag, MF_NX},
    [MF_OPTION_XX] = {"a boolean", option_flag, MF_XX},
    [MF_OPTION_GT] = {"a boolean", option_flag, MF_GT},
    [MF_OPTION_LT] = {"a boolean", option_flag, MF_LT},
    [MF_OPTION_IF_VERSION] = {"an unsigned integer of 64 bits", option_if_version, MF_IF_VERSION},
    [MF_OPTION_KEEP_TTL] = {"a boolean", option_flag, MF_KEEP_TTL},
    [MF_OPTION_PERSIST] = {"a boolean", option_flag, MF_NO_TTL},
    [MF_OPTION_GET] = {"a boolean", option_flag, MF_WITH_OLD},
    [MF_OPTION_MATCH] = {"a pattern of at most 1024 bytes", option_match, 0},
    [MF_OPTION_COUNT] = {"an integer from 1 on", option_count, 0},
    [MF_OPTION_ID] = {"1 to 64 bytes", option_id, 0},
    [OPTION_CLIENT] = {"a string", option_client, 0},
    [OPTION_USER] = {"a string", option_user, 0},
    [OPTION_PASSWORD] = {"a string", option_password, 0},
    [OPTION_SESSION] = {"16 bytes", option_session, 0},
    [OPTION_UNDO] = {"a boolean", option_flag, MF_UNDO},
    [OPTION_KEY] = {"a string", mf_parse_option_key, 0},
    [OPTION_PREFIX] = {"a string", mf_parse_option_prefix, 0},
    [OPTION_EVENTS] = {"an array of set, del, expire, evict", mf_parse_option_events, 0},
    [OPTION_FROM_VERSION] = {"a version, or a map of shard to version",
                             mf_parse_option_from_version, 0},
    [OPTION_PROGRESS] = {"a boolean", mf_parse_option_progress, 0},
};

static const char *name_of(unsigned option)
{
    static const char *const names[OPTION_COUNT] = {[OPTION_CLIENT] = "client",
                                                    [OPTION_USER] = "user",
                                                    [OPTION_PASSWORD] = "password",
                                                    [OPTION_SESSION] = "session",
                                                    [OPTION_UNDO] = "undo",
                                                    [OPTION_KEY] = "key",
                                                    [OPTION_PREFIX] = "prefix",
                                                    [OPTION_EVENTS] = "events",
                                                    [OPTION_FROM_VERSION] = "from_version",
                                                    [OPTION_PROGRESS] = "progress"};
    return option < MF_OPTIONS ? mf_option_name((enum mf_option)option) : names[option];
}

static bool refuse_unknown_option(struct parser *p, struct mf_bytes name)
{
    char allowed[100] = "";
    size_t len = 0;
    for (unsigned i = 0; i < OPTION_COUNT; i++) {
        if ((p->options & (1u << i)) != 0)
            len += (size_t)snprintf(allowed + len, sizeof(allowed) - len, "%s%s",
                                    len > 0 ? ", " : "", name_of(i));
    }
    return mf_parse_refuse(p, MF_BAD_REQUEST, "%s: unknown option \"%s\", expected %s%s", p->name,
                           mf_parse_quote(name).text, len > 0 ? "one of " : "none", allowed);
}

// OPTION_COUNT: there is none of that name, or the method does not take it.
static unsigned find_option(const struct parser *p, struct mf_bytes name)
{
    for (uint32_t left = p->options; left != 0 && name.len > 0; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctz(left);
        const char *text = name_of(i);
        if (text[0] == (char)name.data[0] && mf_bytes_equal(name, mf_bytes_str(text)))
            return i;
    }
    return OPTION_COUNT;
}

static bool take_one_option(struct parser *p, uint32_t *seen)
{
    struct mf_msgpack_token name;
    struct mf_msgpack_token value;
    if (!mf_parse_next(p, &name))
        return false;
    if (name.type != MF_MP_STR)
        return mf_parse_refuse_value(p, "an option's name", &name, "a string");
    unsigned i = find_option(p, name.bytes);
    if (i == OPTION_COUNT)
        return refuse_unknown_option(p, name.bytes);
    if ((*seen & (1u << i)) != 0)
        return mf_parse_refuse(p, MF_BAD_REQUEST, "%s: option %s is given twice", p->name,
                               name_of(i));
    *seen |= 1u << i;
    if (!mf_parse_next(p, &value))
        return false;
    if (value.type == MF_MP_BOOL && value.integer == 0)
        return true; // false counts as absent
    p->given |= 1u << i;
    if (options[i].take(p, options[i].flag, &value))
        return true;
    char what[32];
    snprintf(what, sizeof(what), "option %s", name_of(i));
    return mf_parse_refuse_value(p, what, &value, options[i].expected);
}

static bool check_exclusions(struct parser *p)
{
    enum mf_option one;
    enum mf_option other;
    if (mf_options_clash(p->given, &one, &other))
        return mf_parse_refuse(p, MF_BAD_REQUEST,
                               "%s: options %s and %s contradict each other, expected at most one",
                               p->name, mf_option_name(one), mf_option_name(other));
    if ((p->given & MF_OPTION_BIT(IF_VERSION)) != 0 && p->command->item_count != 1)
        return mf_parse_refuse(p, MF_BAD_REQUEST,
                               "%s: option if_version with %" PRIu32 " keys, expected one key",
                               p->name, p->command->item_count);
    return true;
}

bool mf_parse_options(struct parser *p)
{
    struct mf_msgpack_token map;
    uint32_t seen = 0;
    if (!mf_parse_next(p, &map))
        return false;
    if (map.type != MF_MP_MAP)
        return mf_parse_refuse_value(p, "the last parameter", &map, "a map of options");
    for (uint32_t i = 0; i < map.count; i++) {
        if (!take_one_option(p, &seen))
            return false;
    }
    return check_exclusions(p);
}

// SLOWLOG: the commands of this node that took longest; see slowlog.h.
#include "server/node.h"
#include "server/resp_internal.h"
#include "server/slowlog.h"

#define COUNT_DEFAULT 10

static struct mf_slowlog *slowlog_of(const struct mf_resp_session *session)
{
    return session->client.reactor->node->slowlog;
}

static void put_entry(struct mf_buf *out, const struct mf_slowlog_entry *entry)
{
    struct mf_reader words = mf_reader_of(entry->words);
    uint32_t count = mf_read_u32(&words);
    mf_resp_array(out, 6);
    mf_resp_int(out, (int64_t)entry->id);
    mf_resp_int(out, (int64_t)entry->unix_s);
    mf_resp_int(out, (int64_t)entry->us);
    mf_resp_array(out, count);
    for (uint32_t i = 0; i < count; i++)
        mf_resp_bulk(out, mf_read_blob(&words));
    mf_resp_bulk_str(out, entry->address);
    mf_resp_bulk_str(out, entry->name);
}

bool mf_resp_slowlog_get(struct mf_resp_session *session)
{
    int64_t most = COUNT_DEFAULT;
    if (mf_resp_words(session) > 3) {
        struct mf_bytes word = mf_resp_word(session, 1);
        mf_resp_errorf(mf_resp_reply_begin(session),
                       "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try "
                       "SLOWLOG HELP.",
                       mf_resp_text_len(word), (const char *)word.data);
        mf_resp_reply_end(session);
        return true;
    }
    if (mf_resp_words(session) == 3 &&
        (!mf_resp_integer(mf_resp_word(session, 2), &most) || most < -1)) {
        mf_resp_reply_error(session, "ERR count should be greater than or equal to -1");
        return true;
    }
    uint32_t count;
    struct mf_slowlog_entry **entries = mf_slowlog_newest(
        slowlog_of(session), most < 0 || most > UINT32_MAX ? UINT32_MAX : (uint32_t)most, &count);
    struct mf_buf *out = mf_resp_reply_begin(session);
    mf_resp_array(out, count);
    for (uint32_t i = 0; i < count; i++)
        put_entry(out, entries[i]);
    mf_resp_reply_end(session);
    mf_slowlog_give_back(entries, count);
    return true;
}

bool mf_resp_slowlog_len(struct mf_resp_session *session)
{
    mf_resp_int(mf_resp_reply_begin(session), mf_slowlog_count(slowlog_of(session)));
    mf_resp_reply_end(session);
    return true;
}

bool mf_resp_slowlog_reset(struct mf_resp_session *session)
{
    mf_slowlog_reset(slowlog_of(session));
    mf_resp_reply_ok(session);
    return true;
}

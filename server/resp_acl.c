// ACL: who the users are. All of them may do everything, so there is little to tell.
#include "server/resp_internal.h"

bool mf_resp_acl_whoami(struct mf_resp_session *session)
{
    mf_resp_bulk_str(mf_resp_reply_begin(session), session->user);
    mf_resp_reply_end(session);
    return true;
}

// Passwords stay out, and so do their hashes: whoever may ask could guess from them.
static void put_user(struct mf_buf *out, bool with_rules, struct mf_bytes name, bool open)
{
    struct mf_buf line = {0};
    if (with_rules)
        mf_buf_put(&line, "user ", 5);
    mf_buf_put(&line, name.data, name.len);
    if (with_rules) {
        struct mf_bytes rules = mf_bytes_str(open ? " on nopass ~* &* +@all" : " on ~* &* +@all");
        mf_buf_put(&line, rules.data, rules.len);
    }
    mf_resp_bulk(out, mf_buf_view(&line));
    mf_buf_free(&line);
}

static bool tell_users(struct mf_resp_session *session, bool with_rules)
{
    struct mf_client_users users = mf_client_users(&session->client);
    struct mf_client_users at = users;
    struct mf_buf *out = mf_resp_reply_begin(session);
    struct mf_bytes name;
    uint32_t count = 0;
    while (mf_client_next_user(&at, &name))
        count++;
    mf_resp_array(out, count);
    while (mf_client_next_user(&users, &name))
        put_user(out, with_rules, name, users.open);
    mf_resp_reply_end(session);
    return true;
}

bool mf_resp_acl_list(struct mf_resp_session *session)
{
    return tell_users(session, true);
}

bool mf_resp_acl_users(struct mf_resp_session *session)
{
    return tell_users(session, false);
}

bool mf_resp_acl_cat(struct mf_resp_session *session)
{
    struct mf_bytes category = mf_bytes_of(NULL, 0);
    bool one = mf_resp_words(session) > 2;
    if (mf_resp_words(session) > 3) {
        struct mf_bytes word = mf_resp_word(session, 1);
        mf_resp_errorf(mf_resp_reply_begin(session),
                       "ERR unknown subcommand or wrong number of arguments for '%.*s'. "
                       "Try ACL HELP.",
                       (int)word.len, (const char *)word.data); // it was found: it is short
        mf_resp_reply_end(session);
        return true;
    }
    if (one)
        category = mf_resp_word(session, 2);
    mf_resp_categories_answer(mf_resp_reply_begin(session), one ? &category : NULL);
    mf_resp_reply_end(session);
    return true;
}

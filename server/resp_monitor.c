// MONITOR: every command that clients of this node have carried out, as it comes.
//
// A command becomes a line on the reactor of its connection, and goes to every reactor that has
// connections which want to see it. With nobody watching that costs one look at a number. Nothing
// is left out silently: a connection that cannot be told is closed.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "server/resp_internal.h"

// What is shown of a word, and of all words together.
#define WORD_BYTES_MAX 1024u
#define LINE_BYTES_MAX 16384u
#define UNSENT_BYTES_MAX (12u << 20)
// Lines on their way from a reactor to others, together; what comes then is missed.
#define VISITING_BYTES_MAX (16u << 20)

struct line {
    struct mf_task task;
    struct mf_buf text;
};

// As Redis quotes.
static void put_quoted(struct mf_buf *out, struct mf_bytes word)
{
    static const char plain[] = "\\\"\n\r\t\a\b";
    static const char letters[] = "\\\"nrtab";
    mf_buf_u8(out, '"');
    size_t len = word.len < WORD_BYTES_MAX ? word.len : WORD_BYTES_MAX;
    for (size_t i = 0; i < len; i++) {
        uint8_t byte = word.data[i];
        const char *found = byte != 0 ? strchr(plain, byte) : NULL;
        char hex[8];
        if (found != NULL) {
            mf_buf_u8(out, '\\');
            mf_buf_u8(out, (uint8_t)letters[found - plain]);
        } else if (byte >= ' ' && byte < 0x7f) {
            mf_buf_u8(out, byte);
        } else {
            snprintf(hex, sizeof(hex), "\\x%02x", byte);
            mf_buf_put(out, hex, 4);
        }
    }
    mf_buf_u8(out, '"');
    if (word.len > len) {
        char more[48];
        int count = snprintf(more, sizeof(more), "... (%zu more bytes)", word.len - len);
        mf_buf_put(out, more, (size_t)count);
    }
}

static void put_line(struct mf_buf *out, const struct mf_resp_session *session)
{
    char head[160];
    uint64_t now_us = mf_wall_us();
    int len = snprintf(head, sizeof(head), "+%" PRIu64 ".%06" PRIu64 " [0 %.100s]",
                       now_us / 1000000, now_us % 1000000, mf_conn_peer_name(session->client.conn));
    mf_buf_put(out, head, (size_t)len);
    uint32_t count = mf_resp_words(session);
    uint32_t shown = 0;
    // Of AUTH and HELLO, whose words may be passwords.
    uint32_t open_words = UINT32_MAX;
    if ((session->ask.row->flags & MF_RESP_NO_AUTH) != 0)
        open_words = session->ask.row->own == MF_RESP_AUTH ? 1 : 2;
    for (; shown < count && out->len < LINE_BYTES_MAX; shown++) {
        mf_buf_u8(out, ' ');
        put_quoted(out,
                   shown < open_words ? mf_resp_word(session, shown) : mf_bytes_str("(redacted)"));
    }
    if (shown < count) {
        len = snprintf(head, sizeof(head), " ... (%" PRIu32 " more arguments)", count - shown);
        mf_buf_put(out, head, (size_t)len);
    }
    mf_buf_put(out, "\r\n", 2);
}

static void close_monitors(struct mf_resp_door *door)
{
    for (struct mf_resp_session *at = door->monitors; at != NULL; at = at->next_monitor)
        mf_conn_close(at->client.conn, "it does not read what MONITOR tells");
}

static void tell_line(struct mf_reactor *reactor, struct mf_task *task)
{
    struct line *line = (struct line *)task;
    struct mf_resp_door *door = reactor->resp;
    for (struct mf_resp_session *at = door->monitors; at != NULL; at = at->next_monitor) {
        struct mf_conn *conn = at->client.conn;
        if (mf_conn_unsent_bytes(conn) > UNSENT_BYTES_MAX) {
            mf_conn_close(conn, "it does not read what MONITOR tells");
            continue;
        }
        mf_buf_put(mf_conn_output(conn), line->text.data, line->text.len);
        mf_conn_wrote(conn);
    }
    // Relaxed, all of them: a bound that may be a little late, and a word that something was
    // missed.
    atomic_fetch_sub_explicit(&door->monitor_bytes, line->text.len, memory_order_relaxed);
    if (atomic_exchange_explicit(&door->monitor_missed, false, memory_order_relaxed))
        close_monitors(door);
    mf_buf_free(&line->text);
    free(line);
}

static void send_line(struct mf_reactor *from, uint16_t to, struct mf_bytes text)
{
    struct mf_resp_door *door = from->node->reactors[to]->resp;
    if (atomic_load_explicit(&door->monitor_bytes, memory_order_relaxed) > VISITING_BYTES_MAX) {
        // One of the lines that are under way will find it.
        atomic_store_explicit(&door->monitor_missed, true, memory_order_relaxed);
        return;
    }
    struct line *line = mf_calloc(1, sizeof(*line));
    line->task.run = tell_line;
    mf_buf_put(&line->text, text.data, text.len);
    atomic_fetch_add_explicit(&door->monitor_bytes, text.len, memory_order_relaxed);
    mf_reactor_send(from, to, &line->task);
}

void mf_resp_monitor_tell(const struct mf_resp_session *session)
{
    struct mf_reactor *reactor = session->client.reactor;
    const struct mf_resp_row *row = session->ask.row;
    // As in Redis, what administers is not shown.
    if (row == NULL || (row->flags & MF_RESP_ADMIN) != 0 || session->outcome == MF_RESP_REFUSED ||
        session->client.conn == NULL)
        return;
    struct mf_buf text = {0};
    put_line(&text, session);
    for (uint16_t i = 0; i < reactor->node->reactor_count; i++) {
        const struct mf_resp_door *door = reactor->node->reactors[i]->resp;
        if (atomic_load_explicit(&door->monitor_count, memory_order_relaxed) > 0)
            send_line(reactor, i, mf_buf_view(&text));
    }
    mf_buf_free(&text);
}

bool mf_resp_monitor(struct mf_resp_session *session)
{
    struct mf_reactor *reactor = session->client.reactor;
    if (session->first != NULL)
        return false; // no line may come before the OK
    mf_resp_reply_ok(session);
    if (session->monitoring)
        return true;
    session->monitoring = true;
    session->next_monitor = reactor->resp->monitors;
    reactor->resp->monitors = session;
    // Relaxed: what was asked for on another reactor a moment ago may be seen or not.
    atomic_fetch_add_explicit(&reactor->resp->monitor_count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&reactor->node->resp_monitors, 1, memory_order_relaxed);
    mf_resp_keep(session);
    return true;
}

void mf_resp_monitor_no_more(struct mf_resp_session *session)
{
    struct mf_reactor *reactor = session->client.reactor;
    if (!session->monitoring)
        return;
    struct mf_resp_session **at = &reactor->resp->monitors;
    while (*at != session)
        at = &(*at)->next_monitor;
    *at = session->next_monitor;
    session->monitoring = false;
    atomic_fetch_sub_explicit(&reactor->resp->monitor_count, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&reactor->node->resp_monitors, 1, memory_order_relaxed);
    mf_resp_keep(session);
}

// PUBLISH: messages from clients to those who listen, on this node and on the others.
//
// What is published visits the reactors of this node one after the other, and each tells its own
// connections; the number of them comes home to whoever published. Other nodes get it as an item of
// a frame, and tell theirs. A message is told at most once: a node that cannot be reached, or a
// link that is full, misses it. Messages of one connection come to any other in their order.
//
// Names that are listened to are found by their hash, patterns one by one. Each reactor has its
// own. Where many listen, they are told in portions, a few a turn, and what comes meanwhile waits
// behind, so that all hear all in one order.
#include <stdlib.h>
#include <string.h>

#include "base/glob.h"
#include "base/hash.h"
#include "server/links.h"
#include "server/resp_heard.h"
#include "server/resp_internal.h"
#include "server/resp_node.h"

#define BUCKETS 65536u // half a megabyte of a reactor, once anybody listens
// A larger message would hold up what nodes have to say to each other.
#define MESSAGE_BYTES_MAX (1u << 20)
// It is matched against every pattern that anybody listens to.
#define CHANNEL_BYTES_MAX 1024u
// With so much unsent to a node it misses what is published: heartbeats go behind it.
#define UNSENT_BYTES_MAX (1u << 20)
// What is on its way over the reactors; what comes then is missed, unless its connection waits.
#define VISITING_BYTES_MAX (64u << 20)
// What is done of it in a turn. A look at a name is one piece of work; what it takes to tell a
// connection, and to write to it at the end of the turn, is so many, and each KiB one more.
#define WORK_PER_TURN 4096
#define TELLING_WORK 16
// A pattern is held against a channel at worst as often as they are long together.
#define MATCHING_BYTES 4096u

// The names of a reactor, and what is being told to those who listen.

struct publication {
    struct mf_task task;
    struct publication *next;  // behind it in a reactor
    struct mf_resp_call *call; // at home; NULL: nobody waits for the number
    uint16_t home;
    uint16_t at; // the reactor whose turn it is
    uint32_t told;
    struct mf_buf content; // blob channel, blob message
};

struct mf_resp_names {
    uint64_t seed;
    struct mf_resp_name *buckets[BUCKETS];
    struct mf_resp_name *patterns;
    struct publication *first; // is being told: `cursor` is who is next,
    struct publication *last;
    struct mf_resp_name *cursor;
    bool in_patterns; // first by name, then by pattern
    int32_t work_left;
    unsigned turn; // in which that counts
    struct mf_task again;
};

void mf_resp_names_free(struct mf_resp_names *names)
{
    free(names);
}

static struct mf_resp_name **chain_of(struct mf_resp_names *names, struct mf_bytes name)
{
    return &names->buckets[mf_hash64(name, names->seed) % BUCKETS];
}

void mf_resp_names_add(struct mf_reactor *reactor, struct mf_resp_name *name)
{
    struct mf_resp_door *door = reactor->resp;
    if (door->names == NULL) {
        door->names = mf_calloc(1, sizeof(*door->names));
        door->names->seed = mf_rand_next(&reactor->rand);
    }
    struct mf_resp_name **at = name->glob != NULL ? &door->names->patterns
                                                  : chain_of(door->names, mf_buf_view(&name->text));
    name->next = *at;
    name->at = at;
    if (name->next != NULL)
        name->next->at = &name->next;
    *at = name;
    mf_resp_heard_add(reactor->node->resp_node->heard, name->glob != NULL,
                      mf_buf_view(&name->text));
}

void mf_resp_names_remove(struct mf_reactor *reactor, struct mf_resp_name *name)
{
    struct mf_resp_names *names = reactor->resp->names;
    if (names->cursor == name)
        names->cursor = name->next;
    *name->at = name->next;
    if (name->next != NULL)
        name->next->at = name->at;
    mf_resp_heard_remove(reactor->node->resp_node->heard, name->glob != NULL,
                         mf_buf_view(&name->text));
}

// Publishing.

// Atomic, relaxed: a bound on memory that may be a little late.
static void count_visiting(struct mf_node *node, const struct publication *publication, int sign)
{
    size_t bytes = sizeof(*publication) + publication->content.len;
    if (sign > 0)
        atomic_fetch_add_explicit(&node->resp_visiting_bytes, bytes, memory_order_relaxed);
    else
        atomic_fetch_sub_explicit(&node->resp_visiting_bytes, bytes, memory_order_relaxed);
}

static bool has_room(const struct mf_node *node)
{
    return atomic_load_explicit(&node->resp_visiting_bytes, memory_order_relaxed) <
           VISITING_BYTES_MAX;
}

static void end_publication(struct mf_node *node, struct publication *publication)
{
    count_visiting(node, publication, -1);
    mf_buf_free(&publication->content);
    free(publication);
}

static void come_home(struct mf_reactor *reactor, struct mf_task *task)
{
    struct publication *publication = (struct publication *)task;
    mf_resp_int(mf_resp_call_reply(publication->call), publication->told);
    mf_resp_call_end(publication->call);
    end_publication(reactor->node, publication);
}

// This reactor is through with it.
static void pass_on(struct mf_reactor *reactor, struct publication *publication)
{
    publication->at++;
    if (publication->at < reactor->node->reactor_count) {
        mf_reactor_send(reactor, publication->at, &publication->task);
    } else if (publication->call != NULL) {
        publication->task.run = come_home;
        mf_reactor_send(reactor, publication->home, &publication->task);
    } else {
        end_publication(reactor->node, publication);
    }
}

static void tell(struct mf_resp_names *names, struct mf_resp_name *name, struct mf_bytes channel,
                 struct mf_bytes message)
{
    bool meant = names->in_patterns ? mf_glob_matches(name->glob, channel)
                                    : mf_bytes_equal(mf_buf_view(&name->text), channel);
    names->work_left -= 1;
    if (names->in_patterns)
        names->work_left -= (int32_t)(name->text.len * channel.len / MATCHING_BYTES);
    if (!meant)
        return;
    names->work_left -= TELLING_WORK + (int32_t)(message.len / 1024);
    // A connection that cannot be told is closed at the end of the turn: the names stay.
    names->first->told += mf_resp_hear(name, channel, message);
}

// To whom it is next; false when that has to wait for another turn.
static bool tell_all(struct mf_resp_names *names)
{
    struct mf_reader content = mf_reader_of(mf_buf_view(&names->first->content));
    struct mf_bytes channel = mf_read_blob(&content);
    struct mf_bytes message = mf_read_blob(&content);
    for (;;) {
        while (names->cursor != NULL) {
            if (names->work_left <= 0)
                return false;
            struct mf_resp_name *name = names->cursor;
            names->cursor = name->next;
            tell(names, name, channel, message);
        }
        if (names->in_patterns)
            return true;
        names->in_patterns = true;
        names->cursor = names->patterns;
    }
}

static void begin_telling(struct mf_resp_names *names)
{
    struct mf_reader content = mf_reader_of(mf_buf_view(&names->first->content));
    names->cursor = *chain_of(names, mf_read_blob(&content));
    names->in_patterns = false;
}

static void work(struct mf_reactor *reactor, struct mf_task *task)
{
    (void)task;
    struct mf_resp_names *names = reactor->resp->names;
    unsigned turn = ev_iteration(reactor->loop);
    if (names->turn != turn)
        names->work_left = WORK_PER_TURN;
    names->turn = turn;
    while (names->first != NULL && tell_all(names)) {
        struct publication *through = names->first;
        names->first = through->next;
        pass_on(reactor, through);
        if (names->first != NULL)
            begin_telling(names);
    }
    if (names->first == NULL)
        return;
    names->again.run = work;
    mf_reactor_send(reactor, reactor->index, &names->again);
}

static void visit(struct mf_reactor *reactor, struct mf_task *task)
{
    struct publication *publication = (struct publication *)task;
    struct mf_resp_names *names = reactor->resp->names;
    if (names == NULL) {
        pass_on(reactor, publication);
        return;
    }
    publication->next = NULL;
    if (names->first != NULL) {
        names->last->next = publication;
        names->last = publication;
        return;
    }
    names->first = publication;
    names->last = publication;
    begin_telling(names);
    work(reactor, NULL);
}

static void begin_publication(struct mf_reactor *reactor, struct mf_bytes content,
                              struct mf_resp_call *call)
{
    struct publication *publication = mf_calloc(1, sizeof(*publication));
    publication->task.run = visit;
    publication->home = reactor->index;
    publication->call = call;
    mf_buf_put(&publication->content, content.data, content.len);
    count_visiting(reactor->node, publication, 1);
    mf_reactor_send(reactor, 0, &publication->task);
}

static void tell_other_nodes(struct mf_reactor *reactor, struct mf_bytes content)
{
    const struct mf_node *node = reactor->node;
    uint32_t count = mf_node_member_count(node);
    for (uint32_t i = 0; i < count; i++) {
        const struct mf_member *member = &node->members[i];
        if (member->id == node->config.id ||
            !mf_links_has_room(reactor->links, i, 0, UNSENT_BYTES_MAX))
            continue;
        (void)mf_links_send_item(reactor->links, member->id, MF_PEER_PUBLISH, 0, content, false);
    }
}

bool mf_resp_publish(struct mf_resp_session *session)
{
    struct mf_reactor *reactor = session->client.reactor;
    struct mf_bytes channel = mf_resp_word(session, 1);
    struct mf_bytes message = mf_resp_word(session, 2);
    if (channel.len > CHANNEL_BYTES_MAX || message.len > MESSAGE_BYTES_MAX) {
        mf_resp_reply_error(session, "ERR a message may have 1048576 bytes, and its channel 1024");
        return true;
    }
    struct mf_buf content = {0};
    mf_buf_blob(&content, channel);
    mf_buf_blob(&content, message);
    tell_other_nodes(reactor, mf_buf_view(&content));
    struct mf_resp_call *call = NULL;
    if (session->capture == NULL) {
        call = mf_resp_call_begin(session, MF_RESP_FORM_PLAIN, (struct mf_resp_touch){0});
    } else { // within EXEC, which does not wait
        mf_resp_int(mf_resp_reply_begin(session), 0);
        mf_resp_reply_end(session);
    }
    if (call != NULL || has_room(reactor->node))
        begin_publication(reactor, mf_buf_view(&content), call);
    mf_buf_free(&content);
    return true;
}

enum mf_err mf_resp_take_published(struct mf_reactor *reactor, struct mf_bytes content)
{
    struct mf_reader reader = mf_reader_of(content);
    struct mf_bytes channel = mf_read_blob(&reader);
    struct mf_bytes message = mf_read_blob(&reader);
    if (reader.failed || mf_reader_left(&reader) > 0 || channel.len > CHANNEL_BYTES_MAX ||
        message.len > MESSAGE_BYTES_MAX)
        return MF_CORRUPT;
    if (has_room(reactor->node))
        begin_publication(reactor, content, NULL);
    return MF_OK;
}

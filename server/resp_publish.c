// PUBLISH and PUBSUB: messages from clients to those who listen, on this node and on the others.
//
// What is published visits the reactors of this node one after the other, and each tells its own
// connections; the number of them comes home to whoever published. Other nodes get it as an item of
// a frame, and tell theirs. A message is told at most once: a node that cannot be reached, or a
// link that is full, misses it. Messages of one connection come to any other in their order.
//
// Names that are listened to are found by their hash, patterns one by one. Each reactor has its
// own.
#include <stdlib.h>
#include <string.h>

#include "base/glob.h"
#include "base/hash.h"
#include "server/links.h"
#include "server/resp_internal.h"

#define BUCKETS 65536u // half a megabyte of a reactor, once anybody listens
// A larger message would hold up what nodes have to say to each other.
#define MESSAGE_BYTES_MAX (1u << 20)
// It is matched against every pattern that anybody listens to.
#define CHANNEL_BYTES_MAX 1024u
// With so much unsent to a node it misses what is published: heartbeats go behind it.
#define UNSENT_BYTES_MAX (1u << 20)
// What came from other nodes and is on its way over the reactors; what comes then is missed.
#define VISITING_BYTES_MAX (64u << 20)
// A list of names that would be longer ends here.
#define NAMES_BYTES_MAX (16u << 20)

// The names of a reactor.

struct mf_resp_names {
    uint64_t seed;
    struct mf_resp_name *buckets[BUCKETS];
    struct mf_resp_name *patterns;
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
}

void mf_resp_names_remove(struct mf_resp_name *name)
{
    *name->at = name->next;
    if (name->next != NULL)
        name->next->at = name->at;
}

static uint32_t tell_names(struct mf_resp_door *door, struct mf_bytes channel,
                           struct mf_bytes message)
{
    uint32_t told = 0;
    if (door->names == NULL)
        return 0;
    // A connection that cannot be told is closed at the end of the turn: the names stay.
    for (struct mf_resp_name *at = *chain_of(door->names, channel); at != NULL; at = at->next) {
        if (mf_bytes_equal(mf_buf_view(&at->text), channel))
            told += mf_resp_hear(at, channel, message);
    }
    for (struct mf_resp_name *at = door->names->patterns; at != NULL; at = at->next) {
        if (mf_glob_matches(at->glob, channel))
            told += mf_resp_hear(at, channel, message);
    }
    return told;
}

// Publishing.

struct publication {
    struct mf_task task;
    struct mf_resp_call *call; // at home; NULL: nobody waits for the number
    uint16_t home;
    uint16_t at; // the reactor whose turn it is
    uint32_t told;
    struct mf_buf content; // blob channel, blob message
};

// Atomic, relaxed: a bound on memory that may be a little late.
static void count_visiting(struct mf_node *node, const struct publication *publication, int sign)
{
    size_t bytes = sizeof(*publication) + publication->content.len;
    if (sign > 0)
        atomic_fetch_add_explicit(&node->resp_visiting_bytes, bytes, memory_order_relaxed);
    else
        atomic_fetch_sub_explicit(&node->resp_visiting_bytes, bytes, memory_order_relaxed);
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

static void visit(struct mf_reactor *reactor, struct mf_task *task)
{
    struct publication *publication = (struct publication *)task;
    struct mf_reader content = mf_reader_of(mf_buf_view(&publication->content));
    struct mf_bytes channel = mf_read_blob(&content);
    struct mf_bytes message = mf_read_blob(&content);
    publication->told += tell_names(reactor->resp, channel, message);
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
    if (atomic_load_explicit(&reactor->node->resp_visiting_bytes, memory_order_relaxed) <
        VISITING_BYTES_MAX)
        begin_publication(reactor, content, NULL);
    return MF_OK;
}

// PUBSUB: who listens to what, on this node.

enum question { QUESTION_CHANNELS, QUESTION_NUMSUB, QUESTION_NUMPAT };

struct inquiry {
    struct mf_task task;
    struct mf_resp_call *call;
    enum question question;
    uint16_t home;
    uint16_t at;
    struct mf_glob *glob; // CHANNELS: those that match; NULL: all
    struct mf_buf names;  // CHANNELS, NUMPAT: blobs, some more than once; NUMSUB: those asked for
    uint32_t name_count;
    uint64_t *counts; // NUMSUB: of each name
};

static void put_name(struct inquiry *inquiry, struct mf_bytes name)
{
    if (inquiry->names.len + name.len > NAMES_BYTES_MAX)
        return;
    mf_buf_blob(&inquiry->names, name);
    inquiry->name_count++;
}

static void gather_channels(struct inquiry *inquiry, const struct mf_resp_names *names)
{
    for (uint32_t i = 0; i < BUCKETS; i++) {
        for (const struct mf_resp_name *at = names->buckets[i]; at != NULL; at = at->next) {
            struct mf_bytes name = mf_buf_view(&at->text);
            if (inquiry->glob == NULL || mf_glob_matches(inquiry->glob, name))
                put_name(inquiry, name);
        }
    }
}

static void count_listeners(struct inquiry *inquiry, struct mf_resp_names *names)
{
    struct mf_reader reader = mf_reader_of(mf_buf_view(&inquiry->names));
    for (uint32_t i = 0; i < inquiry->name_count; i++) {
        struct mf_bytes name = mf_read_blob(&reader);
        for (const struct mf_resp_name *at = *chain_of(names, name); at != NULL; at = at->next)
            inquiry->counts[i] += mf_bytes_equal(mf_buf_view(&at->text), name);
    }
}

static void ask_reactor(struct inquiry *inquiry, struct mf_resp_names *names)
{
    if (inquiry->question == QUESTION_CHANNELS) {
        gather_channels(inquiry, names);
    } else if (inquiry->question == QUESTION_NUMSUB) {
        count_listeners(inquiry, names);
    } else {
        for (const struct mf_resp_name *at = names->patterns; at != NULL; at = at->next)
            put_name(inquiry, mf_buf_view(&at->text));
    }
}

static int by_bytes(const void *one, const void *other)
{
    const struct mf_bytes *a = one;
    const struct mf_bytes *b = other;
    size_t len = a->len < b->len ? a->len : b->len;
    int order = len > 0 ? memcmp(a->data, b->data, len) : 0;
    return order != 0 ? order : (a->len > b->len) - (a->len < b->len);
}

// Each name once; the caller frees them.
static struct mf_bytes *distinct_names(const struct inquiry *inquiry, uint32_t *count)
{
    struct mf_bytes *names = mf_calloc(inquiry->name_count + 1, sizeof(*names));
    struct mf_reader reader = mf_reader_of(mf_buf_view(&inquiry->names));
    for (uint32_t i = 0; i < inquiry->name_count; i++)
        names[i] = mf_read_blob(&reader);
    qsort(names, inquiry->name_count, sizeof(*names), by_bytes);
    *count = 0;
    for (uint32_t i = 0; i < inquiry->name_count; i++) {
        if (i == 0 || !mf_bytes_equal(names[i], names[*count - 1]))
            names[(*count)++] = names[i];
    }
    return names;
}

static void tell_counts(struct mf_buf *out, const struct inquiry *inquiry)
{
    struct mf_reader reader = mf_reader_of(mf_buf_view(&inquiry->names));
    mf_resp_array(out, 2 * inquiry->name_count);
    for (uint32_t i = 0; i < inquiry->name_count; i++) {
        mf_resp_bulk(out, mf_read_blob(&reader));
        mf_resp_int(out, (int64_t)inquiry->counts[i]);
    }
}

static void free_inquiry(struct inquiry *inquiry)
{
    if (inquiry->glob != NULL)
        mf_glob_free(inquiry->glob);
    mf_buf_free(&inquiry->names);
    free(inquiry->counts);
    free(inquiry);
}

static void tell_inquiry(struct mf_reactor *reactor, struct mf_task *task)
{
    (void)reactor;
    struct inquiry *inquiry = (struct inquiry *)task;
    struct mf_buf *out = mf_resp_call_reply(inquiry->call);
    uint32_t count = 0;
    struct mf_bytes *names = NULL;
    if (inquiry->question == QUESTION_NUMSUB)
        tell_counts(out, inquiry);
    else
        names = distinct_names(inquiry, &count);
    if (inquiry->question == QUESTION_NUMPAT)
        mf_resp_int(out, count);
    if (inquiry->question == QUESTION_CHANNELS)
        mf_resp_array(out, count);
    for (uint32_t i = 0; i < count && inquiry->question == QUESTION_CHANNELS; i++)
        mf_resp_bulk(out, names[i]);
    free(names);
    inquiry->call->session->walking = false;
    mf_resp_call_end(inquiry->call);
    free_inquiry(inquiry);
}

static void inquire(struct mf_reactor *reactor, struct mf_task *task)
{
    struct inquiry *inquiry = (struct inquiry *)task;
    if (reactor->resp->names != NULL)
        ask_reactor(inquiry, reactor->resp->names);
    inquiry->at++;
    if (inquiry->at < reactor->node->reactor_count) {
        mf_reactor_send(reactor, inquiry->at, &inquiry->task);
        return;
    }
    inquiry->task.run = tell_inquiry;
    mf_reactor_send(reactor, inquiry->home, &inquiry->task);
}

// One at a time of a connection: the names that are gathered may be many.
static bool begin_inquiry(struct mf_resp_session *session, struct inquiry *inquiry)
{
    session->walking = true;
    inquiry->task.run = inquire;
    inquiry->home = session->client.reactor->index;
    inquiry->call = mf_resp_call_begin(session, MF_RESP_FORM_PLAIN, (struct mf_resp_touch){0});
    mf_reactor_send(session->client.reactor, 0, &inquiry->task);
    return true;
}

bool mf_resp_pubsub_channels(struct mf_resp_session *session)
{
    if (session->walking)
        return false;
    if (mf_resp_words(session) > 3) {
        mf_resp_reply_misused(session, "PUBSUB");
        return true;
    }
    bool some = mf_resp_words(session) == 3;
    if (some && mf_resp_word(session, 2).len > MF_GLOB_BYTES_MAX) {
        mf_resp_reply_error(session, "ERR a pattern is over 1024 bytes");
        return true;
    }
    struct inquiry *inquiry = mf_calloc(1, sizeof(*inquiry));
    inquiry->question = QUESTION_CHANNELS;
    inquiry->glob = some ? mf_glob_new(mf_resp_word(session, 2)) : NULL;
    return begin_inquiry(session, inquiry);
}

bool mf_resp_pubsub_numsub(struct mf_resp_session *session)
{
    if (session->walking)
        return false;
    uint32_t count = mf_resp_words(session) - 2;
    if (count > MF_RESP_SUBSCRIPTIONS_MAX) {
        mf_resp_reply_error(session, "ERR at most 1024 channels can be asked about at once");
        return true;
    }
    struct inquiry *inquiry = mf_calloc(1, sizeof(*inquiry));
    inquiry->question = QUESTION_NUMSUB;
    inquiry->name_count = count;
    inquiry->counts = mf_calloc(count + 1, sizeof(*inquiry->counts));
    for (uint32_t i = 0; i < count; i++)
        mf_buf_blob(&inquiry->names, mf_resp_word(session, i + 2));
    return begin_inquiry(session, inquiry);
}

bool mf_resp_pubsub_numpat(struct mf_resp_session *session)
{
    if (session->walking)
        return false;
    struct inquiry *inquiry = mf_calloc(1, sizeof(*inquiry));
    inquiry->question = QUESTION_NUMPAT;
    return begin_inquiry(session, inquiry);
}

// What the files of the links share. Not for anybody else.
#ifndef MF_SERVER_LINKS_INTERNAL_H
#define MF_SERVER_LINKS_INTERNAL_H

#include "rpc/peer_frame.h"
#include "server/links.h"

// A frame is closed and another begun at this size.
#define MF_LINKS_FRAME_BYTES (4u << 20)
// Bulk goes only onto a link with less than this unsent: heartbeats go behind it.
#define MF_LINKS_BULK_UNSENT_BYTES_MAX (256u << 10)

enum mf_link_state { LINK_IDLE, LINK_CONNECTING, LINK_GREETED, LINK_READY };

struct mf_link {
    struct mf_links *links;
    uint32_t member;
    enum mf_link_state state;
    struct mf_conn *conn; // NULL when idle
    uint64_t incarnation; // READY: of the process at the other end
    uint64_t retry_us;
    uint64_t give_up_us;
    uint64_t asked_us; // reactor 0: the last frame in the rhythm of heartbeats
    uint8_t nonce[MF_PEER_NONCE_BYTES];
    struct mf_buf waiting; // answers to the process `waiting_incarnation` there
    uint64_t waiting_incarnation;
    struct mf_op_list bulk_replies; // large ones, each with a link to send it on, and ...
    size_t bulk_replies_bytes;      // ... their results
    struct mf_buf frame;            // of this turn
    bool bulk;                      // it has a bulk item, or one that was closed in this turn had
};

struct mf_in_link;

struct mf_links {
    struct mf_reactor *reactor;
    struct mf_link out[MF_MEMBERS_MAX];
    uint64_t incarnations[MF_MEMBERS_MAX]; // the processes that our replicas know of
    struct mf_in_link *greeting;           // callers that have not proved themselves yet ...
    uint32_t greeting_count;               // ... and how many
    bool speaks[MF_MEMBERS_MAX];           // frames have come lately (reactor 0)
    uint64_t judged_us;                    // when reactor 0 looked last at who is alive ...
    uint64_t patient_until_us;             // ... and when it does so again after a stall of its own
    uint64_t complained_us;                // refusals are logged now and then ...
    uint32_t not_told;                     // ... and how many were not
};

// The largest frame that a node takes from another.
size_t mf_links_frame_bytes_max(const struct mf_node *node);

// links_in.c: hands a Paxos message of this process of a member to its shard's reactor. MF_CORRUPT.
MF_MUST_USE enum mf_err mf_links_take_paxos(struct mf_reactor *reactor, uint32_t member,
                                            uint64_t incarnation, const struct mf_peer_item *item,
                                            uint64_t mono_us);

// links.c: the frame of this turn, for an item to be put in; end_item ends it.
struct mf_buf *mf_links_open_frame(struct mf_link *link);
void mf_links_end_item(struct mf_link *link, size_t begun);
// What has not been handed to the socket yet.
size_t mf_links_unsent_bytes(const struct mf_link *link);

// links_reply.c: the link to the process that asked stands now: what waited for it.
void mf_links_send_kept_replies(struct mf_link *link);
// As many of the large answers as there is room for.
void mf_links_send_bulk_replies(struct mf_link *link);
// The link has gone, and with it the answers that had one to go on.
void mf_links_drop_bulk_replies(struct mf_link *link);

// links.c: sends a frame to the member at the end of the turn, if the link leads to this process.
void mf_links_answer(struct mf_links *links, uint32_t member, uint64_t incarnation);
// The member has left the cluster some time ago: no link with it is kept.
bool mf_links_parted(const struct mf_member *member, uint64_t now_us);
// Every replica learns that it should ask the member again what it has not answered.
void mf_links_up_everywhere(struct mf_reactor *reactor, uint32_t member);

// links_lease.c: what a frame to the process at the end of the link says beside its items.
struct mf_peer_head mf_links_head(struct mf_link *link, uint64_t now_us);
// What a frame of the member's process says beside its items. grants_us: how long what that process
// grants lasts.
void mf_links_take_head(struct mf_links *links, uint32_t member, uint64_t incarnation,
                        uint64_t grants_us, const struct mf_peer_head *head, uint64_t now_us);
// Reactor 0 judges who is alive, for all reactors of the node. A node is alive that asks for our
// lease: it hears us, and its disk writes.
void mf_links_judge(struct mf_links *links, uint64_t now_us);
// Reactor 0: whether the disk lets this node ask for leases.
void mf_links_watch_disk(struct mf_links *links, uint64_t now_us);

// Where clients find the member, as it says in its greeting.
void mf_links_learn_addresses(struct mf_node *node, struct mf_member *member,
                              const struct mf_peer_hello *hello);
// links_in.c: drops callers that let us wait.
void mf_links_drop_silent(struct mf_links *links, uint64_t now_us);
void mf_links_hello(const struct mf_node *node, uint16_t to, uint16_t reactor,
                    struct mf_peer_hello *hello);
// incarnation: of the new process, or 0 when the node is only silent.
void mf_links_suspect_everywhere(struct mf_reactor *reactor, uint32_t member, uint64_t incarnation);

#endif

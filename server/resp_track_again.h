// What a tracking connection is told again, behind replies.
//
// A read may be answered by another node, and its reply be overtaken by the word of a change that
// came after it: a client that keeps what the reply brings would keep an old value. So whatever is
// told while replies are due is told again when the last of them has been sent. What comes
// meanwhile gathers for a second time, so that a client that always has requests under way is told
// too; it is as much as AGAIN_BYTES_MAX of keys each time, and then everything.
#ifndef MF_SERVER_RESP_TRACK_AGAIN_H
#define MF_SERVER_RESP_TRACK_AGAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

#define MF_RESP_AGAIN_BYTES_MAX 65536u

struct mf_resp_again {
    struct {
        bool due;
        uint64_t at;        // when so many replies have been sent
        bool all;           // everything; else
        struct mf_buf keys; // blobs
    } times[2];
};

// The key, or with NULL everything, when `at` replies have been sent, of which `sent` have.
void mf_resp_again_add(struct mf_resp_again *again, const struct mf_bytes *key, uint64_t at,
                       uint64_t sent);
// So many replies have been sent: tells what was to come behind them. It must not add any.
void mf_resp_again_tell(struct mf_resp_again *again, uint64_t sent,
                        void (*tell)(void *arg, const struct mf_bytes *key), void *arg);
void mf_resp_again_free(struct mf_resp_again *again);

#endif

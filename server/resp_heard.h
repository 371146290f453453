// What the connections of this node listen to: each channel and each pattern once, with the number
// of those that listen. INFO and PUBSUB ask it, so neither has to visit the reactors.
//
// Any thread. A lock is held for a few names at a time.
#ifndef MF_SERVER_RESP_HEARD_H
#define MF_SERVER_RESP_HEARD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

struct mf_resp_heard;

struct mf_resp_heard *mf_resp_heard_new(void);
// Nobody listens any more.
void mf_resp_heard_free(struct mf_resp_heard *heard);
// One more listens, or one less, who did before.
void mf_resp_heard_add(struct mf_resp_heard *heard, bool pattern, struct mf_bytes name);
void mf_resp_heard_remove(struct mf_resp_heard *heard, bool pattern, struct mf_bytes name);
// Different names that are listened to.
uint64_t mf_resp_heard_channels(const struct mf_resp_heard *heard);
uint64_t mf_resp_heard_patterns(const struct mf_resp_heard *heard);
// How many listen to this channel, patterns apart.
uint64_t mf_resp_heard_listeners(struct mf_resp_heard *heard, struct mf_bytes channel);
// Hands out about `names` channels more, or less where there are few; false after the last.
// *cursor: 0 at first. Who is there all the while is handed out, once. The view dies with the call.
bool mf_resp_heard_walk(struct mf_resp_heard *heard, uint32_t *cursor, uint32_t names,
                        void (*take)(void *arg, struct mf_bytes channel), void *arg);

#endif

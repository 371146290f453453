// Who has read which keys: the table behind CLIENT TRACKING, one of each reactor.
//
// A key is there as long as somebody has read it and has not been told of a change since. A change
// costs as much as there are readers of that key, and a reader that ends as much as it has read.
// Above its bound the table gives up keys, any of them, and their readers are told. All on one
// thread.
#ifndef MF_SERVER_RESP_TRACK_TABLE_H
#define MF_SERVER_RESP_TRACK_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct mf_resp_track_item;
// What a connection has read; a member of whatever it is. Zero: nothing yet.
struct mf_resp_reader {
    struct mf_resp_track_item *first;
};

// So many bytes, of a key's name too, go with each key that is allowed.
#define MF_RESP_TRACK_KEY_BYTES 256u

struct mf_resp_track_table;
struct mf_resp_track_table *mf_resp_track_table_new(uint64_t seed);
// With all that readers have read.
void mf_resp_track_table_free(struct mf_resp_track_table *table);

// The reader has read the key. Nothing if it had before.
void mf_resp_track_add(struct mf_resp_track_table *table, struct mf_resp_reader *reader,
                       struct mf_bytes key);
// It has not. Nothing if it had not before.
void mf_resp_track_remove(struct mf_resp_track_table *table, struct mf_resp_reader *reader,
                          struct mf_bytes key);
// It has read nothing.
void mf_resp_track_forget(struct mf_resp_track_table *table, struct mf_resp_reader *reader);

// told: for each reader of a key. It must not call the table.
typedef void mf_resp_track_told(void *arg, struct mf_resp_reader *reader, struct mf_bytes key);
typedef bool mf_resp_track_keep(void *arg, struct mf_resp_reader *reader, struct mf_bytes key);
// The key has changed: nobody has read it, but those for whom told says so (true).
void mf_resp_track_change(struct mf_resp_track_table *table, struct mf_bytes key,
                          mf_resp_track_keep *told, void *arg);
// Takes out keys while there are more than keys_max, or more bytes than go with them; in so many
// steps at most, of which a full table needs about one for a key.
void mf_resp_track_trim(struct mf_resp_track_table *table, uint64_t keys_max, uint32_t steps,
                        mf_resp_track_told *told, void *arg);

struct mf_resp_track_size {
    uint64_t keys;
    uint64_t items; // keys, times those who have read each
    uint64_t bytes;
};
struct mf_resp_track_size mf_resp_track_table_size(const struct mf_resp_track_table *table);

#endif

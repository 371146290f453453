// The concurrent map of one shard: a single writer, any number of lock-free readers.
//
// Linear hashing (Litwin 1980): the table grows and shrinks one bucket at a time, so no operation
// pays for a rehash. A bucket is one 64-byte cache line: seven slots, a tag byte for each, and the
// last slot becomes a link to an overflow bucket when it is full. The hash is XXH3 with a secret
// seed. Entries are immutable to readers in everything they read without the writer; a changed
// value is a new entry whose pointer replaces the old one, and old memory is freed through an epoch
// (ck_epoch) once no reader can hold it.
//
// Threads: functions marked [writer] belong to the shard's owner; functions marked [reader] may run
// on any thread between mf_map_read_begin and mf_map_read_end of that thread's reader record.
#ifndef MF_SHARDS_MAP_H
#define MF_SHARDS_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "shards/entry.h"

struct mf_map;
struct mf_map_reader; // one per reading thread and map
struct mf_map_rest;   // a table that was taken out of a map, with its entries

// [writer] An empty map. The seed should be secret; what it is shows in the order of a scan alone.
struct mf_map *mf_map_new(uint64_t seed);
// [writer] Goes on with another seed, in one step over all entries. A reader may miss keys
// meanwhile: its caller has to know that (mf_shard_read_shared does).
void mf_map_reseed(struct mf_map *map, uint64_t seed);
// [writer] Frees everything at once; no reader may be inside, and no rest may be left.
void mf_map_free(struct mf_map *map);

// [writer] From now on each entry has an age, which every find and read renews, and which takes no
// memory; or not any more. Ages are this process's own: nothing that replicas agree on depends on
// them.
void mf_map_track_use(struct mf_map *map, bool on);
// [writer] One of the entries that were not used for longest, by a sample that `random` chooses;
// it counts as used now. NULL when the sample found none, or use is not tracked.
struct mf_entry *mf_map_sample_oldest(struct mf_map *map, uint64_t random);

// [writer] The live entry or NULL; valid until the writer changes the key.
struct mf_entry *mf_map_find(const struct mf_map *map, struct mf_bytes key);
// [writer] Brings what leads to all buckets into the cache.
void mf_map_prefetch(const struct mf_map *map);
// [writer] The same for a key that is to be written, in two steps.
void mf_map_prefetch_write(const struct mf_map *map);
void mf_map_prefetch_limbo(const struct mf_map *map);
// A key on its way into the cache, from one place in memory to the next.
struct mf_map_ahead {
    const struct mf_bucket *bucket; // what it is looked for in next; NULL: nothing
    uint8_t tag;
};
// [writer] Begins to bring a key that will be needed soon, with its first bucket.
struct mf_map_ahead mf_map_prefetch_bucket(const struct mf_map *map, struct mf_bytes key);
// [writer, or reader before mf_map_read_end] Brings the rest, of many keys side by side: each on
// its way is asked for before the first is waited for. The array is used up.
void mf_map_prefetch_entries(struct mf_map_ahead *keys, size_t count);
// [writer] Puts an entry whose key is absent. The map owns it from now on.
void mf_map_insert(struct mf_map *map, struct mf_entry *entry);
// [writer] Puts `fresh` (same key) in place of `old`, which is freed when no reader holds it.
void mf_map_replace(struct mf_map *map, struct mf_entry *old, struct mf_entry *fresh);
// [writer] Takes the entry out; it is freed when no reader holds it.
void mf_map_remove(struct mf_map *map, struct mf_entry *entry);
// [writer] Takes all entries out as a whole, in the same time however many there are: the map goes
// on with an empty table. The old one is the caller's until mf_map_drain has ended; its bytes wait
// (mf_map_waiting_bytes), since readers may be in it.
struct mf_map_rest *mf_map_detach(struct mf_map *map);
// [writer] Goes through the next buckets of a rest of this map: calls visit, if there is one, for
// each entry and frees it when no reader holds it. Stops when *work is used up, of which each entry
// and each bucket takes one, but not before one bucket. True while there is more; else the rest is
// gone.
bool mf_map_drain(struct mf_map *map, struct mf_map_rest *rest, size_t *work,
                  void (*visit)(void *arg, struct mf_entry *entry), void *arg);
// [writer] Frees what readers have left behind, and goes on with a shrink that was held back;
// cheap: call it every some changes.
void mf_map_reclaim(struct mf_map *map);
// [writer] It has more buckets than its entries need, and goes on to shrink.
bool mf_map_shrinks(const struct mf_map *map);
// [any] Number of entries.
size_t mf_map_count(const struct mf_map *map);
// [writer] Bytes of the table and of all entries, as the allocator gives them; of the entries
// alone; and, in neither, of entries that are out of the map and wait for readers to leave, and of
// rests.
size_t mf_map_bytes(const struct mf_map *map);
size_t mf_map_entry_bytes(const struct mf_map *map);
size_t mf_map_waiting_bytes(const struct mf_map *map);

// [writer] What growth and shrinking have done since the map was made: entries looked at, buckets
// and places of the directory set up. An insertion or removal adds a bounded number, however large
// the table is.
uint64_t mf_map_work(const struct mf_map *map);

// [writer] Walks the table in bucket order: calls visit for every entry of the next buckets, until
// there were `work` entries or `work` buckets (but one at least), and returns the cursor to go on
// from; 0 starts a walk and 0 is returned at its end. visit may not change the map. An entry that
// is there through the whole walk is visited at least once however the table grows in between; it
// can be visited twice. While mf_map_hold_shrink(true) holds, the table does not shrink, which a
// walk over several turns needs.
uint64_t mf_map_walk(struct mf_map *map, uint64_t cursor, size_t work,
                     void (*visit)(void *arg, struct mf_entry *entry), void *arg);
void mf_map_hold_shrink(struct mf_map *map, bool hold);

// [writer] The same in steps between which the table may grow and shrink at will: visits entries
// from a position on (0: the start), at least `entries_min` of them unless the end comes first or
// the table has far more buckets than entries, and returns the position to go on from, 0 at the
// end. Every entry that is there through a whole scan is visited, and exactly once. With one seed
// the positions mean the same in any map.
uint64_t mf_map_scan(const struct mf_map *map, uint64_t position, size_t entries_min,
                     void (*visit)(void *arg, struct mf_entry *entry), void *arg);
// The bits of a position that are not zero are the highest ones, at most so many.
#define MF_MAP_SCAN_BITS 39u

// [reader]
struct mf_map_reader *mf_map_reader_new(struct mf_map *map);
void mf_map_reader_free(struct mf_map_reader *reader);
void mf_map_reader_prefetch(const struct mf_map_reader *reader); // into the cache
void mf_map_read_begin(struct mf_map_reader *reader);
void mf_map_read_end(struct mf_map_reader *reader);
// The entry or NULL; valid until mf_map_read_end. Wait-free but for tables that change shape under
// a miss, which is tried again.
const struct mf_entry *mf_map_read(struct mf_map_reader *reader, struct mf_bytes key);
// As the writer's mf_map_prefetch_bucket, for a key that is about to be read.
struct mf_map_ahead mf_map_read_prefetch_bucket(struct mf_map_reader *reader, struct mf_bytes key);

// [writer] From now on who reads does so on the writer's thread.
void mf_map_unshare(struct mf_map *map);
// [writer] Of a map that is not shared: frees what was taken out, while it is still in the cache,
// and before the next write needs as much. No reader may be inside.
void mf_map_release(struct mf_map *map);

// [writer] Checks every bucket, tag and count; for tests. O(n).
bool mf_map_valid(const struct mf_map *map);

#endif

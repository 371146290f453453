// One key, or one remembered id, in one allocation: header, key and value together.
//
// The layout is this file's and entry.c's alone. A heap node comes first (ttl/heap.h), without
// deadline and position when there is no TTL; lengths take one byte each where they fit:
//
//     bits, version [deadline, position] | key length, 1 or 4 | value length, 1 or 4 | key | value
//
// so a key of 14 bytes with a value of 32 takes 64 bytes with a TTL and 54 without. A value over
// MF_ENTRY_APART_BYTES stands in a block of its own that is shared between entries that have it
// from each other, by another TTL or key, and with snapshots that are being written: neither copies
// it.
//
// Threads: the shard's owner writes. What others may read once the map has published the entry
// never changes: key, value, version, deadline. A change makes a new entry. Two fields do change,
// and only the owner reads them: the heap position, in bytes of its own, and the parity bit, which
// shares a byte with bits that readers need, so that byte is only accessed atomically (relaxed: the
// parity orders nothing).
#ifndef MF_SHARDS_ENTRY_H
#define MF_SHARDS_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "shards/shard.h"
#include "ttl/heap.h"

#define MF_ENTRY_APART_BYTES 4096u

struct mf_entry; // nothing but its packed bytes, of which the first are a struct mf_heap_node

// Copies key and value. The parity is the snapshot walk's (walk.c).
struct mf_entry *mf_entry_new(const struct mf_record *record, bool parity);
// The same with `patch` over the value from `at` on, which may be its end or behind it: zeros fill
// what is between. An empty patch changes nothing.
struct mf_entry *mf_entry_patched(const struct mf_record *record, size_t at, struct mf_bytes patch,
                                  bool parity);
// A new entry with the key and value of `entry` and another version and deadline.
struct mf_entry *mf_entry_retimed(const struct mf_entry *entry, uint64_t version,
                                  uint64_t deadline_us, bool parity);
// The same under another key.
struct mf_entry *mf_entry_renamed(const struct mf_entry *entry, struct mf_bytes key,
                                  uint64_t version, uint64_t deadline_us, bool parity);
// On the owner's thread, once nobody can reach the entry.
void mf_entry_free(struct mf_entry *entry);

// [any] Views live as long as the entry.
struct mf_bytes mf_entry_key(const struct mf_entry *entry);
struct mf_bytes mf_entry_value(const struct mf_entry *entry);
uint64_t mf_entry_version(const struct mf_entry *entry);
uint64_t mf_entry_deadline(const struct mf_entry *entry); // MF_NO_DEADLINE without a TTL
bool mf_entry_is_id(const struct mf_entry *entry);
struct mf_record mf_entry_record(const struct mf_entry *entry);

bool mf_entry_parity(const struct mf_entry *entry);
void mf_entry_set_parity(struct mf_entry *entry, bool parity);

// The heap node of an entry with a TTL, NULL without; and back.
struct mf_heap_node *mf_entry_node(struct mf_entry *entry);
struct mf_entry *mf_entry_of_node(struct mf_heap_node *node);

// [owner] Keeps the value of an entry beyond it, without a copy: only large ones, which stand in a
// block, can be kept; false for others. [any] Gives such a value back.
bool mf_entry_keep_value(struct mf_bytes value);
void mf_entry_release_value(struct mf_bytes value);

// What it takes from the allocator; a block that versions share counts in each.
size_t mf_entry_bytes(const struct mf_entry *entry);

#endif

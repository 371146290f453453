// Chains of buckets under concurrent readers; see map_bucket.h for the protocol.
//
// Shared between threads: word and slots of every bucket, and owner->moves. But for the ages in
// slots the writer is the only one to store, so its own loads are relaxed.
#include "shards/map_bucket.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAST (MF_BUCKET_SLOTS - 1)
#define ALL_SLOTS 0x7fu
#define CACHE_LINE 64

_Static_assert(sizeof(struct mf_bucket) == CACHE_LINE, "a bucket is one cache line");

struct mf_bucket *mf_buckets_new(size_t count)
{
    struct mf_bucket *buckets = aligned_alloc(CACHE_LINE, count * sizeof(*buckets));
    if (buckets == NULL) {
        fprintf(stderr, "mayfly: out of memory (%zu buckets wanted)\n", count);
        abort();
    }
    memset(buckets, 0, count * sizeof(*buckets));
    return buckets;
}

static uint64_t word_of(const struct mf_bucket *bucket)
{
    return atomic_load_explicit(&bucket->word, memory_order_relaxed);
}

static uintptr_t slot_of(const struct mf_bucket *bucket, unsigned slot)
{
    return atomic_load_explicit(&bucket->slots[slot], memory_order_relaxed);
}

// Pairs with the readers' acquire loads (map_read.c), as does store_slot.
static void store_word(struct mf_bucket *bucket, uint64_t word)
{
    atomic_store_explicit(&bucket->word, word, memory_order_release);
}

static void store_slot(struct mf_bucket *bucket, unsigned slot, uintptr_t value)
{
    atomic_store_explicit(&bucket->slots[slot], value, memory_order_release);
}

static void count_move(struct mf_chain_owner *owner)
{
    uint64_t moves = atomic_load_explicit(&owner->moves, memory_order_relaxed);
    atomic_store_explicit(&owner->moves, moves + 1, memory_order_release);
}

static uint64_t with_tag(uint64_t word, unsigned slot, uint8_t tag)
{
    word &= ~(UINT64_C(0xff) << (8 * slot));
    return word | (uint64_t)tag << (8 * slot) | UINT64_C(1) << (56 + slot);
}

static uint64_t without(uint64_t word, unsigned slots)
{
    return word & ~((uint64_t)slots << 56);
}

uintptr_t mf_bucket_slot(const struct mf_bucket *bucket, unsigned slot)
{
    return slot_of(bucket, slot);
}

struct mf_entry *mf_bucket_entry(const struct mf_bucket *bucket, unsigned slot)
{
    return mf_slot_entry(slot_of(bucket, slot));
}

struct mf_bucket *mf_bucket_next(const struct mf_bucket *bucket)
{
    uintptr_t last = slot_of(bucket, LAST);
    return mf_slot_is_link(last) ? mf_slot_bucket(last) : NULL;
}

uint8_t mf_bucket_tag(const struct mf_bucket *bucket, unsigned slot)
{
    return (uint8_t)(word_of(bucket) >> (8 * slot));
}

struct mf_bucket_place mf_chain_locate(struct mf_bucket *head, const struct mf_entry *entry,
                                       uint8_t tag)
{
    for (struct mf_bucket *bucket = head; bucket != NULL; bucket = mf_bucket_next(bucket)) {
        unsigned match = mf_bucket_match(word_of(bucket), tag);
        for (; match != 0; match &= match - 1) {
            unsigned slot = (unsigned)__builtin_ctz(match);
            if (mf_bucket_entry(bucket, slot) == entry)
                return (struct mf_bucket_place){bucket, slot};
        }
    }
    return (struct mf_bucket_place){NULL, 0};
}

// The slot first: a reader that sees the tag must find the entry.
static void put(struct mf_bucket *bucket, unsigned slot, uintptr_t value, uint8_t tag)
{
    store_slot(bucket, slot, value);
    store_word(bucket, with_tag(word_of(bucket), slot, tag));
}

// The slots of a bucket that could take an entry.
static unsigned holes(const struct mf_bucket *bucket)
{
    unsigned taken = mf_bucket_used(word_of(bucket));
    if (mf_bucket_next(bucket) != NULL)
        taken |= 1u << LAST;
    return ALL_SLOTS & ~taken;
}

// The entry of the last slot moves into the new bucket by the one store that makes both reachable:
// before it a reader finds the entry in the slot, after it behind the link.
static void append(struct mf_bucket *bucket, uintptr_t value, uint8_t tag)
{
    struct mf_bucket *fresh = mf_buckets_new(1);
    put(fresh, 0, slot_of(bucket, LAST), mf_bucket_tag(bucket, LAST));
    put(fresh, 1, value, tag);
    store_slot(bucket, LAST, (uintptr_t)fresh + 1);
    store_word(bucket, without(word_of(bucket), 1u << LAST));
}

void mf_chain_insert(struct mf_chain_owner *owner, struct mf_bucket *head, uintptr_t slot,
                     uint8_t tag)
{
    struct mf_bucket *bucket = head;
    while (holes(bucket) == 0) {
        struct mf_bucket *next = mf_bucket_next(bucket);
        if (next == NULL) {
            append(bucket, slot, tag);
            owner->bucket_bytes += sizeof(*bucket);
            return;
        }
        bucket = next;
    }
    put(bucket, (unsigned)__builtin_ctz(holes(bucket)), slot, tag);
}

void mf_chain_replace(struct mf_bucket_place place, uintptr_t slot)
{
    store_slot(place.bucket, place.slot, slot);
}

void mf_chain_erase(struct mf_bucket *bucket, unsigned slots)
{
    store_word(bucket, without(word_of(bucket), slots));
    for (; slots != 0; slots &= slots - 1)
        store_slot(bucket, (unsigned)__builtin_ctz(slots), 0);
}

static void drop_bucket(struct mf_chain_owner *owner, struct mf_bucket *bucket)
{
    owner->bucket_bytes -= sizeof(*bucket);
    owner->retire(owner, bucket);
}

// Moves the only entry of the last bucket into the slot that links to it. The tag is announced
// while the link still stands, so the entry is found behind it until the slot itself is stored.
static void fold(struct mf_chain_owner *owner, struct mf_bucket *before, struct mf_bucket *last)
{
    unsigned slot = (unsigned)__builtin_ctz(mf_bucket_used(word_of(last)));
    store_word(before, with_tag(word_of(before), LAST, mf_bucket_tag(last, slot)));
    count_move(owner);
    store_slot(before, LAST, slot_of(last, slot));
    drop_bucket(owner, last);
}

static void fill_hole(struct mf_chain_owner *owner, struct mf_bucket *hollow,
                      struct mf_bucket *last)
{
    unsigned to = (unsigned)__builtin_ctz(holes(hollow));
    unsigned from = (unsigned)__builtin_ctz(mf_bucket_used(word_of(last)));
    put(hollow, to, slot_of(last, from), mf_bucket_tag(last, from));
    count_move(owner);
    mf_chain_erase(last, 1u << from);
}

// Each round takes an entry or a bucket from the end of the chain, until all but the end is full.
void mf_chain_compact(struct mf_chain_owner *owner, struct mf_bucket *head)
{
    for (;;) {
        struct mf_bucket *before = NULL;
        struct mf_bucket *hollow = NULL;
        struct mf_bucket *last = head;
        while (mf_bucket_next(last) != NULL) {
            if (hollow == NULL && holes(last) != 0)
                hollow = last;
            before = last;
            last = mf_bucket_next(last);
        }
        if (before == NULL)
            return;
        int left = __builtin_popcount(mf_bucket_used(word_of(last)));
        if (left == 0) {
            store_slot(before, LAST, 0);
            drop_bucket(owner, last);
        } else if (left == 1) {
            fold(owner, before, last);
        } else if (hollow != NULL) {
            fill_hole(owner, hollow, last);
        } else {
            return;
        }
    }
}

void mf_chain_empty(struct mf_chain_owner *owner, struct mf_bucket *head)
{
    struct mf_bucket *bucket = mf_bucket_next(head);
    store_word(head, 0);
    for (unsigned slot = 0; slot < MF_BUCKET_SLOTS; slot++)
        store_slot(head, slot, 0);
    while (bucket != NULL) {
        struct mf_bucket *next = mf_bucket_next(bucket);
        drop_bucket(owner, bucket);
        bucket = next;
    }
}

bool mf_chain_valid(const struct mf_bucket *head)
{
    for (const struct mf_bucket *bucket = head; bucket != NULL; bucket = mf_bucket_next(bucket)) {
        unsigned used = mf_bucket_used(word_of(bucket));
        bool last = mf_bucket_next(bucket) == NULL;
        if ((!last && holes(bucket) != 0) || (!last && (used & 1u << LAST) != 0))
            return false;
        if (bucket != head && last && __builtin_popcount(used) < 2)
            return false;
        for (unsigned slot = 0; slot < MF_BUCKET_SLOTS; slot++) {
            bool link = slot == LAST && !last;
            if (!link && ((used >> slot & 1) != 0) != (slot_of(bucket, slot) != 0))
                return false;
        }
    }
    return true;
}

// Two hash tables of chains: keys by their names, and items, each a key that a reader has read, by
// both. An item is in the list of its key and in that of its reader. The tables grow one bucket at
// a time (linear hashing), so that no read pays for all the others.
#include "server/resp_track_table.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

#define BUCKETS_MIN 64u

struct node {
    struct node *next;
    uint64_t hash;
};

struct nodes {
    struct node **buckets;
    size_t room;  // for buckets
    size_t level; // a power of two: buckets from here on are halves of those `level` before them
    size_t count; // of buckets, at least level and less than twice
    uint64_t entries;
};

struct key {
    struct node node;
    struct mf_resp_track_item *first;
    uint32_t len;
    uint8_t name[];
};

struct mf_resp_track_item {
    struct node node;
    struct key *key;
    struct mf_resp_reader *reader;
    struct mf_resp_track_item *next; // of the key
    struct mf_resp_track_item **at;
    struct mf_resp_track_item *next_read; // by the reader
    struct mf_resp_track_item **read_at;
};

struct mf_resp_track_table {
    uint64_t seed;
    struct nodes keys;
    struct nodes items;
    uint64_t bytes;
    size_t cursor; // the bucket of keys that is the next to be given up
};

// Chains.

static struct node **chain_of(const struct nodes *nodes, uint64_t hash)
{
    size_t at = hash & (2 * nodes->level - 1);
    return &nodes->buckets[at < nodes->count ? at : at - nodes->level];
}

static void init(struct nodes *nodes)
{
    nodes->buckets = mf_calloc(BUCKETS_MIN, sizeof(*nodes->buckets));
    nodes->room = BUCKETS_MIN;
    nodes->level = BUCKETS_MIN;
    nodes->count = BUCKETS_MIN;
}

// One bucket more: half of what is in another one goes there.
static void split(struct nodes *nodes)
{
    if (nodes->count == nodes->room) {
        nodes->room *= 2;
        nodes->buckets = mf_realloc(nodes->buckets, nodes->room * sizeof(*nodes->buckets));
    }
    size_t fresh = nodes->count++;
    struct node **from = &nodes->buckets[fresh - nodes->level];
    nodes->buckets[fresh] = NULL;
    while (*from != NULL) {
        struct node *node = *from;
        if ((node->hash & nodes->level) == 0) {
            from = &node->next;
            continue;
        }
        *from = node->next;
        node->next = nodes->buckets[fresh];
        nodes->buckets[fresh] = node;
    }
    if (nodes->count == 2 * nodes->level)
        nodes->level *= 2;
}

static void put(struct nodes *nodes, struct node *node)
{
    if (nodes->entries >= nodes->count)
        split(nodes);
    struct node **chain = chain_of(nodes, node->hash);
    node->next = *chain;
    *chain = node;
    nodes->entries++;
}

static void take(struct nodes *nodes, struct node *node)
{
    struct node **at = chain_of(nodes, node->hash);
    while (*at != node)
        at = &(*at)->next;
    *at = node->next;
    nodes->entries--;
}

// Keys and items.

static size_t key_bytes(const struct key *key)
{
    return mf_alloc_bytes(sizeof(*key) + key->len);
}

static struct key *find_key(const struct mf_resp_track_table *table, struct mf_bytes name,
                            uint64_t hash)
{
    for (struct node *at = *chain_of(&table->keys, hash); at != NULL; at = at->next) {
        struct key *key = (struct key *)at;
        if (at->hash == hash && mf_bytes_equal(mf_bytes_of(key->name, key->len), name))
            return key;
    }
    return NULL;
}

static struct key *new_key(struct mf_resp_track_table *table, struct mf_bytes name, uint64_t hash)
{
    struct key *key = mf_alloc(sizeof(*key) + name.len);
    *key = (struct key){.node.hash = hash, .len = (uint32_t)name.len};
    if (name.len > 0)
        memcpy(key->name, name.data, name.len);
    put(&table->keys, &key->node);
    table->bytes += key_bytes(key);
    return key;
}

static void free_key(struct mf_resp_track_table *table, struct key *key)
{
    take(&table->keys, &key->node);
    table->bytes -= key_bytes(key);
    free(key);
}

static uint64_t item_hash(const struct key *key, const struct mf_resp_reader *reader)
{
    return mf_hash_mix(key->node.hash, (uint64_t)(uintptr_t)reader);
}

// Out of both lists; the key stays, if without anybody who has read it.
static void free_item(struct mf_resp_track_table *table, struct mf_resp_track_item *item)
{
    *item->at = item->next;
    if (item->next != NULL)
        item->next->at = item->at;
    *item->read_at = item->next_read;
    if (item->next_read != NULL)
        item->next_read->read_at = item->read_at;
    take(&table->items, &item->node);
    table->bytes -= mf_alloc_bytes(sizeof(*item));
    free(item);
}

static void add_item(struct mf_resp_track_table *table, struct key *key,
                     struct mf_resp_reader *reader)
{
    struct mf_resp_track_item *item = mf_alloc(sizeof(*item));
    *item = (struct mf_resp_track_item){.node.hash = item_hash(key, reader),
                                        .key = key,
                                        .reader = reader,
                                        .next = key->first,
                                        .at = &key->first,
                                        .next_read = reader->first,
                                        .read_at = &reader->first};
    if (item->next != NULL)
        item->next->at = &item->next;
    if (item->next_read != NULL)
        item->next_read->read_at = &item->next_read;
    key->first = item;
    reader->first = item;
    put(&table->items, &item->node);
    table->bytes += mf_alloc_bytes(sizeof(*item));
}

static struct mf_resp_track_item *find_item(const struct mf_resp_track_table *table,
                                            const struct key *key,
                                            const struct mf_resp_reader *reader)
{
    struct node *at = *chain_of(&table->items, item_hash(key, reader));
    for (; at != NULL; at = at->next) {
        struct mf_resp_track_item *item = (struct mf_resp_track_item *)at;
        if (item->key == key && item->reader == reader)
            return item;
    }
    return NULL;
}

// The table.

struct mf_resp_track_table *mf_resp_track_table_new(uint64_t seed)
{
    struct mf_resp_track_table *table = mf_calloc(1, sizeof(*table));
    table->seed = seed;
    init(&table->keys);
    init(&table->items);
    return table;
}

static void free_nodes(struct nodes *nodes)
{
    for (size_t i = 0; i < nodes->count; i++) {
        struct node *next;
        for (struct node *at = nodes->buckets[i]; at != NULL; at = next) {
            next = at->next;
            free(at);
        }
    }
    free(nodes->buckets);
}

void mf_resp_track_table_free(struct mf_resp_track_table *table)
{
    free_nodes(&table->keys);
    free_nodes(&table->items);
    free(table);
}

void mf_resp_track_add(struct mf_resp_track_table *table, struct mf_resp_reader *reader,
                       struct mf_bytes name)
{
    uint64_t hash = mf_hash64(name, table->seed);
    struct key *key = find_key(table, name, hash);
    if (key == NULL)
        key = new_key(table, name, hash);
    else if (find_item(table, key, reader) != NULL)
        return;
    add_item(table, key, reader);
}

void mf_resp_track_remove(struct mf_resp_track_table *table, struct mf_resp_reader *reader,
                          struct mf_bytes name)
{
    struct key *key = find_key(table, name, mf_hash64(name, table->seed));
    struct mf_resp_track_item *item = key != NULL ? find_item(table, key, reader) : NULL;
    if (item != NULL)
        free_item(table, item);
    if (key != NULL && key->first == NULL)
        free_key(table, key);
}

void mf_resp_track_forget(struct mf_resp_track_table *table, struct mf_resp_reader *reader)
{
    while (reader->first != NULL) {
        // What is freed leaves its list first. NOLINTNEXTLINE(clang-analyzer-unix.Malloc)
        struct key *key = reader->first->key;
        free_item(table, reader->first);
        if (key->first == NULL)
            free_key(table, key);
    }
}

static void give_up(struct mf_resp_track_table *table, struct key *key, mf_resp_track_told *told,
                    void *arg)
{
    while (key->first != NULL) {
        struct mf_resp_reader *reader = key->first->reader;
        free_item(table, key->first);
        told(arg, reader, mf_bytes_of(key->name, key->len));
    }
    free_key(table, key);
}

void mf_resp_track_change(struct mf_resp_track_table *table, struct mf_bytes name,
                          mf_resp_track_keep *told, void *arg)
{
    struct key *key = find_key(table, name, mf_hash64(name, table->seed));
    struct mf_resp_track_item *next;
    if (key == NULL)
        return;
    for (struct mf_resp_track_item *at = key->first; at != NULL; at = next) {
        next = at->next;
        if (!told(arg, at->reader, name))
            free_item(table, at);
    }
    if (key->first == NULL)
        free_key(table, key);
}

// Goes over the buckets, which seeded hashes have filled: so any key may be next.
void mf_resp_track_trim(struct mf_resp_track_table *table, uint64_t keys_max, uint32_t steps,
                        mf_resp_track_told *told, void *arg)
{
    for (; steps > 0 && table->keys.entries > 0; steps--) {
        if (table->keys.entries <= keys_max && table->bytes / MF_RESP_TRACK_KEY_BYTES <= keys_max)
            return;
        if (table->cursor >= table->keys.count)
            table->cursor = 0;
        struct node *first = table->keys.buckets[table->cursor];
        if (first == NULL)
            table->cursor++;
        else
            give_up(table, (struct key *)first, told, arg);
    }
}

struct mf_resp_track_size mf_resp_track_table_size(const struct mf_resp_track_table *table)
{
    size_t buckets = table->keys.room + table->items.room;
    return (struct mf_resp_track_size){.keys = table->keys.entries,
                                       .items = table->items.entries,
                                       .bytes = table->bytes + buckets * sizeof(struct node *)};
}

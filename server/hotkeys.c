// The sketch of frequent keys; see hotkeys.h.
#include "server/hotkeys.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/txn.h"

// Far below what a double holds, and reached after half an hour.
#define WEIGHT_MAX 0x1p200
#define TICK_US UINT64_C(100000)

// On average MF_HOTKEYS_STRIDE, and at least 1.
static uint32_t draw(struct mf_hotkeys *hot)
{
    return 1 + (uint32_t)(mf_rand_next(&hot->rand) % (2 * MF_HOTKEYS_STRIDE - 1));
}

void mf_hotkeys_init(struct mf_hotkeys *hot, uint64_t hash_seed, uint64_t random, uint64_t now_us)
{
    memset(hot, 0, sizeof(*hot));
    hot->seed = hash_seed;
    hot->rand.state = random;
    hot->weight = 1;
    hot->tick_us = now_us;
    hot->left = draw(hot);
}

static void scale_down(struct mf_hotkeys *hot)
{
    for (uint32_t i = 0; i < MF_HOTKEYS_ENTRIES; i++) {
        hot->counts[i] /= hot->weight;
        hot->entries[i].error /= hot->weight;
    }
    hot->total /= hot->weight;
    hot->weight = 1;
}

void mf_hotkeys_tick(struct mf_hotkeys *hot, uint64_t now_us)
{
    if (now_us < hot->tick_us + TICK_US)
        return;
    double halves = (double)(now_us - hot->tick_us) / (double)MF_HOTKEYS_HALF_US;
    hot->tick_us = now_us;
    // After so many nothing of what was counts.
    hot->weight *= exp2(halves < 200 ? halves : 200);
    if (hot->weight > WEIGHT_MAX)
        scale_down(hot);
}

// The key's entry, or else the one with the lowest count.
static uint32_t find(const struct mf_hotkeys *hot, uint64_t hash)
{
    for (uint32_t i = 0; i < MF_HOTKEYS_ENTRIES; i++) {
        if (hot->hashes[i] == hash)
            return i;
    }
    uint32_t least = 0;
    for (uint32_t i = 1; i < MF_HOTKEYS_ENTRIES; i++)
        least = hot->counts[i] < hot->counts[least] ? i : least;
    return least;
}

static void count_key(struct mf_hotkeys *hot, struct mf_bytes key)
{
    uint64_t hash = mf_hash64(key, hot->seed);
    uint32_t place = find(hot, hash);
    struct mf_hotkeys_entry *entry = &hot->entries[place];
    if (hot->hashes[place] != hash || hot->counts[place] == 0) {
        hot->hashes[place] = hash;
        entry->error = hot->counts[place];
        entry->key_len = key.len < MF_HOTKEYS_KEY_BYTES ? (uint16_t)key.len : MF_HOTKEYS_KEY_BYTES;
        memcpy(entry->key, key.data, entry->key_len);
    }
    hot->counts[place] += hot->weight;
    hot->total += hot->weight;
}

static bool count_first(void *arg, struct mf_bytes key)
{
    count_key(arg, key);
    return false;
}

void mf_hotkeys_look(struct mf_hotkeys *hot, const struct mf_command *command, uint32_t count)
{
    uint32_t at = 0;
    while (count - at >= hot->left) {
        at += hot->left;
        if (command->item_count > 0)
            count_key(hot, command->items[at - 1].key);
        else
            (void)mf_txn_each_key(command->body, count_first, hot);
        hot->left = draw(hot);
    }
    hot->left -= count - at;
}

void mf_hot_sum_add(struct mf_hot_sum *sum, const struct mf_hotkeys *hot)
{
    double each = MF_HOTKEYS_STRIDE / hot->weight;
    sum->keys = mf_realloc(sum->keys, (sum->count + MF_HOTKEYS_ENTRIES) * sizeof(*sum->keys));
    sum->total += hot->total * each;
    for (uint32_t i = 0; i < MF_HOTKEYS_ENTRIES; i++) {
        const struct mf_hotkeys_entry *entry = &hot->entries[i];
        if (hot->counts[i] == 0)
            continue;
        struct mf_hot_key *key = &sum->keys[sum->count++];
        key->hash = hot->hashes[i];
        key->operations = (hot->counts[i] - entry->error) * each;
        key->len = entry->key_len;
        memcpy(key->bytes, entry->key, entry->key_len);
    }
}

static int by_hash(const void *left, const void *right)
{
    const struct mf_hot_key *a = left;
    const struct mf_hot_key *b = right;
    return (a->hash > b->hash) - (a->hash < b->hash);
}

static int by_operations(const void *left, const void *right)
{
    const struct mf_hot_key *a = left;
    const struct mf_hot_key *b = right;
    return (a->operations < b->operations) - (a->operations > b->operations);
}

void mf_hot_sum_sort(struct mf_hot_sum *sum)
{
    if (sum->count == 0)
        return;
    qsort(sum->keys, sum->count, sizeof(*sum->keys), by_hash);
    uint32_t last = 0;
    for (uint32_t i = 1; i < sum->count; i++) {
        if (sum->keys[i].hash == sum->keys[last].hash)
            sum->keys[last].operations += sum->keys[i].operations;
        else
            sum->keys[++last] = sum->keys[i];
    }
    sum->count = last + 1;
    qsort(sum->keys, sum->count, sizeof(*sum->keys), by_operations);
}

void mf_hot_sum_free(struct mf_hot_sum *sum)
{
    free(sum->keys);
    *sum = (struct mf_hot_sum){0};
}

// A steady r a second leave r times the sum of what each second still counts for.
double mf_hot_rate(double operations, uint64_t age_us)
{
    double half_s = (double)MF_HOTKEYS_HALF_US / 1e6;
    double age_s = age_us > 0 ? (double)age_us / 1e6 : 1e-6;
    return operations * M_LN2 / half_s / -expm1(-age_s / half_s * M_LN2);
}

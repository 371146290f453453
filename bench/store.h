// What the parts of the store's benchmark share.
#ifndef MF_BENCH_STORE_H
#define MF_BENCH_STORE_H

#include <stdint.h>

#include "base/clock.h"
#include "shards/shard.h"

#define STORE_KEY_BYTES 14u

struct store_options {
    uint64_t keys;
    uint64_t value_bytes;
    uint64_t ttl_ms;
};

// "key:" and ten digits.
void store_key(char key[STORE_KEY_BYTES], uint64_t number);
// Processor time of this thread: what others do on the machine does not count.
uint64_t store_cpu_ns(void);
// As mayflyd does it, before any thread starts.
void store_set_up_allocator(void);

// The parts; each returns an exit status.
int store_rows(const struct store_options *options);   // shards side by side
int store_speed(const struct store_options *options);  // one shard: sets, gets, two readers
int store_growth(const struct store_options *options); // the slowest single sets
int store_storm(const struct store_options *options);  // all keys due at one instant

#endif

// The records that are on their way: a fixed number of places, found by key. No key is on its way
// twice at a time, because requests in flight have no order: the last of a repeated key must win.
#ifndef MF_CLI_LOAD_FLIGHT_H
#define MF_CLI_LOAD_FLIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct load_flight {
    void *owner;
    uint64_t line;
    struct mf_buf key;
    uint64_t hash;
    struct load_flight *next; // of the same bucket, or the next free place
};

struct load_flights {
    struct load_flight *places;
    size_t count;
    struct load_flight *unused;
    struct load_flight **buckets; // `count` of them
};

struct load_flights load_flights_new(size_t count, void *owner);
void load_flights_free(struct load_flights *flights);
bool load_flights_has(const struct load_flights *flights, struct mf_bytes key);
// Takes a place for a key that has none; NULL when all are taken. Copies the key.
struct load_flight *load_flights_add(struct load_flights *flights, struct mf_bytes key,
                                     uint64_t line);
void load_flights_remove(struct load_flights *flights, struct load_flight *flight);

#endif

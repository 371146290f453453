// A hash table of a fixed number of records; see load_flight.h.
#include "cli/load_flight.h"

#include <stdlib.h>

#include "base/hash.h"

#define KEY_BYTES_KEPT 4096

struct load_flights load_flights_new(size_t count, void *owner)
{
    struct load_flights flights = {
        .places = mf_calloc(count, sizeof flights.places[0]),
        .count = count,
        .buckets = mf_calloc(count, sizeof(struct load_flight *)),
    };
    for (size_t i = 0; i < count; i++) {
        flights.places[i].owner = owner;
        flights.places[i].next = flights.unused;
        flights.unused = &flights.places[i];
    }
    return flights;
}

void load_flights_free(struct load_flights *flights)
{
    for (size_t i = 0; i < flights->count; i++)
        mf_buf_free(&flights->places[i].key);
    free(flights->places);
    free(flights->buckets);
}

bool load_flights_has(const struct load_flights *flights, struct mf_bytes key)
{
    uint64_t hash = mf_hash64(key, 0);
    const struct load_flight *at = flights->buckets[hash % flights->count];
    while (at != NULL && !(at->hash == hash && mf_bytes_equal(mf_buf_view(&at->key), key)))
        at = at->next;
    return at != NULL;
}

struct load_flight *load_flights_add(struct load_flights *flights, struct mf_bytes key,
                                     uint64_t line)
{
    struct load_flight *flight = flights->unused;
    if (flight == NULL)
        return NULL;
    flights->unused = flight->next;
    flight->line = line;
    flight->hash = mf_hash64(key, 0);
    mf_buf_clear(&flight->key, KEY_BYTES_KEPT);
    mf_buf_put(&flight->key, key.data, key.len);
    struct load_flight **bucket = &flights->buckets[flight->hash % flights->count];
    flight->next = *bucket;
    *bucket = flight;
    return flight;
}

void load_flights_remove(struct load_flights *flights, struct load_flight *flight)
{
    struct load_flight **at = &flights->buckets[flight->hash % flights->count];
    while (*at != flight)
        at = &(*at)->next;
    *at = flight->next;
    flight->next = flights->unused;
    flights->unused = flight;
}

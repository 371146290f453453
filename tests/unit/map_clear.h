// Emptying a map at one go, in tests.
#ifndef MF_TESTS_MAP_CLEAR_H
#define MF_TESTS_MAP_CLEAR_H

#include "shards/map.h"

static inline void clear_map(struct mf_map *map)
{
    size_t work = SIZE_MAX;
    struct mf_map_rest *rest = mf_map_detach(map);
    while (mf_map_drain(map, rest, &work, NULL, NULL))
        continue;
}

#endif

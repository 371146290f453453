// The compression of strings in Redis's files and dumped values. Pure.
#ifndef MF_BASE_LZF_H
#define MF_BASE_LZF_H

#include <stdbool.h>

#include "base/bytes.h"

// No LZF stream becomes more than this many times as long: three bytes stand for 264 at most.
#define MF_LZF_RATIO_MAX 88u

// Unpacks into `to`; false unless that gives exactly to_bytes.
bool mf_lzf_unpack(struct mf_bytes packed, uint8_t *to, size_t to_bytes);

#endif

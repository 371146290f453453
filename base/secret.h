// Comparing what somebody says with what only those who may should know.
#ifndef MF_BASE_SECRET_H
#define MF_BASE_SECRET_H

#include <stdbool.h>

#include "base/bytes.h"

// Whether they are equal. How long it takes depends on given.len alone, which whoever gave it
// knows: neither the secret's length nor how much of it is right can be measured.
bool mf_secret_equal(struct mf_bytes given, struct mf_bytes secret);

#endif

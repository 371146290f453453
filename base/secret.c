// Comparing secrets without telling by the time it takes; see secret.h.
#include "base/secret.h"

bool mf_secret_equal(struct mf_bytes given, struct mf_bytes secret)
{
    static const uint8_t nothing;
    const uint8_t *wanted = secret.len > 0 ? secret.data : &nothing;
    // Volatile: a compiler that sees the first difference may not stop there.
    volatile uint8_t differs = given.len != secret.len;
    size_t at = 0;
    for (size_t i = 0; i < given.len; i++) {
        differs = differs | (uint8_t)(given.data[i] ^ wanted[at]);
        at = at + 1 < secret.len ? at + 1 : 0; // goes round, so that it ends where `given` does
    }
    return differs == 0;
}

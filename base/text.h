// Bytes as text: whether they are UTF-8, and base64 for those that are not. Pure functions.
#ifndef MF_BASE_TEXT_H
#define MF_BASE_TEXT_H

#include <stdbool.h>

#include "base/bytes.h"

// Whether all of it is UTF-8 as RFC 3629 has it: shortest forms only, no surrogates, nothing above
// U+10FFFF. NUL is a character as any other.
bool mf_utf8_valid(struct mf_bytes bytes);

// Standard base64 with padding (RFC 4648, section 4); appends.
void mf_base64_put(struct mf_buf *out, struct mf_bytes bytes);
// Undoes it; appends. False for anything but whole, padded, standard base64 with zero bits where
// the padding leaves some over, so each value has one text.
bool mf_base64_take(struct mf_bytes text, struct mf_buf *out);

#endif

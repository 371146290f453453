// UTF-8 and base64; see text.h.
#include "base/text.h"

// The bytes of the character that begins at `at`, or 0 when none does.
static size_t character_bytes(const uint8_t *at, size_t left)
{
    uint8_t lead = at[0];
    if (lead < 0x80)
        return 1;
    size_t len = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || len > left)
        return 0;
    for (size_t i = 1; i < len; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    }
    // The second byte's range is where longer forms, surrogates and what is too large show.
    if ((lead == 0xe0 && at[1] < 0xa0) || (lead == 0xed && at[1] > 0x9f) ||
        (lead == 0xf0 && at[1] < 0x90) || (lead == 0xf4 && at[1] > 0x8f))
        return 0;
    return len;
}

bool mf_utf8_valid(struct mf_bytes bytes)
{
    size_t i = 0;
    while (i < bytes.len) {
        uint64_t eight = UINT64_C(0x8080808080808080);
        if (bytes.len - i >= sizeof(eight))
            memcpy(&eight, bytes.data + i, sizeof(eight));
        if ((eight & UINT64_C(0x8080808080808080)) == 0) {
            i += sizeof(eight);
            continue;
        }
        size_t len = character_bytes(bytes.data + i, bytes.len - i);
        if (len == 0)
            return false;
        i += len;
    }
    return true;
}

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void mf_base64_put(struct mf_buf *out, struct mf_bytes bytes)
{
    size_t len = (bytes.len + 2) / 3 * 4;
    uint8_t *to = mf_buf_reserve(out, len);
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t have = bytes.len - i < 3 ? bytes.len - i : 3;
        uint32_t group = (uint32_t)bytes.data[i] << 16;
        if (have > 1)
            group |= (uint32_t)bytes.data[i + 1] << 8;
        if (have > 2)
            group |= bytes.data[i + 2];
        *to++ = (uint8_t)digits[group >> 18];
        *to++ = (uint8_t)digits[group >> 12 & 63];
        *to++ = (uint8_t)(have > 1 ? digits[group >> 6 & 63] : '=');
        *to++ = (uint8_t)(have > 2 ? digits[group & 63] : '=');
    }
    out->len += len;
}

static bool digit_value(uint8_t digit, uint32_t *value)
{
    if (digit >= 'A' && digit <= 'Z')
        *value = digit - 'A';
    else if (digit >= 'a' && digit <= 'z')
        *value = digit - 'a' + 26u;
    else if (digit >= '0' && digit <= '9')
        *value = digit - '0' + 52u;
    else if (digit == '+' || digit == '/')
        *value = digit == '+' ? 62 : 63;
    else
        return false;
    return true;
}

bool mf_base64_take(struct mf_bytes text, struct mf_buf *out)
{
    if (text.len % 4 != 0)
        return false;
    for (size_t i = 0; i < text.len; i += 4) {
        bool last = i + 4 == text.len;
        size_t have = 3;
        if (last && text.data[i + 3] == '=')
            have = text.data[i + 2] == '=' ? 1 : 2;
        uint32_t group = 0;
        for (size_t j = 0; j < 4; j++) {
            uint32_t digit = 0;
            if (j <= have && !digit_value(text.data[i + j], &digit))
                return false;
            group = group << 6 | digit;
        }
        if ((group & ((1u << (8 * (3 - have))) - 1)) != 0)
            return false;
        uint8_t bytes[3] = {(uint8_t)(group >> 16), (uint8_t)(group >> 8), (uint8_t)group};
        mf_buf_put(out, bytes, have);
    }
    return true;
}

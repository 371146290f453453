// Results of the shards as replies of the Redis protocol; see resp_command.h.
//
// Errors that Redis has too are told in its words. Those that only a replicated store has begin
// with a word of their own, so that a client can tell what is safe to try again; docs/redis.md has
// them.
#include "rpc/resp_command.h"

#include <inttypes.h>
#include <stdio.h>

#include "rpc/resp_dump.h"

void mf_resp_tell_error(struct mf_buf *out, enum mf_err err, const char *message)
{
    const char *text = message != NULL ? message : mf_err_text(err);
    switch (err) {
    case MF_NOT_INTEGER:
        mf_resp_error(out, MF_RESP_NOT_INTEGER);
        break;
    case MF_OVERFLOW:
        mf_resp_error(out, "ERR increment or decrement would overflow");
        break;
    case MF_CROSS_SHARD:
        mf_resp_error(out, MF_RESP_CROSSSLOT);
        break;
    case MF_UNAUTHORIZED:
        mf_resp_error(out, "NOAUTH Authentication required.");
        break;
    case MF_OUT_OF_MEMORY:
        mf_resp_error(out, "OOM command not allowed when used memory > 'maxmemory'.");
        break;
    case MF_NO_QUORUM:
        mf_resp_errorf(out, "CLUSTERDOWN %s", text);
        break;
    case MF_TIMEOUT:
        mf_resp_errorf(out, "TIMEOUT %s", text);
        break;
    case MF_BUSY:
        mf_resp_errorf(out, "BUSY %s", text);
        break;
    case MF_SHUTTING_DOWN:
        mf_resp_errorf(out, "SHUTTINGDOWN %s", text);
        break;
    default:
        mf_resp_errorf(out, "ERR %s", text);
        break;
    }
}

static void tell_error_result(struct mf_buf *out, struct mf_resp_telling telling,
                              const struct mf_result *result)
{
    bool scan = telling.form == MF_RESP_FORM_SCAN || telling.form == MF_RESP_FORM_SCAN_NONE;
    char text[256];
    snprintf(text, sizeof(text), "%.*s", (int)result->value.len,
             result->value.len > 0 ? (const char *)result->value.data : "");
    if (scan && result->err == MF_BAD_REQUEST)
        mf_resp_error(out, "ERR invalid cursor");
    else if (telling.form == MF_RESP_FORM_FLOAT && result->err == MF_OVERFLOW)
        mf_resp_error(out, "ERR increment would produce NaN or Infinity");
    else
        mf_resp_tell_error(out, result->err, text[0] != '\0' ? text : NULL);
}

static void tell_broken(struct mf_buf *out)
{
    mf_resp_tell_error(out, MF_INTERNAL, NULL);
}

// Elements are told one by one, each as it is; what is no whole list is taken back.
static void tell_elements(struct mf_buf *out, struct mf_resp_telling telling,
                          const struct mf_result *list)
{
    size_t before = out->len;
    struct mf_reader reader = mf_reader_of(list->value);
    telling.form = MF_RESP_FORM_PLAIN;
    mf_resp_array(out, list->count);
    for (uint32_t i = 0; i < list->count; i++) {
        struct mf_result element;
        if (mf_result_decode(&reader, &element) != MF_OK || element.kind == MF_RESULT_LIST) {
            out->len = before;
            tell_broken(out);
            return;
        }
        mf_resp_tell(out, telling, &element);
    }
}

// Counts the true ones; false when it is no list of booleans.
static bool count_true(const struct mf_result *list, int64_t *count)
{
    struct mf_reader reader = mf_reader_of(list->value);
    *count = 0;
    if (list->kind != MF_RESULT_LIST)
        return false;
    for (uint32_t i = 0; i < list->count; i++) {
        struct mf_result element;
        if (mf_result_decode(&reader, &element) != MF_OK || element.kind != MF_RESULT_BOOL)
            return false;
        *count += element.integer;
    }
    return true;
}

static void tell_scan(struct mf_buf *out, struct mf_resp_telling telling,
                      const struct mf_result *result)
{
    struct mf_reader reader = mf_reader_of(result->value);
    struct mf_result cursor;
    struct mf_result keys;
    if (result->kind != MF_RESULT_LIST || result->count != 2 ||
        mf_result_decode(&reader, &cursor) != MF_OK || mf_result_decode(&reader, &keys) != MF_OK ||
        cursor.kind != MF_RESULT_INT || keys.kind != MF_RESULT_LIST) {
        tell_broken(out);
        return;
    }
    mf_resp_array(out, 2);
    mf_resp_bulk_uint(out, (uint64_t)cursor.integer);
    if (telling.form == MF_RESP_FORM_SCAN)
        tell_elements(out, telling, &keys);
    else
        mf_resp_array(out, 0);
}

static void tell_written(struct mf_buf *out, struct mf_resp_telling telling,
                         const struct mf_result *result)
{
    bool written = result->version != 0;
    if (telling.form == MF_RESP_FORM_WRITTEN_COUNT)
        mf_resp_int(out, written);
    else if (telling.form == MF_RESP_FORM_OLD && result->has_old)
        mf_resp_bulk(out, result->value);
    else if (telling.form == MF_RESP_FORM_OLD || !written)
        mf_resp_null(out, telling.version);
    else
        mf_resp_status(out, "OK");
}

// What Redis keeps of strings up to so long in one piece with their header.
#define EMBEDDED_BYTES_MAX 44
#define NO_LFU                                                                                     \
    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that " \
    "when switching between policies at runtime LRU and LFU data will take some time to adjust."

static const char *encoding_of(int64_t length, bool integer)
{
    if (integer)
        return "int";
    return length <= EMBEDDED_BYTES_MAX ? "embstr" : "raw";
}

static void tell_debug(struct mf_buf *out, const char *encoding, int64_t length)
{
    char text[160];
    snprintf(text, sizeof(text),
             "Value at:0x0 refcount:1 encoding:%s serializedlength:%" PRId64
             " lru:0 lru_seconds_idle:0",
             encoding, length);
    mf_resp_status(out, text);
}

static void tell_object(struct mf_buf *out, struct mf_resp_telling telling,
                        const struct mf_result *result)
{
    struct mf_reader reader = mf_reader_of(result->value);
    int64_t facts[3]; // as MF_OP_OBJECT has them
    bool debug = telling.form == MF_RESP_FORM_DEBUG_OBJECT;
    bool whole = result->kind == MF_RESULT_LIST && result->count == 3;
    for (uint32_t i = 0; i < 3 && whole; i++) {
        struct mf_result fact;
        whole = mf_result_decode(&reader, &fact) == MF_OK && fact.kind == MF_RESULT_INT;
        facts[i] = fact.integer;
    }
    if (result->kind == MF_RESULT_NIL && debug)
        mf_resp_error(out, "ERR no such key");
    else if (result->kind == MF_RESULT_NIL)
        mf_resp_null(out, telling.version);
    else if (!whole)
        tell_broken(out);
    else if (telling.form == MF_RESP_FORM_USAGE)
        mf_resp_int(out, facts[0]);
    else if (telling.form == MF_RESP_FORM_ENCODING)
        mf_resp_bulk_str(out, encoding_of(facts[1], facts[2] != 0));
    else if (telling.form == MF_RESP_FORM_FREQ)
        mf_resp_error(out, NO_LFU);
    else if (debug)
        tell_debug(out, encoding_of(facts[1], facts[2] != 0), facts[1]);
    else
        mf_resp_int(out, telling.form == MF_RESP_FORM_REFCOUNT);
}

// What comes back is empty where the value has no such byte.
static void tell_bit(struct mf_buf *out, enum mf_resp_form form, const struct mf_result *result)
{
    unsigned place = form - MF_RESP_FORM_BIT;
    unsigned byte = result->value.len > 0 ? result->value.data[0] : 0;
    mf_resp_int(out, byte >> (7 - place) & 1);
}

static void tell_plain(struct mf_buf *out, struct mf_resp_telling telling,
                       const struct mf_result *result)
{
    switch (result->kind) {
    case MF_RESULT_NIL:
        mf_resp_null(out, telling.version);
        break;
    case MF_RESULT_BOOL:
    case MF_RESULT_INT:
        mf_resp_int(out, result->integer);
        break;
    case MF_RESULT_BYTES:
        mf_resp_bulk(out, result->value);
        break;
    case MF_RESULT_WRITTEN:
        tell_written(out, telling, result);
        break;
    case MF_RESULT_LIST:
        tell_elements(out, telling, result);
        break;
    default:
        tell_broken(out);
        break;
    }
}

void mf_resp_tell(struct mf_buf *out, struct mf_resp_telling telling,
                  const struct mf_result *result)
{
    int64_t count = 0;
    if (result->kind == MF_RESULT_ERROR) {
        tell_error_result(out, telling, result);
        return;
    }
    switch (telling.form) {
    case MF_RESP_FORM_OK:
        mf_resp_status(out, "OK");
        break;
    case MF_RESP_FORM_TRUE_COUNT:
    case MF_RESP_FORM_TYPE:
        if (!count_true(result, &count))
            tell_broken(out);
        else if (telling.form == MF_RESP_FORM_TRUE_COUNT)
            mf_resp_int(out, count);
        else
            mf_resp_status(out, count > 0 ? "string" : "none");
        break;
    case MF_RESP_FORM_SECONDS:
        mf_resp_int(out, result->integer < 0 ? result->integer : (result->integer + 500) / 1000);
        break;
    case MF_RESP_FORM_SCAN:
    case MF_RESP_FORM_SCAN_NONE:
        tell_scan(out, telling, result);
        break;
    case MF_RESP_FORM_INVALID_EXPIRE:
    case MF_RESP_FORM_NOT_INTEGER:
        if (result->kind == MF_RESULT_NIL)
            mf_resp_null(out, telling.version);
        else if (telling.form == MF_RESP_FORM_NOT_INTEGER)
            mf_resp_error(out, MF_RESP_NOT_INTEGER);
        else
            mf_resp_errorf(out, "ERR invalid expire time in '%s' command", telling.row->name);
        break;
    case MF_RESP_FORM_USAGE:
    case MF_RESP_FORM_ENCODING:
    case MF_RESP_FORM_FREQ:
    case MF_RESP_FORM_IDLETIME:
    case MF_RESP_FORM_REFCOUNT:
    case MF_RESP_FORM_DEBUG_OBJECT:
        tell_object(out, telling, result);
        break;
    case MF_RESP_FORM_DUMP:
        if (result->kind == MF_RESULT_BYTES)
            mf_resp_dump(out, result->value);
        else
            tell_plain(out, telling, result);
        break;
    case MF_RESP_FORM_RESTORED:
        if (result->kind == MF_RESULT_WRITTEN && result->version == 0)
            mf_resp_error(out, "BUSYKEY Target key name already exists.");
        else
            mf_resp_status(out, "OK");
        break;
    default:
        if (telling.form >= MF_RESP_FORM_BIT && result->kind == MF_RESULT_BYTES)
            tell_bit(out, telling.form, result);
        else
            tell_plain(out, telling, result);
        break;
    }
}

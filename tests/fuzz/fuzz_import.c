// Any bytes as a file to import: as Redis's file, as lines of JSON, as CSV. What is taken must be a
// key with a name; what export prints of it must come back as it was.
#include <assert.h>
#include <stdlib.h>

#include "base/crc64.h"
#include "snapshot/tool/lines.h"
#include "snapshot/tool/rdb.h"
#include "snapshot/tool/text_in.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void assert_same(const struct entry *a, const struct entry *b)
{
    assert(mf_bytes_equal(a->key, b->key) && mf_bytes_equal(a->value, b->value));
    assert(a->expires == b->expires && a->expire_at_ms == b->expire_at_ms);
}

static void print_and_read(const struct entry *entry, bool csv)
{
    struct mf_buf text = {0};
    if (csv)
        lines_put_csv_names(&text);
    if (csv)
        lines_put_csv(&text, entry);
    else
        lines_put_json(&text, entry);
    struct input input;
    struct text_in in;
    struct entry back;
    input_of_memory(&input, mf_buf_view(&text));
    text_in_start(&in, &input, csv);
    enum text_got got = text_in_next(&in, &back);
    assert(got == TEXT_ENTRY);
    assert_same(&back, entry);
    got = text_in_next(&in, &back);
    assert(got == TEXT_END);
    text_in_free(&in);
    mf_buf_free(&text);
}

static void take(const struct entry *entry)
{
    assert(entry->key.len > 0 && entry->expire_at_ms <= ENTRY_EXPIRE_AT_MAX);
    print_and_read(entry, false);
    print_and_read(entry, true);
}

static void try_text(struct mf_bytes bytes, bool csv)
{
    struct input input;
    struct text_in in;
    struct entry entry;
    input_of_memory(&input, bytes);
    text_in_start(&in, &input, csv);
    enum text_got got;
    while ((got = text_in_next(&in, &entry)) == TEXT_ENTRY)
        take(&entry);
    assert(got == TEXT_END || in.why[0] != '\0');
    text_in_free(&in);
}

static void try_rdb(struct mf_bytes bytes)
{
    struct input input;
    struct rdb rdb;
    struct entry entry;
    input_of_memory(&input, bytes);
    rdb_start(&rdb, &input);
    enum rdb_got got;
    while ((got = rdb_next(&rdb, &entry)) == RDB_ENTRY)
        take(&entry);
    assert(got == RDB_END || rdb.why[0] != '\0');
    rdb_free(&rdb);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mf_bytes bytes = mf_bytes_of(data, size);
    try_text(bytes, false);
    try_text(bytes, true);
    try_rdb(bytes);
    // Behind a header that no mutation has to find, and with a checksum that holds.
    struct mf_buf file = {0};
    mf_buf_put(&file, "REDIS0011", 9);
    mf_buf_put(&file, data, size);
    mf_buf_u8(&file, 0xff);
    mf_buf_u64(&file, mf_crc64(0, mf_buf_view(&file)));
    try_rdb(mf_buf_view(&file));
    mf_buf_free(&file);
    return 0;
}

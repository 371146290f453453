// What the tests of the write-ahead log's bytes and of its files share.
#ifndef MF_TESTS_UNIT_WAL_RECORDS_H
#define MF_TESTS_UNIT_WAL_RECORDS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the headers above.
#include <cmocka.h>

#include "consensus/wal_format.h"

// arg: a pointer to the next of an array of records; asserts that it is what was read.
static inline enum mf_err compare_wal_record(void *arg, const struct mf_wal_record *got)
{
    const struct mf_wal_record **next = arg;
    const struct mf_wal_record *want = (*next)++;
    assert_int_equal(got->type, want->type);
    assert_int_equal(got->group, want->group);
    assert_int_equal(got->ballot, want->ballot);
    assert_int_equal(got->slot, want->slot);
    assert_int_equal(got->log_time_us, want->log_time_us);
    assert_int_equal(got->wall_us, want->wall_us);
    assert_true(mf_bytes_equal(got->payload, want->payload));
    return MF_OK;
}

#endif

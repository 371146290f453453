// Frames between nodes and the proof of the secret: what is whole passes, nothing else does.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"
#include "rpc/peer_frame.h"

#define FRAME_MAX 100000

static void make_frame(struct mf_buf *frame)
{
    mf_peer_frame_begin(frame);
    size_t begun = mf_peer_item_begin(frame, MF_PEER_PAXOS, 3);
    mf_buf_put(frame, "abc", 3);
    mf_peer_item_end(frame, begun);
    begun = mf_peer_item_begin(frame, MF_PEER_REPLY, 4);
    mf_peer_item_end(frame, begun);
    struct mf_peer_head head = {.mono_us = 777,
                                .asks = true,
                                .declines = true,
                                .echo_us = 555,
                                .token = 333,
                                .roster = 7,
                                .held = 12};
    mf_peer_frame_end(frame, &head);
}

static void items_and_head_survive_a_frame(void **state)
{
    (void)state;
    struct mf_buf frame = {0};
    make_frame(&frame);
    size_t size = 0;
    struct mf_bytes body;
    assert_int_equal(mf_peer_frame_split(mf_buf_view(&frame), FRAME_MAX, &size, &body), MF_OK);
    assert_int_equal(size, frame.len);
    struct mf_peer_reader reader;
    assert_int_equal(mf_peer_body_open(&reader, body), MF_OK);
    assert_int_equal(reader.head.mono_us, 777);
    assert_true(reader.head.asks);
    assert_true(reader.head.declines);
    assert_int_equal(reader.head.echo_us, 555);
    assert_int_equal(reader.head.token, 333);
    assert_int_equal(reader.head.roster, 7);
    assert_int_equal(reader.head.held, 12);
    struct mf_peer_item item;
    assert_int_equal(mf_peer_item_next(&reader, &item), MF_OK);
    assert_int_equal(item.kind, MF_PEER_PAXOS);
    assert_int_equal(item.shard, 3);
    assert_true(mf_bytes_equal(item.bytes, mf_bytes_str("abc")));
    assert_int_equal(mf_peer_item_next(&reader, &item), MF_OK);
    assert_int_equal(item.bytes.len, 0);
    assert_int_equal(mf_peer_item_next(&reader, &item), MF_NOT_FOUND);
    mf_buf_free(&frame);
}

static void a_head_is_whole_and_has_no_unknown_flags(void **state)
{
    (void)state;
    uint8_t head[37] = {0};
    struct mf_peer_reader reader;
    for (size_t len = 0; len < sizeof(head); len++)
        assert_int_equal(mf_peer_body_open(&reader, mf_bytes_of(head, len)), MF_CORRUPT);
    assert_int_equal(mf_peer_body_open(&reader, mf_bytes_of(head, sizeof(head))), MF_OK);
    assert_false(reader.head.asks);
    head[8] = 1;
    assert_int_equal(mf_peer_body_open(&reader, mf_bytes_of(head, sizeof(head))), MF_OK);
    assert_true(reader.head.asks);
    assert_false(reader.head.declines);
    head[8] = 2;
    assert_int_equal(mf_peer_body_open(&reader, mf_bytes_of(head, sizeof(head))), MF_OK);
    assert_false(reader.head.asks);
    assert_true(reader.head.declines);
    for (unsigned flags = 4; flags < 256; flags++) {
        head[8] = (uint8_t)flags;
        assert_int_equal(mf_peer_body_open(&reader, mf_bytes_of(head, sizeof(head))), MF_CORRUPT);
    }
}

static void partial_frames_wait_and_damaged_ones_are_refused(void **state)
{
    (void)state;
    struct mf_buf frame = {0};
    make_frame(&frame);
    size_t size = 0;
    struct mf_bytes body;
    for (size_t len = 0; len < frame.len; len++)
        assert_int_equal(mf_peer_frame_split(mf_bytes_of(frame.data, len), FRAME_MAX, &size, &body),
                         MF_AGAIN);
    for (size_t i = 4; i < frame.len; i++) {
        frame.data[i] ^= 0x10;
        assert_int_equal(mf_peer_frame_split(mf_buf_view(&frame), FRAME_MAX, &size, &body),
                         MF_CORRUPT);
        frame.data[i] ^= 0x10;
    }
    mf_buf_free(&frame);
}

static void claimed_length_over_the_bound_is_refused_before_its_bytes_come(void **state)
{
    (void)state;
    size_t size = 0;
    struct mf_bytes body;
    const uint8_t huge[4] = {0xff, 0xff, 0xff, 0x7f};
    assert_int_equal(mf_peer_frame_split(mf_bytes_of(huge, 4), FRAME_MAX, &size, &body),
                     MF_TOO_LARGE);
    assert_int_equal(mf_peer_hello_split(mf_bytes_of(huge, 4), &size, &body), MF_TOO_LARGE);
}

static void a_state_survives_and_nothing_else_is_one(void **state)
{
    (void)state;
    struct mf_peer_state said = {3, UINT64_MAX - 1, 77, 88};
    struct mf_buf out = {0};
    mf_peer_put_state(&out, &said);
    struct mf_peer_state got;
    for (size_t len = 0; len < out.len; len++)
        assert_int_equal(mf_peer_get_state(mf_bytes_of(out.data, len), &got), MF_CORRUPT);
    assert_int_equal(mf_peer_get_state(mf_buf_view(&out), &got), MF_OK);
    assert_true(got.state == 3 && got.memory == UINT64_MAX - 1);
    assert_true(got.question == 77 && got.answer == 88);
    mf_buf_u8(&out, 0);
    assert_int_equal(mf_peer_get_state(mf_buf_view(&out), &got), MF_CORRUPT);
    mf_buf_free(&out);
}

static struct mf_peer_hello sample(void)
{
    return (struct mf_peer_hello){.node = 2,
                                  .to = 1,
                                  .reactor = 1,
                                  .incarnation = 99,
                                  .shards = 16,
                                  .replicas = 3,
                                  .lease_ms = 500,
                                  .genesis = 5,
                                  .members = mf_bytes_str("1,2,3"),
                                  .cluster = mf_bytes_str("demo"),
                                  .peer = mf_bytes_str("127.0.0.1:7200"),
                                  .rpc = mf_bytes_str("127.0.0.1:7201")};
}

static enum mf_err greet(const char *secret, const char *expected_secret, enum mf_peer_role role,
                         bool replay, size_t flip)
{
    uint8_t challenge[MF_PEER_NONCE_BYTES] = {1};
    uint8_t other_challenge[MF_PEER_NONCE_BYTES] = {2};
    uint8_t nonce[MF_PEER_NONCE_BYTES] = {3};
    uint8_t seen[MF_PEER_NONCE_BYTES];
    struct mf_peer_hello hello = sample();
    struct mf_buf out = {0};
    mf_peer_put_hello(&out, &hello, MF_PEER_CALLER, mf_bytes_str(secret), challenge, nonce);
    if (flip != 0)
        out.data[flip % out.len] ^= 1;
    size_t size = 0;
    struct mf_bytes body;
    struct mf_peer_hello got;
    enum mf_err err = mf_peer_hello_split(mf_buf_view(&out), &size, &body);
    if (err == MF_OK)
        err = mf_peer_get_hello(body, &got, role, mf_bytes_str(expected_secret),
                                replay ? other_challenge : challenge, seen);
    if (err == MF_OK) {
        assert_int_equal(got.node, 2);
        assert_int_equal(got.incarnation, 99);
        assert_int_equal(got.lease_ms, 500);
        assert_true(mf_bytes_equal(got.members, mf_bytes_str("1,2,3")));
        assert_true(mf_bytes_equal(got.rpc, mf_bytes_str("127.0.0.1:7201")));
        assert_memory_equal(seen, nonce, sizeof(nonce));
    }
    mf_buf_free(&out);
    return err;
}

static void hello_is_believed_only_with_the_secret_the_role_and_a_fresh_challenge(void **state)
{
    (void)state;
    assert_int_equal(greet("s3cret", "s3cret", MF_PEER_CALLER, false, 0), MF_OK);
    assert_int_equal(greet("", "", MF_PEER_CALLER, false, 0), MF_OK);
    assert_int_equal(greet("other", "s3cret", MF_PEER_CALLER, false, 0), MF_UNAUTHORIZED);
    assert_int_equal(greet("", "s3cret", MF_PEER_CALLER, false, 0), MF_UNAUTHORIZED);
    assert_int_equal(greet("s3cret", "s3cret", MF_PEER_LISTENER, false, 0), MF_UNAUTHORIZED);
    assert_int_equal(greet("s3cret", "s3cret", MF_PEER_CALLER, true, 0), MF_UNAUTHORIZED);
}

static void no_changed_byte_of_a_hello_is_believed(void **state)
{
    (void)state;
    for (size_t flip = 4; flip < 180; flip++)
        assert_int_not_equal(greet("s3cret", "s3cret", MF_PEER_CALLER, false, flip), MF_OK);
}

static void challenge_is_whole_or_refused(void **state)
{
    (void)state;
    uint8_t nonce[MF_PEER_NONCE_BYTES] = {9, 8, 7};
    uint8_t seen[MF_PEER_NONCE_BYTES];
    struct mf_buf out = {0};
    mf_peer_put_challenge(&out, nonce);
    size_t size = 0;
    struct mf_bytes body;
    assert_int_equal(mf_peer_hello_split(mf_buf_view(&out), &size, &body), MF_OK);
    assert_int_equal(mf_peer_get_challenge(body, seen), MF_OK);
    assert_memory_equal(seen, nonce, sizeof(nonce));
    assert_int_equal(mf_peer_get_challenge(mf_bytes_of(body.data, body.len - 1), seen), MF_CORRUPT);
    mf_buf_free(&out);
}

static void random_bytes_never_hurt_any_reader(void **state)
{
    (void)state;
    struct mf_rand rand = {.state = 7};
    struct mf_buf frame = {0};
    make_frame(&frame);
    for (int i = 0; i < 20000; i++) {
        struct mf_bytes body = mf_bytes_of(frame.data + 12, frame.len - 12);
        uint8_t *at = frame.data + 12 + mf_rand_below(&rand, body.len);
        uint8_t before = *at;
        *at = (uint8_t)mf_rand_next(&rand);
        struct mf_peer_reader reader;
        struct mf_peer_item item;
        bool flags_fine = body.data[8] <= 3;
        assert_int_equal(mf_peer_body_open(&reader, body), flags_fine ? MF_OK : MF_CORRUPT);
        while (mf_peer_item_next(&reader, &item) == MF_OK)
            continue;
        struct mf_peer_hello hello;
        uint8_t nonce[MF_PEER_NONCE_BYTES] = {0};
        assert_int_not_equal(
            mf_peer_get_hello(body, &hello, MF_PEER_CALLER, mf_bytes_str("s"), nonce, nonce),
            MF_OK);
        *at = before;
    }
    mf_buf_free(&frame);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_and_head_survive_a_frame),
        cmocka_unit_test(a_head_is_whole_and_has_no_unknown_flags),
        cmocka_unit_test(partial_frames_wait_and_damaged_ones_are_refused),
        cmocka_unit_test(claimed_length_over_the_bound_is_refused_before_its_bytes_come),
        cmocka_unit_test(a_state_survives_and_nothing_else_is_one),
        cmocka_unit_test(hello_is_believed_only_with_the_secret_the_role_and_a_fresh_challenge),
        cmocka_unit_test(no_changed_byte_of_a_hello_is_believed),
        cmocka_unit_test(challenge_is_whole_or_refused),
        cmocka_unit_test(random_bytes_never_hurt_any_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

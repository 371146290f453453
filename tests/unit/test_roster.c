// The roster: encoding, and where copies go when nodes come and go.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "consensus/members.h"
#include "server/roster.h"

static struct mf_roster *first(uint32_t count, uint32_t shards, uint32_t replicas)
{
    struct mf_config_node nodes[MF_NODES_MAX] = {{0}};
    for (uint32_t i = 0; i < count; i++) {
        nodes[i].id = (uint16_t)(i + 1);
        snprintf(nodes[i].peer, sizeof(nodes[i].peer), "127.0.0.1:%u", 7100 + i);
    }
    return mf_roster_new(nodes, count, shards, replicas, 0);
}

// Takes the place of the one that it was made from.
static struct mf_roster *instead(struct mf_roster *old, struct mf_roster *next)
{
    assert_int_equal(next->version, old->version + 1);
    mf_roster_unref(old);
    return next;
}

static uint32_t stays(const struct mf_roster *roster)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < roster->count; i++)
        count += !roster->nodes[i].leaving;
    return count;
}

// Every shard has its copies on different nodes that stay, and nobody has two more than another.
static void check_even(const struct mf_roster *roster)
{
    uint32_t copies[UINT16_MAX + 1] = {0};
    uint32_t leads[UINT16_MAX + 1] = {0};
    uint32_t staying = stays(roster);
    assert_int_equal(roster->copies, staying < roster->replicas ? staying : roster->replicas);
    for (uint32_t s = 0; s < roster->shards; s++) {
        const uint16_t *places = mf_roster_places(roster, s);
        leads[places[0]]++;
        for (uint32_t i = 0; i < roster->copies; i++) {
            int at = mf_roster_find(roster, places[i]);
            assert_true(at >= 0 && !roster->nodes[at].leaving);
            for (uint32_t k = 0; k < i; k++)
                assert_int_not_equal(places[k], places[i]);
            copies[places[i]]++;
        }
    }
    uint32_t most[2] = {0};
    uint32_t least[2] = {UINT32_MAX, UINT32_MAX};
    for (uint32_t i = 0; i < roster->count; i++) {
        uint16_t id = roster->nodes[i].id;
        const uint32_t counts[2] = {copies[id], leads[id]};
        for (int k = 0; k < 2 && !roster->nodes[i].leaving; k++) {
            most[k] = counts[k] > most[k] ? counts[k] : most[k];
            least[k] = counts[k] < least[k] ? counts[k] : least[k];
        }
    }
    assert_true(most[0] - least[0] <= 1);
    assert_true(most[1] - least[1] <= 2);
}

// How many copies of `now` are on nodes that did not have the shard before.
static uint32_t moves(const struct mf_roster *before, const struct mf_roster *now)
{
    uint32_t count = 0;
    for (uint32_t s = 0; s < now->shards; s++) {
        for (uint32_t i = 0; i < now->copies; i++)
            count += !mf_roster_has_place(before, s, mf_roster_places(now, s)[i]);
    }
    return count;
}

static void version_1_places_shards_as_the_groups_begin(void **state)
{
    (void)state;
    struct mf_roster *roster = first(5, 64, 3);
    for (uint32_t s = 0; s < 64; s++) {
        uint16_t ids[MF_VOTERS_MAX];
        assert_int_equal(mf_roster_first_places(roster, s, ids), 3);
        for (uint32_t i = 0; i < 3; i++) {
            assert_int_equal(ids[i], (s + i) % 5 + 1);
            assert_int_equal(mf_roster_places(roster, s)[i], ids[i]);
        }
    }
    check_even(roster);
    mf_roster_unref(roster);
}

static void a_new_node_takes_its_share_and_little_else_moves(void **state)
{
    (void)state;
    for (uint32_t nodes = 1; nodes <= 12; nodes++) {
        for (uint32_t replicas = 1; replicas <= 7; replicas += 2) {
            struct mf_roster *before = first(nodes, 100, replicas);
            struct mf_roster *now = mf_roster_add(before, 77, "[::1]:7", 5);
            check_even(now);
            assert_int_equal(mf_roster_find(now, 77), nodes);
            uint32_t share = 100 * now->copies / (nodes + 1) + 1;
            assert_true(moves(before, now) <= share + nodes);
            mf_roster_unref(before);
            mf_roster_unref(now);
        }
    }
}

static void what_a_leaving_node_had_goes_to_the_others_and_little_else_moves(void **state)
{
    (void)state;
    for (uint32_t nodes = 2; nodes <= 12; nodes++) {
        for (uint32_t replicas = 1; replicas <= 7; replicas += 2) {
            struct mf_roster *before = first(nodes, 96, replicas);
            uint32_t had = 0;
            for (uint32_t s = 0; s < before->shards; s++)
                had += mf_roster_has_place(before, s, 2);
            struct mf_roster *now = mf_roster_leave(before, 2, 5);
            check_even(now);
            assert_int_equal(now->count, nodes);
            assert_true(moves(before, now) <= had + nodes);
            now = instead(now, mf_roster_drop(now, 2));
            check_even(now);
            assert_int_equal(now->count, nodes - 1);
            assert_int_equal(mf_roster_find(now, 2), -1);
            assert_int_equal(now->first_count, nodes);
            mf_roster_unref(before);
            mf_roster_unref(now);
        }
    }
}

static void one_node_after_the_other_can_be_replaced(void **state)
{
    (void)state;
    struct mf_roster *roster = first(3, 64, 3);
    uint64_t identity = 0;
    for (uint16_t i = 1; i <= 20; i++) {
        roster = instead(roster, mf_roster_add(roster, i + 3, "a:1", i * 10));
        identity = identity == 0 ? roster->identity : identity;
        assert_int_equal(roster->identity, identity);
        check_even(roster);
        roster = instead(roster, mf_roster_leave(roster, i, i * 10));
        struct mf_roster *dropped = mf_roster_drop(roster, i);
        assert_int_equal(moves(roster, dropped), 0);
        roster = instead(roster, dropped);
        check_even(roster);
    }
    assert_int_not_equal(identity, 0);
    assert_int_equal(roster->nodes[0].id, 21);
    mf_roster_unref(roster);
}

static void copies_grow_with_the_nodes_up_to_replicas(void **state)
{
    (void)state;
    struct mf_roster *roster = first(1, 8, 3);
    assert_int_equal(roster->copies, 1);
    for (uint16_t id = 2; id <= 4; id++) {
        roster = instead(roster, mf_roster_add(roster, id, "a:1", 1));
        assert_int_equal(roster->copies, id < 3 ? id : 3);
        check_even(roster);
    }
    mf_roster_unref(roster);
}

static struct mf_roster *sample(void)
{
    struct mf_roster *roster = first(4, 10, 3);
    roster->genesis = 99;
    roster = instead(roster, mf_roster_add(roster, 9, "node-9.example:7100", 1234));
    return instead(roster, mf_roster_leave(roster, 2, 0));
}

static void what_is_encoded_can_be_decoded(void **state)
{
    (void)state;
    struct mf_roster *roster = sample();
    struct mf_buf bytes = {0};
    mf_roster_encode(roster, &bytes);
    struct mf_roster *again = NULL;
    assert_int_equal(mf_roster_decode(mf_buf_view(&bytes), &again), MF_OK);
    assert_int_equal(again->version, 3);
    assert_int_equal(again->identity, 1235);
    assert_int_equal(again->genesis, 99);
    assert_int_equal(again->shards, 10);
    assert_int_equal(again->replicas, 3);
    assert_int_equal(again->copies, 3);
    assert_int_equal(again->first_count, 4);
    assert_memory_equal(again->first, roster->first, sizeof(again->first));
    assert_int_equal(again->count, 5);
    for (uint32_t i = 0; i < again->count; i++) {
        assert_int_equal(again->nodes[i].id, roster->nodes[i].id);
        assert_int_equal(again->nodes[i].leaving, roster->nodes[i].leaving);
        assert_string_equal(again->nodes[i].peer, roster->nodes[i].peer);
    }
    assert_memory_equal(again->places, roster->places, 30 * sizeof(again->places[0]));
    mf_roster_unref(again);
    mf_roster_unref(roster);
    mf_buf_free(&bytes);
}

// Whatever is cut off, put behind, or changed in one byte is refused, or is another sound roster.
static void bytes_that_are_no_roster_are_refused(void **state)
{
    (void)state;
    struct mf_roster *roster = sample();
    struct mf_buf bytes = {0};
    mf_roster_encode(roster, &bytes);
    struct mf_roster *out = NULL;
    for (size_t len = 0; len < bytes.len; len++)
        assert_int_equal(mf_roster_decode(mf_bytes_of(bytes.data, len), &out), MF_CORRUPT);
    size_t refused = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        for (int bit = 0; bit < 8; bit++) {
            bytes.data[i] ^= (uint8_t)(1 << bit);
            if (mf_roster_decode(mf_buf_view(&bytes), &out) == MF_OK) {
                struct mf_buf same = {0};
                mf_roster_encode(out, &same);
                assert_int_equal(same.len, bytes.len);
                assert_memory_equal(same.data, bytes.data, same.len);
                mf_buf_free(&same);
                mf_roster_unref(out);
            } else {
                refused++;
            }
            bytes.data[i] ^= (uint8_t)(1 << bit);
        }
    }
    assert_true(refused > 200);
    // A place on a node that leaves, and the same place twice.
    size_t places = bytes.len - 30;
    uint8_t before = bytes.data[places];
    bytes.data[places] = 1;
    assert_int_equal(mf_roster_decode(mf_buf_view(&bytes), &out), MF_CORRUPT);
    bytes.data[places] = bytes.data[places + 1];
    assert_int_equal(mf_roster_decode(mf_buf_view(&bytes), &out), MF_CORRUPT);
    bytes.data[places] = before;
    mf_buf_u8(&bytes, 0);
    assert_int_equal(mf_roster_decode(mf_buf_view(&bytes), &out), MF_CORRUPT);
    mf_buf_free(&bytes);
    mf_roster_unref(roster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_1_places_shards_as_the_groups_begin),
        cmocka_unit_test(a_new_node_takes_its_share_and_little_else_moves),
        cmocka_unit_test(what_a_leaving_node_had_goes_to_the_others_and_little_else_moves),
        cmocka_unit_test(one_node_after_the_other_can_be_replaced),
        cmocka_unit_test(copies_grow_with_the_nodes_up_to_replicas),
        cmocka_unit_test(what_is_encoded_can_be_decoded),
        cmocka_unit_test(bytes_that_are_no_roster_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// Both ends of a checkpoint's stream, over a network that loses, doubles and reorders, with
// restarts of either side, on virtual time; and the single steps that such a run meets seldom.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/rand.h"
#include "server/stream.h"

#define FILE_BYTES_MAX (5u << 20)
#define ON_THE_WAY_MAX 4096
#define TICK_US UINT64_C(20000)
#define SENDER 2
#define INCARNATION 11
#define SLOT 900

struct parcel {
    uint64_t due_us;
    bool from_sender;
    enum { OFFER, CHUNK, ACK } kind;
    struct mf_peer_offer offer;
    struct mf_peer_chunk chunk; // its bytes: of the world's file
    struct mf_peer_ack ack;
    bool flipped;
};

// Chances in 1000.
struct faults {
    uint32_t loss;
    uint32_t copy;
    uint32_t flip;
    uint32_t sender_restart; // a tick
    uint32_t receiver_restart;
    uint64_t delay_us_max;
};

struct world {
    struct mf_rand rand;
    struct faults faults;
    uint64_t now_us;
    uint8_t *file;
    struct mf_peer_checkpoint checkpoint;
    struct mf_stream_out out;
    struct mf_stream_in in;
    uint8_t *taken; // the receiver's file
    uint64_t applied;
    uint64_t write_attempt[64]; // writes that have not ended, a ring
    uint64_t write_end[64];
    uint32_t write_first;
    uint32_t writes;
    uint32_t checks;
    uint32_t damaged;
    struct parcel parcels[ON_THE_WAY_MAX];
    uint32_t parcel_count;
};

static bool chance(struct world *world, uint32_t in_1000)
{
    return mf_rand_next(&world->rand) % 1000 < in_1000;
}

static struct world *world_new(uint64_t seed, struct faults faults)
{
    struct world *world = mf_calloc(1, sizeof(*world));
    world->rand.state = seed;
    world->faults = faults;
    world->now_us = 1000000;
    uint64_t bytes = 1 + mf_rand_next(&world->rand) % FILE_BYTES_MAX;
    world->file = mf_alloc(FILE_BYTES_MAX);
    world->taken = mf_calloc(1, FILE_BYTES_MAX);
    for (uint64_t i = 0; i < bytes; i++)
        world->file[i] = (uint8_t)(i * 31 + (i >> 8) * 7 + seed);
    world->checkpoint =
        (struct mf_peer_checkpoint){.slot = SLOT,
                                    .log_time_us = 5,
                                    .bytes = bytes,
                                    .identity = mf_hash64(mf_bytes_of(world->file, bytes), 0)};
    mf_stream_out_begin(&world->out, &world->checkpoint, INCARNATION, mf_rand_next(&world->rand),
                        world->now_us);
    return world;
}

static void world_free(struct world *world)
{
    free(world->file);
    free(world->taken);
    free(world);
}

static void post_one(struct world *world, struct parcel parcel)
{
    if (world->parcel_count == ON_THE_WAY_MAX)
        return;
    parcel.due_us = world->now_us + 1 + mf_rand_next(&world->rand) % world->faults.delay_us_max;
    parcel.flipped = parcel.kind == CHUNK && chance(world, world->faults.flip);
    world->parcels[world->parcel_count++] = parcel;
}

static void post(struct world *world, struct parcel parcel)
{
    if (!chance(world, world->faults.loss))
        post_one(world, parcel);
    if (chance(world, world->faults.copy))
        post_one(world, parcel);
}

static void post_ack(struct world *world, const struct mf_peer_ack *ack)
{
    if (ack->number != 0)
        post(world, (struct parcel){.kind = ACK, .ack = *ack});
}

static void check(struct world *world)
{
    assert_int_equal(world->in.written, world->checkpoint.bytes);
    world->checks++;
    struct mf_bytes got = mf_bytes_of(world->taken, world->checkpoint.bytes);
    bool sound = mf_hash64(got, 0) == world->checkpoint.identity;
    if (sound)
        world->applied = SLOT;
    else
        world->damaged++;
    struct mf_peer_ack ack;
    mf_stream_in_checked(&world->in, world->in.attempt, sound ? MF_PEER_HAS : MF_PEER_DAMAGED,
                         &ack);
    assert_int_not_equal(ack.number, 0);
    post_ack(world, &ack);
}

static void end_a_write(struct world *world)
{
    uint32_t i = world->write_first++ % 64;
    world->writes--;
    struct mf_peer_ack ack;
    enum mf_stream_task task =
        mf_stream_in_written(&world->in, world->write_attempt[i], world->write_end[i], true, &ack);
    post_ack(world, &ack);
    if (task == MF_STREAM_CHECK)
        check(world);
}

static void write_chunk(struct world *world, const struct parcel *parcel)
{
    const struct mf_peer_chunk *chunk = &parcel->chunk;
    uint64_t end = chunk->offset + chunk->bytes.len;
    assert_true(end <= world->checkpoint.bytes);
    memcpy(world->taken + chunk->offset, chunk->bytes.data, chunk->bytes.len);
    if (parcel->flipped)
        world->taken[chunk->offset + mf_rand_next(&world->rand) % chunk->bytes.len] ^= 4;
    assert_true(world->writes < 64);
    uint32_t i = (world->write_first + world->writes++) % 64;
    world->write_attempt[i] = world->in.attempt;
    world->write_end[i] = end;
}

static void deliver(struct world *world, const struct parcel *parcel)
{
    struct mf_peer_ack ack = {0};
    enum mf_stream_task task = MF_STREAM_NO_TASK;
    switch (parcel->kind) {
    case OFFER:
        task = mf_stream_in_offer(&world->in, world->now_us, SENDER, INCARNATION, world->applied,
                                  &parcel->offer, &ack);
        if (task == MF_STREAM_CREATE)
            memset(world->taken, 0, FILE_BYTES_MAX);
        post_ack(world, &ack);
        break;
    case CHUNK:
        task = mf_stream_in_chunk(&world->in, world->now_us, SENDER, &parcel->chunk, &ack);
        if (task == MF_STREAM_WRITE)
            write_chunk(world, parcel);
        else
            post_ack(world, &ack);
        break;
    case ACK:
        mf_stream_out_ack(&world->out, world->now_us, &parcel->ack);
        break;
    }
}

// The earliest parcel, by its due time, up to `until_us`.
static bool deliver_next(struct world *world, uint64_t until_us)
{
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < world->parcel_count; i++) {
        if (best == UINT32_MAX || world->parcels[i].due_us < world->parcels[best].due_us)
            best = i;
    }
    if (best == UINT32_MAX || world->parcels[best].due_us > until_us)
        return false;
    struct parcel parcel = world->parcels[best];
    world->parcels[best] = world->parcels[--world->parcel_count];
    world->now_us = parcel.due_us > world->now_us ? parcel.due_us : world->now_us;
    deliver(world, &parcel);
    return true;
}

static void send(struct world *world)
{
    uint64_t offset;
    size_t len;
    if (mf_stream_out_tick(&world->out, world->now_us))
        post(world, (struct parcel){.kind = OFFER, .offer = world->out.offer});
    while ((len = mf_stream_out_next(&world->out, &offset)) > 0) {
        assert_true(offset + len <= world->out.acked + MF_STREAM_WINDOW_BYTES);
        struct mf_peer_chunk chunk = {.number = world->out.offer.number,
                                      .identity = world->checkpoint.identity,
                                      .offset = offset,
                                      .bytes = mf_bytes_of(world->file + offset, len)};
        post(world, (struct parcel){.kind = CHUNK, .chunk = chunk});
        mf_stream_out_sent(&world->out, world->now_us, offset, len);
    }
}

static void restart_sender(struct world *world)
{
    mf_stream_out_begin(&world->out, &world->checkpoint, INCARNATION, mf_rand_next(&world->rand),
                        world->now_us);
}

static void restart_receiver(struct world *world)
{
    world->in = (struct mf_stream_in){0};
    world->writes = 0;
    memset(world->taken, 0, FILE_BYTES_MAX);
}

static void turn(struct world *world)
{
    uint64_t until_us = world->now_us + TICK_US;
    while (deliver_next(world, until_us)) {
        while (world->writes > 0 && chance(world, 700))
            end_a_write(world);
        send(world);
    }
    world->now_us = until_us;
    while (world->writes > 0)
        end_a_write(world);
    (void)mf_stream_in_tick(&world->in, world->now_us);
    if (chance(world, world->faults.sender_restart))
        restart_sender(world);
    if (world->applied < SLOT && chance(world, world->faults.receiver_restart))
        restart_receiver(world);
    send(world);
}

// The stream's owner begins another when one has been given up.
static void run(struct world *world)
{
    for (uint32_t i = 0; i < 100000 && world->out.state != MF_STREAM_DONE; i++) {
        if (i == 3000) // about a minute of faults, then none
            world->faults = (struct faults){.delay_us_max = 1000};
        if (mf_stream_out_ended(&world->out))
            restart_sender(world);
        turn(world);
    }
    assert_int_equal(world->out.state, MF_STREAM_DONE);
    assert_int_equal(world->applied, SLOT);
    assert_memory_equal(world->taken, world->file, world->checkpoint.bytes);
}

static void a_file_arrives_over_a_sound_link_in_one_piece(void **state)
{
    (void)state;
    struct world *world = world_new(1, (struct faults){.delay_us_max = 1});
    run(world);
    assert_int_equal(world->checks, 1);
    assert_int_equal(world->in.attempt, 2); // one begun, one ended
    world_free(world);
}

static void a_file_arrives_whole_whatever_happens_to_messages_and_processes(void **state)
{
    (void)state;
    uint32_t damaged = 0;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct faults faults = {.loss = (uint32_t)(seed % 4) * 30,
                                .copy = (uint32_t)(seed % 3) * 50,
                                .flip = seed % 5 == 0 ? 30 : 0,
                                .sender_restart = seed % 2 ? 3 : 0,
                                .receiver_restart = seed % 3 ? 2 : 0,
                                .delay_us_max = seed % 7 == 0 ? 30000 : 300};
        struct world *world = world_new(seed, faults);
        run(world);
        damaged += world->damaged;
        world_free(world);
    }
    assert_true(damaged > 0); // a bit in a chunk was flipped, refused, and the file came again
}

// Single steps.

static const struct mf_peer_checkpoint a_file = {
    .slot = SLOT, .log_time_us = 5, .bytes = 3 * MF_STREAM_CHUNK_BYTES, .identity = 77};

static struct mf_peer_ack ack_of(const struct mf_stream_out *out, enum mf_peer_verdict verdict,
                                 uint64_t offset)
{
    return (struct mf_peer_ack){
        .number = out->offer.number, .identity = 77, .offset = offset, .verdict = verdict};
}

static void begin(struct mf_stream_out *out)
{
    mf_stream_out_begin(out, &a_file, INCARNATION, 40, 1000);
    assert_true(mf_stream_out_tick(out, 1000));
    assert_int_equal(out->offer.number, 40);
}

static void answer(struct mf_stream_out *out, uint64_t now_us, enum mf_peer_verdict verdict,
                   uint64_t offset)
{
    struct mf_peer_ack ack = ack_of(out, verdict, offset);
    mf_stream_out_ack(out, now_us, &ack);
}

static void nothing_is_sent_before_the_offer_is_answered(void **state)
{
    (void)state;
    struct mf_stream_out out;
    uint64_t offset;
    begin(&out);
    assert_int_equal(mf_stream_out_next(&out, &offset), 0);
    assert_false(mf_stream_out_tick(&out, 1000 + MF_STREAM_RESEND_US - 1));
    answer(&out, 2000, MF_PEER_WANTS, MF_STREAM_CHUNK_BYTES);
    assert_int_equal(mf_stream_out_next(&out, &offset), MF_STREAM_CHUNK_BYTES);
    assert_int_equal(offset, MF_STREAM_CHUNK_BYTES);
}

static void an_answer_to_an_older_offer_or_of_another_file_changes_nothing(void **state)
{
    (void)state;
    struct mf_stream_out out;
    begin(&out);
    struct mf_peer_ack old = ack_of(&out, MF_PEER_HAS, 0);
    assert_true(mf_stream_out_tick(&out, 1000 + MF_STREAM_RESEND_US));
    mf_stream_out_ack(&out, 2000, &old);
    assert_int_equal(out.state, MF_STREAM_OFFERING);
    struct mf_peer_ack other = ack_of(&out, MF_PEER_HAS, 0);
    other.identity++;
    mf_stream_out_ack(&out, 2000, &other);
    assert_int_equal(out.state, MF_STREAM_OFFERING);
    answer(&out, 2000, MF_PEER_WANTS, a_file.bytes + 1);
    assert_int_equal(out.state, MF_STREAM_OFFERING);
    answer(&out, 2000, MF_PEER_HAS, 0);
    assert_int_equal(out.state, MF_STREAM_DONE);
}

static void a_receiver_that_is_silent_is_given_up_and_one_that_checks_is_not(void **state)
{
    (void)state;
    struct mf_stream_out out;
    begin(&out);
    assert_false(mf_stream_out_tick(&out, 1000 + MF_STREAM_IDLE_US));
    assert_int_equal(out.state, MF_STREAM_SILENT);

    begin(&out);
    uint64_t now_us = 1000;
    for (uint32_t i = 0; i < 100; i++) {
        now_us += MF_STREAM_RESEND_US + 1;
        (void)mf_stream_out_tick(&out, now_us);
        answer(&out, now_us, MF_PEER_WANTS, a_file.bytes);
        uint64_t offset;
        assert_int_equal(mf_stream_out_next(&out, &offset), 0);
    }
    assert_int_equal(out.state, MF_STREAM_SENDING);
}

static void a_receiver_that_takes_another_stream_is_asked_again_but_not_for_ever(void **state)
{
    (void)state;
    struct mf_stream_out out;
    begin(&out);
    uint32_t offers = 0;
    for (uint64_t now_us = 1000; !mf_stream_out_ended(&out); now_us += 20000) {
        offers += mf_stream_out_tick(&out, now_us);
        answer(&out, now_us, MF_PEER_BUSY, 0);
    }
    assert_int_equal(out.state, MF_STREAM_SILENT);
    assert_true(offers >= 55 && offers <= 60); // two a second
}

static void a_file_that_keeps_arriving_damaged_is_given_up(void **state)
{
    (void)state;
    struct mf_stream_out out;
    begin(&out);
    uint32_t times = 0;
    for (; !mf_stream_out_ended(&out); times++) {
        answer(&out, 2000, MF_PEER_DAMAGED, 0);
        assert_true(mf_stream_out_tick(&out, 2000) || mf_stream_out_ended(&out));
    }
    assert_int_equal(times, MF_STREAM_DAMAGED_MAX);
    assert_int_equal(out.state, MF_STREAM_DAMAGED);
}

struct receiver {
    struct mf_stream_in in;
    struct mf_peer_ack ack;
    uint64_t now_us;
};

static enum mf_stream_task offer_from(struct receiver *r, uint16_t from, uint64_t identity,
                                      uint64_t incarnation)
{
    struct mf_peer_offer offer = {.number = 1, .incarnation = incarnation, .file = a_file};
    offer.file.identity = identity;
    return mf_stream_in_offer(&r->in, r->now_us, from, INCARNATION, SLOT - 1, &offer, &r->ack);
}

static enum mf_stream_task chunk_from(struct receiver *r, uint16_t from, uint64_t offset)
{
    static uint8_t bytes[MF_STREAM_CHUNK_BYTES];
    struct mf_peer_chunk chunk = {
        .number = 1, .identity = 77, .offset = offset, .bytes = mf_bytes_of(bytes, sizeof(bytes))};
    return mf_stream_in_chunk(&r->in, r->now_us, from, &chunk, &r->ack);
}

static void one_stream_is_taken_at_a_time_until_its_sender_falls_silent(void **state)
{
    (void)state;
    struct receiver r = {.now_us = 1000};
    assert_int_equal(offer_from(&r, 2, 77, INCARNATION), MF_STREAM_CREATE);
    assert_int_equal(offer_from(&r, 3, 78, INCARNATION), MF_STREAM_NO_TASK);
    assert_int_equal(r.ack.verdict, MF_PEER_BUSY);
    assert_int_equal(chunk_from(&r, 3, 0), MF_STREAM_NO_TASK);
    assert_int_equal(r.ack.verdict, MF_PEER_ANEW);
    assert_int_equal(chunk_from(&r, 2, 0), MF_STREAM_WRITE);
    r.now_us += MF_STREAM_YIELD_US - 1;
    assert_int_equal(offer_from(&r, 3, 78, INCARNATION), MF_STREAM_NO_TASK);
    r.now_us++;
    assert_int_equal(offer_from(&r, 3, 78, INCARNATION), MF_STREAM_CREATE);
    assert_int_equal(r.ack.verdict, MF_PEER_WANTS);
    assert_int_equal(r.ack.offset, 0);
}

static void the_same_file_goes_on_where_it_was_whoever_sends_it(void **state)
{
    (void)state;
    struct receiver r = {.now_us = 1000};
    assert_int_equal(offer_from(&r, 2, 77, INCARNATION), MF_STREAM_CREATE);
    assert_int_equal(chunk_from(&r, 2, 0), MF_STREAM_WRITE);
    assert_int_equal(chunk_from(&r, 2, 0), MF_STREAM_NO_TASK);                         // doubled
    assert_int_equal(chunk_from(&r, 2, 2 * MF_STREAM_CHUNK_BYTES), MF_STREAM_NO_TASK); // one lost
    assert_int_equal(offer_from(&r, 3, 77, INCARNATION), MF_STREAM_NO_TASK);
    assert_int_equal(r.ack.verdict, MF_PEER_WANTS);
    assert_int_equal(r.ack.offset, MF_STREAM_CHUNK_BYTES);
}

static void what_is_no_use_is_refused(void **state)
{
    (void)state;
    struct receiver r = {.now_us = 1000};
    assert_int_equal(offer_from(&r, 2, 77, INCARNATION + 1), MF_STREAM_NO_TASK);
    assert_int_equal(r.ack.verdict, MF_PEER_REFUSES);
    struct mf_peer_offer offer = {.number = 1, .incarnation = INCARNATION, .file = a_file};
    assert_int_equal(mf_stream_in_offer(&r.in, r.now_us, 2, INCARNATION, SLOT, &offer, &r.ack),
                     MF_STREAM_NO_TASK);
    assert_int_equal(r.ack.verdict, MF_PEER_HAS);
}

static void what_a_file_that_was_given_up_still_has_under_way_is_void(void **state)
{
    (void)state;
    struct receiver r = {.now_us = 1000};
    assert_int_equal(offer_from(&r, 2, 77, INCARNATION), MF_STREAM_CREATE);
    assert_int_equal(chunk_from(&r, 2, 0), MF_STREAM_WRITE);
    uint64_t attempt = r.in.attempt;
    r.now_us += MF_STREAM_IDLE_US;
    assert_true(mf_stream_in_tick(&r.in, r.now_us));
    assert_int_equal(mf_stream_in_written(&r.in, attempt, MF_STREAM_CHUNK_BYTES, true, &r.ack),
                     MF_STREAM_NO_TASK);
    assert_int_equal(r.ack.number, 0);
    assert_int_equal(offer_from(&r, 2, 77, INCARNATION), MF_STREAM_CREATE);
    (void)mf_stream_in_written(&r.in, attempt, MF_STREAM_CHUNK_BYTES, true, &r.ack);
    assert_int_equal(r.ack.number, 0);
    assert_int_equal(r.in.written, 0);
    mf_stream_in_checked(&r.in, attempt, MF_PEER_HAS, &r.ack);
    assert_int_equal(r.ack.number, 0);
    assert_int_equal(r.in.stage, MF_STREAM_TAKING);
}

static void a_file_that_cannot_be_written_ends_the_stream(void **state)
{
    (void)state;
    struct receiver r = {.now_us = 1000};
    assert_int_equal(offer_from(&r, 2, 77, INCARNATION), MF_STREAM_CREATE);
    assert_int_equal(chunk_from(&r, 2, 0), MF_STREAM_WRITE);
    assert_int_equal(mf_stream_in_written(&r.in, r.in.attempt, 0, false, &r.ack),
                     MF_STREAM_NO_TASK);
    assert_int_equal(r.ack.verdict, MF_PEER_REFUSES);
    assert_int_equal(r.in.stage, MF_STREAM_NOTHING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_arrives_over_a_sound_link_in_one_piece),
        cmocka_unit_test(a_file_arrives_whole_whatever_happens_to_messages_and_processes),
        cmocka_unit_test(nothing_is_sent_before_the_offer_is_answered),
        cmocka_unit_test(an_answer_to_an_older_offer_or_of_another_file_changes_nothing),
        cmocka_unit_test(a_receiver_that_is_silent_is_given_up_and_one_that_checks_is_not),
        cmocka_unit_test(a_receiver_that_takes_another_stream_is_asked_again_but_not_for_ever),
        cmocka_unit_test(a_file_that_keeps_arriving_damaged_is_given_up),
        cmocka_unit_test(one_stream_is_taken_at_a_time_until_its_sender_falls_silent),
        cmocka_unit_test(the_same_file_goes_on_where_it_was_whoever_sends_it),
        cmocka_unit_test(what_is_no_use_is_refused),
        cmocka_unit_test(what_a_file_that_was_given_up_still_has_under_way_is_void),
        cmocka_unit_test(a_file_that_cannot_be_written_ends_the_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// Asks every reactor for its sketch, and joins them; see hotkeys_ask.h.
#include "server/hotkeys_ask.h"

#include <math.h>
#include <stdlib.h>

#include "rpc/msgpack_rpc.h"
#include "server/hotkeys.h"

struct ask {
    struct mf_reactor *home;
    uint32_t waiting; // reactors that have not answered
    uint32_t count;
    struct mf_hot_sum sum;
    mf_admin_done *done;
    void *arg;
};

struct part {
    struct mf_task task;
    struct ask *ask;
    struct mf_hotkeys sketch;
};

static void pack(struct mf_buf *out, const struct ask *ask, uint64_t age_us)
{
    const struct mf_hot_sum *sum = &ask->sum;
    uint32_t count = sum->count < ask->count ? sum->count : ask->count;
    while (count > 0 && llround(mf_hot_rate(sum->keys[count - 1].operations, age_us)) == 0)
        count--;
    mf_pack_array(out, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct mf_hot_key *key = &sum->keys[i];
        mf_pack_array(out, 3);
        mf_pack_bin(out, mf_bytes_of(key->bytes, key->len));
        mf_pack_uint(out, (uint64_t)llround(mf_hot_rate(key->operations, age_us)));
        mf_pack_double(out, key->operations / sum->total);
    }
}

static void take_part(struct mf_reactor *home, struct mf_task *task)
{
    struct part *part = (struct part *)task;
    struct ask *ask = part->ask;
    mf_hot_sum_add(&ask->sum, &part->sketch);
    free(part);
    if (--ask->waiting > 0)
        return;
    struct mf_buf out = {0};
    mf_hot_sum_sort(&ask->sum);
    pack(&out, ask, mf_reactor_now_us(home) - home->node->started_us);
    home->in_flight--;
    ask->done(ask->arg, MF_OK, NULL, mf_buf_view(&out));
    mf_buf_free(&out);
    mf_hot_sum_free(&ask->sum);
    free(ask);
}

static void copy_sketch(struct mf_reactor *reactor, struct mf_task *task)
{
    struct part *part = (struct part *)task;
    mf_hotkeys_tick(reactor->hotkeys, mf_reactor_now_us(reactor));
    part->sketch = *reactor->hotkeys;
    part->task.run = take_part;
    mf_reactor_send(reactor, part->ask->home->index, &part->task);
}

void mf_hotkeys_ask(struct mf_reactor *reactor, uint32_t count, mf_admin_done *done, void *arg)
{
    struct ask *ask = mf_calloc(1, sizeof(*ask));
    *ask = (struct ask){.home = reactor,
                        .waiting = reactor->node->reactor_count,
                        .count = count,
                        .done = done,
                        .arg = arg};
    reactor->in_flight++;
    for (uint16_t i = 0; i < reactor->node->reactor_count; i++) {
        struct part *part = mf_calloc(1, sizeof(*part));
        part->task.run = copy_sketch;
        part->ask = ask;
        mf_reactor_send(reactor, i, &part->task);
    }
}

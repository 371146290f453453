// What the Redis door keeps for the node; see resp_node.h.
//
// Shared between threads: the samples of the rates, peak_bytes and base, each number for itself
// (relaxed). A reset is seen number by number.
#include "server/resp_node.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/counter.h"
#include "base/rand.h"
#include "server/figures.h"
#include "server/resp_heard.h"
#include "server/resp_internal.h"

static void make_id(char *out)
{
    uint8_t bytes[(MF_RESP_RUN_ID_BYTES - 1) / 2];
    mf_entropy(bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

struct mf_resp_node *mf_resp_node_new(const struct mf_node *node)
{
    struct mf_resp_node *own = mf_calloc(1, sizeof(*own));
    struct utsname name;
    make_id(own->run_id);
    make_id(own->replication_id);
    if (uname(&name) == 0)
        snprintf(own->os, sizeof(own->os), "%s %s %s", name.sysname, name.release, name.machine);
    ssize_t len = readlink("/proc/self/exe", own->executable, sizeof(own->executable) - 1);
    own->executable[len > 0 ? len : 0] = '\0';
    long pages = sysconf(_SC_PHYS_PAGES);
    long page_bytes = sysconf(_SC_PAGESIZE);
    if (pages > 0 && page_bytes > 0)
        own->memory_bytes = (uint64_t)pages * (uint64_t)page_bytes;
    own->heard = mf_resp_heard_new();
    own->begun_unix_s = mf_wall_us() / 1000000;
    struct mf_allocator_bytes bytes = {0};
    if (node->allocator_bytes != NULL)
        node->allocator_bytes(&bytes);
    own->begun_bytes = bytes.allocated;
    return own;
}

void mf_resp_node_free(struct mf_resp_node *own)
{
    if (own != NULL)
        mf_resp_heard_free(own->heard);
    free(own);
}

void mf_resp_node_tick(struct mf_reactor *reactor)
{
    const struct mf_node *node = reactor->node;
    struct mf_resp_node *own = node->resp_node;
    uint64_t now_us = mf_reactor_now_us(reactor);
    if (now_us - own->calls.at_us < MF_RATE_INTERVAL_US)
        return;
    struct mf_resp_sum sum = {0};
    struct mf_figures figures = {0};
    for (uint32_t i = 0; i < node->reactor_count; i++)
        mf_resp_stats_add(node->reactors[i]->resp->stats, &sum);
    mf_figures_add_reactors(&figures, node);
    mf_rate_sample(&own->calls, now_us, sum.calls);
    mf_rate_sample(&own->input_bytes, now_us, figures.input_bytes);
    mf_rate_sample(&own->output_bytes, now_us, figures.output_bytes);
    mf_rate_sample(&own->peer_input_bytes, now_us, figures.peer_input_bytes);
    mf_rate_sample(&own->peer_output_bytes, now_us, figures.peer_output_bytes);
}

void mf_resp_node_reset(struct mf_node *node)
{
    struct mf_resp_base *base = &node->resp_node->base;
    struct mf_figures figures = {0};
    mf_figures_add_reactors(&figures, node);
    mf_counter_set(&base->connections, figures.connections);
    mf_counter_set(&base->connections_refused, figures.connections_refused);
    mf_counter_set(&base->expired, figures.led_expired);
    mf_counter_set(&base->evicted, figures.led_evicted);
    mf_counter_set(&base->inputs, figures.inputs);
    mf_counter_set(&base->input_bytes, figures.input_bytes);
    mf_counter_set(&base->outputs, figures.outputs);
    mf_counter_set(&base->output_bytes, figures.output_bytes);
    atomic_fetch_add_explicit(&node->resp_settings.resets, 1, memory_order_relaxed);
}

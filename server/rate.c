// Rates of counts; see rate.h.
#include "server/rate.h"

#include "base/counter.h"

void mf_rate_sample(struct mf_rate *rate, uint64_t now_us, uint64_t count)
{
    uint64_t past_us = now_us - rate->at_us;
    if (rate->at_us != 0 && past_us < MF_RATE_INTERVAL_US)
        return;
    if (rate->at_us != 0 && count >= rate->count) {
        uint64_t each_s = (count - rate->count) * 1000000 / past_us;
        mf_counter_set(&rate->samples[rate->next], each_s);
        rate->next = (rate->next + 1) % MF_RATE_SAMPLES;
    }
    rate->count = count;
    rate->at_us = now_us;
}

uint64_t mf_rate_read(const struct mf_rate *rate)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < MF_RATE_SAMPLES; i++)
        sum += mf_counter_read(&rate->samples[i]);
    return sum / MF_RATE_SAMPLES;
}

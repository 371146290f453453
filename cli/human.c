// Numbers for eyes; see human.h.
#include "cli/human.h"

#include <stdio.h>

// Three digits at least of a number that is above 1.
static int digits_after_point(double value)
{
    return value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
}

struct cli_human cli_human_count(uint64_t count)
{
    static const char units[] = "MGTPE";
    struct cli_human human;
    unsigned long long exact = count;
    if (count < 1000) {
        snprintf(human.text, sizeof human.text, "%llu", exact);
        return human;
    }
    if (count < 1000000) {
        snprintf(human.text, sizeof human.text, "%llu,%03llu", exact / 1000, exact % 1000);
        return human;
    }
    double value = (double)count / 1e6;
    size_t unit = 0;
    for (; value >= 999.5 && unit + 2 < sizeof units; unit++)
        value /= 1000;
    snprintf(human.text, sizeof human.text, "%.*f%c", digits_after_point(value), value,
             units[unit]);
    return human;
}

struct cli_human cli_human_bytes(uint64_t bytes)
{
    static const char units[] = "KMGTPE";
    struct cli_human human;
    if (bytes < 1024) {
        snprintf(human.text, sizeof human.text, "%llu B", (unsigned long long)bytes);
        return human;
    }
    double value = (double)bytes / 1024;
    size_t unit = 0;
    for (; value >= 999.5 && unit + 2 < sizeof units; unit++)
        value /= 1024;
    snprintf(human.text, sizeof human.text, "%.*f %ciB", digits_after_point(value), value,
             units[unit]);
    return human;
}

struct cli_human cli_human_ms(uint64_t ms)
{
    struct cli_human human;
    unsigned long long s = ms / 1000;
    if (s < 60)
        snprintf(human.text, sizeof human.text, "%llus", s);
    else if (s < 3600)
        snprintf(human.text, sizeof human.text, "%llum %llus", s / 60, s % 60);
    else if (s < 86400)
        snprintf(human.text, sizeof human.text, "%lluh %llum", s / 3600, s % 3600 / 60);
    else
        snprintf(human.text, sizeof human.text, "%llud %lluh", s / 86400, s % 86400 / 3600);
    return human;
}

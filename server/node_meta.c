// Writing and reading node.meta's lines; see node_meta.h.
#include "server/node_meta.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const state_names[] = {
    [MF_FORMATION_READY] = "ready", [MF_FORMATION_FORMED] = "formed"};
static const char *const sync_names[] = {
    [MF_DURABILITY_FSYNC] = "fsync", [MF_DURABILITY_OS] = "os", [MF_DURABILITY_NONE] = "none"};
static const char *const stop_names[] = {"running", "clean"};

#define NAMES(array) (array), sizeof(array) / sizeof((array)[0])

bool mf_node_meta_append(const struct mf_node_meta *meta, char *text, size_t size)
{
    size_t len = strlen(text);
    int more = snprintf(text + len, size - len,
                        "memory = %016" PRIx64 "\nstate = %s\nboot = %s\nsync = %s\nstop = %s\n"
                        "lease_ms = %" PRIu32 "\n",
                        meta->memory, state_names[meta->state], meta->boot, sync_names[meta->sync],
                        stop_names[meta->clean], meta->lease_ms);
    return more > 0 && (size_t)more < size - len;
}

// Takes "NAME = VALUE\n" from the front: the value, ended by a zero, or NULL.
static char *take_line(char **at, const char *name)
{
    size_t len = strlen(name);
    char *end = strchr(*at, '\n');
    if (end == NULL || strncmp(*at, name, len) != 0 || strncmp(*at + len, " = ", 3) != 0)
        return NULL;
    char *value = *at + len + 3;
    *end = '\0';
    *at = end + 1;
    return value;
}

// The index of the name that is there, or -1.
static int take_name(char **at, const char *name, const char *const *names, size_t count)
{
    const char *value = take_line(at, name);
    for (size_t i = 0; i < count && value != NULL; i++) {
        if (names[i] != NULL && strcmp(names[i], value) == 0)
            return (int)i;
    }
    return -1;
}

static bool take_memory(char **at, uint64_t *memory)
{
    const char *value = take_line(at, "memory");
    if (value == NULL || strlen(value) != 16 || strspn(value, "0123456789abcdef") != 16)
        return false;
    *memory = strtoull(value, NULL, 16);
    return *memory != 0;
}

static bool take_boot(char **at, char boot[MF_BOOT_BYTES])
{
    const char *value = take_line(at, "boot");
    if (value == NULL || strlen(value) >= MF_BOOT_BYTES)
        return false;
    memcpy(boot, value, strlen(value) + 1);
    return true;
}

static bool take_lease(char **at, uint32_t *lease_ms)
{
    const char *value = take_line(at, "lease_ms");
    if (value == NULL || *value == '\0' || strlen(value) > 9 ||
        strspn(value, "0123456789") != strlen(value))
        return false;
    *lease_ms = (uint32_t)strtoul(value, NULL, 10);
    return true;
}

enum mf_err mf_node_meta_split(char *text, struct mf_node_meta *meta)
{
    *meta = (struct mf_node_meta){0};
    char *at = strstr(text, "\nmemory = ");
    if (at == NULL)
        return MF_CORRUPT;
    char *cut = ++at;
    if (!take_memory(&at, &meta->memory))
        return MF_CORRUPT;
    int state = take_name(&at, "state", NAMES(state_names));
    bool booted = take_boot(&at, meta->boot);
    int sync = take_name(&at, "sync", NAMES(sync_names));
    int stop = take_name(&at, "stop", NAMES(stop_names));
    if (state < 0 || !booted || sync < 0 || stop < 0)
        return MF_CORRUPT;
    if (*at != '\0' && (!take_lease(&at, &meta->lease_ms) || *at != '\0'))
        return MF_CORRUPT;
    meta->state = (enum mf_formation_state)state;
    meta->sync = (enum mf_durability)sync;
    meta->clean = stop == 1;
    *cut = '\0';
    return MF_OK;
}

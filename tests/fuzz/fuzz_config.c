// Any bytes as a configuration file, and as flags.
//
// The first byte chooses which. Whatever the outcome: a refusal has a message of one line, and an
// accepted configuration holds what the server relies on without looking again.
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "server/config.h"

#define FLAGS_MAX 16
#define INPUT_BYTES_MAX 20000 // more than two lines of the longest kind

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Not assert: it must hold in every build.
static void must(bool holds)
{
    if (!holds)
        abort();
}

static void check(enum mf_err err, const struct mf_config *config, const char *message,
                  size_t message_size)
{
    size_t len = strnlen(message, message_size);
    must(len < message_size);
    if (err != MF_OK) {
        must(err == MF_BAD_REQUEST && len > 0 && strchr(message, '\n') == NULL);
        return;
    }
    must(len == 0);
    must(config->id > 0 && config->shards >= 1 && config->shards <= 16384);
    must(config->replicas % 2 == 1 && config->replicas <= 7);
    must(config->threads >= 1 && config->threads <= MF_THREADS_MAX);
    must(config->node_count >= 1 && config->node_count <= MF_NODES_MAX);
    bool listed = false;
    for (uint32_t i = 0; i < config->node_count; i++) {
        must(i == 0 || config->nodes[i - 1].id < config->nodes[i].id);
        must(strchr(config->nodes[i].peer, ':') != NULL);
        listed = listed || config->nodes[i].id == config->id;
    }
    must(listed);
    must(config->lease_ms >= 4 * config->heartbeat_ms && config->heartbeat_ms > 0);
    must(config->data_dir[0] != '\0' && config->snapshot_dir[0] != '\0' && config->peer[0] != '\0');
}

static void read_as_file(const uint8_t *data, size_t size)
{
    static int fd = -1;
    if (fd < 0)
        fd = memfd_create("mayfly.conf", MFD_CLOEXEC);
    must(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    static struct mf_config config;
    char message[1024] = "";
    enum mf_err err = mf_config_read_file(path, &config, message, sizeof(message));
    check(err, &config, message, sizeof(message));
}

// Flags, a NUL after each. A file's name is not followed: there are files that never end.
static void read_as_flags(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    must(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    char name[] = "mayflyd";
    char *argv[FLAGS_MAX] = {name};
    int argc = 1;
    for (char *flag = text; argc < FLAGS_MAX && flag < text + size; flag += strlen(flag) + 1) {
        if (strncmp(flag, "--config", strlen("--config")) != 0)
            argv[argc++] = flag;
    }
    static struct mf_config config;
    struct mf_config_options options;
    char message[1024] = "";
    enum mf_err err = mf_config_load(argc, argv, &config, &options, message, sizeof(message));
    if (!options.help && !options.version)
        check(err, &config, message, sizeof(message));
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > INPUT_BYTES_MAX)
        return 0;
    if (data[0] % 2 == 0)
        read_as_file(data + 1, size - 1);
    else
        read_as_flags(data + 1, size - 1);
    return 0;
}

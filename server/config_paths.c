// Folders that must be apart; see config_paths.h.
#include "server/config_paths.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "snapshot/source.h"

#define PATH_BYTES (PATH_MAX + 32)

// The last name goes; "/" stays.
static void go_up(char *path)
{
    char *slash = strrchr(path, '/');
    slash[slash == path] = '\0';
}

bool mf_config_resolve_path(const char *path, char *out)
{
    char real[PATH_MAX];
    strcpy(out, "/");
    if (path[0] != '/' && realpath(".", out) == NULL)
        return false;
    for (size_t len; *path != '\0'; path += len) {
        path += strspn(path, "/");
        len = strcspn(path, "/");
        if (len == 0 || (len == 1 && path[0] == '.'))
            continue;
        if (len == 2 && strncmp(path, "..", 2) == 0) {
            go_up(out);
            continue;
        }
        size_t had = strlen(out);
        bool root = had == 1;
        if (had + 1 + len >= PATH_MAX)
            return false;
        snprintf(out + had, PATH_MAX - had, "%s%.*s", root ? "" : "/", (int)len, path);
        if (realpath(out, real) != NULL)
            strcpy(out, real);
    }
    return true;
}

static bool is_within(const char *path, const char *folder)
{
    size_t len = strlen(folder);
    return strncmp(path, folder, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

// A node keeps there what it starts from.
static bool is_state_of(const char *path, const char *data_dir)
{
    static const char *const names[] = {"wal", "checkpoints"};
    char folder[PATH_BYTES];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(folder, sizeof(folder), "%s/%s", data_dir, names[i]);
        if (is_within(path, folder))
            return true;
    }
    return false;
}

// A snapshot may have any name.
static bool is_data_folder(const char *folder)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/node.meta", folder);
    return access(path, F_OK) == 0 && mf_snapshot_recognize(path) != MF_OK;
}

const char *mf_config_refuse_snapshot_dir(const char *data_dir, const char *snapshot_dir)
{
    char data[PATH_MAX];
    char snapshots[PATH_MAX];
    if (!mf_config_resolve_path(data_dir, data) || !mf_config_resolve_path(snapshot_dir, snapshots))
        return "expected a shorter path";
    if (strcmp(data, snapshots) == 0)
        return "expected another folder than node.data_dir";
    if (is_state_of(snapshots, data))
        return "expected a folder outside of wal and checkpoints in node.data_dir";
    if (is_data_folder(snapshots))
        return "expected a folder that is no node's data folder";
    go_up(snapshots);
    char other[PATH_MAX];
    (void)mf_config_resolve_path(snapshot_dir, other);
    if (is_data_folder(snapshots) && is_state_of(other, snapshots))
        return "expected a folder that is no part of a node's data folder";
    return NULL;
}

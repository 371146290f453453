// Whether folders that the configuration names get into each other's way.
#ifndef MF_SERVER_CONFIG_PATHS_H
#define MF_SERVER_CONFIG_PATHS_H

#include <stdbool.h>
#include <stddef.h>

// The path without symbolic links, "." and "..", whether or not there is anything at its end.
// False when it is longer than PATH_MAX, or the working directory is gone. out: PATH_MAX bytes.
bool mf_config_resolve_path(const char *path, char *out);

// NULL, or what was expected of snapshot.dir instead: clients name the files in it, replace and
// remove them, so it is no data folder, of this node or another, and no part of one that a node
// keeps its state in. Looks at the disk.
const char *mf_config_refuse_snapshot_dir(const char *data_dir, const char *snapshot_dir);

#endif

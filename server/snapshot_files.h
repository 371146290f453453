// The files in snapshot.dir, for who fetches them over the network: read in pieces, and removed.
//
// Names are those that `snapshot` takes, checked by the protocol, so none leads out of the folder.
// The worker touches the disk, not the reactor that asks.
#ifndef MF_SERVER_SNAPSHOT_FILES_H
#define MF_SERVER_SNAPSHOT_FILES_H

#include "server/admin.h"

// The most that one read returns, and how many reads and removals a node has under way: MF_BUSY
// beyond. Their answers are large, and the worker has other things to do.
#define MF_SNAPSHOT_PIECE_BYTES (1024u * 1024u)
#define MF_SNAPSHOT_PIECES_MAX 4u

// On a reactor; done is called there. Packed: {size, data}, the file's size and its bytes from
// `offset` on, as many as MF_SNAPSHOT_PIECE_BYTES, none at its end. MF_BAD_REQUEST when there is no
// such file, or it is smaller than `offset`.
void mf_snapshot_files_read(struct mf_reactor *reactor, struct mf_bytes name, uint64_t offset,
                            mf_admin_done *done, void *arg);
// Packed: whether there was such a file.
void mf_snapshot_files_remove(struct mf_reactor *reactor, struct mf_bytes name, mf_admin_done *done,
                              void *arg);

#endif

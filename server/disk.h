// What the node does when its disk does not take the write-ahead log.
//
// A sync that failed is final: the node stops, and the others take over. A disk that is full, or
// that answers writes with I/O errors, blocks the log (consensus/wal.h), and the node steps down
// until it is not any more, with nothing restarted:
//   D1  Nothing is acknowledged, promised or voted for that is not on disk: answers wait for it.
//   D2  It asks for no leases, takes no groups, hands over those it leads, and does not run.
//   D3  A replica takes no writes as their leader, and proposes none that it has: had they been
//       proposed, nobody could say what became of them. They wait for another leader, and end with
//       MF_NO_QUORUM.
//   D4  What waits for the disk is bounded: above, messages that bring records are taken for lost.
//   D5  Reads go on: of a leader while it has its lease or a majority, and local ones.
// It says so once, when the first of its logs is blocked, and once more when none is.
#ifndef MF_SERVER_DISK_H
#define MF_SERVER_DISK_H

#include <stdbool.h>

#include "consensus/paxos_msg.h"
#include "consensus/wal.h"

struct mf_reactor;

// For struct mf_wal_config, with the reactor as arg: on the WAL's thread.
void mf_disk_failed(void *reactor, const char *message);
void mf_disk_blocked(void *reactor, enum mf_wal_block block, const char *message);
void mf_disk_synced(void *reactor, uint64_t us);
// D4: the message is to be dropped. The reactor's own thread.
bool mf_disk_sheds(const struct mf_reactor *reactor, const struct mf_paxos_msg *msg);

#endif

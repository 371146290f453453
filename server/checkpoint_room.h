// Checkpoints for want of room: when the disk runs low, those that let the oldest files of the log
// go are written at once, before the log fills the disk and the node has to step down.
//
//   R1  Enough room is: two more segments for each stream, the largest shard's checkpoint, and an
//       eighth of all shards' bytes. With less, one is asked for, when R2 and R3 hold.
//   R2  The log has so much that a checkpoint may let go, that writing all of them again is worth
//       it: a segment, and an eighth of the shards' bytes. So what is written for it is at most
//       some eight times what the log takes, however low the room stays; and where the log is not
//       what fills the disk, nothing is.
//   R3  The file fits: one that does not would fill the disk itself. Nor is one written again that
//       is as new as its shard.
// While room is low the log keeps no files to make others of, either.
#ifndef MF_SERVER_CHECKPOINT_ROOM_H
#define MF_SERVER_CHECKPOINT_ROOM_H

#include <stdint.h>

struct mf_node;

struct mf_checkpoint_room {
    uint64_t free_bytes;    // on the log's disk
    uint64_t log_bytes;     // what the log's files take
    uint64_t streams;       // each of them writes one of these files
    uint64_t segment_bytes; // and so much a file takes
    uint64_t shards_bytes;  // in memory, which a checkpoint does not exceed
    uint64_t largest_bytes; // of the largest of them
};

enum mf_room {
    MF_ROOM_ENOUGH,
    MF_ROOM_LOW, // but nothing that a checkpoint would let go is worth it (R2)
    MF_ROOM_CUT, // the log is to be cut
};
enum mf_room mf_checkpoint_room_judge(const struct mf_checkpoint_room *room);
// The log alone may use up what is free before a checkpoint is done.
#define MF_ROOM_SEGMENTS 2u

// The most that a shard's checkpoint takes: its state, or no more than the one that is there and
// the whole log since (0: none is there).
uint64_t mf_checkpoint_room_file(uint64_t shard_bytes, uint64_t there_bytes, uint64_t log_bytes);

// What is remembered from look to look.
struct mf_room_look {
    uint32_t shard; // asked for last
    uint64_t asked_us;
    uint64_t said_us[2]; // when the log was last told about it: that it is cut, that it cannot be
};
// How often to look.
#define MF_ROOM_LOOK_MS 200u
// The thread of the checkpoints, for it asks the file systems: asks for a checkpoint where one is
// wanted. Nothing without a log on disk.
void mf_checkpoint_room_look(struct mf_room_look *look, struct mf_node *node, uint64_t now_us);

#endif

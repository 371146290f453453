// A section of a snapshot becomes a shard again; see reader.h.
#include <inttypes.h>

#include "snapshot/format.h"
#include "snapshot/reader.h"

static enum mf_err load_record(void *arg, const struct mf_record *record)
{
    return mf_shard_load(arg, record);
}

enum mf_err mf_snapshot_load(struct mf_snapshot_reader *reader, uint32_t i, struct mf_shard *shard,
                             char *message, size_t message_size)
{
    const struct mf_snapshot_shard *section = mf_snapshot_section(reader, i);
    mf_shard_load_begin(shard);
    mf_shard_load_seed(shard, section->meta.hash_seed);
    enum mf_err err = mf_snapshot_read(reader, i, load_record, shard, message, message_size);
    if (err != MF_OK)
        return err;
    err = mf_shard_load_end(shard, &section->meta);
    if (err != MF_OK)
        return mf_snapshot_fail(err, message, message_size,
                                "%s: the section of shard %" PRIu32 " makes no sound shard",
                                mf_snapshot_path(reader), section->shard);
    return MF_OK;
}

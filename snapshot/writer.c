// The snapshot writer; see writer.h.
//
// Each shard that is open gathers keys and ids in two buffers; a full one becomes a block at the
// end of the file, and its header is kept for the index. The order at the end is what makes a
// snapshot trustworthy: all bytes synced before the rename gives them the name, and the folder
// synced before anyone is told.
#include "snapshot/writer.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/slots.h"
#include "snapshot/block.h"
#include "snapshot/calls.h"
#include "snapshot/format.h"
#include "snapshot/unfinished.h"

// Bounds what open shards gather, see the header.
#define GATHERED_BYTES_MAX (512u * 1024u * 1024u)

struct gathering {
    struct mf_buf raw;
    uint32_t records;
};

struct section {
    struct mf_snapshot_section about;
    struct mf_buf members;
    uint64_t keys; // put so far
    uint64_t ids;
    uint64_t version; // the highest put so far
    struct gathering gathering_keys;
    struct gathering gathering_ids;
    bool ended;
};

struct mf_snapshot_writer {
    const struct mf_snapshot_calls *calls;
    char *path;
    char *temporary;
    bool temporary_exists;
    int fd;
    int lock; // see unfinished.h
    int folder;
    struct mf_snapshot_header header;
    bool no_sync;
    struct section **sections; // by shard number, header.shard_count of them; NULL = not begun
    uint32_t open;             // begun and not ended
    struct mf_buf index;
    struct mf_buf out;
    struct mf_snapshot_totals totals;
    enum mf_err err;
    char why[512];
};

static int open_file(const char *path, int flags, mode_t mode)
{
    return open(path, flags, mode);
}

static const struct mf_snapshot_calls system_calls = {
    .open = open_file,
    .write = write,
    .fsync = fsync,
    .close = close,
    .rename = rename,
    .unlink = unlink,
};

static const char *errno_text(void)
{
    const char *text = strerrordesc_np(errno);
    return text != NULL ? text : "unknown error";
}

// Notes the first failure.
static enum mf_err fail_io(struct mf_snapshot_writer *writer, const char *what, const char *path)
{
    writer->err = mf_snapshot_fail(MF_IO, writer->why, sizeof(writer->why), "%s %s: %s", what, path,
                                   errno_text());
    return writer->err;
}

static enum mf_err fail_shard(struct mf_snapshot_writer *writer, enum mf_err err, uint32_t shard,
                              const char *what)
{
    writer->err = mf_snapshot_fail(err, writer->why, sizeof(writer->why),
                                   "writing %s: shard %" PRIu32 ": %s", writer->path, shard, what);
    return writer->err;
}

static enum mf_err write_all(struct mf_snapshot_writer *writer, struct mf_bytes bytes)
{
    while (bytes.len > 0) {
        ssize_t written = writer->calls->write(writer->fd, bytes.data, bytes.len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written == 0)
            errno = ENOSPC;
        if (written <= 0)
            return fail_io(writer, "writing", writer->temporary);
        bytes = mf_bytes_of(bytes.data + written, bytes.len - (size_t)written);
        writer->totals.bytes += (uint64_t)written;
    }
    return MF_OK;
}

static void free_section(struct section *section)
{
    if (section == NULL)
        return;
    mf_buf_free(&section->gathering_keys.raw);
    mf_buf_free(&section->gathering_ids.raw);
    mf_buf_free(&section->members);
    free(section);
}

static void close_if_open(struct mf_snapshot_writer *writer, int *fd)
{
    if (*fd >= 0)
        (void)writer->calls->close(*fd);
    *fd = -1;
}

static void free_writer(struct mf_snapshot_writer *writer)
{
    close_if_open(writer, &writer->fd);
    close_if_open(writer, &writer->folder);
    if (writer->lock >= 0)
        close(writer->lock);
    for (uint32_t i = 0; i < writer->header.shard_count; i++)
        free_section(writer->sections[i]);
    free(writer->sections);
    mf_buf_free(&writer->index);
    mf_buf_free(&writer->out);
    free(writer->path);
    free(writer->temporary);
    free(writer);
}

static int open_folder_of(struct mf_snapshot_writer *writer)
{
    const char *slash = strrchr(writer->path, '/');
    char *folder = mf_strdup(slash != NULL ? writer->path : ".");
    if (slash != NULL)
        folder[slash == writer->path ? 1 : slash - writer->path] = '\0';
    int fd = writer->calls->open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    free(folder);
    return fd;
}

// Makes the file aside, which nobody else has or takes away from then on.
static enum mf_err create_temporary(struct mf_snapshot_writer *writer)
{
    enum mf_err err = mf_unfinished_look(writer->temporary);
    if (err == MF_BUSY)
        errno = EBUSY; // where processes of one number share a folder
    if (err != MF_OK)
        return fail_io(writer, "creating", writer->temporary);
    // What an ended process of the same number left is of no use, and may be anything.
    if (writer->calls->unlink(writer->temporary) != 0 && errno != ENOENT)
        return fail_io(writer, "removing the old", writer->temporary);
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
    writer->fd = writer->calls->open(writer->temporary, flags, 0600);
    while (writer->fd >= 0 && (err = mf_unfinished_hold(writer->fd, &writer->lock)) == MF_AGAIN) {
        close_if_open(writer, &writer->fd);
        writer->fd = writer->calls->open(writer->temporary, flags, 0600);
    }
    if (writer->fd < 0)
        return fail_io(writer, "creating", writer->temporary);
    writer->temporary_exists = true;
    return err == MF_OK ? MF_OK : fail_io(writer, "locking", writer->temporary);
}

// The folder is opened first, so that little is left to fail once the new name stands.
static enum mf_err open_files(struct mf_snapshot_writer *writer)
{
    writer->folder = open_folder_of(writer);
    if (writer->folder < 0)
        return fail_io(writer, "opening the folder of", writer->path);
    enum mf_err err = create_temporary(writer);
    if (err != MF_OK)
        return err;
    mf_snapshot_put_header(&writer->out, &writer->header);
    // The header's checksum is its last field.
    struct mf_reader r =
        mf_reader_of(mf_bytes_of(writer->out.data + writer->out.len - MF_SNAPSHOT_CHECKSUM_BYTES,
                                 MF_SNAPSHOT_CHECKSUM_BYTES));
    writer->header.checksum = mf_read_u64(&r);
    return write_all(writer, mf_buf_view(&writer->out));
}

enum mf_err mf_snapshot_create_with(const struct mf_snapshot_calls *calls, const char *path,
                                    const struct mf_snapshot_info *info,
                                    struct mf_snapshot_writer **out, char *message,
                                    size_t message_size)
{
    assert(info->shard_count >= 1 && info->shard_count <= MF_SLOT_COUNT);
    assert(strlen(info->cluster) <= MF_SNAPSHOT_NAME_MAX);
    struct mf_snapshot_writer *writer = mf_calloc(1, sizeof(*writer));
    writer->calls = calls;
    writer->fd = -1;
    writer->lock = -1;
    writer->folder = -1;
    writer->path = mf_strdup(path);
    size_t size = strlen(path) + 32;
    writer->temporary = mf_alloc(size);
    snprintf(writer->temporary, size, "%s.tmp-%ld", path, (long)getpid());
    writer->no_sync = info->no_sync;
    writer->header.version = MF_SNAPSHOT_VERSION;
    writer->header.created_us = info->created_us;
    writer->header.shard_count = info->shard_count;
    memcpy(writer->header.cluster, info->cluster, strlen(info->cluster));
    writer->sections = mf_calloc(info->shard_count, sizeof(struct section *));
    enum mf_err err = open_files(writer);
    if (err != MF_OK) {
        snprintf(message, message_size, "%s", writer->why);
        mf_snapshot_abort(writer);
        return err;
    }
    *out = writer;
    return MF_OK;
}

enum mf_err mf_snapshot_create(const char *path, const struct mf_snapshot_info *info,
                               struct mf_snapshot_writer **out, char *message, size_t message_size)
{
    return mf_snapshot_create_with(&system_calls, path, info, out, message, message_size);
}

enum mf_err mf_snapshot_begin_shard(struct mf_snapshot_writer *writer, uint32_t shard,
                                    const struct mf_shard_meta *meta, uint64_t wall_us)
{
    if (writer->err != MF_OK)
        return writer->err;
    assert(shard < writer->header.shard_count && writer->sections[shard] == NULL);
    struct section *section = mf_calloc(1, sizeof(*section));
    section->about =
        (struct mf_snapshot_section){.shard = shard, .meta = *meta, .wall_us = wall_us};
    writer->sections[shard] = section;
    writer->open += 1;
    writer->totals.shards += 1;
    return MF_OK;
}

void mf_snapshot_set_members(struct mf_snapshot_writer *writer, uint32_t shard,
                             struct mf_bytes members)
{
    if (writer->err != MF_OK)
        return;
    struct section *section = writer->sections[shard];
    assert(section != NULL && !section->ended && members.len <= MF_SNAPSHOT_MEMBERS_MAX);
    section->members.len = 0;
    mf_buf_put(&section->members, members.data, members.len);
    section->about.members_bytes = (uint32_t)members.len;
}

// Makes a block of what is gathered.
static enum mf_err flush(struct mf_snapshot_writer *writer, uint32_t shard,
                         enum mf_snapshot_kind kind, struct gathering *gathering)
{
    if (gathering->records == 0)
        return MF_OK;
    struct mf_snapshot_block block = {.offset = writer->totals.bytes,
                                      .shard = shard,
                                      .records = gathering->records,
                                      .kind = kind};
    mf_buf_clear(&writer->out, MF_SNAPSHOT_BLOCK_BYTES * 2);
    mf_snapshot_pack(&writer->out, &block, mf_buf_view(&gathering->raw));
    mf_buf_put(&writer->index, writer->out.data, MF_SNAPSHOT_BLOCK_HEADER_BYTES);
    gathering->records = 0;
    mf_buf_clear(&gathering->raw, MF_SNAPSHOT_BLOCK_BYTES);
    return write_all(writer, mf_buf_view(&writer->out));
}

static size_t block_bytes(const struct mf_snapshot_writer *writer)
{
    size_t bytes = MF_SNAPSHOT_BLOCK_BYTES;
    while (bytes * 2 * writer->open > GATHERED_BYTES_MAX)
        bytes /= 2;
    return bytes;
}

enum mf_err mf_snapshot_put(struct mf_snapshot_writer *writer, uint32_t shard,
                            const struct mf_record *record)
{
    if (writer->err != MF_OK)
        return writer->err;
    struct section *section = shard < writer->header.shard_count ? writer->sections[shard] : NULL;
    assert(section != NULL && !section->ended);
    const char *fault = mf_snapshot_record_fault(record, shard, writer->header.shard_count,
                                                 section->about.meta.version);
    if (fault != NULL) {
        char text[128];
        snprintf(text, sizeof(text), "a record %s", fault);
        return fail_shard(writer, MF_CORRUPT, shard, text);
    }
    enum mf_snapshot_kind kind = record->is_id ? MF_SNAPSHOT_IDS : MF_SNAPSHOT_KEYS;
    struct gathering *gathering =
        record->is_id ? &section->gathering_ids : &section->gathering_keys;
    size_t size = MF_SNAPSHOT_RECORD_BYTES + record->key.len + record->value.len;
    if (gathering->raw.len + size > block_bytes(writer)) {
        enum mf_err err = flush(writer, shard, kind, gathering);
        if (err != MF_OK)
            return err;
    }
    mf_snapshot_put_record(&gathering->raw, record);
    gathering->records += 1;
    section->version = record->version > section->version ? record->version : section->version;
    *(record->is_id ? &section->ids : &section->keys) += 1;
    return MF_OK;
}

void mf_snapshot_settle(struct mf_snapshot_writer *writer, uint32_t shard)
{
    if (writer->err != MF_OK)
        return;
    struct section *section = writer->sections[shard];
    assert(section != NULL && !section->ended);
    section->about.meta.keys = section->keys;
    section->about.meta.ids = section->ids;
    section->about.meta.version = section->version;
}

enum mf_err mf_snapshot_end_shard(struct mf_snapshot_writer *writer, uint32_t shard)
{
    if (writer->err != MF_OK)
        return writer->err;
    struct section *section = shard < writer->header.shard_count ? writer->sections[shard] : NULL;
    assert(section != NULL && !section->ended);
    if (section->keys != section->about.meta.keys || section->ids != section->about.meta.ids)
        return fail_shard(writer, MF_CORRUPT, shard,
                          "the number of records is not what was announced");
    enum mf_err err = flush(writer, shard, MF_SNAPSHOT_KEYS, &section->gathering_keys);
    if (err == MF_OK)
        err = flush(writer, shard, MF_SNAPSHOT_IDS, &section->gathering_ids);
    if (err != MF_OK)
        return err;
    mf_buf_free(&section->gathering_keys.raw);
    mf_buf_free(&section->gathering_ids.raw);
    section->ended = true;
    writer->open -= 1;
    writer->totals.keys += section->keys;
    writer->totals.ids += section->ids;
    return MF_OK;
}

const char *mf_snapshot_why(const struct mf_snapshot_writer *writer)
{
    return writer->why;
}

static enum mf_err write_end(struct mf_snapshot_writer *writer)
{
    uint64_t offset = writer->totals.bytes;
    struct mf_buf *out = &writer->out;
    mf_buf_clear(out, MF_SNAPSHOT_BLOCK_BYTES * 2);
    struct mf_snapshot_footer footer = {
        .sections = (uint32_t)writer->totals.shards,
        .blocks = writer->index.len / MF_SNAPSHOT_BLOCK_HEADER_BYTES,
        .header_checksum = writer->header.checksum,
    };
    mf_snapshot_put_footer_start(out, &footer);
    for (uint32_t i = 0; i < writer->header.shard_count; i++) {
        if (writer->sections[i] != NULL)
            mf_snapshot_put_section(out, &writer->sections[i]->about);
    }
    mf_buf_put(out, writer->index.data, writer->index.len);
    for (uint32_t i = 0; i < writer->header.shard_count; i++) {
        const struct section *section = writer->sections[i];
        if (section != NULL)
            mf_buf_put(out, section->members.data, section->members.len);
    }
    mf_snapshot_put_checksum(out, 0);
    size_t footer_bytes = out->len;
    if (footer_bytes > MF_SNAPSHOT_FOOTER_BYTES_MAX) {
        writer->err =
            mf_snapshot_fail(MF_TOO_LARGE, writer->why, sizeof(writer->why),
                             "writing %s: more blocks than one snapshot can index", writer->path);
        return writer->err;
    }
    struct mf_reader r = mf_reader_of(
        mf_bytes_of(out->data + out->len - MF_SNAPSHOT_CHECKSUM_BYTES, MF_SNAPSHOT_CHECKSUM_BYTES));
    writer->totals.identity = mf_read_u64(&r);
    mf_snapshot_put_trailer(out, offset, footer_bytes);
    return write_all(writer, mf_buf_view(out));
}

// From bytes in the page cache to a name that lasts.
static enum mf_err publish(struct mf_snapshot_writer *writer)
{
    if (!writer->no_sync && writer->calls->fsync(writer->fd) != 0)
        return fail_io(writer, "syncing", writer->temporary);
    int closed = writer->calls->close(writer->fd);
    writer->fd = -1;
    if (closed != 0)
        return fail_io(writer, "closing", writer->temporary);
    if (writer->calls->rename(writer->temporary, writer->path) != 0)
        return fail_io(writer, "renaming to", writer->path);
    writer->temporary_exists = false;
    if (!writer->no_sync && writer->calls->fsync(writer->folder) != 0)
        return fail_io(writer, "syncing the folder of", writer->path);
    return MF_OK;
}

enum mf_err mf_snapshot_commit(struct mf_snapshot_writer *writer, struct mf_snapshot_totals *totals,
                               char *message, size_t message_size)
{
    enum mf_err err = writer->err;
    assert(err != MF_OK || writer->open == 0);
    if (err == MF_OK)
        err = write_end(writer);
    if (err == MF_OK)
        err = publish(writer);
    if (err != MF_OK) {
        snprintf(message, message_size, "%s", writer->why);
        mf_snapshot_abort(writer);
        return err;
    }
    if (totals != NULL)
        *totals = writer->totals;
    free_writer(writer);
    return MF_OK;
}

void mf_snapshot_abort(struct mf_snapshot_writer *writer)
{
    if (writer->temporary_exists)
        (void)writer->calls->unlink(writer->temporary);
    free_writer(writer);
}

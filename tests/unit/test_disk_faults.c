// Every system call under the log, the checkpoints and the data folder fails once, for every turn
// it can fail at: nothing acknowledged is lost, nothing half is taken for whole, nobody crashes,
// and somebody is told.
//
// One run of the script is a child process, so that a crash of it is seen as one; what it was told
// is in memory that it shares with the test. A second child then looks at what is there with all
// calls well again.
#include "snapshot_fixture.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/log.h"
#include "consensus/wal.h"
#include "server/checkpoint.h"
#include "server/data_dir.h"
#include "server/roster.h"
#include "tests/unit/disk_faults.h"

#define SHARDS 4u
#define STREAMS 2u
#define SEGMENT 4096u
#define PAYLOAD 1200u // two entries to a segment, and some
#define ENTRIES 3u    // of a shard in one opening
#define OPENINGS 2u
#define MEMORY 7u // the acceptor's name for what it promises

// A child takes sanitizers ten times as long: they see every fifth turn.
#if defined(__SANITIZE_ADDRESS__) || defined(MF_TSAN)
#define STEP 5u
#else
#define STEP 1u
#endif

// What the script was told, for the test to hold it to.
static struct told {
    uint64_t memory[2];     // of the acceptor: acknowledged, and tried
    uint64_t acked[SHARDS]; // the highest slot that was durable
    uint64_t tried[SHARDS]; // the highest slot that was handed over
    uint64_t promise[SHARDS];
    uint64_t checkpoint[SHARDS]; // the slot of the last that was acknowledged
    bool came;                   // the fault
    bool complained;
    bool finished;
    char message[600];
} * told;

static enum disk_fault fault_now;

static void complain(const char *what, const char *message)
{
    told->complained = true;
    snprintf(told->message, sizeof(told->message), "%s: %s", what, message);
    if (message[0] == '\0') {
        fprintf(stderr, "%s without a word\n", what);
        abort();
    }
}

// The child's assert: cmocka's would return into a copy of the parent.
static void must(bool is, const char *what)
{
    if (is)
        return;
    fprintf(stderr, "%s (last complaint: %s)\n", what, told->message);
    abort();
}

static struct mf_node *new_node(const char *folder)
{
    struct mf_node *node = mf_calloc(1, sizeof(*node));
    struct mf_config *config = &node->config;
    snprintf(config->data_dir, sizeof(config->data_dir), "%s/data", folder);
    snprintf(config->name, sizeof(config->name), "c");
    config->shards = SHARDS;
    config->replicas = 3;
    config->id = 1;
    config->node_count = 3;
    for (uint16_t i = 0; i < 3; i++) {
        config->nodes[i].id = (uint16_t)(i + 1);
        snprintf(config->nodes[i].peer, sizeof(config->nodes[i].peer), "127.0.0.1:%u", 1000u + i);
    }
    snprintf(node->members_text, sizeof(node->members_text), "1,2,3");
    config->durability = MF_DURABILITY_FSYNC;
    node->member_count = 3;
    node->replica_count = 3;
    node->checkpointer = mf_checkpointer_new(node);
    node->ledger = mf_wal_ledger_new(SHARDS);
    return node;
}

static void free_node(struct mf_node *node)
{
    mf_checkpointer_free(node->checkpointer);
    mf_wal_ledger_free(node->ledger);
    mf_roster_unref(node->roster);
    free(node);
}

// What a start finds of each shard.
struct found {
    uint64_t checkpoint[SHARDS];
    uint64_t slots[SHARDS]; // a bit for each slot of the log
    uint64_t promise[SHARDS];
    uint64_t mark[SHARDS];
};

static struct mf_bytes payload_of(uint32_t shard, uint64_t slot, uint8_t *room)
{
    for (size_t i = 0; i < PAYLOAD; i++)
        room[i] = (uint8_t)(shard * 50 + slot * 31 + i * 7);
    return mf_bytes_of(room, PAYLOAD);
}

static enum mf_err find_record(void *arg, const struct mf_wal_record *record)
{
    struct found *found = arg;
    must(record->group < SHARDS && record->slot < 64, "a record that nobody wrote");
    if (record->type == MF_WAL_PROMISE && record->ballot > found->promise[record->group])
        found->promise[record->group] = record->ballot;
    if (record->type == MF_WAL_MARK && record->slot > found->mark[record->group])
        found->mark[record->group] = record->slot;
    if (record->type == MF_WAL_ACCEPT) {
        uint8_t room[PAYLOAD];
        must(mf_bytes_equal(record->payload, payload_of(record->group, record->slot, room)),
             "an entry with another payload");
        found->slots[record->group] |= UINT64_C(1) << record->slot;
    }
    return MF_OK;
}

static bool recovers(struct mf_node *node, struct found *found)
{
    char message[600] = "";
    *found = (struct found){0};
    enum mf_err err = mf_checkpoint_prepare(node, message, sizeof(message));
    for (uint32_t i = 0; i < SHARDS && err == MF_OK; i++) {
        struct mf_shard *state = NULL;
        struct mf_members members;
        struct mf_checkpoint_info info;
        err = mf_checkpoint_load(node, i, &state, &members, &info, message, sizeof(message));
        if (err == MF_OK && state != NULL) {
            must(mf_shard_keys(state) == 1, "a checkpoint without its key");
            found->checkpoint[i] = info.slot;
            mf_checkpoint_set_info(node, i, &info);
            mf_wal_ledger_cover(node->ledger, i, info.slot);
            mf_shard_free(state);
        }
    }
    struct mf_wal_recovery recovery;
    char folder[sizeof(node->config.data_dir) + 8];
    snprintf(folder, sizeof(folder), "%s/wal", node->config.data_dir);
    if (err == MF_OK) {
        err = mf_wal_recover(folder, &recovery, node->ledger, find_record, found);
        snprintf(message, sizeof(message), "%s", recovery.message);
    }
    // Damage makes a node forget what it has: a call that failed is none.
    must(err == MF_OK || err == MF_IO, "a failed call is taken for damage");
    if (err != MF_OK)
        complain("recovery", message);
    return err == MF_OK;
}

// All that was acknowledged is in what a start found, and nothing that nobody wrote.
static void check_found(const struct found *found)
{
    for (uint32_t i = 0; i < SHARDS; i++) {
        must(found->checkpoint[i] >= told->checkpoint[i], "an acknowledged checkpoint is gone");
        must(found->checkpoint[i] <= told->acked[i], "a checkpoint of what was not acknowledged");
        for (uint64_t slot = found->checkpoint[i] + 1; slot <= told->acked[i]; slot++)
            must((found->slots[i] >> slot & 1) != 0, "an acknowledged entry is gone");
        must(found->slots[i] >> told->tried[i] >> 1 == 0, "an entry that nobody wrote");
        must(found->promise[i] >= told->promise[i], "an acknowledged promise is gone");
        must(found->mark[i] <= told->acked[i], "a mark of what was not acknowledged");
    }
}

// One reactor's log and what it reports.
struct stream {
    struct mf_wal *wal;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t durable;
    bool failed;
};

static void on_durable(void *arg, uint64_t sequence)
{
    struct stream *stream = arg;
    pthread_mutex_lock(&stream->lock);
    stream->durable = sequence;
    pthread_cond_broadcast(&stream->changed);
    pthread_mutex_unlock(&stream->lock);
}

static void on_failed(void *arg, const char *message)
{
    struct stream *stream = arg;
    complain("log", message);
    pthread_mutex_lock(&stream->lock);
    stream->failed = true;
    pthread_cond_broadcast(&stream->changed);
    pthread_mutex_unlock(&stream->lock);
}

// What passes the log waits for, and what stays it would wait for until it is closed.
static void on_blocked(void *arg, enum mf_wal_block block, const char *message)
{
    struct stream *stream = arg;
    if (block == MF_WAL_FLOWS)
        return;
    complain("log", message);
    pthread_mutex_lock(&stream->lock);
    stream->failed |= fault_now == DISK_STAYS;
    pthread_cond_broadcast(&stream->changed);
    pthread_mutex_unlock(&stream->lock);
}

static bool is_durable(struct stream *stream, uint64_t sequence)
{
    pthread_mutex_lock(&stream->lock);
    while (stream->durable < sequence && !stream->failed)
        pthread_cond_wait(&stream->changed, &stream->lock);
    bool durable = stream->durable >= sequence;
    pthread_mutex_unlock(&stream->lock);
    return durable;
}

static bool open_stream(struct mf_node *node, uint32_t number, struct stream *stream)
{
    char folder[sizeof(node->config.data_dir) + 8];
    char message[600] = "";
    snprintf(folder, sizeof(folder), "%s/wal", node->config.data_dir);
    *stream =
        (struct stream){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct mf_wal_config config = {.folder = folder,
                                   .stream = number,
                                   .segment_bytes = SEGMENT,
                                   .sync = true,
                                   .ledger = node->ledger,
                                   .orphans = number == 0,
                                   .retry_us = 1000,
                                   .durable = on_durable,
                                   .failed = on_failed,
                                   .blocked = on_blocked,
                                   .arg = stream};
    enum mf_err err = mf_wal_open(&config, &stream->wal, message, sizeof(message));
    must(err == MF_OK || err == MF_IO, "a failed call is taken for damage");
    if (err != MF_OK)
        complain("open", message);
    return err == MF_OK;
}

// One entry of each of the stream's shards, in one hand-over.
static void append(struct stream *stream, uint32_t number)
{
    uint8_t room[PAYLOAD];
    for (uint32_t shard = number; shard < SHARDS; shard += STREAMS) {
        struct mf_wal_record record = {.type = MF_WAL_ACCEPT, .group = shard};
        record.slot = ++told->tried[shard];
        record.payload = payload_of(shard, record.slot, room);
        mf_wal_put(stream->wal, &record);
    }
    bool durable = is_durable(stream, mf_wal_submit(stream->wal));
    for (uint32_t shard = number; shard < SHARDS && durable; shard += STREAMS)
        told->acked[shard] = told->tried[shard];
}

// A promise, and a mark, of each of the stream's shards.
static void state_again(struct stream *stream, uint32_t number)
{
    uint64_t ballot = told->promise[number] + 1;
    for (uint32_t shard = number; shard < SHARDS; shard += STREAMS) {
        struct mf_wal_record record = {.type = MF_WAL_PROMISE, .group = shard, .ballot = ballot};
        mf_wal_put(stream->wal, &record);
        record.type = MF_WAL_MARK;
        record.slot = told->acked[shard];
        mf_wal_put(stream->wal, &record);
    }
    bool durable = is_durable(stream, mf_wal_submit(stream->wal));
    for (uint32_t shard = number; shard < SHARDS && durable; shard += STREAMS)
        told->promise[shard] = ballot;
}

// Writes the shard's state to `path`.
static enum mf_err write_state(struct mf_node *node, uint32_t shard, const char *path,
                               char *message, size_t size)
{
    struct mf_snapshot_info info = {.cluster = "c", .shard_count = SHARDS};
    struct mf_shard_meta meta = {.applied = told->acked[shard], .version = 1, .keys = 1};
    struct mf_snapshot_writer *writer;
    enum mf_err err = mf_snapshot_create(path, &info, &writer, message, size);
    if (err != MF_OK)
        return err;
    char key[16];
    struct mf_record record = {.version = 1, .deadline_us = MF_NO_DEADLINE};
    for (int i = 0; record.key.len == 0 || mf_shard_of_key(record.key, SHARDS) != shard; i++) {
        snprintf(key, sizeof(key), "key%d", i);
        record.key = mf_bytes_str(key);
    }
    // Each step gives the first one's error, and commit tells why.
    err = mf_snapshot_begin_shard(writer, shard, &meta, 77);
    if (err == MF_OK)
        err = mf_snapshot_put(writer, shard, &record);
    if (err == MF_OK)
        err = mf_snapshot_end_shard(writer, shard);
    (void)node;
    return mf_snapshot_commit(writer, NULL, message, size);
}

// Even shards write their own checkpoint, odd ones take over what another node has sent.
static void checkpoint(struct mf_node *node, uint32_t shard)
{
    char path[MF_CHECKPOINT_PATH_BYTES];
    char message[600] = "";
    struct mf_checkpoint_info info = {.slot = told->acked[shard]};
    mf_checkpoint_path(node, shard, path, sizeof(path));
    if (shard % 2 != 0)
        snprintf(path, sizeof(path), "%s/received.mfs", node->config.data_dir);
    if (told->acked[shard] == told->checkpoint[shard])
        return;
    enum mf_err err = write_state(node, shard, path, message, sizeof(message));
    if (err == MF_OK && shard % 2 != 0)
        err = mf_checkpoint_adopt(node, shard, path, &info, message, sizeof(message));
    if (err != MF_OK) {
        complain("checkpoint", message);
        return;
    }
    told->checkpoint[shard] = info.slot;
    mf_wal_ledger_cover(node->ledger, shard, info.slot);
}

// Until nothing may go any more, or the fault has come, which may have ended the removing.
static void wait_removed(struct mf_node *node, struct stream *stream, uint32_t number)
{
    uint32_t of_stream;
    uint64_t sequence;
    mf_wal_tidy(stream->wal);
    while (!disk_fault_came() &&
           mf_wal_ledger_next(node->ledger, number, false, &of_stream, &sequence))
        usleep(100);
}

static void live(struct mf_node *node)
{
    struct found found;
    if (!recovers(node, &found))
        return;
    check_found(&found);
    struct stream streams[STREAMS];
    uint32_t opened = 0;
    while (opened < STREAMS && open_stream(node, opened, &streams[opened]))
        opened++;
    if (opened == STREAMS) {
        for (uint32_t i = 0; i < ENTRIES * STREAMS; i++)
            append(&streams[i % STREAMS], i % STREAMS);
        for (uint32_t shard = 0; shard < SHARDS; shard++)
            checkpoint(node, shard);
        for (uint32_t i = 0; i < STREAMS; i++) {
            state_again(&streams[i], i);
            wait_removed(node, &streams[i], i);
            append(&streams[i], i);
        }
    }
    for (uint32_t i = 0; i < opened; i++)
        mf_wal_close(streams[i].wal);
}

// Opens the data folder and, where it is new, makes it an acceptor's.
static enum mf_err enter(struct mf_node *node, char *message, size_t size)
{
    enum mf_err err = mf_data_dir_open(node, message, size);
    if (err != MF_OK || node->state == MF_FORMATION_FORMED)
        return err;
    must(told->memory[0] == 0, "the memory's name is gone");
    told->memory[1] = MEMORY;
    err = mf_data_dir_enter(node, MF_FORMATION_FORMED, MEMORY, message, size);
    if (err == MF_OK)
        told->memory[0] = MEMORY;
    return err;
}

// In the child: the whole script on a folder of its own.
static void run_script(const char *folder)
{
    for (uint32_t i = 0; i < OPENINGS; i++) {
        char message[600] = "";
        struct mf_node *node = new_node(folder);
        enum mf_err err = enter(node, message, sizeof(message));
        must(err == MF_OK || err == MF_IO, "a failed call is taken for damage of the data folder");
        if (err == MF_OK)
            live(node);
        else
            complain("data folder", message);
        if (err == MF_OK)
            mf_data_dir_release(node);
        free_node(node);
        must(disk_close_left() <= 1, "more than the lock is left open");
    }
    told->came = disk_fault_came();
    told->finished = true;
}

// In a child, and with all calls well: what a start finds.
static void look(const char *folder)
{
    char message[600] = "";
    struct mf_node *node = new_node(folder);
    struct found found;
    must(mf_data_dir_open(node, message, sizeof(message)) == MF_OK, message);
    must(told->memory[0] == 0 || node->memory == told->memory[0], "the memory's name is gone");
    must(node->memory == 0 || node->memory == told->memory[1], "a memory that nobody has");
    must(recovers(node, &found), "what is there cannot be read");
    check_found(&found);
    // Nothing unfinished stays once the folders have been opened.
    for (uint32_t i = 0; i < STREAMS; i++) {
        struct stream stream;
        must(open_stream(node, i, &stream), "the log cannot be opened again");
        append(&stream, i);
        mf_wal_close(stream.wal);
    }
    const char *const folders[] = {"data/wal", "data/checkpoints"};
    for (size_t i = 0; i < 2; i++) {
        char path[1024];
        snprintf(path, sizeof(path), "%s/%s", folder, folders[i]);
        DIR *dir = opendir(path);
        for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
            must(strstr(entry->d_name, ".tmp") == NULL, "an unfinished file stays");
        closedir(dir);
    }
    free_node(node);
}

// Runs it in a child whose log lines go to a file; true when it ended well.
static bool in_child(void (*run)(const char *folder), const char *folder, const char *lines,
                     const char *what)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        assert_non_null(freopen(lines, "a", stderr));
        run(folder);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (status == 0)
        return true;
    size_t size;
    uint8_t *text = read_whole(lines, &size);
    print_error("%s: status %d\n%.*s\n", what, status, (int)size, (const char *)text);
    free(text);
    return false;
}

// One run with a fault; false when its turn did not come.
static bool survive(void **state, enum disk_call call, enum disk_fault fault, unsigned at,
                    int error)
{
    char folder[256];
    char lines[300];
    char what[128];
    snprintf(folder, sizeof(folder), "%s/life", (const char *)*state);
    snprintf(lines, sizeof(lines), "%s/lines", (const char *)*state);
    snprintf(what, sizeof(what), "%s number %u %s, %s", disk_call_names[call], at,
             fault == DISK_SHORT  ? "cut short"
             : fault == DISK_ONCE ? "fails"
                                  : "and all later fail",
             strerrorname_np(error));
    assert_int_equal(mkdir(folder, 0700), 0);
    memset(told, 0, sizeof(*told));
    fault_now = fault;
    disk_faults_begin(folder, call, fault, at, error);
    assert_true(in_child(run_script, folder, lines, what));
    assert_true(told->finished);
    bool came = told->came;
    bool complained = told->complained;
    struct stat about;
    // What only costs a later attempt is a line in the log.
    complained |= stat(lines, &about) == 0 && about.st_size > 0;
    // Nothing depends on a close; what may be there is opened; and what is cut short is completed.
    bool harmless = fault == DISK_SHORT || error == EINTR;
    if (came && !complained && !harmless && call != DISK_CLOSE && call != DISK_ACCESS)
        fail_msg("%s: nobody was told", what);
    if (complained && (harmless || !came))
        fail_msg("%s: should not matter: %s", what, told->message);
    disk_faults_begin(folder, call, DISK_ONCE, 0, 0);
    assert_true(in_child(look, folder, lines, what));
    disk_faults_begin("", call, DISK_ONCE, 0, 0);
    unlink(lines);
    nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    return came;
}

static void each_turn(void **state, enum disk_fault fault, int error, unsigned calls)
{
    for (enum disk_call call = 0; call < DISK_CALLS; call++) {
        if ((calls >> call & 1) == 0)
            continue;
        unsigned at = 1;
        while (survive(state, call, fault, at, error))
            at += STEP;
        // The script makes calls of every kind.
        assert_true(at > 1);
    }
}

#define ALL ((1u << DISK_CALLS) - 1)
#define READ_OR_WRITE (1u << DISK_READ | 1u << DISK_WRITE)
#define TAKES_SPACE                                                                                \
    (1u << DISK_CREATE | 1u << DISK_WRITE | 1u << DISK_SYNC | 1u << DISK_SYNC_FOLDER |             \
     1u << DISK_RENAME | 1u << DISK_MKDIR)

static void any_call_may_fail_once(void **state)
{
    each_turn(state, DISK_ONCE, EIO, ALL);
}

static void any_call_may_fail_from_some_moment_on(void **state)
{
    each_turn(state, DISK_STAYS, EIO, ALL);
}

static void the_disk_may_be_full_for_a_moment(void **state)
{
    each_turn(state, DISK_ONCE, ENOSPC, TAKES_SPACE);
}

static void the_disk_may_be_full_and_stay_full(void **state)
{
    each_turn(state, DISK_STAYS, ENOSPC, TAKES_SPACE);
}

static void any_read_or_write_may_be_cut_short(void **state)
{
    each_turn(state, DISK_SHORT, 0, READ_OR_WRITE);
}

static void any_read_or_write_may_be_interrupted(void **state)
{
    each_turn(state, DISK_ONCE, EINTR, READ_OR_WRITE);
}

// Thousands of files come and go, and nothing has to stay: in memory, where there is such a folder.
static int make_fast_folder(void **state)
{
    char *folder = mf_strdup("/dev/shm/mayfly-faults-XXXXXX");
    *state = folder;
    if (mkdtemp(folder) != NULL)
        return 0;
    free(folder);
    return make_folder(state);
}

static int share(void **state)
{
    (void)state;
    told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    mf_log_set_level(MF_WARN);
    return told != MAP_FAILED ? 0 : -1;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fast_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(any_call_may_fail_once),
        TEST(any_call_may_fail_from_some_moment_on),
        TEST(the_disk_may_be_full_for_a_moment),
        TEST(the_disk_may_be_full_and_stay_full),
        TEST(any_read_or_write_may_be_cut_short),
        TEST(any_read_or_write_may_be_interrupted),
    };
    return cmocka_run_group_tests(tests, share, NULL);
}

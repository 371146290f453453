// What a commit to the write-ahead log costs, by where the next segment comes from: made of zeros,
// or of a file that is needed no more. One commit at a time, each waited for, in a new folder below
// one of the disk that is to be measured: bench_wal FOLDER MEGABYTES.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hist.h"
#include "consensus/wal_files.h"

#define SEGMENT_BYTES (16u << 20)
#define COVER_EVERY 100u // commits

struct waiting {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t durable;
};

static void on_durable(void *arg, uint64_t sequence)
{
    struct waiting *waiting = arg;
    pthread_mutex_lock(&waiting->lock);
    waiting->durable = sequence;
    pthread_cond_signal(&waiting->changed);
    pthread_mutex_unlock(&waiting->lock);
}

static void on_failed(void *arg, const char *message)
{
    (void)arg;
    fprintf(stderr, "bench_wal: %s\n", message);
    exit(1);
}

// An entry, with a promise and a mark, so that a checkpoint is all that its file waits for.
static void commit(struct mf_wal *wal, struct waiting *waiting, uint64_t slot,
                   struct mf_bytes bytes)
{
    const struct mf_wal_record records[] = {
        {.type = MF_WAL_PROMISE, .ballot = 1},
        {.type = MF_WAL_MARK},
        {.type = MF_WAL_ACCEPT, .slot = slot, .payload = bytes},
    };
    for (size_t i = 0; i < 3; i++)
        mf_wal_put(wal, &records[i]);
    uint64_t sequence = mf_wal_submit(wal);
    pthread_mutex_lock(&waiting->lock);
    while (waiting->durable < sequence)
        pthread_cond_wait(&waiting->changed, &waiting->lock);
    pthread_mutex_unlock(&waiting->lock);
}

static void measure(const char *folder, size_t commit_bytes, uint64_t bytes, bool recycle)
{
    struct waiting waiting = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    struct mf_wal_ledger *ledger = mf_wal_ledger_new(1);
    const struct mf_wal_config config = {.folder = folder,
                                         .segment_bytes = SEGMENT_BYTES,
                                         .sync = true,
                                         .ledger = ledger,
                                         .durable = on_durable,
                                         .failed = on_failed,
                                         .arg = &waiting};
    struct mf_wal *wal;
    char message[512];
    if (mf_wal_open(&config, &wal, message, sizeof(message)) != MF_OK)
        on_failed(NULL, message);
    struct mf_hist *hist = mf_calloc(1, sizeof(*hist));
    uint8_t *payload = mf_alloc(commit_bytes);
    memset(payload, 7, commit_bytes);
    uint64_t start_us = mf_mono_us();
    for (uint64_t slot = 1; slot * commit_bytes <= bytes; slot++) {
        uint64_t begun_us = mf_mono_us();
        commit(wal, &waiting, slot, mf_bytes_of(payload, commit_bytes));
        mf_hist_add(hist, mf_mono_us() - begun_us);
        if (recycle && slot % COVER_EVERY == 0) {
            mf_wal_ledger_cover(ledger, 0, slot);
            mf_wal_tidy(wal);
        }
    }
    double seconds = (double)(mf_mono_us() - start_us) / 1e6;
    printf("%-10s %7zu  %8.1f  %6llu  %6llu  %7llu\n", recycle ? "recycled" : "filled",
           commit_bytes, (double)bytes / 1e6 / seconds,
           (unsigned long long)mf_hist_percentile(hist, 50),
           (unsigned long long)mf_hist_percentile(hist, 99),
           (unsigned long long)mf_hist_percentile(hist, 99.9));
    mf_wal_close(wal);
    mf_wal_ledger_free(ledger);
    free(hist);
    free(payload);
}

// What is in the folder goes, and the folder.
static void remove_files(const char *path)
{
    struct mf_wal_folder folder = {.disk = &mf_wal_disk_real, .path = path};
    struct mf_wal_listing listing;
    if (mf_wal_folder_list(&folder, &listing) != MF_OK)
        on_failed(NULL, folder.message);
    for (size_t i = 0; i < listing.count; i++) {
        if (mf_wal_file_remove(&folder, listing.files[i]) != MF_OK)
            on_failed(NULL, folder.message);
    }
    free(listing.files);
    rmdir(path);
}

int main(int argc, char **argv)
{
    static const size_t commits[] = {4000, 32000, 120000};
    uint64_t megabytes = argc == 3 ? strtoull(argv[2], NULL, 10) : 0;
    if (megabytes == 0) {
        fprintf(stderr, "usage: bench_wal FOLDER MEGABYTES\n");
        return 2;
    }
    char folder[4096];
    snprintf(folder, sizeof(folder), "%s/bench-wal-%ld", argv[1], (long)getpid());
    printf("%-10s %7s  %8s  %6s  %6s  %7s\n", "segments", "bytes", "MB/s", "p50 us", "p99 us",
           "p99.9 us");
    for (size_t i = 0; i < sizeof(commits) / sizeof(commits[0]); i++) {
        for (int recycle = 0; recycle < 2; recycle++) {
            measure(folder, commits[i], megabytes * 1000000, recycle == 1);
            remove_files(folder);
        }
    }
    return 0;
}

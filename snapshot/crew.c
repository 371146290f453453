// Threads that read blocks; see crew.h.
//
// Shared, under the mutex: the next block to be handed out, how many were given out, the first
// error. Tickets number the blocks in their order. A thread that has failed keeps later tickets
// from being handed out; earlier ones are all taken, and are finished, so the first error is found.
#include "snapshot/crew.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/thread.h"
#include "snapshot/format.h"

struct crew {
    const struct mf_crew_job *job;
    pthread_mutex_t mutex;
    pthread_cond_t turn;
    uint32_t sections;
    uint32_t section; // of the next ticket
    uint64_t block;   // of the next ticket, in its section
    uint64_t ticket;  // the next
    uint64_t given_out;
    uint64_t failed_ticket; // UINT64_MAX: none
    enum mf_err err;
    char *message;
    size_t message_size;
};

struct hand {
    struct crew *crew;
    struct mf_crew_place place;
    struct mf_snapshot_rooms rooms;
    pthread_t thread;
};

static enum mf_err take_record(void *arg, const struct mf_record *record)
{
    struct hand *hand = arg;
    return hand->crew->job->record != NULL ? hand->crew->job->record(&hand->place, record) : MF_OK;
}

static bool take_ticket(struct hand *hand, uint64_t *ticket, uint64_t *block)
{
    struct crew *crew = hand->crew;
    pthread_mutex_lock(&crew->mutex);
    bool more = crew->failed_ticket == UINT64_MAX;
    while (more && crew->section < crew->sections &&
           crew->block == mf_snapshot_section(crew->job->reader, crew->section)->blocks) {
        crew->section += 1;
        crew->block = 0;
    }
    more = more && crew->section < crew->sections;
    if (more) {
        *ticket = crew->ticket++;
        *block = crew->block++;
        hand->place.section_number = crew->section;
        hand->place.section = mf_snapshot_section(crew->job->reader, crew->section);
    }
    pthread_mutex_unlock(&crew->mutex);
    return more;
}

static void note_failure(struct crew *crew, uint64_t ticket, enum mf_err err, const char *message)
{
    pthread_mutex_lock(&crew->mutex);
    if (ticket < crew->failed_ticket) {
        crew->failed_ticket = ticket;
        crew->err = err;
        snprintf(crew->message, crew->message_size, "%s", message);
    }
    pthread_cond_broadcast(&crew->turn);
    pthread_mutex_unlock(&crew->mutex);
}

// Waits for the blocks before this one, unless one of them has failed.
static bool wait_for_turn(struct crew *crew, uint64_t ticket)
{
    pthread_mutex_lock(&crew->mutex);
    while (crew->given_out != ticket && crew->failed_ticket > ticket)
        pthread_cond_wait(&crew->turn, &crew->mutex);
    bool mine = crew->given_out == ticket;
    pthread_mutex_unlock(&crew->mutex);
    return mine;
}

static void end_turn(struct crew *crew, uint64_t bytes)
{
    pthread_mutex_lock(&crew->mutex);
    crew->given_out += 1;
    if (crew->job->progress != NULL)
        crew->job->progress(crew->job->progress_arg, bytes);
    pthread_cond_broadcast(&crew->turn);
    pthread_mutex_unlock(&crew->mutex);
}

static void *work(void *arg)
{
    struct hand *hand = arg;
    struct crew *crew = hand->crew;
    const struct mf_crew_job *job = crew->job;
    uint64_t ticket;
    uint64_t block;
    char message[1024];
    while (take_ticket(hand, &ticket, &block)) {
        uint64_t bytes;
        enum mf_err err =
            mf_snapshot_read_block(job->reader, hand->place.section_number, block, &hand->rooms,
                                   take_record, hand, &bytes, message, sizeof(message));
        if (err == MF_OK && job->give_out != NULL) {
            if (!wait_for_turn(crew, ticket))
                break;
            err = job->give_out(&hand->place);
            snprintf(message, sizeof(message), "%s", mf_err_text(err));
        }
        if (err != MF_OK)
            note_failure(crew, ticket, err, message);
        else
            end_turn(crew, bytes);
    }
    mf_snapshot_free_rooms(&hand->rooms);
    return NULL;
}

enum mf_err mf_crew_run(const struct mf_crew_job *job, char *message, size_t message_size)
{
    struct mf_snapshot_summary summary;
    mf_snapshot_summary(job->reader, &summary);
    struct crew crew = {.job = job,
                        .sections = summary.shards,
                        .failed_ticket = UINT64_MAX,
                        .message = message,
                        .message_size = message_size};
    struct hand *hands = mf_calloc(job->threads, sizeof(*hands));
    pthread_mutex_init(&crew.mutex, NULL);
    pthread_cond_init(&crew.turn, NULL);
    // With fewer threads than asked for it takes longer, and that is all.
    unsigned started = 1;
    for (unsigned i = 0; i < job->threads; i++) {
        hands[i].crew = &crew;
        hands[i].place.state = job->states != NULL ? job->states[i] : NULL;
    }
    while (started < job->threads &&
           mf_thread_start(&hands[started].thread, "crew", work, &hands[started]) == 0)
        started++;
    work(&hands[0]);
    for (unsigned i = 1; i < started; i++)
        pthread_join(hands[i].thread, NULL);
    pthread_cond_destroy(&crew.turn);
    pthread_mutex_destroy(&crew.mutex);
    free(hands);
    return crew.err;
}

unsigned mf_crew_threads(unsigned given)
{
    if (given > 0)
        return given;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    return cpus < 1 ? 1 : cpus > 8 ? 8 : (unsigned)cpus;
}

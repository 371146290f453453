// Plays a scenario: a script of what happens to a few Paxos cores, with what follows from it.
//
// A line that begins with "> " is a command; the lines below it are what it leads to, as told by
// the stage; empty lines and those that begin with "#" are for the reader. The script passes when
// the commands lead to exactly what stands there. `scenario --rewrite FILE` puts that there
// instead.
//
// N, M are nodes; an acceptor N:I is the memory I of node N (N alone: its first).
//   cluster N                 nodes 1 to N start, and are the voters
//   join N                    another node starts, with an empty memory
//   campaign N                asks for votes
//   propose N WORD | read N | transfer N to M | suspect N: M | link N: M
//   members N: voters ACCEPTOR... [learners ACCEPTOR...]
//   deliver [N -> M] [TYPE]   the mail that is there now; `deliver all`: until there is none
//   drop [N -> M] [TYPE] | mail | show
//   disk N slow|fast | persist N
//   crash N | restart N | restart N empty
//   advance MSms              time passes, and whoever is due acts
//   heartbeat N -> M          M hears from N, and grants it the lease; N hears of that
//   lease N                   until when N may rely on its leases
//   compact N SLOT | snapshot N -> M
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tests/scenarios/stage.h"

#define WORDS_MAX 24

struct line {
    char *words[WORDS_MAX];
    uint32_t count;
};

static const char *word(const struct line *line, uint32_t i)
{
    return i < line->count ? line->words[i] : "";
}

// A node's id, or 0. A colon behind it is decoration.
static uint16_t node_of(const char *text)
{
    char *end;
    unsigned long id = strtoul(text, &end, 10);
    bool whole = end != text && (*end == '\0' || strcmp(end, ":") == 0);
    return whole && id <= STAGE_NODES ? (uint16_t)id : 0;
}

static int type_of(const char *text)
{
    for (int type = 1; type <= MF_PAXOS_TYPE_MAX; type++) {
        if (strcmp(text, mf_paxos_type_name((enum mf_paxos_type)type)) == 0)
            return type;
    }
    return -1;
}

// "[N -> M] [TYPE]" from word 1 on.
static bool route(const struct line *line, uint16_t *from, uint16_t *to, int *type)
{
    uint32_t at = 1;
    *from = *to = 0;
    *type = 0;
    if (strcmp(word(line, 2), "->") == 0) {
        *from = node_of(word(line, 1));
        *to = node_of(word(line, 3));
        at = 4;
        if (*from == 0 || *to == 0)
            return false;
    }
    if (at < line->count)
        *type = type_of(word(line, at));
    return *type >= 0 && line->count <= at + 1;
}

static bool do_mail(struct stage *stage, const struct line *line)
{
    uint16_t from;
    uint16_t to;
    int type;
    bool drop = strcmp(word(line, 0), "drop") == 0;
    if (!drop && strcmp(word(line, 1), "all") == 0) {
        for (int round = 0; round < 100 && stage_deliver(stage, 0, 0, 0, false) > 0; round++)
            continue;
        return true;
    }
    if (!route(line, &from, &to, &type))
        return false;
    if (stage_deliver(stage, from, to, type, drop) == 0)
        fprintf(stage->out, "  there is none\n");
    return true;
}

static bool do_cluster(struct stage *stage, const struct line *line)
{
    uint16_t count = node_of(word(line, 1));
    if (count == 0 || count > MF_VOTERS_MAX || stage->members.voter_count != 0)
        return false;
    for (uint16_t node = 1; node <= count; node++)
        stage->members.voters[stage->members.voter_count++] = (struct mf_acceptor){node, 1};
    for (uint16_t node = 1; node <= count; node++)
        stage_start(stage, node);
    return true;
}

static bool do_life(struct stage *stage, const struct line *line, uint16_t node)
{
    bool running = stage->node[node].core != NULL;
    if (strcmp(word(line, 0), "crash") == 0) {
        if (running)
            stage_crash(stage, node);
        return running;
    }
    bool join = strcmp(word(line, 0), "join") == 0;
    if (running || stage->members.voter_count == 0 || join != (stage->node[node].incarnation == 0))
        return false;
    if (strcmp(word(line, 2), "empty") == 0)
        stage_wipe(stage, node);
    stage_start(stage, node);
    stage_tell_node(stage, node);
    return true;
}

static void do_advance(struct stage *stage, uint64_t ms)
{
    stage->now_us += ms * 1000;
    for (uint16_t node = 1; node <= STAGE_NODES; node++) {
        if (stage->node[node].core == NULL)
            continue;
        struct mf_paxos_env env = stage_env(stage, node, 0);
        mf_paxos_tick(stage->node[node].core, &env);
        stage_take(stage, node);
    }
}

static bool read_acceptor(const char *text, struct mf_acceptor *acceptor)
{
    unsigned node = 0;
    unsigned incarnation = 1;
    if (sscanf(text, "%u:%u", &node, &incarnation) < 1 || node == 0 || node > STAGE_NODES)
        return false;
    *acceptor = (struct mf_acceptor){(uint16_t)node, incarnation};
    return true;
}

// "members N: voters ACCEPTOR... [learners ACCEPTOR...]"
static bool do_members(struct stage *stage, const struct line *line, uint16_t node)
{
    struct mf_members members = {0};
    bool learners = false;
    for (uint32_t i = 3; i < line->count; i++) {
        struct mf_acceptor acceptor;
        if (strcmp(word(line, i), "learners") == 0) {
            learners = true;
            continue;
        }
        if (!read_acceptor(word(line, i), &acceptor))
            return false;
        if (learners && members.learner_count < MF_LEARNERS_MAX)
            members.learners[members.learner_count++] = acceptor;
        else if (!learners && members.voter_count < MF_VOTERS_MAX)
            members.voters[members.voter_count++] = acceptor;
    }
    struct mf_paxos *core = stage->node[node].core;
    struct mf_paxos_env env = stage_env(stage, node, 0);
    const char *why = NULL;
    enum mf_err err =
        mf_paxos_reconfigure(core, &env, mf_paxos_last_log_time(core) + 1, members, &why);
    if (err != MF_OK)
        fprintf(stage->out, "  refused: %s\n", why != NULL ? why : mf_err_name(err));
    return true;
}

static uint64_t held_until(void *ctx, uint16_t node, uint64_t token)
{
    const struct stage_node *at = ctx;
    return mf_lease_held_until(&at->lease[node], token);
}

static void do_heartbeat(struct stage *stage, uint16_t from, uint16_t to)
{
    uint64_t token = mf_lease_grant(&stage->node[to].lease[from], stage->now_us, STAGE_LEASE_US);
    struct stage_node *holder = &stage->node[from];
    uint64_t before = mf_lease_held_token(&holder->lease[to]);
    mf_lease_held(&holder->lease[to], token, stage->now_us, STAGE_LEASE_US);
    if (before != token) {
        fprintf(stage->out, "  the grants of %u have a new token: %u asks what it stands for\n",
                (unsigned)to, (unsigned)from);
        struct mf_paxos_env env = stage_env(stage, from, to);
        mf_paxos_peer_up(holder->core, &env, (struct mf_acceptor){to, stage->node[to].incarnation});
    }
}

static void do_lease(struct stage *stage, uint16_t node)
{
    struct stage_node *at = &stage->node[node];
    uint64_t until_us = mf_paxos_lease_until(at->core, held_until, at);
    if (until_us > stage->now_us)
        fprintf(stage->out, "  %u may answer reads alone for less than %" PRIu64 " ms\n",
                (unsigned)node, (until_us - stage->now_us + 999) / 1000);
    else
        fprintf(stage->out, "  %u has no lease\n", (unsigned)node);
}

static bool do_snapshot(struct stage *stage, const struct line *line, uint16_t from)
{
    uint16_t to = node_of(word(line, 3));
    if (to == 0 || stage->node[to].core == NULL)
        return false;
    struct mf_paxos *core = stage->node[from].core;
    struct stage_node *at = &stage->node[to];
    struct mf_paxos_env env = stage_env(stage, to, 0);
    uint64_t slot = mf_paxos_chosen(core);
    if (!mf_paxos_install(at->core, &env, slot, mf_paxos_last_log_time(core),
                          mf_paxos_members(core))) {
        fprintf(stage->out, "  %u is past slot %u already\n", (unsigned)to, (unsigned)slot);
        return true;
    }
    fprintf(stage->out, "  %u has the state after slot %u\n", (unsigned)to, (unsigned)slot);
    at->snapshot_slot = slot;
    at->snapshot_log_us = mf_paxos_last_log_time(core);
    at->snapshot_members = *mf_paxos_members(core);
    at->chosen = slot;
    stage_take(stage, to);
    return true;
}

static bool do_compact(struct stage *stage, const struct line *line, uint16_t node)
{
    struct stage_node *at = &stage->node[node];
    uint64_t first = strtoull(word(line, 2), NULL, 10);
    if (first == 0 || first > mf_paxos_chosen(at->core) + 1)
        return false;
    mf_paxos_compact(at->core, first);
    fprintf(stage->out, "  the log of %u begins at slot %u\n", (unsigned)node, (unsigned)first);
    return true;
}

static void tell_error(struct stage *stage, enum mf_err err)
{
    if (err != MF_OK)
        fprintf(stage->out, "  refused: %s\n", mf_err_name(err));
}

// What one running node is told to do.
static bool do_act(struct stage *stage, const struct line *line, uint16_t node)
{
    const char *verb = word(line, 0);
    struct mf_paxos *core = stage->node[node].core;
    struct mf_paxos_env env = stage_env(stage, node, 0);
    uint16_t other = node_of(word(line, line->count - 1));
    uint64_t ignored;
    if (strcmp(verb, "campaign") == 0)
        mf_paxos_campaign(core, &env);
    else if (strcmp(verb, "propose") == 0)
        tell_error(stage, mf_paxos_propose(core, &env, mf_paxos_last_log_time(core) + 1,
                                           mf_bytes_str(word(line, 2)), &ignored));
    else if (strcmp(verb, "read") == 0)
        tell_error(stage, mf_paxos_read(core, &env, &ignored));
    else if (strcmp(verb, "transfer") == 0)
        tell_error(stage, mf_paxos_transfer(core, &env, other));
    else if (strcmp(verb, "suspect") == 0)
        mf_paxos_suspect(core, &env, other);
    else if (strcmp(verb, "link") == 0)
        mf_paxos_peer_up(core, &env, (struct mf_acceptor){other, stage->node[other].incarnation});
    else if (strcmp(verb, "members") == 0 && !do_members(stage, line, node))
        return false;
    else if (strcmp(verb, "disk") == 0)
        stage->node[node].slow = strcmp(word(line, 2), "slow") == 0;
    else if (strcmp(verb, "persist") == 0)
        stage_persist(stage, node);
    else if (strcmp(verb, "compact") == 0)
        return do_compact(stage, line, node);
    else if (strcmp(verb, "snapshot") == 0)
        return do_snapshot(stage, line, node);
    else if (strcmp(verb, "lease") == 0)
        do_lease(stage, node);
    else if (strcmp(verb, "heartbeat") == 0 && other != 0 && stage->node[other].core != NULL)
        do_heartbeat(stage, node, other);
    else if (strcmp(verb, "members") != 0)
        return false;
    stage_take(stage, node);
    return true;
}

static bool play(struct stage *stage, const struct line *line)
{
    const char *verb = word(line, 0);
    uint16_t node = node_of(word(line, 1));
    if (strcmp(verb, "cluster") == 0)
        return do_cluster(stage, line);
    if (strcmp(verb, "deliver") == 0 || strcmp(verb, "drop") == 0)
        return do_mail(stage, line);
    if (strcmp(verb, "mail") == 0) {
        stage_tell_mail(stage);
        return true;
    }
    if (strcmp(verb, "show") == 0) {
        for (uint16_t i = 1; i <= STAGE_NODES; i++) {
            if (stage->node[i].incarnation != 0)
                stage_tell_node(stage, i);
        }
        return true;
    }
    if (strcmp(verb, "advance") == 0) {
        do_advance(stage, strtoull(word(line, 1), NULL, 10));
        return true;
    }
    if (node == 0)
        return false;
    if (strcmp(verb, "crash") == 0 || strcmp(verb, "restart") == 0 || strcmp(verb, "join") == 0)
        return do_life(stage, line, node);
    return stage->node[node].core != NULL && do_act(stage, line, node);
}

static void split(char *text, struct line *line)
{
    char *rest = NULL;
    line->count = 0;
    for (char *at = strtok_r(text, " \n", &rest); at != NULL && line->count < WORDS_MAX;
         at = strtok_r(NULL, " \n", &rest))
        line->words[line->count++] = at;
}

// Plays the script; what it should look like goes to `out`. False when a command makes no sense.
static bool perform(FILE *script, FILE *out, const char *path)
{
    struct stage *stage = mf_calloc(1, sizeof(*stage));
    *stage = (struct stage){.out = out, .now_us = 1000000};
    char *text = NULL;
    size_t cap = 0;
    bool good = true;
    for (int number = 1; good && getline(&text, &cap, script) > 0; number++) {
        if (text[0] == '#' || text[0] == '\n') {
            fputs(text, out);
        } else if (text[0] == '>') {
            struct line line;
            fputs(text, out);
            split(text + 1, &line);
            good = play(stage, &line);
            if (!good)
                fprintf(stderr, "%s:%d: this command is unknown, or makes no sense here\n", path,
                        number);
        }
    }
    free(text);
    stage_free(stage);
    free(stage);
    return good;
}

// Tells the first line that differs.
static bool same(FILE *script, char *played, const char *path)
{
    char *text = NULL;
    size_t cap = 0;
    bool good = true;
    char *at = played;
    rewind(script);
    for (int number = 1; good; number++) {
        ssize_t len = getline(&text, &cap, script);
        size_t expected = len > 0 ? (size_t)len : 0;
        size_t got = strcspn(at, "\n") + (strchr(at, '\n') != NULL);
        if (expected == 0 && got == 0)
            break;
        good = expected == got && memcmp(text, at, got) == 0;
        if (!good)
            fprintf(stderr, "%s:%d: expected: %.*s\n%s:%d: but now:  %.*s\n", path, number,
                    (int)expected, expected > 0 ? text : "", path, number, (int)got, at);
        at += got;
    }
    free(text);
    return good;
}

int main(int argc, char **argv)
{
    bool rewrite = argc == 3 && strcmp(argv[1], "--rewrite") == 0;
    if (argc != 2 && !rewrite) {
        fprintf(stderr, "usage: scenario [--rewrite] FILE\n");
        return 2;
    }
    const char *path = argv[argc - 1];
    FILE *script = fopen(path, "r");
    if (script == NULL) {
        perror(path);
        return 2;
    }
    char *played = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&played, &len);
    bool good = out != NULL && perform(script, out, path);
    good = out != NULL && fclose(out) == 0 && good;
    if (good && rewrite) {
        FILE *file = fopen(path, "w");
        good = file != NULL && fwrite(played, 1, len, file) == len;
        good = file != NULL && fclose(file) == 0 && good;
    } else if (good) {
        good = same(script, played, path);
    }
    fclose(script);
    free(played);
    return good ? 0 : 1;
}

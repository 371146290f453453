// Configurations in binary form; see members.h.
#include "consensus/members.h"

static void put_acceptors(const struct mf_acceptor *acceptors, uint8_t count, struct mf_buf *out)
{
    mf_buf_u8(out, count);
    for (uint8_t i = 0; i < count; i++) {
        mf_buf_u16(out, acceptors[i].node);
        mf_buf_u64(out, acceptors[i].incarnation);
    }
}

void mf_members_encode(const struct mf_members *members, struct mf_buf *out)
{
    mf_buf_u64(out, members->base);
    put_acceptors(members->voters, members->voter_count, out);
    put_acceptors(members->learners, members->learner_count, out);
}

size_t mf_members_size(struct mf_bytes bytes)
{
    struct mf_reader r = mf_reader_of(bytes);
    mf_read_u64(&r);
    for (int i = 0; i < 2; i++)
        mf_read_bytes(&r, (size_t)mf_read_u8(&r) * (2 + 8));
    return r.failed ? 0 : bytes.len - mf_reader_left(&r);
}

static bool get_acceptors(struct mf_reader *r, struct mf_acceptor *acceptors, uint8_t max,
                          uint8_t *count)
{
    *count = mf_read_u8(r);
    if (r->failed || *count > max)
        return false;
    for (uint8_t i = 0; i < *count; i++) {
        acceptors[i].node = mf_read_u16(r);
        acceptors[i].incarnation = mf_read_u64(r);
        bool ascending = i == 0 || acceptors[i].node > acceptors[i - 1].node;
        if (r->failed || acceptors[i].node == 0 || acceptors[i].incarnation == 0 || !ascending)
            return false;
    }
    return true;
}

enum mf_err mf_members_decode(struct mf_bytes bytes, uint64_t slot, struct mf_members *members)
{
    *members = (struct mf_members){.slot = slot};
    struct mf_reader r = mf_reader_of(bytes);
    members->base = mf_read_u64(&r);
    bool fine = get_acceptors(&r, members->voters, MF_VOTERS_MAX, &members->voter_count) &&
                get_acceptors(&r, members->learners, MF_LEARNERS_MAX, &members->learner_count);
    return fine && members->voter_count > 0 && mf_reader_left(&r) == 0 ? MF_OK : MF_CORRUPT;
}

static int find(const struct mf_acceptor *acceptors, uint8_t count, struct mf_acceptor wanted)
{
    for (int i = 0; i < count; i++) {
        if (acceptors[i].node == wanted.node && acceptors[i].incarnation == wanted.incarnation)
            return i;
    }
    return -1;
}

int mf_members_voter(const struct mf_members *members, struct mf_acceptor acceptor)
{
    return find(members->voters, members->voter_count, acceptor);
}

int mf_members_learner(const struct mf_members *members, struct mf_acceptor acceptor)
{
    return find(members->learners, members->learner_count, acceptor);
}

int mf_members_voter_node(const struct mf_members *members, uint16_t node)
{
    for (int i = 0; i < members->voter_count; i++) {
        if (members->voters[i].node == node)
            return i;
    }
    return -1;
}

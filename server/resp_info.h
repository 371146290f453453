// INFO's sections: resp_info.c has the command and what the node is, resp_info_parts.c what it has
// done. Each section appends its lines; the names of the fields are Redis's, but for those of the
// last one. docs/redis.md says which fields of Redis are left out.
#ifndef MF_SERVER_RESP_INFO_H
#define MF_SERVER_RESP_INFO_H

#include "server/figures.h"
#include "server/node.h"
#include "server/resp_internal.h"
#include "server/resp_node.h"

// What all sections of one answer are made of, read once.
struct mf_resp_info {
    const struct mf_resp_session *session;
    const struct mf_node *node;
    const struct mf_resp_node *own;
    struct mf_figures figures;
    struct mf_resp_sum sum;
    uint64_t now_us;
    struct mf_buf *out;
};

// Appends one line, to which the end is added.
void mf_resp_info_line(struct mf_resp_info *info, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

void mf_resp_info_stats(struct mf_resp_info *info);
void mf_resp_info_replication(struct mf_resp_info *info);
void mf_resp_info_cpu(struct mf_resp_info *info);
void mf_resp_info_modules(struct mf_resp_info *info);
void mf_resp_info_commandstats(struct mf_resp_info *info);
void mf_resp_info_errorstats(struct mf_resp_info *info);
void mf_resp_info_latencystats(struct mf_resp_info *info);
void mf_resp_info_cluster(struct mf_resp_info *info);
void mf_resp_info_keyspace(struct mf_resp_info *info);
void mf_resp_info_mayfly(struct mf_resp_info *info);

#endif

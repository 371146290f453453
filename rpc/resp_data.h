// How the words of data commands become a struct mf_command: what resp_table.c points to. Private
// to rpc/. Each takes the words of the rows that name it, whose number fits the row, and returns
// false with an error for what Redis would refuse, in Redis's order and words.
#ifndef MF_RPC_RESP_DATA_H
#define MF_RPC_RESP_DATA_H

#include "rpc/resp_command.h"

bool mf_resp_take_append(struct mf_resp_ask *ask);
bool mf_resp_take_copy(struct mf_resp_ask *ask);
bool mf_resp_take_dbsize(struct mf_resp_ask *ask);
bool mf_resp_take_del(struct mf_resp_ask *ask);
bool mf_resp_take_delifeq(struct mf_resp_ask *ask);
bool mf_resp_take_dump(struct mf_resp_ask *ask);
bool mf_resp_take_exists(struct mf_resp_ask *ask);
bool mf_resp_take_expire(struct mf_resp_ask *ask);
bool mf_resp_take_expiretime(struct mf_resp_ask *ask);
bool mf_resp_take_flush(struct mf_resp_ask *ask);
bool mf_resp_take_get(struct mf_resp_ask *ask);
bool mf_resp_take_getbit(struct mf_resp_ask *ask);
bool mf_resp_take_getdel(struct mf_resp_ask *ask);
bool mf_resp_take_getex(struct mf_resp_ask *ask);
bool mf_resp_take_getrange(struct mf_resp_ask *ask);
bool mf_resp_take_getset(struct mf_resp_ask *ask);
bool mf_resp_take_incr(struct mf_resp_ask *ask);
bool mf_resp_take_incrbyfloat(struct mf_resp_ask *ask);
bool mf_resp_take_memory_usage(struct mf_resp_ask *ask);
bool mf_resp_take_mget(struct mf_resp_ask *ask);
bool mf_resp_take_mset(struct mf_resp_ask *ask);
bool mf_resp_take_object(struct mf_resp_ask *ask);
bool mf_resp_take_persist(struct mf_resp_ask *ask);
bool mf_resp_take_rename(struct mf_resp_ask *ask);
bool mf_resp_take_scan(struct mf_resp_ask *ask);
bool mf_resp_take_restore(struct mf_resp_ask *ask);
bool mf_resp_take_set(struct mf_resp_ask *ask);
bool mf_resp_take_setbit(struct mf_resp_ask *ask);
bool mf_resp_take_setex(struct mf_resp_ask *ask);
bool mf_resp_take_setnx(struct mf_resp_ask *ask);
bool mf_resp_take_setrange(struct mf_resp_ask *ask);
bool mf_resp_take_strlen(struct mf_resp_ask *ask);
bool mf_resp_take_ttl(struct mf_resp_ask *ask);
bool mf_resp_take_type(struct mf_resp_ask *ask);

#endif

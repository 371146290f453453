// What clients wish for: drawing operations, turning them into commands, telling them apart again.
//
// A key is `k` and its number; a value begins with `v`, the operation's number and the item's
// place, so every value is written once and names its writer. What appends have made is one after
// the other; what incrs have made is an integer, which names nobody. Deletes without an id carry a
// key that does not exist and names them.
#ifndef MF_SIM_WISHES_H
#define MF_SIM_WISHES_H

#include <stdint.h>

#include "base/command.h"
#include "client.h"

#define SIM_VALUE_MAX 1600u

// A command with the bytes that it points to.
struct sim_command {
    struct mf_command command;
    struct mf_item items[SIM_OP_KEYS_MAX + 1];
    char keys[SIM_OP_KEYS_MAX + 1][24];
    char id[24];
    char values[SIM_OP_KEYS_MAX][SIM_VALUE_MAX];
    struct mf_buf body; // of a txn; the caller frees it
};

// Fills in what a client's next operation asks for.
void sim_wish(struct sim *sim, struct sim_op *op);
// A read of a key that `aim` gave a TTL.
void sim_wish_probe(struct sim *sim, struct sim_op *op, const struct sim_op *aim);
void sim_wish_final_write(struct sim *sim, struct sim_op *op, uint32_t group);
void sim_wish_final_read(struct sim *sim, struct sim_op *op, uint32_t group, uint32_t key);
// After an answer: versions for later conditions; probes and echoes to come.
void sim_wish_learn(struct sim *sim, const struct sim_op *op);
void sim_wish_follow_up(struct sim *sim, const struct sim_op *op);

void sim_op_command(const struct sim *sim, const struct sim_op *op, struct sim_command *out);
// What stands for the value that `op` writes to its item `place`; never 0.
uint64_t sim_value_of(const struct sim_op *op, uint32_t place);
// The same from the bytes of a value (see linear.h for integers and for what was appended); 0 when
// nobody could have written them. `writer` is called for each piece that names one.
uint64_t sim_value_parse(struct mf_bytes bytes, void (*writer)(void *arg, uint64_t value),
                         void *arg);

#endif

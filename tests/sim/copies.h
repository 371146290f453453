// Copies that are given up while their groups go on, and made anew: server/copies.h and
// server/placer.h in small.
//
// A leader tells the others, now and then, which configuration is in force. Who is in none gives
// its copy up, but for the promise of its acceptor, and begins again with nothing: a snapshot has
// to come before it has a voice.
#ifndef MF_SIM_COPIES_H
#define MF_SIM_COPIES_H

#include <stdint.h>

struct sim_node;
struct sim_frame;

// With a heartbeat to another node.
void sim_copies_tell(struct sim_node *node, uint16_t to);
void sim_copies_frame(struct sim_node *node, const struct sim_frame *frame);

#endif

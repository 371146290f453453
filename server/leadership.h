// What the log says of leadership.
#ifndef MF_SERVER_LEADERSHIP_H
#define MF_SERVER_LEADERSHIP_H

#include <stdint.h>

struct mf_reactor;

#define MF_LEADERSHIP_TELL_US UINT64_C(1000000)

// One line for all shards that changed hands, about once a second: a node may hold thousands. For
// the sweep of every reactor; one of them speaks.
void mf_leadership_tell(struct mf_reactor *reactor);

#endif

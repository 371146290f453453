// The method `hotkeys`: what the sketches (hotkeys.h) of all reactors of this node say together.
#ifndef MF_SERVER_HOTKEYS_ASK_H
#define MF_SERVER_HOTKEYS_ASK_H

#include "server/admin.h"

// An array of [key, operations a second, share of all], the most frequent first, at most `count`.
void mf_hotkeys_ask(struct mf_reactor *reactor, uint32_t count, mf_admin_done *done, void *arg);

#endif

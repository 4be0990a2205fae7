/* A post in two halves, for who keeps the loop from being freed by a lock: pushing the
   message is quick and done under it; waking the loop is a system call, and whom that
   wakes wants the lock.  Once begun, the loop is not freed before the end. */
#ifndef LULL_POST_H
#define LULL_POST_H

#include "lull.h"

void lull_post_begin(lull_loop *loop, lull_message *m);
void lull_post_end(lull_loop *loop);

#endif

/* Threads of one's own, and a word to one that is busy: nudge.c. */
#ifndef LULL_NUDGE_H
#define LULL_NUDGE_H

#include <pthread.h>

/* Starts a thread, all signals blocked.  -EAGAIN. */
int sys_thread_start(pthread_t *out, void *(*run)(void *ud), void *ud);

/* From now on a nudge calls fn(ud) on the calling thread, in a signal handler.  The first
   one takes a real-time signal for the process; -EAGAIN: none is free. */
int sys_listen_nudge(void (*fn)(void *ud), void *ud);
void sys_ignore_nudge(void);

/* thread is alive.  Nothing happens where it does not listen. */
int sys_nudge(pthread_t thread);

#endif

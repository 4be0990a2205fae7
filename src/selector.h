/* What the loop asks of the kernel: which descriptors are ready, and the four calls
   that a completion backend would rather make itself.  A selector never calls back, it
   returns facts; it is level-triggered: a fact that still holds is reported again. */
#ifndef LULL_SELECTOR_H
#define LULL_SELECTOR_H

#include "lull.h"

/* What each backend's own struct begins with. */
struct lull_selector {
    lull_alloc alloc;
    void *ud;
};

/* Descriptor w is ready for events (LULL_READ | LULL_WRITE).  Hang-up and error are
   reported as every event that is armed. */
struct lull_fact {
    lull_watch *watch;
    unsigned events;
};

/* watch flags: */
#define LULL_WATCH_NOSOCK 1u /* not a socket: read(2) and write(2) */
#define LULL_WATCH_ALWAYS 2u /* cannot be polled: always ready (regular files) */
#define LULL_WATCH_DRAINED 4u /* the last receive came back short: nothing is there */
#define LULL_WATCH_CONNECT 8u /* connect(2) was called */
#define LULL_WATCH_AHEAD 16u /* nobody else reads it: may be received from unasked */
#define LULL_WATCH_KEPT 32u /* the backend does so, and tells once of what came */
#define LULL_WATCH_SHARED 64u /* it blocks, and may not be changed: ask first */
#define LULL_WATCH_WANTED 128u /* somebody has waited since it told */

struct lull_backend {
    const char *name;

    /* Makes a selector; memory comes from alloc. */
    int (*open)(struct lull_selector **out, lull_alloc alloc, void *ud);
    void (*close)(struct lull_selector *s);

    /* Tells the kernel what to watch w->fd for.  Sets w->armed on success (and takes
       LULL_READ out of it again where it gave up what it does by LULL_WATCH_KEPT).  0
       forgets it and cannot fail, also where the descriptor was closed behind our back.
       -EPERM: this descriptor cannot be polled; -EEXIST: another watch has it; -EBADF;
       -ENOMEM; -EMFILE: beyond what this backend can name. */
    int (*arm)(struct lull_selector *s, lull_watch *w, unsigned events);

    /* Sleeps until something is ready, at most timeout ns rounded up (0: only looks;
       < 0: for ever), and fills at most max facts.  A signal ends it with 0 facts. */
    int (*wait)(struct lull_selector *s, int64_t timeout, struct lull_fact *facts,
                int max);

    /* Results or -errno; -EAGAIN: wait and call again.  See lull_io_recv and friends.
       connect: -EAGAIN without LULL_WATCH_CONNECT set is a Unix listener whose backlog
       is full.  No event tells when it no longer is: call again after a while. */
    int (*recv)(struct lull_selector *s, lull_watch *w, void *data, size_t size);
    int (*send)(struct lull_selector *s, lull_watch *w, const void *data, size_t size);
    int (*accept)(struct lull_selector *s, lull_watch *w, void *addr, unsigned *len);
    int (*connect)(struct lull_selector *s, lull_watch *w, const void *addr,
                   unsigned len);

    /* Moves bytes from the descriptor into a pipe (LULL_READ) or the other way, without
       their coming by here.  -EAGAIN: wait for that event; -EINVAL: this descriptor
       cannot; -EBUSY: not before what was received is taken.  NULL: no descriptor can. */
    int (*splice)(struct lull_selector *s, lull_watch *w, unsigned event, int pipe,
                  size_t size);

    /* For hosts that poll: a descriptor that is readable whenever wait would find a fact,
       in step with what arm was told last; -errno.  NULL: there is none. */
    int (*descriptor)(struct lull_selector *s);
};

/* The backends of this build, best first, then NULL. */
extern const struct lull_backend *const lull_backends[];

extern const struct lull_backend lull_epoll, lull_poll, lull_select, lull_io_uring;

/* By name; NULL name: the best.  Returns NULL when there is no such one. */
const struct lull_backend *lull_backend_find(const char *name);

/* For backends: what a kernel that takes any descriptor would have to refuse.  -EBADF;
   -EPERM for files, which are always ready; else 0. */
int lull_pollable(int fd);

/* For backends: a timeout of wait in milliseconds, rounded up; -1: for ever. */
int lull_milliseconds(int64_t timeout);

/* The four calls as every readiness backend makes them (selector/calls.c); EINTR is
   retried, SIGPIPE never raised on sockets. */
int lull_call_recv(struct lull_selector *s, lull_watch *w, void *data, size_t size);
int lull_call_send(struct lull_selector *s, lull_watch *w, const void *data, size_t size);
int lull_call_accept(struct lull_selector *s, lull_watch *w, void *addr, unsigned *len);
int lull_call_connect(struct lull_selector *s, lull_watch *w, const void *addr,
                      unsigned len);
int lull_call_splice(struct lull_selector *s, lull_watch *w, unsigned event, int pipe,
                     size_t size);

#endif

/* What the parts of the io_uring backend share: io_uring.c has the ring and readiness,
   io_uring_ahead.c what is received and accepted before anybody asks, io_uring_host.c the
   descriptor for hosts that poll. */
#ifndef LULL_IO_URING_H
#define LULL_IO_URING_H

#include <liburing.h>

#include "library.h"
#include "list.h"
#include "selector.h"

/* liburing, loaded when the selector is first chosen (library.h). */
#ifdef LULL_LOAD_URING

#define LULL_LIBURING(X) \
    X(io_uring_get_events) X(io_uring_queue_exit) X(io_uring_queue_init_params) \
    X(io_uring_register) X(io_uring_register_buf_ring) \
    X(io_uring_submit_and_get_events) X(io_uring_submit_and_wait) \
    X(io_uring_submit_and_wait_timeout)

extern struct lull_liburing {
    LULL_LIBURING(LULL_LIBRARY_ENTRY)
} lull_liburing;

#define io_uring_get_events lull_liburing.io_uring_get_events
#define io_uring_queue_exit lull_liburing.io_uring_queue_exit
#define io_uring_queue_init_params lull_liburing.io_uring_queue_init_params
#define io_uring_register lull_liburing.io_uring_register
#define io_uring_register_buf_ring lull_liburing.io_uring_register_buf_ring
#define io_uring_submit_and_get_events lull_liburing.io_uring_submit_and_get_events
#define io_uring_submit_and_wait lull_liburing.io_uring_submit_and_wait
#define io_uring_submit_and_wait_timeout lull_liburing.io_uring_submit_and_wait_timeout

#endif

/* A piece holds messages of a page.  Its length is an odd number of cache lines: at powers
   of two the pieces would share few of them. */
enum {
    URING_PIECES = 1024, /* buffers of a ring: a power of two */
    URING_PIECE = 4160   /* bytes of one */
};

/* Beside LULL_READ and LULL_WRITE in `flying`: its end is being waited for. */
#define URING_LEAVING 128u

/* How the kernel was asked to watch for LULL_READ. */
enum uring_how { URING_POLL, URING_RECV, URING_ACCEPT };

/* What is known of a descriptor: made when it is armed, and gone when nobody watches it
   and nothing of it is in the kernel.  Completions bear its address, so that one who has
   the number later is never taken for it. */
struct uring_entry {
    lull_watch *watch; /* NULL: it is not watched any more */
    int fd;
    uint8_t flying;  /* the events that the kernel watches for */
    uint8_t leaving; /* those of them that it was told to give up */
    uint8_t events;  /* what came, to be reported */
    uint8_t how;     /* enum uring_how of the read that is flying */
    uint8_t shown;   /* the events that a polling host is told of */
    uint8_t bulk;    /* receives that are left to recv(2), for there is much at once */
    bool plain;      /* it can only be polled */
    bool starved;    /* there was no buffer */
    bool known;      /* whether it listens */
    bool listens;
    bool over;       /* behind the pieces stands the end, or an error */
    int end;
    uint16_t first, last, held; /* pieces received, as a chain */
    int *accepted;              /* descriptors, the oldest first */
    unsigned connections, room;
    lull_list ready; /* in one of the selector's of those to be reported, or told */
    lull_list todo;  /* in that of those for whom the kernel has to be asked */
};

struct uring_piece {
    uint16_t next;
    uint16_t from, to; /* the bytes that are left */
};

struct uring {
    struct lull_selector base;
    struct io_uring ring;
    bool enabled; /* the thread that waits first owns the ring */
    bool looking; /* in wait: what comes is fresh */
    bool rings;   /* the bell, see io_uring_host.c */
    bool odd;     /* looks, for rooms that cannot be halved */
    int host, bell; /* what hosts poll, and a part of it; -1: nobody does */
    struct uring_entry **entries; /* by descriptor */
    uint32_t capacity;
    lull_list ready; /* entries to be reported, in this look or a later one */
    lull_list fresh; /* entries of whom only this look can be sure */
    lull_list todo, told;
    struct io_uring_buf_ring *buffers; /* NULL: none were needed yet, or to be had */
    char *bytes;                       /* of all pieces */
    bool barren;                       /* there can be no buffers here */
    unsigned made;                     /* pieces that there are so far */
    unsigned free;                     /* those of them that the kernel has */
    struct uring_piece pieces[URING_PIECES];
};

/* ---- io_uring.c --------------------------------------------------------------------- */

/* Tells about e when wait is called, or returns. */
void uring_announce(struct uring *s, struct uring_entry *e, unsigned events);
/* Has the kernel asked again, when wait is called. */
void uring_again(struct uring *s, struct uring_entry *e);
struct uring_entry *uring_find(struct uring *s, const lull_watch *w);

/* ---- io_uring_ahead.c --------------------------------------------------------------- */

/* Prepares to receive or accept for e before anybody asks; false: it has to be polled, or
   has to be left in peace until what was received is taken. */
bool uring_can_go_ahead(struct uring *s, struct uring_entry *e);
void uring_go_ahead(struct uring *s, struct uring_entry *e, struct io_uring_sqe *sqe);
/* Was more than enough received for one who does not read? */
bool uring_is_ahead(const struct uring_entry *e);
/* Something came of it; e may have no watch any more. */
void uring_came(struct uring *s, struct uring_entry *e, const struct io_uring_cqe *cqe);
/* Drops what was received. */
void uring_drop(struct uring *s, struct uring_entry *e);
void uring_free_buffers(struct uring *s);
int uring_recv(struct lull_selector *s, lull_watch *w, void *data, size_t size);
int uring_splice(struct lull_selector *s, lull_watch *w, unsigned event, int pipe,
                 size_t size);
int uring_accept(struct lull_selector *s, lull_watch *w, void *addr, unsigned *len);

/* ---- io_uring_host.c ---------------------------------------------------------------- */

int uring_show(struct uring *s, struct uring_entry *e, unsigned events);
/* There is something to be told, or nothing any more. */
void uring_ring(struct uring *s, bool rings);
int uring_descriptor(struct lull_selector *s);
void uring_free_host(struct uring *s);

#endif

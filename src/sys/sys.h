/* What the system offers, as results or -errno: addresses and sockets, threads that do
   what would block, and names turned into addresses.  EINTR is retried in there; nothing
   in here waits, knows Lua or keeps global state. */
#ifndef LULL_SYS_H
#define LULL_SYS_H

#include "lull.h"

/* ---- addresses: address.c ------------------------------------------------------------ */

enum sys_family { SYS_ANY, SYS_INET, SYS_INET6, SYS_UNIX };
enum sys_type { SYS_STREAM, SYS_DGRAM };

/* A sockaddr of any family, opaque.  bytes and size go to lull_io_accept and _connect:
   set size to SYS_ADDRESS before a call that fills it. */
enum { SYS_ADDRESS = 128, SYS_HOST = 128, SYS_TEXT = 160 };
struct sys_address {
    unsigned size;
    union {
        uint64_t aligned;
        unsigned char bytes[SYS_ADDRESS];
    };
};

/* A numeric host ("127.0.0.1", "::1", "fe80::1%eth0") of the family, or "*" for any of
   this machine's addresses.  -EINVAL: it is a name, or of another family. */
int sys_parse(struct sys_address *a, enum sys_family family, const char *host,
              unsigned port);

/* A path, or with a leading NUL a name in Linux's abstract space.  -EINVAL, -ENAMETOOLONG. */
int sys_unix(struct sys_address *a, const char *path, size_t size);

/* Write the host (or path: not terminated by its first NUL) and return its length; the
   whole address as messages show it: "127.0.0.1:80", "[::1]:80", "/run/x", "@name". */
size_t sys_host(const struct sys_address *a, char out[SYS_HOST]);
const char *sys_text(const struct sys_address *a, char out[SYS_TEXT]);

unsigned sys_port(const struct sys_address *a);
void sys_setport(struct sys_address *a, unsigned port);
enum sys_family sys_family(const struct sys_address *a);

/* ---- sockets: net.c ------------------------------------------------------------------- */

/* New descriptors are non-blocking and close-on-exec. */
int sys_socket(enum sys_family family, enum sys_type type);
int sys_pair(enum sys_type type, int fd[2]);
int sys_close(int fd);
int sys_abort(int fd); /* closes with a reset: what is unsent is dropped */

int sys_bind(int fd, const struct sys_address *a);
int sys_unbind(const struct sys_address *a); /* removes its path; -ENOTSOCK: not a socket's */
int sys_listen(int fd, int backlog);
int sys_shutdown(int fd, unsigned how); /* LULL_READ | LULL_WRITE */
int sys_local(int fd, struct sys_address *a);
int sys_peer(int fd, struct sys_address *a);

/* -EAGAIN: wait and call again.  a may be NULL; a peer without an address has size 0. */
int sys_recvfrom(int fd, void *data, size_t size, struct sys_address *a);
int sys_sendto(int fd, const void *data, size_t size, const struct sys_address *a);

enum sys_option {
    SYS_REUSEADDR, SYS_REUSEPORT, SYS_NODELAY, SYS_KEEPALIVE, SYS_BROADCAST, /* 0 or 1 */
    SYS_RCVBUF, SYS_SNDBUF, SYS_ERROR /* the pending errno, and clears it */
};
int sys_setoption(int fd, enum sys_option option, int value);
int sys_getoption(int fd, enum sys_option option, int *value);

/* ---- descriptors: descriptors.c ---------------------------------------------------------- */

/* How many descriptors this process has open, the first `size` of them in list. */
int sys_descriptors(int *list, int size);

/* What fd is open on, as the system names it: "socket:[815]", "/tmp/x"; returns text. */
enum { SYS_TARGET = 256 };
const char *sys_target(int fd, char text[SYS_TARGET]);

/* ---- threads: pool.c --------------------------------------------------------------------- */

/* What would block the loop is done by threads.  Each lane has a queue and a limit of its
   own, so that slow names do not hold up files, nor either the user's work.  Threads start
   when there is work, with all signals blocked, and end when there was none for a while. */
enum sys_lane { SYS_NAMES, SYS_FILES, SYS_WORK, SYS_LANES };

/* Embedded in what there is to do.  The owner sets the three functions, zeroes the rest,
   and drops the job in the end. */
typedef struct sys_job {
    void (*work)(struct sys_job *job); /* on a thread of the pool */
    void (*done)(struct sys_job *job); /* then on the loop's, unless dropped before */
    void (*free)(struct sys_job *job); /* the last call, on either */
    void *owner;
    /* private */
    lull_message message;
    lull_waiter end; /* waits for the end of the loop */
    lull_list link;  /* in the queue of its lane */
    struct sys_pool *pool;
    lull_loop *loop; /* to be told; NULL: nobody is, any more */
    uint8_t lane, state;
    bool dropped;
} sys_job;

struct sys_pool;
int sys_pool_new(struct sys_pool **out); /* -ENOMEM; starts no thread */
void sys_pool_free(struct sys_pool *pool); /* after its loops; waits for no job */

/* Hands job over; until it is done or dropped the loop holds a reference, so waiting for
   it is no deadlock.  A loop that is freed forgets its jobs: done is not called then.
   -EAGAIN: no thread can be had. */
int sys_pool_submit(struct sys_pool *pool, lull_loop *loop, enum sys_lane lane,
                    sys_job *job);

/* The owner no longer wants job, whatever became of it: it is freed now, or when the
   thread comes back from it.  Not to be called while its loop is being freed. */
void sys_job_drop(sys_job *job);

/* ---- names: resolve.c --------------------------------------------------------------------- */

/* A name to be turned into addresses by the system's resolver, on SYS_NAMES.  After done:
   code is NULL and list has count addresses (port 0), or code is "EAI_NONAME" or another
   name, text what it means; or rc is -errno. */
struct sys_resolve {
    sys_job job; /* first: free releases the whole */
    enum sys_family family;
    int rc;
    const char *code, *text;
    struct sys_address *list;
    unsigned count;
    char host[];
};

/* The owner sets job.done and submits it.  NULL: no memory. */
struct sys_resolve *sys_resolve_new(const char *host, enum sys_family family);

#endif

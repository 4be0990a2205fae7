/* What the system offers, as results or -errno: addresses and sockets, threads that do
   what would block, and names turned into addresses.  EINTR is retried in there; nothing
   in here waits, knows Lua or keeps global state. */
#ifndef LULL_SYS_H
#define LULL_SYS_H

#include <stdatomic.h>

#include "buffer.h"
#include <pthread.h>

#include "lull.h"

/* ---- addresses: address.c -------------------------------------------------------- */

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

/* A path, or with a leading NUL a name in Linux's abstract space.  -EINVAL,
   -ENAMETOOLONG. */
int sys_unix(struct sys_address *a, const char *path, size_t size);

/* Write the host (or path: not terminated by its first NUL) and return its length; the
   whole address as messages show it: "127.0.0.1:80", "[::1]:80", "/run/x", "@name". */
size_t sys_host(const struct sys_address *a, char out[SYS_HOST]);
const char *sys_text(const struct sys_address *a, char out[SYS_TEXT]);

unsigned sys_port(const struct sys_address *a);
enum sys_family sys_family(const struct sys_address *a);

/* An IPv4 address as an IPv6 socket knows it, and back; others are left alone. */
void sys_map4(struct sys_address *a);
void sys_unmap4(struct sys_address *a);

/* ---- sockets: net.c -------------------------------------------------------------- */

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
    SYS_REUSEADDR, SYS_REUSEPORT, SYS_NODELAY, SYS_KEEPALIVE, SYS_BROADCAST, SYS_V6ONLY,
    SYS_MULTICAST_LOOP, /* 0 or 1, so far */
    SYS_RCVBUF, SYS_SNDBUF, SYS_TTL, SYS_MULTICAST_TTL,
    SYS_MULTICAST_INTERFACE, /* by number */
    SYS_ERROR                /* the pending errno, and clears it */
};
int sys_setoption(int fd, enum sys_option option, int value);
int sys_getoption(int fd, enum sys_option option, int *value);

/* Joins or leaves a multicast group on an interface (0: one that the system picks). */
int sys_multicast(int fd, bool join, const struct sys_address *group, unsigned interface);
unsigned sys_interface(const char *name); /* its number, or 0 */

/* ---- messages: message.c --------------------------------------------------------- */

/* What recvmsg(2) and sendmsg(2) carry: bytes, an address, and descriptors. */
enum { SYS_RIGHTS = 253 }; /* so many descriptors at most */
struct sys_message {
    void *data;
    size_t size;
    struct sys_address *address; /* NULL: nobody's */
    int *fds;                    /* received ones are close-on-exec */
    unsigned count, room;        /* how many there are, and may come: others are closed */
    bool cut;                    /* a datagram had more bytes, or descriptors did not fit */
};

/* Bytes, or -errno; -EAGAIN: wait and call again. */
int sys_recvmsg(int fd, struct sys_message *m);
int sys_sendmsg(int fd, const struct sys_message *m);

/* Takes over a descriptor that somebody else has opened: makes it non-blocking (for all
   who share it) and close-on-exec.  role: what it is. */
enum sys_role { SYS_UNKNOWN, SYS_LISTENING, SYS_CONNECTION, SYS_PACKETS };
int sys_adopt(int fd, enum sys_role *role, enum sys_family *family);

/* ---- descriptors: descriptors.c -------------------------------------------------- */

/* How many descriptors this process has open, the first `size` of them in list. */
int sys_descriptors(int *list, int size);

/* What fd is open on, as the system names it: "socket:[815]", "/tmp/x"; returns text. */
enum { SYS_TARGET = 256 };
const char *sys_target(int fd, char text[SYS_TARGET]);

/* ---- threads: pool.c ------------------------------------------------------------- */

/* What would block the loop is done by threads.  Each lane has a queue and a limit of its
   own, so that slow names do not hold up files, nor either the user's work.  Threads start
   when there is work, with all signals blocked, and end when there was none for a while. */
enum sys_lane { SYS_NAMES, SYS_FILES, SYS_WORK, SYS_LANES };

/* What a job leaves on its thread for the next of its kind. */
typedef struct sys_keep {
    void (*tidy)(struct sys_keep *keep); /* after each job, when its end has been told */
    void (*free)(struct sys_keep *keep); /* at the end of the thread */
} sys_keep;

/* Embedded in what there is to do.  The owner sets the three functions, zeroes the rest,
   and drops the job in the end. */
typedef struct sys_job {
    void (*work)(struct sys_job *job); /* on a thread of the pool */
    void (*done)(struct sys_job *job); /* then on the loop's, unless dropped before */
    void (*free)(struct sys_job *job); /* the last call, on either */
    void *owner;
    sys_keep **keep;  /* at work: what its thread keeps, or NULL there; it may be set */
    /* private */
    pthread_t thread; /* that runs it */
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

/* Nudges (nudge.h) the thread that is in the middle of job, if one is. */
void sys_job_nudge(sys_job *job);

/* entropy.c.  Bytes that nobody can foretell, at most 256. */
void sys_entropy(void *data, size_t size);

/* How many threads a lane may have, from 1; more than have work now end in a while. */
int sys_pool_limit(struct sys_pool *pool, enum sys_lane lane, unsigned n);

/* ---- names ----------------------------------------------------------------------- */

/* What became of a name.  code is NULL and list has count addresses (port 0, each once,
   the best first), or code is "EAI_NONAME" or another name and text what it means; or rc
   is -errno. */
struct sys_answer {
    int rc;
    const char *code, *text;
    struct sys_address *list;
    unsigned count, capacity;
};

/* answer.c.  Adds a sockaddr, unless it is there already or of a strange family, or there
   are enough; -ENOMEM is noted in rc. */
enum { SYS_ANSWERS = 256 };
void sys_answer_add(struct sys_answer *a, const void *sockaddr, unsigned size);
void sys_answer_free(struct sys_answer *a);
/* Could host, which is no number, be the name of one? */
bool sys_hostname(const char *host);

/* hosts.c.  What the hosts file at path (NULL: none) says of a name, and that localhost
   is this machine (RFC 6761).  false: nothing.  Reads a file: local, and in one go. */
bool sys_hosts(const char *path, const char *host, enum sys_family family,
               struct sys_answer *a);

/* resolve.c.  A name for the system's resolver, on SYS_NAMES; after done the answer is
   there. */
struct sys_resolve {
    sys_job job; /* first: free releases the whole */
    enum sys_family family;
    struct sys_answer answer;
    char host[];
};

/* The owner sets job.done and submits it.  NULL: no memory. */
struct sys_resolve *sys_resolve_new(const char *host, enum sys_family family);

/* dns.c.  A name for name servers, asked from the loop.  What is not given is as this
   machine is configured; with servers given none of its configuration counts. */
struct sys_dns_options {
    const struct sys_address *servers;
    unsigned server_count;   /* 0: not given */
    const char *const *search;
    int search_count, ndots; /* < 0: not given */
    unsigned attempts;       /* for each server */
    int64_t patience;        /* ns that a server has for an answer */
};

bool sys_has_dns(void); /* else sys_dns_start says -ENOSYS */

/* Begins to ask; done is called once, maybe before this returns, unless the lookup is
   dropped or the loop ends before. */
struct sys_dns;
int sys_dns_start(struct sys_dns **out, lull_loop *loop, const char *host,
                  enum sys_family family, const struct sys_dns_options *o,
                  void (*done)(void *owner), void *owner);
const struct sys_answer *sys_dns_answer(const struct sys_dns *dns);
void sys_dns_drop(struct sys_dns *dns); /* frees it; may come after the loop is gone */

/* ---- standard files: standard.c -------------------------------------------------- */

/* A descriptor of ours for standard file n.  *shared: it blocks, as its open file is that
   of others too: see lull_io_share. */
int sys_standard(int n, bool *shared);

void sys_await_write(int fd); /* blocks until it can be written to */

/* ---- children: child.c ----------------------------------------------------------- */

/* A pipe of which fd[1] writes, close-on-exec but blocking; /dev/null, the same.  None is
   one of the standard three. */
int sys_pipe(int fd[2]);
int sys_null(void);
bool sys_write_only(int fd);
int sys_hang_up(int fd); /* the descriptor stays, on /dev/null */
int sys_nonblocking(int fd, bool on);

struct sys_program {
    char *const *paths; /* tried in turn; NULL ends each of these lists */
    char *const *argv, *const *env;
    const char *cwd;    /* or NULL */
    int fd[3];          /* what become its 0, 1 and 2; -1: those that are here */
    bool blocking[3];   /* make that one block */
    bool group;         /* it leads a process group of its own */
    int64_t nofile;     /* its soft limit of open files; < 0: as here */
};

/* Starts it and returns its pid.  Else -errno, and nothing is left: *in_cwd says that it
   is the directory that was refused. */
int sys_spawn(const struct sys_program *p, bool *in_cwd);

/* A descriptor that is readable when the child has ended.  *pidfd: whether to try that,
   and then whether it is one. */
int sys_child_watch(int pid, bool *pidfd);

/* Is it readable now?  A pipe has to be before the child may be reaped. */
bool sys_child_told(int fd);

/* Reaps it: 1, *code or *number (the signal) is set, the other -1 or 0; 0: it runs; or
   -ECHILD: somebody else has reaped it.  wait: until it has ended. */
int sys_child_end(int pid, bool wait, int *code, int *number);

/* Sends a signal to a child that has not been reaped; pidfd < 0: there is none. */
int sys_child_signal(int pid, int pidfd, bool group, int number);

/* pack.c.  Is there a member of the process group that has not ended? */
bool sys_group_lives(int group);

/* countdown.c.  A descriptor that becomes readable after so much real time; -errno. */
int sys_countdown(int64_t ns);

/* ---- signals: signal.c ----------------------------------------------------------- */

enum { SYS_SIGNALS = 65, SYS_SIGNAL = 24 };

/* "SIGTERM", "SIGRTMIN+1" <-> number; -EINVAL: there is none of this name. */
int sys_signal_number(const char *name);
const char *sys_signal_name(int number, char text[SYS_SIGNAL]);
int sys_signal_raise(int number); /* to this process */
bool sys_signal_fault(int number); /* is it one that comes from running wrong code? */

/* One who hears of signals: fd[0] is readable, and count[n] has grown, after signal n. */
struct sys_ear {
    _Atomic(struct sys_ear *) next;
    int fd[2];
    atomic_bool told;
    atomic_bool open[SYS_SIGNALS];
    atomic_uint count[SYS_SIGNALS];
    atomic_uint taken[SYS_SIGNALS];  /* the owner's: the count that somebody has seen */
    atomic_uint wanted[SYS_SIGNALS]; /* the owner's: how many wait for it now */
};

int sys_ear_open(struct sys_ear *ear);
/* From now on n is heard, by all who listen, instead of what it did before. */
int sys_ear_listen(struct sys_ear *ear, int n);
/* No longer; the last one who listened gives it back. */
void sys_ear_shut(struct sys_ear *ear, int n);
void sys_ear_close(struct sys_ear *ear);
/* Makes fd[0] wait for the next signal; look at the counts after this. */
void sys_ear_drain(struct sys_ear *ear);

/* ---- TLS: tlscontext.c, tls.c, tlspeer.c ----------------------------------------- */

/* A failure of TLS is -SYS_ETLS, and why can be asked for. */
enum { SYS_ETLS = 20000, SYS_WHY = 200, SYS_STAMP = 80, SYS_TLS_NAME = 256 };

enum sys_verify { SYS_VERIFY_NO, SYS_VERIFY_GIVEN, SYS_VERIFY };

struct sys_tls_options {
    bool server;
    enum sys_verify verify; /* of a server: GIVEN asks for a certificate, VERIFY insists */
    int min_version, max_version; /* 10 .. 13; 0: the newest */
    const char *ca_file, *ca_path, *cert_file, *key_file, *ciphers; /* or NULL */
    const char *alpn; /* names, each behind its length */
    size_t alpn_size;
    const char *id;   /* of all the options together */
    size_t id_size;
    lull_alloc alloc;
    void *ud;
};

/* What connections have in common, shared by reference.  A failure tells where (the name
   of a file or an option, or NULL) and, when it is -SYS_ETLS, why. */
struct sys_tls_context;
int sys_tls_context_new(struct sys_tls_context **out, const struct sys_tls_options *o,
                        const char **where, char why[SYS_WHY]);
void sys_tls_context_drop(struct sys_tls_context *c);
bool sys_tls_verifies(const struct sys_tls_context *c); /* is the host's name checked? */

/* What changes when a file is replaced; "" when there is none. */
void sys_tls_stamp(const char *path, char out[SYS_STAMP]);

/* A connection on io, which has its descriptor before the first call that takes a loop.
   It stands in list until it is freed. */
struct sys_tls;
struct buffer;
int sys_tls_new(struct sys_tls **out, struct sys_tls_context *c, lull_io *io,
                lull_list *list);
void sys_tls_close(struct sys_tls *t); /* only why and free may follow */
void sys_tls_free(struct sys_tls *t);
void sys_tls_free_all(lull_list *list);

/* Takes what was received already; it comes before what io receives. */
void sys_tls_feed(struct sys_tls *t, struct buffer *early);

/* A client's: the name that the server must have, and the key under which sessions are
   kept to be resumed.  -EINVAL: that is no name. */
int sys_tls_expect(struct sys_tls *t, const char *name, const char *key);

/* -EAGAIN: call again when there is something to receive or, while there is something
   unsent, when that can be sent.  Every other failure is for good. */
int sys_tls_handshake(struct sys_tls *t, lull_loop *loop);
/* The others do the handshake first.  recv returns 0 at the end that the peer has told. */
int sys_tls_recv(struct sys_tls *t, lull_loop *loop, char *data, size_t size);
/* Returns how many bytes are with the system; what was not is to be shown again. */
int sys_tls_send(struct sys_tls *t, lull_loop *loop, const char *data, size_t size);
int sys_tls_flush(struct sys_tls *t, lull_loop *loop); /* what is unsent */
int sys_tls_notify(struct sys_tls *t, lull_loop *loop); /* tells the peer that we end */
void sys_tls_deafen(struct sys_tls *t); /* io no longer receives: that is no truncation */

bool sys_tls_shaken(const struct sys_tls *t);  /* is the handshake done? */
int sys_tls_failure(const struct sys_tls *t);  /* what has ended it, or 0 */
bool sys_tls_unsent(const struct sys_tls *t);
bool sys_tls_torn(const struct sys_tls *t);    /* must something be shown again? */
const char *sys_tls_why(const struct sys_tls *t);

struct sys_tls_info {
    const char *version, *cipher, *server_name, *alpn; /* the latter two may be NULL */
    size_t alpn_size;
    bool verified, resumed;
};
void sys_tls_info(const struct sys_tls *t, struct sys_tls_info *info);
/* Writes the peer's certificate if it fits; its size, 0: it has none, or -ENOMEM. */
ptrdiff_t sys_tls_certificate(const struct sys_tls *t, char *out, size_t size);

#endif

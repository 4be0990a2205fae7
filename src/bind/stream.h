/* What the rooms of streams (life, inflow and reading, outflow and writing, relays and
   listeners) tell one another.

   Reading goes through one buffer.  To receive, a stream with nothing in it borrows the
   runtime's scratch as its buffer and gives it back before others can run: what completes
   an item never moves, what is left over is copied once, and when making the string fails
   the bytes are still the stream's.

   Writing goes straight to the system while it takes all.  The rest waits in chunks, sent
   by a waiter of the stream's own, on the loop, outside of any task; until they are sent
   the stream is held.

   Under TLS both happen on the same paths, with sys_tls between the buffers and the
   system; tlsflow.c tells how.  What is waiting in chunks is not encrypted yet. */
#ifndef LULL_STREAM_H
#define LULL_STREAM_H

#include <errno.h>

#include "bind.h"
#include "buffer.h"
#include "sys.h"
#include "task.h"

/* Bytes to be sent: copied behind it, or in a Lua string held under its address. */
struct chunk {
    struct chunk *next;
    const char *data;
    size_t size;     /* not sent yet */
    size_t capacity; /* of bytes; 0: they are a string's */
    char bytes[];
};

struct stream_options {
    size_t limit;      /* how long a line may be */
    size_t high_water; /* how much may wait to be sent before writers do */
    lua_Number linger; /* seconds that are left for it after close */
};

/* flags of a stream; those of a Listener are its own */
enum {
    STREAM_OPEN = 1,      /* by the script: not closed yet */
    STREAM_ENDED = 2,     /* nothing more will be received: the end, or in_error */
    STREAM_SHUT = 4,      /* nothing more may be written: shut down, or out_error */
    STREAM_LINGERING = 8, /* closed, but still sending */
    STREAM_HELD = 16,
    STREAM_CONNECTED = 32, /* a socket with a peer */
    STREAM_TLS = 64,
    STREAM_STANDARD = 128 /* standard output or error */
};

/* What most streams never need, made for one that does: when the system does not take
   all that is written, with TLS, with options of its own.  Those that have none yet share
   one, in which nothing waits and which is never written to. */
struct outflow {
    struct chunk *head, *tail; /* what is still to be sent */
    size_t queued;             /* bytes in there */
    uint64_t sent;             /* bytes that have left it, so far */
    struct sys_tls *tls;       /* NULL: what is sent is what was written */
    struct stream_options opts;
    lull_list writers;         /* who waits for them to be sent */
    lull_waiter flusher;       /* sends them */
    lull_timer patience;       /* how long a closed stream may linger */
    struct stream *stream;
    lull_list link;            /* in the list of the runtime */
};

/* In order of use: a request touches all but the peer. */
struct stream {
    struct runtime *rt;
    uint8_t flags;
    uint8_t peer_size;          /* 0: has none, or a long one that the system knows */
    int16_t in_error, out_error; /* -errno that has come, for every later call */
    uint32_t id;
    lua_Number timeout;         /* seconds of a call, < 0: none */
    struct buffer in;
    size_t scanned;             /* so many bytes of in are known to hold no line end */
    struct outflow *out;        /* never NULL */
    lull_io io;
    unsigned char peer[28];     /* asked for early: the system forgets it with a reset */
};

/* ---- streamlib.c: life ------------------------------------------------------------- */

/* Pushes a Stream that has no descriptor yet, and gives it one (which cannot fail). */
struct stream *lull_newstream(lua_State *L, const struct stream_options *opts);
void lull_stream_open(lua_State *L, struct stream *s, int fd,
                      const struct sys_address *peer);

/* Fields limit, high_water and linger of the table at i, or their defaults. */
struct stream_options lull_stream_options(lua_State *L, int i);
bool lull_stream_flag(lua_State *L, int i, const char *name, bool otherwise);

/* The descriptor to adopt: that of the Socket at i, which gives it up, or an integer. */
int lull_stream_adopt(lua_State *L, int i);

/* Closes the descriptor, drops what was not sent and wakes all who wait. */
void lull_stream_finish(lua_State *L, struct stream *s);

/* The loop to send on from outside of tasks, or NULL. */
static inline lull_loop *lull_stream_loop(const struct stream *s)
{
    return s->io.loop ? s->io.loop : s->rt->loop;
}

/* The open Stream at i; raises the usual argument error, or that it is closed. */
struct stream *lull_openstream_slowly(lua_State *L, int i);

static inline struct stream *lull_openstream(lua_State *L, int i)
{
    struct stream *s = lull_test(L, lull_runtime(L), i, LULL_STREAM);
    return s != NULL && s->flags & STREAM_OPEN ? s : lull_openstream_slowly(L, i);
}

/* Pushes host and port, or a path; returns how many. */
int lull_pushaddress(lua_State *L, const struct sys_address *a);

/* nil, message, code for rc, with the peer's address. */
int lull_stream_fail(lua_State *L, struct stream *s, int rc);

/* When a call ends that begins now, kept in the Lua stack at slot while it is
   suspended. */
static inline int64_t lull_until(lua_State *L, lua_Number timeout, int slot)
{
    if (timeout < 0)
        return LULL_FOREVER;
    if (lua_gettop(L) < slot)
        lua_settop(L, slot);
    if (!lua_isinteger(L, slot)) {
        lua_pushinteger(L, lull_after(lull_runtime(L)->loop, timeout));
        lua_replace(L, slot);
    }
    return lua_tointeger(L, slot);
}

/* Checks the argument of settimeout at i: seconds, or -1 for nil. */
lua_Number lull_checktimeout(lua_State *L, int i);

/* lull_enter, and giving others a turn, without looking the runtime up. */
static inline int lull_stream_enter(lua_State *L, struct stream *s, lua_KFunction k)
{
    return lull_may(L, s->rt) ? k(L, LUA_OK, 0) : lull_enter_slowly(L, s->rt, k);
}

static inline int lull_stream_turn(lua_State *L, struct stream *s, lua_KFunction k)
{
    return lull_turn(L, s->rt, k);
}

/* ---- inflow.c: receiving ----------------------------------------------------------- */

/* Notes how a receive ended that brought no bytes: returns 0 at the end, or n. */
int lull_stream_end(struct stream *s, int n);

/* Nothing is left over, and nothing speaks against receiving for a task woken with rc. */
static inline bool lull_stream_fresh(const struct stream *s, int rc)
{
    unsigned flags = s->flags & (STREAM_OPEN | STREAM_ENDED | STREAM_TLS);
    return rc == 0 && flags == STREAM_OPEN && s->in.data == NULL &&
           list_empty(&s->io.readers);
}

/* Much at a time counts as several operations: the others wait for as long.  n bytes; an
   error is no bytes. */
static inline void lull_charge(struct runtime *rt, int n)
{
    rt->budget -= n > 0 ? n / 2048 : 0;
}

/* Receives into the scratch, which is the empty buffer then.  Results as of fill. */
static inline int lull_stream_receive(lua_State *L, struct stream *s)
{
    struct runtime *rt = s->rt;
    char *to = lull_scratch(L, rt);
    int n = to ? lull_io_recv(rt->loop, &s->io, to, LULL_SCRATCH) : -ENOMEM;
    if (n <= 0)
        return to ? lull_stream_end(s, n) : n;
    rt->scratch = NULL;
    lull_charge(rt, n);
    buffer_adopt(&s->in, to, (size_t)n, LULL_SCRATCH);
    return n;
}

/* Receives what is there: > 0; 0 at the end; -EAGAIN: wait; else -errno.  size: room to
   be made when there is something in the buffer already. */
int lull_stream_fill(lua_State *L, struct stream *s, size_t size);

void lull_stream_take_slowly(lua_State *L, struct stream *s, size_t n);

/* Takes n bytes off the buffer; most often they are all, and lie in the scratch. */
static inline void lull_stream_take(lua_State *L, struct stream *s, size_t n)
{
    bool borrowed = s->in.capacity == LULL_SCRATCH && s->rt->scratch == NULL;
    if (n != buffer_size(&s->in) || !borrowed) {
        lull_stream_take_slowly(L, s, n);
        return;
    }
    s->rt->scratch = buffer_disown(&s->in);
    s->scanned = 0;
}

/* Gives the scratch back, before others run, where it was borrowed. */
void lull_stream_give_back(lua_State *L, struct stream *s);

/* May the running task read, and go on after rc?  0, or -errno; raises when another does.
   Where its time is over (-ETIMEDOUT) it may try once more, but not wait. */
int lull_stream_reader(lua_State *L, struct stream *s, int rc);

/* Suspends until there is more to read, then k; the stream is value 1 of the Lua stack,
   slot holds the deadline. */
int lull_stream_await(lua_State *L, struct stream *s, int slot, lua_KFunction k);

/* ---- pour.c: from stream to stream by a pipe ------------------------------------------ */

/* What a relay remembers of it: how much is poured at once, or */
enum { POUR_NOT_YET = 0, POUR_NEVER = -1 };

/* May this much be worth it, from one stream to the other? */
bool lull_can_pour(const struct stream *from, const struct stream *to);

/* Passes on at most `most` bytes, nothing of them being in the buffer of from: how many, 0 at
   the end, -EAGAIN: wait to read, or -errno; -EINVAL, -EBUSY: copy instead, for good or this
   time.  What to would not take is queued for it.  to is value i of the Lua stack. */
ptrdiff_t lull_pour(lua_State *L, struct stream *from, struct stream *to, int i,
                    size_t most, lua_Integer *window);

/* ---- outflow.c: sending ------------------------------------------------------------ */

/* That of all streams which have none of their own, with the usual options.  Makes s one
   of its own, unless it has that; NULL: no memory, and nothing has changed. */
extern struct outflow lull_no_outflow;
struct outflow *lull_stream_outflow(lua_State *L, struct stream *s);
void lull_free_outflow(lua_State *L, struct outflow *o);

static inline bool lull_stream_flushes(const struct stream *s)
{
    return !list_empty(&s->out->flusher.link);
}

/* The run of a stream's flusher. */
void lull_stream_flush(lull_loop *loop, lull_waiter *w);

/* The same at once, unless the flusher is at work. */
void lull_stream_push(lua_State *L, lull_loop *loop, struct stream *s);

/* Takes the strings from 2 to the top of the Lua stack, below which is the stream: sends
   what can be sent now.  0, or why they were not taken. */
int lull_stream_write(lua_State *L, lull_loop *loop, struct stream *s);

/* Sends or queues a copy of n bytes for the stream at i; returns how many it has taken,
   all of them unless memory is short, or -errno. */
ptrdiff_t lull_stream_pass(lua_State *L, lull_loop *loop, struct stream *s, int i,
                           const char *data, size_t n);

/* Nothing more can be written, because of rc, which is returned. */
int lull_stream_break(struct stream *s, int rc);

/* Why a writer that was woken with rc cannot go on, or 0.  That its time is over only
   matters when it would have to wait longer. */
int lull_stream_writer(const struct stream *s, int rc);

/* Suspends until the writers of s are woken, then k. */
int lull_stream_await_sent(lua_State *L, struct stream *s, int64_t deadline,
                           lua_KFunction k);

/* Ends a direction, or both, of what has nothing more to send; 0 or -errno. */
int lull_stream_shutdown(struct stream *s, unsigned how);

/* Forgets what was not sent. */
void lull_stream_drop(lua_State *L, struct stream *s);

/* ---- tlsflow.c: the same under TLS, for streams that have it ----------------------- */

/* As lull_stream_fill, lull_io_send, and what is to be done when no chunk is left. */
int lull_tls_fill(lua_State *L, struct stream *s, size_t size);
int lull_tls_send(lull_loop *loop, struct stream *s, const char *data, size_t n);
int lull_tls_farewell(lull_loop *loop, struct stream *s);

/* What the flusher must wait for. */
unsigned lull_tls_wants(const struct stream *s);

/* Has everything been sent? */
static inline bool lull_stream_whole(const struct stream *s)
{
    const struct outflow *o = s->out;
    return o->head == NULL && (o->tls == NULL || !sys_tls_unsent(o->tls));
}

/* Begins TLS on s, on the server's side or with the server that must have this name; key
   is that of its sessions.  Never twice; -errno. */
int lull_tls_begin(lua_State *L, struct stream *s, struct sys_tls_context *c,
                   const char *name, const char *key);

/* ---- tlslib.c: its options --------------------------------------------------------- */

/* The context of the TLSContext at i. */
struct sys_tls_context *lull_checktls(lua_State *L, int i);

/* ---- stdiolib.c: before something is written to a standard file --------------------- */

void lull_stdio_precede(lua_State *L, lull_loop *loop);
/* "stdin", "stdout", "stderr", or NULL: it is none of them. */
const char *lull_stdio_name(lua_State *L, const struct stream *s);

/* ---- methods of the other rooms ---------------------------------------------------- */

extern const luaL_Reg lull_stream_reading[], lull_stream_writing[];
extern const luaL_Reg lull_stream_relaying[];

/* ---- listenlib.c ------------------------------------------------------------------- */

void lull_open_listener(lua_State *L);

#endif

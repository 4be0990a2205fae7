/* What the rooms of transports (what all have in common; those over streams; those over
   datagrams) tell one another.

   A transport calls its protocol: the callbacks run on the loop, outside of any task.  It
   lives from its birth until connection_lost has been called, held by the runtime and in
   the list of its loop, which closes what is still open when it comes to its end.
   Whatever ends it comes together in lull_transport_end: from there connection_lost is
   called in a later turn, once, and nothing else after it. */
#ifndef LULL_TRANSPORT_H
#define LULL_TRANSPORT_H

#include "looplib.h"
#include "sys.h"

struct transport;

/* What is different over streams and over datagrams. */
struct transport_kind {
    size_t size; /* of the struct, behind which stand the addresses */
    /* How many bytes wait to be sent. */
    size_t (*queued)(const struct transport *t);
    /* Has the writer woken when no more than lull_transport_low wait, or on failure. */
    void (*await_sent)(struct transport *t);
    /* Seconds that are left for it when it closes. */
    lua_Number (*linger)(const struct transport *t);
    /* -errno by which sending has failed, or 0. */
    int (*failure)(const struct transport *t);
    /* Closes the descriptor; abort: what was not sent is dropped.  The transport stands
       at i. */
    void (*close)(lua_State *L, struct transport *t, int i, bool abort);
    /* Pushes the message for rc. */
    void (*describe)(lua_State *L, struct transport *t, int rc);
};

enum {                        /* flags of a transport */
       TRANSPORT_CLOSING = 1, /* by whatever */
       TRANSPORT_ENDED = 2,   /* connection_lost is due, or was called */
       TRANSPORT_ABORT = 4,   /* what was not sent is dropped */
       TRANSPORT_PAUSED = 8,  /* reading */
       TRANSPORT_FULL = 16,   /* pause_writing was called, resume_writing not yet */
       TRANSPORT_AT_END = 32, /* nothing more will be received */
       TRANSPORT_SHUT = 64,   /* write_eof was called */
       TRANSPORT_BUSY = 128, /* receives: who finds this set later was left by an error */
       TRANSPORT_TOLD = 256, /* connection_lost was called */
       TRANSPORT_LINGERS = 512 /* counted by lull_linger */
};

enum { TRANSPORT_HIGH = 64 * 1024 }; /* mark of the write buffer, unless told */

/* uservalues of a transport */
enum { TRANSPORT_PROTOCOL = 1, TRANSPORT_ERROR, TRANSPORT_ON_END, TRANSPORT_STREAM };

/* What a transport needs once something waits to be sent, made then; those that have none
   share one, which is never written to. */
struct backlog {
    lull_waiter writer;  /* waits for something to have been sent */
    lull_timer patience; /* how long a closing transport may send */
    size_t high, low;
    struct transport *transport;
    lull_list link;      /* in the list of the runtime */
};

/* First in both kinds. */
struct transport {
    const struct transport_kind *kind;
    struct runtime *rt;
    lua_State *main;
    struct loop *home;   /* NULL: it is over */
    lull_list link;      /* in the list of home */
    lull_waiter reader;  /* waits for something to come; in the end calls connection_lost */
    struct backlog *backlog; /* never NULL */
    int rc;   /* -errno that has ended it */
    int self; /* where it is in the registry */
    uint32_t id;
    uint16_t flags;
    uint8_t here_size, peer_size; /* of the addresses; 0: it has none */
};

/* Both ends of a descriptor.  Most addresses are much shorter than the longest. */
struct transport_ends {
    struct sys_address here, peer;
};
void lull_transport_ends(struct transport_ends *ends, int fd);

static inline size_t lull_transport_size(const struct transport_kind *kind,
                                         const struct transport_ends *ends)
{
    return kind->size + ends->here.size + ends->peer.size;
}

struct sys_address lull_transport_here(const struct transport *t);
struct sys_address lull_transport_peer(const struct transport *t);

/* How much may still wait when those who wait for that are told. */
static inline size_t lull_transport_low(const struct transport *t)
{
    return t->flags & TRANSPORT_CLOSING ? 0 : t->backlog->low;
}

/* ---- transport.c ------------------------------------------------------------------- */

/* Gives birth to the transport on top of the stack, of that lull_transport_size, which is
   zeroed but for what its kind needs: the protocol is value `protocol` of the stack,
   on_end the value behind that. */
void lull_transport_open(lua_State *L, struct transport *t, int protocol,
                         const struct transport_kind *kind,
                         const struct transport_ends *ends);

/* That of all transports with none of their own.  Makes t one, unless it has that; NULL:
   no memory. */
extern struct backlog lull_no_backlog;
struct backlog *lull_transport_backlog(struct transport *t);
void lull_free_backlog(lua_State *L, struct backlog *b);

/* Calls connection_made, and has it read. */
void lull_transport_begin(lua_State *L, struct transport *t);

/* Calls a method of t's protocol, if it has that, with the top n values (popped).  With
   result what it returns is pushed.  What it raises is reported, and aborts t: false. */
bool lull_transport_call(lua_State *L, struct transport *t, const char *name, int n,
                         bool result);

/* May t receive now?  Has it look, in a later turn, whether there is something. */
static inline bool lull_transport_reads(const struct transport *t)
{
    return !(t->flags & (TRANSPORT_CLOSING | TRANSPORT_PAUSED | TRANSPORT_AT_END));
}
void lull_transport_read(struct transport *t);

/* Something was written: who has written too much is told. */
void lull_transport_wrote(lua_State *L, struct transport *t);

/* Closes t once all is sent.  Ends it now, with -errno or 0.  Ends it without a word. */
void lull_transport_close(struct transport *t);
void lull_transport_end(struct transport *t, int rc);
void lull_transport_forget(struct transport *t);

extern const luaL_Reg lull_transport_functions[];

/* ---- transportlib.c: methods of both kinds ----------------------------------------- */

extern const luaL_Reg lull_transport_methods[], lull_transport_metamethods[];

/* ---- the kinds: connectionlib.c, packetlib.c --------------------------------------- */

void lull_open_stream_transport(lua_State *L);
void lull_open_packet_transport(lua_State *L);

#endif

/* Streams under TLS: what the rooms of inflow and outflow do there instead.

   The handshake is done by whoever comes first: who reads, who writes (the flusher goes
   on with it, and may wait to read therefore), who asks for it.  One of them may receive
   what another waits for, so each step of it that leads on wakes all of them.  After it,
   only readers receive. */
#include <errno.h>

#include "stream.h"

/* ---- beginning ------------------------------------------------------------------- */

int lull_tls_begin(lua_State *L, struct stream *s, struct sys_tls_context *c,
                   const char *name, const char *key)
{
    struct sys_tls *t = NULL;
    if (lull_stream_outflow(L, s) == NULL)
        return -ENOMEM;
    int rc = sys_tls_new(&t, c, &s->io, &s->rt->tls);
    if (rc == 0 && name)
        rc = sys_tls_expect(t, name, key);
    if (rc < 0) {
        if (t)
            sys_tls_free(t);
        return rc;
    }
    sys_tls_feed(t, &s->in);
    s->scanned = 0;
    s->flags = (uint8_t)((s->flags | STREAM_TLS) & ~STREAM_ENDED);
    s->in_error = 0;
    s->out->tls = t;
    return 0;
}

/* ---- the handshake --------------------------------------------------------------- */

/* Wakes all who may have to go on, after a call that began while it was being made. */
static void pass_on(lull_loop *loop, struct stream *s)
{
    bool over = sys_tls_shaken(s->out->tls) || sys_tls_failure(s->out->tls) < 0;
    if (!over && !sys_tls_unsent(s->out->tls))
        return;
    lull_wake_all(loop, &s->io.readers, 0);
}

unsigned lull_tls_wants(const struct stream *s)
{
    bool reads = !sys_tls_shaken(s->out->tls) && !sys_tls_unsent(s->out->tls);
    return reads ? LULL_READ : LULL_WRITE;
}

/* ---- receiving ------------------------------------------------------------------- */

/* The protocol may have something to say of its own. */
static int answer(lull_loop *loop, struct stream *s)
{
    if (!sys_tls_unsent(s->out->tls) || lull_stream_flushes(s))
        return 0;
    return lull_io_wait(loop, &s->io, LULL_WRITE, &s->out->flusher);
}

static int receive(struct stream *s, char *to, size_t room)
{
    lull_loop *loop = s->rt->loop;
    bool shaken = sys_tls_shaken(s->out->tls);
    int n = sys_tls_recv(s->out->tls, loop, to, room);
    if (!shaken)
        pass_on(loop, s);
    int rc = answer(loop, s);
    return n == -EAGAIN && rc < 0 ? rc : n;
}

int lull_tls_fill(lua_State *L, struct stream *s, size_t size)
{
    void *ud;
    lua_Alloc alloc = lua_getallocf(L, &ud);
    bool borrows = s->in.data == NULL;
    char *to = borrows ? lull_scratch(L, s->rt) : buffer_reserve(&s->in, size, alloc, ud);
    if (to == NULL)
        return -ENOMEM;
    int n = receive(s, to, borrows ? LULL_SCRATCH : buffer_room(&s->in));
    if (n <= 0)
        return lull_stream_end(s, n);
    lull_charge(s->rt, n);
    if (!borrows) {
        buffer_commit(&s->in, (size_t)n);
        return n;
    }
    s->rt->scratch = NULL;
    buffer_adopt(&s->in, to, (size_t)n, LULL_SCRATCH);
    return n;
}

/* ---- sending --------------------------------------------------------------------- */

int lull_tls_send(lull_loop *loop, struct stream *s, const char *data, size_t n)
{
    bool shaken = sys_tls_shaken(s->out->tls);
    int rc = sys_tls_send(s->out->tls, loop, data, n);
    if (!shaken)
        pass_on(loop, s);
    return rc;
}

int lull_tls_farewell(lull_loop *loop, struct stream *s)
{
    bool shaken = sys_tls_shaken(s->out->tls);
    int rc = sys_tls_flush(s->out->tls, loop);
    if (!shaken)
        pass_on(loop, s);
    if (rc == 0 && s->flags & (STREAM_SHUT | STREAM_LINGERING))
        rc = sys_tls_notify(s->out->tls, loop);
    return rc;
}

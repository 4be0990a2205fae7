/* Sending.  What the system does not take at once waits in chunks, in the order of the
   calls: a small rest is copied, a large one stays the Lua string that it is.  The
   stream's flusher sends them on the loop, outside of any task, and allocates nothing.
   Until they are sent the stream is held. */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "stream.h"

enum {
    BY_REFERENCE = 8192, /* strings from here on are kept, not copied */
    CHUNK = 8192,
    SENDS = 16 /* of one flush before others get a turn */
};

struct outflow lull_no_outflow = {
    .opts = {.limit = 1 << 20, .high_water = 64 * 1024, .linger = 10},
    .writers = {&lull_no_outflow.writers, &lull_no_outflow.writers},
    .flusher.link = {&lull_no_outflow.flusher.link, &lull_no_outflow.flusher.link}};

struct outflow *lull_stream_outflow(lua_State *L, struct stream *s)
{
    if (s->out != &lull_no_outflow)
        return s->out;
    void *ud;
    lua_Alloc alloc = lua_getallocf(L, &ud);
    struct outflow *o = alloc(ud, NULL, 0, sizeof *o);
    if (o == NULL)
        return NULL;
    *o = (struct outflow){.opts = lull_no_outflow.opts, .stream = s};
    list_init(&o->writers);
    lull_waiter_init(&o->flusher, lull_stream_flush);
    lull_timer_init(&o->patience, &o->flusher);
    list_init(&o->link);
    list_push(&s->rt->outflows, &o->link);
    return s->out = o;
}

void lull_free_outflow(lua_State *L, struct outflow *o)
{
    void *ud;
    lua_Alloc alloc = lua_getallocf(L, &ud);
    list_remove(&o->link);
    alloc(ud, o, sizeof *o, 0);
}

/* ---- chunks ------------------------------------------------------------------------ */

/* Appends an empty chunk; NULL: no memory. */
static struct chunk *append(lua_State *L, struct stream *s, size_t capacity)
{
    struct outflow *o = lull_stream_outflow(L, s);
    if (o == NULL)
        return NULL;
    void *ud;
    lua_Alloc alloc = lua_getallocf(L, &ud);
    struct chunk *c = alloc(ud, NULL, 0, sizeof *c + capacity);
    if (c == NULL)
        return NULL;
    *c = (struct chunk){.capacity = capacity};
    c->data = c->bytes;
    *(o->head ? &o->tail->next : &o->head) = c;
    o->tail = c;
    return c;
}

static void remove_first(lua_State *L, struct stream *s)
{
    struct chunk *c = s->out->head;
    void *ud;
    lua_Alloc alloc = lua_getallocf(L, &ud);
    if (c->capacity == 0)
        lull_release(L, c);
    s->out->head = c->next;
    s->out->queued -= c->size;
    alloc(ud, c, sizeof *c + c->capacity, 0);
}

void lull_stream_drop(lua_State *L, struct stream *s)
{
    while (s->out->head)
        remove_first(L, s);
}

/* Room behind the last chunk's bytes. */
static size_t room(const struct stream *s)
{
    const struct chunk *c = s->out->tail;
    bool own = s->out->head && c->capacity > 0;
    return own ? (size_t)(c->bytes + c->capacity - (c->data + c->size)) : 0;
}

/* Queues a copy of n bytes; false: no memory. */
static bool queue_copy(lua_State *L, struct stream *s, const char *data, size_t n)
{
    if (room(s) < n && !append(L, s, n > CHUNK ? n : CHUNK))
        return false;
    struct chunk *c = s->out->tail;
    memcpy(c->bytes + (c->data - c->bytes) + c->size, data, n);
    c->size += n;
    s->out->queued += n;
    return true;
}

/* Queues the last n bytes of the string at i. */
static bool queue_string(lua_State *L, struct stream *s, int i, size_t n)
{
    size_t size;
    const char *data = lua_tolstring(L, i, &size);
    if (n < BY_REFERENCE)
        return queue_copy(L, s, data + size - n, n);
    struct chunk *c = append(L, s, 0);
    if (c == NULL)
        return false;
    lua_pushvalue(L, i);
    lull_hold(L, c);
    c->data = data + size - n;
    c->size = n;
    s->out->queued += n;
    return true;
}

/* ---- sending ----------------------------------------------------------------------- */

static inline int transmit(lull_loop *loop, struct stream *s, const char *data, size_t n)
{
    return s->flags & STREAM_TLS ? lull_tls_send(loop, s, data, n)
                                 : lull_io_send(loop, &s->io, data, n);
}

/* Sends from the front of the queue: 0 when it is empty, -EAGAIN: wait, or -errno. */
static int drain(lua_State *L, lull_loop *loop, struct stream *s)
{
    for (int i = 0; s->out->head && i < SENDS; i++) {
        struct chunk *c = s->out->head;
        int n = c->size > 0 ? transmit(loop, s, c->data, c->size) : 0;
        if (n < 0)
            return n;
        c->data += n;
        c->size -= (size_t)n;
        s->out->queued -= (size_t)n;
        s->out->sent += (size_t)n;
        if (c->size > 0)
            return -EAGAIN; /* the system is full */
        remove_first(L, s);
    }
    if (s->out->head)
        return -EAGAIN;
    return s->out->tls ? lull_tls_farewell(loop, s) : 0;
}

/* Nothing more can be sent. */
int lull_stream_break(struct stream *s, int rc)
{
    s->flags |= STREAM_SHUT;
    return s->out_error = (int16_t)rc;
}

/* Why nothing may be written. */
static int refusal(const struct stream *s)
{
    return s->out_error ? s->out_error : -EPIPE;
}

static void wake_writers(lull_loop *loop, struct stream *s)
{
    while (!list_empty(&s->out->writers))
        lull_wake(loop, container_of(s->out->writers.next, lull_waiter, link), 0);
}

/* A pipe has no shutdown; one that is only written to can be hung up all the same. */
int lull_stream_shutdown(struct stream *s, unsigned how)
{
    int rc = sys_shutdown(s->io.watch.fd, how);
    if (rc != -ENOTSOCK || !(how & LULL_WRITE) || !sys_write_only(s->io.watch.fd))
        return rc;
    lull_io_close(&s->io);
    return sys_hang_up(s->io.watch.fd);
}

/* Nothing waits any more, or nothing can be sent any more. */
static void come_to_end(lua_State *L, lull_loop *loop, struct stream *s)
{
    lull_stream_drop(L, s);
    wake_writers(loop, s);
    if (s->flags & STREAM_HELD)
        lull_release(L, s);
    s->flags &= (uint8_t)~STREAM_HELD;
    if (s->flags & STREAM_LINGERING)
        lull_stream_finish(L, s);
    else if (s->flags & STREAM_SHUT && s->out_error == 0)
        lull_stream_break(s, lull_stream_shutdown(s, LULL_WRITE));
}

static int wait_to_send(lull_loop *loop, struct stream *s)
{
    unsigned event = s->out->tls ? lull_tls_wants(s) : LULL_WRITE;
    return lull_io_wait(loop, &s->io, event, &s->out->flusher);
}

/* Sends what can be sent, unless there is a reason not to. */
static void flush(lua_State *L, lull_loop *loop, struct stream *s, int rc)
{
    if (rc == 0)
        rc = drain(L, loop, s);
    bool waits = rc == -EAGAIN;
    if (waits)
        rc = wait_to_send(loop, s);
    if (rc < 0)
        lull_stream_break(s, rc);
    if (rc < 0 || !waits)
        come_to_end(L, loop, s);
    else if (s->out->queued <= s->out->opts.high_water)
        wake_writers(loop, s);
}

/* -ECANCELED was meant for readers, among whom it waits for a handshake. */
void lull_stream_flush(lull_loop *loop, lull_waiter *w)
{
    struct stream *s = container_of(w, struct outflow, flusher)->stream;
    int status = w->status == -ECANCELED ? 0 : w->status;
    flush(((struct runtime *)lull_loop_user(loop))->L, loop, s, status);
}

void lull_stream_push(lua_State *L, lull_loop *loop, struct stream *s)
{
    if (!lull_stream_flushes(s))
        flush(L, loop, s, 0);
}

static int give_up(lua_State *L, struct stream *s, int rc)
{
    lull_stream_drop(L, s);
    return lull_stream_break(s, rc);
}

/* Lets the flusher send what is queued by the stream at i; raises when memory is short,
   harmlessly. */
static int begin_flush(lua_State *L, lull_loop *loop, struct stream *s, int i)
{
    if (s->out->head == NULL || lull_stream_flushes(s))
        return 0; /* it waits already, or is about to run */
    int rc = wait_to_send(loop, s);
    if (rc < 0)
        return give_up(L, s, rc);
    if (!(s->flags & STREAM_HELD)) {
        lua_pushvalue(L, i);
        lull_hold(L, s);
        s->flags |= STREAM_HELD;
    }
    return 0;
}

/* ---- taking ------------------------------------------------------------------------ */

/* The strings from 2 to top, joined in the scratch when they fit there; else NULL. */
static const char *join(lua_State *L, struct stream *s, int top, size_t *size)
{
    if (top == 2)
        return lua_tolstring(L, 2, size);
    char *scratch = lull_scratch(L, s->rt);
    size_t n;
    *size = 0;
    for (int i = 2; i <= top && scratch; i++) {
        const char *data = lua_tolstring(L, i, &n);
        if (n > LULL_SCRATCH - *size)
            return NULL;
        memcpy(scratch + *size, data, n);
        *size += n;
    }
    return scratch;
}

/* Queues the strings from 2 to top but for the first `skip` bytes.  A failure half way
   would tear a hole into the stream: nothing can be written then any more. */
static int queue_all(lua_State *L, struct stream *s, int top, size_t skip)
{
    lull_stream_break(s, -ENOMEM);
    for (int i = 2; i <= top; i++) {
        size_t n = lua_rawlen(L, i);
        if (n > skip && !queue_string(L, s, i, n - skip))
            return -ENOMEM;
        skip -= n < skip ? n : skip;
    }
    s->out_error = 0;
    s->flags &= (uint8_t)~STREAM_SHUT;
    return 0;
}

/* drain, on behalf of the task that writes, which is charged for it. */
static int drain_now(lua_State *L, lull_loop *loop, struct stream *s)
{
    size_t before = s->out->queued;
    int rc = drain(L, loop, s);
    size_t n = before - s->out->queued;
    lull_charge(s->rt, n < INT_MAX ? (int)n : INT_MAX);
    return rc;
}

int lull_stream_write(lua_State *L, lull_loop *loop, struct stream *s)
{
    int top = lua_gettop(L), n = 0;
    if (s->flags & (STREAM_SHUT | STREAM_STANDARD)) {
        if (s->flags & STREAM_SHUT)
            return refusal(s);
        lull_stdio_precede(L, loop);
    }
    const char *data = NULL;
    if (s->out->head == NULL) {
        size_t size = 0;
        data = join(L, s, top, &size);
        n = data && size > 0 ? transmit(loop, s, data, size) : 0;
        if (n < 0 && n != -EAGAIN)
            return lull_stream_break(s, n);
        n = n < 0 ? 0 : n;
        lull_charge(s->rt, n);
        if (data && (size_t)n == size)
            return 0;
    }
    int rc = queue_all(L, s, top, (size_t)n);
    if (rc == 0 && data == NULL && !lull_stream_flushes(s))
        rc = drain_now(L, loop, s); /* too much to be joined, or left from another loop */
    if (rc < 0 && rc != -EAGAIN && rc != -ENOMEM)
        return give_up(L, s, rc);
    int started = begin_flush(L, loop, s, 1);
    return started < 0 ? started : rc == -EAGAIN ? 0 : rc;
}

ptrdiff_t lull_stream_pass(lua_State *L, lull_loop *loop, struct stream *s, int i,
                           const char *data, size_t n)
{
    if (s->flags & STREAM_SHUT)
        return refusal(s);
    if (s->flags & STREAM_STANDARD)
        lull_stdio_precede(L, loop);
    int sent = s->out->head ? 0 : transmit(loop, s, data, n);
    if (sent < 0 && sent != -EAGAIN)
        return lull_stream_break(s, sent);
    sent = sent < 0 ? 0 : sent;
    if ((size_t)sent < n && !queue_copy(L, s, data + sent, n - (size_t)sent)) {
        if (s->out->tls && sys_tls_torn(s->out->tls))
            return lull_stream_break(s, -ENOMEM);
        return sent > 0 ? sent : -ENOMEM;
    }
    int rc = begin_flush(L, loop, s, i);
    return rc < 0 ? rc : (ptrdiff_t)n;
}

/* ---- waiting for it to be sent ----------------------------------------------------- */

int lull_stream_writer(const struct stream *s, int rc)
{
    bool told = s->out_error == -SYS_ETLS; /* who waited for a handshake, all of them */
    if (rc < 0 && rc != -ETIMEDOUT && !told)
        return rc;
    return told || s->flags & STREAM_OPEN ? s->out_error : -ECANCELED;
}

int lull_stream_await_sent(lua_State *L, struct stream *s, int64_t deadline,
                           lua_KFunction k)
{
    lull_waiter *w = &s->rt->task->waiter;
    lull_wait(w);
    list_push(&s->out->writers, &w->link);
    return lull_await(L, deadline, k);
}

/* Receiving.  A stream with an empty buffer receives into the runtime's scratch, which is
   its buffer then until others can run.  See stream.h for why. */
#include <errno.h>
#include <string.h>

#include "stream.h"
#include "task.h"

static void free_buffer(lua_State *L, struct stream *s)
{
    void *ud;
    lua_Alloc alloc = lua_getallocf(L, &ud);
    buffer_free(&s->in, alloc, ud);
}

/* A block of the scratch's size is as good as the scratch.  What is left over moves to a
   block of its own, or keeps this one: there will be others. */
void lull_stream_give_back(lua_State *L, struct stream *s)
{
    size_t n = buffer_size(&s->in);
    if (s->in.capacity != LULL_SCRATCH || s->rt->scratch != NULL || n > LULL_SCRATCH / 2)
        return;
    struct buffer own = {0};
    if (n > 0) {
        void *ud;
        lua_Alloc alloc = lua_getallocf(L, &ud);
        if (buffer_reserve(&own, n, alloc, ud) == NULL)
            return;
        memcpy(own.data, buffer_bytes(&s->in), n);
        buffer_commit(&own, n);
    }
    s->rt->scratch = buffer_disown(&s->in);
    s->in = own;
}

int lull_stream_end(struct stream *s, int n)
{
    if (n == -EAGAIN)
        return n;
    s->flags |= STREAM_ENDED;
    return s->in_error = (int16_t)n;
}

int lull_stream_fill(lua_State *L, struct stream *s, size_t size)
{
    if (s->flags & STREAM_ENDED)
        return s->in_error;
    if (s->flags & STREAM_TLS)
        return lull_tls_fill(L, s, size);
    if (s->in.data == NULL)
        return lull_stream_receive(L, s);
    void *ud;
    lua_Alloc alloc = lua_getallocf(L, &ud);
    char *to = buffer_reserve(&s->in, size, alloc, ud);
    if (to == NULL)
        return -ENOMEM;
    int n = lull_io_recv(s->rt->loop, &s->io, to, buffer_room(&s->in));
    if (n <= 0)
        return lull_stream_end(s, n);
    buffer_commit(&s->in, (size_t)n);
    lull_charge(s->rt, n);
    return n;
}

void lull_stream_take_slowly(lua_State *L, struct stream *s, size_t n)
{
    if (n > buffer_size(&s->in)) /* closed by a finalizer while the string was made */
        return;
    s->in.from += n;
    s->scanned = s->scanned > n ? s->scanned - n : 0;
    lull_stream_give_back(L, s);
    if (buffer_size(&s->in) == 0)
        free_buffer(L, s);
}

/* Does a task wait to read?  Under TLS the flusher may, too. */
static bool is_read(const struct stream *s)
{
    const lull_list *l = s->io.readers.next;
    if (l == &s->out->flusher.link)
        l = l->next;
    return l != &s->io.readers;
}

int lull_stream_reader(lua_State *L, struct stream *s, int rc)
{
    if (!(s->flags & STREAM_OPEN))
        return s->in_error == -SYS_ETLS ? s->in_error : -ECANCELED;
    if (is_read(s))
        return luaL_error(L, "another task is reading");
    if (rc != -ETIMEDOUT)
        return rc;
    lull_io_retry(&s->io); /* what came in the last moment still counts */
    return 0;
}

/* What lull_park would go on with; here the stream is at hand to tell the runtime. */
static int woken(lua_State *L, int status, lua_KContext k)
{
    struct runtime *rt = ((struct stream *)lua_touserdata(L, 1))->rt;
    if (rt->task->scope->cancelled)
        return lull_raisecancel(L, rt);
    return ((lua_KFunction)k)(L, status, rt->task->waiter.status);
}

int lull_stream_await(lua_State *L, struct stream *s, int slot, lua_KFunction k)
{
    struct runtime *rt = s->rt;
    if (s->timeout == 0)
        return lull_stream_fail(L, s, -ETIMEDOUT);
    if (s->timeout > 0)
        return lull_await_io(L, &s->io, LULL_READ, lull_until(L, s->timeout, slot), k);
    int rc = lull_io_wait(rt->loop, &s->io, LULL_READ, &rt->task->waiter);
    return rc < 0 ? k(L, LUA_OK, rc) : lull_park_raw(L, rt, (lua_KContext)k, woken);
}

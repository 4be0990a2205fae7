/* Pouring: bytes that go from one stream to another through a pipe, by splice(2), and never
   come by here.  For much of it that takes half the time of copying.

   The pipe is the runtime's, and empty whenever others run: what the other side would not
   take is read out of it and queued like any bytes.  So that this seldom is much, no more
   is poured at once than went through the last time, or twice as much when all of it did. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "stream.h"

enum { WINDOW = 64 * 1024, LARGEST = 1024 * 1024 };

/* ---- the pipe ----------------------------------------------------------------------- */

void lull_close_pipe(struct runtime *rt)
{
    for (int i = 0; i < 2 && rt->pipe_size > 0; i++)
        sys_close(rt->pipe[i]);
    rt->pipe_size = 0;
}

static bool open_pipe(struct runtime *rt)
{
    if (rt->pipe_size != 0)
        return rt->pipe_size > 0;
    rt->pipe_size = -1;
#ifdef F_SETPIPE_SZ
    if (sys_pipe(rt->pipe) < 0)
        return false;
    fcntl(rt->pipe[1], F_SETPIPE_SZ, LARGEST); /* may be refused */
    rt->pipe_size = fcntl(rt->pipe[1], F_GETPIPE_SZ);
#endif
    return rt->pipe_size > 0;
}

bool lull_can_pour(const struct stream *from, const struct stream *to)
{
    return !(from->flags & (STREAM_TLS | STREAM_STANDARD)) &&
           !(to->flags & (STREAM_TLS | STREAM_STANDARD | STREAM_SHUT)) && open_pipe(to->rt);
}

/* ---- pouring ------------------------------------------------------------------------ */

/* What is left in the pipe is queued.  Where that cannot be, it is lost: then `to` is
   broken, and says so. */
static int queue_rest(lua_State *L, struct stream *to, int i, size_t left)
{
    struct runtime *rt = to->rt;
    ptrdiff_t rc = 0;
    while (left > 0 && rc >= 0) {
        char *data = lull_scratch(L, rt);
        ssize_t n = data ? read(rt->pipe[0], data, LULL_SCRATCH) : -1;
        if (n <= 0) {
            rc = lull_stream_break(to, -ENOMEM);
            break;
        }
        rc = lull_stream_pass(L, rt->loop, to, i, data, (size_t)n);
        if (rc >= 0 && rc < n)
            rc = lull_stream_break(to, -ENOMEM);
        left -= (size_t)n;
    }
    if (left > 0) /* nobody may find it there */
        lull_close_pipe(rt);
    return (int)rc;
}

ptrdiff_t lull_pour(lua_State *L, struct stream *from, struct stream *to, int i,
                    size_t most, lua_Integer *window)
{
    struct runtime *rt = to->rt;
    size_t size = (size_t)*window < most ? (size_t)*window : most;
    if (!open_pipe(rt)) /* the last one went with what was in it */
        return -EINVAL;
    int n = lull_io_splice(rt->loop, &from->io, LULL_READ, rt->pipe[1], size);
    if (n == -EINVAL || n == -EBUSY)
        return n;
    if (n <= 0)
        return lull_stream_end(from, n);
    size_t left = (size_t)n;
    while (left > 0) {
        int m = lull_io_splice(rt->loop, &to->io, LULL_WRITE, rt->pipe[0], left);
        if (m <= 0)
            break;
        left -= (size_t)m;
    }
    lua_Integer went = n - (lua_Integer)left;
    *window = left == 0 ? 2 * *window : went;
    if (*window > rt->pipe_size)
        *window = rt->pipe_size;
    if (*window < WINDOW)
        *window = WINDOW;
    int rc = left > 0 ? queue_rest(L, to, i, left) : 0;
    return rc < 0 ? rc : n;
}

/* Streams on the standard files.  What the file of C has in its buffer, as print left it
   there, goes out before what is written to a stream; what a stream still has to send
   when the loop or the program ends is sent then, however long that takes, as exit(3)
   does with the files of C. */
#include "bind.h"

#include <errno.h>
#include <stdio.h>
#ifdef __linux__
#include <stdio_ext.h>
#endif

#include "stream.h"
#include "sys.h"

enum { STDIN, STDOUT, STDERR, STREAMS };

/* One of a state, held; the streams are held as uservalues. */
struct room {
    struct stream *streams[STREAMS];
    lull_waiter end; /* waits for the end of a loop on which something was written */
};

static const char room_key;

static struct room *pushroom(lua_State *L)
{
    lull_pushheld(L, &room_key);
    return lua_touserdata(L, -1);
}

const char *lull_stdio_name(lua_State *L, const struct stream *s)
{
    static const char *const names[] = {"stdin", "stdout", "stderr"};
    struct room *room = pushroom(L);
    lua_pop(L, 1);
    for (int i = STDIN; room != NULL && i < STREAMS; i++)
        if (room->streams[i] == s)
            return names[i];
    return NULL;
}

/* Sends what s has waiting.  What cannot be sent is dropped. */
static void finish(struct stream *s)
{
    lull_loop *loop = s ? s->io.loop : NULL;
    bool fails = false;
    for (struct chunk *c = loop ? s->out->head : NULL; c != NULL; c = c->next)
        while (c->size > 0) {
            int n = fails ? -EPIPE : lull_io_send(loop, &s->io, c->data, c->size);
            fails = n < 0 && n != -EAGAIN;
            size_t done = fails ? c->size : n > 0 ? (size_t)n : 0;
            if (n == -EAGAIN)
                sys_await_write(s->io.watch.fd);
            c->data += done;
            c->size -= done;
            s->out->queued -= done;
            s->out->sent += done;
        }
}

static void finish_all(struct room *room)
{
    finish(room->streams[STDOUT]);
    finish(room->streams[STDERR]);
}

static void loop_ends(lull_loop *loop, lull_waiter *w)
{
    (void)loop;
    finish_all(container_of(w, struct room, end));
}

static bool printed(void)
{
#ifdef __linux__
    return __fpending(stdout) > 0;
#else
    return true;
#endif
}

void lull_stdio_precede(lua_State *L, lull_loop *loop)
{
    struct room *room = pushroom(L);
    lua_pop(L, 1);
    if (printed())
        fflush(stdout);
    if (list_empty(&room->end.link))
        lull_loop_end(loop, &room->end);
}

/* finish_output (): before the program ends. */
static int finish_output(lua_State *L)
{
    finish_all(pushroom(L));
    return 0;
}

/* standard (0 | 1 | 2) -> Stream | nil, message, code: of that file, always the same. */
static int standard(lua_State *L)
{
    static const char *const names[] = {"standard input", "standard output",
                                        "standard error"};
    struct stream_options opts = lull_stream_options(L, 2);
    int n = (int)luaL_checkinteger(L, 1);
    luaL_argcheck(L, n >= STDIN && n < STREAMS, 1, "no standard file");
    struct room *room = pushroom(L);
    if (lua_getiuservalue(L, -1, n + 1) != LUA_TNIL)
        return 1;
    struct stream *s = lull_newstream(L, &opts);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, -4, n + 1);
    room->streams[n] = s;
    bool shared;
    int fd = sys_standard(n, &shared);
    if (fd < 0) {
        lua_pushnil(L);
        lua_setiuservalue(L, -4, n + 1);
        room->streams[n] = NULL;
        return lull_pushfail(L, fd, names[n]);
    }
    struct sys_address peer = {.size = SYS_ADDRESS};
    if (sys_peer(fd, &peer) < 0)
        peer.size = 0;
    lull_stream_open(L, s, fd, &peer);
    if (n != STDIN)
        s->flags |= STREAM_STANDARD;
    if (shared)
        lull_io_share(&s->io);
    return 1;
}

static const luaL_Reg functions[] = {{"standard", standard},
                                     {"finish_output", finish_output},
                                     {NULL, NULL}};

void lull_open_stdio(lua_State *L)
{
    struct room *room = lua_newuserdatauv(L, sizeof *room, STREAMS);
    *room = (struct room){0};
    lull_waiter_init(&room->end, loop_ends);
    lull_hold(L, &room_key);
    lull_setfuncs(L, functions);
}

/* What all transports have in common: calling the protocol, closing, the end, the
   marks of the write buffer.  See transport.h for how they live. */
#include <errno.h>
#include <string.h>

#include "transport.h"

/* ---- calling the protocol ---------------------------------------------------------- */

/* (transport, name, ...): calls that method of its protocol, if there is one. */
static int invoke(lua_State *L)
{
    struct transport *t = lua_touserdata(L, 1);
    const char *name = lua_touserdata(L, 2);
    lua_rawgeti(L, LUA_REGISTRYINDEX, t->self);
    lua_getiuservalue(L, -1, TRANSPORT_PROTOCOL);
    lua_copy(L, -1, 2);
    lua_pop(L, 2);
    if (lua_getfield(L, 2, name) == LUA_TNIL)
        return 0;
    lua_replace(L, 1); /* the method is called with its protocol */
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

/* The protocol has failed with the error on top of the stack (popped). */
static void failed(lua_State *L, struct transport *t)
{
    if (!(t->flags & TRANSPORT_ENDED)) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, t->self);
        lua_pushvalue(L, -2);
        lua_setiuservalue(L, -2, TRANSPORT_ERROR);
        lua_pop(L, 1);
    }
    t->flags |= TRANSPORT_ABORT;
    lull_transport_end(t, 0);
    lull_report_error(L);
}

/* What a callback must not see: that it was called from within a task. */
struct mask {
    lua_State *running;
    struct task *task;
};

static struct mask leave_task(struct runtime *rt)
{
    struct mask saved = {rt->running, rt->task};
    rt->running = NULL;
    rt->task = NULL;
    return saved;
}

static void return_to_task(struct runtime *rt, struct mask saved)
{
    rt->running = saved.running;
    rt->task = saved.task;
}

bool lull_transport_call(lua_State *L, struct transport *t, const char *name, int n,
                         bool result)
{
    luaL_checkstack(L, 2 * n + 8, NULL);
    int at = lua_gettop(L) - n + 1, handler = at + n;
    lua_pushcfunction(L, lull_handler);
    lua_pushcfunction(L, invoke);
    lua_pushlightuserdata(L, t);
    lua_pushlightuserdata(L, (void *)name);
    for (int i = at; i < handler; i++)
        lua_pushvalue(L, i);
    struct mask saved = leave_task(t->rt);
    bool well = lua_pcall(L, n + 2, result, handler) == LUA_OK;
    if (!well)
        failed(L, t);
    return_to_task(t->rt, saved);
    if (well && result)
        lua_replace(L, at);
    lua_settop(L, well && result ? at : at - 1);
    return well;
}

/* ---- the end ----------------------------------------------------------------------- */

/* Nothing is left of it but what the script holds. */
static void leave(lua_State *L, struct transport *t)
{
    if (t->flags & TRANSPORT_LINGERS)
        lull_linger(t->home->core, -1);
    t->flags &= (uint16_t)~TRANSPORT_LINGERS;
    t->home = NULL;
    list_remove(&t->link);
    luaL_unref(L, LUA_REGISTRYINDEX, t->self);
}

/* (transport): closes what is below, and tells the protocol. */
static int farewell(lua_State *L)
{
    struct transport *t = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, t->self);
    lua_replace(L, 1);
    if (lua_getiuservalue(L, 1, TRANSPORT_ERROR) == LUA_TNIL && t->rc < 0) {
        t->kind->describe(L, t, t->rc);
        lua_replace(L, 2);
    }
    t->kind->close(L, t, 1, t->flags & TRANSPORT_ABORT);
    t->flags |= TRANSPORT_TOLD;
    lull_transport_call(L, t, "connection_lost", 1, false);
    return 0;
}

/* A farewell where there was no memory to say more. */
static int short_farewell(lua_State *L)
{
    struct transport *t = lua_touserdata(L, 1);
    t->flags |= TRANSPORT_TOLD;
    lua_rawgeti(L, LUA_REGISTRYINDEX, t->self);
    t->kind->close(L, t, 2, true);
    lua_pushliteral(L, "not enough memory"); /* a string that Lua always has */
    lull_transport_call(L, t, "connection_lost", 1, false);
    return 0;
}

/* (transport): tells whoever counts transports. */
static int count_out(lua_State *L)
{
    struct transport *t = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, t->self);
    if (lua_getiuservalue(L, -1, TRANSPORT_ON_END) != LUA_TNIL)
        lua_call(L, 0, 0);
    return 0;
}

static void last_turn(lull_loop *loop, lull_waiter *w)
{
    struct transport *t = container_of(w, struct transport, reader);
    struct runtime *rt = lull_loop_user(loop);
    lull_callback(rt, farewell, t);
    if (!(t->flags & TRANSPORT_TOLD))
        lull_callback(rt, short_farewell, t);
    lull_callback(rt, count_out, t);
    leave(rt->L, t);
}

static void stop(struct transport *t)
{
    lull_forget(&t->reader);
    if (t->backlog == &lull_no_backlog)
        return;
    lull_forget(&t->backlog->writer);
    lull_timer_stop(t->home->core, &t->backlog->patience);
}

/* The end of the loop, or of the state: nobody is called. */
void lull_transport_forget(struct transport *t)
{
    stop(t);
    t->flags |= TRANSPORT_CLOSING | TRANSPORT_ENDED;
    leave(t->main, t);
}

static void loop_ends(lull_loop *loop, lull_waiter *w)
{
    struct loop *o = container_of(w, struct loop, orphans);
    (void)loop;
    while (!list_empty(&o->transports))
        lull_transport_forget(container_of(o->transports.next, struct transport, link));
}

void lull_transports_init(struct loop *o)
{
    list_init(&o->transports);
    lull_waiter_init(&o->orphans, loop_ends);
    lull_loop_end(o->core, &o->orphans);
}

static void begin_closing(struct transport *t)
{
    if (t->flags & TRANSPORT_CLOSING)
        return;
    t->flags |= TRANSPORT_CLOSING | TRANSPORT_LINGERS;
    lull_linger(t->home->core, 1);
    lull_forget(&t->reader);
}

void lull_transport_end(struct transport *t, int rc)
{
    if (t->flags & TRANSPORT_ENDED)
        return;
    begin_closing(t);
    t->flags |= TRANSPORT_ENDED;
    t->rc = rc;
    stop(t);
    t->reader.run = last_turn;
    lull_wait(&t->reader);
    lull_wake(t->home->core, &t->reader, 0);
}

/* What is sent while it closes must be sent within its time. */
static bool lingers(struct transport *t)
{
    lull_loop *loop = t->home->core;
    lua_Number time = t->kind->linger(t);
    if (t->kind->queued(t) == 0 || time <= 0 || lull_transport_backlog(t) == NULL)
        return false;
    t->kind->await_sent(t);
    return lull_timer_start(loop, &t->backlog->patience, lull_after(loop, time),
                            -ETIMEDOUT) == 0;
}

void lull_transport_close(struct transport *t)
{
    if (t->flags & TRANSPORT_CLOSING)
        return;
    begin_closing(t);
    if (!lingers(t))
        lull_transport_end(t, 0);
}

bool lull_close_transports(struct loop *o)
{
    bool any = false;
    for (lull_list *l = o->transports.next; l != &o->transports; l = l->next) {
        struct transport *t = container_of(l, struct transport, link);
        any = any || !(t->flags & TRANSPORT_CLOSING);
        lull_transport_close(t);
    }
    return any;
}

/* ---- the write buffer -------------------------------------------------------------- */

void lull_transport_wrote(lua_State *L, struct transport *t)
{
    size_t queued = t->kind->queued(t);
    if (t->flags & TRANSPORT_ENDED || queued == 0)
        return;
    if (lull_transport_backlog(t) == NULL) { /* as where there is none for what waits */
        t->flags |= TRANSPORT_ABORT;
        lull_transport_end(t, -ENOMEM);
        return;
    }
    t->kind->await_sent(t);
    if (queued <= t->backlog->high || t->flags & TRANSPORT_FULL)
        return;
    t->flags |= TRANSPORT_FULL;
    lull_transport_call(L, t, "pause_writing", 0, false);
}

static int resume(lua_State *L)
{
    lull_transport_call(L, lua_touserdata(L, 1), "resume_writing", 0, false);
    return 0;
}

/* Something was sent, or nothing can be any more, or the time for it is over. */
static void sent(lull_loop *loop, lull_waiter *w)
{
    struct transport *t = container_of(w, struct backlog, writer)->transport;
    int rc = w->status < 0 ? w->status : t->kind->failure(t);
    if (rc < 0) {
        t->flags |= TRANSPORT_ABORT;
        lull_transport_end(t, rc);
        return;
    }
    size_t queued = t->kind->queued(t);
    if (queued > 0)
        t->kind->await_sent(t);
    if (t->flags & TRANSPORT_FULL && queued <= t->backlog->low) {
        t->flags &= (uint16_t)~TRANSPORT_FULL;
        lull_callback(lull_loop_user(loop), resume, t);
    }
    if (t->flags & TRANSPORT_CLOSING && t->kind->queued(t) == 0)
        lull_transport_end(t, 0);
}

struct backlog lull_no_backlog = {
    .writer.link = {&lull_no_backlog.writer.link, &lull_no_backlog.writer.link},
    .high = TRANSPORT_HIGH,
    .low = TRANSPORT_HIGH / 4};

struct backlog *lull_transport_backlog(struct transport *t)
{
    if (t->backlog != &lull_no_backlog)
        return t->backlog;
    void *ud;
    lua_Alloc alloc = lua_getallocf(t->main, &ud);
    struct backlog *b = alloc(ud, NULL, 0, sizeof *b);
    if (b == NULL)
        return NULL;
    *b = (struct backlog){
        .high = lull_no_backlog.high, .low = lull_no_backlog.low, .transport = t};
    lull_waiter_init(&b->writer, sent);
    lull_timer_init(&b->patience, &b->writer);
    list_init(&b->link);
    list_push(&t->rt->backlogs, &b->link);
    return t->backlog = b;
}

void lull_free_backlog(lua_State *L, struct backlog *b)
{
    void *ud;
    lua_Alloc alloc = lua_getallocf(L, &ud);
    list_remove(&b->link);
    alloc(ud, b, sizeof *b, 0);
}

/* ---- addresses --------------------------------------------------------------------- */

void lull_transport_ends(struct transport_ends *ends, int fd)
{
    ends->here.size = ends->peer.size = SYS_ADDRESS;
    sys_local(fd, &ends->here);
    sys_peer(fd, &ends->peer);
}

static struct sys_address address(const struct transport *t, size_t offset, size_t size)
{
    struct sys_address a = {.size = (unsigned)size};
    memcpy(a.bytes, (const char *)t + t->kind->size + offset, size);
    return a;
}

struct sys_address lull_transport_here(const struct transport *t)
{
    return address(t, 0, t->here_size);
}

struct sys_address lull_transport_peer(const struct transport *t)
{
    return address(t, t->here_size, t->peer_size);
}

static void keep_ends(struct transport *t, const struct transport_ends *ends)
{
    char *to = (char *)t + t->kind->size;
    t->here_size = (uint8_t)ends->here.size;
    t->peer_size = (uint8_t)ends->peer.size;
    memcpy(to, ends->here.bytes, t->here_size);
    memcpy(to + t->here_size, ends->peer.bytes, t->peer_size);
}

/* ---- birth ------------------------------------------------------------------------- */

void lull_transport_open(lua_State *L, struct transport *t, int protocol,
                         const struct transport_kind *kind,
                         const struct transport_ends *ends)
{
    t->kind = kind;
    t->rt = lull_runtime(L);
    t->id = ++t->rt->streams;
    t->backlog = &lull_no_backlog;
    list_init(&t->link);
    keep_ends(t, ends);
    lua_pushvalue(L, protocol);
    lua_setiuservalue(L, -2, TRANSPORT_PROTOCOL);
    lua_pushvalue(L, protocol + 1);
    lua_setiuservalue(L, -2, TRANSPORT_ON_END);
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    t->main = lua_tothread(L, -1);
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
    t->self = luaL_ref(L, LUA_REGISTRYINDEX);
    t->home = t->rt->object;
    list_push(&t->home->transports, &t->link);
}

void lull_transport_read(struct transport *t)
{
    if (!lull_transport_reads(t) || !list_empty(&t->reader.link))
        return;
    lull_wait(&t->reader);
    lull_wake(t->home->core, &t->reader, 0);
}

void lull_transport_begin(lua_State *L, struct transport *t)
{
    lua_pushvalue(L, -1);
    lull_transport_call(L, t, "connection_made", 1, false);
    lull_transport_read(t);
}

/* ---- for the module in Lua --------------------------------------------------------- */

/* outside (fn, ...) -> results: calls fn as a callback would be, outside of any task. */
static int outside(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    lull_checkcallable(L, 1);
    lua_pushcfunction(L, lull_handler);
    lua_insert(L, 1);
    struct mask saved = leave_task(rt);
    int status = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 1);
    return_to_task(rt, saved);
    return status == LUA_OK ? lua_gettop(L) - 1 : lull_reraise(L);
}

const luaL_Reg lull_transport_functions[] = {{"outside", outside}, {NULL, NULL}};

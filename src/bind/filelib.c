/* Files: their life.

   close begins what has to be done (writing what waits, closing the descriptor, both on
   the pool) and then waits for it; where it cannot wait (outside of tasks, in a
   finalizer) it does it on the spot. */
#include "files.h"

enum { BUFFER = 64 * 1024 };

/* ---- recognition ----------------------------------------------------------------- */

struct file *lull_checkfile(lua_State *L, int i)
{
    return lull_check(L, lull_runtime(L), i, LULL_FILE);
}

struct file *lull_openfile(lua_State *L, int i)
{
    struct file *f = lull_checkfile(L, i);
    if (!(f->flags & FILE_OPEN))
        luaL_error(L, "attempt to use a closed file");
    return f;
}

int lull_file_fail(lua_State *L, int rc)
{
    struct file *f = lua_touserdata(L, FILE_SELF);
    f->told |= rc == f->out_error;
    lua_getiuservalue(L, FILE_SELF, 1);
    return lull_pushfail(L, rc, lua_tostring(L, -1));
}

/* ---- closing --------------------------------------------------------------------- */

/* Its number may be somebody else's before we hear that it is closed. */
static void shut(struct file *f)
{
    if (f->flags & FILE_OPEN)
        lull_own(f->rt, f->io.watch.fd, false);
    f->flags &= ~(unsigned)FILE_OPEN;
    lull_file_forget(f);
}

static void finish_now(lua_State *L, struct file *f)
{
    lull_file_write_now(L, f);
    lull_file_finish(L, f, 0);
}

/* From now on it is closed for everybody; who waits is told. */
static void begin_close(lua_State *L, struct file *f)
{
    lull_file_settle(L, f);
    shut(f);
    lull_file_rouse_all(f);
    lull_loop *loop = f->rt->loop;
    while (loop && !list_empty(&f->io.readers))
        lull_wake(loop, container_of(f->io.readers.next, lull_waiter, link), -ECANCELED);
    bool idle = f->head == NULL && (f->errand == NULL || f->errand->act == sys_file_read);
    if (!idle || (f->flags & FILE_DIRTY && !(f->flags & FILE_PIPE)))
        return;
    if (f->errand)
        sys_job_drop(&f->errand->job);
    f->errand = NULL;
    lull_file_finish(L, f, 0);
}

static int push_end(lua_State *L, struct file *f)
{
    if (f->answer < 0)
        return lull_file_fail(L, f->answer);
    lua_pushboolean(L, true);
    return 1;
}

static int closek(lua_State *L, int status, lua_KContext rc)
{
    struct file *f = lua_touserdata(L, FILE_SELF);
    if (f->flags & FILE_FINISHED)
        return push_end(L, f);
    lull_wait(&f->rt->task->waiter);
    list_push(&f->closers, &f->rt->task->waiter.link);
    return lull_await(L, LULL_FOREVER, closek);
}

static bool may_wait(lua_State *L, struct file *f)
{
    return f->rt->running == L && f->rt->task && lua_isyieldable(L);
}

/* Begins; true: it is not at its end yet, but goes there by itself. */
static bool close_file(lua_State *L, struct file *f)
{
    begin_close(L, f);
    if (f->flags & FILE_FINISHED)
        return false;
    if (!may_wait(L, f)) {
        finish_now(L, f);
        return false;
    }
    lull_file_keep(L, f);
    lull_file_advance(f);
    return !(f->flags & FILE_FINISHED);
}

/* file:close () -> true | nil, message, code: of anything that was not written */
static int file_close(lua_State *L)
{
    struct file *f = lull_checkfile(L, FILE_SELF);
    lua_settop(L, FILE_SELF);
    if (!(f->flags & FILE_OPEN)) {
        lua_pushboolean(L, true);
        return 1;
    }
    return close_file(L, f) ? lull_enter(L, closek) : push_end(L, f);
}

/* A block that ends well must not hide that its file was not written; once is enough. */
static int block_end(lua_State *L, struct file *f)
{
    if (f->answer == 0 || f->told || !lua_isnil(L, 2))
        return 0;
    lull_file_fail(L, f->answer);
    lua_pop(L, 1);
    return lua_error(L);
}

static int block_endk(lua_State *L, int status, lua_KContext rc)
{
    struct file *f = lua_touserdata(L, FILE_SELF);
    if (f->flags & FILE_FINISHED)
        return block_end(L, f);
    lull_wait(&f->rt->task->waiter);
    list_push(&f->closers, &f->rt->task->waiter.link);
    return lull_await(L, LULL_FOREVER, block_endk);
}

static int file_toclose(lua_State *L)
{
    struct file *f = lull_checkfile(L, FILE_SELF);
    lua_settop(L, 2);
    if (!(f->flags & FILE_OPEN))
        return 0;
    bool going = close_file(L, f);
    if (going && f->rt->task->scope->cancelled)
        return 0; /* it goes on without us */
    return going ? lull_enter(L, block_endk) : block_end(L, f);
}

static int file_gc(lua_State *L)
{
    struct file *f = lua_touserdata(L, 1);
    if (f->shared == NULL)
        return 0;
    lull_file_disband(f);
    shut(f);
    finish_now(L, f);
    lull_file_drop(L, f->staged);
    f->staged = NULL;
    return 0;
}

/* ---- the end of the program -------------------------------------------------------- */

static const char writers_key;

/* Notes the File on top of the stack as one that may have something to be written. */
void lull_file_note(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &writers_key);
    lua_pushvalue(L, -2);
    lua_pushboolean(L, true);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

/* finish_files (): writes what waits in open files, as exit does for those of io. */
static int finish_files(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &writers_key);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        struct file *f = lua_touserdata(L, -2);
        if (f->shared)
            lull_file_write_now(L, f);
    }
    return 0;
}

/* ---- life ------------------------------------------------------------------------ */

struct file *lull_newfile(lua_State *L, int path)
{
    struct sys_pool *pool = lull_pool(L);
    struct file *f = lull_newobject(L, LULL_FILE, sizeof *f, 1);
    lua_pushvalue(L, path);
    lua_setiuservalue(L, -2, 1);
    f->rt = lull_runtime(L);
    f->pool = pool;
    list_init(&f->lines[0]);
    list_init(&f->lines[1]);
    list_init(&f->closers);
    lull_io_init(&f->io, -1);
    lull_waiter_init(&f->sender, lull_file_send);
    f->size = BUFFER;
    f->lent = -1;
    return f;
}

void lull_file_open(struct file *f, unsigned flags, const struct sys_errand *e)
{
    bool positions = e->offset >= 0 && e->stat.kind != SYS_FIFO;
    f->flags = flags | FILE_OPEN | (positions ? 0 : FILE_PIPE);
    if (positions && flags & FILE_APPENDS && !(flags & FILE_READS))
        f->pos = e->offset;
    f->shared = e->file;
    sys_file_hold(f->shared);
    f->io.watch.fd = sys_file_fd(f->shared);
    lull_own(f->rt, f->io.watch.fd, true);
}

void lull_file_follow(struct file *f)
{
    if (f->lent < 0 || f->lent != f->pos || f->queued > 0 || f->errand)
        return;
    int64_t at = sys_file_tell(sys_file_fd(f->shared));
    if (at < 0 || at == f->pos)
        return;
    lull_file_forget(f);
    f->ended = false;
    f->pos = f->lent = at;
}

/* The descriptor of the open File at i, its own position moved to where the File stands,
   for somebody else to use (flush first); -1: it is closed.  Raises for what is no
   File. */
static int give_out(lua_State *L, struct runtime *rt, int i)
{
    struct file *f = lull_check(L, rt, i, LULL_FILE);
    if (!(f->flags & FILE_OPEN))
        return -1;
    int fd = sys_file_fd(f->shared);
    if (!(f->flags & (FILE_PIPE | FILE_APPENDS))) {
        if (list_empty(&f->lines[0]))
            lull_file_follow(f);
        f->lent = f->pos + (int64_t)f->queued;
        sys_file_seek(fd, f->lent);
    }
    return fd;
}

/* file:fileno () -> fd, whose own position is that of the file now */
static int file_fileno(lua_State *L)
{
    lull_openfile(L, FILE_SELF);
    lua_pushinteger(L, give_out(L, lull_runtime(L), FILE_SELF));
    return 1;
}

static int file_tostring(lua_State *L)
{
    struct file *f = lull_checkfile(L, 1);
    lua_getiuservalue(L, 1, 1);
    bool open = f->flags & FILE_OPEN;
    lua_pushfstring(L, "file (%s%s)", open ? "" : "closed: ", lua_tostring(L, -1));
    return 1;
}

static const luaL_Reg methods[] = {
    {"close", file_close}, {"fileno", file_fileno}, {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__close", file_toclose},
                                       {"__gc", file_gc},
                                       {"__tostring", file_tostring},
                                       {NULL, NULL}};

static const luaL_Reg functions[] = {{"finish_files", finish_files}, {NULL, NULL}};

void lull_open_file(lua_State *L)
{
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &writers_key);
    lull_setfuncs(L, functions);
    lull_newclass(L, LULL_FILE, "File", methods, metamethods);
    lull_addmethods(L, LULL_FILE, lull_file_reading);
    lull_addmethods(L, LULL_FILE, lull_file_writing);
    lull_open_turn(L);
}

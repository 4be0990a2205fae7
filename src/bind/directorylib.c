/* The listing of directories, for the generic for: a thread lists a portion, which is
   then handed out name by name; the next portion when that is used up. */
#include <string.h>

#include "files.h"

/* What is being listed.  The errand that lists on belongs to it and not to the call: who
   calls next finds what a cancelled one had asked for. */
struct directory {
    struct runtime *rt;
    struct sys_file *shared;
    struct sys_errand *errand;
    lull_list waiters; /* the task that lists */
    lull_loop *loop;
    struct buffer names;
    bool ended, done;
};

struct sys_file *lull_directory_new(lua_State *L)
{
    struct directory *d = lull_newobject(L, LULL_DIRECTORY, sizeof *d, 1);
    lua_pushvalue(L, FS_PATH);
    lua_setiuservalue(L, -2, 1);
    d->rt = lull_runtime(L);
    list_init(&d->waiters);
    return sys_file_new(-1);
}

static void drop_listing(struct directory *d)
{
    if (d->errand)
        sys_job_drop(&d->errand->job);
    d->errand = NULL;
}

static int directory_close(lua_State *L)
{
    struct directory *d = lull_check(L, lull_runtime(L), 1, LULL_DIRECTORY);
    if (d->shared == NULL)
        return 0;
    drop_listing(d);
    buffer_free(&d->names, sys_alloc, NULL);
    sys_file_release(d->shared);
    d->shared = NULL;
    lull_wake_all(d->loop, &d->waiters, -ECANCELED);
    return 0;
}

static int directory_gc(lua_State *L)
{
    struct directory *d = lua_touserdata(L, 1);
    while (d->shared && !list_empty(&d->waiters))
        list_pop(&d->waiters);
    return directory_close(L);
}

static void listed(sys_job *job)
{
    struct directory *d = job->owner;
    d->done = true;
    lull_wake_all(d->loop, &d->waiters, 0);
}

/* Takes the names that an errand has brought. */
static void adopt(struct directory *d, struct sys_errand *e)
{
    d->names = e->data;
    d->ended = e->ended;
    e->data = (struct buffer){0};
}

static int raise(lua_State *L, struct directory *d, int rc)
{
    (void)d;
    lua_getiuservalue(L, 1, 1);
    lull_pushfail(L, rc, lua_tostring(L, -1));
    lua_pop(L, 1);
    return lua_error(L);
}

static int push_entry(lua_State *L, struct directory *d)
{
    const char *entry = d->names.data + d->names.from;
    size_t n = strlen(entry + 1);
    lua_pushlstring(L, entry + 1, n);
    lua_pushstring(L, lull_file_kinds[(unsigned char)*entry]);
    if (d->shared)
        buffer_take(&d->names, n + 2, sys_alloc, NULL);
    return 2;
}

/* Has a thread list on. */
static int list_on(lua_State *L, struct directory *d)
{
    d->errand = sys_errand_new(sys_directory_list, d->shared, NULL, NULL);
    if (d->errand == NULL)
        return -ENOMEM;
    d->done = false;
    d->loop = d->rt->loop;
    d->errand->job.done = listed;
    d->errand->job.owner = d;
    int rc = sys_pool_submit(lull_pool(L), d->loop, SYS_FILES, &d->errand->job);
    if (rc < 0)
        drop_listing(d);
    return rc;
}

static int nextk(lua_State *L, int status, lua_KContext rc)
{
    struct directory *d = lua_touserdata(L, 1);
    if (d->shared == NULL)
        return 0;
    if (d->errand && !d->done && d->loop != d->rt->loop)
        sys_errand_now(d->errand); /* its loop has ended */
    if (d->errand && (d->done || d->loop != d->rt->loop)) {
        int failed = d->errand->rc;
        adopt(d, d->errand);
        drop_listing(d);
        if (failed < 0 && buffer_size(&d->names) == 0)
            return raise(L, d, failed);
    }
    if (buffer_size(&d->names) > 0)
        return push_entry(L, d);
    if (d->ended)
        return directory_close(L);
    int failed = d->errand ? 0 : list_on(L, d);
    if (failed < 0)
        return raise(L, d, failed);
    lull_wait(&d->rt->task->waiter);
    list_push(&d->waiters, &d->rt->task->waiter.link);
    return lull_await(L, LULL_FOREVER, nextk);
}

/* The iterator: its state is the Directory. */
static int next_entry(lua_State *L)
{
    struct directory *d = lull_check(L, lull_runtime(L), 1, LULL_DIRECTORY);
    lua_settop(L, 1);
    if (d->shared == NULL)
        return 0;
    if (!list_empty(&d->waiters))
        return luaL_error(L, "another task is reading");
    return lull_enter(L, nextk);
}

int lull_directory_push(lua_State *L, struct sys_errand *e)
{
    struct directory *d = lua_touserdata(L, FS_OBJECT);
    d->shared = e->file;
    sys_file_hold(d->shared);
    adopt(d, e);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushcclosure(L, next_entry, 1);
    lua_pushvalue(L, FS_OBJECT);
    lua_pushnil(L);
    lua_pushvalue(L, FS_OBJECT);
    return 4;
}

static const luaL_Reg directory_meta[] = {
    {"__close", directory_close}, {"__gc", directory_gc}, {NULL, NULL}};
static const luaL_Reg directory_methods[] = {{"close", directory_close}, {NULL, NULL}};

void lull_open_directory(lua_State *L)
{
    lull_newclass(L, LULL_DIRECTORY, "Directory", directory_methods, directory_meta);
}

/* The file system: paths, and the opening of files.  Each call is an errand
   for a thread; who is cancelled drops it, and what it opens for nobody is closed. */
#include <fcntl.h>
#include <string.h>

#include "files.h"

static const struct fs_operation *operation(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(2));
}

/* ---- errands --------------------------------------------------------------------- */

struct errand {
    struct sys_errand *what;
    lull_list waiters; /* the task */
    lull_loop *loop;
    bool done;
};

static void arrived(sys_job *job)
{
    struct errand *e = job->owner;
    e->done = true;
    lull_wake_all(e->loop, &e->waiters, 0);
}

static int errand_close(lua_State *L)
{
    struct errand *e = lua_touserdata(L, 1);
    if (e->what == NULL)
        return 0;
    while (!list_empty(&e->waiters))
        list_pop(&e->waiters);
    sys_job_drop(&e->what->job);
    e->what = NULL;
    return 0;
}

/* The failure rc, with the path, or both: either may be the one that is meant. */
static int push_failure(lua_State *L, int rc)
{
    const char *path = lua_tostring(L, FS_PATH);
    if (operation(L)->second == FS_SECOND_PATH)
        path = lua_pushfstring(L, "%s -> %s", path, lua_tostring(L, FS_OTHER));
    return lull_pushfail(L, rc, path);
}

static int waitk(lua_State *L, int status, lua_KContext rc)
{
    struct runtime *rt = lull_runtime(L);
    struct errand *e = lua_touserdata(L, FS_ERRAND);
    if (e->done)
        return e->what->rc < 0 ? push_failure(L, e->what->rc)
                               : operation(L)->push(L, e->what);
    lull_wait(&rt->task->waiter);
    list_push(&e->waiters, &rt->task->waiter.link);
    return lull_await(L, LULL_FOREVER, waitk);
}

static struct errand *new_errand(lua_State *L, struct runtime *rt)
{
    struct errand *e = lull_newobject(L, LULL_ERRAND, sizeof *e, 0);
    list_init(&e->waiters);
    e->loop = rt->loop;
    return e;
}

static int startk(lua_State *L, int status, lua_KContext rc)
{
    const struct fs_operation *op = operation(L);
    struct runtime *rt = lull_runtime(L);
    struct errand *e = new_errand(L, rt);
    struct sys_file *file = op->open ? op->open(L) : NULL;
    if (op->open && file == NULL)
        return luaL_error(L, "not enough memory");
    const char *other = op->second == FS_SECOND_PATH ? lua_tostring(L, FS_OTHER) : NULL;
    e->what = sys_errand_new(op->act, file, lua_tostring(L, FS_PATH), other);
    if (file) /* the errand's alone: nobody else keeps open what is dropped */
        sys_file_release(file);
    if (e->what == NULL)
        return luaL_error(L, "not enough memory");
    e->what->number = (unsigned)lua_tointeger(L, FS_OTHER);
    e->what->job.done = arrived;
    e->what->job.owner = e;
    lua_toclose(L, FS_ERRAND);
    int failed = sys_pool_submit(lull_pool(L), rt->loop, SYS_FILES, &e->what->job);
    return failed ? push_failure(L, failed) : waitk(L, LUA_OK, 0);
}

/* A path with a NUL in it names nothing. */
static bool is_path(lua_State *L, int i)
{
    size_t n;
    const char *s = luaL_checklstring(L, i, &n);
    return strlen(s) == n;
}

int lull_fs_call(lua_State *L)
{
    const struct fs_operation *op = operation(L);
    bool good = is_path(L, FS_PATH);
    if (op->second == FS_SECOND_PATH)
        good = is_path(L, FS_OTHER) && good;
    else if (op->second == FS_NUMBER)
        luaL_optinteger(L, FS_OTHER, 0);
    lua_settop(L, FS_OTHER);
    if (!good)
        return push_failure(L, -EINVAL);
    return lull_enter(L, startk);
}

/* ---- answers --------------------------------------------------------------------- */

static int push_true(lua_State *L, struct sys_errand *e)
{
    (void)e;
    lua_pushboolean(L, true);
    return 1;
}

static int push_text(lua_State *L, struct sys_errand *e)
{
    lua_pushstring(L, e->text);
    e->made = false; /* it belongs to the caller from now on */
    return 1;
}

const char *const lull_file_kinds[] = {
    [SYS_OTHER] = "other",      [SYS_REGULAR] = "file", [SYS_DIRECTORY] = "directory",
    [SYS_LINK] = "link",        [SYS_FIFO] = "fifo",    [SYS_SOCKET] = "socket",
    [SYS_CHAR] = "char",        [SYS_BLOCK] = "block",
};

static void set_integer(lua_State *L, const char *name, lua_Integer n)
{
    lua_pushinteger(L, n);
    lua_setfield(L, -2, name);
}

static int push_stat(lua_State *L, struct sys_errand *e)
{
    const struct sys_stat *st = &e->stat;
    lua_createtable(L, 0, 8);
    lua_pushstring(L, lull_file_kinds[st->kind]);
    lua_setfield(L, -2, "type");
    lua_pushnumber(L, st->mtime);
    lua_setfield(L, -2, "mtime");
    set_integer(L, "size", (lua_Integer)st->size);
    set_integer(L, "mode", st->mode);
    set_integer(L, "uid", st->uid);
    set_integer(L, "gid", st->gid);
    set_integer(L, "ino", (lua_Integer)st->ino);
    set_integer(L, "nlink", (lua_Integer)st->nlink);
    return 1;
}

/* ---- opening --------------------------------------------------------------------- */

static struct sys_file *open_file(lua_State *L)
{
    lull_newfile(L, FS_PATH);
    return sys_file_new(-1);
}

static unsigned abilities(unsigned flags)
{
    switch (flags & O_ACCMODE) {
    case O_RDONLY:
        return FILE_READS;
    case O_WRONLY:
        return flags & O_APPEND ? FILE_WRITES | FILE_APPENDS : FILE_WRITES;
    default:
        return FILE_READS | FILE_WRITES | (flags & O_APPEND ? FILE_APPENDS : 0);
    }
}

static int push_file(lua_State *L, struct sys_errand *e)
{
    unsigned flags = abilities(e->number);
    lua_pushvalue(L, FS_OBJECT);
    if (flags & FILE_WRITES)
        lull_file_note(L);
    lull_file_open(lua_touserdata(L, FS_OBJECT), flags, e);
    e->made = false;
    return 1;
}

static const struct fs_operation opening = {
    "open", sys_file_open, FS_NUMBER, push_file, open_file};

/* The flags for one of io's modes; -1: there is no such mode. */
static int flags_of(const char *mode)
{
    int flags;
    switch (*mode) {
    case 'r':
        flags = 0;
        break;
    case 'w':
        flags = O_CREAT | O_TRUNC;
        break;
    case 'a':
        flags = O_CREAT | O_APPEND;
        break;
    default:
        return -1;
    }
    bool both = *++mode == '+';
    mode += both;
    mode += strspn(mode, "b");
    flags |= both ? O_RDWR : flags ? O_WRONLY : O_RDONLY;
    return *mode == '\0' ? flags : -1;
}

/* open (path [, mode [, exclusive]]) -> File */
static int open_(lua_State *L)
{
    luaL_checkstring(L, FS_PATH);
    int flags = flags_of(luaL_optstring(L, FS_OTHER, "r"));
    luaL_argcheck(L, flags >= 0, FS_OTHER, "invalid mode");
    if (lua_toboolean(L, 3))
        flags |= O_EXCL;
    if (lull_admit(lull_runtime(L), 1) < 0)
        return lull_pushfail(L, -EMFILE, lua_tostring(L, FS_PATH));
    lua_settop(L, FS_PATH);
    lua_pushinteger(L, flags);
    return lull_fs_call(L);
}

/* ---- opening the room ------------------------------------------------------------ */

static const struct fs_operation operations[] = {
    {"stat", sys_path_stat, FS_NOTHING, push_stat, NULL},
    {"lstat", sys_path_lstat, FS_NOTHING, push_stat, NULL},
    {"mkdir", sys_path_mkdir, FS_NUMBER, push_true, NULL},
    {"rmdir", sys_path_rmdir, FS_NOTHING, push_true, NULL},
    {"remove", sys_path_remove, FS_NOTHING, push_true, NULL},
    {"rename", sys_path_rename, FS_SECOND_PATH, push_true, NULL},
    {"symlink", sys_path_symlink, FS_SECOND_PATH, push_true, NULL},
    {"readlink", sys_path_readlink, FS_NOTHING, push_text, NULL},
    {"realpath", sys_path_realpath, FS_NOTHING, push_text, NULL},
    {"chmod", sys_path_chmod, FS_NUMBER, push_true, NULL},
    {"tempdir", sys_path_tempdir, FS_NOTHING, push_text, NULL},
    {"scandir", sys_directory_open, FS_NOTHING, lull_directory_push, lull_directory_new},
};

static void push_operation(lua_State *L, lua_CFunction function,
                           const struct fs_operation *op)
{
    lull_pushruntime(L);
    lua_pushlightuserdata(L, (void *)op);
    lua_pushcclosure(L, function, 2);
    lua_setfield(L, -2, op->name);
}

static const luaL_Reg errand_meta[] = {
    {"__close", errand_close}, {"__gc", errand_close}, {NULL, NULL}};

/* Field fs: functions of paths. */
void lull_open_fs(lua_State *L)
{
    lull_newclass(L, LULL_ERRAND, "Errand", NULL, errand_meta);
    lull_open_directory(L);
    lull_open_file(L);
    lua_newtable(L);
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
        push_operation(L, lull_fs_call, &operations[i]);
    push_operation(L, open_, &opening);
    lull_open_watcher(L);
    lua_setfield(L, -2, "fs");
}

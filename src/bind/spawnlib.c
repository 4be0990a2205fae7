/* Starting a child: what its standard files are to be, its arguments and environment.
   Everything that may raise comes first; from the moment on that a descriptor is opened
   nothing does, and what was opened is closed again when the child cannot be started. */
#include "process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "stream.h"
#include "sys.h"

/* What one of its standard files is to be. */
struct file {
    enum { INHERIT, NOTHING, PIPE, STDOUT, GIVEN } mode;
    struct stream *stream; /* PIPE: of the script */
    lull_io *io;           /* GIVEN: of the stream that it is */
    int fd, ours;          /* that of the child; PIPE: that of the script */
};

/* Reads value i, which stands on the stack as long as the file is used. */
static struct file checkfile(lua_State *L, int i)
{
    static const char *const modes[] = {"inherit", "null", "pipe", "stdout", NULL};
    struct file f = {.mode = GIVEN, .fd = -1, .ours = -1};
    struct stream *s = lull_test(L, lull_runtime(L), i, LULL_STREAM);
    luaL_Stream *file = luaL_testudata(L, i, LUA_FILEHANDLE);
    if (s != NULL) {
        if (lull_openstream(L, i)->out->tls)
            luaL_error(L, "a TLS stream cannot be given to a child");
        f.io = &s->io;
        f.fd = f.io->watch.fd;
    } else if (file != NULL) {
        if (file->closef == NULL)
            luaL_error(L, "attempt to use a closed file");
        fflush(file->f);
        f.fd = fileno(file->f);
    } else if (lua_isinteger(L, i))
        f.fd = (int)lua_tointeger(L, i);
    else
        f.mode = luaL_checkoption(L, i, "inherit", modes);
    return f;
}

/* Pushes the list of strings in field name, as C has them; NULL where there is none. */
static char **checklist(lua_State *L, const char *name)
{
    if (lua_getfield(L, 1, name) == LUA_TNIL)
        return NULL;
    luaL_checktype(L, -1, LUA_TTABLE);
    lua_Integer n = luaL_len(L, -1);
    char **list = lua_newuserdatauv(L, (size_t)(n + 1) * sizeof *list, 0);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_geti(L, -2, i);
        list[i - 1] = (char *)luaL_checkstring(L, -1); /* the table keeps it alive */
        lua_pop(L, 1);
    }
    list[n] = NULL;
    return list;
}

static void close_files(struct file *files, bool all)
{
    for (int i = 0; i < 3; i++) {
        struct file *f = &files[i];
        if ((f->mode == PIPE || f->mode == NOTHING) && f->fd >= 0)
            sys_close(f->fd);
        if (all && f->ours >= 0)
            sys_close(f->ours);
    }
}

static int open_pipe(struct file *f, bool reads)
{
    int fd[2], rc = sys_pipe(fd);
    if (rc < 0)
        return rc;
    f->fd = reads ? fd[0] : fd[1];
    f->ours = reads ? fd[1] : fd[0];
    return sys_nonblocking(f->ours, true);
}

static int open_files(struct file *files)
{
    int rc = 0;
    for (int i = 0; i < 3 && rc >= 0; i++) {
        struct file *f = &files[i];
        if (f->mode == PIPE)
            rc = open_pipe(f, i == 0);
        else if (f->mode == NOTHING)
            f->fd = rc = sys_null();
        else if (f->mode == STDOUT)
            f->fd = files[1].fd >= 0 ? files[1].fd : STDOUT_FILENO;
        else if (f->io)
            lull_io_share(f->io); /* for the child it has to block */
    }
    return rc < 0 ? rc : 0;
}

/* Starts the program and the watch on it; what cannot be watched is not left running. */
static int start(struct process *p, struct sys_program *program, bool *in_cwd)
{
    int pid = sys_spawn(program, in_cwd);
    if (pid < 0)
        return pid;
    int rc = sys_child_watch(pid, &p->pidfd);
    p->pid = pid;
    lull_io_init(&p->io, rc);
    if (rc >= 0)
        rc = lull_process_attach(p, p->rt->loop);
    if (rc >= 0)
        return 0;
    sys_child_signal(pid, -1, p->group, SIGKILL);
    sys_child_end(pid, true, &p->code, &p->number);
    if (p->io.watch.fd >= 0)
        sys_close(p->io.watch.fd);
    return rc;
}

static int launch(struct process *p, struct sys_program *program, struct file *files,
                  bool *in_cwd)
{
    int rc = open_files(files);
    for (int i = 0; i < 3; i++) {
        program->fd[i] = files[i].fd;
        program->blocking[i] = files[i].mode == GIVEN;
    }
    if (rc == 0)
        rc = start(p, program, in_cwd);
    close_files(files, rc < 0);
    return rc;
}

static void read_options(lua_State *L, struct process *p, struct sys_program *program)
{
    lua_getfield(L, 1, "cwd"); /* stays on the stack */
    program->cwd = luaL_optstring(L, -1, NULL);
    p->group = program->group = lull_stream_flag(L, 1, "process_group", false);
    p->pidfd = lull_stream_flag(L, 1, "pidfd", true);
    lua_getfield(L, 1, "grace");
    p->grace = luaL_checknumber(L, -1);
    lua_getfield(L, LUA_REGISTRYINDEX, "lull.nofile");
    program->nofile = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : -1;
    lua_pop(L, 2);
}

/* The child lives: it and its streams, which stand from index i on, come to be. */
static void come_to_be(lua_State *L, struct process *p, struct file *files)
{
    const struct sys_address nowhere = {.size = 0};
    for (int j = 0; j < 3; j++)
        if (files[j].stream)
            lull_stream_open(L, files[j].stream, files[j].ours, &nowhere);
    lull_process_begins(L, p);
}

/* child {argv=, paths=, env=, cwd=, stdin=, stdout=, stderr=, process_group=, grace=,
   options of the streams} -> child, stdin | nil, stdout | nil, stderr | nil; or nil,
   message, code.  paths: what to run, tried in turn. */
static int child(lua_State *L)
{
    static const char *const names[] = {"stdin", "stdout", "stderr"};
    struct runtime *rt = lull_runtime(L);
    struct sys_program program = {0};
    struct stream_options opts = lull_stream_options(L, 1);
    struct file files[3];
    bool in_cwd = false;
    if (rt->loop == NULL)
        return luaL_error(L, "no loop is running");
    lua_settop(L, 1);
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    for (int i = 0; i < 3; i++) {
        lua_getfield(L, 1, names[i]);
        files[i] = checkfile(L, 2 + i);
    }
    program.argv = checklist(L, "argv");
    program.paths = checklist(L, "paths");
    program.env = checklist(L, "env");
    if (program.env == NULL)
        program.env = environ;
    int first = lua_gettop(L) + 1;
    struct process *p = lull_newprocess(L, rt);
    for (int i = 0; i < 3; i++) {
        files[i].stream = files[i].mode == PIPE ? lull_newstream(L, &opts) : NULL;
        if (files[i].stream == NULL)
            lua_pushnil(L);
    }
    read_options(L, p, &program);
    lull_process_reap_left(L);
    lua_pushvalue(L, first);
    lull_hold(L, p);
    int rc = launch(p, &program, files, &in_cwd);
    if (rc < 0) {
        lull_release(L, p);
        return lull_pushfail(L, rc, in_cwd ? program.cwd : program.argv[0]);
    }
    come_to_be(L, p, files);
    lua_settop(L, first + 3);
    return 4;
}

/* environment () -> {"NAME=value", ...} */
static int environment(lua_State *L)
{
    lua_newtable(L);
    for (int i = 0; environ && environ[i]; i++) {
        lua_pushstring(L, environ[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/* is_stream (value) -> boolean */
static int is_stream(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushboolean(L, lull_test(L, lull_runtime(L), 1, LULL_STREAM) != NULL);
    return 1;
}

/* is_file (value) -> boolean: is it a File of lull's? */
static int is_file(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushboolean(L, lull_test(L, lull_runtime(L), 1, LULL_FILE) != NULL);
    return 1;
}

static const luaL_Reg functions[] = {{"child", child},
                                     {"environment", environment},
                                     {"is_stream", is_stream},
                                     {"is_file", is_file},
                                     {NULL, NULL}};

void lull_open_spawn(lua_State *L)
{
    lull_setfuncs(L, functions);
}

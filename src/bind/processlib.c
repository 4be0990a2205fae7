/* Children: starting one, its end, and signals to it.  What a script sees is made of this
   in lua/lull/process.lua.

   A child is reaped as soon as it has ended, by a waiter of its own on the loop, whether
   somebody waits for it or not; until then the runtime holds it.  Where its loop is closed
   first it is left to itself, and whoever waits for it later, or starts another, reaps it. */
#include "bind.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "stream.h"
#include "sys.h"

struct process {
    lull_io io;         /* readable when it has ended */
    lull_waiter reaper; /* waits for that */
    lull_waiter killer; /* waits for the end of its grace */
    lull_timer patience;
    lull_waiter end;    /* waits for the end of the loop */
    lull_list waiters;  /* tasks */
    lull_list link;     /* in the room's list, while it has not been reaped */
    struct runtime *rt;
    lull_loop *loop;    /* that it is reaped on, or NULL */
    lua_Number grace;
    int pid, code, number; /* number: of the signal that killed it, or 0 */
    int lost;           /* -errno: nobody knows how it ended */
    bool alive, pidfd, group, closing;
    bool lingers;       /* who runs the loop to its end waits for it */
};

/* ---- all of them --------------------------------------------------------------------- */

static const char room_key;

static lull_list *room(lua_State *L)
{
    lull_pushheld(L, &room_key);
    lull_list *all = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return all;
}

/* The state is closed, its loops are already. */
static int room_gc(lua_State *L)
{
    lull_list *all = lua_touserdata(L, 1);
    while (!list_empty(all)) {
        struct process *p = container_of(list_pop(all), struct process, link);
        sys_child_end(p->pid, false, &p->code, &p->number);
        sys_close(p->io.watch.fd);
    }
    return 0;
}

/* Made before any loop is, so that lua_close ends it after them. */
static void hold_room(lua_State *L)
{
    list_init(lua_newuserdatauv(L, sizeof(lull_list), 0));
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, room_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lull_hold(L, &room_key);
}

/* ---- life ---------------------------------------------------------------------------- */

static void detach(struct process *p)
{
    if (p->loop == NULL)
        return;
    lull_forget(&p->reaper);
    lull_forget(&p->killer);
    lull_forget(&p->end);
    lull_timer_stop(p->loop, &p->patience);
    lull_io_close(&p->io);
    lull_loop_unref(p->loop);
    if (p->lingers)
        lull_linger(p->loop, -1);
    p->lingers = false;
    p->loop = NULL;
}

static int attach(struct process *p, lull_loop *loop)
{
    int rc = lull_io_wait(loop, &p->io, LULL_READ, &p->reaper);
    if (rc < 0)
        return rc;
    lull_loop_end(loop, &p->end);
    lull_loop_ref(loop);
    p->loop = loop;
    return 0;
}

static void loop_ends(lull_loop *loop, lull_waiter *w)
{
    (void)loop;
    detach(container_of(w, struct process, end));
}

static void forget_fd(struct process *p)
{
    lull_own(p->rt, p->io.watch.fd, false);
    sys_close(p->io.watch.fd);
    p->io.watch.fd = -1;
}

/* Reaps p if it has ended; returns whether it has.  Where a thread waits for it, that has
   to have gone first. */
static bool reap(lua_State *L, struct process *p)
{
    if (p->alive && !p->pidfd && !sys_child_told(p->io.watch.fd))
        return false;
    int rc = p->alive ? sys_child_end(p->pid, false, &p->code, &p->number) : 0;
    if (rc == 0)
        return !p->alive;
    p->alive = false;
    p->lost = rc < 0 ? rc : 0;
    while (!list_empty(&p->waiters))
        lull_wake(p->loop, container_of(p->waiters.next, lull_waiter, link), 0);
    detach(p);
    forget_fd(p);
    list_remove(&p->link);
    lull_release(L, p);
    return true;
}

static void readable(lull_loop *loop, lull_waiter *w)
{
    struct process *p = container_of(w, struct process, reaper);
    if (!reap(p->rt->L, p))
        lull_io_wait(loop, &p->io, LULL_READ, w);
}

static void reap_left_ones(lua_State *L)
{
    lull_list *all = room(L);
    for (lull_list *l = all->next, *next; l != all; l = next) {
        next = l->next;
        struct process *p = container_of(l, struct process, link);
        if (p->loop == NULL)
            reap(L, p);
    }
}

/* ---- signals ------------------------------------------------------------------------- */

static int send_signal(struct process *p, int number)
{
    int pidfd = p->pidfd ? p->io.watch.fd : -1;
    return sys_child_signal(p->pid, pidfd, p->group, number);
}

static void grace_is_over(lull_loop *loop, lull_waiter *w)
{
    (void)loop;
    send_signal(container_of(w, struct process, killer), SIGKILL);
}

/* SIGTERM, and SIGKILL when the grace is over.  One that is stopped hears nothing until it
   is continued. */
static void terminate(lua_State *L, struct process *p)
{
    lull_loop *loop = lull_runtime(L)->loop;
    p->closing = true;
    if (loop != NULL && p->loop != loop && list_empty(&p->waiters)) {
        detach(p);
        attach(p, loop);
    }
    if (p->loop != NULL)
        lull_refresh(p->loop); /* somebody may have computed for long */
    int64_t deadline = p->loop ? lull_after(p->loop, p->grace) : 0;
    lull_wait(&p->killer);
    if (p->loop == NULL || p->grace <= 0 ||
        lull_timer_start(p->loop, &p->patience, deadline, 0) < 0) {
        lull_forget(&p->killer);
        send_signal(p, SIGKILL);
        return;
    }
    p->lingers = true;
    lull_linger(p->loop, 1);
    send_signal(p, SIGTERM);
    send_signal(p, SIGCONT);
}

/* ---- methods ------------------------------------------------------------------------- */

static struct process *checkprocess(lua_State *L)
{
    return lull_check(L, lull_runtime(L), 1, LULL_PROCESS);
}

static int pushend(lua_State *L, struct process *p)
{
    char text[SYS_SIGNAL];
    if (p->lost < 0)
        return lull_pushfail(L, p->lost, "somebody else has reaped the child");
    if (p->number == 0) {
        lua_pushinteger(L, p->code);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, sys_signal_name(p->number, text));
    return 2;
}

/* Waits are on the loop of the first one; one that nobody waits for can move. */
static int bind_to(lua_State *L, struct process *p, lull_loop *loop)
{
    if (p->loop == loop)
        return 0;
    if (!list_empty(&p->waiters) || p->closing)
        return luaL_error(L, "the process belongs to another loop");
    detach(p);
    return attach(p, loop);
}

static int waitk(lua_State *L, int status, lua_KContext rc)
{
    struct runtime *rt = lull_runtime(L);
    struct process *p = lua_touserdata(L, 1);
    if (reap(L, p))
        return pushend(L, p);
    rc = bind_to(L, p, rt->loop);
    if (rc < 0)
        return lull_pushfail(L, (int)rc, NULL);
    lull_wait(&rt->task->waiter);
    list_push(&p->waiters, &rt->task->waiter.link);
    return lull_await(L, LULL_FOREVER, waitk);
}

/* child:wait () -> code | nil, "SIGKILL" */
static int process_wait(lua_State *L)
{
    checkprocess(L);
    lua_settop(L, 1);
    return lull_enter(L, waitk);
}

/* child:ended () -> whether it has been reaped; and what wait returns */
static int process_ended(lua_State *L)
{
    struct process *p = checkprocess(L);
    lua_pushboolean(L, !p->alive);
    return p->alive ? 1 : 1 + pushend(L, p);
}

static int checksignal(lua_State *L, int i)
{
    int isinteger, number = (int)lua_tointegerx(L, i, &isinteger);
    if (!isinteger)
        number = sys_signal_number(luaL_optstring(L, i, "SIGTERM"));
    if (number < 0 || number >= SYS_SIGNALS)
        luaL_error(L, "no such signal: %s", luaL_tolstring(L, i, NULL));
    return number;
}

/* child:kill ([name | number]) -> true | nil, message, code */
static int process_kill(lua_State *L)
{
    struct process *p = checkprocess(L);
    int number = checksignal(L, 2);
    int rc = p->alive ? send_signal(p, number) : -ESRCH;
    if (rc < 0)
        return lull_pushfail(L, rc, NULL);
    lua_pushboolean(L, true);
    return 1;
}

/* child:terminate () -> whether it still runs, and has been asked to end */
static int process_terminate(lua_State *L)
{
    struct process *p = checkprocess(L);
    if (p->alive && !p->closing)
        terminate(L, p);
    lua_pushboolean(L, p->alive);
    return 1;
}

/* child:pid () -> integer */
static int process_pid(lua_State *L)
{
    lua_pushinteger(L, checkprocess(L)->pid);
    return 1;
}

/* ---- starting one -------------------------------------------------------------------- */

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
        if (lull_openstream(L, i)->tls)
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
        rc = attach(p, p->rt->loop);
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

/* Pushes a child that does not live yet. */
static struct process *newprocess(lua_State *L, struct runtime *rt)
{
    struct process *p = lull_newobject(L, LULL_PROCESS, sizeof *p, 0);
    lull_waiter_init(&p->reaper, readable);
    lull_waiter_init(&p->killer, grace_is_over);
    lull_waiter_init(&p->end, loop_ends);
    lull_timer_init(&p->patience, &p->killer);
    lull_io_init(&p->io, -1);
    list_init(&p->waiters);
    list_init(&p->link);
    p->rt = rt;
    return p;
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
    list_push(room(L), &p->link);
    lull_own(p->rt, p->io.watch.fd, true);
    p->alive = true;
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
    struct process *p = newprocess(L, rt);
    for (int i = 0; i < 3; i++) {
        files[i].stream = files[i].mode == PIPE ? lull_newstream(L, &opts) : NULL;
        if (files[i].stream == NULL)
            lua_pushnil(L);
    }
    read_options(L, p, &program);
    reap_left_ones(L);
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

static const luaL_Reg methods[] = {
    {"wait", process_wait},   {"ended", process_ended}, {"kill", process_kill},
    {"pid", process_pid},     {"terminate", process_terminate}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"child", child},
                                     {"environment", environment},
                                     {"is_stream", is_stream},
                                     {NULL, NULL}};

void lull_open_process(lua_State *L)
{
    hold_room(L);
    lull_newclass(L, LULL_PROCESS, "Child", methods, NULL);
    lull_setfuncs(L, functions);
}

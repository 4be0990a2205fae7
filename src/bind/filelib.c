/* Files: their life, whose turn it is, and what is done about them while nobody waits.

   close begins what has to be done (writing what waits, closing the descriptor, both on
   the pool) and then waits for it; where it cannot wait (outside of tasks, in a finalizer)
   it does it on the spot. */
#include "files.h"

#include <stdlib.h>
#include <string.h>

enum { BUFFER = 64 * 1024, COPIED = 1 << 20, KEPT = 1 << 20 };

/* ---- recognition -------------------------------------------------------------------- */

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

/* ---- turns -------------------------------------------------------------------------- */

/* The place in the line of an operation that has had to wait; closed, with the function
   that waits, however that is left.  uservalue 1 is the File. */
struct turn {
    lull_list *line;
    lull_list link, waiters; /* the task that waits */
    lull_loop *loop;
};

static lull_list *line_of(struct file *f, bool adds)
{
    return &f->lines[adds && f->flags & FILE_PIPE];
}

/* Lets the first in line look whether it can go on. */
static void rouse(lull_list *line)
{
    if (list_empty(line))
        return;
    struct turn *t = container_of(line->next, struct turn, link);
    if (!list_empty(&t->waiters))
        lull_wake(t->loop, container_of(t->waiters.next, lull_waiter, link), 0);
}

static void rouse_all(struct file *f)
{
    for (int i = 0; i < 2; i++)
        for (lull_list *l = f->lines[i].next; l != &f->lines[i]; l = l->next) {
            struct turn *t = container_of(l, struct turn, link);
            if (!list_empty(&t->waiters))
                lull_wake(t->loop, container_of(t->waiters.next, lull_waiter, link), 0);
        }
}

static int turn_close(lua_State *L)
{
    struct turn *t = lua_touserdata(L, 1);
    if (t->line == NULL)
        return 0;
    while (!list_empty(&t->waiters))
        list_pop(&t->waiters);
    list_remove(&t->link);
    rouse(t->line);
    t->line = NULL;
    return 0;
}

static struct turn *take_turn(lua_State *L, struct file *f, bool adds)
{
    struct turn *t = lua_touserdata(L, FILE_TURN);
    if (t != NULL)
        return t;
    t = lull_newobject(L, LULL_TURN, sizeof *t, 1);
    list_init(&t->link);
    list_init(&t->waiters);
    lua_pushvalue(L, FILE_SELF);
    lua_setiuservalue(L, -2, 1);
    lua_replace(L, FILE_TURN);
    lua_toclose(L, FILE_TURN);
    t->loop = f->rt->loop;
    t->line = line_of(f, adds);
    list_push(t->line, &t->link);
    return t;
}

int lull_file_enter(lua_State *L, struct file *f, lua_KFunction k)
{
    lua_pushnil(L);
    lua_insert(L, FILE_TURN);
    if (f->errand == NULL && list_empty(&f->lines[0])) {
        f->ended = false; /* what was the end need not be it any more */
        f->in_error = 0;
    }
    return lull_enter(L, k);
}

int lull_file_await(lua_State *L, struct file *f, bool adds, lua_KFunction k)
{
    struct turn *t = take_turn(L, f, adds);
    lull_wait(&f->rt->task->waiter);
    list_push(&t->waiters, &f->rt->task->waiter.link);
    return lull_await(L, LULL_FOREVER, k);
}

int lull_file_await_pipe(lua_State *L, struct file *f, lua_KFunction k)
{
    take_turn(L, f, false);
    return lull_await_io(L, &f->io, LULL_READ, LULL_FOREVER, k);
}

/* ---- errands ------------------------------------------------------------------------ */

static void done(sys_job *job);

int lull_file_submit(lua_State *L, struct file *f, struct sys_errand *e)
{
    (void)L;
    lull_loop *loop = f->rt->loop;
    e->job.done = done;
    e->job.owner = f;
    int rc = sys_pool_submit(f->pool, loop, SYS_FILES, &e->job);
    if (rc < 0)
        return rc;
    f->errand = e;
    f->loop = lull_loop_serial(loop);
    return 0;
}

int lull_file_ask(lua_State *L, struct file *f, int (*act)(struct sys_errand *),
                  int64_t offset)
{
    struct sys_errand *e = sys_errand_new(act, f->shared, NULL, NULL);
    if (e == NULL)
        return -ENOMEM;
    e->offset = offset;
    int rc = lull_file_submit(L, f, e);
    if (rc < 0)
        sys_job_drop(&e->job);
    return rc;
}

/* ---- what is queued ----------------------------------------------------------------- */

static void drop_piece(struct file *f, struct piece *p)
{
    if (p->string)
        lull_release(f->rt->L, p);
    free(p->block);
    free(p);
}

static void drop_pieces(struct file *f, struct piece *p)
{
    for (struct piece *next; p; p = next) {
        next = p->next;
        drop_piece(f, p);
    }
}

static void unlink_head(struct file *f)
{
    struct piece *p = f->head;
    f->head = p->next;
    if (f->head == NULL)
        f->tail = NULL;
    drop_piece(f, p);
}

static void fail_writing(struct file *f, int rc)
{
    f->out_error = rc;
    drop_pieces(f, f->head);
    f->head = f->tail = NULL;
    f->queued = 0;
}

/* An errand that writes the first piece, whose block it takes, or a part of its string. */
static struct sys_errand *new_writing(struct file *f)
{
    struct piece *p = f->head;
    struct sys_errand *e = sys_errand_new(sys_file_write, f->shared, NULL, NULL);
    if (e == NULL)
        return NULL;
    if (p->string) {
        size_t n = p->size < COPIED ? p->size : COPIED;
        char *to = buffer_reserve(&e->data, n, sys_alloc, NULL);
        if (to == NULL) {
            sys_job_drop(&e->job);
            return NULL;
        }
        memcpy(to, p->string + p->from, n);
        buffer_commit(&e->data, n);
        p->from += n;
        p->size -= n;
    } else {
        buffer_adopt(&e->data, p->block, p->size, p->capacity);
        p->block = NULL;
        p->size = 0;
    }
    if (p->size == 0)
        unlink_head(f);
    f->sending = buffer_size(&e->data);
    e->offset = f->pos;
    e->append = f->flags & FILE_APPENDS;
    e->closes = f->head == NULL && !(f->flags & FILE_OPEN);
    return e;
}

/* ---- going on by itself ------------------------------------------------------------- */

/* Keeps the File, at place i, and the loop until it is at rest again. */
static void hold(lua_State *L, struct file *f, int i)
{
    if (f->flags & FILE_HELD)
        return;
    lua_pushvalue(L, i);
    lull_hold(L, f);
    f->flags |= FILE_HELD;
    f->loop = lull_loop_serial(f->rt->loop);
    if (!(f->flags & FILE_PIPE))
        lull_linger(f->rt->loop, 1);
}

static void rest(struct file *f)
{
    if (!(f->flags & FILE_HELD))
        return;
    lull_loop *loop = lull_loop_with(f->rt, f->loop);
    f->flags &= ~(unsigned)FILE_HELD;
    if (loop && !(f->flags & FILE_PIPE))
        lull_linger(loop, -1);
    lull_release(f->rt->L, f);
}

/* The descriptor is closed, or will be by the last thread that is busy with it. */
static void finish(struct file *f, int rc)
{
    if (f->flags & FILE_FINISHED)
        return;
    f->flags |= FILE_FINISHED;
    f->answer = f->out_error ? f->out_error : rc;
    if (f->flags & FILE_PIPE)
        lull_io_close(&f->io);
    lull_forget(&f->sender);
    sys_file_release(f->shared);
    f->shared = NULL;
    lull_loop *loop = lull_loop_with(f->rt, f->loop);
    while (!list_empty(&f->closers)) {
        lull_waiter *w = container_of(f->closers.next, lull_waiter, link);
        if (loop)
            lull_wake(loop, w, 0);
        else
            list_pop(&f->closers);
    }
    rest(f);
}

/* Sends to a pipe what it takes now; -EAGAIN: it takes no more, else 0. */
static int send_some(struct file *f)
{
    while (f->head) {
        struct piece *p = f->head;
        const char *from = (p->string ? p->string : p->block) + p->from;
        int n = sys_file_send(sys_file_fd(f->shared), from, p->size);
        if (n == -EAGAIN)
            return n;
        if (n < 0) {
            fail_writing(f, n);
            return 0;
        }
        p->from += (size_t)n;
        p->size -= (size_t)n;
        f->queued -= (size_t)n;
        if (p->size == 0)
            unlink_head(f);
    }
    return 0;
}

static int begin_writing(struct file *f)
{
    struct sys_errand *e = new_writing(f);
    if (e == NULL)
        return -ENOMEM;
    int rc = lull_file_submit(NULL, f, e);
    if (rc < 0)
        sys_job_drop(&e->job);
    return rc;
}

static int begin_closing(struct file *f)
{
    return lull_file_ask(NULL, f, sys_file_close, 0);
}

static void advance_pipe(struct file *f, lull_loop *loop)
{
    if (f->sender.status == LULL_PENDING)
        return;
    int rc = send_some(f);
    if (rc == -EAGAIN && (rc = lull_io_wait(loop, &f->io, LULL_WRITE, &f->sender)) == 0)
        return;
    if (rc < 0)
        fail_writing(f, rc);
    if (f->flags & FILE_OPEN)
        rest(f);
    else
        finish(f, 0);
}

/* Does what is to be done next, as long as there is something: writes, closes. */
static void advance(struct file *f)
{
    lull_loop *loop = lull_loop_with(f->rt, f->loop);
    if (f->errand || !(f->flags & FILE_HELD) || loop == NULL)
        return;
    if (f->flags & FILE_PIPE) {
        advance_pipe(f, loop);
        return;
    }
    int rc = f->head ? begin_writing(f) : 0;
    if (rc < 0)
        fail_writing(f, rc);
    if (f->errand)
        return;
    if (f->flags & FILE_OPEN)
        rest(f);
    else if (begin_closing(f) < 0)
        finish(f, 0);
}

static void sender_run(lull_loop *loop, lull_waiter *w)
{
    (void)loop;
    struct file *f = container_of(w, struct file, sender);
    if (f->flags & FILE_FINISHED)
        return;
    advance(f);
    rouse(&f->lines[1]);
    rouse(&f->lines[0]);
}

void lull_file_push(lua_State *L, struct file *f)
{
    if (f->head == NULL)
        return;
    hold(L, f, FILE_SELF);
    advance(f);
}

/* ---- coming back -------------------------------------------------------------------- */

void lull_file_forget(struct file *f)
{
    buffer_free(&f->in, sys_alloc, NULL);
}

static void absorb_reading(struct file *f, struct sys_errand *e)
{
    f->in = e->data;
    e->data = (struct buffer){0};
    f->ended = e->ended;
    f->in_error = e->rc;
    bool large = list_empty(&f->lines[0]) && buffer_size(&f->in) > KEPT;
    if (buffer_size(&f->in) == 0 || large || !(f->flags & FILE_OPEN))
        lull_file_forget(f);
}

/* Takes in what came of the errand, which is done, and drops it. */
static void absorb(struct file *f)
{
    struct sys_errand *e = f->errand;
    f->errand = NULL;
    bool closed = e->act == sys_file_close || (e->closes && sys_file_fd(f->shared) < 0);
    if (e->act == sys_file_read)
        absorb_reading(f, e);
    else if (e->act == sys_file_write) {
        f->pos = e->offset;
        f->queued -= f->sending;
        if (e->rc < 0)
            fail_writing(f, e->rc);
    }
    f->answer = e->rc;
    f->answered = e->offset;
    int rc = e->rc;
    sys_job_drop(&e->job);
    if (closed)
        finish(f, rc);
}

static void done(sys_job *job)
{
    struct file *f = job->owner;
    absorb(f);
    if (!(f->flags & FILE_FINISHED))
        advance(f);
    rouse(&f->lines[0]);
}

/* An errand whose loop has ended, or is not the one that runs, is done here and now. */
static void settle(struct file *f)
{
    uint32_t here = f->rt->loop ? lull_loop_serial(f->rt->loop) : 0;
    if (f->loop == here || (f->errand == NULL && !(f->flags & FILE_HELD)))
        return;
    if (f->errand) {
        sys_errand_now(f->errand);
        absorb(f);
    }
    if (!(f->flags & FILE_FINISHED))
        rest(f);
}

int lull_file_ready(lua_State *L, struct file *f, bool adds)
{
    struct turn *t = lua_touserdata(L, FILE_TURN);
    lull_list *line = line_of(f, adds);
    if (!(f->flags & FILE_OPEN))
        return -ECANCELED;
    settle(f);
    if (t ? line->next != &t->link : !list_empty(line))
        return 0;
    return f->errand == NULL || (adds && f->errand->act == sys_file_write);
}

/* ---- closing ------------------------------------------------------------------------ */

/* Its number may be somebody else's before we hear that it is closed. */
static void shut(struct file *f)
{
    if (f->flags & FILE_OPEN)
        lull_own(f->rt, f->io.watch.fd, false);
    f->flags &= ~(unsigned)FILE_OPEN;
    lull_file_forget(f);
}

/* Writes and closes on the spot; a pipe that takes no more loses the rest. */
static void finish_now(struct file *f)
{
    while (!(f->flags & (FILE_PIPE | FILE_FINISHED))) {
        if (f->errand == NULL && f->head && (f->errand = new_writing(f)) == NULL)
            fail_writing(f, -ENOMEM);
        if (f->errand == NULL)
            break;
        sys_errand_now(f->errand);
        absorb(f);
    }
    if (f->flags & FILE_PIPE && f->head && send_some(f) == -EAGAIN)
        fail_writing(f, -EAGAIN);
    finish(f, 0);
}

/* From now on it is closed for everybody; who waits is told. */
static void begin_close(struct file *f)
{
    settle(f);
    shut(f);
    rouse_all(f);
    lull_loop *loop = f->rt->loop;
    while (loop && !list_empty(&f->io.readers))
        lull_wake(loop, container_of(f->io.readers.next, lull_waiter, link), -ECANCELED);
    bool idle = f->head == NULL && (f->errand == NULL || f->errand->act == sys_file_read);
    if (!idle || (f->flags & FILE_DIRTY && !(f->flags & FILE_PIPE)))
        return;
    if (f->errand)
        sys_job_drop(&f->errand->job);
    f->errand = NULL;
    finish(f, 0);
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
    begin_close(f);
    if (f->flags & FILE_FINISHED)
        return false;
    if (!may_wait(L, f)) {
        finish_now(f);
        return false;
    }
    hold(L, f, FILE_SELF);
    advance(f);
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
    for (int i = 0; i < 2; i++)
        while (!list_empty(&f->lines[i]))
            container_of(list_pop(&f->lines[i]), struct turn, link)->line = NULL;
    shut(f);
    finish_now(f);
    drop_pieces(f, f->staged);
    f->staged = NULL;
    return 0;
}

/* ---- life --------------------------------------------------------------------------- */

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
    lull_waiter_init(&f->sender, sender_run);
    f->size = BUFFER;
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

int lull_file_fd(lua_State *L, struct runtime *rt, int i)
{
    struct file *f = lull_check(L, rt, i, LULL_FILE);
    if (!(f->flags & FILE_OPEN))
        return -1;
    int fd = sys_file_fd(f->shared);
    if (!(f->flags & (FILE_PIPE | FILE_APPENDS)))
        sys_file_seek(fd, f->pos + (int64_t)f->queued);
    return fd;
}

/* file:fileno () -> fd, whose own position is that of the file now */
static int file_fileno(lua_State *L)
{
    lull_openfile(L, FILE_SELF);
    lua_pushinteger(L, lull_file_fd(L, lull_runtime(L), FILE_SELF));
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

static const luaL_Reg turn_meta[] = {
    {"__close", turn_close}, {"__gc", turn_close}, {NULL, NULL}};

void lull_open_file(lua_State *L)
{
    lull_newclass(L, LULL_FILE, "File", methods, metamethods);
    lull_addmethods(L, LULL_FILE, lull_file_reading);
    lull_addmethods(L, LULL_FILE, lull_file_writing);
    lull_newclass(L, LULL_TURN, "Turn", NULL, turn_meta);
}

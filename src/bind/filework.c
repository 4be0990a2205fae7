/* What is done about a file while nobody looks: its errands, one after the other, and
   what is queued for writing.  It goes on by itself until all is written and, once the
   file is closed by the script, the descriptor is closed too; as long as it does the File
   is held, and whoever runs the loop to its end waits. */
#include "files.h"

#include <stdlib.h>
#include <string.h>

enum { COPIED = 1 << 20, KEPT = 1 << 20 };

/* ---- errands --------------------------------------------------------------------- */

static void done(sys_job *job);

int lull_file_submit(struct file *f, struct sys_errand *e)
{
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

int lull_file_ask(struct file *f, int (*act)(struct sys_errand *), int64_t offset)
{
    struct sys_errand *e = sys_errand_new(act, f->shared, NULL, NULL);
    if (e == NULL)
        return -ENOMEM;
    e->offset = offset;
    int rc = lull_file_submit(f, e);
    if (rc < 0)
        sys_job_drop(&e->job);
    return rc;
}

/* ---- what is queued -------------------------------------------------------------- */

/* Who runs the loop, or where none runs who called us. */
static lua_State *state_of(const struct file *f)
{
    return f->L ? f->L : f->rt->L;
}

static void drop_piece(lua_State *L, struct piece *p)
{
    if (p->string)
        lull_release(L, p);
    free(p->block);
    free(p);
}

void lull_file_drop(lua_State *L, struct piece *p)
{
    for (struct piece *next; p; p = next) {
        next = p->next;
        drop_piece(L, p);
    }
}

static void unlink_head(struct file *f)
{
    struct piece *p = f->head;
    f->head = p->next;
    if (f->head == NULL)
        f->tail = NULL;
    drop_piece(state_of(f), p);
}

static void fail_writing(struct file *f, int rc)
{
    f->out_error = rc;
    lull_file_drop(state_of(f), f->head);
    f->head = f->tail = NULL;
    f->queued = 0;
}

/* An errand that writes the first piece, whose block it takes, or part of its string. */
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

/* ---- going on by itself ---------------------------------------------------------- */

void lull_file_keep(lua_State *L, struct file *f)
{
    if (f->flags & FILE_HELD)
        return;
    lua_pushvalue(L, FILE_SELF);
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
    lull_release(state_of(f), f);
}

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

void lull_file_finish(lua_State *L, struct file *f, int rc)
{
    f->L = L;
    finish(f, rc);
    f->L = NULL;
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
    int rc = lull_file_submit(f, e);
    if (rc < 0)
        sys_job_drop(&e->job);
    return rc;
}

static int begin_closing(struct file *f)
{
    return lull_file_ask(f, sys_file_close, 0);
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

void lull_file_advance(struct file *f)
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

void lull_file_send(lull_loop *loop, lull_waiter *w)
{
    (void)loop;
    struct file *f = container_of(w, struct file, sender);
    if (f->flags & FILE_FINISHED)
        return;
    lull_file_advance(f);
    lull_file_rouse(&f->lines[1]);
    lull_file_rouse(&f->lines[0]);
}

void lull_file_push(lua_State *L, struct file *f)
{
    if (f->head == NULL)
        return;
    lull_file_keep(L, f);
    lull_file_advance(f);
}

/* ---- coming back ----------------------------------------------------------------- */

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
        lull_file_advance(f);
    lull_file_rouse(&f->lines[0]);
}

void lull_file_settle(lua_State *L, struct file *f)
{
    uint32_t here = f->rt->loop ? lull_loop_serial(f->rt->loop) : 0;
    if (f->loop == here || (f->errand == NULL && !(f->flags & FILE_HELD)))
        return;
    f->L = L;
    if (f->errand) {
        sys_errand_now(f->errand);
        absorb(f);
    }
    if (!(f->flags & FILE_FINISHED))
        rest(f);
    f->L = NULL;
    lull_file_rouse(&f->lines[0]); /* of that other loop */
}

void lull_file_write_now(lua_State *L, struct file *f)
{
    f->L = L;
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
    f->L = NULL;
}

/* Threads for what would block the loop.

   A job goes loop -> queue -> thread -> post -> loop.  Everything that two threads look
   at is under the pool's one lock, the beginning of the post included: a loop that is
   about to be freed takes its jobs back under that lock (it is what `end` waits for), so
   nothing is posted to a loop that is gone.  Its wake-up is not: who is woken wants the
   lock at once.

   Nobody can be told to come back from getaddrinfo: a thread that is in the middle of a
   job when the pool ends is left to itself, and the last one out frees what is shared. */
#include "sys.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "list.h"
#include "nudge.h"
#include "post.h"

enum { PATIENCE = 10 }; /* seconds that a thread waits for the next job */

enum { RESTING, QUEUED, RUNNING, POSTED }; /* states of a job */

struct thread {
    lull_list link; /* in the pool's list of threads */
    pthread_t id;
    struct lane *lane;
    sys_keep *keep; /* or NULL */
    bool busy;
};

struct lane {
    struct sys_pool *pool;
    lull_list queue;
    pthread_cond_t more;
    unsigned queued, idle, threads, limit;
};

struct sys_pool {
    pthread_mutex_t lock;
    unsigned refs; /* its owner, its threads, the jobs that are not freed yet */
    bool closing;
    lull_list threads;
    lull_list orphans; /* jobs dropped and done whose loop was freed before it knew */
    struct lane lanes[SYS_LANES];
};

static const unsigned limits[SYS_LANES] = {
    [SYS_NAMES] = 8, [SYS_FILES] = 4, [SYS_WORK] = 4};

/* ---- life ------------------------------------------------------------------------ */

int sys_pool_new(struct sys_pool **out)
{
    struct sys_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return -ENOMEM;
    pool->refs = 1;
    list_init(&pool->threads);
    list_init(&pool->orphans);
    pthread_mutex_init(&pool->lock, NULL);
    for (int i = 0; i < SYS_LANES; i++) {
        pool->lanes[i].pool = pool;
        pool->lanes[i].limit = limits[i];
        list_init(&pool->lanes[i].queue);
        pthread_cond_init(&pool->lanes[i].more, NULL);
    }
    *out = pool;
    return 0;
}

/* Lets go of n references and of the lock. */
static void leave(struct sys_pool *pool, unsigned n)
{
    pool->refs -= n;
    bool last = pool->refs == 0;
    pthread_mutex_unlock(&pool->lock);
    if (!last)
        return;
    for (int i = 0; i < SYS_LANES; i++)
        pthread_cond_destroy(&pool->lanes[i].more);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

/* Joins the threads that have nothing to do, so that none of them is still on its way out
   when the process ends, and leaves the others to themselves. */
static void dismiss(struct sys_pool *pool)
{
    lull_list idle;
    list_init(&idle);
    pool->closing = true;
    for (int i = 0; i < SYS_LANES; i++)
        pthread_cond_broadcast(&pool->lanes[i].more);
    while (!list_empty(&pool->threads)) {
        struct thread *t = container_of(list_pop(&pool->threads), struct thread, link);
        if (t->busy)
            pthread_detach(t->id);
        else
            list_push(&idle, &t->link);
    }
    pthread_mutex_unlock(&pool->lock);
    while (!list_empty(&idle)) {
        struct thread *t = container_of(list_pop(&idle), struct thread, link);
        pthread_join(t->id, NULL);
        free(t);
    }
    pthread_mutex_lock(&pool->lock);
}

void sys_pool_free(struct sys_pool *pool)
{
    unsigned n = 1;
    pthread_mutex_lock(&pool->lock);
    dismiss(pool);
    for (; !list_empty(&pool->orphans); n++) {
        sys_job *job = container_of(list_pop(&pool->orphans), sys_job, link);
        job->free(job);
    }
    leave(pool, n);
}

/* ---- on a thread ----------------------------------------------------------------- */

static bool is_wanted(const struct lane *lane)
{
    return !lane->pool->closing && lane->threads <= lane->limit;
}

static void wait(struct lane *lane)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE;
    int rc = 0;
    while (list_empty(&lane->queue) && rc == 0 && is_wanted(lane))
        rc = pthread_cond_timedwait(&lane->more, &lane->pool->lock, &until);
}

/* Takes the next job, or waits for it; NULL: there was none for so long that the thread
   shall end.  One that is not wanted any more passes on the signal that may have woken
   it. */
static sys_job *take(struct thread *t)
{
    struct lane *lane = t->lane;
    if (list_empty(&lane->queue))
        wait(lane);
    lane->idle--;
    if (!list_empty(&lane->queue) && !is_wanted(lane))
        pthread_cond_signal(&lane->more);
    if (list_empty(&lane->queue) || !is_wanted(lane))
        return NULL;
    lane->queued--;
    return container_of(list_pop(&lane->queue), sys_job, link);
}

/* Drops it, or returns the loop that is to be told, to which its message was posted. */
static lull_loop *finish(struct sys_pool *pool, sys_job *job)
{
    lull_loop *loop = job->loop;
    if (job->dropped) {
        pthread_mutex_unlock(&pool->lock);
        job->free(job);
        pthread_mutex_lock(&pool->lock);
        pool->refs--; /* not the last: this thread has one */
        return NULL;
    }
    job->state = loop ? POSTED : RESTING;
    if (loop)
        lull_post_begin(loop, &job->message);
    return loop;
}

/* What need not be waited for by who gets the lock, or the result of the job.  Counts as
   idle meanwhile: it is about to look for the next one. */
static void settle(struct thread *t, struct sys_pool *pool, lull_loop *told)
{
    if (told == NULL && t->keep == NULL)
        return;
    pthread_mutex_unlock(&pool->lock);
    if (told)
        lull_post_end(told);
    if (t->keep)
        t->keep->tidy(t->keep);
    pthread_mutex_lock(&pool->lock);
}

/* An idle thread at the end of the pool is joined by who ends it; any other is its own. */
static void finish_thread(struct thread *t, struct sys_pool *pool)
{
    bool joined = pool->closing && !t->busy;
    if (!pool->closing) {
        pthread_detach(t->id);
        list_remove(&t->link);
    }
    t->lane->threads--;
    leave(pool, 1);
    if (t->keep)
        t->keep->free(t->keep);
    if (!joined)
        free(t);
}

static void *run_thread(void *arg)
{
    struct thread *t = arg;
    struct sys_pool *pool = t->lane->pool;
    pthread_mutex_lock(&pool->lock);
    t->lane->idle++;
    for (sys_job *job; (job = take(t)) != NULL;) {
        job->state = RUNNING;
        job->thread = t->id;
        job->keep = &t->keep;
        t->busy = true;
        pthread_mutex_unlock(&pool->lock);
        job->work(job);
        pthread_mutex_lock(&pool->lock);
        lull_loop *told = finish(pool, job);
        if (!pool->closing)
            t->busy = false;
        t->lane->idle++;
        settle(t, pool, told);
    }
    finish_thread(t, pool);
    return NULL;
}

/* Under the lock, which the thread takes first: it finds its id written. */
static int start(struct lane *lane)
{
    struct thread *t = calloc(1, sizeof *t);
    if (t == NULL)
        return -ENOMEM;
    t->lane = lane;
    int rc = sys_thread_start(&t->id, run_thread, t);
    if (rc != 0) {
        free(t);
        return rc;
    }
    list_push(&lane->pool->threads, &t->link);
    lane->threads++;
    lane->pool->refs++;
    return 0;
}

/* ---- on the loop's thread -------------------------------------------------------- */

/* The loop need not wait for job any more. */
static void detach(sys_job *job)
{
    lull_forget(&job->end);
    if (job->loop)
        lull_loop_unref(job->loop);
    job->loop = NULL;
}

static void withdraw(sys_job *job)
{
    list_remove(&job->link);
    job->pool->lanes[job->lane].queued--;
}

/* What the message of a finished job runs. */
static void arrive(lull_loop *loop, lull_waiter *w)
{
    (void)loop;
    sys_job *job = container_of(w, sys_job, message.waiter);
    struct sys_pool *pool = job->pool;
    pthread_mutex_lock(&pool->lock);
    detach(job);
    job->state = RESTING;
    pthread_mutex_unlock(&pool->lock);
    if (job->dropped)
        sys_job_drop(job);
    else
        job->done(job);
}

/* The loop is about to be freed.  The message of a posted job is still linked there: even
   if it was dropped already, its memory has to stay until the loop is gone. */
static void loop_ends(lull_loop *loop, lull_waiter *w)
{
    (void)loop;
    sys_job *job = container_of(w, sys_job, end);
    struct sys_pool *pool = job->pool;
    pthread_mutex_lock(&pool->lock);
    if (job->state == QUEUED)
        withdraw(job);
    if (job->state == POSTED && job->dropped)
        list_push(&pool->orphans, &job->link);
    if (job->state != RUNNING)
        job->state = RESTING;
    detach(job);
    pthread_mutex_unlock(&pool->lock);
}

int sys_pool_submit(struct sys_pool *pool, lull_loop *loop, enum sys_lane which,
                    sys_job *job)
{
    struct lane *lane = &pool->lanes[which];
    lull_waiter_init(&job->message.waiter, arrive);
    lull_waiter_init(&job->end, loop_ends);
    int rc = 0;
    pthread_mutex_lock(&pool->lock);
    if (lane->queued >= lane->idle && lane->threads < lane->limit)
        rc = start(lane);
    if (rc == 0 || lane->threads > 0) {
        job->pool = pool;
        job->loop = loop;
        job->lane = (uint8_t)which;
        job->state = QUEUED;
        pool->refs++;
        lane->queued++;
        list_push(&lane->queue, &job->link);
        lull_loop_end(loop, &job->end);
        lull_loop_ref(loop);
        rc = 0;
    }
    pthread_mutex_unlock(&pool->lock);
    if (rc == 0) /* not before: who is woken wants the lock */
        pthread_cond_signal(&lane->more);
    return rc;
}

void sys_job_nudge(sys_job *job)
{
    if (job->pool == NULL)
        return;
    pthread_mutex_lock(&job->pool->lock);
    if (job->state == RUNNING)
        sys_nudge(job->thread);
    pthread_mutex_unlock(&job->pool->lock);
}

int sys_pool_limit(struct sys_pool *pool, enum sys_lane which, unsigned n)
{
    if (n == 0)
        return -EINVAL;
    struct lane *lane = &pool->lanes[which];
    pthread_mutex_lock(&pool->lock);
    lane->limit = n;
    for (unsigned i = 0; i < lane->queued && lane->threads < n; i++)
        if (start(lane) < 0)
            break;
    pthread_cond_broadcast(&lane->more); /* those too many go */
    pthread_mutex_unlock(&pool->lock);
    return 0;
}

void sys_job_drop(sys_job *job)
{
    struct sys_pool *pool = job->pool;
    if (pool == NULL) { /* it was never submitted */
        job->free(job);
        return;
    }
    pthread_mutex_lock(&pool->lock);
    job->dropped = true;
    if (job->state == QUEUED)
        withdraw(job);
    if (job->state != POSTED)
        detach(job);
    else if (job->loop) { /* its message comes, and then here again: worth no waiting */
        lull_loop_unref(job->loop);
        job->loop = NULL;
    }
    bool idle = job->state == QUEUED || job->state == RESTING;
    leave(pool, idle);
    if (idle)
        job->free(job);
}

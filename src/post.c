/* The one door from other threads and from signals.

   What is posted goes on a stack that needs no lock: senders push with a compare and
   swap, the loop takes all with one exchange and turns the order round.  A descriptor
   that the selector watches gets the loop out of its sleep.  `awake` says that this
   descriptor has been written to and not been read yet, so a burst of posts costs one
   write.  It is cleared before the stack is taken: a sender who found it set has pushed
   before that, and its message is among those taken.

   Pushing, exchanging and writing are all that happens here on a foreign thread, and all
   three may happen in a signal handler. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include "loop.h"
#include "post.h"

#ifdef __linux__
#include <sys/eventfd.h>

static int open_pair(int *reader, int *writer)
{
    *reader = *writer = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return *reader < 0 ? -errno : 0;
}
#else
static int open_pair(int *reader, int *writer)
{
    int fd[2];
    if (pipe(fd) < 0)
        return -errno;
    for (int i = 0; i < 2; i++) {
        fcntl(fd[i], F_SETFD, FD_CLOEXEC);
        fcntl(fd[i], F_SETFL, O_NONBLOCK);
    }
    *reader = fd[0];
    *writer = fd[1];
    return 0;
}
#endif

static void close_pair(lull_loop *loop)
{
    close(loop->wake_read);
    if (loop->wake_write != loop->wake_read)
        close(loop->wake_write);
}

int lull_post_open(lull_loop *loop)
{
    int rc = open_pair(&loop->wake_read, &loop->wake_write);
    if (rc < 0)
        return rc;
    loop->wake = (lull_watch){.fd = loop->wake_read};
    rc = loop->backend->arm(loop->selector, &loop->wake, LULL_READ);
    if (rc < 0)
        close_pair(loop);
    return rc;
}

/* Takes everything that was posted, oldest first. */
static lull_message *take(lull_loop *loop)
{
    lull_message *m = atomic_load(&loop->posted), *oldest = NULL;
    if (m == NULL) /* most looks find nothing: only read then */
        return NULL;
    unsigned n = 0;
    for (m = atomic_exchange(&loop->posted, NULL); m != NULL; n++) {
        lull_message *next = m->next;
        m->next = oldest;
        oldest = m;
        m = next;
    }
    atomic_fetch_sub(&loop->waiting, n);
    return oldest;
}

void lull_post_close(lull_loop *loop)
{
    while (atomic_load(&loop->posters) > 0) /* for as long as a write takes */
        sched_yield();
    for (lull_message *m = take(loop); m != NULL; m = m->next)
        lull_forget(&m->waiter);
    loop->backend->arm(loop->selector, &loop->wake, 0);
    close_pair(loop);
}

/* It has been counted before: the count is never less than what is there. */
static void push(lull_loop *loop, lull_message *m)
{
    lull_wait(&m->waiter);
    m->next = atomic_load(&loop->posted);
    while (!atomic_compare_exchange_weak(&loop->posted, &m->next, m))
        ;
}

void lull_post(lull_loop *loop, lull_message *m)
{
    atomic_fetch_add(&loop->waiting, 1);
    push(loop, m);
    lull_wakeup(loop);
}

void lull_post_begin(lull_loop *loop, lull_message *m)
{
    atomic_fetch_add(&loop->posters, 1);
    atomic_fetch_add(&loop->waiting, 1);
    push(loop, m);
}

void lull_post_end(lull_loop *loop)
{
    lull_wakeup(loop);
    atomic_fetch_sub(&loop->posters, 1);
}

int lull_try_post(lull_loop *loop, lull_message *m, unsigned limit)
{
    if (atomic_fetch_add(&loop->waiting, 1) >= limit) {
        atomic_fetch_sub(&loop->waiting, 1);
        return -EAGAIN;
    }
    push(loop, m);
    lull_wakeup(loop);
    return 0;
}

void lull_wakeup(lull_loop *loop)
{
    if (atomic_exchange(&loop->awake, true))
        return;
    int saved = errno;
    uint64_t one = 1;
    while (write(loop->wake_write, &one, sizeof one) < 0 && errno == EINTR)
        ;
    errno = saved;
}

static void drain(lull_loop *loop)
{
    uint64_t number;
    while (read(loop->wake_read, &number, sizeof number) < 0 && errno == EINTR)
        ;
    atomic_store(&loop->awake, false);
}

void lull_take_posts(lull_loop *loop)
{
    lull_post_collect(loop, false);
}

void lull_post_collect(lull_loop *loop, bool readable)
{
    if (readable)
        drain(loop);
    for (lull_message *m = take(loop), *next; m != NULL; m = next) {
        next = m->next;
        lull_wake(loop, &m->waiter, 0);
    }
}

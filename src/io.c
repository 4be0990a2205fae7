/* Waiting for a descriptor: who waits, and when the kernel is told.

   A descriptor is registered when somebody first waits for it and stays so: in the
   steady state of a conversation no interest is renewed.  Only an event that nobody
   waited for disarms it, else a level-triggered kernel would report it for ever.
   Disarming to nothing takes the descriptor out of the kernel's set, for hang-up and
   error are reported whatever the mask.

   Drained sockets are not read twice: a receive that came back short has emptied the
   socket, so the next one parks without asking.  With level-triggered interest nothing
   can be missed by this; what came meanwhile is reported by the next look. */
#include <errno.h>

#include "loop.h"

void lull_io_init(lull_io *io, int fd)
{
    *io = (lull_io){.watch = {.fd = fd}};
    list_init(&io->link);
    list_init(&io->readers);
    list_init(&io->writers);
}

/* Tells the backend; a descriptor that it cannot poll is always ready from then on. */
static int arm(lull_loop *loop, lull_io *io, unsigned events)
{
    int rc = loop->backend->arm(loop->selector, &io->watch, events);
    if (rc == -EPERM) {
        io->watch.flags |= LULL_WATCH_ALWAYS;
        rc = 0;
    }
    return rc;
}

static int join(lull_loop *loop, lull_io *io)
{
    if (io->loop == loop)
        return 0;
    if (io->loop != NULL)
        return -EXDEV;
    io->loop = loop;
    list_push(&loop->ios, &io->link);
    return 0;
}

int lull_io_wait(lull_loop *loop, lull_io *io, unsigned event, lull_waiter *w)
{
    int rc = join(loop, io);
    if (rc == 0 && !(io->watch.armed & event) && !(io->watch.flags & LULL_WATCH_ALWAYS))
        rc = arm(loop, io, io->watch.armed | event);
    if (rc < 0)
        return rc;
    if (event == LULL_READ)
        io->watch.flags |= LULL_WATCH_WANTED;
    lull_wait(w);
    if (io->watch.flags & LULL_WATCH_ALWAYS) {
        io->watch.flags &= (uint8_t)~LULL_WATCH_DRAINED; /* no event would do it */
        lull_wake(loop, w, 0);
    } else
        list_push(event == LULL_READ ? &io->readers : &io->writers, &w->link);
    return 0;
}

void lull_io_ready(lull_loop *loop, lull_io *io, unsigned events)
{
    unsigned unwanted = 0;
    if (events & LULL_READ) {
        io->watch.flags &= (uint8_t)~(LULL_WATCH_DRAINED | LULL_WATCH_WANTED);
        if (list_empty(&io->readers) && !(io->watch.flags & LULL_WATCH_KEPT))
            unwanted |= LULL_READ;
        lull_wake_all(loop, &io->readers, 0);
    }
    if (events & LULL_WRITE) {
        if (list_empty(&io->writers))
            unwanted |= LULL_WRITE;
        lull_wake_all(loop, &io->writers, 0);
    }
    if (io->watch.armed & unwanted)
        arm(loop, io, io->watch.armed & ~unwanted);
}

/* Looks from the front, where the last search ended well, so that a server with many
   connections answers at once. */
bool lull_io_awaited(lull_loop *loop)
{
    for (lull_list *l = loop->ios.next; l != &loop->ios; l = l->next) {
        lull_io *io = container_of(l, lull_io, link);
        if (list_empty(&io->readers) && list_empty(&io->writers))
            continue;
        list_remove(&loop->ios);
        list_push(l, &loop->ios); /* the ring begins here now */
        return true;
    }
    return false;
}

void lull_io_retry(lull_io *io)
{
    io->watch.flags &= (uint8_t)~LULL_WATCH_DRAINED;
}

void lull_io_own(lull_io *io)
{
    io->watch.flags |= LULL_WATCH_AHEAD;
}

void lull_io_share(lull_io *io)
{
    io->watch.flags |= LULL_WATCH_SHARED;
}

void lull_io_close(lull_io *io)
{
    lull_loop *loop = io->loop;
    if (loop == NULL)
        return;
    if (io->watch.armed || (io->watch.flags & LULL_WATCH_KEPT))
        loop->backend->arm(loop->selector, &io->watch, 0);
    list_remove(&io->link);
    lull_wake_all(loop, &io->readers, -ECANCELED);
    lull_wake_all(loop, &io->writers, -ECANCELED);
    io->loop = NULL;
}

int lull_io_recv(lull_loop *loop, lull_io *io, void *data, size_t size)
{
    if (io->watch.flags & LULL_WATCH_DRAINED)
        return -EAGAIN;
    int n = loop->backend->recv(loop->selector, &io->watch, data, size);
    if (n == -EAGAIN || (n > 0 && (size_t)n < size))
        io->watch.flags |= LULL_WATCH_DRAINED;
    return n;
}

int lull_io_splice(lull_loop *loop, lull_io *io, unsigned event, int pipe, size_t size)
{
    if (loop->backend->splice == NULL)
        return -EINVAL;
    if (event == LULL_READ && (io->watch.flags & LULL_WATCH_DRAINED))
        return -EAGAIN;
    int n = loop->backend->splice(loop->selector, &io->watch, event, pipe, size);
    if (n == -EAGAIN && event == LULL_READ)
        io->watch.flags |= LULL_WATCH_DRAINED;
    return n;
}

int lull_io_send(lull_loop *loop, lull_io *io, const void *data, size_t size)
{
    return loop->backend->send(loop->selector, &io->watch, data, size);
}

int lull_io_accept(lull_loop *loop, lull_io *io, void *addr, unsigned *len)
{
    return loop->backend->accept(loop->selector, &io->watch, addr, len);
}

int lull_io_connect(lull_loop *loop, lull_io *io, const void *addr, unsigned len)
{
    return loop->backend->connect(loop->selector, &io->watch, addr, len);
}

/* The floor of the thread rows: one thread asks, another answers.  call: as a pool and a
   loop do it, by a lock and a condition there, and by an eventfd in an epoll back;
   message: an eventfd each way.
   threads call|message N      prints row=... ns=... cpu_ns=... */
#include "bench.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more = PTHREAD_COND_INITIALIZER;
static int asked, there, back;

static void raise_fd(int fd)
{
    uint64_t one = 1;
    if (write(fd, &one, sizeof one) != sizeof one)
        die("write");
}

static void lower_fd(int fd)
{
    uint64_t count;
    if (read(fd, &count, sizeof count) != sizeof count)
        die("read");
}

static void *answer_calls(void *ud)
{
    (void)ud;
    for (;;) {
        pthread_mutex_lock(&lock);
        while (!asked)
            pthread_cond_wait(&more, &lock);
        asked = 0;
        pthread_mutex_unlock(&lock);
        raise_fd(back);
    }
    return NULL;
}

static void *answer_messages(void *ud)
{
    (void)ud;
    for (;;) {
        lower_fd(there);
        raise_fd(back);
    }
    return NULL;
}

static void ask(int call)
{
    if (!call) {
        raise_fd(there);
        return;
    }
    pthread_mutex_lock(&lock);
    asked = 1;
    pthread_cond_signal(&more);
    pthread_mutex_unlock(&lock);
}

int main(int argc, char **argv)
{
    int call = argc == 3 && strcmp(argv[1], "call") == 0;
    long n = argc == 3 ? atol(argv[2]) : 0;
    if (n <= 0 || (!call && strcmp(argv[1], "message") != 0)) {
        fprintf(stderr, "usage: threads call|message N\n");
        return 2;
    }
    pthread_t thread;
    struct epoll_event e = {.events = EPOLLIN};
    int epfd = epoll_create1(EPOLL_CLOEXEC);
    there = eventfd(0, EFD_CLOEXEC);
    back = eventfd(0, EFD_CLOEXEC);
    if (epfd < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, back, &e) < 0
        || pthread_create(&thread, NULL, call ? answer_calls : answer_messages, NULL) != 0)
        die("start");
    int64_t wall = wall_ns(), cpu = cpu_ns();
    for (long i = 0; i < n; i++) {
        ask(call);
        while (epoll_wait(epfd, &e, 1, -1) < 1)
            ;
        lower_fd(back);
    }
    printf("row=%s ns=%.3f cpu_ns=%.3f\n", argv[1], (double)(wall_ns() - wall) / (double)n,
           (double)(cpu_ns() - cpu) / (double)n);
    return 0;
}

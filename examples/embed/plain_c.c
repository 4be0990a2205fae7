/* The loop without Lua: a timer, a descriptor, a post from another thread and a future, as
   any event library has them.  Each is waited for by a waiter inside of what is ours. */
#include <lull.h>

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static int pipe_ends[2];
static lull_future word;

/* ---- a moment -------------------------------------------------------------------- */

static lull_waiter ticker;
static lull_timer timer;
static int ticks;

static void tick(lull_loop *loop, lull_waiter *w)
{
    printf("tick %d\n", ++ticks);
    if (ticks == 3) {
        lull_future_settle(loop, &word, 1);
        return;
    }
    lull_wait(w);
    lull_timer_start(loop, &timer, lull_now(loop) + 10 * 1000000, 0);
}

/* ---- a descriptor ---------------------------------------------------------------- */

static lull_waiter reader;
static lull_io io;

static void readable(lull_loop *loop, lull_waiter *w)
{
    char text[64];
    ssize_t n = read(pipe_ends[0], text, sizeof text);
    if (n > 0)
        printf("the pipe says: %.*s\n", (int)n, text);
    lull_io_close(&io); /* before close(2), always */
    (void)loop, (void)w;
}

/* ---- another thread -------------------------------------------------------------- */

static lull_message message;

static void posted(lull_loop *loop, lull_waiter *w)
{
    (void)loop, (void)w;
    printf("the other thread has posted\n");
    if (write(pipe_ends[1], "hello", 5) < 0)
        perror("write");
}

static void *work(void *loop)
{
    lull_post(loop, &message);
    return NULL;
}

/* ---- someone's word -------------------------------------------------------------- */

static lull_waiter listener;

static void settled(lull_loop *loop, lull_waiter *w)
{
    (void)w;
    printf("the word is given\n");
    lull_loop_stop(loop);
}

int main(void)
{
    lull_loop *loop;
    pthread_t thread;
    int rc = lull_loop_new(&loop, NULL);
    if (rc < 0 || pipe(pipe_ends) < 0)
        return 1;

    lull_waiter_init(&ticker, tick);
    lull_timer_init(&timer, &ticker);
    lull_wait(&ticker);
    lull_timer_start(loop, &timer, lull_now(loop) + 10 * 1000000, 0);

    lull_waiter_init(&reader, readable);
    lull_io_init(&io, pipe_ends[0]);
    lull_io_wait(loop, &io, LULL_READ, &reader);

    lull_waiter_init(&listener, settled);
    lull_future_init(&word);
    lull_future_wait(loop, &word, &listener);

    lull_waiter_init(&message.waiter, posted);
    pthread_create(&thread, NULL, work, loop);

    rc = lull_loop_run_forever(loop);
    pthread_join(thread, NULL);
    lull_loop_free(loop);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    return rc < 0;
}

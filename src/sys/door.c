/* A door for letters from other threads, which may come when nobody is at home any more.
   It outlives the loop behind it: whoever may still send something holds a reference.

   While the door is open a letter is a message posted to the loop.  When it closes, those
   under way are handed out late, by whoever closes it, and later ones by their sender. */
#include "apart.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "list.h"

struct sys_door {
    pthread_mutex_t lock;
    lull_loop *loop; /* NULL: closed */
    lull_list letters;
    unsigned refs, count;
};

int sys_door_open(struct sys_door **out, lull_loop *loop)
{
    struct sys_door *door = calloc(1, sizeof *door);
    if (door == NULL)
        return -ENOMEM;
    pthread_mutex_init(&door->lock, NULL);
    list_init(&door->letters);
    door->loop = loop;
    door->refs = 1;
    *out = door;
    return 0;
}

struct sys_door *sys_door_hold(struct sys_door *door)
{
    pthread_mutex_lock(&door->lock);
    door->refs++;
    pthread_mutex_unlock(&door->lock);
    return door;
}

void sys_door_release(struct sys_door *door)
{
    pthread_mutex_lock(&door->lock);
    bool last = --door->refs == 0;
    pthread_mutex_unlock(&door->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&door->lock);
    free(door);
}

/* What the message of a letter runs. */
static void deliver(lull_loop *loop, lull_waiter *w)
{
    (void)loop;
    sys_letter *letter = container_of(w, sys_letter, message.waiter);
    struct sys_door *door = letter->door;
    pthread_mutex_lock(&door->lock);
    list_remove(&letter->link);
    door->count--;
    pthread_mutex_unlock(&door->lock);
    letter->arrive(letter, false);
}

int sys_door_send(struct sys_door *door, sys_letter *letter, unsigned limit)
{
    int rc = 0;
    pthread_mutex_lock(&door->lock);
    bool late = door->loop == NULL;
    if (!late && limit > 0 && door->count >= limit)
        rc = -EAGAIN;
    else if (!late) {
        letter->door = door;
        lull_waiter_init(&letter->message.waiter, deliver);
        list_push(&door->letters, &letter->link);
        door->count++;
        lull_post(door->loop, &letter->message);
    }
    pthread_mutex_unlock(&door->lock);
    if (late)
        letter->arrive(letter, true);
    return rc;
}

void sys_door_close(struct sys_door *door)
{
    lull_list late;
    list_init(&late);
    pthread_mutex_lock(&door->lock);
    if (door->loop != NULL)
        lull_take_posts(door->loop);
    door->loop = NULL;
    list_move(&late, &door->letters);
    door->count = 0;
    pthread_mutex_unlock(&door->lock);
    while (!list_empty(&late)) {
        sys_letter *letter = container_of(list_pop(&late), sys_letter, link);
        lull_forget(&letter->message.waiter);
        letter->arrive(letter, true);
    }
}

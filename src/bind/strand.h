/* A strand: a thread of its own, and the two queues between it and its owner. */
#ifndef LULL_STRAND_H
#define LULL_STRAND_H

#include "task.h"
#include "worker.h"

enum side { OUTSIDE, INSIDE }; /* the owner's loop; the thread */

/* What waits on one side, on one loop: the tasks, and the message that wakes them. */
struct bell {
    lull_message message;
    lull_waiter end;    /* of the loop */
    lull_loop *loop;    /* NULL: free for the next loop of this side */
    struct strand *strand;
    enum side side;
    lull_list receivers, senders, joiners; /* tasks: of this side's thread alone */
    lull_list *graves;
    bool rung;          /* the message is on its way */
    bool waited;        /* somebody wants to hear it */
    bool ref;           /* holds a reference to the loop */
    bool leaving;       /* the owner is gone: off the loop when the message has come */
    lull_list link;     /* in the list of its side */
    lull_list grave;    /* in the runtime's, when its loop was freed too early */
};

/* All below the lock, except where it says otherwise. */
struct strand {
    pthread_mutex_t lock;
    unsigned refs;        /* the Thread object, the thread, each message under way */
    struct end {
        lull_list inbox;  /* parcels for this side */
        unsigned count;
        size_t bytes;
        bool finished;    /* this side says nothing more */
        lull_list bells;
    } ends[2];
    pthread_cond_t changed; /* for who blocks: the thread, and who joins it */
    bool blocked;         /* the thread blocks until its owner does something */
    bool changes;         /* `changed` is to be told, when the lock is let go of */
    unsigned posts;       /* and these loops, to which a message was posted */
    lull_loop *posted[2];
    bool over;            /* the thread has come to its end */
    bool left;            /* its owner is gone, or waits for it no more */
    pthread_t thread;     /* its owner's */
    struct worker worker; /* the thread's, and after its end the owner's */
};

struct strand *lull_strand_new(void); /* one reference; NULL: no memory */
void lull_strand_unref(struct strand *s);
void lull_strand_leave(struct strand *s); /* by its owner, who has joined it: unref */

/* The bell of a side for a loop, which runs on the calling thread; NULL: no memory.
    graves is a list that lives longer than the loop: see lull_bury. */
struct bell *lull_bell(struct strand *s, enum side side, lull_loop *loop,
                       lull_list *graves);
/* Lets go of the bells whose loop was freed while their message was under way to it. */
void lull_bury(lull_list *graves);

/* Sends p to the other side, or takes the next parcel; -EAGAIN: wait (b, if given,
   will be rung); -EPIPE: the other side is gone, or has sent its last. */
int lull_strand_put(struct strand *s, enum side side, struct parcel *p, struct bell *b);
int lull_strand_get(struct strand *s, enum side side, struct parcel **p, struct bell *b);
void lull_strand_return(struct strand *s, enum side side, struct parcel *p); /* in front */

/* The same for a thread that blocks; -EINTR: it shall stop. */
int lull_strand_block_put(struct strand *s, struct parcel *p);
int lull_strand_block_get(struct strand *s, struct parcel **p);

void lull_strand_finish(struct strand *s, enum side side); /* says nothing more */
bool lull_strand_over(struct strand *s, struct bell *b); /* else b will be rung */
void lull_strand_ended(struct strand *s); /* the thread's last word */
void lull_strand_stop(struct strand *s);  /* interrupts it, from its owner's thread */
/* Waits, blocking, until it is over, at most so long; else leaves it.  Returns
   whether. */
bool lull_strand_join(struct strand *s, int64_t ns);

/* Wakes who can go on, on the bell's own thread, which the wakes of others may call
   for. */
void lull_bell_stir(struct bell *b);

#endif

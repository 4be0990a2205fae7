/* What happens apart from the loop's thread, for who embeds lull: letters from other
   threads (door.c), a thread that waits in somebody's place (vigil.c), and a signal for
   one who takes too long (alarm.c). */
#ifndef LULL_SYS_APART_H
#define LULL_SYS_APART_H

#include "lull.h"

int64_t sys_now(void); /* the monotonic clock */

/* Letters from any thread to who lives on a loop, also when that has moved out. */
typedef struct sys_letter {
    /* On the loop's thread; late: the door is closed, and the thread any. */
    void (*arrive)(struct sys_letter *letter, bool late);
    /* private */
    lull_message message;
    lull_list link;
    struct sys_door *door;
} sys_letter;

struct sys_door;
int sys_door_open(struct sys_door **out, lull_loop *loop); /* -ENOMEM */
void sys_door_close(struct sys_door *door); /* on the loop's thread, before the loop ends */
struct sys_door *sys_door_hold(struct sys_door *door);
void sys_door_release(struct sys_door *door); /* sys_door_open gave the first reference */
/* From any thread.  -EAGAIN: limit letters (if that is not 0) are under way. */
int sys_door_send(struct sys_door *door, sys_letter *letter, unsigned limit);

/* A thread that polls in somebody's place.  wake is called on it, at most once for each
   sys_vigil_arm, when fd is readable or so many ns are over. */
struct sys_vigil;
int sys_vigil_start(struct sys_vigil **out, int fd, void (*wake)(void *ud), void *ud);
void sys_vigil_arm(struct sys_vigil *v, int64_t ns);
void sys_vigil_disarm(struct sys_vigil *v);
void sys_vigil_stop(struct sys_vigil *v); /* waits for a wake that is under way */

/* A signal (0: SIGURG) that has fn called on the thread that set the alarm, when so many
   ns are over and again every so many, until it is set to 0.  fn runs in the handler and
   is the same for all alarms.  -ENOSYS: this system cannot. */
struct sys_alarm;
int sys_alarm_new(struct sys_alarm **out, int number, void (*fn)(void));
int sys_alarm_set(struct sys_alarm *a, int64_t first, int64_t again);
void sys_alarm_free(struct sys_alarm *a);

#endif

/* Guest mode: a thread waits for the runtime where the host's loop cannot, and wakes the
   host.  It is disarmed while a step runs and armed when that is over, so it calls once
   for each step and never into one. */
#include "host.h"

#include "apart.h"
#include "loop.h"

int lull_guest_start(lull *l, void (*wake)(void *ud), void *ud)
{
    int fd = lull_descriptor(l);
    if (fd < 0)
        return fd;
    if (l->guest != NULL)
        return -EALREADY;
    int rc = sys_vigil_start(&l->guest, fd, wake, ud);
    if (rc == 0 && !l->driving)
        lull_guest_arm(l);
    return rc;
}

void lull_guest_stop(lull *l)
{
    if (l->guest != NULL) {
        lull_loop_doze(l->loop, false);
        sys_vigil_stop(l->guest);
    }
    l->guest = NULL;
}

void lull_guest_arm(lull *l)
{
    if (l->guest == NULL)
        return;
    sys_vigil_arm(l->guest, lull_next_wake(l));
    lull_loop_doze(l->loop, true);
}

void lull_guest_disarm(lull *l)
{
    if (l->guest == NULL)
        return;
    lull_loop_doze(l->loop, false);
    sys_vigil_disarm(l->guest);
}

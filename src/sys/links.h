/* The sockets of one c-ares channel on the loop: what dns.c asks of links.c. */
#ifndef LULL_LINKS_H
#define LULL_LINKS_H

#include "cares.h"
#include "list.h"
#include "sys.h"

struct sys_links {
    lull_loop *loop;
    ares_channel channel;
    lull_list all;
    void (*moved)(struct sys_links *links); /* c-ares has gone on, and has returned */
    int rc;                                 /* why a descriptor could not be had, or 0 */
    bool sent;                              /* something was sent */
};

void sys_links_init(struct sys_links *links, lull_loop *loop,
                    void (*moved)(struct sys_links *links));

/* Has the channel take its sockets from here, all of which are closed when it is
   destroyed.  The second is its socket state callback, with links as its data. */
void sys_links_serve(struct sys_links *links, ares_channel channel);
void sys_links_interest(void *links, ares_socket_t fd, int reads, int writes);

/* Waits for what c-ares wants to know.  -errno: a descriptor cannot be waited for. */
int sys_links_await(struct sys_links *links);

#endif

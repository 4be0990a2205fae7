/* c-ares, loaded when a name server is first asked (library.h). */
#ifndef LULL_CARES_H
#define LULL_CARES_H

#define CARES_NO_DEPRECATED /* what 1.18 has, later versions still have */
#include <ares.h>

#include "library.h"

#ifdef LULL_LOAD_CARES

#define SYS_CARES(X) \
    X(ares_cancel) X(ares_destroy) X(ares_free_data) X(ares_freeaddrinfo) \
    X(ares_get_servers_ports) X(ares_getaddrinfo) X(ares_init_options) \
    X(ares_process_fd) X(ares_set_servers_ports) X(ares_set_socket_functions)

extern struct sys_cares {
    SYS_CARES(LULL_LIBRARY_ENTRY)
} sys_cares;

#define ares_cancel sys_cares.ares_cancel
#define ares_destroy sys_cares.ares_destroy
#define ares_free_data sys_cares.ares_free_data
#define ares_freeaddrinfo sys_cares.ares_freeaddrinfo
#define ares_get_servers_ports sys_cares.ares_get_servers_ports
#define ares_getaddrinfo sys_cares.ares_getaddrinfo
#define ares_init_options sys_cares.ares_init_options
#define ares_process_fd sys_cares.ares_process_fd
#define ares_set_servers_ports sys_cares.ares_set_servers_ports
#define ares_set_socket_functions sys_cares.ares_set_socket_functions

#endif
#endif

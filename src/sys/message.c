/* Messages: bytes with what comes along, that is who sent them, whether they are all, and
   descriptors passed over Unix sockets.  Whatever the sender passes, no descriptor is
   left open that the receiver has not asked for. */
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>

/* Room for as many descriptors as one message can carry, so that none is lost sight of. */
union control {
    struct cmsghdr aligned;
    char bytes[CMSG_SPACE(SYS_RIGHTS * sizeof(int))];
};

/* ---- receiving ------------------------------------------------------------------- */

static void take(struct sys_message *m, const struct cmsghdr *part)
{
    unsigned n = (unsigned)((part->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    for (unsigned i = 0; i < n; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
        if (m->count < m->room) {
            m->fds[m->count++] = fd;
        } else {
            m->cut = true;
            sys_close(fd);
        }
    }
}

int sys_recvmsg(int fd, struct sys_message *m)
{
    union control control;
    struct iovec bytes = {m->data, m->size < INT_MAX ? m->size : INT_MAX};
    struct msghdr h = {.msg_iov = &bytes,
                       .msg_iovlen = 1,
                       .msg_name = m->address ? m->address->bytes : NULL,
                       .msg_namelen = m->address ? SYS_ADDRESS : 0,
                       .msg_control = m->fds ? control.bytes : NULL,
                       .msg_controllen = m->fds ? sizeof control.bytes : 0};
    ssize_t n;
    do
        n = recvmsg(fd, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    m->count = 0;
    m->cut = h.msg_flags & (MSG_TRUNC | (m->fds ? MSG_CTRUNC : 0));
    if (m->address)
        m->address->size = h.msg_namelen;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); m->fds && c; c = CMSG_NXTHDR(&h, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
            take(m, c);
    return (int)n;
}

/* ---- sending --------------------------------------------------------------------- */

int sys_sendmsg(int fd, const struct sys_message *m)
{
    union control control = {.bytes = {0}};
    struct iovec bytes = {m->data, m->size < INT_MAX ? m->size : INT_MAX};
    struct msghdr h = {.msg_iov = &bytes, .msg_iovlen = 1};
    size_t size = m->count * sizeof(int);
    if (m->count > SYS_RIGHTS)
        return -EINVAL;
    if (m->address) {
        h.msg_name = m->address->bytes;
        h.msg_namelen = m->address->size;
    }
    if (m->count > 0) {
        h.msg_control = control.bytes;
        h.msg_controllen = CMSG_SPACE(size);
        control.aligned.cmsg_level = SOL_SOCKET;
        control.aligned.cmsg_type = SCM_RIGHTS;
        control.aligned.cmsg_len = CMSG_LEN(size);
        memcpy(CMSG_DATA(&control.aligned), m->fds, size);
    }
    ssize_t n;
    do
        n = sendmsg(fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : (int)n;
}

/* ---- taking over ----------------------------------------------------------------- */

static int ask(int fd, int name)
{
    int value = 0;
    socklen_t size = sizeof value;
    return getsockopt(fd, SOL_SOCKET, name, &value, &size) < 0 ? -errno : value;
}

int sys_adopt(int fd, enum sys_role *role, enum sys_family *family)
{
    struct sys_address a;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    int type = ask(fd, SO_TYPE);
    *role = type < 0                     ? SYS_UNKNOWN
            : ask(fd, SO_ACCEPTCONN) > 0 ? SYS_LISTENING
            : type == SOCK_STREAM        ? SYS_CONNECTION
                                         : SYS_PACKETS;
    *family = sys_local(fd, &a) == 0 ? sys_family(&a) : SYS_ANY;
    return 0;
}

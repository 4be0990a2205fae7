/* Libraries that are loaded when they are first needed.  Most programs speak no TLS, ask
   no name server and edit no line; linked to libraries for that, each would spend more
   time in the dynamic linker, and more memory, than on everything else that it does until
   its first line runs.

   A header for such a library (openssl.h, cares.h) puts its functions into a table, in
   which their names stand for the entries from then on: code that includes it calls them
   as ever, once lull_library_load has said 0.  Without LULL_LOAD_... the linker knows the
   library, and the header is that library's own. */
#ifndef LULL_LIBRARY_H
#define LULL_LIBRARY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct lull_library {
    const char *file;         /* as the dynamic linker knows it */
    const char *const *names; /* of functions; NULL ends them */
    void *table;              /* of pointers to those functions, in their order */
    atomic_bool loaded;
};

/* Loads it unless it is there already.  -ENOSYS: it is not to be had, -EMFILE or -ENFILE:
   nor is a descriptor to look for it; why (size bytes, or NULL) says what the dynamic
   linker says.  From any thread; may be tried again.  It stays until the process ends. */
int lull_library_load(struct lull_library *library, char *why, size_t size);

/* For X macros: the member of a table, and the name of a function. */
#define LULL_LIBRARY_ENTRY(name) __typeof__(name) *name;
#define LULL_LIBRARY_NAME(name) #name,

#endif

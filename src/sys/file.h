/* What the files among the rooms of the system (file, path, watch) tell one another. */
#ifndef LULL_FILE_H
#define LULL_FILE_H

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>

#include "errand.h"

struct sys_file {
    pthread_mutex_t lock; /* held by whoever does an errand to it */
    atomic_int refs;
    int fd;
    DIR *dir; /* that is being listed; it owns the descriptor then */
};

enum sys_kind sys_kind_of(unsigned mode); /* of st_mode */

#endif

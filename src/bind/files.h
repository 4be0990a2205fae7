/* What the rooms of files (life, reading, writing) tell one another.

   A File does one errand at a time on the pool, and operations of several tasks take
   turns in the order of their calls.  What a thread reads or writes belongs to the File
   and not to the call that waits for it: a call that is cancelled leaves, and what has
   been read by then is found by the next one, what was to be written is written.

   pos is where the first byte of `in` (what was read ahead) stands in the file, or the
   first byte of what waits to be written; there is never something in both.  What has no
   positions (a pipe, a terminal) is not the pool's: it is waited for on the loop. */
#ifndef LULL_FILES_H
#define LULL_FILES_H

#include <errno.h>

#include "bind.h"
#include "buffer.h"
#include "errand.h"
#include "sys.h"
#include "task.h"

enum {
    FILE_OPEN = 1,  /* by the script: not closed yet */
    FILE_READS = 2,
    FILE_WRITES = 4,
    FILE_APPENDS = 8,
    FILE_PIPE = 16,  /* has no positions */
    FILE_HELD = 32,  /* kept alive while it writes */
    FILE_DIRTY = 64, /* was written to: closing it may fail */
    FILE_FINISHED = 128, /* the descriptor is closed */
    FILE_LINES = 256     /* written out at the end of a line */
};

/* Bytes to be written: in a block of malloc, or in a string held under our address. */
struct piece {
    struct piece *next;
    char *block;
    const char *string;
    size_t from, size, capacity; /* capacity: of the block */
};

struct file {
    struct runtime *rt;
    lua_State *L; /* to release things with, where no loop runs; else NULL */
    unsigned flags;
    int in_error;  /* how the last reading went; for who waits for it */
    int out_error; /* that has come, for every later call that writes */
    bool told;     /* somebody has been told of it */
    int answer;    /* what came of any other errand */
    int64_t answered;
    struct sys_file *shared;
    struct sys_pool *pool;
    struct sys_errand *errand; /* that is being done */
    uint32_t loop;             /* the serial number of its loop */
    bool ended;                /* reading has come to the end */
    int64_t pos;
    int64_t lent; /* where the descriptor was left for others, or -1 */
    struct buffer in;
    size_t ahead;   /* how much to read ahead: more when all of it is used */
    struct piece *head, *tail;
    struct piece *staged; /* what a write is about to take */
    size_t queued, sending;
    size_t size;           /* so much waits before it is written */
    lull_list lines[2];    /* turns: of all; of those who write to a pipe */
    lull_list closers;     /* tasks that wait for the end */
    lull_io io;            /* of a pipe */
    lull_waiter sender;
};

/* Place 2 of the Lua stack of an operation: its Turn, once it has had to wait. */
enum { FILE_SELF = 1, FILE_TURN, FILE_FIRST };

/* The File at i; the second raises when it is closed. */
struct file *lull_checkfile(lua_State *L, int i);
struct file *lull_openfile(lua_State *L, int i);

/* Pushes a File that is closed; and gives it its descriptor, which cannot fail. */
struct file *lull_newfile(lua_State *L, int path);
void lull_file_open(struct file *f, unsigned flags, const struct sys_errand *e);

/* Notes the File on top of the stack as one to be written when the program ends. */
void lull_file_note(lua_State *L);

/* Others who were given the descriptor may have moved it, a child that has written: where
   nothing was done here since, the File goes on behind them.  Not within an operation. */
void lull_file_follow(struct file *f);

/* nil, message, code with the path. */
int lull_file_fail(lua_State *L, int rc);

/* ---- fileturns.c: whose turn it is ----------------------------------------------- */

/* Makes place 2 and enters: for the beginning of every operation. */
int lull_file_enter(lua_State *L, struct file *f, lua_KFunction k);

/* Is it the turn of the calling operation, and no errand in its way?  1, 0, -ECANCELED.
   Who only adds to what is written need not wait for the writing. */
int lull_file_ready(lua_State *L, struct file *f, bool adds);

/* Suspends until it may be, then k.  pipe: until the pipe can be read. */
int lull_file_await(lua_State *L, struct file *f, bool adds, lua_KFunction k);
int lull_file_await_pipe(lua_State *L, struct file *f, lua_KFunction k);

/* Lets the first in line look whether it can go on; or all of them. */
void lull_file_rouse(lull_list *line);
void lull_file_rouse_all(struct file *f);

/* There is no File any more. */
void lull_file_disband(struct file *f);

/* ---- filework.c: what is done ---------------------------------------------------- */

/* Begins an errand: 0 or -errno. */
int lull_file_submit(struct file *f, struct sys_errand *e);
/* The same for an act that needs no more than an offset. */
int lull_file_ask(struct file *f, int (*act)(struct sys_errand *), int64_t offset);

/* Begins to write what is queued, and goes on with it until nothing is. */
void lull_file_push(lua_State *L, struct file *f);

/* Keeps the File, at place 1, and the loop until it is at rest again; does what is to be
   done next, as long as there is something. */
void lull_file_keep(lua_State *L, struct file *f);
void lull_file_advance(struct file *f);

/* The run of a pipe's sender. */
void lull_file_send(lull_loop *loop, lull_waiter *w);

/* An errand whose loop has ended, or is not the one that runs, is done here and now. */
void lull_file_settle(lua_State *L, struct file *f);

/* Writes on the spot; a pipe that takes no more loses the rest. */
void lull_file_write_now(lua_State *L, struct file *f);

/* The descriptor is closed, or will be by the last thread that is busy with it. */
void lull_file_finish(lua_State *L, struct file *f, int rc);

/* Forgets what was read ahead; or these pieces. */
void lull_file_forget(struct file *f);
void lull_file_drop(lua_State *L, struct piece *p);

/* ---- fslib.c: paths -------------------------------------------------------------- */

/* What a call has on its stack: path, another path or a number, Errand, what it opens. */
enum { FS_PATH = 1, FS_OTHER, FS_ERRAND, FS_OBJECT };

enum fs_second { FS_NOTHING, FS_SECOND_PATH, FS_NUMBER };

/* What a function does that has this as its upvalue 2. */
struct fs_operation {
    const char *name;
    int (*act)(struct sys_errand *e);
    enum fs_second second;
    int (*push)(lua_State *L, struct sys_errand *e);
    struct sys_file *(*open)(lua_State *L); /* pushes what it works on, held; or NULL */
};

int lull_fs_call(lua_State *L);

/* directorylib.c: for scandir */
struct sys_file *lull_directory_new(lua_State *L);
int lull_directory_push(lua_State *L, struct sys_errand *e);

extern const char *const lull_file_kinds[]; /* their names */

/* ---- opening: classes and functions, for the table on top --------------- */

void lull_open_file(lua_State *L);
void lull_open_turn(lua_State *L);
void lull_open_directory(lua_State *L);
void lull_open_watcher(lua_State *L);

extern const luaL_Reg lull_file_reading[], lull_file_writing[];

#endif

/* What the rooms of the lull program ask of one another: setup.c prepares the process,
   state.c makes the Lua state, collector.c has its garbage collected, options.c reads the
   command line, main.c runs its chunks, interrupt.c is Ctrl-C, exit.c os.exit, prompt.c
   and editline.c the terminal that lua/lull/repl.lua talks to. */
#ifndef LULL_PROGRAM_H
#define LULL_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>

#include "bind.h"

/* ---- main.c ---------------------------------------------------------------------- */

/* Writes the error at 1 with its traceback (2: a string or nil) to stderr, as lua does.
   The prompt's errors bear no program name. */
int lull_complain(lua_State *L);

/* ---- options.c ------------------------------------------------------------------- */

/* What the command line asks for.  -e, -l and -W are looked at once more, in their order,
   when they are carried out. */
struct command_line {
    int argc;
    char **argv;
    int script; /* place of the script in argv, or argc */
    bool interactive, version, help, execute, noenv;
    bool plain, virtual_clock;
    const char *selector;
    double spin; /* seconds */
};

enum lull_order { LULL_RUN, LULL_HELP, LULL_BAD };

/* Reads it.  LULL_HELP and LULL_BAD: all is said and nothing left to do. */
enum lull_order lull_read_command_line(struct command_line *cl, int argc, char **argv);

/* ---- state.c --------------------------------------------------------------------- */

/* What luaL_newstate makes, with an allocator of ours; how many bytes it has taken; and
   its end. */
lua_State *lull_state_new(void);
size_t lull_state_size(void);
void lull_state_close(lua_State *L);

/* ---- setup.c --------------------------------------------------------------------- */

/* Standard files that are open, memory that stays, broken pipes that are errors. */
void lull_setup_process(void);

/* As many descriptors as there may be. */
void lull_setup_limits(lua_State *L);

/* ---- collector.c ----------------------------------------------------------------- */

/* From now on garbage is collected as it suits a program in tasks, or as lua does. */
void lull_collector_open(lua_State *L, bool in_tasks);

/* To be called in the main task: the size of memory is looked at from now on. */
void lull_collector_watch(lua_State *L);

/* To be called before the loop is gone. */
void lull_collector_close(void);

/* ---- interrupt.c ----------------------------------------------------------------- */

/* From now on Ctrl-C does what the function on top of the stack (popped) does, which is
   called on the loop, with true where computing code has been interrupted meanwhile.
   To be called in the main task. */
void lull_interrupt_open(lua_State *L);

/* From now on Ctrl-C is lua's: an error in what runs in L; the second one kills. */
void lull_interrupt_plain(lua_State *L);

/* At a prompt Ctrl-C ends the line only: it calls the function on top (popped). */
void lull_interrupt_prompt(lua_State *L);

/* A line is being typed, or runs: under --plain Ctrl-C kills, or is an error. */
void lull_interrupt_typing(bool typing);

/* The prompt is left: Ctrl-C ends the program at once. */
void lull_interrupt_leave(void);

/* From now on Ctrl-C kills.  Returns whether one has ended the script. */
bool lull_interrupt_close(void);

/* ---- exit.c ---------------------------------------------------------------------- */

/* Sends what lull.stdout and lull.stderr have not sent yet. */
void lull_finish_output(lua_State *L);

/* Makes os.exit(code, true) close the variables of the main task, which runs in L. */
void lull_exit_open(lua_State *L);

/* ---- prompt.c -------------------------------------------------------------------- */

/* Will lines be typed at a terminal? */
bool lull_prompt_tty(void);

/* Pushes the table of functions that the prompt works with. */
void lull_prompt_open(lua_State *L);

/* To be called before the loop is gone. */
void lull_prompt_close(void);

/* ---- editline.c ------------------------------------------------------------------ */

enum lull_typed { LULL_UNFINISHED, LULL_LINE, LULL_END };

/* A way of getting a line typed.  begin shows the prompt, which stays valid until end;
   feed takes what has come and, for LULL_LINE, gives out the line, valid until the next
   call; hide and show take the unfinished line off the screen and put it back; redraw
   shows it in a terminal that has changed. */
struct lull_typist {
    void (*begin)(const char *prompt);
    enum lull_typed (*feed)(const char **line, size_t *size);
    void (*end)(void);
    void (*hide)(void);
    void (*show)(void);
    void (*redraw)(void);
    void (*remember)(const char *line);
};

/* prompt.c: what the Tab key adds to this text, or NULL.  Valid until the next call. */
const char *lull_prompt_complete(const char *text, size_t size);

/* editline.c: the one that edits lines, or NULL: no libedit, or a terminal that
   cannot. */
const struct lull_typist *lull_editline_open(void);

#endif

/* The terminal as lua/lull/repl.lua sees it: a table of functions that get one line
   typed, byte by byte, so that other tasks run meanwhile.  Lines come from the editor
   where there is one, else as they are from standard input. */
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct lull_typist *typist;
static bool prompting;     /* a line is being typed */
static const char *shown;  /* its prompt */
static lua_State *feeding; /* in prompt_feed: who called it */
static lull_loop *loop;
static lull_message changed;         /* the terminal has */
static volatile sig_atomic_t posted; /* that message, and not heard yet */

bool lull_prompt_tty(void)
{
    return isatty(STDIN_FILENO);
}

/* ---- lines as they come ---------------------------------------------------------- */

/* One byte at a time is read: what follows the line belongs to whom the line runs. */
static struct {
    char *text;
    size_t size, capacity;
} line;

static void plain_begin(const char *prompt)
{
    shown = prompt;
    line.size = 0;
    fputs(prompt, stdout);
    fflush(stdout);
}

static bool grow(void)
{
    size_t capacity = line.capacity ? 2 * line.capacity : 256;
    char *text = realloc(line.text, capacity);
    if (text == NULL)
        return false;
    line.text = text;
    line.capacity = capacity;
    return true;
}

static enum lull_typed plain_feed(const char **text, size_t *size)
{
    char c = '\n';
    ssize_t n = read(STDIN_FILENO, &c, 1);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return LULL_UNFINISHED;
    if (n <= 0 && line.size == 0)
        return LULL_END;
    if (c != '\n') {
        if (line.size == line.capacity && !grow())
            return LULL_END;
        line.text[line.size++] = c;
        return LULL_UNFINISHED;
    }
    *text = line.text ? line.text : "";
    *size = line.size;
    return LULL_LINE;
}

static void plain_end(void)
{
}

static void plain_hide(void)
{
    if (lull_prompt_tty())
        fputs("\n", stdout);
}

static void plain_show(void)
{
    if (lull_prompt_tty())
        fputs(shown, stdout);
    fflush(stdout);
}

static void plain_redraw(void)
{
}

static void plain_remember(const char *text)
{
    (void)text;
}

static const struct lull_typist plain = {plain_begin,   plain_feed, plain_end,
                                         plain_hide,    plain_show, plain_redraw,
                                         plain_remember};

/* ---- a terminal that changes ------------------------------------------------------ */

static void on_change(int number)
{
    (void)number;
    if (!posted) {
        posted = 1;
        lull_post(loop, &changed);
    }
}

static void redraw(lull_loop *l, lull_waiter *w)
{
    (void)l, (void)w;
    posted = 0;
    if (prompting)
        typist->redraw();
}

/* Another size; or in the foreground again, after Ctrl-Z. */
static void watch_changes(lull_loop *l)
{
    struct sigaction action = {.sa_handler = on_change, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    loop = l;
    lull_waiter_init(&changed.waiter, redraw);
    sigaction(SIGWINCH, &action, NULL);
    sigaction(SIGCONT, &action, NULL);
}

void lull_prompt_close(void)
{
    if (loop) {
        signal(SIGWINCH, SIG_DFL);
        signal(SIGCONT, SIG_DFL);
    }
}

/* ---- the functions --------------------------------------------------------------- */

/* Is there something to read?  wait: until there is. */
static bool ready(bool wait)
{
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    int n;
    do
        n = poll(&p, 1, wait ? -1 : 0);
    while (n < 0 && errno == EINTR && wait);
    return n > 0;
}

static void end(void)
{
    if (prompting)
        typist->end();
    prompting = false;
    lull_interrupt_typing(false);
}

/* begin (prompt): a line can be typed. */
static int prompt_begin(lua_State *L)
{
    const char *prompt = luaL_checkstring(L, 1);
    lua_settop(L, 1);
    lua_setfield(L, lua_upvalueindex(1), "text"); /* keeps the string alive */
    lull_interrupt_typing(true);
    prompting = true;
    typist->begin(prompt);
    return 0;
}

const char *lull_prompt_complete(const char *text, size_t size)
{
    lua_State *L = feeding;
    lua_settop(L, 1); /* the last one's string may go */
    lua_getfield(L, lua_upvalueindex(1), "complete");
    lua_pushlstring(L, text, size);
    bool well = lua_pcall(L, 1, 1, 0) == LUA_OK; /* no error may pass the editor */
    return well ? lua_tostring(L, -1) : NULL;
}

/* feed (wait) -> line | nil: not yet | false: the end.  Takes what was typed. */
static int prompt_feed(lua_State *L)
{
    bool wait = lua_toboolean(L, 1);
    feeding = L;
    while (ready(wait)) {
        const char *text;
        size_t size;
        enum lull_typed typed = typist->feed(&text, &size);
        if (typed == LULL_UNFINISHED)
            continue;
        if (typed == LULL_LINE)
            lua_pushlstring(L, text, size);
        else
            lua_pushboolean(L, false);
        end();
        return 1;
    }
    return 0;
}

/* drop (): what was typed so far is forgotten. */
static int prompt_drop(lua_State *L)
{
    (void)L;
    end();
    fputs("\n", stdout);
    fflush(stdout);
    return 0;
}

/* hide () and show (): around what is written while a line is being typed. */
static int prompt_hide(lua_State *L)
{
    (void)L;
    if (prompting)
        typist->hide();
    fflush(stdout);
    return 0;
}

static int prompt_show(lua_State *L)
{
    (void)L;
    if (prompting)
        typist->show();
    return 0;
}

/* remember (line): it can be called back with the arrow keys. */
static int prompt_remember(lua_State *L)
{
    typist->remember(luaL_checkstring(L, 1));
    return 0;
}

/* on_interrupt (fn): what Ctrl-C does from now on. */
static int prompt_on_interrupt(lua_State *L)
{
    lua_settop(L, 1);
    lull_interrupt_prompt(L);
    return 0;
}

/* leave (): no line comes after this one. */
static int prompt_leave(lua_State *L)
{
    (void)L;
    lull_interrupt_leave();
    return 0;
}

static const luaL_Reg functions[] = {{"begin", prompt_begin},
                                     {"feed", prompt_feed},
                                     {"drop", prompt_drop},
                                     {"hide", prompt_hide},
                                     {"show", prompt_show},
                                     {"remember", prompt_remember},
                                     {"on_interrupt", prompt_on_interrupt},
                                     {"leave", prompt_leave},
                                     {"complain", lull_complain},
                                     {NULL, NULL}};

void lull_prompt_open(lua_State *L)
{
    bool tty = lull_prompt_tty() && isatty(STDOUT_FILENO);
    typist = tty ? lull_editline_open() : NULL;
    if (typist == NULL)
        typist = &plain;
    struct runtime *rt = lull_pushruntime(L);
    lua_pop(L, 1);
    if (tty && rt->loop)
        watch_changes(rt->loop);
    luaL_newlibtable(L, functions);
    lua_pushvalue(L, -1);
    luaL_setfuncs(L, functions, 1);
    lua_pushboolean(L, tty);
    lua_setfield(L, -2, "tty");
    /* A descriptor of its own for the loop to watch: a script may use the other. */
    lua_pushinteger(L, fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
    lua_setfield(L, -2, "fd");
}

/* The lull program: reads the command line as lua does, runs every chunk that it names in
   the main task of a loop (--plain: outside of any), and turns how that ended into
   messages and an exit code.  Knows the loop only by what a script could call. */
#include "program/program.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INTERRUPTED "interrupted!" /* as lua has it */

static struct command_line cl;
static bool loading;   /* an error now is one of loading a chunk: it needs no traceback */
static bool prompting; /* messages come from the prompt: they need no program name */

/* Global arg: the script at 0, what stands before it below, its arguments above. */
static void set_arg(lua_State *L)
{
    int script = cl.script < cl.argc ? cl.script : 0;
    lua_createtable(L, cl.argc - script, script + 1);
    for (int i = 0; i < cl.argc; i++) {
        lua_pushstring(L, cl.argv[i]);
        lua_rawseti(L, -2, i - script);
    }
    lua_setglobal(L, "arg");
}

/* ---- messages -------------------------------------------------------------------- */

static void say(const char *message)
{
    fprintf(stderr, prompting ? "%s\n" : "lull: %s\n", message);
    fflush(stderr);
}

/* The message of the error at 1, pushed. */
static const char *error_text(lua_State *L)
{
    if (!lua_isstring(L, 1) && luaL_getmetafield(L, 1, "__tostring") == LUA_TNIL)
        return lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
    return luaL_tolstring(L, 1, NULL);
}

int lull_complain(lua_State *L)
{
    lua_settop(L, 2);
    const char *text = error_text(L);
    if (lua_isstring(L, 2))
        text = lua_pushfstring(L, "%s\n%s", text, lua_tostring(L, 2));
    say(text);
    return 0;
}

static bool drop_suffix(const char *text, size_t *size, const char *suffix, size_t keep)
{
    size_t n = strlen(suffix);
    if (*size < n || memcmp(text + *size - n, suffix, n) != 0)
        return false;
    *size -= n - keep;
    return true;
}

/* Pushes the traceback kept for the error on top of the stack, or nil.  Of the functions
   below the chunk, all of them ours, one is enough. */
static void push_traceback(lua_State *L)
{
    static const char run[] = "\n[awaited at]: stack traceback:\n\t[C]: in ?";
    static const char frame[] = "\n\t[C]: in ?", twice[] = "\n\t[C]: in ?\n\t[C]: in ?";
    lull_pushtraceback(L, -1);
    if (lua_isnil(L, -1))
        return;
    size_t size;
    const char *text = lua_tolstring(L, -1, &size);
    while (drop_suffix(text, &size, twice, sizeof frame - 1) ||
           drop_suffix(text, &size, run, 0))
        ;
    lua_pushlstring(L, text, size);
    lua_replace(L, -2);
}

/* The error on top of the stack, popped, with the traceback that was kept for it. */
static void complain(lua_State *L)
{
    if (lua_type(L, -1) == LUA_TSTRING && /* a number has to stay one */
        strcmp(lua_tostring(L, -1), "ECANCELED: " INTERRUPTED) == 0) {
        say(INTERRUPTED);
        lua_pop(L, 1);
        return;
    }
    lua_pushcfunction(L, lull_complain);
    lua_insert(L, -2);
    if (loading)
        lua_pushnil(L);
    else
        push_traceback(L);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
        lua_pushfstring(L, "(error in the error's __tostring: %s)", lua_tostring(L, -1));
        say(lua_tostring(L, -1));
        lua_pop(L, 2);
    }
}

static void print_version(void)
{
    printf("lull " LULL_VERSION ", " LUA_COPYRIGHT "\n");
    fflush(stdout);
}

/* ---- the chunks ------------------------------------------------------------------ */

/* Each push function leaves a function with its arguments on the stack and returns their
   number, or NOTHING. */
enum { NOTHING = -1 };

static int loaded(lua_State *L, int status)
{
    if (status != LUA_OK)
        lua_error(L);
    loading = false;
    return 0;
}

static int push_string(lua_State *L, const char *code, const char *name)
{
    loading = true;
    return loaded(L, luaL_loadbuffer(L, code, strlen(code), name));
}

static int push_file(lua_State *L, const char *file)
{
    loading = true;
    return loaded(L, luaL_loadfile(L, file));
}

static int push_init(lua_State *L)
{
    const char *name = "=LUA_INIT" LUA_VERSUFFIX;
    const char *init = getenv(name + 1);
    if (init == NULL) {
        name = "=LUA_INIT";
        init = getenv(name + 1);
    }
    if (init == NULL || cl.noenv)
        return NOTHING;
    return init[0] == '@' ? push_file(L, init + 1) : push_string(L, init, name);
}

/* The value of the option -e or -l at place i. */
static const char *value(int i)
{
    const char *arg = cl.argv[i];
    return arg[2] != '\0' ? arg + 2 : cl.argv[i + 1];
}

/* "g=mod" is the module mod in the global g, "mod" the same name for both. */
static const char *module_name(const char *library)
{
    const char *equals = strchr(library, '=');
    return equals ? equals + 1 : library;
}

static int push_option(lua_State *L, int i)
{
    const char *arg = cl.argv[i];
    if (arg[0] != '-' || arg[1] == '-')
        return NOTHING; /* a value; a long option */
    if (arg[1] == 'W')
        lua_warning(L, "@on", 0);
    if (arg[1] == 'e')
        return push_string(L, value(i), "=(command line)");
    if (arg[1] != 'l')
        return NOTHING;
    lua_getglobal(L, "require");
    lua_pushstring(L, module_name(value(i)));
    return 1;
}

/* What require returned for the option -l at place i goes into its global. */
static void set_library(lua_State *L, int i)
{
    const char *name = value(i), *equals = strchr(name, '=');
    lua_pushlstring(L, name, equals ? (size_t)(equals - name) : strlen(name));
    lua_insert(L, -2);
    lua_setglobal(L, lua_tostring(L, -2));
}

static int push_arguments(lua_State *L)
{
    if (lua_getglobal(L, "arg") != LUA_TTABLE) {
        loading = true;
        luaL_error(L, "'arg' is not a table");
    }
    int n = (int)luaL_len(L, -1), table = lua_gettop(L);
    luaL_checkstack(L, n + 3, "too many arguments to script");
    for (int i = 1; i <= n; i++)
        lua_rawgeti(L, table, i);
    lua_remove(L, table);
    return n;
}

static bool prompts(void)
{
    return cl.interactive ||
           (cl.script == cl.argc && !cl.execute && !cl.version && lull_prompt_tty());
}

static int push_script(lua_State *L)
{
    if (cl.script < cl.argc) {
        const char *file = cl.argv[cl.script];
        bool dashes = strcmp(cl.argv[cl.script - 1], "--") == 0;
        push_file(L, strcmp(file, "-") == 0 && !dashes ? NULL : file);
        return push_arguments(L);
    }
    if (cl.execute || cl.version || prompts())
        return NOTHING;
    return push_file(L, NULL);
}

static int push_prompt(lua_State *L)
{
    if (!prompts())
        return NOTHING;
    if (!cl.version)
        print_version();
    prompting = true;
    lua_getglobal(L, "require");
    lua_pushliteral(L, "lull.repl");
    lua_call(L, 1, 1);
    lull_prompt_open(L);
    return 1;
}

static int push_chunk(lua_State *L, int i)
{
    if (i == 0)
        return push_init(L);
    if (i < cl.script)
        return push_option(L, i);
    return i == cl.script ? push_script(L) : push_prompt(L);
}

/* Goes on where the chunk at place i, from -1 on, has returned.  A chunk may suspend;
   then its return ends here as well. */
static int run_chunks(lua_State *L, int status, lua_KContext i)
{
    (void)status;
    while (i <= cl.script) {
        if (i > 0 && i < cl.script && strncmp(cl.argv[i], "-l", 2) == 0)
            set_library(L, (int)i);
        lua_settop(L, 0);
        int nargs = push_chunk(L, (int)++i);
        if (nargs != NOTHING)
            lua_callk(L, nargs, 1, i, run_chunks);
    }
    return 0;
}

/* ---- running --------------------------------------------------------------------- */

/* Calls a method of the object at i with the nargs values on top of the stack. */
static void call_method(lua_State *L, int i, const char *name, int nargs, int nresults)
{
    i = lua_absindex(L, i);
    lua_getfield(L, i, name);
    lua_pushvalue(L, i);
    lua_rotate(L, -2 - nargs, 2);
    lua_call(L, nargs + 1, nresults);
}

/* What Ctrl-C does: cancels the main task (upvalue 1) or, when that has ended, all others
   that lull (upvalue 2) knows of. */
static int cancel_tasks(lua_State *L)
{
    lua_pushliteral(L, INTERRUPTED);
    call_method(L, lua_upvalueindex(1), "cancel", 1, 1);
    if (lua_toboolean(L, -1))
        return 0;
    lua_getfield(L, lua_upvalueindex(2), "tasks");
    lua_call(L, 0, 1);
    for (lua_Integer i = 1; lua_geti(L, -1, i) != LUA_TNIL; i++) {
        lua_pushliteral(L, INTERRUPTED);
        call_method(L, -2, "cancel", 1, 0);
        lua_pop(L, 1);
    }
    return 0;
}

/* main (lull): the body of the main task. */
static int main_task(lua_State *L)
{
    lua_getfield(L, 1, "current");
    lua_call(L, 0, 1);
    lua_insert(L, 1);
    lua_pushcclosure(L, cancel_tasks, 2);
    lull_collector_watch(L);
    lull_interrupt_open(L);
    lull_exit_open(L);
    return run_chunks(L, LUA_OK, -1);
}

static int plain_main(lua_State *L)
{
    lull_interrupt_plain(L);
    return run_chunks(L, LUA_OK, -1);
}

/* run (lull): a loop as the options want it, and the main task on it. */
static int run_in_loop(lua_State *L)
{
    lua_getfield(L, 1, "new_loop");
    lua_createtable(L, 0, 3);
    lua_pushstring(L, cl.selector);
    lua_setfield(L, -2, "selector");
    lua_pushstring(L, cl.virtual_clock ? "virtual" : NULL);
    lua_setfield(L, -2, "clock");
    lua_pushnumber(L, cl.spin);
    lua_setfield(L, -2, "spin");
    loading = true;
    lua_call(L, 1, 1);
    loading = false;
    lua_pushcfunction(L, main_task);
    lua_pushvalue(L, 1);
    call_method(L, 2, "run", 2, 0);
    return 0; /* the state closes the loop, after the last signal */
}

static bool failures(lua_State *L)
{
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "lull.core");
    lua_getfield(L, -1, "failures");
    lua_call(L, 0, 1);
    return lua_tointeger(L, -1) > 0;
}

/* Runs everything.  Returns whether all went well. */
static int protected_main(lua_State *L)
{
    luaL_checkversion(L);
    lua_pushboolean(L, cl.noenv);
    lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
    lua_gc(L, LUA_GCSTOP); /* there is no garbage yet */
    luaL_openlibs(L);
    luaL_requiref(L, "lull", luaopen_lull, 1);
    set_arg(L);
    lull_collector_open(L, !cl.plain);
    lua_gc(L, LUA_GCRESTART);
    lull_setup_limits(L);
    if (prompts())
        setvbuf(stdin, NULL, _IONBF, 0); /* io.read and the prompt share what is typed */
    lua_pushcfunction(L, lull_handler);
    lua_pushcfunction(L, cl.plain ? plain_main : run_in_loop);
    lua_pushvalue(L, 1);
    int status = lua_pcall(L, 1, 0, cl.plain ? -3 : 0); /* tasks have a handler */
    bool interrupted = lull_interrupt_close();
    lull_collector_close();
    lull_prompt_close();
    lull_finish_output(L);
    if (status != LUA_OK)
        complain(L);
    bool failed = status != LUA_OK || (failures(L) && !prompting);
    int code = failed ? EXIT_FAILURE : EXIT_SUCCESS;
    lua_pushinteger(L, interrupted ? 128 + SIGINT : code);
    return 1;
}

int main(int argc, char **argv)
{
    lull_setup_process();
    switch (lull_read_command_line(&cl, argc, argv)) {
    case LULL_BAD:
        return EXIT_FAILURE;
    case LULL_HELP:
        return EXIT_SUCCESS;
    case LULL_RUN:
        break;
    }
    if (cl.version)
        print_version();
    lua_State *L = lull_state_new();
    if (L == NULL)
        return say("cannot create state: not enough memory"), EXIT_FAILURE;
    lua_pushcfunction(L, protected_main);
    int status = lua_pcall(L, 0, 1, 0);
    if (status != LUA_OK)
        say(luaL_tolstring(L, -1, NULL));
    int code = status == LUA_OK ? (int)lua_tointeger(L, -1) : EXIT_FAILURE;
    lull_state_close(L);
    return code;
}

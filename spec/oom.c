/* Memory that runs out at every point of a script.  Each scenario of oom/scenarios.lua is
   run with an allocator that refuses the n-th request, n = 1, 2, 3 ... until it passes
   untouched, in three ways: once (Lua collects garbage and asks again), twice in a row,
   and for a long time.  Each time in a process of its own, so that a crash has a number:
   the scenario passes or fails for want of memory and nothing else, the same scenario
   passes in the same state when there is memory again, no descriptor is left open, and
   when the state has been closed not a byte is left.
     oom [scenario [n [once | twice | long]]]      one of them, with what it says */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <lull.h>

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PASSED, UNTOUCHED, WRONG, PATIENCE = 20, DESCRIPTORS = 256 };

static const struct {
    const char *name;
    unsigned long length;       /* how many requests in a row are refused */
} ways[] = {{"once", 1}, {"twice", 2}, {"long", 40}};

static struct {
    size_t bytes;
    unsigned long count, first, length;
} memory;

/* An allocator as Lua wants it.  Growth is counted, and refused where it is the turn. */
static void *allocate(void *ud, void *ptr, size_t osize, size_t nsize)
{
    (void)ud;
    size_t old = ptr ? osize : 0;
    if (nsize > old && memory.first > 0 && ++memory.count >= memory.first &&
        memory.count - memory.first < memory.length)
        return NULL;
    void *p = NULL;
    if (nsize == 0)
        free(ptr);
    else if ((p = realloc(ptr, nsize)) == NULL)
        return NULL;
    memory.bytes += nsize - old;
    return p;
}

static bool is_memory(const char *text)
{
    return text && (strstr(text, "not enough memory") || strstr(text, "ENOMEM"));
}

static int complain(const char *what, const char *why)
{
    fprintf(stderr, "%s%s%s\n", what, why ? ": " : "", why ? why : "");
    return WRONG;
}

static unsigned open_descriptors(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < DESCRIPTORS; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* ---- the scenarios --------------------------------------------------------------- */

static int setup(lua_State *L)
{
    /* the name of the file comes as a pointer: it must not need memory out here */
    luaL_openlibs(L);
    luaL_Buffer b; /* Lua does not survive it if its metatable cannot be made */
    luaL_buffinitsize(L, &b, 2 * LUAL_BUFFERSIZE);
    luaL_pushresultsize(&b, 0);
    luaL_requiref(L, "lull", luaopen_lull, 0);
    lua_settop(L, 1);
    if (luaL_loadfile(L, lua_touserdata(L, 1)) != LUA_OK)
        return lua_error(L);
    lua_call(L, 0, 2);
    return 2;
}

/* Calls the function at 1 with the name of a scenario: true, or false and why. */
static int play(lua_State *L, const char *name, const char **why)
{
    lua_settop(L, 2);
    lua_pushvalue(L, 1);
    lua_pushstring(L, name);
    int status = lua_pcall(L, 1, 2, 0);
    *why = NULL;
    if (status == LUA_OK) {
        *why = lua_tostring(L, -1);
        return lua_toboolean(L, -2);
    }
    if (!is_memory(lua_tostring(L, -1)))
        *why = lua_isstring(L, -1) ? lua_tostring(L, -1) : luaL_typename(L, -1);
    return false;
}

/* Runs a scenario twice, with trouble at the n-th request and then without. */
static int scenario(lua_State *L, const char *name, unsigned long n, unsigned long length)
{
    const char *why;
    unsigned before = open_descriptors();
    memory.count = 0;
    memory.length = length;
    memory.first = n;
    bool ok = play(L, name, &why);
    bool touched = memory.count >= n;
    memory.first = 0;
    if (!ok && (why || !touched))
        return complain("not the want of memory", why);
    if (touched && !play(L, name, &why))
        return complain("does not pass afterwards", why);
    lua_close(L);
    if (memory.bytes != 0)
        return complain("memory is left", NULL);
    if (open_descriptors() > before)
        return complain("descriptors are left open", NULL);
    return touched ? PASSED : UNTOUCHED;
}

/* Opens the libraries with trouble, in a state of its own. */
static int opening(const char *file, unsigned long n, unsigned long length)
{
    memory.bytes = 0;
    lua_State *L = lua_newstate(allocate, NULL);
    memory.count = 0;
    memory.length = length;
    memory.first = n;
    bool touched;
    if (L == NULL)
        return complain("no state", NULL);
    if (lua_checkstack(L, 20)) {
        lua_pushcfunction(L, setup);
        lua_pushlightuserdata(L, (void *)file);
        if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
            const char *text = lua_tostring(L, -1);
            if (!is_memory(text))
                return complain("not the want of memory", text);
        }
    }
    touched = memory.count >= n;
    memory.first = 0;
    lua_close(L);
    return memory.bytes ? complain("memory is left", NULL) : touched ? PASSED : UNTOUCHED;
}

/* ---- one process for each -------------------------------------------------------- */

static int in_child(lua_State *L, const char *file, const char *name, unsigned long n,
                    unsigned long length)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(PATIENCE);
        exit(strcmp(name, "opening") == 0 ? opening(file, n, length)
                                          : scenario(L, name, n, length));
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return complain("no process", NULL);
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    return complain("ended by signal", strsignal(WTERMSIG(status)));
}

static unsigned long total, wrong;

/* One scenario in one way, at every point; where that takes long at some of them, not the
   same in each way: opening, which is mostly Lua's compiler, and with sanitizers. */
static void sweep(lua_State *L, const char *file, const char *name, int way)
{
#ifdef __SANITIZE_ADDRESS__
    unsigned long step = 3;
#else
    unsigned long step = 1;
#endif
    if (strcmp(name, "opening") == 0)
        step *= 17;
    for (unsigned long n = 1 + (unsigned)way % step;; n += step, total++) {
        int rc = in_child(L, file, name, n, ways[way].length);
        if (rc == UNTOUCHED)
            return;
        if (rc == PASSED)
            continue;
        fprintf(stderr, "  oom %s %lu %s: exit code %d\n", name, n, ways[way].name, rc);
        wrong++;
    }
}

static void sweep_all(lua_State *L, const char *file, const char *name)
{
    for (int way = 0; way < (int)(sizeof ways / sizeof *ways); way++)
        sweep(L, file, name, way);
}

static int usage(void)
{
    fprintf(stderr, "usage: oom [scenario [n [once | twice | long]]]\n");
    return EXIT_FAILURE;
}

static int single(lua_State *L, const char *file, char **argv)
{
    for (size_t way = 0; way < sizeof ways / sizeof *ways; way++)
        if (argv[2] == NULL || strcmp(argv[2], ways[way].name) == 0) {
            unsigned long n = strtoul(argv[1], NULL, 10);
            return strcmp(argv[0], "opening") == 0
                       ? opening(file, n, ways[way].length)
                       : scenario(L, argv[0], n, ways[way].length);
        }
    return usage();
}

/* Beside this file, whose name a compiler may have been given relative to anywhere; or
   below the directory that it is run in. */
static void find_scenarios(char file[PATH_MAX])
{
    const char *slash = strrchr(__FILE__, '/');
    int size = slash ? (int)(slash - __FILE__) + 1 : 0;
    snprintf(file, PATH_MAX, "%.*soom/scenarios.lua", size, __FILE__);
    if (access(file, R_OK) < 0)
        snprintf(file, PATH_MAX, "spec/oom/scenarios.lua");
}

int main(int argc, char **argv)
{
    char file[PATH_MAX];
    find_scenarios(file);
    lua_State *L = lua_newstate(allocate, NULL);
    if (L == NULL || argc > 4)
        return usage();
    lua_pushcfunction(L, setup);
    lua_pushlightuserdata(L, file);
    if (lua_pcall(L, 1, 2, 0) != LUA_OK)
        return complain("setup", lua_tostring(L, -1));
    if (argc > 2)
        return single(L, file, argv + 1);
    if (argc == 2)
        sweep_all(L, file, argv[1]);
    else
        sweep_all(L, file, "opening");
    for (lua_Integer i = 1; argc < 2 && lua_geti(L, 2, i) == LUA_TSTRING; i++)
        sweep_all(L, file, lua_tostring(L, -1));
    printf("%lu requests refused, %lu times wrong\n", total, wrong);
    memory.first = 0;
    lua_close(L);
    return wrong ? EXIT_FAILURE : EXIT_SUCCESS;
}

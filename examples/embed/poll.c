/* The guest of a hand-written poll loop: a program that has descriptors of its own, here
   a pipe with commands, and gives lull one line in its table and a share of its
   time-out. */
#include <lauxlib.h>
#include <limits.h>
#include <lull.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char script[] =
    "local net = lull.net\n"
    "function hello(name)\n"
    "  for i = 1, 2 do print('hello ' .. name, i) lull.sleep(0.01) end\n"
    "end\n"
    "function echo(text)\n"
    "  local a, b = net.pair()\n"
    "  lull.spawn(function() a:write(text, '\\n'):close() end)\n"
    "  print('echo', b:read 'l')\n"
    "  b:close()\n"
    "end\n";

/* "hello lua": calls the global hello with the string lua, as a task. */
static void command(lull *l, char *line)
{
    lua_State *L = lull_state(l);
    const char *name = strtok(line, " "), *argument = strtok(NULL, "");
    if (name == NULL)
        return;
    lua_getglobal(L, name);
    lua_pushstring(L, argument);
    if (lull_task_spawn(l, L, 1, NULL, NULL) < 0)
        printf("no such command: %s\n", name);
}

/* Reads lines; 0: that was the last. */
static int read_commands(lull *l, int fd)
{
    char buffer[256];
    ssize_t n = read(fd, buffer, sizeof buffer - 1);
    if (n <= 0)
        return 0;
    buffer[n] = '\0';
    for (char *line = buffer, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = '\0';
        command(l, line);
    }
    return 1;
}

static int milliseconds(int64_t ns) /* rounded up: never too early */
{
    if (ns == LULL_FOREVER)
        return -1;
    return ns / 1000000 >= INT_MAX ? INT_MAX : (int)((ns + 999999) / 1000000);
}

int main(void)
{
    lull *l;
    int ends[2], rc, open = 1;
    static const char commands[] = "hello poll\necho round trip\nnonsense x\n";
    if (pipe(ends) < 0 || lull_open(&l, NULL) < 0)
        return 1;
    if (luaL_dostring(lull_state(l), script) != LUA_OK) {
        puts(lua_tostring(lull_state(l), -1));
        return 1;
    }
    if (write(ends[1], commands, sizeof commands - 1) < 0)
        return 1;
    close(ends[1]);
    do {
        struct pollfd fds[] = {{.fd = lull_descriptor(l), .events = POLLIN},
                               {.fd = open ? ends[0] : -1, .events = POLLIN}};
        poll(fds, 2, milliseconds(lull_next_wake(l)));
        if (fds[1].revents)
            open = read_commands(l, ends[0]);
        rc = lull_step(l, NULL);
        lull_failure failure = {.size = sizeof failure};
        while (rc == LULL_STEP_FAILED && lull_take_failure(l, &failure))
            printf("%s: %s\n", failure.name, failure.message);
    } while (rc >= 0 && (open || rc != LULL_STEP_DONE));
    lull_close(l, 0);
    close(ends[0]);
    return rc < 0;
}

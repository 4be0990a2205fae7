/* The command line, as lua reads it, and long options of our own.  By hand, since
   getopt_long would take "-vi" for two options, "--pl" for a whole one, and the arguments
   of the script for ours; lua, and scripts that are called like it, do not. */
#include "program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: lull [options] [script [args]]\n"
    "Available options are:\n"
    "  -e stat     execute string 'stat'\n"
    "  -i          enter interactive mode after executing 'script'\n"
    "  -l mod      require library 'mod' into global 'mod'\n"
    "  -l g=mod    require library 'mod' into global 'g'\n"
    "  -v          show version information\n"
    "  -E          ignore environment variables\n"
    "  -W          turn warnings on\n"
    "  --          stop handling options\n"
    "  -           stop handling options and execute stdin\n"
    "  --plain            run outside of any task, as lua does\n"
    "  --virtual-clock    time jumps to the next deadline instead of passing\n"
    "  --selector=NAME    wait with epoll, poll, select, ...\n"
    "  --spin=SECONDS     look for so long before sleeping\n"
    "  --help, --version\n";

static bool is(const char *arg, const char *option)
{
    return strcmp(arg, option) == 0;
}

/* A number that is not negative, and nothing else. */
static bool seconds(const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && *end == '\0' && *out >= 0;
}

static bool long_option(struct command_line *cl, const char *arg)
{
    static const char selector[] = "--selector=", spin[] = "--spin=";
    if (is(arg, "--plain"))
        cl->plain = true;
    else if (is(arg, "--virtual-clock"))
        cl->virtual_clock = true;
    else if (is(arg, "--help"))
        cl->help = true;
    else if (is(arg, "--version"))
        cl->version = true;
    else if (strncmp(arg, selector, sizeof selector - 1) == 0)
        cl->selector = arg + sizeof selector - 1;
    else if (strncmp(arg, spin, sizeof spin - 1) == 0)
        return seconds(arg + sizeof spin - 1, &cl->spin);
    else
        return false;
    return true;
}

static bool flag(struct command_line *cl, char c)
{
    switch (c) {
    case 'E':
        return cl->noenv = true;
    case 'i':
        return cl->interactive = cl->version = true;
    case 'v':
        return cl->version = true;
    default:
        return c == 'W';
    }
}

/* -e and -l: in this argument or in the next, which must not look like an option. */
static bool with_value(struct command_line *cl, const char *arg, const char *next)
{
    if (arg[1] != 'e' && arg[1] != 'l')
        return false;
    if (arg[1] == 'e')
        cl->execute = true;
    return arg[2] != '\0' || (next != NULL && next[0] != '-');
}

/* Returns the place of an option that makes no sense, or 0. */
static int read_options(struct command_line *cl)
{
    int i = 1;
    for (; i < cl->argc; i++) {
        const char *arg = cl->argv[i];
        if (arg[0] != '-' || arg[1] == '\0')
            break;
        if (is(arg, "--")) {
            i++;
            break;
        }
        if (arg[1] == '-' ? long_option(cl, arg) : arg[2] == '\0' && flag(cl, arg[1]))
            continue;
        if (!with_value(cl, arg, cl->argv[i + 1]))
            return i;
        if (arg[2] == '\0')
            i++;
    }
    cl->script = i;
    return 0;
}

enum lull_order lull_read_command_line(struct command_line *cl, int argc, char **argv)
{
    *cl = (struct command_line){.argc = argc, .argv = argv};
    int bad = read_options(cl);
    if (bad == 0 && cl->help)
        return fputs(usage, stdout), LULL_HELP;
    if (bad == 0)
        return LULL_RUN;
    const char *option = argv[bad];
    bool needs = is(option, "-e") || is(option, "-l");
    if (needs)
        fprintf(stderr, "lull: '%s' needs argument\n", option);
    else
        fprintf(stderr, "lull: unrecognized option '%s'\n", option);
    fputs(usage, stderr);
    return LULL_BAD;
}

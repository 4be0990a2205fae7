/* The hosts file: an address, then the names that it has, on each line.  It is read anew
   for each name, as it may be edited at any time; nothing but a plain file is, for that
   alone cannot block. */
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* Are they the same, whatever the case, and whether or not one ends with a dot? */
static bool same(const char *a, const char *b)
{
    size_t size = strlen(a), other = strlen(b);
    size -= size > 1 && a[size - 1] == '.';
    other -= other > 1 && b[other - 1] == '.';
    return size == other && strncasecmp(a, b, size) == 0;
}

static void read_line(char *line, const char *host, enum sys_family family,
                      struct sys_answer *answer)
{
    static const char blanks[] = " \t\r\n";
    struct sys_address a;
    char *rest, *word;
    line[strcspn(line, "#")] = '\0';
    char *number = strtok_r(line, blanks, &rest);
    if (number == NULL || strcmp(number, "*") == 0)
        return;
    while ((word = strtok_r(NULL, blanks, &rest)) != NULL)
        if (same(word, host)) {
            if (sys_parse(&a, family, number, 0) == 0)
                sys_answer_add(answer, a.bytes, a.size);
            return;
        }
}

static FILE *open_file(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return NULL;
    FILE *f = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? fdopen(fd, "r") : NULL;
    if (f == NULL)
        close(fd);
    return f;
}

static void read_file(const char *path, const char *host, enum sys_family family,
                      struct sys_answer *answer)
{
    FILE *f = open_file(path);
    char *line = NULL;
    size_t size = 0;
    if (f == NULL)
        return;
    while (getline(&line, &size, f) >= 0)
        read_line(line, host, family, answer);
    free(line);
    fclose(f);
}

static bool is_local(const char *host)
{
    static const char name[] = "localhost";
    size_t size = strlen(host), n = sizeof name - 1;
    size -= size > 1 && host[size - 1] == '.';
    return size >= n && strncasecmp(host + size - n, name, n) == 0 &&
           (size == n || host[size - n - 1] == '.');
}

bool sys_hosts(const char *path, const char *host, enum sys_family family,
               struct sys_answer *answer)
{
    struct sys_address a;
    if (path)
        read_file(path, host, family, answer);
    if (answer->count > 0 || !is_local(host))
        return answer->count > 0 || answer->rc < 0;
    if (sys_parse(&a, family, "::1", 0) == 0)
        sys_answer_add(answer, a.bytes, a.size);
    if (sys_parse(&a, family, "127.0.0.1", 0) == 0)
        sys_answer_add(answer, a.bytes, a.size);
    return true;
}

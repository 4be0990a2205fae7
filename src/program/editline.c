/* A line typed at a terminal, edited with libedit one key at a time, so that the loop can
   turn between two keys.  Without libedit nothing is here. */
#include "program.h"

#ifdef LULL_HAVE_LIBEDIT

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "library.h"

#ifdef LULL_LOAD_LIBEDIT

/* Loaded when the first line is to be typed: see library.h. */
#define LIBEDIT(X) \
    X(el_gets) X(el_init) X(el_insertstr) X(el_line) X(el_resize) X(el_set) \
    X(el_source) X(history) X(history_init)

static struct {
    LIBEDIT(LULL_LIBRARY_ENTRY)
} libedit;

#define el_gets libedit.el_gets
#define el_init libedit.el_init
#define el_insertstr libedit.el_insertstr
#define el_line libedit.el_line
#define el_resize libedit.el_resize
#define el_set libedit.el_set
#define el_source libedit.el_source
#define history libedit.history
#define history_init libedit.history_init

#endif

static EditLine *editor;
static History *past;
static const char *prompt = "";
static bool ended; /* the terminal is gone */

static char *get_prompt(EditLine *e)
{
    (void)e;
    return (char *)prompt;
}

/* One byte: 1, or 0 and -1 as read; -EAGAIN when none came for a moment. */
static int get_byte(char *out)
{
    enum { MOMENT = 50 }; /* ms: longer than the keys of one sequence are apart */
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    int n;
    do
        n = poll(&p, 1, MOMENT);
    while (n < 0 && errno == EINTR);
    if (n == 0)
        return -EAGAIN;
    do
        n = (int)read(STDIN_FILENO, out, 1);
    while (n < 0 && errno == EINTR);
    return n;
}

/* One character, for libedit.  After a lone ESC it asks for the rest of the sequence, and
   all tasks would wait for the next key: after a moment a bell ends the sequence. */
static int get_char(EditLine *e, wchar_t *out)
{
    char bytes[4]; /* the longest character of UTF-8 */
    (void)e;
    for (size_t n = 1; n <= sizeof bytes; n++) {
        int rc = get_byte(&bytes[n - 1]);
        if (rc == -EAGAIN) {
            *out = L'\a';
            return 1;
        }
        if (rc <= 0) {
            ended = true;
            return rc;
        }
        mbstate_t state = {0};
        size_t used = mbrtowc(out, bytes, n, &state);
        if (used == (size_t)-1)
            break;
        if (used != (size_t)-2)
            return 1;
    }
    *out = L'?';
    return 1;
}

/* The Tab key. */
static unsigned char complete(EditLine *e, int key)
{
    (void)key;
    const LineInfo *line = el_line(e);
    size_t before = (size_t)(line->cursor - line->buffer);
    const char *rest = lull_prompt_complete(line->buffer, before);
    if (rest == NULL)
        return CC_REFRESH_BEEP;
    el_insertstr(e, rest);
    return CC_REFRESH;
}

static void begin(const char *text)
{
    prompt = text;
    el_set(editor, EL_UNBUFFERED, 1);
}

/* The terminal is in its ordinary state while a line runs. */
static void end(void)
{
    el_set(editor, EL_UNBUFFERED, 0);
}

static enum lull_typed feed(const char **line, size_t *size)
{
    int n = 0;
    const char *text = el_gets(editor, &n);
    if (ended)
        return LULL_END;
    if (text == NULL || n <= 0)
        return LULL_UNFINISHED;
    if (n == 1 && text[0] == '\4') /* how libedit tells of Ctrl-D */
        return LULL_END;
    if (text[n - 1] != '\n')
        return LULL_UNFINISHED;
    *line = text;
    *size = (size_t)n - 1;
    return LULL_LINE;
}

static void hide(void)
{
    struct winsize screen = {0};
    const LineInfo *line = el_line(editor);
    size_t before = strlen(prompt) + (size_t)(line->cursor - line->buffer);
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &screen) == 0 && screen.ws_col > 0 &&
        before >= screen.ws_col)
        printf("\033[%zuA", before / screen.ws_col);
    fputs("\r\033[J", stdout);
}

static void show(void)
{
    el_set(editor, EL_REFRESH);
}

/* The window has another size, or a shell had the terminal meanwhile. */
static void redraw(void)
{
    el_set(editor, EL_PREP_TERM, 0);
    el_set(editor, EL_PREP_TERM, 1);
    el_resize(editor);
    hide();
    show();
}

static void remember(const char *line)
{
    HistEvent event;
    if (*line != '\0')
        history(past, &event, H_ENTER, line);
}

static const struct lull_typist typist = {begin, feed, end, hide, show, redraw, remember};

/* At exit, for os.exit may be called while a line is being typed.  Memory goes with the
   process; el_end would leak the names that EL_ADDFN was given. */
static void restore(void)
{
    el_set(editor, EL_PREP_TERM, 0);
}

static bool load(void)
{
#ifdef LULL_LOAD_LIBEDIT
    static const char *const functions[] = {LIBEDIT(LULL_LIBRARY_NAME) NULL};
    static struct lull_library library = {LULL_LOAD_LIBEDIT, functions, &libedit, false};
    return lull_library_load(&library, NULL, 0) == 0;
#else
    return true;
#endif
}

const struct lull_typist *lull_editline_open(void)
{
    const char *term = getenv("TERM");
    if (term == NULL || *term == '\0' || strcmp(term, "dumb") == 0 || !load())
        return NULL;
    setlocale(LC_CTYPE, "");
    editor = el_init("lull", stdin, stdout, stderr);
    past = history_init();
    if (editor == NULL || past == NULL)
        return NULL;
    atexit(restore);
    HistEvent event;
    history(past, &event, H_SETSIZE, 1000);
    history(past, &event, H_SETUNIQUE, 1);
    el_set(editor, EL_HIST, history, past);
    el_set(editor, EL_PROMPT, get_prompt);
    el_set(editor, EL_EDITOR, "emacs");
    el_set(editor, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_set(editor, EL_GETCFN, get_char);
    el_set(editor, EL_ADDFN, "lull-complete", "Completes a name", complete);
    el_set(editor, EL_BIND, "^I", "lull-complete", NULL);
    el_source(editor, NULL);
    return &typist;
}

#else

const struct lull_typist *lull_editline_open(void)
{
    return NULL;
}

#endif

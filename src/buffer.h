/* A run of bytes that grows at its end and is taken from its front.  Empty, it owns no
   memory: an idle connection costs nothing here.  Memory is the caller's to lend and to
   take back: a buffer may be handed a block (buffer_adopt), and give its block away. */
#ifndef LULL_BUFFER_H
#define LULL_BUFFER_H

#include "lull.h"

struct buffer {
    char *data;
    size_t from, to; /* the bytes are data[from] .. data[to - 1] */
    size_t capacity;
};

static inline size_t buffer_size(const struct buffer *b)
{
    return b->to - b->from;
}

static inline const char *buffer_bytes(const struct buffer *b)
{
    return b->data ? b->data + b->from : "";
}

/* Room for at least size bytes behind the end, to be filled and then committed; NULL: no
   memory, and nothing has changed.  Bytes may move. */
char *buffer_reserve(struct buffer *b, size_t size, lull_alloc alloc, void *ud);

/* How much room there is behind the end. */
static inline size_t buffer_room(const struct buffer *b)
{
    return b->capacity - b->to;
}

static inline void buffer_commit(struct buffer *b, size_t size)
{
    b->to += size;
}

/* Takes size bytes off the front; the memory goes with the last of them. */
void buffer_take(struct buffer *b, size_t size, lull_alloc alloc, void *ud);

void buffer_free(struct buffer *b, lull_alloc alloc, void *ud);

/* Makes a block with size bytes in it the content of the empty buffer b; undone by
   buffer_disown, which keeps nothing. */
static inline void buffer_adopt(struct buffer *b, char *block, size_t size,
                                size_t capacity)
{
    *b = (struct buffer){.data = block, .to = size, .capacity = capacity};
}

static inline char *buffer_disown(struct buffer *b)
{
    char *block = b->data;
    *b = (struct buffer){0};
    return block;
}

#endif

/* known_server: an OpenAI-compatible streaming server whose timing is known.
 *
 * Rule: it answers by the clock and writes down what it did; it decides nothing and is late only when the
 * machine is, and then the log says so. A request that was complete at t gets token k at t + ttft + k * itl.
 * It is apart from loadgen's simulator, and in C, so that no line of the measurer is in the truth it is held
 * against.
 *
 *   cc -O2 -Wall -Wextra -o known_server known_server.c
 *   known_server PORT LOG [--ttft-ms 20] [--itl-ms 10] [--slots N] [--events FILE]
 *
 * --slots N  answers at most N at once, the others wait in line: of answers of n tokens it then completes exactly
 *            N / (ttft + (n - 1) * itl) a second, since a place is free when the last token was due, not when it left.
 * PORT 0 takes a free one; the port is the one line on stdout. SIGTERM ends it and completes the files.
 * LOG     one line a request: request_id received_ns first_ns last_ns events gap_max_ns events_at
 *         request_id is x-request-id, "-" for a request that has none; CLOCK_MONOTONIC ns, taken when the last
 *         byte of the request was read and just before the token's bytes were given to the kernel.
 * FILE    the time of every token, int64, request after request; a request's begin at its events_at.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 1 << 16, BATCH = 1024, ID_MAX = 64, TOKENS_MAX = 1 << 20 };

/* A connection carries one request at a time: its state is the request's. */
typedef struct Connection {
    struct Connection *next; /* in line for a place */
    int fd;
    char *in;
    size_t got, room;
    char *late; /* bytes that the kernel had no room for */
    size_t late_n;
    bool answering, chat, usage, gone;
    char id[ID_MAX];
    int64_t due_ns, received_ns, *sent_ns;
    int tokens, sent, prompt_words;
} Connection;

static int64_t ttft_ns = 20000000, itl_ns = 10000000, events_written;
static long slots = 1L << 40, busy;
static FILE *log_file, *events_file;
static int epoll_fd;
static volatile sig_atomic_t stopping;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void *grown(void *memory, size_t bytes) {
    memory = realloc(memory, bytes);
    if (!memory) {
        perror("known_server");
        exit(1);
    }
    return memory;
}

/* The answers under way, the next due one first: a binary heap. */
static Connection **heap;
static size_t heap_n, heap_room;

static void push(Connection *c) {
    if (heap_n == heap_room)
        heap = grown(heap, (heap_room = heap_room * 2 + 1024) * sizeof *heap);
    size_t i = heap_n++;
    for (; i && heap[(i - 1) / 2]->due_ns > c->due_ns; i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = c;
}

static Connection *pop(void) {
    Connection *top = heap[0], *last = heap[--heap_n];
    size_t i = 0;
    for (size_t k = 1; k < heap_n; k = 2 * i + 1) {
        if (k + 1 < heap_n && heap[k + 1]->due_ns < heap[k]->due_ns)
            k++;
        if (heap[k]->due_ns >= last->due_ns)
            break;
        heap[i] = heap[k];
        i = k;
    }
    heap[i] = last;
    return top;
}

static Connection *first_in_line, *last_in_line;

static void admit(Connection *c, int64_t from_ns) {
    c->due_ns = from_ns + ttft_ns;
    busy++;
    push(c);
}

static void stand_in_line(Connection *c) {
    c->next = NULL;
    if (first_in_line)
        last_in_line->next = c;
    else
        first_in_line = c;
    last_in_line = c;
}

static void watch(Connection *c, uint32_t what, int how) {
    struct epoll_event e = {.events = what, .data.ptr = c};
    epoll_ctl(epoll_fd, how, c->fd, &e);
}

/* The peer has gone. While an answer is in the heap, `step` ends it. */
static void leave(Connection *c) {
    if (!c->gone)
        close(c->fd);
    c->gone = true;
    if (c->answering)
        return;
    free(c->in);
    free(c->late);
    free(c->sent_ns);
    free(c);
}

static void give(Connection *c, const char *bytes, size_t n) {
    if (c->gone)
        return;
    if (!c->late_n) {
        ssize_t taken = send(c->fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (taken == (ssize_t)n)
            return;
        if (taken > 0)
            bytes += taken, n -= (size_t)taken;
    }
    c->late = grown(c->late, c->late_n + n);
    memcpy(c->late + c->late_n, bytes, n);
    c->late_n += n;
    watch(c, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
}

static void give_late(Connection *c) {
    ssize_t taken = send(c->fd, c->late, c->late_n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (taken < 0) {
        if (errno != EAGAIN && errno != EINTR)
            leave(c);
        return;
    }
    c->late_n -= (size_t)taken;
    memmove(c->late, c->late + taken, c->late_n);
    if (!c->late_n)
        watch(c, EPOLLIN, EPOLL_CTL_MOD);
}

/* One SSE message in an HTTP chunk of its own, as uvicorn sends it; returns its length. */
static int sse(char *to, const char *json) {
    return sprintf(to, "%zx\r\ndata: %s\n\n\r\n", strlen(json) + 8, json);
}

static int choice(char *to, const Connection *c, const char *delta, const char *text, const char *finish) {
    char json[512];
    if (c->chat)
        sprintf(json,
                "{\"id\":\"chatcmpl-%s\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"known\","
                "\"choices\":[{\"index\":0,\"delta\":{%s\"content\":\"%s\"},\"logprobs\":null,\"finish_reason\":%s}]}",
                c->id, delta, text, finish);
    else
        sprintf(json,
                "{\"id\":\"cmpl-%s\",\"object\":\"text_completion\",\"created\":1700000000,\"model\":\"known\","
                "\"choices\":[{\"index\":0,\"text\":\"%s\",\"logprobs\":null,\"finish_reason\":%s}]}",
                c->id, text, finish);
    return sse(to, json);
}

/* A place came free at `at_ns`: the first in line that has not gone takes it. */
static void vacate(int64_t at_ns) {
    busy--;
    while (first_in_line && busy < slots) {
        Connection *c = first_in_line;
        first_in_line = c->next;
        if (c->gone) {
            c->answering = false;
            leave(c);
        } else {
            admit(c, at_ns > c->received_ns ? at_ns : c->received_ns);
        }
    }
}

static void finish(Connection *c) {
    int64_t gap_max = 0;
    for (int i = 1; i < c->sent; i++)
        if (c->sent_ns[i] - c->sent_ns[i - 1] > gap_max)
            gap_max = c->sent_ns[i] - c->sent_ns[i - 1];
    fprintf(log_file, "%s %" PRId64 " %" PRId64 " %" PRId64 " %d %" PRId64 " %" PRId64 "\n", c->id, c->received_ns,
            c->sent ? c->sent_ns[0] : 0, c->sent ? c->sent_ns[c->sent - 1] : 0, c->sent, gap_max, events_written);
    if (events_file)
        fwrite(c->sent_ns, sizeof *c->sent_ns, (size_t)c->sent, events_file);
    events_written += c->sent;
    c->answering = false;
    vacate(c->due_ns);
}

/* Send the token that is due; after the last one usage, [DONE] and the end of the answer. */
static void step(Connection *c) {
    char out[2048];
    int n;
    if (c->gone) {
        finish(c);
        leave(c);
        return;
    }
    if (!c->sent) {
        n = sprintf(out, "HTTP/1.1 200 OK\r\nserver: known\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
                         "transfer-encoding: chunked\r\n\r\n");
        if (c->chat)
            n += choice(out + n, c, "\"role\":\"assistant\",", "", "null");
        give(c, out, (size_t)n);
    }
    bool last = c->sent + 1 == c->tokens;
    n = choice(out, c, "", " token", last ? "\"length\"" : "null");
    c->sent_ns[c->sent++] = now_ns();
    give(c, out, (size_t)n);
    if (!last) {
        c->due_ns += itl_ns;
        push(c);
        return;
    }
    n = 0;
    if (c->usage) {
        char json[512];
        sprintf(json,
                "{\"id\":\"known\",\"object\":\"%s\",\"created\":1700000000,\"model\":\"known\",\"choices\":[],"
                "\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"total_tokens\":%d}}",
                c->chat ? "chat.completion.chunk" : "text_completion", c->prompt_words, c->sent,
                c->prompt_words + c->sent);
        n = sse(out, json);
    }
    n += sprintf(out + n, "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
    give(c, out, (size_t)n);
    finish(c);
}

/* A whole answer at once: all that is not a stream. */
static void reply(Connection *c, const char *status, const char *json) {
    char out[1024];
    int n = sprintf(out, "HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s", status,
                    strlen(json), json);
    give(c, out, (size_t)n);
}

static const char *after(const char *text, const char *key) {
    const char *found = strstr(text, key);
    if (!found)
        return NULL;
    found += strlen(key);
    return found + strspn(found, " :");
}

/* Words of the prompt, one token each: so that the client finds the length that it asked for. */
static int words(const char *body, bool chat) {
    const char *text = after(body, chat ? "\"content\"" : "\"prompt\"");
    int n = 0;
    if (text && *text == '"')
        for (text++; *text && *text != '"'; text++)
            n += text[0] != ' ' && (text[1] == ' ' || text[1] == '"');
    return n;
}

static void complete(Connection *c, const char *body) {
    const char *asked = after(body, "\"max_tokens\""), *id = strcasestr(c->in, "\r\nx-request-id:");
    c->received_ns = now_ns();
    c->chat = strstr(c->in, "/chat/") != NULL;
    if (!asked)
        asked = after(body, "\"max_completion_tokens\"");
    c->tokens = asked ? atoi(asked) : 16;
    if (c->tokens < 1 || c->tokens > TOKENS_MAX) {
        reply(c, "400 Bad Request", "{\"error\":{\"message\":\"max_tokens is out of range\"}}");
        return;
    }
    strcpy(c->id, "-");
    if (id && id < body)
        sscanf(id + strlen("\r\nx-request-id:"), " %63[^ \r\n]", c->id);
    c->prompt_words = words(body, c->chat);
    const char *stream = after(body, "\"stream\"");
    if (!stream || strncmp(stream, "true", 4)) { /* only probes ask for this: answered at once and not logged */
        char json[512];
        sprintf(json,
                "{\"id\":\"known\",\"object\":\"%s\",\"created\":1700000000,\"model\":\"known\",\"choices\":[{\"index\":0,"
                "%s,\"finish_reason\":\"length\"}],"
                "\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"total_tokens\":%d}}",
                c->chat ? "chat.completion" : "text_completion",
                c->chat ? "\"message\":{\"role\":\"assistant\",\"content\":\" token\"}" : "\"text\":\" token\"",
                c->prompt_words, c->tokens, c->prompt_words + c->tokens);
        reply(c, "200 OK", json);
        return;
    }
    const char *usage = after(body, "\"include_usage\"");
    c->usage = usage && !strncmp(usage, "true", 4);
    c->sent_ns = grown(c->sent_ns, (size_t)c->tokens * sizeof *c->sent_ns);
    c->sent = 0;
    c->answering = true;
    if (busy < slots)
        admit(c, c->received_ns);
    else
        stand_in_line(c);
}

/* Take whole requests from what was read. A request that comes while its connection answers waits. */
static void take(Connection *c) {
    while (!c->gone && !c->answering) {
        c->in[c->got] = 0;
        char *end = strstr(c->in, "\r\n\r\n");
        if (!end)
            return;
        const char *length = strcasestr(c->in, "\r\ncontent-length:");
        size_t head = (size_t)(end - c->in) + 4;
        size_t body = length && length < end ? strtoul(length + strlen("\r\ncontent-length:"), NULL, 10) : 0;
        if (c->got < head + body)
            return;
        char kept = c->in[head + body];
        c->in[head + body] = 0;
        if (!strncmp(c->in, "POST", 4) && strstr(c->in, "completions "))
            complete(c, c->in + head);
        else if (!strncmp(c->in, "GET /v1/models ", 15))
            reply(c, "200 OK", "{\"object\":\"list\",\"data\":[{\"id\":\"known\",\"object\":\"model\"}]}");
        else
            reply(c, "404 Not Found", "{\"error\":{\"message\":\"not found\"}}");
        c->in[head + body] = kept;
        c->got -= head + body;
        memmove(c->in, c->in + head + body, c->got);
    }
}

static void readable(Connection *c) {
    if (c->room - c->got < ROOM)
        c->in = grown(c->in, (c->room += 2 * ROOM) + 1);
    ssize_t n = recv(c->fd, c->in + c->got, c->room - c->got, MSG_DONTWAIT);
    if (n > 0) {
        c->got += (size_t)n;
        take(c);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        leave(c);
    }
}

static void welcome(int listener) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        Connection *c = grown(NULL, sizeof *c);
        *c = (Connection){.fd = fd};
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        watch(c, EPOLLIN, EPOLL_CTL_ADD);
    }
}

static int listen_on(int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    socklen_t size = sizeof at;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&at, size) || listen(fd, 65535)) {
        perror("known_server: listen");
        exit(1);
    }
    getsockname(fd, (struct sockaddr *)&at, &size);
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    return fd;
}

static void stop(int signal_number) {
    (void)signal_number;
    stopping = 1;
}

static FILE *opened(const char *path, const char *mode) {
    FILE *file = fopen(path, mode);
    if (!file) {
        perror(path);
        exit(2);
    }
    return file;
}

int main(int count, char **arguments) {
    if (count < 3) {
        fprintf(stderr, "usage: known_server PORT LOG [--ttft-ms X] [--itl-ms X] [--slots N] [--events FILE]\n");
        return 2;
    }
    log_file = opened(arguments[2], "w");
    for (int i = 3; i + 1 < count; i += 2) {
        if (!strcmp(arguments[i], "--ttft-ms"))
            ttft_ns = (int64_t)(atof(arguments[i + 1]) * 1e6);
        else if (!strcmp(arguments[i], "--itl-ms"))
            itl_ns = (int64_t)(atof(arguments[i + 1]) * 1e6);
        else if (!strcmp(arguments[i], "--slots"))
            slots = atol(arguments[i + 1]);
        else if (!strcmp(arguments[i], "--events"))
            events_file = opened(arguments[i + 1], "wb");
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGTERM, stop);
    signal(SIGINT, stop);

    epoll_fd = epoll_create1(0);
    int listener = listen_on(atoi(arguments[1]));
    struct epoll_event batch[BATCH], door = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &door);
    while (!stopping) {
        for (int64_t now = now_ns(); heap_n && heap[0]->due_ns <= now;) {
            Connection *c = pop();
            step(c); /* frees c when its peer has gone: then it is not looked at again */
        }
        int64_t wait_ns = heap_n ? heap[0]->due_ns - now_ns() : 1000000000;
        struct timespec wait = {0, 0};
        if (wait_ns > 0)
            wait = (struct timespec){wait_ns / 1000000000, wait_ns % 1000000000};
        int ready = epoll_pwait2(epoll_fd, batch, BATCH, &wait, NULL);
        for (int i = 0; i < ready; i++) {
            Connection *c = batch[i].data.ptr;
            if (!c)
                welcome(listener);
            else if (batch[i].events & EPOLLOUT)
                give_late(c);
            else
                readable(c);
        }
    }
    fclose(log_file);
    if (events_file)
        fclose(events_file);
    return 0;
}

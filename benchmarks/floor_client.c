/* floor_client: the cheapest client that still measures. Its CPU per event is the floor that loadgen is held to.
 *
 * Rule: open loop, Poisson arrivals, one thread, one epoll set, kernel receive stamps; it looks for nothing in an
 * answer but tokens and the end, keeps every token's stamp, and writes everything down after the last answer.
 *
 *   cc -O2 -Wall -Wextra -o floor_client floor_client.c -lm
 *   floor_client PORT RATE REQUESTS TOKENS LOG EVENTS        RATE 0 sends all at once
 *
 * LOG     one line a request: request_id due_ns sent_ns first_ns last_ns events events_at (CLOCK_MONOTONIC ns)
 * EVENTS  the stamp of every token, int64, request after request
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <inttypes.h>
#include <linux/net_tstamp.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PROMPT_WORDS = 64, BATCH = 512, READ = 1 << 18 };
static const char TOKEN[] = "\"content\":\" ";

typedef struct {
    int64_t due_ns, sent_ns, *stamps_ns;
    int events;
} Request;

typedef struct {
    int fd, request;
} Connection;

static int64_t clock_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static Connection *opened(int port, int epoll_fd) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1, stamping = SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;
    Connection *c = calloc(1, sizeof *c);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&at, sizeof at)) {
        perror("floor_client: connect");
        exit(1);
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(c->fd, SOL_SOCKET, SO_TIMESTAMPING, &stamping, sizeof stamping);
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e);
    return c;
}

/* One read: its tokens take the kernel's stamp. True when the answer has ended with it. */
static int read_into(Request *r, int fd, int tokens, int64_t realtime_offset_ns) {
    static char in[READ];
    char control[256];
    struct iovec io = {in, sizeof in};
    struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t got = recvmsg(fd, &m, MSG_DONTWAIT);
    if (got <= 0)
        return 0;
    int64_t stamp_ns = clock_ns(CLOCK_MONOTONIC);
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h))
        if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SO_TIMESTAMPING) {
            struct timespec t;
            memcpy(&t, CMSG_DATA(h), sizeof t);
            stamp_ns = t.tv_sec * INT64_C(1000000000) + t.tv_nsec - realtime_offset_ns;
        }
    char *at = in, *end = in + got;
    while ((at = memmem(at, (size_t)(end - at), TOKEN, sizeof TOKEN - 1))) {
        if (r->events < tokens)
            r->stamps_ns[r->events++] = stamp_ns;
        at += sizeof TOKEN - 1;
    }
    return got >= 5 && !memcmp(end - 5, "0\r\n\r\n", 5);
}

static void write_down(const Request *requests, int n, const char *log_path, const char *events_path) {
    FILE *log_file = fopen(log_path, "w"), *events_file = fopen(events_path, "wb");
    int64_t at = 0;
    if (!log_file || !events_file) {
        perror("floor_client");
        exit(1);
    }
    for (int i = 0; i < n; i++) {
        const Request *r = &requests[i];
        fprintf(log_file, "%d %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %d %" PRId64 "\n", i, r->due_ns,
                r->sent_ns, r->stamps_ns[0], r->stamps_ns[r->events - 1], r->events, at);
        fwrite(r->stamps_ns, sizeof *r->stamps_ns, (size_t)r->events, events_file);
        at += r->events;
    }
    fclose(log_file);
    fclose(events_file);
}

int main(int count, char **arguments) {
    if (count != 7) {
        fprintf(stderr, "usage: floor_client PORT RATE REQUESTS TOKENS LOG EVENTS\n");
        return 2;
    }
    int port = atoi(arguments[1]), n = atoi(arguments[3]), tokens = atoi(arguments[4]);
    double rate = atof(arguments[2]), arrival_s = 0;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    Request *requests = calloc((size_t)n, sizeof *requests);
    int64_t *stamps_ns = malloc((size_t)n * (size_t)tokens * sizeof *stamps_ns);
    int64_t start_ns = clock_ns(CLOCK_MONOTONIC) + 100000000;
    int64_t realtime_offset_ns = clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC);
    srand48(1);
    for (int i = 0; i < n; i++) {
        arrival_s += rate > 0 ? -log(1 - drand48()) / rate : 0;
        requests[i].due_ns = start_ns + (int64_t)(arrival_s * 1e9);
        requests[i].stamps_ns = stamps_ns + (size_t)i * (size_t)tokens;
    }
    char prompt[PROMPT_WORDS * 5 + 1] = "", body[1024], wire[2048];
    for (int i = 0; i < PROMPT_WORDS; i++)
        strcat(prompt, i ? " word" : "word");
    int length = sprintf(body,
                         "{\"model\":\"known\",\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}],\"max_tokens\":%d,"
                         "\"stream\":true,\"stream_options\":{\"include_usage\":true}}",
                         prompt, tokens);

    int epoll_fd = epoll_create1(0), sent = 0, done = 0, idle_n = 0;
    Connection **idle = malloc((size_t)n * sizeof *idle);
    struct epoll_event batch[BATCH];
    while (done < n) {
        int64_t now = clock_ns(CLOCK_MONOTONIC);
        for (; sent < n && requests[sent].due_ns <= now; sent++) {
            Connection *c = idle_n ? idle[--idle_n] : opened(port, epoll_fd);
            c->request = sent;
            int wire_n = sprintf(wire,
                                 "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                                 "X-Request-Id: %d\r\nContent-Length: %d\r\n\r\n%s",
                                 sent, length, body);
            if (send(c->fd, wire, (size_t)wire_n, 0) != wire_n)
                perror("floor_client: send");
            now = requests[sent].sent_ns = clock_ns(CLOCK_MONOTONIC);
        }
        struct timespec wait = {1, 0};
        if (sent < n) {
            int64_t wait_ns = requests[sent].due_ns > now ? requests[sent].due_ns - now : 0;
            wait = (struct timespec){wait_ns / 1000000000, wait_ns % 1000000000};
        }
        int ready = epoll_pwait2(epoll_fd, batch, BATCH, &wait, NULL);
        for (int i = 0; i < ready; i++) {
            Connection *c = batch[i].data.ptr;
            if (read_into(&requests[c->request], c->fd, tokens, realtime_offset_ns)) {
                idle[idle_n++] = c;
                done++;
            }
        }
    }
    write_down(requests, n, arguments[5], arguments[6]);
    return 0;
}

/* Next hop that throws mail away: one thread, one receive buffer, as little CPU as SMTP allows.
 *
 * It says what it does: PIPELINING, 8BITMIME, CHUNKING, SIZE; commands may come many to a read or split anywhere. A
 * message ends at CRLF.CRLF alone, or with BDAT LAST, and a connection lost before that counts as aborted, never as a message. Prints {"port":N} when it
 * listens, and its counters as one line of JSON on SIGTERM or SIGINT; while it runs the counters are in a mapped file
 * (struct counters, native order), which costs nothing to read. Called by loads.py. */
#define _GNU_SOURCE /* accept4 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define RECEIVE_BYTES (256u << 10)
#define KEPT_BYTES 4 /* of the last read, so that CRLF.CRLF may be split anywhere */
#define COMMAND_BYTES 2048
#define REPLY_BYTES 4096
#define SIGNAL_TAG ((void *)1)
#define LISTEN_TAG ((void *)2)

struct counters {
    uint64_t messages, body_bytes, connections, aborted, refused_commands, open_connections;
};

struct connection {
    int fd;
    bool in_data, quitting, last_chunk;
    uint64_t chunk_left; /* octets of BDAT that are still to come */
    char kept[KEPT_BYTES]; /* while in_data: what came last */
    char command[COMMAND_BYTES];
    size_t command_bytes;
    char replies[REPLY_BYTES]; /* of one read, sent together (RFC 2920 §3.2) */
    size_t reply_bytes;
};

static struct counters *counters;
static int epoll_fd;
static char tempfail_at; /* 'm'ail, 'r'cpt, 'd'ata or '.', 0 for nowhere */
static double read_limit_per_s;
static double pace_began_s, paced_bytes;
static char receive_buffer[KEPT_BYTES + RECEIVE_BYTES];

static void die(const char *what) {
    fprintf(stderr, "sink: %s: %s\n", what, strerror(errno));
    exit(2);
}

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Slow-next-hop mode: all connections together are read at no more than the limit. */
static void pace(size_t read_bytes) {
    paced_bytes += (double)read_bytes;
    double ahead_s = paced_bytes / read_limit_per_s - (now_s() - pace_began_s);
    if (ahead_s < -0.1) { /* an idle time gives no credit */
        pace_began_s = now_s();
        paced_bytes = 0;
    } else if (ahead_s > 0) {
        struct timespec pause = {(time_t)ahead_s, (long)((ahead_s - (double)(time_t)ahead_s) * 1e9)};
        nanosleep(&pause, NULL);
    }
}

static void drop(struct connection *connection) {
    if (connection->in_data) counters->aborted++;
    counters->open_connections--;
    close(connection->fd);
    free(connection);
}

static bool flush_replies(struct connection *connection) {
    ssize_t wrote = send(connection->fd, connection->replies, connection->reply_bytes, MSG_NOSIGNAL);
    /* A peer that does not read its few replies is not worth a buffer here. */
    bool whole = wrote == (ssize_t)connection->reply_bytes;
    connection->reply_bytes = 0;
    return whole;
}

static bool reply(struct connection *connection, const char *text) {
    size_t length = strlen(text);
    if (connection->reply_bytes + length > REPLY_BYTES && !flush_replies(connection)) return false;
    memcpy(connection->replies + connection->reply_bytes, text, length);
    connection->reply_bytes += length;
    return true;
}

static bool is_verb(const char *command, const char *verb) { return !strncasecmp(command, verb, strlen(verb)); }

static const char *maybe_tempfail(char stage, const char *answer) {
    if (tempfail_at != stage) return answer;
    counters->refused_commands++;
    return "451 4.3.0 Not now\r\n";
}

static bool end_chunk(struct connection *connection) {
    if (!connection->last_chunk) return reply(connection, "250 2.0.0 Ok\r\n");
    if (tempfail_at != '.') counters->messages++;
    return reply(connection, maybe_tempfail('.', "250 2.0.0 Ok: thrown away\r\n"));
}

static bool run_command(struct connection *connection, const char *command) {
    if (is_verb(command, "EHLO"))
        return reply(connection, "250-sink.bench.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-CHUNKING\r\n250 SIZE 0\r\n");
    if (is_verb(command, "HELO")) return reply(connection, "250 sink.bench.example\r\n");
    if (is_verb(command, "MAIL")) return reply(connection, maybe_tempfail('m', "250 2.1.0 Ok\r\n"));
    if (is_verb(command, "RCPT")) return reply(connection, maybe_tempfail('r', "250 2.1.5 Ok\r\n"));
    if (is_verb(command, "RSET") || is_verb(command, "NOOP")) return reply(connection, "250 2.0.0 Ok\r\n");
    if (is_verb(command, "DATA")) {
        if (tempfail_at == 'd') return reply(connection, maybe_tempfail('d', ""));
        connection->in_data = true;
        memcpy(connection->kept, "\0\0\r\n", KEPT_BYTES); /* a dot may be the first octet */
        return reply(connection, "354 Go ahead\r\n");
    }
    if (is_verb(command, "BDAT")) {
        char *rest;
        connection->chunk_left = strtoull(command + 4, &rest, 10);
        connection->last_chunk = strcasestr(rest, "LAST") != NULL;
        return connection->chunk_left || end_chunk(connection);
    }
    if (is_verb(command, "QUIT")) {
        connection->quitting = true;
        return reply(connection, "221 2.0.0 Bye\r\n");
    }
    counters->refused_commands++;
    return reply(connection, "502 5.5.2 Unknown command\r\n");
}

/* Looks for CRLF.CRLF in the `size` octets at `at`, which have the kept octets in front of them.
 * Returns how many octets belong to the body, or 0 with `in_data` still set if all do. */
static size_t take_body(struct connection *connection, char *at, size_t size) {
    char *end = at + size, *from = at - KEPT_BYTES;
    memcpy(from, connection->kept, KEPT_BYTES);
    for (char *dot = from; (dot = memchr(dot, '.', (size_t)(end - dot))); dot++) {
        if (dot - from < 2 || end - dot < 3 || memcmp(dot - 2, "\r\n.\r\n", 5)) continue;
        connection->in_data = false;
        counters->messages++;
        counters->body_bytes += (uint64_t)(dot + 3 - at);
        return (size_t)(dot + 3 - at);
    }
    memcpy(connection->kept, end - KEPT_BYTES, KEPT_BYTES);
    counters->body_bytes += size;
    return 0;
}

/* Takes the octets of one command line, or what there is of it. Returns how many, 0 when the line is too long. */
static size_t take_command(struct connection *connection, const char *at, size_t size, bool *whole) {
    const char *end = memchr(at, '\n', size);
    size_t taken = end ? (size_t)(end - at) + 1 : size;
    *whole = end != NULL;
    if (connection->command_bytes + taken >= COMMAND_BYTES) return 0;
    memcpy(connection->command + connection->command_bytes, at, taken);
    connection->command_bytes += taken;
    connection->command[connection->command_bytes] = 0;
    return taken;
}

static bool take_octets(struct connection *connection, char *at, size_t size) {
    while (size) {
        size_t taken;
        if (connection->chunk_left) {
            taken = size < connection->chunk_left ? size : (size_t)connection->chunk_left;
            counters->body_bytes += taken;
            connection->chunk_left -= taken;
            if (!connection->chunk_left && !end_chunk(connection)) return false;
        } else if (connection->in_data) {
            taken = take_body(connection, at, size);
            if (connection->in_data) return true;
            if (!reply(connection, maybe_tempfail('.', "250 2.0.0 Ok: thrown away\r\n"))) return false;
            if (tempfail_at == '.') counters->messages--;
        } else {
            bool whole;
            taken = take_command(connection, at, size, &whole);
            if (!taken) return false;
            if (!whole) return true;
            connection->command_bytes = 0;
            if (!run_command(connection, connection->command)) return false;
            if (connection->quitting) return true;
            /* The body goes over the octets before it, which are taken already, or the buffer's front room. */
        }
        at += taken;
        size -= taken;
    }
    return true;
}

static void read_connection(struct connection *connection) {
    ssize_t got = recv(connection->fd, receive_buffer + KEPT_BYTES, RECEIVE_BYTES, 0);
    if (got < 0 && errno == EAGAIN) return;
    bool alive = got > 0 && take_octets(connection, receive_buffer + KEPT_BYTES, (size_t)got);
    if (alive && connection->reply_bytes) alive = flush_replies(connection);
    if (!alive || connection->quitting)
        drop(connection);
    else if (read_limit_per_s > 0)
        pace((size_t)got);
}

static void accept_connections(int listener) {
    for (;;) {
        int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        struct connection *connection = calloc(1, sizeof *connection);
        if (!connection) die("connection");
        connection->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
        counters->connections++;
        counters->open_connections++;
        if (!reply(connection, "220 sink.bench.example ESMTP\r\n") || !flush_replies(connection)) drop(connection);
    }
}

static int listen_on(char *text) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    char *colon = strrchr(text, ':');
    if (!colon || fd < 0) die(text);
    *colon = 0;
    address.sin_port = htons((uint16_t)atoi(colon + 1));
    if (inet_pton(AF_INET, text, &address.sin_addr) != 1) die(text);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 4096) < 0) die("listen");
    if (getsockname(fd, (struct sockaddr *)&address, &size) < 0) die("getsockname");
    printf("{\"port\":%u}\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void map_counters(const char *path) {
    int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (path && (fd < 0 || ftruncate(fd, sizeof *counters) < 0)) die(path);
    int flags = path ? MAP_SHARED : MAP_SHARED | MAP_ANONYMOUS;
    counters = mmap(NULL, sizeof *counters, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (counters == MAP_FAILED) die("counters");
}

static int catch_signals(void) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &signals, SFD_CLOEXEC);
}

static void report(void) {
    printf("{\"messages\":%llu,\"body_bytes\":%llu,\"connections\":%llu,\"aborted\":%llu,\"refused_commands\":%llu}\n",
           (unsigned long long)counters->messages, (unsigned long long)counters->body_bytes,
           (unsigned long long)counters->connections, (unsigned long long)counters->aborted,
           (unsigned long long)counters->refused_commands);
}

static void serve(int listener, int signals) {
    struct epoll_event events[256], event = {.events = EPOLLIN, .data.ptr = LISTEN_TAG};
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event) < 0) die("epoll");
    event.data.ptr = SIGNAL_TAG;
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, signals, &event) < 0) die("epoll");
    for (;;) {
        int ready = epoll_wait(epoll_fd, events, 256, -1);
        if (ready < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr == SIGNAL_TAG) return;
            if (events[i].data.ptr == LISTEN_TAG)
                accept_connections(listener);
            else
                read_connection(events[i].data.ptr);
        }
    }
}

static void usage(void) {
    fputs("usage: sink -a ADDRESS:PORT [-c counter file] [-t mail|rcpt|data|dot: 451 there] [-r bytes read a second]\n",
          stderr);
    exit(2);
}

int main(int count, char **arguments) {
    char *address = NULL;
    const char *counter_file = NULL;
    for (int option; (option = getopt(count, arguments, "a:c:t:r:")) != -1;) {
        switch (option) {
        case 'a': address = optarg; break;
        case 'c': counter_file = optarg; break;
        case 't': tempfail_at = strcmp(optarg, "dot") ? optarg[0] : '.'; break;
        case 'r': read_limit_per_s = atof(optarg); break;
        default: usage();
        }
    }
    if (!address || optind != count) usage();
    int signals = catch_signals();
    map_counters(counter_file);
    pace_began_s = now_s();
    serve(listen_on(address), signals);
    report();
    return 0;
}

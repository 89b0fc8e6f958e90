/* Load generator: sends messages to an SMTP server over many sessions from one thread, and measures each.
 *
 * Closed loop (default): every session starts its next message as soon as the last is answered. Open loop (-r): messages
 * start on a fixed schedule, and latency counts from the scheduled moment, so a stalled server cannot hide its stall.
 * Prints one line of JSON. Exit status: 0 all accepted, 1 some message failed, 2 could not run. Called by loads.py. */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "session.h"

#define TIMER_TAG UINT32_MAX
#define SHOWN_FAILURES 5

static struct plan plan;
static struct session *sessions;
static uint32_t session_count = 1, total = 1, per_session = 1, rate_per_s = 0, idle_timeout_s = 60;
static uint32_t started, accepted, failed, connections;
static uint64_t first_ns, due_count;
static uint32_t *latency_us;
static int epoll_fd = -1;

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(2);
}

/* The moment at which the next message begins; 0 when none may start now. */
static uint64_t claim_message(void) {
    if (started == total) return 0;
    if (!rate_per_s) {
        started++;
        return now_ns();
    }
    if (started >= due_count) return 0;
    return first_ns + (uint64_t)started++ * 1000000000u / rate_per_s;
}

static void watch(struct session *session, int operation) {
    struct epoll_event event = {.events = EPOLLIN | (session->write_blocked ? EPOLLOUT : 0),
                                .data.u32 = (uint32_t)(session - sessions)};
    if (epoll_ctl(epoll_fd, operation, session->fd, &event) < 0) die("epoll_ctl");
}

static void note_failure(struct session *session) {
    if (failed++ < SHOWN_FAILURES) fprintf(stderr, "load: message failed %s\n", session->trouble);
}

/* Starts messages on a closed session until one connection is under way or nothing is due. */
static void open_session(struct session *session) {
    uint64_t began_ns;
    while (session->stage == CLOSED && (began_ns = claim_message())) {
        session->began_ns = began_ns;
        connections++;
        if (session_connect(session))
            watch(session, EPOLL_CTL_ADD);
        else
            note_failure(session);
    }
}

/* A session that stands READY after a message: next one, or QUIT, or wait for the schedule. */
static void use_ready_session(struct session *session) {
    if (session->sent_messages >= per_session || started == total) {
        session_quit(session);
        return;
    }
    uint64_t began_ns = claim_message();
    if (!began_ns) return;
    session->began_ns = began_ns;
    session_send_message(session);
}

static void run_session(struct session *session) {
    for (;;) {
        bool was_blocked = session->write_blocked;
        enum event event = session_step(session);
        switch (event) {
        case NOTHING:
            if (session->stage != CLOSED && was_blocked != session->write_blocked) watch(session, EPOLL_CTL_MOD);
            return;
        case SESSION_READY: session_send_message(session); break;
        case MESSAGE_ACCEPTED:
            latency_us[accepted++] = (uint32_t)((now_ns() - session->began_ns) / 1000);
            use_ready_session(session);
            if (session->stage == READY) return;
            break;
        case SESSION_FAILED: note_failure(session); /* fall through */
        case SESSION_CLOSED: open_session(session); return;
        }
    }
}

static void start_what_is_due(void) {
    for (uint32_t i = 0; i < session_count && started < total && started < due_count; i++) {
        if (sessions[i].stage == CLOSED) open_session(&sessions[i]);
        if (sessions[i].stage == READY) {
            use_ready_session(&sessions[i]);
            run_session(&sessions[i]);
        }
    }
}

static int start_schedule(void) {
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct timespec interval = {rate_per_s == 1 ? 1 : 0, rate_per_s == 1 ? 0 : (long)(1000000000u / rate_per_s)};
    struct itimerspec schedule = {.it_interval = interval, .it_value = interval};
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = TIMER_TAG};
    if (fd < 0 || timerfd_settime(fd, 0, &schedule, NULL) < 0) die("timerfd");
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
    first_ns = now_ns() + (uint64_t)interval.tv_sec * 1000000000u + (uint64_t)interval.tv_nsec;
    return fd;
}

static bool all_closed(void) {
    for (uint32_t i = 0; i < session_count; i++)
        if (sessions[i].stage != CLOSED) return false;
    return true;
}

static void run(void) {
    struct epoll_event events[256];
    int timer_fd = rate_per_s ? start_schedule() : -1;
    for (uint32_t i = 0; i < session_count && !rate_per_s; i++) open_session(&sessions[i]);
    while (accepted + failed < total || !all_closed()) {
        int ready = epoll_wait(epoll_fd, events, 256, (int)idle_timeout_s * 1000);
        if (ready < 0 && errno != EINTR) die("epoll_wait");
        if (ready == 0) {
            fprintf(stderr, "load: nothing moved for %u s\n", idle_timeout_s);
            failed = total - accepted;
            return;
        }
        for (int i = 0; i < ready; i++) {
            uint64_t expirations;
            if (events[i].data.u32 != TIMER_TAG)
                run_session(&sessions[events[i].data.u32]);
            else if (read(timer_fd, &expirations, sizeof expirations) == sizeof expirations)
                due_count += expirations;
        }
        if (rate_per_s) start_what_is_due();
    }
}

static int by_value(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

static uint32_t quantile_us(double share) {
    return accepted ? latency_us[(uint32_t)((double)(accepted - 1) * share)] : 0;
}

static void report(double elapsed_s) {
    qsort(latency_us, accepted, sizeof *latency_us, by_value);
    printf("{\"messages\":%u,\"accepted\":%u,\"failed\":%u,\"connections\":%u,\"bytes\":%llu,\"elapsed_s\":%.6f,"
           "\"p50_us\":%u,\"p90_us\":%u,\"p99_us\":%u,\"max_us\":%u}\n",
           total, accepted, failed, connections, (unsigned long long)accepted * plan.message.size_bytes, elapsed_s,
           quantile_us(0.5), quantile_us(0.9), quantile_us(0.99), quantile_us(1.0));
}

static void usage(void) {
    fputs("usage: load -a ADDRESS:PORT [-s sessions] [-m messages] [-n messages per session] [-l bytes]\n"
          "            [-k auto|text|base64] [-S seed] [-P pipelining] [-T none|starttls|implicit]\n"
          "            [-r messages a second, open loop] [-f sender] [-t recipient] [-w idle timeout in s]\n"
          "       load -F FILE [-l bytes] [-k kind] [-S seed]     writes the message with LF line ends\n",
          stderr);
    exit(2);
}

static void parse_address(char *text) {
    char *colon = strrchr(text, ':');
    if (!colon) usage();
    *colon = 0;
    plan.to.sin_family = AF_INET;
    plan.to.sin_port = htons((uint16_t)atoi(colon + 1));
    if (inet_pton(AF_INET, text, &plan.to.sin_addr) != 1) usage();
}

static void write_message_file(const char *path) {
    FILE *file = fopen(path, "w");
    if (!file) die(path);
    for (size_t i = 0; i < plan.message.size_bytes; i++)
        if (plan.message.octets[i] != '\r') putc(plan.message.octets[i], file);
    if (fclose(file)) die(path);
}

static enum tls_mode tls_named(const char *name) {
    if (!strcmp(name, "starttls")) return TLS_STARTTLS;
    if (!strcmp(name, "implicit")) return TLS_IMPLICIT;
    if (strcmp(name, "none")) usage();
    return TLS_NONE;
}

static enum body_kind kind_named(const char *name) {
    if (!strcmp(name, "text")) return BODY_TEXT;
    if (!strcmp(name, "base64")) return BODY_BASE64;
    if (strcmp(name, "auto")) usage();
    return BODY_AUTO;
}

static void prepare_tls(void) {
    plan.tls_context = SSL_CTX_new(TLS_client_method());
    if (!plan.tls_context) die("TLS");
    SSL_CTX_set_mode(plan.tls_context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(plan.tls_context, SSL_VERIFY_NONE, NULL); /* a self-made certificate on loopback */
}

int main(int count, char **arguments) {
    size_t size_bytes = 4096;
    uint64_t seed = 1;
    enum body_kind kind = BODY_AUTO;
    const char *file = NULL;
    plan.sender = "alice@sender.example";
    plan.recipient = "user@example.test";
    for (int option; (option = getopt(count, arguments, "a:s:m:n:l:k:S:PT:r:f:t:w:F:")) != -1;) {
        switch (option) {
        case 'a': parse_address(optarg); break;
        case 's': session_count = (uint32_t)atoi(optarg); break;
        case 'm': total = (uint32_t)atoi(optarg); break;
        case 'n': per_session = (uint32_t)atoi(optarg); break;
        case 'l': size_bytes = strtoull(optarg, NULL, 10); break;
        case 'k': kind = kind_named(optarg); break;
        case 'S': seed = strtoull(optarg, NULL, 10); break;
        case 'P': plan.pipelining = true; break;
        case 'T': plan.tls = tls_named(optarg); break;
        case 'r': rate_per_s = (uint32_t)atoi(optarg); break;
        case 'f': plan.sender = optarg; break;
        case 't': plan.recipient = optarg; break;
        case 'w': idle_timeout_s = (uint32_t)atoi(optarg); break;
        case 'F': file = optarg; break;
        default: usage();
        }
    }
    if (optind != count || (!file && !plan.to.sin_port) || !session_count || !total || !per_session) usage();
    plan.message = body_make(size_bytes, kind, seed);
    if (file) {
        write_message_file(file);
        return 0;
    }
    if (strlen(plan.sender) + strlen(plan.recipient) > 800) usage();
    signal(SIGPIPE, SIG_IGN);
    if (plan.tls != TLS_NONE) prepare_tls();
    sessions = calloc(session_count, sizeof *sessions);
    latency_us = calloc(total, sizeof *latency_us);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!sessions || !latency_us || epoll_fd < 0) die("start");
    for (uint32_t i = 0; i < session_count; i++) sessions[i] = (struct session){.plan = &plan, .fd = -1};
    uint64_t began_ns = now_ns();
    run();
    report((double)(now_ns() - began_ns) / 1e9);
    return failed ? 1 : 0;
}

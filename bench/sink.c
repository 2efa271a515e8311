/*
 * The server of the benchmark: takes uploads over HTTP/1.1, plain or TLS, and throws them away.
 *
 *     sink [CERTIFICATE KEY]
 *
 * Prints its port, then obeys one command a line on standard input, each answered by one line; the end of standard
 * input ends it, so it never outlives its parent.
 *
 *     counts      what arrived, as JSON
 *     reset       forget what arrived
 *     latency N   wait N milliseconds before each answer to an upload
 *     keep DIR    write the bodies of uploads to DIR/1, DIR/2, ...; `keep` alone ends that
 *
 * A thread a connection. Over plain HTTP a body is discarded in the kernel and never copied. Bodies of at most
 * WARM_UP_BYTES are warm-ups and not counted.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_BYTES (256 * 1024)
#define STACK_BYTES (256 * 1024)
#define WARM_UP_BYTES 8192
#define BACKLOG 4096
#define MAX_LINE 4096

static SSL_CTX *tls;
static atomic_long uploads, body_bytes, connections, broken, warm_ups, kept;
static atomic_int latency_ms;
static char keep_folder[MAX_LINE];
static pthread_rwlock_t keep_lock = PTHREAD_RWLOCK_INITIALIZER;

typedef struct {
    int fd;
    SSL *ssl;
    size_t start, end; /* what lies in the buffer and was not consumed */
    char buffer[BUFFER_BYTES];
} Peer;

typedef struct {
    char method[16], path[1024];
    long length;
    int chunked, expects, close;
} Request;

static ssize_t receive(Peer *peer, char *into, size_t size)
{
    if (peer->ssl)
        return SSL_read(peer->ssl, into, (int)size);
    ssize_t count;
    while ((count = recv(peer->fd, into, size, 0)) < 0 && errno == EINTR)
        ;
    return count;
}

static int send_all(Peer *peer, const char *data, size_t size)
{
    while (size) {
        ssize_t count = peer->ssl ? SSL_write(peer->ssl, data, (int)size) : send(peer->fd, data, size, MSG_NOSIGNAL);
        if (count <= 0)
            return 0;
        data += count;
        size -= (size_t)count;
    }
    return 1;
}

/* Reads more behind what lies in the buffer. */
static int fill(Peer *peer)
{
    if (peer->start) {
        memmove(peer->buffer, peer->buffer + peer->start, peer->end - peer->start);
        peer->end -= peer->start;
        peer->start = 0;
    }
    if (peer->end == BUFFER_BYTES)
        return 0;
    ssize_t count = receive(peer, peer->buffer + peer->end, BUFFER_BYTES - peer->end);
    if (count <= 0)
        return 0;
    peer->end += (size_t)count;
    return 1;
}

/* The next bytes up to and with `mark`, consumed; NULL if the connection ended. The mark becomes the string's end. */
static char *take_until(Peer *peer, const char *mark)
{
    for (;;) {
        char *from = peer->buffer + peer->start;
        char *found = memmem(from, peer->end - peer->start, mark, strlen(mark));
        if (found) {
            *found = '\0';
            peer->start = (size_t)(found - peer->buffer) + strlen(mark);
            return from;
        }
        if (!fill(peer))
            return NULL;
    }
}

/* Consumes `size` bytes, into `file` if there is one. */
static int take(Peer *peer, long size, FILE *file)
{
    while (size) {
        if (peer->start == peer->end && !peer->ssl && !file) {
            ssize_t count = recv(peer->fd, NULL, (size_t)size, MSG_TRUNC); /* discarded in the kernel */
            if (count < 0 && errno == EINTR)
                continue;
            if (count <= 0)
                return 0;
            size -= count;
            continue;
        }
        if (peer->start == peer->end && !fill(peer))
            return 0;
        long count = (long)(peer->end - peer->start) < size ? (long)(peer->end - peer->start) : size;
        if (file && fwrite(peer->buffer + peer->start, 1, (size_t)count, file) != (size_t)count)
            return 0;
        peer->start += (size_t)count;
        size -= count;
    }
    return 1;
}

/* Consumes a chunked body and says how long it was, or -1. */
static long take_chunks(Peer *peer, FILE *file)
{
    for (long total = 0;;) {
        char *line = take_until(peer, "\r\n");
        if (!line)
            return -1;
        long size = strtol(line, NULL, 16);
        if (size < 0 || !take(peer, size, file))
            return -1;
        if (!size) { /* trailers end with an empty line */
            while ((line = take_until(peer, "\r\n")) && *line)
                ;
            return line ? total : -1;
        }
        total += size;
        if (!take_until(peer, "\r\n"))
            return -1;
    }
}

static int read_request(Peer *peer, Request *request)
{
    char *line = take_until(peer, "\r\n");
    memset(request, 0, sizeof *request);
    if (!line || sscanf(line, "%15s %1023s", request->method, request->path) != 2)
        return 0;
    while ((line = take_until(peer, "\r\n")) && *line) {
        char *value = strchr(line, ':');
        if (!value)
            return 0;
        *value++ = '\0';
        value += strspn(value, " \t");
        if (!strcasecmp(line, "content-length"))
            request->length = atol(value);
        else if (!strcasecmp(line, "transfer-encoding"))
            request->chunked = strcasestr(value, "chunked") != NULL;
        else if (!strcasecmp(line, "expect"))
            request->expects = strcasestr(value, "100-continue") != NULL;
        else if (!strcasecmp(line, "connection"))
            request->close = strcasestr(value, "close") != NULL;
    }
    return line != NULL && request->length >= 0;
}

static int answer(Peer *peer, const char *status, const char *body)
{
    char text[2048];
    int size = snprintf(text, sizeof text,
                        "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", status,
                        strlen(body), body);
    return send_all(peer, text, (size_t)size);
}

static FILE *kept_file(void)
{
    char path[MAX_LINE + 32];
    FILE *file = NULL;
    pthread_rwlock_rdlock(&keep_lock);
    if (*keep_folder) {
        snprintf(path, sizeof path, "%s/%ld", keep_folder, atomic_fetch_add(&kept, 1) + 1);
        file = fopen(path, "wb");
    }
    pthread_rwlock_unlock(&keep_lock);
    return file;
}

static int take_upload(Peer *peer, const Request *request)
{
    static const char continue_line[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (request->expects && !send_all(peer, continue_line, sizeof continue_line - 1))
        return 0;
    FILE *file = kept_file();
    long size = request->chunked ? take_chunks(peer, file) : take(peer, request->length, file) ? request->length : -1;
    if (file)
        fclose(file);
    if (size < 0) {
        atomic_fetch_add(&broken, 1);
        return 0;
    }
    long number = size > WARM_UP_BYTES ? atomic_fetch_add(&uploads, 1) + 1 : -atomic_fetch_add(&warm_ups, 1);
    if (size > WARM_UP_BYTES)
        atomic_fetch_add(&body_bytes, size);
    int wait = atomic_load(&latency_ms);
    if (wait)
        nanosleep(&(struct timespec){.tv_sec = wait / 1000, .tv_nsec = wait % 1000 * 1000000L}, NULL);
    char body[512];
    snprintf(body, sizeof body,
             "{\"id\":\"file-%ld\",\"object\":\"file\",\"bytes\":%ld,\"created_at\":%ld,\"filename\":\"upload.bin\","
             "\"purpose\":\"file-extract\",\"status\":\"ok\",\"status_details\":\"\"}",
             number, size, (long)time(NULL));
    return answer(peer, "200 OK", body);
}

static int serve_one(Peer *peer)
{
    Request request;
    if (!read_request(peer, &request))
        return 0;
    size_t length = strlen(request.path);
    int ok, is_files = length >= 6 && !strcmp(request.path + length - 6, "/files");
    if (is_files && !strcmp(request.method, "POST"))
        ok = take_upload(peer, &request);
    else if (is_files && !strcmp(request.method, "GET"))
        ok = answer(peer, "200 OK", "{\"object\":\"list\",\"data\":[],\"has_more\":false}");
    else {
        answer(peer, "404 Not Found", "{\"error\":{\"message\":\"only /files is here\"}}");
        return 0;
    }
    return ok && !request.close;
}

static void *serve(void *argument)
{
    Peer *peer = argument;
    if (tls) {
        peer->ssl = SSL_new(tls);
        SSL_set_fd(peer->ssl, peer->fd);
        if (SSL_accept(peer->ssl) <= 0)
            goto end;
    }
    atomic_fetch_add(&connections, 1);
    while (serve_one(peer))
        ;
    if (peer->ssl)
        SSL_shutdown(peer->ssl);
end:
    SSL_free(peer->ssl);
    close(peer->fd);
    free(peer);
    return NULL;
}

static void *accept_all(void *argument)
{
    int listener = *(int *)argument, one = 1;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        Peer *peer = malloc(sizeof *peer); /* not cleared: untouched pages cost nothing */
        pthread_t thread;
        if (!peer) {
            close(fd);
            continue;
        }
        peer->fd = fd;
        peer->ssl = NULL;
        peer->start = peer->end = 0;
        if (pthread_create(&thread, &attributes, serve, peer)) {
            close(fd);
            free(peer);
        }
    }
    return NULL;
}

static void fail(const char *what)
{
    fprintf(stderr, "sink: %s: %s\n", what, strerror(errno));
    ERR_print_errors_fp(stderr);
    exit(1);
}

static int listen_on_loopback(void)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, BACKLOG))
        fail("cannot listen");
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

static void speak_tls(const char *certificate, const char *key)
{
    tls = SSL_CTX_new(TLS_server_method());
    if (SSL_CTX_use_certificate_chain_file(tls, certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1)
        fail("cannot use the certificate");
    SSL_CTX_set_session_id_context(tls, (const unsigned char *)"sink", 4);
    SSL_CTX_set_read_ahead(tls, 1);
    SSL_CTX_set_default_read_buffer_len(tls, BUFFER_BYTES);
    SSL_CTX_set_options(tls, SSL_OP_IGNORE_UNEXPECTED_EOF);
}

static void tell_counts(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    printf("{\"uploads\":%ld,\"body_bytes\":%ld,\"connections\":%ld,\"broken\":%ld,\"warm_ups\":%ld,"
           "\"cpu_seconds\":%.6f}\n",
           atomic_load(&uploads), atomic_load(&body_bytes), atomic_load(&connections), atomic_load(&broken),
           atomic_load(&warm_ups), cpu);
}

static void obey(char *command)
{
    if (!strcmp(command, "counts")) {
        tell_counts();
    } else if (!strcmp(command, "reset")) {
        uploads = body_bytes = connections = broken = warm_ups = 0;
        puts("{}");
    } else if (!strncmp(command, "latency ", 8)) {
        latency_ms = atoi(command + 8);
        puts("{}");
    } else if (!strncmp(command, "keep", 4)) {
        pthread_rwlock_wrlock(&keep_lock);
        snprintf(keep_folder, sizeof keep_folder, "%s", command[4] == ' ' ? command + 5 : "");
        kept = 0;
        pthread_rwlock_unlock(&keep_lock);
        puts("{}");
    } else {
        puts("{\"error\":\"no such command\"}");
    }
    fflush(stdout);
}

int main(int count, char **arguments)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);
    if (count == 3)
        speak_tls(arguments[1], arguments[2]);
    int listener = listen_on_loopback();
    pthread_t thread;
    if (pthread_create(&thread, NULL, accept_all, &listener))
        fail("cannot start a thread");
    char line[MAX_LINE];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        obey(line);
    }
    return 0;
}

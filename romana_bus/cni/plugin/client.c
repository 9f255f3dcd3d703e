/* romana-cni: passes one CNI call to the agent of this node, and its answer back.
 *
 * Reads the CNI_* environment and the network configuration on stdin, of which it looks at nothing but three
 * top-level values: socket, timeout, cniVersion. Writes what the agent answers to stdout, and exits with the
 * code that the agent gives. VERSION is answered here. Owns nothing, keeps nothing.
 *
 * A request is four bytes of length (big-endian), then NAME=VALUE strings with a NUL behind each, one empty
 * string, and the configuration. An answer is four bytes of length, one byte of exit code, and the text.
 * client.py beside this file says the same in Python.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET "/run/romana-bus/cni.sock"
#define LARGEST (1 << 20) /* bytes of a configuration, and of an answer */
#define ROOM (1 << 16)    /* bytes of the environment that is passed on */
#define WAITS 10          /* seconds that the agent waits for an address where nothing else is said */
#define MARGIN 10         /* seconds beyond that, in which it has to answer */

static const char *const PASSED[] = {"CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS",
                                     "CNI_IFNAME",  "CNI_ARGS",        "CNI_PATH"};
static char request[4 + ROOM + LARGEST + 1], answer[4 + LARGEST];
static char path[108] = SOCKET, version[24] = "1.1.0", waits[16];
static volatile sig_atomic_t late;

static void ring(int number) { (void)number, late = 1; }

/* All of it, whatever interrupts. 0, or -1 and errno. */
static int put(int to, const char *data, size_t size) {
    while (size) {
        ssize_t wrote = late ? (errno = ETIMEDOUT, -1) : write(to, data, size);
        if (wrote < 0 && (errno != EINTR || late)) return late ? (errno = ETIMEDOUT, -1) : -1;
        if (wrote > 0) data += wrote, size -= (size_t)wrote;
    }
    return 0;
}

/* Up to `size` bytes, fewer only where they end. -1 and errno where that goes wrong. */
static ssize_t get(int from, char *data, size_t size) {
    size_t have = 0;
    while (have < size) {
        ssize_t some = late ? (errno = ETIMEDOUT, -1) : read(from, data + have, size - have);
        if (some < 0 && (errno != EINTR || late)) return late ? (errno = ETIMEDOUT, -1) : -1;
        if (some == 0) break;
        if (some > 0) have += (size_t)some;
    }
    return (ssize_t)have;
}

/* A CNI error object on stdout. What stands in `about` may be anything: it is made harmless for JSON. */
static int fail(int code, const char *text, const char *about, const char *why) {
    static char out[2048];
    char safe[256];
    size_t at = 0;
    for (; *about && at + 1 < sizeof safe; about++) {
        unsigned char one = (unsigned char)*about;
        safe[at++] = one < 0x20 || one > 0x7e || one == '"' || one == '\\' ? '?' : (char)one;
    }
    safe[at] = 0;
    int size = snprintf(out, sizeof out, "{\"cniVersion\":\"%s\",\"code\":%d,\"msg\":\"%s%s%s\",\"details\":\"%s\"}\n",
                        version, code, text, *safe ? " " : "", safe, why);
    late = 0;
    put(STDOUT_FILENO, out, (size_t)size);
    return 1;
}

static int hex(char digit) {
    if (digit >= '0' && digit <= '9') return digit - '0';
    digit |= 0x20;
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* The string behind the quote at `at`, decoded into `to`; gives where it ends (behind its quote). What has no
 * room, or is no plain character, empties it: nobody's path or number has those. */
static const char *string(const char *at, const char *end, char *to, size_t room) {
    size_t size = 0;
    int odd = 0;
    while (++at < end && *at != '"') {
        unsigned code = (unsigned char)*at;
        if (*at == '\\' && ++at < end) {
            static const char ESCAPES[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
            const char *found = *at ? strchr(ESCAPES, *at) : NULL;
            for (code = 0; found && ((found - ESCAPES) & 1);) found = strchr(found + 1, *at);
            if (found) code = (unsigned char)found[1];
            if (*at == 'u')
                for (int digits = 0; digits < 4 && at + 1 < end && hex(at[1]) >= 0; digits++)
                    code = code << 4 | (unsigned)hex(*++at);
            if (code > 0x7f) code = 0;
        }
        if (size + 1 < room && code) to[size++] = (char)code;
        else odd = 1;
    }
    to[odd ? 0 : size] = 0;
    return at < end ? at + 1 : end;
}

/* Find the top-level values that this program needs. Broken JSON is for the agent to refuse. */
static void scan(const char *at, const char *end) {
    char key[16] = "", value[sizeof path];
    int depth = 0, behind = 0; /* behind: a colon of the outermost object */
    while (at < end) {
        if (*at == '"') {
            at = string(at, end, behind ? value : key, behind ? sizeof value : sizeof key);
            if (behind && depth == 1 && !strcmp(key, "socket")) strcpy(path, value);
            if (behind && depth == 1 && !strcmp(key, "cniVersion") && *value && strlen(value) < sizeof version &&
                strspn(value, "0123456789.") == strlen(value))
                strcpy(version, value);
            continue;
        }
        if (*at == '{' || *at == '[') depth++, behind = depth > 1;
        else if (*at == '}' || *at == ']') depth--;
        else if (depth == 1 && (*at == ':' || *at == ',')) behind = *at == ':';
        else if (depth == 1 && behind && !strcmp(key, "timeout") && *at >= '0' && *at <= '9') {
            size_t size = 0;
            for (; at < end && *at && strchr("0123456789.eE+-", *at); at++)
                if (size + 1 < sizeof waits) waits[size++] = *at;
            waits[size] = 0;
            continue;
        }
        at++;
    }
}

/* The time that is left for everything: from now on, reads and writes end with ETIMEDOUT. */
static void limit(long seconds) {
    struct itimerval timer = {{1, 0}, {seconds, 0}}; /* again each second: one could come before the read */
    setitimer(ITIMER_REAL, &timer, NULL);
}

/* How large the answer is that has come in whole; or -1 and errno. */
static ssize_t ask(size_t size) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int agent = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strcpy(to.sun_path, path);
    if (agent < 0) return -1;
    while (connect(agent, (struct sockaddr *)&to, sizeof to))
        if (errno != EINTR || late) return late ? (errno = ETIMEDOUT, -1) : -1;
    if (put(agent, request, size) && errno != EPIPE) return -1; /* it may have answered without reading all */
    ssize_t head = get(agent, answer, 4);
    if (head < 4) return head < 0 ? -1 : (errno = ECONNRESET, -1);
    unsigned char *four = (unsigned char *)answer;
    size_t length = (size_t)four[0] << 24 | (size_t)four[1] << 16 | (size_t)four[2] << 8 | four[3];
    if (length < 1 || length > LARGEST) return errno = EPROTO, -1;
    ssize_t body = get(agent, answer, length);
    return body < 0 ? -1 : (size_t)body < length ? (errno = ECONNRESET, -1) : body;
}

int main(void) {
    struct sigaction rings = {.sa_handler = ring}; /* without SA_RESTART: it ends what waits */
    const char *command = getenv("CNI_COMMAND");
    size_t size = 4;
    sigaction(SIGALRM, &rings, NULL);
    signal(SIGPIPE, SIG_IGN);
    limit(WAITS + MARGIN);
    if (!command || !*command)
        return fail(4, "CNI_COMMAND is not set: a container runtime calls this program", "", "");
    for (size_t i = 0; i < sizeof PASSED / sizeof *PASSED; i++) {
        const char *value = getenv(PASSED[i]);
        if (!value) continue;
        if (strlen(value) + 20 > 4 + ROOM - 1 - size) return fail(4, "too long:", PASSED[i], "");
        size += (size_t)sprintf(request + size, "%s=%s", PASSED[i], value) + 1;
    }
    request[size++] = 0;
    ssize_t config = get(STDIN_FILENO, request + size, LARGEST + 1);
    if (config < 0) return fail(5, "no configuration could be read from stdin:", strerror(errno), "");
    if (config > LARGEST) return fail(7, "the configuration on stdin has more than 1048576 bytes", "", "");
    scan(request + size, request + size + config);
    if (!strcmp(command, "VERSION"))
        return printf("{\"cniVersion\":\"%s\",\"supportedVersions\":[\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n", version) < 0 ||
               fflush(stdout);
    if (!*path) return fail(7, "socket: give a path of at most 107 plain characters", "", "");
    double wanted = *waits ? strtod(waits, NULL) : WAITS;
    limit((long)(wanted < 600 ? wanted : 600) + MARGIN);
    size += (size_t)config;
    for (int i = 0; i < 4; i++) request[i] = (char)((size - 4) >> (24 - 8 * i));
    ssize_t have = ask(size);
    if (have < 0) {
        char why[160];
        snprintf(why, sizeof why, "%s: is `romana-bus agent` running on this node?", strerror(errno));
        return fail(strcmp(command, "STATUS") ? 11 : 50, "the agent of romana-bus does not answer at", path, why);
    }
    return put(STDOUT_FILENO, answer + 1, (size_t)have - 1) ? 1 : (unsigned char)*answer;
}

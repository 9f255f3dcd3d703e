/* romana-cni: passes one CNI call to the agent of this node, and its answer back.
 *
 * Reads the CNI_* environment and the network configuration on stdin. Of the configuration it uses only three
 * top-level values: socket, timeout, cniVersion. Writes the agent's answer to stdout, and exits with the code
 * in that answer. VERSION is answered here. Keeps no state.
 *
 * A request is four bytes of length (big-endian), then NAME=VALUE strings with a NUL behind each, one empty
 * string, and the configuration. An answer is four bytes of length, one byte of exit code, and the text.
 * client.py beside this file is the same program in Python.
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
#define LARGEST (1 << 20)     /* bytes of a configuration, and of an answer */
#define ENVIRONMENT (1 << 16) /* bytes of the environment that is passed on */
#define TIMEOUT 10            /* seconds that the agent waits for an address if `timeout` is not given */
#define MARGIN 10             /* seconds after that within which it has to answer */

static const char *const PASSED[] = {"CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS",
                                     "CNI_IFNAME",  "CNI_ARGS",        "CNI_PATH"};
static char request[4 + ENVIRONMENT + LARGEST + 1], answer[4 + LARGEST];
static char path[108] = SOCKET, version[24] = "1.1.0", timeout[16];
static volatile sig_atomic_t timed_out;

static void on_alarm(int number) { (void)number, timed_out = 1; }

/* Writes all of it, also after an interrupt. Returns 0, or -1 with errno. */
static int write_all(int to, const char *data, size_t size) {
    while (size) {
        ssize_t wrote = timed_out ? (errno = ETIMEDOUT, -1) : write(to, data, size);
        if (wrote < 0 && (errno != EINTR || timed_out)) return timed_out ? (errno = ETIMEDOUT, -1) : -1;
        if (wrote > 0) data += wrote, size -= (size_t)wrote;
    }
    return 0;
}

/* Reads up to `size` bytes, fewer only at the end of the input. Returns their number, or -1 with errno. */
static ssize_t read_all(int from, char *data, size_t size) {
    size_t have = 0;
    while (have < size) {
        ssize_t some = timed_out ? (errno = ETIMEDOUT, -1) : read(from, data + have, size - have);
        if (some < 0 && (errno != EINTR || timed_out)) return timed_out ? (errno = ETIMEDOUT, -1) : -1;
        if (some == 0) break;
        if (some > 0) have += (size_t)some;
    }
    return (ssize_t)have;
}

/* Writes a CNI error object to stdout. Returns the exit code. `about` may hold any bytes: those that JSON or a
 * terminal would misread are replaced by '?'. */
static int fail(int code, const char *text, const char *about, const char *why) {
    static char out[2048];
    char safe[256];
    size_t length = 0;
    for (; *about && length + 1 < sizeof safe; about++) {
        unsigned char byte = (unsigned char)*about;
        safe[length++] = byte < 0x20 || byte > 0x7e || byte == '"' || byte == '\\' ? '?' : (char)byte;
    }
    safe[length] = 0;
    int size = snprintf(out, sizeof out, "{\"cniVersion\":\"%s\",\"code\":%d,\"msg\":\"%s%s%s\",\"details\":\"%s\"}\n",
                        version, code, text, *safe ? " " : "", safe, why);
    timed_out = 0;
    write_all(STDOUT_FILENO, out, (size_t)size);
    return 1;
}

/* The value of a hexadecimal digit, or -1. */
static int hex(char digit) {
    if (digit >= '0' && digit <= '9') return digit - '0';
    digit |= 0x20;
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* Decodes the JSON string whose opening quote is at `next` into `to`. Returns the position after its closing
 * quote. A string that does not fit, or that has characters other than ASCII, becomes empty: no path or number
 * is like that. */
static const char *decode_string(const char *next, const char *end, char *to, size_t capacity) {
    size_t size = 0;
    int unusable = 0;
    while (++next < end && *next != '"') {
        unsigned code = (unsigned char)*next;
        if (*next == '\\' && ++next < end) {
            static const char ESCAPES[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
            const char *escape = *next ? strchr(ESCAPES, *next) : NULL;
            for (code = 0; escape && ((escape - ESCAPES) & 1);) escape = strchr(escape + 1, *next);
            if (escape) code = (unsigned char)escape[1];
            if (*next == 'u')
                for (int digits = 0; digits < 4 && next + 1 < end && hex(next[1]) >= 0; digits++)
                    code = code << 4 | (unsigned)hex(*++next);
            if (code > 0x7f) code = 0;
        }
        if (size + 1 < capacity && code) to[size++] = (char)code;
        else unusable = 1;
    }
    to[unusable ? 0 : size] = 0;
    return next < end ? next + 1 : end;
}

/* Finds the top-level values that this program needs. The agent refuses broken JSON. */
static void scan(const char *next, const char *end) {
    char key[16] = "", value[sizeof path];
    int depth = 0, is_value = 0; /* is_value: a colon of the outermost object came last */
    while (next < end) {
        if (*next == '"') {
            next = decode_string(next, end, is_value ? value : key, is_value ? sizeof value : sizeof key);
            if (is_value && depth == 1 && !strcmp(key, "socket")) strcpy(path, value);
            if (is_value && depth == 1 && !strcmp(key, "cniVersion") && *value && strlen(value) < sizeof version &&
                strspn(value, "0123456789.") == strlen(value))
                strcpy(version, value);
            continue;
        }
        if (*next == '{' || *next == '[') depth++, is_value = depth > 1;
        else if (*next == '}' || *next == ']') depth--;
        else if (depth == 1 && (*next == ':' || *next == ',')) is_value = *next == ':';
        else if (depth == 1 && is_value && !strcmp(key, "timeout") && *next >= '0' && *next <= '9') {
            size_t size = 0;
            for (; next < end && *next && strchr("0123456789.eE+-", *next); next++)
                if (size + 1 < sizeof timeout) timeout[size++] = *next;
            timeout[size] = 0;
            continue;
        }
        next++;
    }
}

/* Sets the time that is left: after it, reads and writes fail with ETIMEDOUT. */
static void limit_time(long seconds) {
    struct itimerval timer = {{1, 0}, {seconds, 0}}; /* repeated: one may come just before a read */
    setitimer(ITIMER_REAL, &timer, NULL);
}

/* Sends the request and reads the whole answer. Returns the answer's size, or -1 with errno. */
static ssize_t call_agent(size_t size) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int agent = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strcpy(to.sun_path, path);
    if (agent < 0) return -1;
    while (connect(agent, (struct sockaddr *)&to, sizeof to))
        if (errno != EINTR || timed_out) return timed_out ? (errno = ETIMEDOUT, -1) : -1;
    if (write_all(agent, request, size) && errno != EPIPE) return -1; /* it may answer without reading all */
    ssize_t head = read_all(agent, answer, 4);
    if (head < 4) return head < 0 ? -1 : (errno = ECONNRESET, -1);
    unsigned char *four = (unsigned char *)answer;
    size_t length = (size_t)four[0] << 24 | (size_t)four[1] << 16 | (size_t)four[2] << 8 | four[3];
    if (length < 1 || length > LARGEST) return errno = EPROTO, -1;
    ssize_t body = read_all(agent, answer, length);
    return body < 0 ? -1 : (size_t)body < length ? (errno = ECONNRESET, -1) : body;
}

int main(void) {
    struct sigaction action = {.sa_handler = on_alarm}; /* without SA_RESTART: it interrupts reads */
    const char *command = getenv("CNI_COMMAND");
    size_t size = 4;
    sigaction(SIGALRM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    limit_time(TIMEOUT + MARGIN);
    if (!command || !*command)
        return fail(4, "CNI_COMMAND is not set: a container runtime calls this program", "", "");
    for (size_t i = 0; i < sizeof PASSED / sizeof *PASSED; i++) {
        const char *value = getenv(PASSED[i]);
        if (!value) continue;
        if (strlen(value) + 20 > 4 + ENVIRONMENT - 1 - size) return fail(4, "too long:", PASSED[i], "");
        size += (size_t)sprintf(request + size, "%s=%s", PASSED[i], value) + 1;
    }
    request[size++] = 0;
    ssize_t config = read_all(STDIN_FILENO, request + size, LARGEST + 1);
    if (config < 0) return fail(5, "no configuration could be read from stdin:", strerror(errno), "");
    if (config > LARGEST) return fail(7, "the configuration on stdin has more than 1048576 bytes", "", "");
    scan(request + size, request + size + config);
    if (!strcmp(command, "VERSION"))
        return printf("{\"cniVersion\":\"%s\",\"supportedVersions\":[\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n", version) < 0 ||
               fflush(stdout);
    if (!*path) return fail(7, "socket: give a path of at most 107 plain characters", "", "");
    double wanted = *timeout ? strtod(timeout, NULL) : TIMEOUT;
    limit_time((long)(wanted < 600 ? wanted : 600) + MARGIN);
    size += (size_t)config;
    for (int i = 0; i < 4; i++) request[i] = (char)((size - 4) >> (24 - 8 * i));
    ssize_t answered = call_agent(size);
    if (answered < 0) {
        char why[160];
        snprintf(why, sizeof why, "%s: is `romana-bus agent` running on this node?", strerror(errno));
        return fail(strcmp(command, "STATUS") ? 11 : 50, "the agent of romana-bus does not answer at", path, why);
    }
    return write_all(STDOUT_FILENO, answer + 1, (size_t)answered - 1) ? 1 : (unsigned char)*answer;
}

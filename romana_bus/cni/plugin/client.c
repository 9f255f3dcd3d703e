/* romana-cni: passes one CNI call to the agent of this node, and its answer back.
 *
 * Reads the CNI_* environment and the network configuration on stdin. Of the configuration it uses only three
 * top-level values: socket, timeout, cniVersion. Writes the agent's answer to stdout, and exits with the code
 * in that answer. VERSION is answered here.
 *
 * Two calls do not need the agent. A DEL that it cannot answer is kept in the directory `spool` beside the socket,
 * and the agent runs it before it serves anything else: see server/spool.py. STATUS is answered from the agent's last
 * answer, in the file `last-status` beside the socket, for as long as that file says: see server/last_status.py.
 *
 * A request is four bytes of length (big-endian), then NAME=VALUE strings with a NUL behind each, one empty
 * string, and the configuration. An answer is four bytes of length, one byte of exit code, and the text.
 * client.py beside this file is the same program in Python.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SOCKET "/run/romana-bus/cni.sock"
#define LARGEST (1 << 20)     /* bytes of a configuration, and of an answer */
#define ENVIRONMENT (1 << 16) /* bytes of the environment that is passed on */
#define TIMEOUT 10            /* seconds that the agent waits for an address if `timeout` is not given */
#define MARGIN 10             /* seconds after that within which it has to answer */
#define SPOOLED 1024          /* the most calls in the spool, and their bytes */
#define SPOOLED_BYTES (8 << 20)
#define LETTERS "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

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

/* The path of a file in the socket's directory. */
static const char *beside(const char *name) {
    static char file[sizeof path + 16];
    const char *slash = strrchr(path, '/');
    snprintf(file, sizeof file, "%.*s%s", slash ? (int)(slash - path) + 1 : 0, path, name);
    return file;
}

/* Milliseconds since the machine started, also while it was suspended: no wall clock, which may be wrong. */
static long long boot_clock(void) {
    struct timespec now;
    return clock_gettime(CLOCK_BOOTTIME, &now) ? -1 : now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* Opens the spool, and creates it if there is none yet: after a reboot its parent is missing too. Returns a
 * descriptor, or -1 with errno. */
static int open_spool(void) {
    const char *directory = beside("spool");
    if (mkdir(directory, 0700) && errno == ENOENT) {
        mkdir(beside(""), 0700);
        mkdir(directory = beside("spool"), 0700);
    }
    return open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Whether the spool has room for `size` bytes under a name; what that name has now does not count. */
static int has_room(int spool, const char *name, size_t size) {
    DIR *listing = fdopendir(openat(spool, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    size_t calls = 1;
    for (struct dirent *entry; listing && (entry = readdir(listing));) {
        struct stat file;
        if (fstatat(spool, entry->d_name, &file, AT_SYMLINK_NOFOLLOW) || !S_ISREG(file.st_mode)) continue;
        if (strcmp(entry->d_name, name)) calls++, size += (size_t)file.st_size;
    }
    if (listing) closedir(listing);
    return listing && calls <= SPOOLED && size <= SPOOLED_BYTES;
}

/* Keeps the request on disk for the agent, in a file CONTAINER:INTERFACE. A name that could lead out of the
 * directory is not used: the agent refuses it too. Returns NULL, or why the request was not kept. */
static const char *keep(size_t size) {
    const char *container = getenv("CNI_CONTAINERID"), *ifname = getenv("CNI_IFNAME"), *why = NULL;
    char name[512], scratch[64];
    if (!container || !strspn(container, LETTERS) || container[strspn(container, LETTERS "_.-")] || !ifname ||
        !*ifname || strlen(ifname) > 15 || ifname[strspn(ifname, LETTERS "!\"#$%&'()*+,-.;<=>?@[\\]^_`{|}~")])
        return "CNI_CONTAINERID or CNI_IFNAME cannot be used";
    if ((size_t)snprintf(name, sizeof name, "%s:%s", container, ifname) >= sizeof name) return strerror(ENAMETOOLONG);
    int spool = open_spool();
    if (spool < 0) return strerror(errno);
    if (!has_room(spool, name, size)) return "it is full";
    snprintf(scratch, sizeof scratch, ".%ld.%lld", (long)getpid(), boot_clock());
    int file = openat(spool, scratch, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0) return strerror(errno);
    if (write_all(file, request, size) || fsync(file) || renameat(spool, scratch, spool, name) || fsync(spool))
        why = strerror(errno), unlinkat(spool, scratch, 0);
    return why;
}

/* Answers STATUS as the agent answered last, while that counts. Returns the exit code, or -1.
 * The file: exit code, time by the boot clock and how long it counts (both ms), a line end, and the answer. */
static int answer_from_last_status(void) {
    int code, start = 0, file = open(beside("last-status"), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    long long said, counts, now = boot_clock();
    ssize_t size = file < 0 ? -1 : read_all(file, answer, sizeof answer - 1);
    answer[size < 0 ? 0 : size] = 0;
    if (sscanf(answer, "%3d %18lld %18lld%n", &code, &said, &counts, &start) != 3 || answer[start++] != '\n') return -1;
    if (now < said || now - said >= counts) return -1;
    return write_all(STDOUT_FILENO, answer + start, (size_t)size - (size_t)start) ? 1 : code;
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
    if (!strcmp(command, "STATUS")) wanted = 0; /* it waits for no address */
    limit_time((long)(wanted < 600 ? wanted : 600) + MARGIN);
    size += (size_t)config;
    for (int i = 0; i < 4; i++) request[i] = (char)((size - 4) >> (24 - 8 * i));
    ssize_t answered = call_agent(size);
    if (answered < 0) {
        static const char RUNS[] = "is `romana-bus agent` running on this node?";
        const char *not_kept = NULL, *cause = strerror(errno);
        char why[320];
        int code;
        limit_time(MARGIN);
        timed_out = 0;
        if (!strcmp(command, "STATUS") && (code = answer_from_last_status()) >= 0) return code;
        if (!strcmp(command, "DEL") && !(not_kept = keep(size))) return 0;
        snprintf(why, sizeof why, "%s: %s%s%s", cause, RUNS,
                 not_kept ? " The call was not kept for it in the directory spool: " : "", not_kept ? not_kept : "");
        return fail(strcmp(command, "STATUS") ? 11 : 50, "the agent of romana-bus does not answer at", path, why);
    }
    return write_all(STDOUT_FILENO, answer + 1, (size_t)answered - 1) ? 1 : (unsigned char)*answer;
}

/* The floor with our guarantees: what floor.c does, and for each start the kernel calls without which a promise of the agent
   would be broken, in their order. A log FIFO that a second process holds too (no byte lost when the first is killed), a
   cgroup of its own (nothing survives a stop), orders in a sealed memory file, a helper that writes a record before it becomes
   the child (none started twice). For each end: look, start the next one, note the end, reap, clean up.
   It decides nothing, checks nothing and knows no failure.
   Usage: steps CHILD PIPE COUNT HELPER DIR CGROUP [PROCESSES]; DIR must exist; PROCESSES share the work, as our threads do. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 4096, PATH = 256, RECORD = 400, ORDERS = 800 };
static const char *helper, *dir, *cgroups;
static char *words[4];
static int keeper, records, empty, generation, count;
static pid_t pids[MOST];
static int fifos[MOST], statuses[MOST], generations[MOST];
static struct pollfd ended[MOST];

static void hold(int fd) {
    char byte = 0, control[CMSG_SPACE(sizeof fd)] = {0};
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    sendmsg(keeper, &message, MSG_NOSIGNAL);
}

/* The second process: takes what it is given and keeps it. */
static void keep(int socket) {
    char byte, control[CMSG_SPACE(sizeof(int))];
    for (;;) {
        struct iovec part = {&byte, 1};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
        if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) < 1) _exit(0);
    }
}

/* Low numbers for what a child is given, so that it need not copy a long table: see host-agent/sys/src/spawn/seats.rs. */
enum { SEAT = 16, SEATS_END = 21 };

static void become(void *unused) {
    (void)unused;
    char *none[] = {0};
    syscall(SYS_close_range, SEATS_END, ~0U, 2 /* CLOSE_RANGE_UNSHARE */);
    for (int at = 0; at < SEATS_END - SEAT; at++) dup2(SEAT + at, 1 + at);
    execve(helper, words, none);
    _exit(127);
}

static pid_t born_in(int cgroup, int *pidfd) {
    static char stack[1 << 16] __attribute__((aligned(16)));
    struct clone_args args = {.flags = CLONE_PIDFD | CLONE_INTO_CGROUP | CLONE_CLEAR_SIGHAND | CLONE_VFORK | CLONE_FILES,
                              .pidfd = (uintptr_t)pidfd, .exit_signal = SIGCHLD, .cgroup = (uint64_t)cgroup};
    long pid;
#ifdef __x86_64__
    args.flags |= CLONE_VM, args.stack = (uintptr_t)stack, args.stack_size = sizeof stack;
    register void (*then)(void *) __asm__("r12") = become;
    __asm__ volatile("syscall\n test %%rax, %%rax\n jnz 1f\n xor %%edi, %%edi\n call *%%r12\n1:"
                     : "=a"(pid) : "0"(SYS_clone3), "D"(&args), "S"(sizeof args), "r"(then) : "rcx", "r11", "memory");
#else
    (void)stack; /* A copied memory costs little in a program as small as this one. */
    pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0) become(0);
#endif
    return (pid_t)pid;
}

static int start(int at) {
    char fifo[PATH], leaf[PATH], orders[ORDERS];
    struct stat found;
    int status[2], pidfd = -1;
    generations[at] = ++generation;
    snprintf(fifo, sizeof fifo, "%s/fifo.%d.%d", dir, at, generation);
    snprintf(leaf, sizeof leaf, "%s/%d.%d", cgroups, at, generation);
    if (mkfifo(fifo, 0600) < 0) return -1;
    int reader = open(fifo, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    fstat(reader, &found);
    fcntl(reader, F_SETPIPE_SZ, 1 << 20);
    if (fchown(reader, 0, 0) < 0) return -1;
    int out = open(fifo, O_RDWR | O_NOFOLLOW | O_CLOEXEC), err = open(fifo, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    hold(reader);
    if (mkdir(leaf, 0755) < 0) return -1;
    int cgroup = open(leaf, O_RDONLY | O_CLOEXEC);
    int sealed = memfd_create("orders", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    memset(orders, 'x', sizeof orders);
    if (write(sealed, orders, sizeof orders) < 0) return -1;
    lseek(sealed, 0, SEEK_SET);
    fcntl(sealed, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
    if (pipe2(status, O_CLOEXEC | O_NONBLOCK) < 0) return -1;
    int given[] = {out, err, sealed, status[1], records};
    for (int seat = 0; seat < SEATS_END - SEAT; seat++) dup3(given[seat], SEAT + seat, O_CLOEXEC);
    pid_t pid = born_in(cgroup, &pidfd);
    if (pid < 0) return -1;
    for (int seat = 0; seat < SEATS_END - SEAT; seat++) dup3(empty, SEAT + seat, O_CLOEXEC);
    close(out), close(err), close(status[1]), close(sealed), close(cgroup);
    pids[at] = pid, fifos[at] = reader, statuses[at] = status[0];
    ended[at] = (struct pollfd){.fd = pidfd, .events = POLLIN};
    return 0;
}

static void note(pid_t pid) {
    char path[PATH], new[PATH + 4], text[64] = "code=0";
    snprintf(path, sizeof path, "%s/exit.%d", dir, pid);
    snprintf(new, sizeof new, "%s.new", path);
    int file = open(new, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    if (write(file, text, sizeof text) < 0) _exit(1);
    close(file);
    rename(new, path);
    siginfo_t how;
    waitid(P_PID, (id_t)pid, &how, WEXITED);
}

static void clean(int at, pid_t pid, int generation, int pidfd, int fifo, int status) {
    char path[PATH];
    close(pidfd), close(fifo), close(status);
    snprintf(path, sizeof path, "%s/%d.%d", cgroups, at, generation);
    rmdir(path);
    const char *left[] = {"exit", "record"};
    for (int n = 0; n < 2; n++) snprintf(path, sizeof path, "%s/%s.%d", dir, left[n], pid), unlink(path);
    snprintf(path, sizeof path, "%s/fifo.%d.%d", dir, at, generation);
    unlink(path);
}

int main(int argc, char **argv) {
    if (argc < 7) return 2;
    count = atoi(argv[3]);
    if (count < 1 || count > MOST) return 2;
    helper = argv[4], dir = argv[5], cgroups = argv[6];
    words[0] = "helper", words[1] = argv[1], words[2] = argv[2];
    int processes = argc > 7 ? atoi(argv[7]) : 1, ends[2];
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) files.rlim_cur = files.rlim_max, setrlimit(RLIMIT_NOFILE, &files);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) return 1;
    if (fork() == 0) prctl(PR_SET_PDEATHSIG, SIGKILL), close(ends[0]), keep(ends[1]);
    close(ends[1]);
    keeper = ends[0];
    records = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    empty = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int seat = SEAT; seat < SEATS_END; seat++) dup3(empty, seat, O_CLOEXEC);
    int first = 0;
    for (int share = 1; share < processes; share++)
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            first = count * share / processes, count = count * (share + 1) / processes;
            goto work;
        }
    count /= processes;
work:
    for (int at = first; at < count; at++)
        if (start(at) < 0) return 1;
    for (;;) {
        if (poll(ended + first, (nfds_t)(count - first), -1) < 1) continue;
        for (int at = first; at < count; at++) {
            if (!ended[at].revents) continue;
            siginfo_t how;
            pid_t pid = pids[at];
            int pidfd = ended[at].fd, fifo = fifos[at], status = statuses[at], old = generations[at];
            waitid(P_PID, (id_t)pid, &how, WEXITED | WNOWAIT);
            if (start(at) < 0) return 1;
            note(pid);
            clean(at, pid, old, pidfd, fifo, status);
        }
    }
}

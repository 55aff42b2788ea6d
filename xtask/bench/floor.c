/* The floor: the smallest program that starts children again when they end (pidfd, vfork, exec).
   Usage: floor CHILD PIPE [COUNT] */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t pids[4096];
static struct pollfd ended[4096];

static int start(char **args, int at) {
    pid_t pid = vfork();
    if (pid == 0) {
        execv(args[0], args);
        _exit(127);
    }
    if (pid < 0) return -1;
    pids[at] = pid;
    ended[at].fd = (int)syscall(SYS_pidfd_open, pid, 0);
    ended[at].events = POLLIN;
    return ended[at].fd;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    int count = argc > 3 ? atoi(argv[3]) : 1;
    if (count < 1 || count > 4096) return 2;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    char *args[] = {argv[1], argv[2], 0};
    for (int at = 0; at < count; at++)
        if (start(args, at) < 0) return 1;
    for (;;) {
        if (poll(ended, (nfds_t)count, -1) < 1) continue;
        for (int at = 0; at < count; at++) {
            if (!ended[at].revents) continue;
            close(ended[at].fd);
            waitpid(pids[at], 0, 0);
            if (start(args, at) < 0) return 1;
        }
    }
}

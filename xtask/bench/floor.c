/* The floor: the smallest program that starts a child again when it ends (pidfd, vfork, exec). Usage: floor CHILD PIPE */
#define _GNU_SOURCE
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        char *args[] = {argv[1], argv[2], 0};
        pid_t pid = vfork();
        if (pid == 0) {
            execv(args[0], args);
            _exit(127);
        }
        if (pid < 0) return 1;
        struct pollfd ended = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
        if (ended.fd < 0) return 1;
        while (poll(&ended, 1, -1) != 1) {}
        close(ended.fd);
        waitpid(pid, 0, 0);
    }
}

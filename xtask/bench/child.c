/* The measured child: its first act is to say when it is there. Usage: child PIPE */
#include <fcntl.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t stamp[2] = {getpid(), (int64_t)now.tv_sec * 1000000000 + now.tv_nsec};
    int pipe = argc > 1 ? open(argv[1], O_WRONLY) : -1;
    if (pipe < 0 || write(pipe, stamp, sizeof stamp) != sizeof stamp) return 1;
    close(pipe);
    for (;;) pause();
}

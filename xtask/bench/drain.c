/* The floors of a log: everything from standard input, a pipe, to a file. No lines, no rotation, nothing to find after a kill.
   `splice` moves as soon as there is something; `lazy` reads and writes, and rests a millisecond after a short read.
   Usage: drain splice|lazy FILE */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static char block[1024 * 1024];

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    int file = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0640);
    if (file < 0) return 1;
    fcntl(0, F_SETPIPE_SZ, sizeof block);
    int lazy = strcmp(argv[1], "lazy") == 0;
    for (;;) {
        ssize_t moved = lazy ? read(0, block, sizeof block)
                             : splice(0, NULL, file, NULL, sizeof block, SPLICE_F_MOVE);
        if (moved <= 0) return moved < 0;
        if (!lazy) continue;
        for (ssize_t put = 0; put < moved;) {
            ssize_t more = write(file, block + put, moved - put);
            if (more <= 0) return 1;
            put += more;
        }
        if (moved < (ssize_t)sizeof block / 4) usleep(1000);
    }
}

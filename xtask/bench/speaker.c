/* Speaks as fast as it is let: BYTES bytes in writes of SIZE bytes, each of whole lines of at most 100 bytes, once START exists.
   Then it stays, until it is ended, or START is gone.
   Usage: speaker START SIZE BYTES */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    size_t size = (size_t)atol(argv[2]);
    long long left = atoll(argv[3]);
    char *block = malloc(size);
    if (!block) return 1;
    memset(block, 'x', size);
    for (size_t at = 99; at < size; at += 100) block[at] = '\n';
    block[size - 1] = '\n';
    while (access(argv[1], F_OK) != 0) usleep(1000);
    while (left > 0) {
        ssize_t put = write(1, block, size);
        if (put <= 0) return 1;
        left -= put;
    }
    while (access(argv[1], F_OK) == 0) usleep(20000);
    return 0;
}

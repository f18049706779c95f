/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/fuzz_main.c: replays files and directories through a fuzz target, so that a corpus is
 * a normal test. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned files_count;

static int replay_file(const char *path) {
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        perror(path);
        return 1;
    }
    /* an exact-size heap block, so that ASan sees a read past the end */
    struct stat st;
    int failed = fstat(fileno(f), &st) != 0;
    uint8_t *data = failed ? NULL : malloc((size_t)st.st_size + (st.st_size == 0));
    if (data == NULL || fread(data, 1, (size_t)st.st_size, f) != (size_t)st.st_size) failed = 1;
    fclose(f);
    if (!failed) LLVMFuzzerTestOneInput(data, (size_t)st.st_size);
    free(data);
    files_count++;
    return failed;
}

static int replay(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0) {
        perror(path);
        return 1;
    }
    if (!S_ISDIR(st.st_mode)) return replay_file(path);
    DIR *d = opendir(path);
    if (d == NULL) return 1;
    int failed = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.') continue;
        char child[4096];
        snprintf(child, sizeof child, "%s/%s", path, e->d_name);
        failed |= replay(child);
    }
    closedir(d);
    return failed;
}

int main(int argc, char **argv) {
    int failed = argc < 2;
    for (int i = 1; i < argc; i++)
        failed |= replay(argv[i]);
    printf("replayed %u inputs\n", files_count);
    return failed || files_count == 0;
}

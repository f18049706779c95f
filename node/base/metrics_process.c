/* SPDX-License-Identifier: Apache-2.0 */
/* The process_* metrics of Prometheus' client libraries, read from /proc when they are asked for.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "node/base/metrics.h"
#include "node/base/num.h"

/* Field `number` (1-based, proc(5)) of /proc/self/stat, at least 3; 0 when it cannot be read. */
static double stat_field(unsigned number) {
    char text[1024];
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t n = read(fd, text, sizeof text);
    close(fd);
    if (n <= 0) return 0;
    /* The command in field 2 may hold anything, so fields are counted from its last ')'. */
    const char *close_paren = memrchr(text, ')', (size_t)n);
    if (close_paren == NULL) return 0;
    struct sv rest = sv_make(close_paren + 1, (size_t)(text + n - (close_paren + 1)));
    rest = sv_skip(rest, 1);
    struct sv field = {0};
    for (unsigned i = 3; i <= number; i++)
        rest = sv_cut(rest, ' ', &field);
    double v = 0;
    return num_parse_f64(sv_trim(field), &v) ? v : 0;
}

static double ticks_to_seconds(double ticks) {
    return ticks / (double)sysconf(_SC_CLK_TCK);
}

static double cpu_seconds(void *ctx) {
    (void)ctx;
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static double resident_bytes(void *ctx) {
    (void)ctx;
    return stat_field(24) * (double)sysconf(_SC_PAGESIZE);
}

static double virtual_bytes(void *ctx) {
    (void)ctx;
    return stat_field(23);
}

static double open_fds(void *ctx) {
    (void)ctx;
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL) return 0;
    double count = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count - 1; /* the directory itself */
}

static double limit_of(int resource) {
    struct rlimit limit;
    if (getrlimit((__rlimit_resource_t)resource, &limit) != 0) return 0;
    return limit.rlim_cur == RLIM_INFINITY ? (double)UINT64_MAX : (double)limit.rlim_cur;
}

static double max_fds(void *ctx) {
    (void)ctx;
    return limit_of(RLIMIT_NOFILE);
}

static double virtual_max_bytes(void *ctx) {
    (void)ctx;
    return limit_of(RLIMIT_AS);
}

static double start_time_seconds(void *ctx) {
    (void)ctx;
    double boot = 0;
    char line[256];
    FILE *f = fopen("/proc/stat", "re");
    if (f == NULL) return 0;
    while (fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "btime ", 6) == 0 && num_parse_f64(sv_trim(sv_from(line + 6)), &boot))
            break;
    fclose(f);
    return boot + ticks_to_seconds(stat_field(22));
}

static double one(void *ctx) {
    (void)ctx;
    return 1;
}

void metrics_register_process(void) {
    static const struct {
        struct metric_def def;
        const char *labels;
        double (*fn)(void *ctx);
    } rows[] = {
        {{"process_cpu_seconds_total", "Total user and system CPU time spent in seconds.",
          METRIC_COUNTER, NULL, 0},
         NULL,
         cpu_seconds},
        {{"process_resident_memory_bytes", "Resident memory size in bytes.", METRIC_GAUGE, NULL, 0},
         NULL,
         resident_bytes},
        {{"process_virtual_memory_bytes", "Virtual memory size in bytes.", METRIC_GAUGE, NULL, 0},
         NULL,
         virtual_bytes},
        {{"process_virtual_memory_max_bytes",
          "Maximum amount of virtual memory available in bytes.", METRIC_GAUGE, NULL, 0},
         NULL,
         virtual_max_bytes},
        {{"process_open_fds", "Number of open file descriptors.", METRIC_GAUGE, NULL, 0},
         NULL,
         open_fds},
        {{"process_max_fds", "Maximum number of open file descriptors.", METRIC_GAUGE, NULL, 0},
         NULL,
         max_fds},
        {{"process_start_time_seconds", "Start time of the process since unix epoch in seconds.",
          METRIC_GAUGE, NULL, 0},
         NULL,
         start_time_seconds},
        {{"cairn_build_info", "Always 1; labelled with the version that runs.", METRIC_GAUGE, NULL,
          0},
         "version=\"" CAIRN_VERSION "\"",
         one},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        metric_collect(&rows[i].def, rows[i].labels, rows[i].fn, NULL);
}

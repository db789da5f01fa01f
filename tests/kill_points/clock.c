#define _GNU_SOURCE
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int days_gone_by(void) {
    static _Atomic int days;
    int before = days;
    char next[24];
    snprintf(next, sizeof next, "day-%d", before + 1);
    if (access(next, F_OK) == 0) __atomic_compare_exchange_n(&days, &before, before + 1, 0, 5, 5);
    return days;
}

int clock_gettime(clockid_t id, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, id, time);
    if (result == 0 && id == CLOCK_REALTIME && access("clock-is-wrong", F_OK) == 0)
        time->tv_sec -= 20 * 60;
    if (result == 0 && id == CLOCK_MONOTONIC) time->tv_sec += days_gone_by() * 25 * 60 * 60;
    return result;
}
